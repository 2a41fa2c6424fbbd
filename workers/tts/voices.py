"""Which voice speaks."""

from collections.abc import Sequence

from workers.tts.engines import Voice


class NoVoice(Exception):
    """No voice speaks the language of a text. The message says which are spoken."""


def choose(voices: Sequence[Voice], wanted: str | None, language: str | None) -> str | None:
    """The name of the voice that speaks a text: the one that is `wanted` if it is there and speaks
    the text's language, else the first that does. Where there are no names, whatever is wanted.

    Raises:
        NoVoice: none speaks the language.
    """
    if not voices:
        return wanted
    able = [v.name for v in voices if None in (language, v.language) or v.language == language]
    if not able:
        spoken = ", ".join(sorted({voice.language or "" for voice in voices}))
        raise NoVoice(
            f"no voice speaks {language!r}: the voices of this server speak {spoken}, and"
            " PARLEY_TTS_MODELS names others"
        )
    return wanted if wanted in able else able[0]
