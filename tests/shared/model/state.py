"""What the broker holds of one shard, in plain Python, and the steps that several scripts share.

Nothing here knows Redis but the names of keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.keys import Lane, SessionKeys, Shard
from shared.messages import Item, Message, OutMessage, SessionConfig, encode
from shared.scripts.jobs import NewResponse, Ownership

STAGES = ("stt", "llm", "tts")

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
    gateway: str
    attachment: str
    epoch: int = 0
    vad_seq: int = 0
    response: str = ""
    requests: int = 0
    trimmed: str = "0-0"
    ended: str | None = None
    ended_at: str | None = None

    def fields(self) -> Fields:
        return {
            name.encode(): encode(value) if isinstance(value, Message) else str(value).encode()
            for name, value in vars(self).items()
            if value is not None
        }


@dataclass
class Talk:
    """A session with its conversation and its output."""

    session: Session | None = None
    out: list[Entry] | None = None
    items: dict[str, Item] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)


@dataclass
class Response:
    text: str = ""
    segments: int = 0


class State:
    """One shard with one lane."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.shard: Shard = lane.shard
        self.queues = {stage: Queue() for stage in STAGES}
        self.talks: dict[str, Talk] = {}
        self.responses: dict[str, Response] = {}
        self.dead: list[Entry] = []
        self.frames: list[Entry] | None = None
        self.owner: str | None = None
        self.token: int | None = None
        self.states: Fields = {}

    def talk(self, session: SessionKeys) -> Talk:
        return self.talks.setdefault(session.session_id, Talk())

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
            view[key] = {
                b"text": response.text.encode(),
                b"segments": str(response.segments).encode(),
            }
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
        if self.dead:
            streams[self.shard.dead] = self.dead
        if self.frames is not None:
            streams[self.lane.stream] = self.frames
        return streams

    # --- steps they share ---

    def begin(self, session: SessionKeys, response: NewResponse) -> str:
        talk = self.talk(session)
        assert talk.session is not None
        if talk.session.response == response.response_id:
            return "ok"
        if talk.session.response:
            return "active"
        talk.session.response = response.response_id
        self.responses[response.response_id] = Response()
        self.put(talk, response.item)
        self.show(session, [response.created])
        self.enqueue("llm", talk.session.epoch, [response.job])
        return "ok"

    def put(self, talk: Talk, item: Item) -> None:
        if item.item_id not in talk.items:
            talk.order.append(item.item_id)
        talk.items[item.item_id] = item

    def show(self, session: SessionKeys, messages: Sequence[OutMessage]) -> None:
        talk = self.talk(session)
        if messages:
            talk.out = (talk.out or []) + [Entry({b"m": encode(m)}) for m in messages]

    def enqueue(self, stage: str, epoch: int, jobs: Sequence[Message]) -> None:
        for job in jobs:
            fields = {b"m": encode(job), b"epoch": str(epoch).encode()}
            self.queues[stage].stream.append(Entry(fields))


def _entries(stream: Sequence[Entry]) -> list[tuple[str, Fields]]:
    return [(entry.name, entry.fields) for entry in stream]


def order(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


def since(stream: Sequence[Entry], first: str) -> list[Entry]:
    """What XTRIM MINID leaves of a stream."""
    return [entry for entry in stream if order(entry.name) >= order(first)]
