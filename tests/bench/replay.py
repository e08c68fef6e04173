"""How long `stoa replay` takes for 100,000 events: `python tests/bench/replay.py`.

The whole command is timed, as a process of its own on one core. The reference beside it is merely parsing the same
lines with orjson. A log of that many events is written with the runtime's own code, and the demo source is compiled.
"""

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from stoa_compiler.replay.callers import _development_subject
from stoa_runtime.audit import Event, open_audit
from stoa_schemas import bundle

EVENTS, ROUNDS = 100_000, 3
ROOT = Path(__file__).parents[2]
STOA = Path(sys.executable).with_name("stoa")


def main() -> int:
    """Prints the figures."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        built = folder / "bundle"
        source = [str(ROOT / "tenants"), "--env", "dev", "--out", str(built)]
        subprocess.run([STOA, "compile", *source], check=True, capture_output=True)
        path = folder / "audit.jsonl"
        _write(path, built)
        core = {min(os.sched_getaffinity(0))}

        def run(*arguments: str | Path) -> None:
            subprocess.run(
                [STOA, "replay", *arguments],
                check=True,
                capture_output=True,
                preexec_fn=lambda: os.sched_setaffinity(0, core),
            )

        whole = _quickest(lambda: run(path, "--against", built, "--format", "json"))
        parsing = _quickest(lambda: _parse(path))
        start = _quickest(lambda: run("--help"))
        print(f"{EVENTS:,} events, {path.stat().st_size / 1e6:.0f} MB; seconds of the clock, and of the processor")
        print(f"parsing the lines (reference)     {parsing[0]:6.2f} {parsing[1]:6.2f}")
        times = whole[1] / parsing[1]
        print(f"stoa replay, whole command        {whole[0]:6.2f} {whole[1]:6.2f}   {times:.1f} x the reference")
        print(f"of which starting up              {start[0]:6.2f} {start[1]:6.2f}")
    return 0


def _parse(path: Path) -> None:
    with path.open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def _write(path: Path, built: Path) -> None:
    """A log of calls by everybody whom the bundle knows, of tools that they see and some that they don't."""
    chance = random.Random(7)
    index = bundle.PlatformIndex.model_validate_json((built / bundle.PLATFORM_INDEX).read_bytes())
    people = bundle.Development.model_validate_json((built / bundle.DEVELOPMENT).read_bytes()).people
    catalogs = [bundle.Catalog.model_validate_json((built / t.catalog).read_bytes()) for t in index.tenants]
    tools = [t.id for c in catalogs for t in c.tools]
    log = open_audit(path, source=f"/stoa/{index.name}/{index.environment}")
    for number in range(EVENTS):
        person = chance.choice(people)
        own = [t for t in tools if person.tenant in ("platform", t.partition(":")[0])]
        log.write(
            Event(
                "allowed",
                "granted",
                f"{number:032x}",
                "sha256:" + "b" * 64,
                _development_subject(index.name, "person", person.username),
                person.tenant,
                "claude",
                chance.choice(own),
                arguments="sha256:" + "c" * 64,
                backend_status=200,
                duration_ms=12.345,
                protocol="2026-07-28",
                traceparent=f"00-{'a' * 32}-{'d' * 16}-01",
            )
        )
    log.close()


def _quickest(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processor in the quickest of some rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), _processor()
        work()
        rounds.append((time.perf_counter() - began, _processor() - used))
    return min(r[0] for r in rounds), min(r[1] for r in rounds)


def _processor() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(r.ru_utime + r.ru_stime for r in both)


if __name__ == "__main__":
    sys.exit(main())
