"""What is counted: charges to a rate, calls of a quota, slots; and what taking them gives.

A rate is kept by the Generic Cell Rate Algorithm in its virtual scheduling form (ITU-T I.371, A.1). The only
state of a key is its theoretical arrival time, the moment at which it is as good as new. With `T` the interval,
`tau` the tolerance and `now` the time of a call:

    the call conforms  when  TAT - tau <= now
    and then           TAT = max(TAT, now) + T

A rate of C calls in S seconds with a burst of B calls has T = S / C and tau = (B - 1) T, so at most
B + w C / S calls are admitted in any window of w seconds. Times are microseconds as floating-point numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

LimitRule = Literal[
    "rate-tool",
    "rate-tenant",
    "rate-plan",
    "quota-plan",
    "concurrency-tool",
    "concurrency-backend",
    "limits-unavailable",
]
WhenDown = Literal["refuse", "local"]

EPOCH = 1_767_225_600
"""2026-01-01 in Unix time. Microseconds since then leave a floating-point number room for fractions of one."""
SLACK = 1.0
"""Microseconds by which a call may be early: the resolution of a server's clock."""
BUSY_RETRY = 1.0
"""Seconds after which to ask again for a slot. When one comes free, nobody knows."""


class LimitReached(Exception):
    """Nothing was taken. The text is for a model: what is used up, and how long to wait."""

    def __init__(self, rule: LimitRule, retry_after: float, text: str) -> None:
        super().__init__(text)
        self.rule: LimitRule = rule
        self.retry_after = retry_after
        """Seconds."""
        self.text = text


@dataclass(frozen=True, slots=True)
class Law:
    """How much one key may use, and what is said when it is used up."""

    rule: LimitRule
    what: str
    """A sentence without its end: what is used up."""
    interval: float = 0.0
    """Microseconds between two calls in the long run."""
    tolerance: float = 0.0
    """Microseconds by which calls may be early: what a burst takes."""
    limit: int = 0
    """Calls of a quota, or at the same time."""


# Named tuples, since some are made for each call, and a frozen dataclass takes three times as long to make.


class Charge(NamedTuple):
    """One call, charged to a rate."""

    key: str
    law: Law


class Quota(NamedTuple):
    """One call of so many in a calendar span. The span is in the key, so nothing is ever set back."""

    key: str
    law: Law
    ends: float
    """When the span ends, in Unix time."""


class Slot(NamedTuple):
    """One call of those that run at the same time."""

    key: str
    law: Law
    lease: float
    """Seconds after which it comes free by itself: longer than any call, and there for processes that die."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that was admitted. Give it back when the call is over."""

    id: str = ""
    slots: Sequence[Slot] = ()
    local: bool = False
    """Whether it was counted in this process while the shared store could not be reached."""


ADMITTED = Admission()
"""An admission that holds no slot; there is nothing to give back."""


class Store(Protocol):
    """Counts."""

    async def take(
        self, charges: Sequence[Charge], quotas: Sequence[Quota] = (), slots: Sequence[Slot] = ()
    ) -> Admission:
        """Takes all, or raises `LimitReached` and takes nothing."""

    async def release(self, admission: Admission) -> None:
        """Gives the slots back. Safe to call twice, and in a task that is being cancelled."""

    @property
    def works(self) -> bool:
        """Whether limits are counted where they should be."""

    async def close(self) -> None:
        """Ends connections."""


def rate_law(rule: LimitRule, what: str, calls: float, seconds: float, burst: float | None = None) -> Law:
    """The law of `calls` in `seconds`.

    Where no burst is declared, the whole allowance may come at once: a caller who makes all calls of a
    span at its beginning keeps to what was declared, and is not refused.
    """
    interval = seconds * 1e6 / calls
    burst = max(1.0, calls if burst is None else burst)
    return Law(rule, what, interval=interval, tolerance=(burst - 1) * interval)


def refusal(item: Charge | Quota | Slot, wait: float) -> LimitReached:
    """What is answered when `item` is used up for `wait` more microseconds, in whole milliseconds."""
    seconds = -(-wait // 1000) / 1000
    if isinstance(item, Quota):
        begins = datetime.fromtimestamp(item.ends, UTC)
        when = f"It begins anew on {begins:%Y-%m-%d} at 00:00 UTC."
    else:
        whole = max(1, int(-(-seconds // 1)))
        when = f"Call again in {whole} second{'' if whole == 1 else 's'}."
    return LimitReached(item.law.rule, seconds, f"Nothing was called. {item.law.what}. {when}")
