"""The tools that one person sees: `python tests/demo/tools_of.py PERSON [MCP-URL]`, while `stoa dev` runs or starts."""

import asyncio
import sys
import time
from urllib.parse import urlsplit

from person import canonical_id, signed_in

_PATIENCE_SECONDS = 60.0


async def program(username: str, mcp: str) -> int:
    """Prints the person's tools, one a line: canonical id and title."""
    await _until_it_listens(mcp)
    async with signed_in(mcp, username) as person:
        for tool in await person.tools():
            print(f"{canonical_id(tool):<32} {tool.title}")
    return 0


async def _until_it_listens(url: str) -> None:
    parts = urlsplit(url)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"nothing listens at {url}; start `stoa dev` first")
            await asyncio.sleep(0.2)
        else:
            writer.close()
            return


if __name__ == "__main__":
    sys.exit(asyncio.run(program(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080/mcp")))
