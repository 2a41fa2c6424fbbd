"""Checkpoints of MeloTTS's architecture, small and untrained, and data for its text front-ends.

Everything is made with the libraries' own classes and in their own formats. The pronunciations are
MeloTTS's own, from its packages; the BERTs are untrained and split words into letters, NLTK's
tagger has seen one sentence, and its dictionary has one word.
"""

import json
import os
import string
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from workers.tts.engines import melo_data

SPEAKERS = {
    "EN": {"EN-US": 0, "EN-BR": 1, "EN_INDIA": 2},
    "ES": {"ES": 0},
    "FR": {"FR": 0},
    "ZH": {"ZH": 1},
    "JP": {"JP": 0},
    "KR": {"KR": 0},
}
_LATIN = string.ascii_lowercase + string.digits + ".,!?;:'-…¿¡"
_ACCENTS = "áéíóúñüàâçèêëîïôùûœ"
_KANA = "".join(map(chr, range(0x30A1, 0x30FD)))
_HAN = "你好世界今天气很不错我是过得怎么样准备了"
_HANGUL = "안녕하세요반갑습니다오늘어떠준비됐"
_CHARACTERS = {
    "bert-base-uncased": _LATIN,
    "dccuchile/bert-base-spanish-wwm-uncased": _LATIN + _ACCENTS,
    "dbmdz/bert-base-french-europeana-cased": _LATIN + string.ascii_uppercase + _ACCENTS,
    "bert-base-multilingual-uncased": _LATIN + _HAN,
    "tohoku-nlp/bert-base-japanese-v3": _KANA,
    "kykim/bert-kor-base": _LATIN + _HANGUL,
}
# The sizes of MeloTTS's checkpoints are in bench/melo.py; these are as small as they can be with
# the same parts. Decoders must have a sample for each of a frame's 512.
_SMALL = {
    "use_spk_conditioned_encoder": True,
    "use_noise_scaled_mas": True,
    "inter_channels": 32,
    "hidden_channels": 32,
    "filter_channels": 32,
    "n_heads": 2,
    "n_layers": 4,
    "n_layers_trans_flow": 3,
    "kernel_size": 3,
    "p_dropout": 0.1,
    "resblock": "1",
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 5]],
    "upsample_rates": [8, 8, 2, 2, 2],
    "upsample_initial_channel": 64,
    "upsample_kernel_sizes": [16, 16, 8, 2, 2],
    "gin_channels": 16,
}
# Frames of 12 ms that a symbol lasts at a speed of 1: so many that half of them are fewer.
_FRAMES = 4


@contextmanager
def english(folder: Path) -> Iterator[dict[str, Any]]:
    """The settings for an English checkpoint, made in `folder`."""
    use_front_ends()
    yield {"tts_models": (str(make(folder, "EN")),)}


@cache
def use_front_ends() -> dict[str, str]:
    """Makes the front-ends' data, once, and has this process read it: the variables that say so."""
    folder = Path(tempfile.mkdtemp(prefix="melo-"))
    variables = {
        "HF_HUB_CACHE": str(folder / "hub"),
        "NLTK_DATA": str(folder / "nltk"),
        # As workers have it: see shared/worker.py.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    assert "huggingface_hub" not in sys.modules, "it read its variables before they were set"
    os.environ.update(variables)
    melo_data.stay_offline()
    for name, characters in _CHARACTERS.items():
        _make_bert(folder / "hub", name, characters)
    # Transformers 4.27 takes a cache without it for an older one's.
    (folder / "hub/version.txt").write_text("1")
    _make_nltk(folder / "nltk")
    return variables


def make(folder: Path, language: str, **model: Any) -> Path:
    """A folder with an untrained checkpoint; `model` are sizes other than the small ones."""
    import torch

    from workers.tts.engines.melo_model import import_meloplus

    config = configuration(language, **{**_SMALL, **model})
    torch.manual_seed(1)
    made = import_meloplus("models").SynthesizerTrn(
        len(config["symbols"]),
        config["data"]["filter_length"] // 2 + 1,
        config["train"]["segment_size"] // config["data"]["hop_length"],
        n_speakers=config["data"]["n_speakers"],
        num_tones=config["num_tones"],
        num_languages=config["num_languages"],
        **config["model"],
    )
    # What an untrained predictor says is near 0, the logarithm of one frame.
    torch.nn.init.constant_(made.dp.proj.bias, torch.tensor(_FRAMES).log().item() / 0.8)
    found = folder / language
    found.mkdir(parents=True)
    (found / "config.json").write_text(json.dumps(config))
    saved = {"model": made.state_dict(), "iteration": 0, "optimizer": None, "learning_rate": 3e-4}
    torch.save(saved, found / "checkpoint.pth")
    return found


def configuration(language: str, **model: Any) -> dict[str, Any]:
    """A checkpoint's config.json with the sizes of its model, as MeloTTS's have it."""
    from workers.tts.engines.melo_model import import_meloplus

    tables = import_meloplus("text.symbols")
    return {
        "train": {"segment_size": 16_384},
        "data": {
            "sampling_rate": 44_100,
            "filter_length": 2048,
            "hop_length": 512,
            "add_blank": True,
            "n_speakers": 256,
            "spk2id": SPEAKERS[language],
        },
        "model": model,
        "symbols": tables.symbols,
        "num_tones": tables.num_tones,
        "num_languages": tables.num_languages,
    }


def _make_bert(hub: Path, name: str, characters: Sequence[str]) -> None:
    """A model in the hub's cache, of the width that MeloTTS takes."""
    from transformers import BertConfig, BertForMaskedLM, BertJapaneseTokenizer, BertTokenizerFast

    repository = hub / f"models--{name.replace('/', '--')}"
    folder = repository / "snapshots/0"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0")
    within = [f"##{character}" for character in characters if character.isalnum()]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *within]
    words = folder / "vocab.txt"
    words.write_text("\n".join(vocabulary), "utf-8")
    if "japanese" in name:
        tokenizer = BertJapaneseTokenizer(
            str(words),
            word_tokenizer_type="mecab",
            subword_tokenizer_type="wordpiece",
            mecab_kwargs={"mecab_dic": "unidic_lite"},
        )
    else:
        tokenizer = BertTokenizerFast(str(words), do_lower_case="uncased" in name)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(vocabulary), num_hidden_layers=2, **sizes)
    BertForMaskedLM(config).save_pretrained(folder)


def _make_nltk(folder: Path) -> None:
    for name in ("corpora", "taggers"):
        (folder / name).mkdir(parents=True)
    with zipfile.ZipFile(folder / "corpora/cmudict.zip", "w") as dictionary:
        dictionary.writestr("cmudict/cmudict", "HELLO 1 HH AH0 L OW1\n")
    # An empty one, for its name alone is looked for.
    zipfile.ZipFile(folder / "taggers/averaged_perceptron_tagger.zip", "w").close()
    from nltk.tag.perceptron import PerceptronTagger

    tagger = PerceptronTagger(load=False)
    tagger.train([[("hello", "UH"), ("world", "NN"), ("walks", "VBZ")]])
    tagger.save_to_json(lang="eng", loc=str(folder / "taggers/averaged_perceptron_tagger_eng"))


if __name__ == "__main__":
    # For a Parley in another environment: what its TTS worker needs, as JSON.
    variables = use_front_ends()
    print(json.dumps({**variables, "PARLEY_TTS_MODELS": str(make(Path(sys.argv[1]), "EN"))}))
