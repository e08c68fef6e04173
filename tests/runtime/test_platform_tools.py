"""The platform's own tools: each caller sees its own part, and the rest is as if it were not."""

from typing import Any

import jsonschema_rs
import pytest

from stoa_runtime.platform_tools import PLATFORM_TOOLS
from tests.runtime.world import World


def asked(stoa: World, token: str, tool: str, **arguments: Any) -> Any:
    result = stoa.call(f"stoa_{tool}", arguments, token=token)
    if result["isError"]:
        return result["content"][0]["text"]
    schema = next(t.output_schema for t in PLATFORM_TOOLS if t.name == f"stoa_{tool}")
    jsonschema_rs.Draft202012Validator(dict(schema)).validate(result["structuredContent"])
    return result["structuredContent"]


def test_tenants(stoa: World, parzival: str, sorrento: str, halliday: str) -> None:
    def names(token: str) -> list[str]:
        return [t["name"] for t in asked(stoa, token, "tenants")["tenants"]]

    assert names(parzival) == ["ioi"]
    assert names(sorrento) == ["greg"]
    assert names(halliday) == ["greg", "ioi"]
    [own] = asked(stoa, parzival, "tenants")["tenants"]
    assert (own["contracts"], own["tools"]) == (6, len(stoa.tenants["ioi"].tools))


def test_catalog_and_tools(stoa: World, parzival: str, halliday: str) -> None:
    contracts = asked(stoa, parzival, "catalog")["contracts"]
    assert [c["name"] for c in contracts] == ["billing", "inventory", "keyless", "nowhere", "private", "slow"]
    assert {c["tenant"] for c in contracts} == {"ioi"}
    assert [c["name"] for c in asked(stoa, halliday, "catalog", tenant="greg")["contracts"]] == ["oasis"]
    tools = asked(stoa, parzival, "tools", contract="billing", sideEffects="destructive")["tools"]
    assert [(t["id"], t["approval"]) for t in tools] == [("ioi:billing:delete_invoice", True)]
    assert asked(stoa, halliday, "tools", tenant="greg")["tools"][0]["id"] == "greg:oasis:get_quest"


def test_contract(stoa: World, parzival: str, halliday: str) -> None:
    own = asked(stoa, parzival, "contract", contract="inventory")
    assert [t["name"] for t in own["tools"]] == ["ioi_inventory_list_items"]
    assert "url" not in str(own)
    assert asked(stoa, halliday, "contract", contract="oasis")["tenant"] == "greg"


def test_what_is_anothers_is_answered_like_what_does_not_exist(stoa: World, parzival: str) -> None:
    foreign, missing = (asked(stoa, parzival, "contract", contract=name) for name in ("oasis", "xxxxx"))
    assert foreign.replace("oasis", "?") == missing.replace("xxxxx", "?")
    foreign, missing = (asked(stoa, parzival, "catalog", tenant=name) for name in ("greg", "zzzz"))
    assert foreign.replace("greg", "?") == missing.replace("zzzz", "?")
    foreign, missing = (asked(stoa, parzival, "tools", contract=name) for name in ("oasis", "xxxxx"))
    assert foreign.replace("oasis", "?") == missing.replace("xxxxx", "?")
    assert "`billing`" in asked(stoa, parzival, "contract", contract="biling")


def test_posture_needs_its_permission(stoa: World, parzival: str, halliday: str) -> None:
    posture = asked(stoa, halliday, "security_posture")
    assert posture["bundle"] == stoa.digest
    ioi = next(t for t in posture["tenants"] if t["tenant"] == "ioi")
    assert ioi["approvals"] == 1
    assert "inventory: the backend is called without a credential" in ioi["findings"]
    assert stoa.call("stoa_security_posture", token=parzival)["code"] == -32602


def test_posture_does_not_tell_of_tools_that_its_caller_does_not_see(stoa: World) -> None:
    """In this bundle `watch` may look at the posture, and no grant gives it a tool."""
    token = stoa.issuer.token(roles=["watch"])
    [own] = asked(stoa, token, "security_posture")["tenants"]
    assert (own["tools"], own["approvals"]) == ({}, 0)
    assert "ioi:billing" not in str(own)


def test_a_client_of_a_consumer_has_no_platform_tools(stoa: World) -> None:
    token = stoa.issuer.token(azp="ioi.shop")
    assert stoa.call("stoa_tenants", token=token)["code"] == -32602
    assert stoa.call("ioi_inventory_list_items", token=token)["isError"] is False
    assert stoa.call("ioi_billing_get_invoice", {"id": "1"}, token=token)["code"] == -32602


def test_wrong_arguments_are_told(stoa: World, parzival: str) -> None:
    assert "did you mean `contract`?" in asked(stoa, parzival, "tools", contrct="billing")
    assert "`contract` is missing" in asked(stoa, parzival, "contract")


@pytest.mark.anyio
async def test_the_official_client_accepts_every_answer(stoa: World, halliday: str) -> None:
    for mode in ("legacy", "auto"):
        async with stoa.client(halliday, mode) as client:
            await client.list_tools()
            for tool in PLATFORM_TOOLS:
                if tool.name in ("stoa_approvals_decide", "stoa_approvals_get"):
                    continue  # There is none to show or to decide; test_approvals_served.py has some.
                arguments = {"contract": "oasis"} if tool.name == "stoa_contract" else {}
                result = await client.call_tool(tool.name, arguments)
                assert not result.is_error, (mode, tool.name)
