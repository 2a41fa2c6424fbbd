"""What the broker holds of one shard, in plain Python, and the steps that several scripts share.

Nothing here knows Redis but the names of keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.keys import Lane, SessionKeys, Shard
from shared.messages import AnyItem, Message, OutMessage, SessionConfig, SttJob, encode
from shared.scripts.jobs import NewResponse, Ownership

STAGES = ("stt", "llm", "tts")

ITEMS = 256
ASIDES = 4
TRANSCRIPTIONS = 256
NEVER_STALE = str(2**53 - 1)
"""The epoch of jobs for responses aside."""

Fields = dict[bytes, bytes]
View = dict[str, object]


@dataclass
class Entry:
    """One entry of a stream; the broker names it."""

    fields: Fields
    name: str = ""


@dataclass
class Pending:
    """A job that was delivered: to whom, the how many-th time, and whether its lease ran out."""

    consumer: str
    attempt: int
    lapsed: bool = False


@dataclass
class Queue:
    """A stage's jobs and its group's pending list."""

    stream: list[Entry] = field(default_factory=list)
    pending: dict[str, Pending] = field(default_factory=dict)
    delivered: set[str] = field(default_factory=set)

    @property
    def fresh(self) -> list[Entry]:
        """What was never delivered."""
        return [job for job in self.stream if job.name not in self.delivered]

    def owned(self, owner: Ownership) -> bool:
        pending = self.pending.get(owner.entry)
        return pending is not None and (pending.consumer, pending.attempt) == (
            owner.consumer,
            owner.attempt,
        )

    def settle(self, entry: str) -> None:
        del self.pending[entry]
        self.trim(entry)

    def trim(self, entry: str) -> None:
        self.stream = [job for job in self.stream if job.name != entry]

    def find(self, entry: str) -> Entry | None:
        return next((job for job in self.stream if job.name == entry), None)


@dataclass
class Session:
    """What the broker keeps of a session besides its conversation and its output."""

    token: str
    config: SessionConfig
    gateway: str | None
    attachment: str
    epoch: int = 0
    vad_seq: int = 0
    response: str = ""
    requests: int = 0
    trimmed: str = "0-0"
    asides: list[str] = field(default_factory=list)
    transcribing: list[Entry] = field(default_factory=list)
    ended: str | None = None
    ended_at: str | None = None

    def fields(self) -> Fields:
        fields = {**vars(self), "asides": " ".join(self.asides)}
        fields["transcribing"] = " ".join(job.name for job in self.transcribing)
        return {
            name.encode(): encode(value) if isinstance(value, Message) else str(value).encode()
            for name, value in fields.items()
            if value is not None
        }


@dataclass
class Talk:
    """A session with its conversation and its output."""

    session: Session | None = None
    out: list[Entry] | None = None
    items: dict[str, AnyItem] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)


@dataclass
class Response:
    """What the broker keeps of a response: its text, what it answers and, while it waits for
    transcripts, its job."""

    after: str | None = None
    text: str = ""
    segments: int = 0
    job: Message | None = None
    epoch: str = ""
    waits: list[Entry] = field(default_factory=list)

    def fields(self) -> Fields:
        fields = {b"text": self.text.encode(), b"segments": str(self.segments).encode()}
        if self.after is not None:
            fields[b"after"] = self.after.encode()
        if self.job is not None:
            waits = " ".join(job.name for job in self.waits)
            fields |= {b"job": encode(self.job), b"epoch": self.epoch.encode()}
            fields[b"waits"] = waits.encode()
        return fields


class State:
    """One shard with one lane."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.shard: Shard = lane.shard
        self.queues = {stage: Queue() for stage in STAGES}
        self.talks: dict[str, Talk] = {}
        self.responses: dict[str, Response] = {}
        self.dead: list[Entry] | None = None
        self.frames: list[Entry] | None = None
        self.owner: str | None = None
        self.token: int | None = None
        self.states: Fields = {}

    def talk(self, session: SessionKeys) -> Talk:
        return self.talks.setdefault(session.session_id, Talk())

    def session(self, session: SessionKeys) -> Session:
        """That of a session that there is."""
        state = self.talk(session).session
        assert state is not None
        return state

    # --- what the broker must hold ---

    def view(self) -> View:
        """Every key and its value, and each stage's pending list."""
        view: View = {key: _entries(stream) for key, stream in self._streams().items()}
        for stage, queue in self.queues.items():
            view[f"pending {stage}"] = {
                entry: (pending.consumer, pending.attempt)
                for entry, pending in queue.pending.items()
            }
        for session_id, talk in self.talks.items():
            keys = self.shard.session(session_id)
            if talk.session:
                view[keys.state] = talk.session.fields()
            if talk.order:
                view[keys.order] = [item_id.encode() for item_id in talk.order]
                view[keys.items] = {k.encode(): encode(item) for k, item in talk.items.items()}
        for response_id, response in self.responses.items():
            key = f"{self.shard.prefix}:response:{response_id}"
            view[key] = response.fields()
        if self.owner is not None:
            view[self.lane.lease] = self.owner.encode()
        if self.token is not None:
            view[self.lane.fence] = str(self.token).encode()
        if self.states:
            view[self.lane.checkpoint] = dict(self.states)
        return view

    def name_entries(self, view: View) -> None:
        """Takes the names that the broker gave to entries that were added since."""
        for key, stream in self._streams().items():
            there = view.get(key, [])
            assert isinstance(there, list)
            for entry, (name, _) in zip(stream, there, strict=False):
                entry.name = entry.name or name

    def _streams(self) -> dict[str, list[Entry]]:
        streams = {self.shard.jobs(stage): queue.stream for stage, queue in self.queues.items()}
        for session_id, talk in self.talks.items():
            if talk.out is not None:
                streams[self.shard.session(session_id).out] = talk.out
        if self.dead is not None:
            streams[self.shard.dead] = self.dead
        if self.frames is not None:
            streams[self.lane.stream] = self.frames
        return streams

    # --- steps they share ---

    def begin(self, session: SessionKeys, response: NewResponse) -> str:
        """A response in the conversation."""
        state = self.session(session)
        if state.response == response.response_id:
            return "ok"
        if state.response:
            return "active"
        state.response = response.response_id
        self._begin(session, response, str(state.epoch))
        return "ok"

    def begin_aside(self, session: SessionKeys, response: NewResponse) -> str:
        state = self.session(session)
        if response.response_id in state.asides:
            return "ok"
        if len(state.asides) >= ASIDES:
            return "active"
        state.asides.append(response.response_id)
        self._begin(session, response, NEVER_STALE)
        return "ok"

    def _begin(self, session: SessionKeys, response: NewResponse, epoch: str) -> None:
        talk, state = self.talk(session), self.session(session)
        begun = Response(after=talk.order[-1] if talk.order else "")
        self.responses[response.response_id] = begun
        self.show(session, [response.created])
        if state.transcribing:
            begun.job, begun.epoch, begun.waits = response.job, epoch, list(state.transcribing)
        else:
            self.enqueue("llm", epoch, [response.job])

    def end_aside(self, session: SessionKeys, response_id: str) -> bool:
        """Whether it was one."""
        asides = self.session(session).asides
        if response_id not in asides:
            return False
        asides.remove(response_id)
        self.responses.pop(response_id, None)
        return True

    def transcribe(self, session: SessionKeys, job: SttJob, epoch: str) -> None:
        """Has audio transcribed, which responses may wait for."""
        state = self.session(session)
        state.transcribing += self.enqueue("stt", epoch, [job])
        del state.transcribing[:-TRANSCRIPTIONS]

    def transcribed(self, session: SessionKeys, ended: str) -> None:
        """The transcription with the entry `ended` is over; what waits for no other begins."""
        state = self.session(session)
        state.transcribing = [job for job in state.transcribing if job.name != ended]
        left = {job.name for job in state.transcribing}
        for response_id in [*state.asides, state.response]:
            response = self.responses.get(response_id)
            if response is None or response.job is None:
                continue
            if left.isdisjoint(job.name for job in response.waits):
                self.enqueue("llm", response.epoch, [response.job])
                response.job = None

    def put(self, talk: Talk, item: AnyItem) -> None:
        """Writes an item at the conversation's end, or over its earlier version."""
        if item.item_id not in talk.items:
            talk.order.append(item.item_id)
        talk.items[item.item_id] = item
        self.bound(talk, ITEMS)

    def replace(self, talk: Talk, item: AnyItem) -> bool:
        """Writes an item over its earlier version, if it has one."""
        known = item.item_id in talk.items
        if known:
            talk.items[item.item_id] = item
        return known

    def bound(self, talk: Talk, most: int) -> None:
        """Lets go of the first items when there are more than `most`."""
        while len(talk.order) > most:
            del talk.items[talk.order.pop(0)]

    def show(self, session: SessionKeys, messages: Sequence[OutMessage]) -> None:
        talk = self.talk(session)
        if messages:
            talk.out = (talk.out or []) + [Entry({b"m": encode(m)}) for m in messages]

    def enqueue(self, stage: str, epoch: str, jobs: Sequence[Message]) -> list[Entry]:
        added = [Entry({b"m": encode(job), b"epoch": epoch.encode()}) for job in jobs]
        self.queues[stage].stream += added
        return added


def _entries(stream: Sequence[Entry]) -> list[tuple[str, Fields]]:
    return [(entry.name, entry.fields) for entry in stream]


def order(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


def since(stream: Sequence[Entry], first: str) -> list[Entry]:
    """What XTRIM MINID leaves of a stream."""
    return [entry for entry in stream if order(entry.name) >= order(first)]
