"""B14, too: what is answered from prepared bytes and what the SDK answers are equal, so neither path tells anything.

A member of `_meta` that nobody knows sends a request to the SDK. That both paths were taken is seen by the order of
members, which differs between them.
"""

import json
from typing import Any

import pytest

from tests.threats import wire
from tests.threats.conftest import catalogs
from tests.threats.process import Attacked

VERSIONS = [wire.MODERN, wire.LEGACY, "2025-06-18"]
ALWAYS_SDK = {"ioi_billing_delete_invoice", "ioi_inventory_mirrored"}
"""One may be answered with a question, which the SDK writes; of the other the SDK compares headers."""
GIVEN: dict[str, dict[str, Any]] = {
    "ioi_billing_get_invoice": {"id": "INV-7"},
    "ioi_billing_create_invoice": {"amount": 1.5, "note": "\u0436\U0001f600\u2028"},
    "ioi_billing_list_invoices": {"status": ["open"], "limit": 2},
    "ioi_billing_delete_invoice": {"id": "1"},
    "ioi_inventory_place": {"segment": "s"},
    "stoa_contract": {"contract": "billing"},
    "stoa_approvals_get": {"id": "apr_0123456789abcdef"},
}
TOOLS = [t.name for t in catalogs("http://127.0.0.1:1")["ioi"].tools if t.name != "ioi_billing_leak"]
"""All but the one whose answer tells the request's span, which is new each time."""
PLATFORM = ["stoa_tenants", "stoa_catalog", "stoa_contract", "stoa_tools", "stoa_approvals_list", "stoa_approvals_get"]
WRONG = {
    "ioi_billing_get_invoice": {"idd": "1"},
    "ioi_billing_list_invoices": {"limit": 0, "status": "open", "region": "\r\n"},
    "stoa_contract": {"contract": 7},
    "greg_oasis_get_quest": {"id": "1"},
    "nothing": {},
    "": {},
}


def asked(
    stoa: Attacked, token: str, version: str, method: str, params: dict[str, Any], *, sdk: bool
) -> tuple[Any, bytes]:
    """The answer without what is new in each one, and as it came."""
    meta = wire.envelope(version) if version == wire.MODERN else {}
    if sdk:
        meta |= {"x/y": 1}
    whole = {**params, **({"_meta": meta} if meta else {})}
    body = json.dumps({"jsonrpc": "2.0", "id": "same", "method": method, "params": whole}).encode()
    fields = wire.fields(method, token, era=version, name=params.get("name"))
    if version == wire.MODERN and not params.get("name", "x"):
        fields = [f for f in fields if f[0] != "Mcp-Name"] + [("Mcp-Name", "")]
    answer = wire.asked(stoa.address, wire.request(fields, body))
    told = answer.json()
    told.get("result", {}).get("_meta", {}).pop("dev.gostoa/trace-id", None)
    kind = (answer.status, answer.header("content-type"), answer.header("cache-control"))
    return (kind, told), answer.body


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("roles", [["devops"], ["viewer"], []], ids=str)
def test_lists_are_equal(stoa: Attacked, version: str, roles: list[str]) -> None:
    token = stoa.issuer.token(sub=f"lister {version}", roles=roles)
    prepared, its_bytes = asked(stoa, token, version, "tools/list", {}, sdk=False)
    sdk, other_bytes = asked(stoa, token, version, "tools/list", {}, sdk=True)
    assert prepared == sdk
    assert json.loads(its_bytes) == json.loads(other_bytes)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*TOOLS, *PLATFORM])
def test_calls_are_equal(stoa: Attacked, name: str, version: str) -> None:
    token = stoa.issuer.token(sub=f"caller {version}")
    params = {"name": name, "arguments": GIVEN.get(name, {})}
    if name == "ioi_nowhere_reach":  # Until its circuit is open, each failure may be another.
        for _ in range(3):
            asked(stoa, token, version, "tools/call", params, sdk=False)
    prepared, its_bytes = asked(stoa, token, version, "tools/call", params, sdk=False)
    sdk, other_bytes = asked(stoa, token, version, "tools/call", params, sdk=True)
    assert prepared == sdk
    if name not in ALWAYS_SDK:
        assert members(its_bytes) != members(other_bytes), "both were answered by the same path"


def members(body: bytes) -> list[str]:
    """The names of the result's members in their order."""
    return list(json.loads(body)["result"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", WRONG)
def test_refusals_are_equal(stoa: Attacked, name: str, version: str) -> None:
    token = stoa.issuer.token(sub=f"refused {version}")
    params = {"name": name, "arguments": WRONG[name]}
    prepared, _ = asked(stoa, token, version, "tools/call", params, sdk=False)
    sdk, _ = asked(stoa, token, version, "tools/call", params, sdk=True)
    assert prepared == sdk
