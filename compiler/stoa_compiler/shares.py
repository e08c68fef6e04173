"""Shares: a source's tenants in groups, each taken from bytes to proved parts of artifacts by one process.

A tenant's documents mean what they mean by themselves, by the platform's document and by the names of others'
documents: so each share is judged, rendered and proved alone, and gives back its findings, its tenants' parts of
artifacts, and facts about them. What looks at all tenants side by side is done once, with these.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from stoa_compiler.beside import beside
from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.graph import Graph, Remembered, TenantFacts, TenantNode
from stoa_compiler.load import Known, Source
from stoa_compiler.records import record
from stoa_compiler.target import Artifact, Part, PartsOf, Target
from stoa_compiler.watch import Watch

T = TypeVar("T")

PartsOfTargets = Mapping[str, PartsOf]
"""Proved parts, by target and tenant."""


@record(slots=False)
class One:
    """What came of one tenant."""

    facts: TenantFacts
    found: Sequence[Diagnostic]
    """What was found in its files."""
    tools: int
    """How many it has."""
    parts: Mapping[str, Mapping[str, Part]]
    """By environment and target, proved; nothing where there is an error."""
    descriptions: tuple[str, ...]
    """Paths of its OpenAPI descriptions."""

    @property
    def known(self) -> Known:
        """What is in its folder."""
        return Known(self.facts.documents, self.descriptions)


@record(slots=False)
class Share:
    """What came of some tenants."""

    found: Sequence[Diagnostic]
    """Everything."""
    graph: Graph | None
    """Only these tenants."""
    tenants: Mapping[str, One]
    """By name."""
    proved: Mapping[str, Sequence[Diagnostic]]
    """What verifying their parts found, by environment."""

    def parts(self, environment: str) -> PartsOfTargets:
        """The parts of one environment."""
        found: dict[str, dict[str, Part]] = {}
        for name, one in self.tenants.items():
            for target, part in one.parts.get(environment, {}).items():
                found.setdefault(target, {})[name] = part
        return found


class Memory(Protocol):
    """Whatever remembers tenants."""

    def known(self, environments: Sequence[str] | None, targets: Collection[str]) -> Mapping[str, One]:
        """What was kept of each tenant that is as it was, with at least the parts that are asked for."""

    def keep(self, share: Share, source: Source, environments: Sequence[str] | None, targets: Collection[str]) -> None:
        """Remembers a share's tenants, with their parts of `targets`."""

    def settle(self, tenants: Mapping[str, One], source: Source) -> None:
        """Remembers that these are all that the source has, so that they are found at once."""


class Forgetful:
    """A memory that keeps nothing."""

    def known(self, environments: Sequence[str] | None, targets: Collection[str]) -> Mapping[str, One]:
        """Nothing."""
        return {}

    def keep(self, share: Share, source: Source, environments: Sequence[str] | None, targets: Collection[str]) -> None:
        """Does nothing."""

    def settle(self, tenants: Mapping[str, One], source: Source) -> None:
        """Does nothing."""


FORGETFUL = Forgetful()

Judge = Callable[[Source, Report], Graph | None]
"""Takes a source to its graph and judges its tenants."""
TargetsOf = Callable[[Graph, str, Collection[str]], Sequence[Target]]
"""Graph, environment and names of targets -> those of them that the environment declares."""


@record(slots=False)
class Making:
    """How a share is made."""

    judge: Judge
    targets_of: TargetsOf
    environments: Sequence[str] | None
    """Those to render: all that the platform declares where it is None."""
    targets: Collection[str]
    """Those to render."""
    memory: Memory
    watch: Watch

    def share(self, source: Source) -> Share:
        """What comes of the source's tenants."""
        report = Report()
        graph = self.judge(source, report)
        if graph is None:
            return Share(report.found, None, {}, {})
        parts: dict[str, dict[str, dict[str, Part]]] = {t.name: {} for t in graph.tenants}
        proved: dict[str, Sequence[Diagnostic]] = {}
        for environment in wanted(graph, self.environments) if not report.errors else ():
            proofs = Report()
            carried: dict[str, Artifact] = {}
            for target in self.targets_of(graph, environment, self.targets):
                for name, part in self._parts(target, graph, environment, carried, proofs).items():
                    parts[name].setdefault(environment, {})[target.name] = part
                    carried.update((a.path, a) for a in part.artifacts)
            proved[environment] = proofs.found
        placed = ((source.files[d.span.file].path, d) for d in report.found if d.span.file in source.files)
        found = _by_tenant(placed)
        descriptions = _by_tenant((path, path) for path in source.descriptions)
        tenants = {
            t.name: One(
                facts=TenantFacts.of(t),
                found=found.get(t.name, ()),
                tools=len(t.operations),
                parts=parts[t.name],
                descriptions=tuple(descriptions.get(t.name, ())),
            )
            for t in graph.tenants
        }
        share = Share(report.found, graph, tenants, proved)
        self.memory.keep(share, source, self.environments, self.targets)
        return share

    def _parts(
        self, target: Target, graph: Graph, environment: str, carried: Mapping[str, Artifact], report: Report
    ) -> PartsOf:
        own = {p: a for p, a in carried.items() if p.partition("/")[0] in target.carries}
        with self.watch.phase("emit", target.name):
            made = {t.name: target.parts.emit(graph, environment, t, own) for t in graph.tenants_in(environment)}
        with self.watch.phase("verify", target.name):
            target.parts.verify(graph, environment, made, own, report)
        return made

    def light(self, source: Source) -> Share:
        """The same as it is sent: without its tenants' nodes."""
        share = self.share(source)
        if share.graph is None:
            return share
        return replace(share, graph=replace(share.graph, tenants=()))


def _by_tenant(things: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """The things, each with the path of its file, by the first part of that path."""
    found: dict[str, list[T]] = {}
    for path, thing in things:
        found.setdefault(path.partition("/")[0], []).append(thing)
    return found


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


def whole(
    shares: Sequence[Share],
    known: Mapping[str, One],
    report: Report,
    judge: Callable[[Mapping[str, Known]], Graph | None],
) -> Share:
    """The shares of a source, and the tenants that were known, as one; `report` gets what was found.

    Nodes that are not at hand are made again when one is asked for: `judge` looks at all tenants but those named.
    """
    report.found.extend(d for share in shares for d in share.found)
    report.found.extend(d for one in known.values() for d in one.found)
    graph = next((share.graph for share in shares if share.graph is not None), None)
    if graph is None:
        return Share(report.found, None, {}, {})
    if len(shares) == 1 and not known and graph.tenants:
        return shares[0]
    unsorted = {**{name: one for share in shares for name, one in share.tenants.items()}, **known}
    tenants = {name: unsorted[name] for name in sorted(unsorted)}
    here = {t.name: t for share in shares if share.graph is not None for t in share.graph.tenants}

    def nodes(names: Collection[str]) -> Mapping[str, TenantNode]:
        gone = {name for name in names if name not in here}
        others = {n: one.known for n, one in tenants.items() if n not in gone}
        again = judge(others) if gone else None
        return {**here, **{t.name: t for t in (again.tenants if again is not None else ())}}

    together = replace(graph, tenants=Remembered([one.facts for one in tenants.values()], nodes))
    proved = {
        e: list(dict.fromkeys(d for s in shares for d in s.proved.get(e, ())))
        for e in dict.fromkeys(e for s in shares for e in s.proved)
    }
    return Share(report.found, together, tenants, proved)


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
