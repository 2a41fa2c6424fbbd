"""`/ws`: the original client, and frames that it would never send."""

import asyncio
import contextlib

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.gateway.realtime_client import sound
from tests.gateway.running import Gateway
from tests.stages import SOON_S
from tests.support.legacy_client import LegacyClient


@pytest.mark.parametrize(("slash", "chunk"), [("", 1024), ("/", 512)])
async def test_the_original_client_has_two_turns(served: Gateway, slash: str, chunk: int) -> None:
    def converse() -> list[int]:
        lengths = []
        with LegacyClient(f"http://{served.host}{slash}", chunk=chunk) as client:
            for seconds in (0.4, 0.5):
                answer = client.ask(sound(seconds, 16_000))
                assert len(answer.messages) > 0
                lengths.append(len(answer.played))
            assert not client.violations
        return lengths

    lengths = await asyncio.to_thread(converse)
    assert all(length > 16_000 for length in lengths)


async def test_odd_frames_do_the_original_endpoint_no_harm(served: Gateway) -> None:
    speech = np.concatenate([sound(0.4, 16_000), np.zeros(7_600, np.int16)]).tobytes()
    async with connect(f"ws://{served.host}/ws") as socket:
        for odd in (b"", b"\x01", "a text frame", b"\x01\x02\x03"):
            await socket.send(odd)
        for start in range(0, len(speech), 2_000):
            await socket.send(speech[start : start + 2_000])
        frames = await pulled(socket)
    assert frames[-1] == b"DONE"
    assert {len(frame) for frame in frames[:-1]} == {2_000}


async def pulled(socket: ClientConnection) -> list[bytes]:
    """The answer, asked for with empty frames."""
    frames: list[bytes] = []
    async with asyncio.timeout(SOON_S):
        while not frames or frames[-1] != b"DONE":
            await socket.send(b"")
            with contextlib.suppress(TimeoutError):
                frame = await asyncio.wait_for(socket.recv(), 0.01)
                assert isinstance(frame, bytes)
                frames.append(frame)
    return frames
