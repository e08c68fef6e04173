"""Listing and calling over HTTP with the official client, in both eras of the protocol."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from stoa_runtime.settings import Settings
from tests.runtime.world import CLIENT, LEGACY, MCP_URL, MODERN, SECRET, World, index, listening, write_bundle

CATALOG_TOOLS = [
    "stoa_approvals_get",
    "stoa_approvals_list",
    "stoa_catalog",
    "stoa_contract",
    "stoa_tenants",
    "stoa_tools",
]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", [MODERN, "auto", "legacy"])
async def test_each_caller_sees_its_own_tools_and_no_others(
    stoa: World, parzival: str, sorrento: str, halliday: str, mode: str
) -> None:
    ioi, greg = ([t.name for t in stoa.tenants[n].tools] for n in ("ioi", "greg"))
    for token, expected in (
        (parzival, CATALOG_TOOLS + ioi),
        (sorrento, CATALOG_TOOLS + greg),
        (halliday, sorted([*CATALOG_TOOLS, "stoa_security_posture"]) + greg + ioi),
        (stoa.issuer.token(roles=["viewer"]), [t.name for t in stoa.tenants["ioi"].tools if t.side_effects == "read"]),
        (stoa.issuer.token(roles=[]), []),
        (stoa.issuer.token(roles=None), []),
        (stoa.issuer.token(roles=["cpi-admin"]), []),
        (stoa.issuer.token(azp="ioi.shop"), ["ioi_inventory_list_items"]),
    ):
        async with stoa.client(token, mode) as client:
            listed = await client.list_tools()
            assert [t.name for t in listed.tools] == expected


@pytest.mark.anyio
async def test_tools_carry_ids_hints_and_schemas_for_their_era(stoa: World, parzival: str) -> None:
    async with stoa.client(parzival) as client:
        modern = await client.list_tools()
    async with stoa.client(parzival, "legacy") as client:
        legacy = {t.name: t for t in (await client.list_tools()).tools}
    assert (modern.ttl_ms, modern.cache_scope) == (60_000, "private")
    assert modern.meta is not None
    assert modern.meta["dev.gostoa/bundle"] == stoa.digest
    tool = next(t for t in modern.tools if t.name == "ioi_billing_list_invoices")
    assert tool.meta == {"dev.gostoa/id": "ioi:billing:list_invoices"}
    assert tool.annotations is not None
    assert tool.annotations.read_only_hint is True
    assert tool.output_schema is not None
    assert tool.output_schema["type"] == "array"
    wrapped = legacy["ioi_billing_list_invoices"].output_schema
    assert wrapped is not None
    assert wrapped["required"] == ["result"]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", [MODERN, "legacy"])
async def test_a_call_reaches_the_backend_and_is_found_in_the_audit_log(stoa: World, parzival: str, mode: str) -> None:
    with stoa.recording() as got:
        async with stoa.client(parzival, mode) as client:
            result = await client.call_tool("ioi_billing_get_invoice", {"id": "INV-7"})
            many = await client.call_tool("ioi_billing_list_invoices", {"status": ["open", "paid"], "limit": 2})
    assert result.structured_content == {"id": "INV-7", "amount": 9812345.25}
    assert json.loads(result.content[0].text) == result.structured_content
    assert many.structured_content == (
        {"result": [{"id": "a", "amount": 1}, {"id": "b", "amount": 2}]}
        if mode == "legacy"
        else [{"id": "a", "amount": 1}, {"id": "b", "amount": 2}]
    )
    assert [r["target"] for r in got] == ["/invoices/INV-7", "/invoices?status=open&status=paid&limit=2"]
    assert result.meta is not None
    assert result.meta["dev.gostoa/bundle"] == stoa.digest
    trace = result.meta["dev.gostoa/trace-id"]
    [line] = [line for line in stoa.audit_lines() if line["trace_id"] == trace]
    assert line["tool"] == "ioi:billing:get_invoice"
    assert (line["subject"], line["tenant"], line["client"]) == ("parzival", "ioi", CLIENT)
    assert (line["decision"], line["rule"], line["backend_status"]) == ("allowed", "granted", 200)
    assert line["bundle"] == stoa.digest
    assert line["duration_ms"] > 0
    assert "INV-7" not in json.dumps(line)
    assert dict(got[0]["headers"])["traceparent"].split("-")[1] == trace


def test_the_backend_gets_its_own_credential_and_nothing_of_the_callers(stoa: World, parzival: str) -> None:
    with stoa.recording() as got:
        stoa.call(
            "ioi_billing_get_invoice",
            {"id": "1"},
            token=parzival,
            headers={"Cookie": "session=caller", "X-Forwarded-For": "10.0.0.1", "X-Secret": "caller"},
        )
        stoa.call("ioi_inventory_list_items", token=parzival, headers={"Cookie": "session=caller"})
    with_credential, without = (r["headers"] for r in got)
    assert [v for k, v in with_credential if k == "authorization"] == [f"Bearer {SECRET}"]
    assert parzival not in json.dumps([with_credential, without])
    assert "caller" not in json.dumps([with_credential, without])
    assert not [v for k, v in without if k in ("authorization", "cookie", "x-forwarded-for")]


def test_another_tenants_tool_is_answered_like_one_that_does_not_exist(stoa: World, parzival: str) -> None:
    answers = [
        stoa.post("tools/call", {"name": name, "arguments": {"id": "1"}}, token=parzival)
        for name in ("greg_oasis_get_quest", "greg_oasis_no_such_tool", "stoa_security_posture", "x")
    ]
    assert len({(a.status_code, a.content) for a in answers}) == 1
    assert answers[0].json()["error"]["code"] == -32602
    rules = [(line["rule"], line["tool"], line["asked"]) for line in stoa.audit_lines()[-4:]]
    assert rules[0] == ("tool-not-visible", "greg:oasis:get_quest", "greg_oasis_get_quest")
    assert rules[1] == ("tool-unknown", None, "greg_oasis_no_such_tool")


@pytest.mark.anyio
async def test_the_same_holds_for_the_legacy_protocol(stoa: World, parzival: str) -> None:
    said = []
    async with stoa.client(parzival, "legacy") as client:
        for name in ("greg_oasis_get_quest", "greg_oasis_no_such_tool"):
            with pytest.raises(MCPError) as refused:
                await client.call_tool(name, {"id": "1"})
            said.append((refused.value.code, refused.value.message, refused.value.data))
    assert said[0] == said[1]
    assert said[0][0] == -32602


def test_wrong_arguments_are_told_all_at_once_and_nothing_is_called(stoa: World) -> None:
    with stoa.recording() as got:
        result = stoa.call("ioi_billing_create_invoice", {"amout": 3, "note": 4})
    assert result["isError"] is True
    text = result["content"][0]["text"]
    assert "`amout`; did you mean `amount`?" in text
    assert "`amount` is missing (a number): Euros." in text
    assert "`note` must be a string, not a number." in text
    assert got == []
    assert stoa.audit_lines()[-1]["rule"] == "arguments"


@pytest.mark.parametrize(
    "value", ["..", ".", "", "../admin", "a/../b", "%2e%2e", "%252e%252e%252f", "..\\x", "a\r\nX: y", "a%0d%0ab"]
)
def test_path_values_that_would_lead_elsewhere_are_refused(stoa: World, value: str) -> None:
    with stoa.recording() as got:
        result = stoa.call("ioi_billing_get_invoice", {"id": value})
    assert result["isError"] is True
    assert "id" in result["content"][0]["text"]
    assert got == []


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("a/b", "/invoices/a%2Fb"),
        ("a?b=c#d", "/invoices/a%3Fb%3Dc%23d"),
        ("http://evil.test", "/invoices/http%3A%2F%2Fevil.test"),
        ("é ~", "/invoices/%C3%A9%20~"),
        ("%41", "/invoices/%2541"),
    ],
)
def test_path_values_stay_in_their_segment(stoa: World, value: str, target: str) -> None:
    with stoa.recording() as got:
        stoa.call("ioi_billing_get_invoice", {"id": value})
    assert [r["target"] for r in got] == [target]


def test_a_header_value_cannot_start_another_header(stoa: World) -> None:
    with stoa.recording() as got:
        result = stoa.call("ioi_billing_list_invoices", {"region": "eu\r\nX-Admin: 1"})
    assert result["isError"] is True
    assert got == []


def test_a_destructive_call_stops_for_approval(stoa: World) -> None:
    with stoa.recording() as got:
        result = stoa.call("ioi_billing_delete_invoice", {"id": "1"})
    assert result["isError"] is True
    assert "approval of a second person" in result["content"][0]["text"]
    assert "Nothing was called" in result["content"][0]["text"]
    assert got == []
    assert stoa.audit_lines()[-1]["rule"] == "approval-impossible"  # No role of this world may decide.


def test_a_given_trace_is_adopted_and_a_malformed_one_is_not(stoa: World) -> None:
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    trace = lambda **more: stoa.call("ioi_inventory_list_items", **more)["_meta"]["dev.gostoa/trace-id"]  # noqa: E731
    assert trace(headers={"traceparent": given}) == "0af7651916cd43dd8448eb211c80319c"
    minted = trace(headers={"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01"})
    assert len(minted) == 32
    assert minted != "0" * 32
    params = {"name": "ioi_inventory_list_items", "_meta": {"traceparent": given.replace("0af7", "1af7")}}
    answer = stoa.post("tools/call", params, token=stoa.issuer.token(), headers={"traceparent": given})
    assert answer.json()["result"]["_meta"]["dev.gostoa/trace-id"].startswith("1af7")


def test_health_readiness_and_metadata(stoa: World) -> None:
    assert httpx2.get(f"{stoa.url}/healthz").json() == {"status": "ok"}
    assert httpx2.get(f"{stoa.url}/readyz").json() == {"status": "ready", "bundle": stoa.digest}
    documents = [httpx2.get(f"{stoa.url}/.well-known/oauth-protected-resource{path}").json() for path in ("", "/mcp")]
    assert documents[0] == documents[1]
    assert documents[0]["resource"] == MCP_URL
    assert documents[0]["scopes_supported"] == ["stoa-mcp"]
    assert httpx2.post(f"{stoa.url}/mcp/", json={}).status_code == 404


def test_the_process_says_where_it_listens_and_ends_when_told(stoa: World, tmp_path: object) -> None:
    folder = stoa.audit.parent.parent
    code = (
        "import sys; from pathlib import Path; from stoa_runtime.server import serve;"
        "from stoa_runtime.settings import Settings;"
        f"serve(Settings(bundle=Path({str(folder / 'bundle')!r}), port=0, audit=Path({str(tmp_path)!r}) / 'a.jsonl',"
        f" secrets='file', secrets_folder=Path({str(folder / 'secrets')!r})),"
        " started=lambda url: print(url, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx2.get(f"{url}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stdout.close()


def test_the_protocol_version_of_older_clients_is_served_without_a_handshake(stoa: World, parzival: str) -> None:
    headers = {
        "Host": "mcp.example.test",
        "Accept": "application/json",
        "Authorization": f"Bearer {parzival}",
        "MCP-Protocol-Version": LEGACY,
    }
    answer = httpx2.post(f"{stoa.url}/mcp", headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert len(answer.json()["result"]["tools"]) == len(stoa.tenants["ioi"].tools) + len(CATALOG_TOOLS)


def test_a_development_bundle_is_served_on_loopback_names_too(stoa: World, tmp_path: Path) -> None:
    platform = index(stoa.issuer.jwks_url, stoa.tenants)
    folder = write_bundle(tmp_path / "bundle", platform, stoa.tenants, development=True)
    settings = Settings(bundle=folder, audit=tmp_path / "audit.jsonl", allow_development=True)
    with listening(settings) as url:
        headers = {"Authorization": f"Bearer {stoa.issuer.token()}", "Accept": "application/json"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert httpx2.post(f"{url}/mcp", headers=headers, json=body).status_code == 200
        assert httpx2.post(f"{url}/mcp", headers=headers | {"Host": "evil.test"}, json=body).status_code == 421


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_what_cannot_be_recorded_is_not_done(stoa: World, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", index(stoa.issuer.jwks_url, stoa.tenants), stoa.tenants)
    with listening(Settings(bundle=folder, audit=Path("/dev/full"))) as url:
        full = World(url, stoa.issuer, stoa.backend, Path("/dev/full"), stoa.digest)
        with full.recording() as got:
            assert "Nothing was called" in full.call("ioi_inventory_list_items")["content"][0]["text"]
        assert got == []
        assert full.post("tools/list", {}, token=None).status_code == 503
        assert httpx2.get(f"{url}/readyz").status_code == 503
