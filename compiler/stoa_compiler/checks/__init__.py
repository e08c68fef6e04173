"""Check: the semantic rules, over the linked graph. One module a subject; each check adds what it finds."""

from collections.abc import Callable, Sequence

from stoa_compiler.checks import (
    backends,
    clients,
    clusters,
    consumers,
    contracts,
    people,
    platform,
    reviews,
    schemas,
    secrets,
    tenants,
)
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph

Check = Callable[[Graph, Report], None]

OF_TENANTS: tuple[Check, ...] = (
    tenants.check,
    contracts.check,
    schemas.check,
    backends.check,
    consumers.check,
    clients.check,
    secrets.check,
    tenants.check_grants,  # Late: it reads what those before found.
    clusters.check_tenants,
    people.check_tenants,
)
"""What is judged of each tenant by itself."""
TOGETHER: tuple[Check, ...] = (platform.check, clusters.check, people.check, reviews.check, tenants.check_together)
"""What is judged of the platform and of all tenants side by side: of these only facts are asked for."""

RULES = (
    *platform.RULES,
    *clusters.RULES,
    *people.RULES,
    *reviews.RULES,
    *tenants.RULES,
    *contracts.RULES,
    *schemas.RULES,
    *backends.RULES,
    *consumers.RULES,
    *clients.RULES,
    *secrets.RULES,
)


def check(graph: Graph, report: Report, checks: Sequence[Check] = (*OF_TENANTS, *TOGETHER)) -> None:
    """Runs the checks."""
    for one in checks:
        one(graph, report)
