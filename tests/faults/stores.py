"""The shared store of limits is killed, comes back, hangs; and two processes share it."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from stoa_schemas import bundle
from tests.engines.valkey import Valkey, serving
from tests.faults.judge import judge
from tests.faults.load import Load
from tests.faults.rows import Row, Size, Story, times
from tests.faults.stage import Stage, staged

_LIMIT = 200
"""Calls that may be made: a limit of years, so that none comes back while it is counted."""


def _rules(log_lines: Any) -> Counter[str]:
    return Counter(line["rule"] for lines in log_lines.values() for line in lines)


async def _two(stage: Stage, valkey: Valkey) -> list[str]:
    processes = [stage.serve("--store", valkey.url) for _ in range(2)]
    await asyncio.gather(*(process.start() for process in processes))
    return [process.url for process in processes]


async def shared(folder: Path, size: Size) -> Row:
    """Two processes and one store admit the limit together, and not one call more."""
    with serving(folder) as valkey:
        async with staged(folder) as stage:
            rate = bundle.RateLimit(calls=_LIMIT, seconds=10_000_000)
            stage.write(stage.bundle, stage.catalogs(rate))
            load = Load(await _two(stage, valkey), [stage.token()], size.callers)
            await load.make(2 * _LIMIT)
            await stage.stop()
            verdict = judge(load.seen, stage.log(), stage.backend.got)
            files = len(list(stage.state.glob("audit*.jsonl")))
            row = Row("", verdict, [f"the limit was {_LIMIT}, by {files} processes"])
            row.expect(
                verdict.seen["answered"] == _LIMIT, f"{verdict.seen['answered']} answered, the limit is {_LIMIT}"
            )
            row.expect(verdict.reached == _LIMIT, f"{verdict.reached} reached the backend, the limit is {_LIMIT}")
            return row


def gone(when_down: str, hangs: bool = False) -> Story:
    """The store is killed, or hangs, and comes back."""

    async def story(folder: Path, size: Size) -> Row:
        with serving(folder) as valkey:
            async with staged(folder) as stage:
                stage.write(stage.bundle, stage.catalogs(), limits_when_down=when_down)
                load = Load(await _two(stage, valkey), [stage.token()], size.callers)
                async with load.running():
                    await load.more(size.calls)
                    began = time.monotonic()
                    valkey.hold() if hangs else valkey.kill()
                    await load.more(size.calls)
                    back = time.monotonic()
                    if hangs:
                        valkey.go_on()
                    else:
                        await asyncio.to_thread(valkey.start)
                    await load.answers(2 * size.calls)
                    settled = len(load.seen)
                    await load.more(size.calls)
                await stage.stop()
                log = stage.log()
                verdict = judge(load.seen, log, stage.backend.got)
                during = [s for s in load.seen if began < s.began < back]
                row = Row(
                    "",
                    verdict,
                    [f"calls while it was away: {times(during)}"],
                )
                _judged(row, log.decisions, during, load.seen[settled:], when_down)
                return row

    return story


def _judged(row: Row, decisions: Any, during: Any, after: Any, when_down: str) -> None:
    refused = [s for s in during if s.outcome == "refused"]
    if when_down == "refuse":
        row.expect(bool(refused), "nothing was refused while the store was away")
        # The first of them may have been counted before it went.
        row.expect(during[-1].outcome == "refused", "a call was let pass without being counted")
    else:
        row.expect(not refused, f"{len(refused)} calls were refused while each process counts for itself")
    others = _rules(decisions).keys() - {"granted", "limit"}
    row.expect(not others, f"rules {sorted(others)}")
    row.expect(all(s.outcome == "answered" for s in after), "a call failed after the store was back")
