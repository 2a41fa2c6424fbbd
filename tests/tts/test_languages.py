"""A stage that speaks several languages, with a voice for each."""

from collections.abc import Iterator

import numpy as np
import pytest

from shared.audio import Int16, pcm16
from shared.broker import Pipe
from shared.messages import AudioChunk, Message, ResponseFailed, TtsJob, encode
from shared.settings import Settings
from tests.stages import KEYSPACE, ask, context, done, open_session, shown, until, working
from tests.support import piper_voices
from workers.tts.engines import Speech, TtsEngine, create
from workers.tts.worker import start

RATE = 22_050
JOE = "en_US-joe-medium"
TEXT = "Restaurant table."


@pytest.fixture(scope="module")
def piper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TtsEngine]:
    french = piper_voices.spelling(
        tmp_path_factory.mktemp("voices"),
        "fr_FR-spelt-low",
        {"a": 1_000, "b": 2_000},
        espeak={"voice": "fr"},
        language={"code": "fr_FR"},
    )
    engine = create(Settings(tts_engine="piper", tts_models=(JOE, str(french))))
    engine.load()
    yield engine
    engine.close()


async def said(
    pipe: Pipe, url: str, engine: TtsEngine, language: str | None, voice: str | None = None
) -> list[Message]:
    """What a worker makes of a segment in `language`."""
    session = await open_session(pipe)
    response = await ask(pipe, session, "Say it.")
    job = TtsJob(
        session_id=session.session_id,
        response_id=response.response_id,
        segment=0,
        text=TEXT,
        voice=voice,
        speed=1.0,
        sample_rate=RATE,
        language=language,
    )
    await pipe.command("XADD", session.shard.jobs("tts"), "*", "m", encode(job), "epoch", 0)
    async with working(start(engine, context(pipe, url))):
        await until(lambda: done(pipe, "tts"))
    return await shown(pipe, KEYSPACE.session(job.session_id))


def audio(messages: list[Message]) -> Int16:
    chunks = [message.pcm for message in messages if isinstance(message, AudioChunk)]
    return pcm16(b"".join(chunks))


@pytest.mark.parametrize(
    ("voice", "speaks"),
    [(None, "fr_FR-spelt-low#a"), (JOE, "fr_FR-spelt-low#a"), ("fr_FR-spelt-low#b",) * 2],
)
async def test_french_is_spoken_with_a_french_voice(
    pipe: Pipe, redis_url: str, piper: TtsEngine, voice: str | None, speaks: str
) -> None:
    heard = audio(await said(pipe, redis_url, piper, "fr", voice))
    spoken = piper.synthesize(Speech(TEXT, speaks, 1.0, RATE))
    assert heard.tolist() == np.concatenate(list(spoken)).tolist()


@pytest.mark.parametrize("language", ["en", None])
async def test_what_is_english_or_unknown_is_spoken_with_the_first_voice(
    pipe: Pipe, redis_url: str, piper: TtsEngine, language: str | None
) -> None:
    heard = audio(await said(pipe, redis_url, piper, language))
    assert len(heard) > RATE // 2


async def test_a_language_without_a_voice_is_said(
    pipe: Pipe, redis_url: str, piper: TtsEngine
) -> None:
    *_, failed = await said(pipe, redis_url, piper, "ja")
    assert isinstance(failed, ResponseFailed)
    assert "no voice speaks 'ja': the voices of this server speak en, fr" in failed.message
