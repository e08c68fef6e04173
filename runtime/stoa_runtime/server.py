"""The process: one bundle served over MCP, with the metadata that clients sign in by, health and readiness."""

import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import version
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import mcp_types
import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stoa_runtime import bundles
from stoa_runtime.access import Access
from stoa_runtime.addresses import AddressRule
from stoa_runtime.audit import Audit, AuditUnavailable
from stoa_runtime.backends import Backends, open_session
from stoa_runtime.bundles import BundleError, PreparedTool, Snapshot
from stoa_runtime.calls import Caller, Calls
from stoa_runtime.credentials import Credentials, EnvironmentCredentials, FileCredentials, shared_variables
from stoa_runtime.gate import CALLER, Gate, Limits, Serving, current_caller
from stoa_runtime.metadata import endpoint_path, metadata_paths, origin, resource_metadata
from stoa_runtime.settings import Settings
from stoa_runtime.tokens import KeysUnavailable, Verifier
from stoa_runtime.tracing import trace

log = logging.getLogger("stoa")

LIST_TTL_MS = 60_000
"""How long a client may keep a list of tools."""
_LOOPBACK_HOSTS = ("127.0.0.1:*", "localhost:*", "[::1]:*")
_LOOPBACK_ORIGINS = tuple(f"http://{host}" for host in _LOOPBACK_HOSTS)

_INSTRUCTIONS = (
    "Tools are named tenant_contract_operation. The list holds what you may call and nothing else. `stoa_tools` and"
    " `stoa_contract` tell more about a tool: its side effects, and whether a second person must approve each call."
)


def application(settings: Settings) -> Starlette:
    """The ASGI application of one bundle; `BundleError` where the bundle cannot be served."""
    snapshot = bundles.load(settings.bundle, allow_development=settings.allow_development)
    credentials = _credentials(settings, snapshot)
    addresses = _addresses(snapshot)
    try:
        audit = Audit(settings.audit)
    except AuditUnavailable as error:
        raise BundleError(str(error)) from None
    return _Runtime(settings, snapshot, credentials, addresses, audit).app


def serve(settings: Settings, started: Callable[[str], None] | None = None) -> None:
    """Serves until the process is told to stop; calls in flight may end.

    `started` gets the URL that is listened on, once it is.
    """
    config = uvicorn.Config(
        application(settings),
        host=settings.host,
        port=settings.port,
        loop="auto" if sys.platform == "win32" else "uvloop",
        http="auto" if sys.platform == "win32" else "httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    _Listening(config, started).run()


class _Listening(uvicorn.Server):
    """A uvicorn server that says where it listens."""

    def __init__(self, config: uvicorn.Config, started: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._told = started

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends orderly, and lets `serve` return; a second Ctrl-C ends at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("listening on %s", url)
        if self._told is not None:
            self._told(url)


def _credentials(settings: Settings, snapshot: Snapshot) -> Credentials:
    if settings.secrets == "file":
        if settings.secrets_folder is None:
            raise BundleError("secrets come from files, but no folder is named")
        return FileCredentials(settings.secrets_folder)
    references = [
        contract.backend.auth.secret
        for tenant in snapshot.tenants.values()
        for contract in tenant.catalog.contracts
        if contract.backend.auth is not None
    ]
    if shared := shared_variables(references):
        raise BundleError(f"two secret references share the variable {shared[0]}: read secrets from files instead")
    return EnvironmentCredentials()


def _addresses(snapshot: Snapshot) -> AddressRule:
    try:
        return AddressRule(snapshot.index.backend_networks)
    except ValueError as error:
        raise BundleError(f"backend networks: {error}") from None


def _limits(settings: Settings, snapshot: Snapshot) -> Limits:
    """The hosts and origins of the MCP URL and of the settings; a development bundle takes loopback besides."""
    own = urlsplit(snapshot.index.mcp_url)
    hosts = (own.netloc, f"{own.hostname}:{443 if own.scheme == 'https' else 80}", *settings.allowed_hosts)
    origins = (origin(snapshot.index), *settings.allowed_origins)
    if snapshot.development is not None:
        hosts, origins = (*hosts, *_LOOPBACK_HOSTS), (*origins, *_LOOPBACK_ORIGINS)
    return Limits(hosts, origins, settings.body_limit, settings.body_deadline)


class _Runtime:
    """One bundle, and the application that serves it."""

    def __init__(
        self, settings: Settings, snapshot: Snapshot, credentials: Credentials, addresses: AddressRule, audit: Audit
    ) -> None:
        self._snapshot = snapshot
        self._credentials = credentials
        self._addresses = addresses
        self._audit = audit
        self._calls = Calls(audit)
        self._serving: Serving | None = None
        index, limits = snapshot.index, _limits(settings, snapshot)
        hint = CacheHint(ttl_ms=LIST_TTL_MS, scope="private")
        self._mcp: Server[Any] = Server(
            index.name,
            version=version("stoa-platform"),
            title=index.display_name,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            get_tool_input_schema=_input_schema,
            cache_hints={"tools/list": hint, "server/discover": hint},
        )
        self._sessions = StreamableHTTPSessionManager(
            self._mcp,
            json_response=True,
            stateless=True,
            max_request_body_size=settings.body_limit,
            security_settings=TransportSecuritySettings(
                allowed_hosts=list(limits.hosts), allowed_origins=list(limits.origins)
            ),
        )
        gate = Gate(self._sessions.handle_request, self._current, audit, limits)
        described = [Route(path, self._metadata, methods=["GET"]) for path in metadata_paths(index)]
        self.app = Starlette(
            routes=[
                Route("/healthz", _healthy, methods=["GET"]),
                Route("/readyz", self._ready, methods=["GET"]),
                *described,
                Route(endpoint_path(index), gate),
            ],
            lifespan=self._lifespan,
        )
        self.app.router.redirect_slashes = False

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with (
            self._sessions.run(),
            open_session(self._addresses) as session,
            _key_session() as key_session,
        ):
            backends = Backends(session, self._addresses, self._credentials)
            verifier = Verifier(self._snapshot.index.token, key_session)
            self._serving = Serving(self._snapshot, Access(self._snapshot), verifier, backends)
            try:
                yield
            finally:
                self._serving = None
                self._audit.close()

    def _current(self) -> Serving:
        if self._serving is None:
            raise RuntimeError("the application is used outside its lifespan")
        return self._serving

    async def _list_tools(
        self, context: ServerRequestContext[Any, Any], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        if params is not None and params.cursor is not None:
            raise MCPError(mcp_types.INVALID_PARAMS, "Unknown cursor: the list has one page.")
        caller = _caller(context)
        view = caller.access.view(caller.principal)
        return view.modern if context.protocol_version in MODERN_PROTOCOL_VERSIONS else view.legacy

    async def _call_tool(
        self, context: ServerRequestContext[Any, Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        caller = _caller(context)
        return await self._calls.call(
            caller,
            params.name,
            params.arguments or {},
            trace(caller.traceparent, params.meta),
            legacy=context.protocol_version not in MODERN_PROTOCOL_VERSIONS,
        )

    async def _metadata(self, _request: Request) -> Response:
        document = resource_metadata(self._current().snapshot.index)
        return JSONResponse(
            document, headers={"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
        )

    async def _ready(self, _request: Request) -> Response:
        """Ready when the issuer's keys are known and decisions can be recorded."""
        serving = self._serving
        if serving is None or not self._audit.works:
            return JSONResponse({"status": "not ready"}, status_code=503)
        try:
            await serving.verifier.keys.refresh_when_old()
        except KeysUnavailable:
            return JSONResponse({"status": "not ready", "reason": "the issuer's keys are not known"}, status_code=503)
        return JSONResponse({"status": "ready", "bundle": serving.snapshot.digest})


def _key_session() -> aiohttp.ClientSession:
    """A session for the issuer's keys; the bundle names the address, so it may be within the cluster."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=5), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


async def _healthy(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _caller(context: ServerRequestContext[Any, Any]) -> Caller:
    if context.request is None:
        raise RuntimeError("the protocol was reached without a request")
    caller: Caller = context.request.scope[CALLER]
    return caller


def _input_schema(name: str) -> Mapping[str, Any] | None:
    """The input schema of a tool that the current caller sees: the protocol compares headers with it."""
    caller = current_caller.get()
    tool = caller.access.view(caller.principal).tools.get(name) if caller else None
    if tool is None:
        return None
    return tool.declared.input_schema if isinstance(tool, PreparedTool) else tool.input_schema
