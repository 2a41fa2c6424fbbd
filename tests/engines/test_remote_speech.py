"""What servers of speech differ in, and what the engines make of it."""

import asyncio
import io
import json
import struct
import threading
import wave
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from starlette.types import Receive, Scope, Send

from shared.audio import Int16, resample
from shared.remote import RemoteError
from shared.settings import Settings
from tests.support.http import Faulty, repeats, replies, serving
from tests.support.speech_server import STT_MODEL, TTS_MODEL, speech_server
from tests.support.words import words
from workers.stt.engines import Utterance
from workers.stt.engines.remote import RemoteEngine as Hearing
from workers.tts.engines import Speech
from workers.tts.engines.remote import RemoteEngine as Speaking
from workers.tts.engines.remote_audio import AudioUnfit, PcmStream

Sample = Callable[[str], tuple[Int16, str]]
TONE = (8_000 * np.sin(np.arange(24_000) / 9)).astype(np.int16)
PCM = np.full(16_000, 7, np.int16)


@pytest.fixture
def server() -> Faulty:
    return Faulty(speech_server())


@pytest.fixture
def hearing(server: Faulty) -> Iterator[Hearing]:
    with serving(server) as url:
        engine = Hearing(Settings(stt_url=url, stt_model=STT_MODEL, stt_batch=3))
        engine.load()
        server.posted.clear()
        yield engine
        engine.close()


@pytest.fixture
def speaking(server: Faulty) -> Iterator[Speaking]:
    with serving(server) as url:
        engine = Speaking(Settings(tts_url=url, tts_models=(TTS_MODEL,), tts_voice="nova"))
        engine.load()
        server.posted.clear()
        yield engine
        engine.close()


def speech(text: str = "Hello.", rate: int = 24_000, voice: str | None = None) -> Speech:
    return Speech(text, voice, 1.0, rate)


def said(engine: Speaking, asked: Speech) -> Int16:
    return np.concatenate([np.zeros(0, np.int16), *engine.synthesize(asked)])


def wav(samples: Int16, rate: int, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


# --- hearing ---


def test_no_audio_is_no_request(hearing: Hearing, server: Faulty) -> None:
    silence = [Utterance(np.zeros(count, np.int16), "en") for count in (0, 1_599)]
    assert [t.text for t in hearing.transcribe(silence)] == ["", ""]
    assert server.posted == []


def test_a_batch_is_asked_for_at_once(hearing: Hearing, server: Faulty) -> None:
    met = asyncio.Barrier(3)

    async def meets(scope: Scope, receive: Receive, send: Send) -> None:
        await met.wait()
        answer = replies(200, b'{"text": "met"}', content_type="application/json")
        await answer(scope, receive, send)

    server.faults.extend([meets] * 6)
    transcripts = hearing.transcribe([Utterance(PCM)] * 6)
    assert [transcript.text for transcript in transcripts] == ["met"] * 6


def test_what_is_said_of_an_utterance_is_passed_on(hearing: Hearing, server: Faulty) -> None:
    hearing.transcribe([Utterance(PCM, "en", prompt="Wörter")])
    form = server.posted[0].body
    for name, value in (("language", "en"), ("prompt", "Wörter"), ("model", STT_MODEL)):
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in form
    hearing.transcribe([Utterance(PCM)])
    form = server.posted[1].body
    assert b'name="language"' not in form
    assert b'name="prompt"' not in form


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("english", "en"),
        ("French", "fr"),
        ("de", "de"),
        ("klingonese", None),
        ("", None),
        (7, None),
    ],
)
def test_the_language_that_was_heard_is_told_by_its_code(
    hearing: Hearing, server: Faulty, named: object, code: str | None
) -> None:
    body = json.dumps({"text": " hello ", "language": named}).encode()
    server.faults.append(replies(200, body, content_type="application/json"))
    (transcript,) = hearing.transcribe([Utterance(PCM)])
    assert (transcript.text, transcript.language, transcript.audio_s) == ("hello", code, 1.0)


def test_a_server_that_has_no_verbose_answers_is_asked_for_plain_ones(
    server: Faulty, samples: Sample
) -> None:
    pcm, text = samples("hello_world")
    server.faults.append(replies(400, b"response_format 'verbose_json' is not compatible"))
    with serving(server) as url:
        engine = Hearing(Settings(stt_url=url, stt_model=STT_MODEL))
        engine.load()
        (transcript,) = engine.transcribe([Utterance(pcm)])
        engine.close()
    assert words(transcript.text) == words(text)
    assert transcript.language is None
    formats = [b"verbose_json" in request.body for request in server.posted]
    assert formats == [True, False, False]


def test_one_that_fails_fails_its_batch(hearing: Hearing, server: Faulty) -> None:
    server.faults.append(replies(422, b"unreadable"))
    with pytest.raises(RemoteError, match="PARLEY_STT_URL answered 422: unreadable"):
        hearing.transcribe([Utterance(PCM)] * 2)


# --- speaking ---


def test_what_is_asked_of_a_voice(speaking: Speaking, server: Faulty) -> None:
    for asked in (speech(), speech(voice="alto"), Speech("Hello.", None, 1.5, 24_000)):
        assert len(said(speaking, asked))
    bodies = [json.loads(request.body) for request in server.posted]
    assert [body["voice"] for body in bodies] == ["nova", "alto", "nova"]
    assert [body.get("speed") for body in bodies] == [None, None, 1.5]


@pytest.mark.parametrize("text", ["", "\n", "…", "🙂"])
def test_what_nobody_can_pronounce_is_not_asked_for(
    speaking: Speaking, server: Faulty, text: str
) -> None:
    assert len(said(speaking, speech(text))) == 0
    assert server.posted == []


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("audio/pcm", 24_000),
        ("audio/pcm;rate=22050;channels=1", 22_050),
        ("application/octet-stream", 24_000),
        ("wav", 22_050),
        ("wav", 44_100),
    ],
)
def test_audio_comes_at_the_rate_asked_for(
    speaking: Speaking, server: Faulty, kind: str, own: int, rate: int
) -> None:
    body = wav(TONE, own) if kind == "wav" else TONE.tobytes()
    kind = "audio/wav" if kind == "wav" else kind
    server.faults.append(replies(200, body, content_type=kind))
    heard, expected = said(speaking, speech(rate=rate)), resample(TONE, own, rate)
    assert (heard == expected).all()


def test_a_player_that_leaves_ends_the_request(speaking: Speaking, server: Faulty) -> None:
    gone = threading.Event()
    server.faults.append(repeats(b"\0\1" * 500, 0.01, gone, content_type="audio/pcm"))
    chunks = speaking.synthesize(speech())
    assert len(next(iter(chunks)))
    chunks.close()  # type: ignore[attr-defined]
    assert gone.wait(10)


def test_the_first_audio_is_not_waited_for_until_the_last(
    speaking: Speaking, server: Faulty
) -> None:
    server.faults.append(repeats(b"\0\1" * 500, 0.01, content_type="audio/pcm"))
    chunks = speaking.synthesize(speech())
    assert [len(next(iter(chunks))) for _ in range(3)] == [500] * 3
    chunks.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["audio/mpeg", "audio/ogg", "application/json", "text/html"])
def test_what_is_no_pcm_is_never_played(speaking: Speaking, server: Faulty, kind: str) -> None:
    server.faults.append(replies(200, b"\xff\xfb" * 99, content_type=kind))
    with pytest.raises(RemoteError, match=f"PARLEY_TTS_URL: speech must come as PCM .*{kind}"):
        said(speaking, speech())


# --- what a stream consists of ---


def pieces(data: bytes, length: int) -> Iterator[bytes]:
    yield from (data[at : at + length] for at in range(0, len(data), length))


@pytest.mark.parametrize("length", [1, 3, 7, 44, 1_001, 10**6])
@pytest.mark.parametrize("form", ["pcm", "wav", "wav with remarks", "wav without an end", "cut"])
def test_samples_are_the_same_however_they_are_cut(form: str, length: int) -> None:
    samples = TONE[:3_000]
    data = wav(samples, 24_000)
    if form == "pcm":
        data = samples.tobytes()
    elif form == "wav with remarks":
        data = data[:36] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + data[36:] + b"LIST\1\0\0\0a"
    elif form == "wav without an end":
        data = data[:40] + b"\xff\xff\xff\xff" + data[44:]
    elif form == "cut":
        data += b"\1"
    stream = PcmStream(pieces(data, length), "audio/pcm")
    chunks = list(stream.samples(700))
    assert stream.rate == 24_000
    assert all(0 < len(chunk) <= 700 for chunk in chunks)
    assert (np.concatenate(chunks) == samples).all()


@pytest.mark.parametrize(
    "data",
    [
        wav(TONE, 24_000, channels=2),
        wav(TONE, 24_000, width=1),
        wav(TONE, 2_000),
        wav(TONE, 24_000).replace(b"fmt ", b"fnt "),
        wav(TONE, 24_000)[:30],
        wav(TONE, 24_000)[:12],
        b"RIFF\0\0\0\0WAVE" + b"LIST\xff\xff\xff\x7f" * 20_000,
        b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\1\0",
    ],
)
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(AudioUnfit, match="speech must come as"):
        PcmStream(pieces(data, 100), "audio/wav")


def test_no_audio_is_none() -> None:
    assert list(PcmStream(iter([]), "audio/pcm").samples(100)) == []
    assert list(PcmStream(pieces(wav(TONE[:0], 8_000), 9), "").samples(100)) == []
