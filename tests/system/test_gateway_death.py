"""kill -9 of the gateway that serves a session: the client goes on with the other one, and hears
and is heard as if nothing had been, to the sample."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from bench.chaos import proxy, speaking, system
from bench.chaos.conversation import TURN_DETECTION
from bench.chaos.hearing import Hearing
from bench.chaos.proxy import Link
from bench.chaos.system import System
from cli.broker import find_server
from client import SAMPLE_RATE, Event, Parley, frames
from shared.audio import Int16
from tests.support.talking import spoken
from tests.system.test_many_sessions import check_order

SOON_S = 60.0
RESUMED = "parley.session.resumed"
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"

pytestmark = [pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

SPEECH, QUIET = spoken(1, 1)[0].speech(1), np.zeros(SAMPLE_RATE, np.int16)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Two gateways, each started again when it dies, and a worker of each stage."""
    folder = tmp_path_factory.mktemp("s")
    surprises: list[str] = []
    settings = {"profile": "instant"}
    async with system.running(folder, find_server(), 2, 1, surprises.append, **settings) as running:
        yield running
    assert surprises == []


class Talk:
    """A conversation through a link: what was said, and what came back."""

    def __init__(self, session: Parley, link: Link, served: System) -> None:
        self.hearing = Hearing(TURN_DETECTION)
        self.events: list[Event] = []
        self.session = session
        self._link = link
        self._served = served
        self._source = session.events()

    async def configure(self, *, push_to_talk: bool) -> None:
        audio: dict[str, Any] = {"transcription": {"model": "whisper-1"}}
        if push_to_talk:
            audio["turn_detection"] = None
            self.hearing.configure(None)
        await self.session.update(audio={"input": audio})
        await self.until("session.updated")

    async def say(self, samples: Int16) -> None:
        for frame in frames(samples):
            await self.session.send_audio(frame)
            self.hearing.audio(frame)

    async def commit(self) -> None:
        await self.session.commit()
        self.hearing.commit()

    async def until(self, kind: str) -> Event:
        """Reads up to and including the next event of a type."""
        async with asyncio.timeout(SOON_S):
            async for event in self._source:
                self.events.append(event)
                if event.type == kind:
                    return event
        raise AssertionError(f"no {kind} came")

    async def ask(self) -> None:
        """Has the server answer what it has heard."""
        await self.until(TRANSCRIBED)
        await self.session.create_response()

    @property
    def gateway(self) -> system.Process:
        """The gateway that serves the session."""
        return self._served.of("gateway")[self._link.connections[-1].gateway]

    async def kill_gateway(self) -> None:
        gateway = self.gateway
        gateway.signal(signal.SIGKILL)
        await gateway.ended(SOON_S)

    async def resumed(self) -> None:
        """Reads until the session has been resumed, unless it was already."""
        if RESUMED not in [event.type for event in self.events]:
            await self.until(RESUMED)

    def check(self, turns: int, *, push_to_talk: bool = False) -> None:
        """Everything came once, in order and whole."""
        ids = [event["event_id"] for event in self.events]
        assert len(set(ids)) == len(ids)
        kinds = [event.type for event in self.events]
        assert kinds.count("input_audio_buffer.committed") == turns
        assert kinds.count("response.created") == kinds.count("response.done") == turns
        if not push_to_talk:
            for turn in self._turns():
                check_order([event.type for event in turn if event.type != RESUMED])
        heard = [event["transcript"] for event in self.events if event.type == TRANSCRIBED]
        assert heard == self.hearing.transcripts
        for said, turn in zip(heard, self._turns(), strict=True):
            assert self._joined(turn, "response.output_audio_transcript.delta") == (
                speaking.answer(said)
            )
            audio = [event.audio for event in turn if event.type == "response.output_audio.delta"]
            assert np.array_equal(np.concatenate(audio), speaking.audio(speaking.answer(said)))
            assert turn[-1]["response"]["status"] == "completed"

    def _turns(self) -> Iterator[list[Event]]:
        """The events up to each response's end."""
        turn: list[Event] = []
        for event in self.events:
            turn.append(event)
            if event.type == "response.done":
                yield turn
                turn = []

    @staticmethod
    def _joined(turn: list[Event], kind: str) -> str:
        return "".join(event["delta"] for event in turn if event.type == kind)


@contextlib.asynccontextmanager
async def talking(served: System, *, push_to_talk: bool = False) -> AsyncIterator[Talk]:
    """A conversation with a session of its own, which is resumed before the end."""
    await served.ready()
    async with (
        proxy.opened(served.ports, random.Random(1)) as link,
        Parley(link.url) as session,
    ):
        talk = Talk(session, link, served)
        await talk.configure(push_to_talk=push_to_talk)
        yield talk
        assert RESUMED in [event.type for event in talk.events]


async def test_in_the_middle_of_speech(served: System) -> None:
    async with talking(served) as talk:
        await talk.say(SPEECH[: SAMPLE_RATE // 3])
        await talk.until("input_audio_buffer.speech_started")
        await talk.kill_gateway()
        await talk.say(SPEECH[SAMPLE_RATE // 3 :])
        await talk.say(QUIET)
        await talk.until("response.done")
        talk.check(turns=1)


@pytest.mark.parametrize(
    "moment",
    [
        "input_audio_buffer.speech_stopped",
        TRANSCRIBED,
        "response.created",
        "response.output_audio.delta",
        "response.output_audio_transcript.done",
    ],
)
async def test_in_the_middle_of_an_answer(served: System, moment: str) -> None:
    async with talking(served) as talk:
        await talk.say(SPEECH)
        await talk.say(QUIET)
        await talk.until(moment)
        await talk.kill_gateway()
        await talk.until("response.done")
        await talk.resumed()
        talk.check(turns=1)


async def test_between_turns(served: System) -> None:
    async with talking(served) as talk:
        for last in (False, True):
            await talk.say(SPEECH)
            await talk.say(QUIET)
            await talk.until("response.done")
            if not last:
                await talk.kill_gateway()
        talk.check(turns=2)


@pytest.mark.parametrize("moment", ["speaking", "committed", "asked"])
async def test_push_to_talk(served: System, moment: str) -> None:
    async with talking(served, push_to_talk=True) as talk:
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "speaking": lambda: talk.say(SPEECH[: SAMPLE_RATE // 3]),
            "spoken": lambda: talk.say(SPEECH[SAMPLE_RATE // 3 :]),
            "committed": talk.commit,
            "asked": talk.ask,
        }
        for name, step in steps.items():
            await step()
            if name == moment:
                await talk.kill_gateway()
        await talk.until("response.done")
        await talk.resumed()
        talk.check(turns=1, push_to_talk=True)


async def test_all_gateways_at_once(served: System) -> None:
    async with talking(served) as talk:
        await talk.say(SPEECH)
        await talk.say(QUIET)
        await talk.until("response.output_audio.delta")
        for gateway in served.of("gateway"):
            gateway.signal(signal.SIGKILL)
        await talk.until("response.done")
        talk.check(turns=1)


async def test_a_gateway_that_stands_still(served: System) -> None:
    """It does not break the connection, and comes back to find the session served elsewhere."""
    async with talking(served) as talk:
        await talk.say(SPEECH)
        await talk.say(QUIET)
        await talk.until("response.output_audio.delta")
        stopped = talk.gateway
        stopped.signal(signal.SIGSTOP)
        try:
            await talk.until("response.done")
        finally:
            stopped.signal(signal.SIGCONT)
        await talk.say(SPEECH)
        await talk.say(QUIET)
        await talk.until("response.done")
        talk.check(turns=2)
