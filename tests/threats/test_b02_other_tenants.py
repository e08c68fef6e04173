"""B2: a good token of one tenant, and another tenant named in every place. It is answered as what does not exist."""

import json
from typing import Any

import pytest

from tests.runtime.world import CLIENT
from tests.threats import wire
from tests.threats.process import Attacked

THEIRS, MISSING = "greg_oasis_get_quest", "greg_oasis_get_quesz"
OURS = "ioi_inventory_list_items"


def without_traces(answer: wire.Answer, *names: str) -> tuple[int, str]:
    """An answer without what differs from call to call anyway, and the names that were asked for."""
    value = answer.json()
    meta = value.get("result", {}).get("_meta", {})
    meta.pop("dev.gostoa/trace-id", None)
    text = json.dumps(value, sort_keys=True)
    for name in names:
        text = text.replace(name, "NAME")
    return answer.status, text


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize(
    "name",
    [
        THEIRS,
        "GREG_oasis_get_quest",
        "greg:oasis:get_quest",
        "greg/oasis/get_quest",
        " greg_oasis_get_quest",
        "greg_oasis_get_quest\u200b",
        "greg_oasis_get_quest\0",
        "ioi_../greg_oasis_get_quest",
        "oasis_get_quest",
        "get_quest",
        "stoa_security_posture",
        "__proto__",
        "",
    ],
)
def test_another_tenants_tool_by_name(stoa: Attacked, parzival: str, name: str, era: str) -> None:
    """The header is encoded, as clients do with names beyond ASCII; the answers differ in nothing."""
    import base64

    encoded = "=?base64?" + base64.b64encode(name.encode()).decode() + "?="

    def asked(given: str, header: str) -> tuple[int, str]:
        body = wire.message("tools/call", {"name": given, "arguments": {"id": "1"}}, era=era)
        data = wire.request(wire.fields("tools/call", parzival, era=era, name=header), body)
        return without_traces(wire.asked(stoa.address, data))

    with stoa.recording() as got:
        theirs = asked(name, encoded)
        missing = asked(MISSING, MISSING)
    assert theirs == missing
    assert '"code": -32602' in theirs[1]
    assert got == []


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Tenant": "greg"},
        {"X-Tenant-Id": "greg"},
        {"Tenant": "greg"},
        {"X-Forwarded-Host": "greg.example.test"},
        {"X-Original-URL": "/greg/mcp"},
        {"X-Rewrite-URL": "/greg/mcp"},
        {"Forwarded": "host=greg.example.test"},
        {"X-User": "sorrento"},
        {"X-Forwarded-User": "sorrento"},
        {"X-Auth-Request-Groups": "cpi-admin"},
        {"Cookie": "tenant=greg; role=cpi-admin"},
        {"baggage": "tenant=greg"},
        {"tracestate": "tenant=greg"},
        {"Mcp-Session-Id": "greg"},
        {"Mcp-Param-Tenant": "greg"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_another_tenant_by_header(stoa: Attacked, parzival: str, headers: dict[str, str], era: str) -> None:
    fields = [*wire.fields("tools/call", parzival, era=era, name=THEIRS), *headers.items()]
    body = wire.message("tools/call", {"name": THEIRS, "arguments": {"id": "1"}}, era=era)
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.request(fields, body))
    assert answer.json()["error"]["code"] in (-32602, -32020)
    assert got == []
    own = wire.fields("tools/list", parzival, era=era)
    plain = wire.asked(stoa.address, wire.request(own, wire.message("tools/list", {}, era=era)))
    listed = wire.asked(stoa.address, wire.request([*own, *headers.items()], wire.message("tools/list", {}, era=era)))
    if listed.status == 200:
        assert without_traces(listed) == without_traces(plain)
    assert b"greg" not in listed.body


@pytest.mark.parametrize("host", ["greg.example.test", "greg.mcp.example.test", "mcp.example.test.greg.test", "greg"])
def test_another_tenant_by_host(stoa: Attacked, parzival: str, host: str) -> None:
    answer = wire.asked(
        stoa.address, wire.listing(parzival).replace(b"Host: mcp.example.test", f"Host: {host}".encode())
    )
    assert (answer.status, answer.body) == (421, b"This host is not served here.")


@pytest.mark.parametrize(
    "target",
    [
        "/greg/mcp",
        "/mcp/greg",
        "/mcp/",
        "/mcp/..;/greg",
        "/mcp%2fgreg",
        "/tenants/greg/mcp",
        "//mcp",
        "/MCP",
        "/mcp;greg",
    ],
)
def test_another_tenant_by_path(stoa: Attacked, parzival: str, target: str) -> None:
    answer = wire.asked(stoa.address, wire.listing(parzival).replace(b"POST /mcp ", f"POST {target} ".encode()))
    assert answer.status == 404
    assert b"greg" not in answer.body


@pytest.mark.parametrize("query", ["tenant=greg", "t=greg", "as=sorrento", "roles=cpi-admin"])
def test_another_tenant_by_query(stoa: Attacked, parzival: str, query: str) -> None:
    plain = wire.asked(stoa.address, wire.listing(parzival))
    asked = wire.asked(stoa.address, wire.listing(parzival).replace(b"/mcp ", f"/mcp?{query} ".encode()))
    assert without_traces(asked) == without_traces(plain)


@pytest.mark.parametrize("key", ["tenant", "_tenant", "x-tenant", "__proto__", "contract"])
def test_another_tenant_by_argument_or_parameter(stoa: Attacked, parzival: str, key: str) -> None:
    with stoa.recording() as got:
        argued = wire.asked(stoa.address, wire.call(parzival, OURS, {key: "greg"})).json()["result"]
        params = wire.asked(stoa.address, wire.call(parzival, THEIRS, {"id": "1"}, **{key: "ioi"}))
        meta = wire.asked(stoa.address, wire.call(parzival, THEIRS, {"id": "1"}, _meta={f"dev.gostoa/{key}": "greg"}))
    assert argued["isError"] is True
    assert f"no argument `{key}`" in argued["content"][0]["text"]
    assert params.json()["error"]["code"] == meta.json()["error"]["code"] == -32602
    assert got == []


@pytest.mark.parametrize(
    ("tool", "theirs", "missing"),
    [
        ("stoa_catalog", {"tenant": "greg"}, {"tenant": "gred"}),
        ("stoa_tools", {"tenant": "greg"}, {"tenant": "gred"}),
        ("stoa_contract", {"tenant": "greg", "contract": "oasis"}, {"tenant": "gred", "contract": "oasis"}),
        ("stoa_contract", {"contract": "oasis"}, {"contract": "oasiz"}),
        ("stoa_approvals_list", {"tenant": "greg"}, {"tenant": "gred"}),
        ("stoa_approvals_get", {"id": "apr_0123456789abcdef"}, {"id": "apr_0123456789abcdee"}),
    ],
)
@pytest.mark.parametrize("era", wire.ERAS)
def test_another_tenant_asked_of_the_platforms_tools(
    stoa: Attacked, parzival: str, tool: str, theirs: dict[str, str], missing: dict[str, str], era: str
) -> None:
    names = ("greg", "gred", "oasis", "oasiz", *theirs.values(), *missing.values())
    answers = [
        without_traces(wire.asked(stoa.address, wire.call(parzival, tool, given, era=era)), *names)
        for given in (theirs, missing)
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("path", ["/tenants/{}", "/tenants/{}/contracts", "/tenants/{}/tools", "/tenants/{}/consumers"])
def test_another_tenant_asked_of_the_api(stoa: Attacked, parzival: str, path: str) -> None:
    def asked(name: str) -> tuple[int, bytes, list[tuple[str, str]]]:
        head = [("Host", wire.HOST), ("Authorization", f"Bearer {parzival}")]
        line = f"GET /api/v1{path.format(name)} HTTP/1.1"
        answer = wire.asked(stoa.address, wire.request(head, b"", line=line, length=False))
        return answer.status, answer.body, [h for h in answer.headers if h[0] not in ("date", "stoa-trace-id")]

    theirs, missing = asked("greg"), asked("gred")
    assert theirs == missing
    assert theirs[0] == 404


CLAIMS: dict[str, dict[str, Any]] = {
    "several tenants": {"tenant": ["ioi", "greg"]},
    "the same tenant twice": {"tenant": ["ioi", "ioi"]},
    "no tenant in the list": {"tenant": []},
    "tenants with a comma": {"tenant": "ioi,greg"},
    "tenants with a space": {"tenant": "ioi greg"},
    "a wildcard": {"tenant": "*"},
    "another case": {"tenant": "Ioi"},
    "a homoglyph": {"tenant": "\u0456oi"},
    "fullwidth letters": {"tenant": "\uff49\uff4f\uff49"},
    "a space behind it": {"tenant": "ioi "},
    "a NUL behind it": {"tenant": "ioi\0"},
    "a path": {"tenant": "../greg"},
    "an object": {"tenant": {"greg": True}},
    "a list in a list": {"tenant": [["greg"]]},
    "a number": {"tenant": 0},
    "a truth value": {"tenant": True},
    "null in a list": {"tenant": [None]},
    "none": {"tenant": None},
    "another claim of a like name": {"tenant": None, "tenants": "ioi", "Tenant": "ioi", "tenant_id": "ioi"},
    "a reserved name": {"tenant": "system"},
    "another tenant's application": {"tenant": "greg", "azp": "ioi.shop"},
    "a tenant's application as the platform": {"tenant": "platform", "azp": "ioi.shop"},
    "an application that nobody has": {"azp": "ioi.shop2"},
    "an application of another case": {"azp": "IOI.shop"},
    "two clients": {"azp": CLIENT, "client_id": "ioi.shop"},
    "client as a list": {"azp": [CLIENT]},
    "no client": {"azp": None},
    "roles as text": {"roles": "devops"},
    "roles with an object": {"roles": ["devops", {"name": "cpi-admin"}]},
}


@pytest.mark.parametrize("attack", CLAIMS)
def test_claims_that_name_no_single_caller(stoa: Attacked, attack: str) -> None:
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.call(stoa.issuer.token(**CLAIMS[attack]), OURS))
    assert answer.status == 401
    assert got == []
    line = stoa.audit_lines()[-1]
    assert (line["decision"], line["rule"], line["subject"]) == ("refused", "principal", None)


@pytest.mark.parametrize(
    "roles", [["cpi-admin"], ["CPI-ADMIN"], ["devops "], ["*"], ["watch", "cpi-admin"], ["admin"], ["platform"]]
)
def test_roles_of_the_platform_give_a_tenants_person_nothing(stoa: Attacked, roles: list[str]) -> None:
    """Neither another tenant's tools nor its own: a role counts where its scope is that of the token's tenant."""
    token = stoa.issuer.token(roles=roles, sub=f"nobody of {roles}")
    listed = wire.asked(stoa.address, wire.listing(token)).json()["result"]["tools"]
    assert not [t["name"] for t in listed if not t["name"].startswith("stoa_security")]
    for name in (THEIRS, OURS):
        assert wire.asked(stoa.address, wire.call(token, name, {"id": "1"})).json()["error"]["code"] == -32602


def test_a_consumer_reaches_the_contracts_that_it_subscribes_to_and_no_others(stoa: Attacked) -> None:
    token = stoa.issuer.token(azp="ioi.shop", sub="service-account-shop")
    for name in (THEIRS, "ioi_billing_get_invoice", "stoa_tools", "stoa_catalog"):
        assert wire.asked(stoa.address, wire.call(token, name, {"id": "1"})).json()["error"]["code"] == -32602, name
    assert wire.asked(stoa.address, wire.call(token, OURS)).json()["result"]["isError"] is False
