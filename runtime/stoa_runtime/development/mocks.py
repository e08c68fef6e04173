"""Mock backends: services that answer as the contracts' examples say.

One application stands for every backend of a bundle, each below `/<tenant>/<contract>`. A request is matched by
method and path, read back to arguments and checked against the tool's input schema, as a real service would;
the answer is the example's output as it is written, or a sample of the output schema where there is none.
"""

import argparse
import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stoa_runtime.bundles import BundleError, Snapshot, load, validator
from stoa_runtime.development import NotForDevelopment
from stoa_runtime.development.reading import Received, Unreadable, arguments_of
from stoa_runtime.development.samples import NoSample, sample
from stoa_runtime.development.serving import serve_locally
from stoa_runtime.reload import changes
from stoa_schemas.bundle import CallExample, Catalog, Tool

_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_PATH_SAFE = "/!$&'()*+,;=:@%~"
"""RFC 3986, 3.3, and the escapes that the contract wrote itself."""
_BODY_LIMIT = 10_000_000
_MOST_ERRORS = 20
LOOK_SECONDS = 0.05
"""How often the bundle's folder is looked at for another one."""
_SOME_BYTES = b"\x00example"


def mock_application(catalogs: Sequence[Catalog]) -> Starlette:
    """The backends of all tenants in `catalogs`."""
    services: dict[tuple[str, str], list[_Endpoint]] = {}
    for catalog in catalogs:
        for contract in catalog.contracts:
            services[catalog.tenant, contract.name] = []
        for tool in catalog.tools:
            services[catalog.tenant, tool.contract].append(_Endpoint(tool))
    for endpoints in services.values():
        # As OpenAPI has it: a path without templates is matched before one with.
        endpoints.sort(key=lambda endpoint: endpoint.rank)
    return Starlette(routes=[Route("/{path:path}", _Backends(services).answer, methods=_METHODS)])


class _Endpoint:
    """One tool's method and path, and what is answered there."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self._names = _TEMPLATE.findall(tool.request.path)
        # Names of path parameters need not be valid names of groups.
        fixed = [quote(piece, safe=_PATH_SAFE) for piece in _TEMPLATE.split(tool.request.path)[::2]]
        self._pattern = re.compile("([^/]+)".join(map(re.escape, fixed)))
        self.rank = [_TEMPLATE.search(segment) is not None for segment in tool.request.path.split("/")]

    @cached_property
    def input(self) -> jsonschema_rs.Validator:
        """Made at the first call: a catalog may have a thousand tools."""
        return validator(self.tool.input_schema, f"the input schema of `{self.tool.id}`")

    def match(self, path: str) -> dict[str, str] | None:
        """The path's values, still encoded; None where it is another path."""
        found = self._pattern.fullmatch(path)
        return dict(zip(self._names, found.groups(), strict=True)) if found else None


@dataclass(frozen=True, slots=True)
class _Backends:
    services: dict[tuple[str, str], list[_Endpoint]]

    async def answer(self, request: Request) -> Response:
        """The example's answer, or a problem (RFC 9457)."""
        path: str = request.scope["raw_path"].decode("ascii")
        tenant, contract, rest = (*path.removeprefix("/").split("/", 2), "", "")[:3]
        endpoints = self.services.get((tenant, contract))
        if endpoints is None:
            return _problem(404, f"there is no contract `{contract}` of `{tenant}`")
        matched = [(e, values) for e in endpoints if (values := e.match(f"/{rest}")) is not None]
        if not matched:
            return _problem(404, f"`{contract}` has no operation at `/{rest}`")
        methods = sorted({endpoint.tool.request.method for endpoint, _ in matched})
        candidates = [(e, values) for e, values in matched if e.tool.request.method == request.method]
        if not candidates:
            refusal = _problem(405, f"the methods here are {', '.join(methods)}")
            refusal.headers["Allow"] = ", ".join(methods)
            return refusal
        body = await _body(request)
        if body is None:
            return _problem(413, f"the body is over {_BODY_LIMIT} bytes")
        refusals = []
        for endpoint, values in candidates:
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
            received = Received(values, request.url.query, headers, body)
            answer = _answer(endpoint, received)
            if answer.status_code < 400:
                return answer
            refusals.append(answer)
        return refusals[0]


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_LIMIT:
            return None
    return bytes(body)


def _answer(endpoint: _Endpoint, received: Received) -> Response:
    tool = endpoint.tool
    try:
        arguments = _with_empty(tool, arguments_of(tool, received))
    except Unreadable as unreadable:
        return _problem(unreadable.status, str(unreadable))
    errors = [
        {"at": "/" + "/".join(map(str, error.instance_path)), "message": error.message}
        for error, _ in zip(endpoint.input.iter_errors(arguments), range(_MOST_ERRORS), strict=False)
    ]
    if errors:
        return _problem(422, f"the request is not one that `{tool.id}` makes", errors)
    media_types = tool.answer.media_types
    if media_types and tool.output_schema is None and not any(_is_text(media_type) for media_type in media_types):
        return Response(_SOME_BYTES, media_type=media_types[0].replace("*", "octet-stream"))
    if not media_types or (tool.output_schema is None and not tool.answers):
        return Response(status_code=204)
    try:
        return _content(tool, _output(tool, arguments))
    except NoSample as reason:
        return _problem(501, f"`{tool.id}` has no example with an output, and no sample can be made: {reason}")


def _with_empty(tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with those that are required and empty: OpenAPI writes no query parameter for `[]` and `{}`."""
    empty: dict[str, Any] = {}
    for name in tool.input_schema.get("required", ()):
        place = tool.request.arguments.get(name)
        if name not in arguments and place is not None and place.in_ != "body":
            kind = tool.input_schema.get("properties", {}).get(name, {}).get("type")
            empty.update({name: {"array": [], "object": {}}[kind]} if kind in ("array", "object") else {})
    return {**arguments, **empty}


def _output(tool: Tool, arguments: dict[str, Any]) -> Any:
    """The output of the example for these arguments, else of the first that has one, else a sample."""
    with_output = [example for example in tool.examples if "output" in example.model_fields_set]
    for example in with_output:
        if _corresponds(tool, example, arguments):
            return example.output
    if with_output:
        return with_output[0].output
    if tool.answers:
        return tool.answers[0]
    return sample(tool.output_schema if tool.output_schema is not None else True)


def _is_text(media_type: str) -> bool:
    """Whether answers of the type are written from values; others are bytes."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence.startswith(("text/", "*/", "application/*")) or essence.endswith(("json", "xml", "yaml"))


def _corresponds(tool: Tool, example: CallExample, arguments: dict[str, Any]) -> bool:
    """Whether these are the example's arguments, those left out standing for their defaults."""
    properties = tool.input_schema.get("properties", {})
    defaults = {name: p["default"] for name, p in properties.items() if isinstance(p, dict) and "default" in p}
    return jsonschema_rs.is_valid({"const": {**defaults, **example.input}}, {**defaults, **arguments})


def _content(tool: Tool, output: Any) -> Response:
    """The output in a media type that the contract takes, JSON where it can be."""
    media_types = [media_type.partition(";")[0].strip().lower() for media_type in tool.answer.media_types]
    for media_type in media_types:
        if media_type in ("*/*", "application/*"):
            media_type = "application/json"
        if media_type == "application/json" or media_type.endswith("+json"):
            return Response(orjson.dumps(output), media_type=media_type)
    media_type = media_types[0].replace("/*", "/plain")
    return Response(output if isinstance(output, str) else orjson.dumps(output), media_type=media_type)


def _problem(status: int, detail: str, errors: Sequence[dict[str, str]] = ()) -> Response:
    content: dict[str, Any] = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    if errors:
        content["errors"] = list(errors)
    return Response(orjson.dumps(content), status, media_type="application/problem+json")


def main(arguments: Sequence[str] | None = None) -> int:
    """The mock backends of a bundle as a process of their own."""
    parser = argparse.ArgumentParser(prog="python -m stoa_runtime.development.mocks", description=main.__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--stop-at-eof", action="store_true", help="stop when standard input ends, so as not to outlive its other end"
    )
    options = parser.parse_args(arguments)
    try:
        snapshot = load(options.bundle, allow_development=True)
        if snapshot.development is None:
            raise NotForDevelopment(f"the bundle of {snapshot.index.environment!r} is not a development one")
        mocks = _Mocks(options.bundle, snapshot)
        asyncio.run(_serve(mocks, options.host, options.port, options.stop_at_eof))
    except (BundleError, NotForDevelopment, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


class _Mocks:
    """The backends of whatever good bundle the folder holds."""

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        self._folder = folder
        self._snapshot = snapshot
        self._app = self._made()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def follow(self) -> None:
        """Answers from each new bundle of the folder."""
        served = changes(self._folder, lambda: self._snapshot, LOOK_SECONDS, load=partial(load, allow_development=True))
        async for found in served:
            if not isinstance(found, BundleError):
                self._snapshot = found
                self._app = self._made()

    def _made(self) -> Starlette:
        return mock_application([tenant.catalog for tenant in self._snapshot.tenants.values()])


async def _serve(app: _Mocks, host: str, port: int, stop_at_eof: bool) -> None:
    """Serves until a signal comes, or standard input ends; says on standard output where, once it does."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    if stop_at_eof:
        # A daemon: one that waits for input must not keep the process from ending.
        threading.Thread(target=_at_eof, args=(loop, stop), daemon=True).start()
    async with serve_locally(app, host, port) as url:
        print(orjson.dumps({"backends": url}).decode(), flush=True)
        following = asyncio.create_task(app.follow())
        await stop.wait()
        following.cancel()


def _at_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # Not through sys.stdin: its lock, held by a thread that waits, would abort the interpreter's end.
    while os.read(0, 4096):
        continue
    with contextlib.suppress(RuntimeError):  # The loop has ended already.
        loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    raise SystemExit(main())
