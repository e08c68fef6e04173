"""The conformance source compiled and served, for a suite that knows neither tokens nor our names."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoa_compiler.diagnostics import Report
from stoa_compiler.pipeline import Bundle, read, render
from stoa_compiler.write import write
from stoa_runtime.bundles import load
from stoa_runtime.development.issuer import issuer_application
from stoa_runtime.development.serving import serve_locally
from stoa_runtime.server import application
from stoa_runtime.settings import Settings
from stoa_schemas.bundle import RUNTIME_MANIFEST, RuntimeManifest
from tests.engines.conformance import backend
from tests.engines.keycloak import free_port

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "demo"))

from person import signed_in  # noqa: E402

PERSON = "tess"
RENAMED = {"json_schema_v2020_12_tool": "json_schema_2020_12_tool"}
"""Our name, and the one that the suite looks for in the list: no operation's name begins with a digit."""
CHANGES = 12
"""How often the suite can change the list of tools."""
_HOST = "127.0.0.1"
_PORTS = {"gateway": 48080, "issuer": 48081, "backend": 48082}
"""The ports in the source, replaced by free ones."""


@contextlib.asynccontextmanager
async def served(scratch: Path) -> AsyncIterator[str]:
    """The MCP URL, where every request is one of a person who is signed in and sees every tool."""
    ports = {name: free_port() for name in _PORTS}
    bundles = iter(_compiled(scratch / "source", ports))
    folder = scratch / "bundle"
    write(next(bundles).files, folder)

    async def change() -> None:
        await asyncio.to_thread(write, next(bundles).files, folder)

    snapshot = load(folder, allow_development=True)
    assert snapshot.development is not None
    manifest = RuntimeManifest.model_validate_json((folder / RUNTIME_MANIFEST).read_bytes())
    issuer = issuer_application(snapshot.development, snapshot.index, manifest)
    # The suite waits for a notification for less than a second and a half.
    settings = Settings(bundle=folder, audit=scratch / "audit.jsonl", allow_development=True, reload_seconds=0.1)
    runtime = application(settings)
    signed = _Signed(runtime)
    async with (
        serve_locally(backend.application(change), _HOST, ports["backend"]),
        serve_locally(issuer, _HOST, ports["issuer"]),
        serve_locally(signed, _HOST, ports["gateway"]) as url,
        signed_in(f"{url}/mcp", PERSON) as person,
    ):
        signed.token = person.token
        yield f"{url}/mcp"


def _compiled(source: Path, ports: dict[str, int]) -> list[Bundle]:
    """The source's bundle, and those of as many further states of it, each with one tool more."""
    shutil.copytree(HERE / "source", source)
    for file in source.rglob("*.yaml"):
        text = file.read_text()
        for name, port in _PORTS.items():
            text = text.replace(f"{_HOST}:{port}", f"{_HOST}:{ports[name]}")
        file.write_text(text)
    return [_bundle(source, more) for more in range(CHANGES + 1)]


def _bundle(source: Path, more: int) -> Bundle:
    file = source / "test" / "contracts" / "further.yaml"
    operations = [
        f"    tool_{n}: {{method: GET, path: /further/{n}, summary: One more, intent: None., sideEffects: read}}\n"
        for n in range(more)
    ]
    if operations:
        simple = (source / "test" / "contracts" / "logging.yaml").read_text()
        file.write_text(simple.partition("  operations:")[0].replace("logging", "further") + "  operations:\n")
        with file.open("a") as stream:
            stream.writelines(operations)
    report = Report()
    checked = read(source, report)
    report.stop_if_errors()
    assert checked.graph is not None
    return render(checked.graph, "dev", report)


class _Signed:
    """The runtime, with the person's token on every request that has none, and some tools named as the suite does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.token is None:
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        headers = [*scope["headers"], (b"authorization", f"Bearer {self.token}".encode())]
        for ours, theirs in RENAMED.items():
            body = body.replace(b'"%b"' % theirs.encode(), b'"%b"' % ours.encode())
            headers = [(name, value.replace(theirs.encode(), ours.encode())) for name, value in headers]
        headers = [(n, str(len(body)).encode() if n == b"content-length" else v) for n, v in headers]
        await self._app({**scope, "headers": headers}, _replayed(body, receive), _Renaming(send))


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    rest = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": rest.pop()} if rest else await receive()

    return again


class _Renaming:
    """Sends an answer on, its tools renamed. A stream passes as it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if (b"content-type", b"application/json") in message["headers"]:
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = _renamed(self._body)
            kept = [header for header in self._start["headers"] if header[0] != b"content-length"]
            self._start["headers"] = [*kept, (b"content-length", str(len(body)).encode())]
            await self._send(self._start)
            self._start = None
            message = {"type": "http.response.body", "body": body}
        await self._send(message)


def _renamed(body: bytes) -> bytes:
    value: Any = orjson.loads(body) if body else None
    result = value.get("result") if isinstance(value, dict) else None
    if not isinstance(result, dict) or "tools" not in result:
        return body
    for tool in result["tools"]:
        tool["name"] = RENAMED.get(tool["name"], tool["name"])
    return orjson.dumps(value)
