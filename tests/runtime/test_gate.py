"""What stops before the protocol: bad tokens, missing scopes, wrong hosts, unsound bodies."""

import base64
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from tests.runtime.world import MCP_URL, MODERN, Issuer, World

PARAMS = {"name": "ioi_inventory_list_items", "arguments": {}}


def b64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def none_token(issuer: Issuer) -> str:
    return f"{b64({'alg': 'none', 'typ': 'JWT', 'kid': 'k1'})}.{b64(issuer.claims())}."


def public_key_as_hmac_secret(issuer: Issuer) -> str:
    import hashlib
    import hmac

    pem = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{b64(issuer.claims())}"
    digest = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def attacks(issuer: Issuer) -> dict[str, str]:
    now = int(time.time())
    good = issuer.token()
    head, body, signature = good.split(".")
    return {
        "no algorithm": none_token(issuer),
        "HS256 with the public key": public_key_as_hmac_secret(issuer),
        "another algorithm": jwt.encode(issuer.claims(), issuer.key, algorithm="RS512", headers={"kid": "k1"}),
        "another issuer": issuer.token(iss="https://id.example.test/realms/stoa2"),
        "issuer with a slash": issuer.token(iss="https://id.example.test/realms/stoa/"),
        "another audience": issuer.token(aud="https://other.example.test/mcp"),
        "audience with a slash": issuer.token(aud=MCP_URL + "/"),
        "audience of the host only": issuer.token(aud="https://mcp.example.test"),
        "no audience": issuer.token(aud=None),
        "expired": issuer.token(exp=now - 31),
        "no expiry": issuer.token(exp=None),
        "not yet valid": issuer.token(nbf=now + 60),
        "issued in the future": issuer.token(iat=now + 60),
        "no subject": issuer.token(sub=None),
        "unknown key": issuer.token(headers={"kid": "k9"}),
        "key name of another type": issuer.token(headers={"kid": "../k1"}),
        "signed by another key": issuer.token(key=issuer.other),
        "crit header": issuer.token(headers={"crit": ["exp"]}),
        "jku header": issuer.token(headers={"jku": "https://evil.test/jwks"}),
        "x5u header": issuer.token(headers={"x5u": "https://evil.test/x5u"}),
        "jwk header": issuer.token(headers={"jwk": issuer.published("k1", issuer.other)}),
        "another type": issuer.token(headers={"typ": "logout+jwt"}),
        "identity token": issuer.token(typ="ID"),
        "changed claims": f"{head}.{b64(issuer.claims(tenant='greg'))}.{signature}",
        "no signature": f"{head}.{body}.",
        "not a token": "not-a-token",
        "two tenants": issuer.token(tenant=["ioi", "greg"]),
        "no tenant": issuer.token(tenant=None),
        "empty list of tenants": issuer.token(tenant=[]),
        "unknown tenant": issuer.token(tenant="nobody"),
        "tenant of another case": issuer.token(tenant="IOI"),
        "tenant as an object": issuer.token(tenant={"name": "ioi"}),
        "unknown client": issuer.token(azp="someone"),
        "no client": issuer.token(azp=None),
        "two clients": issuer.token(client_id="other"),
        "client of another tenant": issuer.token(azp="ioi.shop", tenant="greg"),
        "client of a tenant as the platform": issuer.token(azp="ioi.shop", tenant="platform"),
        "roles as text": issuer.token(roles="devops"),
        "too long": issuer.token(padding="x" * 20_000),
    }


def test_no_bad_token_is_accepted(stoa: World) -> None:
    for attack, token in attacks(stoa.issuer).items():
        with stoa.recording() as got:
            answer = stoa.post("tools/call", PARAMS, token=token)
        assert answer.status_code == 401, attack
        challenge = answer.headers["WWW-Authenticate"]
        assert 'error="invalid_token"' in challenge, attack
        assert 'resource_metadata="https://mcp.example.test/.well-known/oauth-protected-resource/mcp"' in challenge, (
            attack
        )
        assert 'scope="stoa-mcp"' in challenge, attack
        assert got == [], attack
        line = stoa.audit_lines()[-1]
        assert (line["decision"], line["bundle"]) == ("refused", stoa.digest), attack
        assert line["rule"] in ("token", "principal"), attack
        assert token not in stoa.audit.read_text()


def test_good_tokens_in_their_variants_are_accepted(stoa: World) -> None:
    now = int(time.time())
    for token in (
        stoa.issuer.token(),
        stoa.issuer.token(aud=MCP_URL),
        stoa.issuer.token(aud=["account", MCP_URL]),
        stoa.issuer.token(exp=now - 5),
        stoa.issuer.token(tenant=["ioi"]),
        stoa.issuer.token(azp=None, client_id="claude"),
        stoa.issuer.token(scope="openid stoa-mcp", typ="Bearer"),
        stoa.issuer.token(headers={"typ": "at+jwt"}),
    ):
        assert stoa.post("tools/call", PARAMS, token=token).status_code == 200


def test_no_token_is_answered_with_where_to_sign_in(stoa: World) -> None:
    answer = stoa.post("tools/list", {}, token=None)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")
    assert "error=" not in answer.headers["WWW-Authenticate"]
    for value in ("Basic abc", "Bearer", f"bearer  {stoa.issuer.token()}x"):
        assert stoa.post("tools/list", {}, token=None, headers={"Authorization": value}).status_code == 401


def test_a_token_is_not_taken_from_the_query(stoa: World) -> None:
    answer = httpx2.post(
        f"{stoa.url}/mcp?access_token={stoa.issuer.token()}", headers={"Host": "mcp.example.test"}, json={}
    )
    assert answer.status_code == 401


def test_a_missing_scope_is_told_by_status_before_the_protocol(stoa: World) -> None:
    for scope in ("openid", "", None, "stoa-mcp-more"):
        answer = stoa.post("no/such/method", {}, token=stoa.issuer.token(scope=scope))
        assert answer.status_code == 403
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
        assert 'scope="stoa-mcp"' in answer.headers["WWW-Authenticate"]


def test_a_key_that_its_issuer_replaces_stops_counting(stoa: World) -> None:
    """The set of keys is looked at again for an unknown name, not more often than the pause allows."""
    asked = len(stoa.issuer.server.requests)
    for _ in range(5):
        assert stoa.post("tools/call", PARAMS, token=stoa.issuer.token(headers={"kid": "k7"})).status_code == 401
    assert len(stoa.issuer.server.requests) - asked <= 1


def test_other_hosts_and_origins_are_refused(stoa: World, parzival: str) -> None:
    def status(**headers: str) -> int:
        return stoa.post("tools/call", PARAMS, token=parzival, headers=headers).status_code

    assert status() == 200
    assert status(Host="mcp.example.test:443") == 200
    assert status(Host="evil.test") == 421
    assert status(Host=urlsplit(stoa.url).netloc) == 421
    assert status(Host="mcp.example.test.evil.test") == 421
    assert status(Origin="https://mcp.example.test") == 200
    assert status(Origin="https://evil.test") == 403
    assert status(Origin="null") == 403


def test_only_post_is_served(stoa: World, parzival: str) -> None:
    for method in ("GET", "DELETE", "PUT", "OPTIONS"):
        answer = httpx2.request(
            method,
            f"{stoa.url}/mcp",
            headers={"Host": "mcp.example.test", "Authorization": f"Bearer {parzival}", "Accept": "text/event-stream"},
        )
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b"\xff\xfe",
        b"[" * 70 + b"]" * 70,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":' + b"1" * 5000 + b"}",
    ],
)
def test_unsound_json_is_refused(stoa: World, parzival: str, body: bytes) -> None:
    answer = stoa.post(
        "tools/list", {}, token=parzival, json=None, content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in (-32700, -32600)


def test_a_batch_is_refused(stoa: World, parzival: str) -> None:
    assert stoa.post("tools/list", {}, token=parzival, json=[{"jsonrpc": "2.0"}]).status_code == 400


def test_too_large_bodies_are_refused_also_without_a_length(stoa: World, parzival: str) -> None:
    big = {"name": "ioi_billing_get_invoice", "arguments": {"id": "x" * 70_000}}
    assert stoa.post("tools/call", big, token=parzival).status_code == 413

    def pieces() -> Any:
        for _ in range(40):
            yield b" " * 4096

    answer = stoa.post(
        "tools/list", {}, token=parzival, json=None, content=pieces(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_a_body_that_does_not_come_ends_the_request(stoa: World, parzival: str) -> None:
    parts = urlsplit(stoa.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(
            f"POST /mcp HTTP/1.1\r\nHost: mcp.example.test\r\nAuthorization: Bearer {parzival}\r\n"
            f"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
        assert connection.recv(200).startswith(b"HTTP/1.1 408")


def test_headers_that_disagree_with_the_body_are_refused(stoa: World, parzival: str) -> None:
    for headers in (
        {"Mcp-Method": "tools/list"},
        {"Mcp-Name": "ioi_billing_big"},
        {"MCP-Protocol-Version": "2099-01-01"},
    ):
        answer = stoa.post("tools/call", PARAMS, token=parzival, headers=headers)
        assert answer.status_code == 400, headers
        assert answer.json()["error"]["code"] in (-32020, -32022)
    assert stoa.post("tools/call", PARAMS, token=parzival, headers={"MCP-Protocol-Version": MODERN}).status_code == 200


def test_a_refusal_in_the_log_cannot_forge_a_line(stoa: World, parzival: str) -> None:
    name = 'x"}\n{"decision":"allowed"\u2028\x1b[31m' + "y" * 500
    before = len(stoa.audit_lines())
    stoa.post("tools/call", {"name": name}, token=parzival, headers={"Mcp-Name": "=?base64?eA==?="})
    encoded = "=?base64?" + base64.b64encode(name.encode()).decode() + "?="
    stoa.post("tools/call", {"name": name}, token=parzival, headers={"Mcp-Name": encoded})
    [line] = stoa.audit_lines()[before:]
    assert line["decision"] == "refused"
    assert "\x1b" not in line["asked"]
    assert len(line["asked"]) < 200
