"""How a session listens: `audio.input` of its configuration, shown and changed."""

from typing import Literal

from gateway.protocols.realtime.catalog import Catalog
from gateway.protocols.realtime.checks import Json, short, small, unsupported, within, wrong
from gateway.protocols.realtime.formats import described
from shared.messages import TurnDetection
from shared.settings import Settings

_INPUT = "session.audio.input"

_RANGES = {
    "threshold": (0.0, 1.0),
    "prefix_padding_ms": (0, 5_000),
    "silence_duration_ms": (0, 10_000),
    "idle_timeout_ms": (5_000, 30_000),
}
_ANSWERING = {"create_response": True, "interrupt_response": True}
_EAGERNESS: dict[str, Literal["low", "medium", "high"]] = {
    "low": "low",
    "auto": "medium",
    "medium": "medium",
    "high": "high",
}
_LONGEST_PROMPT = 4_096


class Listening:
    """What can be asked for, where a session answers and where it only transcribes."""

    def __init__(self, settings: Settings, catalog: Catalog, *, answers: bool) -> None:
        self._settings = settings
        self._catalog = catalog
        self._answers = answers

    def fresh(self) -> Json:
        """What a session gets that asks for nothing."""
        return {
            "format": described("audio/pcm"),
            "transcription": None if self._answers else {"model": self._catalog.stt_model},
            "noise_reduction": None,
            "turn_detection": self._defaults("server_vad"),
        }

    def updated(self, now: Json, update: Json) -> Json:
        """`now` with the fields that are present in `update`.

        Raises:
            ProtocolError: a field that cannot be honoured.
        """
        result = dict(now)
        if update.get("format") is not None:
            result["format"] = described(update["format"].get("type") or "audio/pcm")
        if "transcription" in update:
            result["transcription"] = self._transcription(
                now["transcription"], update["transcription"]
            )
        if "noise_reduction" in update:
            result["noise_reduction"] = _noise_reduction(
                now["noise_reduction"], update["noise_reduction"]
            )
        if "turn_detection" in update:
            result["turn_detection"] = self._turn_detection(
                now["turn_detection"], update["turn_detection"]
            )
        return result

    def _transcription(self, now: Json | None, given: Json | None) -> Json | None:
        """Shown are the model, language and prompt, and what else the client sent."""
        name = f"{_INPUT}.transcription"
        if given is None:
            if not self._answers:
                raise wrong(name, "cannot be null: this session does nothing else")
            return None
        for field in ("delay", "languages"):
            if given.get(field):
                raise unsupported(f"{name}.{field}")
        result = {"model": self._catalog.stt_model, **(now or {})}
        result |= {field: value for field, value in given.items() if value}
        for field in given.keys() & result.keys():
            if not given[field]:
                del result[field]
        model = result.setdefault("model", self._catalog.stt_model)
        self._catalog.transcriber(model, f"{name}.model")
        if language := result.get("language"):
            result["language"] = self._catalog.language(language, f"{name}.language")
        short(result.get("prompt", ""), _LONGEST_PROMPT, f"{name}.prompt")
        small(result.get("keywords", []), _LONGEST_PROMPT, f"{name}.keywords")
        return result

    def _turn_detection(self, now: Json | None, given: Json | None) -> Json | None:
        if given is None:
            return None
        name = f"{_INPUT}.turn_detection"
        base = now if now and now["type"] == given["type"] else self._defaults(given["type"])
        # null clears what can be off, and leaves the rest as it is
        present = {
            field: value
            for field, value in given.items()
            if value is not None or field == "idle_timeout_ms"
        }
        for field, bounds in _RANGES.items():
            if present.get(field) is not None:
                within(present[field], bounds, f"{name}.{field}")
        if not self._answers:
            for field in ("create_response", "interrupt_response", "idle_timeout_ms"):
                if present.pop(field, None):
                    raise wrong(f"{name}.{field}", "is not for sessions that only transcribe")
        return {**base, **present}

    def _defaults(self, kind: str) -> Json:
        answering = _ANSWERING if self._answers else {}
        if kind == "semantic_vad":
            return {"type": kind, "eagerness": "auto", **answering}
        shown = {
            "type": kind,
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": self._settings.silence_ms,
            **answering,
        }
        return {**shown, "idle_timeout_ms": None} if self._answers else shown


def turn_detection(shown: Json | None) -> TurnDetection | None:
    """What the turn detection, as shown, means."""
    if shown is None:
        return None
    answering = {field: shown[field] for field in _ANSWERING if field in shown}
    if shown["type"] == "semantic_vad":
        return TurnDetection(eagerness=_EAGERNESS[shown["eagerness"]], **answering)
    return TurnDetection(
        threshold=shown["threshold"],
        prefix_ms=shown["prefix_padding_ms"],
        silence_ms=shown["silence_duration_ms"],
        idle_timeout_ms=shown.get("idle_timeout_ms"),
        **answering,
    )


def transcription_prompt(shown: Json | None) -> str | None:
    """What is told to the recogniser: the prompt, and the keywords as words said before."""
    if shown is None:
        return None
    keywords = ", ".join(shown.get("keywords", []))
    return "\n".join(filter(None, [shown.get("prompt"), keywords])) or None


def _noise_reduction(now: Json | None, given: Json | None) -> Json | None:
    if given is None:
        return None
    name = f"{_INPUT}.noise_reduction"
    present = {field: value for field, value in given.items() if value is not None}
    if "strength" in present:
        within(present["strength"], (0.0, 1.0), f"{name}.strength")
    return {"type": "near_field", **(now or {}), **present}
