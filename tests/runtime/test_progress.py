"""Progress over a real socket: a quick answer is plain JSON, a slow one a stream with progress before its answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa_runtime import progress
from stoa_runtime.development.serving import serve_locally

RESULT = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}


def app(answering: Callable[[], Awaitable[tuple[int, bytes]]], every: float) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await progress.answer(send, "t1", answering(), every)

    return answer


@asynccontextmanager
async def served(answering: Callable[[], Awaitable[tuple[int, bytes]]], every: float) -> AsyncIterator[str]:
    async with serve_locally(app(answering, every), "127.0.0.1", 0) as url:
        yield url


def events(text: str) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.anyio
@pytest.mark.parametrize("status", [200, 400])
async def test_a_quick_answer_is_plain_json(status: int) -> None:
    async def quick() -> tuple[int, bytes]:
        return status, json.dumps(RESULT).encode()

    async with served(quick, 5) as url, httpx2.AsyncClient() as http:
        answer = await http.post(url)
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (status, "application/json", RESULT)


@pytest.mark.anyio
async def test_a_slow_answer_is_told_of_until_it_is_there() -> None:
    async def slow() -> tuple[int, bytes]:
        await asyncio.sleep(0.5)
        return 400, json.dumps(RESULT).encode()

    async with served(slow, 0.1) as url, httpx2.AsyncClient() as http:
        answer = await http.post(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    *told, last = events(answer.text)
    assert last == RESULT
    assert len(told) >= 2
    assert {(note["method"], note["params"]["progressToken"]) for note in told} == {("notifications/progress", "t1")}
    amounts = [note["params"]["progress"] for note in told]
    assert amounts == sorted(set(amounts))


@pytest.mark.parametrize(
    ("meta", "accept", "token"),
    [
        ({"progressToken": "a"}, b"application/json, text/event-stream", "a"),
        ({"progressToken": 7}, b"Text/Event-Stream", 7),
        ({"progressToken": 7}, b"application/json", None),
        ({"progressToken": True}, b"text/event-stream", None),
        ({"progressToken": [1]}, b"text/event-stream", None),
        ({}, b"text/event-stream", None),
        (None, b"text/event-stream", None),
    ],
)
def test_only_who_asks_and_takes_a_stream_is_told(meta: Any, accept: bytes, token: Any) -> None:
    assert progress.asked(meta, accept) == token
