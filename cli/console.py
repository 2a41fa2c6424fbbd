"""What the commands share: how they print, and how they fail."""

from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from shared.settings import Settings, explained

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


def fail(sentence: str) -> NoReturn:
    """Says in one sentence what went wrong and ends the command with exit code 1."""
    _errors.print(f"[bold red]parley:[/] {_escaped(sentence)}", soft_wrap=True)
    raise typer.Exit(1)


def load_settings(**overrides: Any) -> Settings:
    """The settings of this machine, with the options given on the command line in front.

    An override that is None was not given. A value that is refused ends the command.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        sentence = explained(error)
        if field in given:
            sentence = sentence.replace(f"PARLEY_{field.upper()}", f"--{field}", 1)
        fail(sentence)


def _escaped(text: str) -> str:
    # Square brackets in a message are not markup.
    return text.replace("[", r"\[")
