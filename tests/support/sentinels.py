"""A master, its replica and a sentinel on loopback, with one password for all three."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.up import free_port

PASSWORD = "a-password-of-the-tests"
SERVICE = "parley"
_DEADLINE_S = 30
_COMMON = """
bind 127.0.0.1
port {port}
requirepass "{password}"
dir "{folder}"
logfile "{folder}/{port}.log"
"""
_SERVER = """
masterauth "{password}"
appendonly yes
save ""
repl-diskless-sync-delay 0
"""
_SENTINEL = """
sentinel monitor {service} 127.0.0.1 {master} 1
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 2000
"""


class Sentinels:
    """Two servers, of which a sentinel makes the second master when the first is gone."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary = binary
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.master, self.replica, self.sentinel = free_port(), free_port(), free_port()

    @property
    def url(self) -> str:
        return f"redis+sentinel://:{PASSWORD}@127.0.0.1:{self.sentinel}/{SERVICE}"

    def client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=PASSWORD, retry=Retry(NoBackoff(), 0))

    def pid(self, port: int) -> int:
        return self._processes[port].pid

    def kill(self, port: int) -> None:
        self._processes[port].kill()
        self._processes[port].wait()

    def replicated(self) -> bool:
        """Whether the replica has all that the master has."""
        with self.client(self.master) as master, self.client(self.replica) as replica:
            there = master.info("replication")["master_repl_offset"]
            return bool(replica.info("replication")["slave_repl_offset"] == there)

    def start(self, port: int) -> None:
        """Starts a server with what its folder holds of it."""
        self._run(port, _SERVER)

    def __enter__(self) -> Self:
        self.start(self.master)
        self.start(self.replica)
        with self.client(self.replica) as replica:
            replica.replicaof("127.0.0.1", str(self.master))
            self._wait(lambda: replica.info("replication")["master_link_status"] == "up")
        self._run(self.sentinel, _SENTINEL, "--sentinel")
        with self.client(self.sentinel) as sentinel:
            self._wait(lambda: _links(sentinel) == [b"ok"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def _run(self, port: int, template: str, *flags: str) -> None:
        folder = self._folder / str(port)
        folder.mkdir(exist_ok=True)
        config = folder / "server.conf"
        if not config.exists():  # a server and a sentinel write what they learn into it
            text = (_COMMON + template).format(
                port=port, password=PASSWORD, folder=folder, master=self.master, service=SERVICE
            )
            config.write_text(text)
        self._processes[port] = subprocess.Popen([self._binary, config, *flags])
        with self.client(port) as client:
            self._wait(client.ping)

    def _wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while not _holds(condition):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _links(sentinel: redis.Redis) -> list[bytes]:
    """The state of the replicas' links to the master, as the sentinel has seen them."""
    replicas = sentinel.execute_command("SENTINEL", "REPLICAS", SERVICE)
    return [replica[b"master-link-status"] for replica in replicas]


def _holds(condition: Callable[[], object]) -> bool:
    try:
        return bool(condition())
    except redis.RedisError:
        return False
