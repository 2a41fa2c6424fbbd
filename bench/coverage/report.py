"""What was found out, as a page of Markdown."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent

# Why a server event is not to be seen in any conversation here.
_UNSEEN = {
    "conversation.created": "of no use to a client, and of the protocol before GA",
    "conversation.item.input_audio_transcription.failed": (
        "sent when recognition failed on every attempt, which no client can bring about"
    ),
    "conversation.item.input_audio_transcription.segment": "no model here tells speakers apart",
    "input_audio_buffer.dtmf_event_received": "telephony only",
    "output_audio_buffer.started": "WebRTC only",
    "output_audio_buffer.stopped": "WebRTC only",
}
_MCP = "remote MCP tools are refused"
_LONGEST_VALUE = 60


@dataclass
class Field:
    """What came of the values that were sent for one field."""

    honoured: list[Any] = field(default_factory=list)
    refused: list[tuple[Any, str]] = field(default_factory=list)
    ignored: list[Any] = field(default_factory=list)


@dataclass
class Findings:
    """All that was found out."""

    fields: dict[str, dict[str, Field]] = field(default_factory=dict)
    items: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    @property
    def ignored(self) -> list[str]:
        """Fields that were neither honoured nor refused, and events nobody can account for."""
        fields = [
            f"{kind}.{path}"
            for kind, found in self.fields.items()
            for path, each in found.items()
            if each.ignored
        ]
        return [*fields, *sorted(kind for kind in _server_events() if not self.why(kind))]

    def why(self, kind: str) -> str:
        """Whether a server event was sent, or why not; "" if nobody knows."""
        if kind in self.seen:
            return "sent"
        if "mcp" in kind:
            return _MCP
        return _UNSEEN.get(kind, "")


def page(findings: Findings, version: str) -> str:
    """The page. `version` is that of the package whose types were asked for."""
    parts = [
        "# What of the Realtime protocol is here",
        "Written by `python -m bench.coverage`, which asks a running server for every event and"
        f" field in the types of `openai` {version}. Do not edit.",
        "## Client events",
        _table(("event", "here"), ((f"`{kind}`", "carried out") for kind in _client_events())),
        "## Server events",
        _table(("event", "here"), ((f"`{kind}`", findings.why(kind)) for kind in _server_events())),
        "## Items",
        _table(("item", "here"), ((name, said) for name, said in findings.items.items())),
    ]
    titles = {
        "realtime": "Fields of a session",
        "transcription": "Fields of a session that only transcribes",
        "response": "Fields of a response",
    }
    for kind, title in titles.items():
        parts += [f"## {title}", _fields(findings.fields[kind])]
    return "\n\n".join(parts) + "\n"


def _fields(found: Mapping[str, Field]) -> str:
    rows = []
    for path, each in found.items():
        reasons: dict[str, list[str]] = {}
        for value, why in each.refused:
            reasons.setdefault(why, []).append(_value(value))
        refused = "; ".join(f"{', '.join(values)}: {why}" for why, values in reasons.items())
        rows.append((f"`{path}`", ", ".join(map(_value, each.honoured)), refused))
    return _table(("field", "honoured", "refused with an error"), rows)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


def _value(value: Any) -> str:
    text = json.dumps(value)
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "…"
    return f"`{text}`"


def _client_events() -> list[str]:
    return _kinds(RealtimeClientEvent)


def _server_events() -> list[str]:
    return _kinds(RealtimeServerEvent)


def _kinds(union: Any) -> list[str]:
    models = get_args(get_args(union)[0])
    return sorted(get_args(model.model_fields["type"].annotation)[0] for model in models)
