"""Real recordings from the model store, and work done side by side."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from shared.audio import Int16, to_int16
from shared.models import resolve
from shared.settings import Settings

In = TypeVar("In")
Out = TypeVar("Out")
SOON_S = 60.0


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The settings that users have by default."""
    return Settings()


@pytest.fixture(scope="session")
def samples(settings: Settings) -> Callable[[str], tuple[Int16, str]]:
    """A clean recording, int16 (n,) at 16 kHz, and its words, by language and name."""
    folder = resolve("speech-samples", settings.models_dir)

    def read(name: str) -> tuple[Int16, str]:
        (path,) = folder.glob(f"**/{name}.wav")
        return at_16_khz(path), path.with_suffix(".txt").read_text("utf-8").strip()

    return read


@pytest.fixture(scope="session")
def readers(settings: Settings) -> Callable[[str], Int16]:
    """Somebody reading aloud, int16 (n,) at 16 kHz, by name."""
    folder = resolve("speech-readers", settings.models_dir)
    return lambda name: at_16_khz(next(folder.glob(f"**/{name}.wav")))


def at_16_khz(path: Path) -> Int16:
    # PyAV reads float WAV as well, which these samples are. MeloTTS's environment lacks it.
    from faster_whisper import decode_audio

    return to_int16(decode_audio(str(path), sampling_rate=16_000))


def at_once(work: Callable[[In], Out], inputs: Sequence[In]) -> list[Out]:
    """Works on every input in a thread of its own, all at the same time."""
    with ThreadPoolExecutor(len(inputs)) as threads:
        return list(threads.map(work, inputs))


def close_at_work(work: Callable[[], object], close: Callable[[], None]) -> set[str]:
    """Closes an engine while two threads work with it, again and again.

    Returns:
        Why they could not go on. Work under way may be finished; what comes after must raise.
    """
    begun = [threading.Event(), threading.Event()]
    given_up = threading.Event()

    def go_on(has_begun: threading.Event) -> str:
        while not given_up.is_set():
            try:
                work()
            except RuntimeError as error:
                return str(error)
            has_begun.set()
        return "nothing"

    with ThreadPoolExecutor(len(begun)) as threads:
        ends = [threads.submit(go_on, event) for event in begun]
        try:
            for event in begun:
                assert event.wait(SOON_S)
            close()
            return {end.result(SOON_S) for end in ends}
        finally:
            given_up.set()
