"""The protocol of lanes by model: owners whose lease runs out and who go on, replies that are lost,
a broker that forgets tokens. Whatever happens, each event is shown once and in order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

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
        self.ears.append(self.hearing("one", self.acquire("one")))

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """What somebody does, or what happens to them."""
        usual = {self.speak: 3, self.listen: 5, self.checkpoint: 3, self.again: 4}
        self.act(data, {**usual, self.hold: 1, self.take: 2, self.lose: 1})

    def speak(self, data: st.DataObject) -> None:
        name = data.draw(a_name)
        for loud in data.draw(st.lists(st.booleans(), min_size=1, max_size=3)):
            frame = f"{name} {len(self.spoken[name])} {loud:d}".encode()
            self.spoken[name].append(loud)
            self.oracle.frames = [*(self.oracle.frames or []), Entry({b"m": frame})]
            self.command("XADD", LANE.stream, "*", "m", frame)

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

    def take(self, data: st.DataObject) -> None:
        """A worker tries to take the lane; one that crashes at once never uses it."""
        worker = data.draw(a_worker)
        token = self.acquire(worker)
        if token and data.draw(st.sampled_from([True, True, False])):
            self.ears.append(self.hearing(worker, token))

    def hearing(self, worker: str, token: int) -> Ear:
        """An ear that begins where the checkpoint says."""
        saved = fields_of(self.command("HGETALL", LANE.checkpoint))
        entry = saved.pop(CHECKPOINT_ENTRY, b"0-0").decode()
        places = {name.decode(): Place(*map(int, state.split())) for name, state in saved.items()}
        milliseconds, sequence = order(entry)
        before = f"{milliseconds}-{sequence - 1}" if sequence else f"{milliseconds - 1}-{2**64 - 1}"
        return Ear(worker, token, before if milliseconds else "0-0", places)

    def lose(self, data: st.DataObject) -> None:
        """The lease runs out or, now and then, a broker comes back without its last second."""
        self.oracle.owner = None
        self.command("DEL", LANE.lease)
        if data.draw(st.sampled_from([False, False, True])):
            self.oracle.token = None
            self.command("DEL", LANE.fence)

    def hold(self, data: st.DataObject) -> None:
        ear, lease_ms = self.ear(data), data.draw(st.sampled_from([LEASE_MS, 0]))
        self.call(lanes, "hold_lane", LANE, ear.worker, ear.token, lease_ms)

    # --- listening: whoever took the lane goes on with it, whether it is still theirs or not ---

    def ear(self, data: st.DataObject) -> Ear:
        """Somebody who took the lane: who owns it or, now and then, anybody else."""
        owners = [ear for ear in self.ears if ear.token == self.oracle.token]
        return data.draw(st.sampled_from(owners or self.ears) | st.sampled_from(self.ears))

    def listen(self, data: st.DataObject) -> None:
        self.hear(self.ear(data), data.draw(st.integers(1, 3)))

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

    def checkpoint(self, data: st.DataObject) -> None:
        ear = self.ear(data)
        if ear.read != "0-0":
            places = {
                name: Saved(place.events, place.encoded()) for name, place in ear.places.items()
            }
            self.call(lanes, "checkpoint_lane", LANE, ear.token, ear.read, places, [])

    # --- and in the end ---

    def teardown(self) -> None:
        """Whoever comes last hears all that is left, and then everything was shown once."""
        try:
            self.command("DEL", LANE.lease)
            self.oracle.owner = None
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
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_lanes_are_as_the_oracle_says(redis_url: str) -> None:
    class Machine(LanesMachine):
        url = redis_url

    run_state_machine_as_test(Machine, settings=BOUNDED)
