"""The process: one bundle served over MCP, with the metadata that clients sign in by, health and readiness."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import FrameType
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from stoa_runtime import control
from stoa_runtime.approvals import Approvals, ApprovalsUnavailable
from stoa_runtime.audit import Audit, AuditUnavailable, open_audit
from stoa_runtime.backends import Backends
from stoa_runtime.bodies import Bounds
from stoa_runtime.bundles import BundleError, Snapshot
from stoa_runtime.calls import Calls
from stoa_runtime.connections import Answered, Connection, bounded
from stoa_runtime.credentials import Credentials, EnvironmentCredentials, FileCredentials, shared_variables
from stoa_runtime.gate import Gate
from stoa_runtime.limits import StoreUnusable, WhenDown, open_store
from stoa_runtime.metadata import WELL_KNOWN, resource_metadata
from stoa_runtime.opening import Begun, loader
from stoa_runtime.protocol import Protocol
from stoa_runtime.reload import Load, changes
from stoa_runtime.serving import Serving, address_rule, open_serving, permitted
from stoa_runtime.settings import Settings
from stoa_runtime.telemetry import Sockets, Telemetry, TelemetryUnusable, bound, open_telemetry
from stoa_runtime.telemetry.watching import Endpoint
from stoa_runtime.tokens import KeysUnavailable
from stoa_runtime.vault import VaultCredentials
from stoa_runtime.workers import Worker, WorkerRefused, Workers, WorkersFailed

log = logging.getLogger("stoa")


def application(settings: Settings, telemetry: Telemetry | None = None, begun: Begun | None = None) -> "Runtime":
    """The ASGI application of one bundle; `BundleError` where the bundle cannot be served.

    `begun` gives the bundle, where it is being read already.
    """
    load = loader(settings)
    snapshot = begun() if begun is not None else load(settings.bundle)
    credentials = _credentials(settings, snapshot)
    _check(settings, snapshot)
    try:
        open_store(settings.store_url, lambda: "refuse")  # What is wrong with it is said in words here.
        audit = _audit(settings, snapshot)
        approvals = Approvals.open(settings.state_folder, settings.store_url, settings.approvals_key)
        return Runtime(settings, snapshot, load, credentials, audit, approvals, telemetry)
    except (AuditUnavailable, ApprovalsUnavailable, StoreUnusable) as error:
        raise BundleError(str(error)) from None


def _audit(settings: Settings, snapshot: Snapshot) -> Audit:
    rules, more = snapshot.index.enforcement, settings.auditing
    try:
        key = more.key.read_bytes().strip() if more.key is not None else None
    except OSError as error:
        raise AuditUnavailable(f"the audit log's key {more.key} cannot be read: {error.strerror}") from None
    return open_audit(
        settings.audit,
        source=f"/stoa/{snapshot.index.name}/{snapshot.index.environment}/audit",
        durability=rules.audit_durability,
        when_full=rules.audit_when_full,
        rotate_bytes=more.rotate_bytes,
        key=key,
        kafka=more.kafka,
    )


def _check(settings: Settings, snapshot: Snapshot) -> None:
    """`BundleError` where this process cannot serve the bundle as it wants to be served."""
    address_rule(snapshot)
    if settings.secrets == "environment" and (shared := shared_variables(snapshot.secrets())):
        raise BundleError(f"two secret references share the variable {shared[0]}: read secrets from files instead")


def serve(
    settings: Settings,
    started: Callable[[str], None] | None = None,
    measured: Callable[[str], None] | None = None,
    begun: Begun | None = None,
) -> None:
    """Serves until the process is told to stop; calls in flight may end.

    `started` gets the URL that is listened on, once it is; `measured` that of the metrics, where there are any.
    `begun` gives the bundle, where it is being read already and one process serves it.
    """
    asked = settings.telemetry.metrics
    try:
        sockets = bound(asked, settings.workers) if asked is not None else None
    except ValueError as error:
        raise BundleError(str(error)) from None

    def told(url: str) -> None:
        log.info("listening on %s", url)
        if started is not None:
            started(url)
        if measured is not None and sockets is not None:
            measured(sockets.url)

    try:
        if settings.workers > 1:
            _serve_together(settings, sockets, told)
        else:
            telemetry = open_telemetry(settings.telemetry, sockets)
            app = application(settings, telemetry, begun)
            _Listening(_config(settings, app), told, app.end_streams).run()
    except TelemetryUnusable as error:
        raise BundleError(str(error)) from None
    finally:
        if sockets is not None:
            sockets.close()


def _serve_together(settings: Settings, sockets: Sockets | None, told: Callable[[str], None]) -> None:
    """The same by several processes, which all take from one socket. This one serves nothing."""
    try:
        listening = _bound(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise BundleError(f"{where} cannot be listened on: {error.strerror or error}") from None

    def work(worker: Worker) -> None:
        try:
            app = application(settings, open_telemetry(settings.telemetry, sockets, worker.number))
        except (BundleError, TelemetryUnusable) as error:
            raise WorkerRefused(str(error)) from None
        server = _Listening(_config(settings, app), lambda _url: worker.ready(), app.end_streams, worker.lifeline)
        server.run(sockets=[listening])

    try:
        workers = Workers(settings.workers, work, drain_seconds=settings.drain_seconds)
        workers.run(lambda: told(_url(listening)))
    except WorkersFailed as error:
        raise BundleError(str(error)) from None
    finally:
        listening.close()


def _bound(host: str, port: int) -> socket.socket:
    """Not listened on yet: whoever connects before a worker serves is told at once that nobody does."""
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
    except OSError:
        made.close()
        raise
    return made


def _url(listening: Any) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config(settings: Settings, app: "Runtime") -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="auto" if sys.platform == "win32" else "uvloop",
        http=connections(settings, app),
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )


def connections(settings: Settings, app: "Runtime") -> type[Connection]:
    """uvicorn's reader of HTTP with bounds, which offers requests to the application before ASGI."""
    return bounded(settings.body_deadline, app)


class _Listening(uvicorn.Server):
    """A uvicorn server that says where it listens."""

    def __init__(
        self,
        config: uvicorn.Config,
        started: Callable[[str], None],
        ending: Callable[[], None],
        lifeline: int | None = None,
    ) -> None:
        super().__init__(config)
        self._told = started
        self._ending = ending
        self._lifeline = lifeline
        """Becomes readable when the process that this one works for has gone."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends orderly, and lets `serve` return; a second Ctrl-C ends at once."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: Any = None) -> None:
        self._ending()  # Streams end only when they are told to: all else in flight ends by itself.
        await super().shutdown(sockets)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        gc.freeze()  # What is there now stays: it need not be searched for cycles again and again.
        gc.enable()
        if self._lifeline is not None:
            asyncio.get_running_loop().add_reader(self._lifeline, self._orphaned, self._lifeline)
        self._told(_url(self.servers[0].sockets[0]))

    def _orphaned(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        self.should_exit = True


def _credentials(settings: Settings, snapshot: Snapshot) -> Credentials:
    match settings.secrets:
        case "file":
            if settings.secrets_folder is None:
                raise BundleError("secrets come from files, but no folder is named")
            return FileCredentials(settings.secrets_folder)
        case "vault":
            if settings.vault is None:
                raise BundleError("secrets come from Vault, but no address is named")
            return VaultCredentials(settings.vault, snapshot.secrets())
        case _:
            return EnvironmentCredentials()


class Runtime:
    """The ASGI application: what is served now, and what serves it."""

    def __init__(
        self,
        settings: Settings,
        snapshot: Snapshot,
        load: Load,
        credentials: Credentials,
        audit: Audit,
        approvals: Approvals,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._settings = settings
        self._first = snapshot
        self._load = load
        self._credentials = credentials
        self.audit = self._audit = audit
        self._approvals = approvals
        self.limits = self._limits = open_store(settings.store_url, self._when_down)
        self._calls = Calls(audit, approvals, self._limits)
        self.refused: str | None = None
        """Why the folder's bundle is not the one that is served."""
        self.reloads = self.refusals = 0
        """Bundles that were taken after the first, and that were not."""
        self._telemetry = telemetry
        self._ending: set[asyncio.Task[None]] = set()
        self._current: Serving | None = None
        bounds = Bounds(settings.body_limit, settings.body_deadline)
        self._gate = Gate(self.serving, self._calls, audit, self._limits, bounds)
        self._control = control.application(self._gate.charged, audit, approvals)
        self._besides = Starlette(
            routes=[
                Route("/healthz", _healthy, methods=["GET"]),
                Route("/readyz", self._ready, methods=["GET"]),
                Route(WELL_KNOWN + "{path:path}", self._metadata, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )
        self._besides.router.redirect_slashes = False
        self._app: ASGIApp = self._answer
        if telemetry is not None:
            self._app = telemetry.watched(self._answer, self.endpoint)
            audit.saw = telemetry.decided

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        await self._app(scope, receive, send)

    @property
    def path(self) -> bytes:
        """The target of the MCP endpoint, while something is served."""
        return self._current.target if self._current is not None else b""

    def answer(
        self, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Answered | Coroutine[Any, Any, Answered] | None:
        """The answer to a whole request to the MCP endpoint, without ASGI; None where the application has to answer."""
        if self._telemetry is None:
            return self._gate.direct(headers, body)
        seen = self._telemetry.seen(headers)
        answer = self._gate.direct(headers, body)
        return None if answer is None else self._telemetry.answered(seen, answer)

    def endpoint(self, path: str) -> Endpoint:
        """What answers at a path."""
        if self._current is not None and path == self._current.path:
            return "mcp"
        if path.startswith(f"{control.PREFIX}/"):
            return "api"
        return "probe" if path in ("/healthz", "/readyz") else "other"

    @property
    def now(self) -> Serving | None:
        """What is served now, if anything is."""
        return self._current

    @property
    def streams(self) -> int:
        """Streams of subscribers that are open."""
        return len(self._gate.subscriptions)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The MCP endpoint's path is that of the bundle that is served."""
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
        async with contextlib.AsyncExitStack() as stack:
            if self._telemetry is not None:
                await stack.enter_async_context(self._telemetry.served(self))
            stack.callback(self._audit.close)
            stack.push_async_callback(self._approvals.close)
            stack.push_async_callback(self._limits.close)
            if isinstance(self._credentials, VaultCredentials):
                await self._credentials.start()
                stack.push_async_callback(self._credentials.stop)
            keys = await stack.enter_async_context(_key_session())
            await stack.enter_async_context(self._gate.subscriptions.served())
            self._current = await self._started(self._first, keys)
            following = asyncio.create_task(self._follow(keys))
            try:
                yield
            finally:
                following.cancel()
                last, self._current = self._current, None
                await asyncio.gather(last.end(0), *self._ending)

    async def _follow(self, keys: aiohttp.ClientSession) -> None:
        """Serves each new good bundle of the folder; while there is a bad one, the last good one stays."""
        settings = self._settings
        if not settings.reload_seconds:
            return
        await asyncio.sleep(settings.reload_seconds)
        served = changes(settings.bundle, lambda: self.serving().snapshot, settings.reload_seconds, load=self._load)
        async for found in served:
            try:
                if isinstance(found, BundleError):
                    raise found
                await self._take(found, keys)
            except BundleError as error:
                self.refused = str(error)
                self.refusals += 1
                log.error("the new bundle is not served, the last good one stays: %s", error)
            else:
                self.refused = None

    async def _take(self, snapshot: Snapshot, keys: aiohttp.ClientSession) -> None:
        """Serves `snapshot` from the next request on. Requests in flight end on the one that they began with."""
        before = self.serving()
        if snapshot.digest == before.snapshot.digest:
            return
        _check(self._settings, snapshot)
        was, now = before.snapshot.index.enforcement, snapshot.index.enforcement
        if (was.audit_durability, was.audit_when_full) != (now.audit_durability, now.audit_when_full):
            raise BundleError("it declares other promises of the audit log, which take effect with a new process")
        if isinstance(self._credentials, VaultCredentials):
            await self._credentials.want(snapshot.secrets() | before.snapshot.secrets())
        self._current = await self._started(snapshot, keys)
        self._gate.subscriptions.changed()
        self.reloads += 1
        log.info("serving bundle %s instead of %s", snapshot.digest, before.snapshot.digest)
        ending = asyncio.create_task(before.end(self._settings.drain_seconds))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

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
            backends=self._telemetry.backends if self._telemetry is not None else Backends,
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
        if serving is None:
            return _unready("nothing is served")
        if not self._audit.works:
            return _unready("decisions cannot be recorded")
        try:
            await serving.verifier.keys.refresh_when_old()
        except KeysUnavailable:
            return _unready("the issuer's keys are not known")
        refused = {} if self.refused is None else {"refused": self.refused}
        return JSONResponse({"status": "ready", "bundle": serving.snapshot.digest, **refused})


def _unready(reason: str) -> Response:
    return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)


def _key_session() -> aiohttp.ClientSession:
    """A session for the issuer's keys; the bundle names the address, so it may be within the cluster."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=5), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


async def _healthy(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})
