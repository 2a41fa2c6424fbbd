"""Metrics of gateways: who talks, how long they wait for an answer, and what they hear of it."""

from prometheus_client import Counter, Gauge, Histogram

from shared.messages import Marks
from shared.metrics import SECONDS
from shared.recent import Recent
from shared.waterfall import PARTS, parts

SESSIONS = Gauge("parley_sessions_open", "Sessions that this gateway serves now.")
OPENED = Counter("parley_sessions_opened_total", "Sessions begun.")
RESUMED = Counter("parley_sessions_resumed_total", "Sessions gone on with after a disconnection.")
REFUSED = Counter(
    "parley_sessions_refused_total",
    "Clients that did not get in, by the code of the reason.",
    ["reason"],
)
VOICE_TO_VOICE = Histogram(
    "parley_voice_to_voice_seconds",
    "From the end of what somebody said to the first audio of the answer, for turns spoken and"
    " answered aloud.",
    buckets=SECONDS,
)
TURN_PART = Histogram(
    "parley_turn_part_seconds", "The parts of that time.", ["part"], buckets=SECONDS
)
RESPONSES = Counter("parley_responses_total", "Answers by how they ended.", ["status"])
INTERRUPTIONS = Counter(
    "parley_interruptions_total",
    "Answers cut off while they were given, by the user's voice or by the client's wish.",
    ["reason"],
)
EPOCHS_CANCELLED = Counter(
    "parley_epochs_cancelled_total",
    "Times that all work for a session's answer became void, whether or not any was heard.",
)
UNDERRUNS = Counter(
    "parley_underruns_total", "Times that an answer's audio was late and the client fell silent."
)

# The same of the last minutes, which gateways tell whoever operates them through the broker.
RECENT = Recent()
RECENT_PARTS = {part: Recent() for part in PARTS.values()}

for _part in PARTS.values():
    TURN_PART.labels(_part)
for _status in ("completed", "incomplete", "cancelled", "failed"):
    RESPONSES.labels(_status)
for _reason in ("turn_detected", "client_cancelled"):
    INTERRUPTIONS.labels(_reason)
for _reason in (
    "connections",
    "invalid_api_key",
    "overloaded",
    "rate_limit_exceeded",
    "server_error",
):
    REFUSED.labels(_reason)


def observe_answer(status: str, underruns: int) -> None:
    """Counts an answer that is over, and how often its audio was late."""
    RESPONSES.labels(status).inc()
    UNDERRUNS.inc(underruns)


def observe_turn(marks: Marks) -> None:
    """Takes in a turn whose answer begins to be heard; one that was not spoken has no measure."""
    found = parts(marks)
    for part in found:
        TURN_PART.labels(PARTS[part.mark]).observe(part.duration_ms / 1000)
        RECENT_PARTS[PARTS[part.mark]].add(part.duration_ms)
    if found:
        whole_ms = found[-1].start_ms + found[-1].duration_ms
        VOICE_TO_VOICE.observe(whole_ms / 1000)
        RECENT.add(whole_ms)
