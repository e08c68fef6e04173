"""Replay's rule beside the runtime's: both decide the same calls of generated callers by generated bundles, in turn.

The compiler does not import the runtime, so the rule stands twice; here it is one.
"""

import datetime
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stoa_compiler.replay import access as replayed_access
from stoa_compiler.replay import limits as replayed_limits
from stoa_compiler.replay.callers import Person
from stoa_compiler.replay.comparison import Verdict, decided
from stoa_compiler.replay.recorded import Call
from stoa_runtime import bundles
from stoa_runtime.access import Access
from stoa_runtime.bundles import PreparedTool
from stoa_runtime.limits import LimitReached, LimitRules, MemoryStore, charges, rules
from stoa_runtime.platform_tools import PLATFORM_TOOLS
from stoa_runtime.principals import PrincipalRefused, principal
from stoa_schemas import bundle
from tests.runtime import world

TENANTS, CONTRACTS, OPERATIONS = ("ioi", "greg"), ("a", "b"), ("get", "drop")
ROLES = {"dev": "tenant", "view": "tenant", "boss": "platform"}
PERMISSIONS = ("catalog:read", "posture:read", "approvals:decide", "tools:read")
NOON = 1_790_000_000.0
NAMES = [f"{t}_{c}_{o}" for t in TENANTS for c in CONTRACTS for o in OPERATIONS]
ASKED = [
    *NAMES,
    "ioi_a_gone",
    "gone_a_get",
    "ioi_zzz_get",
    "nonsense",
    "stoa_nothing",
    *(t.name for t in PLATFORM_TOOLS),
]
CLIENTS = ("claude", "ioi.shop", "greg.desk", "ioi.gone")

rates = st.builds(
    bundle.RateLimit,
    calls=st.sampled_from([1, 3.5, 50, 50]),
    seconds=st.sampled_from([1, 60]),
    concurrency=st.sampled_from([None, 1, 2]),
)
plans = st.builds(
    bundle.PlanEntry,
    rate=rates,
    burst=st.sampled_from([1, 3, 50]),
    quota_calls=st.sampled_from([None, 0.4, 2, 2]),
    quota_per=st.sampled_from(["day", "month"]),
)


@st.composite
def bundles_written(draw: st.DrawFn) -> tuple[bundle.PlatformIndex, dict[str, bundle.Catalog]]:
    """An index and two catalogs, of which one may lack tools, roles and consumers."""
    catalogs = {}
    for tenant in TENANTS:
        contracts = [
            world.contract(c, "http://127.0.0.1:9", concurrency=draw(st.sampled_from([None, 1]))) for c in CONTRACTS
        ]
        tools = []
        for c in CONTRACTS:
            for o in OPERATIONS:
                if draw(st.integers(0, 4)):
                    made = world.tool(tenant, c, o, "GET", "/x", approval=draw(st.booleans()))
                    tools.append(made.model_copy(update={"rate": draw(rates)}))
        named = [t.name for t in tools]
        table = {
            role: named if draw(st.integers(0, 2)) else sorted(draw(st.sets(st.sampled_from(named))))
            for role in ROLES
            if named and draw(st.integers(0, 4))
        }
        consumers = []
        for client in CLIENTS[1:3]:
            if client.startswith(tenant) and draw(st.integers(0, 5)):
                subscriptions = [
                    bundle.SubscriptionEntry(
                        name=f"s{n}",
                        contract=draw(st.sampled_from(CONTRACTS)),
                        plan=draw(st.sampled_from(["small", "large"])),
                        expires=draw(st.sampled_from([None, "2026-09-20", "2026-09-21", "2026-09-22"])),
                    )
                    for n in range(draw(st.sampled_from([0, 2, 3, 4])))
                ]
                consumers.append(
                    bundle.ConsumerEntry(client_id=client, display_name=client, actors=[], subscriptions=subscriptions)
                )
        catalogs[tenant] = world.catalog(
            tenant,
            contracts,
            tools,
            access=table,
            consumers=consumers,
            plans={"small": draw(plans), "large": draw(plans)},
            rate=bundle.RateLimit(calls=draw(st.sampled_from([4, 500])), seconds=60),
        )
    if draw(st.integers(0, 4)) == 0:
        del catalogs["greg"]
    roles = {
        name: bundle.RoleEntry(scope=scope, permissions=sorted(draw(st.sets(st.sampled_from(PERMISSIONS)))))
        for name, scope in ROLES.items()
    }
    return world.index("http://127.0.0.1:9/jwks", catalogs, roles=roles), catalogs


@dataclass(frozen=True)
class Asked:
    """A call that is made."""

    after: float
    """Seconds since the one before."""
    tenant: str
    subject: str
    roles: tuple[str, ...]
    client: str
    name: str
    seconds: float


PEOPLE = st.tuples(
    st.sampled_from([*TENANTS, *TENANTS, "platform", "gone"]),
    st.sampled_from(["p1", "p2"]),
    st.sampled_from([("dev",), ("view",), ("boss",), ("dev", "boss", "unheard-of"), ("dev", "view"), ()]),
)


@st.composite
def sequences(draw: st.DrawFn) -> list[Asked]:
    """Calls of a few people who do the same things over and over. A subject always has the same roles."""
    people = draw(st.lists(PEOPLE, min_size=1, max_size=3, unique_by=lambda p: (p[0], p[1])))
    habits = []
    for _ in range(draw(st.integers(1, 3))):
        tenant, subject, roles = draw(st.sampled_from(people))
        own = [n for n in NAMES if n.startswith(tenant)] or NAMES
        apps = [c for c in CLIENTS[1:3] if c.startswith(tenant)] or list(CLIENTS)
        client = draw(st.sampled_from(["claude", *apps, *apps, *apps, "ioi.gone"]))
        name = draw(st.one_of(st.sampled_from(own), st.sampled_from(own), st.sampled_from(ASKED)))
        habits.append((tenant, subject, roles, client, name))
    moments = st.tuples(
        st.sampled_from(habits),
        st.sampled_from([0.0, 0.0, 0.25, 1.0, 20.0, 61.0, 43_200.0, 2_592_000.0]),
        st.sampled_from([0.0, 0.5, 30.0]),
    )
    return [Asked(after, *habit, seconds) for habit, after, seconds in draw(st.lists(moments, min_size=4, max_size=30))]


@dataclass
class Runtime:
    """The runtime's steps of a call, with its own code and a clock that is set."""

    snapshot: bundles.Snapshot
    now: float = 0.0
    running: list[tuple[float, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.access, self.rules = Access(self.snapshot), LimitRules(self.snapshot)
        self.store = MemoryStore(lambda: self.now)

    def answer(self, at: float, asked: Asked) -> tuple[str, str]:
        """What comes of the call, and the limit that refuses it."""
        self.now = at
        for end, admission in [r for r in self.running if r[0] <= at]:
            self.store.release_now(admission)
            self.running.remove((end, admission))
        claims = {"sub": asked.subject, "tenant": asked.tenant, "roles": list(asked.roles), "azp": asked.client}
        today = datetime.datetime.fromtimestamp(at, datetime.UTC).date()
        try:
            who = principal(claims, self.snapshot, today)
            self.store.take_now(self.rules.request_charges(who))
            tool = self.access.view(who).tools.get(asked.name)
            admission = self.store.take_now(*self.rules.call_charges(who, tool, at))
        except PrincipalRefused:
            return "refused", "principal"
        except LimitReached as reached:
            return "refused", reached.rule
        self.running.append((at + asked.seconds, admission))
        if tool is None:
            return "refused", "unseen"
        approval = isinstance(tool, PreparedTool) and tool.declared.approval
        return ("approval", "approval") if approval else ("allowed", "granted")


class Known:
    """Everybody, as a bundle would know them."""

    open_groups: frozenset[str] = frozenset()

    def __init__(self, sequence: list[Asked]) -> None:
        self._roles = {(a.tenant, a.subject): frozenset(a.roles) for a in sequence}

    def of(self, subject: str, client: str, tenant: str) -> Person | None:
        return Person(subject, tenant, self._roles[tenant, subject])


def recorded(sequence: list[Asked]) -> Iterator[Call]:
    """The lines that the runtime would write of the calls."""
    at = NOON
    for number, asked in enumerate(sequence, 1):
        at += asked.after
        time = datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()
        yield Call(
            at, "/stoa/demo/dev/0", number, time, "allowed", "granted", asked.subject, asked.tenant, asked.client,
            None, asked.name, False, None, asked.seconds, "sha256:0", True,
        )  # fmt: skip


UNSEEN = {"tool-gone", "tenant-gone", "role", "permission", "subscription", "other-tenant"}


@settings(
    max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, phases=[Phase.generate]
)
@given(bundles_written(), sequences())
def test_both_decide_alike(written: tuple[bundle.PlatformIndex, dict[str, bundle.Catalog]], made: list[Asked]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = world.write_bundle(Path(scratch) / "bundle", *written)
        runtime = Runtime(bundles.load(folder))
        replayed = decided(recorded(made), replayed_access.Access(folder), Known(made))
        for asked, one in zip(made, replayed, strict=True):
            after, rule = runtime.answer(one.call.at, asked)
            verdict: Verdict = one.verdict
            assert verdict.after == after, (asked, verdict, rule)
            if rule == "principal":
                assert verdict.code in ("tenant-gone", "client-gone")
            elif rule == "unseen" or verdict.code in UNSEEN:
                # An unseen tool is refused either way; which reason is told may differ from the one that came first.
                assert verdict.code in UNSEEN
                assert rule in ("unseen", "rate-tenant", "rate-tool")
            else:
                assert verdict.code == rule


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (replayed_limits.EPOCH, charges.EPOCH),
        (replayed_limits.SLACK, charges.SLACK),
        (replayed_limits.BUSY, charges.BUSY_RETRY * 1e6),
        (replayed_limits.UNKNOWN_RATE, rules.UNKNOWN_RATE),
        (replayed_limits.PLATFORM_TOOL_RATE, rules.PLATFORM_TOOL_RATE),
        (replayed_limits.LEASE_SPARE, rules.LEASE_SPARE),
    ],
)
def test_constants_are_the_runtimes(ours: object, theirs: object) -> None:
    assert ours == theirs


def test_a_subscription_that_ended_charges_nothing_beside_one_that_goes_on(tmp_path: Path) -> None:
    tools = [world.tool("ioi", "a", "get", "GET", "/x")]
    entry = bundle.SubscriptionEntry
    shop = bundle.ConsumerEntry(
        client_id="ioi.shop",
        display_name="Shop",
        actors=[],
        subscriptions=[
            entry(name="ended", contract="a", plan="small", expires="2026-09-20"),
            entry(name="on", contract="a", plan="large"),
        ],
    )
    limits = {"small": bundle.RateLimit(calls=1, seconds=60), "large": bundle.RateLimit(calls=100, seconds=60)}
    declared = {name: bundle.PlanEntry(rate=rate, burst=int(rate.calls)) for name, rate in limits.items()}
    catalogs = {
        "ioi": world.catalog(
            "ioi",
            [world.contract("a", "http://127.0.0.1:9")],
            tools,
            access={"dev": ["ioi_a_get"]},
            consumers=[shop],
            plans=declared,
        )
    }
    roles = {"dev": bundle.RoleEntry(scope="tenant", permissions=[])}
    folder = world.write_bundle(tmp_path, world.index("http://127.0.0.1:9/jwks", catalogs, roles=roles), catalogs)
    made = [Asked(1.0, "ioi", "p1", ("dev",), "ioi.shop", "ioi_a_get", 0.0)] * 3
    runtime = Runtime(bundles.load(folder))
    for one in decided(recorded(made), replayed_access.Access(folder), Known(made)):
        assert runtime.answer(one.call.at, made[0]) == (one.verdict.after, one.verdict.code) == ("allowed", "granted")
