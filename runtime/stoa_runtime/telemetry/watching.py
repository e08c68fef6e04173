"""What is seen of requests, decisions and backends, and who is told: nothing of it changes an answer."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa_runtime.addresses import AddressRule
from stoa_runtime.audit import Audit, Event
from stoa_runtime.backends import BackendFailed, Backends, Reply
from stoa_runtime.connections import Answered
from stoa_runtime.credentials import Credentials
from stoa_runtime.limits import Store
from stoa_runtime.requests import Outgoing
from stoa_runtime.serving import Serving
from stoa_runtime.telemetry.sockets import Sockets
from stoa_runtime.wire import Wire
from stoa_schemas import bundle

if TYPE_CHECKING:
    from stoa_runtime.telemetry.metrics import Metrics
    from stoa_runtime.telemetry.traces import Traces

Endpoint = Literal["mcp", "api", "probe", "other"]
METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
"""Methods of requests that are told apart; a client may send any."""
ASKED = frozenset(
    {
        "initialize",
        "notifications/cancelled",
        "notifications/initialized",
        "ping",
        "server/discover",
        "subscriptions/listen",
        "tools/call",
        "tools/list",
    }
)
"""Methods of MCP that are told apart."""


class Observed(Protocol):
    """The process, as far as its metrics look at it."""

    audit: Audit
    limits: Store
    reloads: int
    """Bundles that were taken after the first."""
    refusals: int
    """Bundles that were not."""

    @property
    def now(self) -> Serving | None:
        """What is served now."""

    @property
    def refused(self) -> str | None:
        """Why the folder's bundle is not the one that is served."""

    @property
    def streams(self) -> int:
        """Streams that are open."""

    def endpoint(self, path: str) -> Endpoint:
        """What answers at a path."""


@dataclass(slots=True)
class Request:
    """One request, and what became of it."""

    endpoint: Endpoint
    method: str
    asked: str
    """The MCP method by its header, where it is a known one; else empty."""
    traceparent: str | None
    began_ns: int
    status: int = 0
    """0: the client went before an answer began."""
    seconds: float = 0.0
    event: Event | None = None
    """The decision that it came to."""


@dataclass(slots=True)
class BackendCall:
    """One call of a backend, its retries within."""

    tenant: str
    contract: str
    method: str
    traceparent: str
    """The call's own span, which this one is below."""
    span_id: str
    began_ns: int
    seconds: float = 0.0
    status: int | None = None
    outcome: str = "interrupted"
    """`2xx` and the like, or the rule that failed it."""


class Watcher(Protocol):
    """Is told what has happened. It must be quick: it is told between a call and its answer."""

    def began(self, request: Request) -> None:
        """A request has come."""

    def ended(self, request: Request) -> None:
        """A request is answered."""

    def decided(self, event: Event) -> None:
        """A decision is made."""

    def called(self, call: BackendCall) -> None:
        """A backend was called."""


_Seen = tuple[float, Request]
"""When it came, by the clock that durations are taken from, and the request."""
_Answer = Answered | Coroutine[Any, Any, Answered]
_CURRENT: ContextVar[Request | None] = ContextVar("stoa_request", default=None)


@dataclass(slots=True)
class Telemetry:
    """Everything that watches one process."""

    watchers: Sequence[Watcher]
    metrics: "Metrics | None"
    traces: "Traces | None"
    sockets: Sockets | None
    worker: int | None

    def watched(self, app: ASGIApp, endpoint: Callable[[str], Endpoint]) -> ASGIApp:
        """The same application, each of its requests seen."""
        watchers = self.watchers

        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = time.perf_counter()
            request = _request(endpoint(scope["path"]), scope["method"], scope["headers"])
            for watcher in watchers:
                watcher.began(request)
            token = _CURRENT.set(request)

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    request.status = message["status"]
                await send(message)

            try:
                await app(scope, receive, sent)
            finally:
                _CURRENT.reset(token)
                request.seconds = time.perf_counter() - began
                for watcher in watchers:
                    watcher.ended(request)

        return watching

    def seen(self, headers: Iterable[tuple[bytes, bytes]]) -> _Seen:
        """A request to the MCP endpoint that may be answered without ASGI; nobody is told of it yet."""
        return time.perf_counter(), _request("mcp", "POST", headers)

    def answered(self, seen: _Seen, answer: _Answer) -> _Answer:
        """The answer to such a request, which is seen now."""
        for watcher in self.watchers:
            watcher.began(seen[1])
        if isinstance(answer, Coroutine):
            return self._answering(seen, answer)
        self._has_ended(seen, answer)
        return answer

    async def _answering(self, seen: _Seen, answer: Coroutine[Any, Any, Answered]) -> Answered:
        token = _CURRENT.set(seen[1])
        answered: Answered | None = None
        try:
            answered = await answer
            return answered
        finally:
            _CURRENT.reset(token)
            self._has_ended(seen, answered)

    def _has_ended(self, seen: _Seen, answered: Answered | None) -> None:
        began, request = seen
        if answered is not None:
            request.status = answered[0] if isinstance(answered, tuple) else answered.status_code
        request.seconds = time.perf_counter() - began
        for watcher in self.watchers:
            watcher.ended(request)

    def decided(self, event: Event) -> None:
        """What the audit log is told is told here too."""
        request = _CURRENT.get()
        if request is not None:
            request.event = event
        for watcher in self.watchers:
            watcher.decided(event)

    def called(self, call: BackendCall) -> None:
        """A backend was called."""
        for watcher in self.watchers:
            watcher.called(call)

    def backends(self, wire: Wire, addresses: AddressRule, credentials: Credentials) -> Backends:
        """Backends whose calls are seen."""
        return WatchedBackends(self, wire, addresses, credentials)

    @contextlib.asynccontextmanager
    async def served(self, process: Observed) -> AsyncIterator[None]:
        """Metrics can be read, and spans are sent, while the block runs."""
        async with contextlib.AsyncExitStack() as stack:
            if self.traces is not None:
                stack.push_async_callback(self.traces.close)
            if self.metrics is not None and self.sockets is not None:
                from stoa_runtime.telemetry import page  # A server of its own, which is not needed otherwise.

                self.metrics.look_at(process)
                await stack.enter_async_context(page.served(self.sockets, self.metrics.text, self.worker))
            yield


def _request(endpoint: Endpoint, method: str, headers: Iterable[tuple[bytes, bytes]]) -> Request:
    asked, traceparent = "", None
    for name, value in headers:
        if name == b"mcp-method":
            asked = value.decode("latin-1").strip()
        elif name == b"traceparent":
            traceparent = value.decode("latin-1").strip()
    return Request(
        endpoint,
        method if method in METHODS else "other",
        asked if asked in ASKED else "",
        traceparent,
        time.time_ns(),
    )


class WatchedBackends(Backends):
    """Backends whose calls are seen. What a backend gets as its parent is the span of its own call."""

    def __init__(self, telemetry: Telemetry, wire: Wire, addresses: AddressRule, credentials: Credentials) -> None:
        super().__init__(wire, addresses, credentials)
        self._telemetry = telemetry

    async def send(
        self, tenant: str, contract: bundle.ContractEntry, outgoing: Outgoing, answer: bundle.Answer, traceparent: str
    ) -> Reply:
        """The backend's answer; `BackendFailed` where there is none that may be used."""
        telemetry = self._telemetry
        span_id, passed_on = "", traceparent
        if telemetry.traces is not None:
            span_id, passed_on = telemetry.traces.below(traceparent)
        began = time.perf_counter()
        call = BackendCall(tenant, contract.name, outgoing.method, traceparent, span_id, time.time_ns())
        try:
            reply = await super().send(tenant, contract, outgoing, answer, passed_on)
            call.status, call.outcome = reply.status, f"{reply.status // 100}xx"
            return reply
        except BackendFailed as failed:
            call.status, call.outcome = failed.status, failed.rule
            raise
        finally:
            call.seconds = time.perf_counter() - began
            telemetry.called(call)
