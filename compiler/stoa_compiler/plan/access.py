"""Access gained and lost: roles and tools of both sides compared, each step with the line that causes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

from stoa_compiler.access import fits, segments
from stoa_compiler.graph import ConsumerNode, Graph, GroupNode, OperationNode, Origin, PersonNode, TenantNode
from stoa_compiler.plan.changes import JSON, Change, Direction, Place, Section, SideName
from stoa_compiler.plan.pairs import Operations, Pair, Pairs, name_of
from stoa_compiler.plan.wording import counted, joined, names, q
from stoa_compiler.records import record
from stoa_compiler.source import Loc, Span
from stoa_schemas.documents.access import PERMISSION_FOR, Grant
from stoa_schemas.names import PLATFORM_TENANT

MANY_TENANTS = 3
"""From more tenants on, the same step in all of them is one line."""
DANGER = ("destructive", "write", "read", "none")
"""Side effects, the most dangerous first."""
_CLASSES = ("VVH", "VH", "H")


@record(slots=False)
class Step:
    """One role that gains or loses one tool."""

    tool: Operations
    role: str
    gained: bool
    why: str
    """Which kind of cause: `grant`, `wildcard`, `permission`, `deny`, `side-effects`, `exposure`, `new`, `gone`."""
    places: tuple[Place, ...]

    @property
    def side(self) -> SideName:
        """Where the tool is to be looked at."""
        return "head" if self.gained else "base"

    @property
    def node(self) -> OperationNode:
        """The tool: as it will be where it is gained, as it was where it is lost."""
        there = self.tool.on(self.side)
        assert there is not None
        return there[1]


_WHY = {
    "grant": ("by a grant", "a grant is gone"),
    "wildcard": ("a wildcard grant catches it", "a wildcard grant is gone"),
    "permission": ("by a permission of the role", "the role loses the permission"),
    "deny": ("a deny is gone", "by a deny"),
    "side-effects": ("its side effects are said to be less", "its side effects are said to be more"),
    "exposure": ("it is exposed now", "it is not exposed any more"),
    "new": ("new", "the tool is gone"),
    "new-wildcard": ("new; a wildcard grant catches it", "the tool is gone"),
    "tenant": ("the tenant is new", "the tenant is gone"),
}


def access_changes(pairs: Pairs, today: date) -> Iterator[Change]:
    """Every change of who may call what: by role, by membership, by application."""
    steps = list(_steps(pairs))
    yield from _grouped(pairs, steps)
    yield from _memberships(pairs)
    yield from _applications(pairs, steps, today)


def _steps(pairs: Pairs) -> Iterator[Step]:
    tools = {o.tool: o for o in pairs.operations}
    by_base = {o.operation.base.tool_id: o for o in pairs.operations if o.operation.base is not None}
    for tenant in pairs.tenants:
        before: Mapping[str, Sequence[str]] = tenant.base.access if tenant.base else {}
        after: Mapping[str, Sequence[str]] = tenant.head.access if tenant.head else {}
        for role in sorted({*before, *after}):
            old = {by_base[t].tool: by_base[t] for t in before.get(role, ())}
            new = {t: tools[t] for t in after.get(role, ())}
            for tool in sorted(new.keys() - old.keys()):
                yield _step(pairs, tenant, new[tool], role, True)
            for tool in sorted(old.keys() - new.keys()):
                yield _step(pairs, tenant, old[tool], role, False)


def _step(pairs: Pairs, tenant: Pair[TenantNode], tool: Operations, role: str, gained: bool) -> Step:
    """The step with its cause. What is lost is what would be gained on the way back, but for where it is said."""
    to: SideName = "head" if gained else "base"
    back: SideName = "base" if gained else "head"
    there = tool.on(to)
    assert there is not None
    node = there[1]
    allow = _matching(pairs, tenant, to, role, node.tool_id, "allow")
    other = tool.on(back)
    if (tenant.base if gained else tenant.head) is None:
        return Step(tool, role, gained, "tenant", _at(to, tenant.head or tenant.base))
    if other is None:
        wild = bool(allow) and "*" in allow[0][1]
        grant = tuple(place for place, _ in allow[:1] if gained)
        return Step(tool, role, gained, "new-wildcard" if wild else "new", (*_at(to, node), *grant))
    if not tool.seen(back):
        return Step(tool, role, gained, "exposure", _exposure(tool, to))
    was = _matching(pairs, tenant, back, role, other[1].tool_id, "allow")
    if not was:
        wild = bool(allow) and "*" in allow[0][1]
        return Step(tool, role, gained, "wildcard" if wild else "grant", tuple(p for p, _ in allow[:1]))
    denied = _matching(pairs, tenant, back, role, other[1].tool_id, "deny")
    if denied:
        return Step(tool, role, gained, "deny", tuple(p for p, _ in denied[:1]))
    if node.declared.side_effects != other[1].declared.side_effects:
        place = Place("head", _node_span(tool, "sideEffects"))
        return Step(tool, role, gained, "side-effects", (place,))
    return Step(tool, role, gained, "permission", _permission(pairs, to, role, node))


def _matching(
    pairs: Pairs, tenant: Pair[TenantNode], side: SideName, role: str, tool: str, effect: str
) -> list[tuple[Place, str]]:
    """Places and patterns of the grants to the role that name the tool."""
    graph = pairs.base if side == "base" else pairs.head
    node = tenant.base if side == "base" else tenant.head
    if graph is None or node is None:
        return []
    found = []
    of_tool = segments(tool)
    owners: tuple[tuple[Origin, Sequence[Grant]], ...] = (
        (node.origin, node.declared.spec.grants),
        (graph.origin, graph.platform.spec.grants),
    )
    for origin, grants in owners:
        for index, grant in enumerate(grants):
            if grant.role != role or grant.effect != effect:
                continue
            for at, pattern in enumerate(grant.tools):
                if fits(segments(pattern), of_tool):
                    loc: Loc = ("spec", "grants", index, "tools", at)
                    found.append((Place(side, origin.document.span(loc)), pattern))
    return found


def _at(side: SideName, node: OperationNode | TenantNode | None) -> tuple[Place, ...]:
    if node is None:
        return ()
    loc = node.origin.loc or ("metadata", "name")
    return (Place(side, node.origin.document.span(loc, "key" if node.origin.loc else "value")),)


def _exposure(tool: Operations, to: SideName) -> tuple[Place, ...]:
    """What exposes the tool at `to`, or hides it on the way back: the head's line in any case, where it has one."""
    base, head = tool.on("base"), tool.on("head")
    assert base is not None
    assert head is not None
    if base[0].exposed != head[0].exposed:
        return (Place("head", head[0].origin.document.span(("spec", "status"))),)
    for key in ("agents", "protocols"):
        if getattr(base[1].declared, key) != getattr(head[1].declared, key):
            return (Place("head", head[1].origin.document.span((*head[1].origin.loc, key))),)
    return _at(to, head[1])


def _permission(pairs: Pairs, to: SideName, role: str, node: OperationNode) -> tuple[Place, ...]:
    graph = pairs.base if to == "base" else pairs.head
    declared = graph.platform.spec.roles.get(role) if graph else None
    if graph is None or declared is None:
        return ()
    wanted = PERMISSION_FOR[node.declared.side_effects]
    at = next((i for i, p in enumerate(declared.permissions) if p == wanted), 0)
    return (Place(to, graph.origin.document.span(("spec", "roles", role, "permissions", at))),)


def _node_span(tool: Operations, key: str) -> Span:
    head = tool.on("head")
    assert head is not None
    return head[1].origin.document.span((*head[1].origin.loc, key))


Kind = tuple[bool, str, tuple[str, ...], str, bool]
"""Gained or lost, why, roles, side effects, approval."""


def _grouped(pairs: Pairs, steps: Sequence[Step]) -> Iterator[Change]:
    by_tool: dict[tuple[str, bool, str], list[Step]] = {}
    for step in steps:
        by_tool.setdefault((step.tool.tool, step.gained, step.why), []).append(step)
    groups: dict[Kind, dict[str, list[list[Step]]]] = {}
    for (_, gained, why), same in by_tool.items():
        node = same[0].node
        kind: Kind = (gained, why, tuple(s.role for s in same), node.declared.side_effects, node.approval)
        groups.setdefault(kind, {}).setdefault(name_of(same[0].tool.tenant), []).append(same)
    for kind, by_tenant in groups.items():
        if len(by_tenant) > MANY_TENANTS:
            yield _access_change(pairs, kind, "", [s for same in by_tenant.values() for s in same])
        else:
            for tenant, found in by_tenant.items():
                yield _access_change(pairs, kind, tenant, found)


def _access_change(pairs: Pairs, kind: Kind, tenant: str, found: Sequence[Sequence[Step]]) -> Change:
    gained, why, roles, effects, approval = kind
    tools = sorted(same[0].node.tool_id for same in found)
    tenants = sorted({name_of(same[0].tool.tenant) for same in found})
    first = found[0][0]
    side: SideName = first.side
    graph = pairs.head if gained else pairs.base
    assert graph is not None
    people = sorted({p for role in roles for same in found for p in holders(graph, same[0], role)})
    held = [q(p) for p in people]
    classes = sorted({c[0].declared.spec.classification for same in found if (c := same[0].tool.on(side)) is not None},
                     key=_CLASSES.index)  # fmt: skip
    places = tuple(dict.fromkeys(p for same in found for step in same for p in step.places))
    whom = roles_of(roles, tenant if tenant else "")
    said = (
        folded(pairs, tools, side) if tenant else f"{counted(len(tools), 'tool')} in {counted(len(tenants), 'tenant')}"
    )
    verb = ("gains" if gained else "loses") if len(roles) == 1 else ("gain" if gained else "lose")
    reason = _WHY[why][0 if gained else 1]
    details = [f"roles {joined([q(r) for r in roles])}"] if len(roles) > 2 else []
    details.append(
        f"held by {joined(held[:20])}{f' and {len(held) - 20} more' if len(held) > 20 else ''}"
        if held
        else "nobody whose membership is managed here holds them"
        if len(roles) > 1
        else "nobody whose membership is managed here holds it"
    )
    if len(tools) > 1:
        details += [f"tool {q(t)}" for t in tools]
    data: dict[str, JSON] = {
        "roles": list(roles),
        "tools": tools,
        "sideEffects": effects,
        "approval": approval,
        "classification": classes[0] if classes else "",
        "classifications": classes,
        "environments": sorted({e for same in found for e in environments_of(same[0])}),
        "people": people,
        "tenants": tenants,
        "contracts": sorted({t.rpartition(":")[0] for t in tools}),
        "why": why,
        "wildcard": why in ("wildcard", "new-wildcard"),
    }
    return Change(
        section=Section.ACCESS,
        code="access-gained" if gained else "access-lost",
        tenant=tenant,
        subject=tools[0] if len(tools) == 1 else tenant or "platform",
        text=f"{whom} {verb} {said} ({danger(effects, approval)}): {reason}",
        direction="gained" if gained else "lost",
        spans=places,
        details=tuple(details),
        data=data,
    )


def danger(effects: str, approval: bool) -> str:
    """Side effects, and whether a second person must approve."""
    if approval:
        return f"{effects}, with approval"
    return effects if effects in ("read", "none") else f"{effects}, no approval"


def roles_of(roles: Sequence[str], tenant: str) -> str:
    """`3 roles of `ioi``; one or two by name."""
    of = f" of {q(tenant)}" if tenant else ""
    if len(roles) > 2:
        return f"{len(roles)} roles{of}"
    return f"role{'s' if len(roles) > 1 else ''} {joined([q(r) for r in roles])}{of}"


def folded(pairs: Pairs, tools: Sequence[str], side: SideName) -> str:
    """The tools in few words: all of a contract as `tenant:contract:*`, long lists by their number."""
    graph = pairs.head if side == "head" else pairs.base
    if len(tools) == 1 or graph is None:
        return q(tools[0])
    wanted = set(tools)
    parts: list[str] = []
    left = list(tools)
    for tenant in graph.tenants:
        for contract in tenant.contracts:
            mine = [o.tool_id for o in contract.operations if contract.exposed and o.exposed]
            if len(mine) > 1 and wanted.issuperset(mine):
                parts.append(f"all {len(mine)} tools of {q(f'{tenant.name}:{contract.name}')}")
                left = [t for t in left if t not in set(mine)]
    if len(parts) > 3:
        return f"{counted(len(tools), 'tool')} of {counted(len(parts), 'contract')}"
    if len(left) > 3:
        contracts = sorted({t.rpartition(":")[0] for t in left})
        parts.append(f"{counted(len(left), 'tool')} of {names(contracts)}")
    else:
        parts += [q(t) for t in left]
    return joined(parts)


def environments_of(step: Step) -> Sequence[str]:
    """Where the tool's tenant is rendered."""
    tenant = step.tool.tenant.head if step.gained else step.tool.tenant.base
    return tenant.declared.spec.environments if tenant else ()


def holders(graph: Graph, step: Step, role: str) -> Iterator[str]:
    """Names of the people and applications that hold the role where it counts for the tool."""
    declared = graph.platform.spec.roles.get(role)
    tenant = step.tool.tenant.head if step.gained else step.tool.tenant.base
    if declared is not None and declared.scope == "platform":
        yield from (p.username for p in graph.people if role in p.roles)
    elif tenant is not None:
        yield from (p.username for p in tenant.people if role in p.roles)
        yield from (c.client_id for c in tenant.consumers if role in c.declared.spec.roles)


# Memberships: who holds which role.


def _memberships(pairs: Pairs) -> Iterator[Change]:
    sides: list[tuple[str, People, People, Pair[TenantNode] | None]]
    sides = [("", _platform_people(pairs.base), _platform_people(pairs.head), None)]
    # Of a tenant that is new or gone, one line tells of all people and applications.
    stay = [t for t in pairs.tenants if t.base is not None and t.head is not None]
    sides += [(name_of(t), _people(t.base), _people(t.head), t) for t in stay]
    found: dict[tuple[bool, str, tuple[str, ...], str, str], list[Change]] = {}
    for tenant, before, after, pair in sides:
        moved: dict[tuple[bool, str, tuple[str, ...], str], list[PersonNode]] = {}
        for username in sorted({*before[0], *after[0]}):
            old, new = before[0].get(username), after[0].get(username)
            had, has = set(old.roles if old else ()), set(new.roles if new else ())
            state = "new" if old is None else "gone" if new is None else ""
            for role in sorted(has ^ had):
                gained = role in has
                holder = new if gained else old
                groups = after[1] if gained else before[1]
                assert holder is not None
                via = tuple(g for g in holder.groups if role in groups[g].roles)
                moved.setdefault((gained, role, via, state), []).append(holder)
        for (gained, role, via, state), people in moved.items():
            change, said = _membership(pairs, pair, tenant, gained, role, via, state, people)
            found.setdefault((gained, role, via, state, said), []).append(change)
        for group in sorted({*before[1], *after[1]}):
            yield from _unmanaged(pairs, pair, tenant, before[1].get(group), after[1].get(group))
    for (gained, role, via, state, said), same in found.items():
        if len(same) <= MANY_TENANTS:
            yield from same
            continue
        everyone = [str(p) for c in same if isinstance(listed := c.data["people"], list) for p in listed]
        tools = [str(t) for c in same if isinstance(listed := c.data["tools"], list) for t in listed]
        which = {"new": "new ", "gone": "removed "}.get(state, "")
        by = f" by group{'s' if len(via) > 1 else ''} {joined([q(g) for g in via])}" if via else ""
        yield replace(
            same[0],
            tenant="",
            subject=f"role/{role}",
            text=f"{len(everyone):,} {which}people of {counted(len(same), 'tenant')} {'get' if gained else 'lose'} "
            f"role {q(role)}{by}: {said} each",
            spans=tuple(p for c in same for p in c.spans),
            details=tuple(f"person {q(p)}" for p in everyone),
            data={**same[0].data, "people": everyone, "tools": tools, "tenants": [c.tenant for c in same]},
            parts=tuple(same),
        )


People = tuple[Mapping[str, PersonNode], Mapping[str, GroupNode]]


def _people(tenant: TenantNode | None) -> People:
    if tenant is None:
        return {}, {}
    return {p.username: p for p in tenant.people}, {g.name: g for g in tenant.groups}


def _platform_people(graph: Graph | None) -> People:
    if graph is None:
        return {}, {}
    return {p.username: p for p in graph.people}, {g.name: g for g in graph.groups}


def _membership(
    pairs: Pairs,
    pair: Pair[TenantNode] | None,
    tenant: str,
    gained: bool,
    role: str,
    via: tuple[str, ...],
    state: str,
    people: Sequence[PersonNode],
) -> tuple[Change, str]:
    """The change, and what the role reaches."""
    usernames = [p.username for p in people]
    who = names(usernames) if len(usernames) < 4 else f"{len(usernames)} people"
    kind = {"new": "new ", "gone": ""}.get(state, "")
    noun = "person" if len(usernames) == 1 else "people"
    whose = f" of {q(tenant)}" if tenant else " of the platform"
    subject = f"{kind}{noun} {who}{whose}" if len(usernames) < 4 else f"{kind}{who}{whose}"
    one = len(usernames) == 1
    verb = ("gets" if one else "get") if gained else ("loses" if one else "lose")
    if state == "gone":
        verb = f"{'is' if one else 'are'} removed and {verb}"
    by = f" by group{'s' if len(via) > 1 else ''} {joined([q(g) for g in via])}" if via else ""
    reach = _reach(pairs, pair, role, gained)
    side: SideName = "head" if gained else "base"
    graph, other = (pair.head, pair.base) if pair else (pairs.head, pairs.base)
    there = {g.name: g for g in ((other if gained else graph) or _NOBODY).groups}
    places = tuple(p for person in people[:20] for p in _member_places(person, via, side, role, there))
    change = Change(
        section=Section.ACCESS,
        code="role-gained" if gained else "role-lost",
        tenant=tenant,
        subject=f"{tenant or PLATFORM_TENANT}/role/{role}",
        text=f"{subject} {verb} role {q(role)}{by}: {reach[0]}",
        direction="gained" if gained else "lost",
        spans=tuple(dict.fromkeys(places)),
        details=(*(f"person {q(u)}" for u in usernames), *(f"tool {q(t)}" for t in reach[1])),
        data={"people": usernames, "roles": [role], "groups": list(via), **reach[2]},
    )
    return change, reach[0]


@record(slots=False)
class _Nobody:
    groups: tuple[GroupNode, ...] = ()


_NOBODY = _Nobody()


def _member_places(
    person: PersonNode, via: Sequence[str], side: SideName, role: str, there: Mapping[str, GroupNode]
) -> Iterator[Place]:
    """The lines that give the role: in the group that the person joins, or the role that their group gets."""
    document = person.origin.document
    found = False
    for group in via:
        declared = document.data["spec"]["groups"][group]
        members, roles = declared.get("members", []), declared["roles"]
        stays = group in there and person.username in (there[group].members or ())
        key, values, value = ("roles", roles, role) if stays else ("members", members, person.username)
        if value in values:
            found = True
            yield Place(side, document.span(("spec", "groups", group, key, values.index(value))))
    if not found:
        yield Place(side, document.span(person.origin.loc, "key"))


def _reach(
    pairs: Pairs, pair: Pair[TenantNode] | None, role: str, gained: bool
) -> tuple[str, Sequence[str], dict[str, JSON]]:
    """What the role reaches: in words, its tools, and as facts."""
    graph = pairs.head if gained else pairs.base
    if graph is None:
        return "no tool", (), {"tools": []}
    if pair is None:  # The platform's own people: what they reach is every tenant's.
        granted = [p for g in graph.platform.spec.grants if g.role == role and g.effect == "allow" for p in g.tools]
        said = f"every tool that {names(granted)} names" if granted else "no tool"
        return said, (), {"tools": granted, "patterns": granted}
    tenant = pair.head if gained else pair.base
    tools = tenant.access.get(role, ()) if tenant else ()
    nodes = {o.tool_id: o for o in (tenant.operations if tenant else ())}
    return (*_counted_tools([nodes[t] for t in tools]),)


def _counted_tools(nodes: Sequence[OperationNode]) -> tuple[str, Sequence[str], dict[str, JSON]]:
    tools = [n.tool_id for n in nodes]
    if not nodes:
        return "no tool", (), {"tools": []}
    parts = []
    for effects in DANGER:
        mine = [n for n in nodes if n.declared.side_effects == effects]
        open_ = [n for n in mine if not n.approval]
        if mine and effects in ("destructive", "write"):
            without = (
                "" if not open_ else ", no approval" if len(open_) == len(mine) else f", {len(open_)} without approval"
            )
            parts.append(f"{len(mine)} {effects}{without or ', with approval'}")
        elif mine:
            parts.append(f"{len(mine)} {effects}")
    worst = next(e for e in DANGER if any(n.declared.side_effects == e for n in nodes))
    facts: dict[str, JSON] = {
        "tools": tools,
        "sideEffects": worst,
        "approval": all(n.approval for n in nodes if n.declared.side_effects == worst),
    }
    return f"{counted(len(tools), 'tool')} ({'; '.join(parts)})", tools, facts


def _unmanaged(
    pairs: Pairs, pair: Pair[TenantNode] | None, tenant: str, old: GroupNode | None, new: GroupNode | None
) -> Iterator[Change]:
    """A group whose members are nobody's here: its roles reach people whom nobody sees in the source."""
    had = set(old.roles) if old is not None and old.members is None else set()
    has = set(new.roles) if new is not None and new.members is None else set()
    for role in sorted(has ^ had):
        gained = role in has
        group = new if gained else old
        assert group is not None
        side: SideName = "head" if gained else "base"
        reach = _reach(pairs, pair, role, gained)
        whose = f" of {q(tenant)}" if tenant else " of the platform"
        yield Change(
            section=Section.ACCESS,
            code="group-role-gained" if gained else "group-role-lost",
            tenant=tenant,
            subject=f"{tenant or PLATFORM_TENANT}/group/{group.name}",
            text=f"group {q(group.name)}{whose}, whose members are not managed here, {'gets' if gained else 'loses'} "
            f"role {q(role)}: {reach[0]}",
            direction="gained" if gained else "lost",
            spans=(Place(side, group.origin.document.span((*group.origin.loc, "roles"))),),
            details=tuple(f"tool {q(t)}" for t in reach[1]),
            data={"people": [], "roles": [role], "groups": [group.name], "unmanaged": True, **reach[2]},
        )


# Applications: what their own accounts may call, and which contracts any token of theirs reaches.


def _applications(pairs: Pairs, steps: Sequence[Step], today: date) -> Iterator[Change]:
    by_role: dict[tuple[str, str, bool], set[str]] = {}
    for step in steps:
        by_role.setdefault((name_of(step.tool.tenant), step.role, step.gained), set()).add(step.tool.tool)
    for tenant in pairs.tenants:
        if tenant.base is None or tenant.head is None:
            continue
        before, after = ({c.name: c for c in t.consumers} for t in (tenant.base, tenant.head))
        for name in sorted({*before, *after}):
            old, new = before.get(name), after.get(name)
            had = {pairs.now.get(t, t): n for t, n in _callable(tenant.base, old, today).items()}
            has = _callable(tenant.head, new, today)
            for gained in (True, False):
                nodes = {t: n for t, n in (has if gained else had).items() if t not in (had if gained else has)}
                consumer = new if gained else old
                if consumer is None or not nodes:
                    continue
                known = set()
                if old is not None and new is not None:
                    for role in set(old.declared.spec.roles) & set(new.declared.spec.roles):
                        known |= by_role.get((name_of(tenant), role, gained), set())
                rest = [n for t, n in sorted(nodes.items()) if t not in known]
                if rest:
                    yield _application(consumer, name_of(tenant), rest, gained, old is None or new is None)


def _callable(tenant: TenantNode | None, consumer: ConsumerNode | None, today: date) -> dict[str, OperationNode]:
    """The tools that the application's own account may call."""
    if tenant is None or consumer is None or "client_credentials" not in consumer.declared.spec.grant_types:
        return {}
    contracts = {
        s.declared.spec.contract
        for s in consumer.subscriptions
        if s.declared.spec.status == "active"
        and (s.declared.spec.expires is None or date.fromisoformat(s.declared.spec.expires) >= today)
    }
    granted = {t for role in consumer.declared.spec.roles for t in tenant.access.get(role, ())}
    return {o.tool_id: o for o in tenant.operations if o.tool_id in granted and o.tool_id.split(":")[1] in contracts}


def _application(
    consumer: ConsumerNode, tenant: str, nodes: Sequence[OperationNode], gained: bool, whole: bool
) -> Change:
    said, tools, facts = _counted_tools(nodes)
    side: SideName = "head" if gained else "base"
    direction: Direction = "gained" if gained else "lost"
    actors = [f"{a.kind}:{a.name}" for a in consumer.declared.spec.actors]
    new = ("new " if gained else "removed ") if whole else ""
    contracts = sorted({t.rpartition(":")[0] for t in tools})
    return Change(
        section=Section.ACCESS,
        code="consumer-access-gained" if gained else "consumer-access-lost",
        tenant=tenant,
        subject=consumer.client_id,
        text=f"{new}consumer {q(consumer.client_id)}, with an account of its own, "
        f"{'gains' if gained else 'loses'} {said} of {names(contracts)}",
        direction=direction,
        spans=(Place(side, consumer.origin.document.span(("spec", "roles"))),),
        details=(*(f"actor {q(a)}" for a in actors), *(f"tool {q(t)}" for t in tools)),
        data={
            "consumers": [consumer.client_id],
            "roles": list(consumer.declared.spec.roles),
            "contracts": contracts,
            **facts,
        },
    )


def environment_changes(pairs: Pairs, covered: set[tuple[tuple[str, str, str], Loc]]) -> Iterator[Change]:
    """Tenants that come to an environment or leave it, and what is reached there then."""
    for pair in pairs.tenants:
        if pair.base is None or pair.head is None:
            continue
        before, after = pair.base.declared.spec.environments, pair.head.declared.spec.environments
        for environment in [*(e for e in after if e not in before), *(e for e in before if e not in after)]:
            gained = environment in after
            node = pair.head if gained else pair.base
            at: Loc = ("spec", "environments", (after if gained else before).index(environment))
            covered.add((("Tenant", pair.head.name, pair.head.name), at))
            said, tools, facts = _counted_tools(node.operations)
            reach = f"{counted(len(node.people), 'person', 'people')} and {counted(len(node.consumers), 'consumer')}"
            yield Change(
                section=Section.EXPOSURE,
                code="tenant-environment-gained" if gained else "tenant-environment-lost",
                tenant=pair.head.name,
                subject=pair.head.name,
                text=f"tenant {q(pair.head.name)} is {'in' if gained else 'no longer in'} {q(environment)}"
                f"{' now' if gained else ''}, with {said} for {reach}",
                direction="gained" if gained else "lost",
                spans=(Place("head" if gained else "base", node.origin.document.span(at)),),
                details=tuple(f"tool {q(t)}" for t in tools),
                data={
                    "environments": [environment],
                    "people": [p.username for p in node.people],
                    "consumers": [c.client_id for c in node.consumers],
                    **facts,
                },
            )
