"""What a run leaves behind: memory and files of the processes, and what they logged."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.chaos.system import System
from bench.fuzz.grammar import MARK

_LINE = re.compile(r"\d\d:\d\d:\d\d [a-z]+ +(?P<said>.*)")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Footprint:
    """One process at one time: resident memory in bytes, and open files."""

    memory: int
    files: int


def footprints(system: System) -> dict[str, Footprint]:
    """Of every process by its name."""
    return {process.name: _of(process.pid) for process in system.processes}


def _of(pid: int) -> Footprint:
    process = psutil.Process(pid)
    return Footprint(process.memory_info().rss, process.num_fds())


def bad_lines(folder: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with the processes' logs, and the line: errors, what is no line of its own, and
    what somebody else put there."""
    for log in sorted(folder.glob("*.log")):
        for line in log.read_text(errors="backslashreplace").split("\n"):
            if problem := _problem(line):
                yield f"{log.stem}'s log has {problem}", repr(line)


def _problem(line: str) -> str | None:
    found = _LINE.fullmatch(line)
    if not line:
        return None
    if found is None:
        return "what is no line of its own"
    if found["said"].startswith(("error:", "critical:")):
        return "an error"
    if found["said"].startswith(MARK) or _CONTROL.search(line):
        return "somebody else's line"
    return None
