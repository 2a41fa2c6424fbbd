"""A collector of OpenTelemetry's, as far as spans go: OTLP over HTTP on a port of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

Value = str | int | float | bool


@dataclass(frozen=True)
class Span:
    """A span as it was received; times in ns."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: dict[str, Value]
    events: dict[str, int]
    failed: bool

    @property
    def stage(self) -> str:
        return str(self.attributes["parley.stage"])


@dataclass
class Collector:
    """What a collector at `url` has received."""

    url: str
    spans: list[Span] = field(default_factory=list)

    def traces(self) -> dict[str, list[Span]]:
        """The spans of each trace, in the order in which they began."""
        found: dict[str, list[Span]] = {}
        for span in sorted(self.spans, key=lambda span: (span.start, span.parent_id)):
            found.setdefault(span.trace_id, []).append(span)
        return found


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """A collector that listens on a loopback port for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.spans += _read(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _read(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        [service] = [a.value for a in resource.resource.attributes if a.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(service.string_value, span)


def _span(service: str, span: Sent) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes={
            each.key: getattr(each.value, str(each.value.WhichOneof("value")))
            for each in span.attributes
        },
        events={event.name: event.time_unix_nano for event in span.events},
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )
