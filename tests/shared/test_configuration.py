"""The documentation of the settings is what the settings say."""

from pathlib import Path

import pytest

from shared.configuration import tables
from shared.settings import Settings

ROWS = {line.split("`")[1]: line for line in tables().splitlines() if line.startswith("| `PARLEY_")}
DOCUMENTED = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_documentation_lists_every_setting() -> None:
    assert tables() in DOCUMENTED.read_text("utf-8"), "python -m shared.configuration writes it"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is(name: str) -> None:
    described = Settings.model_fields[name].description or ""
    assert described.endswith("."), "a sentence"
    row = ROWS[f"PARLEY_{name.upper()}"]
    assert row.count("|") == 4, "nothing in it ends a cell of the table"


def test_no_secret_has_a_default() -> None:
    secrets = [row for name, row in ROWS.items() if name.endswith(("_KEY", "_KEYS"))]
    assert len(secrets) >= 4
    assert all(row.split("|")[2].strip() == "" for row in secrets)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("PORT", "| `8080` | Port of the gateway. At least 1 and at most 65535. |"),
        ("KEYLESS", "| `false` |"),
        ("LOG_LEVEL", "One of `debug`, `info`, `warning`, `error`. |"),
        ("DEVICE", "|  | Where models run"),
    ],
)
def test_a_row_says_what_a_value_may_be(name: str, row: str) -> None:
    assert row in ROWS[f"PARLEY_{name}"]
