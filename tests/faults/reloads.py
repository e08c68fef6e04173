"""The bundle is exchanged again and again under load."""

import asyncio
import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.faults.judge import judge
from tests.faults.load import INVOICE, Load, Seen
from tests.faults.rows import Row, Size
from tests.faults.stage import RECEIPT, Stage, staged


@dataclass
class _Served:
    """One bundle's time."""

    digest: str
    grants: bool
    put: float
    """When the folder was exchanged for it."""
    seen: float = 0.0
    """When the runtime said that it serves it."""


def _written(stage: Stage, folder: Path, number: int) -> tuple[str, bool]:
    """The bundle of this number: its digest, and whether it grants the tool."""
    catalogs = stage.catalogs()
    ioi, grants = catalogs["ioi"], number % 2 == 0
    access = {role: [n for n in names if grants or n != RECEIPT] for role, names in ioi.access.items()}
    catalogs["ioi"] = ioi.model_copy(update={"access": access, "display_name": f"IOI {number}"})
    return stage.write(folder, catalogs), grants


async def swapped(folder: Path, size: Size) -> Row:
    """Every second bundle takes the receipts away; the invoices are in all of them."""
    async with staged(folder) as stage:
        served = [_Served(*_written(stage, stage.bundle, 0), time.monotonic())]
        process = stage.serve("--reload", "0.05")
        await process.start()
        served[0].seen = time.monotonic()
        new, old = stage.folder / "new", stage.folder / "old"
        load = Load([process.url], [stage.token()], size.callers, (INVOICE, RECEIPT))
        async with load.running():
            await load.more(size.callers)
            for number in range(1, size.swaps + 1):
                digest, grants = await asyncio.to_thread(_written, stage, new, number)
                stage.bundle.rename(old)
                new.rename(stage.bundle)
                served.append(_Served(digest, grants, time.monotonic()))
                end = time.monotonic() + 30
                while (await process.readiness())[1].get("bundle") != digest:
                    assert time.monotonic() < end, f"bundle {number} is not served"
                    await asyncio.sleep(0.02)
                served[-1].seen = time.monotonic()
                await load.more(3)
                await asyncio.to_thread(shutil.rmtree, old)
            await load.more(size.calls)
        await stage.stop()
        verdict = judge(load.seen, stage.log(), stage.backend.got)
        took = sorted(s.seen - s.put for s in served[1:])
        row = Row(
            "", verdict, [f"{size.swaps} bundles, half of them served within {1000 * took[len(took) // 2]:.0f} ms"]
        )
        for seen in load.seen:
            if broken := _broken(seen, served):
                verdict.broken.append(broken)
        row.expect(verdict.seen["failed"] + verdict.seen["unknown"] == 0, "a call failed")
        return row


def _broken(seen: Seen, served: list[_Served]) -> str:
    """What is wrong with the answer of one call, at the time when it was made."""
    if seen.status >= 500:
        return f"HTTP {seen.status}"
    if seen.bundle:
        at = [i for i, s in enumerate(served) if s.digest == seen.bundle]
        if not at:
            return "an answer names a bundle that was never served"
        ends = served[at[0] + 1].seen if at[0] + 1 < len(served) else seen.began
        if seen.ended < served[at[0]].put or seen.began > ends:
            return "an answer names a bundle that was not served at its time"
    if seen.tool == INVOICE:
        return "" if seen.outcome == "answered" else f"refused, though all bundles allow it: {seen.text[:80]}"
    # Bundles that may have been served at any moment of the call.
    may = [s for s, after in pairwise([*served, None]) if _overlaps(seen, s, after)]
    if seen.outcome == "answered" and not any(s.grants for s in may):
        return "a tool that was taken away was called after that was seen"
    if seen.outcome == "refused" and all(s.grants for s in may):
        return f"refused, though every bundle of that time allows it: {seen.text[:80]}"
    return ""


def _overlaps(seen: Seen, served: _Served | None, after: _Served | None) -> bool:
    return served is not None and served.put <= seen.ended and (after is None or seen.began <= after.seen)
