"""Check: the semantic rules, over the linked graph. One module a subject; each check adds what it finds."""

from collections.abc import Callable, Sequence

from stoa_compiler.beside import beside
from stoa_compiler.checks import (
    backends,
    clients,
    clusters,
    consumers,
    contracts,
    people,
    platform,
    schemas,
    secrets,
    tenants,
)
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph

Check = Callable[[Graph, Report], None]

CHECKS: tuple[Check, ...] = (
    platform.check,
    clusters.check,
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

SLOW: tuple[Check, ...] = (secrets.check, clients.check, backends.check)
"""About half of the time. Each looks at the graph alone: the last of all checks reads what others found."""
MANY = 100
"""Tenants from which on a child pays."""

RULES = (
    *platform.RULES,
    *clusters.RULES,
    *people.RULES,
    *tenants.RULES,
    *contracts.RULES,
    *schemas.RULES,
    *backends.RULES,
    *consumers.RULES,
    *clients.RULES,
    *secrets.RULES,
)


def check(graph: Graph, report: Report, jobs: int = 1) -> None:
    """Runs every check. With several `jobs`, a large graph's slowest checks run in a child."""
    apart = [c for c in CHECKS if c in SLOW] if jobs > 1 and len(graph.tenants) >= MANY else []
    others = beside(lambda: _found(apart, graph)) if apart else None
    for one in CHECKS[:-1]:
        if one not in apart:
            one(graph, report)
    if others is not None:
        report.found.extend(others().found)
    CHECKS[-1](graph, report)


def _found(checks: Sequence[Check], graph: Graph) -> Report:
    report = Report()
    for one in checks:
        one(graph, report)
    return report
