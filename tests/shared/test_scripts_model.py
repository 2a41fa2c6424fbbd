"""The protocol of jobs and responses by model: consumers that crash, come back as zombies and
lose replies, on a real broker and beside a plain Python oracle."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

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
pytestmark = pytest.mark.timeout(300)

LEASE_MS = 60_000  # none runs out by itself while an example runs
SESSIONS = [SHARD.session("sess_1"), SHARD.session("sess_2")]
KINDS: dict[str, type[JobMessage]] = {"stt": SttJob, "llm": LlmJob, "tts": TtsJob}

a_stage = st.sampled_from(STAGES)
a_consumer = st.sampled_from(["one", "two"])
a_session = st.sampled_from(SESSIONS)
a_text = st.sampled_from(["Hi. ", "Ça va", "no", "。"])
seldom = st.sampled_from([False, False, False, True])


@dataclass
class Work:
    """A job as one of its consumers remembers it, rightly or not, and how far it believes to be."""

    owner: Ownership
    message: JobMessage
    text: str = ""
    segments: int = 0
    samples: int = 0


class JobsMachine(ScriptMachine):
    """Two sessions and two consumers, each of which takes jobs of every stage."""

    @initialize()
    def begin(self) -> None:
        self.made = 0
        self.requests = 0
        self.work: list[Work] = []
        self.serving: dict[str, Attachment] = {}
        self.holds: list[Attachment] = []
        self.responses: list[NewResponse] = []
        self.witnessed = Witness(LANE)
        self.oracle.owner = "ear"
        self.oracle.token = self.runner.run(lanes.acquire_lane(self.pipe, LANE, "ear", LEASE_MS))
        for session in SESSIONS:
            self.attach(session, SessionConfig())
            response = self.response(session)
            self.call(sessions, "create_response", self.holds[-1], response, request=self.request())

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
            Item.of(item_id=item_id, role="assistant", status="in_progress"),
            ResponseCreated(response_id=response_id, item_id=item_id, modality="audio"),
            LlmJob(session_id=session.session_id, response_id=response_id, item_id=item_id),
        )
        self.responses.append(response)
        return response

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """What somebody does, or what happens to them."""
        gateways = {self.gateway: 2, self.hear: 1}
        self.act(data, {self.consumer: 8, **gateways, self.disturb: 2, self.again: 2})

    # --- gateways ---

    def gateway(self, data: st.DataObject) -> None:
        """One of the things that gateways do, the usual ones more often."""
        usual = st.sampled_from([self.create_response, self.end_response, self.change])
        others = st.sampled_from([self.open, self.resume, self.interrupt, self.vanish])
        data.draw(usual | others)(data)

    def attach(
        self, session: SessionKeys, config: SessionConfig | None, token: str = "secret"
    ) -> None:
        hold = Attachment(session, self.new("att"))
        self.holds.append(hold)
        if self.call(sessions, "attach", hold, gateway="gw", token=token, config=config) == "ok":
            self.serving[session.session_id] = hold

    def open(self, data: st.DataObject) -> None:
        self.attach(data.draw(a_session), SessionConfig(instructions=self.new("instructions")))

    def resume(self, data: st.DataObject) -> None:
        self.attach(data.draw(a_session), None, data.draw(st.sampled_from(["secret", "guess"])))

    def hold(self, data: st.DataObject) -> Attachment:
        """A gateway's hold on a session: the one that counts or, now and then, any other."""
        return data.draw(st.sampled_from(list(self.serving.values())) | st.sampled_from(self.holds))

    def responses_of(self, hold: Attachment) -> list[NewResponse]:
        session_id = hold.keys.session_id
        return [each for each in self.responses if each.job.session_id == session_id]

    def change(self, data: st.DataObject) -> None:
        hold, request = self.hold(data), self.request()
        if data.draw(st.booleans()):
            config = SessionConfig(voice=self.new("voice"))
            self.call(sessions, "configure", hold, config, request=request)
        else:
            item = Item.of(item_id=self.new("item"), role="user", text="Hello?")
            self.call(sessions, "put_item", hold, item, ItemAdded(item=item), request=request)

    def create_response(self, data: st.DataObject) -> None:
        hold = self.hold(data)
        response = self.response(hold.keys)
        self.call(sessions, "create_response", hold, response, request=self.request())

    def interrupt(self, data: st.DataObject) -> None:
        hold, request = self.hold(data), self.request()
        known = [response.response_id for response in self.responses_of(hold)]
        meant = self.pick(data, ["", *known])
        self.call(sessions, "interrupt", hold, response_id=meant, request=request)

    def end_response(self, data: st.DataObject) -> None:
        hold = self.hold(data)
        response = self.pick(data, self.responses_of(hold))
        item = Item.of(item_id=response.item.item_id, role="assistant", text="what was heard")
        out = self.before.get(hold.keys.out, [])
        assert isinstance(out, list)
        entry = out[-1][0] if out else "0-0"
        self.call(sessions, "end_response", hold, response.response_id, item, entry)

    def vanish(self, data: st.DataObject) -> None:
        hold = self.hold(data)
        if data.draw(st.booleans()):
            self.call(sessions, "close", hold)
        else:
            self.command("DEL", hold.keys.state)
            self.oracle.talk(hold.keys).session = None

    # --- the ear ---

    def hear(self, data: st.DataObject) -> None:
        session, ends = data.draw(a_session), data.draw(st.booleans())
        known = self.oracle.talk(session).session
        seq = (known.vad_seq if known else 0) + data.draw(st.sampled_from([1, 1, 0]))
        item_id = self.new("item")
        item = Item.of(item_id=item_id, role="user", status="in_progress") if ends else None
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
        consumers = st.sampled_from([self.renew, self.end, self.reap, self.bury])
        data.draw(consumers | st.sampled_from([self.trim, self.lose]))(data)

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
            Item.of(item_id=job.item_id, role="assistant", text=work.text + text) if last else None,
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
            item=Item.of(item_id=job.item_id, role="user", text="hello"),
            respond=self.response(session) if data.draw(st.booleans()) else None,
        )

    def bury(self, data: st.DataObject) -> None:
        if self.work:
            work = self.some(data, *STAGES)
            told = ResponseFailed(response_id="resp", message="it broke")
            session = SHARD.session(work.message.session_id)
            self.call(jobs, "bury", work.owner, session, encode(work.message), "it broke", [told])


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
