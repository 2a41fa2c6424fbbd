"""What the commands share: how they print, and how they fail."""

from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from shared.settings import Settings

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


def fail(sentence: str) -> NoReturn:
    """Says in one sentence what went wrong and ends the command with exit code 1."""
    _errors.print(f"[bold red]parley:[/] {_escaped(sentence)}", soft_wrap=True)
    raise typer.Exit(1)


def printable(text: str) -> str:
    """`text` on one line, with whatever could steer a terminal written as an escape sequence."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def load_settings(**overrides: Any) -> Settings:
    """The settings of this machine, with the options given on the command line in front.

    An override that is None was not given. A value that is refused ends the command.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        source = f"--{field}" if field in given else f"PARLEY_{field.upper()}"
        fail(f"{source}: {first['msg']}, and it is {first['input']!r}")


def _escaped(text: str) -> str:
    # Square brackets in a message are not markup.
    return text.replace("[", r"\[")
