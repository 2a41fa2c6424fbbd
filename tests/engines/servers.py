"""Servers for the engines that ask one, with the settings that name them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def hearing(_: Path) -> Iterator[dict[str, Any]]:
    """Whisper behind `/v1/audio/transcriptions`."""
    from tests.support.http import serving
    from tests.support.speech_server import STT_MODEL, speech_server

    with serving(speech_server()) as url:
        yield {"stt_url": url, "stt_model": STT_MODEL}


@contextmanager
def answering(_: Path) -> Iterator[dict[str, Any]]:
    """llama.cpp's own server, with 256 tokens for a conversation."""
    from tests.support.chat_server import MODEL, checked_llama_server

    with checked_llama_server(context_tokens=256) as url:
        yield {"llm_url": url, "llm_model": MODEL}


@contextmanager
def speaking(_: Path) -> Iterator[dict[str, Any]]:
    """Piper behind `/v1/audio/speech`."""
    from tests.support.http import serving
    from tests.support.speech_server import TTS_MODEL, speech_server

    with serving(speech_server()) as url:
        yield {"tts_url": url, "tts_models": TTS_MODEL}
