"""Serving an application beside others in the same process, on loopback and nowhere else."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa_runtime.connections import bounded
from stoa_runtime.development import NotForDevelopment

BODY_SECONDS = 10.0
"""How long a request's body may take to come."""


def is_loopback(host: str | None) -> bool:
    """Whether `host`, as it stands in a URL or a socket address, can only be this machine."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class LoopbackOnly:
    """An application that answers callers on this machine who address it by its own name.

    The name matters as much as the address: a page in the developer's browser can make its own host name
    resolve to 127.0.0.1 and then read what comes back. Its requests carry that name in Host.
    """

    def __init__(self, app: ASGIApp, authority: str) -> None:
        self._app = app
        self._authority = authority.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._welcome(scope):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"only for this machine, under its own address\n"})
            return
        await self._app(scope, receive, send)

    def _welcome(self, scope: Scope) -> bool:
        client = scope.get("client")
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return client is not None and is_loopback(client[0]) and hosts == [self._authority]


class _Embedded(uvicorn.Server):
    """A server that leaves the process's signals to whoever owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on loopback; port 0 takes any that is free."""
    if not is_loopback(host):
        raise NotForDevelopment(f"development servers listen on loopback only, not on {host!r}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that name TCP; with it, each answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.asynccontextmanager
async def serve_locally(app: ASGIApp, host: str, port: int) -> AsyncIterator[str]:
    """`app` served while the block runs; gives its base URL, without a slash at the end."""
    listener = listening_socket(host, port)
    http = bounded(BODY_SECONDS)
    config = uvicorn.Config(app, access_log=False, log_level="warning", server_header=False, ws="none", http=http)
    server = _Embedded(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the server ended before it began to serve")
            await asyncio.sleep(0.005)
        bound = listener.getsockname()[1]
        yield f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
    finally:
        server.should_exit = True
        await task
        listener.close()
