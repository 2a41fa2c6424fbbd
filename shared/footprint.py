"""What a process takes of its machine, as it says of itself.

Only the process itself can tell where processes run in containers and on several machines.
"""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from shared.gpu import NoGpu, card

# Of the running kernel: containers have names of their own, and this in common.
_KERNEL = Path("/proc/sys/kernel/random/boot_id")
_ANEW_AFTER_S = 1.0
# Asking the driver takes milliseconds, which sessions would wait for.
_CARD_ANEW_AFTER_S = 10.0


class Gpu(msgspec.Struct, frozen=True):
    """A card's memory: what of it all processes have taken."""

    name: str
    used_bytes: int
    total_bytes: int


class Footprint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`cpu_percent` is of one of the `cores` of the `machine`, in whichever container the process
    is; `gpu` the card that it may use, if it may."""

    machine: str = ""
    cpu_percent: float = 0.0
    cores: int = 1
    rss_bytes: int = 0
    gpu: Gpu | None = None


class Meter:
    """Reads this process's footprint, anew at most once a second."""

    def __init__(self, *, on_gpu: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._process = psutil.Process()
        self._on_gpu = on_gpu
        self._clock = clock
        self._read_at_s = clock()
        self._card_at_s = self._read_at_s - _CARD_ANEW_AFTER_S
        self._cpu_s = self._cpu()
        self._gpu: Gpu | None = None
        self._cores = psutil.cpu_count() or 1
        self._machine = _machine()
        self._last = Footprint(
            machine=self._machine, cores=self._cores, rss_bytes=self._process.memory_info().rss
        )

    def read(self) -> Footprint:
        """The footprint, its processor time that since the reading before."""
        now_s = self._clock()
        if now_s - self._read_at_s >= _ANEW_AFTER_S:
            cpu_s = self._cpu()
            self._last = Footprint(
                machine=self._machine,
                cpu_percent=round(100 * (cpu_s - self._cpu_s) / (now_s - self._read_at_s), 1),
                cores=self._cores,
                rss_bytes=self._process.memory_info().rss,
                gpu=self._card(now_s),
            )
            self._read_at_s, self._cpu_s = now_s, cpu_s
        return self._last

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def _card(self, now_s: float) -> Gpu | None:
        if self._on_gpu and now_s - self._card_at_s >= _CARD_ANEW_AFTER_S:
            self._card_at_s = now_s
            try:
                found = card()
            except NoGpu:  # which the engine that needs it says when it is loaded
                return None
            self._gpu = Gpu(found.name, found.total_bytes - found.free_bytes, found.total_bytes)
        return self._gpu


def _machine() -> str:
    try:
        return _KERNEL.read_text().strip()
    except OSError:  # another system than Linux, where nothing runs in containers
        return socket.gethostname()
