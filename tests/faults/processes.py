"""The process itself is killed, or asked to end."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.engines.valkey import serving
from tests.faults.judge import judge
from tests.faults.load import Load
from tests.faults.rows import Row, Size, Story
from tests.faults.stage import staged, until


def killed(**rules: Any) -> Story:
    """`kill -9` under load, and a start on the same files."""

    async def story(folder: Path, size: Size) -> Row:
        async with staged(folder) as stage:
            stage.write(stage.bundle, stage.catalogs(), **rules)
            process = stage.serve()
            await process.start()
            load, kills = Load([process.url], [stage.token()], size.callers), []
            async with load.running():
                for _ in range(size.rounds):
                    await load.more(size.calls)
                    kills.append(time.monotonic())
                    process.send(signal.SIGKILL)
                    await process.ended()
                    await process.start()
                await load.more(size.calls)
            await stage.stop()
            verdict = judge(load.seen, stage.log(), stage.backend.got, killed=kills, flight=size.callers)
            row = Row(
                "", verdict, [f"{verdict.unrecorded} in flight at {len(kills)} kills called the backend without a line"]
            )
            row.expect(verdict.marks["resumed"] == size.rounds, "the chain was not resumed at each start")
            row.expect(verdict.seen["unknown"] > 0, "no call was in flight")
            return row

    return story


async def worker_killed(folder: Path, size: Size) -> Row:
    """One of two workers is killed under load; the other goes on, and it is replaced."""
    with serving(folder) as valkey:
        async with staged(folder) as stage:
            stage.write(stage.bundle, stage.catalogs())
            process = stage.serve("--workers", "2", "--store", valkey.url)
            await process.start()
            load, kills, between = Load([process.url], [stage.token()], size.callers), [], 0
            async with load.running():
                for _ in range(size.rounds):
                    await load.more(size.calls)
                    before = process.workers()
                    kills.append(time.monotonic())
                    os.kill(before[0], signal.SIGKILL)
                    await load.answers(size.calls // 2)
                    await until(lambda before=before: len(set(process.workers()) - {before[0]}) == 2)
                    between += sum(s.began > kills[-1] and s.outcome == "answered" for s in load.seen)
                    await load.more(size.calls)
            await stage.stop()
            log = stage.log()
            verdict = judge(load.seen, log, stage.backend.got, killed=kills, flight=size.callers)
            notes = [f"{verdict.unrecorded} in flight at {len(kills)} kills called the backend without a line"]
            row = Row("", verdict, [*notes, f"{len(list(stage.state.glob('audit*.jsonl')))} logs"])
            row.expect(between > 0, "nothing was answered until the worker was replaced")
            return row


async def terminated(folder: Path, size: Size) -> Row:
    """SIGTERM under load: what is in flight ends."""
    async with staged(folder, seconds=0.2) as stage:
        stage.write(stage.bundle, stage.catalogs())
        process = stage.serve()
        await process.start()
        load, codes, asked = Load([process.url], [stage.token()], size.callers), [], []
        async with load.running():
            for _ in range(size.rounds):
                await load.more(size.calls // 2)
                asked.append(time.monotonic())
                process.send(signal.SIGTERM)
                codes.append(await process.ended())
                await process.start()
            await load.more(size.calls // 2)
        await stage.stop()
        log = stage.log()
        verdict = judge(load.seen, log, stage.backend.got)
        during = sum(any(s.began < moment < s.ended for moment in asked) and s.outcome == "answered" for s in load.seen)
        row = Row("", verdict, [f"{during} in flight were answered after it"])
        lost = [
            s
            for s in load.seen
            if s.outcome == "unknown" and (s.trace in log.decisions or s.trace in stage.backend.got)
        ]
        row.expect(not lost, f"{len(lost)} calls were taken and got no answer")
        row.expect(during > 0, "no call was in flight")
        row.expect(set(codes) == {0}, f"exit codes {codes}")
        row.expect(verdict.marks["closed"] == size.rounds + 1, "the log was not closed in order")
        return row
