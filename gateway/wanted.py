"""A response as a client asks for it."""

from dataclasses import dataclass

from shared.ids import new_id
from shared.messages import AnyItem, LlmJob, Modality, ResponseCreated, SessionConfig, Tooling
from shared.scripts.jobs import NewResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A response as its client asks for it; what is None is as the session says.

    `input` is what to answer in place of the conversation. One `aside` is no part of the
    conversation. `output_rate` is its audio's, in Hz; `protocol` as in `ResponseCreated`.
    """

    instructions: str | None = None
    modality: Modality | None = None
    max_output_tokens: int | None = None
    tooling: Tooling | None = None
    voice: str | None = None
    output_rate: int | None = None
    input: list[AnyItem] | None = None
    aside: bool = False
    protocol: str = ""

    def response(self, session_id: str, config: SessionConfig, trace: str = "") -> NewResponse:
        """The response, for a session with this configuration, as part of a turn's `trace`."""
        response_id, item_id = new_id("resp"), new_id("item")
        modality = self.modality or config.modality
        output_rate = self.output_rate or config.output_rate
        return NewResponse(
            response_id,
            ResponseCreated(
                response_id=response_id,
                item_id=item_id,
                modality=modality,
                output_rate=output_rate,
                aside=self.aside,
                protocol=self.protocol,
                trace=trace,
            ),
            LlmJob(
                session_id=session_id,
                response_id=response_id,
                item_id=item_id,
                instructions=self.instructions,
                modality=modality,
                max_output_tokens=self.max_output_tokens,
                tooling=self.tooling,
                voice=self.voice,
                input=self.input,
                aside=self.aside,
                output_rate=output_rate,
                trace=trace,
            ),
        )
