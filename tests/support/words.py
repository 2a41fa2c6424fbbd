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


def letter_error_rate(said: str | list[str], understood: str | list[str]) -> float:
    """The same of letters, wherever words begin: what sounds alike counts for little.

    For speech that a recogniser judges: "this guy has blew" for "the sky is blue" is its error.
    """
    reference, hypothesis = (
        ["".join(words(text).split()) for text in ([texts] if isinstance(texts, str) else texts)]
        for texts in (said, understood)
    )
    return float(jiwer.cer(reference, hypothesis))


def word_error_rate(said: str | list[str], understood: str | list[str]) -> float:
    """Wrong, missing and added words over the words said; of several texts, over all of them."""
    reference, hypothesis = (
        [text] if isinstance(text, str) else text for text in (said, understood)
    )
    return float(jiwer.wer([*map(words, reference)], [*map(words, hypothesis)]))
