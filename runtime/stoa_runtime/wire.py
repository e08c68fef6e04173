"""HTTP/1.1 to backends over kept connections: one request at a time on each, every answer bounded in time and bytes.

It does what calls of tools need and no more: no redirects, no cookies, no proxies, no upgrade, no answer that is read
piece by piece. The parser is llhttp's, strict; whatever it stops at ends the connection and the call. An address is
checked when its name is resolved and again once it is connected, so that no name and no route leads elsewhere.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
import zlib
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NoReturn, Protocol, Self

import aiohappyeyeballs
import httptools
from aiohttp.abc import ResolveResult
from yarl import URL

from stoa_runtime.addresses import AddressRefused, AddressRule, FilteringResolver

HEAD_LIMIT = 65_536
"""Bytes of an answer's fields, trailers too, and of what stands between two pieces of its body."""
PER_SITE = 64
"""Connections to one host and port; further calls wait for one."""
IDLE_SECONDS = 15.0
"""How long a connection is kept that nobody uses."""
NAMES_SECONDS = 30.0
"""How long a name's addresses are used without asking again."""
REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})
_NO_BODY = frozenset({204, 304})
_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose request says that it has no body (RFC 9110, 8.6)."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent again (RFC 9110, 9.2.2)."""
_CODINGS = {b"gzip": 31, b"deflate": 15}
"""Content codings that are asked for, and zlib's names of them."""
_LINE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e]*")
_TARGET = re.compile(r"/[!-~]*")
_METHOD = re.compile(r"[A-Z]+")
_SOON = 0.001
"""The loop's timers are that exact."""


Why = Literal["redirect", "encoding", "size"]
"""What an answer was declined for."""


class Unsendable(ValueError):
    """A request that would not be one request of HTTP; the message names the part."""


class Unreachable(Exception):
    """No connection: nothing was sent."""


class Broken(Exception):
    """The connection ended, or what came is no answer. The request may have taken effect."""


class _Stale(Broken):
    """A kept connection was at its end before any answer: the other side had closed it, most likely."""


class Declined(Exception):
    """An answer that is not taken, by its head or by its size."""

    def __init__(self, why: Why, status: int) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


@dataclass(frozen=True, slots=True)
class Times:
    """How long things may take, in seconds."""

    connect: float
    """Until a connection stands, its name resolved and its TLS agreed on."""
    read: float
    """Between two pieces of an answer."""
    total: float
    """From the wish for a connection to the end of the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read whole."""

    status: int
    content_type: str
    """The first of its kind; empty without one."""
    retry_after: str | None
    body: bytes
    """Decompressed."""


class Resolver(Protocol):
    """Names to addresses that may be connected to."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = ...) -> list[ResolveResult]:
        """The addresses; `AddressRefused` where there are only others."""


class _Stop(Exception):
    """Stops the parser."""


class _Connection(asyncio.Protocol):
    """One connection, and the answer that is under way on it."""

    def __init__(self, site: "Site", loop: asyncio.AbstractEventLoop) -> None:
        self.site = site
        self.idle_since = 0.0
        self.is_open = False
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        # What plain servers send, though RFC 9112 has it otherwise; neither moves where an answer ends.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._used = False
        self._quiet = 0
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of the next answer."""
        self._size = 0
        """Bytes of its fields."""
        self._status = 0
        """0 until its head is there."""
        self._length: int | None = None
        self._chunked = False
        self._content_type: bytes | None = None
        self._retry_after: bytes | None = None
        self._codings: list[bytes] | None = None
        self._unpacking: Any = None
        self._body: list[bytes] = []
        self._received = 0
        self._unpacked = 0
        self._keeps = False
        self._complete = False
        self._failure: Exception | None = None

    def send(self, request: bytes, is_head: bool, limit: int, read: float, ends: float) -> "asyncio.Future[Answer]":
        """Sends a request; the future has the answer, or the reason why there is none."""
        assert self._transport is not None
        loop = self._loop
        self._forget()
        self._is_head = is_head
        self._limit = limit
        self._read_seconds = read
        self._ends = ends
        self._heard = now = loop.time()
        self._has_heard = False
        self._quiet = 0
        future: asyncio.Future[Answer] = loop.create_future()
        self._answered = future
        self._timer = loop.call_at(min(now + read, ends), self._look)
        self._transport.write(request)
        return future

    def close(self) -> None:
        """Ends the connection at once, and whatever is under way on it."""
        if self._transport is not None:
            self._transport.abort()

    # Of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = transport  # type: ignore[assignment]
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer; of none, where none is awaited, and then they are nobody's."""
        if self._answered is None:
            self.close()
            return
        self._heard = self._loop.time()
        self._has_heard = True
        self._quiet += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(self._failure or Broken())
            return
        if self._complete:
            self._succeed()
        elif self._quiet > HEAD_LIMIT:
            self._fail(Broken())

    def connection_lost(self, exc: Exception | None) -> None:
        """It is at its end. An answer that names no length has ended with it."""
        self.is_open = False
        self.site.lost(self)
        if self._answered is None:
            return
        has_open_end = self._length is None and not self._chunked
        if exc is None and self._status and has_open_end and self._failure is None:
            self._succeed()
        else:
            self._fail(Broken() if self._has_heard or not self._used else _Stale())

    # Of the parser.

    def on_message_begin(self) -> None:
        """An answer begins: the first one, or the one after one that only informs."""
        if self._complete:
            self._stop(Broken())
        self._size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field; those of trailers say nothing."""
        self._quiet = 0
        self._size += len(name) + len(value)
        if self._size > HEAD_LIMIT:
            self._stop(Broken())
        if self._status:
            return
        name = name.lower()
        if name == b"content-type":
            if self._content_type is None:
                self._content_type = value
        elif name == b"content-length":
            if self._length is not None or not value.isdigit() or len(value) > 18:
                self._stop(Broken())
            self._length = int(value)
        elif name == b"transfer-encoding":
            if self._chunked or value.strip().lower() != b"chunked":
                self._stop(Broken())
            self._chunked = True
        elif name == b"content-encoding":
            self._codings = [*(self._codings or ()), value.strip().lower()]
        elif name == b"retry-after" and self._retry_after is None:
            self._retry_after = value

    def on_headers_complete(self) -> None:
        """The head is there: what can be told from it is decided now."""
        self._quiet = 0
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101 or self._length or self._chunked:
                self._stop(Broken())
            self._length = self._content_type = self._retry_after = self._codings = None
            return  # It informs. The answer comes after it.
        self._status = status
        self._keeps = self._parser.should_keep_alive()
        if self._length is not None and self._chunked:
            self._stop(Broken())
        if status in REDIRECTS:
            self._stop(Declined("redirect", status))
        if self._codings is not None:
            coding = self._codings[0] if len(self._codings) == 1 else b","
            if coding in _CODINGS:
                self._unpacking = zlib.decompressobj(_CODINGS[coding])
            elif coding not in (b"", b"identity"):
                self._stop(Declined("encoding", status))
        if self._is_head:  # The parser cannot be told that no body follows.
            self._complete, self._keeps = True, False
        elif status in _NO_BODY:
            self._length = 0
        elif self._length is not None and self._length > self._limit:
            self._stop(Declined("size", status))

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._quiet = 0
        if self._is_head:
            self._stop(Broken())
        self._received += len(data)
        if self._unpacking is not None:
            self._unpack(data)
        elif self._received > self._limit:
            self._stop(Declined("size", self._status))
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """All of an answer is there."""
        if self._status:
            self._complete = True

    def _unpack(self, data: bytes) -> None:
        """Decompresses a piece, never more of it than may be there."""
        if self._received > 2 * self._limit + HEAD_LIMIT:  # No coding makes that of what may be there.
            self._stop(Declined("size", self._status))
        try:
            while data:
                if self._unpacking.eof:
                    # Members follow each other (RFC 1952, 2.2); a stream of deflate has one.
                    if self._codings != [b"gzip"]:
                        self._stop(Broken())
                    self._unpacking = zlib.decompressobj(31)
                elif self._received == len(data) and self._codings == [b"deflate"] and data[0] & 0x0F != 8:
                    self._unpacking = zlib.decompressobj(-15)  # Without zlib's frame, as some servers send it.
                piece = self._unpacking.decompress(data, self._limit - self._unpacked + 1)
                self._unpacked += len(piece)
                if self._unpacked > self._limit or self._unpacking.unconsumed_tail:
                    self._stop(Declined("size", self._status))
                self._body.append(piece)
                data = self._unpacking.unused_data
        except zlib.error:
            self._stop(Broken())

    def _stop(self, failure: Exception) -> NoReturn:
        self._failure = failure
        raise _Stop

    # The end of an answer.

    def _look(self) -> None:
        """Ends what takes too long; else looks again when that could be so."""
        now = self._loop.time()
        due = min(self._heard + self._read_seconds, self._ends)
        if now + _SOON < due:
            self._timer = self._loop.call_at(due, self._look)
        elif now + _SOON < self._ends and self._transport is not None and self._transport.get_write_buffer_size():
            self._heard = now  # The request is still on its way; only the whole has an end then.
            self._timer = self._loop.call_at(min(now + self._read_seconds, self._ends), self._look)
        else:
            self._fail(TimeoutError())

    def _succeed(self) -> None:
        if self._unpacking is not None and self._received and not self._unpacking.eof:
            self._fail(Broken())
            return
        answered = self._ended()
        transport = self._transport
        assert transport is not None
        keeps = self._keeps and self.is_open and not transport.is_closing()
        if keeps and not transport.get_write_buffer_size():
            self._used = True
            self.site.kept(self)
        else:
            transport.abort()
        if not answered.done():
            body = self._body
            answered.set_result(
                Answer(
                    self._status,
                    self._content_type.decode("latin-1") if self._content_type is not None else "",
                    self._retry_after.decode("latin-1") if self._retry_after is not None else None,
                    body[0] if len(body) == 1 else b"".join(body),
                )
            )

    def _fail(self, failure: Exception) -> None:
        answered = self._ended()
        self.close()
        if not answered.done():
            answered.set_exception(failure)

    def _ended(self) -> "asyncio.Future[Answer]":
        answered = self._answered
        assert answered is not None
        self._answered = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return answered


class Site:
    """One host and port, and the connections to it."""

    def __init__(self, wire: "Wire", url: URL) -> None:
        host = url.raw_host
        if url.scheme not in ("http", "https") or not host or not host.isascii() or url.port is None or url.user:
            raise Unsendable("the address is none of HTTP")
        self._wire = wire
        self._host = host
        self._port = url.port
        self._tls = url.scheme == "https"
        self.authority = url.host_port_subcomponent or ""
        """The `Host` field."""
        self._idle: deque[_Connection] = deque()
        """Those that nobody uses, the latest used last."""
        self._all: set[_Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self._addresses_until = 0.0

    async def ask(self, method: str, request: bytes, limit: int, times: Times) -> Answer:
        """The answer to a request, written by `written`, within the limits.

        Raises `Unreachable`, `AddressRefused`, `Broken`, `Declined`, or TimeoutError.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + times.total
        connection = self._take() or await self._connected(loop, times.connect, ends)
        answered = connection.send(request, method == "HEAD", limit, times.read, ends)
        try:
            return await answered
        except asyncio.CancelledError:
            connection.close()
            raise
        except _Stale:
            if method not in IDEMPOTENT:
                raise
        # The others have been idle for longer, so they are at their end too.
        self.drop(loop.time())
        connection = await self._connected(loop, times.connect, ends)
        answered = connection.send(request, method == "HEAD", limit, times.read, ends)
        try:
            return await answered
        except asyncio.CancelledError:
            connection.close()
            raise

    def kept(self, connection: _Connection) -> None:
        """The connection is free for the next request."""
        if self._wire.closed:
            connection.close()
            return
        connection.idle_since = self._wire.used()
        self._idle.append(connection)
        self._wake()

    def lost(self, connection: _Connection) -> None:
        """The connection has ended."""
        if connection in self._all:
            self._all.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._wake()

    def drop(self, before: float) -> bool:
        """Ends the connections that nobody has used since; whether others are idle."""
        while self._idle and self._idle[0].idle_since <= before:
            self._idle.popleft().close()
        return bool(self._idle)

    def close(self) -> None:
        """Ends all connections."""
        for connection in list(self._all):
            connection.close()

    def _take(self) -> _Connection | None:
        """The connection that was used last: it is the likeliest to stand still."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _connected(self, loop: asyncio.AbstractEventLoop, seconds: float, ends: float) -> _Connection:
        """A connection, once there may be another one."""
        async with asyncio.timeout_at(ends):
            while len(self._all) + self._opening >= PER_SITE:
                waiter = loop.create_future()
                self._waiting.append(waiter)
                try:
                    await waiter
                except asyncio.CancelledError:
                    if not waiter.cancelled():
                        self._wake()  # It was this one's turn; now it is the next one's.
                    elif waiter in self._waiting:
                        self._waiting.remove(waiter)
                    raise
                if found := self._take():
                    return found
            self._opening += 1
            connection: _Connection | None = None
            try:
                async with asyncio.timeout(seconds):
                    opened = await self._opened(loop)
                if not opened.is_open or self._wire.closed:
                    opened.close()
                    raise Unreachable
                connection = opened
                self._all.add(connection)
                return connection
            finally:
                self._opening -= 1
                if connection is None:
                    self._wake()

    def _wake(self) -> None:
        """Tells the one who has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _opened(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        made: socket.socket | None = None
        try:
            made = await aiohappyeyeballs.start_connection(
                await self._found(loop), happy_eyeballs_delay=0.25, interleave=1, loop=loop
            )
            self._wire.check(made.getpeername()[0])
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls: dict[str, Any] = {"ssl": self._wire.tls, "server_hostname": self._host} if self._tls else {}
            _, connection = await loop.create_connection(lambda: _Connection(self, loop), sock=made, **tls)
        except BaseException as error:
            if made is not None:
                made.close()
            self._addresses = []
            if isinstance(error, AddressRefused | TimeoutError) or not isinstance(error, OSError):
                raise
            raise Unreachable from error
        return connection

    async def _found(self, loop: asyncio.AbstractEventLoop) -> "list[aiohappyeyeballs.AddrInfoType]":
        """The addresses that may be connected to."""
        if not self._addresses or loop.time() >= self._addresses_until:
            self._addresses = await self._wire.resolved(self._host, self._port)
            self._addresses_until = loop.time() + self._wire.names_seconds
        return self._addresses


class Wire:
    """The sites that one snapshot's backends are at."""

    def __init__(
        self, rule: AddressRule, resolver: Resolver | None = None, *, names_seconds: float = NAMES_SECONDS
    ) -> None:
        self._rule = rule
        self._resolver = resolver or FilteringResolver(rule)
        self.names_seconds = names_seconds
        self._sites: dict[tuple[str, str, int | None], Site] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    async def __aenter__(self) -> Self:
        """The wire itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        await self.close()

    def site(self, url: URL) -> Site:
        """The site of an address; `Unsendable` where it is none of HTTP."""
        key = (url.scheme, url.raw_host or "", url.port)
        found = self._sites.get(key)
        if found is None:
            found = self._sites[key] = Site(self, url)
        return found

    @property
    def tls(self) -> ssl.SSLContext:
        """How certificates are checked: by the system's authorities, and by name."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def check(self, address: str) -> None:
        """`AddressRefused` where nothing may be at the address."""
        self._rule.check_host(address)

    async def resolved(self, host: str, port: int) -> "list[aiohappyeyeballs.AddrInfoType]":
        """The addresses of `host` that may be connected to; `AddressRefused` where there are only others."""
        self._rule.check_host(host)
        try:
            known = ipaddress.ip_address(host)
        except ValueError:
            found = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
            return [_address(entry["host"], entry["port"], entry["family"] == socket.AF_INET6) for entry in found]
        return [_address(host, port, known.version == 6)]

    def used(self) -> float:
        """The time, for a connection that is idle from now on."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        now = loop.time()
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE_SECONDS / 3, self._sweep)
        return now

    def _sweep(self) -> None:
        """Ends connections that were not used for long."""
        assert self._loop is not None
        self._sweeping = None
        before = self._loop.time() - IDLE_SECONDS
        idle = [site for site in self._sites.values() if site.drop(before)]
        if idle and not self.closed:
            self._sweeping = self._loop.call_later(IDLE_SECONDS / 3, self._sweep)

    async def close(self) -> None:
        """Ends all connections."""
        self.closed = True
        for site in self._sites.values():
            site.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None


def _address(host: str, port: int, is_six: bool) -> "aiohappyeyeballs.AddrInfoType":
    if is_six:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


def written(method: str, target: str, fields: bytes, more: str, body: bytes | None) -> bytes:
    """A request as it is sent. `fields` are lines that `lines` made, `more` are further ones that nothing has checked.

    `Unsendable` where a part would end the request line or a field, and begin something of its own.
    """
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise Unsendable("the method or the target")
    head = b"%b %b HTTP/1.1\r\n%b%b" % (method.encode(), target.encode(), fields, more.encode("ascii"))
    if body is not None:
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
    return head + (b"Content-Length: 0\r\n\r\n" if method in _WITH_LENGTH else b"\r\n")


def line(name: str, value: str) -> str:
    """A field as a line; `Unsendable` where it would be more than one."""
    made = f"{name}: {value}"
    if not _LINE.fullmatch(made):
        raise Unsendable(f"the field {name!r}")
    return made + "\r\n"
