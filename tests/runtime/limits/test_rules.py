"""Which keys a request is charged to: from the verified caller and the bundle, and from nothing else."""

import datetime
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoa_runtime import bundles
from stoa_runtime.limits import Admission, LimitReached, LimitRules, MemoryStore
from stoa_runtime.limits.rules import LEASE_SPARE, key
from stoa_runtime.platform_tools import PLATFORM_TOOLS
from stoa_runtime.principals import Principal
from stoa_schemas import bundle
from tests.runtime import world
from tests.runtime.limits.counting import Clock

SHOP = "ioi.shop"
PERSON = Principal(
    subject="parzival",
    tenant="ioi",
    roles=frozenset({"devops"}),
    permissions=frozenset(),
    client=world.CLIENT,
    contracts=None,
)


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: float = 0) -> float:
    return datetime.datetime(year, month, day, hour, minute, tzinfo=datetime.UTC).timestamp() + second


NOW = at(2026, 11, 24, 12)


def catalogs(**plan: Any) -> dict[str, bundle.Catalog]:
    """The world's, with a contract whose tools and backend take few calls at a time, and a plan."""
    made = world.catalogs("http://127.0.0.1:9")
    ioi = made["ioi"]
    rate = bundle.RateLimit(calls=3, seconds=60, concurrency=2)
    tools = [t.model_copy(update={"rate": rate}) if t.id == "ioi:inventory:list_items" else t for t in ioi.tools]
    contracts = [
        c.model_copy(update={"backend": c.backend.model_copy(update={"concurrency": 5})})
        if c.name == "inventory"
        else c
        for c in ioi.contracts
    ]
    small = {"rate": bundle.RateLimit(calls=60, seconds=60), "burst": 4, "quota_calls": 7.0, "quota_per": "month"}
    plans = {"small": bundle.PlanEntry(**(small | plan))}
    whole = bundle.RateLimit(calls=1000, seconds=60)
    made["ioi"] = ioi.model_copy(update={"rate": whole, "tools": tools, "contracts": contracts, "plans": plans})
    return made


def snapshot(folder: Path, tenants: dict[str, bundle.Catalog], **index: Any) -> bundles.Snapshot:
    return bundles.load(world.write_bundle(folder, world.index("http://127.0.0.1:9/jwks", tenants, **index), tenants))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> bundles.Snapshot:
    return snapshot(tmp_path_factory.mktemp("limits"), catalogs())


@pytest.fixture(scope="module")
def rules(loaded: bundles.Snapshot) -> LimitRules:
    return LimitRules(loaded)


def tool(loaded: bundles.Snapshot, name: str) -> bundles.PreparedTool:
    return next(t for tenant in loaded.tenants.values() for t in tenant.tools.values() if t.declared.id == name)


def shop(**changes: Any) -> Principal:
    return replace(PERSON, subject="service-account-shop", client=SHOP, contracts=frozenset({"inventory"}), **changes)


def take(store: MemoryStore, rules: LimitRules, who: Principal, what: Any, now: float = NOW) -> Admission:
    return store.take_now(*rules.call_charges(who, what, now))


def refused(store: MemoryStore, rules: LimitRules, who: Principal, what: Any, now: float = NOW) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        take(store, rules, who, what, now)
    return caught.value


def test_a_second_client_gives_no_second_allowance(rules: LimitRules, loaded: bundles.Snapshot) -> None:
    store, items = MemoryStore(Clock(NOW)), tool(loaded, "ioi:inventory:list_items")
    for client in ("claude", "other", "third"):
        store.release_now(take(store, rules, replace(PERSON, client=client), items))
    said = refused(store, rules, replace(PERSON, client="fourth"), items)
    assert said.rule == "rate-tool"
    assert said.text == (
        "Nothing was called. `ioi:inventory:list_items` takes 3 calls a minute from one caller, and they are used up."
        " Call again in 20 seconds."
    )


def test_each_person_and_tool_is_counted_alone(rules: LimitRules, loaded: bundles.Snapshot) -> None:
    store, items = MemoryStore(Clock(NOW)), tool(loaded, "ioi:inventory:list_items")
    for _ in range(3):
        store.release_now(take(store, rules, PERSON, items))
    assert refused(store, rules, PERSON, items).rule == "rate-tool"
    take(store, rules, replace(PERSON, subject="art3mis"), items)
    take(store, rules, replace(PERSON, tenant="platform"), items)
    take(store, rules, PERSON, tool(loaded, "ioi:billing:get_invoice"))


def test_what_a_header_or_a_role_can_change_is_in_no_key(rules: LimitRules, loaded: bundles.Snapshot) -> None:
    items = tool(loaded, "ioi:inventory:list_items")
    changed = replace(PERSON, roles=frozenset({"viewer"}), permissions=frozenset({"catalog:read"}), client="x")
    assert rules.call_charges(changed, items, NOW) == rules.call_charges(PERSON, items, NOW)
    assert rules.request_charges(changed) == rules.request_charges(PERSON)


def test_unseen_and_missing_tools_are_one(rules: LimitRules) -> None:
    store = MemoryStore(Clock(NOW))
    for _ in range(60):
        take(store, rules, PERSON, None)
    said = refused(store, rules, replace(PERSON, client="second"), None)
    assert said.rule == "rate-tool"
    assert "do not exist for you" in said.text
    take(store, rules, replace(PERSON, subject="art3mis"), None)


def test_the_tenants_rate_is_everybodys(rules: LimitRules) -> None:
    (own,) = rules.request_charges(PERSON)
    assert rules.request_charges(replace(PERSON, subject="other", client="x", contracts=frozenset())) == (own,)
    assert rules.request_charges(replace(PERSON, tenant="greg")) != (own,)
    assert rules.request_charges(replace(PERSON, tenant="platform")) == ()
    store = MemoryStore(Clock(NOW))
    for _ in range(1000):
        store.take_now([own])
    with pytest.raises(LimitReached, match="All callers of `ioi` together may make 1000 calls a minute") as caught:
        store.take_now([own])
    assert caught.value.rule == "rate-tenant"


def test_a_subscription_is_counted_by_client_with_its_burst(rules: LimitRules, loaded: bundles.Snapshot) -> None:
    store, items = MemoryStore(Clock(NOW)), tool(loaded, "ioi:inventory:list_items")
    for n in range(4):
        store.release_now(take(store, rules, replace(shop(), subject=f"person-{n}"), items))
    said = refused(store, rules, replace(shop(), subject="person-5"), items)
    assert (said.rule, said.retry_after) == ("rate-plan", 1.0)
    assert "The subscription `now` (plan `small`) takes 60 calls a minute, 4 at once" in said.text
    take(store, rules, PERSON, items)  # The platform's own clients have no plan.


def test_quotas_begin_anew_with_the_month(rules: LimitRules, loaded: bundles.Snapshot) -> None:
    clock = Clock(at(2026, 11, 30, 23, 59))
    store, items = MemoryStore(clock), tool(loaded, "ioi:inventory:list_items")
    for n in range(7):
        clock.now += 1
        store.release_now(take(store, rules, replace(shop(), subject=f"p{n}"), items, clock.now))
    clock.now += 1
    said = refused(store, rules, shop(), items, clock.now)
    assert (said.rule, said.retry_after) == ("quota-plan", 52.0)
    assert said.text.endswith(
        "(plan `small`) takes 7 calls a month, and they are used up. It begins anew on 2026-12-01 at 00:00 UTC."
    )
    clock.now = at(2026, 12, 1)
    take(store, rules, shop(), items, clock.now)


@pytest.mark.parametrize(
    ("now", "month", "ends"),
    [
        (at(2026, 1, 31, 23, 59, 59.999), "2026-01", at(2026, 2, 1)),
        (at(2026, 2, 28, 23, 59, 59.999), "2026-02", at(2026, 3, 1)),
        (at(2028, 2, 28, 23, 59, 59.999), "2028-02", at(2028, 3, 1)),
        (at(2028, 2, 29), "2028-02", at(2028, 3, 1)),
        (at(2100, 2, 28), "2100-02", at(2100, 3, 1)),
        (at(2026, 12, 31, 23), "2026-12", at(2027, 1, 1)),
        (at(2027, 1, 1), "2027-01", at(2027, 2, 1)),
        (at(2026, 3, 29, 1, 30), "2026-03", at(2026, 4, 1)),  # Summer time begins in Europe.
        (at(2026, 10, 25, 1, 30), "2026-10", at(2026, 11, 1)),  # It ends.
    ],
)
def test_months_have_their_own_lengths(
    rules: LimitRules, loaded: bundles.Snapshot, now: float, month: str, ends: float
) -> None:
    _, (quota,), _ = rules.call_charges(shop(), tool(loaded, "ioi:inventory:list_items"), now)
    assert (quota.key.rpartition("|")[2], quota.ends) == (month, ends)


def test_days_are_those_of_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = snapshot(tmp_path, catalogs(quota_per="day", quota_calls=0.29 * 100))
    items = tool(loaded, "ioi:inventory:list_items")
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        rules = LimitRules(loaded)
        spans: dict[str, list[int]] = {}
        for hour in range(72):
            now = at(2026, 10, 31) + hour * 3600
            _, (quota,), _ = rules.call_charges(shop(), items, now)
            spans.setdefault(quota.key.rpartition("|")[2], []).append(hour)
            assert 0 < quota.ends - now <= 86_400
            assert quota.law.limit == 29
        assert {day: (hours[0], hours[-1]) for day, hours in spans.items()} == {
            "2026-10-31": (0, 23),
            "2026-11-01": (24, 47),
            "2026-11-02": (48, 71),
        }
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_fraction_of_a_quota_is_one_call(tmp_path: Path) -> None:
    loaded = snapshot(tmp_path, catalogs(quota_calls=0.1, quota_per="day"))
    _, (quota,), _ = LimitRules(loaded).call_charges(shop(), tool(loaded, "ioi:inventory:list_items"), NOW)
    assert quota.law.limit == 1


def test_an_expired_subscription_is_not_charged(rules: LimitRules, loaded: bundles.Snapshot) -> None:
    charges, quotas, _ = rules.call_charges(shop(), tool(loaded, "ioi:billing:get_invoice"), NOW)
    assert ([c.law.rule for c in charges], quotas) == (["rate-tool"], ())
    before = rules.call_charges(shop(), tool(loaded, "ioi:billing:get_invoice"), at(2020, 1, 1, 23))
    assert [c.law.rule for c in before[0]] == ["rate-tool", "rate-plan"]


def test_calls_at_a_time_by_tool_and_by_backend(rules: LimitRules, loaded: bundles.Snapshot) -> None:
    items = tool(loaded, "ioi:inventory:list_items")
    _, _, slots = rules.call_charges(PERSON, items, NOW)
    assert [(s.law.rule, s.law.limit) for s in slots] == [("concurrency-tool", 2), ("concurrency-backend", 5)]
    assert {s.lease for s in slots} == {items.contract.backend.total_ms / 1000 + LEASE_SPARE}
    store = MemoryStore(Clock(NOW))
    take(store, rules, PERSON, items)
    held = take(store, rules, replace(PERSON, subject="b"), items)
    said = refused(store, rules, replace(PERSON, subject="c"), items)
    assert (said.rule, said.retry_after) == ("concurrency-tool", 1.0)
    store.release_now(held)
    take(store, rules, replace(PERSON, subject="c"), items)
    busy = [slots[1]]
    for _ in range(3):
        store.take_now([], [], busy)
    with pytest.raises(LimitReached, match="5 calls of `ioi:inventory` are running") as caught:
        store.take_now([], [], busy)
    assert caught.value.rule == "concurrency-backend"


def test_platform_tools_are_limited_too(rules: LimitRules) -> None:
    store, own = MemoryStore(Clock(NOW)), PLATFORM_TOOLS[0]
    for _ in range(120):
        take(store, rules, PERSON, own)
    assert refused(store, rules, PERSON, own).rule == "rate-tool"
    take(store, rules, PERSON, PLATFORM_TOOLS[1])


def test_environments_that_share_a_store_do_not_share_counts(tmp_path: Path, rules: LimitRules) -> None:
    other = LimitRules(snapshot(tmp_path, catalogs(), environment="staging"))
    assert other.request_charges(PERSON)[0].key != rules.request_charges(PERSON)[0].key


def test_a_subscription_to_no_plan_is_refused_with_the_bundle(tmp_path: Path) -> None:
    tenants = catalogs()
    tenants["ioi"] = tenants["ioi"].model_copy(update={"plans": {}})
    with pytest.raises(bundles.BundleError, match="plan"):
        snapshot(tmp_path, tenants)


def test_a_rate_of_nothing_is_refused_with_the_bundle(tmp_path: Path) -> None:
    tenants = catalogs()
    nothing = tenants["ioi"].rate.model_copy(update={"calls": 0.0})
    tenants["ioi"] = tenants["ioi"].model_copy(update={"rate": nothing})
    with pytest.raises(bundles.BundleError, match="allows nothing"):
        snapshot(tmp_path, tenants)


PARTS = st.lists(st.text(alphabet="a|%7C25:"), min_size=1, max_size=4)


@given(PARTS, PARTS)
def test_keys_of_different_parts_differ(one: list[str], other: list[str]) -> None:
    assert (key(*one) == key(*other)) == (one == other)


@given(st.text(alphabet="a|%7C"), st.text(alphabet="a|%7C"))
def test_subjects_with_separators_cannot_collide(rules: LimitRules, one: str, other: str) -> None:
    first, second = (rules.call_charges(replace(PERSON, subject=s), None, NOW)[0][0].key for s in (one, other))
    assert (first == second) == (one == other)
