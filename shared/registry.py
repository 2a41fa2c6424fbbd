"""How a stage finds the engine that the settings name."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from shared.profiles import Role
from shared.settings import Settings

Engine = TypeVar("Engine")
Model = TypeVar("Model")


class CannotStart(Exception):
    """Why an engine cannot be had as the settings are, in a sentence for whoever set them."""


class EngineMissing(CannotStart):
    """No engine has that name, or its packages are not installed."""


def create_engine(
    role: Role, engines: Mapping[str, Callable[[Settings], Engine]], settings: Settings
) -> Engine:
    """The engine for `role`, not yet loaded.

    Raises:
        EngineMissing: no engine has that name, or its packages are not installed.
    """
    name = settings.engine(role)
    if name not in engines:
        known = ", ".join(sorted(engines))
        raise EngineMissing(f"PARLEY_{role.upper()}_ENGINE must be one of {known}, not {name!r}")
    try:
        return engines[name](settings)
    except ModuleNotFoundError as error:
        raise EngineMissing(
            f"the {role} engine {name!r} needs the package {error.name!r}, which is not installed"
            " here: docs/engines.md says how"
        ) from error


def loaded(model: Model | None, engine: str) -> Model:
    """`model`, once it is there.

    Raises:
        RuntimeError: the engine was asked for work before `load` or after `close`.
    """
    if model is None:
        raise RuntimeError(f"the {engine} engine is not loaded: load() must come before its work")
    return model
