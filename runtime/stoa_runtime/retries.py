"""How often failed calls of a backend are tried again: when, after how long, and how many of them in all."""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

WINDOW = 10
"""Seconds over which calls and retries are counted."""
FLOOR = 5
"""Retries in the window that there may always be, so that a backend that is seldom called can be tried again at all."""


@dataclass(slots=True)
class _Second:
    at: int
    calls: int = 0
    retries: int = 0


class Budget:
    """The retries of one backend as a share of its calls lately: while all fail, calls do not multiply."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: deque[_Second] = deque()

    def called(self) -> None:
        """Counts a call."""
        self._now().calls += 1

    def take(self, percent: int) -> bool:
        """Whether one retry more is within `percent` of the calls; if so, it is counted."""
        now = self._now()
        calls = sum(s.calls for s in self._seconds)
        if sum(s.retries for s in self._seconds) >= max(FLOOR, calls * percent // 100):
            return False
        now.retries += 1
        return True

    def _now(self) -> _Second:
        at, seconds = int(self._clock()), self._seconds
        while seconds and seconds[0].at <= at - WINDOW:
            seconds.popleft()
        if not seconds or seconds[-1].at != at:
            seconds.append(_Second(at))
        return seconds[-1]


def wait_seconds(tried: int, backoff_ms: int, retry_after: str | None, chance: Callable[[], float]) -> float:
    """How long to wait after `tried` earlier retries: between half of the doubled backoff and all of it.

    What the backend asks for counts where that is longer. `chance` gives numbers from 0 to 1.
    """
    backoff = backoff_ms * (1 << tried) / 1000
    return max(backoff * (0.5 + chance() / 2), asked_seconds(retry_after) or 0.0)


def asked_seconds(retry_after: str | None, now: Callable[[], float] = time.time) -> float | None:
    """The wait that a `Retry-After` asks for (RFC 9110, 10.2.3), as seconds or as a date; None where it asks none."""
    if not retry_after:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at: float = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, at - now())


CHANCE: Callable[[], float] = random.random
