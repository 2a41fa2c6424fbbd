"""Comparing what was said with what was understood."""

import re

import jiwer

_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def words(text: str) -> str:
    """`text` in lower case, without punctuation, small numbers written out."""
    plain = re.sub(r"[^\w\s']", " ", text.lower())
    return " ".join(
        _NUMBERS[int(word)] if word.isdigit() and int(word) < len(_NUMBERS) else word
        for word in plain.split()
    )


def word_error_rate(said: str, understood: str) -> float:
    """Wrong, missing and added words over the words said."""
    return float(jiwer.wer(words(said), words(understood)))
