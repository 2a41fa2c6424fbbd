"""Where a model is on this machine."""

from collections.abc import Collection
from pathlib import Path

from shared.models.hub import HubFiles, hub_cache, hub_files, is_hub_id
from shared.profiles import MODELS, PROFILES, STAGES, Role, Stage
from shared.registry import CannotStart
from shared.settings import Settings, settings


class ModelMissing(CannotStart):
    """A model is not on this machine. The message says how to get it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"model '{name}' is not on this machine: fetch it with `parley models fetch {name}`"
        )
        self.name = name


def resolve(name: str, models_dir: Path | None = None) -> Path:
    """The local folder, or file, of the model `name`.

    In this order: a path that exists (anything with a slash in it, `~` for the home folder);
    a folder of that name, which may be `owner/name`, in `models_dir` (default: the setting's) or
    in the setting `repository_dir`; for what is on the Hugging Face hub, the newest snapshot
    that was fetched to `models_dir` or is in this user's own cache. Nothing is downloaded.

    Raises:
        ModelMissing: it is in none of these places.
    """
    path = Path(name).expanduser()
    if len(path.parts) > 1 and path.exists():
        return path
    store = models_dir or settings().models_dir
    if is_hub_id(name) or (len(path.parts) == 1 and name != ".."):
        for parent in (store, settings().repository_dir):
            if (parent / name).is_dir():
                return parent / name
    files = hub_files(name)
    for cache in (hub_cache(store), None):
        if files and (snapshot := _hub_snapshot(files, cache)):
            return snapshot
    raise ModelMissing(name)


def needed(chosen: Settings, stages: Collection[Stage] = STAGES) -> list[str]:
    """The models that the engines of these stages load."""
    roles = [role for role in PROFILES[chosen.profile] if _stage(role) in stages]
    local = [role for role in roles if chosen.engine(role) in MODELS]
    names = [chosen.model(role) for role in local if role != "tts"]
    return [*names, *(chosen.speech_models if "tts" in local else ())]


def _stage(role: Role) -> Stage:
    return "vad" if role == "turn" else role


def _hub_snapshot(files: HubFiles, cache: Path | None) -> Path | None:
    """Where the files are in a cache of the hub's form, or in this user's own."""
    # Imported late: it is slow to import, absent without the `cpu` extra, and seldom asked.
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        snapshot = snapshot_download(
            files.repository,
            allow_patterns=files.patterns,
            cache_dir=cache,
            local_files_only=True,
        )
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    folder = Path(snapshot, files.folder)
    return folder if folder.is_dir() else None
