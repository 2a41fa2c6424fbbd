"""MeloTTS's model and text front-ends, from its own classes, with nothing that fetches or trains.

`meloplus` is the registry's package of https://github.com/myshell-ai/MeloTTS with the same code.
"""

import io
import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import msgspec
import torch

from shared.audio import Float32
from shared.registry import CannotStart
from workers.tts.engines.melo_batches import Batches
from workers.tts.engines.melo_data import FRONT_ENDS

# The settings of MeloTTS's own interface: how much of each length comes from the stochastic
# predictor, and how much chance is in the voice and in that predictor.
_SDP_RATIO, _NOISE, _NOISE_W = 0.2, 0.6, 0.8
# Width of the features of the Chinese BERT, and of all others: fixed in the architecture. No
# checkpoint of today takes the former, for Chinese is read by the one with English in it.
_CHINESE_WIDTH, _WIDTH = 1024, 768

# MeloTTS's front-ends are modules with state of their own, and not made for threads.
_reading = threading.Lock()


class _Train(msgspec.Struct):
    segment_size: int


class _Data(msgspec.Struct):
    sampling_rate: int
    filter_length: int
    hop_length: int
    n_speakers: int
    spk2id: dict[str, int]
    add_blank: bool = True
    disable_bert: bool = False


class _Config(msgspec.Struct):
    """What is read of a checkpoint's config.json."""

    train: _Train
    data: _Data
    model: dict[str, Any]
    symbols: list[str]
    num_tones: int
    num_languages: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of text as the model takes it, with its speaker and how fast it is to be spoken.

    int64 `phones`, `tones` and `languages` (n,); float32 `bert` (n, 768).
    """

    phones: torch.Tensor
    tones: torch.Tensor
    languages: torch.Tensor
    bert: torch.Tensor
    speaker: int
    speed: float


class Checkpoint:
    """A model of MeloTTS: one language, and its speakers. Threads may speak at once.

    Whichever thread is first speaks what all that wait want said, as one padded batch. The voices
    of a batch differ from those of single phrases by chance alone, but for the last 50 ms of each
    phrase, where the decoder's convolutions look beyond its end: into zeros, which are silence,
    or into what it makes of the padding.
    """

    def __init__(self, folder: Path, batch: int) -> None:
        """Reads what the model is, and loads nothing; `batch` phrases at most are spoken together.

        Raises:
            CannotStart: `folder` holds no checkpoint of MeloTTS's, or one of no language it reads.
        """
        self._file = folder / "checkpoint.pth"
        if not self._file.is_file():
            raise CannotStart(f"{folder} must hold a MeloTTS model's checkpoint.pth, and does not")
        self._config = _read(folder / "config.json")
        self.language = _language(self._config, folder)
        self.speakers = self._config.data.spk2id
        self.sample_rate = self._config.data.sampling_rate
        self.size_bytes = self._file.stat().st_size
        self._ids = {symbol: number for number, symbol in enumerate(self._config.symbols)}
        self._batches = Batches(self.infer, batch)

    def load(self, device: str) -> None:
        """Loads the weights and the front-end onto `device`, cpu or cuda."""
        front_end = FRONT_ENDS[self.language]
        self._reader = import_meloplus(f"text.{front_end.reader}")
        self._features = import_meloplus(f"text.{front_end.features}")
        # It logs each start at length.
        logging.getLogger("jieba").setLevel(logging.WARNING)
        self.load_model(device)

    def load_model(self, device: str) -> None:
        """Loads the weights alone: without a front-end it can `infer`, and not `speak`."""
        config, data = self._config, self._config.data
        model = import_meloplus("models").SynthesizerTrn(
            len(config.symbols),
            data.filter_length // 2 + 1,
            config.train.segment_size // data.hop_length,
            n_speakers=data.n_speakers,
            num_tones=config.num_tones,
            num_languages=config.num_languages,
            **config.model,
        )
        saved = torch.load(self._file, map_location="cpu", weights_only=True, mmap=True)
        model.load_state_dict(saved["model"])
        with redirect_stdout(io.StringIO()):  # which it says it does
            model.dec.remove_weight_norm()
        self._device, self._model = device, model.eval().to(device)

    def speak(self, text: str, speaker: int, speed: float) -> Float32:
        """A piece of text, spoken: float32 (n,) at `sample_rate`; blocks."""
        return self._batches.run(self.read(text, speaker, speed))

    def read(self, text: str, speaker: int, speed: float) -> Phrase:
        """What `get_text_for_tts_infer` of MeloTTS does; a phoneme it does not know is `UNK`."""
        name = FRONT_ENDS[self.language].name
        tables, unknown = import_meloplus("text.symbols"), self._ids["UNK"]
        with _reading:
            normal = self._reader.text_normalize(text)
            phones, tones, lengths = self._reader.g2p(normal)
            rows = [
                [self._ids.get(phone, unknown) for phone in phones],
                [tone + tables.language_tone_start_map[name] for tone in tones],
                [tables.language_id_map[name]] * len(phones),
            ]
            if self._config.data.add_blank:
                intersperse = import_meloplus("commons").intersperse
                rows = [intersperse(row, 0) for row in rows]
                lengths = [2 * length for length in lengths]
                lengths[0] += 1
            if self._config.data.disable_bert:
                bert = torch.zeros(len(rows[0]), _WIDTH)
            else:
                bert = self._features.get_bert_feature(normal, lengths, self._device).mT
        ids, tones, languages = map(torch.tensor, rows)
        return Phrase(ids, tones, languages, bert, speaker, speed)

    def infer(self, phrases: Sequence[Phrase]) -> list[Float32]:
        """The phrases, spoken in one batch: float32 (n,) each, at `sample_rate`."""

        def padded(name: str) -> torch.Tensor:
            rows = [getattr(phrase, name) for phrase in phrases]
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self._device)

        phones, bert = padded("phones"), padded("bert").mT
        lengths = torch.tensor([len(phrase.phones) for phrase in phrases], device=self._device)
        speakers = torch.tensor([phrase.speaker for phrase in phrases], device=self._device)
        slowness = torch.tensor([1 / phrase.speed for phrase in phrases], device=self._device)
        with torch.inference_mode():
            audio, _, frames, _ = self._model.infer(
                phones,
                lengths,
                speakers,
                padded("tones"),
                padded("languages"),
                bert.new_zeros(len(phrases), _CHINESE_WIDTH, phones.shape[1]),
                bert,
                noise_scale=_NOISE,
                length_scale=slowness[:, None, None],
                noise_scale_w=_NOISE_W,
                sdp_ratio=_SDP_RATIO,
            )
            samples = frames.sum((1, 2)).long() * self._config.data.hop_length
            waves = audio[:, 0].float().cpu().numpy()
        return [wave[:number] for wave, number in zip(waves, samples.tolist(), strict=True)]


def _read(file: Path) -> _Config:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Config)
    except (OSError, msgspec.MsgspecError) as error:
        raise CannotStart(f"{file} must be a MeloTTS model's configuration: {error}") from error


def _language(config: _Config, folder: Path) -> str:
    """The model's language, which only the names of its speakers tell: EN-US, EN_INDIA, ZH."""
    speakers = config.data.spk2id
    found = {name[:2] for name in speakers}
    if len(found) != 1 or not found <= FRONT_ENDS.keys():
        raise CannotStart(
            f"the speakers of {folder} must be named by one language of {', '.join(FRONT_ENDS)},"
            f" as EN-US is, not {', '.join(sorted(speakers)) or 'be none'}"
        )
    return found.pop()


def import_meloplus(name: str) -> Any:
    """A module of the package, without what the package's `__init__` imports before it.

    That is torchaudio, librosa and what downloads checkpoints, which speaking does not need.
    """
    if "meloplus" not in sys.modules:
        spec = find_spec("meloplus")
        assert spec is not None
        sys.modules["meloplus"] = module_from_spec(spec)
    # Not import_module's answer: `meloplus.text` puts a list in the place of its `symbols`.
    import_module(f"meloplus.{name}")
    return sys.modules[f"meloplus.{name}"]
