"""The gateway's part in the traces of a session's turns: typed ones begin here, and all end."""

from gateway.answer import Status
from gateway.happenings import ResponseEnded
from shared import traces
from shared.ids import now_ms
from shared.messages import Committed, OutMessage, ResponseCreated


class Traced:
    """The traces of one session's turns."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._unanswered = ""
        self._asked_ms = 0

    def follow(self, message: OutMessage) -> None:
        """Notes which turn an answer that the client asks for would belong to."""
        if isinstance(message, Committed):
            self._unanswered = message.trace
        elif isinstance(message, ResponseCreated) and not message.aside:
            self._unanswered = ""

    def ask(self, *, aside: bool) -> str:
        """The trace of a response that the client asks for: that of the turn which it answers, or
        one that begins now."""
        self._asked_ms = now_ms()
        return (not aside and self._unanswered) or traces.begin()

    def asked(self, trace: str, response_id: str) -> None:
        """The response was begun: unless its trace has a beginning, this is it."""
        if trace != self._unanswered:
            attributes = self._attributes(response_id)
            span = traces.Span("turn", self._asked_ms, now_ms(), attributes, first=True)
            traces.export(trace, span)

    def ended(self, ended: ResponseEnded) -> None:
        """Adds the answer as the client got it: until its audio was sent, or it was cut off."""
        answer = ended.answer
        attributes = {
            **self._attributes(answer.response_id),
            "parley.status": ended.status,
            "parley.audio_s": answer.sent_ms / 1000,
            **_reason(ended.status, ended.reason),
        }
        reached = {mark: at for mark, at in answer.marks.items() if mark == "audio_out"}
        error = "ResponseFailed" if ended.status == "failed" else ""
        span = traces.Span("answer", answer.began_ms, now_ms(), attributes, reached, error)
        traces.export(answer.trace, span)

    def _attributes(self, response_id: str) -> dict[str, traces.Value]:
        return {
            "parley.stage": "gateway",
            "session.id": self._session_id,
            "parley.response_id": response_id,
        }


def _reason(status: Status, reason: str) -> dict[str, traces.Value]:
    """Who cut an answer off; what made one fail is in the log, and may hold more than a kind."""
    return {"parley.reason": reason} if status == "cancelled" else {}
