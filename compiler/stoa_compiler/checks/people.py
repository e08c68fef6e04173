"""Rules on people and groups: one tenant each, and only roles that their place can give."""

from collections.abc import Sequence

from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import Graph, GroupNode
from stoa_compiler.source import Span
from stoa_schemas.names import PLATFORM_TENANT

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
    """Adds people in two places, and the platform's groups with roles out of place."""
    platform = [(p.username, p.email, PLATFORM_TENANT) for p in graph.people]
    everyone = [*platform, *((name, email, f.name) for f in graph.facts for name, email in f.people)]
    _unique([(name, name, tenant) for name, _, tenant in everyone], "user name", graph, report)
    _unique([(email.lower(), name, tenant) for name, email, tenant in everyone], "address", graph, report)
    roles = graph.platform.spec.roles
    for group in graph.groups:
        _scope(group, {n for n, r in roles.items() if r.scope == "tenant"}, TENANT_ROLE, report)


def check_tenants(graph: Graph, report: Report) -> None:
    """Adds roles that no tenant can give."""
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


Named = tuple[str, str, str]
"""What is to be unique, the user name that it stands at, and the tenant of whoever has it."""


def _unique(people: Sequence[Named], what: str, graph: Graph, report: Report) -> None:
    """Of the same tenant's, the note says where the first one is; another tenant's place is not this one's to see."""
    if len({value for value, _, _ in people}) == len(people):
        return

    def place(name: str, tenant: str) -> Span:
        of_tenant = graph.people if tenant == PLATFORM_TENANT else graph.tenant(tenant).people
        origin = next(p.origin for p in of_tenant if p.username == name)
        return origin.document.span(origin.loc, "key")

    seen: dict[str, Named] = {}
    for value, name, tenant in people:
        first = seen.setdefault(value, (value, name, tenant))
        if first != (value, name, tenant):
            notes = [Note("declared here first", place(*first[1:]))] if first[2] == tenant else []
            report.add(TWICE, place(name, tenant), f"the {what} `{value}` is declared twice", notes)


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
