"""`parley up`: everything on this machine, in the foreground."""

import fcntl
import itertools
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.address import answers, check_free, local_url
from cli.broker import Broker, BrokerError, find_server
from cli.console import console, fail, load_settings
from cli.models import fetch_missing
from cli.reach import client
from cli.runtime import occupied
from cli.status import StatusTable
from cli.supervise import Program, end_on_sigterm, supervise, worker_command
from shared import logs
from shared.profiles import STAGES
from shared.settings import Settings, environment

_POLL_S = 0.1
_USUAL_URL = "ws://127.0.0.1:8080"

log = logging.getLogger(__name__)


def up(
    profile: Annotated[
        str | None, typer.Option(help="Which engines run: cpu, gpu, or instant (no models).")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Starts everything on this machine and stays until Ctrl-C.

    Fetches missing models, starts a private broker (unless PARLEY_REDIS_URL names one), the
    gateway and the stages' workers (one each, or as many as PARLEY_STT_WORKERS and its like
    say), and restarts what ends. Every other setting is a PARLEY_* variable.

    Examples:

      parley up

      PARLEY_STT_MODEL=whisper-base PARLEY_STT_WORKERS=2 parley up --port 9000
    """
    started = time.monotonic()
    end_on_sigterm()
    given = {"profile": profile, "host": host, "port": port}
    overrides = {name: value for name, value in given.items() if value is not None}
    config = load_settings(**overrides)
    logs.set_up("parley", config.log_level, config.log_format)
    if problem := config.problem or _tts_python_problem(config):
        fail(problem)
    if "redis_url" in config.model_fields_set:
        client(config)  # or each process would say that it is no address
    try:
        check_free(config.host, config.port)
    except OSError as error:
        fail(f"cannot listen on port {config.port} ({error.strerror}): choose another with --port")
    programs = [*processes(config)]
    _check_metrics_ports(config, programs)
    fetch_missing(config)
    with occupied(config.port) as place, _broker(config, place.folder) as broker:
        if broker is not None:
            overrides["redis_url"] = broker.url
            config = config.model_copy(update={"redis_url": broker.url})
            programs.append(Program("broker", broker.prepare(), stops_late=True))
        place.note(config)
        threading.Thread(target=_announce, args=(config, started), daemon=True).start()
        with _log(config, place.folder) as write:
            asked = supervise(programs, place, environment(**overrides), write, config.log_format)
    if not asked:
        fail("the supervisor was killed, and everything it ran was stopped")


def processes(config: Settings) -> Iterator[Program]:
    """The gateway and each stage's workers, numbered where there are several.

    If metrics are served, each has a port of its own for them: the first one and those after it.
    """
    first = config.metrics_port
    port = itertools.repeat(None) if first is None else itertools.count(first)
    yield Program("gateway", [sys.executable, "-P", "-m", "gateway"], metrics_port=next(port))
    for stage in STAGES:
        number = config.workers(stage)
        names = [stage] if number == 1 else [f"{stage}-{n}" for n in range(1, number + 1)]
        for name in names:
            yield Program(name, worker_command(stage, config), metrics_port=next(port))


def _check_metrics_ports(config: Settings, programs: Iterable[Program]) -> None:
    for program in programs:
        if program.metrics_port is None:
            continue
        try:
            check_free(config.metrics_host, program.metrics_port)
        except (OSError, OverflowError) as error:
            fail(
                f"PARLEY_METRICS_PORT: the metrics of {program.name} cannot be served on port"
                f" {program.metrics_port} ({error})"
            )


def _tts_python_problem(config: Settings) -> str | None:
    if config.tts_python is None or os.access(config.tts_python, os.X_OK):
        return None
    return f"PARLEY_TTS_PYTHON: {str(config.tts_python)!r} is no program that can be run"


@contextmanager
def _broker(config: Settings, folder: Path) -> Iterator[Broker | None]:
    """An embedded broker where no other is named; its data belongs to one `parley up` at a time."""
    if "redis_url" in config.model_fields_set:
        yield None
        return
    data = config.data_dir / "broker"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Broker(find_server(), folder, data)
    except BlockingIOError:
        fail(f"another `parley up` keeps its broker's data in {data}: set PARLEY_DATA_DIR")
    except BrokerError as error:
        fail(str(error))
    finally:
        os.close(lock)


@contextmanager
def _log(config: Settings, folder: Path) -> Iterator[Callable[[str], None]]:
    """What takes the common log's lines: on a terminal they scroll above a table of processes."""
    if not console.is_terminal or config.log_format == "json":
        yield _write
        return
    with StatusTable(config, folder) as table:
        yield table.write


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _announce(config: Settings, started: float) -> None:
    """Says where Parley is as soon as every stage is ready."""
    http, ws = local_url(config), local_url(config, "ws")
    while not answers(f"{http}/ready"):
        time.sleep(_POLL_S)
    if config.log_format == "json":
        log.info("ready at %s after %.1f s", http, time.monotonic() - started)
        return
    elsewhere = "" if ws == _USUAL_URL else f" --url {ws}"
    parley = "parley" if shutil.which("parley") else sys.argv[0]
    console.print(
        f"\n[bold green]Parley is ready[/] at [bold]{http}[/]"
        f" after {time.monotonic() - started:.1f} s\n\n"
        f"  Talk to it:            {http} in a browser, or {parley} talk{elsewhere}\n"
        f"  Ask it something:      {parley} say question.wav -o answer.wav{elsewhere}\n"
        f"  Realtime API:          {ws}/v1/realtime\n"
        f"  speech-to-speech API:  {ws}/ws\n"
        "  Stop it:               Ctrl-C\n",
        soft_wrap=True,
    )
