"""The trace that a call belongs to (W3C Trace Context): adopted when it is well formed, else minted."""

import random
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

META_KEY = "traceparent"
"""Where MCP carries it: the key of `_meta` has the header's name and no prefix."""

_bits = random.getrandbits
"""Ids are told to callers, and no secret; the generator starts anew in each process that is forked."""
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class Trace(NamedTuple):
    """A trace, and this process's span in it."""

    trace_id: str
    span_id: str
    flags: str = "01"
    parent: str | None = None
    """The caller's span, where the trace is adopted."""

    @property
    def traceparent(self) -> str:
        """The header that the backend gets: this span is its parent."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def trace(header: str | None, meta: Mapping[str, Any] | None) -> Trace:
    """The trace of `_meta`, else of the header, else a new one. `_meta` is nearer to the caller than a proxy is."""
    span = f"{_bits(64) or 1:016x}"
    for value in (meta.get(META_KEY) if meta else None, header):
        if isinstance(value, str) and (adopted := _adopted(value)):
            return Trace(trace_id=adopted[0], span_id=span, flags=adopted[1], parent=adopted[2])
    return Trace(trace_id=f"{_bits(128) or 1:032x}", span_id=span)


def _adopted(value: str) -> tuple[str, str, str] | None:
    """Trace id, flags and parent of a well-formed value; later versions may append, version 00 may not."""
    if len(value) > 256 or not (match := _TRACEPARENT.fullmatch(value)):
        return None
    version, trace_id, parent, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not parent.strip("0"):
        return None
    return trace_id, flags, parent
