"""The scripts that a lane's owner runs."""

from collections.abc import Mapping, Sequence

from shared.keys import Lane
from shared.messages import Interrupted
from shared.scripts.lanes import CHECKPOINT_ENTRY, Heard, Saved
from tests.shared.model.state import State, order, since


class LaneScripts(State):
    def acquire_lane(self, lane: Lane, owner: str, lease_ms: int) -> bool:
        """Whether the lane was free; the token is the broker's to choose."""
        if self.owner is not None:
            return False
        self.owner = owner
        return True

    def hold_lane(self, lane: Lane, owner: str, token: int, lease_ms: int) -> str:
        if token != self.token:
            return "lost"
        if lease_ms:
            self.owner = owner
        elif self.owner == owner:
            self.owner = None
        return "ok"

    def emit_lane(self, lane: Lane, token: int, heard: Heard) -> str:
        if token != self.token:
            return "fenced"
        talk = self.talk(heard.session)
        session = talk.session
        if session is None:
            return "gone"
        if heard.seq <= session.vad_seq:
            return "repeat"
        session.vad_seq = heard.seq
        self.states[heard.session.session_id.encode()] = heard.state
        self.show(heard.session, heard.messages)
        if heard.interrupts:
            if session.response:
                self.show(heard.session, [Interrupted(reason="turn_detected")])
            session.epoch, session.response = session.epoch + 1, ""
        if heard.item:
            self.put(talk, heard.item)
        if heard.job:
            self.transcribe(heard.session, heard.job, str(session.epoch))
        return "ok"

    def checkpoint_lane(
        self,
        lane: Lane,
        token: int,
        entry: str,
        states: Mapping[str, Saved],
        ended: Sequence[str],
    ) -> str:
        if token != self.token:
            return "fenced"
        for session_id in ended:
            self.states.pop(session_id.encode(), None)
        if CHECKPOINT_ENTRY in self.states:
            reached = self.states[CHECKPOINT_ENTRY].decode()
            if order(entry) < order(reached):
                return "ok"
        for session_id, saved in states.items():
            session = self.talks[session_id].session
            if session is None or saved.seq >= session.vad_seq:
                self.states[session_id.encode()] = saved.state
        self.states[CHECKPOINT_ENTRY] = entry.encode()
        if self.frames is not None:
            self.frames = since(self.frames, entry)
        return "ok"
