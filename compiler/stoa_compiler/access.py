"""Access: which role may call which tool. The one place where grants are read.

A role may call a tool when a grant allows it, no grant of the same role denies it, and the role's permissions
cover the tool's side effects. Everything else is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from stoa_compiler.graph import ContractNode, OperationNode
from stoa_schemas.documents.access import PERMISSION_FOR, Grant
from stoa_schemas.documents.platform import Role

Segments = tuple[str, str, str]


def matches(pattern: str, tool_id: str) -> bool:
    """Whether `pattern` names the tool: segment by segment, `*` for one whole segment."""
    return fits(segments(pattern), segments(tool_id))


def fits(wanted: Segments, of_tool: Segments) -> bool:
    """The same for segments: who asks of many tools takes them apart once."""
    tenant, contract, operation = wanted
    return (
        (operation == "*" or operation == of_tool[2])
        and (contract == "*" or contract == of_tool[1])
        and (tenant == "*" or tenant == of_tool[0])
    )


@lru_cache(maxsize=4096)
def segments(name: str) -> Segments:
    """Tenant, contract and operation of a pattern or a tool's id."""
    tenant, contract, operation = name.split(":")
    return tenant, contract, operation


def permits(role: Role, operation: OperationNode) -> bool:
    """Whether the role's permissions cover the operation's side effects."""
    return PERMISSION_FOR[operation.declared.side_effects] in role.permissions


def access(
    roles: Mapping[str, Role], grants: Iterable[Grant], contracts: Sequence[ContractNode]
) -> dict[str, tuple[str, ...]]:
    """Canonical tool ids by role, both sorted; every role of the table has an entry."""
    tools = sorted(
        (o.tool_id, PERMISSION_FOR[o.declared.side_effects], segments(o.tool_id))
        for c in contracts
        if c.exposed
        for o in c.operations
        if o.exposed
    )
    granted = [(g.role, g.effect, [segments(p) for p in g.tools]) for g in grants]
    table = {}
    for name, role in sorted(roles.items()):
        mine = [(effect, p) for r, effect, patterns in granted if r == name for p in patterns]
        chosen = {"allow": set[str](), "deny": set[str]()}
        for effect, (tenant, contract, operation) in mine:  # `fits`, written out: it is asked for every tool.
            chosen[effect].update(
                tool
                for tool, permission, (t, c, o) in tools
                if (operation == "*" or operation == o)
                and (contract == "*" or contract == c)
                and (tenant == "*" or tenant == t)
                and permission in role.permissions
            )
        table[name] = tuple(sorted(chosen["allow"] - chosen["deny"]))
    return table
