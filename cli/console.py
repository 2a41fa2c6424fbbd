"""What the commands share: how they print, and how they fail."""

from typing import Any, NoReturn

import typer
from rich.console import Console

from shared.settings import INVALID, Settings, explained

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


def fail(sentence: str) -> NoReturn:
    """Says in one sentence what went wrong and ends the command with exit code 1."""
    complain(sentence)
    raise typer.Exit(1)


def complain(sentence: str) -> None:
    """Says on standard error what went wrong."""
    _errors.print(f"[bold red]parley:[/] {_escaped(sentence)}", soft_wrap=True)


def load_settings(**overrides: Any) -> Settings:
    """The settings of this machine, with the options given on the command line in front.

    An override that is None was not given. A value that is refused ends the command.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except INVALID as error:
        sentence = explained(error)
        for field in given:
            sentence = sentence.replace(f"PARLEY_{field.upper()}:", f"--{field}:", 1)
        fail(sentence)


def ago(age_s: float) -> str:
    """An age as people say it."""
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if age_s >= length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{age_s:.0f} s"


def _escaped(text: str) -> str:
    # Square brackets in a message are not markup.
    return text.replace("[", r"\[")
