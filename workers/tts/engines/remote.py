"""Any server with OpenAI's `/v1/audio/speech`."""

from collections.abc import Iterator, Sequence

import numpy as np
from openai import OpenAI, omit

from shared.audio import Int16, Resampler
from shared.registry import loaded
from shared.remote import RemoteError, Server
from shared.settings import Settings
from workers.tts.engines import Speech, Voice
from workers.tts.engines.remote_audio import AudioUnfit, PcmStream

_CHUNK_S = 0.2
_LONGEST_BYTES = 64 * 2**20
# The first voice that OpenAI had. Most servers have one of this name, or take it for theirs.
_USUAL_VOICE = "alloy"
# Nobody speaks more slowly: what comes beyond is not this text.
_LONGEST_S, _LONGEST_CHARACTER_S = 10.0, 1.0


class RemoteEngine:
    """Speaks with whatever voice is asked for: which there are, the interface does not tell.

    Audio is handed out as it comes. The interface knows no language either: the voice has one.
    """

    name = "openai"
    works_ahead = False
    voices: Sequence[Voice] = ()

    def __init__(self, settings: Settings) -> None:
        self.model = next(iter(settings.speech_models), "")
        self._server = Server.of("tts", self.model, settings, _LONGEST_BYTES)
        self._voice = settings.tts_voice or _USUAL_VOICE
        self._client: OpenAI | None = None

    def load(self) -> None:
        """As the interface has it.

        Raises:
            ServerUnfit: the server is not there, or does not speak with the usual voice.
        """
        self._client = self._server.client()
        with self._server.starting(self._client):
            for _ in self.synthesize(Speech("Hello.", None, 1.0, 24_000)):
                pass

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()  # which ends the requests that are under way

    def synthesize(self, speech: Speech) -> Iterator[Int16]:
        """As the interface has it; closing the generator ends the request.

        Raises:
            RemoteError: the server failed, or sent something else than this text's audio.
        """
        client = loaded(self._client, self.name)
        if not any(character.isalnum() for character in speech.text):
            return
        try:
            with self._server.asking():
                yield from self._spoken(client, speech)
        except (RemoteError, RuntimeError):
            loaded(self._client, self.name)  # or that it was closed meanwhile is the reason
            raise

    def _spoken(self, client: OpenAI, speech: Speech) -> Iterator[Int16]:
        asked = client.audio.speech.with_streaming_response.create(
            model=self.model,
            voice=speech.voice or self._voice,
            input=speech.text,
            response_format="pcm",
            speed=omit if speech.speed == 1 else speech.speed,
        )
        with asked as response:
            try:
                stream = PcmStream(response.iter_bytes(), response.headers.get("Content-Type", ""))
            except AudioUnfit as error:
                raise RemoteError(f"the server of PARLEY_TTS_URL: {error}") from error
            yield from _at_rate(_bounded(stream, speech), stream.rate, speech.sample_rate)


def _bounded(stream: PcmStream, speech: Speech) -> Iterator[Int16]:
    seconds = _LONGEST_S + _LONGEST_CHARACTER_S * len(speech.text) / speech.speed
    left = round(seconds * stream.rate)
    for samples in stream.samples(round(_CHUNK_S * stream.rate)):
        left -= len(samples)
        if left < 0:
            raise RemoteError(
                "the server of PARLEY_TTS_URL sent more than"
                f" {seconds:.0f} s of audio for {len(speech.text)} characters"
            )
        yield samples


def _at_rate(chunks: Iterator[Int16], rate: int, wanted: int) -> Iterator[Int16]:
    resampler = Resampler(rate, wanted)
    for chunk in chunks:
        resampled = resampler.process(chunk)
        if len(resampled):
            yield resampled
    rest = resampler.process(np.zeros(0, np.int16), last=True)
    if len(rest):
        yield rest
