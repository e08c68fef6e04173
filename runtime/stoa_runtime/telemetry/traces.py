"""Spans for OpenTelemetry: one for each request, one below it for each call of a backend, sent by OTLP over HTTP.

A call's span is the one that its audit line names. Attributes are chosen here and nowhere else; arguments, answers,
subjects and addresses are none.
"""

import asyncio
import secrets
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from stoa_runtime.audit import Event
from stoa_runtime.telemetry.watching import BackendCall, Request
from stoa_runtime.tracing import Trace, trace

TRACES_PATH = "/v1/traces"
_LOW = (1 << 64) - 1


class Traces:
    """Makes spans of what it is told; a thread of the SDK sends them. `ValueError` where `collector` is no URL."""

    def __init__(self, collector: str, ratio: float) -> None:
        parts = urlsplit(collector)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise ValueError("traces go to a URL without credentials: http://HOST:4318")
        endpoint = collector if parts.path.strip("/") else collector.rstrip("/") + TRACES_PATH
        self._bound = round(ratio * (1 << 64))
        self._resource = Resource.create({"service.name": "stoa"})
        self._scope = InstrumentationScope("stoa_runtime")
        self._sending = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=5))

    async def close(self) -> None:
        """Sends what is left."""
        await asyncio.to_thread(self._sending.shutdown)

    def below(self, traceparent: str) -> tuple[str, str]:
        """A new span below the one that `traceparent` names, and the header that names the new one."""
        _, trace_id, _, flags = traceparent.split("-")
        span_id = secrets.token_hex(8)
        kept = self._keeps(trace_id, flags)
        return span_id, f"00-{trace_id}-{span_id}-{flags if kept else f'{int(flags, 16) & 0xFE:02x}'}"

    def began(self, request: Request) -> None:
        """A request has come: nothing is said of it until it has ended."""

    def decided(self, event: Event) -> None:
        """A decision is made: it is an attribute of its request."""

    def ended(self, request: Request) -> None:
        """A request is answered: its span."""
        if request.endpoint == "probe":
            return
        event = request.event
        span = _span_of(request, event)
        if not self._keeps(span.trace_id, span.flags):
            return
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "http.response.status_code": request.status,
            "stoa.endpoint": request.endpoint,
        }
        asked = request.asked
        if event is not None:
            attributes |= {"stoa.decision": event.decision, "stoa.rule": event.rule, "stoa.bundle": event.bundle}
            if event.tenant is not None:
                attributes["stoa.tenant"] = event.tenant
            if event.tool is not None:
                attributes["stoa.tool"] = event.tool
            if event.limit is not None:
                attributes["stoa.limit"] = event.limit
            if event.tool is not None or event.asked is not None:
                asked = asked or "tools/call"
        if asked:
            attributes["mcp.method.name"] = asked
        failed = request.status >= 500 or (event is not None and event.decision == "failed")
        name = asked or f"{request.method} {request.endpoint}"
        self._send(name, span, SpanKind.SERVER, request.began_ns, request.seconds, attributes, failed)

    def called(self, call: BackendCall) -> None:
        """A backend was called: its span, below the call's."""
        _, trace_id, parent, flags = call.traceparent.split("-")
        if not self._keeps(trace_id, flags):
            return
        attributes: dict[str, str | int] = {
            "http.request.method": call.method,
            "stoa.tenant": call.tenant,
            "stoa.contract": call.contract,
            "stoa.outcome": call.outcome,
        }
        if call.status is not None:
            attributes["http.response.status_code"] = call.status
        failed = not call.outcome.endswith("xx") or call.outcome == "5xx"
        span = Trace(trace_id, call.span_id, flags, parent)
        name = f"{call.tenant}:{call.contract}"
        self._send(name, span, SpanKind.CLIENT, call.began_ns, call.seconds, attributes, failed)

    def _keeps(self, trace_id: str, flags: str) -> bool:
        """Whether a trace is recorded: never against its caller's word, else by its id, so that all of it is."""
        return bool(int(flags, 16) & 1) and int(trace_id, 16) & _LOW < self._bound

    def _send(
        self,
        name: str,
        span: Trace,
        kind: SpanKind,
        began_ns: int,
        seconds: float,
        attributes: dict[str, str | int],
        failed: bool,
    ) -> None:
        self._sending.on_end(
            ReadableSpan(
                name,
                context=_context(span.trace_id, span.span_id, is_remote=False),
                parent=_context(span.trace_id, span.parent, is_remote=kind is SpanKind.SERVER) if span.parent else None,
                resource=self._resource,
                attributes=attributes,
                kind=kind,
                status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
                start_time=began_ns,
                end_time=began_ns + int(seconds * 1e9),
                instrumentation_scope=self._scope,
            )
        )


def _span_of(request: Request, event: Event | None) -> Trace:
    """The request's span: that of its call, where it made one, else one in the trace that its audit line names."""
    own = trace(request.traceparent, None)
    if event is None:
        return own
    if event.traceparent is not None:
        _, trace_id, span_id, flags = event.traceparent.split("-")
        return Trace(trace_id, span_id, flags, event.parent)
    return own if own.trace_id == event.trace_id else Trace(event.trace_id, own.span_id)


def _context(trace_id: str, span_id: str, *, is_remote: bool) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))
