"""Results of tool calls in a form of our own: small, frozen, and written as JSON only once.

`as_json` gives the bytes that a client gets, `as_sdk` the same as the SDK's object. Both say the same.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import mcp_types
import orjson

_NO_META: Mapping[str, Any] = {}


class Result(NamedTuple):
    """What a call came to, as clients see it."""

    content: tuple[Mapping[str, Any], ...]
    """Content blocks in the protocol's wire form."""
    structured: Any = None
    """The structured content; only where `structured_json` is there."""
    structured_json: bytes | None = None
    """The structured content as JSON. None: the result has none, which is also how null is sent."""
    is_error: bool = False
    """Whether the call failed."""
    meta: Mapping[str, Any] = _NO_META
    """What stands in `_meta`."""
    question: mcp_types.InputRequiredResult | None = None
    """What the client is asked instead, before it sends the call again (protocol 2026-07-28)."""


def failure(text: str) -> Result:
    """A result that says that the call failed, in words from which a model can correct itself."""
    return Result(({"type": "text", "text": text},), is_error=True)


def said(text: str) -> Result:
    """A result of plain words."""
    return Result(({"type": "text", "text": text},))


def valued(value: Any, encoded: bytes | None = None) -> Result:
    """A result that is a JSON value: as structured content, and as text for those who read only that.

    `encoded` is the value as JSON, where it is already there. `ValueError` for what JSON cannot hold.
    """
    written = encode(value) if encoded is None else encoded
    content = ({"type": "text", "text": written.decode()},)
    return Result(content) if value is None else Result(content, value, written)


def encode(value: Any) -> bytes:
    """`value` as compact JSON; whole numbers keep every digit. `ValueError` for what JSON cannot hold."""
    try:
        return orjson.dumps(value)
    except TypeError:  # A whole number beyond 64 bits.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def as_sdk(result: Result) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
    """The result as the SDK's object."""
    if result.question is not None:
        return result.question.model_copy(update={"meta": dict(result.meta)})
    return mcp_types.CallToolResult.model_validate(
        {
            "content": result.content,
            "structuredContent": result.structured,
            "isError": result.is_error,
            **({"_meta": result.meta} if result.meta else {}),
        }
    )


def as_json(result: Result, *, legacy: bool, stamp: Mapping[str, Any] | None = None) -> bytes:
    """The result as JSON, as clients of this protocol era get it; what is written already is not written again.

    `stamp` is what the SDK adds to `_meta` of each result that is not legacy.
    """
    wire: dict[str, Any] = {"content": result.content}
    if result.structured_json is not None:
        wire["structuredContent"] = orjson.Fragment(result.structured_json)
    wire["isError"] = result.is_error
    if not legacy:
        wire["resultType"] = "complete"
    meta = result.meta if legacy or not stamp else {**result.meta, **stamp}
    if meta:
        wire["_meta"] = meta
    return orjson.dumps(wire)
