"""`parley keys`: the API keys that let clients in."""

from typing import Annotated

import typer
from pydantic import ValidationError

from cli.console import console, fail
from shared import api_keys
from shared.api_keys import ApiKey

app = typer.Typer(no_args_is_help=True, help="The API keys that let clients in.")


@app.callback()
def keys() -> None:
    """Keeps `new` a command by name, though it is the only one."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, - and _.")],
    sessions: Annotated[int | None, typer.Option(help="Sessions at a time.")] = None,
    session_minutes: Annotated[float | None, typer.Option(help="Longest session.")] = None,
    audio_minutes: Annotated[
        float | None, typer.Option(help="Audio that its clients may send in a day (UTC).")
    ] = None,
    requests_per_s: Annotated[
        float | None, typer.Option(help="Events of its clients, but for audio, on average.")
    ] = None,
) -> None:
    """Makes an API key and prints it, this once, with its entry for PARLEY_API_KEYS.

    The entry holds the key's SHA-256 alone. That is enough: a key has 256 random bits, and there
    is no guessing it.

    Examples:

      parley keys new ada

      parley keys new kiosk --sessions 4 --session-minutes 60 --audio-minutes 600
    """
    key = api_keys.fresh()
    try:
        entry = ApiKey(
            name=name,
            sha256=api_keys.digest(key),
            sessions=sessions,
            session_minutes=session_minutes,
            audio_minutes=audio_minutes,
            requests_per_s=requests_per_s,
        )
    except ValidationError as error:
        first = error.errors()[0]
        field, message = str(first["loc"][0]).replace("_", "-"), first["msg"]
        if field == "name":
            message = f"must be 1 to 64 letters, digits, - and _, not {name!r}"
        fail(f"{field}: {message}")
    console.print("The key, for its owner; it is kept nowhere:\n", style="dim")
    _verbatim(key)
    console.print("\nIts entry in the JSON list PARLEY_API_KEYS:\n", style="dim")
    _verbatim(entry.model_dump_json(exclude_none=True))


def _verbatim(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
