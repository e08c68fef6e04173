"""Backends that misbehave: the caller gets a refusal in known words, in time, and the process stays small."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import ResolveResult

from stoa_runtime.addresses import AddressRule, FilteringResolver
from stoa_runtime.backends import BackendFailed, Backends, open_wire
from stoa_runtime.credentials import FileCredentials
from stoa_runtime.requests import Outgoing
from stoa_runtime.wire import Wire
from tests.runtime import world
from tests.runtime.backend_faults import FAULTS, GOOD, JSON, Fault, seen, tool

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_the_caller_sees(fault: Fault) -> None:
    rule, text = asyncio.run(seen(fault))
    assert rule == fault.rule
    assert (text == GOOD.decode()) == (rule == "granted")
    assert "127.0.0.1" not in text
    assert "169.254" not in text


def test_the_table_in_the_docs_is_of_these_faults() -> None:
    page = (ROOT / "docs/backends.md").read_text()
    rows = [line.split(" | ")[:2] for line in page.splitlines() if " | `" in line]
    told = {name.removeprefix("| "): rule.strip("`") for name, rule in rows}
    assert {f.name: f.rule for f in FAULTS}.items() <= told.items()


@pytest.mark.parametrize("name", ["10 GB, streamed", "gzip bomb", "deflate bomb", "gzip, gzip"])
def test_memory_stays_flat(name: str) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from Linux's /proc")
    script = (
        "import asyncio, threading, time\n"
        "from pathlib import Path\n"
        "from tests.runtime.backend_faults import FAULTS, seen\n"
        "statm = Path('/proc/self/statm')\n"
        "rss = lambda: int(statm.read_text().split()[1]) * 4\n"
        "seen_rss = []\n"
        "def watch():\n"
        "    while True:\n"
        "        seen_rss.append(rss())\n"
        "        time.sleep(0.002)\n"
        "asyncio.run(seen(FAULTS[0]))\n"
        "before = rss()\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        f"asyncio.run(seen(next(f for f in FAULTS if f.name == {name!r})))\n"
        "print(max([rss(), *seen_rss]) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30_000, done.stdout  # kB


def refused(backend: str, networks: list[str]) -> str:
    """Why a call is refused."""

    async def once() -> str:
        addresses = AddressRule(networks)
        async with open_wire(addresses) as wire:
            backends = Backends(wire, addresses, FileCredentials(Path("/nowhere")))
            entry = world.contract("x", backend, auth=None)
            try:
                answer = tool().declared.answer
                await backends.send("ioi", entry, Outgoing("GET", "/", (), None), answer, "00-1-2-01")
            except BackendFailed as failed:
                return failed.rule
        return "answered"

    return asyncio.run(once())


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ],
)
def test_the_metadata_address_is_not_called_however_it_is_written(host: str) -> None:
    assert refused(f"http://{host}", ["127.0.0.0/8"]) == "backend-address"


class Rebinding:
    """A resolver whose answers change from one question to the next."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[ResolveResult]:
        found = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [ResolveResult(hostname=host, host=a, port=port, family=socket.AF_INET, proto=0, flags=0) for a in found]

    async def close(self) -> None:
        pass


def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """The name leads to a permitted address when it is checked, and elsewhere whenever it is asked for again."""

    async def story() -> None:
        requests: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n" + JSON + b"Connection: close\r\nContent-Length: 11\r\n\r\n" + GOOD)
            await writer.drain()
            writer.close()

        good = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = good.sockets[0].getsockname()[1]
        stolen: list[bytes] = []

        async def steal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            stolen.append(await reader.read(10))
            writer.close()

        bad = await asyncio.start_server(steal, "127.0.0.2", port)
        addresses = AddressRule(["127.0.0.1/32"])
        resolver = FilteringResolver(addresses)
        rebinding = Rebinding(["127.0.0.2", "127.0.0.1"], ["127.0.0.2"])
        resolver._resolver = rebinding  # type: ignore[assignment]
        answer = tool().declared.answer
        async with Wire(addresses, resolver, names_seconds=0) as wire:
            backends = Backends(wire, addresses, FileCredentials(Path("/nowhere")))
            entry = world.contract("x", f"http://backend.example:{port}", auth=None)
            outgoing = Outgoing("GET", "/", (), None)
            assert (await backends.send("ioi", entry, outgoing, answer, "00-1-2-01")).body == GOOD
            assert rebinding.asked == 1
            with pytest.raises(BackendFailed) as failed:
                await backends.send("ioi", entry, outgoing, answer, "00-1-2-01")
            assert failed.value.rule == "backend-address"
        good.close()
        bad.close()
        assert len(requests) == 1
        assert stolen == []

    asyncio.run(story())


def kept_alive(method: str, then: Callable[[asyncio.StreamReader], Awaitable[None]]) -> tuple[list[str], int]:
    """What two calls come to of a backend that breaks a kept connection, and the requests that it got."""

    async def story() -> tuple[list[str], int]:
        got = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal got
            await reader.readuntil(b"\r\n\r\n")
            got += 1
            writer.write(b"HTTP/1.1 200 OK\r\n" + JSON + b"Content-Length: 11\r\n\r\n" + GOOD)
            await writer.drain()
            before = got
            await then(reader)
            got = before + (1 if then is reads_once_more else 0)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        addresses, entry = AddressRule(["127.0.0.0/8"]), world.contract("x", url, auth=None)
        answer, found = tool().declared.answer, list[str]()
        async with open_wire(addresses) as wire:
            backends = Backends(wire, addresses, FileCredentials(Path("/nowhere")))
            for _ in range(2):
                try:
                    reply = await backends.send("ioi", entry, Outgoing(method, "/", (), None), answer, "00-1-2-01")
                    found.append(str(reply.status))
                except BackendFailed as failed:
                    found.append(failed.rule)
                await asyncio.sleep(0.1)
        server.close()
        return found, got

    return asyncio.run(story())


async def reads_once_more(reader: asyncio.StreamReader) -> None:
    """The backend takes the next request, and closes without an answer."""
    await reader.readuntil(b"\r\n\r\n")


async def closes_at_once(reader: asyncio.StreamReader) -> None:
    """The backend closes the connection that it said it would keep."""


def test_a_connection_that_was_closed_between_calls_is_not_used() -> None:
    assert kept_alive("POST", closes_at_once) == (["200", "200"], 2)
    assert kept_alive("GET", closes_at_once) == (["200", "200"], 2)


def test_a_request_whose_answer_is_lost_is_sent_again_only_where_that_is_the_same() -> None:
    assert kept_alive("POST", reads_once_more) == (["200", "backend-unreachable"], 2)
    found, got = kept_alive("GET", reads_once_more)
    assert found == ["200", "200"]
    assert got >= 3
