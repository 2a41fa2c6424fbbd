"""Text as it is spoken: no Markdown, no emoji, no address letter by letter."""

# ruff: noqa: RUF001 - marks that look alike in different scripts are what this is about

import re
import unicodedata
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

# A segment may begin with spaces that mean nothing: it is never a code block for that.
_MARKDOWN = MarkdownIt("commonmark").disable("code").enable(["strikethrough", "table"])
_URL = re.compile(
    r"https?://(?:www\.)?([\w.-]*\w)(?:[:/?#][^\s<>\"')\]]*?)?(?=[.,;:!?]*(?:[\s<>\"')\]]|$))",
    re.IGNORECASE,
)
_TIMES = re.compile(r"(?<=\d)\s?\*\s?(?=\d)")
# Symbols with a spoken name that is worth hearing; all others go.
_SPOKEN_SYMBOLS = frozenset("°+=<>×÷±$€£¥₹^%&№©®™")
# What is left of Markdown where a segment ends in the middle of it.
_LEFTOVERS = re.compile(r"\*+|`+|~~+|(?<!\w)_+|_+(?!\w)|^\s*(?:#+|>+|[-+•])(?=\s)|\|")
_SPACE = re.compile(r"\s+")
_ENDS = tuple(".!?:;,…。！？：；，、)\"'”’")


def speakable(text: str) -> str:
    """What of a piece of an answer is to be pronounced, in one line; may be empty.

    Emphasis, headings, quotes and table rules lose their marks and keep their words; list items
    keep their numbers; of a link stays its text, of a bare address its host. Blocks that end in
    no punctuation get a full stop, for the pause.
    """
    blocks = [_plain(block) for block in _blocks(_MARKDOWN.parse(text.strip()))]
    said = [block for block in blocks if any(character.isalnum() for character in block)]
    joined = [block if block.endswith(_ENDS) else f"{block}." for block in said[:-1]]
    return " ".join([*joined, *said[-1:]])


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    """The text of each paragraph, heading, cell or list item, in order."""
    number = ""
    for token in tokens:
        if token.type == "list_item_open":
            number = f"{token.info}{token.markup} " if token.info else ""
        elif token.type == "inline":
            yield number + "".join(_inline(token.children or []))
            number = ""
        elif token.type == "fence":
            yield token.content


def _inline(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in {"softbreak", "hardbreak"} or token.content.lower().startswith("<br"):
            yield " "
        elif token.type in {"text", "code_inline", "image"}:
            yield token.content


def _plain(text: str) -> str:
    text = _URL.sub(r"\1", text)
    text = _LEFTOVERS.sub(" ", _TIMES.sub(" × ", text))
    text = "".join(_character(character) for character in text)
    return _SPACE.sub(" ", text).strip()


def _character(character: str) -> str:
    """The character, a space for one that is seen only, nothing for one that joins others."""
    category = unicodedata.category(character)
    if category[0] == "S":
        return character if character in _SPOKEN_SYMBOLS else " "
    if category in {"Cf", "Me"} or "\ufe00" <= character <= "\ufe0f":
        return ""
    return " " if category[0] in "CZ" else character
