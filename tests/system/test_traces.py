"""One trace for each turn, over all processes of a running system, as a collector receives it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from client import Parley, frames, silence
from shared.profiles import STAGES
from tests.support.collector import Collector, Span, collecting
from tests.support.spoken import SPOKEN_S, ask, question
from tests.support.up import Up, running


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Collector]]:
    data = tmp_path_factory.mktemp("data")
    with (
        collecting() as collector,
        running(
            data,
            "instant",
            PARLEY_SILENCE_MS="300",
            PARLEY_TRACES_URL=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as served,
    ):
        yield served, collector


def whole(served: Up, collector: Collector) -> list[Span]:
    """The one trace that there is, once it has ended; the next one is alone again."""

    def ended() -> bool:
        # Its segments' spans come from a process of their own, in no order with the answer's.
        spans = [span for trace in collector.traces().values() for span in trace]
        spoken = [span for span in spans if span.name == "tts"]
        finished = {span.attributes["parley.outcome"] for span in spans if span.name == "llm"}
        return any(span.name == "answer" for span in spans) and bool(spoken) and bool(finished)

    served.wait_for(ended)
    [spans] = collector.traces().values()
    collector.spans.clear()
    return spans


def check_parents(spans: list[Span]) -> None:
    first, *others = spans
    assert first.name == "turn"
    assert first.parent_id == ""
    assert {span.parent_id for span in others} == {first.span_id}
    assert len({span.span_id for span in spans}) == len(spans)
    for span in spans:
        assert first.start <= span.start <= span.end
        assert str(span.attributes["session.id"]).startswith("sess_")
    assert len({span.attributes["session.id"] for span in spans}) == 1


def exports(served: Up) -> bool:
    """Whether any of the system's processes has loaded what its spans are written with."""
    maps = [each.path for process in served.family() for each in process.memory_maps()]
    return any("google/_upb" in path for path in maps)


def named(spans: list[Span], name: str) -> Span:
    return next(span for span in spans if span.name == name)


async def test_a_spoken_turn_is_one_trace(traced: tuple[Up, Collector]) -> None:
    served, collector = traced
    turn = await ask(served.url, "question.wav")
    spans = await asyncio.to_thread(whole, served, collector)
    check_parents(spans)
    begun = list(dict.fromkeys(span.stage for span in spans if span.stage != "gateway"))
    assert begun == [*STAGES]
    assert {span.service for span in spans} == {f"parley-{s}" for s in [*STAGES, "gateway"]}
    stt, llm, tts, answer = (named(spans, name) for name in ("stt", "llm", "tts", "answer"))
    ms = 1_000_000
    first = spans[0]
    assert (first.start, first.end) == (turn.marks["speech_end"] * ms, turn.marks["turn_end"] * ms)
    assert stt.events["stt_end"] == turn.marks["stt_end"] * ms
    assert llm.events["llm_first_token"] == turn.marks["llm_first_token"] * ms
    assert tts.events["tts_first_chunk"] == turn.marks["tts_first_chunk"] * ms
    assert answer.events == {"audio_out": turn.marks["audio_out"] * ms}
    assert llm.attributes["parley.response_id"] == answer.attributes["parley.response_id"]
    assert answer.attributes["parley.status"] == "completed"
    assert all(span.attributes["parley.attempt"] == 1 for span in (stt, llm, tts))
    assert all(span.attributes["parley.outcome"] == "finished" for span in (stt, llm, tts))
    assert int(llm.attributes["parley.output_tokens"]) > 0
    assert float(first.attributes["parley.audio_s"]) > 1
    assert float(stt.attributes["parley.audio_s"]) > 1
    assert all(span.attributes["parley.model"] for span in (first, stt, llm, tts))
    assert exports(served)
    said = json.dumps([[*span.attributes.values()] for span in spans])
    assert turn.heard not in said
    assert turn.answer not in said


async def test_a_typed_turn_is_one_trace(traced: tuple[Up, Collector]) -> None:
    served, collector = traced
    async with Parley(f"{served.url}/v1/realtime") as session:
        await session.text("What is the capital of France?")
        await session.create_response()
        async with asyncio.timeout(SPOKEN_S):
            async for event in session.events():
                if event.type == "response.done":
                    break
    spans = await asyncio.to_thread(whole, served, collector)
    check_parents(spans)
    stages = list(dict.fromkeys(span.stage for span in spans if span.name != "answer"))
    assert stages == ["gateway", "llm", "tts"]


async def test_what_was_said_into_push_to_talk_is_in_the_trace_of_its_answer(
    traced: tuple[Up, Collector],
) -> None:
    served, collector = traced
    async with Parley(f"{served.url}/v1/realtime") as session:
        await session.update(audio={"input": {"turn_detection": None}})
        for frame in frames(question("question.wav", 24_000)):
            await session.send_audio(frame)
        await session.commit()
        await session.create_response()
        async with asyncio.timeout(SPOKEN_S):
            async for event in session.events():
                if event.type == "response.done":
                    break
    spans = await asyncio.to_thread(whole, served, collector)
    check_parents(spans)
    assert {span.stage for span in spans} == {*STAGES, "gateway"}


async def test_a_turn_that_is_cut_off_says_so(traced: tuple[Up, Collector]) -> None:
    served, collector = traced
    async with Parley(f"{served.url}/v1/realtime") as session:
        await session.text(" ".join(["Tell me a long story of the sea."] * 20))
        await session.create_response()
        sound = [*frames(question("question.wav", 24_000))]

        async def interrupt() -> None:
            await session.stream_audio(sound)
            await session.stream_audio(silence())

        speaking: asyncio.Task[None] | None = None
        async with asyncio.timeout(SPOKEN_S):
            async for event in session.events():
                if event.type == "response.output_audio.delta" and speaking is None:
                    speaking = asyncio.create_task(interrupt())
                if event.type == "response.done":
                    break
        assert event["response"]["status"] == "cancelled"
        assert speaking is not None
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
    spans = await asyncio.to_thread(whole, served, collector)
    answer = named(spans, "answer")
    assert answer.attributes["parley.status"] == "cancelled"
    assert answer.attributes["parley.reason"] == "turn_detected"
    assert not answer.failed
    collector.spans.clear()


def test_a_collector_that_is_away_is_one_warning(tmp_path: Path) -> None:
    with collecting() as gone:
        url = gone.url
    with running(
        tmp_path / "data",
        "instant",
        PARLEY_SILENCE_MS="300",
        PARLEY_TRACES_URL=url,
        OTEL_BSP_SCHEDULE_DELAY="50",
    ) as served:
        assert asyncio.run(ask(served.url, "question.wav")).answer
        assert asyncio.run(ask(served.url, "question-sky.wav")).answer
        served.wait_for(lambda: served.log.read_text().count("takes no spans") == 5)
    said = served.log.read_text()
    assert said.count("takes no spans") == 5  # the gateway and the four stages
    assert "Traceback" not in said


def test_without_the_setting_there_is_neither_a_trace_nor_its_library(tmp_path: Path) -> None:
    with collecting() as collector, running(tmp_path / "data", PARLEY_SILENCE_MS="300") as served:
        assert asyncio.run(ask(served.url, "question.wav")).answer
        assert not exports(served)
    assert collector.spans == []
