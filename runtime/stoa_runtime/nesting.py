"""How deep a JSON value is nested: deep ones break readers that recurse, so they stop at the border."""

from typing import Any

DEPTH = 64
"""Levels of nesting that requests and answers may have."""


def is_too_deep(value: Any, text: bytes = b"") -> bool:
    """Whether `value` is nested deeper than `DEPTH` levels. `text`, where it is known, is the JSON that it stood in."""
    if text and text.count(b"[") + text.count(b"{") <= DEPTH:
        return False  # Each level begins with one of them.
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True
