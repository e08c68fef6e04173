"""B9: caches between a caller and the runtime, and within it. No answer of one caller is another's."""

import json
from typing import Any

import pytest

from tests.threats import wire
from tests.threats.process import Attacked

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "the list": ("tools/list", {}),
    "the list beside the prepared one": ("tools/list", {"_meta": {"x/y": 1}}),
    "discovery": ("server/discover", {}),
    "a call": ("tools/call", {"name": "ioi_inventory_list_items", "arguments": {}}),
    "a call beside the prepared one": (
        "tools/call",
        {"name": "ioi_inventory_list_items", "arguments": {}, "_meta": {"x/y": 1}},
    ),
    "a call that fails": ("tools/call", {"name": "ioi_billing_crash", "arguments": {}}),
    "a call with bad arguments": ("tools/call", {"name": "ioi_billing_get_invoice", "arguments": {}}),
    "a call that waits for approval": ("tools/call", {"name": "ioi_billing_delete_invoice", "arguments": {"id": "1"}}),
    "a call of a tool that is none": ("tools/call", {"name": "nothing", "arguments": {}}),
    "a call of a platform's tool": ("tools/call", {"name": "stoa_tools", "arguments": {}}),
    "a call with progress": (
        "tools/call",
        {"name": "ioi_inventory_list_items", "arguments": {}, "_meta": {"progressToken": 1}},
    ),
    "a method that is none": ("no/such", {}),
    "a notification": ("notifications/cancelled", {}),
}


def private(answer: wire.Answer) -> bool:
    said = {part.strip() for n, v in answer.headers if n == "cache-control" for part in v.split(",")}
    return "public" not in said and bool({"private", "no-store"} & said)


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("what", REQUESTS)
def test_no_cache_may_keep(stoa: Attacked, parzival: str, what: str, era: str) -> None:
    method, params = REQUESTS[what]
    fields = wire.fields(method, parzival, era=era, name=params.get("name"))
    answer = wire.asked(stoa.address, wire.request(fields, wire.message(method, params, era=era)))
    assert private(answer), answer.headers


@pytest.mark.parametrize("token", ["none", "bad", "without scope"])
@pytest.mark.parametrize("target", ["/mcp", "/api/v1/tenants"])
def test_no_cache_may_keep_a_refusal(stoa: Attacked, token: str, target: str) -> None:
    given = {"none": None, "bad": "x.y.z", "without scope": stoa.issuer.token(scope="openid")}[token]
    line = f"{'POST' if target == '/mcp' else 'GET'} {target} HTTP/1.1"
    data = wire.request(wire.fields("tools/list", given), wire.message("tools/list", {}), line=line)
    assert private(wire.asked(stoa.address, data))


@pytest.mark.parametrize(
    "path",
    [
        "/tenants",
        "/tenants/ioi",
        "/tenants/greg",
        "/access/me",
        "/approvals",
        "/nothing",
        "/openapi.json",
        "/tenants?x=1",
    ],
)
def test_no_cache_may_keep_an_answer_of_the_api(stoa: Attacked, parzival: str, path: str) -> None:
    line = f"GET /api/v1{path} HTTP/1.1"
    answer = wire.asked(stoa.address, wire.request(wire.fields("", parzival), b"", line=line, length=False))
    assert private(answer)
    assert answer.header("vary") == "Authorization"


def test_an_entity_tag_of_one_caller_tells_another_nothing(stoa: Attacked, parzival: str) -> None:
    sorrento = stoa.issuer.token(sub="sorrento", tenant="greg")

    def asked(token: str, tag: str | None = None) -> wire.Answer:
        more = [("If-None-Match", tag)] if tag else []
        line = "GET /api/v1/tenants HTTP/1.1"
        return wire.asked(stoa.address, wire.request([*wire.fields("", token), *more], b"", line=line, length=False))

    mine, theirs = asked(parzival), asked(sorrento)
    assert mine.header("etag") != theirs.header("etag")
    assert asked(parzival, mine.header("etag")).status == 304
    assert asked(sorrento, mine.header("etag")).status == 200


@pytest.mark.parametrize("era", wire.ERAS)
def test_lists_are_private_and_each_callers_own_however_they_are_mixed(stoa: Attacked, era: str) -> None:
    """The prepared list, the verified token and the principal are remembered: each under all that decides it."""
    callers = {
        "devops of ioi": stoa.issuer.token(sub="same"),
        "viewer of ioi": stoa.issuer.token(sub="same", roles=["viewer"]),
        "nobody of ioi": stoa.issuer.token(sub="same", roles=[]),
        "application of ioi": stoa.issuer.token(sub="same", azp="ioi.shop"),
        "devops of greg": stoa.issuer.token(sub="same", tenant="greg"),
        "platform": stoa.issuer.token(sub="same", tenant="platform", roles=["cpi-admin"]),
    }

    def names(token: str, data: bytes | None = None) -> list[str]:
        result = wire.asked(stoa.address, data or wire.listing(token, era=era)).json()["result"]
        if era == wire.MODERN:
            assert result["cacheScope"] == "private"
        return [tool["name"] for tool in result["tools"]]

    alone = {who: names(token) for who, token in callers.items()}
    assert len({json.dumps(listed) for listed in alone.values()}) == len(callers)
    with wire.Wire(stoa.address) as connection:
        for _ in range(5):
            for who, token in callers.items():
                connection.send(wire.listing(token, era=era))
                answer = connection.answer()
                assert answer is not None
                assert [tool["name"] for tool in answer.json()["result"]["tools"]] == alone[who]


def test_only_the_metadata_is_public_and_it_names_no_tenant(stoa: Attacked) -> None:
    line = "GET /.well-known/oauth-protected-resource/mcp HTTP/1.1"
    answer = wire.asked(stoa.address, wire.request([("Host", wire.HOST)], b"", line=line, length=False))
    assert answer.header("cache-control") == "public, max-age=300"
    assert b"greg" not in answer.body
    assert b"ioi" not in answer.body
