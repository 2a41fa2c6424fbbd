"""What a client is shown of its audio, its items and its requests. No I/O.

Names and fields follow `openai.types.realtime`; the order of a turn's events is the protocol's.
"""

from gateway.access import Remaining
from gateway.protocols.realtime import items
from gateway.protocols.realtime.errors import ProtocolError
from gateway.protocols.realtime.events import Event, event
from shared.audio import SAMPLE_RATE
from shared.messages import (
    CommitRefused,
    Committed,
    Item,
    ItemAdded,
    SpeechStarted,
    SpeechStopped,
    TimeoutTriggered,
    Transcribed,
    TranscriptionFailed,
    Truncated,
)

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def error(problem: ProtocolError) -> Event:
    """Tells the client what was wrong with what it sent; the connection lives on."""
    return event(
        "error",
        error={
            "type": "invalid_request_error",
            "code": problem.code,
            "message": problem.message,
            "param": problem.param,
            "event_id": problem.event_id,
        },
    )


def rate_limits(rate: Remaining) -> Event:
    """What is left of the requests that the client's key may make."""
    limit = {
        "name": "requests",
        "limit": rate.limit,
        "remaining": rate.remaining,
        "reset_seconds": rate.reset_s,
    }
    return event("rate_limits.updated", rate_limits=[limit])


# --- the user's audio ---


def speech(message: SpeechStarted | SpeechStopped) -> Event:
    """Where in the session's audio the user began or stopped speaking."""
    if isinstance(message, SpeechStarted):
        kind, position = "started", "audio_start_ms"
    else:
        kind, position = "stopped", "audio_end_ms"
    return event(
        f"input_audio_buffer.speech_{kind}", item_id=message.item_id, **{position: _ms(message.at)}
    )


def timed_out(message: TimeoutTriggered) -> Event:
    """From where to where the user said nothing."""
    return event(
        "input_audio_buffer.timeout_triggered",
        item_id=message.item_id,
        audio_start_ms=_ms(message.since),
        audio_end_ms=_ms(message.at),
    )


def committed(message: Committed, previous: str | None) -> list[Event]:
    """The user's turn is an item; its transcript follows."""
    item = Item.of(message.item_id, "user", modality="audio")
    return [
        event("input_audio_buffer.committed", item_id=message.item_id, previous_item_id=previous),
        *item_added(ItemAdded(item=item), previous),
    ]


def commit_refused(message: CommitRefused) -> Event:
    """There was too little audio to make a turn of."""
    return error(
        ProtocolError(
            "input audio buffer too small: expected at least 100 ms of audio, "
            f"got {message.audio_ms} ms",
            code="input_audio_buffer_commit_empty",
            event_id=message.reference,
        )
    )


def transcribed(message: Transcribed) -> list[Event]:
    """What the user said, in words."""
    place = {"item_id": message.item_id, "content_index": message.content_index}
    usage = {"type": "duration", "seconds": message.audio_s}
    return [
        event(f"{_TRANSCRIPTION}.delta", delta=message.text, **place),
        event(f"{_TRANSCRIPTION}.completed", transcript=message.text, usage=usage, **place),
    ]


def transcription_failed(message: TranscriptionFailed) -> Event:
    """What the user said could not be put in words."""
    place = {"item_id": message.item_id, "content_index": message.content_index}
    problem = {"type": "server_error", "code": "engine_failed", "message": message.message}
    return event(f"{_TRANSCRIPTION}.failed", error=problem, **place)


# --- items ---


def item_added(message: ItemAdded, previous: str | None) -> list[Event]:
    """An item joins the conversation after `previous`, whole."""
    fields = {"previous_item_id": previous, "item": items.shown(message.item)}
    return [event("conversation.item.added", **fields), event("conversation.item.done", **fields)]


def truncated(message: Truncated) -> Event:
    """An answer was cut to what its client played of it."""
    return event(
        "conversation.item.truncated",
        item_id=message.item_id,
        content_index=message.content_index,
        audio_end_ms=message.audio_end_ms,
    )


def _ms(samples: int) -> int:
    return samples * 1000 // SAMPLE_RATE
