"""No fault but time: many calls of many callers, and what the process holds before and after."""

from pathlib import Path

from tests.faults.judge import judge
from tests.faults.load import Load
from tests.faults.rows import Row, Size, milliseconds
from tests.faults.stage import staged

_PEOPLE = 50
_GROWTH = 25_000
"""Kilobytes. What grows with calls would be far beyond this after 100,000."""


async def flat(folder: Path, size: Size) -> Row:
    """Memory after many calls is what it was after some."""
    async with staged(folder, seconds=0) as stage:
        stage.write(stage.bundle, stage.catalogs())
        process = stage.serve()
        await process.start()
        load = Load([process.url], [stage.token(sub=f"aech-{n}") for n in range(_PEOPLE)], size.callers)
        started = process.rss()
        await load.make(max(size.memory_calls // 10, 1000))
        before = process.rss()
        seen = await load.make(size.memory_calls)
        after = process.rss()
        await stage.stop()
        verdict = judge(load.seen, stage.log(), stage.backend.got)
        row = Row(
            "",
            verdict,
            [
                f"{started / 1000:.1f} MB at first, {before / 1000:.1f} MB after {len(load.seen) - len(seen)} calls,"
                f" {after / 1000:.1f} MB after {len(load.seen)}",
                f"half of the calls took {milliseconds(seen):.0f} ms",
            ],
        )
        row.expect(after - before < _GROWTH, f"memory grew by {after - before} kB")
        row.expect(verdict.seen["answered"] == verdict.calls, "a call was not answered")
        return row
