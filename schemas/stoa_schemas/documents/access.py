"""Roles, permissions, grants, groups, people: the parts that Platform and Tenant share."""

from typing import Annotated, Literal

from pydantic import Field

from stoa_schemas.base import Closed, Email, Id, Title, ToolPattern, Username

SideEffects = Literal["none", "read", "write", "destructive"]
"""What calling an operation may do, from nothing at all to what cannot be undone."""

Permission = Literal[
    "catalog:read",
    "posture:read",
    "tools:read",
    "tools:write",
    "tools:destructive",
    "approvals:decide",
]
"""What a role may do at all, before any grant.

`catalog:read` and `posture:read` open the platform's own tools; `tools:*` bound the side effects of the
tools that a grant can give; `approvals:decide` lets its holder approve another person's call.
"""

PERMISSION_FOR: dict[SideEffects, Permission] = {
    "none": "tools:read",
    "read": "tools:read",
    "write": "tools:write",
    "destructive": "tools:destructive",
}
"""The permission that a role needs before a grant can give it a tool with these side effects."""


class Grant(Closed):
    """Which tools a role may see and call. What no grant gives is refused."""

    role: Id
    """A role of the platform's role table."""
    tools: Annotated[list[ToolPattern], Field(min_length=1)]
    """Tools by canonical id; `*` stands for one whole segment: `ioi:billing:*`."""
    effect: Literal["allow", "deny"] = "allow"
    """`deny` wins over every `allow` of the same role."""


class Person(Closed):
    """Someone who signs in. No password: the identity provider asks for that."""

    first_name: Title
    """Given name."""
    last_name: Title
    """Family name."""
    email: Email
    """Address that the identity provider writes to."""


class Group(Closed):
    """People who hold the same roles."""

    roles: list[Id]
    """Roles that each member holds."""
    members: list[Username] | None = None
    """User names of people declared beside the groups. Left out: membership is not managed here."""


People = dict[Username, Person]
Groups = dict[Id, Group]
