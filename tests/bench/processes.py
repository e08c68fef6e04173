"""Whole processes, measured: time, time of processors, memory."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Once:
    """One run of a process and of all that it waited for."""

    wall: float
    cpu: float
    """Seconds of processors, user and system."""
    peak: int
    """Resident bytes of the largest process."""
    out: str


@dataclass
class Measured:
    """Several runs."""

    runs: list[Once] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """The shortest time."""
        return min(run.wall for run in self.runs)

    @property
    def median(self) -> float:
        """The median of the times."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """The least time of processors: what others on the machine disturb least."""
        return min(run.cpu for run in self.runs)

    @property
    def peak(self) -> int:
        """The most memory."""
        return max(run.peak for run in self.runs)


class Failed(Exception):
    """A process that did not end well, with what it said."""


def once(command: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Once:
    """Runs the command; raises `Failed` when it does not exit with 0."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode("utf-8", "replace")
    if process.returncode != 0:
        raise Failed(f"`{' '.join(command[:3])} ...` exited with {process.returncode}: {said[-500:]}")
    return Once(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, said)


def all_processes_peak(command: Sequence[str]) -> int:
    """The most bytes that the command and all its children held at the same time, pages that they share counted once.

    Linux' proportional set size, looked at every 20 ms, which slows the command: no run to take times from.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_proportional, _tree(process.pid))))
        time.sleep(0.02)
    if process.returncode != 0:
        raise Failed(f"`{' '.join(command[:3])} ...` exited with {process.returncode}")
    return most


def _tree(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        try:
            for task in Path(f"/proc/{found[-1]}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # It has ended.
    return found


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
