"""Subscriptions to changes of the list of tools (`subscriptions/listen`, protocol 2026-07-28).

A stream belongs to one caller and outlives bundles: when another takes effect, each caller's view is looked up again,
and only those whose own list is another than before are told. The request's token is judged again each time, and now
and then besides: a stream ends when its token does.

Clients of older protocols have no stream without a session, so nothing is declared to them.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoa_runtime.bundles import PreparedTool
from stoa_runtime.calls import Caller
from stoa_runtime.protocol import CALLER

METHOD = "subscriptions/listen"
STREAMS = 4096
"""Streams that may be open at once."""
PER_CALLER = 16
"""Streams that one subject may have open with one client."""
RECHECK_SECONDS = 30.0
"""How often a stream's token is judged where nothing changes."""
AGE_SECONDS = 3600.0
"""How long a stream lasts at the most; its client then opens another, perhaps at another process."""

Authorize = Callable[[Scope], Awaitable[Caller | Response]]
"""The caller whom a request's headers name now, or the answer that refuses it."""
Seen = Mapping[str, Any]
"""Tools as a list shows them, by name."""


@dataclass(eq=False, slots=True)
class _Stream:
    """One open stream."""

    seen: Seen
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Subscriptions:
    """The open streams of one process."""

    def __init__(
        self,
        authorize: Authorize,
        *,
        streams: int = STREAMS,
        per_caller: int = PER_CALLER,
        recheck_seconds: float = RECHECK_SECONDS,
        age_seconds: float = AGE_SECONDS,
        body_limit: int = 1_048_576,
    ) -> None:
        self._authorize = authorize
        self._limit = streams
        self._per_caller = per_caller
        self._recheck = recheck_seconds
        self._age = age_seconds
        self._open: set[_Stream] = set()
        self._held: Counter[tuple[str, str, str]] = Counter()
        self._closed = False
        server: Server[Any] = Server("stoa", on_subscriptions_listen=self.listen)
        server.middleware.clear()  # Spans by whatever `_meta` holds.
        self._sessions = StreamableHTTPSessionManager(
            server,
            json_response=True,
            stateless=True,
            max_request_body_size=body_limit,
            # Host and origin are judged before, by the lists of the bundle that is served then.
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )

    @staticmethod
    def takes(version: bytes | None, message: Any) -> bool:
        """Whether a request, by its version header and its parsed body, is one that is to be answered here."""
        return version == b"2026-07-28" and isinstance(message, dict) and message.get("method") == METHOD

    def __len__(self) -> int:
        """How many streams are open."""
        return len(self._open)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Streams can be opened while the block runs."""
        async with self._sessions.run():
            try:
                yield
            finally:
                self.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of the caller whom the scope holds, answered for as long as its stream is open."""
        await self._sessions.handle_request(scope, receive, send)

    def changed(self) -> None:
        """Another bundle is served: whoever sees another list now is told."""
        for stream in self._open:
            stream.changed.set()

    def close(self) -> None:
        """Ends every stream, as the protocol wants it said; it doesn't wait for that."""
        self._closed = True
        self.changed()

    async def listen(
        self, context: ServerRequestContext[Any, Any], params: mcp_types.SubscriptionsListenRequestParams
    ) -> mcp_types.SubscriptionsListenResult:
        """One stream, from its acknowledgement to its end."""
        if context.request is None or context.request_id is None:
            raise MCPError(mcp_types.INVALID_REQUEST, "A subscription needs a request with an id.")
        scope: Scope = context.request.scope
        caller: Caller = scope.pop(CALLER)
        who = (caller.principal.tenant, caller.principal.subject, caller.principal.client)
        if self._closed or len(self._open) >= self._limit or self._held[who] >= self._per_caller:
            raise MCPError(mcp_types.INTERNAL_ERROR, "There are too many subscriptions. Close one, or ask again later.")
        stream = _Stream(_seen(caller))
        del caller  # Its bundle may be an old one soon.
        self._open.add(stream)
        self._held[who] += 1
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        # Tools are all that there is here: nothing else is promised.
        wanted = params.notifications.tools_list_changed or None
        try:
            await context.session.send_notification(
                mcp_types.SubscriptionsAcknowledgedNotification(
                    params=mcp_types.SubscriptionsAcknowledgedNotificationParams(
                        notifications=mcp_types.SubscriptionFilter(tools_list_changed=wanted), meta=meta
                    )
                ),
                related_request_id=context.request_id,
            )
            with anyio.move_on_after(self._age):
                while wanted and await self._differs(stream, scope):
                    await context.session.send_notification(
                        mcp_types.ToolListChangedNotification(params=mcp_types.NotificationParams(meta=meta)),
                        related_request_id=context.request_id,
                    )
        finally:
            self._open.discard(stream)
            self._held[who] -= 1
            if not self._held[who]:
                del self._held[who]
        return mcp_types.SubscriptionsListenResult(meta=meta)

    async def _differs(self, stream: _Stream, scope: Scope) -> bool:
        """Waits for another list, and says True then; False where the stream ends before."""
        while True:
            with anyio.move_on_after(self._recheck):
                await stream.changed.wait()
            stream.changed.clear()
            if self._closed:
                return False
            caller = await self._authorize(scope)
            if isinstance(caller, Response):
                return False
            seen = _seen(caller)
            if seen != stream.seen:
                stream.seen = seen
                return True


def _seen(caller: Caller) -> Seen:
    """What the caller's list holds. Two bundles that declare a tool alike show it alike."""
    tools = caller.view.tools
    return {name: tool.declared if isinstance(tool, PreparedTool) else name for name, tool in tools.items()}
