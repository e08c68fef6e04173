"""Shares: a source's tenants in parts, each taken from bytes to rendered catalogs by one process.

A tenant's documents mean what they mean by themselves, by the platform's document and by the names of others'
documents: so each share is judged, rendered and proved alone, and gives back its findings, the rendered bytes, and
its tenants without their operations. What looks at all tenants side by side is done once, with these.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from stoa_compiler.beside import beside
from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.graph import ContractNode, Graph, TenantNode
from stoa_compiler.load import Source
from stoa_compiler.records import record
from stoa_compiler.target import Artifact, Target
from stoa_compiler.watch import Watch

Parts = Mapping[str, Mapping[str, Sequence[Artifact]]]
"""Artifacts that are one tenant's alone, proved: by target and tenant."""


@record(slots=False)
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

    def by_tenant(self) -> "Iterator[One]":
        """What can be known again, by tenant: nothing of those where a finding stands elsewhere than in its files."""
        assert self.graph is not None
        if any(self.proved.values()):
            return
        for tenant in self.graph.tenants:
            shown = tenant.origin.document.file.shown
            folder = shown[: len(shown) - len("tenant.yaml")]
            mine = [d for d in self.found if d.span.file.startswith(folder)]
            yield One(
                name=tenant.name,
                judged=(light(tenant), mine, self.tools[tenant.name]),
                rendered={
                    environment: {target: made[tenant.name] for target, made in parts.items() if tenant.name in made}
                    for environment, parts in self.parts.items()
                },
            )


@record(slots=False)
class One:
    """What came of one tenant."""

    name: str
    judged: tuple[TenantNode, Sequence[Diagnostic], int]
    """The tenant without operations, what was found in its files, and how many tools it has."""
    rendered: Mapping[str, Mapping[str, Sequence[Artifact]]]
    """Its own artifacts, proved: by environment and target."""


class Memory(Protocol):
    """Whatever remembers tenants."""

    def known(self, environments: Sequence[str] | None) -> Mapping[str, Sequence[bytes]]:
        """What was sent of each tenant that is as it was: `One.judged`, and an environment with its `rendered`."""

    def keep(self, share: Share, source: Source) -> None:
        """Remembers a share's tenants."""


class Forgetful:
    """A memory that keeps nothing."""

    def known(self, environments: Sequence[str] | None) -> Mapping[str, Sequence[bytes]]:
        """Nothing."""
        return {}

    def keep(self, share: Share, source: Source) -> None:
        """Does nothing."""


FORGETFUL = Forgetful()

Judge = Callable[[Source, Report], Graph | None]
"""Takes a source to its graph and judges its tenants."""
TargetsOf = Callable[[Graph, str], Sequence[Target]]


@record(slots=False)
class Making:
    """How a share is made."""

    judge: Judge
    targets_of: TargetsOf
    environments: Sequence[str] | None
    """Those to render: all that the platform declares where it is None."""
    memory: Memory
    watch: Watch

    def share(self, source: Source) -> Share:
        """What comes of the source's tenants."""
        report = Report()
        graph = self.judge(source, report)
        parts: dict[str, Parts] = {}
        proved: dict[str, Sequence[Diagnostic]] = {}
        if graph is not None and not report.errors:
            for environment in wanted(graph, self.environments):
                proofs = Report()
                parts[environment] = {
                    target.name: self._parts(target, graph, environment, proofs)
                    for target in self.targets_of(graph, environment)
                    if target.parts is not None
                }
                proved[environment] = proofs.found
        tools = {} if graph is None else {t.name: len(t.operations) for t in graph.tenants}
        share = Share(report.found, graph, parts, proved, tools)
        self.memory.keep(share, source)
        return share

    def _parts(self, target: Target, graph: Graph, environment: str, report: Report) -> dict[str, Sequence[Artifact]]:
        assert target.parts is not None
        tenants = graph.tenants_in(environment)
        with self.watch.phase("emit", target.name):
            made = {t.name: target.parts.emit(graph, environment, t) for t in tenants}
        with self.watch.phase("verify", target.name):
            for tenant in tenants:
                artifacts = {a.path: a for a in made[tenant.name]}
                target.parts.verify(graph, environment, tenant, artifacts, report)
        return made

    def light(self, source: Source) -> Share:
        """The same as it is sent: its tenants without operations."""
        share = self.share(source)
        if share.graph is None:
            return share
        return replace(share, graph=replace(share.graph, tenants=tuple(map(light, share.graph.tenants))))


Engine = Callable[[Making, Source], list[Share]]
"""Makes a source's shares somewhere."""


MANY_TENANTS = 500
"""So many tenants are in one process's hands at a time, or twice as many where it is alone: what they were read into
takes far more room than what they came to."""


AHEAD = 1.08
"""How much more this process takes than a child, which has its share to send as well."""


def beside_here(count: int, making: Making, source: Source) -> list[Share]:
    """The source's shares, `count` at a time, made on this machine: children make all but the first of each round."""
    rounds = -(-source.tenants // (max(count, 2) * MANY_TENANTS)) or 1
    parts = divided(source, count * rounds, AHEAD if rounds == 1 else 1.0)
    if len(parts) == 1:
        return [making.share(source)]
    from stoa_compiler.sending import send  # Only here: small sources send nothing.

    load = partial(received, source=source)
    made: list[Share] = []
    for at in range(0, len(parts), count):
        first, *rest = parts[at : at + count]
        others = [beside(partial(making.light, part), send, load) for part in rest]
        # As if it had been sent: what it was read into goes before the next round begins.
        made.append(making.share(first) if len(parts) <= count else load(send(making.light(first))))
        made += [other() for other in others]
    return made


def wanted(graph: Graph, environments: Collection[str] | None) -> list[str]:
    """Those environments that the platform declares, in its order: all of them where it is None."""
    return [e for e in graph.platform.spec.environments if environments is None or e in environments]


def whole(shares: Sequence[Share], known: Mapping[str, Sequence[bytes]], source: Source, report: Report) -> Share:
    """The shares of a source, and the tenants that were known, as one; `report` gets what was found."""
    report.found.extend(d for share in shares for d in share.found)
    graph = next((share.graph for share in shares if share.graph is not None), None)
    if graph is None:
        return Share(report.found, None, {}, {}, {})
    tenants = [t for share in shares if share.graph is not None for t in share.graph.tenants]
    tools = {name: count for share in shares for name, count in share.tools.items()}
    parts: dict[str, dict[str, dict[str, Sequence[Artifact]]]] = {}
    for share in shares:
        for environment, made in share.parts.items():
            for target, of_tenants in made.items():
                parts.setdefault(environment, {}).setdefault(target, {}).update(of_tenants)
    if known:
        from stoa_compiler.sending import receive
    for name, sent in known.items():
        (tenant, found, count), *rendered = [receive(s, source.at.__getitem__) for s in sent]
        tenants.append(tenant)
        tools[name] = count
        report.found.extend(found)
        for environment, of_targets in rendered:
            for target, artifacts in of_targets.items():
                parts.setdefault(environment, {}).setdefault(target, {})[name] = artifacts
    proved = {e: [d for s in shares for d in s.proved.get(e, ())] for e in parts}
    together = replace(graph, tenants=tuple(sorted(tenants, key=lambda t: t.name)))
    return Share(report.found, together, parts, proved, tools)


def divided(source: Source, count: int, ahead: float = 1.0) -> list[Source]:
    """The source narrowed to as many groups of tenants, of about as many bytes each; itself where it is one.

    The first group has `ahead` times the bytes of another.
    """
    if count == 1:
        return [source]
    sizes: dict[str, int] = {}
    for place in source.placed:
        if place.tenant is not None:
            sizes[place.tenant] = sizes.get(place.tenant, 0) + len(place.file.content)
    size, groups = max(sum(sizes.values()), 1), [set[str]() for _ in range(count)]
    before = 0
    for tenant in sorted(sizes):
        at = before / size * (count - 1 + ahead)
        groups[0 if at < ahead else min(1 + int(at - ahead), count - 1)].add(tenant)
        before += sizes[tenant]
    return [source.narrowed(group) for group in groups if group] or [source]


def received(sent: bytes, source: Source) -> Share:
    """The share of the source's tenants that was sent."""
    from stoa_compiler.sending import receive

    share = receive(sent, source.at.__getitem__)
    assert isinstance(share, Share)
    return share


def light(tenant: TenantNode) -> TenantNode:
    """The tenant without its operations, which are nearly all of it."""
    return replace(tenant, contracts=tuple(map(_without_operations, tenant.contracts)))


def _without_operations(contract: ContractNode) -> ContractNode:
    spec = contract.declared.spec.model_copy(update={"operations": {}})
    return replace(contract, operations=(), declared=contract.declared.model_copy(update={"spec": spec}))
