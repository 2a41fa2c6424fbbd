"""Which voice speaks."""

import pytest

from workers.tts.engines import Voice
from workers.tts.voices import NoVoice, choose

JOE, SIWIS, ANY = Voice("joe", "en"), Voice("siwis", "fr"), Voice("marin", None)


@pytest.mark.parametrize(
    ("wanted", "language", "spoken"),
    [
        (None, None, "joe"),
        ("siwis", None, "siwis"),
        ("nobody", None, "joe"),
        (None, "fr", "siwis"),
        ("joe", "fr", "siwis"),
        ("siwis", "fr", "siwis"),
        ("joe", "en", "joe"),
    ],
)
def test_the_wanted_voice_speaks_if_it_knows_the_language(
    wanted: str | None, language: str | None, spoken: str
) -> None:
    assert choose([JOE, SIWIS], wanted, language) == spoken


def test_a_voice_may_speak_any_language() -> None:
    assert choose([JOE, ANY], None, "ja") == "marin"


@pytest.mark.parametrize("wanted", [None, "coral"])
def test_an_engine_without_names_gets_whatever_is_wanted(wanted: str | None) -> None:
    assert choose([], wanted, "ja") == wanted


def test_a_language_that_no_voice_speaks_is_said() -> None:
    with pytest.raises(NoVoice, match=r"no voice speaks 'ja': .* speak en, fr, and PARLEY_TTS_MOD"):
        choose([JOE, SIWIS], "joe", "ja")
