"""B4: a token without a scope is told every scope that is needed, by HTTP status, before any JSON-RPC is read."""

from collections.abc import Iterator
from typing import Any

import pytest

from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world
from tests.threats import wire
from tests.threats.process import Attacked, serving

NEEDED = [bundle.MCP_SCOPE, "stoa-tools", "stoa-billing"]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, issuer: world.Issuer, backend: world.Recorder
) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("scopes")
    tenants = world.catalogs(backend.url)
    index = world.index(issuer.jwks_url, tenants)
    index = index.model_copy(update={"token": index.token.model_copy(update={"scopes": NEEDED})})
    settings = Settings(
        bundle=world.write_bundle(folder / "bundle", index, tenants), port=0, audit=folder / "state" / "a.jsonl"
    )
    with serving(settings, issuer, backend, tenants, folder / "process") as made:
        yield made


@pytest.mark.parametrize(
    "scope",
    [
        None,
        "",
        "openid",
        "stoa-mcp",
        "stoa-tools stoa-billing",
        "stoa-mcp stoa-tools",
        "STOA-MCP stoa-tools stoa-billing",
        "stoa-mcp,stoa-tools,stoa-billing",
        "stoa-mcp-stoa-tools-stoa-billing",
        "stoa-mcp* * stoa",
        ["stoa-mcp", "stoa-tools", "stoa-billing"],
        {"stoa-mcp": True},
        7,
    ],
    ids=repr,
)
@pytest.mark.parametrize("body", ["a call", "an unknown method", "no JSON", "nothing", "too much"])
def test_missing_scope(served: Attacked, scope: Any, body: str) -> None:
    token = served.issuer.token(scope=scope)
    bodies = {
        "a call": wire.message("tools/call", {"name": "ioi_inventory_list_items", "arguments": {}}),
        "an unknown method": wire.message("no/such", {}),
        "no JSON": b"{",
        "nothing": b"",
        "too much": b"x" * 100_000,
    }
    with served.recording() as got:
        answer = wire.asked(served.address, wire.request(wire.fields("tools/call", token), bodies[body]))
    challenge = answer.header("www-authenticate") or ""
    assert answer.status == 403
    assert 'error="insufficient_scope"' in challenge
    assert f'scope="{" ".join(NEEDED)}"' in challenge
    assert 'resource_metadata="https://mcp.example.test/.well-known/oauth-protected-resource/mcp"' in challenge
    assert len([n for n, _ in answer.headers if n == "www-authenticate"]) == 1
    assert answer.json() == {"error": "insufficient_scope"}
    assert got == []


@pytest.mark.parametrize("order", [NEEDED, [*reversed(NEEDED), "openid", "email"]])
def test_all_scopes_in_any_order_are_enough(served: Attacked, order: list[str]) -> None:
    token = served.issuer.token(scope=" ".join(order))
    assert wire.asked(served.address, wire.listing(token)).status == 200


def test_the_metadata_names_the_same_scopes_and_no_offline_access(served: Attacked) -> None:
    head = [("Host", wire.HOST)]
    line = "GET /.well-known/oauth-protected-resource/mcp HTTP/1.1"
    answer = wire.asked(served.address, wire.request(head, b"", line=line, length=False))
    assert answer.json()["scopes_supported"] == NEEDED
