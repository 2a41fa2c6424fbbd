"""The documentation's pages, and the commands that they tell people to run."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(?P<text>(?:parley|python|make|curl)\s[^`]+)`")
_COMMENT = re.compile(r"\s+#\s.*$", re.MULTILINE)
_CHAINS = ("&&", "|")
_VARIABLE = re.compile(r"[A-Z][A-Z_]*=")
_VARIABLES = re.compile(r"^(?:[A-Z][A-Z_]*=\S* )+")
# Two spaces after the name are what `parley say` prints.
_COMMAND = re.compile(
    r"(?:\.venv/bin/)?(?:parley|python|make|curl|docker|git|pip|sh|export|for|vllm|ollama"
    r"|text-generation-launcher|llama-server) (?! )"
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page. `whole` are those in blocks, which can be run as they stand; sentences
    mention commands."""

    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return " ".join(self.words)


def fenced(page: Path, *languages: str) -> list[str]:
    """The page's blocks of code in these languages."""
    found = _FENCED.finditer(page.read_text("utf-8"))
    return [match["text"] for match in found if match["language"] in languages]


def commands(page: Path) -> list[Command]:
    """What the page tells to run."""
    return [*_blocks(page), *_sentences(page)]


def settings(page: Path) -> list[dict[str, str]]:
    """The variables that the page says to set, those of a block together."""
    found = []
    for block in fenced(page, "", "sh"):
        lines = [line for line in block.splitlines() if _VARIABLE.match(line)]
        if lines:
            words = [word for line in lines for word in _words(line) if _VARIABLE.match(word)]
            found.append(dict(word.split("=", 1) for word in words))
    return found


def _blocks(page: Path) -> list[Command]:
    found = []
    for block in fenced(page, "", "sh"):
        for line in _COMMENT.sub("", block.replace("\\\n", " ")).splitlines():
            if _COMMAND.match(f"{_VARIABLES.sub('', line)} "):
                found += _chain(line, whole=True)
    return found


def _sentences(page: Path) -> list[Command]:
    found = _INLINE.finditer(_FENCED.sub("", page.read_text("utf-8")))
    return [each for match in found for each in _chain(match["text"], whole=False)]


def _chain(line: str, *, whole: bool) -> list[Command]:
    """The commands of a line, without the variables before them."""
    parts: list[list[str]] = [[]]
    for word in _words(line):
        if word in _CHAINS:
            parts.append([])
        elif parts[-1] or not _VARIABLE.match(word):
            parts[-1].append(word.removeprefix(".venv/bin/"))
    return [Command(tuple(part), whole) for part in parts]


def _words(line: str) -> list[str]:
    """The line as a shell has it; one that goes on in the next, as far as it goes."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()
