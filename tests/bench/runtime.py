"""The runtime beside others, under wrk, in one run: `make bench-runtime`, or `python tests/bench/runtime.py [SECONDS]`.

One process on one core serves, with 8 connections; wrk and an nginx that stands for the backend have the other core.
Every figure stands beside its reference: the official SDK's own server, FastMCP, and a bare ASGI proxy that checks
nothing. Needs wrk and nginx on PATH (Debian: `apt-get install wrk nginx-light`) and two cores.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

HERE = Path(__file__).parent
STOA = str(Path(sys.executable).with_name("stoa"))
SIZES = (10, 100, 1000)
CONNECTIONS = 8
CALLS = 100_000
"""Calls after which memory is looked at again."""
FASTMCP = "fastmcp==4.1.2"
ANSWER = b'{"id":"inv_0001","customer":"ACME","amount":1250.5,"currency":"EUR","status":"open"}'
VERSION = "2026-07-28"
CLIENT = "bench-client"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


@dataclass(frozen=True)
class Measured:
    """What wrk saw."""

    rate: float
    """Answers a second."""
    p50: float
    """Milliseconds."""
    p99: float


@dataclass(frozen=True)
class Server:
    """One that is measured."""

    url: str
    process: subprocess.Popen[str]
    token: str | None = None

    @property
    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main(seconds: float) -> int:
    """Prints the tables; 2 where something needed is not here."""
    missing = [name for name in ("wrk", "nginx", "taskset") if shutil.which(name) is None]
    if missing or (os.cpu_count() or 1) < 2:
        print(f"needed and not here: {', '.join(missing) or 'a second core'}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch, _backend(Path(scratch)) as backend:
        _Bench(Path(scratch), backend, seconds).run()
    return 0


class _Bench:
    def __init__(self, scratch: Path, backend: "Backend", seconds: float) -> None:
        self._scratch = scratch
        self._backend = backend
        self._seconds = seconds
        self._fastmcp = _fastmcp_python()

    def run(self) -> None:
        """Every table."""
        print(f"wrk, {CONNECTIONS} connections, {self._seconds:.0f} s each; the server on one core")
        listed: dict[str, dict[int, Measured]] = {}
        called: dict[str, Measured] = {}
        alone: dict[str, Measured] = {}
        memory: tuple[float, float] | None = None
        for size in SIZES:
            for name, start in self._servers(size):
                with start as server:
                    listed.setdefault(name, {})[size] = self._list(server, size)
                    if size == 10:
                        called[name] = self._call(server)
                        alone[name] = self._call(server, connections=1)
                        if name == "stoa":
                            memory = self._memory(server)
        with self._python("proxy.py", 0, "bare ASGI proxy") as server:
            called["bare ASGI proxy"] = self._wrk(server, "POST", "/", b'{"id":"inv_0001"}', {})
            alone["bare ASGI proxy"] = self._wrk(server, "POST", "/", b'{"id":"inv_0001"}', {}, 1)
        direct = Server(self._backend.url + "/invoices/inv_0001", subprocess.Popen(["true"], text=True))
        base = self._wrk(direct, "GET", "", b"", {}, 1)
        self._print(listed, called, alone, base, memory)

    def _servers(self, size: int) -> Iterator[tuple[str, contextlib.AbstractContextManager[Server]]]:
        yield "SDK's own server", self._python("sdk_server.py", size, "sdk")
        if self._fastmcp is not None:
            yield "FastMCP", self._python("fastmcp_server.py", size, "fastmcp", python=self._fastmcp)
        yield "stoa", self._stoa(size)

    def _list(self, server: Server, size: int) -> Measured:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}})
        headers = _headers("tools/list", server.token)
        found = _ask(server.url, body.encode(), headers)["result"]["tools"]
        own = [tool for tool in found if tool["name"].startswith(("acme_", "tool_"))]
        if len(own) != size:
            raise RuntimeError(f"{server.url} lists {len(own)} tools, not {size}")
        return self._wrk(server, "POST", "", _compact(body), headers)

    def _call(self, server: Server, connections: int = CONNECTIONS) -> Measured:
        name = "acme_c0_get_0" if server.token else "tool_0"
        params = {"name": name, "arguments": {"id": "inv_0001"}, "_meta": META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {**_headers("tools/call", server.token), "Mcp-Name": name}
        result = _ask(server.url, body.encode(), headers)["result"]
        if result.get("isError") or "ACME" not in json.dumps(result):
            raise RuntimeError(f"{server.url} answers the call with {result}")
        return self._wrk(server, "POST", "", _compact(body), headers, connections)

    def _memory(self, server: Server) -> tuple[float, float]:
        """Resident megabytes before and after many calls."""
        before = server.memory
        rate = self._call(server).rate
        for _ in range(int(CALLS / (rate * self._seconds)) + 1):
            self._call(server)
        return before, server.memory

    def _wrk(
        self,
        server: Server,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        connections: int = CONNECTIONS,
    ) -> Measured:
        script = self._scratch / "request.lua"
        lines = [f"wrk.method = {json.dumps(method)}", f"wrk.body = {json.dumps(body.decode())}"]
        lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
        lines += [
            "function done(summary, latency, requests)",
            "  local e = summary.errors",
            '  io.write(string.format("RESULT %d %d %f %f %d\\n", summary.requests, summary.duration,',
            "    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))",
            "end",
        ]
        script.write_text("\n".join(lines))
        command = [
            "taskset",
            "-c",
            "1",
            "wrk",
            "-t1",
            f"-c{connections}",
            "--latency",
            "--timeout",
            "20s",
            "-s",
            str(script),
        ]
        for duration in (0.5, self._seconds):  # The first warms it up.
            out = subprocess.run(
                [*command, f"-d{max(1, round(duration))}s", server.url + path],
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
        requests, micro, p50, p99, errors = out.split("RESULT ")[1].split()
        if int(errors):
            raise RuntimeError(f"{server.url}: {errors} of {requests} requests failed")
        return Measured(int(requests) / (int(micro) / 1e6), float(p50) / 1000, float(p99) / 1000)

    @contextlib.contextmanager
    def _python(self, script: str, size: int, name: str, python: str = sys.executable) -> Iterator[Server]:
        command = ["taskset", "-c", "0", python, str(HERE / script), str(size), self._backend.url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            path = "" if script == "proxy.py" else "/mcp"
            yield Server(f"http://127.0.0.1:{port}{path}", process)
        finally:
            _stop(process)

    @contextlib.contextmanager
    def _stoa(self, size: int) -> Iterator[Server]:
        folder = self._scratch / f"stoa-{size}"
        port = _free_port()
        bundle = _bundle(folder, size, port, self._backend.url)
        command = ["taskset", "-c", "0", STOA, "serve", str(bundle), "--port", str(port), "--development"]
        process = subprocess.Popen([*command, "--state", str(folder / "state")], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            process.stdout.readline()
            url = f"http://127.0.0.1:{port}/mcp"
            yield Server(url, process, self._backend.token(url, self._backend.url + "/realm"))
        finally:
            _stop(process)

    def _print(
        self,
        listed: Mapping[str, Mapping[int, Measured]],
        called: Mapping[str, Measured],
        alone: Mapping[str, Measured],
        base: Measured,
        memory: tuple[float, float] | None,
    ) -> None:
        sdk = "SDK's own server"
        print(
            f"\n{'tools/list, answers a second':<34}" + "".join(f"{size:>9} tools" for size in SIZES) + "   100: x SDK"
        )
        for name, by_size in listed.items():
            cells = "".join(f"{by_size[size].rate:>15,.0f}" for size in SIZES)
            print(f"{name:<34}{cells}   {by_size[100].rate / listed[sdk][100].rate:>10.1f}")
        print(
            f"\n{'tools/call through to the backend':<34}{'/s':>10}{'p99 ms':>9}"
            f"{'x SDK':>8}{'x proxy':>9}{'1 client p50':>14}"
        )
        for name, seen in called.items():
            of_sdk = seen.rate / called[sdk].rate
            of_proxy = seen.rate / called["bare ASGI proxy"].rate
            ratios = f"{of_sdk:>8.2f}{of_proxy:>9.2f}"
            print(f"{name:<34}{seen.rate:>10,.0f}{seen.p99:>9.2f}{ratios}{alone[name].p50:>11.2f} ms")
        print(f"{'the backend itself':<34}{'':>36}{base.p50:>11.2f} ms")
        print(f"\nadded to the backend's p50 with one client: {alone['stoa'].p50 - base.p50:.2f} ms")
        if memory is not None:
            print(f"resident memory before and after {CALLS:,} calls: {memory[0]:.1f} MB, {memory[1]:.1f} MB")


@dataclass(frozen=True)
class Backend:
    """An nginx that answers every path with one invoice, and serves the issuer's keys."""

    url: str
    key: rsa.RSAPrivateKey

    def token(self, audience: str, issuer: str) -> str:
        """A token of a person who may read."""
        now = int(time.time())
        claims = {
            "iss": issuer, "aud": audience, "sub": "reader", "iat": now, "exp": now + 86_400, "typ": "Bearer",
            "azp": CLIENT, "scope": "openid stoa-mcp", "tenant": "acme", "roles": ["reader"],
        }  # fmt: skip
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "k1"})


@contextlib.contextmanager
def _backend(scratch: Path) -> Iterator[Backend]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys = scratch / "www/realm/protocol/openid-connect/certs"
    keys.parent.mkdir(parents=True)
    keys.write_text(json.dumps({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]}))
    port = _free_port()
    (scratch / "nginx").mkdir()
    configuration = scratch / "nginx.conf"
    configuration.write_text(f"""
user {_user()};
worker_processes 1;
daemon off;
pid {scratch}/nginx/pid;
error_log {scratch}/nginx/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  {"".join(f"{kind}_temp_path {scratch}/nginx/{kind};" for kind in _TEMPORARY)}
  server {{
    listen 127.0.0.1:{port};
    default_type application/json;
    location /realm {{ root {scratch}/www; }}
    location / {{ return 200 '{ANSWER.decode()}'; }}
  }}
}}
""")
    os.chmod(scratch, 0o755)  # noqa: PTH101
    process = subprocess.Popen(["taskset", "-c", "1", "nginx", "-c", str(configuration), "-p", str(scratch)], text=True)
    try:
        _wait(port, process)
        yield Backend(f"http://127.0.0.1:{port}", key)
    finally:
        _stop(process)


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _bundle(folder: Path, size: int, port: int, backend: str) -> Path:
    """A compiled bundle with `size` tools of one tenant."""
    source, out = folder / "source", folder / "bundle"
    tenant = source / "acme"
    (tenant / "contracts").mkdir(parents=True)
    (source / "platform.yaml").write_text(_PLATFORM.format(port=port, backend=backend, client=CLIENT))
    (tenant / "tenant.yaml").write_text(_TENANT)
    for at in range(0, size, 50):
        number = at // 50
        operations = "".join(_OPERATION.format(n=n) for n in range(at, min(size, at + 50)))
        text = _CONTRACT.format(number=number, backend=backend) + operations
        (tenant / "contracts" / f"c{number}.yaml").write_text(text)
    command = [STOA, "compile", str(source), "--env", "dev", "--out", str(out)]
    compiled = subprocess.run(command, check=False, capture_output=True, text=True)
    if compiled.returncode:
        raise RuntimeError(f"the source does not compile: {compiled.stderr}")
    return out


_PLATFORM = """\
apiVersion: gostoa.dev/v2
kind: Platform
metadata:
  name: bench
spec:
  displayName: Bench
  domain: bench.example
  environments:
    dev:
      gateway: http://127.0.0.1:{port}
      issuer: {backend}/realm
      development: true
      targets: [mcp]
      backendNetworks: [127.0.0.0/8]
  zones:
    external: {{trust: untrusted}}
    dmz: {{trust: semi-trusted}}
    internal: {{trust: trusted}}
  flows: []
  tiers:
    large: {{maxContracts: 100, maxTools: 5000, maxConsumers: 10, maxRate: 1000000/second}}
  classifications:
    H: {{demands: [], maxRate: 1000000/second}}
  roles:
    reader: {{description: Reads, permissions: ["tools:read"]}}
  backends:
    allowedHosts: []
  identity:
    realm: bench
    clients:
      {client}:
        displayName: Bench
        redirectUris: ["http://127.0.0.1/callback"]
  defaults:
    operationRate: 1000000/second
"""

_TENANT = """\
apiVersion: gostoa.dev/v2
kind: Tenant
metadata:
  name: acme
spec:
  displayName: ACME
  tier: large
  contact: team@bench.example
  environments: [dev]
  quotas: {rate: 1000000/second}
  secrets: {prefix: tenants/acme}
  grants:
    - role: reader
      tools: ["acme:*:*"]
"""

_CONTRACT = """\
apiVersion: gostoa.dev/v2
kind: UniversalAPIContract
metadata:
  tenant: acme
  name: c{number}
spec:
  displayName: Invoices {number}
  version: 1.0.0
  classification: H
  status: published
  owner: team@bench.example
  backend:
    urls:
      dev: {backend}
  operations:
"""

_OPERATION = """\
    get_{n}:
      method: GET
      path: /kind{n}/invoices/{{id}}
      summary: Get one invoice, kind {n}
      intent: Look up one invoice by its number when somebody asks what it holds, whose it is and whether it is paid.
      sideEffects: read
      input:
        type: object
        properties:
          id: {{type: string, pattern: "^inv_[0-9]+$", description: "The invoice's number"}}
          expand: {{type: array, items: {{type: string}}, description: "Parts to show in full"}}
        required: [id]
      output:
        type: object
        properties:
          id: {{type: string}}
          customer: {{type: string}}
          amount: {{type: number}}
          currency: {{type: string}}
          status: {{type: string}}
        required: [id, customer, amount]
"""


def _headers(method: str, token: str | None) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": method,
        **({"Authorization": f"Bearer {token}"} if token else {}),
    }


def _compact(body: str) -> bytes:
    """As clients write it."""
    return json.dumps(json.loads(body), separators=(",", ":")).encode()


def _ask(url: str, body: bytes, headers: Mapping[str, str]) -> Any:
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url} answers {error.code}: {error.read()[:300]!r}") from None


def _fastmcp_python() -> str | None:
    """The Python of an environment with FastMCP, made once; None where it can't be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stoa-bench" / FASTMCP.replace("==", "-")
    python = cache / "bin" / "python"
    if not (cache / "ready").is_file():
        print(f"installing {FASTMCP} into {cache}", file=sys.stderr)
        venv.create(cache, with_pip=True, clear=True)
        done = subprocess.run([str(python), "-m", "pip", "install", "-q", FASTMCP, "aiohttp", "uvloop"], check=False)
        if done.returncode:
            print(f"{FASTMCP} cannot be had here; its rows are left out", file=sys.stderr)
            return None
        (cache / "ready").touch()
    return str(python)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[str]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError("the server ended at once")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the server does not listen")


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))
