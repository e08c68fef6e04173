"""The disk of the audit log is full, and has space again."""

import contextlib
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.judge import judge
from tests.faults.load import Load
from tests.faults.rows import Row, Size, Story
from tests.faults.stage import Process, staged

_DISK = 2_000_000
"""Bytes of the small disk."""


class Quota:
    """Files of a process may not outgrow a size: `EFBIG` in place of `ENOSPC`, and no leave of the system is needed."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.kind = "a file's size limit"

    def fill(self) -> None:
        """The log may grow by a few lines and a half."""
        size = max((f.stat().st_size for f in self._process.state.glob("*.jsonl")), default=0)
        self._set(size + 3_333)

    def free(self) -> None:
        """Files may grow without limit."""
        self._set(resource.RLIM_INFINITY)

    def _set(self, size: int) -> None:
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Tmpfs:
    """A small file system in memory, filled by another file."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"
        self.kind = "a full tmpfs"

    def fill(self) -> None:
        """Takes all that is left."""
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    def free(self) -> None:
        """Gives it back."""
        self._filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Tmpfs | None]:
    """A tmpfs at `folder`; None where it may not be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "stoa-faults", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield Tmpfs(folder) if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full(when_full: str, tmpfs: bool = True, **rules: Any) -> Story:
    """No space for the audit log's lines for a while."""

    async def story(folder: Path, size: Size) -> Row:
        async with staged(folder) as stage:
            with small_disk(stage.state) if tmpfs else contextlib.nullcontext() as mounted:
                stage.write(stage.bundle, stage.catalogs(), audit_when_full=when_full, **rules)
                process = stage.serve()
                await process.start()
                disk = mounted or Quota(process)
                load = Load([process.url], [stage.token()], size.callers)
                async with load.running():
                    await load.more(size.calls)
                    disk.fill()
                    full_since = time.monotonic()
                    if when_full == "refuse":
                        await load.more(size.calls)
                    else:
                        await load.still(1.5)
                    unready = await process.ready()
                    reached = len(stage.backend.got)
                    await load.still(0.5)
                    called = len(stage.backend.got) - reached
                    disk.free()
                    freed = time.monotonic()
                    await load.answers(size.calls)
                await stage.stop()
                log = stage.log()
            verdict = judge(load.seen, log, stage.backend.got)
            during = [s for s in load.seen if full_since < s.began and s.ended < freed]
            withheld = sum("answer is withheld" in s.text for s in load.seen)
            row = Row(
                "", verdict, [f"{disk.kind}; {withheld} answers withheld", f"recovered {verdict.marks['recovered']} x"]
            )
            row.expect(unready == 503, f"ready while nothing could be recorded ({unready})")
            row.expect(called == 0, f"{called} calls of the backend while nothing could be recorded")
            row.expect(verdict.marks["recovered"] > 0, "the log does not tell of its trouble")
            if when_full == "refuse":
                row.expect(any(s.outcome == "refused" for s in during), "nothing was refused")
            else:
                row.expect(verdict.seen["refused"] + verdict.seen["failed"] == 0, "a call did not wait")
            return row

    return story
