"""Again: a source compiled on every save, in one process. Tenants whose files are as they were are not looked at."""

from collections.abc import Callable, Mapping
from pathlib import Path

from stoa_compiler.diagnostics import Report, Stop
from stoa_compiler.graph import Graph
from stoa_compiler.load import PLATFORM_FILE, Source, load
from stoa_compiler.pipeline import Bundle, check_together, judge_tenants, render, targets_of
from stoa_compiler.records import record
from stoa_compiler.shares import FORGETFUL, Making, One, whole
from stoa_compiler.source import SourceFile
from stoa_compiler.targets import MODULES
from stoa_compiler.watch import UNWATCHED

Stamps = Mapping[str, tuple[int, ...]]
"""What tells that a file changed, by its path below the source's folder."""


@record(slots=False)
class _State:
    """A source without errors, and what came of it."""

    stamps: Stamps
    tenants: Mapping[str, One]


@record(slots=False)
class Compiled:
    """What one save came to."""

    found: Report
    files: Mapping[str, SourceFile]
    bundle: Bundle | None
    """None where there are errors: what was compiled before still holds."""


class Again:
    """Compiles a source for one environment, and again what changed.

    `prepared` is what becomes of a graph before anything is rendered: it may change each tenant by itself.
    """

    def __init__(self, root: Path, environment: str, prepared: Callable[[Graph], Graph]) -> None:
        self._root = root
        self._environment = environment
        self._prepared = prepared
        self._state: _State | None = None

    def compiled(self, stamps: Stamps) -> Compiled:
        """What the source comes to, whose files look like `stamps` now."""
        report = Report()
        state, unchanged = self._state, self._unchanged(stamps)
        known = {name: state.tenants[name] for name in unchanged} if state is not None else {}
        source = load(self._root, report, known={name: one.known for name, one in known.items()})
        made = Making(self._judge, targets_of, [self._environment], MODULES.keys(), FORGETFUL, UNWATCHED).share(source)
        share = whole(
            [made], known, report, lambda others: self._judge(load(self._root, Report(), known=others), Report())
        )
        if share.graph is None:
            return Compiled(report, source.files, None)
        check_together(share.graph, report)
        report.found.extend(share.proved.get(self._environment, ()))
        if report.errors:
            return Compiled(report, source.files, None)
        try:
            bundle = render(share.graph, self._environment, report, parts=share.parts(self._environment))
        except Stop:
            return Compiled(report, source.files, None)
        self._state = _State(stamps, share.tenants)
        return Compiled(report, source.files, bundle)

    def _unchanged(self, stamps: Stamps) -> frozenset[str]:
        """Tenants whose files are those of the last time; none where the platform's document changed."""
        state = self._state
        if state is None:
            return frozenset()
        changed = {path for path in stamps.keys() | state.stamps.keys() if stamps.get(path) != state.stamps.get(path)}
        if PLATFORM_FILE in changed:
            return frozenset()
        return frozenset(state.tenants) - {path.partition("/")[0] for path in changed}

    def _judge(self, source: Source, report: Report) -> Graph | None:
        graph = judge_tenants(source, report)
        return None if graph is None else self._prepared(graph)
