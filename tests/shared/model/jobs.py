"""The scripts that a job's owner runs."""

from collections.abc import Sequence

from shared.keys import SessionKeys, Shard
from shared.messages import Item, LlmJob, OutMessage, SttJob, TtsJob
from shared.scripts.dead import DeadJob
from shared.scripts.jobs import Delivery, Emission, NewResponse, Ownership
from tests.shared.model.state import NEVER_STALE, Entry, Pending, Response, Session, State


class JobScripts(State):
    def read(self, stage: str, consumer: str) -> Delivery:
        """XREADGROUP of one job."""
        queue = self.queues[stage]
        job = queue.fresh[0]
        queue.delivered.add(job.name)
        queue.pending[job.name] = Pending(consumer, 1)
        return Delivery(job.name, 1, job.fields)

    def claim(
        self, shard: Shard, stage: str, consumer: str, lease_ms: int, entries: Sequence[str]
    ) -> list[Delivery]:
        queue = self.queues[stage]
        claimed = []
        for entry in entries:
            pending = queue.pending.get(entry)
            if pending is None or not pending.lapsed:
                continue
            job = queue.find(entry)
            if job is None:
                del queue.pending[entry]
                continue
            queue.pending[entry] = Pending(consumer, pending.attempt + 1)
            claimed.append(Delivery(entry, pending.attempt + 1, job.fields))
        return claimed

    def set_idle(
        self,
        shard: Shard,
        stage: str,
        consumer: str,
        idle_ms: int,
        entries: Sequence[str],
        *,
        counts: bool = True,
    ) -> list[str]:
        queue = self.queues[stage]
        lost = []
        for entry in entries:
            pending = queue.pending.get(entry)
            if pending is None or pending.consumer != consumer:
                lost.append(entry)
            elif queue.find(entry) is None:
                del queue.pending[entry]  # the broker lets go of what was trimmed
            else:
                pending.lapsed = idle_ms > 0
                pending.attempt = max(pending.attempt - (not counts), 0)
        return lost

    def emit(self, owner: Ownership, emission: Emission) -> str:
        return self._emission(owner, emission, last=False)

    def finish(self, owner: Ownership, emission: Emission) -> str:
        status = self._emission(owner, emission, last=True)
        if status in ("lost", "differs"):
            return status
        if status == "ok" and emission.item:
            self.replace(self.talk(emission.session), emission.item)
        self.queues[owner.stage].settle(owner.entry)
        return status

    def _emission(self, owner: Ownership, emission: Emission, last: bool) -> str:
        if not self.queues[owner.stage].owned(owner):
            return "lost"
        session = self.talk(emission.session).session
        if session is None:
            return "gone"
        if not self._goes_on(session, owner.epoch, emission.response_id):
            return "stale"
        if progress := emission.progress:
            response = self.responses.get(emission.response_id, Response())
            length = len(response.text.encode())
            if not last and length == progress.position + len(progress.text.encode()):
                return "ok"
            if length != progress.position:
                return "differs"
            response.text += progress.text
            response.segments = progress.segments
            self.responses[emission.response_id] = response
        for item in emission.begins:
            self.put(self.talk(emission.session), item)
        self.enqueue("tts", owner.epoch, emission.jobs)
        self.show(emission.session, emission.messages)
        return "ok"

    def finish_turn(
        self,
        owner: Ownership,
        session: SessionKeys,
        *,
        messages: Sequence[OutMessage],
        item: Item | None,
        respond: NewResponse | None,
    ) -> str:
        if not self.queues["stt"].owned(owner):
            return "lost"
        self.queues["stt"].settle(owner.entry)
        talk = self.talk(session)
        if talk.session is None:
            return "gone"
        if item:
            self.replace(talk, item)
        self.show(session, messages)
        self.transcribed(session, owner.entry)
        if respond is None:
            return "ok"
        if str(talk.session.epoch) != owner.epoch:
            return "stale"
        return self.begin(session, respond)

    def bury(
        self,
        owner: Ownership,
        session: SessionKeys,
        job: bytes,
        problem: str,
        messages: Sequence[OutMessage],
    ) -> str:
        if not self.queues[owner.stage].owned(owner):
            return "lost"
        self.queues[owner.stage].settle(owner.entry)
        values = (owner.stage.encode(), job, owner.epoch.encode(), problem.encode())
        names = (b"stage", b"m", b"epoch", b"error")
        self.dead = [*(self.dead or []), Entry(dict(zip(names, values, strict=True)))]
        if self.talk(session).session is None:
            return "gone"
        self.show(session, messages)
        if owner.stage == "stt":
            self.transcribed(session, owner.entry)
        return "ok"

    def retry(self, job: DeadJob) -> str:
        letters = self.dead or []
        letter = next((dead for dead in letters if dead.name == job.entry), None)
        if letter is None:
            return "missing"
        assert isinstance(job.message, SttJob | LlmJob | TtsJob)
        keys = self.shard.session(job.message.session_id)
        session, epoch = self.talk(keys).session, letter.fields[b"epoch"].decode()
        if session is None:
            return "gone"
        if isinstance(job.message, SttJob):
            self.transcribe(keys, job.message, epoch)
        elif self._goes_on(session, epoch, job.message.response_id):
            self.enqueue(job.stage, epoch, [job.message])
        else:
            return "over"
        letters.remove(letter)
        return "ok"

    def _goes_on(self, session: Session, epoch: str, response_id: str) -> bool:
        """Whether a response for which there is work of an epoch is active."""
        if epoch == NEVER_STALE:
            return response_id in self.responses
        return (str(session.epoch), session.response) == (epoch, response_id)
