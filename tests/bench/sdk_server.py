"""The reference: the official SDK's own server with N tools that call a backend, and nothing checked. Prints its port.

python tests/bench/sdk_server.py N [BACKEND]
"""

import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import mcp_types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server

COUNT = int(sys.argv[1])
BACKEND = sys.argv[2] if len(sys.argv) > 2 else None
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^inv_[0-9]+$", "description": "The invoice's number"},
        "expand": {"type": "array", "items": {"type": "string"}, "description": "Parts to show in full"},
    },
    "required": ["id"],
}
OUTPUT: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "customer", "currency", "status")}
    | {"amount": {"type": "number"}},
    "required": ["id", "customer", "amount"],
}
INTENT = "Look up one invoice by its number when somebody asks what it holds, whose it is and whether it is paid."
TOOLS = [
    mcp_types.Tool(
        name=f"tool_{n}",
        title=f"Get one invoice, kind {n}",
        description=INTENT,
        input_schema=SCHEMA,
        output_schema=OUTPUT,
        annotations=mcp_types.ToolAnnotations(read_only_hint=True, open_world_hint=True),
    )
    for n in range(COUNT)
]


@contextlib.asynccontextmanager
async def session(_server: Server[Any]) -> AsyncIterator[aiohttp.ClientSession]:
    """The connections to the backend."""
    async with aiohttp.ClientSession() as http:
        yield http


async def list_tools(_context: ServerRequestContext[Any], _params: Any) -> mcp_types.ListToolsResult:
    """All tools."""
    return mcp_types.ListToolsResult(tools=TOOLS)


async def call_tool(context: ServerRequestContext[Any], params: Any) -> mcp_types.CallToolResult:
    """The backend's answer, passed on; without a backend always the same."""
    if BACKEND is None:
        return mcp_types.CallToolResult(content=[mcp_types.TextContent(type="text", text="done")])
    http: aiohttp.ClientSession = context.lifespan_context
    async with http.get(f"{BACKEND}/invoices/{params.arguments['id']}") as answer:
        text = await answer.text()
        value = await answer.json()
    return mcp_types.CallToolResult(content=[mcp_types.TextContent(type="text", text=text)], structured_content=value)


if __name__ == "__main__":
    server: Server[Any] = Server(
        "reference",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda _name: SCHEMA,
        lifespan=session,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = server.streamable_http_app(streamable_http_path="/mcp", json_response=True, stateless_http=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
