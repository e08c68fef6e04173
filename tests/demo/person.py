"""A person with an MCP client: signed in through the real code flow by the SDK's own OAuth support."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import jwt
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp_types import Tool
from running import Failed

CLIENT_ID = "claude"
CALLBACK = "http://127.0.0.1:53682/callback"
TOOL_ID = "dev.gostoa/id"


@dataclass
class _Kept:
    """The client's memory: its registration, made beforehand, and its tokens."""

    client: OAuthClientInformationFull
    tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class _LoginForm(HTMLParser):
    """What a browser would send when a button of the page is pressed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.buttons: set[tuple[str, str]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values["action"]
        elif tag == "input":
            self.fields[values["name"]] = values["value"]
        elif tag == "button":
            self.buttons.add((values["name"], values["value"]))


@dataclass
class _Browser:
    """Presses one person's button on the login page, and keeps where it is sent then."""

    username: str
    arrived: str = ""

    async def go(self, authorization_url: str) -> None:
        async with httpx2.AsyncClient() as http:
            page = await http.get(authorization_url)
            form = _LoginForm(page.text)
            button = ("person", self.username)
            if button not in form.buttons:
                raise Failed(f"the login page has no button for {self.username} ({page.status_code})")
            sent = await http.post(urljoin(str(page.url), form.action), data=dict([*form.fields.items(), button]))
        self.arrived = sent.headers.get("location", "")
        if sent.status_code != 303 or not self.arrived.startswith(f"{CALLBACK}?"):
            raise Failed(f"the login page did not send {self.username} back ({sent.status_code})")

    async def come_back(self) -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(self.arrived).query)
        return AuthorizationCodeResult(
            code=query.get("code", [""])[0], state=query.get("state", [None])[0], iss=query.get("iss", [None])[0]
        )


@dataclass(frozen=True)
class Person:
    """Someone who is signed in."""

    username: str
    client: Client
    mcp: str
    _kept: _Kept = field(repr=False)

    @property
    def token(self) -> str:
        """The access token."""
        assert self._kept.tokens is not None
        return self._kept.tokens.access_token

    @property
    def claims(self) -> dict[str, Any]:
        """What the token says. The runtime has verified it; here it is only read."""
        claims: dict[str, Any] = jwt.decode(self.token, options={"verify_signature": False})
        return claims

    async def tools(self) -> list[Tool]:
        """Every tool that the person is shown, over all pages."""
        listed = await self.client.list_tools(cache_mode="bypass")
        tools = list(listed.tools)
        while listed.next_cursor:
            listed = await self.client.list_tools(cursor=listed.next_cursor)
            tools += listed.tools
        return tools

    async def raw_call(self, name: str) -> tuple[int, bytes, list[tuple[str, str]]]:
        """Status, body and headers, but for the date, of a call without arguments."""
        version = "2026-07-28"
        meta = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "demo", "version": "1"},
        }
        params = {"name": name, "arguments": {}, "_meta": meta}
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version,
            "Mcp-Method": "tools/call",
            "Mcp-Name": name,
        }
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with httpx2.AsyncClient() as http:
            answer = await http.post(self.mcp, json=request, headers=headers)
        told = sorted((name, value) for name, value in answer.headers.items() if name != "date")
        return answer.status_code, answer.content, told


def canonical_id(tool: Tool) -> str:
    """`tenant:contract:operation`; a platform tool's own name."""
    return str((tool.meta or {}).get(TOOL_ID, tool.name))


@contextlib.asynccontextmanager
async def signed_in(mcp: str, username: str, *, mode: str = "auto") -> AsyncIterator[Person]:
    """The person with a connected client. Nothing is known beforehand but the MCP URL and the client id."""
    metadata = OAuthClientMetadata.model_validate({"redirect_uris": [CALLBACK], "client_name": "demo"})
    registration = {"client_id": CLIENT_ID, "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    kept = _Kept(OAuthClientInformationFull.model_validate(registration))
    browser = _Browser(username)
    provider = OAuthClientProvider(mcp, metadata, kept, redirect_handler=browser.go, callback_handler=browser.come_back)
    async with (
        httpx2.AsyncClient(auth=provider, timeout=20.0) as http,
        Client(streamable_http_client(mcp, http_client=http), mode=mode) as client,
    ):
        yield Person(username, client, mcp, kept)
