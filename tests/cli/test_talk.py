"""`parley talk` with a running system, in a terminal, on a sound card that is made up.

tests/support/sound says what of the package sounddevice is made up; everything else is real.
"""

import asyncio
import importlib
import io
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cli.console import console
from cli.screen import Screen
from cli.talk import Conversation
from client import Event, Parley, ParleyError
from client.sound import NoDevice, SoundError, converse, devices, opened
from shared.audio import Int16, read_wav, resample
from tests.stages import until
from tests.support.command import parley
from tests.support.terminal import Terminal, terminal
from tests.support.up import Up, running

ROOT = Path(__file__).parents[2]
SOUND = ROOT / "tests" / "support" / "sound"
QUESTION = ROOT / "tests" / "data" / "question.wav"
RATE = 24_000
BLOCK = RATE // 100


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("talk") / "data") as started:
        yield started


def talking(up: Up, **variables: str) -> dict[str, str]:
    """The environment of a machine with the made-up sound card."""
    path = os.pathsep.join([str(SOUND), str(ROOT)])
    return {"PYTHONPATH": path, "PARLEY_PORT": str(up.port), "SOUND_RATE": "24000", **variables}


def played(path: Path) -> Int16:
    return np.frombuffer(path.read_bytes(), np.int16) if path.exists() else np.empty(0, np.int16)


def loud(samples: Int16) -> int:
    """From the first to the last sample that is not silent."""
    return len(np.trim_zeros(samples))


def answered(screen: Terminal) -> bool:
    return "ms: pause" in screen.text


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_a_conversation(up: Up, tmp_path: Path, rate: int) -> None:
    heard = tmp_path / "played"
    sound = {"SOUND_RECORDING": str(QUESTION), "SOUND_PLAYED": str(heard), "SOUND_RATE": str(rate)}
    with terminal("talk", settings=talking(up, **sound)) as screen:
        screen.wait_for(lambda: answered(screen))
        assert "   you  utterance of " in screen.text
        assert "parley  You said: utterance of " in screen.text
        screen.type("How are y\x7fyou?")
        screen.wait_for(lambda: " write  How are you?" in screen.text)
        screen.type("\n")
        screen.wait_for(lambda: "parley  You said: How are you?. That is all" in screen.text)
        screen.type("\t")
        screen.wait_for(lambda: "muted" in screen.text)
        assert screen.interrupt() == 0
    assert "Traceback" not in screen.text
    # 20 ms for each character of both answers at least, none of it lost on the way.
    assert loud(played(heard)) > 0.02 * rate * len("You said: utterance of ")


def test_sigterm_ends_it_and_gives_the_terminal_back(up: Up) -> None:
    with terminal("talk", settings=talking(up)) as screen:
        screen.wait_for(lambda: "Say something." in screen.text)
        assert not screen.echoes
        screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == 0
        assert screen.echoes
    assert screen.written.rindex("\x1b[?25h") > screen.written.rindex("\x1b[?25l")  # the cursor


def test_a_gateway_that_dies_is_survived(up: Up) -> None:
    with terminal("talk", settings=talking(up)) as screen:
        screen.wait_for(lambda: "Say something." in screen.text)
        gateway = up.child("gateway")
        assert gateway is not None
        gateway.kill()
        screen.wait_for(lambda: "connecting again" in screen.text)
        screen.wait_for(lambda: "The connection broke, and the session was resumed." in screen.text)
        screen.type("Are you there?\n")
        screen.wait_for(lambda: "parley  You said: Are you there?." in screen.text)
        assert screen.interrupt() == 0


def test_the_server_may_end_it(up: Up) -> None:
    with terminal("talk", settings=talking(up)) as screen:
        screen.wait_for(lambda: "Say something." in screen.text)
        listed = parley("sessions", "list", "--json", PARLEY_PORT=str(up.port)).stdout
        session = next(word for word in listed.split('"') if word.startswith("sess_"))
        closed = parley("sessions", "close", session, PARLEY_PORT=str(up.port))
        assert closed.returncode == 0
        assert screen.end() == 0
    assert "The server has ended the session." in screen.text


# --- speaking while it answers ---


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The made-up sound card in this process."""
    monkeypatch.syspath_prepend(str(SOUND))
    monkeypatch.setenv("SOUND_RATE", str(RATE))
    monkeypatch.delitem(__import__("sys").modules, "sounddevice", raising=False)
    yield importlib.import_module("sounddevice")
    monkeypatch.delitem(__import__("sys").modules, "sounddevice")


def voice() -> Int16:
    recording, rate = read_wav(QUESTION)
    return resample(recording, rate, RATE)


class Recorder(Parley):
    """A session that remembers what the server was told."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sent: list[Int16] = []
        self.told: list[tuple[str, int]] = []

    async def send_audio(self, samples: Int16) -> None:
        self.sent.append(samples.copy())
        await super().send_audio(samples)

    async def truncate(self, item_id: str, audio_end_ms: int) -> None:
        self.told.append((item_id, audio_end_ms))
        await super().truncate(item_id, audio_end_ms)


async def test_speaking_while_it_answers_stops_it(up: Up, card: ModuleType) -> None:
    def heard() -> Int16:
        return np.concatenate([np.empty(0, np.int16), *card.played])

    session = Recorder(up.url)
    shown = io.StringIO()
    drawn = Console(file=shown, force_terminal=True, width=1_000, color_system="standard")
    with opened(None, None) as sound, Screen(drawn) as screen:
        async with session:
            conversation = Conversation(session, sound, screen)
            task = asyncio.create_task(conversation.run())
            await session.text(" ".join(["word"] * 100))  # ten seconds of an answer
            await session.create_response()
            await until(lambda: loud(heard()) > RATE)
            card.spoken.append(voice())
            await until(lambda: session.told != [])
            ((_, told_ms),) = session.told
            sounded = loud(heard())
            silent_from = len(heard())
            await until(lambda: len(heard()) > silent_from + RATE // 2)
            # What was not heard, as the server tells it, is struck out.
            await until(lambda: "You said: word" in shown.getvalue().partition("\x1b[2;9m")[0])
            await until(lambda: "That is all I know" in shown.getvalue().partition("\x1b[2;9m")[2])
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    # No more than the block that was under way came after it.
    assert loud(heard()) <= sounded + BLOCK
    assert told_ms / 1000 * RATE == pytest.approx(sounded - card.LATENCY_S * RATE, abs=3 * BLOCK)
    assert loud(heard()) < 5 * RATE


async def test_a_muted_microphone_sends_silence(up: Up, card: ModuleType) -> None:
    session = Recorder(up.url)
    with opened(None, None) as sound, Screen(console) as screen:
        async with session:
            conversation = Conversation(session, sound, screen)
            task = asyncio.create_task(conversation.run())
            conversation.press("\t")
            card.spoken.append(voice())
            await until(lambda: not card.spoken)
            before = len(session.sent)
            conversation.press("\t")
            card.spoken.append(voice())
            await until(lambda: any(samples.any() for samples in session.sent))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert sum(map(len, session.sent[:before])) > 3 * RATE
    assert not np.concatenate(session.sent[:before]).any()


async def test_a_device_that_goes_away_is_one_sentence(up: Up, card: ModuleType) -> None:
    with opened(None, None) as sound, Screen(console) as screen:
        async with Parley(up.url) as session:
            task = asyncio.create_task(Conversation(session, sound, screen).run())
            await until(lambda: len(card.played) > 10)
            card.unplugged.set()
            with pytest.raises(SoundError, match="the microphone is gone: plug it in"):
                await asyncio.wait_for(task, 10)


class Tardy(Parley):
    """Whoever speaks learns of the session's end before who listens."""

    refused = False

    async def send_audio(self, samples: Int16) -> None:
        try:
            await super().send_audio(samples)
        except ParleyError:
            self.refused = True
            raise

    async def receive(self) -> Event | None:
        event = await super().receive()
        if event is None:
            await until(lambda: self.refused)
        return event


async def talked(session: Parley) -> None:
    """As `parley talk` does."""
    with opened(None, None) as sound, Screen(console) as screen:
        await Conversation(session, sound, screen).run()


@pytest.mark.parametrize("talk", [converse, talked])
async def test_a_conversation_that_the_server_ends_has_no_error(
    up: Up, card: ModuleType, talk: Callable[[Parley], Coroutine[Any, Any, None]]
) -> None:
    session = Tardy(up.url)
    async with session:
        talking = asyncio.create_task(talk(session))
        await until(lambda: len(card.played) > 10)
        ended = await asyncio.to_thread(
            parley, "sessions", "close", str(session.id), PARLEY_PORT=str(up.port)
        )
        assert ended.returncode == 0
        await asyncio.wait_for(talking, 10)
        assert session.refused


# --- machines that cannot ---


def test_devices_are_chosen_by_name_or_number(card: ModuleType) -> None:
    assert [device.name for device in devices()] == ["Test microphone", "Test speaker"]
    for microphone, speaker in (("mic", "SPEAKER"), ("0", "1"), (None, None)):
        with opened(microphone, speaker):
            pass
    for microphone, speaker, option in (("1", None, "microphone"), (None, "mic", "speaker")):
        with (
            pytest.raises(NoDevice, match=f"is not the name or the number of one {option}"),
            opened(microphone, speaker),
        ):
            pass


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("raise ImportError", "-m pip install sounddevice"),
        ("raise OSError('PortAudio library not found')", "apt-get install libportaudio2"),
        ("raise RuntimeError('Error initializing')", "PortAudio cannot be used: Error"),
        (
            None,
            "this machine has no microphone: plug one in, or name another;"
            " `parley talk --devices` lists what there is",
        ),
    ],
)
def test_a_machine_without_sound_is_told_what_to_do(
    tmp_path: Path, module: str | None, sentence: str
) -> None:
    folder = SOUND
    if module is not None:
        folder = tmp_path
        (folder / "sounddevice.py").write_text(module)
    path = os.pathsep.join([str(folder), str(ROOT)])
    settings = {"PYTHONPATH": path, "SOUND_DEVICES": "0"}
    with terminal("talk", columns=200, settings=settings) as screen:
        assert screen.end() == 1
    assert screen.text.startswith("parley: ")
    assert sentence in screen.text
    assert len(screen.text.splitlines()) == 1


def test_no_server_is_one_sentence() -> None:
    settings = {"PYTHONPATH": os.pathsep.join([str(SOUND), str(ROOT)])}
    asked = ("talk", "--url", "ws://127.0.0.1:1")
    with terminal(*asked, columns=200, settings=settings) as screen:
        assert screen.end() == 1
    assert screen.text.startswith("parley: no server answers at ws://127.0.0.1:1")
    assert len(screen.text.splitlines()) == 1


def test_without_a_terminal_it_says_what_to_use() -> None:
    done = parley("talk")
    assert done.returncode == 1
    assert "parley say" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_devices_are_listed() -> None:
    path = os.pathsep.join([str(SOUND), str(ROOT)])
    listed = parley("talk", "--devices", PYTHONPATH=path)
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["number", "0", "1"]
    none = parley("talk", "--devices", PYTHONPATH=path, SOUND_DEVICES="0")
    assert none.returncode == 1
    assert "neither a microphone nor a speaker" in none.stderr
