"""Requests that are answered on their connection and requests that ASGI answers, mixed in every order on one socket."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from stoa_runtime import connections
from stoa_runtime.server import Runtime
from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world
from tests.runtime.world import Issuer, Recorder, World
from tests.threats.wire import Wire, call, fields, listing, message, request

GET = "greg_oasis_get_quest"
HEALTH = request([("Host", "mcp.example.test")], b"", line="GET /healthz HTTP/1.1", length=False)


@pytest.fixture(scope="module")
def direct() -> Iterator[list[bytes]]:
    """The bodies of requests that were answered without ASGI."""
    taken: list[bytes] = []
    answer = Runtime.answer

    def counted(self: Runtime, headers: list[tuple[bytes, bytes]], body: bytes) -> object:
        found = answer(self, headers, body)
        if found is not None:
            taken.append(body)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtime, "answer", counted)
        yield taken


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, backend: Recorder) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("connections")
    tenants = world.catalogs(backend.url)
    written = world.write_bundle(folder / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=written, audit=folder / "audit.jsonl")
    with world.listening(settings) as url:
        yield World(url, issuer, backend, settings.audit, "")


@pytest.fixture(scope="module")
def token(served: World, issuer: Issuer) -> str:
    made = issuer.token(tenant="greg", roles=["devops"])
    with opened(served) as wire:  # Whom nobody knows yet, ASGI lets in.
        wire.send(listing(made))
        assert wire.answer() is not None
    return made


def opened(served: World) -> Wire:
    host, port = served.url.removeprefix("http://").removesuffix("/mcp").rsplit(":", 1)
    return Wire((host, int(port)))


def quest(token: str, number: int) -> bytes:
    return call(token, GET, {"id": f"q{number}"}, id=number)


def ids(wire: Wire, count: int) -> list[object]:
    """The ids of so many answers; a status where one is not of JSON-RPC."""
    found: list[object] = []
    for _ in range(count):
        answer = wire.answer()
        assert answer is not None
        value = answer.json()
        found.append(value.get("id", answer.status))
    return found


def test_lists_and_calls_are_answered_without_asgi(direct: list[bytes], served: World, token: str) -> None:
    before = len(direct)
    with opened(served) as wire:
        for data in (listing(token), quest(token, 7), listing(token)):
            wire.send(data)
            answer = wire.answer()
            assert answer is not None
            assert answer.status == 200
            assert answer.header("content-type") == "application/json"
            assert answer.header("cache-control") == "private, no-store"
            assert answer.header("date") is not None
            assert answer.header("connection") is None
    assert len(direct) - before == 3


@pytest.mark.parametrize("unknown", ["acme_x_y", "ioi_billing_get_invoice"])
def test_unknown_tools_are_told_alike(direct: list[bytes], served: World, token: str, unknown: str) -> None:
    before = len(direct)
    with opened(served) as wire:
        wire.send(call(token, unknown))
        answer = wire.answer()
    assert answer is not None
    assert (answer.status, answer.json()["error"]["code"]) == (400, -32602)
    assert len(direct) == before + 1


def test_pipelined_requests_are_answered_in_their_order(served: World, token: str) -> None:
    requests = [quest(token, 1), message_of(token, 2), HEALTH, quest(token, 3), quest(token, 4), message_of(token, 5)]
    with opened(served) as wire:
        wire.send(b"".join(requests))
        assert ids(wire, 6) == [1, 2, 200, 3, 4, 5]
        wire.send(b"".join([message_of(token, 1), message_of(token, 2), quest(token, 3), HEALTH, message_of(token, 4)]))
        assert ids(wire, 5) == [1, 2, 3, 200, 4]


def message_of(token: str, number: int) -> bytes:
    """A request for the list."""
    return request(fields("tools/list", token), message("tools/list", {}, id=number))


@pytest.mark.parametrize("cut", [10, 200, -400, -20, -1])
def test_a_request_in_two_pieces(served: World, token: str, cut: int) -> None:
    for data in (quest(token, 5), message_of(token, 6)):
        with opened(served) as wire:
            wire.send(data[:cut])
            time.sleep(0.05)
            wire.send(data[cut:] + quest(token, 9))
            assert ids(wire, 2) == [5 if data == quest(token, 5) else 6, 9]


def test_byte_by_byte(served: World, token: str) -> None:
    with opened(served) as wire:
        for byte in quest(token, 8):
            wire.send(bytes([byte]))
        assert ids(wire, 1) == [8]


def test_what_is_odd_is_left_to_asgi(direct: list[bytes], served: World, token: str) -> None:
    body = message("tools/call", {"name": GET, "arguments": {"id": "q"}}, id=3)
    plain = fields("tools/call", token, name=GET)
    chunked = request(
        [*plain, ("Transfer-Encoding", "chunked")], b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), length=False
    )
    before = len(direct)
    for data in (
        request(plain, body, line="POST /mcp?x=1 HTTP/1.1"),
        request(plain, body, line="POST /mcp HTTP/1.0"),
        request([*plain, ("Connection", "close")], body),
        request([*plain, ("Expect", "100-continue")], body),
        request([*plain, ("X-Twice", "1"), ("x-twice", "2")], body),
        chunked,
    ):
        with opened(served) as wire:
            wire.send(data)
            assert ids(wire, 1) == [3], data[:80]
    assert len(direct) == before


def test_refusals_are_those_of_asgi(direct: list[bytes], served: World, issuer: Issuer, token: str) -> None:
    """Nobody is known by a token that is not verified yet, has expired, or is none."""
    before = len(direct)
    statuses = []
    for bad in (None, "x.y.z", issuer.token(exp=int(time.time()) - 100)):
        with opened(served) as wire:
            wire.send(listing(bad))
            answer = wire.answer()
            assert answer is not None
            statuses.append((answer.status, answer.header("www-authenticate") is not None))
    with opened(served) as wire:
        wire.send(request([("Host", "evil.example"), *fields("tools/list", token)[1:]], message("tools/list", {})))
        answer = wire.answer()
        assert answer is not None
        statuses.append((answer.status, False))
    assert statuses == [(401, True)] * 3 + [(421, False)]
    assert len(direct) == before


def test_garbage_after_a_call_does_not_pass_for_its_answer(served: World, token: str) -> None:
    with opened(served) as wire:
        wire.send(quest(token, 4) + b"GARBAGE\r\n\r\n")
        assert ids(wire, 1) == [4]
        assert wire.answer() is None


def test_a_client_that_leaves_changes_nothing_for_others(served: World, token: str) -> None:
    for _ in range(3):
        with opened(served) as wire:
            wire.send(quest(token, 1))
    with opened(served) as wire:
        wire.send(quest(token, 2))
        assert ids(wire, 1) == [2]


def test_lists_that_nobody_reads_are_not_piled_up(direct: list[bytes], served: World, token: str) -> None:
    """Once the connection takes no more, requests wait for ASGI, which waits for the connection."""
    one = message_of(token, 1)
    with opened(served) as wire:
        wire.socket.settimeout(2)
        before = len(direct)
        sent = 0
        try:
            for _ in range(200):
                wire.socket.sendall(one * 50)
                sent += 50
        except TimeoutError:
            pass
        assert sent < 10_000
        assert len(direct) - before < sent


@pytest.mark.parametrize("calls", [2])
def test_the_tenants_rate_is_charged_once_for_each_request(
    tmp_path: Path, issuer: Issuer, backend: Recorder, calls: int
) -> None:
    """Of a tenant's four requests each one counts: lists, calls, and calls that are refused by another limit."""
    tenants = world.catalogs(backend.url)
    tools = [t.model_copy(update={"rate": bundle.RateLimit(calls=1, seconds=3600)}) for t in tenants["greg"].tools]
    rate = bundle.RateLimit(calls=4, seconds=3600)
    tenants["greg"] = tenants["greg"].model_copy(update={"rate": rate, "tools": tools})
    written = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=written, audit=tmp_path / "audit.jsonl")
    token = issuer.token(tenant="greg", roles=["devops"])
    with world.listening(settings) as url:
        served = World(url, issuer, backend, settings.audit, "")
        with opened(served) as wire:
            found = []
            for data in (
                listing(token),
                quest(token, 1),
                quest(token, 2),
                listing(token),
                quest(token, 3),
                listing(token),
            ):
                wire.send(data)
                answer = wire.answer()
                assert answer is not None
                result = answer.json().get("result", {})
                found.append((answer.status, result.get("isError")))
                if answer.status == 429:
                    assert int(answer.header("retry-after") or 0) > 60
                    assert answer.json()["error"] == "too_many_requests"
    assert found == [(200, None), (200, False), (200, True), (200, None), (429, None), (429, None)]
    lines = [json.loads(line)["data"] for line in settings.audit.read_text().splitlines()]
    limits = [(line["rule"], line["limit"]) for line in lines if line.get("limit")]
    assert limits == [("limit", "rate-tool"), ("limit", "rate-tenant"), ("limit", "rate-tenant")]


def test_idle_connections_are_closed_and_slow_requests_refused(
    tmp_path: Path, issuer: Issuer, backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SECONDS", 0.5)
    tenants = world.catalogs(backend.url)
    written = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=written, audit=tmp_path / "audit.jsonl", body_deadline=0.5)
    token = issuer.token(tenant="greg", roles=["devops"])
    with world.listening(settings) as url:
        served = World(url, issuer, backend, settings.audit, "")
        with opened(served) as wire:
            wire.send(listing(token) + listing(token))
            assert ids(wire, 2) == [1, 1]
            wire.send(listing(token) + listing(token)[:50])  # The second never ends.
            assert ids(wire, 1) == [1]
            late = wire.answer()
            assert late is not None
            assert late.status == 408
            assert wire.answer() is None
        with opened(served) as wire:
            for _ in range(2):
                wire.send(listing(token))
                assert ids(wire, 1) == [1]
            assert wire.answer() is None  # uvicorn's five seconds without a request.


def test_the_control_planes_requests_are_charged_to_the_tenants_rate(
    tmp_path: Path, issuer: Issuer, backend: Recorder
) -> None:
    tenants = world.catalogs(backend.url)
    tenants["greg"] = tenants["greg"].model_copy(update={"rate": bundle.RateLimit(calls=2, seconds=3600)})
    written = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=written, audit=tmp_path / "audit.jsonl")
    headers = {"Host": "mcp.example.test", "Authorization": f"Bearer {issuer.token(tenant='greg', roles=['devops'])}"}
    with world.listening(settings) as url:
        found = [httpx2.get(f"{url}/api/v1/tenants", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in found] == [200, 200, 429]
    assert int(found[2].headers["retry-after"]) > 60


@pytest.mark.parametrize("more", [{}, {"x/y": 1}], ids=["prepared", "SDK"])
def test_whoever_asks_for_progress_hears_of_it_on_both_paths(
    tmp_path: Path, issuer: Issuer, backend: Recorder, more: dict[str, int]
) -> None:
    tenants = world.catalogs(backend.url)
    contracts = [
        c.model_copy(update={"backend": c.backend.model_copy(update={"read_ms": 9000, "total_ms": 9000})})
        for c in tenants["ioi"].contracts
    ]
    tenants["ioi"] = tenants["ioi"].model_copy(update={"contracts": contracts})
    written = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=written, audit=tmp_path / "audit.jsonl")
    name = "ioi_slow_wait"
    with world.listening(settings) as url:
        served = World(url, issuer, backend, settings.audit, "")
        params = {"name": name, "arguments": {}, "_meta": {"progressToken": "p1", **more}}
        answer = served.post("tools/call", params, token=issuer.token())
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"]
    told = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert told[0]["params"]["progressToken"] == "p1"
    assert told[-1]["id"] == 1
    assert told[-1]["result"]["isError"] is False


def test_a_fault_of_our_own_is_told_as_one(
    served: World, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*_: object) -> None:
        raise LookupError("of a test")

    monkeypatch.setattr(Runtime, "answer", faulty)
    with opened(served) as wire:
        wire.send(listing(token))
        answer = wire.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (500, b"")
        assert wire.answer() is None
    assert "of a test" in caplog.text
