"""B8: headers that disagree with the body, and hosts and origins that are not ours."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from stoa_runtime.settings import Settings
from tests.runtime import world
from tests.runtime.world import LEGACY, MODERN
from tests.threats import wire
from tests.threats.process import Attacked, serving

TOOL, OTHER = "ioi_inventory_list_items", "ioi_billing_big"
MIRRORED = "ioi_inventory_mirrored"
MISMATCH, UNSUPPORTED = -32020, -32022


def encoded(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def fields(token: str, *, without: str = "", name: str = TOOL, **changes: str) -> list[tuple[str, str]]:
    made = wire.fields("tools/call", token, name=name)
    changed = {n.replace("_", "-").lower(): v for n, v in changes.items()}
    kept = [(n, changed.pop(n.lower(), v)) for n, v in made if n.lower() != without.lower()]
    return kept + list(changed.items())


BODY = wire.message("tools/call", {"name": TOOL, "arguments": {}})
HEADERS: dict[str, dict[str, str]] = {
    "another method": {"Mcp_Method": "tools/list"},
    "a method of another case": {"Mcp_Method": "Tools/Call"},
    "an empty method": {"Mcp_Method": ""},
    "no method": {"without": "Mcp-Method"},
    "two methods in one": {"Mcp_Method": "tools/call, tools/list"},
    "another tool": {"Mcp_Name": OTHER},
    "another tenant's tool": {"Mcp_Name": "greg_oasis_get_quest"},
    "a tool of another case": {"Mcp_Name": TOOL.upper()},
    "an empty tool": {"Mcp_Name": ""},
    "no tool": {"without": "Mcp-Name"},
    "another tool, encoded": {"Mcp_Name": encoded(OTHER)},
    "a tool whose coding is broken": {"Mcp_Name": "=?base64?!!!?="},
    "a tool whose coding is cut": {"Mcp_Name": encoded(TOOL)[:-2]},
    "a tool in another coding": {"Mcp_Name": encoded(TOOL).replace("base64", "utf-8")},
    "a tool encoded twice": {"Mcp_Name": encoded(encoded(TOOL))},
    "a tool that is no UTF-8": {"Mcp_Name": "=?base64?" + base64.b64encode(b"\xff\xfe").decode() + "?="},
}


@pytest.mark.parametrize("what", HEADERS)
def test_header_that_disagrees(stoa: Attacked, parzival: str, what: str) -> None:
    changes: Any = HEADERS[what]
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.request(fields(parzival, **changes), BODY))
    assert answer.status == 400
    assert answer.json()["error"]["code"] == MISMATCH
    assert got == []


@pytest.mark.parametrize("name", ["Mcp-Method", "Mcp-Name", "MCP-Protocol-Version", "Content-Type", "Accept"])
@pytest.mark.parametrize("second", ["bad", "good"])
def test_header_that_stands_twice(stoa: Attacked, parzival: str, name: str, second: str) -> None:
    """Two readers may each take another: nothing is called by the one that the body does not name."""
    given = fields(parzival)
    good = next(value for n, value in given if n == name)
    bad = {"Mcp-Method": "tools/list", "Mcp-Name": OTHER, "MCP-Protocol-Version": LEGACY}.get(name, "text/plain")
    rest = [(n, v) for n, v in given if n != name]
    both = [(name, good), (name, bad)] if second == "bad" else [(name, bad), (name, good)]
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.request([*rest, *both], BODY))
    assert answer.status in (200, 400, 406)
    assert [request["target"] for request in got] == (["/items"] if answer.status == 200 else [])


VERSIONS: dict[str, tuple[str | None, str | None, int]] = {
    "modern header, older body": (MODERN, LEGACY, MISMATCH),
    "modern header, unknown body": (MODERN, "2099-01-01", MISMATCH),
    "unknown header, modern body": ("2099-01-01", MODERN, MISMATCH),
    "unknown both": ("2099-01-01", "2099-01-01", UNSUPPORTED),
    "modern header, none in the body": (MODERN, None, -32602),
}


@pytest.mark.parametrize("what", VERSIONS)
def test_versions_that_disagree(stoa: Attacked, parzival: str, what: str) -> None:
    header, inner, code = VERSIONS[what]
    message = json.loads(BODY)
    meta = message["params"]["_meta"]
    del meta["io.modelcontextprotocol/protocolVersion"]
    if inner is not None:
        meta["io.modelcontextprotocol/protocolVersion"] = inner
    changed = fields(parzival, MCP_Protocol_Version=header or "")
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.request(changed, json.dumps(message).encode()))
    assert answer.status == 400
    assert answer.json()["error"]["code"] == code
    assert got == []


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize(
    "version", ["", " ", "2026-07-28x", "2026-7-28", "9" * 3000, "draft", "\xff"], ids=lambda v: repr(v)[:14]
)
def test_versions_that_are_none(stoa: Attacked, parzival: str, version: str, era: str) -> None:
    body = wire.message("tools/call", {"name": TOOL, "arguments": {}}, era=era)
    answer = wire.asked(stoa.address, wire.request(fields(parzival, MCP_Protocol_Version=version), body))
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert answer.json()["error"]["code"] in (MISMATCH, UNSUPPORTED, -32600, -32602)


@pytest.mark.parametrize(
    ("header", "argument", "agrees"),
    [
        ("eu", "eu", True),
        (encoded("eu"), "eu", True),
        (encoded("\u0436"), "\u0436", True),
        ("us", "eu", False),
        ("EU", "eu", False),
        (encoded("us"), "eu", False),
        ("", "eu", False),
        (None, "eu", False),
        ("eu", None, False),
    ],
)
def test_argument_that_is_mirrored_in_a_header(
    stoa: Attacked, parzival: str, header: str | None, argument: str | None, agrees: bool
) -> None:
    given = {} if argument is None else {"region": argument}
    extra = {} if header is None else {"Mcp_Param_Region": header}
    body = wire.message("tools/call", {"name": MIRRORED, "arguments": given})
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.request(fields(parzival, name=MIRRORED, **extra), body))
    assert (answer.status == 200) == agrees
    assert len(got) == int(agrees)
    if not agrees:
        assert answer.json()["error"]["code"] == MISMATCH


ORIGINS = [
    "null",
    "https://evil.test",
    "http://mcp.example.test",
    "https://mcp.example.test.evil.test",
    "https://evilmcp.example.test",
    "https://mcp.example.test@evil.test",
    "https://mcp.example.test:8443",
    "https://mcp.example.test/",
    "https://MCP.example.test",
    "https://mcp.example.test evil.test",
    "https://mcp.example.test, https://evil.test",
    "https://mcp.example.test\x85",
    "file://",
    "chrome-extension://abc",
    "http://127.0.0.1",
    "http://localhost:8000",
    "http://[::1]",
    "",
    "*",
]


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("path", ["/mcp", "/api/v1/tenants"])
def test_origin(stoa: Attacked, parzival: str, path: str, origin: str, era: str) -> None:
    given = [*wire.fields("tools/list", parzival, era=era), ("Origin", origin)]
    line = f"{'POST' if path == '/mcp' else 'GET'} {path} HTTP/1.1"
    answer = wire.asked(stoa.address, wire.request(given, wire.message("tools/list", {}, era=era), line=line))
    assert answer.status == 403
    assert not [n for n, _ in answer.headers if n.startswith("access-control")]


def test_origin_twice_or_our_own(stoa: Attacked, parzival: str) -> None:
    own = ("Origin", "https://mcp.example.test")
    for more, status in (([own], 200), ([own, own], 403), ([own, ("Origin", "https://evil.test")], 403)):
        given = [*wire.fields("tools/list", parzival), *more]
        assert wire.asked(stoa.address, wire.request(given, wire.message("tools/list", {}))).status == status


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "mcp.example.test.evil.test",
        "evil.mcp.example.test",
        "user@mcp.example.test",
        "mcp.example.test@evil.test",
        "user:pw@mcp.example.test",
        "mcp.example.test:80",
        "mcp.example.test:443:443",
        "mcp.example.test:",
        "mcp.example.test:x",
        "mcp.example.test/",
        "mcp.example.test#",
        "mcp.example.test,evil.test",
        "mcp.example.test evil.test",
        "mcp.example.test.",
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "*",
        "",
        "\xff",
    ],
)
@pytest.mark.parametrize("path", ["/mcp", "/api/v1/tenants"])
def test_host(stoa: Attacked, parzival: str, path: str, host: str) -> None:
    given = [(n, host if n == "Host" else v) for n, v in wire.fields("tools/list", parzival)]
    line = f"{'POST' if path == '/mcp' else 'GET'} {path} HTTP/1.1"
    answer = wire.asked(stoa.address, wire.request(given, wire.message("tools/list", {}), line=line))
    assert answer.status == 421


@pytest.mark.parametrize(
    "hosts", [[], ["mcp.example.test", "evil.test"], ["evil.test", "mcp.example.test"], ["mcp.example.test"] * 2]
)
def test_hosts_other_than_one(stoa: Attacked, parzival: str, hosts: list[str]) -> None:
    given = [(n, v) for n, v in wire.fields("tools/list", parzival) if n != "Host"] + [("Host", h) for h in hosts]
    assert wire.asked(stoa.address, wire.request(given, wire.message("tools/list", {}))).status in (400, 421)


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.test/mcp",
        "https://mcp.example.test/mcp",
        "http://mcp.example.test@evil.test/mcp",
        "http://evil.test:80/mcp",
        "HTTP://EVIL.TEST/mcp",
        "ftp://evil.test/mcp",
        "*",
        "mcp",
        "?",
    ],
)
def test_absolute_form_and_other_targets(stoa: Attacked, parzival: str, target: str) -> None:
    """A host in the target would go before the header (RFC 9112, 3.2.2), so there must be none."""
    answer = wire.asked(stoa.address, wire.listing(parzival).replace(b"POST /mcp ", f"POST {target} ".encode()))
    assert answer.status == 400


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host", "X-Host", "X-Forwarded-Server", "Forwarded", "X-HTTP-Method-Override"]
)
def test_headers_that_other_servers_take_for_the_host_or_the_method(stoa: Attacked, parzival: str, header: str) -> None:
    value = {"Forwarded": "host=mcp.example.test", "X-HTTP-Method-Override": "POST"}.get(header, "mcp.example.test")
    given = [(n, "evil.test" if n == "Host" else v) for n, v in wire.fields("tools/list", parzival)] + [(header, value)]
    assert wire.asked(stoa.address, wire.request(given, wire.message("tools/list", {}))).status == 421
    got = wire.request([*wire.fields("tools/list", parzival), (header, value)], b"", line="GET /mcp HTTP/1.1")
    assert wire.asked(stoa.address, got).status == 405


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_method(stoa: Attacked, parzival: str, method: str) -> None:
    data = wire.listing(parzival).replace(b"POST ", method.encode() + b" ")
    with wire.Wire(stoa.address) as connection:
        connection.send(data)
        assert connection.socket.recv(12) == b"HTTP/1.1 405"


@pytest.fixture(scope="module")
def development(
    tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder
) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("development")
    tenants = world.catalogs(backend.url)
    index = world.index(issuer.jwks_url, tenants)
    written = world.write_bundle(folder / "bundle", index, tenants, development=True)
    settings = Settings(bundle=written, port=0, audit=folder / "state" / "a.jsonl", allow_development=True)
    with serving(settings, issuer, backend, tenants, folder / "process") as made:
        yield made


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Host", "localhost:{port}", 200),
        ("Host", "localhost.evil.test:{port}", 421),
        ("Host", "evil.test", 421),
        ("Host", "127.0.0.1.evil.test", 421),
        ("Host", "127.1:{port}", 421),
        ("Host", "localhost:{port}@evil.test", 421),
        ("Origin", "http://localhost:{port}", 200),
        ("Origin", "http://localhost.evil.test:{port}", 403),
        ("Origin", "http://evil.test", 403),
        ("Origin", "null", 403),
        ("Origin", "https://localhost:{port}", 403),
    ],
)
def test_rebinding_of_a_name_to_loopback(
    development: Attacked, parzival: str, name: str, value: str, status: int
) -> None:
    """A page of another site that has its name point to this machine, where a development bundle is served."""
    given = dict(wire.fields("tools/list", parzival)) | {name: value.format(port=development.address[1])}
    data = wire.request(given.items(), wire.message("tools/list", {}))
    assert wire.asked(development.address, data).status == status
