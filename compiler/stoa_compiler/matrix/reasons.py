"""Why somebody may call a tool or may not: the grants, permissions, memberships and subscriptions that decide it."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal

from stoa_compiler.access import matches
from stoa_compiler.graph import ConsumerNode, ContractNode, Graph, OperationNode, PersonNode, TenantNode
from stoa_compiler.matrix.build import counted_roles
from stoa_compiler.matrix.platform import PLATFORM_TOOLS
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc, Span
from stoa_schemas.documents.access import PERMISSION_FOR, Grant
from stoa_schemas.names import PLATFORM_TENANT

Sense = Literal["for", "against", "fact"]


@record
class Reason:
    """One of the things that decide, with its place."""

    kind: str
    """A stable word: `grant`, `deny`, `permission`, `membership`, `subscription`, ..."""
    sense: Sense
    """Whether it speaks for the call, against it, or only says how things are."""
    text: str
    span: Span | None


NO_ROLE = Reason("no-role", "against", "no role is held that counts here", None)


@record
class _Pattern:
    effect: str
    text: str
    document: Document
    loc: Loc


@record(slots=False)
class Reasons:
    """Answers for one graph; what is looked up for a tenant is kept."""

    graph: Graph

    @cached_property
    def _tenants(self) -> Mapping[str, TenantNode]:
        return {t.name: t for t in self.graph.tenants}

    @cached_property
    def _patterns(self) -> dict[tuple[str, str], list[_Pattern]]:
        return {}

    def operation(self, tool: str) -> tuple[TenantNode, ContractNode, OperationNode] | None:
        """The operation with that id, also one that is not exposed; None where there is none."""
        return self._operations.get(tool)

    @cached_property
    def _operations(self) -> Mapping[str, tuple[TenantNode, ContractNode, OperationNode]]:
        return {o.tool_id: (t, c, o) for t in self.graph.tenants for c in t.contracts for o in c.operations}

    @cached_property
    def people(self) -> Mapping[str, PersonNode]:
        """Everyone by user name."""
        return {p.username: p for p in (*self.graph.people, *(p for t in self.graph.tenants for p in t.people))}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[TenantNode, ConsumerNode]]:
        """Every application and its tenant, by client id."""
        return {c.client_id: (t, c) for t in self.graph.tenants for c in t.consumers}

    def role(self, role: str, tool: str) -> list[Reason]:
        """What decides whether holders of one role may call the tool. It may be called when nothing speaks against."""
        document, table = self.graph.origin.document, self.graph.platform.spec.roles
        if tool in PLATFORM_TOOLS:
            return [*self._opened(role, tool)]
        found = self.operation(tool)
        if found is None:
            return [Reason("unknown", "against", f"there is no tool `{tool}`", None)]
        tenant, contract, operation = found
        reasons = [*self._exposed(contract, operation)]
        mine = self.patterns(tenant, role)
        naming = [p for p in mine if matches(p.text, tool)]
        for pattern in naming:
            at = pattern.document.span(pattern.loc)
            if pattern.effect == "deny":
                reasons.append(Reason("deny", "against", f"`{pattern.text}` is denied to `{role}`", at))
            else:
                reasons.append(Reason("grant", "for", f"`{pattern.text}` is granted to `{role}`", at))
        if not any(p.effect == "allow" for p in naming):
            reasons.append(self._ungranted(role, tool, mine))
        needed = PERMISSION_FOR[operation.declared.side_effects]
        declared = table[role].permissions
        effects = operation.declared.side_effects
        if needed in declared:
            at = document.span(("spec", "roles", role, "permissions", declared.index(needed)))
            reasons.append(
                Reason("permission", "for", f"`{role}` has `{needed}`: the tool's effects are `{effects}`", at)
            )
        else:
            at = document.span(("spec", "roles", role, "permissions"), "key")
            said = f"`{role}` lacks `{needed}`: the tool's effects are `{effects}`"
            reasons.append(Reason("permission", "against", said, at))
        return reasons

    def _opened(self, role: str, tool: str) -> Iterator[Reason]:
        declared = self.graph.platform.spec.roles[role].permissions
        at = ("spec", "roles", role, "permissions")
        document = self.graph.origin.document
        opening = [p for p in PLATFORM_TOOLS[tool].opened_by if p in declared]
        for permission in opening:
            where = document.span((*at, declared.index(permission)))
            yield Reason("permission", "for", f"`{role}` has `{permission}`, which opens it without a grant", where)
        if not opening:
            wanted = " or ".join(f"`{p}`" for p in PLATFORM_TOOLS[tool].opened_by)
            yield Reason("permission", "against", f"`{role}` lacks {wanted}", document.span(at, "key"))

    def _exposed(self, contract: ContractNode, operation: OperationNode) -> Iterator[Reason]:
        span = operation.origin.document.span
        if not contract.exposed:
            yield Reason("draft", "against", f"`{contract.name}` is a draft, so nobody sees its tools", span(_STATUS))
        if not operation.declared.agents:
            at = (*operation.origin.loc, "agents")
            yield Reason("agents", "against", "`agents: false` keeps it from every agent", span(at))
        if "mcp" not in operation.declared.protocols:
            at = (*operation.origin.loc, "protocols")
            yield Reason("protocols", "against", "`protocols` leaves `mcp` out", span(at))

    def _ungranted(self, role: str, tool: str, mine: Sequence[_Pattern]) -> Reason:
        """No grant of the role names the tool; the grant that comes nearest is where one would be written."""
        allowing = [p for p in mine if p.effect == "allow"]
        if not allowing:
            return Reason("no-grant", "against", f"`{role}` has no grant that names it, nor any other here", None)
        segments = tool.split(":")

        def shared(pattern: _Pattern) -> int:
            return sum(w in ("*", s) for w, s in zip(pattern.text.split(":"), segments, strict=True))

        nearest = max(allowing, key=shared)
        said = f"`{role}` has no grant that names it; nearest: `{nearest.text}`"
        return Reason("no-grant", "against", said, nearest.document.span(nearest.loc))

    def patterns(self, tenant: TenantNode, role: str) -> list[_Pattern]:
        """Every pattern of every grant to the role that can concern the tenant's tools, with its place."""
        key = (tenant.name, role)
        if key not in self._patterns:
            own = _patterns_of(role, tenant.declared.spec.grants, tenant.origin.document)
            self._patterns[key] = own + _patterns_of(role, self.graph.platform.spec.grants, self.graph.origin.document)
        return self._patterns[key]

    def person(self, person: PersonNode, tool: str) -> list[tuple[str, list[Reason]]]:
        """For each role that the person holds: how it is held, and what decides of it."""
        answers = []
        for role in counted_roles(self.graph, person.roles, person.tenant):
            held = [*_membership(person, role, self.groups(person.tenant))]
            crossing = [*self._crossing(person.tenant, tool)]
            answers.append((role, [*held, *(crossing or self.role(role, tool))]))
        return answers

    def groups(self, tenant: str) -> tuple[str, ...]:
        """Names of the groups that give roles there."""
        nodes = self.graph.groups if tenant == PLATFORM_TENANT else self._tenants[tenant].groups
        return tuple(g.name for g in nodes)

    def consumer(
        self, tenant: TenantNode, consumer: ConsumerNode, roles: Iterable[str], tool: str, on: datetime.date | None
    ) -> list[tuple[str, list[Reason]]]:
        """The same for an application that calls with `roles`."""
        counted = counted_roles(self.graph, roles, tenant.name)
        if crossing := [*self._crossing(tenant.name, tool)]:
            return [(role, crossing) for role in counted]
        about = [*self._subscribed(consumer, tool, on)]
        return [(role, [*about, *self.role(role, tool)]) for role in counted]

    def _crossing(self, tenant: str, tool: str) -> Iterator[Reason]:
        if tenant != PLATFORM_TENANT and ":" in tool and tool.partition(":")[0] != tenant:
            said = f"the tool is `{tool.partition(':')[0]}`'s: only roles of scope `platform` cross tenants"
            yield Reason("tenant", "against", said, None)

    def _subscribed(self, consumer: ConsumerNode, tool: str, on: datetime.date | None) -> Iterator[Reason]:
        if tool in PLATFORM_TOOLS:
            at = consumer.origin.document.span(("metadata", "name"))
            yield Reason("client", "against", "an application never reaches the platform's own tools", at)
            return
        contract = tool.split(":")[1]
        mine = [s for s in consumer.subscriptions if s.declared.spec.contract == contract]
        for subscription in mine:
            spec, span = subscription.declared.spec, subscription.origin.document.span
            if spec.status != "active":
                said = f"the subscription `{subscription.name}` is {spec.status}"
                yield Reason("subscription", "against", said, span(("spec", "status")))
            elif on is not None and spec.expires is not None and on > datetime.date.fromisoformat(spec.expires):
                said = f"the subscription `{subscription.name}` ended on {spec.expires}"
                yield Reason("subscription", "against", said, span(("spec", "expires")))
            else:
                until = f" until {spec.expires}" if spec.expires else ""
                said = f"`{subscription.name}` subscribes to `{contract}` with the plan `{spec.plan}`{until}"
                yield Reason("subscription", "for", said, span(("spec", "contract")))
        if not mine:
            at = consumer.origin.document.span(("metadata", "name"))
            yield Reason("subscription", "against", f"no subscription to `{contract}`", at)


_STATUS = ("spec", "status")


def allows(reasons: Iterable[Reason]) -> bool:
    """Whether nothing speaks against."""
    return all(r.sense != "against" for r in reasons)


def _patterns_of(role: str, grants: Sequence[Grant], document: Document) -> list[_Pattern]:
    return [
        _Pattern(grant.effect, pattern, document, ("spec", "grants", index, "tools", at))
        for index, grant in enumerate(grants)
        if grant.role == role
        for at, pattern in enumerate(grant.tools)
    ]


def _membership(person: PersonNode, role: str, groups: Iterable[str]) -> Iterator[Reason]:
    document = person.origin.document
    declared = document.data["spec"].get("groups", {})
    for name in groups:
        group = declared.get(name, {})
        if role in group.get("roles", ()) and person.username in (group.get("members") or ()):
            at = document.span(("spec", "groups", name, "members", group["members"].index(person.username)))
            yield Reason("membership", "for", f"in the group `{name}`, which gives `{role}`", at)
