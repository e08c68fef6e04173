"""The compiler on one screen: each phase is a function from one frozen value to the next.

load -> parse -> validate -> link -> check -> emit -> verify -> write
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

from stoa_compiler import __version__, shares
from stoa_compiler.beside import MANY_DOCUMENTS
from stoa_compiler.checks import OF_TENANTS, TOGETHER, check
from stoa_compiler.diagnostics import Report, Stop
from stoa_compiler.graph import Graph
from stoa_compiler.link import link
from stoa_compiler.load import Source, load
from stoa_compiler.parse import parse
from stoa_compiler.records import record
from stoa_compiler.shares import FORGETFUL, Engine, Making, Memory, PartsOfTargets, Share
from stoa_compiler.target import Artifact, Joined, PartsOf, Target
from stoa_compiler.targets import JUDGING, MODULES, target_named
from stoa_compiler.validate import validate
from stoa_compiler.watch import UNWATCHED, Watch

NOTHING: PartsOfTargets = {}
Begin = Callable[[Joined], None]


@record(slots=False)
class Checked:
    """A source that was read, and its graph where it has one."""

    source: Source
    graph: Graph | None
    """None where there is no sound platform document; there is then at least one error."""


@record(slots=False)
class Bundle:
    """One environment's files, in memory."""

    files: Mapping[str, Artifact]
    """Every file by path, `bundle.json` included."""
    digest: str | None
    """The runtime manifest's digest; None where the target `mcp` is not rendered."""


@record(slots=False)
class Compiled:
    """A source with the bundles of environments."""

    source: Source
    graph: Graph | None
    """As above; tenants' nodes may have to be made again."""
    bundles: Mapping[str, Bundle]
    """By environment; only of those that hold, and none where the source has an error."""
    tools: Mapping[str, int]
    """How many each tenant has."""


def read(root: Path, report: Report, watch: Watch = UNWATCHED) -> Checked:
    """The source's graph with every finding of the phases before the first output."""
    with watch.phase("load"):
        source = load(root, report)
    return judge(source, report, watch)


def judge(source: Source, report: Report, watch: Watch = UNWATCHED) -> Checked:
    """The same for files that are in memory."""
    graph = judge_tenants(source, report, watch)
    check_together(graph, report, watch)
    return Checked(source, graph)


def judge_tenants(source: Source, report: Report, watch: Watch = UNWATCHED) -> Graph | None:
    """The graph, each of its tenants judged by itself."""
    with watch.phase("parse"):
        documents = parse(source.placed, report)
    with watch.phase("validate"):
        models = validate(documents, report)
    with watch.phase("link"):
        graph = link(source, models, report)
    with watch.phase("check"):
        if graph is not None:
            check(graph, report, OF_TENANTS)
        if graph is None or report.errors:  # Else nothing is left out.
            from stoa_compiler.unlinked import judge_unlinked

            judge_unlinked(documents, graph, report)
    return graph


def check_together(graph: Graph | None, report: Report, watch: Watch = UNWATCHED) -> None:
    """Judges the platform, and its tenants side by side."""
    with watch.phase("check"):
        if graph is not None:
            check(graph, report, TOGETHER)


def checked(root: Path, report: Report, jobs: int = 1, watch: Watch = UNWATCHED, memory: Memory = FORGETFUL) -> Checked:
    """The source with every mistake of its authors, also those that only a target's verification finds.

    Jobs and memory are those of `compiled`.
    """
    source, share = _shared(root, report, None, jobs, watch, memory, None, JUDGING)
    if share.graph is not None and not report.errors:
        for environment in share.graph.platform.spec.environments:
            found = Report(list(share.proved.get(environment, ())))
            _emitted(share.graph, environment, found, watch, share.parts(environment), JUDGING)
            report.found.extend(dict.fromkeys(found.found))
    return Checked(source, share.graph)


def compiled(
    root: Path,
    report: Report,
    environments: Sequence[str] | None = None,
    jobs: int = 1,
    watch: Watch = UNWATCHED,
    memory: Memory = FORGETFUL,
    engine: Engine | None = None,
    begin: Begin | None = None,
) -> Compiled:
    """The source and its bundles: of all environments that it declares, or of those named that it declares.

    With several `jobs`, the tenants of a large source are shared among processes; an `engine` shares any source
    among others. Tenants that `memory` knows are not read again. `begin` may begin to write what is joined,
    which takes longest.
    """
    source, share = _shared(root, report, environments, jobs, watch, memory, engine, MODULES.keys())
    bundles: dict[str, Bundle] = {}
    if share.graph is not None and not report.errors:
        for environment in shares.wanted(share.graph, environments):
            found = Report(list(share.proved.get(environment, ())))
            with suppress(Stop):
                bundles[environment] = render(share.graph, environment, found, watch, share.parts(environment), begin)
            report.found.extend(dict.fromkeys(found.found))
    return Compiled(source, share.graph, bundles, {name: one.tools for name, one in share.tenants.items()})


def _shared(
    root: Path,
    report: Report,
    environments: Sequence[str] | None,
    jobs: int,
    watch: Watch,
    memory: Memory,
    engine: Engine | None,
    targets: Collection[str],
) -> tuple[Source, Share]:
    """The source, and what its tenants came to."""
    with watch.phase("recall"):
        known = memory.known(environments, targets)
    with watch.phase("load"):
        source = load(root, report, known={name: one.known for name, one in known.items()})
    if len(source.placed) < MANY_DOCUMENTS:
        jobs = 1
    if engine is None:
        engine = partial(shares.beside_here, jobs)
    seen = watch if jobs == 1 else UNWATCHED
    with watch.phase("shares") if jobs > 1 else nullcontext():
        made = engine(making(environments, memory, seen, targets), source)
    share = shares.whole(
        made, known, report, lambda others: judge_tenants(load(root, Report(), known=others), Report())
    )
    check_together(share.graph, report, watch)
    if not report.errors and not any(share.proved.values()):
        with watch.phase("keep", "tenants"):
            memory.settle(share.tenants, source)
    return source, share


def making(
    environments: Sequence[str] | None,
    memory: Memory = FORGETFUL,
    watch: Watch = UNWATCHED,
    targets: Collection[str] = MODULES.keys(),
) -> Making:
    """How shares are made, of the environments and targets to render."""
    return Making(partial(judge_tenants, watch=watch), targets_of, environments, targets, memory, watch)


def render(
    graph: Graph,
    environment: str,
    report: Report,
    watch: Watch = UNWATCHED,
    parts: PartsOfTargets = NOTHING,
    begin: Begin | None = None,
) -> Bundle:
    """The environment's bundle, each target's artifacts verified; raises `Stop` when one does not hold.

    `parts` are those of every tenant, by target, which were made and proved before.
    """
    files = _emitted(graph, environment, report, watch, parts, begin=begin)
    report.stop_if_errors()
    with watch.phase("seal"):
        return seal(graph, environment, files)


def _emitted(
    graph: Graph,
    environment: str,
    report: Report,
    watch: Watch,
    parts: PartsOfTargets,
    among: Collection[str] = MODULES.keys(),
    begin: Begin | None = None,
) -> Mapping[str, Artifact]:
    """Every artifact by its path, verified."""
    files: dict[str, Artifact] = {}
    for target in targets_of(graph, environment, among):
        carried = {p: a for p, a in files.items() if p.partition("/")[0] in target.carries}
        proved = parts.get(target.name, {}) if parts else None
        emitted = _made(target, graph, environment, carried, proved, report, watch, begin)
        files.update({a.path: a for a in emitted})
    return files


def _made(
    target: Target,
    graph: Graph,
    environment: str,
    carried: Mapping[str, Artifact],
    proved: PartsOf | None,
    report: Report,
    watch: Watch,
    begin: Begin | None,
) -> Sequence[Artifact]:
    with watch.phase("emit", target.name):
        if proved is None:
            emitted = target.emit(graph, environment, carried)
        else:
            emitted = target.parts.join(graph, environment, proved, carried)
    for artifact in emitted:
        if begin is not None and isinstance(artifact, Joined):
            begin(artifact)
    artifacts = {**carried, **{a.path: a for a in emitted}}
    with watch.phase("verify", target.name):
        if proved is None:
            target.verify(graph, environment, artifacts, report)
        else:
            target.parts.verify_rest(graph, environment, proved, artifacts, report)
    return emitted


def targets_of(graph: Graph, environment: str, among: Collection[str] = MODULES.keys()) -> list[Target]:
    """The targets that the environment declares, in the order in which they are emitted."""
    declared = graph.environment(environment).targets
    return [target_named(name) for name in MODULES if name in declared and name in among]


def seal(graph: Graph, environment: str, files: Mapping[str, Artifact]) -> Bundle:
    """The files with `bundle.json`, which lists each with its digest."""
    from stoa_schemas import bundle  # Only here: a check seals nothing.

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
