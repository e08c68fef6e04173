"""The page of metrics: on an address of its own, which is not the one that clients reach.

Where there are several workers, each answers for all: whichever takes a scrape asks the others, each at a loopback
port that only they know.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp import web

from stoa_runtime.telemetry.sockets import PATH, Sockets

GATHER_SECONDS = 2.0
"""How long the others may take; a worker that is being replaced is left out."""


@contextlib.asynccontextmanager
async def served(sockets: Sockets, own: Callable[[], bytes], worker: int | None) -> AsyncIterator[None]:
    """The page is there while the block runs."""

    async def page(_request: web.Request) -> web.Response:
        if worker is None:
            return _page([own()])
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=GATHER_SECONDS)) as session:
            asked = [_asked(session, at) for number, at in enumerate(sockets.workers, 1) if number != worker]
            others = await asyncio.gather(*asked)
        return _page([own(), *(text for text in others if text is not None)])

    async def alone(_request: web.Request) -> web.Response:
        return _page([own()])

    async with contextlib.AsyncExitStack() as stack:
        await _listen(stack, page, sockets.page)
        if worker is not None:
            await _listen(stack, alone, sockets.workers[worker - 1])
        yield


async def _listen(
    stack: contextlib.AsyncExitStack,
    handler: Callable[[web.Request], "asyncio.Future[web.Response]"] | object,
    at: socket.socket,
) -> None:
    application = web.Application()
    application.router.add_get(PATH, handler)  # type: ignore[arg-type]
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, at.dup()).start()


async def _asked(session: aiohttp.ClientSession, at: socket.socket) -> bytes | None:
    host, port = at.getsockname()[:2]
    try:
        async with session.get(f"http://{host}:{port}{PATH}") as answer:
            return await answer.read() if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError):
        return None


def _page(texts: list[bytes]) -> web.Response:
    return web.Response(body=merged(texts), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def merged(texts: list[bytes]) -> bytes:
    """One text of several: the samples of each metric stand together, as the format wants."""
    if len(texts) == 1:
        return texts[0]
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for text in texts:
        name = b""
        for line in text.splitlines(keepends=True):
            if line.startswith(b"# "):
                name = line.split(b" ", 3)[2]
                heads.setdefault(name, [])
                if line not in heads[name]:
                    heads[name].append(line)
            else:
                samples.setdefault(name, []).append(line)
    return b"".join(line for name, head in heads.items() for line in (*head, *samples.get(name, [])))
