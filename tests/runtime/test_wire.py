"""Answers of all forms, kept connections and their end, and requests that would be two: over real sockets."""

import asyncio
import datetime
import gzip
import ssl
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from stoa_runtime import wire
from stoa_runtime.addresses import AddressRefused, AddressRule
from stoa_runtime.wire import Answer, Broken, Declined, Times, Unreachable, Unsendable, Wire, line, written

TIMES = Times(connect=1.0, read=0.5, total=2.0)
LIMIT = 10_000
RULE = AddressRule(["127.0.0.0/8"])
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Story = Callable[[Wire, URL], Awaitable[None]]


def told(serve: Serve, story: Story, *, tls: ssl.SSLContext | None = None, rule: AddressRule = RULE) -> None:
    """Runs the story against a server."""

    async def run() -> None:
        async def safe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # The client has had enough.
            finally:
                writer.close()

        server = await asyncio.start_server(safe, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        url = URL(f"{'https' if tls else 'http'}://localhost:{port}")
        async with Wire(rule) as made:
            await asyncio.wait_for(story(made, url), 20)
        server.close()

    asyncio.run(run())


async def ask(made: Wire, url: URL, method: str = "GET", times: Times = TIMES) -> Answer:
    site = made.site(url)
    request = written(method, "/it", line("Host", site.authority).encode(), "", None)
    return await site.ask(method, request, LIMIT, times)


def answered(*pieces: bytes, method: str = "GET", ends: bool = True) -> Answer:
    """The answer that a server gives by these bytes; it ends the connection then, or leaves it open."""
    found: list[Answer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if not ends:
            await reader.read()

    async def story(made: Wire, url: URL) -> None:
        found.append(await ask(made, url, method))

    told(serve, story)
    return found[0]


def sized(body: bytes, *fields: bytes) -> bytes:
    return OK + b"".join(field + b"\r\n" for field in fields) + b"Content-Length: %d\r\n\r\n" % len(body) + body


BODY = b'{"a": "' + b"x" * 3000 + b'"}'
RAW = zlib.compressobj(9, zlib.DEFLATED, -15)
RAW_DEFLATE = RAW.compress(BODY) + RAW.flush()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [sized(BODY)],
        [sized(BODY)[:30], sized(BODY)[30:400], sized(BODY)[400:]],
        [OK + b"\r\n" + BODY],
        [
            OK + CHUNKED + b"5\r\n" + BODY[:5] + b"\r\n",
            b"%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\nX-T: 1\r\n\r\n",
        ],
        [OK + CHUNKED + b"%x;ext=1\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"],
        [sized(gzip.compress(BODY), b"Content-Encoding: gzip")],
        [sized(gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), b"Content-Encoding: GZIP")],
        [sized(zlib.compress(BODY), b"Content-Encoding: deflate")],
        [sized(RAW_DEFLATE, b"Content-Encoding: deflate")],
        [sized(BODY, b"Content-Encoding: identity")],
        [b"HTTP/1.0 200 OK\r\n\r\n" + BODY],
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Type: text/x\r\n\r\n" + sized(BODY)],
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_forms_of_answers(pieces: list[bytes], whole: bool) -> None:
    if not whole:  # Every byte alone, where there are not too many.
        joined = b"".join(pieces)
        pieces = [joined[:150], *(joined[at : at + 400] for at in range(150, len(joined), 400))]
    found = answered(*pieces)
    assert (found.status, found.body) == (200, BODY)
    assert found.content_type in ("application/json", "")


def test_answers_without_a_body() -> None:
    for head, method, status in [
        (b"HTTP/1.1 204 No Content\r\n\r\n", "DELETE", 204),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", "GET", 304),
        (OK + b"Content-Length: 999999\r\n\r\n", "HEAD", 200),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", "GET", 200),
    ]:
        found = answered(head, method=method, ends=False)
        assert (found.status, found.body) == (status, b"")


@pytest.mark.parametrize(
    "pieces",
    [
        [sized(gzip.compress(BODY)[:-6], b"Content-Encoding: gzip")],
        [sized(gzip.compress(BODY) + b"rest", b"Content-Encoding: gzip")],
        [sized(zlib.compress(BODY) + b"rest", b"Content-Encoding: deflate")],
        [sized(b"x", b"Transfer-Encoding: gzip")],
        [OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
        [OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
        [b"HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\nHTTP/" + sized(BODY)],
        [sized(b"one") + sized(b"two")],
        [OK + b"X: " + b"a" * 30_000, b"a" * 30_000, b"a" * 30_000],
        [OK + CHUNKED + b"1;" + b"e" * 40_000, b"e" * 40_000],
        [OK + CHUNKED + b"1\r\nx\r\n0\r\n" + b"T: " + b"t" * 40_000 + b"\r\n", b"U: " + b"u" * 40_000 + b"\r\n"],
        [OK.replace(b"\r\n", b"\r\nA: x\r\n  folded\r\n", 1) + b"Content-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nA\x00: x\r\nContent-Length: 0\r\n\r\n"],
        [b"ICE/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"],
    ],
)
def test_what_is_no_answer(pieces: list[bytes]) -> None:
    with pytest.raises(Broken):
        answered(*pieces)


def test_too_much_is_declined_while_it_comes() -> None:
    for big in (sized(b"x" * 10_001), OK + CHUNKED + b"2711\r\n" + b"x" * 10_001, OK + b"\r\n" + b"x" * 10_001):
        with pytest.raises(Declined) as declined:
            answered(big, ends=False)
        assert (declined.value.why, declined.value.status) == ("size", 200)
    members = b"".join([gzip.compress(b"")] * 20_000)  # Nothing, without an end.
    with pytest.raises(Declined):
        answered(OK + b"Content-Encoding: gzip\r\n\r\n" + members, ends=False)
    assert answered(sized(b"x" * 10_000)).body == b"x" * 10_000


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    """An answer sent ahead, for the next request, is not taken for its answer."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sized(b"own"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(sized(b"smuggled"))
        await writer.drain()
        await reader.read()

    async def story(made: Wire, url: URL) -> None:
        for _ in range(2):
            assert (await ask(made, url, "POST")).body == b"own"
            await asyncio.sleep(0.15)

    told(serve, story)
    assert connections == 2


async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers on a kept connection, each after a moment."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)
        writer.write(sized(b"ok"))
        await writer.drain()


def test_so_many_connections_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PER_SITE", 4)
    now = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            await counting(reader, writer)
        finally:
            now -= 1

    async def story(made: Wire, url: URL) -> None:
        found = await asyncio.gather(*(ask(made, url) for _ in range(40)))
        assert [a.body for a in found] == [b"ok"] * 40
        assert most == 4
        # Those who give up make room, those who wait for a connection and those who have one.
        waiting = [asyncio.create_task(ask(made, url)) for _ in range(12)]
        await asyncio.sleep(0.01)
        for task in waiting[::2]:
            task.cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(d, Answer) for d in done] == [False, True] * 6
        assert (await ask(made, url)).body == b"ok"
        short = Times(1.0, 1.0, 0.001)
        late = await asyncio.gather(*(ask(made, url, times=short) for _ in range(8)), return_exceptions=True)
        assert [type(e) for e in late] == [TimeoutError] * 8
        found = await asyncio.gather(*(ask(made, url) for _ in range(8)))
        assert len(found) == 8

    told(serve, story)


def test_idle_connections_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "IDLE_SECONDS", 0.15)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await counting(reader, writer)
        finally:
            ended.set()

    async def story(made: Wire, url: URL) -> None:
        await ask(made, url)
        await asyncio.wait_for(ended.wait(), 3)

    told(serve, story)


def test_a_server_that_began_anew_is_called_again_where_that_is_the_same() -> None:
    """All kept connections are at their end, and the server says so only when they are used."""
    fresh = True

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)
        writer.write(sized(b"ok"))
        await writer.drain()
        if fresh:
            await reader.readuntil(b"\r\n\r\n")
        else:
            await reader.read()

    async def story(made: Wire, url: URL) -> None:
        nonlocal fresh
        await asyncio.gather(*(ask(made, url) for _ in range(5)))
        with pytest.raises(Broken):
            await ask(made, url, "POST")
        fresh = False
        assert (await ask(made, url)).body == b"ok"

    told(serve, story)


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context for a name, and the certificate that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context, pem


def test_certificates_are_checked_by_authority_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, pem = certificate(tmp_path, "localhost")
    other, other_pem = certificate(tmp_path, "other.example")
    seen: list[str] = []

    async def story(made: Wire, url: URL) -> None:
        try:
            seen.append((await ask(made, url)).body.decode())
        except Unreachable:
            seen.append("unreachable")

    told(counting, story, tls=own)  # Nobody vouches for it.
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    told(counting, story, tls=own)
    monkeypatch.setenv("SSL_CERT_FILE", str(other_pem))
    told(counting, story, tls=other)  # The name is another's.
    assert seen == ["unreachable", "ok", "unreachable"]


def test_the_address_that_is_connected_to_is_checked_too() -> None:
    """A resolver that does not filter what it finds."""

    class Careless:
        async def resolve(self, host: str, port: int = 0, family: object = None) -> list[dict[str, object]]:
            return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 6, "flags": 0}]

    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))

    async def story(_made: Wire, url: URL) -> None:
        careless = Wire(AddressRule([]), Careless())  # type: ignore[arg-type]
        with pytest.raises(AddressRefused):
            await ask(careless, url)
        await careless.close()

    told(serve, story)
    assert asked in ([], [b""])


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/a b"), ("GET", "/a\r\nHost: x"), ("GET", "http://x/"), ("GET", "/\xe4"), ("GET\r\n", "/"), ("get", "/")],
)
def test_targets_that_would_be_more(method: str, target: str) -> None:
    with pytest.raises(Unsendable):
        written(method, target, b"", "", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("A", "x\r\nB: y"), ("A\r\nB", "x"), ("A:", "x"), ("", "x"), ("A", "\xe4"), ("A", "x\n"), ("A", "\0")],
)
def test_fields_that_would_be_more(name: str, value: str) -> None:
    with pytest.raises(Unsendable):
        line(name, value)


@pytest.mark.parametrize("url", ["ftp://x/", "http:///x", "http://u:p@x/", "x", "http://bücher.example/"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  `Unsendable` is one.
        Wire(RULE, object()).site(URL(url, encoded=True))  # type: ignore[arg-type]
