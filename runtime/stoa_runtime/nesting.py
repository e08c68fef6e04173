"""How deep a JSON value is nested: deep ones break readers that recurse, so they stop at the border."""

from typing import Any

DEPTH = 64
"""Levels of nesting that requests and answers may have."""


def is_too_deep(value: Any) -> bool:
    """Whether `value` is nested deeper than `DEPTH` levels."""
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
