"""B6: bodies and heads that cost much, never end, or read differently to two readers."""

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stoa_runtime.settings import Settings
from tests.runtime import world
from tests.runtime.world import LEGACY, MODERN
from tests.threats import wire
from tests.threats.process import Attacked, serving

TOOL = "ioi_billing_create_invoice"
SOUND = wire.message("tools/call", {"name": TOOL, "arguments": {"amount": 1}})
LIMIT = 65_536


def sent(stoa: Attacked, token: str, body: bytes, *, era: str = MODERN, **headers: str) -> wire.Answer:
    fields = [*wire.fields("tools/call", token, era=era, name=TOOL), *headers.items()]
    return wire.asked(stoa.address, wire.request(fields, body))


def nested(opening: bytes, closing: bytes, depth: int) -> bytes:
    return SOUND.replace(b'"amount": 1', b'"amount": ' + opening * depth + b"1" + closing * depth)


DOUBLED = {
    "a method": SOUND.replace(b'"method"', b'"method": "tools/list", "method"'),
    "an escaped method": SOUND.replace(b'"method"', b'"\\u006dethod": "tools/list", "method"'),
    "a method whose second is escaped": SOUND.replace(b'"method":', b'"method": "tools/list", "me\\u0074hod":'),
    "an id": SOUND.replace(b'"id": 1', b'"id": 1, "id": 2'),
    "the params": SOUND.replace(b'"params"', b'"params": {}, "params"'),
    "a name": SOUND.replace(b'"name"', b'"name": "x", "name"'),
    "an escaped name": SOUND.replace(b'"name"', b'"\\u006eame": "x", "name"'),
    "the arguments": SOUND.replace(b'"arguments"', b'"arguments": {}, "arguments"'),
    "an argument": SOUND.replace(b'"amount": 1', b'"amount": 1, "amount": 2'),
    "an argument with the same value": SOUND.replace(b'"amount": 1', b'"amount": 1, "amount": 1'),
    "an escaped argument": SOUND.replace(b'"amount": 1', b'"amount": 1, "am\\u006funt": 2'),
    "the version": SOUND.replace(b'"_meta": {', b'"_meta": {"io.modelcontextprotocol/protocolVersion": "2025-11-25", '),
    "the _meta": SOUND.replace(b'"_meta"', b'"_meta": {}, "_meta"'),
    "a member deep within": SOUND.replace(b'"amount": 1', b'"amount": 1, "note": {"a": [{"b": 1, "b": 2}]}'),
    "a member with an escaped slash": SOUND.replace(b'"amount": 1', b'"amount": 1, "a/b": 1, "a\\/b": 2'),
    "a member beyond the plane": SOUND.replace(
        b'"amount": 1', b'"amount": 1, "\xf0\x9f\x98\x80": 1, "\\ud83d\\ude00": 2'
    ),
}
UNSOUND = {
    "nothing": b"",
    "a blank": b" ",
    "cut": SOUND[:-1],
    "more behind it": SOUND + b"{}",
    "two messages": SOUND + b"\n" + SOUND,
    "NaN": SOUND.replace(b": 1}", b": NaN}"),
    "Infinity": SOUND.replace(b": 1}", b": Infinity}"),
    "minus Infinity": SOUND.replace(b": 1}", b": -Infinity}"),
    "a number beyond all": SOUND.replace(b": 1}", b": 1e400}"),
    "a whole number of 5,000 digits": SOUND.replace(b": 1}", b": " + b"1" * 5000 + b"}"),
    "an exponent of 5,000 digits": SOUND.replace(b": 1}", b": 1e" + b"1" * 5000 + b"}"),
    "a leading zero": SOUND.replace(b": 1}", b": 01}"),
    "a hexadecimal number": SOUND.replace(b": 1}", b": 0x1}"),
    "a plus": SOUND.replace(b": 1}", b": +1}"),
    "a lone surrogate": SOUND.replace(b": 1}", b': "\\ud800"}'),
    "a lone low surrogate": SOUND.replace(b": 1}", b': "\\udc00"}'),
    "a lone surrogate as a name": SOUND.replace(b'"amount"', b'"\\ud800"'),
    "surrogates the wrong way round": SOUND.replace(b": 1}", b': "\\udc00\\ud800"}'),
    "an encoded surrogate": SOUND.replace(b": 1}", b': "\xed\xa0\x80"}'),
    "overlong UTF-8": SOUND.replace(b": 1}", b': "\xc0\xaf"}'),
    "bytes that are no UTF-8": SOUND.replace(b": 1}", b': "\xff"}'),
    "Latin-1": SOUND.replace(b": 1}", b': "\xe9"}'),
    "a bare control character": SOUND.replace(b": 1}", b': "a\nb"}'),
    "a NUL": SOUND.replace(b": 1}", b': "a\0b"}'),
    "a trailing comma": SOUND.replace(b": 1}", b": 1,}"),
    "a comment": SOUND.replace(b": 1}", b": 1 /* x */}"),
    "single quotes": SOUND.replace(b'"', b"'"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + SOUND,
    "UTF-16": SOUND.decode().encode("utf-16"),
    "UTF-16 big-endian": SOUND.decode().encode("utf-16-be"),
    "UTF-32": SOUND.decode().encode("utf-32"),
    "UTF-7": SOUND.replace(b"{", b"+AHs-"),
    "gzip": gzip.compress(SOUND),
    "zlib": zlib.compress(SOUND),
    "a form": b"method=tools/call",
    "YAML": b"jsonrpc: '2.0'",
    "65 levels of lists": nested(b"[", b"]", 65),
    "65 levels of objects": nested(b'{"a":', b"}", 65),
    **{f"{depth} levels": nested(b"[", b"]", depth) for depth in (250, 260, 500, 990, 1000, 1020, 1030)},
    "a doubled member, 1,000 levels": SOUND.replace(b": 1}", b": " + b"[" * 1000 + b"]" * 1000 + b', "amount": 1}'),
    "30,000 levels": nested(b"[", b"]", 30_000),
    "30,000 levels that never close": b"[" * 30_000,
    "10,000 levels of objects": b'{"a":' * 10_000,
    **{f"twice: {what}": body for what, body in DOUBLED.items()},
}
NO_REQUEST = {
    "a list": b"[]",
    "a batch": b"[" + SOUND + b"]",
    "a batch of two": b"[" + SOUND + b"," + SOUND + b"]",
    "a number": b"1",
    "a text": b'"tools/call"',
    "null": b"null",
    "an empty object": b"{}",
    "another version": SOUND.replace(b'"2.0"', b'"1.0"'),
    "a version as a number": SOUND.replace(b'"2.0"', b"2.0"),
    "no version": SOUND.replace(b'"jsonrpc": "2.0", ', b""),
    "a method as a list": SOUND.replace(b'"tools/call"', b'["tools/call"]'),
    "a method as null": SOUND.replace(b'"tools/call"', b"null"),
    "the params as a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}',
    "a name as a list": SOUND.replace(b'"ioi_billing_create_invoice"', b'["ioi_billing_create_invoice"]'),
    "no name": SOUND.replace(b'"name": "ioi_billing_create_invoice", ', b""),
    "arguments as a list": SOUND.replace(b'{"amount": 1}', b"[1]"),
    "arguments as text": SOUND.replace(b'{"amount": 1}', b'"amount"'),
    "the id as an object": SOUND.replace(b'"id": 1', b'"id": {}'),
}


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("what", UNSOUND)
def test_unsound_json(stoa: Attacked, parzival: str, what: str, era: str) -> None:
    with stoa.recording() as got:
        answer = sent(stoa, parzival, UNSOUND[what], era=era)
    assert answer.status == 400
    assert answer.json() == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32700, "message": "Parse error: the body is not sound JSON"},
    }
    assert got == []


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("what", NO_REQUEST)
def test_json_that_is_no_request(stoa: Attacked, parzival: str, what: str, era: str) -> None:
    with stoa.recording() as got:
        answer = sent(stoa, parzival, NO_REQUEST[what], era=era)
    assert answer.status in (200, 202, 400, 404)
    assert answer.status == 202 or "error" in answer.json()
    assert got == []


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("number", [10**18, 2**63, 2**64, -(2**63) - 1, 10**30, 10**300], ids=lambda n: f"{n:.0e}")
@pytest.mark.parametrize("place", ["the id", "the progress token", "a capability", "an argument", "an unknown member"])
def test_huge_numbers_in(stoa: Attacked, parzival: str, place: str, number: int, era: str) -> None:
    body = json.loads(wire.message("tools/call", {"name": "ioi_inventory_list_items", "arguments": {}}, era=era))
    match place:
        case "the id":
            body["id"] = number
        case "the progress token":
            body["params"].setdefault("_meta", {})["progressToken"] = number
        case "a capability":
            meta = body["params"].setdefault("_meta", {})
            meta["io.modelcontextprotocol/clientCapabilities"] = {"experimental": {"x": {"y": number}}}
        case "an argument":
            body["params"]["arguments"] = {"x": number}
        case _:
            body["params"]["x"] = number
    fields = wire.fields("tools/call", parzival, era=era, name="ioi_inventory_list_items")
    answer = wire.asked(stoa.address, wire.request(fields, json.dumps(body).encode()))
    assert answer.status in (200, 400)
    if place == "the id" and answer.status == 200:
        assert answer.json()["id"] == number


@pytest.mark.parametrize(
    "length",
    ["0" * 5000 + "9", "9" * 18, "9" * 400, "-1", "+5", "0x10", "1e3", "1_0", " ", "", "5, 5", "5 5", "\xb2", "nan"],
    ids=lambda v: repr(v)[:12],
)
def test_lengths_that_are_none(stoa: Attacked, parzival: str, length: str) -> None:
    fields = [*wire.fields("tools/call", parzival, name=TOOL), ("Content-Length", length)]
    answer = wire.asked(stoa.address, wire.request(fields, SOUND, length=False))
    assert answer.status in (400, 413)


def test_oversized_with_a_length(stoa: Attacked, parzival: str) -> None:
    """It is refused before it is sent."""
    fields = [*wire.fields("tools/call", parzival, name=TOOL), ("Content-Length", str(LIMIT + 1))]
    answer = wire.asked(stoa.address, wire.request(fields, b"", length=False))
    assert answer.status == 413
    assert sent(stoa, parzival, SOUND + b" " * (LIMIT - len(SOUND))).status == 200
    assert sent(stoa, parzival, SOUND + b" " * (LIMIT - len(SOUND) + 1)).status == 413


def test_chunks_without_an_end(stoa: Attacked, parzival: str) -> None:
    """Counted while they come: the answer is there before the sender stops, and memory does not grow."""
    before, pieces = stoa.memory(), 0
    fields = [*wire.fields("tools/call", parzival, name=TOOL), ("Transfer-Encoding", "chunked")]
    with wire.Wire(stoa.address) as connection:
        connection.send(wire.request(fields, b"", length=False))
        while pieces < 17:
            connection.send(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
            pieces += 1
        answer = connection.answer()
        assert answer is not None
        assert answer.status == 413
        for _ in range(2000):  # It goes on all the same.
            connection.send(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
    assert stoa.memory() - before < 8_000_000


def test_one_byte_chunks(stoa: Attacked, parzival: str) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in SOUND) + b"0\r\n\r\n"
    fields = [*wire.fields("tools/call", parzival, name=TOOL), ("Transfer-Encoding", "chunked")]
    assert wire.asked(stoa.address, wire.request(fields, chunks, length=False)).status == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip"])
def test_body_with_a_content_coding(stoa: Attacked, parzival: str, coding: str) -> None:
    """A bomb is a few bytes here: nothing is decompressed."""
    bomb = gzip.compress(b" " * 10_000_000)
    before = stoa.memory()
    assert sent(stoa, parzival, bomb, **{"Content-Encoding": coding}).status == 400
    assert stoa.memory() - before < 5_000_000


def test_body_that_drips(stoa: Attacked, parzival: str) -> None:
    """A byte now and then does not put off the deadline, which is 1 s here."""
    fields = [*wire.fields("tools/call", parzival, name=TOOL), ("Content-Length", str(len(SOUND)))]
    began = time.monotonic()
    with wire.Wire(stoa.address) as connection:
        connection.send(wire.request(fields, b"", length=False))
        connection.socket.settimeout(0.2)
        answer = None
        for byte in SOUND:
            connection.send(bytes([byte]))
            try:
                answer = connection.answer()
                break
            except TimeoutError:
                continue
    assert answer is not None
    assert answer.status == 408
    assert answer.header("connection") == "close"
    assert time.monotonic() - began < 10


def test_client_that_leaves_amid_its_body(stoa: Attacked, parzival: str) -> None:
    fields = [*wire.fields("tools/call", parzival, name=TOOL), ("Content-Length", str(len(SOUND)))]
    for cut in (0, 1, 50, len(SOUND) - 1):
        with wire.Wire(stoa.address) as connection:
            connection.send(wire.request(fields, SOUND[:cut], length=False))
            connection.socket.shutdown(socket.SHUT_WR)
        with wire.Wire(stoa.address) as connection:
            connection.send(wire.request(fields, SOUND[:cut], length=False))
    assert sent(stoa, parzival, SOUND).status == 200


HEADS = {
    "one endless field": lambda: b"X-Endless: " + b"a" * 300_000,
    "one endless name": lambda: b"x" * 300_000,
    "thousands of fields": lambda: b"".join(b"X-%d: a\r\n" % n for n in range(20_000)),
}


@pytest.mark.parametrize("what", [*HEADS, "an endless target"])
def test_head(stoa: Attacked, what: str) -> None:
    before = stoa.memory()
    if what == "an endless target":
        data = b"POST /mcp?" + b"a" * 300_000
    else:
        data = b"POST /mcp HTTP/1.1\r\nHost: mcp.example.test\r\n" + HEADS[what]()
    with wire.Wire(stoa.address) as connection:
        connection.send(data)
        answer = connection.answer()
        assert answer is not None
        assert answer.status == 431
        assert connection.answer() is None
    assert stoa.memory() - before < 5_000_000


@pytest.mark.parametrize("what", ["trailers", "one trailer", "a chunk's extension"])
def test_endless(stoa: Attacked, parzival: str, what: str) -> None:
    """What stands between and behind the chunks is bounded too."""
    before = stoa.memory()
    fields = [*wire.fields("tools/call", parzival, name=TOOL), ("Transfer-Encoding", "chunked")]
    begin = wire.request(fields, b"%x\r\n%b\r\n" % (len(SOUND), SOUND), length=False)
    with wire.Wire(stoa.address) as connection:
        match what:
            case "trailers":
                connection.send(begin + b"0\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)))
            case "one trailer":
                connection.send(begin + b"0\r\nX: " + b"a" * 2_000_000)
            case _:
                connection.send(begin + b"1;" + b"a" * 2_000_000)
        assert connection.ends().startswith((b"HTTP/1.1 4", b""))
    assert stoa.memory() - before < 5_000_000
    assert sent(stoa, parzival, SOUND).status == 200


FRAMED = {
    "CL.TE": [("Content-Length", "4"), ("Transfer-Encoding", "chunked")],
    "TE.CL": [("Transfer-Encoding", "chunked"), ("Content-Length", "4")],
    "two lengths that differ": [("Content-Length", "4"), ("Content-Length", "400")],
    "two equal lengths": [("Content-Length", "4"), ("Content-Length", "4")],
    "a list of lengths": [("Content-Length", "4, 4")],
    "a length with a sign": [("Content-Length", "+4")],
    "a length before a space": [("Content-Length ", "4")],
    "a length with a NUL": [("Content-Length", "4\0")],
    "an unknown coding": [("Transfer-Encoding", "xchunked")],
    "a coding that is not last": [("Transfer-Encoding", "chunked, identity")],
    "a coding below": [("Transfer-Encoding", "gzip, chunked")],
    "a coding twice": [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
    "a coding and another": [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "cow")],
    "a coding behind a vertical tab": [("Transfer-Encoding", "\x0bchunked")],
    "a coding in quotes": [("Transfer-Encoding", '"chunked"')],
    "a coding with a parameter": [("Transfer-Encoding", "chunked;q=1")],
    "a coding before a space": [("Transfer-Encoding ", "chunked")],
    "a coding on a folded line": [("Transfer-Encoding", "\r\n chunked")],
    "identity": [("Transfer-Encoding", "identity")],
}
SMUGGLED = b"POST /mcp HTTP/1.1\r\nHost: mcp.example.test\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("what", FRAMED)
def test_smuggling_by(stoa: Attacked, parzival: str, what: str) -> None:
    """One answer that refuses it, and the connection ends: what follows is no request."""
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SOUND), SOUND)
    fields = [*wire.fields("tools/call", parzival, name=TOOL), *FRAMED[what]]
    with stoa.recording() as got:
        answers = wire.answers(stoa.address, wire.request(fields, chunked, length=False) + SMUGGLED)
    assert [a.status for a in answers] in ([400], [501])
    assert got == []


LINES = {
    "bare line feeds": lambda data: data.replace(b"\r\n", b"\n"),
    "a bare carriage return": lambda data: data.replace(b"Accept: ", b"X: a\rContent-Length: 0\r\nAccept: "),
    "a NUL in a field": lambda data: data.replace(b"Accept: ", b"X: a\0b\r\nAccept: "),
    "a line without a colon": lambda data: data.replace(b"Accept: ", b"X\r\nAccept: "),
    "a folded line": lambda data: data.replace(b"Accept: ", b"X: a\r\n b: c\r\nAccept: "),
    "a folded first line": lambda data: data.replace(b"Host: ", b" Host: "),
    "a space in a name": lambda data: data.replace(b"Accept: ", b"X Y: a\r\nAccept: "),
    "a name outside ASCII": lambda data: data.replace(b"Accept: ", b"X\xe9: a\r\nAccept: "),
    "another protocol": lambda data: data.replace(b"HTTP/1.1", b"HTTP/3.0"),
    "no protocol's name": lambda data: data.replace(b"HTTP/1.1", b"ICE/1.0"),
    "an unknown method": lambda data: data.replace(b"POST ", b"POSTS "),
    "a method in small letters": lambda data: data.replace(b"POST ", b"post "),
    "a method to tunnel": lambda data: data.replace(b"POST /mcp", b"CONNECT mcp.example.test:443"),
    "high bytes in the target": lambda data: data.replace(b"/mcp", b"/mcp?\xff"),
    "HTTP/2 right away": lambda data: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + data,
    "TLS": lambda data: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + data,
    "nothing but noise": lambda data: bytes(range(256)) * 10,
    "a chunk's size in another base": lambda data: chunks(data, b"0x10\r\n"),
    "a chunk's size with a sign": lambda data: chunks(data, b"-1\r\n"),
    "a chunk's size beyond 64 bits": lambda data: chunks(data, b"1" + b"0" * 20 + b"\r\n"),
    "a chunk that is longer than it says": lambda data: chunks(data, b"1\r\nabc\r\n"),
    "a chunk's bare line feed": lambda data: chunks(data, b"1\na\n0\n\n"),
}


def chunks(data: bytes, body: bytes) -> bytes:
    head = data.partition(b"\r\n\r\n")[0]
    kept = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    return b"\r\n".join([*kept, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n" + body


@pytest.mark.parametrize("what", LINES)
def test_http_with(stoa: Attacked, parzival: str, what: str) -> None:
    good = wire.call(parzival, TOOL, {"amount": 1})
    with stoa.recording() as got:
        answers = wire.answers(stoa.address, LINES[what](good))
    assert [a.status for a in answers] == [400]
    assert got == []


def test_pipelined_requests_are_answered_each_for_itself_in_their_order(stoa: Attacked, parzival: str) -> None:
    other = stoa.issuer.token(sub="sorrento", tenant="greg")
    requests = [wire.call((parzival, other)[n % 2], TOOL, {"amount": n}, id=n) for n in range(20)]
    with wire.Wire(stoa.address) as connection:
        connection.send(b"".join(requests))
        answers = [connection.answer() for _ in requests]
    for n, answer in enumerate(answers):
        assert answer is not None
        told = answer.json()
        assert told["id"] == n
        assert ("result" in told) == (n % 2 == 0)  # The token of a request holds for that request alone.


def test_requests_behind_a_refused_one_are_judged_by_themselves(stoa: Attacked, parzival: str) -> None:
    bad, good = wire.call("x", TOOL, {"amount": 1}), wire.call(parzival, TOOL, {"amount": 1})
    with wire.Wire(stoa.address) as connection:
        connection.send(bad + good + bad)
        statuses = [answer.status if (answer := connection.answer()) else None for _ in range(3)]
    assert statuses == [401, 200, 401]


def test_expecting_to_go_on_is_not_told_to_before_the_token_is_judged(stoa: Attacked, parzival: str) -> None:
    fields = [("Expect", "100-continue"), ("Content-Length", str(len(SOUND)))]
    for token, says in ((parzival, b"HTTP/1.1 100"), ("x", b"HTTP/1.1 401")):
        with wire.Wire(stoa.address) as connection:
            head = [*wire.fields("tools/call", token, name=TOOL), *fields]
            connection.send(wire.request(head, b"", length=False))
            assert connection.socket.recv(12) == says


@pytest.mark.parametrize("era", [MODERN, LEGACY])
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x" * 2000]
)
def test_content_types_that_a_browser_sends_without_asking(stoa: Attacked, parzival: str, kind: str, era: str) -> None:
    fields = [
        (n, kind if n == "Content-Type" else v) for n, v in wire.fields("tools/call", parzival, era=era, name=TOOL)
    ]
    with stoa.recording() as got:
        body = wire.message("tools/call", {"name": TOOL, "arguments": {"amount": 1}}, era=era)
        answer = wire.asked(stoa.address, wire.request(fields, body))
    assert answer.status in (400, 415)
    assert got == []


@pytest.fixture(scope="module")
def impatient(
    tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder
) -> Iterator[Attacked]:
    """A process whose connections wait a second, by a setting that the process is started with."""
    folder = tmp_path_factory.mktemp("impatient")
    tenants = world.catalogs(backend.url)
    written = world.write_bundle(folder / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=written, port=0, audit=folder / "state" / "a.jsonl", body_deadline=0.5)
    patch = "from stoa_runtime import connections; connections.SECONDS = 1.0;"
    with serving(settings, issuer, backend, tenants, folder / "process", before=patch) as made:
        yield made
        assert "Traceback" not in made.printed()


@pytest.mark.parametrize(
    "what",
    [
        "nothing at all",
        "line ends and nothing more",
        "line ends behind a request",
        "half a line",
        "a field now and then",
        "a second head that stays away",
    ],
)
def test_slow_heads(impatient: Attacked, parzival: str, what: str) -> None:
    """The connection ends, and others are served meanwhile."""
    began = time.monotonic()
    with ExitStack() as stack:
        connections = [stack.enter_context(wire.Wire(impatient.address)) for _ in range(50)]
        for connection in connections:
            match what:
                case "line ends and nothing more":
                    connection.send(b"\r\n\r\n")
                case "line ends behind a request":
                    connection.send(wire.listing(parzival) + b"\r\n\r\n")
                case "half a line":
                    connection.send(b"POST /m")
                case "a field now and then":
                    connection.send(b"POST /mcp HTTP/1.1\r\nHost: mcp.example.test\r\n")
                case "a second head that stays away":
                    connection.send(wire.listing(parzival) + b"POST /mcp HTTP/1.1\r\n")
        assert wire.asked(impatient.address, wire.listing(parzival)).status == 200
        connections[0].socket.settimeout(0.2)
        if what in ("a second head that stays away", "line ends behind a request"):
            for connection in connections:
                first = connection.answer()
                assert first is not None
                assert first.status == 200
        if what == "a field now and then":
            for _ in range(40):
                for connection in connections:
                    connection.send(b"X: a\r\n")
                time.sleep(0.1)
                try:
                    if connections[0].socket.recv(1, socket.MSG_PEEK) or True:
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        for connection in connections:
            connection.socket.settimeout(10)
            assert connection.ends().startswith((b"HTTP/1.1 408", b""))
    assert time.monotonic() - began < 30
