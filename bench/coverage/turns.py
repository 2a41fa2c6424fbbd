"""The turns of a conversation in which a server sends all that it can send."""

from bench.coverage.asking import Peer, joined

_WEATHER = {"type": "function", "name": "weather", "description": "", "parameters": {}}


async def converse(url: str, seen: set[str], headers: dict[str, str]) -> None:
    """Has every kind of turn, with old names for a part of them."""
    async with joined(url, seen, headers=headers) as peer:
        await _speak(peer)
        await _write(peer)
        await _call(peer)
        await _change(peer)
        await _fall_silent(peer)
    async with joined(url, seen, headers={**headers, "OpenAI-Beta": "realtime=v1"}) as peer:
        await _speak_as_before(peer)


async def _speak(peer: Peer) -> None:
    transcription = {"transcription": {"model": "whisper-1"}}
    detection = {"type": "server_vad", "silence_duration_ms": 200}
    session = {"audio": {"input": {**transcription, "turn_detection": detection}}}
    await peer.ask("session.update", "session.updated", session=session)
    await peer.say(0.6)
    await peer.until("response.output_audio.delta")
    await peer.say(0.6)  # over the answer
    await peer.until("response.done")
    await peer.until("response.created")
    answer = await peer.until("response.done")
    item_id = answer["response"]["output"][0]["id"]
    place = {"item_id": item_id, "content_index": 0, "audio_end_ms": 10}
    await peer.ask("conversation.item.truncate", "conversation.item.truncated", **place)
    await peer.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item_id)
    await peer.ask("conversation.item.delete", "conversation.item.deleted", item_id=item_id)


async def _write(peer: Peer) -> None:
    await _question(peer, "Hello?")
    await peer.send("response.create", response={"output_modalities": ["text"]})
    await peer.until("response.done")


async def _call(peer: Peer) -> None:
    await _question(peer, "How is the weather?")
    choice = {"type": "function", "name": "weather"}
    await peer.send("response.create", response={"tools": [_WEATHER], "tool_choice": choice})
    await peer.until("response.done")


async def _change(peer: Peer) -> None:
    await peer.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")
    await _question(peer, "Say something long, and then some more, " * 20)
    await peer.send("response.create")
    await peer.until("response.output_audio.delta")
    await peer.ask("output_audio_buffer.clear", "output_audio_buffer.cleared")
    await peer.ask("response.cancel")  # there is none any more


async def _fall_silent(peer: Peer) -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 200, "idle_timeout_ms": 5000}
    session = {"audio": {"input": {"turn_detection": detection}}}
    await peer.ask("session.update", "session.updated", session=session)
    await peer.say(0.6)
    await peer.until("response.done")
    await peer.until("input_audio_buffer.timeout_triggered")
    await peer.until("response.done")


async def _speak_as_before(peer: Peer) -> None:
    await peer.say(0.6)
    await peer.until("response.done")
    await _question(peer, "Hello?")
    await peer.send("response.create", response={"modalities": ["text"]})
    await peer.until("response.done")


async def _question(peer: Peer, text: str) -> None:
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }
    await peer.ask(
        "conversation.item.create",
        "conversation.item.added",
        "conversation.item.created",
        item=item,
    )
