"""The protocol over a socket: what discovery says, what real clients send, headers, streams and progress."""

import asyncio
import dataclasses
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp.client.subscriptions import ToolsListChanged
from mcp.shared.exceptions import MCPError

from stoa_runtime.settings import Settings
from tests.runtime.world import LEGACY, MODERN, World, catalog, index, listening, write_bundle

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
SERVER = "io.modelcontextprotocol/serverInfo"
META = {VERSION: MODERN, CAPABILITIES: {}}
INFO = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}


def send(stoa: World, body: Mapping[str, Any], **headers: str) -> httpx2.Response:
    """A request with these headers besides what every client sends; a name's underscores are hyphens."""
    given = {
        "Host": "mcp.example.test",
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {stoa.issuer.token()}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return httpx2.post(f"{stoa.url}/mcp", headers=given, json=dict(body), timeout=20)


def request(method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, **({"params": dict(params)} if params is not None else {})}


def modern(stoa: World, method: str, params: Mapping[str, Any] | None = None, **headers: str) -> httpx2.Response:
    named = {"Mcp_Name": params["name"]} if params and "name" in params else {}
    head = {"MCP_Protocol_Version": MODERN, "Mcp_Method": method, **named, **headers}
    return send(stoa, request(method, {"_meta": META, **(params or {})}), **head)


def test_discovery_says_what_there_is_and_how_long_that_holds(stoa: World) -> None:
    answer = modern(stoa, "server/discover")
    assert answer.status_code == 200
    found = answer.json()["result"]
    assert found["supportedVersions"] == [MODERN]
    assert found["capabilities"] == {"tools": {"listChanged": True}}
    assert "tenant_contract_operation" in found["instructions"]
    assert (found["ttlMs"], found["cacheScope"], found["resultType"]) == (60_000, "private", "complete")
    assert found["_meta"][SERVER]["name"] == "demo"


def test_lists_say_how_long_they_hold_and_for_whom(stoa: World) -> None:
    found = modern(stoa, "tools/list").json()["result"]
    assert (found["ttlMs"], found["cacheScope"], found["resultType"]) == (60_000, "private", "complete")


def test_older_clients_are_promised_no_notifications(stoa: World) -> None:
    answer = send(stoa, request("initialize", INFO))
    assert answer.status_code == 200
    assert "mcp-session-id" not in answer.headers
    found = answer.json()["result"]
    assert found["protocolVersion"] == LEGACY
    assert found["capabilities"] == {"tools": {"listChanged": False}}
    assert found["serverInfo"]["name"] == "demo"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_there_is_no_stream_without_a_request_and_no_session_to_end(stoa: World, method: str, version: str) -> None:
    headers = {
        "Host": "mcp.example.test",
        "Authorization": f"Bearer {stoa.issuer.token()}",
        "Accept": "text/event-stream",
        "MCP-Protocol-Version": version,
    }
    answer = httpx2.request(method, f"{stoa.url}/mcp", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("meta", "header", "status", "code"),
    [
        (None, MODERN, 400, -32602),
        ({VERSION: MODERN}, MODERN, 400, -32602),
        ({CAPABILITIES: {}}, MODERN, 400, -32602),
        ({**META, VERSION: "2999-01-01"}, MODERN, 400, -32020),
        ({**META, VERSION: "2999-01-01"}, "2999-01-01", 400, -32022),
    ],
)
def test_a_request_says_its_version_twice_and_alike(
    stoa: World, meta: dict[str, Any] | None, header: str, status: int, code: int
) -> None:
    params = {} if meta is None else {"_meta": meta}
    answer = send(stoa, request("tools/list", params), MCP_Protocol_Version=header, Mcp_Method="tools/list")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], answer.json()["id"]) == (status, code, 7)
    if code == -32022:
        assert error["data"] == {"supported": [MODERN, *error["data"]["supported"][1:]], "requested": "2999-01-01"}


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/list", "no/such"])
def test_methods_that_are_not_of_this_version_are_unknown(stoa: World, method: str) -> None:
    answer = modern(stoa, method)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32601)


def test_the_name_in_the_header_may_be_encoded(stoa: World) -> None:
    params = {"name": "ioi_billing_get_invoice", "arguments": {"id": "1"}}
    answer = modern(stoa, "tools/call", params, Mcp_Name="=?base64?aW9pX2JpbGxpbmdfZ2V0X2ludm9pY2U=?=")
    assert answer.json()["result"]["structuredContent"] == {"id": "1", "amount": 9812345.25}


@pytest.mark.parametrize("padded", ["  {}", "{}  ", "\t{} \t"])
def test_white_space_around_headers_is_none_of_them(stoa: World, padded: str) -> None:
    params = {"name": "ioi_billing_get_invoice", "arguments": {"id": "1"}, "_meta": META}
    at = urlsplit(stoa.url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=20)
    headers = {
        "Host": "mcp.example.test",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {stoa.issuer.token()}",
        "MCP-Protocol-Version": padded.format(MODERN),
        "Mcp-Method": padded.format("tools/call"),
        "Mcp-Name": padded.format(params["name"]),
    }
    connection.request("POST", "/mcp", json.dumps(request("tools/call", params)), headers)
    found = json.loads(connection.getresponse().read())
    connection.close()
    assert found["result"]["structuredContent"] == {"id": "1", "amount": 9812345.25}


@pytest.mark.parametrize("name", ["ioi_billing_list_invoices", "IOI_BILLING_GET_INVOICE", ""])
def test_the_name_in_the_header_is_that_of_the_call(stoa: World, name: str) -> None:
    params = {"name": "ioi_billing_get_invoice", "arguments": {"id": "1"}}
    answer = modern(stoa, "tools/call", params, Mcp_Name=name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("header", [{"MCP_Protocol_Version": LEGACY}, {}])
def test_an_older_header_counts_whatever_stands_in_meta(stoa: World, header: dict[str, str]) -> None:
    """Clients were seen that send the envelope of 2026-07-28 under the header of 2025-11-25, or under none."""
    params = {"name": "ioi_billing_list_invoices", "arguments": {}, "_meta": META}
    answer = send(stoa, request("tools/call", params), **header)
    assert answer.status_code == 200
    assert answer.json()["result"]["structuredContent"]["result"][0]["id"] == "a"
    listed = send(stoa, request("tools/list", {"_meta": META}), **header).json()["result"]
    tools = {tool["name"]: tool for tool in listed["tools"]}
    assert tools["ioi_billing_list_invoices"]["outputSchema"]["type"] == "object"


def test_a_client_may_initialize_after_a_good_discovery_and_send_no_header_then(stoa: World) -> None:
    assert modern(stoa, "server/discover").status_code == 200
    assert send(stoa, request("initialize", INFO)).json()["result"]["protocolVersion"] == LEGACY
    noted = send(stoa, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (noted.status_code, noted.content) == (202, b"")
    assert send(stoa, request("tools/list")).json()["result"]["tools"]
    assert send(stoa, request("ping")).json()["result"] == {}


def test_initialize_under_the_newer_header_is_refused_with_what_is_supported(stoa: World) -> None:
    answer = send(stoa, request("initialize", INFO), MCP_Protocol_Version=MODERN, Mcp_Method="initialize")
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["code"] in (-32601, -32602)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", LEGACY])
def test_every_older_version_is_spoken(stoa: World, version: str) -> None:
    answer = send(stoa, request("initialize", {**INFO, "protocolVersion": version}))
    assert answer.json()["result"]["protocolVersion"] == version
    listed = send(stoa, request("tools/list"), MCP_Protocol_Version=version)
    assert listed.json()["result"]["tools"]


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_a_quick_call_is_plain_json_for_who_asks_for_progress_too(stoa: World, version: str) -> None:
    params = {"name": "ioi_billing_get_invoice", "arguments": {"id": "1"}}
    meta = {**(META if version == MODERN else {}), "progressToken": "p"}
    head = {"Mcp_Method": "tools/call", "Mcp_Name": params["name"]} if version == MODERN else {}
    answer = send(stoa, request("tools/call", {**params, "_meta": meta}), MCP_Protocol_Version=version, **head)
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["result"]["structuredContent"] == {"id": "1", "amount": 9812345.25}


@pytest.mark.anyio
async def test_who_listens_is_told_what_there_is_and_may_stay(stoa: World, parzival: str) -> None:
    async with (
        stoa.client(parzival, "auto") as client,
        client.listen(tools_list_changed=True, prompts_list_changed=True) as subscription,
    ):
        assert subscription.honored.tools_list_changed is True
        assert not subscription.honored.prompts_list_changed
        assert (await client.list_tools()).tools
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(aiter(subscription))


@pytest.mark.anyio
async def test_another_bundle_is_told_to_those_whose_list_it_changes(stoa: World, tmp_path: Path) -> None:
    tenants = dict(stoa.tenants)
    platform = index(stoa.issuer.jwks_url, tenants)
    settings = Settings(
        bundle=write_bundle(tmp_path / "bundle", platform, tenants),
        audit=tmp_path / "audit.jsonl",
        secrets="file",
        secrets_folder=stoa.audit.parent.parent / "secrets",
        reload_seconds=0.1,
    )
    with listening(settings) as url:
        there = dataclasses.replace(stoa, url=url)
        async with (
            there.client(stoa.issuer.token(), "auto") as parzival,
            there.client(stoa.issuer.token(sub="sorrento", tenant="greg"), "auto") as sorrento,
            parzival.listen(tools_list_changed=True) as heard,
            sorrento.listen(tools_list_changed=True) as unheard,
        ):
            before = [tool.name for tool in (await parzival.list_tools(cache_mode="bypass")).tools]
            ioi = tenants["ioi"]
            kept = [tool for tool in ioi.tools if tool.name != "ioi_billing_none"]
            tenants["ioi"] = catalog("ioi", list(ioi.contracts), kept)
            write_bundle(settings.bundle, platform, tenants)
            async with asyncio.timeout(20):
                assert await anext(aiter(heard)) == ToolsListChanged()
            after = [tool.name for tool in (await parzival.list_tools(cache_mode="bypass")).tools]
            assert set(before) - set(after) == {"ioi_billing_none"}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(aiter(unheard))


@pytest.mark.anyio
async def test_nobody_listens_without_a_token(stoa: World) -> None:
    with pytest.raises((MCPError, ExceptionGroup, httpx2.HTTPStatusError)):
        async with stoa.client("none", MODERN) as client, client.listen(tools_list_changed=True):
            raise AssertionError("a stream was opened")


def test_a_process_that_is_told_to_stop_ends_its_streams_first(stoa: World, parzival: str, tmp_path: Path) -> None:
    folder = stoa.audit.parent.parent
    code = (
        "from pathlib import Path; from stoa_runtime.server import serve; from stoa_runtime.settings import Settings;"
        f"serve(Settings(bundle=Path({str(folder / 'bundle')!r}), port=0, audit=Path({str(tmp_path)!r}) / 'a.jsonl',"
        f" secrets='file', secrets_folder=Path({str(folder / 'secrets')!r}), drain_seconds=60),"
        " started=lambda url: print(url, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        method = "subscriptions/listen"
        headers = {
            "Host": "mcp.example.test",
            "Accept": "application/json, text/event-stream",
            "Authorization": f"Bearer {parzival}",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": method,
        }
        params = {"_meta": META, "notifications": {"toolsListChanged": True}}
        asked = request(method, params)
        with httpx2.stream("POST", f"{url}/mcp", headers=headers, json=asked, timeout=20) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith("data: "))
            assert "acknowledged" in next(lines)
            process.send_signal(signal.SIGTERM)
            assert json.loads(next(lines).removeprefix("data: "))["result"]["resultType"] == "complete"
            assert next(lines, None) is None
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_an_id_comes_back_as_it_was(stoa: World) -> None:
    for given in (0, -3, "a", "", "ü"):
        body = {**request("tools/list"), "id": given}
        assert json.loads(send(stoa, body, MCP_Protocol_Version=LEGACY).content)["id"] == given
