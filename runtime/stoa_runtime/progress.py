"""Progress of a call that takes long, told to a client that asked for it while it waits.

A quick answer is plain JSON, whatever the client asked for. Only one that takes longer becomes a stream: a line of
progress at each interval, which keeps proxies and clients from giving up, and the answer as its last event.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from typing import Any

import mcp_types
import orjson
from starlette.types import Send

SECONDS = 1.0
"""How long an answer may take before progress is told, and how often it is told then."""

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def asked(meta: Mapping[str, Any] | None, accept: bytes) -> mcp_types.ProgressToken | None:
    """The token under which the client wants to hear of progress; None where it doesn't, or takes no stream."""
    token = meta.get("progressToken") if meta else None
    if type(token) not in (str, int) or b"text/event-stream" not in accept.lower():
        return None
    return token


async def answer(
    send: Send, token: mcp_types.ProgressToken, answering: Awaitable[tuple[int, bytes]], every: float = SECONDS
) -> None:
    """Sends what `answering` comes to: HTTP status and JSON-RPC message, or a stream where that takes long."""
    task = asyncio.ensure_future(answering)
    try:
        await asyncio.wait({task}, timeout=every)
        if task.done():
            status, body = task.result()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        told = 0
        while not task.done():
            told += 1
            await _event(send, _progress(token, told, told * every), more=True)
            await asyncio.wait({task}, timeout=every)
        await _event(send, task.result()[1], more=False)
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _event(send: Send, message: bytes, *, more: bool) -> None:
    body = b"event: message\r\ndata: %b\r\n\r\n" % message
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _progress(token: mcp_types.ProgressToken, told: int, seconds: float) -> bytes:
    """A notification. How much there is to do is not known, so there is no total; each is more than the last."""
    params = {"progressToken": token, "progress": told, "message": f"Waiting for the backend: {seconds:.0f} s"}
    return orjson.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
