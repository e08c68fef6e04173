"""Servers on real sockets, run beside the tests."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from starlette.types import ASGIApp

from stoa_runtime.development.serving import serve_locally

Serve = Callable[[ASGIApp, int], str]


@pytest.fixture
def free_port() -> int:
    return a_free_port()


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def module_port() -> int:
    """The same port for a whole module."""
    return a_free_port()


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Serves applications until the module's tests end; gives each one's base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    contexts = []

    def start(app: ASGIApp, port: int = 0) -> str:
        context = serve_locally(app, "127.0.0.1", port)
        url = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
        contexts.append(context)
        return url

    yield start
    for context in reversed(contexts):
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
