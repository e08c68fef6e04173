"""Figures with a ratio to a reference in the same run: `python tests/bench/run.py [compile] [runtime] [TENANTS]`.

Each command is timed as a whole process, start-up included; minimum and median of the runs are shown. The
reference for compiling is one process that loads the same files with PyYAML's C loader and does nothing with
them; for the runtime it is the official SDK's own server, which lists the same tools and checks nothing.
"""

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "demo")]

from generate import generate, planned_source  # noqa: E402

STOA = str(Path(sys.executable).with_name("stoa"))
REPOSITORY = HERE.parents[1]
_LOAD = (
    "import pathlib, sys, yaml\n"
    "for path in pathlib.Path(sys.argv[1]).rglob('*.yaml'): yaml.load(path.read_bytes(), yaml.CSafeLoader)"
)
_READ = (
    "import gc, os, pathlib, sys; gc.disable(); os.environ['PYDANTIC_DISABLE_PLUGINS'] = '__all__'\n"
    "from stoa_compiler.diagnostics import Report; from stoa_compiler.pipeline import read\n"
    "read(pathlib.Path(sys.argv[1]), Report()); gc.freeze()"
)
_YOUNG_SECONDS = 2.1
"""A file that has just changed is read again: its time stamp may not tell of another change."""
_CONNECTIONS, _SECONDS = 8, 3.0


def main(parts: Sequence[str]) -> int:
    """Runs the parts asked for, or all."""
    tenants = next((int(p) for p in parts if p.isdigit()), 100)
    named = {p for p in parts if not p.isdigit()}
    if not named or "compile" in named:
        compiling(tenants)
    if not named or "runtime" in named:
        asyncio.run(serving_tools())
    return 0


def compiling(tenants: int) -> None:
    """The demo and a generated source, beside merely loading the same files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = folder / "source"
        files = generate(tenants, source)
        demo = str(REPOSITORY / "tenants")
        cache = ["--cache", str(folder / "cache")]
        _title(f"Compile: the demo, and {tenants} tenants x 5 contracts ({files} files)")
        start = _timed([sys.executable, "-c", "pass"], 5)
        _row("python -c pass", start)
        _row("stoa --help", _timed([STOA, "--help"], 5), start, "Python alone")
        for command in (["check", demo], ["compile", demo, "--env", "prod", "--out", str(folder / "demo")]):
            _row(f"stoa {command[0]}, demo, cold", _timed([STOA, *command, "--no-cache"], 5), start, "Python alone")
            kept = _timed([STOA, *command, *cache], 5, warm=True)
            _row(f"stoa {command[0]}, demo, nothing changed", kept, start, "Python alone")
        loaded = _timed([sys.executable, "-c", _LOAD, str(source)], 3)
        _row(f"reference: load the {tenants} tenants' files", loaded)
        out = folder / "out"
        checking = [STOA, "check", str(source)]
        bundling = [STOA, "compile", str(source), "--env", "prod", "--out", str(out)]
        reading = _timed([sys.executable, "-c", _READ, str(source)], 3)
        _row("a compile's phases until check, in one process", reading, loaded, "loading")
        _row("stoa check, cold", _timed([*checking, "--no-cache"], 3), loaded, "loading")
        alone = _timed([*checking, "--no-cache", "--jobs", "1"], 3)
        _row("stoa check, cold, in one process as well", alone, reading, "those phases")
        cold = _timed([*bundling, "--no-cache"], 3, lambda: shutil.rmtree(out, ignore_errors=True))
        _row("stoa compile, cold", cold, loaded, "loading")
        _title(f"Plan: 20 of {tenants} tenants changed")
        planned = planned_source(source, tenants, folder / "repository")
        plan = _timed([STOA, "plan", str(planned), "--base", "HEAD~1", "--head", "HEAD"], 3)
        _row("stoa plan, cold", plan, [2 * seconds for seconds in cold], "two cold compiles")
        changed = source / "t00001" / "contracts" / "orders.yaml"
        text = changed.read_text(encoding="utf-8")
        version = iter(range(1_000_000))

        def edit() -> None:
            changed.write_text(f"{text}# {next(version)}\n", encoding="utf-8")

        for name, command in (("check", checking), ("compile", bundling)):
            _row(f"stoa {name}, nothing changed", _timed([*command, *cache], 3, warm=True), loaded, "loading")
            _row(f"stoa {name}, one file changed", _timed([*command, *cache], 3, edit), loaded, "loading")


async def serving_tools() -> None:
    """Listing and calling through `stoa dev` with everything on, beside the SDK's server with nothing."""
    import aiohttp
    from person import signed_in
    from running import serving

    with tempfile.TemporaryDirectory() as scratch:
        async with serving(REPOSITORY / "tenants", Path(scratch)) as dev, signed_in(dev.mcp, "parzival") as person:
            count = len(await person.tools())
            reference = _start_reference(count)
            try:
                url = f"http://127.0.0.1:{reference.port}/mcp"
                async with aiohttp.ClientSession() as http:
                    _title(f"Runtime: {_CONNECTIONS} connections for {_SECONDS:.0f} s each, {count} tools")
                    bare = await _rate(_asking(http, url, "tools/list", {}, None))
                    _rate_row("reference: the SDK's server, tools/list", bare)
                    listed = await _rate(_asking(http, dev.mcp, "tools/list", {}, person.token))
                    _rate_row("stoa, tools/list with a token", listed, bare)
                    called = {"name": "ioi_billing_get_invoice", "arguments": {"invoice_id": "inv_004217"}}
                    bare_call = await _rate(_asking(http, url, "tools/call", {**called, "name": "tool_0"}, None))
                    _rate_row("reference: the SDK's server, tools/call without a backend", bare_call)
                    rate = await _rate(_asking(http, dev.mcp, "tools/call", called, person.token))
                    _rate_row("stoa, tools/call proxied to a mock, all checks and audit", rate, bare_call)
            finally:
                reference.process.terminate()
                reference.process.wait()


class _start_reference:
    """The SDK's own server with `count` tools, as a process."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, str(HERE / "sdk_server.py"), str(count)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())


def _asking(
    http: object, url: str, method: str, params: dict[str, object], token: str | None
) -> Callable[[], Awaitable[None]]:
    """One request in the modern era; raises where it is not answered with a result."""
    import aiohttp

    assert isinstance(http, aiohttp.ClientSession)
    session = http
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
        "Mcp-Method": method,
    }
    if "name" in params:
        headers["Mcp-Name"] = str(params["name"])
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}

    async def ask() -> None:
        async with session.post(url, json=body, headers=headers) as answer:
            text = await answer.text()
            if answer.status != 200 or '"result"' not in text or '"isError":true' in text:
                raise RuntimeError(f"{method} was answered with {answer.status}: {text[:300]}")

    return ask


async def _rate(ask: Callable[[], Awaitable[None]]) -> float:
    """Requests a second."""
    await ask()
    stop = time.perf_counter() + _SECONDS
    done = 0

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < stop:
            await ask()
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(_CONNECTIONS)))
    return done / (time.perf_counter() - started)


def _timed(
    command: Sequence[str], runs: int, before: Callable[[], None] | None = None, warm: bool = False
) -> list[float]:
    """Seconds of each run as a whole process; `warm`: of runs that find everything as it was for a while."""
    seconds = []
    if warm:
        subprocess.run(command, check=True, capture_output=True)
        time.sleep(_YOUNG_SECONDS)
        subprocess.run(command, check=True, capture_output=True)
    for _ in range(runs):
        if before is not None:
            before()
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return seconds


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def _row(name: str, seconds: list[float], reference: list[float] | None = None, of: str = "") -> None:
    low, middle = min(seconds) * 1000, statistics.median(seconds) * 1000
    ratio = f"{statistics.median(seconds) / statistics.median(reference):6.2f} x {of}" if reference else ""
    print(f"{name:<44} min {low:8.0f} ms   median {middle:8.0f} ms   {ratio}".rstrip())


def _rate_row(name: str, rate: float, reference: float | None = None) -> None:
    ratio = f"{rate / reference:6.2f} x the reference" if reference else ""
    print(f"{name:<60} {rate:8.0f} /s   {ratio}".rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
