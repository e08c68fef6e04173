"""A bundle compared with the source that it is said to come from: each target's own readers against the graph."""

from collections.abc import Mapping
from pathlib import Path

from stoa_compiler import pipeline
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.records import record
from stoa_compiler.target import Artifact
from stoa_compiler.targets import MODULES, target_named
from stoa_compiler.verify_bundle import declared
from stoa_compiler.verify_bundle.findings import MISMATCH, Finding
from stoa_schemas import bundle


@record(slots=False)
class Compared:
    """What the source says of a bundle."""

    report: Report
    """What the targets' readers found, at the declarations that differ."""
    findings: tuple[Finding, ...] = ()
    """What belongs to no declaration."""
    sound: bool = True
    """Whether the source could be read at all."""


def compare(files: Mapping[str, bytes], root: Path, environment: str) -> Compared:
    """The bundle's files against the source in `root`."""
    report = Report()
    graph = pipeline.read(root, report).graph
    if graph is None or report.errors:
        return Compared(report, sound=False)
    return compare_graph(files, graph, environment)


def compare_graph(files: Mapping[str, bytes], graph: Graph, environment: str) -> Compared:
    """The same for a source that was read."""
    report = Report()
    if environment not in graph.platform.spec.environments:
        said = f"the source declares no environment `{environment}`"
        return Compared(report, (Finding(bundle.BUNDLE_FILE, "/environment", MISMATCH.code, said),))
    targets = graph.environment(environment).targets
    artifacts = {path: Artifact(path, "", content, ()) for path, content in files.items()}
    found = [
        Finding(path, "", MISMATCH.code, "the source renders nothing of the kind here")
        for path in sorted(files)
        if path.split("/")[0] in MODULES and path.split("/")[0] not in targets
    ]
    for name in MODULES:
        if name in targets:
            target = target_named(name)
            own = {name, *target.carries}
            try:
                target.verify(
                    graph, environment, {p: a for p, a in artifacts.items() if p.split("/")[0] in own}, report
                )
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                # Its readers are written for what its emitter may get wrong; a file may be anything here.
                said = f"it cannot be compared with the source: {error!r}"
                found.append(Finding(f"{name}/", "", MISMATCH.code, said))
    found += declared.compare(files, graph, environment)
    return Compared(report, tuple(found))
