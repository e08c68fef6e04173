"""Lists in pages: a cursor is a place in the list's order.

It holds no number of a page, so it stays good when the bundle changes under it: what stood before the place is not
told twice, and what stands behind it is not left out. It is the caller's own list that it points into, so a cursor
opens nothing.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stoa_schemas.control import Shown

DEFAULT_LIMIT = 50
MOST = 200
"""Items of the longest page."""
LONGEST_KEY = 512
"""Bytes of a place in an order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One item of a list, made only when its page is asked for."""

    key: tuple[str, ...]
    """Its place: unique in the list."""
    show: Callable[[], Shown]

    @property
    def place(self) -> bytes:
        """The key as bytes that sort like it; no name holds a NUL."""
        return "\0".join(self.key).encode()


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a list that a request asks for."""

    limit: int = DEFAULT_LIMIT
    after: bytes | None = None
    """The place of the last item that the caller has; None: from the beginning."""


def page(rows: Sequence[Row], window: Window, kind: str) -> tuple[list[Shown], str | None]:
    """The items of one page, and the cursor of the next where there is one."""
    ordered = sorted(rows, key=lambda row: row.place)
    start = 0 if window.after is None else bisect_right(ordered, window.after, key=lambda row: row.place)
    stop = start + window.limit
    items = [row.show() for row in ordered[start:stop]]
    return items, cursor(kind, ordered[stop - 1].place) if stop < len(ordered) else None


def cursor(kind: str, place: bytes) -> str:
    """The cursor behind `place` in a list of `kind`."""
    return f"{kind}-{place.hex()}"


def pattern(kind: str) -> str:
    """The regular expression of the cursors of a list of `kind`: each text that it fits is a place."""
    return f"^{kind}-([0-9a-f]{{2}}){{1,{LONGEST_KEY}}}$"


def place(text: str, kind: str) -> bytes:
    """The place that a cursor of the right form names."""
    return bytes.fromhex(text.removeprefix(f"{kind}-"))
