"""`parley say` against a scripted Realtime server."""

import asyncio
import json
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from cli.say import Turn, say
from cli.waterfall import TOTAL
from client import Event, ParleyError, ServerError
from shared.audio import read_wav, write_wav
from tests.client.realtime_server import Script, realtime_server

app = typer.Typer()
app.command()(say)


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """The scripted server in a thread of its own, as `say` runs its own event loop."""
    loop = asyncio.new_event_loop()
    server = realtime_server(script)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A fifth of a second of something, at a rate of its own."""
    path = tmp_path / "question.wav"
    write_wav(path, np.full(3_200, 1_000, np.int16), 16_000)
    return path


Run = Callable[..., Result]


@pytest.fixture
def run(question: Path, tmp_path: Path) -> Run:
    def invoke(script: Script, *options: str) -> Result:
        output = ["-o", str(tmp_path / "answer.wav"), "--silence-ms", "60"]
        with serving(script) as url:
            return CliRunner().invoke(app, [str(question), *output, "--url", url, *options])

    return invoke


def test_a_question_is_answered(run: Run, tmp_path: Path) -> None:
    script = Script()
    result = run(script)
    assert result.exit_code == 0, result.output
    assert "you  what is the capital of france" in result.output
    assert "parley  It is Paris." in result.output
    assert TOTAL in result.output
    assert "900" in result.output
    answer, rate = read_wav(tmp_path / "answer.wav")
    assert rate == 24_000
    assert np.array_equal(answer, script.audio)


def test_json_and_repeat(run: Run) -> None:
    result = run(Script(), "--repeat", "2", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert [turn["transcript"] for turn in said["turns"]] == [Script().hears] * 2
    assert [turn["answer"] for turn in said["turns"]] == ["It is Paris."] * 2
    assert said["turns"][0]["audio_s"] == 0.1
    assert said["turns"][0]["first_audio_ms"] >= 60
    assert said["turns"][0]["marks"] == Script().marks
    assert said["median"][-1] == {"stage": TOTAL, "start_ms": 0, "duration_ms": 900}


def test_repeating_shows_the_median(run: Run) -> None:
    assert "median of 2" in run(Script(), "--repeat", "2").output


def test_a_server_without_timings(run: Run) -> None:
    result = run(Script(marks={}))
    assert result.exit_code == 0, result.output
    assert "no timings" in result.output


def test_a_connection_that_breaks_is_mended(run: Run, tmp_path: Path) -> None:
    script = Script(breaks_at="response.output_audio.delta", resume_within_s=60)
    result = run(script)
    assert result.exit_code == 0, result.output
    assert "The connection broke, and the session was resumed." in result.output
    assert np.array_equal(read_wav(tmp_path / "answer.wav")[0], script.audio)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (Script(api_key="secret"), "refused: HTTP 401 Unauthorized"),
        (Script(status="failed"), "the response failed: llm failed on every attempt"),
        (Script(breaks_at="response.created"), "the server closed the connection"),
        (Script(breaks_at="session.updated"), "the server closed the connection"),
    ],
)
def test_what_goes_wrong_is_one_sentence(run: Run, script: Script, sentence: str) -> None:
    result = run(script)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_no_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.say.ANSWER_TIMEOUT_FRAMES", 10)
    result = run(Script(answers=False))
    assert result.exit_code == 1
    assert "gave no answer" in result.stderr


def test_an_answer_that_cannot_be_kept(run: Run, tmp_path: Path) -> None:
    result = run(Script(), "-o", str(tmp_path / "missing" / "answer.wav"))
    assert result.exit_code == 1
    assert "answer.wav cannot be written: No such file or directory" in result.stderr


def float_wav() -> bytes:
    """A WAV file of ten float samples."""
    form = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", 40)
    body = b"WAVE" + chunks + bytes(40)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file"),
        (b"MP3", "must be a PCM WAV file"),
        (float_wav(), "16-bit samples"),
    ],
)
def test_a_bad_question_is_one_sentence(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    path = tmp_path / "q.wav"
    if content:
        path.write_bytes(content)
    result = CliRunner().invoke(app, [str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"parley: {path} ")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_server_of_this_machine_is_at_its_port(question: Path, tmp_path: Path) -> None:
    with serving(Script()) as url:
        output = ["-o", str(tmp_path / "answer.wav"), "--silence-ms", "60"]
        port = {"PARLEY_PORT": url.rpartition(":")[2]}
        result = CliRunner().invoke(app, [str(question), *output], env=port)
    assert result.exit_code == 0, result.output


# --- the course of a turn, event by event ---------------------------------------------------


def fed(*events: Event) -> Turn:
    turn = Turn(lambda speaker, words: None)
    for event in events:
        turn.handle(event, 1.0)
    return turn


def event(kind: str, **fields: object) -> Event:
    return Event(kind, fields)


def created(response_id: str) -> Event:
    return event("response.created", response={"id": response_id})


def spoken(response_id: str, text: str) -> Event:
    return event("response.output_audio_transcript.delta", response_id=response_id, delta=text)


def done(response_id: str, status: str = "completed") -> Event:
    return event("response.done", response={"id": response_id, "status": status})


def timed(response_id: str) -> Event:
    return event("parley.timings", response_id=response_id, marks={"speech_end": 1})


STARTED = event("input_audio_buffer.speech_started")
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def test_a_turn_is_over_when_its_response_is() -> None:
    assert not fed(STARTED).over
    assert not fed(STARTED, created("a")).over
    assert fed(STARTED, created("a"), done("a")).answered
    assert fed(STARTED, created("a"), done("a"), timed("a")).over


def test_an_interrupted_answer_is_dropped() -> None:
    interrupted = [created("a"), spoken("a", "It"), STARTED, done("a", "cancelled"), timed("a")]
    turn = fed(STARTED, *interrupted)
    assert not turn.answered
    assert turn.marks == {}
    turn = fed(STARTED, *interrupted, created("b"), spoken("b", "Paris."), done("b"), timed("b"))
    assert turn.over
    assert turn.text == "Paris."


def test_speech_after_an_answer_waits_for_the_next() -> None:
    first = [STARTED, created("a"), spoken("a", "Yes."), done("a"), timed("a"), STARTED]
    assert not fed(*first).over
    turn = fed(*first, created("b"), spoken("b", "No."), done("b"), timed("b"))
    assert turn.over
    assert turn.text == "Yes. No."


def test_a_noise_after_an_answer_is_not_waited_for() -> None:
    noise = event(f"{TRANSCRIPTION}.completed", transcript=" ")
    assert fed(STARTED, created("a"), done("a"), timed("a"), STARTED, noise).over


def test_errors_are_raised() -> None:
    with pytest.raises(ServerError, match="too loud"):
        fed(event("error", error={"message": "too loud", "code": "invalid_value"}))
    with pytest.raises(ParleyError, match="recognition failed: no model"):
        fed(event(f"{TRANSCRIPTION}.failed", error={"message": "no model"}))
