"""Text as MeloTTS's front-ends can read it, in pieces that are synthesised one by one."""

# ruff: noqa: RUF001 - marks that look alike in different scripts are what this is about

import re
from collections.abc import Iterator

# What their rules know by another character, or stumble over.
_MARKS = str.maketrans(
    {
        "。": ". ",
        "！": "! ",
        "？": "? ",
        "；": "; ",
        "，": ", ",
        "、": ", ",
        "：": ", ",
        "‘": "'",
        "’": "'",
        "–": "-",
        "—": "-",
    }
)
_LATIN = r"a-zA-ZÀ-ÖØ-öø-ÿŒœŸ"
# Letters of the language: what of another script is among them cannot be pronounced.
_LETTERS = {
    "EN": _LATIN,
    "ES": _LATIN,
    "FR": _LATIN,
    "ZH": r"a-zA-Z\u4e00-\u9fa5",
    "JP": r"a-zA-Z\u3041-\u3096\u30a1-\u30fc\u4e00-\u9fff",
    "KR": r"a-zA-Z\uac00-\ud7a3",
}
_OTHERS = r"0-9.,!?;:'…¿¡%$€£&°\-"
_UNREADABLE = {name: re.compile(rf"[^{found}{_OTHERS}]+") for name, found in _LETTERS.items()}
# Their rules for numbers end at some length; nobody says longer ones as a number anyway.
_LONG_NUMBER = re.compile(r"\d{10,}")
# A full stop after a capital, or one and a small letter, ends an initial or a title: "Dr. Smith".
_SENTENCE = re.compile(r"(?<=[.!?…;])(?<!\b[A-Z]\.)(?<!\b[A-Z][a-z]\.)\s+")
_PAUSE = re.compile(r"(?<=[,:])\s+")
# Alone, a word or two is spoken worse than along with its neighbour.
_SHORTEST = 10
# About a quarter of a minute: what is heard next is made in that while, and memory is bounded.
_LONGEST = {"ZH": 80, "JP": 80, "KR": 100}
_LONGEST_LATIN = 200


def pieces(text: str, language: str) -> list[str]:
    """A text's sentences, short ones together, long ones in parts, without what cannot be read.

    Args:
        text: what is to be spoken.
        language: the name of a front-end in `melo_data.FRONT_ENDS`.
    """
    readable = _UNREADABLE[language].sub(" ", text.translate(_MARKS))
    readable = _LONG_NUMBER.sub(lambda number: " ".join(number[0]), readable)
    longest = _LONGEST.get(language, _LONGEST_LATIN)
    found: list[str] = []
    for sentence in _SENTENCE.split(readable):
        for part in _parts(sentence.strip(), longest):
            if found and len(found[-1]) < _SHORTEST:
                found[-1] = f"{found[-1]} {part}"
            else:
                found.append(part)
    if len(found) > 1 and len(found[-1]) < _SHORTEST:
        found[-2:] = [" ".join(found[-2:])]
    return [piece for piece in found if any(character.isalnum() for character in piece)]


def _parts(sentence: str, longest: int) -> Iterator[str]:
    """A sentence in parts of at most `longest` characters: at pauses, else words, else anywhere."""
    part = ""
    for phrase in _PAUSE.split(sentence) if len(sentence) > longest else [sentence]:
        for word in phrase.split(" ") if len(phrase) > longest else [phrase]:
            if part and len(part) + len(word) >= longest:
                yield part
                part = ""
            part = f"{part} {word}" if part else word
            while len(part) > longest:
                yield part[:longest]
                part = part[longest:]
    if part:
        yield part
