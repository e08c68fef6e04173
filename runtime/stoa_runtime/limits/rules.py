"""What a request is charged to: the keys and laws of one bundle, made ready when it is loaded.

Every key is made of what a token was verified to say and of what the bundle holds. Nothing that a client can
write into a header or an argument has a part in one.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from stoa_runtime.bundles import PreparedTool, Snapshot, Tenant
from stoa_runtime.limits.charges import Charge, Law, LimitRule, Quota, Slot, rate_law
from stoa_runtime.platform_tools import PLATFORM_TOOLS, PlatformTool
from stoa_runtime.principals import Principal
from stoa_schemas import bundle

UNKNOWN_RATE = bundle.RateLimit(calls=60, seconds=60)
"""Calls of tools that do not exist for their caller, over all names together."""
PLATFORM_TOOL_RATE = bundle.RateLimit(calls=120, seconds=60)
"""Calls that one of the platform's own tools takes from one caller."""
LEASE_SPARE = 30.0
"""Seconds that a slot is kept beyond the longest time that its backend may take."""

_DAY = 86_400
_SPANS = {1: "a second", 60: "a minute", 3600: "an hour", _DAY: "a day"}

Taken = tuple[tuple[Charge, ...], tuple[Quota, ...], tuple[Slot, ...]]
"""What one call takes."""


@dataclass(frozen=True, slots=True)
class _Tool:
    prefix: str
    """The key without its caller."""
    law: Law
    contract: str
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True, slots=True)
class _Subscription:
    expires: str | None
    charge: Charge
    quota: Law | None
    prefix: str
    """The quota's key without its span."""
    monthly: bool


@dataclass(frozen=True, slots=True)
class _Today:
    """The calendar spans that hold until the day ends."""

    until: float
    day: str
    month: str
    month_ends: float


def key(*parts: str) -> str:
    """One text for several, never the same for different ones, whatever they hold."""
    return "|".join(_part(part) for part in parts)


def _part(text: str) -> str:
    return text.replace("%", "%25").replace("|", "%7C") if "%" in text or "|" in text else text


@dataclass(frozen=True, slots=True)
class _Tenant:
    """What one tenant declares."""

    charges: tuple[Charge, ...]
    tools: Mapping[str, _Tool]
    plans: Mapping[tuple[str, str], tuple[_Subscription, ...]]
    """By client and contract."""


class LimitRules:
    """The limits of one snapshot. Those of a tenant are made when somebody first meets them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._root = ("stoa", snapshot.index.name, snapshot.index.environment)
        """Environments may share a store, and a new bundle goes on with the counts of the last."""
        self._tenants: dict[str, _Tenant] = {}
        self._own: dict[str, _Tool] = {}
        for own in PLATFORM_TOOLS:
            what = f"`{own.name}` takes {{}} from one caller, and they are used up"
            law = _law("rate-tool", what, PLATFORM_TOOL_RATE)
            self._own[own.name] = _Tool(self._key("platform-tool", own.name) + "|", law, "")
        what = "Too many calls of tools that do not exist for you; tools/list gives those that do"
        self._unknown = _Tool(self._key("unknown") + "|", _law("rate-tool", what, UNKNOWN_RATE), "")
        self._today = _Today(0.0, "", "", 0.0)

    def request_charges(self, principal: Principal) -> tuple[Charge, ...]:
        """What every request is charged to: the tenant's rate. The platform's own people have no tenant."""
        return () if principal.is_platform else self._of(principal.tenant).charges

    def call_charges(self, principal: Principal, tool: PreparedTool | PlatformTool | None, now: float) -> Taken:
        """What a call is charged to at `now`, in Unix time. None: a tool that does not exist for this caller.

        A person's own rate is counted by subject, so that a second client gives no second allowance; a
        subscription's by client, since it is the application that has subscribed.
        """
        if tool is None:
            entry = self._unknown
        elif isinstance(tool, PreparedTool):
            entry = self._of(tool.tenant).tools[tool.declared.id]
        else:
            entry = self._own[tool.name]
        own = Charge(f"{entry.prefix}{_part(principal.tenant)}|{_part(principal.subject)}", entry.law)
        if principal.contracts is None or not entry.contract:
            return (own,), (), entry.slots
        subscribed = self._of(principal.tenant).plans.get((principal.client, entry.contract))
        if subscribed is None:
            return (own,), (), entry.slots
        if now >= self._today.until or now < self._today.until - _DAY:
            self._today = _spans(now)
        today = self._today
        charges, quotas = [own], []
        for subscription in subscribed:
            if subscription.expires is not None and subscription.expires < today.day:
                continue
            charges.append(subscription.charge)
            if subscription.quota is not None:
                span, ends = (today.month, today.month_ends) if subscription.monthly else (today.day, today.until)
                quotas.append(Quota(subscription.prefix + span, subscription.quota, ends))
        return tuple(charges), tuple(quotas), entry.slots

    def _of(self, name: str) -> _Tenant:
        made = self._tenants.get(name)
        if made is None:
            made = self._tenants[name] = self._tenant(name, self._snapshot.tenants[name])
        return made

    def _tenant(self, name: str, tenant: Tenant) -> _Tenant:
        what = f"All callers of `{name}` together may make {{}}, and they are used up"
        plans: dict[tuple[str, str], tuple[_Subscription, ...]] = {}
        for consumer in tenant.catalog.consumers:
            for subscription in consumer.subscriptions:
                at = (consumer.client_id, subscription.contract)
                made = self._subscription(name, consumer.client_id, subscription, tenant.catalog.plans)
                plans[at] = (*plans.get(at, ()), made)
        return _Tenant(
            charges=(Charge(self._key("tenant", name), _law("rate-tenant", what, tenant.catalog.rate)),),
            tools={tool.declared.id: self._tool(tool) for tool in tenant.tools.values()},
            plans=plans,
        )

    def _key(self, *parts: str) -> str:
        return key(*self._root, *parts)

    def _tool(self, tool: PreparedTool) -> _Tool:
        declared, backend = tool.declared, tool.contract.backend
        lease = backend.total_ms / 1000 + LEASE_SPARE
        slots = []
        if declared.rate.concurrency is not None:
            what = f"{declared.rate.concurrency} calls of `{declared.id}` are running, and it takes no more at a time"
            law = Law("concurrency-tool", what, limit=declared.rate.concurrency)
            slots.append(Slot(self._key("tool-slots", declared.id), law, lease))
        if backend.concurrency is not None:
            name = f"{tool.tenant}:{tool.contract.name}"
            what = f"{backend.concurrency} calls of `{name}` are running, and its backend takes no more at a time"
            law = Law("concurrency-backend", what, limit=backend.concurrency)
            slots.append(Slot(self._key("backend-slots", tool.tenant, tool.contract.name), law, lease))
        what = f"`{declared.id}` takes {{}} from one caller, and they are used up"
        law = _law("rate-tool", what, declared.rate)
        return _Tool(self._key("tool", declared.id) + "|", law, tool.contract.name, tuple(slots))

    def _subscription(
        self, tenant: str, client: str, declared: bundle.SubscriptionEntry, plans: Mapping[str, bundle.PlanEntry]
    ) -> _Subscription:
        plan = plans[declared.plan]
        who = f"The subscription `{declared.name}` (plan `{declared.plan}`) takes"
        what = f"{who} {{}}, {plan.burst} at once, and they are used up"
        quota = None
        if plan.quota_calls is not None:
            # The environment's factor may leave a fraction; it never takes away the last call.
            calls = max(1, int(round(plan.quota_calls, 6)))
            quota = Law("quota-plan", f"{who} {calls} calls a {plan.quota_per}, and they are used up", limit=calls)
        return _Subscription(
            expires=declared.expires,
            charge=Charge(
                self._key("plan", tenant, declared.contract, client),
                _law("rate-plan", what, plan.rate, plan.burst),
            ),
            quota=quota,
            prefix=self._key("quota", tenant, declared.contract, client) + "|",
            monthly=plan.quota_per == "month",
        )


def _law(rule: LimitRule, what: str, rate: bundle.RateLimit, burst: int | None = None) -> Law:
    span = _SPANS.get(rate.seconds, f"in {rate.seconds} seconds")
    return rate_law(rule, what.format(f"{rate.calls:.10g} calls {span}"), rate.calls, rate.seconds, burst)


def _spans(now: float) -> _Today:
    """The day and the month in UTC that `now` lies in. A UTC day always has 86400 seconds of Unix time."""
    date = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
    following = datetime.date(date.year + date.month // 12, date.month % 12 + 1, 1)
    return _Today(
        until=(now // _DAY + 1) * _DAY,
        day=date.isoformat(),
        month=date.isoformat()[:7],
        month_ends=datetime.datetime.combine(following, datetime.time(), datetime.UTC).timestamp(),
    )
