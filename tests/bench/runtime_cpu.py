"""Time of the processor that one request takes, beside the references in one run: `python tests/bench/runtime_cpu.py`.

On a machine with other work to do, answers a second say little; what a server's own process uses of a processor for
each request hardly changes. The servers are measured by turns, each several times, and the least counts: other work
only ever adds. Needs wrk and nginx on PATH, as `runtime.py` does.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import runtime
from runtime import Server

SDK, PROXY, STOA = "SDK's own server", "bare ASGI proxy", "stoa"
LIST, CALL = "tools/list, 100 tools", "tools/call"


@dataclass(frozen=True)
class Work:
    """What a server is asked, again and again."""

    server: Server
    headers: Mapping[str, str]
    body: bytes


def main() -> int:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=4, help="turns of each server")
    options.add_argument("--seconds", type=int, default=2, help="how long a turn lasts")
    options.add_argument("--connections", type=int, default=8)
    options.add_argument("--only", action="append", help="one of the servers; several times for several")
    options.add_argument("--list-size", type=int, default=100)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch, runtime._backend(Path(scratch)) as backend:
        bench = runtime._Bench(Path(scratch), backend, chosen.seconds)
        with contextlib.ExitStack() as stack:
            work: dict[str, dict[str, Work]] = {LIST: {}, CALL: {}}
            for name, start in _servers(bench, chosen.list_size):
                if chosen.only and name not in chosen.only:
                    continue
                server = stack.enter_context(start())
                if name == PROXY:
                    work[CALL][name] = Work(server, {}, b'{"id":"inv_0001"}')
                    continue
                work[LIST][name] = _list(server)
                work[CALL][name] = _call(server)
            for what, by_server in work.items():
                least: dict[str, float] = {}
                for _ in range(chosen.rounds):
                    for name, each in by_server.items():
                        seen = _spent(each, Path(scratch), chosen.seconds, chosen.connections)
                        least[name] = min(seen, least.get(name, seen))
                _print(what, least)
    return 0


def _servers(
    bench: "runtime._Bench", size: int
) -> Iterator[tuple[str, Callable[[], contextlib.AbstractContextManager[Server]]]]:
    yield SDK, lambda: bench._python("sdk_server.py", size, "sdk")
    yield PROXY, lambda: bench._python("proxy.py", 0, "proxy")
    yield STOA, lambda: bench._stoa(size)


def _list(server: Server) -> Work:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": runtime.META}})
    headers = runtime._headers("tools/list", server.token)
    runtime._ask(server.url, body.encode(), headers)
    return Work(server, headers, runtime._compact(body))


def _call(server: Server) -> Work:
    name = "acme_c0_get_0" if server.token else "tool_0"
    params = {"name": name, "arguments": {"id": "inv_0001"}, "_meta": runtime.META}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    headers = {**runtime._headers("tools/call", server.token), "Mcp-Name": name}
    answer = runtime._ask(server.url, body.encode(), headers)
    if "ACME" not in json.dumps(answer) or answer["result"].get("isError"):
        raise RuntimeError(f"{server.url} answers the call with {answer}")
    return Work(server, headers, runtime._compact(body))


def _spent(work: Work, scratch: Path, seconds: int, connections: int) -> float:
    """Microseconds of the processor for each request, all threads of the server together."""
    script = scratch / "cpu.lua"
    lines = [f"wrk.method = 'POST'\nwrk.body = {json.dumps(work.body.decode())}"]
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in work.headers.items()]
    lines.append(
        "function done(summary, latency, requests)\n  local e = summary.errors\n"
        '  io.write(string.format("RESULT %d %d\\n", summary.requests,'
        " e.connect + e.read + e.write + e.status + e.timeout))\nend"
    )
    script.write_text("\n".join(lines))
    before = cpu_seconds(work.server.process.pid)
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), work.server.url],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    spent = cpu_seconds(work.server.process.pid) - before
    requests, errors = map(int, out.split("RESULT ")[1].split()[:2])
    if errors:
        raise RuntimeError(f"{work.server.url}: {errors} of {requests} requests failed")
    return spent / requests * 1e6


def cpu_seconds(pid: int) -> float:
    """Seconds that the process's threads have run so far."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def _print(what: str, least: Mapping[str, float]) -> None:
    print(f"\n{what:<28}{'us of CPU':>10}{'SDK = 1':>10}{'proxy = 1':>11}")
    for name, cost in least.items():
        of_sdk = f"{least[SDK] / cost:>9.2f}x" if SDK in least else ""
        of_proxy = f"{least[PROXY] / cost:>10.2f}x" if PROXY in least else ""
        print(f"{name:<28}{cost:>10.1f}{of_sdk:>10}{of_proxy:>11}")


if __name__ == "__main__":
    sys.exit(main())
