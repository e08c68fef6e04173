"""What is the same thing on both sides: tenants, contracts, operations and documents in pairs, renamed ones too."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

from stoa_compiler.graph import ContractNode, Graph, OperationNode, Origin, SubscriptionNode, TenantNode
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc

N = TypeVar("N")

_ALIKE = 0.5
"""The share of a tenant's documents, or of a contract's operations, that must be equal for it to be a renamed one."""


@record(slots=False)
class Pair(Generic[N]):
    """One thing on both sides; it is not there on a side that is None."""

    base: N | None
    head: N | None


@record(slots=False)
class Documents:
    """One document on both sides."""

    kind: str
    tenant: str
    """Whose it is at head, or was; empty for the platform's."""
    name: str
    base: Document | None
    head: Document | None
    declared: Pair[Any]
    """The models of both."""
    renaming: "Renaming"

    @cached_property
    def before(self) -> Mapping[str, Any]:
        """What base declares with all defaults filled in, by the names of head; empty where it has no such document."""
        found = self._before
        if not found or self.renaming is same:
            return found
        metadata = getattr(self.declared.base, "metadata", None)
        owner = getattr(metadata, "name" if self.kind == "Tenant" else "tenant", "")
        return self.renaming(self.kind, owner, found)

    @cached_property
    def _before(self) -> Mapping[str, Any]:
        return _dumped(self.declared.base)

    @cached_property
    def after(self) -> Mapping[str, Any]:
        """The same of head."""
        return _dumped(self.declared.head)

    @property
    def renamed(self) -> bool:
        """Whether `before` is by names that something else got at head."""
        return self.before != self._before

    @property
    def untouched(self) -> bool:
        """Whether both sides are the same bytes and the same thing."""
        same_bytes = (
            self.base is not None and self.head is not None and self.base.file.content == self.head.file.content
        )
        return same_bytes and self.renaming is same

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is."""
        return (self.kind, self.tenant, self.name)


@record(slots=False)
class Operations:
    """One operation on both sides, and the contracts and tenants around it."""

    tenant: Pair[TenantNode]
    contract: Pair[ContractNode]
    operation: Pair[OperationNode]

    @property
    def tool(self) -> str:
        """Its canonical id: as it will be, or as it was."""
        node = self.operation.head or self.operation.base
        assert node is not None
        return node.tool_id

    def on(self, side: str) -> tuple[ContractNode, OperationNode] | None:
        """Contract and operation of one side; None where it is not there."""
        contract = self.contract.base if side == "base" else self.contract.head
        operation = self.operation.base if side == "base" else self.operation.head
        return (contract, operation) if contract is not None and operation is not None else None

    def seen(self, side: str) -> bool:
        """Whether agents can see it there, given the right role."""
        there = self.on(side)
        return there is not None and there[0].exposed and there[1].exposed


@record(slots=False)
class Pairs:
    """Both graphs, thing by thing."""

    base: Graph | None
    """None where there is no source at base."""
    head: Graph

    @cached_property
    def tenants(self) -> Sequence[Pair[TenantNode]]:
        """Tenants in pairs, by their names at head."""
        before = {t.name: t for t in self.base.tenants} if self.base else {}
        after = {t.name: t for t in self.head.tenants}
        renamed = _renamed(
            {n: _tenant_parts(t) for n, t in before.items() if n not in after},
            {n: _tenant_parts(t) for n, t in after.items() if n not in before},
        )
        pairs = [
            Pair(before.get(renamed.get(n, n)), t) for n, t in after.items() if n in before or n in renamed
        ]  # fmt: skip
        pairs += [Pair[TenantNode](None, t) for n, t in after.items() if n not in before and n not in renamed]
        gone = set(before) - set(after) - set(renamed.values())
        pairs += [Pair(before[n], None) for n in gone]
        return sorted(pairs, key=name_of)

    @cached_property
    def contracts(self) -> Sequence[tuple[Pair[TenantNode], Pair[ContractNode]]]:
        """Contracts in pairs, with their tenants."""
        found: list[tuple[Pair[TenantNode], Pair[ContractNode]]] = []
        for tenant in self.tenants:
            before = {c.name: c for c in tenant.base.contracts} if tenant.base else {}
            after = {c.name: c for c in tenant.head.contracts} if tenant.head else {}
            renamed = _renamed(
                {n: _contract_parts(c) for n, c in before.items() if n not in after},
                {n: _contract_parts(c) for n, c in after.items() if n not in before},
            )
            taken = set(renamed.values())
            pairs = [Pair(before.get(renamed.get(n, n)), c) for n, c in after.items()]
            pairs += [Pair(c, None) for n, c in before.items() if n not in after and n not in taken]
            found += [(tenant, p) for p in sorted(pairs, key=name_of)]
        return found

    @cached_property
    def operations(self) -> Sequence[Operations]:
        """Operations in pairs."""
        found = []
        for tenant, contract in self.contracts:
            before = {o.name: o for o in contract.base.operations} if contract.base else {}
            after = {o.name: o for o in contract.head.operations} if contract.head else {}
            found += [
                Operations(tenant, contract, Pair(before.get(n), after.get(n))) for n in sorted({*before, *after})
            ]
        return found

    @cached_property
    def now(self) -> Mapping[str, str]:
        """The tool's id at head by its id at base, of tools that are on both sides."""
        return {
            o.operation.base.tool_id: o.operation.head.tool_id
            for o in self.operations
            if o.operation.base is not None and o.operation.head is not None
        }

    @cached_property
    def documents(self) -> Sequence[Documents]:
        """Every document in a pair, the platform's first."""
        old = (self.base.origin, self.base.platform) if self.base else None
        found = [_documents("Platform", "", "platform", old, (self.head.origin, self.head.platform), self._renaming)]
        for pair in self.tenants:
            tenant = name_of(pair)
            found.append(
                _documents("Tenant", tenant, tenant, _declared(pair.base), _declared(pair.head), self._renaming)
            )
            for kind, nodes in (("Consumer", "consumers"), ("Plan", "plans")):
                found += _both(kind, tenant, getattr(pair.base, nodes, ()), getattr(pair.head, nodes, ()), same)
            subscriptions = (_subscriptions(pair.base), _subscriptions(pair.head))
            found += _both("Subscription", tenant, *subscriptions, self._renaming)
        for pair, contract in self.contracts:
            of = (_declared(contract.base), _declared(contract.head))
            found.append(_documents("UniversalAPIContract", name_of(pair), name_of(contract), *of, same))
        return found

    @cached_property
    def _renaming(self) -> "Renaming":
        tenants = {p.base.name: p.head.name for p in self.tenants if p.base and p.head and p.base.name != p.head.name}
        contracts = {
            (name_of(Pair(t.base, None)), c.base.name): c.head.name
            for t, c in self.contracts
            if t.base and c.base and c.head and c.base.name != c.head.name
        }
        return partial(_as_renamed, tenants, contracts) if tenants or contracts else same


Renaming = Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]
"""Takes kind, tenant and what a document declared at base to what it says by the names of head."""


def same(kind: str, tenant: str, declared: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same, where nothing is renamed."""
    return declared


def _as_renamed(
    tenants: Mapping[str, str],
    contracts: Mapping[tuple[str, str], str],
    kind: str,
    tenant: str,
    declared: Mapping[str, Any],
) -> Mapping[str, Any]:
    def pattern(of: str) -> str:
        owner, contract, operation = of.split(":")
        return f"{tenants.get(owner, owner)}:{contracts.get((owner, contract), contract)}:{operation}"

    spec = dict(declared["spec"])
    if kind in ("Platform", "Tenant"):
        spec["grants"] = [{**g, "tools": [pattern(t) for t in g["tools"]]} for g in spec["grants"]]
    if kind == "Platform":
        hosts = spec["backends"]["allowedHosts"]
        renamed = [{**h, "tenants": [tenants.get(t, t) for t in h["tenants"]]} for h in hosts]
        spec["backends"] = {**spec["backends"], "allowedHosts": renamed}
    if kind == "Subscription":
        spec["contract"] = contracts.get((tenant, spec["contract"]), spec["contract"])
    return {**declared, "spec": spec}


def _both(kind: str, tenant: str, base: Iterable[Any], head: Iterable[Any], renaming: Renaming) -> Iterator[Documents]:
    before, after = {n.name: n for n in base}, {n.name: n for n in head}
    for name in sorted({*before, *after}):
        yield _documents(kind, tenant, name, _declared(before.get(name)), _declared(after.get(name)), renaming)


def _subscriptions(tenant: TenantNode | None) -> Iterator[SubscriptionNode]:
    for consumer in tenant.consumers if tenant else ():
        yield from consumer.subscriptions


def _declared(node: Any) -> tuple[Origin, Any] | None:
    return None if node is None else (node.origin, node.declared)


def _documents(
    kind: str,
    tenant: str,
    name: str,
    base: tuple[Origin, Any] | None,
    head: tuple[Origin, Any] | None,
    renaming: Renaming,
) -> Documents:
    return Documents(
        kind,
        tenant,
        name,
        base and base[0].document,
        head and head[0].document,
        Pair(base and base[1], head and head[1]),
        renaming,
    )


def _dumped(model: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = {} if model is None else model.model_dump(mode="json", by_alias=True)
    return found


def name_of(pair: Pair[Any]) -> str:
    name: str = (pair.head if pair.head is not None else pair.base).name  # type: ignore[union-attr]
    return name


def _renamed(gone: Mapping[str, frozenset[str]], new: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """Old names by new names: of what is gone and came again, for the most part equal, under another name."""
    rated = sorted(
        (
            (-len(before & after) / max(len(before), len(after)), old, name)
            for old, before in gone.items()
            for name, after in new.items()
            if before & after
        ),
    )
    found: dict[str, str] = {}
    for share, old, name in rated:
        if -share >= _ALIKE and name not in found and old not in found.values():
            found[name] = old
    return found


def _tenant_parts(tenant: TenantNode) -> frozenset[str]:
    parts = {f"contract {c.name} {part}" for c in tenant.contracts for part in _contract_parts(c)}
    parts |= {f"person {p}" for p in tenant.declared.spec.people}
    parts |= {f"consumer {c.name}" for c in tenant.consumers} | {f"plan {p.name}" for p in tenant.plans}
    return frozenset(parts)


def _contract_parts(contract: ContractNode) -> frozenset[str]:
    operations = contract.declared.spec.operations
    return frozenset(
        f"{name} {json.dumps(o.model_dump(mode='json', by_alias=True), sort_keys=True)}"
        for name, o in operations.items()
    )


def value_at(data: Any, loc: Loc) -> Any:
    """What stands at `loc`; None where nothing does."""
    for step in loc:
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data
