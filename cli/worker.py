"""`parley worker`: one worker of one stage, as the main process of a container."""

import os
from typing import Annotated

import typer

from cli.console import fail, load_settings
from cli.models import fetch_missing
from cli.supervise import end_on_sigterm, worker_command
from shared import logs
from shared.profiles import Stage


def worker(stage: Annotated[Stage, typer.Argument(help="The stage it works for.")]) -> None:
    """Fetches the models that a stage lacks, then becomes one worker of it.

    It works for the broker that PARLEY_REDIS_URL names. `parley up` runs all stages' workers.

    Examples:

      PARLEY_REDIS_URL=redis://broker:6379/0 parley worker stt
    """
    end_on_sigterm()
    config = load_settings()
    logs.set_up(stage, config.log_level, config.log_format)
    fetch_missing(config, [stage])
    command = worker_command(stage, config)
    try:
        os.execv(command[0], command)
    except OSError as error:
        fail(f"PARLEY_TTS_PYTHON: {command[0]} cannot be run: {error.strerror}")
