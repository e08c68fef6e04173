"""What counting costs, with ratios: `python tests/bench/limits.py`.

In memory beside one look-up of a dictionary; through a Valkey on loopback beside its PING by the same client.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from redis.asyncio import Redis

from stoa_runtime import bundles
from stoa_runtime.limits import LimitRules, MemoryStore
from stoa_runtime.limits.rules import Taken
from stoa_runtime.limits.valkey import ValkeyStore
from stoa_runtime.principals import Principal
from tests.engines.valkey import Missing, serving
from tests.runtime import world
from tests.runtime.limits.test_rules import catalogs, shop, tool

_ROUNDS, _CALLS, _TOGETHER = 5, 20_000, 8


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rules, tasks = _prepared(folder)
        who, called = tasks
        held = MemoryStore()
        table = {f"key-{n}": n for n in range(1000)}
        print("In memory")
        reference = _microseconds(lambda n: table[f"key-{n % 1000}"])
        _row("reference: one look-up by a key that is made", reference)
        now, application = time.time(), shop()
        _row(
            "LimitRules.call_charges, no plan", _microseconds(lambda _: rules.call_charges(who, called, now)), reference
        )
        _row(
            "LimitRules.call_charges, with a plan",
            _microseconds(lambda _: rules.call_charges(application, called, now)),
            reference,
        )
        several = [rules.call_charges(_person(n), called, now) for n in range(1000)]
        wide = rules.request_charges(who)
        _row("take, one charge", _microseconds(lambda n: held.take_now(several[n % 1000][0])), reference)
        _row("take, tenant-wide", _microseconds(lambda _: held.take_now(wide)), reference)
        full = [rules.call_charges(_subscriber(n), called, now) for n in range(1000)]

        def whole(n: int) -> None:
            held.release_now(held.take_now(*full[n % 1000]))

        _row("take and release, two charges, a quota, two slots", _microseconds(whole), reference)
        try:
            with serving(folder) as server:
                asyncio.run(_shared(server.url, several, full))
        except Missing as missing:
            print(f"No Valkey: {missing}")


def _prepared(folder: Path) -> tuple[LimitRules, tuple[Principal, bundles.PreparedTool]]:
    most = 1e9
    made = catalogs(quota_calls=most, rate=world.bundle.RateLimit(calls=most, seconds=60), burst=int(most))
    rate = world.bundle.RateLimit(calls=most, seconds=60)
    ioi = made["ioi"]
    tools = [t.model_copy(update={"rate": rate.model_copy(update={"concurrency": 5})}) for t in ioi.tools]
    made["ioi"] = ioi.model_copy(update={"tools": tools, "rate": rate})
    snapshot = bundles.load(world.write_bundle(folder / "bundle", world.index("http://127.0.0.1:9", made), made))
    return LimitRules(snapshot), (_person(0), tool(snapshot, "ioi:inventory:list_items"))


def _person(n: int) -> Principal:
    return Principal(f"person-{n}", "ioi", frozenset(), frozenset(), world.CLIENT, None)


def _subscriber(n: int) -> Principal:
    return Principal(f"person-{n}", "ioi", frozenset(), frozenset(), "ioi.shop", frozenset({"inventory"}))


async def _shared(url: str, several: list[Taken], full: list[Taken]) -> None:
    print("Through a Valkey on loopback, one call after the other")
    store, client = ValkeyStore(url, lambda: "refuse"), Redis.from_url(url, protocol=2)
    ping = await _awaited(lambda _: client.ping())
    _row("reference: PING by the same client", ping)
    _row("take, one charge", await _awaited(lambda n: store.take(several[n % 1000][0])), ping)

    async def whole(n: int) -> None:
        await store.release(await store.take(*full[n % 1000]))

    _row("take and release, two charges, a quota, two slots", await _awaited(whole), ping)
    print(f"{_TOGETHER} at a time, for each call")
    ping = await _awaited(lambda _: client.ping(), _TOGETHER)
    _row("reference: PING by the same client", ping)
    _row("take, one charge", await _awaited(lambda n: store.take(several[n % 1000][0]), _TOGETHER), ping)
    await client.aclose()
    await store.close()


def _microseconds(work: Callable[[int], object]) -> float:
    """For one call: the median of the rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for n in range(_CALLS):
            work(n)
        rounds.append((time.perf_counter() - began) / _CALLS * 1e6)
    return statistics.median(rounds)


async def _awaited(work: Callable[[int], Awaitable[object]], together: int = 1) -> float:
    rounds = []
    calls = _CALLS // 20

    async def some(first: int) -> None:
        for n in range(first, calls, together):
            await work(n)

    for _ in range(_ROUNDS):
        began = time.perf_counter()
        await asyncio.gather(*(some(first) for first in range(together)))
        rounds.append((time.perf_counter() - began) / calls * 1e6)
    return statistics.median(rounds)


def _row(what: str, microseconds: float, reference: float | None = None) -> None:
    ratio = f"  {microseconds / reference:6.1f} x" if reference else ""
    print(f"  {what:<52} {microseconds:8.2f} us{ratio}")


if __name__ == "__main__":
    main()
