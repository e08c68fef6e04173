"""What an approval is, and what a store of approvals promises."""

import enum
from dataclasses import dataclass
from typing import Protocol

from stoa_schemas.documents.access import SideEffects

KEPT_MS = 24 * 3_600_000
"""How long an approval is kept after it expired, for those who ask what became of it."""
UNDECIDED_KEPT_MS = 3_600_000
"""The same for one that nobody decided: a requester can make many of these."""


class State(enum.StrEnum):
    """Where an approval stands."""

    PENDING = "pending"
    """Asked for, and nobody has decided."""
    APPROVED = "approved"
    """Given, and not used."""
    REJECTED = "rejected"
    """Refused by a person."""
    USED = "used"
    """Given, and spent on the one call that it was for."""
    WITHDRAWN = "withdrawn"
    """Taken back by the person who asked."""
    EXPIRED = "expired"
    """Not decided, or not used, in time. Never stored: it follows from the clock."""


class ApprovalsUnavailable(Exception):
    """The store cannot be read or written, so nobody can say what is approved; the message is for the operator."""


class TooManyPending(Exception):
    """The requester already waits for as many approvals as one may."""


@dataclass(frozen=True, slots=True)
class Requester:
    """The principal that an approval belongs to."""

    subject: str
    tenant: str
    """The tenant that the requester's token names, or `platform`."""
    client: str


@dataclass(frozen=True, slots=True)
class Binding:
    """The one call that an approval is for: these arguments of this tool, by this principal, under this bundle."""

    requester: Requester
    tool: str
    """Canonical id."""
    digest: str
    """Of the arguments, `sha256:<hex>`."""
    bundle: str
    """The bundle's digest."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided."""

    subject: str
    roles: tuple[str, ...]
    """The roles that let the person decide, by name."""
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval, from the asking to the use. Times are milliseconds since 1970."""

    id: str
    binding: Binding
    tenant: str
    """The tenant whose tool it is: its people decide."""
    name: str
    """The tool's wire name."""
    title: str
    side_effects: SideEffects
    arguments: str
    """The exact arguments, as JSON. They stand in the store and nowhere else."""
    created: int
    window: int
    """How long it can be decided, and how long, once given, it can be used."""
    state: State
    expires: int
    """The end of the present window."""
    decision: Decision | None = None
    used: int | None = None

    def standing(self, now: int) -> State:
        """The state at `now`: what was not decided or not used in time has expired."""
        if self.state in (State.PENDING, State.APPROVED) and now >= self.expires:
            return State.EXPIRED
        return self.state

    def blocks(self, now: int) -> bool:
        """Whether the same call gets this one instead of a new one: while it waits, can be used, or is refused."""
        return now < self.expires and self.state in (State.PENDING, State.APPROVED, State.REJECTED)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the store did with a call."""

    approval: Approval
    """As it stands after it."""
    taken: bool
    """Whether this call, and no other, used it up."""
    asked: bool
    """Whether it is new."""


class Store(Protocol):
    """Where approvals are kept. Each method is one atomic step among all processes that share the store.

    Every method raises `ApprovalsUnavailable` where it cannot tell or keep what it should.
    """

    async def enter(self, new: Approval, now: int, cap: int) -> Entry:
        """Uses up the approval of `new`'s binding if it is given; else finds the one that blocks; else keeps `new`.

        `TooManyPending` where the requester's subject has asked for `cap` within its tenant and nobody has decided.
        """
        ...

    async def use(self, identity: str, binding: Binding, now: int) -> Entry | None:
        """Uses up the approval of this id if it is `binding`'s, given and in time; None where there is none of it."""
        ...

    async def decide(self, identity: str, state: State, decision: Decision, now: int) -> tuple[Approval, bool] | None:
        """The approval after it, and whether this decision is the one that counts: only a pending one can be decided.

        An approval that is given gets its window anew, to be used in; one that is refused stands as long.
        """
        ...

    async def withdraw(self, identity: str, binding: Binding, now: int) -> bool:
        """Whether an approval that nobody used was taken back."""
        ...

    async def find(self, identity: str) -> Approval | None:
        """The approval of this id."""
        ...

    async def listed(
        self, tenants: frozenset[str] | None, requester: tuple[str, str], waiting: bool, now: int, limit: int
    ) -> list[Approval]:
        """Those of `tenants` (None: of all) and those that `requester` (subject, tenant) asked for, newest first.

        `waiting`: only those that can still be decided.
        """
        ...

    async def close(self) -> None:
        """Lets go of files and connections."""
        ...
