"""The `parley` command."""

import inspect
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from cli import dead, keys, models, sessions
from cli.bench import bench
from cli.console import complain
from cli.doctor import doctor
from cli.log_level import log_level
from cli.restart import restart
from cli.say import say
from cli.talk import talk
from cli.top import top
from cli.up import up
from cli.worker import worker


class _Group(TyperGroup):
    """Says in one sentence what is wrong with a command line, where Typer would draw a box."""

    def main(self, *args: Any, **extra: Any) -> Any:
        standalone_mode = extra.get("standalone_mode", True)
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except typer.TyperException as error:
            if not standalone_mode:
                raise
            if message := error.format_message():  # else it has shown its help
                complain(_sentence(message, getattr(error, "ctx", None)))
            sys.exit(error.exit_code)
        if standalone_mode:
            sys.exit(code)
        return code


def _sentence(message: str, context: typer.Context | None) -> str:
    said = f"{message[0].lower()}{message[1:]}".rstrip(".").replace("Value error, ", "")
    path = context.command_path if context is not None else "parley"
    return f"{said} (see `{path} --help`)"


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Parley: talk to a language model, on your own machine.",
)
app.command()(up)
app.command()(top)
app.command()(worker)
app.command()(restart)
app.command()(log_level)
app.command()(talk)
app.command()(say)
app.command()(doctor)
# Its options are for the program behind it.
app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)(bench)
app.add_typer(sessions.app, name="sessions")
app.add_typer(dead.app, name="dead")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")


def _flow(group: typer.Typer) -> None:
    """Has help fill the terminal's lines: Typer breaks them where a docstring's end."""
    for command in group.registered_commands:
        text = inspect.getdoc(command.callback) or ""
        command.help = "\n\n".join(
            paragraph if paragraph.startswith(" ") else paragraph.replace("\n", " ")
            for paragraph in text.split("\n\n")
        )
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        _flow(inner.typer_instance)


_flow(app)
