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


def word_error_rate(said: str | list[str], understood: str | list[str]) -> float:
    """Wrong, missing and added words over the words said; of several texts, over all of them."""
    reference, hypothesis = (
        [text] if isinstance(text, str) else text for text in (said, understood)
    )
    return float(jiwer.wer([*map(words, reference)], [*map(words, hypothesis)]))
