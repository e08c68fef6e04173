"""Backends that misbehave beside one that is healthy: its callers do not notice, and memory stays flat."""

import asyncio
from pathlib import Path

from stoa_schemas import bundle
from tests.faults.judge import judge
from tests.faults.load import Load
from tests.faults.rows import Row, Size, Story, milliseconds
from tests.faults.sites import Faulty
from tests.faults.stage import staged
from tests.runtime import world
from tests.runtime.backend_faults import FAULTS

_CAP = 100_000
_GROWTH = 60_000
"""Kilobytes that a process may grow by under a bad backend: each call may hold its cap and buffers."""
_FAULTY = "ioi_inventory_list_items"


def misbehaving(name: str) -> Story:
    """Half of the callers call a backend that misbehaves as the fault of this name in docs/backends.md."""
    fault = next(f for f in FAULTS if f.name == name)

    async def story(folder: Path, size: Size) -> Row:
        async with staged(folder) as stage:
            bad = Faulty(fault.script)
            await bad.start()
            catalogs = stage.catalogs()
            ioi = catalogs["ioi"]
            contracts = [
                world.contract("inventory", bad.url, auth=None, connect_ms=500, read_ms=400, total_ms=2000)
                if c.name == "inventory"
                else c
                for c in ioi.contracts
            ]
            answer = bundle.Answer(media_types=["application/json"], check="enforce", max_bytes=_CAP, wrap=False)
            tools = [t.model_copy(update={"answer": answer}) if t.name == _FAULTY else t for t in ioi.tools]
            catalogs["ioi"] = ioi.model_copy(update={"contracts": contracts, "tools": tools})
            stage.write(stage.bundle, catalogs)
            process = stage.serve()
            await process.start()
            half = max(size.callers // 2, 1)
            healthy = Load([process.url], [stage.token()], half)
            async with healthy.running():
                await healthy.more(size.calls)
            alone, before, peak = milliseconds(healthy.seen), process.rss(), 0
            quiet = len(healthy.seen)
            beside = Load([process.url], [stage.token(sub="art3mis")], half, (_FAULTY,), lambda trace: {})
            async with healthy.running(), beside.running():
                enough = asyncio.gather(healthy.more(size.calls), beside.more(2 * half))
                while not enough.done():
                    peak = max(peak, process.rss())
                    await asyncio.sleep(0.02)
                await enough
            with_it = milliseconds(healthy.seen[quiet:])
            await stage.stop()
            await bad.stop()
            log = stage.log()
            seen = [*healthy.seen, *beside.seen]
            verdict = judge(seen, log, stage.backend.got + bad.got)
            grown = peak - before
            row = Row(
                "",
                verdict,
                [
                    f"the others' calls took {with_it:.0f} ms, {alone:.0f} ms before",
                    f"memory grew by {max(grown, 0) / 1000:.0f} MB",
                ],
            )
            rules = {log.decisions[s.trace][0]["rule"] for s in beside.seen if s.trace in log.decisions}
            row.expect(rules == {fault.rule}, f"rules {sorted(rules)} in place of {fault.rule}")
            row.expect(all(s.outcome == "answered" for s in healthy.seen), "a call of a healthy backend failed")
            row.expect(grown < _GROWTH, f"memory grew by {grown} kB")
            return row

    return story
