"""The matrix of a graph: its access table, looked at by person, role and consumer as the runtime would."""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from stoa_compiler.graph import ConsumerNode, Graph, PersonNode, SubscriptionNode, TenantNode
from stoa_compiler.matrix.model import Holder, Matrix, Place, Tool
from stoa_compiler.matrix.platform import opened, rows
from stoa_compiler.source import Document, Loc
from stoa_schemas.names import PLATFORM_TENANT

OWN_ACCOUNT = "its own account"


def of_graph(graph: Graph, environment: str | None = None, on: datetime.date | None = None) -> Matrix:
    """Everyone and every tool of one environment, or of all of them together.

    Subscriptions that have ended by the day `on` give nothing; without it, whatever has an end still counts.
    """
    tenants = graph.tenants if environment is None else graph.tenants_in(environment)
    tools = rows() | {t.id: t for tenant in tenants for t in _tools(tenant)}
    holders = [*_platform(graph, tenants)]
    for tenant in tenants:
        holders += _tenant(graph, tenant, on)
    remarks = [_unmanaged(PLATFORM_TENANT, g.name, g.roles) for g in graph.groups if g.members is None and g.roles]
    remarks += [_unmanaged(t.name, g.name, g.roles) for t in tenants for g in t.groups if g.members is None and g.roles]
    return Matrix.sorted(environment, tools, holders, remarks)


def _unmanaged(tenant: str, group: str, roles: Sequence[str]) -> str:
    named = ", ".join(f"`{r}`" for r in roles)
    return (
        f"who is in the group `{group}` of `{tenant}` is the identity provider's to say: there may be more people "
        f"with {named} than are listed"
    )


def _place(document: Document, loc: Loc) -> Place:
    return partial(document.span, loc, "key")


def _tools(tenant: TenantNode) -> Iterator[Tool]:
    for contract in tenant.contracts:
        spec = contract.declared.spec
        for operation in contract.operations if contract.exposed else ():
            if operation.exposed:
                yield Tool(
                    id=operation.tool_id,
                    tenant=tenant.name,
                    contract=contract.name,
                    title=operation.title,
                    side_effects=operation.declared.side_effects,
                    approval=operation.approval,
                    classification=spec.classification,
                    deprecated=spec.status == "deprecated",
                    place=_place(operation.origin.document, operation.origin.loc),
                )


def counted_roles(graph: Graph, roles: Iterable[str], tenant: str) -> list[str]:
    """The roles that count in a token of `tenant`: those whose scope fits, as the runtime takes them."""
    scope = "platform" if tenant == PLATFORM_TENANT else "tenant"
    table = graph.platform.spec.roles
    return sorted(r for r in set(roles) if r in table and table[r].scope == scope)


def _own(graph: Graph, roles: Iterable[str]) -> list[str]:
    return opened({p for r in roles for p in graph.platform.spec.roles[r].permissions})


def _granted(tenants: Iterable[TenantNode], roles: Iterable[str]) -> list[str]:
    roles = list(roles)
    return sorted({tool for t in tenants for r in roles for tool in t.access.get(r, ())})


def _platform(graph: Graph, tenants: Sequence[TenantNode]) -> Iterator[Holder]:
    for person in graph.people:
        yield _person(graph, person, tenants)
    for name, role in graph.platform.spec.roles.items():
        if role.scope == "platform":
            tools = (*_own(graph, [name]), *_granted(tenants, [name]))
            place = _place(graph.origin.document, ("spec", "roles", name))
            yield Holder("role", name, role.description, PLATFORM_TENANT, (name,), tools, place=place)


def _person(graph: Graph, person: PersonNode, tenants: Sequence[TenantNode]) -> Holder:
    roles = counted_roles(graph, person.roles, person.tenant)
    return Holder(
        kind="person",
        name=person.username,
        title=f"{person.first_name} {person.last_name}",
        tenant=person.tenant,
        roles=tuple(roles),
        tools=(*_own(graph, roles), *_granted(tenants, roles)),
        place=_place(person.origin.document, person.origin.loc),
    )


def _tenant(graph: Graph, tenant: TenantNode, on: datetime.date | None) -> Iterator[Holder]:
    for person in tenant.people:
        yield _person(graph, person, [tenant])
    for name, role in graph.platform.spec.roles.items():
        if role.scope == "tenant":
            tools = (*_own(graph, [name]), *_granted([tenant], [name]))
            place = _place(graph.origin.document, ("spec", "roles", name))
            yield Holder("role", name, role.description, tenant.name, (name,), tools, place=place)
    for consumer in tenant.consumers:
        yield from _consumer(graph, tenant, consumer, on)


def active(consumer: ConsumerNode, on: datetime.date | None) -> list[SubscriptionNode]:
    """The subscriptions that give something."""
    return [
        s
        for s in consumer.subscriptions
        if s.declared.spec.status == "active"
        and (
            on is None or s.declared.spec.expires is None or on <= datetime.date.fromisoformat(s.declared.spec.expires)
        )
    ]


def _consumer(graph: Graph, tenant: TenantNode, consumer: ConsumerNode, on: datetime.date | None) -> Iterator[Holder]:
    """A line for its own account, and one for each role that people may sign in with."""
    spec = consumer.declared.spec
    subscribed = active(consumer, on)
    contracts = {s.declared.spec.contract for s in subscribed}
    endings = sorted(
        f"`{s.declared.spec.contract}` until {s.declared.spec.expires}" for s in subscribed if s.declared.spec.expires
    )
    remarks = tuple(endings)

    def reached(roles: Sequence[str]) -> tuple[str, ...]:
        return tuple(i for i in _granted([tenant], roles) if i.split(":")[1] in contracts)

    def row(acts: str, roles: Sequence[str]) -> Holder:
        return Holder(
            kind="consumer",
            name=consumer.client_id,
            title=spec.display_name,
            tenant=tenant.name,
            roles=tuple(roles),
            tools=reached(roles),
            acts=acts,
            remarks=remarks,
            place=_place(consumer.origin.document, ("spec",)),
        )

    if "client_credentials" in spec.grant_types:
        yield row(OWN_ACCOUNT, counted_roles(graph, spec.roles, tenant.name))
    if "authorization_code" in spec.grant_types:
        made = [row(f"people with {r}", [r]) for r in counted_roles(graph, graph.platform.spec.roles, tenant.name)]
        yield from [m for m in made if m.tools] or [row("people who sign in", ())]
