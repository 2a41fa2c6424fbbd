"""Splits an answer, while it is being written, into segments that are spoken one after another.

The first segment is short, part of a clause if need be, so that speech can begin; those after it
are sentences. What decides is the text alone, never the steps in which it came: a worker that goes
on where another left off feeds what was emitted and gets the same segments.

Every character's segment is known when the character arrives. A boundary is put after a space or
before a character, never before something that was fed already, so nothing is held back.
"""

# ruff: noqa: RUF001 - marks that look alike in different scripts are what this is about

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum

# Lengths of a segment in letters, those of East Asian scripts counted thrice: about how long it
# takes to say. A sentence shorter than the first is spoken together with the next; beyond the
# others ever weaker places will do to split.
_SENTENCE_FROM = 30
_CLAUSE_FROM = 120
_WORD_FROM = 200
_ANYWHERE_FROM = 300
# The first segment may be a clause of three words, and must not keep anybody waiting: four letters
# take a model about a token. It ends after a short word only when it is long, since those mostly
# lean on the next one ("of", "the", "that", "der", "las"): docs/performance/llm.md.
_FIRST_CLAUSE_WORDS = 3
_FIRST_WORD_FROM = 45
_FIRST_SHORT_WORD_FROM = 80
_SHORT_WORD_BELOW = 5

_OPENERS = "\"'“‘«„([{*_`#>-"
_CLOSERS = "\"'”’»)]}*_`」』】）》"
# Marks that end something if a space follows.
_SENTENCE_MARKS = frozenset(".!?؟۔।")
_CLAUSE_MARKS = frozenset(",;:،؛…–")
# Marks that end something whatever follows, in scripts that have no spaces, and the long dash.
_BARE_SENTENCE_MARKS = frozenset("。！？")
_BARE_CLAUSE_MARKS = frozenset("，、；：—")
_NOT_FIRST = frozenset(_CLOSERS).union(
    _SENTENCE_MARKS, _CLAUSE_MARKS, _BARE_SENTENCE_MARKS, _BARE_CLAUSE_MARKS
)

_ABBREVIATIONS = re.compile(
    r"(?:mr|mrs|ms|dr|prof|st|sr|jr|rev|gen|col|sgt|capt|lt|mt|vs|etc|approx|ca|cf|al|fig|vol|pp"
    r"|dept|est|inc|ltd|corp|jan|feb|apr|jun|jul|aug|sep|sept|oct|nov|dec)\.",
    re.IGNORECASE,
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+")  # J. and U.S. and e.g.
_NUMBERING = re.compile(r"\d{1,3}\.")


class _Break(IntEnum):
    """How good a place is to split."""

    NONE = 0
    SHORT_WORD = 1
    WORD = 2
    CLAUSE = 3
    SENTENCE = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """The next text of a segment; `complete` says that it is the segment's last.

    The pieces of a segment, put together, are the segment; the segments, put together, are the
    text. The last piece of a segment may be empty.
    """

    segment: int
    text: str
    complete: bool


class Splitter:
    """Splits one text. Every segment but the last has a letter or a digit to be spoken."""

    def __init__(self) -> None:
        self._segment = -1
        self._begin()

    def feed(self, text: str) -> list[Piece]:
        """Takes in the next text and tells which segments it belongs to."""
        pieces: list[Piece] = []
        start = 0
        for position, character in enumerate(text):
            if self._ends_before(character):
                pieces.append(self._complete(text[start:position]))
                start = position
            if self._ends_with(character):
                pieces.append(self._complete(text[start : position + 1]))
                start = position + 1
        if start < len(text):
            pieces.append(Piece(self._segment, text[start:], complete=False))
        return pieces

    def flush(self) -> list[Piece]:
        """Ends the text: completes the segment at hand, if there is one."""
        return [self._complete("")] if self._size else []

    def _begin(self) -> None:
        self._segment += 1
        self._size = self._weight = self._words = 0
        self._speakable = False
        self._word = ""  # since the last space
        self._opens = True  # that word begins a sentence or a line
        self._bare = _Break.NONE  # what marks right before the next character allow

    def _complete(self, text: str) -> Piece:
        piece = Piece(self._segment, text, complete=True)
        self._begin()
        return piece

    def _ends_before(self, character: str) -> bool:
        """Whether the segment ended with the character before this one."""
        if character.isspace() or character in _NOT_FIRST:
            return False
        if self._weight >= _ANYWHERE_FROM and self._speakable:
            return unicodedata.category(character) not in {"Mn", "Mc", "Me", "Cf"}
        return self._allows(self._bare)

    def _ends_with(self, character: str) -> bool:
        """Takes in a character and tells whether the segment ends with it."""
        self._size += 1
        self._speakable |= character.isalnum()
        self._weight += _weight_of(character)
        self._words += _is_wide(character) and character.isalnum()
        if character.isspace():
            return self._allows(self._end_word(newline=character in "\n\r"))
        self._word += character
        if character in _BARE_SENTENCE_MARKS:
            self._bare = _Break.SENTENCE
        elif character in _BARE_CLAUSE_MARKS:
            self._bare = max(self._bare, _Break.CLAUSE)
        elif character not in _CLOSERS:
            self._bare = _Break.NONE
        return False

    def _allows(self, place: _Break) -> bool:
        """Whether the segment is long enough to end at such a place."""
        first = self._segment == 0
        if not self._speakable or place is _Break.NONE:
            return False
        if place is _Break.SENTENCE:
            return first or self._weight >= _SENTENCE_FROM
        if place is _Break.CLAUSE:
            words = self._words + _has_letters(self._word)
            return self._weight >= _CLAUSE_FROM or (first and words >= _FIRST_CLAUSE_WORDS)
        if not first:
            return self._weight >= _WORD_FROM
        short = place is _Break.SHORT_WORD
        return self._weight >= (_FIRST_SHORT_WORD_FROM if short else _FIRST_WORD_FROM)

    def _end_word(self, newline: bool) -> _Break:
        """What place the space after the word at hand, if any, is."""
        place = _Break.SENTENCE if newline else self._after_word()
        self._words += _has_letters(self._word)
        continues = any(character.isalnum() for character in self._word)
        self._opens = place is _Break.SENTENCE or (self._opens and not continues)
        self._word = ""
        self._bare = _Break.NONE
        return place

    def _after_word(self) -> _Break:
        word = self._word.rstrip(_CLOSERS)
        last = word[-1:]
        if last in _BARE_SENTENCE_MARKS:
            return _Break.SENTENCE
        if word == "-" or last in _BARE_CLAUSE_MARKS or last in _CLAUSE_MARKS:
            return _Break.CLAUSE
        if last in _SENTENCE_MARKS:
            return self._after_full_stop(word) if last == "." else _Break.SENTENCE
        return _plain(word)

    def _after_full_stop(self, word: str) -> _Break:
        if word.endswith(".."):
            return _Break.CLAUSE
        word = word.lstrip(_OPENERS)
        numbering = self._opens and _NUMBERING.fullmatch(word)
        abbreviation = _ABBREVIATIONS.fullmatch(word) or _INITIALS.fullmatch(word)
        return _plain(word) if numbering or abbreviation else _Break.SENTENCE


def _plain(word: str) -> _Break:
    """What place there is after a word that ends nothing. A number leans on what it counts."""
    weight = sum(_weight_of(character) for character in word if not character.isdigit())
    return _Break.WORD if weight >= _SHORT_WORD_BELOW else _Break.SHORT_WORD


def _weight_of(character: str) -> int:
    """About how long it takes to say, in letters."""
    return 3 if _is_wide(character) else 1


def _is_wide(character: str) -> bool:
    """Whether it belongs to a script where one character is a syllable or a word."""
    return unicodedata.east_asian_width(character) in {"W", "F"}


def _has_letters(word: str) -> bool:
    """Whether a word has letters or digits besides wide ones, which are words of their own."""
    return any(character.isalnum() and not _is_wide(character) for character in word)
