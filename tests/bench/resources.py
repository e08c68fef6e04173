"""What one process of the runtime needs: `python tests/bench/resources.py [TENANTS...]`, by default 10 and 1000.

For each number of tenants, with 5 contracts and 30 tools each: how long it takes from the start of the process until
`/readyz` answers 200, memory then and after many calls by people of many tenants, and CPU time for a call, with
telemetry off and on. CPU time is the process's own, so that other work on the machine matters little to it; the time to
start is the shortest of several, beside the start with a bundle of one tenant. Needs wrk and nginx on PATH.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt

sys.path.insert(0, str(Path(__file__).parent))
import generate

import runtime

runtime.ANSWER = b'{"id":"1","state":"open","total":5}'
STARTS = 3
SECONDS = 10
CALLERS = 100
"""Tenants whose people call, where there are so many."""
TICKS = os.sysconf("SC_CLK_TCK")
TELEMETRY: dict[str, list[str]] = {
    "off": [],
    "metrics": ["--metrics", "127.0.0.1:0"],
    "metrics, traces": ["--metrics", "127.0.0.1:0", "--traces", "COLLECTOR"],
    "traces, 1 in 100": ["--traces", "COLLECTOR", "--traces-ratio", "0.01"],
}
TOOL = "accounts"


@dataclass(frozen=True)
class Process:
    """A runtime that is ready, and what it took."""

    pid: int
    url: str
    seconds: float
    """Until it was ready."""
    cpu_at_start: float

    @property
    def cpu(self) -> float:
        """Seconds of CPU time so far, its threads included, and the processes that have judged its bundle."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS

    @property
    def memory(self) -> float:
        """Resident megabytes."""
        return int(Path(f"/proc/{self.pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def main(sizes: list[int]) -> int:
    """Prints the table; 2 where something needed is not here."""
    if missing := [name for name in ("wrk", "nginx", "taskset") if shutil.which(name) is None]:
        print(f"needed and not here: {', '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch, runtime._backend(Path(scratch)) as backend:
        print(f"{'tenants':>8} {'bundle':>9} {'ready':>9} {'CPU':>9} {'memory':>9} {'loaded':>9}")
        for size in dict.fromkeys([1, *sizes]):
            port = runtime._free_port()
            folder = Path(scratch) / str(size)
            bundle = _bundle(folder, size, port, backend.url)
            starts = []
            for _ in range(STARTS):
                with _started(bundle, folder, port, []) as process:
                    starts.append((process.seconds, process.cpu_at_start, process.memory))
            seconds, cpu, memory = (min(values) for values in zip(*starts, strict=True))
            megabytes = sum(f.stat().st_size for f in (bundle / "mcp").rglob("*.json")) / 1e6
            row = f"{size:>8} {megabytes:>6.1f} MB {seconds:>7.2f} s {cpu:>7.2f} s {memory:>6.0f} MB"
            if size not in sizes:
                print(row)
                continue
            costs: dict[str, float] = {}
            loaded = 0.0
            for name, options in TELEMETRY.items():
                options = [backend.url if option == "COLLECTOR" else option for option in options]
                with _started(bundle, folder, port, options) as process:
                    costs[name], after = _loaded(process, backend, folder, size)
                    loaded = loaded or after
            print(f"{row} {loaded:>6.0f} MB")
            for name, cost in costs.items():
                print(f"{'':>8} telemetry {name:<18} {cost:>6.0f} us CPU a call   x {cost / costs['off']:.2f}")
    return 0


@contextlib.contextmanager
def _started(bundle: Path, folder: Path, port: int, options: list[str]) -> Iterator[Process]:
    command = [runtime.STOA, "serve", str(bundle), "--port", str(port), "--development"]
    command += ["--state", str(folder / "state"), "--secrets", str(folder / "secrets")]
    began = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        while not _is_ready(port):
            if process.poll() is not None:
                raise RuntimeError("the runtime ended")
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        found = Process(process.pid, f"http://127.0.0.1:{port}/mcp", seconds, 0.0)
        yield Process(found.pid, found.url, seconds, found.cpu)
    finally:
        runtime._stop(process)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _loaded(process: Process, backend: runtime.Backend, folder: Path, size: int) -> tuple[float, float]:
    """Microseconds of CPU time for a call, and resident megabytes after many."""
    tenants = [f"t{number:05d}" for number in range(min(size, CALLERS))]
    issuer = backend.url + "/realm"
    callers = [(f"{tenant}_{TOOL}_get_account", _token(backend, tenant, process.url, issuer)) for tenant in tenants]
    name, token = callers[0]
    answer = runtime._ask(process.url, _call(name).encode(), runtime._headers("tools/call", token) | {"Mcp-Name": name})
    result = answer.get("result", answer)
    if "error" in answer or result.get("isError"):
        raise RuntimeError(f"the call is answered with {answer}")
    script = folder / "calls.lua"
    requests = ",\n".join(
        "{" + json.dumps(runtime._compact(_call(name)).decode()) + f", {json.dumps(name)}, {json.dumps(token)}" + "}"
        for name, token in callers
    )
    common = {k: v for k, v in runtime._headers("tools/call", None).items() if k.lower() != "authorization"}
    headers = ", ".join(f"[{json.dumps(k)}] = {json.dumps(v)}" for k, v in common.items())
    script.write_text(f"""
local calls = {{{requests}}}
local at = 0
function request()
  at = at % #calls + 1
  local c = calls[at]
  local headers = {{{headers}, ["Mcp-Name"] = c[2], ["Authorization"] = "Bearer " .. c[3]}}
  return wrk.format("POST", nil, headers, c[1])
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d\\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
""")
    for seconds in (2, SECONDS):  # The first warms it up.
        before = process.cpu
        out = subprocess.run(
            ["wrk", "-t1", "-c8", f"-d{seconds}s", "-s", str(script), process.url],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        calls, errors = map(int, out.split("RESULT ")[1].split()[:2])
        if errors:
            raise RuntimeError(f"{errors} of {calls} calls failed")
    return (process.cpu - before) / calls * 1e6, process.memory


def _call(name: str) -> str:
    params = {"name": name, "arguments": {"id": "A-1"}, "_meta": runtime.META}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def _token(backend: runtime.Backend, tenant: str, audience: str, issuer: str) -> str:
    now = int(time.time())
    claims = {
        "iss": issuer, "aud": audience, "sub": f"{tenant}-ada", "iat": now, "exp": now + 86_400, "typ": "Bearer",
        "azp": "claude", "scope": "openid stoa-mcp", "tenant": tenant, "roles": ["owner"],
    }  # fmt: skip
    return jwt.encode(claims, backend.key, algorithm="RS256", headers={"kid": "k1"})


def _bundle(folder: Path, size: int, port: int, backend: str) -> Path:
    """A compiled bundle of the generated source, whose limits nobody reaches and whose backends are all one nginx."""
    source, out = folder / "source", folder / "bundle"
    generate.generate(size, source)
    for file in source.rglob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"\bprod\b", "dev", re.sub(r"\d+/(second|minute|hour|day)", "1000000/second", text))
        text = re.sub(r"(dev: )https://\S+", rf"\g<1>{backend}", text)
        if file.name == "platform.yaml":
            text = text.replace("https://mcp.bench.example", f"http://127.0.0.1:{port}")
            text = text.replace("https://login.bench.example/realms/bench", f"{backend}/realm")
            text = text.replace("targets: [mcp, keycloak, helm]", "targets: [mcp]\n      development: true\n"
                                "      backendNetworks: [127.0.0.0/8]")  # fmt: skip
        file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [runtime.STOA, "compile", str(source), "--env", "dev", "--out", str(out), "--no-cache"],
        capture_output=True, text=True,
    )  # fmt: skip
    for number in range(min(size, CALLERS)):
        secret = folder / "secrets" / "tenants" / f"t{number:05d}" / TOOL / "token"
        secret.parent.mkdir(parents=True)
        secret.write_text("a-credential")
    if done.returncode:
        raise RuntimeError(done.stderr[:3000])
    return out


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]] or [10, 1000]))
