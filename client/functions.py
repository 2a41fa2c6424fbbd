"""Functions of a program, as a model is told of them."""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec


def tool(function: Callable[..., object]) -> dict[str, Any]:
    """What goes into `tools` for a function: its name, its documentation, its parameters' types.

    Raises:
        TypeError: a parameter has no type, or one that JSON cannot express.
    """
    hints = get_type_hints(function)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in hints:
            raise TypeError(f"the parameter {name} of {function.__name__} needs a type")
        default = () if parameter.default is parameter.empty else (parameter.default,)
        fields.append((name, hints[name], *default))
    arguments = msgspec.defstruct(function.__name__, fields)
    [parameters], others = msgspec.json.schema_components([arguments])
    described = others.pop(parameters["$ref"].rpartition("/")[2])
    return {
        "type": "function",
        "name": function.__name__,
        "description": inspect.getdoc(function) or "",
        "parameters": described | ({"$defs": others} if others else {}),
    }
