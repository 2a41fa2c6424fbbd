"""The server that `parley say` and `parley talk` speak to."""

from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import typer

from cli.address import local_url
from cli.console import load_settings
from client import ParleyError
from client.handshake import realtime_url

Url = Annotated[
    str | None,
    typer.Option(
        help="The server's address; else this machine's, on PARLEY_PORT.", show_default=False
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="PARLEY_API_KEY", help="The server's API key, if it asks for one."),
]


def server_url(url: str | None) -> str:
    """`url` if one was given, else that of this machine's `parley up`; a setting that is refused
    ends the command."""
    return local_url(load_settings(), "ws") if url is None else url


def explained(error: ParleyError) -> str:
    """The sentence of `error`, and what to do about it where no server answers."""
    if isinstance(error.__cause__, OSError):
        return f"{error}; start one with `parley up`, or name another with --url"
    return str(error)


def with_timings(url: str) -> str:
    """`url`, asking the server to send a turn's marks after its response.

    Raises:
        ParleyError: `url` is not an address.
    """
    parts = urlsplit(realtime_url(url))
    query = f"{parts.query}&timings=true" if parts.query else "timings=true"
    return urlunsplit(parts._replace(query=query))
