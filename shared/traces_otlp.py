"""Spans on their way to a collector, by OpenTelemetry's own exporter: OTLP over HTTP.

What the standard environment variables say of it holds: `OTEL_EXPORTER_OTLP_HEADERS`,
`OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*`.
"""

import importlib.metadata
import logging
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from shared.traces import Span

# A process that stops is given a few seconds more than its work has.
_TIMEOUT_S = 2.0
_MS = 1_000_000  # ns

log = logging.getLogger(__name__)


class OtlpExporter:
    """The spans of one process, from a bounded queue, in batches. `model` is what it works with."""

    def __init__(self, process: str, url: str, model: str = "") -> None:
        self._model = {"parley.model": model} if model else {}
        self._scope = InstrumentationScope("parley")
        self._resource = Resource.create({"service.name": f"parley-{process}", **_version()})
        self._sender = _Sender(url)
        self._queue = BatchSpanProcessor(self._sender)

    def add(self, trace: str, span: Span) -> None:
        """Has a span sent some time."""
        _, trace_id, first, _ = trace.split("-")
        parent = _context(trace_id, first)
        context = parent if span.first else _context(trace_id, secrets.token_hex(8))
        events = [Event(name, timestamp=at_ms * _MS) for name, at_ms in span.events.items()]
        self._queue.on_end(
            ReadableSpan(
                span.name,
                context=context,
                parent=None if span.first else parent,
                resource=self._resource,
                attributes={**self._model, **span.attributes},
                events=sorted(events, key=lambda event: event.timestamp),
                status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
                start_time=span.start_ms * _MS,
                # Clocks are set: no span ends before it began.
                end_time=max(span.start_ms, span.end_ms) * _MS,
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Sends what waits; of a collector that is away nothing is hoped any more."""
        self._sender.closing = True
        self._queue.shutdown()  # type: ignore[no-untyped-call]


class _Sender(OTLPSpanExporter):
    """Says once that the collector is away, and once that it is back."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url.rstrip('/')}/v1/traces", timeout=_TIMEOUT_S)
        address = urlsplit(url)  # of which the user's name and password are no one's business
        self._name = f"{address.hostname}:{address.port}" if address.port else address.hostname
        self._away = False
        self.closing = False
        # They would say it again with every batch.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.closing and self._away:
            return SpanExportResult.FAILURE
        result = super().export(spans)
        before, self._away = self._away, result is not SpanExportResult.SUCCESS
        if self._away and not before:
            log.warning("PARLEY_TRACES_URL: %s takes no spans: they are lost meanwhile", self._name)
        elif before and not self._away:
            log.info("%s takes spans again", self._name)
        return result


def _context(trace_id: str, span_id: str) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)


def _version() -> dict[str, str]:
    try:
        return {"service.version": importlib.metadata.version("parley")}
    except importlib.metadata.PackageNotFoundError:  # MeloTTS's environment has its code alone
        return {}
