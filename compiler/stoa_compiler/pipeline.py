"""The compiler on one screen: each phase is a function from one frozen value to the next.

load -> parse -> validate -> link -> check -> emit -> verify -> write
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stoa_compiler import __version__
from stoa_compiler.beside import beside
from stoa_compiler.checks import check
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.link import link
from stoa_compiler.load import Source, load
from stoa_compiler.parse import parse
from stoa_compiler.target import Artifact, Target
from stoa_compiler.targets import TARGETS
from stoa_compiler.unlinked import judge_unlinked
from stoa_compiler.validate import validate
from stoa_compiler.watch import UNWATCHED, Watch
from stoa_schemas import bundle

MANY = 100
"""Files of a bundle from which on children verify it."""


@dataclass(frozen=True)
class Checked:
    """A source that was read, and its graph where it has one."""

    source: Source
    graph: Graph | None
    """None where there is no sound platform document; there is then at least one error."""


@dataclass(frozen=True)
class Bundle:
    """One environment's files, in memory."""

    files: Mapping[str, Artifact]
    """Every file by path, `bundle.json` included."""
    digest: str | None
    """The runtime manifest's digest; None where the target `mcp` is not rendered."""


def read(root: Path, report: Report, jobs: int = 1, watch: Watch = UNWATCHED) -> Checked:
    """The source's graph with every finding of the phases before the first output."""
    with watch.phase("load"):
        source = load(root, report)
    return judge(source, report, jobs, watch)


def judge(source: Source, report: Report, jobs: int = 1, watch: Watch = UNWATCHED) -> Checked:
    """The same for files that are in memory."""
    with watch.phase("parse"):
        documents = parse(source.placed, report, jobs)
    with watch.phase("validate"):
        models = validate(documents, report)
    with watch.phase("link"):
        graph = link(source, models, report)
    with watch.phase("check"):
        if graph is not None:
            check(graph, report, jobs)
        judge_unlinked(documents, graph, report)
    return Checked(source, graph)


def render(graph: Graph, environment: str, report: Report, watch: Watch = UNWATCHED, jobs: int = 1) -> Bundle:
    """The environment's bundle, each target's artifacts verified; raises `Stop` when one does not hold.

    With several `jobs`, a large bundle is verified in children, beside what is emitted next.
    """
    files: dict[str, Artifact] = {}
    verifying: list[tuple[Target, Callable[[], Report]]] = []
    for target in targets_of(graph, environment):
        carried = {p: a for p, a in files.items() if p.split("/")[0] in target.carries}
        with watch.phase("emit", target.name):
            emitted = {a.path: a for a in target.emit(graph, environment, carried)}
        verify = partial(_verified, target, graph, environment, {**carried, **emitted})
        verifying.append((target, beside(verify) if jobs > 1 and len(files) + len(emitted) > MANY else verify))
        files.update(emitted)
    for target, verified in verifying:
        with watch.phase("verify", target.name):
            report.found.extend(verified().found)
    report.stop_if_errors()
    with watch.phase("seal"):
        return seal(graph, environment, files)


def _verified(target: Target, graph: Graph, environment: str, artifacts: Mapping[str, Artifact]) -> Report:
    report = Report()
    target.verify(graph, environment, artifacts, report)
    return report


def targets_of(graph: Graph, environment: str) -> list[Target]:
    """The targets that the environment declares, in the order in which they are emitted."""
    declared = graph.environment(environment).targets
    return [t for t in TARGETS if t.name in declared]


def seal(graph: Graph, environment: str, files: Mapping[str, Artifact]) -> Bundle:
    """The files with `bundle.json`, which lists each with its digest."""
    manifest = files.get(bundle.RUNTIME_MANIFEST)
    digest = bundle.sha256(manifest.content) if manifest else None
    listing = bundle.Bundle(
        compiler=__version__,
        platform=graph.name,
        environment=environment,
        development=graph.environment(environment).development,
        digest=digest,
        artifacts=[files[path].listing for path in sorted(files)],
    )
    sealed = Artifact(bundle.BUNDLE_FILE, "application/json", listing.encode(), (graph.origin,))
    return Bundle({**files, bundle.BUNDLE_FILE: sealed}, digest)
