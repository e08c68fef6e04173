"""Timings: where a run's time and memory went, for `stoa compile --timings`, and its profile for `--profile`."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from stoa_compiler.cache import Cache
from stoa_compiler.records import record
from stoa_compiler.watch import Lap

if TYPE_CHECKING:
    from stoa_compiler.load import Placed

SLOWEST = 10
"""Documents that are listed."""


class CountedCache(Cache):
    """A cache that counts what it gave, what it did not have and what it took."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache.folder, cache.limit)
        self._cache = cache
        self.found = self.absent = self.kept = 0

    def get(self, key: str) -> bytes | None:
        """The entry, counted."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of the entries that are there, all counted."""
        found = self._cache.get_many(keys)
        self.found += len(found)
        self.absent += len(keys) - len(found)
        return found

    def has_many(self, keys: Collection[str]) -> Set[str]:
        """Those of the entries that are there; nothing is read, so nothing is counted."""
        return self._cache.has_many(keys)

    def put(self, key: str, *payload: bytes) -> None:
        """Keeps the entry, and counts it."""
        self._cache.put(key, *payload)
        self.kept += 1

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keeps the entries, and counts them."""
        self._cache.put_many(entries)
        self.kept += len(entries)


@record
class Slow:
    """What one document costs by itself."""

    path: str
    seconds: float
    """To read and validate it."""
    size: int
    plain: bool
    """Whether the fast reader could read it; libyaml reads the others, ten times slower."""


def slowest(placed: "Sequence[Placed]", count: int = SLOWEST) -> list[Slow]:
    """The documents that cost most, slowest first: each is read and validated once more, alone."""
    from stoa_compiler.diagnostics import Report
    from stoa_compiler.fastread import fast_read
    from stoa_compiler.parse import understand
    from stoa_compiler.validate import validate_document

    costs = []
    for place in placed:
        started = time.perf_counter()
        document = understand(place.file, Report())
        if document is not None:
            validate_document(place, document, Report())
        costs.append((time.perf_counter() - started, place))
    costs.sort(key=lambda cost: (-cost[0], cost[1].file.path))
    return [
        Slow(place.file.shown, seconds, len(place.file.content), fast_read(place.file.content) is not None)
        for seconds, place in costs[:count]
    ]


@record
class Timings:
    """What `--timings` tells."""

    laps: Sequence[Lap]
    seconds: float
    """From the command's start; starting Python and finding the command came before."""
    start_cpu: float
    """Seconds of processors that had passed by then."""
    slowest: Sequence[Slow]
    cache: CountedCache | None
    recalled: bool
    """Whether an earlier run of the same source gave the result."""

    def as_json(self) -> dict[str, Any]:
        """For the summary of `--format json`."""
        return {
            "milliseconds": _ms(self.seconds),
            "startCpuMilliseconds": _ms(self.start_cpu),
            "phases": [
                {
                    "phase": lap.phase,
                    **({"target": lap.target} if lap.target else {}),
                    "milliseconds": _ms(lap.seconds),
                    "cpuMilliseconds": _ms(lap.cpu),
                    "peakBytes": lap.peak,
                }
                for lap in self.laps
            ],
            "slowest": [
                {"path": s.path, "milliseconds": _ms(s.seconds), "bytes": s.size, "plain": s.plain}
                for s in self.slowest
            ],
            "recalled": self.recalled,
            "cache": {"found": self.cache.found, "absent": self.cache.absent, "kept": self.cache.kept}
            if self.cache
            else None,
        }

    def as_text(self) -> str:
        """For people."""
        lines = [f"{'phase':<20}{'ms':>10}{'CPU ms':>10}{'peak MB':>10}"]
        lines += [
            f"{f'{lap.phase} {lap.target}'.rstrip():<20}{lap.seconds * 1000:>10.1f}{lap.cpu * 1000:>10.1f}"
            f"{lap.peak / 1e6:>10.1f}"
            for lap in self.laps
        ]
        spent = sum(lap.cpu for lap in self.laps)
        lines.append(f"{'whole command':<20}{self.seconds * 1000:>10.1f}{spent * 1000:>10.1f}")
        lines.append(f"before it, to start Python: {self.start_cpu * 1000:.1f} ms of CPU")
        if self.slowest:
            lines += ["", "slowest documents, each read and validated once more, alone:"]
            lines += [
                f"{s.seconds * 1000:>9.1f} ms {s.size / 1000:>8.1f} KB  {s.path}{'' if s.plain else ', not plain YAML'}"
                for s in self.slowest
            ]
        if self.cache is None:
            lines += ["", "cache: not used"]
        else:
            run = "the run was made before" if self.recalled else "the run is new"
            counted = f"{self.cache.found} entries found, {self.cache.absent} absent, {self.cache.kept} kept"
            lines += ["", f"cache: {run}; {counted}"]
        return "\n".join(lines)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


@contextmanager
def profiled(stream: BinaryIO) -> Iterator[None]:
    """Writes a profile of what runs inside to `stream`, in the form that `pstats` and its viewers read."""
    import cProfile
    import marshal

    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.create_stats()
        marshal.dump(profile.stats, stream)
