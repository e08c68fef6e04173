"""The reference: the official SDK's own server with N tools, and nothing checked. Prints its port."""

import socket
import sys
from typing import Any

import mcp_types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server

COUNT = int(sys.argv[1])
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"invoice_id": {"type": "string"}, "expand": {"type": "array", "items": {"type": "string"}}},
    "required": ["invoice_id"],
}
TOOLS = [
    mcp_types.Tool(name=f"tool_{n}", title=f"Tool {n}", description="Does one thing. " * 10, input_schema=SCHEMA)
    for n in range(COUNT)
]


async def list_tools(_context: ServerRequestContext[Any], _params: Any) -> mcp_types.ListToolsResult:
    """All tools."""
    return mcp_types.ListToolsResult(tools=TOOLS)


async def call_tool(_context: ServerRequestContext[Any], _params: Any) -> mcp_types.CallToolResult:
    """The same answer, whatever is called."""
    return mcp_types.CallToolResult(content=[mcp_types.TextContent(type="text", text="done")])


if __name__ == "__main__":
    server: Server[Any] = Server(
        "reference", on_list_tools=list_tools, on_call_tool=call_tool, get_tool_input_schema=lambda _name: SCHEMA
    )
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = server.streamable_http_app(streamable_http_path="/mcp", json_response=True, stateless_http=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
