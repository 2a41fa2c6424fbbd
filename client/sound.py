"""This machine's microphone and loudspeaker, through PortAudio, and a session between them.

async with Parley("ws://127.0.0.1:8080") as session:
    await converse(session)
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import ModuleType
from typing import Any, Literal, NamedTuple

from client.errors import ParleyError
from client.events import OutputAudioDelta, OutputAudioDone, SpeechStarted
from client.microphone import SAMPLE_RATE, Microphone
from client.session import Parley
from client.speaker import Cut, Playback
from shared.audio import Int16
from shared.logs import printable

_RECORD_EVERY_S = 0.01
_NAMES = {"input": "microphone", "output": "speaker"}

Kind = Literal["input", "output"]


class SoundError(Exception):
    """There is no sound; the message is one sentence that says what to do."""


class NoDevice(SoundError):
    """A microphone or a loudspeaker is missing or cannot be used; another may be."""


class Device(NamedTuple):
    """A device that records, or plays, or both; `usual` for what the system chooses itself."""

    number: int
    name: str
    records: bool
    plays: bool
    usual: bool


class Sound:
    """A microphone and a loudspeaker that are open."""

    def __init__(
        self, microphone: Microphone, playback: Playback, recording: Any, playing: Any
    ) -> None:
        """`recording` and `playing` are their streams."""
        self.microphone = microphone
        self.playback = playback
        self._recording = recording
        self._playing = playing

    def cut(self) -> list[Cut]:
        """Falls silent; returns which items were so cut off, and what was heard of each."""
        return self.playback.cut(self._playing.latency)

    async def record(self) -> Int16:
        """The next of what is recorded, int16 (n,) at 24 kHz, 20 ms of it or more.

        Raises:
            SoundError: a device has gone away.
        """
        while (samples := self.microphone.take()) is None:
            self._check()
            await asyncio.sleep(_RECORD_EVERY_S)
        return samples

    def _check(self) -> None:
        for stream, kind in ((self._recording, "input"), (self._playing, "output")):
            if not stream.active:
                raise SoundError(f"the {_NAMES[kind]} is gone: plug it in and begin anew")


async def converse(
    session: Parley, microphone: str | None = None, speaker: str | None = None
) -> None:
    """Talks until the session is over, through what these names or numbers mean. What is spoken
    over is cut off, so nobody but the user should be heard by the microphone: wear headphones.

    Raises:
        SoundError: there is no sound here, no such device, or it has gone away.
        ParleyError: the session ended otherwise than in good order.
    """
    with opened(microphone, speaker) as sound:
        tasks = [
            asyncio.create_task(_listen(session, sound), name="loudspeaker"),
            asyncio.create_task(_speak(session, sound), name="microphone"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _speak(session: Parley, sound: Sound) -> None:
    # Nothing can be sent: the session is over, and whoever listens to it knows how it ended.
    with suppress(ParleyError):
        while True:
            await session.send_audio(await sound.record())


async def _listen(session: Parley, sound: Sound) -> None:
    async for event in session.events():
        match event:
            case OutputAudioDelta(item_id=item):
                sound.playback.play(item, event.audio)
            case OutputAudioDone(item_id=item):
                sound.playback.end(item)
            case SpeechStarted():
                for item, heard_ms in sound.cut():
                    await session.truncate(item, heard_ms)


@contextmanager
def opened(microphone: str | None, speaker: str | None) -> Iterator[Sound]:
    """Opens what these names or numbers mean, the system's own choice where they are None.

    Raises:
        SoundError: there is no sound here, no such device, or it cannot be used.
    """
    library = _library()
    source, sink = _device(library, microphone, "input"), _device(library, speaker, "output")
    recorded = Microphone(_rate(library, source, "input"))
    playback = Playback(_rate(library, sink, "output"))

    # What runs in the audio thread copies samples, and neither allocates nor waits.
    def record(data: Any, frames: int, time: Any, status: Any) -> None:
        recorded.push(data[:, 0])

    def play(data: Any, frames: int, time: Any, status: Any) -> None:
        playback.pull(data[:, 0])

    with (
        _stream(library, source, "input", recorded.rate, record) as recording,
        _stream(library, sink, "output", playback.rate, play) as playing,
    ):
        yield Sound(recorded, playback, recording, playing)


def devices() -> list[Device]:
    """What this machine has.

    Raises:
        SoundError: there is no PortAudio here.
    """
    library = _library()
    usual = {*library.default.device}
    return [
        Device(
            number,
            printable(found["name"]),
            found["max_input_channels"] > 0,
            found["max_output_channels"] > 0,
            number in usual,
        )
        for number, found in enumerate(library.query_devices())
    ]


def _library() -> ModuleType:
    try:
        import sounddevice
    except ImportError as error:
        raise SoundError(
            f"talking takes the package sounddevice: {sys.executable} -m pip install sounddevice"
        ) from error
    except OSError as error:
        raise SoundError(
            "talking takes PortAudio, which is not on this machine:"
            " apt-get install libportaudio2, or what your system calls it"
        ) from error
    except Exception as error:  # its PortAudioError, which cannot be imported if this fails
        raise SoundError(f"PortAudio cannot be used: {printable(str(error))}") from error
    return sounddevice


def _device(library: ModuleType, name: str | None, kind: Kind) -> dict[str, Any]:
    wanted = int(name) if name is not None and name.isdecimal() else name
    try:
        found: dict[str, Any] = library.query_devices(wanted, kind)
    except (library.PortAudioError, ValueError) as error:
        what = _NAMES[kind]
        if name is None:
            raise NoDevice(f"this machine has no {what}: plug one in, or name another") from error
        raise NoDevice(f"{name!r} is not the name or the number of one {what}") from error
    return found


def _rate(library: ModuleType, device: dict[str, Any], kind: Kind) -> int:
    """The protocol's rate if the device takes it, else the device's own, in Hz."""
    check = library.check_input_settings if kind == "input" else library.check_output_settings
    try:
        check(device=device["index"], channels=1, dtype="int16", samplerate=SAMPLE_RATE)
    except library.PortAudioError:
        return round(device["default_samplerate"])
    return SAMPLE_RATE


@contextmanager
def _stream(
    library: ModuleType,
    device: dict[str, Any],
    kind: Kind,
    rate: int,
    callback: Callable[[Any, int, Any, Any], None],
) -> Iterator[Any]:
    """A stream of int16 (n, 1) that runs for as long as the block lasts."""
    make = library.InputStream if kind == "input" else library.OutputStream
    with ExitStack() as stack:
        try:
            stream = make(
                device=device["index"],
                samplerate=rate,
                channels=1,
                dtype="int16",
                latency="low",
                callback=callback,
            )
            stack.callback(stream.close)
            stream.start()
        except library.PortAudioError as error:
            what, name = _NAMES[kind], printable(device["name"])
            raise NoDevice(
                f"the {what} {name!r} cannot be used ({printable(str(error))}): name another"
            ) from error
        yield stream
