"""HTTP connections with bounds: how long a request may take to come, how large its head may be, and of what form.

uvicorn waits for a head for ever, keeps as much of it as comes, takes trailer fields for headers, and overlooks a
target's own host and a coding below `chunked`. Each of them is refused or left out here, before anything is served.
"""

import asyncio
from typing import Any, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT = 65_536
"""Bytes of a request's target and fields, and of what stands between two pieces of its body."""
SECONDS = 20.0
"""How long a request may take to come, its body left out; a connection that begins none is closed then too."""

_REFUSALS = {
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}


class _Refused(Exception):
    """Stops the parser."""


class Connection(HttpToolsProtocol):
    """One connection."""

    seconds = SECONDS
    """How long a request may take to come."""

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
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The other side is there; it has to begin a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of one request or several."""
        self._quiet += len(data)
        super().data_received(data)
        if self._whole and self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()  # All of it is there, and is being answered.
        elif self._quiet > HEAD_LIMIT:
            self._end(431)
        elif self._deadline is None:
            self._wait()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._size = self._quiet = 0
        self._head_done = self._whole = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field. Trailers are none of the headers that the request was judged by (RFC 9110, 6.5.1)."""
        self._count(len(name) + len(value))
        if self._head_done:
            return
        if name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
            self._refuse(501)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: the target has to be a path, which leaves `Host` as the only name of the host."""
        self._head_done = True
        if not self.url.startswith(b"/"):
            self._refuse(400)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._quiet = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of the request is there."""
        self._quiet = 0
        self._whole = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser stops at, and ends the connection."""
        if self._status == 400:
            super().send_400_response(msg)
        else:
            self._end(self._status)

    def _count(self, size: int) -> None:
        self._quiet = 0
        self._size += size
        if self._size > HEAD_LIMIT:
            self._refuse(431)

    def _refuse(self, status: int) -> NoReturn:
        self._status = status
        raise _Refused

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(self.seconds, self._late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
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


def bounded(body_seconds: float) -> type[Connection]:
    """Connections on which a body may take so long, besides the time that its head may take."""
    return type("Connection", (Connection,), {"seconds": SECONDS + body_seconds})
