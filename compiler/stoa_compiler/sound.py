"""Sound: the graph without what has errors, so that one tenant's mistake holds nobody else up.

What an error stands in is left out whole: an operation, else its contract, consumer, plan or subscription, else the
tenant. An error in the platform document leaves nothing to build on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from stoa_compiler.access import access
from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.graph import ConsumerNode, ContractNode, Graph, Origin, TenantNode
from stoa_compiler.load import Source
from stoa_compiler.records import record


@record(slots=False)
class Sound:
    """A graph that can be rendered, and what it lacks."""

    graph: Graph
    left_out: tuple[str, ...]
    """Tenants by name, documents by path, operations by canonical id; sorted."""


def sound(graph: Graph, source: Source, report: Report) -> Sound | None:
    """What can be rendered in spite of the errors; None where the platform document itself has one."""
    errors: dict[str, list[Diagnostic]] = {}
    for finding in report.found:
        if finding.rule.severity == "error":
            errors.setdefault(finding.span.file, []).append(finding)
    if graph.origin.document.file.shown in errors or None in (source.files.get(f) for f in errors):
        return None
    left_out = set()
    tenants = []
    for tenant in graph.tenants:
        if tenant.origin.document.file.shown in errors:
            left_out.add(tenant.name)
        else:
            tenants.append(_tenant(graph, tenant, errors, left_out))
    rendered = {t.name for t in tenants}
    for place in source.placed:
        # Documents that never became part of the graph: their files say what is missing.
        if place.file.shown in errors and place.tenant in rendered:
            left_out.add(place.file.path)
        elif place.tenant is not None and place.tenant not in rendered:
            left_out.add(place.tenant)
    left_out -= {c.origin.document.file.path for t in tenants for c in t.contracts}
    return Sound(replace(graph, tenants=tuple(tenants)), tuple(sorted(left_out)))


def _tenant(
    graph: Graph, tenant: TenantNode, errors: Mapping[str, Sequence[Diagnostic]], left_out: set[str]
) -> TenantNode:
    kept = [_contract(tenant, c, errors.get(c.origin.document.file.shown, ()), left_out) for c in tenant.contracts]
    contracts = tuple(c for c in kept if c is not None)
    plans = tuple(p for p in tenant.plans if _is_sound(p.origin, errors))
    names = {c.name for c in contracts}, {p.name for p in plans}
    grants = [*tenant.declared.spec.grants, *graph.platform.spec.grants]
    return replace(
        tenant,
        contracts=contracts,
        plans=plans,
        consumers=tuple(_consumer(c, *names, errors) for c in tenant.consumers if _is_sound(c.origin, errors)),
        access=access(graph.platform.spec.roles, grants, contracts),
    )


def _contract(
    tenant: TenantNode, contract: ContractNode, errors: Iterable[Diagnostic], left_out: set[str]
) -> ContractNode | None:
    """The contract without the operations that errors stand in; None where one stands elsewhere, or none is left."""
    document, spec = contract.origin.document, contract.declared.spec
    broken = set()
    for error in errors:
        inside = next((n for n in spec.operations if _holds(Origin(document, ("spec", "operations", n)), error)), None)
        if inside is None:
            return None
        broken.add(inside)
    operations = {n: o for n, o in spec.operations.items() if n not in broken}
    if not operations:
        return None
    left_out.update(f"{tenant.name}:{contract.name}:{name}" for name in broken)
    declared = contract.declared.model_copy(update={"spec": spec.model_copy(update={"operations": operations})})
    return replace(
        contract, declared=declared, operations=tuple(o for o in contract.operations if o.name not in broken)
    )


def _consumer(
    consumer: ConsumerNode, contracts: set[str], plans: set[str], errors: Mapping[str, Sequence[Diagnostic]]
) -> ConsumerNode:
    subscriptions = tuple(
        s
        for s in consumer.subscriptions
        if _is_sound(s.origin, errors) and s.declared.spec.contract in contracts and s.declared.spec.plan in plans
    )
    return replace(consumer, subscriptions=subscriptions)


def _is_sound(origin: Origin, errors: Mapping[str, Sequence[Diagnostic]]) -> bool:
    return origin.document.file.shown not in errors


def _holds(origin: Origin, error: Diagnostic) -> bool:
    """Whether the error stands in the declaration, its key included."""
    key, value = origin.document.span(origin.loc, "key"), origin.document.span(origin.loc)
    at = (error.span.line, error.span.column)
    return (key.line, key.column) <= at <= (value.end_line, value.end_column)
