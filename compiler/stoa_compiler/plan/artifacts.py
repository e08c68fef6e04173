"""The artifacts that change: both sides rendered, file by file, for each environment."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from stoa_compiler.diagnostics import Report, Stop
from stoa_compiler.graph import Graph
from stoa_compiler.pipeline import render
from stoa_compiler.plan.changes import ArtifactChange
from stoa_compiler.target import Artifact
from stoa_schemas.bundle import BUNDLE_FILE


def artifact_changes(base: Graph | None, head: Graph, whole: bool) -> tuple[Sequence[ArtifactChange], Sequence[str]]:
    """The artifacts that differ, and in sentences what could not be rendered.

    Where the graphs are not `whole`, an artifact of several tenants is known by its difference alone.
    """
    found: list[ArtifactChange] = []
    failed: list[str] = []
    before_all = list(base.platform.spec.environments) if base else []
    for environment in dict.fromkeys([*before_all, *head.platform.spec.environments]):
        sides: list[Mapping[str, Artifact]] = []
        for side, graph in (("base", base), ("head", head)):
            if graph is None or environment not in graph.platform.spec.environments:
                sides.append({})
                continue
            try:
                sides.append(render(graph, environment, Report()).files)
            except Stop:
                failed.append(f"{side} cannot be rendered for `{environment}`: its artifacts were not compared")
                break
        if len(sides) == 2:
            found += _differences(environment, sides[0], sides[1], whole)
    return sorted(found), failed


def _differences(
    environment: str, before: Mapping[str, Artifact], after: Mapping[str, Artifact], whole: bool
) -> Iterator[ArtifactChange]:
    for path in sorted({*before, *after} - {BUNDLE_FILE}):
        old, new = before.get(path), after.get(path)
        if old is not None and new is not None and old.content == new.content:
            continue
        kind = "added" if old is None else "removed" if new is None else "changed"
        yield ArtifactChange(
            environment=environment,
            target=path.partition("/")[0],
            path=path,
            kind=kind,  # type: ignore[arg-type]
            before=len(old.content) if old else 0,
            after=len(new.content) if new else 0,
            whole=whole or all(_of_a_tenant(a) for a in (old, new) if a is not None),
        )


def _of_a_tenant(artifact: Artifact) -> bool:
    """Whether the artifact comes from the documents of one tenant."""
    tenants = {o.document.file.path.partition("/")[0] for o in artifact.origins if "/" in o.document.file.path}
    return len(tenants) == 1 and any(t in artifact.path for t in tenants)


def bundle_digests(graph: Graph, report: Report) -> dict[str, str]:
    """sha256 of each environment's `bundle.json`, which lists every artifact with its digest; raises `Stop`."""
    return {
        environment: "sha256:"
        + hashlib.sha256(render(graph, environment, report).files[BUNDLE_FILE].content).hexdigest()
        for environment in graph.platform.spec.environments
    }
