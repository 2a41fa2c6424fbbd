"""Which repository of the Hugging Face hub a model is in, and which of its files it takes."""

import re
from dataclasses import dataclass
from pathlib import Path

# One repository for all: https://huggingface.co/rhasspy/piper-voices
_PIPER_VOICES = "rhasspy/piper-voices"
_PIPER_VOICE = re.compile(
    r"(?P<code>(?P<language>[a-z]{2,3})_[A-Z]{2})-(?P<name>\w+)-(?P<quality>x_low|low|medium|high)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Files of a repository: those that match `patterns`, or all; the model is its `folder`."""

    repository: str
    folder: str = ""
    patterns: list[str] | None = None


def hub_files(name: str) -> HubFiles | None:
    """Where the model `name` is on the hub; None if that is no name of a model there.

    A name is `owner/name`, or a Piper voice's: `fr_FR-siwis-medium`.
    """
    if voice := _PIPER_VOICE.fullmatch(name):
        folder = "/".join(voice.group("language", "code", "name", "quality"))
        both = [f"{folder}/{name}.onnx", f"{folder}/{name}.onnx.json"]
        return HubFiles(_PIPER_VOICES, folder, both)
    if is_hub_id(name):
        return HubFiles(name)
    return None


def hub_cache(models_dir: Path) -> Path:
    """The folder in `models_dir` where fetched models of the hub are."""
    return models_dir / "hub"


def is_hub_id(name: str) -> bool:
    """Whether `name` has the shape of a Hugging Face id: owner/name."""
    owner, slash, rest = name.partition("/")
    plain = not {owner, rest} & {"", ".", ".."} and owner != "~"
    return bool(slash) and plain and "/" not in rest
