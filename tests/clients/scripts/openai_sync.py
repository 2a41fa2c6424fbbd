"""The `openai` package, blocking: models, a key for a browser, and a conversation with it."""

import base64
from typing import Any

import openai
from given import KEY, URL, chunks, report, seconds, silence, speech, trace
from openai import OpenAI
from openai.resources.realtime.realtime import RealtimeConnection


def until(connection: RealtimeConnection, last: str) -> list[Any]:
    """The events up to the next of type `last`; an error is the end of it all."""
    events = []
    for event in connection:
        trace(event)
        assert event.type != "error", event
        events.append(event)
        if event.type == last:
            return events
    raise AssertionError(f"the connection ended before {last}")


def answer(events: list[Any]) -> dict[str, Any]:
    """What one response was."""
    seen: dict[str, Any] = {"audio_s": 0.0}
    for event in events:
        match event.type:
            case "conversation.item.input_audio_transcription.completed":
                seen["heard"] = event.transcript
            case "response.output_audio_transcript.done":
                seen["answer"] = event.transcript
            case "response.output_audio.delta":
                seen["audio_s"] += seconds(len(base64.b64decode(event.delta)))
            case "response.done":
                seen["status"] = event.response.status
    return seen


def speak(connection: RealtimeConnection, audio: bytes) -> None:
    for chunk in chunks(audio):
        connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())


def push_to_talk(connection: RealtimeConnection) -> dict[str, Any]:
    """A turn that the client ends itself; the session is one that its key was made for."""
    [created] = until(connection, "session.created")
    speak(connection, speech(0.6) + silence(0.2))
    connection.input_audio_buffer.commit()
    committed = [event.type for event in until(connection, "input_audio_buffer.committed")]
    connection.response.create()
    return {
        "instructions": created.session.instructions,
        "committed": committed,
        **answer(until(connection, "response.done")),
    }


def written(connection: RealtimeConnection) -> dict[str, Any]:
    connection.conversation.item.create(
        item={
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "How do you do?"}],
        }
    )
    connection.response.create()
    return answer(until(connection, "response.done"))


def transcribed(client: OpenAI) -> dict[str, Any]:
    """What a session that only transcribes says to a turn."""
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        [created] = until(connection, "session.created")
        speak(connection, speech(0.6) + silence(1))
        events = until(connection, "conversation.item.input_audio_transcription.completed")
        return {"type": created.session.type, "text": events[-1].transcript}


def refused() -> int:
    """The status that a wrong key gets."""
    try:
        OpenAI(base_url=URL, api_key="wrong").models.list()
    except openai.AuthenticationError as error:
        return error.status_code
    raise AssertionError("a wrong key got in")


def main() -> None:
    client = OpenAI(base_url=URL, api_key=KEY)
    secret = client.realtime.client_secrets.create(
        session={
            "type": "realtime",
            "instructions": "Answer briefly.",
            "audio": {
                "input": {"turn_detection": None, "transcription": {"model": "whisper-1"}},
                "output": {"voice": "alloy"},
            },
        }
    )
    visitor = OpenAI(base_url=URL, api_key=secret.value)
    with visitor.realtime.connect(model="gpt-realtime") as connection:
        spoken = push_to_talk(connection)
        text = written(connection)
    report(
        {
            "models": [model.id for model in client.models.list()],
            "secret": secret.value[:3],
            "refused": refused(),
            "transcribed": transcribed(client),
            "spoken": spoken,
            "text": text,
        }
    )


main()
