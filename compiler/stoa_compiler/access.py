"""Access: which role may call which tool. The one place where grants are read.

A role may call a tool when a grant allows it, no grant of the same role denies it, and the role's permissions
cover the tool's side effects. Everything else is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from stoa_compiler.graph import ContractNode, OperationNode
from stoa_schemas.documents.access import PERMISSION_FOR, Grant
from stoa_schemas.documents.platform import Role


def matches(pattern: str, tool_id: str) -> bool:
    """Whether `pattern` names the tool: segment by segment, `*` for one whole segment."""
    for wanted, segment in zip(_segments(pattern), _segments(tool_id), strict=True):
        if wanted != "*" and wanted != segment:
            return False
    return True


@lru_cache(maxsize=4096)
def _segments(name: str) -> list[str]:
    return name.split(":")


def permits(role: Role, operation: OperationNode) -> bool:
    """Whether the role's permissions cover the operation's side effects."""
    return PERMISSION_FOR[operation.declared.side_effects] in role.permissions


def access(
    roles: Mapping[str, Role], grants: Iterable[Grant], contracts: Sequence[ContractNode]
) -> dict[str, tuple[str, ...]]:
    """Canonical tool ids by role, both sorted; every role of the table has an entry."""
    operations = [o for c in contracts if c.exposed for o in c.operations if o.exposed]
    granted = list(grants)
    table = {}
    for name, role in sorted(roles.items()):
        allow = [p for g in granted if g.role == name and g.effect == "allow" for p in g.tools]
        deny = [p for g in granted if g.role == name and g.effect == "deny" for p in g.tools]
        table[name] = tuple(
            sorted(
                o.tool_id
                for o in operations
                if permits(role, o)
                and any(matches(p, o.tool_id) for p in allow)
                and not any(matches(p, o.tool_id) for p in deny)
            )
        )
    return table
