"""Callers that call without pause, each call with a trace of its own, and what they saw of each."""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from stoa_runtime.access import BUNDLE_KEY
from stoa_runtime.calls import TRACE_KEY
from tests.runtime.world import MODERN

INVOICE = "ioi_billing_get_invoice"
PATIENCE = 30.0
"""Seconds after which a caller says that a call hangs."""

_REFUSED = ("Nothing was called", "nothing was called", "nothing was done")
Outcome = Literal["answered", "refused", "failed", "unknown"]


@dataclass(slots=True)
class Seen:
    """What a caller saw of one call."""

    trace: str
    tool: str
    began: float
    ended: float = 0.0
    outcome: Outcome = "unknown"
    """`unknown`: no answer came."""
    status: int = 0
    """The HTTP status; 0 where there was none."""
    text: str = ""
    bundle: str = ""
    """The digest that the answer names."""
    wrong: str = ""
    """What is wrong with the answer in itself."""

    @property
    def took(self) -> float:
        """Seconds from asking to the end."""
        return self.ended - self.began

    @property
    def unrecordable(self) -> bool:
        """Whether the answer itself says that nothing could be recorded."""
        return "cannot be recorded" in self.text or (self.status == 503 and not self.text)


class Load:
    """Callers of some tools at some processes."""

    def __init__(
        self,
        urls: Sequence[str],
        tokens: Sequence[str],
        callers: int = 16,
        tools: Sequence[str] = (INVOICE,),
        arguments: Callable[[str], dict[str, Any]] = lambda trace: {"id": trace},
    ) -> None:
        self.seen: list[Seen] = []
        self.urls = list(urls)
        self.tokens = list(tokens)
        self.callers = callers
        self._tools = tools
        self._arguments = arguments
        self._numbers = itertools.count()
        self._stopping = False
        self._left: int | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Calls go on while the block lasts; at its end those in flight are waited for."""
        self._stopping = False
        async with self._session() as session:
            going = [asyncio.create_task(self._calls(session)) for _ in range(self.callers)]
            try:
                yield self
            finally:
                self._stopping = True
                _, hanging = await asyncio.wait(going, timeout=PATIENCE)
                for task in hanging:
                    task.cancel()
                for task in going:
                    if task.done() and not task.cancelled():
                        task.result()

    async def make(self, calls: int) -> list[Seen]:
        """So many calls, by all callers together; what was seen of these."""
        start = len(self.seen)
        self._left, self._stopping = calls, False
        async with self._session() as session:
            await asyncio.gather(*(self._calls(session) for _ in range(self.callers)))
        self._left = None
        return self.seen[start:]

    async def more(self, calls: int) -> None:
        """Returns once so many more calls have ended: while it runs, whatever fails, calls must end."""
        await self._until(lambda: len(self.seen), calls)

    async def answers(self, calls: int) -> None:
        """Returns once so many calls more were answered."""
        await self._until(lambda: sum(s.outcome == "answered" for s in self.seen), calls)

    async def still(self, seconds: float) -> None:
        """Goes on for so long, whatever happens."""
        await asyncio.sleep(seconds)

    async def _until(self, count: Callable[[], int], more: int) -> None:
        wanted, until = count() + more, time.monotonic() + PATIENCE
        while count() < wanted:
            assert time.monotonic() < until, f"calls do not end: {self.seen[-1:]}"
            await asyncio.sleep(0.02)

    def since(self, moment: float) -> list[Seen]:
        """Calls that began at that moment or later."""
        return [seen for seen in self.seen if seen.began >= moment]

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)

    async def _calls(self, session: aiohttp.ClientSession) -> None:
        while not self._stopping:
            if self._left is not None:
                if not self._left:
                    return
                self._left -= 1
            number = next(self._numbers)
            seen = await call(
                session,
                self.urls[number % len(self.urls)],
                self.tokens[number % len(self.tokens)],
                self._tools[number % len(self._tools)],
                self._arguments,
            )
            if seen is not None:
                self.seen.append(seen)
            if seen is None or seen.outcome != "answered":
                await asyncio.sleep(0.02)  # As a patient client would; it also leaves the processors to the others.


async def call(
    session: aiohttp.ClientSession,
    url: str,
    token: str,
    tool: str = INVOICE,
    arguments: Callable[[str], dict[str, Any]] = lambda trace: {"id": trace},
) -> Seen | None:
    """One call, and what is seen of it; None where nobody listens, so that nothing was sent."""
    trace = secrets.token_hex(16)
    seen = Seen(trace, tool, time.monotonic())
    given = arguments(trace)
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {
        "jsonrpc": "2.0",
        "id": trace,
        "method": "tools/call",
        "params": {"name": tool, "arguments": given, "_meta": meta},
    }
    headers = {
        "Host": "mcp.example.test",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
        "Authorization": f"Bearer {token}",
        "traceparent": f"00-{trace}-{trace[:16]}-01",
    }
    try:
        async with session.post(f"{url}/mcp", data=json.dumps(body).encode(), headers=headers) as response:
            seen.status = response.status
            data = await response.read()
    except aiohttp.ClientConnectorError:
        return None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        seen.text, seen.status = type(error).__name__, 0
        seen.ended = time.monotonic()
        return seen
    seen.ended = time.monotonic()
    _read(seen, data, given)
    return seen


def _read(seen: Seen, data: bytes, given: dict[str, Any]) -> None:
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        answer = {"error": {"message": data.decode(errors="replace")}}
    if "result" not in answer:
        seen.outcome = "refused"
        error = answer.get("error", "")
        seen.text = error["message"] if isinstance(error, dict) else str(answer.get("error_description", error))
        return
    result = answer["result"]
    seen.text = str(result["content"][0]["text"]) if result.get("content") else ""
    meta = result.get("_meta", {})
    seen.bundle = meta.get(BUNDLE_KEY, "")
    if answer["id"] != seen.trace or meta.get(TRACE_KEY) != seen.trace:
        seen.wrong = "the answer belongs to another call"
    if result.get("isError"):
        refused = any(words in seen.text for words in _REFUSED)
        seen.outcome = "refused" if refused else "failed"
        return
    seen.outcome = "answered"
    if "id" in given and (result.get("structuredContent") or {}).get("id") != given["id"]:
        seen.wrong = "the answer holds another call's invoice"
