"""Several processes that serve from one socket: started together, replaced when one dies, ended together.

The process that starts them serves nothing itself and has no threads, so that it may fork at any time. Each worker
reads the bundle, opens its own audit log and its own connections. They end when it ends, however it ends.
"""

import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

log = logging.getLogger("stoa")

AFTER_DRAIN = 15.0
"""Seconds beyond those for calls in flight that a worker may take to end: its audit log is written to the end."""
STEADY_SECONDS = 10.0
"""A worker that lived so long did not die of its start."""
PAUSE_LIMIT = 30.0
"""Seconds between two starts of a worker that dies again and again."""
_READY = b"ready\n"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class WorkersFailed(Exception):
    """A worker that could not start when all were to; the message is for the operator."""


class WorkerRefused(Exception):
    """Raised by a worker that cannot serve; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker knows of itself."""

    number: int
    """From 1."""
    lifeline: int
    """A descriptor that becomes readable when the process that started the workers has gone."""
    news: int
    """Where it says how it fares."""

    def ready(self) -> None:
        """It serves."""
        os.write(self.news, _READY)


@dataclass(slots=True)
class _Place:
    """One of the workers' places, and who has it."""

    number: int
    pid: int = 0
    news: int = -1
    said: bytes = b""
    since: float = 0.0
    deaths: int = 0
    """Deaths in a row soon after a start."""
    due: float | None = None
    """When it is to be started again."""

    @property
    def is_ready(self) -> bool:
        return self.said.startswith(_READY)


class Workers:
    """Keeps `count` workers; each runs `work` in a process of its own."""

    def __init__(self, count: int, work: Callable[[Worker], None], *, drain_seconds: float) -> None:
        self._work = work
        self._grace = drain_seconds + AFTER_DRAIN
        self._places = [_Place(number + 1) for number in range(count)]
        self._stopping: float | None = None
        """When those that are left are killed."""
        self._interrupts = 0

    def run(self, started: Callable[[], None]) -> None:
        """Returns when all have ended after SIGTERM or SIGINT. `started` is called once all of them serve.

        `WorkersFailed` where one cannot start; the others are ended then.
        """
        self._lifeline, self._held = os.pipe()
        self._wakes, self._wake = socket.socketpair()
        for end in (self._wakes, self._wake):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakes, selectors.EVENT_READ)
        before = {sig: signal.signal(sig, self._told_to_stop) for sig in _SIGNALS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        woken = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        try:
            gc.collect()
            gc.enable()
            gc.freeze()  # What is there now is shared by all workers, as long as nobody touches it.
            for place in self._places:
                self._start(place)
            self._keep(started)
        finally:
            self._end_all(signal.SIGKILL)
            signal.set_wakeup_fd(woken)
            for sig, handler in before.items():
                signal.signal(sig, handler)
            self._selector.close()
            for end in (self._wakes, self._wake):
                end.close()
            for descriptor in (self._lifeline, self._held):
                os.close(descriptor)

    def _keep(self, started: Callable[[], None]) -> None:
        has_started = False
        failed: str | None = None
        while True:
            self._wait()
            self._hear()
            for place, status in self._ended():
                if self._stopping is not None:
                    continue
                if not has_started:
                    failed = failed or _why(place, status)
                    self._stop()
                else:
                    self._put_off(place, status)
            if not has_started and self._stopping is None and all(place.is_ready for place in self._places):
                has_started = True
                started()
            now = time.monotonic()
            if self._stopping is None:
                for place in self._places:
                    if place.due is not None and now >= place.due:
                        self._start(place)
            elif not any(place.pid for place in self._places):
                break
            elif now >= self._stopping:
                log.error("workers did not end in time and are killed")
                self._end_all(signal.SIGKILL)
        if failed is not None:
            raise WorkersFailed(failed)

    def _told_to_stop(self, sig: int, _frame: FrameType | None) -> None:
        """A terminal's Ctrl-C reaches the workers too; the second one ends all at once."""
        self._interrupts += sig == signal.SIGINT
        if self._interrupts > 1:
            self._stopping = time.monotonic()
        elif self._stopping is None:
            self._stop()

    def _stop(self) -> None:
        self._stopping = time.monotonic() + self._grace
        self._end_all(signal.SIGTERM)

    def _end_all(self, sig: signal.Signals) -> None:
        for place in self._places:
            if place.pid:
                os.kill(place.pid, sig)  # It is not reaped yet, so that this is no other process.

    def _start(self, place: _Place) -> None:
        heard, news = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(heard)
                self._be(Worker(place.number, self._lifeline, news))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(news)
        os.set_blocking(heard, False)
        self._selector.register(heard, selectors.EVENT_READ, place)
        place.pid, place.news, place.said, place.since, place.due = pid, heard, b"", time.monotonic(), None
        if self._stopping is not None:  # The signal came just before.
            os.kill(pid, signal.SIGTERM)

    def _be(self, worker: Worker) -> None:
        """The child, from its first to its last step."""
        code = 3
        try:
            signal.set_wakeup_fd(-1)
            for sig in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(sig, signal.SIG_DFL)
            os.close(self._held)
            self._selector.close()
            for end in (self._wakes, self._wake):
                end.close()
            for place in self._places:
                if place.pid:
                    os.close(place.news)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._work(worker)
            code = 0
        except WorkerRefused as refused:
            os.write(worker.news, str(refused).encode(errors="backslashreplace")[:4000])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 3
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # Nothing of the parent's is unwound here.

    def _wait(self) -> None:
        now = time.monotonic()
        times = [place.due for place in self._places if place.due is not None]
        if self._stopping is not None:
            times = [self._stopping]
        # A death is told by a signal; looking once a second besides costs nothing.
        self._ready = self._selector.select(max(0.0, min([1.0, *(moment - now for moment in times)])))

    def _hear(self) -> None:
        for key, _ in self._ready:
            if key.data is None:
                self._wakes.recv(4096)
                continue
            place: _Place = key.data
            said = os.read(place.news, 4096)
            place.said += said
            if not said:
                self._selector.unregister(place.news)
                os.close(place.news)
                place.news = -1

    def _ended(self) -> list[tuple[_Place, int]]:
        """The places whose worker has died, each with the status that it left."""
        found: list[tuple[_Place, int]] = []
        for place in self._places:
            if not place.pid:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if not pid:
                continue
            place.pid = 0
            if place.news >= 0:
                while True:
                    try:
                        rest = os.read(place.news, 4096)
                    except BlockingIOError:
                        break
                    if not rest:
                        break
                    place.said += rest
                self._selector.unregister(place.news)
                os.close(place.news)
                place.news = -1
            found.append((place, status))
        return found

    def _put_off(self, place: _Place, status: int) -> None:
        """Starts the worker again: at once, or later and later where it dies of its start."""
        now = time.monotonic()
        place.deaths = 0 if now - place.since > STEADY_SECONDS else place.deaths + 1
        pause = 0.0 if place.deaths <= 1 else min(PAUSE_LIMIT, 2.0 ** (place.deaths - 2))
        place.due = now + pause
        again = "another one is started" if not pause else f"another one is started in {pause:.0f} s"
        log.error("worker %d ended (%s); %s", place.number, _why(place, status), again)


def _why(place: _Place, status: int) -> str:
    """Why a worker ended, in its own words where it said some."""
    said = place.said.removeprefix(_READY).decode(errors="replace").strip()
    if said:
        return said
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"with exit code {code}"
