"""The platform's own tools, as far as access to them goes: which permission opens which.

The runtime brings these tools along, and no contract declares them. The compiler does not import the runtime, so the
table stands here a second time; a test holds the two equal.
"""

from collections.abc import Collection

from stoa_compiler.matrix.model import Tool
from stoa_compiler.records import record
from stoa_schemas.documents.access import Permission


@record
class PlatformTool:
    """One of them."""

    title: str
    opened_by: tuple[Permission, ...]
    """Any of these is enough; no grant is needed."""
    changes: bool = False


PLATFORM_TOOLS: dict[str, PlatformTool] = {
    "stoa_approvals_decide": PlatformTool("Decide an approval", ("approvals:decide",), changes=True),
    "stoa_approvals_get": PlatformTool("Show an approval", ("catalog:read", "approvals:decide")),
    "stoa_approvals_list": PlatformTool("List approvals", ("catalog:read", "approvals:decide")),
    "stoa_catalog": PlatformTool("List API contracts", ("catalog:read",)),
    "stoa_contract": PlatformTool("Show an API contract", ("catalog:read",)),
    "stoa_security_posture": PlatformTool("Show the security posture", ("posture:read",)),
    "stoa_tenants": PlatformTool("List tenants", ("catalog:read",)),
    "stoa_tools": PlatformTool("List tools", ("catalog:read",)),
}


def opened(permissions: Collection[str]) -> list[str]:
    """Names of the platform's tools that holders of `permissions` see."""
    return [name for name, tool in PLATFORM_TOOLS.items() if not set(tool.opened_by).isdisjoint(permissions)]


def rows() -> dict[str, Tool]:
    """The platform's tools for the matrix, by name."""
    return {
        name: Tool(name, "", "", tool.title, "write" if tool.changes else "read", False, "", False)
        for name, tool in PLATFORM_TOOLS.items()
    }
