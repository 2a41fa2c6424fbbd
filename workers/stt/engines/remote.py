"""Any server with OpenAI's `/v1/audio/transcriptions`."""

import io
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Literal

import numpy as np
from babel import Locale
from openai import OpenAI, omit

from shared.audio import SAMPLE_RATE, Int16
from shared.registry import loaded
from shared.remote import RemoteError, Server
from shared.settings import Settings
from workers.stt.engines import Transcript, Utterance

_LONGEST_BYTES = 4 * 2**20
_LEAST_S = 0.1  # no word is shorter, and OpenAI's own server refuses less


class RemoteEngine:
    """A request for each utterance, `stt_batch` of them at a time; any language.

    The format that names the language is asked for, unless the server refused it once.
    """

    name = "openai"
    works_ahead = False
    languages: Sequence[str] = ()

    def __init__(self, settings: Settings) -> None:
        self.model = settings.model("stt")
        self._server = Server.of("stt", self.model, settings, _LONGEST_BYTES)
        self._at_once = settings.stt_batch
        self._format: Literal["json", "verbose_json"] = "verbose_json"
        self._client: OpenAI | None = None

    def load(self) -> None:
        """As the interface has it.

        Raises:
            ServerUnfit: the server is not there, or does not transcribe with the model.
        """
        self._client = self._server.client()
        warm_up = [Utterance(np.zeros(SAMPLE_RATE, np.int16))]
        with self._server.starting(self._client):
            try:
                self.transcribe(warm_up)
            except RemoteError as error:
                if not error.final or error.status in (401, 403):
                    raise
                self._format = "json"
                self.transcribe(warm_up)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()  # which ends the requests that are under way

    def transcribe(self, batch: Sequence[Utterance]) -> list[Transcript]:
        """As the interface has it.

        Raises:
            RemoteError: the server failed for one of them.
        """
        client = loaded(self._client, self.name)
        try:
            with ThreadPoolExecutor(self._at_once, thread_name_prefix=self.name) as threads:
                return list(threads.map(partial(self._transcribe, client), batch))
        except (RemoteError, RuntimeError):
            loaded(self._client, self.name)  # or that it was closed meanwhile is the reason
            raise

    def _transcribe(self, client: OpenAI, utterance: Utterance) -> Transcript:
        seconds = len(utterance.pcm) / SAMPLE_RATE
        if seconds < _LEAST_S:
            return Transcript("", utterance.language, seconds)
        with self._server.asking():
            answer: object = client.audio.transcriptions.create(
                file=("utterance.wav", _wav(utterance.pcm), "audio/wav"),
                model=self.model,
                language=utterance.language or omit,
                prompt=utterance.prompt or omit,
                response_format=self._format,
            )
        text = getattr(answer, "text", None)
        if not isinstance(text, str):
            raise RemoteError("the server of PARLEY_STT_URL answered without a text")
        heard = _code(getattr(answer, "language", None))
        return Transcript(text.strip(), utterance.language or heard, seconds)


def _wav(pcm: Int16) -> bytes:
    """int16 (n,) at 16 kHz as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(pcm.astype("<i2", copy=False).tobytes())
    return file.getvalue()


def _code(language: object) -> str | None:
    """The ISO 639-1 code of what a server calls a language: its code or its English name."""
    if not isinstance(language, str):
        return None
    named = language.strip().lower()
    codes = _codes()
    return named if named in codes.values() else codes.get(named)


@lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    """The codes of languages by their English names in small letters."""
    return {name.lower(): code for code, name in Locale("en").languages.items() if len(code) == 2}
