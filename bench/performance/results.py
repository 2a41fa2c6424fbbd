"""What the steps left: read back as the types that the tools wrote."""

from pathlib import Path
from typing import TypeVar

import msgspec

from bench.load.summary import Summary
from bench.performance.machine import Machine

T = TypeVar("T")


class Unreadable(Exception):
    """A step's result is not there, or not what its tool should have written; says which."""


class Taken(msgspec.Struct):
    """When a step was run: the day, the state of the project, how long it took, and how much of the
    processors other programs used just before, as a share."""

    day: str
    commit: str
    seconds: float
    others: float


class Circumstances(msgspec.Struct, kw_only=True):
    """Of all results in a folder."""

    machine: Machine
    taken: dict[str, Taken] = {}


class Results:
    """The results kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where the result of a step is kept."""
        return self._folder / f"{name}.json"

    def read(self, name: str, kind: type[T]) -> T:
        """The result of a step as `kind`.

        Raises:
            Unreadable: it is not there, or is something else.
        """
        try:
            return msgspec.json.decode(self.path(name).read_bytes(), type=kind)
        except FileNotFoundError:
            part = name.partition("-")[0]
            raise Unreadable(
                f"{name} was not measured: python -m bench.performance --only {part}"
            ) from None
        except msgspec.DecodeError as error:
            raise Unreadable(f"{name} is not what its tool should write: {error}") from error

    def runs(self, name: str) -> list[Summary]:
        """The runs of the load generator in a step. Raises as `read` does."""
        runs: list[Summary] = self.read(name, list[Summary])
        return sorted(runs, key=lambda run: run.scenario.sessions)

    def circumstances(self) -> Circumstances:
        """Where and when everything was taken. Raises as `read` does."""
        return self.read("circumstances", Circumstances)

    def note(self, machine: Machine, name: str, taken: Taken) -> None:
        """Keeps when a step was run, and on which machine."""
        path = self.path("circumstances")
        before = self.circumstances().taken if path.exists() else {}
        noted = Circumstances(machine=machine, taken={**before, name: taken})
        path.write_bytes(msgspec.json.format(msgspec.json.encode(noted), indent=2))
