"""The log that calls write to: one line for each decision, and what is promised about it."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from stoa_runtime.audit.chain import Chain
from stoa_runtime.audit.events import Event
from stoa_runtime.audit.promises import AuditUnavailable, Promises
from stoa_schemas.audit import Place

log = logging.getLogger("stoa")

Durability = Literal["system", "second", "event"]
WhenFull = Literal["refuse", "wait"]

KEY_BYTES = 16
"""What a key must have at least."""
_LOOK_AGAIN = 0.02
_GIVE_UP = 0.25
"""Seconds between two looks at whether what is waited for can come at all."""


class Log(Protocol):
    """What a sink sees of the log whose lines it takes."""

    lock: "threading.RLock"
    """Held while a line is made and handed on, and while a sink changes what it writes to."""
    promises: Promises
    """How far the sink has kept what was promised."""

    @property
    def chain(self) -> Chain:
        """The chain that lines belong to."""
        ...

    def begin(self, after: Place | None) -> None:
        """A chain of its own, or one that goes on after a line that was found."""
        ...

    def mark(self, action: str, file: str, details: Mapping[str, Any]) -> bytes:
        """The next line, about the log itself; it holds how many decisions were lost so far."""
        ...


class Sink(Protocol):
    """Where lines go. All but `close` is called under the log's lock."""

    def open(self, audit: Log) -> None:
        """Begins or goes on with a chain and writes the first mark; `AuditUnavailable` where there is nowhere to."""
        ...

    def put(self, sequence: int, line: bytes, key: str | None) -> bool:
        """Takes a line. False where it is kept for later, since it can't be handed on now."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether it can't take a line at all."""
        ...

    @property
    def works(self) -> bool:
        """Whether the promise can be kept for a line that comes now."""
        ...

    @property
    def handed_on(self) -> int:
        """The last line that was handed on: to the operating system, or into the queue."""
        ...

    @property
    def confirms(self) -> bool:
        """Whether an answer waits for more than that a line was handed on; `promises` tells how far that is."""
        ...

    def hurry(self) -> None:
        """Somebody waits."""
        ...

    def close(self) -> None:
        """Writes the last mark and lets go."""
        ...


class Audit:
    """The audit log. `write` may be called from any thread, also in a `finally` while a task is cancelled."""

    def __init__(
        self,
        sink: Sink | Path,
        *,
        source: str = "/stoa/audit",
        key: bytes | None = None,
        when_full: WhenFull = "refuse",
        wait_seconds: float = 10.0,
    ) -> None:
        """Opens the log; a path is a file with the defaults. `AuditUnavailable` where it can't be opened."""
        if isinstance(sink, Path):
            from stoa_runtime.audit.files import FileSink

            sink = FileSink(sink)
        if key is not None and len(key) < KEY_BYTES:
            raise AuditUnavailable(f"the key that the log is sealed with has fewer than {KEY_BYTES} bytes")
        self.lock = threading.RLock()
        self.promises = Promises(self.lock)
        self.chain = Chain(source, key)
        self._source = source
        self._key = key
        self._sink = sink
        self._waits = when_full == "wait"
        self._wait_seconds = wait_seconds
        self._lost = 0
        self._closed = False
        self.saw: Callable[[Event], None] | None = None
        """Is told of each decision, whether it can be recorded or not."""
        with self.lock:
            sink.open(self)

    @property
    def works(self) -> bool:
        """Whether decisions can be recorded as promised. While it is false, no backend is called.

        It becomes true again by itself.
        """
        return not self._closed and self._sink.works

    @property
    def behind(self) -> int:
        """Lines for which what is promised does not hold yet."""
        with self.lock:
            return self.chain.sequence - (self.promises.kept if self._sink.confirms else self._sink.handed_on)

    def write(self, event: Event) -> None:
        """Takes the event: it is with the operating system or in the queue. `AuditUnavailable`: withhold the answer.

        Even then the line is kept while there is room, and written once that works again, since what a backend did
        should be on record. Where the log waits when it is full, a kept line is for `settled` to wait for.
        """
        if self.saw is not None:
            self.saw(event)
        with self.lock:
            if self._closed or self._sink.is_full:
                self._lost += 1
                raise AuditUnavailable("the audit log is full")
            line = self.chain.decision(event)
            handed_on = self._sink.put(self.chain.sequence, line, event.tenant)
        if not handed_on and not self._waits:
            raise AuditUnavailable("the audit log cannot be written")

    async def admitted(self, seconds: float | None = None) -> None:
        """Returns when a decision can be recorded; to be asked before a backend is called.

        `AuditUnavailable` at once, or after `seconds` where the log waits when it is full.
        """
        if self.works:
            return
        end = time.monotonic() + (self._wait_seconds if seconds is None else seconds)
        while self._waits and time.monotonic() < end:
            await asyncio.sleep(_LOOK_AGAIN)
            if self.works:
                return
        raise AuditUnavailable("the audit log cannot be written")

    async def settled(self, seconds: float | None = None) -> None:
        """Returns when what is promised before an answer holds for every line so far, mostly without a suspension.

        `AuditUnavailable` where it does not within `seconds`: withhold the answer. A log that does not wait when it is
        full does not wait for a sink that does not work either.
        """
        with self.lock:
            # Where nothing waits, `write` has failed for every line that is only kept.
            target = self.chain.sequence if self._waits else self._sink.handed_on
            done = self.promises.kept if self._sink.confirms else self._sink.handed_on
            if done >= target:
                return
            future = self.promises.wait(target)
        self._sink.hurry()
        ends = time.monotonic() + (self._wait_seconds if seconds is None else seconds)
        while not future.done():
            left = ends - time.monotonic()
            if left <= 0 or not (self._waits or self.works):
                raise AuditUnavailable("the audit log did not take the line in time")
            await asyncio.wait({future}, timeout=min(left, _GIVE_UP))
        future.result()

    def close(self) -> None:
        """Writes what is left and lets go; a second time does nothing."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
        self._sink.close()
        if self._lost:
            log.error("audit: %d decisions could not be recorded, and no answer to them went out", self._lost)

    async def aclose(self) -> None:
        """Closes without holding up the event loop."""
        await asyncio.to_thread(self.close)

    def begin(self, after: Place | None) -> None:
        """A chain of its own, or one that goes on after a line that was found."""
        self.chain = Chain(self._source, self._key, after)

    def mark(self, action: str, file: str, details: Mapping[str, Any]) -> bytes:
        """The next line, about the log itself."""
        lost, self._lost = self._lost, 0
        return self.chain.mark(action, file, {**details, "lost": lost})
