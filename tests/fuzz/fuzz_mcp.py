"""A fuzzer on the MCP endpoint of a running process: `python -m tests.fuzz.fuzz_mcp [REQUESTS] [SEED]`.

Requests are made by a grammar, of both eras, with a good token, another tenant's, a bad one or none; half of them are
then broken: members of the JSON, bytes of the body, fields, bytes of the head. Each has its own random numbers, from
the seed and its place, so that `--only PLACE` sends one again. No answer may be a 5xx (but 501 for a transfer coding
that is not read), hold another tenant's names or a secret, or stay away; the process must print no traceback, stay
small, and serve in the end.
"""

import argparse
import base64
import copy
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoa_runtime.settings import Settings
from tests.runtime import world
from tests.runtime.world import LEGACY, MODERN
from tests.threats import wire
from tests.threats.conftest import catalogs
from tests.threats.process import Attacked, serving

THREADS = 4
HANG = 10.0
"""Seconds after which an answer counts as staying away."""
SUBJECTS = 64
GROWTH = 40_000_000
"""Bytes by which the process may grow after its first quarter: what it remembers of callers is bounded."""
EARLY = "from stoa_runtime import connections; connections.SECONDS = 1.0;"

METHODS = (
    ["tools/call"] * 8
    + ["tools/list"] * 4
    + [
        "server/discover",
        "initialize",
        "ping",
        "notifications/initialized",
        "notifications/cancelled",
        "resources/list",
        "resources/read",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "tasks/get",
        "rpc.discover",
        "",
        "tools/call\0",
        "TOOLS/CALL",
        "__class__",
    ]
)
TEXTS = [
    "",
    "a",
    "..",
    "../x",
    "%2e",
    "\0",
    "\r\n",
    "\u202e",
    "\ud7ff",
    "\U0001f600",
    "x" * 300,
    "1",
    "null",
    "{}",
    "$ref",
    "__proto__",
]
NUMBERS = [0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**25, 1.5, -0.0, 1e308, 5e-324]
VERSIONS = [MODERN, LEGACY, "2025-06-18", "2025-03-26", "2024-11-05", "2099-01-01", "", "x", "2026-07-28 "]
META = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "progressToken",
    "traceparent",
    "tracestate",
    "baggage",
    "x/y",
    "",
]
HEADERS = [
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Param-Region",
    "Mcp-Session-Id",
    "Accept",
    "Content-Type",
    "Content-Encoding",
    "Transfer-Encoding",
    "Expect",
    "Upgrade",
    "Connection",
    "Origin",
    "Host",
    "traceparent",
    "Authorization",
    "Cookie",
    "Last-Event-ID",
]


@dataclass
class Figures:
    """What was done, and what should not have happened."""

    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    """Connections that the process ended without an answer, as it may."""
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Sent:
    """One request."""

    data: bytes
    framed: bool
    """Whether it is one whole request, so that its connection may be used again."""
    tenant: str
    """Whose token it holds; empty where it holds none that is good."""


class Grammar:
    """Makes requests."""

    def __init__(self, stoa: Attacked) -> None:
        self._tokens = [(stoa.issuer.token(sub=f"p{n}"), "ioi") for n in range(SUBJECTS)]
        self._tokens += [(stoa.issuer.token(sub=f"q{n}", tenant="greg"), "greg") for n in range(SUBJECTS // 4)]
        self._tokens += [(stoa.issuer.token(sub="expired", exp=1), ""), ("", "")]
        self._tools = [tool for catalog in stoa.tenants.values() for tool in catalog.tools if tool.contract != "slow"]
        own = ["stoa_tenants", "stoa_catalog", "stoa_contract", "stoa_tools", "stoa_approvals_list"]
        self._names = [tool.name for tool in self._tools] + [*own, "stoa_approvals_get", "nothing", ""]

    def request(self, rng: random.Random) -> Sent:
        """One request; half of them are broken in one place or several."""
        era = rng.choice([MODERN, MODERN, LEGACY, LEGACY, rng.choice(VERSIONS)])
        method = rng.choice(METHODS)
        name = rng.choice(self._names)
        message = self._message(rng, era, method, name)
        token, tenant = rng.choice(self._tokens) if rng.random() < 0.9 else self._tokens[-1]
        fields = wire.fields(method.replace("\0", ""), token or None, era=era, name=name)
        if rng.random() < 0.25:
            message = self._broken(rng, message)
        body = self._written(rng, message)
        if rng.random() < 0.15:
            body = flipped(rng, body)
        if rng.random() < 0.2:
            fields = self._refitted(rng, fields)
        data = wire.request(fields, body)
        framed = True
        if rng.random() < 0.05:
            head, _, rest = data.partition(b"\r\n\r\n")
            data, framed = flipped(rng, head) + b"\r\n\r\n" + rest, False
        framed = framed and not any(
            n.lower() in ("transfer-encoding", "connection", "expect", "upgrade") for n, _ in fields
        )
        return Sent(data, framed, tenant)

    def _message(self, rng: random.Random, era: str, method: str, name: str) -> Any:
        params: dict[str, Any] = {}
        if method == "tools/call":
            params = {"name": name, "arguments": self._arguments(rng, name)}
        elif rng.random() < 0.3:
            params = {rng.choice(["cursor", "uri", "level", "x"]): self._value(rng, 2)}
        if era == MODERN or rng.random() < 0.1:
            params["_meta"] = wire.envelope(era)
        if rng.random() < 0.2:
            params.setdefault("_meta", {})[rng.choice(META)] = self._value(rng, 3)
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if not method.startswith("notifications/") or rng.random() < 0.1:
            message["id"] = rng.choice([1, "a", 0, -1, rng.choice(NUMBERS), self._value(rng, 1)])
        return message

    def _arguments(self, rng: random.Random, name: str) -> Any:
        tool = next((tool for tool in self._tools if tool.name == name), None)
        properties = tool.input_schema["properties"] if tool is not None else {"tenant": {}, "contract": {}, "id": {}}
        made = {}
        for key, schema in properties.items():
            if rng.random() < 0.7:
                kind = schema.get("type") if rng.random() < 0.8 else None
                made[key] = {
                    "string": lambda: rng.choice([*TEXTS, "s"]),
                    "integer": lambda: rng.choice([1, 5, rng.choice(NUMBERS)]),
                    "number": lambda: rng.choice(NUMBERS),
                    "array": lambda: [rng.choice(["open", "paid", *TEXTS]) for _ in range(rng.randint(0, 3))],
                    "object": lambda: {rng.choice(TEXTS): rng.choice(TEXTS) for _ in range(rng.randint(0, 3))},
                }.get(kind, lambda: self._value(rng, 3))()
        return made

    def _value(self, rng: random.Random, depth: int) -> Any:
        kind = rng.randrange(8 if depth else 5)
        if kind < 2:
            return rng.choice(TEXTS)
        if kind < 3:
            return rng.choice(NUMBERS)
        if kind < 5:
            return rng.choice([None, True, False])
        if kind < 7:
            return {rng.choice(TEXTS): self._value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
        return [self._value(rng, depth - 1) for _ in range(rng.randint(0, 3))]

    def _broken(self, rng: random.Random, message: Any) -> Any:
        """The message with a member changed, left out, doubled in another place or wrapped."""
        message = copy.deepcopy(message)
        at = message
        while rng.random() < 0.6:
            inner = [v for v in (at.values() if isinstance(at, dict) else at) if isinstance(v, dict | list) and v]
            if not inner:
                break
            at = rng.choice(inner)
        if isinstance(at, list):
            at[rng.randrange(len(at))] = self._value(rng, 3)
            return message
        key = rng.choice([*at, rng.choice(TEXTS)])
        match rng.randrange(4):
            case 0:
                at.pop(key, None)
            case 1:
                at[key] = self._value(rng, 4)
            case 2:
                at[rng.choice(TEXTS)] = copy.deepcopy(at.get(key))
            case _:
                deep = self._value(rng, 1)
                for _ in range(rng.choice([3, 60, 70, 300, 1100])):
                    deep = [deep] if rng.random() < 0.5 else {"a": deep}
                at[key] = deep
        return [message] if rng.random() < 0.05 else message

    def _written(self, rng: random.Random, message: Any) -> bytes:
        try:
            text = json.dumps(message, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1]))
        except RecursionError:
            return b"[" * 2000
        return text.encode("utf-8", "surrogatepass")

    def _refitted(self, rng: random.Random, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The fields with one changed, left out, or another one."""
        fields = list(fields)
        place = rng.randrange(len(fields))
        value = rng.choice(
            ["", "x", "*/*", "application/json", "text/event-stream", "gzip", "chunked", "close", "h2c", "100-continue",
             "null", "https://evil.test", "=?base64?eA==?=", "=?base64?!?=", "Bearer x", "x" * 5000, "\xff\xfe",
             "=?base64?" + base64.b64encode(rng.randbytes(9)).decode() + "?=", rng.choice(VERSIONS)]
        )  # fmt: skip
        match rng.randrange(3):
            case 0:
                fields[place] = (fields[place][0], value)
            case 1:
                del fields[place]
            case _:
                fields.insert(place, (rng.choice(HEADERS), value))
        return fields


def flipped(rng: random.Random, data: bytes) -> bytes:
    """The bytes with some of them changed, left out, doubled or moved."""
    made = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        if not made:
            break
        place = rng.randrange(len(made))
        match rng.randrange(6):
            case 0:
                made[place] = rng.randrange(256)
            case 1:
                made[place] ^= 1 << rng.randrange(8)
            case 2:
                del made[place : place + rng.randint(1, 8)]
            case 3:
                made[place:place] = made[place : place + rng.randint(1, 16)]
            case 4:
                made[place:place] = rng.choice(
                    [b'"', b"{", b"}", b"[", b"\\u", b"\xff", b"\0", b"1e999", b"NaN", b"\r\n", b":"]
                )
            case _:
                del made[place:]
    return bytes(made)


class Fuzzer:
    """Sends requests, and judges what comes of each."""

    def __init__(self, stoa: Attacked, seed: int) -> None:
        self._stoa = stoa
        self._seed = seed
        self._grammar = Grammar(stoa)
        self._mine = threading.local()
        self._lock = threading.Lock()
        self.figures = Figures()

    def one(self, place: int) -> None:
        """Sends the request of this place."""
        sent = self._grammar.request(random.Random(f"{self._seed}:{place}"))
        began = time.monotonic()
        try:
            answer = self._answer(sent)
            wrong = self._judged(sent, answer)
        except TimeoutError:
            answer, wrong = None, "no answer in time"
        took = time.monotonic() - began
        with self._lock:
            self.figures.slowest = max(self.figures.slowest, took)
            if answer is None:
                self.figures.unanswered += 1
            else:
                self.figures.statuses[answer.status] += 1
            if wrong:
                self.figures.wrong.append(f"request {place}: {wrong}\n  {sent.data!r:.2000}")

    def _answer(self, sent: Sent) -> wire.Answer | None:
        kept: wire.Wire | None = getattr(self._mine, "kept", None)
        if not sent.framed:
            with wire.Wire(self._stoa.address, HANG) as connection:
                connection.send(sent.data)
                return connection.answer()
        for connection in ([kept] if kept else []) + [None]:
            at = connection or wire.Wire(self._stoa.address, HANG)
            at.send(sent.data)
            answer = at.answer()
            if answer is not None and answer.header("connection") != "close":
                self._mine.kept = at
                return answer
            at.socket.close()
            self._mine.kept = None
            if answer is not None or connection is None:
                return answer
        return None

    def _judged(self, sent: Sent, answer: wire.Answer | None) -> str:
        """What is wrong with the answer, if anything is."""
        if answer is None:
            return "" if not sent.framed else "the connection ended without an answer"
        if answer.status >= 500 and not (answer.status == 501 and b"ransfer-" in sent.data):
            return f"status {answer.status}: {answer.body!r:.200}"
        told = answer.body.decode("utf-8", "replace")
        if "Traceback" in told or world.SECRET in told:
            return "a secret or a traceback in the answer"
        other = {"ioi": "greg_oasis", "greg": "ioi_billing"}.get(sent.tenant, "_oasis_")
        if other in told and other.encode() not in sent.data:
            return f"{other} in the answer to a caller who may not see it"
        if not sent.tenant and sent.framed and answer.status not in (400, 401, 403, 408, 413, 421, 431, 501):
            return f"status {answer.status} without a good token"
        if answer.body and (answer.header("content-type") or "").startswith("application/json"):
            json.loads(answer.body)
        return ""


def fuzz(requests: int, seed: int, *, only: int | None = None) -> Figures:
    """The figures of so many requests to a process of their own."""
    issuer, backend = world.Issuer(), world.Recorder()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        secret = folder / "secrets" / "billing" / "api" / "token"
        secret.parent.mkdir(parents=True)
        secret.write_text(world.SECRET)
        tenants = catalogs(backend.url)
        settings = Settings(
            bundle=world.write_bundle(folder / "bundle", world.index(issuer.jwks_url, tenants), tenants),
            port=0,
            audit=folder / "state" / "audit.jsonl",
            secrets="file",
            secrets_folder=folder / "secrets",
            body_limit=65_536,
            body_deadline=0.3,
        )
        with serving(settings, issuer, backend, tenants, folder / "process", before=EARLY) as stoa:
            fuzzer = Fuzzer(stoa, seed)
            figures = fuzzer.figures
            began = time.monotonic()
            quarters = range(0, requests, max(requests // 4, 1))
            with ThreadPoolExecutor(THREADS) as threads:
                if only is not None:
                    fuzzer.one(only)
                for start in quarters if only is None else ():
                    list(threads.map(fuzzer.one, range(start, min(start + max(requests // 4, 1), requests))))
                    backend.requests.clear()
                    figures.memory.append(stoa.memory())
            figures.seconds = time.monotonic() - began
            if not stoa.is_alive():
                figures.wrong.append("the process ended")
            elif wire.asked(stoa.address, wire.listing(issuer.token(sub="after"))).status != 200:
                figures.wrong.append("it does not serve afterwards")
            if "Traceback" in (printed := stoa.printed()):
                figures.wrong.append(printed[printed.index("Traceback") :][:3000])
            if figures.memory and figures.memory[-1] - figures.memory[0] > GROWTH:
                figures.wrong.append(f"memory grew from {figures.memory[0]} to {figures.memory[-1]} bytes")
    issuer.server.close()
    backend.close()
    return figures


def told(figures: Figures) -> str:
    """The figures as text."""
    statuses = ", ".join(f"{count:,} of {status}" for status, count in sorted(figures.statuses.items()))
    memory = ", ".join(f"{size / 1e6:.0f}" for size in figures.memory)
    total = figures.statuses.total() + figures.unanswered
    return (
        f"{total:,} requests in {figures.seconds:.0f} s: {statuses}; {figures.unanswered} connections ended unanswered;"
        f" slowest {figures.slowest:.2f} s; memory after each quarter {memory} MB\n"
        + ("no request broke a promise" if not figures.wrong else f"{len(figures.wrong)} broke a promise")
    )


def main(arguments: list[str]) -> int:
    """Runs it; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("requests", type=int, nargs="?", default=2000)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--only", type=int, help="send the one request of this place")
    given = parser.parse_args(arguments)
    figures = fuzz(given.requests, given.seed, only=given.only)
    for wrong in figures.wrong[:20]:
        print(wrong)
    print(told(figures))
    return int(bool(figures.wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
