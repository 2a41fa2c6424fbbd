"""The network between one client and the gateways: a small TCP proxy that can go wrong.

It knows nothing of what it carries. Loss is what TCP makes of it: nothing comes for a while, then
all of it.
"""

import asyncio
import contextlib
import math
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["up", "down"]
_Flying = asyncio.Queue[tuple[float, bytes]]

_PIECE_BYTES = 4096
_IN_FLIGHT_PIECES = 16
_RECEIVED_BYTES = 16_384
_NO_LINGER = struct.pack("ii", 1, 0)  # close with RST, not FIN


@dataclass(eq=False)
class Connection:
    """One connection of the client's, and the gateway it goes to."""

    gateway: int
    opened_s: float
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    closed_s: float = math.inf

    def cut(self, reset: bool) -> None:
        """Ends it at once, without a word to either side; `reset` with RST instead of FIN."""
        for writer in (self.client, self.server):
            if reset:
                connected: socket.socket = writer.get_extra_info("socket")
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()


@dataclass(eq=False)
class Link:
    """What one client connects through, to any of the gateways at `ports`. Use `opened`."""

    ports: Sequence[int]
    dice: random.Random
    connections: list[Connection] = field(default_factory=list)
    port: int = 0
    _stalled_until_s: float = 0.0
    _slow_until_s: float = 0.0
    _offline_until_s: float = 0.0
    _delayed_until_s: float = 0.0
    _slow_bytes_per_s: float = 0.0
    _latency_s: float = 0.0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    # --- what goes wrong ---

    def cut(self, reset: bool, offline_s: float) -> None:
        """Breaks the connection; new ones are refused for a while."""
        self._offline_until_s = time.monotonic() + offline_s
        for connection in self.connections:
            if connection.closed_s == math.inf:
                connection.cut(reset)

    def stall(self, for_s: float) -> None:
        """Nothing comes through, either way, for a while."""
        self._stalled_until_s = time.monotonic() + for_s

    def delay(self, latency_s: float, for_s: float) -> None:
        """Everything takes longer, by a time that varies up to `latency_s`, for a while."""
        self._latency_s, self._delayed_until_s = latency_s, time.monotonic() + for_s

    def slow(self, bytes_per_s: float, for_s: float) -> None:
        """The client reads no faster than this for a while, so that the gateway cannot write."""
        self._slow_bytes_per_s, self._slow_until_s = bytes_per_s, time.monotonic() + for_s

    # --- carrying bytes ---

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        upstream = None
        if time.monotonic() >= self._offline_until_s:
            upstream = await self._connect()
        if upstream is None:
            client.transport.abort()
            return
        gateway, server_reader, server = upstream
        connection = Connection(gateway, time.monotonic(), client, server)
        self.connections.append(connection)
        flying: list[_Flying] = [asyncio.Queue(_IN_FLIGHT_PIECES) for _ in range(2)]
        takers = [self._take(reader, flying[0], "up"), self._take(server_reader, flying[1], "down")]
        givers = [self._give(flying[0], server), self._give(flying[1], client)]
        taking = [asyncio.create_task(taker) for taker in takers]
        giving = [asyncio.create_task(giver) for giver in givers]
        try:
            await asyncio.wait(giving, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.closed_s = time.monotonic()
            await _end([*taking, *giving])
            for writer in (client, server):
                writer.close()

    async def _connect(
        self,
    ) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to one of the gateways that answer."""
        for gateway in self.dice.sample(range(len(self.ports)), len(self.ports)):
            connection = socket.socket()
            connection.setblocking(False)
            # so small that a client which does not read is soon felt by the gateway
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED_BYTES)
            try:
                address = ("127.0.0.1", self.ports[gateway])
                await asyncio.get_running_loop().sock_connect(connection, address)
            except OSError:
                connection.close()
                continue
            reader, writer = await asyncio.open_connection(sock=connection, limit=_PIECE_BYTES)
            return gateway, reader, writer
        return None

    async def _take(self, reader: asyncio.StreamReader, flying: _Flying, way: Direction) -> None:
        """Takes bytes from one side until it is done."""
        data = b"more"
        while data:
            try:
                data = await reader.read(_PIECE_BYTES)
            except OSError:
                data = b""
            if way == "down" and time.monotonic() < self._slow_until_s:
                await asyncio.sleep(len(data) / self._slow_bytes_per_s)
            await flying.put((self._due_s(), data))

    async def _give(self, flying: _Flying, writer: asyncio.StreamWriter) -> None:
        """Gives them to the other side, in order and when they are due."""
        while True:
            due_s, data = await flying.get()
            await self._passable(due_s)
            if not data:
                return
            with contextlib.suppress(OSError):
                writer.write(data)
                await writer.drain()
                continue
            return

    async def _passable(self, due_s: float) -> None:
        """Waits until `due_s`, and for the end of a stall; one may begin meanwhile."""
        wait_s = due_s - time.monotonic()
        while (wait_s := max(wait_s, self._stalled_until_s - time.monotonic())) > 0:
            await asyncio.sleep(wait_s)
            wait_s = 0.0

    def _due_s(self) -> float:
        now_s = time.monotonic()
        delayed = now_s < self._delayed_until_s
        return now_s + self._latency_s * self.dice.uniform(0.5, 1.0) if delayed else now_s


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels those that are not over; raises what one ended with."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


@contextlib.asynccontextmanager
async def opened(ports: Sequence[int], dice: random.Random) -> AsyncIterator[Link]:
    """A link that takes connections on a loopback port until the end of the block."""
    link = Link(ports, dice)
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(link.serve(reader, writer), name="link"))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        server.close()
        await _end(serving)
