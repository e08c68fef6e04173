"""The runtime behind a real Keycloak: who signs in there lists and calls what the bundle's access table gives."""

import contextlib
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from stoa_compiler.graph import PersonNode
from stoa_runtime.platform_tools import PLATFORM_TOOLS
from stoa_schemas.bundle import PLATFORM_INDEX, Catalog, PlatformIndex
from tests.engines.conftest import STOA, Compiled, Desk
from tests.engines.keycloak import Keycloak

pytestmark = [pytest.mark.engine, pytest.mark.anyio, pytest.mark.xdist_group("keycloak")]

CLAUDE = "https://claude.ai/api/mcp/auth_callback"
ID = "dev.gostoa/id"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def mcp(compiled: Compiled, keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The MCP URL of `stoa serve` with the bundle whose realm Keycloak holds."""
    state = tmp_path_factory.mktemp("state")
    port = urlsplit(compiled.gateway).port
    command = [STOA, "serve", compiled.bundle, "--port", str(port), "--state", state, "--development"]
    with (state / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.strip() == f"listening on {compiled.gateway}", (state / "serve.log").read_text()
        yield f"{compiled.gateway}/mcp"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def catalogs(bundle: Path) -> list[Catalog]:
    index = PlatformIndex.model_validate_json((bundle / PLATFORM_INDEX).read_bytes())
    return [Catalog.model_validate_json((bundle / entry.catalog).read_bytes()) for entry in index.tenants]


def expected(compiled: Compiled, person: PersonNode) -> list[str]:
    """What the access tables of the bundle give the person, by wire name."""
    index = PlatformIndex.model_validate_json((compiled.bundle / PLATFORM_INDEX).read_bytes())
    held = {permission for role in person.roles for permission in index.roles[role].permissions}
    names = {tool.name for tool in PLATFORM_TOOLS if tool.opens_to(frozenset(held))}
    for catalog in catalogs(compiled.bundle):
        if person.tenant in ("platform", catalog.tenant):
            names |= {name for role in person.roles for name in catalog.access.get(role, [])}
    return sorted(names)


@contextlib.asynccontextmanager
async def connected(mcp: str, token: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30.0) as http,
        Client(streamable_http_client(mcp, http_client=http)) as client,
    ):
        yield client


async def listed(mcp: str, token: str) -> dict[str, str]:
    """Canonical ids of the tools that a token's bearer is shown, by wire name."""
    async with connected(mcp, token) as client:
        answer = await client.list_tools()
        assert answer.next_cursor is None
        return {tool.name: str((tool.meta or {})[ID]) for tool in answer.tools}


def status(mcp: str, token: str) -> tuple[int, str]:
    """The HTTP status that a bearer gets, and the challenge that comes with it."""
    request = urllib.request.Request(
        mcp, b"{}", {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("WWW-Authenticate", "")


async def test_everybody_lists_what_the_access_table_gives(compiled: Compiled, desk: Desk, mcp: str) -> None:
    for person in compiled.everyone:
        token = desk.sign_in(person.username, "claude", CLAUDE)["access_token"]
        assert sorted(await listed(mcp, token)) == expected(compiled, person), person.username


async def test_the_three_people_of_the_demo(compiled: Compiled, desk: Desk, mcp: str) -> None:
    async def seen(username: str) -> set[str]:
        ids = (await listed(mcp, desk.sign_in(username, "claude", CLAUDE)["access_token"])).values()
        return {i if i.startswith("stoa_") else i.rpartition(":")[0] for i in ids}

    platform = {tool.name for tool in PLATFORM_TOOLS}
    assert await seen("parzival") == platform | {"ioi:billing", "ioi:inventory"}
    assert await seen("sorrento") == platform | {"greg:oasis", "greg:sixers"}
    every = {f"{c.tenant}:{t.contract}" for c in catalogs(compiled.bundle) for t in c.tools}
    assert await seen("halliday") == platform | every


class _Kept:
    """What a client remembers: the registration made beforehand, and its tokens."""

    def __init__(self) -> None:
        registered = {"client_id": "claude", "redirect_uris": [CLAUDE], "token_endpoint_auth_method": "none"}
        self.client = OAuthClientInformationFull.model_validate(registered)
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def test_an_mcp_client_that_knows_the_url_alone_finds_its_way(compiled: Compiled, desk: Desk, mcp: str) -> None:
    """From the gateway's challenge to its metadata, to Keycloak's, through the sign-in and back, by the SDK itself."""
    arrived = ""

    async def go(address: str) -> None:
        nonlocal arrived
        arrived = await anyio.to_thread.run_sync(desk.browse, address, "parzival")

    async def come_back() -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(arrived).query)
        code, state, issuer = (query.get(key, [""])[0] for key in ("code", "state", "iss"))
        return AuthorizationCodeResult(code=code, state=state, iss=issuer)

    kept = _Kept()
    metadata = OAuthClientMetadata.model_validate({"redirect_uris": [CLAUDE], "client_name": "Claude"})
    provider = OAuthClientProvider(mcp, metadata, kept, redirect_handler=go, callback_handler=come_back)
    async with (
        httpx2.AsyncClient(auth=provider, timeout=60.0) as http,
        Client(streamable_http_client(mcp, http_client=http)) as client,
    ):
        names = sorted(tool.name for tool in (await client.list_tools()).tools)
    parzival = next(p for p in compiled.everyone if p.username == "parzival")
    assert names == expected(compiled, parzival)
    assert kept.tokens is not None
    assert kept.tokens.refresh_token


async def test_an_application_without_people_lists_what_it_subscribed_to(
    compiled: Compiled, keycloak: Keycloak, mcp: str
) -> None:
    tried = 0
    for catalog in catalogs(compiled.bundle):
        for tenant in compiled.graph.tenants:
            for consumer in tenant.consumers:
                spec = consumer.declared.spec
                if tenant.name != catalog.tenant or "client_credentials" not in spec.grant_types:
                    continue
                form = {
                    "grant_type": "client_credentials",
                    "client_id": consumer.client_id,
                    "client_secret": keycloak.client_secret(compiled.realm, consumer.client_id),
                }
                token = keycloak.token(compiled.realm, form).json["access_token"]
                contracts = {
                    s.declared.spec.contract for s in consumer.subscriptions if s.declared.spec.status == "active"
                }
                granted = {name for role in spec.roles for name in catalog.access.get(role, [])}
                wanted = sorted(t.name for t in catalog.tools if t.contract in contracts and t.name in granted)
                assert wanted
                assert sorted(await listed(mcp, token)) == wanted
                tried += 1
    assert tried


def test_a_stranger_in_a_tenants_application_is_refused(
    compiled: Compiled, desk: Desk, keycloak: Keycloak, mcp: str
) -> None:
    tenant = next(t for t in compiled.graph.tenants if t.name == "ioi")
    consumer = next(c for c in tenant.consumers if "authorization_code" in c.declared.spec.grant_types)
    uri = consumer.declared.spec.redirect_uris[0]
    for username in ("sorrento", "halliday"):
        code, challenge = status(mcp, desk.sign_in(username, consumer.client_id, uri)["access_token"])
        assert code in (401, 403), username
        assert "resource_metadata" in challenge


def test_somebody_in_two_tenants_is_refused(compiled: Compiled, desk: Desk, keycloak: Keycloak, mcp: str) -> None:
    user = keycloak.user_id(compiled.realm, "sorrento")
    (group,) = keycloak.admin("GET", f"/{compiled.realm}/groups?exact=true&search=ioi")
    keycloak.admin("PUT", f"/{compiled.realm}/users/{user}/groups/{group['id']}")
    try:
        token = desk.sign_in("sorrento", "claude", CLAUDE)["access_token"]
    finally:
        keycloak.admin("DELETE", f"/{compiled.realm}/users/{user}/groups/{group['id']}")
    assert status(mcp, token)[0] in (401, 403)


def test_a_token_of_another_realm_or_for_another_audience_is_refused(keycloak: Keycloak, desk: Desk, mcp: str) -> None:
    form = {
        "grant_type": "password",
        "client_id": "admin-cli",
        "username": "admin",
        "password": keycloak.admin_password,
    }
    assert status(mcp, keycloak.token("master", form).json["access_token"])[0] == 401
    tokens = desk.sign_in("parzival", "claude", CLAUDE)
    assert status(mcp, tokens["id_token"])[0] == 401
    assert status(mcp, tokens["refresh_token"])[0] == 401
