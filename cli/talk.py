"""`parley talk`: a conversation through this machine's microphone and loudspeaker."""

import asyncio
import signal
import sys
from typing import Annotated, Any

import typer

from cli.console import console, fail
from cli.keyboard import keys
from cli.screen import Screen, Status
from cli.server import ApiKey, Url, explained, server_url, with_timings
from cli.tables import plain_table
from cli.transcript import Transcript
from client import SAMPLE_RATE, Event, Parley, ParleyError
from client.sound import NoDevice, Sound, SoundError, devices, opened
from client.speaker import level

_DRAW_EVERY_S = 1 / 15
_PARTING_S = 0.5
_MOST_WRITTEN = 1000


_PCM = {"type": "audio/pcm", "rate": SAMPLE_RATE}
_CONFIGURATION: dict[str, Any] = {
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": _PCM, "transcription": {"model": "whisper-1"}},
        "output": {"format": _PCM},
    },
}


class Conversation:
    """One session between the sound of this machine and a server."""

    def __init__(self, session: Parley, sound: Sound, screen: Screen) -> None:
        self._session = session
        self._sound = sound
        self._screen = screen
        self._transcript = Transcript()
        self._response: str | None = None  # that is being made
        self._wishes: asyncio.Queue[str] = asyncio.Queue()
        self._loudness = 0.0
        self._written = ""
        self._muted = False

    async def run(self) -> None:
        """Talks until the session is over.

        Raises:
            ParleyError: it ended otherwise than in good order.
            SoundError: a device has gone away.
        """
        self._sound.microphone.take()  # what was recorded while there was no session
        ends = asyncio.create_task(self._listen())
        tasks = [ends, *map(asyncio.create_task, (self._speak(), self._write(), self._show()))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # Whoever listens knows how the session ended; a write that failed, only that it did.
            await asyncio.wait([ends], timeout=_PARTING_S)
            for task in [ends] if ends.done() else tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._transcript.finish()
            self._keep()

    def press(self, key: str) -> None:
        """Takes in a key of the keyboard."""
        if key == "\t":
            self._muted = not self._muted
        elif key in ("\r", "\n"):
            if text := self._written.strip():
                self._wishes.put_nowait(text)
            self._written = ""
        elif key in ("\x7f", "\b"):
            self._written = self._written[:-1]
        elif key.isprintable() and len(self._written) < _MOST_WRITTEN:
            self._written += key

    async def _listen(self) -> None:
        async for event in self._session.events():
            self._transcript.take(event)
            await self._take(event)

    async def _take(self, event: Event) -> None:
        match event.type:
            case "input_audio_buffer.speech_started":
                await self._fall_silent()
            case "response.created":
                self._response = event.response_id
            case "response.done" if event.response_id == self._response:
                self._response = None
            case "response.output_audio.delta":
                self._sound.playback.play(event["item_id"], event.audio)
            case "response.output_audio.done":
                self._sound.playback.end(event["item_id"])
            case "conversation.item.truncated":
                await self._session.retrieve(event["item_id"])
            case "parley.session.resumed":
                self._screen.say("The connection broke, and the session was resumed.", "yellow")
            case "error":
                # A response that is cancelled may have ended by itself in the same moment.
                if event["error"].get("code") != "response_cancel_not_active":
                    self._screen.say(event["error"]["message"], "red")

    async def _fall_silent(self) -> None:
        """Throws away what is not heard yet, and tells the server how much was."""
        for item_id, played_ms in self._sound.cut():
            self._transcript.cutting(item_id)
            await self._session.truncate(item_id, played_ms)

    async def _speak(self) -> None:
        while True:
            samples = await self._sound.record()
            self._loudness = level(samples)
            if self._muted:
                samples[:] = 0  # time goes on
            await self._session.send_audio(samples)

    async def _write(self) -> None:
        while True:
            text = await self._wishes.get()
            if self._response is not None:
                await self._session.cancel(self._response)
            await self._fall_silent()
            await self._session.text(text)
            await self._session.create_response()

    async def _show(self) -> None:
        while True:
            for item_id in self._sound.playback.heard_out():
                self._transcript.heard_out(item_id)
            self._keep()
            self._screen.draw(self._transcript.open, self._status())
            await asyncio.sleep(_DRAW_EVERY_S)

    def _keep(self) -> None:
        for entry in self._transcript.settled():
            self._screen.keep(entry)

    def _status(self) -> Status:
        playback = self._sound.playback
        return Status(
            connected=self._session.connected,
            muted=self._muted,
            you=self._loudness,
            parley=playback.level,
            underruns=playback.underruns,
            lost_s=playback.lost_s + self._sound.microphone.lost_s,
            written=self._written,
        )


def talk(
    url: Url = None,
    api_key: ApiKey = None,
    instructions: Annotated[
        str | None, typer.Option(help="Instructions for the assistant, instead of its own.")
    ] = None,
    microphone: Annotated[
        str | None, typer.Option(help="Which one, by its name, part of it, or its number.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option(help="Which loudspeaker or headphones, likewise.")
    ] = None,
    list_devices: Annotated[
        bool, typer.Option("--devices", help="List microphones and speakers, and end.")
    ] = False,
) -> None:
    """Talks with a server through microphone and loudspeaker, until Ctrl-C.

    Use headphones: nothing here keeps the microphone from hearing the loudspeaker, and the
    assistant would interrupt itself. (The page that the server shows cancels echoes.)

    Speak whenever you like, also while you are answered. Tab mutes the microphone; what you type
    is sent with Enter. Each answer is followed by where its time went, in ms.

    Examples:

      parley talk

      parley talk --devices

      parley talk --url wss://voice.example --microphone headset --speaker headset
    """
    try:
        if list_devices:
            _list()
            return
        if not (console.is_terminal and sys.stdin.isatty()):
            fail("`parley talk` needs a terminal: `parley say` asks a recorded question without")
        with opened(microphone, speaker) as sound:
            asyncio.run(_talk(server_url(url), api_key, instructions, sound))
    except NoDevice as error:
        fail(f"{error}; `parley talk --devices` lists what there is")
    except SoundError as error:
        fail(str(error))
    except ParleyError as error:
        fail(explained(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return  # as asked


async def _talk(url: str, api_key: str | None, instructions: str | None, sound: Sound) -> None:
    talking = asyncio.current_task()
    assert talking is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, talking.cancel)
    wishes = {} if instructions is None else {"instructions": instructions}
    async with Parley(with_timings(url), api_key) as session:
        await session.update(**_CONFIGURATION, **wishes)
        with Screen(console) as screen:
            screen.say(f"Connected to {url}. Say something.", "dim")
            conversation = Conversation(session, sound, screen)
            with keys(conversation.press):
                await conversation.run()
    console.print("The server has ended the session.", style="yellow")


def _list() -> None:
    table = plain_table("number", "device", "records", "plays")
    for device in devices():
        table.add_row(
            str(device.number),
            f"{device.name}{' (usual)' if device.usual else ''}",
            "yes" if device.records else "",
            "yes" if device.plays else "",
        )
    if not table.row_count:
        raise SoundError("this machine has neither a microphone nor a speaker: plug one in")
    console.print(table)
