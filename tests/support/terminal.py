"""A command in a terminal of its own, as a person has it."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

_STEERING = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\].*?(\x07|\x1b\\)|[@-_])")
DEADLINE_S = 60


class Terminal:
    """A running command: `text` is all that it wrote, without what steers a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._written = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    @property
    def written(self) -> str:
        return self._written.decode(errors="replace")

    @property
    def text(self) -> str:
        return _STEERING.sub("", self.written)

    @property
    def echoes(self) -> bool:
        """Whether what is typed is shown by the terminal itself."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not what():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.02)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.type("\x03")
        return self.end()

    def end(self) -> int:
        """Waits for the end; returns the exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reading.join()
        return code

    def _read(self) -> None:
        # What is left is read before the end of a terminal that nobody holds is an error.
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65_536):
                self._written += data


@contextmanager
def terminal(
    *arguments: str, columns: int = 80, rows: int = 24, settings: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """`parley` with these arguments and settings; it is ended with the block."""
    inherited = {name: value for name, value in os.environ.items() if name[:7] != "PARLEY_"}
    hidden = {"COLUMNS", "LINES", "NO_COLOR"}
    environment = {name: value for name, value in inherited.items() if name not in hidden}
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import app; app(prog_name='parley')", *arguments],
        env={**environment, "TERM": "xterm-256color", **(settings or {})},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=own_terminal,
    )
    os.close(slave)
    started = Terminal(process, master)
    try:
        yield started
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        started.end()
        os.close(master)
