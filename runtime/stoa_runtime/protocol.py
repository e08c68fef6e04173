"""MCP as the official SDK speaks it: every request that the prepared answers do not cover ends here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any

import mcp_types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import Receive, Scope, Send

from stoa_runtime import results
from stoa_runtime.access import UnknownCursor
from stoa_runtime.approvals import Retry
from stoa_runtime.approvals.asking import retry
from stoa_runtime.bundles import PreparedTool
from stoa_runtime.calls import Call, Caller, Calls, StateInvalid, UnknownTool
from stoa_runtime.tracing import trace
from stoa_schemas import bundle

log = logging.getLogger("stoa")

CALLER = "stoa.caller"
"""The scope's key of the `Caller`."""
LIST_TTL_MS = 60_000
"""How long a client may keep a list of tools."""
LIST_HINT = CacheHint(ttl_ms=LIST_TTL_MS, scope="private")

INSTRUCTIONS = (
    "Tools are named tenant_contract_operation. The list holds what you may call and nothing else. `stoa_tools` and"
    " `stoa_contract` tell more about a tool: its side effects, and whether a second person must approve each call."
)

Listen = Callable[
    [ServerRequestContext[Any, Any], mcp_types.SubscriptionsListenRequestParams],
    Awaitable[mcp_types.SubscriptionsListenResult],
]
"""Answers `subscriptions/listen`."""

current_caller: ContextVar[Caller | None] = ContextVar("current_caller", default=None)
"""The caller of the request that is being served, for look-ups that the SDK makes without a context."""


class Protocol:
    """The SDK's server under one platform's name."""

    def __init__(
        self, index: bundle.PlatformIndex, calls: Calls, body_limit: int, listen: Listen | None = None
    ) -> None:
        self._calls = calls
        self.server: Server[Any] = Server(
            index.name,
            version=version("stoa-platform"),
            title=index.display_name,
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            # The gate answers it for all bundles; here it makes `listChanged` true for those who can subscribe.
            on_subscriptions_listen=listen,
            get_tool_input_schema=_input_schema,
            cache_hints={"tools/list": LIST_HINT, "server/discover": LIST_HINT},
        )
        # The SDK opens a span for each request by whatever `_meta` holds, and logs what it cannot read of it.
        self.server.middleware.clear()
        self.stamp: Mapping[str, Any] = {mcp_types.SERVER_INFO_META_KEY: self.server.server_info_stamp}
        """What the SDK adds to `_meta` of each result of protocol 2026-07-28: who answers."""
        self._sessions = StreamableHTTPSessionManager(
            self.server,
            json_response=True,
            stateless=True,
            max_request_body_size=body_limit,
            # The gate has judged host and origin before, by this snapshot's own lists.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )

    async def run(self, started: asyncio.Event) -> None:
        """Serves until it is cancelled."""
        async with self._sessions.run():
            started.set()
            await asyncio.Event().wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of the caller whom the scope holds."""
        mark = current_caller.set(scope[CALLER])
        try:
            await self._sessions.handle_request(scope, receive, send)
        finally:
            current_caller.reset(mark)

    async def _list_tools(
        self, context: ServerRequestContext[Any, Any], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        caller = _caller(context)
        try:
            return caller.view.page(params.cursor if params is not None else None, legacy=_is_legacy(context))
        except UnknownCursor as error:
            raise MCPError(mcp_types.INVALID_PARAMS, str(error)) from None

    async def _call_tool(
        self, context: ServerRequestContext[Any, Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        caller = _caller(context)
        legacy = _is_legacy(context)
        sent = (context.session.client_capabilities, params.request_state, params.input_responses)
        call = Call(
            params.name,
            params.arguments or {},
            trace(caller.traceparent, params.meta),
            protocol=context.protocol_version,
            legacy=legacy,
            retry=Retry() if legacy else retry(*sent),
        )
        try:
            return results.as_sdk(await self._calls.call(caller, call))
        except (UnknownTool, StateInvalid) as error:
            raise MCPError(mcp_types.INVALID_PARAMS, str(error)) from None


def _is_legacy(context: ServerRequestContext[Any, Any]) -> bool:
    return context.protocol_version not in MODERN_PROTOCOL_VERSIONS


def _caller(context: ServerRequestContext[Any, Any]) -> Caller:
    if context.request is None:
        raise RuntimeError("the protocol was reached without a request")
    caller: Caller = context.request.scope[CALLER]
    return caller


def _input_schema(name: str) -> Mapping[str, Any] | None:
    """The input schema of a tool that the current caller sees: the protocol compares headers with it."""
    caller = current_caller.get()
    tool = caller.view.tools.get(name) if caller else None
    if tool is None:
        return None
    return tool.declared.input_schema if isinstance(tool, PreparedTool) else tool.input_schema
