"""What a bundle's limits make of recorded calls: the runtime's algorithm, by recorded times instead of a clock.

Rates are kept by the Generic Cell Rate Algorithm (ITU-T I.371, A.1), quotas by calendar spans in UTC, and calls at the
same time by how long each took. As with access, a test runs the runtime's own store beside this one.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from heapq import heappop, heappush
from typing import Any, NamedTuple

from stoa_compiler.records import record
from stoa_compiler.replay.access import Access, Caller
from stoa_schemas import bundle
from stoa_schemas.names import PLATFORM_TENANT

EPOCH = 1_767_225_600
SLACK = 1.0
BUSY = 1e6
UNKNOWN_RATE = bundle.RateLimit(calls=60, seconds=60)
PLATFORM_TOOL_RATE = bundle.RateLimit(calls=120, seconds=60)
LEASE_SPARE = 30.0
"""All of these are the runtime's."""
_DAY = 86_400
_SPANS = {1: "a second", 60: "a minute", 3600: "an hour", _DAY: "a day"}

Key = tuple[str, ...]


@record
class Law:
    """How much one key may use."""

    rule: str
    words: str
    interval: float = 0.0
    tolerance: float = 0.0
    limit: int = 0
    span: float = 0.0
    """Seconds over which a peak is told."""


class Charge(NamedTuple):
    """One call, charged to a rate."""

    key: Key
    law: Law


class Quota(NamedTuple):
    """One call of so many in a calendar span."""

    key: Key
    law: Law
    ends: float


class Slot(NamedTuple):
    """One call of those at the same time."""

    key: Key
    law: Law
    lease: float


class Taken(NamedTuple):
    """What a call takes."""

    charges: tuple[Charge, ...]
    quotas: tuple[Quota, ...] = ()
    slots: tuple[Slot, ...] = ()


class Counts:
    """What was taken until now."""

    def __init__(self) -> None:
        self._arrivals: dict[Key, float] = {}
        self._used: dict[Key, int] = {}
        self._running: dict[Key, list[float]] = {}

    def take(self, at: float, taken: Taken, seconds: float = 0.0) -> Charge | Quota | Slot | None:
        """None where everything was taken; else what has to be waited for longest, and nothing was."""
        now = (at - EPOCH) * 1e6
        longest, refused = 0.0, None  # type: float, Charge | Quota | Slot | None
        following: list[float] = []
        for charge in taken.charges:
            law, known = charge.law, self._arrivals.get(charge.key)
            arrival = now
            if known is not None and known > now:
                arrival = min(known, now + law.tolerance + law.interval)
                wait = arrival - law.tolerance - now
                if wait > SLACK and wait > longest:
                    longest, refused = wait, charge
            following.append(arrival + law.interval)
        for quota in taken.quotas:
            if self._used.get(quota.key, 0) >= quota.law.limit:
                wait = max((quota.ends - EPOCH) * 1e6 - now, SLACK)
                if wait > longest:
                    longest, refused = wait, quota
        for slot in taken.slots:
            running = self._running.get(slot.key)
            while running and running[0] <= now:
                heappop(running)
            if running and len(running) >= slot.law.limit and longest < BUSY:
                longest, refused = BUSY, slot
        if refused is not None:
            return refused
        for charge, arrival in zip(taken.charges, following, strict=True):
            self._arrivals[charge.key] = arrival
        for quota in taken.quotas:
            self._used[quota.key] = self._used.get(quota.key, 0) + 1
        for slot in taken.slots:
            heappush(self._running.setdefault(slot.key, []), now + min(seconds, slot.lease) * 1e6)
        return None


class Laws:
    """What a bundle charges calls to."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._made: dict[Key, Any] = {}

    def request(self, tenant: str) -> Taken:
        """What every request of a tenant takes; the platform's own people have none."""
        found = self._access.tenant(tenant) if tenant != PLATFORM_TENANT else None
        if found is None:
            return Taken(())
        rate = found.catalog.rate
        law = self._once(("tenant", tenant), lambda: _law("rate-tenant", f"all callers of `{tenant}` together", rate))
        return Taken((Charge(("tenant", tenant), law),))

    def call(self, caller: Caller, tool: bundle.Tool | str | None, at: float) -> Taken:
        """What a call takes; None: a tool that does not exist for the caller."""
        who = (caller.tenant, caller.subject)
        if tool is None:
            law = self._once(
                ("unknown",), lambda: _law("rate-tool", "tools that do not exist for a caller", UNKNOWN_RATE)
            )
            return Taken((Charge(("unknown", *who), law),))
        if isinstance(tool, str):
            law = self._once(("own", tool), lambda: _law("rate-tool", f"`{tool}` from one caller", PLATFORM_TOOL_RATE))
            return Taken((Charge(("own", tool, *who), law),))
        law = self._once(("tool", tool.id), lambda: _law("rate-tool", f"`{tool.id}` from one caller", tool.rate))
        own = Charge(("tool", tool.id, *who), law)
        slots = self._once(("slots", tool.id), lambda: self._slots(tool))
        if caller.contracts is None:
            return Taken((own,), (), slots)
        charges, quotas = [own], []
        tenant = self._access.tenant(caller.tenant)
        consumer = tenant.consumers.get(caller.client) if tenant is not None else None
        if tenant is None or consumer is None:
            return Taken((own,), (), slots)
        moment = datetime.fromtimestamp(at, UTC)
        day = moment.date().isoformat()
        for subscription in consumer.subscriptions:
            if subscription.contract != tool.contract or (subscription.expires or day) < day:
                continue
            plan = tenant.catalog.plans[subscription.plan]
            charge, quota = self._once(
                ("plan", caller.tenant, caller.client, subscription.name), lambda s=subscription, p=plan: _plan(s, p)
            )
            at_key = (caller.tenant, subscription.contract, caller.client)
            charges.append(Charge(("plan", *at_key), charge))
            if quota is not None:
                span, ends = _span(moment, plan.quota_per == "month")
                quotas.append(Quota(("quota", *at_key, span), quota, ends))
        return Taken(tuple(charges), tuple(quotas), slots)

    def _slots(self, tool: bundle.Tool) -> tuple[Slot, ...]:
        owner = tool.id.partition(":")[0]
        tenant = self._access.tenant(owner)
        assert tenant is not None
        backend = tenant.contracts[tool.contract].backend
        lease, slots = backend.total_ms / 1000 + LEASE_SPARE, []
        if tool.rate.concurrency is not None:
            law = Law(
                "concurrency-tool", f"`{tool.id}`: {tool.rate.concurrency} at a time", limit=tool.rate.concurrency
            )
            slots.append(Slot(("tool-slots", tool.id), law, lease))
        if backend.concurrency is not None:
            words = f"the backend of `{owner}:{tool.contract}`: {backend.concurrency} at a time"
            law = Law("concurrency-backend", words, limit=backend.concurrency)
            slots.append(Slot(("backend-slots", owner, tool.contract), law, lease))
        return tuple(slots)

    def _once(self, key: Key, make: Any) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def _plan(subscription: bundle.SubscriptionEntry, plan: bundle.PlanEntry) -> tuple[Law, Law | None]:
    who = f"the subscription `{subscription.name}` (plan `{subscription.plan}`)"
    quota = None
    if plan.quota_calls is not None:
        calls = max(1, int(round(plan.quota_calls, 6)))
        quota = Law("quota-plan", f"{who}: {calls} calls a {plan.quota_per}", limit=calls)
    return _law("rate-plan", who, plan.rate, plan.burst), quota


def _law(rule: str, who: str, rate: bundle.RateLimit, burst: int | None = None) -> Law:
    interval = rate.seconds * 1e6 / rate.calls
    room = max(1.0, rate.calls if burst is None else burst)
    words = f"{who}: {rate.calls:.10g} calls {_SPANS.get(rate.seconds, f'in {rate.seconds} seconds')}"
    if burst is not None:
        words += f", {burst} at once"
    return Law(rule, words, interval, (room - 1) * interval, span=float(rate.seconds))


def _span(moment: datetime, monthly: bool) -> tuple[str, float]:
    """A calendar span in UTC, and when it ends in Unix time."""
    today = moment.date()
    if monthly:
        following = date(today.year + today.month // 12, today.month % 12 + 1, 1)
        return today.isoformat()[:7], datetime.combine(following, time(), UTC).timestamp()
    return today.isoformat(), (datetime.combine(today, time(), UTC).timestamp() // _DAY + 1) * _DAY


def peak(times: Sequence[float], span: float) -> int:
    """The most calls in any window of `span` seconds."""
    most = start = 0
    for end, at in enumerate(times):
        while times[start] <= at - span:
            start += 1
        most = max(most, end - start + 1)
    return most
