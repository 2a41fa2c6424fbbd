"""A job in its owner's hands: what may be done with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared import traces
from shared.broker import Pipe
from shared.ids import now_ms
from shared.keys import SessionKeys
from shared.messages import (
    AnyItem,
    Item,
    JobMessage,
    Marks,
    MessageError,
    OutMessage,
    SttJob,
    TtsJob,
)
from shared.queueing import Queueing
from shared.scripts import jobs as scripts
from shared.scripts.jobs import Emission, NewResponse, Ownership, Progress


class Withdrawn(Exception):
    """The job is not this worker's to go on with: it was taken over, cancelled, or its session
    ended. A handler lets it pass."""


class ResponseDiffers(Exception):
    """The broker lost text that this worker emitted: whoever takes the job goes on from what is
    there."""


@dataclass(slots=True)
class Job:
    """A job in its owner's hands.

    `began_ms` is when its handler was called, 0 before. `marks` are those that it reached and
    `sizes` what it took in and gave out, both for its trace.
    """

    pipe: Pipe
    queueing: Queueing
    owner: Ownership
    session: SessionKeys
    message: JobMessage | MessageError
    payload: bytes
    attempt: int
    began_ms: int = 0
    withdrawn: bool = False
    marks: Marks = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, str]:
        """Whom it concerns, as logs have it."""
        if isinstance(self.message, MessageError):
            return {}
        ids = {"session_id": self.message.session_id}
        if not isinstance(self.message, SttJob):
            ids["response_id"] = self.message.response_id
        return ids

    def start(self, *, awaited: bool = True) -> None:
        """Says that the engine works on the job from now on; what was before is queueing. Of work
        that is not `awaited` yet nobody hears that it is late."""
        self.queueing.began(self.owner.entry, awaited=awaited)

    async def emit(
        self,
        messages: Sequence[OutMessage],
        *,
        jobs: Sequence[TtsJob] = (),
        progress: Progress | None = None,
        begins: Sequence[AnyItem] = (),
    ) -> None:
        """Emits part of the work of a response; `begins` as in `Emission`.

        Raises:
            Withdrawn: nothing was emitted and the handler must stop.
            ResponseDiffers: nothing was emitted and the job must be begun again.
        """
        emission = Emission(self.session, self._response_id, messages, jobs, progress, begins)
        status = await scripts.emit(self.pipe, self.owner, emission)
        if status == "differs":
            raise ResponseDiffers
        if status != "ok":
            raise Withdrawn

    async def finish(
        self,
        messages: Sequence[OutMessage] = (),
        *,
        jobs: Sequence[TtsJob] = (),
        progress: Progress | None = None,
        begins: Sequence[AnyItem] = (),
        item: AnyItem | None = None,
    ) -> None:
        """Emits the last of the work of a response and acknowledges the job.

        Raises:
            ResponseDiffers: nothing was emitted and the job must be begun again.
        """
        emission = Emission(self.session, self._response_id, messages, jobs, progress, begins, item)
        if await scripts.finish(self.pipe, self.owner, emission) == "differs":
            raise ResponseDiffers

    async def finish_turn(
        self, messages: Sequence[OutMessage], item: Item, respond: NewResponse | None
    ) -> None:
        """Ends a transcription and, with `respond`, begins the answer."""
        await scripts.finish_turn(
            self.pipe, self.owner, self.session, messages=messages, item=item, respond=respond
        )

    def trace(self, outcome: str, error: str = "") -> None:
        """The attempt is over: adds its span to the turn's trace."""
        message, stage = self.message, self.owner.stage
        if isinstance(message, MessageError) or not (message.trace and self.began_ms):
            return
        attributes: dict[str, traces.Value] = {
            "parley.stage": stage,
            "session.id": message.session_id,
            "parley.attempt": self.attempt,
            "parley.outcome": outcome,
            **{f"parley.{name}": size for name, size in self.sizes.items()},
        }
        if not isinstance(message, SttJob):
            attributes["parley.response_id"] = message.response_id
        if isinstance(message, TtsJob):
            attributes["parley.segment"] = message.segment
        reached = {mark: at for mark, at in self.marks.items() if mark.startswith(f"{stage}_")}
        span = traces.Span(stage, self.began_ms, now_ms(), attributes, reached, error)
        traces.export(message.trace, span)

    @property
    def _response_id(self) -> str:
        return getattr(self.message, "response_id", "none")
