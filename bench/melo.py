"""What MeloTTS costs on this machine: `python -m bench.melo`, in its environment.

The model has the sizes of MeloTTS's checkpoints and random weights, which take the time and the
memory of trained ones; the phonemes and features are random too, so that no data is needed. Each
symbol is made to last about as long as it does in speech.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

# As in a worker; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import psutil
import torch

from workers.tts.engines.melo_model import Checkpoint, Phrase, import_meloplus

# The configuration that MeloTTS is trained with.
SIZES = {
    "use_spk_conditioned_encoder": True,
    "use_noise_scaled_mas": True,
    "inter_channels": 192,
    "hidden_channels": 192,
    "filter_channels": 768,
    "n_heads": 2,
    "n_layers": 6,
    "n_layers_trans_flow": 3,
    "kernel_size": 3,
    "p_dropout": 0.1,
    "resblock": "1",
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "upsample_rates": [8, 8, 2, 2, 2],
    "upsample_initial_channel": 512,
    "upsample_kernel_sizes": [16, 16, 8, 2, 2],
    "gin_channels": 256,
}
DATA = {
    "sampling_rate": 44_100,
    "filter_length": 2048,
    "hop_length": 512,
    "n_speakers": 256,
    "spk2id": {"FR": 0},
}
# "How are you today? I am ready." has 43 symbols with the blanks between them, in two seconds.
SYMBOLS, FRAMES_EACH = 43, 4.0


def make(folder: Path) -> None:
    """An untrained checkpoint of full size."""
    tables = import_meloplus("text.symbols")
    model = import_meloplus("models").SynthesizerTrn(
        len(tables.symbols),
        DATA["filter_length"] // 2 + 1,  # type: ignore[operator]
        32,
        n_speakers=DATA["n_speakers"],
        num_tones=tables.num_tones,
        num_languages=tables.num_languages,
        **SIZES,
    )
    torch.save({"model": model.state_dict()}, folder / "checkpoint.pth")
    config = {
        "train": {"segment_size": 16_384},
        "data": DATA,
        "model": SIZES,
        "symbols": tables.symbols,
        "num_tones": tables.num_tones,
        "num_languages": tables.num_languages,
    }
    (folder / "config.json").write_text(json.dumps(config))


def phrase(number: int) -> Phrase:
    """A random phrase of two seconds; the same for the same number."""
    dice = torch.Generator().manual_seed(number)
    phones = torch.randint(0, 200, (SYMBOLS,), generator=dice)
    same = torch.full((SYMBOLS,), 6)
    bert = torch.randn(SYMBOLS, 768, generator=dice)
    return Phrase(phones, same, same, bert, 0, 1 / FRAMES_EACH)


def main() -> None:
    parser = argparse.ArgumentParser(description="What MeloTTS costs on this machine.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        started, before = time.perf_counter(), process.memory_info().rss
        checkpoint = Checkpoint(Path(name), max(asked.batches))
        checkpoint.load_model(asked.device)
        taken = time.perf_counter() - started
    grown = (process.memory_info().rss - before) / 1e6
    checkpoint.infer([phrase(0)])
    print(f"{asked.device}, {asked.threads} threads: loaded in {taken:.1f} s, {grown:.0f} MB")
    for size in asked.batches:
        batch = [phrase(number) for number in range(size)]
        times, worked = [], time.process_time()
        for _ in range(asked.times):
            started = time.perf_counter()
            waves = checkpoint.infer(batch)
            times.append(time.perf_counter() - started)
        worked = (time.process_time() - worked) / asked.times
        seconds = sum(map(len, waves)) / checkpoint.sample_rate
        print(
            f"batch of {size}: {min(times):.2f} s for {seconds:.1f} s of audio,"
            f" real-time factor {min(times) / seconds:.2f},"
            f" {worked / seconds:.2f} s of processor time a second,"
            f" {process.memory_info().rss / 1e6:.0f} MB in the process"
        )


if __name__ == "__main__":
    main()
