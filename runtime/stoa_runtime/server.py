"""The process: one bundle served over MCP, with the metadata that clients sign in by, health and readiness."""

import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stoa_runtime import bundles, control
from stoa_runtime.approvals import Approvals, ApprovalsUnavailable
from stoa_runtime.audit import Audit, AuditUnavailable, open_audit
from stoa_runtime.bundles import BundleError, Snapshot
from stoa_runtime.calls import Calls
from stoa_runtime.credentials import Credentials, EnvironmentCredentials, FileCredentials, shared_variables
from stoa_runtime.gate import Body, Gate
from stoa_runtime.limits import StoreUnusable, WhenDown, open_store
from stoa_runtime.metadata import WELL_KNOWN, resource_metadata
from stoa_runtime.protocol import Protocol
from stoa_runtime.serving import Serving, address_rule, open_serving, permitted
from stoa_runtime.settings import Settings
from stoa_runtime.tokens import KeysUnavailable

log = logging.getLogger("stoa")


def application(settings: Settings) -> "Runtime":
    """The ASGI application of one bundle; `BundleError` where the bundle cannot be served."""
    snapshot = bundles.load(settings.bundle, allow_development=settings.allow_development)
    credentials = _credentials(settings, snapshot)
    address_rule(snapshot)
    try:
        audit = open_audit(
            settings.audit,
            durability=snapshot.index.enforcement.audit_durability,
            when_full=snapshot.index.enforcement.audit_when_full,
        )
    except AuditUnavailable as error:
        raise BundleError(str(error)) from None
    try:
        approvals = Approvals.open(settings.approvals or settings.audit.parent)
    except ApprovalsUnavailable as error:
        raise BundleError(str(error)) from None
    try:
        return Runtime(settings, snapshot, credentials, audit, approvals)
    except StoreUnusable as error:
        raise BundleError(str(error)) from None


def serve(settings: Settings, started: Callable[[str], None] | None = None) -> None:
    """Serves until the process is told to stop; calls in flight may end.

    `started` gets the URL that is listened on, once it is.
    """
    app = application(settings)
    config = uvicorn.Config(
        app,
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
    _Listening(config, started, app.end_streams).run()


class _Listening(uvicorn.Server):
    """A uvicorn server that says where it listens."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[str], None] | None, ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._told = started
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends orderly, and lets `serve` return; a second Ctrl-C ends at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        self._ending()  # Streams end only when they are told to: all else in flight ends by itself.
        await super().shutdown(sockets)

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


class Runtime:
    """The ASGI application: what is served now, and what serves it."""

    def __init__(
        self,
        settings: Settings,
        snapshot: Snapshot,
        credentials: Credentials,
        audit: Audit,
        approvals: Approvals,
    ) -> None:
        self._settings = settings
        self._first = snapshot
        self._credentials = credentials
        self._audit = audit
        self._approvals = approvals
        self._limits = open_store(settings.limits_url, self._when_down)
        self._calls = Calls(audit, approvals, self._limits)
        self._current: Serving | None = None
        body = Body(settings.body_limit, settings.body_deadline)
        self._gate = Gate(self.serving, self._calls, audit, self._limits, body)
        self._control = control.application(self._gate.authorize, audit, approvals)
        self._besides = Starlette(
            routes=[
                Route("/healthz", _healthy, methods=["GET"]),
                Route("/readyz", self._ready, methods=["GET"]),
                Route(WELL_KNOWN + "{path:path}", self._metadata, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )
        self._besides.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; the MCP endpoint's path is that of the bundle that is served."""
        if scope["type"] == "http" and self._current is not None and scope["path"] == self._current.path:
            await self._gate(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith(f"{control.PREFIX}/"):
            await self._control(scope, receive, send)
        else:
            await self._besides(scope, receive, send)

    def end_streams(self) -> None:
        """Ends the streams of subscribers, which have no end of their own."""
        self._gate.subscriptions.close()

    def serving(self) -> Serving:
        """What is served now."""
        if self._current is None:
            raise RuntimeError("the application is used outside its lifespan")
        return self._current

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with _key_session() as keys, self._gate.subscriptions.served():
            self._current = await self._started(self._first, keys)
            try:
                yield
            finally:
                last, self._current = self._current, None
                await last.end(0)
                await self._limits.close()
                await self._approvals.close()
                self._audit.close()

    def _when_down(self) -> WhenDown:
        """What the bundle that is served now says about a store that cannot be reached."""
        return (self._current.snapshot if self._current else self._first).index.enforcement.limits_when_down

    async def _started(self, snapshot: Snapshot, keys: aiohttp.ClientSession) -> Serving:
        settings = self._settings
        serving = open_serving(
            snapshot,
            named=permitted(snapshot, settings.allowed_hosts, settings.allowed_origins),
            credentials=self._credentials,
            keys=keys,
            protocol=Protocol(snapshot.index, self._calls, settings.body_limit, self._gate.subscriptions.listen),
            before=self._current,
        )
        await serving.start()
        return serving

    async def _metadata(self, request: Request) -> Response:
        serving = self.serving()
        if request.url.path not in serving.metadata_paths:
            return PlainTextResponse("Not Found", status_code=404)
        return JSONResponse(
            resource_metadata(serving.snapshot.index),
            headers={"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"},
        )

    async def _ready(self, _request: Request) -> Response:
        """Ready when the issuer's keys are known and decisions can be recorded."""
        serving = self._current
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
