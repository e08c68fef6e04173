"""The store of one process keeps what was declared, takes all or nothing, and forgets what has lapsed."""

import asyncio
import resource
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_runtime.limits import Charge, LimitReached, MemoryStore
from tests.runtime.limits.counting import START, Clock, charge, quota, slot

RATES = st.tuples(st.integers(1, 5000), st.sampled_from([1, 60, 3600, 86400]))
GAPS = st.lists(st.floats(0, 1).map(lambda x: x**6 * 100), min_size=1, max_size=150)


def admitted(store: MemoryStore, *items: object) -> bool:
    charges = [i for i in items if type(i).__name__ == "Charge"]
    quotas = [i for i in items if type(i).__name__ == "Quota"]
    slots = [i for i in items if type(i).__name__ == "Slot"]
    try:
        store.take_now(charges, quotas, slots)  # type: ignore[arg-type]
    except LimitReached:
        return False
    return True


@given(RATES, st.one_of(st.none(), st.integers(1, 50)), GAPS)
@settings(deadline=None)
def test_no_window_holds_more_than_the_burst_and_the_rate(
    rate: tuple[int, int], burst: int | None, gaps: list[float]
) -> None:
    calls, seconds = rate
    clock = Clock()
    store = MemoryStore(clock)
    law = charge("k", calls, seconds, burst)
    times: list[float] = []
    for gap in gaps:
        clock.now += gap
        if admitted(store, law):
            times.append(clock.now)
    most = max(1, calls if burst is None else burst)
    for i, begin in enumerate(times):
        for j in range(i, len(times)):
            assert j - i + 1 <= most + (times[j] - begin + 2e-6) * calls / seconds + 1e-6


@given(RATES, st.integers(1, 20), st.lists(st.floats(0, 0.5), min_size=1, max_size=150))
@settings(deadline=None)
def test_a_caller_within_its_rate_is_never_refused(rate: tuple[int, int], burst: int, more: list[float]) -> None:
    """Calls that come no faster than the rate, each run of `burst` of them all at once."""
    calls, seconds = rate
    clock = Clock()
    store = MemoryStore(clock)
    law = charge("k", calls, seconds, burst)
    at = Fraction(int(START))
    for extra in more:
        clock.now = float(at)
        for _ in range(burst):
            assert admitted(store, law)
        at += burst * Fraction(seconds, calls) + Fraction(extra)


def test_a_span_used_up_at_its_beginning_is_within_the_rate() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for _ in range(3):
        assert [admitted(store, charge("k", 60, 60)) for _ in range(61)] == [True] * 60 + [False]
        clock.now += 60


@given(RATES, st.integers(1, 10))
def test_waiting_as_long_as_told_is_enough_and_no_longer_than_needed(rate: tuple[int, int], burst: int) -> None:
    calls, seconds = rate
    clock = Clock()
    store = MemoryStore(clock)
    law = charge("k", calls, seconds, burst)
    for _ in range(burst):
        store.take_now([law])
    with pytest.raises(LimitReached) as refused:
        store.take_now([law])
    wait = refused.value.retry_after
    assert abs(wait - seconds / calls) <= 0.0011
    assert refused.value.rule == "rate-tool"
    clock.now += wait
    assert admitted(store, law)


def test_a_refused_take_takes_nothing() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    free, full = charge("free", 1, 60), charge("full", 1, 60)
    daily, place = quota("daily", 1, START + 1000), slot("place", 1)
    store.take_now([full])
    for _ in range(3):
        assert not admitted(store, free, full, daily, place)
    assert admitted(store, free, daily, place)
    for each in (charge("free", 1, 60), quota("daily", 1, START + 1000), slot("place", 1)):
        assert not admitted(store, each)


def test_the_one_to_wait_for_longest_is_named() -> None:
    store = MemoryStore(Clock())
    short, long, day = charge("short", 1, 60), charge("long", 1, 3600), quota("q", 1, START + 7200.5)
    store.take_now([short, long], [day])
    with pytest.raises(LimitReached, match=r"`long` is used up\. Call again in 3600 seconds"):
        store.take_now([short, long])
    with pytest.raises(LimitReached) as refused:
        store.take_now([short, long], [day])
    assert (refused.value.rule, refused.value.retry_after) == ("quota-plan", 7200.5)
    assert "It begins anew on 2027-01-15 at" in refused.value.text


def test_slots_come_back_by_release_and_by_lease() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    place = slot("place", 2, lease=30)
    first, _ = store.take_now([], [], [place]), store.take_now([], [], [place])
    with pytest.raises(LimitReached) as refused:
        store.take_now([], [], [place])
    assert (refused.value.rule, refused.value.retry_after) == ("concurrency-tool", 1.0)
    store.release_now(first)
    store.release_now(first)
    assert admitted(store, place)
    assert not admitted(store, place)
    clock.now += 30
    assert admitted(store, place)


@given(st.lists(st.one_of(st.just(None), st.integers(0, 30)), max_size=60), st.integers(1, 4))
def test_never_more_at_a_time_than_slots(steps: list[int | None], limit: int) -> None:
    store = MemoryStore(Clock())
    held = []
    for step in steps:
        if step is None:
            try:
                held.append(store.take_now([], [], [slot("s", limit)]))
            except LimitReached:
                assert len(held) == limit
        elif held:
            store.release_now(held.pop(step % len(held)))
        assert len(held) <= limit


def test_a_clock_set_back_locks_nobody_out() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    law = charge("k", 1, 10)
    store.take_now([law])
    clock.now -= 86_400
    with pytest.raises(LimitReached) as refused:
        store.take_now([law])
    assert refused.value.retry_after <= 10


def test_a_raised_rate_holds_at_once() -> None:
    store = MemoryStore(Clock())
    store.take_now([charge("k", 1, 86_400)])
    with pytest.raises(LimitReached) as refused:
        store.take_now([charge("k", 100, 1, 1)])
    assert refused.value.retry_after <= 0.011


def test_memory_stays_flat_over_a_million_keys() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    law = charge("", 100, 1).law
    sizes = set[int]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n in range(1_000_000):
        clock.now += 0.0001
        store.take_now([Charge(f"caller-{n}", law)])
        if n % 1000 == 999:
            sizes.add(len(store))
    # A key lapses after 10 ms, in which a hundred calls come.
    assert max(sizes) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # Kilobytes.


def test_what_still_counts_is_kept_however_many_keys_come() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    kept, daily = charge("kept", 1, 3600), quota("daily", 1, START + 3600)
    store.take_now([kept], [daily])
    for n in range(10_000):
        clock.now += 0.01
        store.take_now([charge(f"k{n}", 100)])
    assert not admitted(store, kept)
    assert not admitted(store, daily)
    assert len(store) < 20


def test_the_asynchronous_form_is_the_same() -> None:
    async def story() -> None:
        store = MemoryStore(Clock())
        admission = await store.take([charge("k", 1)], [], [slot("s", 1)])
        with pytest.raises(LimitReached):
            await store.take([], [], [slot("s", 1)])
        await store.release(admission)
        await store.take([], [], [slot("s", 1)])
        assert store.works
        await store.close()
        assert len(store) == 0

    asyncio.run(story())
