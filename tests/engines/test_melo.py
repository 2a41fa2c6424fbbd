"""MeloTTS: its real loading, reading and inference, on small untrained checkpoints."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.audio import Int16
from shared.broker import Pipe
from shared.messages import AudioChunk, TtsJob, encode
from shared.registry import CannotStart
from shared.settings import Settings, environment
from tests.engines import melo_checkpoint
from tests.engines.conftest import at_once
from tests.stages import KEYSPACE, ask, open_session, shown, until
from workers.tts.engines import Speech, TtsEngine, create

pytestmark = [pytest.mark.melo_engine, pytest.mark.timeout(300)]

TEXTS = {
    "EN-BR": "Hello there, Dr. Smith! The museum opens at 10:30.",
    "ES": "Hola, ¿cómo estás? Tengo 3 gatos.",
    "FR": "Bonjour, comment ça va ? Il est déjà midi.",
    "ZH": "你好，今天天气很不错。我是 robot。",  # noqa: RUF001
    "JP": "こんにちは、世界！元気ですか。",  # noqa: RUF001
    "KR": "안녕하세요, 반갑습니다.",
}
LANGUAGES = {"EN-BR": "en", "ES": "es", "FR": "fr", "ZH": "zh", "JP": "ja", "KR": "ko"}
# A recording whose end is what the decoder sees of the padding: 2,560 samples at 44.1 kHz.
TAIL = 2_560


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A checkpoint of each language."""
    melo_checkpoint.use_front_ends()
    folder = tmp_path_factory.mktemp("melo")
    return tuple(str(melo_checkpoint.make(folder, name)) for name in melo_checkpoint.SPEAKERS)


@pytest.fixture(scope="module")
def engine(checkpoints: tuple[str, ...]) -> Iterator[TtsEngine]:
    loaded = create(Settings(tts_engine="melo", tts_models=checkpoints))
    loaded.load()
    yield loaded
    loaded.close()


def say(engine: TtsEngine, text: str, voice: str | None, speed: float = 1.0) -> Int16:
    """The whole of it, int16 (n,) at 24 kHz."""
    chunks = engine.synthesize(Speech(text, voice, speed, 24_000))
    return np.concatenate([np.zeros(0, np.int16), *chunks])


def test_every_speaker_is_a_voice_of_its_language(engine: TtsEngine) -> None:
    speakers = [name for names in melo_checkpoint.SPEAKERS.values() for name in names]
    assert [voice.name for voice in engine.voices] == speakers
    spoken = {voice.name: voice.language for voice in engine.voices}
    assert LANGUAGES.items() <= spoken.items()


@pytest.mark.parametrize("voice", TEXTS)
def test_each_language_is_read_and_spoken(engine: TtsEngine, voice: str) -> None:
    spoken = say(engine, TEXTS[voice], voice)
    assert 24_000 < len(spoken) < 10 * 24_000
    assert spoken.any()
    assert len(say(engine, TEXTS[voice], voice, speed=2.0)) < 0.8 * len(spoken)


@pytest.mark.parametrize("voice", TEXTS)
def test_what_is_of_another_script_is_left_out(engine: TtsEngine, voice: str) -> None:
    others = "".join(text for name, text in TEXTS.items() if name != voice)
    odd = "# ## [UNK] $€% 9999999999999999999 1,000 \u0301ß龘々ㄱ" + others
    assert say(engine, odd, voice).any()
    assert not len(say(engine, "яблоко", voice))


def test_a_long_sentence_is_bounded(engine: TtsEngine) -> None:
    for voice, word in {"EN-US": "word ", "ZH": "你好", "JP": "アイ", "KR": "안녕"}.items():
        chunks = engine.synthesize(Speech(word * 400, voice, 1.0, 24_000))
        assert len(next(chunks))
        chunks.close()  # type: ignore[attr-defined]


def test_a_batch_speaks_as_one_phrase_alone(
    engine: TtsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.tts.engines import melo_model

    for chance in ("_NOISE", "_NOISE_W"):
        monkeypatch.setattr(melo_model, chance, 0.0)
    checkpoint = melo_model.Checkpoint(Path(engine.model.split(", ")[0]), 4)
    checkpoint.load("cpu")
    wanted = [("Yes, of course.", 0, 1.0), ("The weather is fine today.", 1, 1.5), ("No.", 2, 0.7)]
    phrases = [checkpoint.read(*each) for each in wanted]
    alone = [checkpoint.infer([phrase])[0] for phrase in phrases]
    together = checkpoint.infer(phrases)
    assert [len(wave) for wave in together] == [len(wave) for wave in alone]
    for batched, single in zip(together, alone, strict=True):
        assert len(single) > 2 * TAIL
        assert np.abs(single).max() > 1e-3
        np.testing.assert_allclose(batched[:-TAIL], single[:-TAIL], atol=1e-5)


def test_threads_speak_at_once_each_its_own(engine: TtsEngine) -> None:
    lengths = {voice: len(say(engine, text, voice)) for voice, text in TEXTS.items()}
    spoken = at_once(lambda voice: say(engine, TEXTS[voice], voice), [*TEXTS, *TEXTS])
    for voice, samples in zip([*TEXTS, *TEXTS], spoken, strict=True):
        # Chance makes no two readings of the same length.
        assert 0.8 * lengths[voice] < len(samples) < 1.25 * lengths[voice]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "must hold a MeloTTS model's checkpoint.pth, and does not"),
        ({"checkpoint.pth": ""}, "config.json must be a MeloTTS model's configuration: "),
        ({"checkpoint.pth": "", "config.json": "{}"}, "configuration: Object missing required"),
        ({"speakers": {"DE": 0}}, "must be named by one language of EN, ES, FR, ZH, JP, KR, as"),
        ({"speakers": {}}, "as EN-US is, not be none"),
    ],
)
def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, files: dict[str, Any], problem: str
) -> None:
    import msgspec

    melo_checkpoint.use_front_ends()
    if (speakers := files.get("speakers")) is not None:
        made = melo_checkpoint.configuration("EN")
        made["data"]["spk2id"] = speakers
        files = {"checkpoint.pth": "", "config.json": msgspec.json.encode(made).decode()}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CannotStart, match=problem):
        create(Settings(tts_engine="melo", tts_models=(str(tmp_path),))).load()


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """An address to fetch through, where nothing is to be had, and who tried."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    asked.append(client.recv(1000).decode("latin-1").partition("\r\n")[0])

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def worker(redis_url: str, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A TTS worker of this environment with MeloTTS; nothing of it is left at the end."""
    settings = environment(redis_url=redis_url, tts_engine="melo", shards=1, lanes=1)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.tts"],
            env={**settings, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_a_worker_speaks_a_job_and_fetches_nothing(
    pipe: Pipe, redis_url: str, checkpoints: tuple[str, ...], tmp_path: Path
) -> None:
    session = await open_session(pipe)
    response = await ask(pipe, session, "Say it.")
    job = TtsJob(
        session_id=session.session_id,
        response_id=response.response_id,
        segment=0,
        text="**Hello** there! How are you?",
        voice="EN-BR",
        speed=1.0,
        sample_rate=16_000,
        language="en",
    )
    await pipe.command("XADD", session.shard.jobs("tts"), "*", "m", encode(job), "epoch", 0)
    log = tmp_path / "log"
    with proxy() as (address, asked):
        variables = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), address)
        variables |= {"PARLEY_TTS_MODELS": checkpoints[0], "TMPDIR": str(tmp_path)}
        with worker(redis_url, log, **variables) as process:

            async def spoken() -> bool:
                assert process.poll() is None, log.read_text()
                return any(
                    isinstance(m, AudioChunk) and m.final for m in await shown(pipe, session)
                )

            async with asyncio.timeout(240):
                while not await spoken():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            chunks = [m for m in await shown(pipe, session) if isinstance(m, AudioChunk)]
            process.send_signal(signal.SIGTERM)
            await until(lambda: process.poll() is not None)
            assert process.returncode == 0, log.read_text()
    assert asked == []
    samples = sum(len(chunk.pcm) // 2 for chunk in chunks)
    assert 8_000 < samples < 80_000
    assert chunks[-1].offset == samples
    assert len(chunks) > samples / 3_400
    assert int(await pipe.command("XLEN", KEYSPACE.all_shards()[0].jobs("tts"))) == 0


@pytest.mark.parametrize(
    ("variable", "missing"),
    [
        ("HF_HUB_CACHE", "the model 'tohoku-nlp/bert-base-japanese-v3'"),
        ("NLTK_DATA", "NLTK's 'taggers/averaged_perceptron_tagger.zip'"),
    ],
)
async def test_a_worker_without_its_data_says_what_is_missing(
    redis_url: str, checkpoints: tuple[str, ...], tmp_path: Path, variable: str, missing: str
) -> None:
    log, empty = tmp_path / "log", tmp_path / "empty"
    empty.mkdir()
    with proxy() as (address, asked):
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), address)
        variables = {**proxies, "PARLEY_TTS_MODELS": checkpoints[0], variable: str(empty)}
        with worker(redis_url, log, **variables) as process:
            code = await asyncio.to_thread(process.wait, 240)
    assert code == 1
    wanted = (
        f"MeloTTS reads EN with {missing}, which is not on this machine:"
        " `python deploy/melo/fetch_data.py EN` fetches it"
    )
    assert wanted in log.read_text()
    assert "Traceback" not in log.read_text()
    assert asked == []
