"""One session's ear: its audio, its turns, and the state a successor needs. No I/O."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shared import traces
from shared.audio import Float32, Int16, pcm16, to_float32
from shared.ids import new_id
from shared.keys import SessionKeys
from shared.messages import (
    Cleared,
    Command,
    CommitRefused,
    Committed,
    Frame,
    Item,
    ListenerState,
    OutMessage,
    SpeechStarted,
    SpeechStopped,
    SttHint,
    SttJob,
    TimeoutTriggered,
    TurnDetection,
    encode,
)
from shared.scripts.lanes import Heard, Saved
from workers.vad.endpointing import (
    BEGIN_WINDOWS,
    SAMPLES_PER_MS,
    TAIL_MS,
    Edge,
    Endpointing,
    answered,
    pauses,
    step,
)
from workers.vad.engines import TURN_SAMPLES, WINDOW

_TAIL = TAIL_MS * SAMPLES_PER_MS
_LONGEST_TURN = 120_000 * SAMPLES_PER_MS
# Who speaks for longer pauses often, and would have all of it transcribed each time.
_LONGEST_HINT = 28_000 * SAMPLES_PER_MS
_LEAST_COMMIT_MS = 100
# A jump further than this is a client that was away, not frames that were lost.
_LONGEST_GAP = 10_000 * SAMPLES_PER_MS

Respond = Literal["if_words", "always", "never"]


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a piece of the kept audio came from."""

    at: int
    entry: str
    received_ms: int


class Listener:
    """Follows one session from frame to frame.

    Audio is 16 kHz mono `int16`; it is kept from a little before the present turn on, at most
    two minutes. In push-to-talk, and when a client goes on beyond that, the oldest audio goes.
    """

    def __init__(
        self, session: SessionKeys, model_state: Float32, *, at: int = 0, seq: int = 0
    ) -> None:
        self.session = session
        self.model_state = model_state
        self.turn_detection: TurnDetection | None = TurnDetection()
        self.language: str | None = None
        self.transcription_prompt: str | None = None
        self._audio = bytearray()
        self._kept = self._heard = at
        self._spans: deque[_Span] = deque()
        self._ends = Endpointing()
        self._seq = seq
        self._turn = 0
        self._began = at
        self._item_id = ""
        self._opened = False
        self._number = 0
        self._timed_out = -1

    @classmethod
    def restored(cls, session: SessionKeys, state: ListenerState) -> "Listener":
        """A listener that goes on where another left off, once it is fed from `kept` on."""
        model_state = np.frombuffer(state.model, np.float32)
        listener = cls(session, model_state, at=state.kept, seq=state.seq)
        listener._heard = state.heard
        listener._turn = state.turn
        listener._ends = Endpointing(state.speaking, state.voiced, state.quiet_from, state.asking)
        listener._began = state.began
        listener._item_id = state.item_id
        listener._opened = True
        listener._number = state.number
        listener._timed_out = state.timed_out
        listener.turn_detection = state.turn_detection
        listener.language = state.language
        listener.transcription_prompt = state.transcription_prompt
        return listener

    @property
    def state(self) -> bytes:
        """What `restored` needs, encoded."""
        return encode(
            ListenerState(
                session_id=self.session.session_id,
                seq=self._seq,
                number=self._number,
                turn=self._turn,
                heard=self._heard,
                kept=self._kept,
                model=self.model_state.tobytes(),
                speaking=self._ends.speaking,
                voiced=self._ends.voiced,
                quiet_from=self._ends.quiet_from,
                asking=self._ends.asking,
                began=self._began,
                item_id=self._item_id,
                timed_out=self._timed_out,
                turn_detection=self.turn_detection,
                language=self.language,
                transcription_prompt=self.transcription_prompt,
            )
        )

    @property
    def saved(self) -> Saved:
        """What a checkpoint keeps of it."""
        return Saved(self._seq, self.state)

    @property
    def needs(self) -> str | None:
        """The earliest lane entry that holds audio still kept; None when nothing is."""
        return self._spans[0].entry if self._spans else None

    @property
    def _end(self) -> int:
        return self._kept + len(self._audio) // 2

    # --- taking audio in ---

    def accept(self, frame: Frame, entry: str) -> None:
        """Takes a frame; what was taken before is skipped, what is missing becomes silence."""
        end = self._end
        if frame.end <= end:
            return
        missing = frame.at - end
        if missing > _LONGEST_GAP:
            self._restart(frame.at)
        elif missing > 0:
            self._audio += bytes(2 * missing)
        self._spans.append(_Span(max(end, frame.at), entry, frame.received_ms))
        self._audio += frame.pcm[-missing * 2 :] if missing < 0 else frame.pcm
        if self.turn_detection is None:
            self._heard = self._end
            self._keep(self._end - _LONGEST_TURN)

    @property
    def has_window(self) -> bool:
        """Whether there are 512 samples to listen to next."""
        waits = self.turn_detection is None or self._ends.asking
        return not waits and self._end - self._heard >= WINDOW

    def window_pcm(self) -> bytearray:
        """The next 512 samples to listen to, as PCM16."""
        start = 2 * (self._heard - self._kept)
        return self._audio[start : start + 2 * WINDOW]

    def window(self) -> Float32:
        """The same as float32 (512,)."""
        return to_float32(pcm16(self.window_pcm()))

    @property
    def has_question(self) -> bool:
        """Whether it goes on only when it was told how likely `turn` is over."""
        asks = self.turn_detection is not None and self._ends.asking
        return asks and self._end >= self._heard

    @property
    def idle(self) -> bool:
        """Whether nothing is to be heard or answered before it takes in more."""
        return not (self.has_window or self.has_question)

    def turn(self) -> Int16:
        """The end of the present turn, up to what was heard, as an engine is asked about it."""
        start = max(self._began, self._kept, self._heard - TURN_SAMPLES)
        return self._samples(start, self._heard)

    # --- what it hears ---

    def advance(self, probability: float, model_state: Float32, now_ms: int) -> Heard | None:
        """Takes in how likely `window` was speech and the model's state after it."""
        assert self.turn_detection is not None
        self.model_state = model_state
        self._ends, edge = step(self._ends, self._heard, probability, self.turn_detection)
        self._heard += WINDOW
        if edge is not None:
            return self._begin(edge) if edge.kind == "began" else self._end_turn(edge.at, now_ms)
        if self._ends.speaking and self._heard - self._began >= _LONGEST_TURN:
            return self._end_turn(self._heard, now_ms)
        if not self._ends.speaking:
            lead = self.turn_detection.prefix_ms * SAMPLES_PER_MS + BEGIN_WINDOWS * WINDOW
            self._keep(self._heard - lead)
        return None

    def hint(self) -> SttHint | None:
        """What the turn will be if the pause that was just heard is its end; None if there was none
        or the turn is long."""
        if not pauses(self._ends, self._heard):
            return None
        start, end = self._began, self._audio_end(self._ends.quiet_from)
        if end - start > _LONGEST_HINT:
            return None
        return SttHint(
            session_id=self.session.session_id,
            pcm=self._pcm(start, end),
            language=self.language,
            prompt=self.transcription_prompt,
        )

    def answer(self, probability: float, now_ms: int) -> Heard | None:
        """Takes in how likely `turn` is over."""
        self._ends, edge = answered(self._ends, probability)
        return self._end_turn(edge.at, now_ms) if edge is not None else None

    def obey(self, command: Command, now_ms: int) -> Heard | None:
        """Carries out a command at its place among the frames; one that comes again, not twice:
        its client may send it again, and a successor's replay may begin before it."""
        if 0 < command.number <= self._number or (command.action == "open" and self._opened):
            return None
        self._opened = True
        self._number = max(command.number, self._number)
        if command.action in ("open", "configure"):
            self._configure(command)
            return None
        if command.action == "commit":
            return self._commit(command.reference, now_ms)
        if command.action == "clear":
            self._restart(max(self._end, command.at))
            return self._tell([Cleared()])
        if command.action == "timeout":
            return self._time_out(command, now_ms)
        raise ValueError(f"action: a listener cannot carry out {command.action!r}")

    def _configure(self, command: Command) -> None:
        self.turn_detection = command.turn_detection
        self.language = command.language
        self.transcription_prompt = command.transcription_prompt

    def _begin(self, edge: Edge) -> Heard:
        assert self.turn_detection is not None
        self._turn += 1
        self._item_id = new_id("item")
        self._began = max(edge.at - self.turn_detection.prefix_ms * SAMPLES_PER_MS, self._kept)
        self._keep(self._began)
        started = SpeechStarted(item_id=self._item_id, turn=self._turn, at=self._began)
        return self._tell([started], interrupts=self.turn_detection.interrupt_response)

    def _end_turn(self, speech_end: int, now_ms: int) -> Heard:
        assert self.turn_detection is not None
        stopped = SpeechStopped(item_id=self._item_id, turn=self._turn, at=speech_end)
        audio_end = self._audio_end(speech_end)
        respond: Respond = "if_words" if self.turn_detection.create_response else "never"
        marks = {"speech_end": self._received_ms(speech_end), "turn_end": now_ms}
        self._ends = Endpointing()
        return self._finish(self._began, audio_end, [stopped], marks, respond=respond)

    def _audio_end(self, speech_end: int) -> int:
        """The last sample of a turn whose speech ended there."""
        return min(speech_end + _TAIL, self._heard)

    def _commit(self, reference: str | None, now_ms: int) -> Heard:
        manual = self.turn_detection is None
        start = self._kept if manual else self._began
        milliseconds = (self._end - start) // SAMPLES_PER_MS
        if not (manual or self._ends.speaking) or milliseconds < _LEAST_COMMIT_MS:
            held = milliseconds if manual or self._ends.speaking else 0
            refused = CommitRefused(audio_ms=held, reference=reference, number=self._number)
            return self._tell([refused])
        if manual:
            self._turn += 1
            self._item_id = new_id("item")
        self._ends = Endpointing()
        self._heard = self._end
        marks = {"speech_end": self._received_ms(self._end), "turn_end": now_ms}
        return self._finish(start, self._end, [], marks, number=self._number)

    def _time_out(self, command: Command, now_ms: int) -> Heard | None:
        """Makes a turn of the silence, unless somebody speaks. A silence that ends where an earlier
        one did is the same again."""
        again = command.at <= self._timed_out
        self._timed_out = command.at
        if again or self.turn_detection is None or self._ends.speaking:
            return None
        self._turn += 1
        self._item_id = new_id("item")
        triggered = TimeoutTriggered(item_id=self._item_id, since=command.since, at=command.at)
        marks = {"speech_end": now_ms, "turn_end": now_ms}
        return self._finish(self._kept, self._heard, [triggered], marks, respond="always")

    def _finish(
        self,
        start: int,
        end: int,
        messages: list[OutMessage],
        marks: dict[str, int],
        *,
        respond: Respond = "never",
        number: int = 0,
    ) -> Heard:
        """Makes the turn from `start` to `end` an item, with a job to transcribe it."""
        audio_ms = (end - start) // SAMPLES_PER_MS
        trace = traces.begin()
        job = SttJob(
            session_id=self.session.session_id,
            item_id=self._item_id,
            turn=self._turn,
            pcm=self._pcm(start, end),
            language=self.language,
            prompt=self.transcription_prompt,
            respond=respond,
            marks=marks,
            trace=trace,
        )
        item = Item.of(item_id=self._item_id, role="user", status="in_progress", modality="audio")
        self._keep(end)
        committed = Committed(item_id=self._item_id, audio_ms=audio_ms, number=number, trace=trace)
        return self._tell([*messages, committed], item=item, job=job)

    def _tell(
        self,
        messages: Sequence[OutMessage],
        *,
        interrupts: bool = False,
        item: Item | None = None,
        job: SttJob | None = None,
    ) -> Heard:
        self._seq += 1
        return Heard(self.session, self._seq, self.state, messages, interrupts, item, job)

    # --- the audio kept ---

    def _samples(self, start: int, end: int) -> Int16:
        return pcm16(self._audio[2 * (start - self._kept) : 2 * (end - self._kept)])

    def _pcm(self, start: int, end: int) -> bytes:
        return bytes(self._audio[2 * (start - self._kept) : 2 * (end - self._kept)])

    def _keep(self, start: int) -> None:
        """Lets go of the audio before `start`."""
        if start <= self._kept:
            return
        del self._audio[: 2 * (start - self._kept)]
        self._kept = start
        while len(self._spans) > 1 and self._spans[1].at <= start:
            self._spans.popleft()
        if not self._audio:
            self._spans.clear()

    def _restart(self, at: int) -> None:
        self._audio.clear()
        self._spans.clear()
        self._ends = Endpointing()
        self._kept = self._heard = self._began = at

    def _received_ms(self, sample: int) -> int:
        """When the frame with the last sample before `sample` reached the gateway."""
        received = 0
        for span in self._spans:
            if span.at >= sample and received:
                break
            received = span.received_ms
        return received
