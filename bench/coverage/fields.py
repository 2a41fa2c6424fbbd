"""The fields of the protocol's types, walked down to what has a value of its own."""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


def leaves(model: type[BaseModel], stop: frozenset[str], prefix: str = "") -> dict[str, list[Any]]:
    """The path of each field → the values that its type names, if it names any.

    Fields of a model inside are walked too, but not below the paths in `stop`. A list counts as
    one value.
    """
    found: dict[str, list[Any]] = {}
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        members = list(_members(field.annotation))
        models = [member for member in members if _is_model(member)]
        if path in stop or not models:
            found.setdefault(path, []).extend(_values(members))
            continue
        named = _values(member for member in members if not _is_model(member))
        if named:
            found.setdefault(path, []).extend(named)
        for member in models:
            for inner, values in leaves(member, stop, f"{path}.").items():
                kept = found.setdefault(inner, [])
                kept.extend(value for value in values if value not in kept)
    return found


def nested(path: str, value: Any) -> dict[str, Any]:
    """An object in which `path` leads to `value`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def at(found: Any, path: str) -> Any:
    """What `path` leads to; None if it leads nowhere."""
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _members(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif hasattr(annotation, "__metadata__"):
        yield from _members(get_args(annotation)[0])
    else:
        yield annotation


def _is_model(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, BaseModel)


def _values(members: Any) -> list[Any]:
    values: list[Any] = []
    for member in members:
        if get_origin(member) is Literal:
            values += get_args(member)
        elif member is bool:
            values += [True, False]
    return values
