"""Rules on tenants: caps of their tier, secret prefixes, grants that give something."""

from unicodedata import normalize

from stoa_compiler.access import fits, permits, segments
from stoa_compiler.diagnostics import Note, Report, Rule, lookalikes
from stoa_compiler.graph import Graph, TenantNode
from stoa_compiler.load import TENANT_FILE
from stoa_compiler.source import Span
from stoa_schemas.base import calls_per_second

OVER_CAP = Rule(
    code="STOA421",
    title="more than the tier allows",
    why="Caps keep one tenant from taking what others paid for.",
    help="Stay within the cap, or move the tenant to a larger tier.",
)
PREFIX_OVERLAP = Rule(
    code="STOA422",
    title="two tenants' secrets overlap",
    why="A policy on one prefix would open the other tenant's secrets too.",
    help="Give each tenant a prefix that is not equal to, or a folder of, another's.",
)
EMPTY_GRANT = Rule(
    code="STOA423",
    title="the grant gives nothing",
    why="No exposed tool fits both the pattern and the role's permissions, so what is declared has no effect.",
    help="Name tools that the role's permissions cover, or remove the grant.",
    severity="warning",
)
DISPLAY_NAME = Rule(
    code="STOA424",
    title="two tenants share a display name",
    why="People choose by the name that they see; one tenant must not pass for another.",
    help="Give each tenant a display name of its own.",
)

FOREIGN_PREFIX = Rule(
    code="STOA425",
    title="the prefix does not end in the tenant's name",
    why="A tenant writes its own prefix. One that names another's folder, or the platform's, would be a key to it.",
    help="Let the last part of the prefix be the tenant's name, such as `tenants/<tenant>`.",
)

RULES = (FOREIGN_PREFIX, OVER_CAP, PREFIX_OVERLAP, EMPTY_GRANT, DISPLAY_NAME)


def check(graph: Graph, report: Report) -> None:
    """Adds what tenants declare beyond their tier."""
    for tenant in graph.tenants:
        _caps(graph, tenant, report)


def check_together(graph: Graph, report: Report) -> None:
    """Adds what tenants declare that is another's."""
    _prefixes(graph, report)
    seen: dict[str, str] = {}
    for tenant in graph.facts:
        name = tenant.display_name
        shown = " ".join(normalize("NFKC", name).casefold().split())
        if seen.setdefault(shown, tenant.name) != tenant.name:
            where = graph.tenant(tenant.name).origin.document.span(("spec", "displayName"))
            report.add(DISPLAY_NAME, where, f"`{name}` is another tenant's name too", lookalikes(name))


def _prefixes(graph: Graph, report: Report) -> None:
    """Sorted, a prefix that lies in another follows it with only its like between."""
    by_prefix = sorted((f.secrets + "/", f.name) for f in graph.facts)
    outer: tuple[str, str] | None = None
    overlapping: set[str] = set()

    def place(tenant: str) -> Span:
        return graph.tenant(tenant).origin.document.span(("spec", "secrets", "prefix"))

    for prefix, name in by_prefix:
        if outer is not None and prefix.startswith(outer[0]):
            guilty = name if prefix == outer[0] else outer[1]
            overlapping.add(guilty)
            said = "is also" if guilty == name else "is a folder above"
            report.add(PREFIX_OVERLAP, place(guilty), f"`{outer[0][:-1]}` {said} the prefix of another tenant")
        else:
            outer = (prefix, name)
    for prefix, name in by_prefix:
        if prefix.split("/")[-2] != name and name not in overlapping:
            report.add(FOREIGN_PREFIX, place(name), f"`{prefix[:-1]}` does not end in `{name}`")


def _caps(graph: Graph, tenant: TenantNode, report: Report) -> None:
    spec, document = tenant.declared.spec, tenant.origin.document
    tier = graph.platform.spec.tiers.get(spec.tier)
    if tier is None:
        return

    def note() -> list[Note]:
        return [Note(f"the tier `{spec.tier}`", graph.origin.document.span(("spec", "tiers", spec.tier), "key"))]

    max_tools = min(spec.quotas.max_tools or tier.max_tools, tier.max_tools)
    for what, count, cap in (
        ("contracts", len(tenant.contracts), tier.max_contracts),
        ("tools", len(tenant.operations), max_tools),
        ("consumers", len(tenant.consumers), tier.max_consumers),
    ):
        if count > cap:
            at = document.span(("spec", "tier"))
            report.add(OVER_CAP, at, f"`{tenant.name}` has {count} {what}; at most {cap} are allowed", note())
    quotas = ("spec", "quotas")
    if spec.quotas.max_tools is not None and spec.quotas.max_tools > tier.max_tools:
        where = document.span((*quotas, "maxTools"))
        report.add(OVER_CAP, where, f"`maxTools` is {spec.quotas.max_tools}; the tier allows {tier.max_tools}", note())
    if spec.quotas.rate and calls_per_second(spec.quotas.rate) > calls_per_second(tier.max_rate):
        where = document.span((*quotas, "rate"))
        report.add(OVER_CAP, where, f"`{spec.quotas.rate}` is more than the tier's `{tier.max_rate}`", note())


def check_grants(graph: Graph, report: Report) -> None:
    """Adds grants that give nothing: last, since a contract with mistakes would seem to offer nothing."""
    for tenant in graph.tenants:
        _grants(graph, tenant, report)


def _grants(graph: Graph, tenant: TenantNode, report: Report) -> None:
    roles = graph.platform.spec.roles
    folder = tenant.origin.document.file.shown.removesuffix(TENANT_FILE)
    if any(d.span.file.startswith(folder) for d in report.found if d.rule.severity == "error"):
        return  # A contract with mistakes of its own is not in the graph, and would seem to give nothing.
    exposed = [(o, segments(o.tool_id)) for c in tenant.contracts for o in c.operations if o.exposed]
    for index, grant in enumerate(tenant.declared.spec.grants):
        role = roles.get(grant.role)
        if role is None or role.scope == "platform":
            continue
        for at, pattern in enumerate(grant.tools):
            wanted = segments(pattern)
            fitting = [o for o, of_tool in exposed if fits(wanted, of_tool)]
            useful = fitting if grant.effect == "deny" else [o for o in fitting if permits(role, o)]
            if not useful:
                why = (
                    "no exposed tool fits the pattern"
                    if not fitting
                    else "the role's permissions do not cover what it names"
                )
                where = tenant.origin.document.span(("spec", "grants", index, "tools", at))
                report.add(EMPTY_GRANT, where, f"`{pattern}` gives `{grant.role}` nothing: {why}")
