"""Waiting for what a log promises about its lines, from an event loop, while another thread keeps the promise."""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterable

_Waiter = tuple[int, "asyncio.Future[None]"]


class AuditUnavailable(Exception):
    """The line cannot be written, so the decision must not take effect."""


class Promises:
    """How far the promise is kept, and who waits for more. All of it happens under the log's lock."""

    def __init__(self, lock: "threading.RLock") -> None:
        self._lock = lock
        self._waiting: list[_Waiter] = []
        self.kept = 0
        """The promise holds for every line up to this one."""

    def wait(self, sequence: int) -> "asyncio.Future[None]":
        """A future of the running loop, done once the promise is kept up to `sequence`."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((sequence, future))
        return future

    @property
    def awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def keep(self, sequence: int) -> None:
        """The promise is kept up to `sequence`."""
        with self._lock:
            self.kept = max(self.kept, sequence)
            done = [waiter for waiter in self._waiting if waiter[0] <= self.kept]
            if done:
                self._waiting = [waiter for waiter in self._waiting if waiter[0] > self.kept]
                _tell(done, None)

    def cannot(self, reason: str) -> None:
        """The promise can't be kept for those who wait now."""
        with self._lock:
            failed, self._waiting = self._waiting, []
            _tell(failed, reason)


def _tell(waiters: Iterable[_Waiter], reason: str | None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = defaultdict(list)
    for _, future in waiters:
        by_loop[future.get_loop()].append(future)
    for loop, futures in by_loop.items():
        with contextlib.suppress(RuntimeError):  # A loop that is closed has nobody left to tell.
            loop.call_soon_threadsafe(_resolve, futures, reason)


def _resolve(futures: Iterable["asyncio.Future[None]"], reason: str | None) -> None:
    for future in futures:
        if future.done():  # The call was cancelled, or did not wait so long.
            continue
        if reason is None:
            future.set_result(None)
        else:
            future.set_exception(AuditUnavailable(reason))
