"""A small world to test the runtime in: two tenants' bundle, an issuer with a real key, and a recording backend."""

import functools
import gzip
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from stoa_runtime import bundles
from stoa_runtime.server import application, connections
from stoa_runtime.settings import Settings
from stoa_schemas import bundle, names
from stoa_schemas.audit import DECISION

MCP_URL = "https://mcp.example.test/mcp"
ISSUER = "https://id.example.test/realms/stoa"
CLIENT = "claude"
SECRET = "backend-credential-7f31"
MODERN = "2026-07-28"
LEGACY = "2025-11-25"

INVOICE = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "amount": {"type": "number"}},
    "required": ["id", "amount"],
}


@functools.cache
def bomb() -> bytes:
    """A little that becomes 50 MB."""
    return gzip.compress(b" " * 50_000_000)


class Recorder:
    """A server on loopback that keeps what it got, and answers by path."""

    def __init__(self) -> None:
        bomb()  # Before anybody waits for it.
        self.requests: list[dict[str, Any]] = []
        self.documents: dict[str, Any] = {}
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                recorder.requests.append(
                    {
                        "method": self.command,
                        "target": self.path,
                        "headers": [(k.lower(), v) for k, v in self.headers.items()],
                        "body": body,
                    }
                )
                recorder.respond(self, self.path.partition("?")[0], body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, handler: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        status, headers, content = 200, {"Content-Type": "application/json"}, b""
        if path in self.documents:
            content = json.dumps(self.documents[path]).encode()
        elif path.startswith("/invoices/"):
            content = json.dumps({"id": path.rpartition("/")[2], "amount": 9812345.25}).encode()
        elif path == "/invoices" and handler.command == "GET":
            content = b'[{"id":"a","amount":1},{"id":"b","amount":2}]'
        elif path == "/invoices":
            content = json.dumps({"id": "new", "amount": json.loads(body)["amount"]}).encode()
        elif path == "/redirect":
            status, headers["Location"] = 302, f"{self.url}/redirected"
        elif path == "/big":
            content = b'"' + b"x" * 5000 + b'"'
        elif path == "/bomb":
            content, headers["Content-Encoding"] = bomb(), "gzip"
        elif path == "/html":
            content, headers["Content-Type"] = b"<p>hello</p>", "text/html"
        elif path == "/broken":
            content = b'{"id": NaN}'
        elif path in ("/deviates", "/lenient"):
            content = b'{"id": 7}'
        elif path == "/invalid":
            status, headers["Content-Type"] = 422, "application/problem+json"
            content = json.dumps({"detail": "month must be before 13", "internal": "db-7.local", "x": SECRET}).encode()
        elif path == "/crash":
            status, content = 500, b'{"detail": "Traceback: password=hunter2"}'
        elif path == "/leak":
            content = json.dumps(dict(handler.headers.items())).encode()
        elif path == "/deep":
            content = b'{"a":' * 200 + b"1" + b"}" * 200
        elif path == "/long":
            content = b'{"id": 123456789012345678901234567890}'
        elif path == "/none":
            status = 204
        elif path == "/slow":
            time.sleep(1.5)
            content = b"{}"
        else:
            content = b"{}"
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


class Issuer:
    """Signs tokens with a real RSA key, and publishes the key."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.server = Recorder()
        self.server.documents["/jwks"] = {"keys": [self.published("k1", self.key)]}
        self.jwks_url = self.server.url + "/jwks"

    @staticmethod
    def published(kid: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        return {**public, "kid": kid, "use": "sig", "alg": "RS256"}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": [MCP_URL],
            "sub": "parzival",
            "exp": now + 300,
            "iat": now,
            "azp": CLIENT,
            "scope": bundle.MCP_SCOPE,
            "tenant": "ioi",
            "roles": ["devops"],
        } | changes
        return {k: v for k, v in claims.items() if v is not None}

    def token(
        self, *, headers: Mapping[str, Any] | None = None, key: Any = None, alg: str = "RS256", **claims: Any
    ) -> str:
        return jwt.encode(
            self.claims(**claims), key or self.key, algorithm=alg, headers={"kid": "k1", **(headers or {})}
        )


def tool(
    tenant: str,
    contract: str,
    operation: str,
    method: str,
    path: str,
    *,
    arguments: Mapping[str, bundle.Placement] | None = None,
    properties: Mapping[str, Any] | None = None,
    required: list[str] | None = None,
    body: bundle.Body | None = None,
    output: dict[str, Any] | None = None,
    side_effects: Any = "read",
    approval: bool = False,
    answer: Mapping[str, Any] | None = None,
) -> bundle.Tool:
    wrap = output is not None and output.get("type") != "object"
    schema: dict[str, Any] = {
        "type": "object",
        "properties": dict(properties or {}),
        "required": required or [],
        "additionalProperties": False,
    }
    made = bundle.Tool(
        id=names.tool_id(tenant, contract, operation),
        name=names.wire_name(tenant, contract, operation) or "",
        contract=contract,
        title=operation.replace("_", " "),
        description=f"What {operation} does.",
        input_schema=schema,
        output_schema=output,
        legacy_output_schema={"type": "object", "properties": {"result": output}, "required": ["result"]}
        if wrap
        else None,
        annotations=bundle.Annotations(
            title=operation,
            read_only_hint=side_effects in ("none", "read"),
            destructive_hint=side_effects == "destructive",
            idempotent_hint=method in ("GET", "PUT", "DELETE"),
            open_world_hint=True,
        ),
        side_effects=side_effects,
        approval=approval,
        rate=bundle.RateLimit(calls=600, seconds=60),
        request=bundle.Request(method=method, path=path, arguments=dict(arguments or {}), body=body),
        answer=bundle.Answer(
            **{
                "media_types": ["application/json"],
                "check": "enforce",
                "max_bytes": 2048,
                "wrap": wrap,
                **(answer or {}),
            }
        ),
        examples=[],
        digest="sha256:" + "0" * 64,
    )
    return made.model_copy(update={"digest": bundles.digest_of(made)})


def contract(name: str, url: str, **backend: Any) -> bundle.ContractEntry:
    return bundle.ContractEntry(
        name=name,
        display_name=name.title(),
        version="1.0.0",
        classification="VH",
        status="published",
        owner="team@example.test",
        policies=["timeouts"],
        backend=bundle.BackendRule(
            **{
                "url": url,
                "connect_ms": 500,
                "read_ms": 1000,
                "total_ms": 2000,
                "retries": 0,
                "backoff_ms": 10,
                "auth": bundle.BackendAuthRule(type="bearer", secret=f"vault:{name}/api#token"),
                **backend,
            }
        ),
    )


def place(where: Any, name: str, **style: Any) -> bundle.Placement:
    return bundle.Placement(in_=where, name=name, **style)


ID = {"id": {"type": "string", "minLength": 1}}
ANY = {"type": "object"}


def ioi_tools() -> list[bundle.Tool]:
    def get(operation: str, path: str, **more: Any) -> bundle.Tool:
        return tool("ioi", "billing", operation, "GET", path, **more)

    simple = {"id": place("path", "id", style="simple")}
    return [
        get("get_invoice", "/invoices/{id}", arguments=simple, properties=ID, required=["id"], output=INVOICE),
        get(
            "list_invoices",
            "/invoices",
            arguments={
                "status": place("query", "status", style="form", explode=True),
                "limit": place("query", "limit", style="form", explode=True),
                "region": place("header", "X-Region", style="simple"),
            },
            properties={
                "status": {"type": "array", "items": {"enum": ["open", "paid"]}},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "How many."},
                "region": {"type": "string"},
            },
            output={"type": "array", "items": INVOICE},
        ),
        tool(
            "ioi",
            "billing",
            "create_invoice",
            "POST",
            "/invoices",
            arguments={"amount": place("body", "amount"), "note": place("body", "note")},
            properties={"amount": {"type": "number", "description": "Euros."}, "note": {"type": "string"}},
            required=["amount"],
            body=bundle.Body(media_type="application/json", required=True),
            output=INVOICE,
            side_effects="write",
        ),
        tool(
            "ioi",
            "billing",
            "delete_invoice",
            "DELETE",
            "/invoices/{id}",
            arguments=simple,
            properties=ID,
            required=["id"],
            side_effects="destructive",
            approval=True,
        ),
        get("redirect", "/redirect"),
        get("big", "/big"),
        get("bomb", "/bomb"),
        get("html", "/html"),
        get("broken", "/broken"),
        get("deviates", "/deviates", output=INVOICE),
        get("lenient", "/lenient", output=ANY | INVOICE, answer={"check": "report"}),
        get("invalid", "/invalid"),
        get("crash", "/crash"),
        get("leak", "/leak", output=ANY),
        get("deep", "/deep"),
        get("long", "/long"),
        get("none", "/none"),
        tool("ioi", "inventory", "list_items", "GET", "/items", output=ANY),
        tool("ioi", "nowhere", "reach", "GET", "/reach"),
        tool("ioi", "slow", "wait", "GET", "/slow"),
        tool("ioi", "keyless", "reach", "GET", "/keyless"),
        tool("ioi", "private", "reach", "GET", "/private"),
    ]


def catalog(
    tenant: str, contracts: list[bundle.ContractEntry], tools: list[bundle.Tool], **more: Any
) -> bundle.Catalog:
    tools = sorted(tools, key=lambda t: t.name)
    everything = [t.name for t in tools]
    reading = [t.name for t in tools if t.side_effects in ("none", "read")]
    return bundle.Catalog(
        **{
            "tenant": tenant,
            "display_name": tenant.title(),
            "tier": "gold",
            "contact": f"{tenant}@example.test",
            "rate": bundle.RateLimit(calls=100_000, seconds=60),
            "contracts": sorted(contracts, key=lambda c: c.name),
            "tools": tools,
            "access": {"cpi-admin": everything, "devops": everything, "viewer": reading},
            "consumers": [],
            "plans": {},
            **more,
        }
    )


def catalogs(backend: str) -> dict[str, bundle.Catalog]:
    with_rate = {"plans": {"small": bundle.PlanEntry(rate=bundle.RateLimit(calls=1, seconds=1), burst=1)}}
    consumer = bundle.ConsumerEntry(
        client_id="ioi.shop",
        display_name="Shop",
        actors=["service:shop"],
        subscriptions=[
            bundle.SubscriptionEntry(name="now", contract="inventory", plan="small", expires="2999-01-01"),
            bundle.SubscriptionEntry(name="over", contract="billing", plan="small", expires="2020-01-01"),
        ],
    )
    return {
        "greg": catalog(
            "greg",
            [contract("oasis", backend, auth=None)],
            [
                tool(
                    "greg",
                    "oasis",
                    "get_quest",
                    "GET",
                    "/invoices/{id}",
                    arguments={"id": place("path", "id", style="simple")},
                    properties=ID,
                    required=["id"],
                    output=INVOICE,
                )
            ],
        ),
        "ioi": catalog(
            "ioi",
            [
                contract("billing", backend),
                contract("inventory", backend, auth=None),
                contract("keyless", backend),
                contract(
                    "nowhere", "http://127.0.0.1:9", auth=None, breaker=bundle.Breaker(failures=2, reset_ms=60_000)
                ),
                contract("private", "http://169.254.169.254", auth=None),
                contract("slow", backend, auth=None, read_ms=200),
            ],
            ioi_tools(),
            consumers=[consumer],
            **with_rate,
        ),
    }


def index(jwks_url: str, tenants: Mapping[str, bundle.Catalog], **more: Any) -> bundle.PlatformIndex:
    return bundle.PlatformIndex(
        **{
            "name": "demo",
            "display_name": "Demo",
            "domain": "example.test",
            "environment": "dev",
            "mcp_url": MCP_URL,
            "token": bundle.TokenRules(
                issuer=ISSUER, audience=MCP_URL, jwks_url=jwks_url, algorithms=["RS256"], scopes=[bundle.MCP_SCOPE]
            ),
            "roles": {
                "cpi-admin": bundle.RoleEntry(scope="platform", permissions=["catalog:read", "posture:read"]),
                "devops": bundle.RoleEntry(scope="tenant", permissions=["catalog:read", "tools:read"]),
                "watch": bundle.RoleEntry(scope="tenant", permissions=["posture:read"]),
                "viewer": bundle.RoleEntry(scope="tenant", permissions=["tools:read"]),
            },
            "clients": [CLIENT],
            "backend_networks": ["127.0.0.0/8"],
            "approval_expiry_ms": 60_000,
            "tenants": [
                bundle.TenantEntry(name=n, display_name=c.display_name, catalog=f"mcp/tenants/{n}.json")
                for n, c in sorted(tenants.items())
            ],
            **more,
        }
    )


def write_bundle(
    folder: Path, platform: bundle.PlatformIndex, tenants: Mapping[str, bundle.Catalog], *, development: bool = False
) -> Path:
    """A bundle as the compiler writes it."""
    files = {bundle.PLATFORM_INDEX: platform.encode()}
    files |= {f"mcp/tenants/{name}.json": tenant.encode() for name, tenant in tenants.items()}
    if development:
        files[bundle.DEVELOPMENT] = bundle.Development(people=[], clients=[]).encode()
    artifacts = [
        bundle.Artifact(path=p, media_type="application/json", sha256=bundle.sha256(d), bytes=len(d))
        for p, d in sorted(files.items())
    ]
    manifest = bundle.RuntimeManifest(
        platform=platform.name, environment=platform.environment, development=development, files=artifacts
    ).encode()
    files[bundle.RUNTIME_MANIFEST] = manifest
    whole = bundle.Bundle(
        compiler="0",
        platform=platform.name,
        environment=platform.environment,
        development=development,
        digest=bundle.sha256(manifest),
        artifacts=[
            bundle.Artifact(
                path=bundle.RUNTIME_MANIFEST,
                media_type="application/json",
                sha256=bundle.sha256(manifest),
                bytes=len(manifest),
            ),
            *artifacts,
        ],
    )
    files[bundle.BUNDLE_FILE] = whole.encode()
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@contextmanager
def listening(settings: Settings) -> Iterator[str]:
    """The application served on a real socket; its URL."""
    app = application(settings)
    http = connections(settings, app)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none", http=http, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@dataclass
class World:
    """What a test speaks to."""

    url: str
    issuer: Issuer
    backend: Recorder
    audit: Path
    digest: str
    tenants: dict[str, bundle.Catalog] = field(default_factory=dict)

    @contextmanager
    def recording(self) -> Iterator[list[dict[str, Any]]]:
        """The requests that the backend gets while this lasts."""
        start = len(self.backend.requests)
        got: list[dict[str, Any]] = []
        yield got
        got += self.backend.requests[start:]

    def audit_lines(self) -> list[dict[str, Any]]:
        """The decisions of the audit log."""
        lines = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [line["data"] for line in lines if line["type"] == DECISION]

    def client(self, token: str, mode: str = MODERN) -> Client:
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}", "Host": "mcp.example.test"})
        return Client(streamable_http_client(f"{self.url}/mcp", http_client=http), mode=mode)

    def post(self, method: str, params: Mapping[str, Any], *, token: str | None, **more: Any) -> httpx2.Response:
        """One raw request of the modern protocol."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            **params.get("_meta", {}),
        }
        headers = {
            "Host": "mcp.example.test",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": method,
            **({"Mcp-Name": params["name"]} if "name" in params else {}),
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **more.pop("headers", {}),
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        return httpx2.post(f"{self.url}/mcp", headers=headers, **({"json": body} | more))

    def call(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, token: str | None = None, **more: Any
    ) -> Any:
        """The result of one raw call as a person of `ioi`."""
        params = {"name": name, "arguments": dict(arguments or {})}
        answer = self.post("tools/call", params, token=token or self.issuer.token(), **more).json()
        return answer.get("result") or answer["error"]
