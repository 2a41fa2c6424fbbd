"""The protocol of jobs and responses by model: consumers that crash, come back as zombies and
lose replies, on a real broker and beside a plain Python oracle."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from shared.messages import (
    AnyItem,
    AudioChunk,
    FunctionCall,
    Item,
    JobMessage,
    LlmJob,
    ResponseFailed,
    SpeechStarted,
    SttJob,
    TextDelta,
    TextDone,
    Transcribed,
    TtsJob,
    decode,
    encode,
)
from shared.scripts import dead, jobs, lanes, sessions
from shared.scripts.jobs import Delivery, Emission, Ownership, Progress
from shared.scripts.lanes import Heard
from tests.shared.model.gateways import SESSIONS, SHARD, GatewayMachine, a_session, seldom
from tests.shared.model.machine import LANE
from tests.shared.model.state import STAGES

pytestmark = pytest.mark.timeout(300)

LEASE_MS = 60_000  # none runs out by itself while an example runs
KINDS: dict[str, type[JobMessage]] = {"stt": SttJob, "llm": LlmJob, "tts": TtsJob}

a_stage = st.sampled_from(STAGES)
a_consumer = st.sampled_from(["one", "two"])
a_text = st.sampled_from(["Hi. ", "Ça va", "no", "。"])


@dataclass
class Work:
    """A job as one of its consumers remembers it, rightly or not, and how far it believes to be."""

    owner: Ownership
    message: JobMessage
    text: str = ""
    segments: int = 0
    samples: int = 0


class JobsMachine(GatewayMachine):
    """Two sessions and two consumers, each of which takes jobs of every stage."""

    @initialize(crowded=seldom)
    def begin(self, crowded: bool) -> None:
        self.work: list[Work] = []
        self.oracle.owner = "ear"
        self.oracle.token = self.runner.run(lanes.acquire_lane(self.pipe, LANE, "ear", LEASE_MS))
        self.after = self.look()
        self.open_both(crowded)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """What somebody does, or what happens to them."""
        others = {self.gateway: 6, self.hear: 2, self.disturb: 3, self.again: 2}
        self.act(data, {self.consumer: 8, **others})

    # --- the ear ---

    def hear(self, data: st.DataObject) -> None:
        session, ends = data.draw(a_session), data.draw(st.booleans())
        known = self.oracle.talk(session).session
        seq = (known.vad_seq if known else 0) + data.draw(st.sampled_from([1, 1, 0]))
        item_id = self.new("item")
        item = Item.of(item_id, "user", status="in_progress", modality="audio") if ends else None
        job = SttJob(session_id=session.session_id, item_id=item_id, turn=seq, pcm=b"")
        started = SpeechStarted(item_id=item_id, turn=seq, at=seq)
        interrupts = data.draw(st.booleans())
        heard = Heard(session, seq, b"state", [started], interrupts, item, job if ends else None)
        self.call(lanes, "emit_lane", LANE, self.oracle.token, heard)

    # --- consumers ---

    def consumer(self, data: st.DataObject) -> None:
        """One of the things that consumers do, of those that can be done now."""
        queues = self.oracle.queues
        steps: list[Callable[[st.DataObject], None]] = []
        steps += [self.read] if any(queue.fresh for queue in queues.values()) else []
        steps += [self.claim] if any(queue.pending for queue in queues.values()) else []
        for stage, work in {"stt": self.transcribe, "llm": self.write, "tts": self.speak}.items():
            steps += [work] if self.of(stage) else []
        if steps:
            data.draw(st.sampled_from(steps))(data)

    def read(self, data: st.DataObject) -> None:
        stage = self.pick(data, [s for s, queue in self.oracle.queues.items() if queue.fresh])
        stream, consumer = SHARD.jobs(stage), data.draw(a_consumer)
        read = ("XREADGROUP", "GROUP", stage, consumer, "COUNT", 1, "STREAMS", stream, ">")
        [[_, [[entry, _]]]] = self.command(*read)
        delivery = self.oracle.read(stage, consumer)
        assert delivery.entry == entry.decode()
        self.take(stage, consumer, delivery)

    def take(self, stage: str, consumer: str, delivery: Delivery) -> None:
        epoch = delivery.fields[b"epoch"].decode()
        message = decode(delivery.fields[b"m"], KINDS[stage])
        owner = Ownership(SHARD, stage, consumer, delivery.entry, delivery.attempt, epoch)
        work = Work(owner, message)
        if isinstance(message, LlmJob) and message.response_id in self.oracle.responses:
            so_far = self.oracle.responses[message.response_id]
            work.text, work.segments = so_far.text, so_far.segments
        self.work.append(work)

    def claim(self, data: st.DataObject) -> None:
        """Tries to take over all there is; one of them may have lost its lease, of whomever."""
        stage = self.pick(data, [s for s, queue in self.oracle.queues.items() if queue.pending])
        pending, consumer = self.oracle.queues[stage].pending, data.draw(a_consumer)
        if data.draw(st.booleans()):
            entry = self.pick(data, list(pending))
            owner = pending[entry].consumer
            self.call(jobs, "set_idle", SHARD, stage, owner, LEASE_MS, [entry])
        given = (SHARD, stage, consumer, LEASE_MS, [*pending, "1-1"])
        for delivery in self.call(jobs, "claim", *given):
            self.take(stage, consumer, delivery)

    def disturb(self, data: st.DataObject) -> None:
        """One of the things that happen to consumers, or to the broker."""
        consumers = st.sampled_from([self.renew, self.end, self.reap, self.bury, self.withdraw])
        data.draw(consumers | st.sampled_from([self.trim, self.lose, self.retry]))(data)

    def renew(self, data: st.DataObject) -> None:
        consumer = data.draw(a_consumer)
        for stage in STAGES:
            entries = sorted({work.owner.entry for work in self.of(stage)})
            self.call(jobs, "set_idle", SHARD, stage, consumer, 0, entries)

    def end(self, data: st.DataObject) -> None:
        """A consumer is killed or, draining, hands on all that it believes to hold."""
        consumer = data.draw(a_consumer)
        held = [work.owner for work in self.work if work.owner.consumer == consumer]
        if data.draw(st.booleans()):
            for owner in held:
                given = (SHARD, owner.stage, consumer, LEASE_MS, [owner.entry])
                self.call(jobs, "set_idle", *given, counts=False)
        self.work = [work for work in self.work if work.owner not in held]

    def reap(self, data: st.DataObject) -> None:
        stage = data.draw(a_stage)
        self.runner.run(jobs.reap(self.pipe, SHARD, stage, 0))
        rows = self.command("XINFO", "CONSUMERS", SHARD.jobs(stage), stage)
        pending = self.oracle.queues[stage].pending.values()
        assert {row[1].decode() for row in rows} == {each.consumer for each in pending}

    def trim(self, data: st.DataObject) -> None:
        """The broker drops the oldest job of a stage that is too far behind."""
        stage = data.draw(a_stage)
        for oldest in self.oracle.queues[stage].stream[:1]:
            self.command("XDEL", SHARD.jobs(stage), oldest.name)
            self.oracle.queues[stage].trim(oldest.name)

    def lose(self, data: st.DataObject) -> None:
        """The broker lost what was written of a response."""
        for response_id in list(self.oracle.responses)[-1:]:
            self.command("DEL", SESSIONS[0].response(response_id))
            del self.oracle.responses[response_id]
            self.witnessed.forget(response_id)

    # --- their work ---

    def of(self, *stages: str) -> list[Work]:
        return [work for work in self.work if work.owner.stage in stages]

    def some(self, data: st.DataObject, *stages: str) -> Work:
        """Work that somebody goes on with: a job of theirs or, now and then, one they lost."""
        work = self.of(*stages)
        owned = [w for w in work if self.oracle.queues[w.owner.stage].owned(w.owner)]
        return data.draw(st.sampled_from(owned or work) | st.sampled_from(work))

    def write(self, data: st.DataObject) -> None:
        work, last = self.some(data, "llm"), data.draw(seldom)
        text, completes = data.draw(a_text), data.draw(st.booleans())
        emission = self.writing(work, text, completes, last)
        if self.call(jobs, "finish" if last else "emit", work.owner, emission) == "ok":
            work.text, work.segments = work.text + text, work.segments + completes

    def writing(self, work: Work, text: str, completes: bool, last: bool) -> Emission:
        job = work.message
        assert isinstance(job, LlmJob)
        response_id, segment = job.response_id, work.segments
        delta = TextDelta(response_id=response_id, segment=segment, at=len(work.text), text=text)
        item = Item.of(job.item_id, "assistant", work.text + text, status="in_progress")
        call = FunctionCall(item_id=f"call of {response_id}", call_id="c", name="f", arguments="{}")
        begins: list[AnyItem] = [*([] if work.text else [item]), *([call] if last else [])]
        done = TextDone(
            response_id=response_id,
            segments=segment + completes,
            finish="stop",
            input_tokens=1,
            output_tokens=1,
            marks={},
            calls=[call],
        )
        speech = TtsJob(
            session_id=job.session_id,
            response_id=response_id,
            segment=segment,
            text="…",
            voice=None,
            speed=1.0,
            sample_rate=24_000,
        )
        return Emission(
            SHARD.session(job.session_id),
            response_id,
            [delta, *([done] if last else [])],
            [speech] if completes else [],
            Progress(len(work.text.encode()), text, segment + completes),
            [] if job.aside else begins,
            Item.of(job.item_id, "assistant", work.text + text) if last else None,
        )

    def speak(self, data: st.DataObject) -> None:
        work, last = self.some(data, "tts"), data.draw(seldom)
        job = work.message
        assert isinstance(job, TtsJob)
        chunk = AudioChunk(
            response_id=job.response_id,
            segment=job.segment,
            offset=work.samples,
            pcm=b"" if last else b"\1\0",
            final=last,
        )
        emission = Emission(SHARD.session(job.session_id), job.response_id, [chunk])
        if self.call(jobs, "finish" if last else "emit", work.owner, emission) == "ok":
            work.samples += 1

    def transcribe(self, data: st.DataObject) -> None:
        work = self.some(data, "stt")
        job = work.message
        assert isinstance(job, SttJob)
        session = SHARD.session(job.session_id)
        shown = Transcribed(item_id=job.item_id, text="hello", language=None, audio_s=1.0)
        self.call(
            jobs,
            "finish_turn",
            work.owner,
            session,
            messages=[shown],
            item=(job.item or Item.of(job.item_id, "user", modality="audio")).transcribed("hello"),
            respond=self.response(session) if data.draw(st.booleans()) else None,
        )

    def bury(self, data: st.DataObject) -> None:
        """A job fails for good; now and then nobody can read of which session it is."""
        if self.work:
            work = self.some(data, *STAGES)
            told = ResponseFailed(response_id="resp", message="it broke")
            name = "unknown" if data.draw(seldom) else work.message.session_id
            given = (work.owner, SHARD.session(name), encode(work.message), "it broke", [told])
            self.call(jobs, "bury", *given)

    def withdraw(self, data: st.DataObject) -> None:
        """A worker lets go of a job that it believes to be over."""
        if self.work:
            work = self.some(data, *STAGES)
            response_id = getattr(work.message, "response_id", "none")
            emission = Emission(SHARD.session(work.message.session_id), response_id)
            self.call(jobs, "finish", work.owner, emission)

    def retry(self, data: st.DataObject) -> None:
        """Somebody puts a dead-lettered job back to work."""
        if self.oracle.dead:
            letter = self.pick(data, self.oracle.dead)
            job = self.runner.run(dead.dead_job(self.pipe, SHARD, letter.name))
            self.call(dead, "retry", job)

    # --- and in the end ---

    def teardown(self) -> None:
        """When no transcription is left, no response waits for one."""
        try:
            self.command("XTRIM", SHARD.jobs("stt"), "MAXLEN", 0)
            self.oracle.queues["stt"].stream.clear()
            for session in SESSIONS:
                self.call(sessions, "touch", session)
            assert self.after == self.oracle.view()
            self.witnessed.check_waiting(self.after)
        finally:
            super().teardown()


def test_jobs_and_responses_are_as_the_oracle_says(redis_url: str) -> None:
    class Machine(JobsMachine):
        url = redis_url

    run_state_machine_as_test(Machine, settings=BOUNDED)


BOUNDED = settings(
    max_examples=80,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
