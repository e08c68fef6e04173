"""`stoa dev`: compile and serve on this machine, with an issuer and mock backends, and again on every save.

The one module that knows compiler and runtime: it compiles the source with its addresses on loopback, and
serves the bundle that comes of it in this process. Mock backends are a process of their own. A source with
mistakes shows them, and what was served before stays.
"""

import asyncio
import gc
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click
import orjson

from stoa_compiler.again import Again
from stoa_compiler.cli.saves import stamps
from stoa_compiler.cli.session import FINDINGS, OUTSIDE, WRONG_USE, fail, show, source_argument
from stoa_compiler.graph import Graph
from stoa_compiler.local import Endpoints, localise
from stoa_compiler.pipeline import Bundle
from stoa_compiler.records import record
from stoa_compiler.write import write
from stoa_runtime.bundles import BundleError, load
from stoa_runtime.development.issuer import issuer_application
from stoa_runtime.development.serving import serve_locally
from stoa_runtime.server import application
from stoa_runtime.settings import Settings
from stoa_schemas.bundle import (
    DEVELOPMENT,
    PLATFORM_INDEX,
    RUNTIME_MANIFEST,
    Development,
    PlatformIndex,
    RuntimeManifest,
)

_HOST = "127.0.0.1"
_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.02
"""How often source and bundle are looked at."""


@click.command("dev")
@source_argument
@click.option("--env", "environment", default="dev", show_default=True, help="A development environment.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Of the runtime; 0: free.")
@click.option("--issuer-port", type=click.IntRange(0, 65535), default=0, help="Of the issuer; 0: a free one.")
@click.option("--mock-port", type=click.IntRange(0, 65535), default=0, help="Of the mock backends; 0: a free one.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path(".stoa"),
    show_default=True,
    help="Folder of the bundle and the audit log.",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    source: Path,
    environment: str,
    port: int,
    issuer_port: int,
    mock_port: int,
    state: Path,
    form: str,
) -> None:
    """Compile SOURCE and serve it on this machine, with a development issuer and mock backends; again on every save.

    Anyone on this machine can sign in as anyone: for development only.
    """
    ports = [_free(p) for p in (port, issuer_port, mock_port)]
    endpoints = Endpoints(*(f"http://{_HOST}:{p}" for p in ports))
    again = Again(source, environment, partial(_localised, environment=environment, endpoints=endpoints))
    compiled = partial(_compiled, again)
    bundle = compiled(stamps(source))
    if bundle is None:
        raise SystemExit(FINDINGS)
    folder = state / "bundle"
    try:
        write(bundle.files, folder)
        gc.enable()
        asyncio.run(_serve(folder, state / "audit.jsonl", endpoints, ports, form, _Saved(source, compiled)))
    except (OSError, BundleError) as error:
        fail(str(error), OUTSIDE)


def _localised(graph: Graph, environment: str, endpoints: Endpoints) -> Graph:
    name = next((e for e in graph.platform.spec.environments if e == environment), None)
    if name is None or not graph.environment(name).development:
        fail(f"`{environment}` is no development environment of the platform", WRONG_USE)
    return localise(graph, name, endpoints)


def _compiled(again: Again, now: Mapping[str, tuple[int, ...]]) -> Bundle | None:
    """The bundle; None where the source has errors. What was found is shown."""
    result = again.compiled(now)
    show(result.found, result.files)
    return result.bundle


@record(slots=False)
class _Saved:
    """A source that is looked at for changes."""

    source: Path
    compiled: Callable[[Mapping[str, tuple[int, ...]]], Bundle | None]

    async def follow(self, folder: Path, renew: Callable[[Development, PlatformIndex], None]) -> None:
        """Compiles on every save. The runtime and the mocks look at the folder themselves; the issuer is told."""
        before = stamps(self.source)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = await asyncio.to_thread(stamps, self.source)
            if now == before:
                continue
            before, began = now, time.perf_counter()
            bundle = await asyncio.to_thread(self.compiled, now)
            if bundle is None:
                click.echo("what was served before is still served", err=True)
                continue
            changed = await asyncio.to_thread(write, bundle.files, folder)
            if DEVELOPMENT in bundle.files:
                renew(
                    Development.model_validate_json(bundle.files[DEVELOPMENT].content),
                    PlatformIndex.model_validate_json(bundle.files[PLATFORM_INDEX].content),
                )
            if changed:
                seconds = time.perf_counter() - began
                click.echo(f"compiled in {seconds:.2f} s, serving {bundle.digest}", err=True)


async def _serve(folder: Path, audit: Path, endpoints: Endpoints, ports: list[int], form: str, saved: _Saved) -> None:
    snapshot = load(folder, allow_development=True)
    manifest = RuntimeManifest.model_validate_json((folder / RUNTIME_MANIFEST).read_bytes())
    assert snapshot.development is not None
    issuer = issuer_application(snapshot.development, snapshot.index, manifest)
    runtime = application(Settings(bundle=folder, audit=audit, allow_development=True, reload_seconds=_LOOK_SECONDS))
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    mocks = _start_mocks(folder, ports[2])
    try:
        async with serve_locally(issuer, _HOST, ports[1]), serve_locally(runtime, _HOST, ports[0]):
            await _wait_for(ports[2], mocks)
            _announce(snapshot.digest, folder, audit, endpoints, form)
            following = asyncio.create_task(saved.follow(folder, issuer.state.renew))
            await asyncio.wait({following, asyncio.create_task(stopped.wait())}, return_when=asyncio.FIRST_COMPLETED)
            runtime.end_streams()
            if not following.cancel():
                await following
    finally:
        mocks.terminate()
        mocks.wait()


def _announce(digest: str, folder: Path, audit: Path, endpoints: Endpoints, form: str) -> None:
    facts = {
        "mcp": f"{endpoints.gateway}/mcp",
        "issuer": endpoints.issuer,
        "backends": endpoints.backends,
        "bundle": str(folder),
        "audit": str(audit),
        "digest": digest,
    }
    if form == "json":
        click.echo(orjson.dumps(facts))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            click.echo(f"{name:<{width}}  {value}")
        click.echo("Serving on this machine only; anyone here can sign in as anyone. Stop with Ctrl-C.")
    sys.stdout.flush()


def _start_mocks(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """The mock backends as a process that ends with this one: its standard input closes then."""
    command = [sys.executable, "-m", "stoa_runtime.development.mocks", str(folder), "--port", str(port)]
    return subprocess.Popen([*command, "--stop-at-eof"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


async def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Until something listens on `port`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise OSError(f"the mock backends ended with exit code {process.returncode}")
        try:
            _, writer = await asyncio.open_connection(_HOST, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    raise OSError("the mock backends did not start")


def _free(port: int) -> int:
    """`port`, or a free one for 0. The address is part of the bundle, so it must be known before compiling."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            fail(f"port {port} is taken; choose another with `--port`, or 0 for a free one", OUTSIDE)
        return int(probe.getsockname()[1])
