"""Keys as they are pressed, in a terminal."""

import asyncio
import codecs
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CHUNK = 1024


@contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Calls `pressed` with every key of standard input while the block lasts, and shows none.

    A key is a character, or an escape sequence as a whole. Ctrl-C is a signal as ever. Needs a
    running event loop, and a terminal.
    """
    terminal = sys.stdin.fileno()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(terminal, _CHUNK)
        if not data:  # the terminal is gone
            loop.remove_reader(terminal)
            return
        text = decoder.decode(data)
        for key in [text] if text.startswith("\x1b") else text:
            pressed(key)

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, read)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
