"""Names: which are well formed, which are reserved, and how one is made from another.

Every rule here is injective or refuses, so that two different things never share a name downstream.
"""

import re
from typing import NewType

TenantName = NewType("TenantName", str)
ContractName = NewType("ContractName", str)
ToolId = NewType("ToolId", str)
"""A tool's canonical id, `tenant:contract:operation`; grants, audit and the access matrix use it."""
WireName = NewType("WireName", str)
"""A tool's name as MCP clients see it."""

ID = r"^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$"
"""An id of a tenant, contract, consumer, plan, role, group, tier: ASCII, and valid as a DNS label."""
OPERATION = r"^[a-z][a-z0-9_]{0,62}$"
USERNAME = r"^[a-z][a-z0-9._-]{0,62}$"

WIRE_NAME_LIMIT = 64
"""MCP clients accept `[A-Za-z0-9_-]{1,64}`."""

PLATFORM_TENANT = TenantName("platform")
"""The tenant claim of the platform's own people. Reserved, so no tenant can be called so."""
PLATFORM_TOOL_PREFIX = "stoa_"

TENANT_CLAIM = "tenant"
ROLES_CLAIM = "roles"
MCP_SCOPE = "stoa-mcp"
"""The OAuth scope whose tokens carry the gateway's audience."""

RESERVED = frozenset({"admin", "default", "internal", "master", "mcp", "platform", "public", "shared", "system"})
RESERVED_PREFIXES = ("kube-", "stoa")

_ID = re.compile(ID)


def is_id(text: str) -> bool:
    """Whether `text` is a well-formed id. Full match: `$` alone would let a trailing newline pass."""
    return _ID.fullmatch(text) is not None


def is_reserved(text: str) -> bool:
    """Whether a tenant may not be called `text`, since the platform or Kubernetes owns the name."""
    return text in RESERVED or text.startswith(RESERVED_PREFIXES)


def tool_id(tenant: str, contract: str, operation: str) -> ToolId:
    """The canonical id, `tenant:contract:operation`."""
    return ToolId(f"{tenant}:{contract}:{operation}")


def wire_name(tenant: str, contract: str, operation: str) -> WireName | None:
    """The name that MCP clients see, `tenant_contract_operation`; None where it is over 64 characters.

    Ids of tenants and contracts hold no underscore, so the first two underscores are the borders and
    the rule can be turned round.
    """
    name = f"{tenant}_{contract}_{operation}"
    return WireName(name) if len(name) <= WIRE_NAME_LIMIT else None


def client_id(tenant: str, consumer: str) -> str:
    """A consumer's OAuth client id, `tenant.consumer`; ids hold no dot."""
    return f"{tenant}.{consumer}"


def namespace(platform: str, tenant: str, environment: str) -> str:
    """A tenant's Kubernetes namespace, `platform-tenant-environment`.

    One source has one platform, and no environment's name holds a hyphen, so no two tenants share one.
    """
    return f"{platform}-{tenant}-{environment}"
