"""The VAD stage: frames in, turns out.

In: the lanes this worker owns. Out: `speech_started`, `speech_stopped` and `committed` for the
gateway, and one transcription job for each turn. All sessions of all its lanes share each step
of the model.

To ask whether a turn is over takes as long as hundreds of steps. The session that asks waits, and
no other: it hears its next window after the answer, so that a successor, or a faster machine,
ends its turns at the same samples.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from shared import traces
from shared.audio import SAMPLE_RATE, pcm16, to_float32
from shared.ids import now_ms
from shared.lanes import Checkpoint, LaneKeeper, OwnedLane, earlier
from shared.logs import concerning
from shared.messages import (
    Command,
    Frame,
    LaneEntry,
    ListenerState,
    MessageError,
    SessionConfig,
    SttHint,
    SttJob,
    decode,
    encode,
)
from shared.metrics.work import BATCH
from shared.scripts.lanes import Heard, emit_lane
from shared.worker import Context
from workers.vad.engines import WINDOW, Hearing
from workers.vad.listener import Listener

# A session silent for so long is asked after: its gateway may have gone without a word.
_ABANDONED_MS = 30_000

_WINDOWS = BATCH.labels("vad")
_TURNS = BATCH.labels("turn")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Attended:
    """A session this worker listens to."""

    lane: OwnedLane
    listener: Listener
    active_ms: int
    waiting: deque[tuple[str, Frame | Command]] = field(default_factory=deque)


class VadStage:
    """Listens to the sessions of this worker's lanes."""

    def __init__(self, hearing: Hearing, context: Context) -> None:
        self._engine = hearing.vad
        self._turns = hearing.turns
        self._context = context
        self._attended: dict[str, _Attended] = {}
        self._asking: dict[str, _Attended] = {}
        self._asked = asyncio.Event()
        self._step = asyncio.Lock()  # between two steps of it no session is half-way
        self._ended: dict[str, set[str]] = {}
        self._keeper = LaneKeeper(
            self,
            context.keyspace,
            pipe=context.pipe,
            reader=context.reader(),
            owner=context.worker_id,
        )

    # --- a running worker ---

    @property
    def load(self) -> int:
        return len(self._attended)

    @property
    def slots(self) -> int:
        return 0

    @property
    def queue_delay_ms(self) -> int:
        return self._keeper.queueing.delay_ms

    @property
    def busy(self) -> float:
        return 0.0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._answer(), name="ends of turns")
            await self._keeper.run()
            answering.cancel()

    async def stop(self) -> None:
        await self._keeper.stop()

    # --- its lanes ---

    def adopt(self, lane: OwnedLane, states: Mapping[str, bytes]) -> None:
        for session_id, data in states.items():
            try:
                state = decode(data, ListenerState)
            except MessageError as error:
                with concerning(session_id=session_id):
                    log.error("the state of session %s was skipped: %s", session_id, error)
                continue
            listener = Listener.restored(self._context.keyspace.session(session_id), state)
            if len(listener.model_state) != self._engine.STATE:
                listener.model_state = self._engine.initial_state()  # of another engine
            self._attended[session_id] = _Attended(lane, listener, now_ms())

    def drop(self, lane: OwnedLane) -> None:
        stream = lane.lane.stream
        self._attended = {
            session_id: attended
            for session_id, attended in self._attended.items()
            if attended.lane.lane.stream != stream
        }
        self._ended.pop(stream, None)

    async def process(self, entries: Sequence[tuple[OwnedLane, str, LaneEntry]]) -> None:
        async with self._step:
            await self._advance(await self._deliver(entries))

    async def checkpoint(self, lane: OwnedLane) -> Checkpoint:
        async with self._step:
            mine = [a for a in self._attended.values() if a.lane is lane]
            await self._ask_after(mine)
            mine = [a for a in mine if a.listener.session.session_id in self._attended]
            # What waits for an answer came after the audio of the turn that it is about.
            needed = [a.listener.needs for a in mine]
            entry = earlier([lane.read, *(e for e in needed if e is not None)])
            states = {a.listener.session.session_id: a.listener.saved for a in mine}
            return Checkpoint(entry, states, sorted(self._ended.pop(lane.lane.stream, set())))

    # --- listening ---

    async def _deliver(
        self, entries: Sequence[tuple[OwnedLane, str, LaneEntry]]
    ) -> dict[str, _Attended]:
        """Gives each record to its session; returns the sessions that were given one."""
        touched: dict[str, _Attended] = {}
        received_ms = now_ms()
        for lane, entry, message in entries:
            for record in message.records:
                attended = self._attended.get(record.session_id)
                if attended is None and (attended := await self._begin(lane, record)) is None:
                    continue
                attended.waiting.append((entry, record))
                attended.active_ms = received_ms
                touched[record.session_id] = attended
        return touched

    async def _advance(self, sessions: Mapping[str, _Attended]) -> None:
        """Moves sessions on to the end of their audio, or to where they ask something."""
        while sessions:
            heard = self._take_in(sessions)
            asking = {key: a for key, a in sessions.items() if a.listener.has_question}
            if asking:
                self._asking |= asking
                self._asked.set()
            # The others have nothing left to be heard.
            sessions = {key: a for key, a in sessions.items() if a.listener.has_window}
            ready = [attended.listener for attended in sessions.values()]
            if ready:
                heard += self._listen(ready)
            hints = [hint for listener in ready if (hint := listener.hint())]
            if heard or hints:
                await asyncio.gather(self._emit(heard), *map(self._hint, hints))
            elif ready:
                await asyncio.sleep(0)  # leases are renewed between two steps

    async def _answer(self) -> None:
        """Has the model answer what sessions ask, while the others are listened to."""
        while True:
            await self._asked.wait()
            asking = dict(islice(self._asking.items(), self._turns.batch))
            turns = [attended.listener.turn() for attended in asking.values()]
            _TURNS.observe(len(turns))
            answers = await asyncio.to_thread(self._turns.over, turns)
            async with self._step:
                self._asking = {k: a for k, a in self._asking.items() if asking.get(k) is not a}
                if not self._asking:
                    self._asked.clear()
                await self._go_on(asking, [float(probability) for probability in answers])

    async def _go_on(self, asking: Mapping[str, _Attended], answers: Sequence[float]) -> None:
        """Gives the answers to the sessions that are still listened to here."""
        here, heard = {}, []
        for (key, attended), probability in zip(asking.items(), answers, strict=True):
            if self._attended.get(key) is attended:
                here[key] = attended
                heard.append(attended.listener.answer(probability, now_ms()))
        await self._emit([event for event in heard if event is not None])
        await self._advance(here)

    async def _begin(self, lane: OwnedLane, record: Frame | Command) -> _Attended | None:
        """The session of a record that this worker has not met."""
        if isinstance(record, Command) and record.action == "open":
            return self._meet(lane, record)
        return await self._recall(lane, record)

    async def _recall(self, lane: OwnedLane, record: Frame | Command) -> _Attended | None:
        """A session whose beginning is not in the lane any more, or None if it has ended."""
        session = self._context.keyspace.session(record.session_id)
        saved, seq = await self._context.pipe.command("HMGET", session.state, "config", "vad_seq")
        if saved is None:
            return None
        config = decode(saved, SessionConfig)
        attended = self._meet(lane, record, seq=int(seq))
        if attended is None:
            return None
        attended.listener.turn_detection = config.turn_detection
        attended.listener.language = config.language
        attended.listener.transcription_prompt = config.transcription_prompt
        return attended

    def _meet(self, lane: OwnedLane, record: Frame | Command, seq: int = 0) -> _Attended | None:
        """Begins to listen to a session; None if its lane went to another worker meanwhile, whose
        the session is then."""
        if lane not in self._keeper.owned:
            return None
        session = self._context.keyspace.session(record.session_id)
        listener = Listener(session, self._engine.initial_state(), at=record.at, seq=seq)
        attended = _Attended(lane, listener, now_ms())
        self._attended[record.session_id] = attended
        return attended

    def _take_in(self, sessions: Mapping[str, _Attended]) -> list[Heard]:
        """Moves each session on to its next full window, carrying out commands on the way."""
        heard = []
        for session_id, attended in sessions.items():
            while attended.waiting and attended.listener.idle:
                entry, record = attended.waiting.popleft()
                if isinstance(record, Frame):
                    attended.listener.accept(record, entry)
                elif record.action == "close":
                    self._forget(session_id)
                elif (event := attended.listener.obey(record, now_ms())) is not None:
                    heard.append(event)
        return heard

    def _listen(self, ready: Sequence[Listener]) -> list[Heard]:
        """One step of the model for all sessions that have a window.

        For all but hundreds of them it takes less time than to have another thread take it, and
        there is nothing to do meanwhile.
        """
        pcm = b"".join([listener.window_pcm() for listener in ready])
        audio = to_float32(pcm16(pcm)).reshape(-1, WINDOW)
        states = np.concatenate([listener.model_state for listener in ready])
        _WINDOWS.observe(len(ready))
        probabilities, after = self._engine.step(audio, states.reshape(len(ready), -1))
        heard_ms = now_ms()
        heard = []
        for listener, probability, state in zip(ready, probabilities.tolist(), after, strict=True):
            # A copy, as a view would keep the whole batch.
            event = listener.advance(probability, state.copy(), heard_ms)
            if event is not None:
                heard.append(event)
        return heard

    async def _hint(self, hint: SttHint) -> None:
        """Lets recognition begin before it is certain that the turn is over."""
        shard = self._context.keyspace.session(hint.session_id).shard
        await self._context.pipe.command("PUBLISH", shard.hints("stt"), encode(hint))

    async def _emit(self, heard: Sequence[Heard]) -> None:
        """Emits what was heard, each session's in order, sessions side by side."""
        by_session: dict[str, list[Heard]] = {}
        for event in heard:
            by_session.setdefault(event.session.session_id, []).append(event)
        await asyncio.gather(*(self._emit_session(events) for events in by_session.values()))

    async def _emit_session(self, events: Sequence[Heard]) -> None:
        for event in events:
            session_id = event.session.session_id
            attended = self._attended.get(session_id)
            if attended is None:
                return
            lane = attended.lane
            status = await emit_lane(self._context.pipe, lane.lane, lane.token, event)
            if status == "fenced":
                self._keeper.lost(lane)
                return
            if status == "gone":
                self._forget(session_id)
                return
            if status == "ok" and event.job is not None:
                _trace(event.job)

    # --- sessions that end ---

    async def _ask_after(self, sessions: Sequence[_Attended]) -> None:
        silent = [a for a in sessions if now_ms() - a.active_ms > _ABANDONED_MS]
        for attended in silent:
            session = attended.listener.session
            if not await self._context.pipe.command("EXISTS", session.state):
                self._forget(session.session_id)

    def _forget(self, session_id: str) -> None:
        attended = self._attended.pop(session_id, None)
        if attended is not None:
            self._ended.setdefault(attended.lane.lane.stream, set()).add(session_id)


def _trace(turn: SttJob) -> None:
    """The turn's trace begins: from the end of what was said until that was known."""
    attributes: dict[str, traces.Value] = {
        "parley.stage": "vad",
        "session.id": turn.session_id,
        "parley.item_id": turn.item_id,
        "parley.turn": turn.turn,
        "parley.audio_s": len(turn.pcm) / 2 / SAMPLE_RATE,
    }
    start_ms, end_ms = turn.marks["speech_end"], turn.marks["turn_end"]
    traces.export(turn.trace, traces.Span("turn", start_ms, end_ms, attributes, first=True))


def start(hearing: Hearing, context: Context) -> VadStage:
    """The stage around its engines, not yet running."""
    return VadStage(hearing, context)
