"""Streams of `subscriptions/listen` over a real socket: who is told of which change, and when a stream ends."""

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoa_runtime import bundles
from stoa_runtime.access import Access
from stoa_runtime.calls import Caller
from stoa_runtime.development.serving import serve_locally
from stoa_runtime.principals import principal
from stoa_runtime.subscriptions import METHOD, Subscriptions
from tests.runtime import world

ID_KEY = "io.modelcontextprotocol/subscriptionId"
TENANTS = {"parzival": "ioi", "sorrento": "greg"}
CHANGED = "notifications/tools/list_changed"


class Platform:
    """What the gate knows: the bundle that is served now, and who may speak."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused: set[str] = set()
        self.tenants = world.catalogs("http://127.0.0.1:9")
        self.serve()

    def serve(self) -> None:
        """Takes the present state of the tenants as the bundle."""
        folder = world.write_bundle(self.folder, world.index("http://127.0.0.1:9/jwks", self.tenants), self.tenants)
        self.snapshot = bundles.load(folder)
        self.access = Access(self.snapshot)

    def without(self, tenant: str, operation: str) -> None:
        """Takes a tool out of a tenant's catalog, and serves what is left."""
        catalog = self.tenants[tenant]
        left = [tool for tool in catalog.tools if not tool.id.endswith(f":{operation}")]
        self.tenants[tenant] = world.catalog(tenant, list(catalog.contracts), left)
        self.serve()

    async def authorize(self, scope: Scope) -> Caller | Response:
        """The caller, by a user name in place of a token."""
        username = dict(scope["headers"])[b"authorization"].decode()
        if username in self.refused:
            return Response(status_code=401)
        claims = {"sub": username, "azp": world.CLIENT, "tenant": TENANTS[username], "roles": ["devops"]}
        who = principal(claims, self.snapshot, datetime.date(2026, 1, 1))
        known = {"principal": who, "snapshot": self.snapshot, "access": self.access, "view": self.access.view(who)}
        return Caller(**{name: known.get(name) for name in Caller._fields})


class Stream:
    """What a client reads of one stream."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> Any:
        """The next message."""
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith("data: "):
                    return json.loads(line.removeprefix("data: "))
        return None

    async def quiet(self, seconds: float) -> bool:
        """Whether nothing comes in this time."""
        try:
            async with asyncio.timeout(seconds):
                await self.next()
        except TimeoutError:
            return True
        return False


class Served:
    """A server of subscriptions, and a client."""

    def __init__(self, url: str, http: httpx2.AsyncClient, subscriptions: Subscriptions) -> None:
        self.url = url
        self.http = http
        self.subscriptions = subscriptions

    @asynccontextmanager
    async def listening(self, username: str, wanted: dict[str, Any], id: int | str = 1) -> AsyncIterator[Any]:
        """The stream, or the answer where there is none."""
        meta = {"io.modelcontextprotocol/protocolVersion": world.MODERN}
        meta["io.modelcontextprotocol/clientCapabilities"] = {}  # type: ignore[assignment]
        body = {"jsonrpc": "2.0", "id": id, "method": METHOD, "params": {"_meta": meta, "notifications": wanted}}
        headers = {
            "Authorization": username,
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": world.MODERN,
            "Mcp-Method": METHOD,
        }
        async with self.http.stream("POST", self.url, json=body, headers=headers) as answer:
            if answer.headers["content-type"] == "text/event-stream":
                yield Stream(answer.aiter_lines())
            else:
                await answer.aread()
                yield answer

    async def open_streams(self, number: int) -> None:
        """Waits until so many streams are open."""
        async with asyncio.timeout(10):
            while len(self.subscriptions) != number:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(platform: Platform, **limits: Any) -> AsyncIterator[Served]:
    subscriptions = Subscriptions(platform.authorize, **limits)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["stoa.caller"] = await platform.authorize(scope)
            await subscriptions(scope, receive, send)

    async with (
        subscriptions.served(),
        serve_locally(app, "127.0.0.1", 0) as url,
        httpx2.AsyncClient(timeout=20) as http,
    ):
        yield Served(url, http, subscriptions)


@pytest.fixture
def platform(empty: Path) -> Platform:
    return Platform(empty)


TOOLS = {"toolsListChanged": True}


@pytest.mark.anyio
async def test_who_sees_another_list_is_told_and_nobody_else(platform: Platform) -> None:
    async with (
        serving(platform) as served,
        served.listening("parzival", TOOLS, 7) as parzival,
        served.listening("sorrento", TOOLS, "s") as sorrento,
    ):
        first = await parzival.next()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["notifications"] == TOOLS
        assert first["params"]["_meta"] == {ID_KEY: 7}
        await sorrento.next()
        platform.without("ioi", "get_invoice")
        served.subscriptions.changed()
        told = await parzival.next()
        assert (told["method"], told["params"]) == (CHANGED, {"_meta": {ID_KEY: 7}})
        assert await sorrento.quiet(0.3)
    assert len(served.subscriptions) == 0


@pytest.mark.anyio
async def test_a_stream_outlives_bundles_and_the_same_list_is_no_change(platform: Platform) -> None:
    async with serving(platform) as served, served.listening("parzival", TOOLS) as stream:
        await stream.next()
        for operation in ("get_invoice", "list_invoices"):
            platform.without("ioi", operation)
            served.subscriptions.changed()
            assert (await stream.next())["method"] == CHANGED
        platform.serve()
        served.subscriptions.changed()
        assert await stream.quiet(0.3)


@pytest.mark.anyio
async def test_a_stream_ends_with_its_token_whether_or_not_anything_changes(platform: Platform) -> None:
    async with serving(platform, recheck_seconds=0.1) as served, served.listening("parzival", TOOLS, 3) as stream:
        await stream.next()
        platform.refused.add("parzival")
        end = await stream.next()
        assert (end["id"], end["result"]["_meta"][ID_KEY]) == (3, 3)
        assert await stream.next() is None
        await served.open_streams(0)


@pytest.mark.anyio
async def test_a_stream_ends_when_it_is_old(platform: Platform) -> None:
    async with serving(platform, age_seconds=0.2) as served, served.listening("parzival", TOOLS) as stream:
        await stream.next()
        assert "result" in await stream.next()


@pytest.mark.anyio
async def test_only_what_there_is_is_acknowledged(platform: Platform) -> None:
    wanted = {"promptsListChanged": True, "resourceSubscriptions": ["a:b"]}
    async with serving(platform) as served, served.listening("parzival", wanted) as stream:
        assert (await stream.next())["params"]["notifications"] == {}
        assert "result" in await stream.next()


@pytest.mark.anyio
async def test_streams_are_few_for_one_caller_and_in_all(platform: Platform) -> None:
    async with (
        serving(platform, streams=2, per_caller=1) as served,
        served.listening("parzival", TOOLS) as stream,
    ):
        await stream.next()
        async with served.listening("parzival", TOOLS) as refused:
            assert refused.json()["error"]["code"] == -32603
        async with served.listening("sorrento", TOOLS) as other:
            assert (await other.next())["method"].endswith("acknowledged")
            await served.open_streams(2)
        await served.open_streams(1)


@pytest.mark.anyio
async def test_closing_ends_every_stream_with_a_result(platform: Platform) -> None:
    async with serving(platform) as served, served.listening("parzival", TOOLS) as stream:
        await stream.next()
        served.subscriptions.close()
        assert "result" in await stream.next()
        async with served.listening("parzival", TOOLS) as refused:
            assert "error" in refused.json()
