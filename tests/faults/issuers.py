"""The issuer goes away, hangs, comes back, and exchanges its keys."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from tests.faults.judge import judge
from tests.faults.load import Load, Seen, call
from tests.faults.rows import Row, Size, Story, times
from tests.faults.stage import Process, Stage, staged

SHORT = {
    "tokens.KEYS_RENEWED": 0.5,
    "tokens.FETCH_SECONDS": 0.3,
    "tokens.KEYS_MAX_AGE": 1.0,
    "tokens.KEYS_STALE_LIMIT": 6.0,
    "tokens.REFRESH_PAUSE": 0.5,
}
"""In place of 480 s, 5 s, 600 s, 3600 s and 10 s, so that a test can live through them."""


async def one(stage: Stage, process: Process, token: str, into: list[Seen]) -> Seen:
    """One call beside the load."""
    async with aiohttp.ClientSession() as session:
        seen = await call(session, process.url, token)
    assert seen is not None
    into.append(seen)
    return seen


async def _accepted(stage: Stage, process: Process, token: str, into: list[Seen], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while (await one(stage, process, token, into)).outcome != "answered":
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.2)
    return True


def gone(hangs: bool) -> Story:
    """The issuer cannot be reached, with keys that are too old in the end; it comes back with another key."""

    async def story(folder: Path, size: Size) -> Row:
        async with staged(folder) as stage:
            stage.write(stage.bundle, stage.catalogs())
            process = stage.serve(patience=SHORT)
            await process.start()
            issuer, beside = stage.issuer, list[Seen]()
            load = Load([process.url], [stage.token()], size.callers)
            old, new = stage.token(sub="art3mis"), stage.token("k2")
            async with load.running():
                await load.more(size.calls)
                if hangs:
                    issuer.hangs = True
                else:
                    await issuer.stop()
                began = time.monotonic()
                await asyncio.sleep(SHORT["tokens.KEYS_MAX_AGE"] + 1)
                first = await one(stage, process, old, beside)
                unknown = await one(stage, process, new, beside)
                await asyncio.sleep(max(0.0, began + 4 - time.monotonic()))
                meanwhile = [s for s in load.seen if s.began > began]
                stale = began + SHORT["tokens.KEYS_STALE_LIMIT"] + SHORT["tokens.KEYS_MAX_AGE"]
                await asyncio.sleep(max(0.0, stale + 0.5 - time.monotonic()))
                too_old = await one(stage, process, old, beside)
                unready = await process.ready()
                issuer.hangs = False
                issuer.keys = [stage.keyring.first, stage.keyring.second]
                if not hangs:
                    await issuer.start()
                back = await _accepted(stage, process, new, beside)
                await load.answers(size.calls)
                issuer.keys = [stage.keyring.second]
                await asyncio.sleep(SHORT["tokens.KEYS_MAX_AGE"] + 2 * SHORT["tokens.REFRESH_PAUSE"])
                taken_back = await one(stage, process, old, beside)
                again = await one(stage, process, new, beside)
            await stage.stop()
            verdict = judge([*load.seen, *beside], stage.log(), stage.backend.got)
            row = Row(
                "",
                verdict,
                [f"calls while it was away: {times(meanwhile)}"],
            )
            row.expect(
                _all(meanwhile, "answered"), "a call with a verified token was not answered while the issuer was away"
            )
            row.expect(first.outcome == "answered", f"a fresh token of a known key: {first.status}")
            row.expect(unknown.status == 401, f"a token of an unknown key: {unknown.status}")
            row.expect(too_old.status == 503, f"a token while all keys are too old: {too_old.status}")
            row.expect(unready == 503, "ready while all keys are too old")
            row.expect(back, "a token of the new key is refused after the issuer came back")
            row.expect(taken_back.status == 401, f"a token of a key that was taken back: {taken_back.status}")
            row.expect(again.outcome == "answered", f"a token of the key that stayed: {again.status}")
            row.expect(
                len(meanwhile) > size.callers * 5, f"only {len(meanwhile)} calls ended while the issuer was away"
            )
            return row

    return story


def _all(seen: Sequence[Seen], outcome: str) -> bool:
    return bool(seen) and all(s.outcome == outcome for s in seen)
