"""A source's tenants proved in shares, as in processes of their own, and what is joined of them later."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph, Remembered, TenantNode
from stoa_compiler.pipeline import targets_of
from stoa_compiler.target import Artifact, Part, Parts, Stored
from stoa_compiler.targets import target_named
from tests.compiler.targets.clustered import rendered

PartsOf = Mapping[str, Part]


@dataclass(frozen=True)
class Proved:
    """Parts of every target by target and tenant, and the files of the bundle."""

    graph: Graph
    """Whose tenants' nodes nobody may ask for."""
    parts: Mapping[str, PartsOf]
    """Those that only the target `mcp` reads again can be read."""
    found: Sequence[str]
    """What the proofs found."""
    files: Mapping[str, Artifact]

    def replaced(self, target: str, **changed: Part | None) -> dict[str, Part]:
        """The target's parts with these in their place; without those that are None."""
        found: dict[str, Part | None] = {**self.parts[target], **changed}
        return {name: part for name, part in found.items() if part is not None}

    def rest(
        self, target: str, parts: PartsOf | None = None, files: Mapping[str, Artifact] | None = None
    ) -> Sequence[str]:
        """What verifying the rest finds, with other files than those that were made, or with those of other parts."""
        report, made = Report(), parts_of(target)
        asked, own = self.files if files is None else files, {target, *target_named(target).carries}
        artifacts = {p: a for p, a in asked.items() if p.partition("/")[0] in own}
        if parts is None:
            parts = self.parts[target]
        else:
            carried = {p: a for p, a in artifacts.items() if p.partition("/")[0] != target}
            artifacts = carried | {a.path: a for a in made.join(self.graph, "prod", parts, carried)}
        made.verify_rest(self.graph, "prod", parts, artifacts, report)
        return said(report)


def assert_joined(every: Graph, apart: Proved, target: str) -> None:
    """Proved in shares and joined, the target's files are what is made at once, and the proofs find nothing."""
    whole = {p: a.digest for p, a in rendered(every).items() if p.startswith(f"{target}/")}
    joined = [a for a in apart.files.values() if a.path.startswith(f"{target}/")]
    assert {a.path: a.digest for a in joined} == whole
    assert [a.path for a in joined] == sorted(whole)
    assert apart.found == []
    assert apart.rest(target) == []


def parts_of(target: str) -> Parts:
    """How the target is made of parts."""
    return target_named(target).parts


def said(report: Report) -> list[str]:
    """The findings in words."""
    return [f"{d.rule.code} {d.message}" for d in report.sorted()]


def share(graph: Graph, tenants: Collection[str]) -> Graph:
    """The graph of these tenants alone."""
    return replace(graph, tenants=tuple(t for t in graph.tenants if t.name in tenants))


def proof(graph: Graph, target: str, parts: PartsOf, carried: Mapping[str, Artifact]) -> list[str]:
    """What proving the parts of a share finds."""
    report = Report()
    own = {p: a for p, a in carried.items() if p.partition("/")[0] in target_named(target).carries}
    parts_of(target).verify(graph, "prod", parts, own, report)
    return said(report)


def proved(graph: Graph, shares: Sequence[Collection[str]]) -> Proved:
    """The bundle, its tenants proved in these shares."""
    made: dict[str, dict[str, Part]] = {}
    found: list[str] = []
    for own in (share(graph, names) for names in shares):
        carried: dict[str, Artifact] = {}
        for target in targets_of(graph, "prod"):
            parts = {t.name: target.parts.emit(own, "prod", t, carried) for t in own.tenants_in("prod")}
            found += proof(own, target.name, parts, carried)
            carried |= {a.path: a for part in parts.values() for a in part.artifacts}
            made.setdefault(target.name, {}).update(parts)
    light = replace(graph, tenants=Remembered(graph.facts, nodes))
    kept = {t: {n: stored(p, t == "mcp") for n, p in sorted(parts.items())} for t, parts in made.items()}
    files: dict[str, Artifact] = {}
    for target in targets_of(graph, "prod"):
        before = {p: a for p, a in files.items() if p.partition("/")[0] in target.carries}
        emitted = target.parts.join(light, "prod", kept[target.name], before)
        files |= {a.path: a for a in emitted}
    return Proved(light, kept, found, files)


def nodes(names: Collection[str]) -> Mapping[str, TenantNode]:
    """Nobody's: whoever asks has failed."""
    raise AssertionError(f"somebody asked for the nodes of {sorted(names)}")


def stored(part: Part, readable: bool) -> Part:
    """The part as it is kept; where it is not `readable`, whoever asks for a content has failed."""

    def one(artifact: Artifact) -> Artifact:
        def read(digest: str) -> bytes:
            assert readable, f"somebody read {artifact.path} again"
            return artifact.content

        return Stored(artifact.path, artifact.media_type, artifact.digest, artifact.size, read)

    return replace(part, artifacts=tuple(map(one, part.artifacts)))
