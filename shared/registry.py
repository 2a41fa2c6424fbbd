"""How a stage finds the engine that the settings name."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from shared.profiles import Role
from shared.settings import Settings

Engine = TypeVar("Engine")
Model = TypeVar("Model")


def create_engine(
    role: Role, engines: Mapping[str, Callable[[Settings], Engine]], settings: Settings
) -> Engine:
    """The engine for `role`, not yet loaded.

    Raises:
        ValueError: no engine has that name; the message names the setting and the engines.
    """
    name = settings.engine(role)
    if name not in engines:
        known = ", ".join(sorted(engines))
        raise ValueError(f"PARLEY_{role.upper()}_ENGINE must be one of {known}, not {name!r}")
    return engines[name](settings)


def loaded(model: Model | None, engine: str) -> Model:
    """`model`, once it is there.

    Raises:
        RuntimeError: the engine was asked for work before `load` or after `close`.
    """
    if model is None:
        raise RuntimeError(f"the {engine} engine is not loaded: load() must come before its work")
    return model
