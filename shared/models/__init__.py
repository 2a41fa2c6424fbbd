"""The model store: from a model's name to a local folder."""

from shared.models.fetching import FetchError, Progress, fetch
from shared.models.pack import Model, starter_pack
from shared.models.store import ModelMissing, needed, resolve

__all__ = [
    "FetchError",
    "Model",
    "ModelMissing",
    "Progress",
    "fetch",
    "needed",
    "resolve",
    "starter_pack",
]
