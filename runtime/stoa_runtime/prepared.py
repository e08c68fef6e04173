"""The hot requests, tools/list and tools/call, answered without the SDK: well-formed ones only, by prepared bytes.

What is not exactly as these clients send it goes to the SDK, whose judgement then holds. Where an answer is given
here, it says the same as the SDK's would: the results are serialised by the SDK's own schemas once, when a list is
first asked for, and a test compares both on every kind of request.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import mcp_types
import orjson
from mcp.server.caching import apply_cache_hint
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from stoa_runtime.access import View
from stoa_runtime.protocol import LIST_HINT, Protocol

MODERN = b"2026-07-28"
LEGACY = frozenset({b"2025-06-18", b"2025-11-25"})
"""Handshake versions that are answered here; results of older ones lack members, and the SDK knows which."""
ENVELOPES = 512
"""Client descriptions that are remembered as valid."""
ENVELOPE_BYTES = 4096
"""Size of a description that is remembered; a larger one is judged each time."""

_VERSION_KEY = mcp_types.PROTOCOL_VERSION_META_KEY
_REQUEST = frozenset({"jsonrpc", "id", "method", "params"})
_JUDGED = (
    _VERSION_KEY,
    mcp_types.CLIENT_CAPABILITIES_META_KEY,
    mcp_types.CLIENT_INFO_META_KEY,
    "progressToken",
)
_META = frozenset({*_JUDGED, "traceparent", "tracestate", "baggage"})
_WHOLE = 1 << 63
_ROUTING = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"accept", b"content-type"})


class Asked(NamedTuple):
    """A request that is answered here."""

    id: bytes
    """The request's id as JSON."""
    version: str
    """The protocol's version."""
    legacy: bool
    """Whether that is 2025-11-25 or older."""
    tool: str | None
    """The tool that is called; None: the list is asked for."""
    arguments: Mapping[str, Any]
    meta: Mapping[str, Any] | None


class Envelopes:
    """Remembers which clients' descriptions of themselves are valid, so that each is judged once."""

    def __init__(self) -> None:
        self._valid: dict[bytes, None] = {}

    def takes(self, version: str, meta: Mapping[str, Any]) -> bool:
        """Whether `_meta` is as this version wants it."""
        try:
            key = orjson.dumps({name: meta[name] for name in _JUDGED if name in meta})
        except TypeError:  # A whole number beyond 64 bits.
            return False
        if key in self._valid:
            return True
        try:
            methods.validate_client_request("tools/list", version, {"_meta": dict(meta)})
        except ValidationError:
            return False
        if len(key) <= ENVELOPE_BYTES:
            if len(self._valid) >= ENVELOPES:
                self._valid.clear()
            self._valid[key] = None
        return True


def recognised(
    head: Mapping[bytes, bytes], doubled: frozenset[bytes] | set[bytes], message: Any, envelopes: Envelopes
) -> Asked | None:
    """The request, where it is one that is answered here; None leaves it to the SDK."""
    version = head.get(b"mcp-protocol-version")
    modern = version == MODERN
    if version is None or not (modern or version in LEGACY) or (doubled and not doubled.isdisjoint(_ROUTING)):
        return None
    if not _takes_json(head.get(b"accept", b"")) or not _is_json(head.get(b"content-type", b"")):
        return None
    if type(message) is not dict or message.get("jsonrpc") != "2.0" or not _REQUEST.issuperset(message):
        return None
    request_id, method, params = message.get("id"), message.get("method"), message.get("params", {})
    if not _is_short(request_id) or type(params) is not dict:
        return None
    tool: str | None = None
    arguments: Any = {}
    meta = params.get("_meta")
    known = 1 if "_meta" in params else 0
    if method == "tools/call":
        tool, arguments = params.get("name"), params.get("arguments", {})
        known += 1 + ("arguments" in params)
        if type(tool) is not str or type(arguments) is not dict:
            return None
    elif method != "tools/list":
        return None
    if len(params) != known:
        return None
    if modern:
        if (
            type(meta) is not dict
            or meta.get(_VERSION_KEY) != "2026-07-28"
            or mcp_types.CLIENT_CAPABILITIES_META_KEY not in meta
            or not _META.issuperset(meta)
            or head.get(b"mcp-method") != method.encode()
            or (tool is not None and not _names(head.get(b"mcp-name"), tool))
            or b"mcp-param-" in b" ".join(head)
            or not envelopes.takes("2026-07-28", meta)
        ):
            return None
    elif "_meta" in params and (
        type(meta) is not dict or not _META.issuperset(meta) or not _is_short(meta.get("progressToken", ""))
    ):
        return None
    return Asked(orjson.dumps(request_id), version.decode(), not modern, tool, arguments, meta)


def listed(asked: Asked, view: View, protocol: Protocol) -> bytes:
    """The answer to tools/list."""
    result = view.prepared.get(asked.version)
    if result is None:
        result = view.prepared[asked.version] = _list(asked.version, view, protocol)
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (asked.id, result)


def answered(asked: Asked, result: bytes) -> bytes:
    """The answer that holds `result`."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (asked.id, result)


def refused(asked: Asked, code: int, message: str) -> tuple[int, bytes]:
    """HTTP status and body of a JSON-RPC error."""
    error = orjson.dumps({"code": code, "message": message})
    return 200 if asked.legacy else 400, b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (asked.id, error)


def _list(version: str, view: View, protocol: Protocol) -> bytes:
    """The first page as the SDK serialises it for `version`: same schemas, same hints, same stamp."""
    modern = version in MODERN_PROTOCOL_VERSIONS
    page = apply_cache_hint(view.page(None, legacy=not modern), LIST_HINT)
    dumped = page.model_dump(by_alias=True, mode="json", exclude_none=True)
    wire = methods.serialize_server_result("tools/list", version, dumped)
    if modern:
        wire.setdefault("resultType", "complete")
        wire["_meta"] = {**(wire.get("_meta") or {}), **protocol.stamp}
    return orjson.dumps(wire)


def _names(header: bytes | None, tool: str) -> bool:
    """Whether the header names the tool; one that is encoded is left to the SDK."""
    return header is not None and header == tool.encode("utf-8", "replace") and not header.startswith(b"=?")


def _is_short(value: Any) -> bool:
    """Whether `value` names a request here: a text, or a whole number within 64 bits. The SDK knows larger ones."""
    return type(value) is str or (type(value) is int and -_WHOLE <= value < _WHOLE)


@functools.lru_cache(maxsize=256)
def _takes_json(accept: bytes) -> bool:
    taken = {part.split(b";")[0].strip().lower() for part in accept.split(b",")}
    return not taken.isdisjoint((b"*/*", b"application/*", b"application/json"))


@functools.lru_cache(maxsize=64)
def _is_json(content_type: bytes) -> bool:
    return content_type.split(b";")[0].strip().lower() == b"application/json"
