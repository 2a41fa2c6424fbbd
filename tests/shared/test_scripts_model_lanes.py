"""The protocol of lanes by model: owners whose lease runs out and who go on, replies that are lost,
a broker that forgets tokens. Whatever happens, each event is shown once and in order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from shared.broker import fields_of
from shared.messages import SessionConfig, SpeechStarted, decode
from shared.scripts import lanes, sessions
from shared.scripts.lanes import CHECKPOINT_ENTRY, Heard, Saved
from shared.scripts.sessions import Attachment
from tests.shared.model.machine import LANE, ScriptMachine
from tests.shared.model.state import Entry, order

pytestmark = pytest.mark.timeout(300)

LEASE_MS = 60_000  # none runs out by itself while an example runs
SESSIONS = [LANE.shard.session("sess_1"), LANE.shard.session("sess_2")]
NAMES = [session.session_id for session in SESSIONS]

a_worker = st.sampled_from(["one", "two", "three"])
a_name = st.sampled_from(NAMES)


@dataclass
class Place:
    """How far an ear has listened to a session: the frames it took, the events it told."""

    frames: int = 0
    events: int = 0

    def encoded(self) -> bytes:
        return b"%d %d" % (self.frames, self.events)


@dataclass
class Ear:
    """A worker with a lane, as it believes: what it read last and how far each session is."""

    worker: str
    token: int
    read: str
    places: dict[str, Place] = field(default_factory=dict)


class LanesMachine(ScriptMachine):
    """Three workers and one lane with two sessions; some of their frames are loud, and those are
    told of."""

    @initialize()
    def open_both(self) -> None:
        self.ears: list[Ear] = []
        self.tokens: list[int] = []
        self.spoken: dict[str, list[bool]] = {name: [] for name in NAMES}
        for session in SESSIONS:
            hold = Attachment(session, "att")
            given = {"gateway": "gw", "token": "t", "config": SessionConfig()}
            self.call(sessions, "attach", hold, **given)
        self.take("one")

    @rule(name=a_name, frames=st.lists(st.booleans(), min_size=1, max_size=3))
    def speak(self, name: str, frames: list[bool]) -> None:
        for loud in frames:
            frame = f"{name} {len(self.spoken[name])} {loud:d}".encode()
            self.spoken[name].append(loud)
            self.oracle.frames = [*(self.oracle.frames or []), Entry({b"m": frame})]
            self.command("XADD", LANE.stream, "*", "m", frame)

    @rule(data=st.data())
    def lose_a_reply(self, data: st.DataObject) -> None:
        self.again(data)

    # --- owning ---

    def acquire(self, worker: str) -> int:
        token = self.runner.run(lanes.acquire_lane(self.pipe, LANE, worker, LEASE_MS))
        assert (token > 0) == self.oracle.acquire_lane(LANE, worker, LEASE_MS)
        if token:
            assert token > max(self.tokens, default=0)
            self.tokens.append(token)
            self.oracle.token = token
        self.after = self.look()
        return token

    @rule(worker=a_worker)
    def take(self, worker: str) -> None:
        if token := self.acquire(worker):
            self.ears.append(self.hearing(worker, token))

    def hearing(self, worker: str, token: int) -> Ear:
        """An ear that begins where the checkpoint says."""
        saved = fields_of(self.command("HGETALL", LANE.checkpoint))
        entry = saved.pop(CHECKPOINT_ENTRY, b"0-0").decode()
        places = {name.decode(): Place(*map(int, state.split())) for name, state in saved.items()}
        milliseconds, sequence = order(entry)
        before = f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**64 - 1}"
        return Ear(worker, token, before if milliseconds else "0-0", places)

    @rule(worker=a_worker)
    def take_and_crash(self, worker: str) -> None:
        self.acquire(worker)

    @rule()
    def let_the_lease_run_out(self) -> None:
        self.oracle.owner = None
        self.command("DEL", LANE.lease)

    @rule()
    def lose_the_token(self) -> None:
        """As a broker does that comes back without its last second."""
        self.oracle.owner = self.oracle.token = None
        self.command("DEL", LANE.lease, LANE.fence)

    @precondition(lambda self: self.ears)
    @rule(data=st.data(), lease_ms=st.sampled_from([0, LEASE_MS, LEASE_MS]))
    def hold(self, data: st.DataObject, lease_ms: int) -> None:
        ear = self.pick(data, self.ears)
        self.call(lanes, "hold_lane", LANE, ear.worker, ear.token, lease_ms)

    # --- listening: whoever took the lane goes on with it, whether it is still theirs or not ---

    @precondition(lambda self: self.ears)
    @rule(data=st.data(), frames=st.integers(1, 3))
    def listen(self, data: st.DataObject, frames: int) -> None:
        self.hear(self.pick(data, self.ears), frames)

    def hear(self, ear: Ear, frames: int) -> None:
        rows = self.command("XRANGE", LANE.stream, f"({ear.read}", "+", "COUNT", frames)
        for entry, flat in rows:
            ear.read = entry.decode()
            name, at, loud = fields_of(flat)[b"m"].decode().split()
            self.attend(ear, name, int(at), loud == "1")

    def attend(self, ear: Ear, name: str, at: int, loud: bool) -> None:
        place = ear.places.setdefault(name, Place())
        if at < place.frames:
            return
        owns = ear.token == self.oracle.token
        assert at == place.frames or not owns, "a frame was trimmed that nobody heard"
        place.frames = at + 1
        if not loud:
            return
        place.events += 1
        told = SpeechStarted(item_id="item", turn=place.events, at=at)
        heard = Heard(LANE.shard.session(name), place.events, place.encoded(), [told])
        status = self.call(lanes, "emit_lane", LANE, ear.token, heard)
        assert status == ("ok" if owns else "fenced")

    @precondition(lambda self: self.ears)
    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        ear = self.pick(data, self.ears)
        if ear.read != "0-0":
            places = {
                name: Saved(place.events, place.encoded()) for name, place in ear.places.items()
            }
            self.call(lanes, "checkpoint_lane", LANE, ear.token, ear.read, places, [])

    # --- and in the end ---

    def teardown(self) -> None:
        """Whoever comes last hears all that is left, and then everything was shown once."""
        try:
            self.let_the_lease_run_out()
            last = self.hearing("last", self.acquire("last"))
            self.hear(last, 1000)
            for session in SESSIONS:
                loud = [at for at, loud in enumerate(self.spoken[session.session_id]) if loud]
                assert self.shown(session.out) == loud
        finally:
            super().teardown()

    def shown(self, out: str) -> list[int]:
        rows = self.command("XRANGE", out, "-", "+")
        return [decode(fields_of(flat)[b"m"], SpeechStarted).at for _, flat in rows]


BOUNDED = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_lanes_are_as_the_oracle_says(redis_url: str) -> None:
    class Machine(LanesMachine):
        url = redis_url

    run_state_machine_as_test(Machine, settings=BOUNDED)
