"""The file that approvals are kept in is locked, taken away, or on a full disk."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.engines.valkey import Missing
from tests.faults.disks import Tmpfs, small_disk
from tests.faults.judge import judge, logged
from tests.faults.load import Load, Seen, call
from tests.faults.rows import Row, Size, Story, times
from tests.faults.stage import Process, Stage, staged

DELETE = "ioi_billing_delete_invoice"
"""The tool that needs approval."""
_DECIDE = "stoa_approvals_decide"

Harm = Callable[[Stage, Process], AbstractContextManager[None]]


@contextmanager
def locked(stage: Stage, _process: Process) -> Iterator[None]:
    """Another process holds the lock."""
    other = sqlite3.connect(stage.state / "approvals.sqlite", isolation_level=None)
    other.execute("begin immediate")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()


@contextmanager
def removed(stage: Stage, _process: Process) -> Iterator[None]:
    """Somebody moves the file away, and back again."""
    away = stage.folder / "away"
    away.mkdir()
    files = list(stage.state.glob("approvals.sqlite*"))
    for file in files:
        file.rename(away / file.name)
    try:
        yield
    finally:
        for file in files:
            (away / file.name).rename(file)


@contextmanager
def full(stage: Stage, _process: Process) -> Iterator[None]:
    """Nothing more fits onto the disk. The log is on another one."""
    disk = Tmpfs(stage.state)
    disk.fill()
    try:
        yield
    finally:
        disk.free()


class Desk:
    """One call that needs approval, made and approved beside the load."""

    def __init__(self, stage: Stage, process: Process) -> None:
        self._stage = stage
        self._url = process.url
        self.seen: list[Seen] = []

    async def delete(self) -> Seen:
        """The call, always the same."""
        return await self._call(self._stage.token(sub="parzival"), DELETE, {"id": "INV-7"})

    async def approve(self) -> None:
        """Asks, and has another person approve."""
        asked = await self.delete()
        identity = asked.text.partition("`apr_")[2].partition("`")[0]
        assert identity, asked.text
        given = {"id": f"apr_{identity}", "decision": "approve"}
        decided = await self._call(self._stage.token(sub="art3mis"), _DECIDE, given)
        assert decided.outcome == "answered", decided.text

    async def _call(self, token: str, tool: str, given: dict[str, Any]) -> Seen:
        async with aiohttp.ClientSession() as session:
            seen = await call(session, self._url, token, tool, lambda _: given)
        assert seen is not None
        seen.wrong = ""  # Neither answers with an invoice.
        self.seen.append(seen)
        return seen


def harmed(harm: Harm) -> Story:
    """Calls that need approval are refused while the store is harmed; all others go on."""

    async def story(folder: Path, size: Size) -> Row:
        with ExitStack() as leave:
            async with staged(folder) as stage:
                if harm is full and not leave.enter_context(small_disk(stage.state)):
                    raise Missing("no file system may be mounted here, so none can be full")
                logs = folder / "logs"
                stage.write(stage.bundle, stage.catalogs())
                process = stage.serve("--audit", str(logs / "audit.jsonl"))
                await process.start()
                desk = Desk(stage, process)
                await desk.approve()
                others = Load([process.url], [stage.token()], size.callers // 2)
                needing = Load(
                    [process.url],
                    [stage.token(sub=f"aech-{n}") for n in range(50)],
                    max(size.callers // 2, 2),
                    (DELETE,),
                    lambda trace: {"id": trace * 50},
                )
                async with others.running():
                    await others.more(size.calls)
                    quiet = len(others.seen)
                    with harm(stage, process):
                        async with needing.running():
                            during = await desk.delete()
                            await needing.more(2 * needing.callers)
                            await others.more(size.calls)
                    settled = len(others.seen)
                    after = await desk.delete()
                    again = await desk.delete()
                    await others.more(size.calls // 2)
                code = await _ended(process)
                seen = [*others.seen, *needing.seen, *desk.seen]
                log = logged(logs.glob("audit*.jsonl"))
                verdict = judge(seen, log, stage.backend.got)
                row = Row(
                    "",
                    verdict,
                    [f"refusals: {times(needing.seen)}", f"other calls: {times(others.seen[quiet:settled])}"],
                )
                rules = {log.decisions[s.trace][0]["rule"] for s in [*needing.seen, during] if s.trace in log.decisions}
                # On a full disk, what fits into what the file has already may still be kept.
                kept = {"approval-demanded", "approval-pending", "granted"} if harm is full else set()
                row.expect("approvals-unavailable" in rules, f"rules while approvals cannot be kept: {sorted(rules)}")
                row.expect(
                    rules <= {"approvals-unavailable"} | kept, f"rules while approvals cannot be kept: {sorted(rules)}"
                )
                row.expect(all(s.outcome == "answered" for s in others.seen), "a call that needs no approval failed")
                used = [s for s in (during, after, again) if s.outcome == "answered"]
                row.expect(len(used) == 1, f"an approval was used {len(used)} times")
                row.expect(harm is full or during not in used, "a call went through while approvals could not be kept")
                row.expect(again not in used, f"an approval from before does not count after it: {after.text}")
                reached = [s for s in needing.seen if s.trace in stage.backend.got]
                row.expect(not reached, "a call without approval reached the backend")
                row.expect(code == 0, f"exit code {code}")
                return row

    return story


async def _ended(process: Process) -> int:
    await process.stop()
    return await process.ended()
