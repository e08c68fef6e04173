"""Why, for every cell of a matrix: for each holder and tool, what decides that the tool may be called."""

import datetime
from collections.abc import Iterable

from stoa_compiler.graph import Graph
from stoa_compiler.matrix.forms import Why
from stoa_compiler.matrix.model import Holder, Matrix
from stoa_compiler.matrix.reasons import NO_ROLE, Reason, Reasons, allows


def whys(graph: Graph, matrix: Matrix, holders: Iterable[Holder], on: datetime.date | None) -> Why:
    """What decides of each tool that is in a holder's reach: of every role that gives it, or of all that do not."""
    reasons = Reasons(graph)
    found: dict[tuple[tuple[str, str, str, str], str], list[Reason]] = {}
    for holder in holders:
        held = set(holder.tools)
        for tool in matrix.reach(holder):
            if holder.kind == "consumer" and not tool.tenant:
                continue
            answers = [mine for _, mine in of_holder(reasons, holder, tool.id, on)]
            if tool.id in held:
                said = [r for mine in answers if allows(mine) for r in mine]
            else:
                said = [r for mine in answers for r in mine if r.sense == "against"] or [NO_ROLE]
            found[holder.key, tool.id] = list(dict.fromkeys(said))
    return found


def of_holder(reasons: Reasons, holder: Holder, tool: str, on: datetime.date | None) -> list[tuple[str, list[Reason]]]:
    """What decides by each of the holder's roles."""
    if holder.kind == "role":
        return [(holder.name, reasons.role(holder.name, tool))]
    if holder.kind == "person":
        return reasons.person(reasons.people[holder.name], tool)
    tenant, consumer = reasons.consumers[holder.name]
    return reasons.consumer(tenant, consumer, holder.roles, tool, on)
