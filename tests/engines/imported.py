"""Proof of an import: every tool of a description is called, and Prism judges each request by the same description.

Import, compile, serve with an issuer, sign in, list, call: all through the command line and the real runtime.
Between the runtime and Prism stands a judge, which forwards each request, adds the credential that the description
asks for, as the contract's `backend.auth` would, and keeps what Prism said.
"""

import asyncio
import base64
import contextlib
import http.client
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from stoa_compiler.openapi import read
from stoa_runtime import requests
from stoa_runtime.bundles import load
from stoa_runtime.development.issuer import issuer_application
from stoa_runtime.development.samples import NoSample, sample
from stoa_runtime.development.serving import serve_locally
from stoa_runtime.server import application
from stoa_runtime.settings import Settings
from stoa_schemas.bundle import RUNTIME_MANIFEST, RuntimeManifest, Tool
from tests.engines.keycloak import free_port
from tests.engines.prism import mocking, node_package, refusal

ROOT = Path(__file__).parents[2]
STOA = Path(sys.executable).with_name("stoa")
sys.path.append(str(ROOT / "tests" / "demo"))

from any_openapi import TENANT  # noqa: E402
from person import Person, signed_in  # noqa: E402

TOKENIZER = ("gpt-tokenizer", "3.4.0")
_HOST = "127.0.0.1"
_SMALL = 500_000
"""Bytes of a description up to which Prism answers as well as it judges."""
_ONLY_JUDGED = {"Prefer": "code=299"}
"""A status that no description has: Prism judges the request and finds no answer."""
_PLATFORM = """\
apiVersion: gostoa.dev/v2
kind: Platform
metadata:
  name: scratch
spec:
  displayName: Scratch
  domain: scratch.example
  environments:
    dev:
      gateway: {gateway}
      issuer: {issuer}
      development: true
      targets: [mcp]
      backendNetworks: [127.0.0.0/8]
  zones:
    external: {{trust: untrusted}}
    dmz: {{trust: semi-trusted}}
    internal: {{trust: trusted}}
  flows: []
  tiers:
    any: {{maxContracts: 10, maxTools: 10000, maxConsumers: 10, maxRate: 100000/minute}}
  classifications:
    H: {{approval: [destructive], maxRate: 100000/minute}}
  roles:
    operator:
      description: May use every tool of the tenant.
      permissions: [catalog:read, posture:read, tools:read, tools:write, tools:destructive]
  backends:
    allowedHosts:
      - {{host: backend.scratch.example, tenants: [demo]}}
  identity:
    realm: scratch
    clients:
      claude:
        displayName: Claude
        redirectUris: [https://claude.ai/api/mcp/auth_callback]
  agents:
    catalogTokens: 10000000
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, and what came of it."""

    tool: str
    kind: str
    """`minimal` or `full`: without or with what is optional."""
    through: str
    """`runtime`, or `request` where the tool needs an approval: its request is built and sent without one."""
    refused: str
    """Why it never reached Prism, or why Prism refuses it; empty where it is accepted."""
    answered: bool
    """Whether the runtime gave an answer that is no error. A mock cannot make up every answer."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of one description."""

    file: str
    title: str
    version: str
    operations: int
    tools: int
    left_out: Mapping[str, str]
    """Why, by operation."""
    estimated: int
    """Tokens of all tools, by the compiler's estimate."""
    counted: int
    """The same as a real tokenizer counts them."""
    calls: Sequence[Call]

    @property
    def accepted(self) -> int:
        """Calls that Prism accepts."""
        return sum(not call.refused for call in self.calls)

    @property
    def answered(self) -> int:
        """Calls whose tool gave an answer."""
        return sum(call.answered for call in self.calls)


def prove(file: Path, scratch: Path, kinds: Sequence[str] = ("minimal", "full"), binary: str = "exclude") -> Proof:
    """Imports `file` as a whole and calls every tool once for each of `kinds`."""
    with mocking(file, scratch) as prism, judging(prism, file) as judge:
        return asyncio.run(_prove(file, scratch, kinds, binary, judge))


async def _prove(file: Path, scratch: Path, kinds: Sequence[str], binary: str, judge: "Judge") -> Proof:
    source, bundle = scratch / "source", scratch / "bundle"
    gateway, issuer = (f"http://{_HOST}:{free_port()}" for _ in range(2))
    (source / "demo").mkdir(parents=True)
    (source / "platform.yaml").write_text(_PLATFORM.format(gateway=gateway, issuer=issuer))
    (source / "demo" / "tenant.yaml").write_text(TENANT)
    chosen = ("--tenant", "demo", "--name", "api", "--all", "--binary", binary, "--format", "json")
    told = json.loads(_stoa("import", "openapi", file, "--source", source, *chosen, "--backend", judge.url))
    _stoa("compile", source, "--env", "dev", "--out", bundle)
    snapshot = load(bundle, allow_development=True)
    tools = snapshot.tenants["demo"].catalog.tools
    async with _serving(bundle, scratch, gateway, issuer), signed_in(f"{gateway}/mcp", "alex") as alex:
        listed = {tool.name for tool in await alex.tools()}
        missing = [tool.name for tool in tools if tool.name not in listed]
        if missing:
            raise RuntimeError(f"not listed: {missing[:5]}")
        calls = [await _call(alex, tool, kind, judge) for tool in tools for kind in kinds]
    description = read(file.read_bytes(), file.name)
    rows = told["operations"]
    return Proof(
        file=file.name,
        title=description.title,
        version=description.version,
        operations=len(rows),
        tools=len(tools),
        left_out={row["operation"]: row["reason"] for row in rows if row["state"] == "left out"},
        estimated=told["tokens"],
        counted=counted(tools),
        calls=calls,
    )


def _stoa(*arguments: str | Path) -> str:
    done = subprocess.run([STOA, *arguments], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"`stoa {arguments[0]}` ended with {done.returncode}:\n{done.stderr}{done.stdout}"[:4000])
    return done.stdout


@contextlib.asynccontextmanager
async def _serving(bundle: Path, scratch: Path, gateway: str, issuer: str) -> AsyncIterator[None]:
    """The runtime, and an issuer whose tokens it accepts."""
    snapshot = load(bundle, allow_development=True)
    assert snapshot.development is not None
    manifest = RuntimeManifest.model_validate_json((bundle / RUNTIME_MANIFEST).read_bytes())
    signing = issuer_application(snapshot.development, snapshot.index, manifest)
    runtime = application(Settings(bundle=bundle, audit=scratch / "audit.jsonl", allow_development=True))
    ports = [urlsplit(url).port or 0 for url in (issuer, gateway)]
    async with serve_locally(signing, _HOST, ports[0]), serve_locally(runtime, _HOST, ports[1]):
        yield


async def _call(alex: Person, tool: Tool, kind: str, judge: "Judge") -> Call:
    through = "request" if tool.approval else "runtime"
    try:
        arguments = sample(tool.input_schema, optional=kind == "full")
    except NoSample as reason:
        return Call(tool.name, kind, through, f"no arguments can be made up: {reason}", answered=False)
    judge.verdicts.clear()
    if tool.approval:
        answered = await asyncio.to_thread(_sent, tool, arguments, judge)
    else:
        answered, words = await _answered(alex, tool, arguments)
        if not judge.verdicts:
            return Call(tool.name, kind, through, f"never sent: {words}", answered=False)
    return Call(tool.name, kind, through, judge.verdicts[-1], answered)


async def _answered(alex: Person, tool: Tool, arguments: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the tool answers without an error, and its words."""
    try:
        result = await alex.client.call_tool(tool.name, dict(arguments))
    except MCPError as error:
        return False, str(error)
    except RuntimeError as error:  # The SDK's client has an answer, and finds it outside the output schema.
        return True, str(error)
    assert isinstance(result, CallToolResult)
    return not result.is_error, " ".join(block.text for block in result.content if isinstance(block, TextContent))


def _sent(tool: Tool, arguments: Mapping[str, Any], judge: "Judge") -> bool:
    """Sends the request that the tool makes, as the runtime sends it after an approval."""
    outgoing = requests.build(tool.request, arguments)
    connection = http.client.HTTPConnection(judge.host, judge.port, timeout=60)
    accept = ", ".join(tool.answer.media_types) or "*/*"
    try:
        connection.request(
            outgoing.method, outgoing.target, outgoing.body, {**dict(outgoing.headers), "Accept": accept}
        )
        response = connection.getresponse()
        response.read()
        return response.status < 300
    finally:
        connection.close()


def counted(tools: Sequence[Tool]) -> int:
    """Tokens of what a client hands to its model of these tools, as the tokenizer `o200k_base` counts them."""
    folder = node_package(*TOKENIZER)
    handed = [{"name": t.name, "description": t.description, "input_schema": t.input_schema} for t in tools]
    lines = "\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in handed)
    program = (
        "const {countTokens} = require('gpt-tokenizer/encoding/o200k_base');"
        "const lines = require('fs').readFileSync(0, 'utf8').split('\\n');"
        "console.log(lines.reduce((sum, line) => sum + countTokens(line), 0));"
    )
    done = subprocess.run(["node", "-e", program], input=lines, capture_output=True, text=True, cwd=folder, check=True)
    return int(done.stdout)


@dataclass
class Judge:
    """Forwards to Prism, and keeps what it says of each request."""

    prism: str
    credential: "Credential"
    answers: bool
    """Whether Prism makes up an answer; else there is none, since a large one takes it half a minute."""
    verdicts: list[str] = field(default_factory=list)
    host: str = _HOST
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    def ask(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Prism's answer, and its body."""
        at = urlsplit(self.prism)
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
        try:
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Credential:
    """What the description's security schemes ask for."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    cookies: Mapping[str, str]
    authorizations: Sequence[str]
    """Values of `Authorization`: operations may ask for different ones, so each is tried."""


def credential(file: Path) -> Credential:
    """A credential of every kind that the description knows, so that any of its operations has its own."""
    document = read(file.read_bytes(), file.name).document
    components = document.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, dict) else None
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    cookies: dict[str, str] = {}
    authorizations = [""]
    for scheme in (schemes or document.get("securityDefinitions") or {}).values():
        kind, name = scheme.get("type"), scheme.get("name", "")
        if kind == "apiKey":
            {"header": headers, "query": query, "cookie": cookies}[scheme["in"]][name] = "k"
        elif kind == "basic" or scheme.get("scheme", "").lower() == "basic":
            authorizations.append("Basic " + base64.b64encode(b"user:word").decode())
        else:
            authorizations.append("Bearer token")
    return Credential(headers, query, cookies, list(dict.fromkeys(authorizations)))


@contextlib.contextmanager
def judging(prism: str, file: Path) -> Iterator[Judge]:
    """A judge before `prism`, listening while the block runs."""
    judge = Judge(prism, credential(file), answers=file.stat().st_size < _SMALL)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = self.path
            for name, value in judge.credential.query.items():
                target += f"{'&' if '?' in target else '?'}{quote(name)}={value}"
            sent = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "accept-encoding")}
            sent |= judge.credential.headers
            if judge.credential.cookies:
                more = "; ".join(f"{k}={v}" for k, v in judge.credential.cookies.items())
                sent["Cookie"] = "; ".join(filter(None, [sent.get("Cookie", ""), more]))
            for authorization in judge.credential.authorizations:
                with_credential = sent | ({"Authorization": authorization} if authorization else {})
                response, content = judge.ask(self.command, target, body or None, with_credential | _ONLY_JUDGED)
                verdict = refusal(response.status, response.getheaders(), content)
                if "security scheme" not in verdict:
                    break
            judge.verdicts.append(verdict)
            if not verdict and not judge.answers:
                self.send_response(204)
                self.end_headers()
                return
            if not verdict:
                response, content = judge.ask(self.command, target, body or None, with_credential)
            self.send_response(response.status)
            self.send_header("Content-Type", response.getheader("Content-Type") or "application/octet-stream")
            if response.status not in (204, 304):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD" and response.status not in (204, 304):
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _forward

        def log_message(self, format: str, *arguments: Any) -> None:
            """Says nothing: the verdicts tell."""

    server = http.server.ThreadingHTTPServer((_HOST, 0), Handler)
    judge.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
