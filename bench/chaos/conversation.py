"""One session, live: its client says what its script says, and notes what it is answered."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import numpy as np

from bench.chaos.hearing import Hearing
from bench.chaos.record import Exchange, Record
from bench.chaos.script import SILENCE_MS, Turn
from client import SAMPLE_RATE, Event, Parley, ParleyError, paced
from shared.audio import Int16
from shared.messages import Item, TurnDetection

PATIENCE_S = 75.0
"""What has not come after so long is lost: a session outlives its client by 60 s."""

TURN_DETECTION = TurnDetection(silence_ms=SILENCE_MS)
"""What a session has that asked for nothing."""

Voice = Callable[[Turn], Int16]
"""What a turn sounds like, int16 (n,) at 24 kHz."""

_FRAME = SAMPLE_RATE // 10
_RETRY_S = 0.5
_AFTERWARDS_MS = 200  # more silence than ends a turn, so that its end is certain


class ConversationOver(Exception):
    """The conversation cannot go on; the message says why."""


class _Microphone:
    """What the client sends of its user's voice, and what the server must hear of it."""

    def __init__(self, session: Parley, voice: Voice) -> None:
        self.hearing = Hearing(TURN_DETECTION)
        self._session = session
        self._voice = voice

    async def speak(self, turn: Turn) -> None:
        """Says the turn, in real time."""
        await self._send(self._voice(turn))

    async def keep_quiet(self, for_ms: int) -> None:
        """Sends silence, in real time."""
        await self._send(np.zeros(for_ms * SAMPLE_RATE // 1000, np.int16))

    async def listen_for_turns(self, by_itself: bool) -> None:
        """Has the server find the ends of turns by itself, or not."""
        detection = {"type": "server_vad"} if by_itself else None
        transcription = {"model": "whisper-1"}
        await self._session.update(
            audio={"input": {"transcription": transcription, "turn_detection": detection}}
        )
        self.hearing.configure(TURN_DETECTION if by_itself else None)

    async def commit(self) -> None:
        """Ends the turn by hand."""
        await self._session.commit()
        self.hearing.commit()

    async def _send(self, samples: Int16) -> None:
        frames = (samples[at : at + _FRAME] for at in range(0, len(samples), _FRAME))
        async for frame in paced(frames):
            await self._session.send_audio(frame)
            self.hearing.audio(frame)


class Conversation:
    """Carries out a script; `record` is what the client saw of it so far.

    `transcripts` are what the audio sent so far must come to; `history` is the conversation as
    the broker holds it, read before the session is closed.
    """

    def __init__(self, url: str, number: int, turns: Sequence[Turn], voice: Voice) -> None:
        self.record = Record(number)
        self.transcripts: list[str] = []
        self.history: list[Item] = []
        self._url = url
        self._turns = turns
        self._voice = voice
        self._changed = asyncio.Event()
        self._broken: str | None = None

    async def run(self, read_history: Callable[[str], Awaitable[list[Item]]]) -> None:
        """Talks from the first turn to the last; `record.broke` says if it could not."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                session, events = await self._open(stack)
                reader = asyncio.create_task(self._read(events), name="reader")
                stack.callback(reader.cancel)
                await self._talk(session)
                self.history = await read_history(self.record.session_id)
            except (ConversationOver, ParleyError) as error:
                self.record.broke = str(error)

    async def _open(self, stack: contextlib.AsyncExitStack) -> tuple[Parley, AsyncIterator[Event]]:
        """A session that has begun. Before that nothing is promised, so it is tried again."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                session = await stack.enter_async_context(Parley(self._url))
                events = session.events()
                async for created in events:
                    self.record.receive(created, time.monotonic())
                    return session, events
            except ParleyError as error:
                if time.monotonic() > deadline_s:
                    raise ConversationOver(f"no session could be opened: {error}") from error
            await asyncio.sleep(_RETRY_S)

    async def _read(self, events: AsyncIterator[Event]) -> None:
        broken = "the server ended the session"
        try:
            async for event in events:
                self.record.receive(event, time.monotonic())
                self._changed.set()
        except ParleyError as error:
            broken = str(error)
        self._broken = broken
        self._changed.set()

    async def _until(self, reached: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not reached():
                    if self._broken is not None:
                        raise ConversationOver(self._broken)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise ConversationOver(f"{what} did not come in {PATIENCE_S:.0f} s") from error

    # --- talking ---

    async def _talk(self, session: Parley) -> None:
        microphone = _Microphone(session, self._voice)
        self.transcripts = microphone.hearing.transcripts
        await microphone.listen_for_turns(by_itself=True)
        over = False
        for turn in self._turns:
            if not over:
                await asyncio.sleep(turn.pause_s)
            exchange = self.record.begin(turn, time.monotonic())
            await self._say(session, microphone, exchange)
            await self._hear(session, exchange)
            over = turn.ending == "talked_over"
        everything = self.record.exchanges
        await self._until(lambda: all(each.done for each in everything), "the last response.done")

    async def _say(self, session: Parley, microphone: _Microphone, exchange: Exchange) -> None:
        turn = exchange.turn
        if turn.way == "typed":
            await session.text(turn.text)
            await session.create_response()
            exchange.asked_s = time.monotonic()
        elif turn.way == "spoken":
            await microphone.speak(turn)
            await microphone.keep_quiet(SILENCE_MS)
            exchange.asked_s = time.monotonic()
            await microphone.keep_quiet(_AFTERWARDS_MS)
        else:
            await microphone.listen_for_turns(by_itself=False)
            await microphone.speak(turn)
            await microphone.commit()
            exchange.asked_s = time.monotonic()
            await self._until(lambda: exchange.transcript is not None, "the transcript")
            await session.create_response()
            await microphone.listen_for_turns(by_itself=True)

    async def _hear(self, session: Parley, exchange: Exchange) -> None:
        """Listens to the answer, as far as the script wants to hear it."""
        turn = exchange.turn
        if turn.ending != "heard":
            enough = lambda: exchange.heard_ms >= turn.heard_ms or exchange.done  # noqa: E731
            await self._until(enough, "the answer's audio")
        if turn.ending == "cancelled" and not exchange.done:
            await session.cancel()
        if turn.ending != "talked_over":
            await self._until(lambda: exchange.done, "response.done")
