"""What the audit log costs: `python tests/bench/audit.py`.

The reference beside each figure is the least that a log could do: one `os.write` of a line of the same length.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stoa_compiler.auditlog import verify
from stoa_runtime.audit import Event, open_audit

_ROUNDS, _EVENTS = 7, 10_000
_EVENT = Event(
    "allowed", "granted", "a" * 32, "sha256:" + "b" * 64, "parzival", "ioi", "claude", "ioi:billing:get_invoice",
    arguments="sha256:" + "c" * 64, backend_status=200, duration_ms=12.345, protocol="2026-07-28",
    traceparent=f"00-{'a' * 32}-{'d' * 16}-01",
)  # fmt: skip


def main() -> int:
    """Prints the figures."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        plain = folder / "plain"
        line = b"x" * 1100 + b"\n"
        descriptor = os.open(plain, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        reference = _each(lambda: os.write(descriptor, line))
        os.close(descriptor)
        plain.unlink()
        path = folder / "audit.jsonl"
        log = open_audit(path)
        cost = _each(lambda: log.write(_EVENT))
        log.close()
        keyed = open_audit(folder / "keyed.jsonl", key=b"0" * 32)
        with_key = _each(lambda: keyed.write(_EVENT))
        keyed.close()
        print(f"os.write of a line (reference)          {reference:8.1f} us")
        print(f"write                                   {cost:8.1f} us   {cost / reference:5.1f} x the reference")
        print(
            f"write, sealed with a key                {with_key:8.1f} us   {with_key / reference:5.1f} x the reference"
        )
        began = time.perf_counter()
        found = verify([path])
        seconds = time.perf_counter() - began
        assert not found.findings
        print(f"verify                              {found.lines / seconds:12,.0f} lines/s, {found.lines:,} lines")
        for calls in (1, 8, 64):
            rate, syncs = asyncio.run(_durable(folder / f"event-{calls}.jsonl", calls))
            print(f"durability event, {calls:3} calls at a time  {rate:12,.0f} events/s, {syncs:.1f} events a sync")
    return 0


def _each(call: Callable[[], object]) -> float:
    """Microseconds of one call, in the quickest of some rounds: the rest is other work on the machine."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for _ in range(_EVENTS):
            call()
        rounds.append((time.perf_counter() - began) / _EVENTS * 1e6)
    return min(rounds)


async def _durable(path: Path, calls: int) -> tuple[float, float]:
    """Events a second when an answer waits for its sync, and how many share one."""
    from stoa_runtime.audit import files

    real, syncs = files._sync, 0

    def counted(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        real(descriptor)

    files._sync = counted
    log = open_audit(path, durability="event")
    done, end = 0, time.monotonic() + 2.0

    async def one_after_another() -> None:
        nonlocal done
        while time.monotonic() < end:
            log.write(_EVENT)
            await log.settled()
            done += 1

    began = time.monotonic()
    await asyncio.gather(*(one_after_another() for _ in range(calls)))
    seconds = time.monotonic() - began
    await log.aclose()
    files._sync = real
    return done / seconds, done / max(syncs, 1)


if __name__ == "__main__":
    sys.exit(main())
