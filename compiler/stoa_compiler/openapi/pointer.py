"""JSON pointers (RFC 6901): made, and followed."""

from typing import Any

MISSING: Any = object()
"""What a pointer that leads nowhere points at."""


def pointer(*steps: str | int) -> str:
    """The pointer that takes these steps."""
    return "".join("/" + str(s).replace("~", "~0").replace("/", "~1") for s in steps)


def steps(path: str) -> list[str]:
    """The steps of a pointer."""
    return [s.replace("~1", "/").replace("~0", "~") for s in path.split("/")[1:]]


def look_up(document: Any, path: str) -> Any:
    """What `path` points at in `document`, or `MISSING`."""
    node = document
    for step in steps(path):
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isascii() and step.isdigit() and len(step) < 8 and int(step) < len(node):
            node = node[int(step)]
        else:
            return MISSING
    return node
