"""B13: line ends and escapes in every value that a caller chooses, and secrets that might be logged."""

import json

import pytest

from tests.runtime.world import SECRET
from tests.threats import wire
from tests.threats.process import Attacked

FORGED = 'x"}\n{"decision":"allowed","forged":1}\r\x1b[31m\u2028\u202e\x85\0<script>' + "y" * 300
TOOL = "ioi_billing_get_invoice"


def harmless(stoa: Attacked, before: int) -> list[dict[str, object]]:
    """The lines since then: each is JSON by itself, printable ASCII, and none is forged."""
    data = stoa.audit.read_bytes()[before:]
    assert all(32 <= byte < 127 or byte == 10 for byte in data)
    lines = [json.loads(line) for line in data.splitlines()]
    assert not [line for line in lines if "forged" in line or "forged" in line.get("data", {})]
    printed = stoa.printed()
    assert "forged" not in printed
    assert "\x1b" not in printed
    return [line["data"] for line in lines if "decision" in line.get("data", {})]


def size(stoa: Attacked) -> int:
    return stoa.audit.stat().st_size if stoa.audit.exists() else 0


@pytest.mark.parametrize("path", ["prepared", "SDK"])
@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize(
    "place",
    ["the tool", "an argument", "an argument's name", "the subject", "traceparent", "baggage", "the method", "the id"],
)
def test_injection_by(stoa: Attacked, place: str, era: str, path: str) -> None:
    import base64

    before = size(stoa)
    token = stoa.issuer.token(sub=FORGED if place == "the subject" else f"logger {place}")
    name = FORGED if place == "the tool" else TOOL
    arguments = (
        {"id": FORGED} if place == "an argument" else {FORGED: 1} if place == "an argument's name" else {"id": "1"}
    )
    meta = {place: FORGED} if place in ("traceparent", "baggage") else {}
    meta |= {"x/y": 1} if path == "SDK" else {}
    method = FORGED if place == "the method" else "tools/call"
    identity = FORGED if place == "the id" else 1
    body = wire.message(method, {"name": name, "arguments": arguments, "_meta": meta}, era=era, id=identity)
    header = "=?base64?" + base64.b64encode(name.encode()).decode() + "?="
    fields = wire.fields("tools/call", token, era=era, name=header)
    assert wire.asked(stoa.address, wire.request(fields, body)).status < 500
    lines = harmless(stoa, before)
    if place in ("the tool", "the subject"):
        assert len(lines) == 1
    assert all(len(str(value)) < 2500 for line in lines for value in line.values())


@pytest.mark.parametrize(
    "header",
    [
        "traceparent",
        "tracestate",
        "MCP-Protocol-Version",
        "User-Agent",
        "X-Forwarded-For",
        "Host",
        "Origin",
        "Mcp-Name",
        "Mcp-Method",
    ],
)
@pytest.mark.parametrize("token", ["good", "bad"])
def test_injection_by_header(stoa: Attacked, parzival: str, header: str, token: str) -> None:
    before = size(stoa)
    value = '"}{"forged":1}\x85\xff\t%0a%1b[31m' + "z" * 3000
    given = [f for f in wire.fields("tools/list", parzival if token == "good" else "a.b.c") if f[0] != header]
    assert (
        wire.asked(stoa.address, wire.request([*given, (header, value)], wire.message("tools/list", {}))).status < 500
    )
    harmless(stoa, before)


@pytest.mark.parametrize(
    "claims", [{"azp": FORGED}, {"tenant": FORGED}, {"roles": [FORGED]}, {"scope": FORGED}, {"iss": FORGED}]
)
def test_injection_by_claim(stoa: Attacked, claims: dict[str, object]) -> None:
    before = size(stoa)
    assert wire.asked(stoa.address, wire.listing(stoa.issuer.token(**claims))).status in (200, 401, 403)
    harmless(stoa, before)


def test_injection_by_path(stoa: Attacked, parzival: str) -> None:
    before = size(stoa)
    line = "GET /api/v1/x%0a%7b%22forged%22:1%7d%1b[31m HTTP/1.1"
    assert wire.asked(stoa.address, wire.request(wire.fields("", parzival), b"", line=line)).status == 404
    harmless(stoa, before)


def test_secrets_tokens_arguments_and_answers_are_nowhere(stoa: Attacked) -> None:
    token = stoa.issuer.token(sub="careful")
    private = "personal-4711@example.test"
    for name in (
        TOOL,
        "ioi_billing_leak",
        "ioi_billing_invalid",
        "ioi_billing_crash",
        "ioi_billing_delete_invoice",
        "nothing",
    ):
        for era in wire.ERAS:
            wire.asked(stoa.address, wire.call(token, name, {"id": private}, era=era))
            wire.asked(stoa.address, wire.call(token + "x", name, {"id": private}, era=era))
    wire.asked(stoa.address, wire.listing(None).replace(b"/mcp ", b"/mcp?access_token=" + token.encode() + b" "))
    kept = stoa.audit.read_text() + stoa.printed()
    for text in (token, token.split(".")[1], token.split(".")[2], SECRET, private, "hunter2", "9812345.25"):
        assert text not in kept
