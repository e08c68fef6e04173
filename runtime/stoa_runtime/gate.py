"""The ASGI layer before the protocol: nothing reaches it without a permitted host, a good token and a sound body.

Well-formed lists and calls are answered here from what is prepared; all else goes on to the SDK, which finds the
caller in the scope.
"""

import datetime
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mcp_types
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from stoa_runtime import bodies, prepared, progress, results
from stoa_runtime.audit import Audit, AuditUnavailable, Event
from stoa_runtime.bodies import BodyRefused, Bounds
from stoa_runtime.bundles import PreparedTool
from stoa_runtime.calls import Call, Caller, Calls, RequestRefused, UnknownTool
from stoa_runtime.connections import Answered
from stoa_runtime.limits import LimitReached, MemoryStore, Store
from stoa_runtime.metadata import challenge
from stoa_runtime.principals import Principal, PrincipalRefused, principal
from stoa_runtime.protocol import CALLER
from stoa_runtime.serving import Serving
from stoa_runtime.subscriptions import Subscriptions
from stoa_runtime.tokens import KeysUnavailable, ScopeMissing, Token, TokenRefused
from stoa_runtime.tracing import trace

_Answering = Coroutine[Any, Any, Answered]
_PRIVATE = b"private, no-store"
"""What caches may do with an answer that is one caller's: the same request of another has another."""
PRINCIPALS = 10_000
"""Principals that are remembered."""
_DAY = 86_400
_EPOCH = datetime.date(1970, 1, 1).toordinal()


@dataclass(slots=True)
class Head:
    """A request's headers, each name's first value; names that came more than once are told apart."""

    values: dict[bytes, bytes]
    doubled: set[bytes] = field(default_factory=set)

    def get(self, name: bytes) -> str | None:
        """The header's value."""
        value = self.values.get(name)
        return None if value is None else value.decode("latin-1")


def head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """The headers of an ASGI scope."""
    values: dict[bytes, bytes] = {}
    doubled: set[bytes] = set()
    for name, value in headers:
        if name in values:
            doubled.add(name)
        else:
            values[name] = value.strip(b" \t")  # White space around a value is none of it (RFC 9110, 5.5).
    return Head(values, doubled)


class _Stop(Exception):
    """The request ends here, with this answer."""

    def __init__(
        self, response: Response, rule: str | None = None, who: Principal | None = None, limit: str | None = None
    ) -> None:
        super().__init__(rule)
        self.response = response
        self.rule = rule
        """The rule that decided; None for what is no decision about a caller."""
        self.who = who
        self.limit = limit
        """The limit that was reached."""


class Gate:
    """Answers requests whose caller is known and may speak to the platform at all."""

    def __init__(
        self, serving: Callable[[], Serving], calls: Calls, audit: Audit, limits: Store, bounds: Bounds
    ) -> None:
        self._serving = serving
        self._calls = calls
        self._audit = audit
        self._limits = limits
        self._bounds = bounds
        self._principals: OrderedDict[tuple[str, int, bytes], Principal] = OrderedDict()
        self._envelopes = prepared.Envelopes()
        self.subscriptions = Subscriptions(self.authorize, body_limit=bounds.limit)
        """The open streams; it is told when another bundle is served."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to the MCP endpoint."""
        serving = self._serving()
        serving.in_flight += 1
        try:
            await self._answer(serving, scope, receive, send)
        finally:
            serving.in_flight -= 1

    async def _answer(self, serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
        given = head(scope["headers"])
        try:
            _check_origin(serving, given)
            if scope["method"] != "POST":
                raise _Stop(Response(status_code=405, headers={"Allow": "POST"}))
            caller = _caller(serving, given, await self._principal(serving, given))
            try:
                body, message = await self._message(given, receive)
            except _Stop:
                await self._admit(serving, caller.principal)
                raise
            asked = prepared.recognised(given.values, given.doubled, message, self._envelopes)
            if asked is not None and _is_for_sdk(caller, asked):
                asked = None
            token = progress.asked(asked.meta, given.values.get(b"accept", b"")) if asked is not None else None
            if asked is not None and asked.tool is not None and token is None:
                await _send(send, *await self._called(serving, caller, asked, charged=False))
                return
            await self._admit(serving, caller.principal)
        except _Stop as stop:
            await self._ended(serving, given, stop)(scope, receive, send)
            return
        if Subscriptions.takes(given.values.get(b"mcp-protocol-version"), message):
            scope[CALLER] = caller
            serving.in_flight -= 1  # A stream outlives the bundle that it began with.
            try:
                await self.subscriptions(scope, _replayed(body, receive), _kept_private(send))
            finally:
                serving.in_flight += 1
            return
        if asked is None:
            scope[CALLER] = caller
            scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
            token = progress.asked(_meta_of_call(message), given.values.get(b"accept", b""))
            if token is None:
                await serving.protocol(scope, _replayed(body, receive), _kept_private(send))
            else:
                spoken = _spoken(serving, scope, _replayed(body, receive))
                await progress.answer(_kept_private(send), token, spoken)
        elif asked.tool is None:
            await _send(send, 200, prepared.listed(asked, caller.view, serving.protocol))
        else:
            assert token is not None
            await progress.answer(_kept_private(send), token, self._called(serving, caller, asked))

    def direct(self, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> "Answered | _Answering | None":
        """The answer to a whole request, where it is a list or a call of somebody who is known already.

        None leaves it to the ASGI application: nothing has been charged or recorded then. Every check is the one that
        is made there.
        """
        serving = self._serving()
        given = head(headers)
        value = given.values.get(b"authorization")
        if value is None or value[:7] != b"Bearer " or not _takes_origin(serving, given) or given.doubled:
            return None
        token = serving.verifier.known(value[7:].decode("latin-1"))
        who = self._remembered(token, serving) if token is not None else None
        if who is None:
            return None
        try:
            message = bodies.parsed(body) if len(body) <= self._bounds.limit else None
        except ValueError:
            return None
        asked = prepared.recognised(given.values, given.doubled, message, self._envelopes)
        if asked is None:
            return None
        caller = _caller(serving, given, who)
        if asked.tool is not None:
            if _is_for_sdk(caller, asked) or progress.asked(asked.meta, given.values.get(b"accept", b"")) is not None:
                return None
            serving.in_flight += 1
            return self._calling(serving, given, caller, asked)
        if not isinstance(self._limits, MemoryStore):
            return None
        try:
            self._limits.take_now(serving.limits.request_charges(who))
        except LimitReached:
            return None
        return 200, prepared.listed(asked, caller.view, serving.protocol)

    async def _calling(self, serving: Serving, given: Head, caller: Caller, asked: prepared.Asked) -> Answered:
        try:
            return await self._called(serving, caller, asked, charged=False)
        except _Stop as stop:
            return self._ended(serving, given, stop)
        finally:
            serving.in_flight -= 1

    async def _admit(self, serving: Serving, who: Principal) -> None:
        """Charges the request to its tenant's rate. What is used up there holds for whatever the client asks next."""
        charges = serving.limits.request_charges(who)
        if not charges:
            return
        try:
            await self._limits.take(charges)
        except LimitReached as reached:
            raise _turned_away(reached, who) from None

    async def _called(
        self, serving: Serving, caller: Caller, asked: prepared.Asked, *, charged: bool = True
    ) -> tuple[int, bytes]:
        """HTTP status and body that answer a call. `charged`: its request is charged to its tenant already."""
        assert asked.tool is not None
        span = trace(caller.traceparent, asked.meta)
        call = Call(asked.tool, asked.arguments, span, protocol=asked.version, legacy=asked.legacy)
        try:
            answer = await self._calls.call(caller, call, charged=charged)
        except UnknownTool as error:
            return prepared.refused(asked, mcp_types.INVALID_PARAMS, str(error))
        except RequestRefused as refused:
            raise _turned_away(refused.reached, caller.principal) from None
        return 200, prepared.answered(asked, results.as_json(answer, legacy=asked.legacy, stamp=serving.protocol.stamp))

    async def authorize(self, scope: Scope) -> Caller | Response:
        """The caller whom a request's headers name, or the answer that refuses it: for what is served beside MCP.

        Host, origin and token are judged as for MCP, in the same words, and a refusal is recorded.
        """
        serving = self._serving()
        given = head(scope["headers"])
        try:
            _check_origin(serving, given)
            return _caller(serving, given, await self._principal(serving, given))
        except _Stop as stop:
            return self._ended(serving, given, stop)

    async def charged(self, scope: Scope) -> Caller | Response:
        """The same, for requests that are charged to their tenant's rate as those of MCP are."""
        caller = await self.authorize(scope)
        if isinstance(caller, Response):
            return caller
        try:
            await self._admit(self._serving(), caller.principal)
        except _Stop as stop:
            return self._ended(self._serving(), head(scope["headers"]), stop)
        return caller

    def _ended(self, serving: Serving, given: Head, stop: _Stop) -> Response:
        """The answer that ends a request, once it is recorded."""
        response = stop.response if stop.rule is None else self._recorded(serving, given, stop)
        response.headers.setdefault("Cache-Control", _PRIVATE.decode())
        return response

    async def _principal(self, serving: Serving, given: Head) -> Principal:
        index = serving.snapshot.index
        value = given.get(b"authorization") if b"authorization" not in given.doubled else None
        scheme, _, text = (value or "").partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise _Stop(_unauthorized(challenge(index)), "token-missing")
        try:
            token = serving.verifier.known(text) or await serving.verifier.verify(text)
            return self._known(token, serving)
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

    def _remembered(self, token: Token, serving: Serving) -> Principal | None:
        """The token's principal, where it was looked for before, on this day and in this bundle."""
        return self._principals.get((serving.snapshot.digest, int(time.time() // _DAY), token.key))

    def _known(self, token: Token, serving: Serving) -> Principal:
        """The token's principal, remembered for this day and bundle; subscriptions end with a day."""
        day = int(time.time() // _DAY)
        key = (serving.snapshot.digest, day, token.key)
        who = self._principals.get(key)
        if who is None:
            today = datetime.date.fromordinal(_EPOCH + day)
            who = self._principals[key] = principal(token.claims, serving.snapshot, today)
            if len(self._principals) > PRINCIPALS:
                self._principals.popitem(last=False)
        return who

    async def _message(self, given: Head, receive: Receive) -> tuple[bytes, Any]:
        """The body, and what it says."""
        try:
            body = await bodies.read(receive, given.values.get(b"content-length"), self._bounds)
        except BodyRefused as refused:
            headers = {"Connection": "close"} if refused.status == 408 else {}
            raise _Stop(Response(str(refused), status_code=refused.status, headers=headers)) from None
        try:
            return body, bodies.parsed(body)
        except ValueError:
            raise _Stop(_malformed()) from None

    def _recorded(self, serving: Serving, given: Head, stop: _Stop) -> Response:
        assert stop.rule is not None
        who = stop.who
        event = Event(
            decision="refused",
            rule=stop.rule,
            trace_id=trace(given.get(b"traceparent"), None).trace_id,
            bundle=serving.snapshot.digest,
            subject=who.subject if who else None,
            tenant=who.tenant if who else None,
            client=who.client if who else None,
            actors=who.actors if who else (),
            limit=stop.limit,
            protocol=given.get(b"mcp-protocol-version"),
        )
        try:
            self._audit.write(event)
        except AuditUnavailable:
            return Response(status_code=503)
        return stop.response


def _meta_of_call(message: Any) -> Mapping[str, Any] | None:
    """The `_meta` of a call; None for anything else."""
    if not isinstance(message, dict) or message.get("method") != "tools/call" or "id" not in message:
        return None
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else None


async def _spoken(serving: Serving, scope: Scope, receive: Receive) -> tuple[int, bytes]:
    """HTTP status and body of the SDK's answer to a call."""
    status = 0
    body: list[bytes] = []

    async def kept(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body.append(message.get("body", b""))

    await serving.protocol(scope, receive, kept)
    return status, b"".join(body)


def _is_for_sdk(caller: Caller, asked: prepared.Asked) -> bool:
    """Whether the SDK answers: it compares arguments with headers that mirror them, and writes questions to clients."""
    if asked.tool is None or asked.legacy:
        return False
    if asked.tool in caller.view.mirrored:
        return True
    tool = caller.view.tools.get(asked.tool)
    return isinstance(tool, PreparedTool) and tool.declared.approval


def _turned_away(reached: LimitReached, who: Principal) -> _Stop:
    """A request that its tenant's rate has no room for."""
    status = 503 if reached.rule == "limits-unavailable" else 429
    error = "temporarily_unavailable" if status == 503 else "too_many_requests"
    response = JSONResponse(
        {"error": error, "error_description": reached.text},
        status_code=status,
        headers={"Retry-After": str(math.ceil(reached.retry_after))},
    )
    return _Stop(response, "limit", who, reached.rule)


def _check_origin(serving: Serving, given: Head) -> None:
    host, origin = given.get(b"host"), given.get(b"origin")
    if host is None or b"host" in given.doubled or not serving.permitted.takes_host(host):
        raise _Stop(Response("This host is not served here.", status_code=421))
    if origin is not None and (b"origin" in given.doubled or not serving.permitted.takes_origin(origin)):
        raise _Stop(Response("This origin may not call from a browser.", status_code=403))


def _takes_origin(serving: Serving, given: Head) -> bool:
    """Whether `_check_origin` would find nothing."""
    try:
        _check_origin(serving, given)
    except _Stop:
        return False
    return True


def _caller(serving: Serving, given: Head, who: Principal) -> Caller:
    view = serving.access.view(who)
    traceparent = given.get(b"traceparent")
    return Caller(who, serving.snapshot, serving.access, serving.backends, serving.limits, traceparent, view)


def _unauthorized(value: str) -> Response:
    return JSONResponse({"error": "invalid_token"}, status_code=401, headers={"WWW-Authenticate": value})


def _malformed() -> Response:
    error = {"code": mcp_types.PARSE_ERROR, "message": "Parse error: the body is not sound JSON"}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=400)


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", _PRIVATE),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _kept_private(send: Send) -> Send:
    """A `send` whose answer no cache keeps, where it doesn't say already what caches may do."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                message = {**message, "headers": [*headers, (b"cache-control", _PRIVATE)]}
        await send(message)

    return sent


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
