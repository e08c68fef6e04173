"""Watch: what is told of a run's phases, so that their time and memory can be said, and where a long run is.

The phases themselves look at no clock: `pipeline.py` and the command line hold the watch around them.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from stoa_compiler.records import record

SHOWN_AFTER = 1.0
"""Seconds after which a run says what it is at."""
SHOWN_EVERY = 0.2


class Watch(Protocol):
    """Whatever is told of the phases of a run."""

    def phase(self, name: str, target: str = "") -> AbstractContextManager[None]:
        """Surrounds one phase, or the part of it that is one target's."""


class Unwatched:
    """A watch that nobody looks at."""

    def phase(self, name: str, target: str = "") -> AbstractContextManager[None]:
        """Nothing at all."""
        return nullcontext()


UNWATCHED = Unwatched()


@record
class Lap:
    """One phase of a run, or one target's part of it."""

    phase: str
    target: str
    """The target's name; empty where the phase is not a target's."""
    seconds: float
    cpu: float
    """Seconds of processors, those of worker processes included."""
    peak: int
    """The most bytes that this process had in memory until the phase's end."""


@dataclass
class Stopwatch:
    """A watch that keeps its laps."""

    laps: list[Lap] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    at: str = "start"
    """The phase that runs."""

    @contextmanager
    def phase(self, name: str, target: str = "") -> Iterator[None]:
        """Adds to the phase's lap when it ends, however it ends."""
        self.at = f"{name} {target}".rstrip()
        seconds, cpu = time.perf_counter(), cpu_seconds()
        try:
            yield
        finally:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
            self._add(Lap(name, target, time.perf_counter() - seconds, cpu_seconds() - cpu, peak))

    def _add(self, lap: Lap) -> None:
        """Adds the lap, to an earlier one of the same phase where there is one."""
        for index, one in enumerate(self.laps):
            if (one.phase, one.target) == (lap.phase, lap.target):
                self.laps[index] = Lap(one.phase, one.target, one.seconds + lap.seconds, one.cpu + lap.cpu, lap.peak)
                return
        self.laps.append(lap)


_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def cpu_seconds() -> float:
    """Of this process and of all that it waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@contextmanager
def showing(watch: Stopwatch) -> Iterator[None]:
    """Says on stderr what a run is at, once it takes long; nothing where stderr is no terminal.

    A timer of the system, not a thread: a process with threads must not fork workers.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    import signal  # Only here: a run in CI shows nothing.

    stderr = sys.stderr.fileno()

    def show(_signal: int, _frame: FrameType | None) -> None:
        seconds = time.perf_counter() - watch.started
        # Past Python's buffer, which the run may be writing to right now.
        os.write(stderr, f"\r\x1b[K{watch.at} ... {seconds:.1f} s".encode())

    before = signal.signal(signal.SIGALRM, show)
    passed = time.perf_counter() - watch.started
    signal.setitimer(signal.ITIMER_REAL, max(SHOWN_AFTER - passed, SHOWN_EVERY), SHOWN_EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if time.perf_counter() - watch.started >= SHOWN_AFTER:
            os.write(stderr, b"\r\x1b[K")
