"""What is wrong below the protocol's events: in HTTP, in the handshake, in WebSocket frames."""

import asyncio
import contextlib
import random
import struct
from collections.abc import Callable

from websockets.utils import apply_mask

from bench.fuzz.grammar import MARK, Grammar
from bench.fuzz.spoiling import mangled, spoiled

# The server hangs up by then, or the client does.
_LISTENS_S = 0.5
_READ = 65_536

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_PATHS = ["/v1/realtime", "/v1/realtime", "/ws", "//ws", "/v1/realtime/", "/", "/%00", f"/{MARK}"]
_HEADERS = [
    "Host",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Authorization",
    "Origin",
]
_VALUES = ["", MARK, "x" * 5_000, ", ,,", "\x00", "parley-resume...", "http://[", "Bearer \xff"]
_BEGINNINGS = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET /health HTTP/9.9\r\n\r\n",
    b"GET /health\r\n\r\n",
    b"\r\n" * 1_000,
    b"A" * 100_000,
    f"{MARK}\r\n12:00:00 gateway  {MARK}\r\n\r\n".encode(),
    f"GET /{MARK}%0d%0a{MARK} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    f"GET /\x00{MARK}\xff HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"),
    b"GET /ready HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100,
]


def request(dice: random.Random, host: str) -> tuple[bytes, int]:
    """Bytes that are no request, or no good one, and how many frames they are worth: one."""
    beginning = dice.choice(_BEGINNINGS)
    match dice.randrange(4):
        case 0:
            return dice.randbytes(dice.randrange(1, 3_000)), 1
        case 1:
            at = dice.randrange(len(beginning))
            return beginning[:at] + dice.randbytes(3) + beginning[at:], 1
        case 2:
            wrong = {dice.choice(_HEADERS): dice.choice(_VALUES)}
            return handshake(host, dice.choice(_PATHS), **wrong), 1
        case _:
            return beginning, 1


def secret(dice: random.Random, host: str) -> tuple[bytes, int]:
    """A malformed request for an ephemeral key; one that is made all the same does not last."""
    grammar = Grammar(dice, ())
    wanted = {"expires_after": {"seconds": 10}, **grammar.event("session.update")}
    del wanted["type"]
    body = mangled(spoiled(wanted, grammar, dice), dice).encode(errors="surrogatepass")
    head = f"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: {host}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, 1


def frames(dice: random.Random, host: str) -> tuple[bytes, int]:
    """A good handshake and frames of which the last ones break the protocol, and how many."""
    number = dice.randrange(1, 8)
    good = [_frame(_TEXT, b'{"type":"fuzz"}') for _ in range(number - 1)]
    path = dice.choice(["/v1/realtime", "/ws"])
    return b"".join([handshake(host, path), *good, dice.choice(_BREAKS)(dice)]), number


def handshake(host: str, path: str = "/v1/realtime", **others: str) -> bytes:
    """A request for a WebSocket, with other headers than it should have."""
    headers = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Protocol": "realtime",
        **others,
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _frame(
    opcode: int, data: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    head = fin << 7 | rsv << 4 | opcode
    size, bit = len(data), masked << 7
    if size < 126:
        header = struct.pack("!BB", head, bit | size)
    elif size < 2**16:
        header = struct.pack("!BBH", head, bit | 126, size)
    else:
        header = struct.pack("!BBQ", head, bit | 127, size)
    return header + (b"mask" + apply_mask(data, b"mask") if masked else data)


_BREAKS: list[Callable[[random.Random], bytes]] = [
    lambda dice: dice.randbytes(dice.randrange(1, 500)),
    lambda dice: _frame(dice.choice([3, 7, 11, 15]), b"reserved opcode"),
    lambda dice: _frame(_TEXT, b"{}", rsv=dice.randrange(1, 8)),
    lambda dice: _frame(_TEXT, b"{}", masked=False),
    lambda dice: _frame(_TEXT, dice.choice([b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf8"])),
    lambda dice: _frame(_PING, bytes(126)),
    lambda dice: _frame(_PING, b"", fin=False),
    lambda dice: _frame(_PING, b"ping") * 500,
    lambda dice: _frame(_PONG, b"nobody asked") * 100,
    lambda dice: _frame(0, b"goes on with nothing"),
    lambda dice: _frame(_TEXT, b'{"ty', fin=False) + _frame(_TEXT, b"{}"),
    lambda dice: _frame(_TEXT, b"", fin=False) + _frame(0, b"", fin=False) * 2_000,
    lambda dice: _frame(_TEXT, b'{"type":', fin=False) + _frame(0, b'"fuzz"}') + _frame(0, b""),
    lambda dice: _frame(_BINARY, b"\x00" * 70_001),
    lambda dice: _frame(_BINARY, b"") * 300,
    lambda dice: _frame(_CLOSE, b"\x03"),
    lambda dice: _frame(_CLOSE, struct.pack("!H", dice.choice([0, 999, 1004, 1005, 1006, 5000]))),
    lambda dice: _frame(_CLOSE, struct.pack("!H", 1000) + b"\xff\xfe"),
    lambda dice: _frame(_CLOSE, struct.pack("!H", 1000) + MARK.encode()) + _frame(_TEXT, b"{}"),
    lambda dice: struct.pack("!BBQ", 0x81, 0xFF, dice.choice([2**63, 2**62, 2**31])) + b"mask",
    lambda dice: struct.pack("!BBQ", 0x81, 0xFF, 2**20) + b"mask" + b"no more of it comes",
]


async def throw(host: str, data: bytes, dice: random.Random) -> bytes:
    """Sends bytes over a connection of their own, in pieces or at once, and reads for a while what
    comes back, or not; returns the beginning of what did."""
    address, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    received = b""
    try:
        with contextlib.suppress(OSError):
            for piece in _pieces(data, dice):
                writer.write(piece)
                await writer.drain()
            if dice.random() < 0.3:
                writer.write_eof()
            if dice.random() < 0.3:
                writer.transport.abort()
                return received
            async with asyncio.timeout(_LISTENS_S):
                while chunk := await reader.read(_READ):
                    received = received or chunk
    except TimeoutError:
        pass  # the server waits for more
    finally:
        writer.transport.abort()
    return received


def _pieces(data: bytes, dice: random.Random) -> list[bytes]:
    if dice.random() < 0.7:
        return [data]
    at = dice.randrange(len(data))
    return [data[:at], data[at:]]
