"""Responses aside of the conversation: all of it at once, and each for itself."""

import numpy as np

from gateway.asides import Asides
from gateway.happenings import AudioOut, ClientEvent, ResponseEnded
from shared.messages import (
    AudioChunk,
    Interrupted,
    OutMessage,
    ResponseCreated,
    ResponseFailed,
    TextDelta,
    TextDone,
)


def created(name: str) -> ResponseCreated:
    return ResponseCreated(
        response_id=name, item_id=f"item_{name}", modality="audio", output_rate=1000, aside=True
    )


def text(name: str, words: str, at: int = 0) -> TextDelta:
    return TextDelta(response_id=name, segment=0, at=at, text=words)


def audio(name: str, segment: int, first: int, samples: int, *, offset: int = 0) -> AudioChunk:
    pcm = np.arange(first, first + samples).astype(np.int16).tobytes()
    return AudioChunk(response_id=name, segment=segment, offset=offset, pcm=pcm, final=True)


def done(name: str, segments: int) -> TextDone:
    return TextDone(
        response_id=name,
        segments=segments,
        finish="stop",
        input_tokens=1,
        output_tokens=2,
        marks={},
    )


def take(asides: Asides, *messages: OutMessage) -> list[ClientEvent]:
    events: list[ClientEvent] = []
    for message in messages:
        taken = asides.take(message)
        assert taken is not None
        events += taken
    return events


def heard(events: list[ClientEvent]) -> list[int]:
    pieces = [event.samples for event in events if isinstance(event, AudioOut)]
    return np.concatenate(pieces).tolist()


def test_audio_of_any_length_goes_out_as_it_comes_in_the_order_of_its_segments() -> None:
    events = take(
        Asides(),
        created("a"),
        text("a", "One. Two."),
        audio("a", 1, 90_000 % 2**15, 5_000),
        audio("a", 0, 0, 20_000),
        done("a", 2),
    )
    first = 90_000 % 2**15
    assert heard(events) == [*range(20_000), *range(first, first + 5_000)]
    assert isinstance(events[-1], ResponseEnded)
    assert (events[-1].status, events[-1].text) == ("completed", "One. Two.")


def test_several_at_a_time_do_not_mix() -> None:
    asides = Asides()
    take(asides, created("a"), created("b"), text("a", "A."), text("b", "B."))
    [ended] = take(asides, Interrupted(reason="client_cancelled", response_id="a"))
    assert isinstance(ended, ResponseEnded)
    assert (ended.answer.response_id, ended.status, ended.text) == ("a", "cancelled", "A.")
    assert "a" not in asides
    assert "b" in asides
    *_, ended = take(asides, ResponseFailed(response_id="b", message="no"))
    assert isinstance(ended, ResponseEnded)
    assert (ended.text, ended.reason) == ("B.", "no")


def test_what_is_for_no_response_aside_is_left_to_others() -> None:
    asides = Asides()
    take(asides, created("a"))
    for message in (
        text("main", "Hi."),
        Interrupted(reason="turn_detected"),
        Interrupted(reason="client_cancelled", response_id="main"),
        ResponseFailed(response_id="main", message="no"),
        ResponseCreated(response_id="main", item_id="item_main", modality="text"),
    ):
        assert asides.take(message) is None


def test_work_that_is_done_again_is_shown_once() -> None:
    asides = Asides()
    assert len(take(asides, created("a"), created("a"))) == 1
    assert take(asides, text("a", "Tea"), text("a", "Tea")) == [text("a", "Tea")]


def test_a_gap_ends_it() -> None:
    asides = Asides()
    [_, ended] = take(asides, created("a"), audio("a", 0, 0, 10, offset=5))
    assert isinstance(ended, ResponseEnded)
    assert ended.status == "failed"
    assert "a part of it was lost" in ended.reason
    assert "a" not in asides
