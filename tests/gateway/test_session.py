"""One session: order, pace, interruption, failure and the end, on a real broker."""

import asyncio

import numpy as np
import pytest

from gateway.conversation import ItemError
from gateway.follower import Follower
from gateway.happenings import SessionEnded
from gateway.wanted import Wanted
from shared.audio import Int16
from shared.broker import Pipe
from shared.messages import (
    AudioChunk,
    Command,
    Frame,
    Item,
    Part,
    SessionConfig,
    SpeechStarted,
    encode,
)
from shared.scripts import sessions
from shared.scripts.sessions import Attachment
from tests.gateway.talk import TOKEN, Talk, talking
from tests.stages import until

RATE = 1_000


def ramp(start: int, length: int) -> Int16:
    """Samples that tell where they belong."""
    return np.arange(start, start + length).astype(np.int16)


async def keys_of(pipe: Pipe) -> set[str]:
    """Every key but the streams that all sessions share."""
    names = {name.decode() for name in await pipe.command("KEYS", "*")}
    return {name for name in names if ":lane:" not in name and not name.endswith("}:llm")}


# --- an answer ---


async def test_segments_that_come_in_any_order_are_heard_in_theirs(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "One."), worker.text(1, " Two."))
        await worker.emit(worker.audio(1, ramp(300, 200)))
        await worker.emit(worker.audio(0, ramp(0, 100), final=False), worker.done(2))
        await worker.emit(worker.audio(0, ramp(100, 200), offset=100))
        await until(lambda: bool(shown.ended))
    assert np.array_equal(shown.audio, ramp(0, 500))
    [end] = shown.ended
    assert (end.status, end.text) == ("completed", "One. Two.")
    assert shown.kinds[0] == "ResponseCreated"
    assert shown.kinds[-1] == "ResponseEnded"
    item = await talk.item(worker.item_id)
    assert (item.status, item.parts) == ("completed", [Part(modality="audio", text="One. Two.")])
    assert item.audio_ms == 500


async def test_audio_goes_out_no_more_than_the_lead_ahead(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "Long."), worker.audio(0, ramp(0, 3_500)), worker.done(1))
        for second in range(3):
            most = (second + 1) * RATE
            await shown.until_heard(most)
            assert len(shown.audio) == most
            assert not shown.ended
            talk.clock.now_s += 1.0
        await until(lambda: bool(shown.ended))
    assert np.array_equal(shown.audio, ramp(0, 3_500))


async def test_a_synthesis_that_is_taken_over_is_heard_once(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "Once."), worker.audio(0, ramp(0, 300), final=False))
        await worker.emit(worker.audio(0, ramp(0, 200), final=False))
        await worker.emit(worker.audio(0, ramp(200, 300), offset=200), worker.done(1))
        await until(lambda: bool(shown.ended))
    assert np.array_equal(shown.audio, ramp(0, 500))


async def test_an_answer_cut_by_its_length_is_incomplete(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "And so"), worker.audio(0, ramp(0, 100)))
        await worker.emit(worker.done(1, length=True))
        await until(lambda: bool(shown.ended))
    assert shown.ended[0].status == "incomplete"
    assert (await talk.item(worker.item_id)).status == "incomplete"


async def test_a_written_answer_needs_no_audio(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond("text")
        await worker.emit(worker.text(0, "Only "), worker.text(0, "words."), worker.done(0))
        await until(lambda: bool(shown.ended))
    assert (shown.ended[0].status, shown.ended[0].text) == ("completed", "Only words.")
    assert (await talk.item(worker.item_id)).parts == [Part(text="Only words.")]


async def test_one_response_at_a_time(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        assert not await talk.session.respond()
        await worker.emit(worker.text(0, "a"), worker.audio(0, ramp(0, 10)), worker.done(1))
        await until(lambda: bool(shown.ended))
        assert await talk.session.respond()


# --- interruption ---


async def test_an_interrupted_answer_is_cut_to_the_words_that_were_heard(talk: Talk) -> None:
    words = "One two three four five six seven eight."
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, words), worker.audio(0, ramp(0, 4_000)), worker.done(1))
        for second in (1, 2, 3):
            await shown.until_heard(second * RATE)
            talk.clock.now_s += 1.0 if second < 3 else 0.0
        await sessions.interrupt(talk.pipe, talk.session.hold, "turn_detected")
        await until(lambda: bool(shown.ended))
        assert await worker.emit(worker.text(0, " Nine.")) == "stale"
    [end] = shown.ended
    assert (end.status, end.reason) == ("cancelled", "turn_detected")
    assert end.text == "One two three four"  # two seconds of four were played
    item = await talk.item(worker.item_id)
    assert (item.status, item.text) == ("incomplete", end.text)


async def test_what_belongs_to_an_answer_that_is_over_is_dropped(talk: Talk) -> None:
    async with talk.shown() as shown:
        old = await talk.respond()
        assert await talk.session.cancel()
        await until(lambda: bool(shown.ended))
        worker = await talk.respond()
        stale = old.audio(0, ramp(9_000, 100))
        await talk.pipe.command("XADD", talk.session.keys.out, "*", "m", encode(stale))
        await worker.emit(worker.text(0, "New."), worker.audio(0, ramp(0, 100)), worker.done(1))
        await until(lambda: len(shown.ended) == 2)
    assert [end.status for end in shown.ended] == ["cancelled", "completed"]
    assert np.array_equal(shown.audio, ramp(0, 100))


async def test_a_client_s_cancel_may_name_the_response(talk: Talk) -> None:
    assert not await talk.session.cancel()
    async with talk.shown() as shown:
        worker = await talk.respond()
        await until(lambda: bool(shown.events))
        assert not await talk.session.cancel("resp_other")
        assert await talk.session.cancel(worker.response_id)
        await until(lambda: bool(shown.ended))
    assert shown.ended[0].reason == "client_cancelled"


async def test_truncating_the_last_answer_cuts_its_item(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "One two three four."), worker.audio(0, ramp(0, 400)))
        await worker.emit(worker.done(1))
        await until(lambda: bool(shown.ended))
        answer = talk.session.spoken(worker.item_id)
        assert answer is not None
        assert answer.sent_ms == 400
        await talk.session.truncate(answer, 200)
    item = await talk.item(worker.item_id)
    assert (item.status, item.text) == ("incomplete", "One two")


async def test_truncating_the_answer_that_plays_holds_when_it_is_cancelled(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "One two three four."), worker.audio(0, ramp(0, 2_000)))
        await shown.until_heard(RATE)
        answer = talk.session.spoken(worker.item_id)
        assert answer is not None
        await talk.session.truncate(answer, 500)
        assert await talk.session.cancel()
        await until(lambda: bool(shown.ended))
    assert shown.ended[0].text == "One"
    assert (await talk.item(worker.item_id)).text == "One"


async def test_a_cut_of_an_answer_that_was_deleted_cuts_nothing(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "One two three four."), worker.audio(0, ramp(0, 400)))
        await shown.until_heard(400)
        answer = talk.session.spoken(worker.item_id)
        assert answer is not None
        await talk.session.conversation.delete(worker.item_id)
        with pytest.raises(ItemError, match="missing"):
            await talk.session.truncate(answer, 100)
        await worker.emit(worker.done(1))
        await until(lambda: bool(shown.ended))
    assert shown.ended[0].text == "One two three four."


async def test_one_answer_is_cancelled_and_not_the_other(talk: Talk) -> None:
    async with talk.shown() as shown:
        main = await talk.respond()
        assert await talk.session.respond(Wanted(aside=True, modality="text"))
        aside = await talk.worker()
        await aside.emit(aside.text(0, "Aside."))
        await until(lambda: "TextDelta" in shown.kinds)
        assert await talk.session.cancel(aside.response_id)
        await until(lambda: len(shown.ended) == 1)
        assert await aside.emit(aside.text(0, " More.")) == "stale"
        assert not await talk.session.cancel(aside.response_id)
        assert await main.emit(main.text(0, "Main.")) == "ok"
        assert await talk.session.cancel(main.response_id)
        await until(lambda: len(shown.ended) == 2)
    ends = [(end.answer.response_id, end.text) for end in shown.ended]
    assert ends == [(aside.response_id, "Aside."), (main.response_id, "")]


async def test_what_is_still_to_be_heard_may_be_thrown_away(talk: Talk) -> None:
    await talk.session.clear_output()  # of nothing
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "One two."), worker.audio(0, ramp(0, 4_000)))
        await shown.until_heard(RATE)
        for _ in range(2):  # and of an answer that is over
            await talk.session.clear_output()
        await until(lambda: shown.kinds.count("OutputCleared") == 2)
    assert shown.kinds[-3:] == ["ResponseEnded", "OutputCleared", "OutputCleared"]
    assert shown.ended[0].reason == "client_cancelled"


async def test_only_a_spoken_answer_at_hand_can_be_truncated(talk: Talk) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond("text")
        await worker.emit(worker.text(0, "Words."), worker.done(0))
        await until(lambda: bool(shown.ended))
    assert talk.session.spoken(worker.item_id) is None
    assert talk.session.spoken("item_other") is None


# --- failure ---


@pytest.mark.parametrize("fault", ["a gap", "half a sample"])
async def test_an_answer_whose_audio_is_lost_fails_and_the_session_lives_on(
    talk: Talk, fault: str
) -> None:
    async with talk.shown() as shown:
        worker = await talk.respond()
        await worker.emit(worker.text(0, "Lost."))
        chunk = worker.audio(0, ramp(500, 100), offset=500)
        if fault == "half a sample":
            chunk = AudioChunk(response_id=worker.response_id, segment=0, offset=0, pcm=b"abc")
        await worker.emit(chunk)
        await until(lambda: bool(shown.ended))
        assert await worker.emit(worker.text(0, " More.")) == "stale"
        again = await talk.respond()
        await again.emit(again.text(0, "Found."), again.audio(0, ramp(0, 100)), again.done(1))
        await until(lambda: len(shown.ended) == 2)
    assert [end.status for end in shown.ended] == ["failed", "completed"]
    assert "a part of it was lost" in shown.ended[0].reason


# --- a client that sets the pace ---


async def test_a_client_that_pulls_gets_as_much_as_it_asks_for(
    pipe: Pipe, follower: Follower
) -> None:
    async with talking(pipe, follower, lead_s=None) as talk, talk.shown() as shown:
        assert len(talk.session.pull(64)) == 0
        worker = await talk.respond()
        await worker.emit(worker.text(0, "Hi."), worker.audio(0, ramp(0, 100), final=False))
        pulled: list[Int16] = []

        def pull() -> bool:
            pulled.append(talk.session.pull(64))
            return len(pulled[-1]) > 0

        await until(pull)
        assert len(talk.session.pull(64)) == 0  # 36 are there, and more to come
        await worker.emit(worker.audio(0, ramp(100, 20), offset=100), worker.done(1))
        await until(lambda: "TextDone" in shown.kinds)
        assert await talk.session.conclude() is None
        pulled.append(talk.session.pull(64))
        end = await talk.session.conclude()
    assert [len(samples) for samples in pulled if len(samples)] == [64, 56]
    assert np.array_equal(np.concatenate(pulled), ramp(0, 120))
    assert end is not None
    assert end.status == "completed"
    assert "AudioOut" not in shown.kinds


# --- what comes in ---


async def test_frames_and_commands_keep_their_places(talk: Talk) -> None:
    talk.session.voice.push(ramp(0, 320))
    await talk.session.voice.command("commit", "mine")
    talk.session.voice.push(ramp(320, 100))
    await talk.session.configure(SessionConfig(turn_detection=None, language="de"))
    records = await talk.records()
    assert [(record.at, getattr(record, "action", "frame")) for record in records] == [
        (0, "frame"),
        (320, "commit"),
        (320, "frame"),
        (420, "configure"),
    ]
    commit, configure = records[1], records[3]
    assert isinstance(commit, Command)
    assert commit.reference == "mine"
    assert isinstance(configure, Command)
    assert (configure.turn_detection, configure.language) == (None, "de")
    assert isinstance(records[0], Frame)
    assert records[0].pcm == ramp(0, 320).tobytes()


async def test_what_the_vad_worker_says_is_passed_on(talk: Talk) -> None:
    started = SpeechStarted(item_id="item_1", turn=1, at=160)
    async with talk.shown() as shown:
        await talk.pipe.command("XADD", talk.session.keys.out, "*", "m", encode(started))
        await talk.pipe.command("EXPIRE", talk.session.keys.out, 60)
        await talk.session.respond()  # rings the bell
        await until(lambda: len(shown.events) == 2)
    assert shown.events[0] == started


# --- the end ---


@pytest.mark.parametrize("when", ["before", "during", "after"])
async def test_a_closed_session_leaves_nothing(pipe: Pipe, follower: Follower, when: str) -> None:
    async with talking(pipe, follower) as talk, talk.shown() as shown:
        await talk.session.conversation.add(Item.of(item_id="item_1", role="user", text="Hello?"))
        if when != "before":
            worker = await talk.respond()
            await worker.emit(worker.text(0, "Hi."), worker.audio(0, ramp(0, 50)))
        if when == "after":
            await worker.emit(worker.done(1))
            await until(lambda: bool(shown.ended))
    assert await keys_of(pipe) == set()


async def test_a_session_that_another_gateway_serves_is_over_here(talk: Talk) -> None:
    async with talk.shown() as shown:
        keys = talk.session.keys
        status = await sessions.attach(
            talk.pipe, Attachment(keys, "att_2"), gateway="gw_2", token=TOKEN, config=None
        )
        assert status == "ok"
        assert shown.task is not None
        with pytest.raises(SessionEnded, match="another connection"):
            await asyncio.wait_for(shown.task, 10)


async def test_a_session_that_expired_is_over(talk: Talk) -> None:
    await sessions.close(talk.pipe, talk.session.hold)
    with pytest.raises(SessionEnded, match="expired"):
        await talk.session.respond()
    with pytest.raises(SessionEnded, match="expired"):
        await talk.session.conversation.add(Item.of(item_id="item_1", role="user", text="Hello?"))
    with pytest.raises(SessionEnded, match="expired"):
        await talk.session.cancel()
