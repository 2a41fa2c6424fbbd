"""What a client asks of one response, on top of what its session says."""

import json
from dataclasses import dataclass
from typing import Literal

from openai.types.realtime import RealtimeResponseCreateParams

from gateway.protocols.realtime.checks import (
    LONGEST_TEXT,
    MOST_OUTPUT_TOKENS,
    Json,
    modality,
    most_tokens,
    refuse,
    short,
    wrong,
)
from gateway.protocols.realtime.effective import Configuration
from gateway.protocols.realtime.formats import FORMATS, AudioFormat, described
from gateway.protocols.realtime.tools import checked_choice, checked_tools, tooling
from shared.messages import Modality, Tooling

_REFUSED = ("prompt", "reasoning")
_MOST_PAIRS, _LONGEST_KEY, _LONGEST_VALUE = 16, 64, 512


@dataclass(frozen=True, slots=True)
class Asked:
    """A response that is asked for. What is None is as the session says.

    `input` are items as the client sent them, in place of the conversation. `shown` are the fields
    of the response, as the protocol writes them, that say what it was asked to be.
    """

    instructions: str | None
    modality: Modality
    max_output_tokens: int | None
    tooling: Tooling | None
    voice: str | None
    output_format: AudioFormat
    input: list[Json] | None
    aside: bool
    shown: Json

    @property
    def protocol(self) -> str:
        """`shown` as it travels in ResponseCreated, so that any gateway can show it."""
        return json.dumps(self.shown)


def asked(
    params: RealtimeResponseCreateParams | None,
    configuration: Configuration,
    *,
    voice_locked: bool = False,
) -> Asked:
    """The response that a response.create asks for, nothing in particular if `params` is None.

    `voice_locked` says that the session's voice was heard, and stays.

    Raises:
        ProtocolError: a field that cannot be honoured.
    """
    given = params.model_dump(exclude_unset=True) if params else {}
    wanted = {field: value for field, value in given.items() if value is not None}
    refuse(wanted, _REFUSED, "response")
    session = configuration.shown
    instructions = wanted.get("instructions")
    if instructions is not None:
        short(instructions, LONGEST_TEXT, "response.instructions")
    how = session["output_modalities"]
    if "output_modalities" in wanted:
        how = [modality(wanted["output_modalities"], "response")]
    most = most_tokens(wanted.get("max_output_tokens", session["max_output_tokens"]), "response")
    output = (wanted.get("audio") or {}).get("output") or {}
    voice = configuration.voice(output, "response", voice_locked=voice_locked)
    output_format = session["audio"]["output"]["format"]
    if output.get("format"):
        output_format = described(output["format"].get("type") or "audio/pcm")
    return Asked(
        instructions=instructions,
        modality=how[0],
        max_output_tokens=_limit(most) if "max_output_tokens" in wanted else None,
        tooling=_tooling(wanted, configuration),
        voice=configuration.spoken_with(voice) if output.get("voice") else None,
        output_format=FORMATS[output_format["type"]],
        input=wanted.get("input"),
        aside=_aside(wanted.get("conversation", "auto")),
        shown={
            "output_modalities": how,
            "max_output_tokens": most,
            "audio": {"output": {"format": output_format, "voice": voice}},
            "metadata": _metadata(wanted.get("metadata")),
        },
    )


def _limit(most: int | Literal["inf"]) -> int:
    return MOST_OUTPUT_TOKENS if most == "inf" else most


def _aside(conversation: str) -> bool:
    if conversation not in ("auto", "none"):
        raise wrong("response.conversation", "must be auto or none")
    return conversation == "none"


def _tooling(wanted: Json, configuration: Configuration) -> Tooling | None:
    """The response's own functions and how to use them, None if it names neither.

    A choice of the session that the response's own functions do not allow is none of it.
    """
    if wanted.keys().isdisjoint({"tools", "tool_choice", "parallel_tool_calls"}):
        return None
    session = configuration.shown
    tools, choice = session["tools"], session["tool_choice"]
    if "tools" in wanted:
        tools = checked_tools(wanted["tools"], "response.tools")
        names = [tool["name"] for tool in tools]
        lost = isinstance(choice, dict) and choice["name"] not in names
        choice = "auto" if lost or not tools else choice
    if "tool_choice" in wanted:
        choice = checked_choice(wanted["tool_choice"], tools, "response.tool_choice")
    parallel = configuration.tooling.parallel
    return tooling(tools, choice, parallel=wanted.get("parallel_tool_calls", parallel))


def _metadata(given: dict[str, str] | None) -> dict[str, str] | None:
    name = "response.metadata"
    if given is None:
        return None
    if len(given) > _MOST_PAIRS:
        raise wrong(name, f"must have at most {_MOST_PAIRS} pairs, not {len(given)}")
    for key, value in given.items():
        if len(key) > _LONGEST_KEY:
            raise wrong(name, f"must have keys of at most {_LONGEST_KEY} characters")
        if len(value) > _LONGEST_VALUE:
            raise wrong(name, f"must have values of at most {_LONGEST_VALUE} characters")
    return given
