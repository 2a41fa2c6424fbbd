"""How a model is told of a program's functions."""

from typing import Literal

import jsonschema_rs
import msgspec
import pytest

from client import tool


class Place(msgspec.Struct):
    city: str


def weather(place: Place, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
    """What the weather will be like."""
    return f"{place.city} {days} {unit}"


def nothing(of: complex) -> None:
    pass


def test_a_function_is_told_by_its_name_its_documentation_and_its_parameters() -> None:
    told = tool(weather)
    assert told["type"] == "function"
    assert told["name"] == "weather"
    assert told["description"] == "What the weather will be like."
    fits = jsonschema_rs.validator_for(told["parameters"]).is_valid
    assert fits({"place": {"city": "Paris"}})
    assert fits({"place": {"city": "Paris"}, "days": 3, "unit": "F"})
    for wrong in ({}, {"place": "Paris"}, {"place": {"city": "Paris"}, "unit": "K"}):
        assert not fits(wrong)


def test_what_json_cannot_express_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        tool(nothing)
    with pytest.raises(TypeError, match="the parameter city of <lambda> needs a type"):
        tool(lambda city: city)
