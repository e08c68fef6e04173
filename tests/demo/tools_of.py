"""The tools that one person sees: `python tests/demo/tools_of.py PERSON [MCP-URL]`, while `stoa dev` runs."""

import asyncio
import sys

from person import canonical_id, signed_in


async def program(username: str, mcp: str) -> int:
    """Prints the person's tools, one a line: canonical id and title."""
    async with signed_in(mcp, username) as person:
        for tool in await person.tools():
            print(f"{canonical_id(tool):<36} {tool.title}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(program(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080/mcp")))
