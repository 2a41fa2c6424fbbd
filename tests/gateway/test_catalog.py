"""Names of OpenAI's stand for what this server has; other names are refused."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import pytest
from openai.types.realtime import (
    AudioTranscription,
    RealtimeAudioConfigOutput,
    RealtimeSessionCreateRequest,
)

from gateway.protocols.realtime.catalog import Catalog
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.errors import ProtocolError
from shared.settings import Settings

SETTINGS = Settings(llm_model="smol", stt_model="tiny", tts_voice="joe")


@dataclass
class Offered:
    languages: list[str] = field(default_factory=list)
    voices: list[str] = field(default_factory=list)


def names(annotation: object) -> list[str]:
    """The names that a field's type lists."""
    inner = [name for arg in get_args(annotation) for name in names(arg)]
    return [annotation] if isinstance(annotation, str) else inner


def refusal(check: Callable[[str, str], str], name: str) -> str:
    with pytest.raises(ProtocolError, match=r"^field must be ") as caught:
        check(name, "field")
    assert caught.value.param == "field"
    return caught.value.message


MODELS = names(RealtimeSessionCreateRequest.model_fields["model"].annotation)


@pytest.mark.parametrize("name", [*MODELS, "smol", "parley"])
def test_every_model_of_the_package_stands_for_the_one_here(name: str) -> None:
    assert Catalog(SETTINGS).model(name, "model") == name


@pytest.mark.parametrize("name", ["claude", "gpt-4o", "gpt-realtime\n", "../smol", "g" * 200])
def test_another_model_is_refused(name: str) -> None:
    assert "'smol'" in refusal(Catalog(SETTINGS).model, name)
    with pytest.raises(ProtocolError) as caught:
        Configuration(SETTINGS, name)
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


TRANSCRIBERS = names(AudioTranscription.model_fields["model"].annotation)


@pytest.mark.parametrize("name", [*sorted({*TRANSCRIBERS} - {"gpt-4o-transcribe-diarize"}), "tiny"])
def test_every_transcription_model_of_the_package_stands_for_the_one_here(name: str) -> None:
    assert Catalog(SETTINGS).transcriber(name, "model") == name


@pytest.mark.parametrize("name", ["gpt-4o-transcribe-diarize", "nova-3", "base"])
def test_another_transcription_model_is_refused(name: str) -> None:
    assert "'tiny'" in refusal(Catalog(SETTINGS).transcriber, name)


VOICES = names(RealtimeAudioConfigOutput.model_fields["voice"].annotation)


@pytest.mark.parametrize("name", VOICES)
def test_every_voice_of_the_package_stands_for_the_one_here(name: str) -> None:
    catalog = Catalog(SETTINGS, Offered(voices=["joe", "amy"]))
    assert catalog.voice(name, "voice") == name
    assert catalog.spoken_with(name) == "joe"


def test_a_voice_that_is_here_speaks_for_itself() -> None:
    catalog = Catalog(SETTINGS, Offered(voices=["amy", "marin"]))
    assert catalog.default_voice == "amy"
    assert [catalog.spoken_with(name) for name in ("amy", "marin", "ash")] == [
        "amy",
        "marin",
        "amy",
    ]


def test_another_voice_is_refused_and_those_that_are_here_are_named() -> None:
    catalog = Catalog(SETTINGS, Offered(voices=["joe", "amy"]))
    assert "one of joe, amy" in refusal(catalog.voice, "siri")


def test_while_nobody_knows_what_there_is_anything_goes() -> None:
    for catalog in (Catalog(SETTINGS), Catalog(SETTINGS, Offered())):
        assert catalog.voice("siri", "voice") == catalog.spoken_with("siri") == "siri"
        assert catalog.language("tlh", "language") == "tlh"
        refusal(catalog.voice, "s" * 129)


@pytest.mark.parametrize("name", ["en", "EN", "en-US", "en_us", "en-Latn-US"])
def test_a_region_does_not_matter(name: str) -> None:
    assert Catalog(SETTINGS, Offered(languages=["de", "en"])).language(name, "language") == "en"


@pytest.mark.parametrize("name", ["", "e", "english", "en US", "en\n", "12", "en-" + "a" * 50])
def test_what_is_no_language_is_refused(name: str) -> None:
    assert "ISO 639" in refusal(Catalog(SETTINGS).language, name)


def test_a_language_that_is_not_understood_is_refused_and_those_that_are_are_named() -> None:
    catalog = Catalog(SETTINGS, Offered(languages=["en", "de"]))
    assert "one of de, en:" in refusal(catalog.language, "fr")
