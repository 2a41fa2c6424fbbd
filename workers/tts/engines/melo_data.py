"""The data that MeloTTS's text front-ends read, and whether it is here.

MeloTTS fetches all of it where it is first used. Parley never does: an image has it baked in
(`deploy/melo/fetch_data.py`), and what is missing is named before anything is loaded.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from shared.registry import CannotStart

_JAPANESE_BERT = "tohoku-nlp/bert-base-japanese-v3"
_ENGLISH_BERT = "bert-base-uncased"
# `g2p_en` looks for the first of them by its file and uses the second, its form for NLTK 3.9 on.
_TAGGER = ("taggers/averaged_perceptron_tagger.zip", "taggers/averaged_perceptron_tagger_eng")
_DICTIONARY = ("corpora/cmudict.zip",)


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """How MeloTTS reads a language, and what it needs for that beside its Python packages.

    `name` is the language in MeloTTS's tables of tones and languages, `code` as ISO 639-1;
    `reader` is the module of `meloplus.text` that turns text into phonemes, `features` the one
    that adds the hidden states of `bert`, a model on the Hugging Face hub. `tokenizers` are of
    models there whose weights it does not use, `nltk` is data of NLTK's.
    """

    name: str
    code: str
    reader: str
    features: str
    bert: str
    tokenizers: tuple[str, ...] = ()
    nltk: tuple[str, ...] = ()


# By the language's name in MeloTTS's speakers. The reader of English takes a helper from that of
# Japanese and so loads its tokenizer; Chinese has English words in it and needs all that they do.
FRONT_ENDS = {
    "EN": FrontEnd(
        "EN",
        "en",
        "english",
        "english_bert",
        _ENGLISH_BERT,
        (_JAPANESE_BERT,),
        (*_TAGGER, *_DICTIONARY),
    ),
    "ES": FrontEnd(
        "ES", "es", "spanish", "spanish_bert", "dccuchile/bert-base-spanish-wwm-uncased"
    ),
    "FR": FrontEnd("FR", "fr", "french", "french_bert", "dbmdz/bert-base-french-europeana-cased"),
    "ZH": FrontEnd(
        "ZH_MIX_EN",
        "zh",
        "chinese_mix",
        "chinese_mix",
        "bert-base-multilingual-uncased",
        (_ENGLISH_BERT, _JAPANESE_BERT),
        (*_TAGGER, *_DICTIONARY),
    ),
    "JP": FrontEnd("JP", "ja", "japanese", "japanese_bert", _JAPANESE_BERT),
    "KR": FrontEnd("KR", "ko", "korean", "korean", "kykim/bert-kor-base", (), _DICTIONARY),
}

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files that may hold a BERT's weights, the better first."""


class DataMissing(CannotStart):
    """A front-end's data is not on this machine. The message says what, and how to get it."""

    def __init__(self, language: str, what: str) -> None:
        super().__init__(
            f"MeloTTS reads {language} with {what}, which is not on this machine:"
            f" `python deploy/melo/fetch_data.py {language}` fetches it"
        )


def stay_offline() -> None:
    """Forbids what is loaded from here on to fetch anything.

    Only before the first import of huggingface_hub and of Transformers, which read it then.
    """
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    from huggingface_hub.constants import HF_HUB_CACHE

    # Transformers 4.27 knows the cache's place by another variable than the hub's library.
    os.environ["TRANSFORMERS_CACHE"] = HF_HUB_CACHE


def check(languages: Collection[str]) -> int:
    """Makes sure that everything is here that the front-ends of these languages read.

    Returns:
        The size of their BERTs' weights, in bytes.

    Raises:
        DataMissing: something is not; the first of it is named.
    """
    size = 0
    for language in languages:
        front_end = FRONT_ENDS[language]
        for name in front_end.tokenizers:
            _snapshot(language, name)
        size += _weights(language, front_end.bert).stat().st_size
        for resource in front_end.nltk:
            _check_nltk(language, resource)
    return size


def _snapshot(language: str, name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise DataMissing(language, f"the model {name!r}") from error


def _weights(language: str, name: str) -> Path:
    folder = _snapshot(language, name)
    for file in WEIGHTS:
        if (folder / file).is_file():
            return folder / file
    raise DataMissing(language, f"the weights of the model {name!r}")


def _check_nltk(language: str, resource: str) -> None:
    import nltk

    try:
        nltk.data.find(resource)
    except LookupError as error:
        raise DataMissing(language, f"NLTK's {resource!r}") from error
