"""The official client SDKs against the demo: Python and TypeScript, both eras of the protocol."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from stoa_schemas.bundle import Tool
from tests.engines import node
from tests.engines.prism import Missing, node_package

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "demo"))

from person import Person, signed_in  # noqa: E402
from running import Serving, serving  # noqa: E402

V2 = ("@modelcontextprotocol/client", "2.4.0")
"""Both eras."""
V1 = ("@modelcontextprotocol/sdk", "1.32.2")
"""2025-11-25 and older; most clients still have it."""

pytestmark = [pytest.mark.engine, pytest.mark.anyio]


@dataclass(frozen=True)
class Demo:
    """The demo, and tools of Parzival's to call."""

    served: Serving
    reading: Tool
    destructive: Tool

    @property
    def calls(self) -> list[dict[str, Any]]:
        """A good call, an unknown tool, an argument that nobody knows, and a call that needs an approval."""
        return [
            {"name": self.reading.name, "arguments": self.reading.examples[0].input},
            {"name": "ioi_billing_no_such_tool", "arguments": {}},
            {"name": self.reading.name, "arguments": {"no_such_argument": 1}},
            {"name": self.destructive.name, "arguments": self.destructive.examples[0].input},
        ]


@asynccontextmanager
async def demo(folder: Path) -> AsyncIterator[Demo]:
    async with serving(ROOT / "tenants", folder / "state") as served:
        (catalog,) = (catalog for catalog in served.catalogs() if catalog.tenant == "ioi")
        tools = [tool for tool in catalog.tools if tool.examples]
        reading = next(tool for tool in tools if tool.side_effects == "read" and not tool.approval)
        destructive = next(tool for tool in tools if tool.side_effects == "destructive")
        assert destructive.approval
        yield Demo(served, reading, destructive)


def judge(served: Demo, calls: Sequence[Mapping[str, Any]]) -> None:
    """What every client must have seen: results in wire form, or an error's code."""
    good, unknown, wrong, destructive = calls
    assert good["result"].get("isError") is not True
    assert good["result"]["structuredContent"]
    assert unknown["code"] == -32602
    assert wrong["result"]["isError"] is True
    assert "`no_such_argument`" in wrong["result"]["content"][0]["text"]
    assert destructive["result"]["isError"] is True
    said = destructive["result"]["content"][0]["text"]
    assert served.destructive.id in said
    assert "approval" in said


@pytest.mark.parametrize("mode", ["2026-07-28", "auto", "legacy"])
async def test_python(mode: str, tmp_path: Path) -> None:
    async with demo(tmp_path) as served, signed_in(served.served.mcp, "parzival", mode=mode) as parzival:
        names = [tool.name for tool in await parzival.tools()]
        assert {served.reading.name, served.destructive.name, "stoa_tools"} <= set(names)
        judge(served, [await called(parzival, call) for call in served.calls])
        if mode != "2026-07-28":  # A client that is told its version beforehand asks the server for nothing.
            tools = parzival.client.server_capabilities.tools
            assert tools is not None
            assert bool(tools.list_changed) is (mode == "auto")
        if mode != "legacy":
            async with parzival.client.listen(tools_list_changed=True) as subscription:
                assert subscription.honored.tools_list_changed is True


async def called(person: Person, call: Mapping[str, Any]) -> dict[str, Any]:
    try:
        result = await person.client.call_tool(call["name"], call["arguments"])
    except MCPError as error:
        return {"code": error.code}
    return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}


@pytest.mark.parametrize(("sdk", "era"), [("v2", "modern"), ("v2", "auto"), ("v2", "legacy"), ("v1", "legacy")])
async def test_typescript(sdk: str, era: str, tmp_path: Path) -> None:
    try:
        program, modules = node.node(), node_package(*(V1 if sdk == "v1" else V2)) / "node_modules"
    except Missing as missing:
        pytest.skip(str(missing))
    # Node looks for packages beside the program.
    (tmp_path / "node_modules").symlink_to(modules)
    script = shutil.copy(Path(__file__).with_name("client.mjs"), tmp_path)
    async with demo(tmp_path) as served, signed_in(served.served.mcp, "parzival") as parzival:
        process = await asyncio.create_subprocess_exec(
            *(str(program), "--preserve-symlinks", "--preserve-symlinks-main", script, sdk, parzival.mcp),
            *(parzival.token, era, json.dumps(served.calls)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err.decode()
        seen = json.loads(out)
        assert seen["tools"] == [tool.name for tool in await parzival.tools()]
    judge(served, seen["calls"])
    assert "tenant_contract_operation" in seen["instructions"]
    modern = era != "legacy"
    assert bool(seen["capabilities"]["tools"].get("listChanged")) is modern
    assert seen.get("honored") == ({"toolsListChanged": True} if modern else None)
