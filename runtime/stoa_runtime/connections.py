"""HTTP connections with bounds: how long a request may take to come, how large its head may be, and of what form.

uvicorn waits for a head for ever, keeps as much of it as comes, takes trailer fields for headers, and overlooks a
target's own host and a coding below `chunked`. Each of them is refused or left out here, before anything is served.

A small request that is there at once is offered to `Direct`, which answers the hot ones without the messages of ASGI;
everything else, and what it leaves, is answered by the application as uvicorn has it.
"""

import asyncio
import functools
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn, Protocol

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_LIMIT = 65_536
"""Bytes of a request's target and fields, and of what stands between two pieces of its body."""
SECONDS = 20.0
"""How long a request may take to come, its body left out; a connection that begins none is closed then too."""
DIRECT_LIMIT = 65_536
"""Bytes of a body that is offered to `Direct`."""
_ONE_WRITE = 16_384
"""Bytes that are copied to be written together; more of them are handed on as they are."""

_REFUSALS = {
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
}

Answered = tuple[int, bytes] | Response
"""Status and JSON of an answer that no cache keeps, or a whole answer."""


class Direct(Protocol):
    """Answers whole requests without ASGI, where it can."""

    @property
    def path(self) -> bytes:
        """The target whose POST requests are offered; empty where there is none."""

    def answer(
        self, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Answered | Coroutine[Any, Any, Answered] | None:
        """The answer, or what gives it. None leaves the request, of which nothing has been done then, to ASGI."""


class _Refused(Exception):
    """Stops the parser."""


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Tells nobody."""


_UNHEARD = _Unheard()


class _Exchange:
    """A request that is answered without ASGI. uvicorn takes it for one of its own cycles."""

    __slots__ = ("body", "disconnected", "keep_alive", "more_body", "response_complete")
    message_event = _UNHEARD

    def __init__(self) -> None:
        self.response_complete = self.disconnected = self.more_body = False
        self.keep_alive = True
        self.body = bytearray()


class _Heads:
    """The first lines of answers, made once for each status and second."""

    def __init__(self) -> None:
        self._of: list[tuple[bytes, bytes]] | None = None
        self._made: dict[int, bytes] = {}

    def head(self, status: int, size: int, fields: list[tuple[bytes, bytes]], *, keeps: bool) -> bytes:
        """The head of an answer with JSON of this size. `fields` stand in every answer; uvicorn renews the list."""
        if fields is not self._of:
            self._of = fields
            self._made.clear()
        made = self._made.get(status)
        if made is None:
            common = b"".join(b"%b: %b\r\n" % field for field in fields)
            made = self._made[status] = (
                STATUS_LINE[status] + common + b"content-type: application/json\r\ncontent-length: "
            )
        rest = b"" if keeps else b"connection: close\r\n"
        return b"%b%d\r\ncache-control: private, no-store\r\n%b\r\n" % (made, size, rest)


class Connection(HttpToolsProtocol):
    """One connection."""

    seconds = SECONDS
    """How long a request may take to come."""
    direct: Direct | None = None
    """Who is offered the requests."""
    heads = _Heads()

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._size = 0
        """Bytes of the target and the fields so far."""
        self._quiet = 0
        """Bytes that came since the parser last told of anything: one field without an end, or the like."""
        self._head_done = True
        self._whole = True
        """Whether all of the last request is there."""
        self._status = 400
        """How a request is answered that the parser stops at."""
        self._has_length = False
        self._offered = False
        """Whether the request is one to be offered, once all of it is there."""
        self._body: list[bytes] = []
        self._since: float | None = None
        """When the wait for a request, or for the rest of one, began."""
        self._kept_since: float | None = None
        """When the last request that was offered was answered, and none has come after it."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The other side is there; it has to begin a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has gone."""
        self._since = self._kept_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of one request or several."""
        self._kept_since = None
        self._quiet += len(data)
        super().data_received(data)
        if self._offered and not self.transport.is_closing():
            self._leave()  # It does not come at once.
        if self._whole and self.cycle is not None and not self.cycle.response_complete:
            self._since = None  # All of it is there, and is being answered.
        elif self._quiet > HEAD_LIMIT:
            self._end(431)
        elif self._since is None and self._kept_since is None:
            self._wait()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._size = self._quiet = 0
        self._head_done = self._whole = self._has_length = False
        self._kept_since = None
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field. Trailers are none of the headers that the request was judged by (RFC 9110, 6.5.1)."""
        self._quiet = 0
        self._size += len(name) + len(value)
        if self._size > HEAD_LIMIT:
            self._refuse(431)
        if self._head_done:
            return
        name = name.lower()
        if name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                self._refuse(501)
        elif name == b"content-length":
            self._has_length = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: the target has to be a path, which leaves `Host` as the only name of the host."""
        self._head_done = True
        if not self.url.startswith(b"/"):
            self._refuse(400)
        if self.direct is not None and self.url == self.direct.path and self._is_plain():
            self._offered = True
            self._body = []
        else:
            self._begin()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._quiet = 0
        if self._offered:
            self._body.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is there."""
        self._quiet = 0
        self._whole = True
        if not self._offered:
            super().on_message_complete()
            return
        assert self.direct is not None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        try:
            answer = self.direct.answer(self.headers, body) if len(body) <= DIRECT_LIMIT else None
        except Exception:
            # The parser would say of it that the request is none, and nothing more.
            self.logger.exception("Exception before the ASGI application")
            self._offered = False
            self._refuse(500)
        if answer is None:
            self._leave()
            super().on_message_complete()
            return
        self._offered = False
        self._body = []
        if isinstance(answer, tuple | Response):
            self._write(answer, keeps=True)
            self._answered()
        else:
            exchange = _Exchange()
            self.cycle = exchange  # type: ignore[assignment]
            task = self.loop.create_task(self._awaited(exchange, answer))
            self.tasks.add(task)
            task.add_done_callback(functools.partial(self._ended, exchange))

    def _is_plain(self) -> bool:
        """Whether the request may be offered: a POST that nothing waits for, whose body has a length."""
        parser = self.parser
        return (
            self._has_length
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        )

    def _begin(self) -> None:
        """Has the application answer, as uvicorn does."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _leave(self) -> None:
        """Leaves the request that was to be offered to the application."""
        self._offered = False
        self._begin()
        pieces, self._body = self._body, []
        for piece in pieces:
            super().on_body(piece)

    async def _awaited(self, exchange: _Exchange, answer: Coroutine[Any, Any, Answered]) -> None:
        answered = await answer
        exchange.response_complete = True
        if not exchange.disconnected:
            self._write(answered, keeps=exchange.keep_alive)
            self._answered()

    def _ended(self, exchange: _Exchange, task: "asyncio.Task[None]") -> None:
        """Whatever failed is answered as uvicorn answers it."""
        self.tasks.discard(task)
        if task.cancelled() or task.exception() is not None:
            error = None if task.cancelled() else task.exception()
            self.logger.error("Exception in ASGI application\n", exc_info=error)
            if not exchange.response_complete and not exchange.disconnected:
                exchange.response_complete = True
                self._write(Response("Internal Server Error", status_code=500, media_type="text/plain"), keeps=False)
            self.transport.close()

    def _write(self, answered: Answered, *, keeps: bool) -> None:
        if self.transport.is_closing():
            return
        fields = self.server_state.default_headers
        if isinstance(answered, Response):
            status, body = answered.status_code, bytes(answered.body)
            lines = b"".join(b"%b: %b\r\n" % field for field in (*fields, *answered.raw_headers))
            head = b"%b%b%b\r\n" % (STATUS_LINE[status], lines, b"" if keeps else b"connection: close\r\n")
        else:
            status, body = answered
            head = self.heads.head(status, len(body), fields, keeps=keeps)
        if len(body) <= _ONE_WRITE:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        if not keeps:
            self.transport.close()

    def _answered(self) -> None:
        """The connection is free for the next request, which may have come already."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._since = None
        self._kept_since = now = self.loop.time()
        self._look_at(now + self.timeout_keep_alive)

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser stops at, and ends the connection."""
        if self._status != 400:
            self._end(self._status)
        elif self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
        elif self._whole or not self._head_done:
            # What came after a request that is being answered: a 400 would be taken for that one's answer.
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif self.pipeline:
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _count(self, size: int) -> None:
        self._quiet = 0
        self._size += size
        if self._size > HEAD_LIMIT:
            self._refuse(431)

    def _refuse(self, status: int) -> NoReturn:
        self._status = status
        raise _Refused

    # One timer for each connection looks now and then whether something is late: setting one for each request costs
    # more than all that is counted here.

    def _wait(self) -> None:
        self._since = now = self.loop.time()
        self._look_at(now + self.seconds)

    def _look_at(self, due: float) -> None:
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.loop.time() + 0.001  # As exact as the loop's timers are.
        if self._since is not None:
            if now >= self._since + self.seconds:
                self._late()
            else:
                self._look_at(self._since + self.seconds)
        if self._kept_since is not None:
            if now >= self._kept_since + self.timeout_keep_alive:
                self.transport.close()
            else:
                self._look_at(self._kept_since + self.timeout_keep_alive)

    def _late(self) -> None:
        self._since = None
        if self._whole or self._head_done:
            self.transport.close()  # Nothing was asked, or it is answered already, or somebody waits for the body.
        else:
            self._end(408)

    def _end(self, status: int) -> None:
        """Ends the connection, with an answer where that cannot be taken for another request's."""
        if self.cycle is None or self.cycle.response_complete:
            reason = _REFUSALS[status]
            head = b"HTTP/1.1 %d %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, reason)
            self.transport.write(head)
        self.transport.close()


def bounded(body_seconds: float, direct: Direct | None = None) -> type[Connection]:
    """Connections on which a body may take so long, besides the time that its head may take."""
    return type("Connection", (Connection,), {"seconds": SECONDS + body_seconds, "direct": direct, "heads": _Heads()})
