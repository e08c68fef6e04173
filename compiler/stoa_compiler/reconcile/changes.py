"""What a reconcile would change, and how much of it may be done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Literal

from stoa_compiler.records import record

Action = Literal["create", "update", "add", "revoke", "delete", "conflict"]
"""`add` and `revoke` are of what one entry gives another; a `conflict` is left alone and reported."""


@record
class Difference:
    """One value that differs."""

    key: str
    live: Any
    declared: Any


@record
class Change:
    """One thing to do to a live system."""

    action: Action
    kind: str
    """What is changed: a `client`, a `member` of a group, ..."""
    name: str
    """Its name, unique among its kind: for a link the two ends, as `client -> scope`."""
    tenant: str
    """Who declared it: a tenant's name, or `platform`."""
    differences: tuple[Difference, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    """What the system is sent."""

    @property
    def words(self) -> str:
        """What is done, for people."""
        said = {
            "add": f"gets {self.kind}",
            "conflict": f"is not ours: {self.kind}",
            "create": f"create {self.kind}",
            "delete": f"delete {self.kind}",
            "revoke": f"revoke {self.kind}",
            "update": f"update {self.kind}",
        }
        return f"{said[self.action]} `{self.name}`"


@record
class Plan:
    """The changes of one realm, parted into those that may be made and those that may not."""

    realm: str
    changes: tuple[Change, ...]
    """In the order in which they can be made."""
    held: tuple[Change, ...]
    """Deletions beyond what is allowed, and conflicts. They stay, and the realm is not in sync."""

    @property
    def in_sync(self) -> bool:
        """Whether there is no difference at all."""
        return not self.changes and not self.held


def plan(realm: str, changes: Sequence[Change], allowed_deletions: int) -> Plan:
    """The plan for a realm: of a tenant with more deletions than allowed, none is made.

    What a deletion would take away from people is revoked in any case: those are changes of their own, and can be
    turned back.
    """
    deletions = Counter(c.tenant for c in changes if c.action == "delete")
    held = [
        c
        for c in changes
        if c.action == "conflict" or (c.action == "delete" and deletions[c.tenant] > allowed_deletions)
    ]
    kept = {id(c) for c in held}
    return Plan(realm, tuple(c for c in changes if id(c) not in kept), tuple(held))
