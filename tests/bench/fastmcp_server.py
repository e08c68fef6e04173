"""FastMCP with N tools that call a backend; runs in an environment of its own. Prints its port."""

import socket
import sys
from typing import Annotated, Any

import aiohttp
import uvicorn
from fastmcp import FastMCP
from pydantic import Field

COUNT, BACKEND = int(sys.argv[1]), sys.argv[2]
server: Any = FastMCP("reference")
http: aiohttp.ClientSession | None = None


async def get(
    id: Annotated[str, Field(pattern="^inv_[0-9]+$", description="The invoice's number")],
    expand: Annotated[list[str] | None, Field(description="Parts to show in full")] = None,
) -> dict[str, Any]:
    """Look up one invoice by its number when somebody asks what it holds, whose it is and whether it is paid."""
    global http
    http = http or aiohttp.ClientSession()
    async with http.get(f"{BACKEND}/invoices/{id}") as answer:
        value: dict[str, Any] = await answer.json()
        return value


for number in range(COUNT):
    server.tool(get, name=f"tool_{number}", title=f"Get one invoice, kind {number}")

if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = server.http_app(path="/mcp", json_response=True, stateless_http=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
