"""The API over HTTP: authorized like MCP, each request recorded, each answer private to its caller."""

import asyncio
import hashlib
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa_runtime import bodies
from stoa_runtime.approvals import Approvals
from stoa_runtime.audit import AuditUnavailable, Event
from stoa_runtime.calls import Caller
from stoa_runtime.control import openapi, problems, queries
from stoa_runtime.control.problems import Refused
from stoa_runtime.control.resources import RESOURCES, Act, Asked, Resource
from stoa_runtime.tracing import trace
from stoa_schemas import control

PREFIX = openapi.PREFIX
"""The API's path. The application takes whole paths, whether a router in front of it mounts it or not."""

BODY = bodies.Bounds(limit=16_384, deadline=10.0)
"""What a body may be."""

Authorize = Callable[[Scope], Awaitable[Caller | Response]]
"""Gives the caller of a request, or the answer that refuses it."""


class Log(Protocol):
    """Where requests are recorded."""

    def write(self, event: Event) -> None:
        """Takes the event; `AuditUnavailable` where that cannot be done."""

    async def settled(self) -> None:
        """Returns when what the log promises holds for what it took; `AuditUnavailable` where it does not in time."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a request comes to, before it is known to be recorded."""

    decision: Literal["allowed", "refused"]
    rule: str
    status: int
    body: bytes
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    approval: str | None = None
    """The approval that it is about."""


def application(
    authorize: Authorize, log: Log, approvals: Approvals | None = None, further: Sequence[Resource] = ()
) -> ASGIApp:
    """The API as an ASGI application. `further` are resources beside its own, described in its document too."""
    return _Application(authorize, log, approvals, (*RESOURCES, *further))


class _Application:
    def __init__(
        self, authorize: Authorize, log: Log, approvals: Approvals | None, resources: Sequence[Resource]
    ) -> None:
        self._authorize = authorize
        self._log = log
        self._approvals = approvals
        self._resources = [(tuple(resource.path.split("/")), resource) for resource in resources]
        self._all = resources
        self._document: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        began = time.perf_counter()
        caller = await self._authorize(scope)
        if isinstance(caller, Response):
            await caller(scope, receive, send)
            return
        try:
            answer = await self._answer(caller, scope, receive)
        except Refused as refused:
            answer = _refusal(refused)
        trace_id = trace(caller.traceparent, None).trace_id
        event = Event(
            decision=answer.decision,
            rule=answer.rule,
            trace_id=trace_id,
            bundle=caller.snapshot.digest,
            subject=caller.principal.subject,
            tenant=caller.principal.tenant,
            client=caller.principal.client,
            asked=f"{scope['method']} {scope['path']}",
            approval=answer.approval,
            duration_ms=(time.perf_counter() - began) * 1000,
        )
        try:
            self._log.write(event)
            await self._log.settled()
        except AuditUnavailable:
            answer = _refusal(problems.unrecorded())
        await _response(scope, caller, answer, trace_id)(scope, receive, send)

    async def _answer(self, caller: Caller, scope: Scope, receive: Receive) -> _Answer:
        """The answer to one request; `Refused` by the first check that fails.

        What the caller may ask for at all, and of which form the query is, is judged before anything is looked
        up, so neither answer depends on what exists.
        """
        path = scope["path"].removeprefix(PREFIX)
        if b"%2f" in scope.get("raw_path", b"").lower():
            raise problems.not_found()  # A slash within a segment is none between two.
        resource, values = self._resource(path)
        methods = openapi.METHODS if resource is None else resource.methods
        if scope["method"] not in methods:
            raise problems.method_not_allowed(methods)
        if resource is not None and isinstance(resource.content, Act):
            return await self._performed(caller, resource, resource.content, values, scope, receive)
        if resource is None:
            queries.read(scope["query_string"], (), None)
            body, following = await self._described(), None
        else:
            resource.check(caller.principal)
            query = queries.read(scope["query_string"], resource.filters, resource.kind)
            content = resource.answer(Asked(caller, values, query, self._approvals))
            if inspect.isawaitable(content):
                content = await content
            body = _encoded(content)
            following = content.next if isinstance(content, control.Page) else None
        tag = _tag(caller, body)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if following is not None:
            headers["Link"] = f'<{PREFIX}{path}?{_following(scope["query_string"], following)}>; rel="next"'
        if _is_known(Headers(scope=scope).getlist("if-none-match"), tag):
            return _Answer("allowed", "control-read", 304, b"", "", headers)
        return _Answer("allowed", "control-read", 200, body, "application/json", headers)

    async def _performed(
        self, caller: Caller, resource: Resource, act: Act, values: Mapping[str, str], scope: Scope, receive: Receive
    ) -> _Answer:
        """What a request came to that changes something. Rights, then form, then what it is about."""
        resource.check(caller.principal)
        query = queries.read(scope["query_string"], (), None)
        body = await _body(act.body, Headers(scope=scope), receive)
        done = await act.perform(Asked(caller, values, query, self._approvals), body)
        headers = {"Cache-Control": "private, no-store"}
        return _Answer("allowed", done.rule, 200, _encoded(done.content), "application/json", headers, done.approval)

    async def _described(self) -> bytes:
        """The API's own description: made when it is first asked for, beside the loop, since it takes a while."""
        if self._document is None:
            made = await asyncio.to_thread(openapi.document, self._all)
            self._document = openapi.encoded(made)
        return self._document

    def _resource(self, path: str) -> tuple[Resource | None, dict[str, str]]:
        """The resource at `path`, None for the API's own document, and the values in the path."""
        if path == openapi.DOCUMENT:
            return None, {}
        segments = path.split("/")
        for template, resource in self._resources:
            values = _matched(template, segments)
            if values is not None:
                return resource, values
        raise problems.not_found()


def _matched(template: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    """The values of a template's names, where it fits."""
    if len(template) != len(segments):
        return None
    values: dict[str, str] = {}
    for expected, segment in zip(template, segments, strict=True):
        if expected.startswith("{"):
            if not segment:
                return None
            values[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return values


async def _body(model: type[BaseModel], headers: Headers, receive: Receive) -> BaseModel:
    """The body as the model wants it."""
    length = headers.get("content-length")
    try:
        data = await bodies.read(receive, length.encode() if length else None, BODY)
    except bodies.BodyRefused as refused:
        raise problems.bad_body(refused.status, str(refused)) from None
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise problems.bad_body(415, "Send `application/json`.")
    try:
        return model.model_validate(bodies.parsed(data))
    except ValidationError as error:
        wrong = [f"`{'.'.join(map(str, e['loc'])) or 'body'}`: {e['msg']}." for e in error.errors(include_input=False)]
        raise problems.bad_body(400, " ".join(wrong)) from None
    except ValueError:
        raise problems.bad_body(400, "The body is not sound JSON.") from None


def _tag(caller: Caller, body: bytes) -> str:
    """The strong entity tag: of the bundle, and of what this caller sees of it."""
    digest = hashlib.sha256(caller.snapshot.digest.encode() + b"\n" + body)
    return f'"{digest.hexdigest()[:32]}"'


def _is_known(values: Sequence[str], tag: str) -> bool:
    """Whether `If-None-Match` names the tag (RFC 9110, 13.1.2: the comparison is weak)."""
    given = [value.strip() for line in values for value in line.split(",")]
    return any(value == "*" or value.removeprefix("W/") == tag for value in given)


def _following(query: bytes, cursor: str) -> str:
    """The query of the next page: the same, from another place."""
    kept = [(name, value) for name, value in parse_qsl(query.decode("ascii")) if name != "cursor"]
    return urlencode([*kept, ("cursor", cursor)])


def _refusal(refused: Refused) -> _Answer:
    headers = {"Cache-Control": "private, no-store"}
    if refused.allow is not None:
        headers["Allow"] = refused.allow
    return _Answer(
        "refused",
        refused.rule,
        refused.problem.status,
        _encoded(refused.problem),
        "application/problem+json",
        headers,
        refused.approval,
    )


def _encoded(content: BaseModel) -> bytes:
    return content.model_dump_json(by_alias=True, exclude_none=True).encode()


def _response(scope: Scope, caller: Caller, answer: _Answer, trace_id: str) -> Response:
    """The response, with what every one of them carries. HEAD tells the length and leaves out the content."""
    headers = {
        **answer.headers,
        "Vary": "Authorization",
        "Stoa-Bundle": caller.snapshot.digest,
        "Stoa-Trace-Id": trace_id,
        "X-Content-Type-Options": "nosniff",
    }
    if answer.status == 304:
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = answer.media_type
    headers["Content-Length"] = str(len(answer.body))
    return Response(b"" if scope["method"] == "HEAD" else answer.body, answer.status, headers)
