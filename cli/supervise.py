"""Runs Parley's processes under supervisord, as children of this one, with one log."""

import configparser
import contextlib
import ctypes
import io
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from cli.runtime import Place
from shared import logs
from shared.profiles import Stage
from shared.settings import Settings

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER = 36

# A program that ends sooner than this after its start is started again after a pause, which
# grows by a second each time; one that ran longer is started again at once.
_STARTED_AFTER_S = 5
_RETRY_FOR_EVER = 1_000_000_000
# Above what a process takes to drain: ten seconds for its work, and what then is in an engine.
_STOP_TIMEOUT_S = 20

_SUPERVISOR_LINE = re.compile(r"\d{4}-\d\d-\d\d (\d\d:\d\d:\d\d),\d+ (WARN|ERRO|CRIT) (.*)", re.S)
_LEVELS = {"WARN": "warning", "ERRO": "error", "CRIT": "critical"}


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process. Those that stop late stop after all others have ended.

    `metrics_port` is where it serves its metrics, if it does.
    """

    name: str
    command: list[str]
    stops_late: bool = False
    metrics_port: int | None = None


def supervise(
    programs: list[Program],
    place: Place,
    environment: Mapping[str, str],
    write: Callable[[str], None],
    log_format: logs.Format = "text",
) -> bool:
    """Keeps `programs` running until SIGINT, SIGTERM or SIGHUP, then stops them all.

    Each line of the common log goes to `write`. `place` gets the configuration and the socket of
    supervisord's control interface. Returns whether the end was asked for; False means
    supervisord itself died. Either way no process is left. If this process is killed, the kernel
    tells supervisord to stop everything, and until it has, it holds `place`.

    It may be a container's first process: whatever loses its parent becomes its child, and is
    reaped as it ends. Must be called from the main thread: it handles signals while it runs.
    """
    config = place.folder / "supervisord.conf"
    config.touch(mode=0o600)
    config.write_text(configuration(programs, place.folder))
    process = _started(config, place, environment)
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        process.terminate()

    # A thread waits for them: a signal that comes just before this one blocks would wait with it.
    reaper = threading.Thread(target=_reap_adopted, args=(process.pid,), name="reaper")
    assert process.stdout is not None
    ends = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    with _handling(ends, stop):
        try:
            with process:
                reaper.start()
                try:
                    for line in process.stdout:
                        write(restyled(line, log_format))
                finally:
                    process.terminate()
        finally:
            _end_orphans()
            reaper.join()
    return asked


def _started(config: Path, place: Place, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """supervisord, which dies with this process; this one inherits what it leaves."""
    prctl = _prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(config)],
        env=dict(environment),
        # It reads nothing. Holding the lock as its input, it holds it as long as it lives.
        stdin=place.lock,
        # Its standard error stays the terminal's: were both to break when this process is
        # killed, supervisord would die of it before it has stopped the programs.
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        # Ctrl-C must reach this process alone, which then stops supervisord once.
        start_new_session=True,
        preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
    )


def worker_command(stage: Stage, config: Settings) -> list[str]:
    """What runs one worker of `stage`."""
    python = config.tts_python if stage == "tts" and config.tts_python else sys.executable
    # -P: a folder called `shared` in the working directory must not be taken for Parley's.
    return [str(python), "-P", "-m", f"workers.{stage}"]


def end_on_sigterm() -> None:
    """Lets SIGTERM end this process, also as a container's first, to which it means nothing else.

    It is for the time before something else handles it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def configuration(programs: list[Program], folder: Path) -> str:
    """The text of supervisord.conf."""
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "logfile": "/dev/null",
        "logfile_maxbytes": "0",
        "loglevel": "warn",
        "pidfile": _literal(folder / "supervisord.pid"),
    }
    if os.geteuid() == 0:
        config["supervisord"]["user"] = "root"  # said aloud, or supervisord warns of it
    config["unix_http_server"] = {
        "file": _literal(folder / "supervisor.sock"),
        "chmod": "0600",
        "username": "parley",
        "password": secrets.token_hex(16),
    }
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for program in programs:
        config[f"program:{program.name}"] = {
            "command": _literal(shlex.join(program.command)),
            "priority": "1" if program.stops_late else "999",
            "autorestart": "true",
            "startsecs": str(_STARTED_AFTER_S),
            "startretries": str(_RETRY_FOR_EVER),
            "stopsignal": "TERM",
            "stopwaitsecs": str(_STOP_TIMEOUT_S),
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": "/dev/fd/1",
            "stdout_logfile_maxbytes": "0",
        }
        if program.metrics_port is not None:
            variable = f"PARLEY_METRICS_PORT={program.metrics_port}"
            config[f"program:{program.name}"]["environment"] = variable
    # supervisord stops one group after the other and a group's programs together.
    together = [program.name for program in programs if not program.stops_late]
    config["group:parley"] = {"programs": ",".join(together), "priority": "999"}
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def restyled(line: str, log_format: logs.Format) -> str:
    """A line as it should be: supervisord's own, and what programs print, like all others."""
    found = _SUPERVISOR_LINE.fullmatch(line)
    if log_format == "text":
        return f"{found[1]} parley   {found[3]}" if found else line
    if line.startswith("{"):
        return line
    level, message = (_LEVELS[found[2]], found[3]) if found else ("info", line)
    return logs.json_line("parley", level, message.rstrip("\n"), at=time.time()) + "\n"


def _literal(value: Path | str) -> str:
    # supervisord expands %(...)s in values.
    return str(value).replace("%", "%%")


def _prctl() -> Callable[[int, int], object]:
    """prctl(2), looked up before the fork; where there is none, nothing is done."""
    if sys.platform != "linux":
        return lambda option, value: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda option, value: prctl(option, ctypes.c_ulong(value), 0, 0, 0)


@contextmanager
def _handling(
    signals: set[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _reap_adopted(supervisord: int) -> None:
    """Reaps every child as it ends, until supervisord does, for whose end somebody waits, or
    there are no more."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT):
            if ended.si_pid == supervisord:
                return  # the others are not this process's to reap any more: see _end_orphans
            os.waitpid(ended.si_pid, 0)


def _end_orphans() -> None:
    """Ends what a supervisord that was killed left: as subreaper, this process inherits it."""
    orphans = psutil.Process().children(recursive=True)
    for orphan in orphans:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.terminate()
    _, stubborn = psutil.wait_procs(orphans, timeout=_STOP_TIMEOUT_S)
    for orphan in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            orphan.kill()
    psutil.wait_procs(stubborn)
