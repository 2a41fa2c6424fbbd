"""Messages survive the wire, and nothing on the wire can hurt a reader."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import (
    AudioChunk,
    Command,
    Frame,
    LaneEntry,
    Message,
    MessageError,
    SessionConfig,
    SttJob,
    TextDelta,
    TurnDetection,
    decode,
    encode,
)

positions = st.integers(0, 2**48)
audio = st.binary(max_size=64).filter(lambda data: len(data) % 2 == 0)
detections = st.none() | st.builds(
    TurnDetection,
    threshold=st.floats(0, 1),
    prefix_ms=st.integers(0, 5000),
    silence_ms=st.integers(0, 5000),
)
frames = st.builds(Frame, st.text(), positions, audio, positions)
commands = st.builds(
    Command, st.text(), positions, st.sampled_from(["open", "commit", "close"]), detections
)
marks = st.dictionaries(st.text(max_size=10), st.integers(0, 2**48), max_size=4)
messages = st.one_of(
    st.builds(LaneEntry, records=st.lists(frames | commands, max_size=8)),
    st.builds(
        AudioChunk,
        response_id=st.text(),
        segment=positions,
        offset=positions,
        pcm=audio,
        marks=marks,
    ),
    st.builds(SttJob, session_id=st.text(), item_id=st.text(), turn=positions, pcm=audio),
    st.builds(SessionConfig, instructions=st.none() | st.text(), turn_detection=detections),
)


@given(messages)
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    assert decode(encode(message), type(message)) == message


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_a_message_error(data: bytes) -> None:
    with pytest.raises(MessageError, match="unreadable message"):
        decode(data, Message)


@given(messages, st.data())
def test_a_cut_message_is_a_message_error(message: Message, data: st.DataObject) -> None:
    whole = encode(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MessageError):
        decode(whole[:cut], Message)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"v": 2, "type": "cleared"}, r"\$\.v"),
        ({"v": 1, "type": "nonsense"}, r"\$\.type"),
        ({"v": 1}, "type"),
        ({"v": 1, "type": "text_delta", "response_id": "r", "segment": 0, "at": 0}, "text"),
        ({"v": 1, "type": "text_delta", "response_id": 3, "segment": 0, "text": ""}, "response_id"),
        (
            {"v": 1, "type": "text_delta", "response_id": "r", "segment": -1, "text": ""},
            "segment",
        ),
        (["v", 1], "object"),
    ],
)
def test_the_error_names_what_was_wrong(fields: object, named: str) -> None:
    with pytest.raises(MessageError, match=named):
        decode(msgspec.msgpack.encode(fields), Message)


def test_another_message_than_expected_is_refused() -> None:
    data = encode(TextDelta(response_id="r", segment=0, at=0, text="hello"))
    with pytest.raises(MessageError, match="expected a SttJob message, got TextDelta"):
        decode(data, SttJob)


def test_a_field_of_a_later_version_is_ignored() -> None:
    later = {"v": 1, "type": "cleared", "added_later": True}
    assert type(decode(msgspec.msgpack.encode(later), Message)).__name__ == "Cleared"
