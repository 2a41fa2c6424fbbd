"""The protocol of jobs and responses by model: consumers that crash, come back as zombies and
lose replies, on a real broker and beside a plain Python oracle."""

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from shared.keys import SessionKeys
from shared.messages import (
    AudioChunk,
    Item,
    ItemAdded,
    JobMessage,
    LlmJob,
    ResponseCreated,
    ResponseFailed,
    SessionConfig,
    SpeechStarted,
    SttJob,
    TextDelta,
    TextDone,
    Transcribed,
    TtsJob,
    decode,
    encode,
)
from shared.scripts import jobs, lanes, sessions
from shared.scripts.jobs import Delivery, Emission, NewResponse, Ownership, Progress
from shared.scripts.lanes import Heard
from shared.scripts.sessions import Attachment
from tests.shared.model.machine import LANE, ScriptMachine
from tests.shared.model.state import STAGES
from tests.shared.model.witness import Witness

SHARD = LANE.shard
LEASE_MS = 60_000  # none runs out by itself while an example runs
SESSIONS = [SHARD.session("sess_1"), SHARD.session("sess_2")]
KINDS: dict[str, type[JobMessage]] = {"stt": SttJob, "llm": LlmJob, "tts": TtsJob}

a_stage = st.sampled_from(STAGES)
a_consumer = st.sampled_from(["one", "two", "three"])
a_session = st.sampled_from(SESSIONS)
a_text = st.sampled_from(["Hi. ", "Ça va", "no", "。"])


@dataclass
class Work:
    """A job as one of its consumers remembers it, rightly or not, and how far it believes to be."""

    owner: Ownership
    message: JobMessage
    text: str = ""
    segments: int = 0
    samples: int = 0


class JobsMachine(ScriptMachine):
    """Two sessions and three consumers, each of which takes jobs of every stage."""

    @initialize()
    def open_both(self) -> None:
        self.made = 0
        self.requests = 0
        self.work: list[Work] = []
        self.holds: list[Attachment] = []
        self.responses: list[NewResponse] = []
        self.witnessed = Witness(LANE)
        self.oracle.owner = "ear"
        self.oracle.token = self.runner.run(lanes.acquire_lane(self.pipe, LANE, "ear", LEASE_MS))
        for session in SESSIONS:
            self.attach(session, resumes=False, token="secret")

    def witness(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        self.witnessed.check(name, arguments, result, self.before, self.after)

    def new(self, kind: str) -> str:
        self.made += 1
        return f"{kind}_{self.made}"

    def request(self) -> int:
        self.requests += 1
        return self.requests

    def response(self, session: SessionKeys) -> NewResponse:
        response_id, item_id = self.new("resp"), self.new("item")
        response = NewResponse(
            response_id,
            Item(item_id=item_id, role="assistant", status="in_progress"),
            ResponseCreated(response_id=response_id, item_id=item_id, modality="audio"),
            LlmJob(session_id=session.session_id, response_id=response_id, item_id=item_id),
        )
        self.responses.append(response)
        return response

    # --- gateways: `pick` may be a hold that another one followed ---

    @rule(session=a_session, resumes=st.booleans(), token=st.sampled_from(["secret", "guess"]))
    def attach(self, session: SessionKeys, resumes: bool, token: str) -> None:
        hold = Attachment(session, self.new("att"))
        config = None if resumes else SessionConfig(instructions=hold.attachment_id)
        self.call(sessions, "attach", hold, gateway="gw", token=token, config=config)
        self.holds.append(hold)

    @rule(data=st.data())
    def configure(self, data: st.DataObject) -> None:
        hold = self.pick(data, self.holds)
        config = SessionConfig(voice=self.new("voice"))
        self.call(sessions, "configure", hold, config, request=self.request())

    @rule(data=st.data())
    def put_item(self, data: st.DataObject) -> None:
        item = Item(item_id=self.new("item"), role="user", text="Hello?")
        hold = self.pick(data, self.holds)
        self.call(sessions, "put_item", hold, item, ItemAdded(item=item), request=self.request())

    @rule(data=st.data())
    def create_response(self, data: st.DataObject) -> None:
        hold = self.pick(data, self.holds)
        response = self.response(hold.keys)
        self.call(sessions, "create_response", hold, response, request=self.request())

    @precondition(lambda self: self.responses)
    @rule(data=st.data(), whichever=st.booleans())
    def interrupt(self, data: st.DataObject, whichever: bool) -> None:
        hold = self.pick(data, self.holds)
        meant = "" if whichever else self.pick(data, self.responses).response_id
        self.call(sessions, "interrupt", hold, response_id=meant, request=self.request())

    @precondition(lambda self: self.responses)
    @rule(data=st.data())
    def end_response(self, data: st.DataObject) -> None:
        hold = self.pick(data, self.holds)
        response = self.pick(data, self.responses)
        item = Item(item_id=response.item.item_id, role="assistant", text="what was heard")
        out = self.before.get(hold.keys.out, [])
        assert isinstance(out, list)
        entry = out[-1][0] if out else "0-0"
        self.call(sessions, "end_response", hold, response.response_id, item, entry)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.call(sessions, "close", self.pick(data, self.holds))

    @rule(session=a_session)
    def expire(self, session: SessionKeys) -> None:
        self.command("DEL", session.state)
        self.oracle.talk(session).session = None

    # --- the ear ---

    @rule(session=a_session, back=st.integers(0, 2), interrupts=st.booleans(), ends=st.booleans())
    def hear(self, session: SessionKeys, back: int, interrupts: bool, ends: bool) -> None:
        known = self.oracle.talk(session).session
        seq = max((known.vad_seq if known else 0) + 1 - back, 1)
        item_id = self.new("item")
        item = Item(item_id=item_id, role="user", status="in_progress") if ends else None
        job = SttJob(session_id=session.session_id, item_id=item_id, turn=seq, pcm=b"")
        started = SpeechStarted(item_id=item_id, turn=seq, at=seq)
        heard = Heard(session, seq, b"state", [started], interrupts, item, job if ends else None)
        self.call(lanes, "emit_lane", LANE, self.oracle.token, heard)

    # --- consumers ---

    @rule(stage=a_stage, consumer=a_consumer)
    def read(self, stage: str, consumer: str) -> None:
        stream = SHARD.jobs(stage)
        self.command("XREADGROUP", "GROUP", stage, consumer, "COUNT", 1, "STREAMS", stream, ">")
        delivery = self.oracle.read(stage, consumer)
        if delivery is not None:
            self.take(stage, consumer, delivery)

    @rule(stage=a_stage, consumer=a_consumer)
    def claim(self, stage: str, consumer: str) -> None:
        entries = [*self.oracle.queues[stage].pending, "1-1"]
        for delivery in self.call(jobs, "claim", SHARD, stage, consumer, LEASE_MS, entries):
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

    @rule(stage=a_stage, consumer=a_consumer, idle_ms=st.sampled_from([0, LEASE_MS]))
    def lease(self, stage: str, consumer: str, idle_ms: int) -> None:
        """Renews the leases of all that a consumer believes to hold, or lets them run out."""
        held = {work.owner.entry for work in self.of(stage)}
        entries = sorted(held | self.oracle.queues[stage].pending.keys())
        self.call(jobs, "set_idle", SHARD, stage, consumer, idle_ms, entries)

    @rule(consumer=a_consumer)
    def crash(self, consumer: str) -> None:
        self.work = [work for work in self.work if work.owner.consumer != consumer]

    @rule(consumer=a_consumer)
    def drain(self, consumer: str) -> None:
        """Hands on all it believes to hold, which was no attempt, and ends."""
        for stage in STAGES:
            entries = {w.owner.entry for w in self.of(stage) if w.owner.consumer == consumer}
            given = (SHARD, stage, consumer, LEASE_MS, sorted(entries))
            self.call(jobs, "set_idle", *given, counts=False)
        self.crash(consumer)

    @rule(stage=a_stage)
    def reap(self, stage: str) -> None:
        self.runner.run(jobs.reap(self.pipe, SHARD, stage, 0))
        rows = self.command("XINFO", "CONSUMERS", SHARD.jobs(stage), stage)
        pending = self.oracle.queues[stage].pending.values()
        assert {row[1].decode() for row in rows} == {each.consumer for each in pending}

    @precondition(lambda self: any(queue.stream for queue in self.oracle.queues.values()))
    @rule(data=st.data())
    def trim(self, data: st.DataObject) -> None:
        """As MAXLEN does to a stage that is too far behind."""
        stage = self.pick(data, [s for s, queue in self.oracle.queues.items() if queue.stream])
        oldest = self.oracle.queues[stage].stream[0].name
        self.command("XDEL", SHARD.jobs(stage), oldest)
        self.oracle.queues[stage].trim(oldest)

    # --- their work: whoever remembers a job goes on with it, whether it is still theirs or not ---

    def of(self, *stages: str) -> list[Work]:
        return [work for work in self.work if work.owner.stage in stages]

    @precondition(lambda self: self.of("llm"))
    @rule(data=st.data(), text=a_text, completes=st.booleans())
    def write(self, data: st.DataObject, text: str, completes: bool) -> None:
        work = self.pick(data, self.of("llm"))
        if self.call(jobs, "emit", work.owner, self.writing(work, text, completes)) == "ok":
            work.text, work.segments = work.text + text, work.segments + completes

    @precondition(lambda self: self.of("llm"))
    @rule(data=st.data(), text=a_text | st.just(""))
    def finish_writing(self, data: st.DataObject, text: str) -> None:
        work = self.pick(data, self.of("llm"))
        self.call(jobs, "finish", work.owner, self.writing(work, text, True, last=True))

    def writing(self, work: Work, text: str, completes: bool, last: bool = False) -> Emission:
        job = work.message
        assert isinstance(job, LlmJob)
        response_id, segment = job.response_id, work.segments
        delta = TextDelta(response_id=response_id, segment=segment, at=len(work.text), text=text)
        done = TextDone(
            response_id=response_id,
            segments=segment + completes,
            finish="stop",
            input_tokens=1,
            output_tokens=1,
            marks={},
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
            [*([delta] if text else []), *([done] if last else [])],
            [speech] if completes else [],
            Progress(len(work.text.encode()), text, segment + completes),
            Item(item_id=job.item_id, role="assistant", text=work.text + text) if last else None,
        )

    @precondition(lambda self: self.of("tts"))
    @rule(data=st.data(), last=st.booleans())
    def speak(self, data: st.DataObject, last: bool) -> None:
        work = self.pick(data, self.of("tts"))
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

    @precondition(lambda self: self.of("stt"))
    @rule(data=st.data(), answers=st.booleans())
    def transcribe(self, data: st.DataObject, answers: bool) -> None:
        work = self.pick(data, self.of("stt"))
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
            item=Item(item_id=job.item_id, role="user", text="hello"),
            respond=self.response(session) if answers else None,
        )

    @precondition(lambda self: self.work)
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        work = self.pick(data, self.work)
        told = ResponseFailed(response_id="resp", message="it broke")
        session = SHARD.session(work.message.session_id)
        self.call(jobs, "bury", work.owner, session, encode(work.message), "it broke", [told])


def test_jobs_and_responses_are_as_the_oracle_says(redis_url: str) -> None:
    class Machine(JobsMachine):
        url = redis_url

    run_state_machine_as_test(Machine, settings=BOUNDED)


BOUNDED = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
