"""A store that many processes share: Valkey or Redis, one script for each take.

While it cannot be reached, a circuit answers at once what the bundle declares: refuse, or count in this process.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import count
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, RedisError, ResponseError

from stoa_runtime.limits.charges import (
    ADMITTED,
    EPOCH,
    Admission,
    Charge,
    LimitReached,
    Quota,
    Slot,
    WhenDown,
    refusal,
)
from stoa_runtime.limits.memory import MemoryStore

CONNECT_SECONDS = 0.25
COMMAND_SECONDS = 0.25
TAKE_SECONDS = 0.5
"""For connecting and taking together."""
CONNECTIONS = 16
FAILURES = 3
"""Failures in a row after which the store counts as down."""
RETRY_SECONDS = 1.0
"""Until one call tries again whether it is back."""

_log = logging.getLogger("stoa.limits")
_DOWN = (RedisError, OSError)


@dataclass(frozen=True, slots=True)
class _Script:
    text: str
    digest: str


def _script(name: str) -> _Script:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return _Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_TAKE = _script("take.lua")
_RELEASE = _script("release.lua")


class ValkeyStore:
    """Counts in a server. `ValueError` where `url` is not well formed."""

    def __init__(self, url: str, when_down: Callable[[], WhenDown], clock: Callable[[], float] | None = None) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=COMMAND_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=COMMAND_SECONDS,
            # A connection that has died in the pool is no failure of the server. At worst a call counts twice.
            retry=Retry(NoBackoff(), 1, (Disconnected,)),
            protocol=2,
        )
        self._client: Redis = Redis.from_pool(pool)
        self._when_down = when_down
        self._clock = clock
        """None: the server's own, so that all processes count by the same."""
        self._local = MemoryStore(clock or time.time)
        self._failures = 0
        self._again = 0.0
        self._probing = False
        self._process = secrets.token_hex(8)
        self._numbers = count()
        self._returning: set[asyncio.Task[None]] = set()

    @property
    def works(self) -> bool:
        """Whether the last calls reached the server."""
        return self._failures < FAILURES

    async def take(
        self, charges: Sequence[Charge], quotas: Sequence[Quota] = (), slots: Sequence[Slot] = ()
    ) -> Admission:
        """Takes all, or raises `LimitReached` and takes nothing."""
        if not (charges or quotas or slots):
            return ADMITTED
        probe = not self.works
        if probe:
            if self._probing or time.monotonic() < self._again:
                return self._without(charges, quotas, slots)
            self._probing = True
        admission = Admission(f"{self._process}.{next(self._numbers)}", slots) if slots else ADMITTED
        items: list[Charge | Quota | Slot] = [*charges, *quotas, *slots]
        now = "" if self._clock is None else repr((self._clock() - EPOCH) * 1e6)
        arguments: list[Any] = [now, len(charges), len(quotas), admission.id]
        for charge in charges:
            arguments += (repr(charge.law.interval), repr(charge.law.tolerance))
        for quota in quotas:
            arguments += (quota.law.limit, repr((quota.ends - EPOCH) * 1e6))
        for slot in slots:
            arguments += (slot.law.limit, repr(slot.lease * 1e6))
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                answer = await self._run(_TAKE, [item.key for item in items], arguments)
        except _DOWN as error:
            self._failed(error)
            return self._without(charges, quotas, slots)
        except asyncio.CancelledError:
            self._give_back(admission)  # The server may have taken them.
            raise
        finally:
            if probe:
                self._probing = False
        self._reached()
        if answer[0]:
            raise refusal(items[answer[0] - 1], answer[1] * 1000.0)
        return admission

    async def release(self, admission: Admission) -> None:
        """Gives the slots back. Where that fails, their leases end."""
        if admission.local:
            self._local.release_now(admission)
        else:
            task = self._give_back(admission)
            if task is not None:
                await asyncio.shield(task)

    async def close(self) -> None:
        """Waits for slots that are being given back, and ends the connections."""
        if self._returning:
            await asyncio.wait(self._returning, timeout=TAKE_SECONDS)
        await self._client.aclose(close_connection_pool=True)

    async def _run(self, script: _Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        command: Any = self._client.execute_command  # Without types in the library.
        try:
            return await command("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:  # A server that has started anew; EVAL keeps the script there.
            return await command("EVAL", script.text, len(keys), *keys, *arguments)

    def _give_back(self, admission: Admission) -> "asyncio.Task[None] | None":
        """A task of its own, so that a caller who leaves does not leave the slot taken."""
        if not admission.slots or not self.works:
            return None
        task = asyncio.get_running_loop().create_task(self._return(admission))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)
        return task

    async def _return(self, admission: Admission) -> None:
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                await self._run(_RELEASE, [slot.key for slot in admission.slots], [admission.id])
        except _DOWN as error:
            self._failed(error)

    def _without(self, charges: Sequence[Charge], quotas: Sequence[Quota], slots: Sequence[Slot]) -> Admission:
        """What is done without the server."""
        if self._when_down() == "local":
            return replace(self._local.take_now(charges, quotas, slots), local=True)
        raise LimitReached(
            "limits-unavailable",
            RETRY_SECONDS,
            f"Nothing was called. Calls cannot be counted at the moment. Call again in {RETRY_SECONDS:.0f} second.",
        )

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._again = time.monotonic() + RETRY_SECONDS
        if self._failures == FAILURES:
            # The error's own text may name the server; the URL is the operator's secret.
            _log.warning("the store of limits cannot be used (%s); %s until it is back", _why(error), self._policy())

    def _reached(self) -> None:
        if not self.works:
            _log.warning("the store of limits is back")
        self._failures = 0

    def _policy(self) -> str:
        return "each process counts for itself" if self._when_down() == "local" else "calls are refused"


def _why(error: Exception) -> str:
    """The kind of an error, with the server's own code where it gave one (`NOAUTH`, `OOM`, `READONLY`)."""
    kind = type(error).__name__
    code = str(error).partition(" ")[0] if isinstance(error, ResponseError) else ""
    return f"{kind} {code}" if code.isalpha() and code.isupper() else kind
