"""Charges, quotas and slots as tests want them, and a clock that is set by hand."""

from dataclasses import dataclass

from stoa_runtime.limits.charges import Charge, Law, LimitRule, Quota, Slot, rate_law

START = 1_800_000_000.0


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


def charge(
    key: str, calls: float, seconds: float = 1, burst: float | None = None, rule: LimitRule = "rate-tool"
) -> Charge:
    return Charge(key, rate_law(rule, f"`{key}` is used up", calls, seconds, burst))


def quota(key: str, limit: int, ends: float) -> Quota:
    return Quota(key, Law("quota-plan", f"`{key}` is used up", limit=limit), ends)


def slot(key: str, limit: int, lease: float = 60.0) -> Slot:
    return Slot(key, Law("concurrency-tool", f"`{key}` is busy", limit=limit), lease)
