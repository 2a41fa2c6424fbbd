"""Much audio at once keeps nobody waiting."""

import asyncio
import base64
import json

import pytest

from gateway.access import Grant
from gateway.access.tally import Tally
from gateway.cursor import Cursor
from gateway.follower import Follower
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.incoming import parse
from gateway.protocols.realtime.requests import Requests
from gateway.protocols.realtime.showing import Showing
from shared.broker import Pipe
from shared.messages import Frame
from shared.settings import Settings
from tests.gateway.talk import Talk, talking

TELEPHONE = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}


def asking(talk: Talk, pipe: Pipe) -> tuple[Requests, Showing]:
    """What carries out the requests of a client that speaks over a telephone."""
    configuration = Configuration(Settings()).updated(TELEPHONE)
    requests = Requests(
        talk.session, configuration, Cursor(), Grant(pipe, {}, {"": Tally("", pipe)}, None)
    )
    return requests, Showing(talk.session, lambda: configuration, timings=False)


def quiet(seconds: int) -> str:
    return base64.b64encode(b"\xff" * 8_000 * seconds).decode()


async def test_a_long_append_is_taken_in_a_second_at_a_time(pipe: Pipe, follower: Follower) -> None:
    async with talking(pipe, follower) as talk:
        requests, showing = asking(talk, pipe)
        turns = 0

        async def wait_beside_it() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        waiting = asyncio.create_task(wait_beside_it())
        append = {"type": "input_audio_buffer.append", "audio": quiet(90)}
        await requests.carry_out(parse(json.dumps(append)), showing)
        waiting.cancel()
        assert turns >= 88  # of 90 seconds: the first gap starts it, the second is its first turn
        frames = [record for record in await talk.records() if isinstance(record, Frame)]
        assert max(len(frame.pcm) for frame in frames) <= 2 * 16_000
        assert [frame.at for frame in frames][1:] == [frame.end for frame in frames][:-1]
        assert frames[-1].end > 89 * 16_000


async def test_an_item_with_too_much_audio_is_refused(pipe: Pipe, follower: Follower) -> None:
    async with talking(pipe, follower) as talk:
        requests, showing = asking(talk, pipe)
        content = [{"type": "input_audio", "audio": quiet(121)}]
        item = {"type": "message", "role": "user", "content": content}
        create = parse(json.dumps({"type": "conversation.item.create", "item": item}))
        with pytest.raises(ProtocolError, match="audio must be at most 120 s long"):
            await requests.carry_out(create, showing)
