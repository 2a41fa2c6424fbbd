"""The `parley` command."""

import typer

from cli import dead, keys, models
from cli.bench import bench
from cli.doctor import doctor
from cli.restart import restart
from cli.say import say
from cli.up import up
from cli.worker import worker

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Parley: talk to a language model, on your own machine.",
)
app.command()(up)
app.command()(worker)
app.command()(restart)
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
app.add_typer(dead.app, name="dead")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
