"""A real Chromium with a page of Parley's in it, and a microphone that plays a recording."""

import base64
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page, WebSocket, expect, sync_playwright

from client import SAMPLE_RATE
from shared.audio import read_wav, write_wav

QUESTION = "Can you please tell me what the name of the capital city of France is?"
SOON_MS = 40_000

_RECORDING = Path(__file__).parent.parent / "data" / "question.wav"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
# Counts the samples that the page has the speaker play, silence apart.
_COUNTING = """
    const connect = AudioNode.prototype.connect;
    window.heardSamples = 0;
    AudioNode.prototype.connect = function (to, ...rest) {
      if (to instanceof AudioDestinationNode) {
        const tap = this.context.createScriptProcessor(1024, 1, 1);
        tap.onaudioprocess = ({ inputBuffer }) => {
          for (const sample of inputBuffer.getChannelData(0)) window.heardSamples += sample !== 0;
        };
        connect.call(this, tap);
        connect.call(tap, to);
        window.tappedRate = this.context.sampleRate;
      }
      return connect.call(this, to, ...rest);
    };
"""

Json = dict[str, Any]


class Visit:
    """Somebody on the page. What they do is done as they do it: with a button, a key, a word."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requested: list[str] = []
        self.events: list[Json] = []
        self.sent: list[Json] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("websocket", self._listen)
        page.on(
            "console",
            lambda said: self.problems.append(said.text) if said.type == "error" else None,
        )

    def _listen(self, socket: WebSocket) -> None:
        self.requested.append(socket.url)
        socket.on("framereceived", lambda frame: self.events.append(json.loads(frame)))
        socket.on("framesent", lambda frame: self.sent.append(json.loads(frame)))

    @property
    def orb(self) -> Locator:
        return self.page.locator("#orb")

    @property
    def asked(self) -> Locator:
        return self.page.locator(".turn.user .words")

    @property
    def answers(self) -> Locator:
        return self.page.locator(".turn.assistant .words")

    @property
    def sounding(self) -> Locator:
        """The answer that is being heard."""
        return self.page.locator(".turn.sounding")

    def button(self, name: str) -> Locator:
        """A button as a screen reader finds it."""
        return self.page.get_by_role("button", name=name, exact=True)

    def is_in(self, state: str) -> None:
        """Waits until the page shows this state of its connection."""
        expect(self.page.get_by_role("status").filter(has_text=state).first).to_be_visible(
            timeout=SOON_MS
        )

    def start(self) -> None:
        """Presses the one button."""
        self.button("Start talking").click()
        self.is_in("Connected")

    def write(self, text: str) -> None:
        self.page.get_by_label("Write instead of talking").fill(text)
        self.page.keyboard.press("Enter")

    def of(self, kind: str) -> list[Json]:
        """The events of a type that came."""
        return [event for event in self.events if event["type"] == kind]

    def until(self, kind: str, holds: Callable[[Json], bool]) -> None:
        """Waits for an event of a type of which something holds."""
        deadline = time.monotonic() + SOON_MS / 1000
        while not any(map(holds, self.of(kind))):
            assert time.monotonic() < deadline, f"no such {kind} came"
            self.page.wait_for_timeout(50)

    def received_s(self, item: str) -> float:
        """How much audio of an item came."""
        deltas = [
            each for each in self.of("response.output_audio.delta") if each["item_id"] == item
        ]
        return sum(len(base64.b64decode(each["delta"])) for each in deltas) / 2 / SAMPLE_RATE

    @property
    def heard_s(self) -> float:
        """How much sound has reached the speaker, silence apart."""
        heard: float = self.page.evaluate("window.heardSamples / window.tappedRate")
        return heard

    def hear(self, seconds: float) -> None:
        """Waits until so much more sound has reached the speaker, silence apart."""
        self.page.wait_for_function(
            "until => window.heardSamples / window.tappedRate > until",
            arg=self.heard_s + seconds,
            timeout=SOON_MS,
        )


def recording(folder: Path, *, before_s: float = 0.0, after_s: float) -> Path:
    """The recorded question with silence around it."""
    samples, rate = read_wav(_RECORDING)
    before, after = (np.zeros(int(rate * seconds), np.int16) for seconds in (before_s, after_s))
    path = folder / "microphone.wav"
    write_wav(path, np.concatenate([before, samples, after]), rate)
    return path


@contextmanager
def visiting(
    url: str, microphone: Path, *, again: bool = False, key: str = "", **context: Any
) -> Iterator[Visit]:
    """A page at `url`, whose microphone plays a recording once it is open, or `again` and again.

    Somebody with a `key` has entered it before.
    """
    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    assert executable, "these tests need a browser: apt-get install chromium"
    sound = f"{microphone}" if again else f"{microphone}%noloop"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=[*_ARGUMENTS, f"--use-file-for-fake-audio-capture={sound}"],
        )
        opened = browser.new_context(**context)
        opened.set_default_timeout(SOON_MS)
        opened.add_init_script(_COUNTING)
        if key:
            opened.add_init_script(f"localStorage.setItem('parley.key', {json.dumps(key)})")
        visit = Visit(opened.new_page())
        visit.page.goto(url)
        try:
            yield visit
        finally:
            browser.close()
