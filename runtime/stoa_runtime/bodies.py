"""A request's body: read within bounds, and as JSON that every reader understands alike."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Receive

from stoa_runtime.nesting import is_too_deep

_DIGITS = 19
"""Digits that a length may have: Python refuses to read thousands of them, zeros in front too."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a body may be."""

    limit: int
    """Bytes."""
    deadline: float
    """Seconds that it may take to arrive."""


class BodyRefused(Exception):
    """A body that is not taken."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def read(receive: Receive, declared: bytes | None, bounds: Bounds) -> bytes:
    """The body, counted while it comes in. `declared` is its Content-Length."""
    length = declared or b"0"
    if not length.isdigit() or len(length) > _DIGITS or int(length) > bounds.limit:
        raise BodyRefused(413, "The body is too large.")
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.deadline):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise BodyRefused(400, "")
                body += message.get("body", b"")
                if len(body) > bounds.limit:
                    raise BodyRefused(413, "The body is too large.")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise BodyRefused(408, "The body did not arrive in time.") from None


def parsed(body: bytes) -> Any:
    """The body as JSON: no NaN, no lone surrogates, no member twice, no deep nesting; `ValueError` otherwise.

    Two readers that take different ones of a duplicated member would see two different requests. A body that is
    written again as the very same bytes has lost no member, which spares reading it a second time.
    """
    value = orjson.loads(body)
    if is_too_deep(value, body):  # Before it is written: orjson reads deeper values than it writes.
        raise ValueError("nested too deeply")
    if orjson.dumps(value) != body:
        try:
            value = json.loads(body, object_pairs_hook=_once)
        except RecursionError:
            raise ValueError("nested too deeply") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members
