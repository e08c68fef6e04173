"""Check: the semantic rules, over the linked graph. One module a subject; each check adds what it finds."""

from collections.abc import Callable

from stoa_compiler.checks import backends, clients, consumers, contracts, people, platform, schemas, secrets, tenants
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph

CHECKS: tuple[Callable[[Graph, Report], None], ...] = (
    platform.check,
    people.check,
    tenants.check,
    contracts.check,
    schemas.check,
    backends.check,
    consumers.check,
    clients.check,
    secrets.check,
    tenants.check_grants,
)

RULES = (
    *platform.RULES,
    *people.RULES,
    *tenants.RULES,
    *contracts.RULES,
    *schemas.RULES,
    *backends.RULES,
    *consumers.RULES,
    *clients.RULES,
    *secrets.RULES,
)


def check(graph: Graph, report: Report) -> None:
    """Runs every check."""
    for one in CHECKS:
        one(graph, report)
