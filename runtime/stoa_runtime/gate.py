"""The ASGI layer before the protocol: nothing reaches it without a permitted host, a good token and a sound body.

It leaves the caller in the scope; a layer behind it, and the protocol's handlers, find it there.
"""

import asyncio
import datetime
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import mcp_types
import orjson
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa_runtime.access import Access
from stoa_runtime.audit import Audit, AuditUnavailable, Event
from stoa_runtime.backends import Backends
from stoa_runtime.bundles import Snapshot
from stoa_runtime.calls import Caller
from stoa_runtime.metadata import challenge
from stoa_runtime.nesting import is_too_deep
from stoa_runtime.principals import Principal, PrincipalRefused, principal
from stoa_runtime.tokens import KeysUnavailable, ScopeMissing, Token, TokenRefused, Verifier
from stoa_runtime.tracing import trace

CALLER = "stoa.caller"
"""The scope's key of the `Caller`."""
MESSAGE = "stoa.message"
"""The scope's key of the parsed body."""
PRINCIPALS = 10_000

current_caller: ContextVar[Caller | None] = ContextVar("current_caller", default=None)
"""The caller of the request that is being served, for look-ups that the protocol makes without a context."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A snapshot with all that serves it. A request keeps the one that it began with."""

    snapshot: Snapshot
    access: Access
    verifier: Verifier
    backends: Backends


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be."""

    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    body_bytes: int
    body_seconds: float


class _Stop(Exception):
    """The request ends here, with this answer."""

    def __init__(self, response: Response, rule: str | None = None) -> None:
        super().__init__(rule)
        self.response = response
        self.rule = rule


class Gate:
    """Passes requests to `app` whose caller is known and may speak to it at all."""

    def __init__(self, app: ASGIApp, serving: Callable[[], Serving], audit: Audit, limits: Limits) -> None:
        self._app = app
        self._serving = serving
        self._audit = audit
        self._limits = limits
        self._principals: OrderedDict[tuple[str, datetime.date, bytes], Principal] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        serving = self._serving()
        headers = Headers(scope=scope)
        try:
            self._check_origin(headers)
            if scope["method"] != "POST":
                raise _Stop(Response(status_code=405, headers={"Allow": "POST"}))
            who = await self._principal(serving, headers)
            body = await self._body(headers, receive)
            scope[MESSAGE] = _parsed(body)
        except _Stop as stop:
            await self._ended(serving, headers, stop)(scope, receive, send)
            return
        caller = _caller(serving, headers, who)
        scope[CALLER] = caller
        mark = current_caller.set(caller)
        try:
            await self._app(scope, _replayed(body, receive), send)
        finally:
            current_caller.reset(mark)

    async def authorize(self, scope: Scope) -> Caller | Response:
        """The caller whom a request's headers name, or the answer that refuses it: for what is served beside MCP.

        Host, origin and token are judged as for MCP, in the same words, and a refusal is recorded.
        """
        serving = self._serving()
        headers = Headers(scope=scope)
        try:
            self._check_origin(headers)
            return _caller(serving, headers, await self._principal(serving, headers))
        except _Stop as stop:
            return self._ended(serving, headers, stop)

    def _ended(self, serving: Serving, headers: Headers, stop: _Stop) -> Response:
        """The answer that ends a request, once it is recorded."""
        return stop.response if stop.rule is None else self._recorded(serving, headers, stop.rule, stop.response)

    def _check_origin(self, headers: Headers) -> None:
        if not _matches(headers.get("host", ""), self._limits.hosts):
            raise _Stop(Response("This host is not served here.", status_code=421))
        origin = headers.get("origin")
        if origin is not None and not _matches(origin, self._limits.origins):
            raise _Stop(Response("This origin may not call from a browser.", status_code=403))

    async def _principal(self, serving: Serving, headers: Headers) -> Principal:
        index = serving.snapshot.index
        given = headers.getlist("authorization")
        scheme, _, text = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not text.strip():
            raise _Stop(_unauthorized(challenge(index)), "token-missing")
        try:
            token = await serving.verifier.verify(text.strip())
            return self._known(token, serving.snapshot)
        except (TokenRefused, PrincipalRefused) as refused:
            rule = "token" if isinstance(refused, TokenRefused) else "principal"
            raise _Stop(_unauthorized(challenge(index, "invalid_token", str(refused))), rule) from None
        except ScopeMissing:
            value = challenge(index, "insufficient_scope", "the token lacks a scope that this server needs")
            raise _Stop(
                JSONResponse({"error": "insufficient_scope"}, status_code=403, headers={"WWW-Authenticate": value}),
                "scope",
            ) from None
        except KeysUnavailable:
            raise _Stop(
                JSONResponse({"error": "temporarily_unavailable"}, status_code=503, headers={"Retry-After": "10"}),
                "keys-unavailable",
            ) from None

    def _known(self, token: Token, snapshot: Snapshot) -> Principal:
        """The token's principal, remembered for this day and bundle; subscriptions end with a day."""
        today = datetime.datetime.now(datetime.UTC).date()
        key = (snapshot.digest, today, token.key)
        who = self._principals.get(key)
        if who is None:
            who = self._principals[key] = principal(token.claims, snapshot, today)
            if len(self._principals) > PRINCIPALS:
                self._principals.popitem(last=False)
        return who

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        limit = self._limits.body_bytes
        declared = headers.get("content-length", "0")
        if not declared.isdigit() or int(declared) > limit:
            raise _Stop(Response("The body is too large.", status_code=413))
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _Stop(Response(status_code=400))
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise _Stop(Response("The body is too large.", status_code=413))
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise _Stop(
                Response("The body did not arrive in time.", status_code=408, headers={"Connection": "close"})
            ) from None

    def _recorded(self, serving: Serving, headers: Headers, rule: str, response: Response) -> Response:
        event = Event(
            decision="refused",
            rule=rule,
            trace_id=trace(headers.get("traceparent"), None).trace_id,
            bundle=serving.snapshot.digest,
        )
        try:
            self._audit.write(event)
        except AuditUnavailable:
            return Response(status_code=503)
        return response


def _caller(serving: Serving, headers: Headers, who: Principal) -> Caller:
    return Caller(who, serving.snapshot, serving.access, serving.backends, headers.get("traceparent"))


def _unauthorized(value: str) -> Response:
    return JSONResponse({"error": "invalid_token"}, status_code=401, headers={"WWW-Authenticate": value})


def _matches(value: str, permitted: Sequence[str]) -> bool:
    """Whether `value` is one of those permitted; `name:*` takes any port."""
    if value in permitted:
        return True
    name, colon, port = value.rpartition(":")
    return bool(colon) and port.isdigit() and f"{name}:*" in permitted


def _parsed(body: bytes) -> Any:
    """The body, read strictly: no NaN, no lone surrogates, no member twice, no deep nesting.

    Two readers that take different ones of a duplicated member would see two different calls.
    """
    try:
        orjson.loads(body)
        value = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _Stop(_malformed()) from None
    if is_too_deep(value):
        raise _Stop(_malformed())
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _malformed() -> Response:
    error = {"code": mcp_types.PARSE_ERROR, "message": "Parse error: the body is not sound JSON"}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=400)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, once, and then what comes after it."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


__all__ = ["CALLER", "MESSAGE", "Gate", "Limits", "Serving", "current_caller"]
