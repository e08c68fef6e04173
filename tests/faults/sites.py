"""Servers on loopback that the runtime depends on, each of which can go away and come back at the same place."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.engines.keycloak import free_port
from tests.runtime import world


class Site:
    """A server in this event loop, at one port for all its life."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Listens."""
        self._runner = web.ServerRunner(web.Server(self.answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, backlog=1024).start()

    async def stop(self) -> None:
        """Closes every connection and listens no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request."""
        raise NotImplementedError


class Backend(Site):
    """Answers with the invoice that is asked for, after a while, and counts the calls that it got by their trace."""

    def __init__(self, seconds: float = 0.01) -> None:
        super().__init__()
        self.seconds = seconds
        self.got: Counter[str] = Counter()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The invoice of the path's last part."""
        self.got[request.headers.get("traceparent", "--").split("-")[1]] += 1
        if self.seconds:
            await asyncio.sleep(self.seconds)
        identity = request.path.rpartition("/")[2]
        return web.Response(
            body=b'{"id":%b,"amount":1}' % json.dumps(identity).encode(), content_type="application/json"
        )


class Jwks(Site):
    """Publishes the keys of an issuer, which may be exchanged, or hang."""

    def __init__(self, keys: list[dict[str, Any]]) -> None:
        super().__init__()
        self.keys = keys
        self.hangs = False
        self.fetched = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The key set."""
        self.fetched += 1
        if self.hangs:
            await asyncio.sleep(60)
        return web.json_response({"keys": self.keys})


class Faulty:
    """A backend that misbehaves as a script says."""

    def __init__(self, script: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.got: Counter[str] = Counter()
        self._script = script
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Listens no more."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.lower() == b"traceparent":
                    self.got[value.strip().split(b"-")[1].decode()] += 1
            await self._script(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The runtime has had enough, or the run has ended.
        finally:
            writer.close()


class Keyring:
    """The issuer's private keys, and tokens signed with them."""

    def __init__(self) -> None:
        self._issuer = world.Issuer()
        self._issuer.server.close()
        self.first = world.Issuer.published("k1", self._issuer.key)
        self.second = world.Issuer.published("k2", self._issuer.other)

    def token(self, kid: str = "k1", **claims: Any) -> str:
        """A token of a person of `ioi`, good for an hour."""
        key = self._issuer.key if kid == "k1" else self._issuer.other
        claims = {"exp": self._issuer.claims()["iat"] + 3600, **claims}
        return self._issuer.token(headers={"kid": kid}, key=key, **claims)
