"""Spans of jobs, as a collector receives them, and what becomes of them without one."""

import json
import logging
from io import StringIO

import msgspec
import pytest

from shared import logs, traces
from shared.broker import Pipe
from shared.ids import now_ms
from shared.job import Job
from shared.messages import LlmJob, MessageError, decode, encode
from shared.settings import Settings
from shared.traces import Span, exporting
from tests.shared.test_jobs import Stage, consuming, respond, shown
from tests.stages import ask, done, open_session, until
from tests.support.collector import Span as Received
from tests.support.collector import collecting

JOB = LlmJob(session_id="sess_1", response_id="resp_1", item_id="item_1")


def settings(url: str | None, **more: float) -> Settings:
    return Settings(traces_url=url, **more)  # type: ignore[arg-type]


async def traced(pipe: Pipe, redis_url: str, stage: Stage) -> tuple[str, list[Received]]:
    """A traced response that the stage has done with, and the spans of its attempts."""
    with collecting() as collector:
        async with exporting("llm", settings(collector.url), "tiny"):
            session = await open_session(pipe)
            trace = traces.begin()
            await ask(pipe, session, "Hello?", trace=trace)
            async with consuming(stage, pipe, redis_url):
                await until(lambda: done(pipe, "llm"))
        return trace, sorted(collector.spans, key=lambda span: span.start)


async def test_every_attempt_has_a_span_of_its_own(pipe: Pipe, redis_url: str) -> None:
    async def work(job: Job) -> None:
        job.marks = {"stt_end": 1, "llm_start": now_ms()}
        job.sizes = {"output_tokens": 7}
        if job.attempt < 3:
            raise ValueError("What the user said cannot be answered.")
        await job.finish()

    trace, spans = await traced(pipe, redis_url, Stage(work))
    assert [span.attributes["parley.attempt"] for span in spans] == [1, 2, 3]
    outcomes = [span.attributes["parley.outcome"] for span in spans]
    assert outcomes == ["failed", "failed", "finished"]
    assert [span.failed for span in spans] == [True, True, False]
    assert {f"00-{span.trace_id}-{span.parent_id}-01" for span in spans} == {trace}
    for span in spans:
        assert (span.service, span.name, span.stage) == ("parley-llm", "llm", "llm")
        assert span.attributes["parley.model"] == "tiny"
        assert span.attributes["parley.output_tokens"] == 7
        assert [*span.events] == ["llm_start"]
    assert "user said" not in str(spans)


async def test_what_is_logged_of_a_job_names_its_session_and_response(
    pipe: Pipe, redis_url: str
) -> None:
    async def work(job: Job) -> None:
        if job.attempt == 1:
            raise ValueError("not yet")
        await job.finish()

    said = StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(logs._Json("llm"))
    ours = logging.getLogger("shared.jobs")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        session, job = await respond(pipe)
        async with consuming(Stage(work), pipe, redis_url):
            await until(lambda: done(pipe, "llm"))
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [line["message"].split()[0] for line in lines] == ["job", "took"]
    for line in lines:
        assert line["session_id"] == session.session_id
        assert line["response_id"] == job.response_id
    assert await shown(pipe, session) == []


async def test_a_share_of_turns_is_traced() -> None:
    assert traces.begin() == ""
    with collecting() as collector:
        async with exporting("llm", settings(collector.url, traces_ratio=0.5)):
            begun = [traces.begin() for _ in range(400)]
            assert 100 < begun.count("") < 300
            traces.export("", Span("llm", 0, 1, {}))
            for trace in filter(None, begun):
                traces.export(trace, Span("turn", 2, 1, {"parley.stage": "vad"}, first=True))
        assert len(collector.spans) == 400 - begun.count("")
    assert {span.end - span.start for span in collector.spans} == {0}  # a clock was set back
    assert traces.begin() == ""


async def test_a_collector_that_is_away_is_said_once_and_once_that_it_is_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")

    def messages() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    with collecting() as collector:
        url = collector.url
    port = int(url.rpartition(":")[2])
    async with exporting("llm", settings(f"http://somebody:secret@127.0.0.1:{port}")):
        span = Span("turn", 1, 2, {"parley.stage": "vad"}, first=True)
        for _ in range(20):
            traces.export(traces.begin(), span)
        await until(lambda: len(messages()) == 1)
        with collecting(port) as back:

            def arrived() -> bool:
                traces.export(traces.begin(), span)
                return bool(back.spans)

            await until(arrived)
            await until(lambda: len(messages()) == 2)
            assert all(f"127.0.0.1:{port} takes" in message for message in messages())
    assert "secret" not in "".join(messages())


def test_a_trace_is_what_the_standard_says_or_none() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for known in ("", trace):
        job = msgspec.structs.replace(JOB, trace=known)
        assert decode(encode(job), LlmJob) == job
    for wrong in ("1", trace[:-1], trace + "0", trace.replace("-01", "-00"), trace.upper()):
        with pytest.raises(MessageError, match="trace"):
            decode(encode(msgspec.structs.replace(JOB, trace=wrong)), LlmJob)
