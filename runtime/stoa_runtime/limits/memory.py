"""A store for one process: dictionaries, no background task, memory only for what still counts."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from stoa_runtime.limits.charges import (
    ADMITTED,
    BUSY_RETRY,
    EPOCH,
    SLACK,
    Admission,
    Charge,
    Quota,
    Slot,
    refusal,
)

LOOKED_AT = 2
"""Old entries that are looked at for each new one. Two of them keep what has lapsed below what has not."""


class MemoryStore:
    """Counts in this process. Each operation takes the same time however many keys there are."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._arrivals: dict[str, float] = {}
        """Theoretical arrival times. One that has passed says nothing more."""
        self._used: dict[str, tuple[int, float]] = {}
        """Calls of each quota, and when its span ends."""
        self._running: dict[str, dict[str, float]] = {}
        """For each key of slots: admissions, and when their leases end."""
        self._old: deque[str] = deque()
        """Keys of the first two in the order in which they are looked at again."""
        self._count = 0

    @property
    def works(self) -> bool:
        """True: there is nothing outside that could fail."""
        return True

    def __len__(self) -> int:
        """Entries kept."""
        return len(self._arrivals) + len(self._used) + len(self._running)

    def take_now(
        self, charges: Sequence[Charge], quotas: Sequence[Quota] = (), slots: Sequence[Slot] = ()
    ) -> Admission:
        """Takes all, or raises `LimitReached` for the one that has to be waited for longest, and takes nothing."""
        now = (self._clock() - EPOCH) * 1e6
        arrivals = self._arrivals
        longest = 0.0
        refused: Charge | Quota | Slot | None = None
        taken: list[float] = []
        for charge in charges:
            law = charge.law
            known = arrivals.get(charge.key)
            if known is None or known <= now:
                arrival = now
            else:
                # More than a full burst and one call is no one's debt: the law has changed, or the clock was set back.
                arrival = min(known, now + law.tolerance + law.interval)
                wait = arrival - law.tolerance - now
                if wait > SLACK and wait > longest:
                    longest, refused = wait, charge
            taken.append(arrival + law.interval)
        for quota in quotas:
            used, _ = self._used.get(quota.key, (0, 0.0))
            if used >= quota.law.limit:
                wait = max((quota.ends - EPOCH) * 1e6 - now, SLACK)
                if wait > longest:
                    longest, refused = wait, quota
        for slot in slots:
            running = self._running.get(slot.key)
            if running is None:
                continue
            _lapse(running, now)
            if len(running) >= slot.law.limit and longest < BUSY_RETRY * 1e6:
                longest, refused = BUSY_RETRY * 1e6, slot
        if refused is not None:
            raise refusal(refused, longest)
        for charge, arrival in zip(charges, taken, strict=True):
            if charge.key not in arrivals:
                self._sweep(now)
                self._old.append(charge.key)
            arrivals[charge.key] = arrival
        for quota in quotas:
            known_use = self._used.get(quota.key)
            if known_use is None:
                self._sweep(now)
                self._old.append(quota.key)
            self._used[quota.key] = ((known_use[0] if known_use else 0) + 1, (quota.ends - EPOCH) * 1e6)
        if not slots:
            return ADMITTED
        self._count += 1
        admission = Admission(str(self._count), slots)
        for slot in slots:
            self._running.setdefault(slot.key, {})[admission.id] = now + slot.lease * 1e6
        return admission

    def release_now(self, admission: Admission) -> None:
        """Gives the slots back."""
        for slot in admission.slots:
            running = self._running.get(slot.key)
            if running is not None:
                running.pop(admission.id, None)
                if not running:
                    del self._running[slot.key]

    async def take(
        self, charges: Sequence[Charge], quotas: Sequence[Quota] = (), slots: Sequence[Slot] = ()
    ) -> Admission:
        """The same as `take_now`."""
        return self.take_now(charges, quotas, slots)

    async def release(self, admission: Admission) -> None:
        """The same as `release_now`."""
        self.release_now(admission)

    async def close(self) -> None:
        """Forgets everything."""
        self._arrivals.clear()
        self._used.clear()
        self._running.clear()
        self._old.clear()

    def _sweep(self, now: float) -> None:
        """Looks at the keys that were longest not looked at, and forgets those that say nothing more."""
        for _ in range(min(LOOKED_AT, len(self._old))):
            key = self._old.popleft()
            arrival = self._arrivals.get(key)
            ends = arrival if arrival is not None else self._used[key][1]
            if ends <= now:
                self._arrivals.pop(key, None)
                self._used.pop(key, None)
            else:
                self._old.append(key)


def _lapse(running: dict[str, float], now: float) -> None:
    """Drops leases that have ended. One key's leases are equally long, so the oldest ends first."""
    while running:
        oldest = next(iter(running))
        if running[oldest] > now:
            return
        del running[oldest]
