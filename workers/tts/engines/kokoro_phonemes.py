"""What Kokoro is given to speak: text as the phonemes it was trained with, for each language."""

import logging
from collections.abc import Callable

from phonemizer.backend import EspeakBackend

from shared.registry import CannotStart

# By the first letter of a voice's name; https://huggingface.co/hexgrad/Kokoro-82M lists them.
LANGUAGES = {
    "a": "en",
    "b": "en",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt",
    "z": "zh",
}
_ESPEAK = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}

Phonemiser = Callable[[str], str]

# It warns of every text in which espeak joins two words, as it does with "of the".
_WORDS_JOINED = logging.getLogger(f"{__name__}.espeak")
_WORDS_JOINED.setLevel(logging.ERROR)


def phonemiser(letter: str) -> Phonemiser:
    """What makes phonemes of text for voices whose names begin with `letter`; not thread-safe.

    espeak-ng's library must have been set, as `kokoro_onnx.Tokenizer` does.

    Raises:
        CannotStart: no voice of Kokoro begins so, or a package that it takes is not here.
    """
    if letter not in LANGUAGES:
        raise CannotStart(
            f"a voice of Kokoro must begin with one of {', '.join(LANGUAGES)}, not {letter!r}"
        )
    try:
        if letter == "j":
            return _japanese()
        return _chinese() if letter == "z" else _espeak(_ESPEAK[letter])
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"Kokoro's voices for {LANGUAGES[letter]!r} need the package {error.name!r}, which"
            " Parley's extra `kokoro` installs on Python 3.11 and 3.12"
        ) from error


def _espeak(language: str) -> Phonemiser:
    # A foreign word's flags, "(en)", would be spoken.
    backend = EspeakBackend(
        language,
        preserve_punctuation=True,
        with_stress=True,
        language_switch="remove-flags",
        logger=_WORDS_JOINED,
    )
    return lambda text: " ".join("".join(backend.phonemize([text])).split())


def _japanese() -> Phonemiser:
    from misaki.cutlet import Cutlet

    cutlet = Cutlet()
    return lambda text: str(cutlet(text)[0])


def _chinese() -> Phonemiser:
    import jieba
    from misaki.zh import ZHG2P

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    g2p = ZHG2P()
    return lambda text: str(g2p(text)[0])
