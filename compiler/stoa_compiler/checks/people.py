"""Rules on people and groups: one tenant each, and only roles that their place can give."""

from collections.abc import Callable

from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import Graph, GroupNode, PersonNode

TWICE = Rule(
    code="STOA411",
    title="the person is declared twice",
    why="Tenant comes from one claim. Somebody in two tenants would get a token that is refused, and two people with "
    "one address are one account to the identity provider.",
    help="Give the person one user name and address in one tenant.",
)
PLATFORM_ROLE = Rule(
    code="STOA412",
    title="a tenant gives a platform role",
    why="Roles of scope `platform` cross tenants: only the platform's own people can hold them.",
    help="Use a role of scope `tenant`.",
)
TENANT_ROLE = Rule(
    code="STOA413",
    title="the platform's people hold a tenant's role",
    why="A role of scope `tenant` counts only inside one tenant, and the platform's people are in none.",
    help="Use a role of scope `platform`.",
)

RULES = (TWICE, PLATFORM_ROLE, TENANT_ROLE)


def check(graph: Graph, report: Report) -> None:
    """Adds people in two places, and roles out of place."""
    everyone = [*graph.people, *(p for t in graph.tenants for p in t.people)]
    _unique(everyone, "user name", lambda p: p.username, report)
    _unique(everyone, "address", lambda p: p.email.lower(), report)
    roles = graph.platform.spec.roles
    for tenant in graph.tenants:
        for group in tenant.groups:
            _scope(group, {n for n, r in roles.items() if r.scope == "platform"}, PLATFORM_ROLE, report)
        for consumer in tenant.consumers:
            for index, role in enumerate(consumer.declared.spec.roles):
                if role in roles and roles[role].scope == "platform":
                    where = consumer.origin.document.span(("spec", "roles", index))
                    report.add(
                        PLATFORM_ROLE, where, f"`{role}` is a role of scope `platform`, which no tenant can give"
                    )
        document = tenant.origin.document
        for index, grant in enumerate(tenant.declared.spec.grants):
            if grant.role in roles and roles[grant.role].scope == "platform":
                where = document.span(("spec", "grants", index, "role"))
                said = f"`{grant.role}` is a role of scope `platform`, which no tenant can give"
                report.add(PLATFORM_ROLE, where, said)
    for group in graph.groups:
        _scope(group, {n for n, r in roles.items() if r.scope == "tenant"}, TENANT_ROLE, report)


def _unique(people: list[PersonNode], what: str, key: Callable[[PersonNode], str], report: Report) -> None:
    seen: dict[str, PersonNode] = {}
    for person in people:
        first = seen.setdefault(key(person), person)
        if first is not person:
            report.add(
                TWICE,
                person.origin.document.span(person.origin.loc, "key"),
                f"the {what} `{key(person)}` is declared twice",
                [Note("declared here first", first.origin.document.span(first.origin.loc, "key"))]
                if first.tenant == person.tenant
                else [],
            )


def _scope(group: GroupNode, wrong: set[str], rule: Rule, report: Report) -> None:
    if wrong.isdisjoint(group.roles):
        return
    declared = group.origin.document.data["spec"]["groups"][group.name]["roles"]
    for index, role in enumerate(declared):
        if role in wrong:
            where = group.origin.document.span((*group.origin.loc, "roles", index))
            platform = "`platform`, which no tenant can give"
            scope = platform if rule is PLATFORM_ROLE else "`tenant`, and the platform's people are in none"
            report.add(rule, where, f"`{role}` is a role of scope {scope}")
