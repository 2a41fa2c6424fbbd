"""`parley sessions`: who talks, what of it is known, and ending a session."""

import sys
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from cli.console import ago, console, fail
from cli.directory import MOST, Session, Whole, sessions, whole
from cli.reach import Port, with_broker
from cli.tables import wide
from shared.broker import Pipe
from shared.ids import is_id
from shared.keys import Keyspace
from shared.logs import printable
from shared.scripts.sessions import end_session

_REASON = "the session was ended by whoever runs this server"

app = typer.Typer(
    no_args_is_help=True, help="The sessions of a running system: look at them, end them."
)


def _completed(incomplete: str) -> list[str]:
    """Ids of sessions, for a shell that completes one."""
    try:
        known, _ = with_broker(sessions, None)
    except typer.Exit:
        return []  # no system is found, and a half-typed line is no place to say so
    return [session.id for session in known if session.id.startswith(incomplete)]


AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
_HELP = "From `parley sessions list`."
Id = Annotated[str, typer.Argument(metavar="ID", help=_HELP, autocompletion=_completed)]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help=_HELP, autocompletion=_completed)]


@app.command(name="list")
def list_(as_json: AsJson = False, port: Port = None) -> None:
    """Lists the sessions of all gateways, the newest first: at most 1,000 of them.

    Nothing of what is said is shown.

    Examples:

      parley sessions list

      parley sessions list --json | jq -r '.[] | select(.gateway == null).id'
    """
    found, more = with_broker(sessions, port)
    if as_json:
        _print_json(found)
    elif not found:
        console.print("Nobody is in a session.")
    else:
        console.print(_table(found))
    if more and not as_json:
        console.print(f"There are more: these are {MOST:,} of them.", style="yellow")


@app.command()
def show(
    session_id: Id,
    text: Annotated[
        bool, typer.Option("--text", help="With what it was told to be, and what was said.")
    ] = False,
    as_json: AsJson = False,
    port: Port = None,
) -> None:
    """Shows a session: how it stands and how it is configured.

    Instructions, functions and what was said are private: they are shown only when asked for.

    Examples:

      parley sessions show sess_0f3a5c7d9e1b2a4c6d8e0f12

      parley sessions show sess_0f3a5c7d9e1b2a4c6d8e0f12 --text
    """
    _check(session_id)

    async def found(pipe: Pipe, keyspace: Keyspace) -> Whole | None:
        return await whole(pipe, keyspace, session_id, text=text)

    session = with_broker(found, port)
    if session is None:
        _gone(session_id)
    if as_json:
        _print_json(session)
    else:
        _print(session)


@app.command()
def close(session_ids: Ids, port: Port = None) -> None:
    """Ends sessions: their clients are told and disconnected, and cannot come back to them.

    Examples:

      parley sessions close sess_0f3a5c7d9e1b2a4c6d8e0f12
    """
    for session_id in session_ids:
        _check(session_id)

    async def end(pipe: Pipe, keyspace: Keyspace) -> list[str]:
        gone = []
        for session_id in session_ids:
            if await end_session(pipe, keyspace.session(session_id), _REASON) == "gone":
                gone.append(session_id)
            else:
                console.print(f"{session_id}  ended")
        return gone

    if gone := with_broker(end, port):
        _gone(" or ".join(gone))


def _gone(session_id: str) -> NoReturn:
    fail(f"there is no session {session_id}: `parley sessions list` shows those there are")


def _check(session_id: str) -> None:
    if not is_id("sess", session_id):
        form = "sess_ and 24 hexadecimal digits"
        fail(f"an id looks like {form}, not {session_id!r}: `parley sessions list` shows them")


def _print_json(found: object) -> None:
    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    sys.stdout.write(f"{text}\n")


def _table(found: list[Session]) -> Table:
    heads = ("Session", "State", "Client", "Age", "Turns", "Key", "Items", "Voice", "Language")
    shown = len(heads) if wide() else heads.index("Key")
    table = Table(*heads[:shown], box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.no_wrap = True
    for session in found:
        cells = (
            session.id,
            session.state,
            _client(session),
            ago(session.age_s),
            str(session.turns),
            session.key or "-",
            str(session.items),
            session.voice or "-",
            session.language or "-",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells[:shown]))
    return table


def _client(session: Session) -> str:
    return "connected" if session.gateway else f"away, ends in {session.ends_in_s} s"


def _print(session: Whole) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, value in msgspec.structs.asdict(session).items():
        if name not in ("configuration", "conversation") and value is not None:
            grid.add_row(name, Text(printable(str(value))))
    for name, value in session.configuration.items():
        if name not in ("modality", "voice", "language") and value is not None:
            grid.add_row(name, Text(printable(str(value))))
    console.print(grid)
    for said in session.conversation or []:
        console.print(Text(f"\n{said.role}", "bold cyan"), Text(said.item_id, "dim"))
        console.print(Text(printable(said.text or "(being transcribed)")), soft_wrap=True)
