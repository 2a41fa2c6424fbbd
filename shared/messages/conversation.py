"""What a session asks for, and what its conversation consists of."""

from typing import Literal

import msgspec

from shared.messages.base import Message, Modality, Positive

# --- session configuration ------------------------------------------------------------------


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """When the user's turn begins and ends.

    With an `eagerness` the words' sound decides, not the silence alone: how soon after them a
    turn is taken to be over at the latest. `idle_timeout_ms` after an answer was played out, a
    user who says nothing is answered all the same.
    """

    threshold: float = 0.5
    prefix_ms: Positive = 300
    silence_ms: Positive = 500
    eagerness: Literal["low", "medium", "high"] | None = None
    idle_timeout_ms: Positive | None = None
    create_response: bool = True
    interrupt_response: bool = True


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call; `parameters` is a JSON schema, as JSON text."""

    name: str
    description: str = ""
    parameters: str = "{}"


class NamedTool(msgspec.Struct, frozen=True):
    """The one function that the model must call."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool
"""Whether the model calls functions: as it sees fit, never, at least one, or this one."""


class Truncation(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a conversation that is too long for the model.

    Its oldest turns are left out until at most `retain` of the room is taken; with `retain` None
    that is an error instead. The room is what the model has, or `tokens` if that is less.
    """

    retain: float | None = 1.0
    tokens: Positive | None = None


class Tooling(msgspec.Struct, frozen=True, kw_only=True):
    """Which functions there are and how the model is to use them."""

    tools: list[Tool] = []
    choice: ToolChoice = "auto"
    parallel: bool = True


class SessionConfig(Message, frozen=True, tag="session_config"):
    """What a session asks for, whatever protocol its client speaks.

    `turn_detection` is None for push-to-talk. `responds` is False for a session that only
    transcribes. `output_rate` is the sample rate, in Hz, of the audio that the gateway sends.
    `protocol` is what the client's protocol must find again when another gateway goes on with the
    session; nobody else reads it.
    """

    instructions: str | None = None
    language: str | None = None
    transcription_prompt: str | None = None
    turn_detection: TurnDetection | None = TurnDetection()
    responds: bool = True
    modality: Modality = "audio"
    voice: str | None = None
    speed: float = 1.0
    output_rate: int = 24_000
    max_output_tokens: int | None = None
    tooling: Tooling = Tooling()
    truncation: Truncation = Truncation()
    protocol: str = ""


# --- conversation ---------------------------------------------------------------------------


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a message: its words, None while they are being transcribed."""

    modality: Modality = "text"
    text: str | None = None


ItemStatus = Literal["in_progress", "completed", "incomplete"]


class Item(Message, frozen=True, tag="item"):
    """A message of the conversation.

    `audio_ms` is how long a spoken answer was, as sent. `language` is what somebody spoke, as an
    ISO 639-1 code, where it could have been another.
    """

    item_id: str
    role: Literal["user", "assistant", "system"]
    status: ItemStatus = "completed"
    parts: list[Part] = []
    audio_ms: Positive = 0
    language: str | None = None

    @classmethod
    def of(
        cls,
        item_id: str,
        role: Literal["user", "assistant", "system"],
        text: str | None = None,
        *,
        modality: Modality = "text",
        status: ItemStatus = "completed",
    ) -> "Item":
        """A message of one part; that of an assistant who has said nothing yet has none."""
        begun = text is not None or role != "assistant"
        parts = [Part(modality=modality, text=text)] if begun else []
        return cls(item_id=item_id, role=role, status=status, parts=parts)

    @property
    def text(self) -> str | None:
        """Its words; None while some are being transcribed, or there are none yet."""
        texts = [part.text for part in self.parts if part.text is not None]
        return "\n".join(texts) if texts and len(texts) == len(self.parts) else None

    @property
    def pending(self) -> int | None:
        """Which part is being transcribed, if one is."""
        waiting = (index for index, part in enumerate(self.parts) if part.text is None)
        return next(waiting, None)

    def transcribed(self, text: str, language: str | None = None) -> "Item":
        """The item with the words of the part that was being transcribed."""
        parts = [
            part if part.text is not None else Part(modality=part.modality, text=text)
            for part in self.parts
        ]
        return msgspec.structs.replace(self, parts=parts, status="completed", language=language)


class FunctionCall(Message, frozen=True, tag="function_call"):
    """A function that the model calls; `arguments` is JSON text, as the model wrote it."""

    item_id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"


class FunctionOutput(Message, frozen=True, tag="function_output"):
    """What a function returned to the model."""

    item_id: str
    call_id: str
    output: str
    status: ItemStatus = "completed"


AnyItem = Item | FunctionCall | FunctionOutput
