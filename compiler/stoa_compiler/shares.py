"""Shares: a source's tenants in parts, each taken from bytes to rendered catalogs by one process.

A tenant's documents mean what they mean by themselves, by the platform's document and by the names of others'
documents: so each share is judged, rendered and proved alone, and gives back its findings, the rendered bytes, and
its tenants without their operations. What looks at all tenants side by side is done once, with these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from stoa_compiler.beside import beside
from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.graph import ContractNode, Graph, TenantNode
from stoa_compiler.load import Source
from stoa_compiler.sending import receive, send
from stoa_compiler.source import SourceFile
from stoa_compiler.target import Artifact, Target

Parts = Mapping[str, Mapping[str, Artifact]]
"""Artifacts that are one tenant's alone, proved: by target and path."""


@dataclass(frozen=True)
class Share:
    """What came of some tenants."""

    found: Sequence[Diagnostic]
    graph: Graph | None
    """Only these tenants, without operations where they come from another process."""
    parts: Mapping[str, Parts]
    """By environment; nothing where there is an error."""
    proved: Mapping[str, Sequence[Diagnostic]]
    """What verifying them found, by environment."""
    tools: Mapping[str, int]
    """How many each tenant has."""


Judge = Callable[[Source, Report], Graph | None]
"""Takes a source to its graph and judges its tenants."""
TargetsOf = Callable[[Graph, str], Sequence[Target]]


def whole(shares: Sequence[Share], source: Source, report: Report) -> Share:
    """The shares of a source as one; `report` gets their findings."""
    report.found.extend(d for share in shares for d in share.found)
    graphs = [share.graph for share in shares if share.graph is not None]
    environments = list(dict.fromkeys(e for share in shares for e in share.proved))
    tenants = sorted((t for g in graphs for t in g.tenants), key=lambda t: t.name)
    return Share(
        found=report.found,
        graph=replace(graphs[0], tenants=tuple(tenants)) if graphs else None,
        parts={e: _together([s.parts.get(e, {}) for s in shares]) for e in environments},
        proved={e: [d for s in shares for d in s.proved.get(e, ())] for e in environments},
        tools={name: count for share in shares for name, count in share.tools.items()},
    )


def _together(parts: Sequence[Parts]) -> Parts:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: {path: a for part in parts for path, a in part.get(name, {}).items()} for name in names}


def compiled(
    source: Source, count: int, environments: Sequence[str] | None, judge: Judge, targets_of: TargetsOf
) -> list[Share]:
    """The source's shares, `count` of them; children make all but the first.

    `environments` are those to render: all that the platform declares where it is None.
    """
    files = {file.path: file for file in source.files.values()}
    work = [partial(_compiled, part, environments, judge, targets_of) for part in divided(source, count)]
    others = [beside(partial(_light, w), send, partial(_received, files=files)) for w in work[1:]]
    return [work[0](), *(other() for other in others)]


def divided(source: Source, count: int) -> list[Source]:
    """The source narrowed to as many groups of tenants, of about as many bytes each."""
    sizes: dict[str, int] = {}
    for place in source.placed:
        if place.tenant is not None:
            sizes[place.tenant] = sizes.get(place.tenant, 0) + len(place.file.content)
    size, groups = max(sum(sizes.values()), 1), [set[str]() for _ in range(count)]
    before = 0
    for tenant in sorted(sizes):
        groups[min(before * count // size, count - 1)].add(tenant)
        before += sizes[tenant]
    return [source.narrowed(group) for group in groups if group] or [source]


def _received(sent: bytes, files: Mapping[str, SourceFile]) -> Share:
    share = receive(sent, files.__getitem__)
    assert isinstance(share, Share)
    return share


def _compiled(source: Source, environments: Sequence[str] | None, judge: Judge, targets_of: TargetsOf) -> Share:
    report = Report()
    graph = judge(source, report)
    parts: dict[str, Parts] = {}
    proved: dict[str, Sequence[Diagnostic]] = {}
    if graph is not None and not report.errors:
        declared = list(graph.platform.spec.environments)
        for environment in declared if environments is None else [e for e in environments if e in declared]:
            proofs = Report()
            parts[environment] = {
                target.name: _parts(target, graph, environment, proofs)
                for target in targets_of(graph, environment)
                if target.parts is not None
            }
            proved[environment] = proofs.found
    tools = {} if graph is None else {t.name: len(t.operations) for t in graph.tenants}
    return Share(report.found, graph, parts, proved, tools)


def _parts(target: Target, graph: Graph, environment: str, report: Report) -> dict[str, Artifact]:
    assert target.parts is not None
    made: dict[str, Artifact] = {}
    for tenant in graph.tenants_in(environment):
        mine = {a.path: a for a in target.parts.emit(graph, environment, tenant)}
        target.parts.verify(graph, environment, tenant, mine, report)
        made.update(mine)
    return made


def _light(work: Callable[[], Share]) -> Share:
    """The share as it is sent: its tenants without operations, its artifacts without a list of where they came from."""
    share = work()
    if share.graph is None:
        return share
    return replace(share, graph=replace(share.graph, tenants=tuple(map(light, share.graph.tenants))))


def light(tenant: TenantNode) -> TenantNode:
    """The tenant without its operations, which are nearly all of it."""
    return replace(tenant, contracts=tuple(map(_without_operations, tenant.contracts)))


def _without_operations(contract: ContractNode) -> ContractNode:
    spec = contract.declared.spec.model_copy(update={"operations": {}})
    return replace(contract, operations=(), declared=contract.declared.model_copy(update={"spec": spec}))
