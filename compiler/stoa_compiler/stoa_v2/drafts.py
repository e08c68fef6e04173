"""Drafts: documents in the making, and the names and facts that mapping needs besides the file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_compiler.stoa_v2.account import Account, Assumption, Outcome, Place
from stoa_compiler.stoa_v2.values import Values
from stoa_compiler.stoa_v2.wishes import Decisions, Part, Wishes
from stoa_schemas.base import API_VERSION, calls_per_second
from stoa_schemas.documents import Platform
from stoa_schemas.documents.access import SideEffects

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = frozenset({*SAFE, "POST", "PUT", "PATCH", "DELETE"})

ROUTE = "a path begins with a slash, and its arguments stand in braces"
_TEMPLATE = re.compile(r"\{[^{}]*\}")


@record
class Owner:
    """A tenant, standing or new."""

    name: str
    contact: str
    contact_assumed: bool
    environments: tuple[str, ...]
    prefix: str
    new: bool


@record
class Row:
    """One operation of a file, and what became of it."""

    file: str
    loc: Loc
    operation: str
    method: str
    path: str
    tool: str | None
    """The canonical id of the tool; None where it is left out."""
    contract: str
    reason: str
    """Why it is left out."""


@dataclass
class Draft:
    """A contract in the making."""

    part: Part
    account: Account
    tenant: str
    name: str
    spec: dict[str, Any]
    host: str
    operations: dict[str, Part] = field(default_factory=dict)
    """The part of the file that each operation comes from."""

    @property
    def path(self) -> str:
        """Where the document lies in a source."""
        return f"{self.tenant}/contracts/{self.name}.yaml"

    @property
    def document(self) -> dict[str, Any]:
        """The whole document."""
        return {
            "apiVersion": API_VERSION,
            "kind": "UniversalAPIContract",
            "metadata": {"name": self.name, "tenant": self.tenant},
            "spec": self.spec,
        }

    def place(self, *loc: str | int) -> Place:
        """A value of the document's `spec`."""
        return Place(self.path, ("spec", *loc))


@dataclass
class Scene:
    """What one run of the mapping knows and gathers."""

    platform: Platform
    wishes: Wishes
    decisions: Decisions
    tools: dict[str, str]
    """New names of tools by their old ones, from the run before."""
    owners: dict[str, Owner] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    assumptions: list[Assumption] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    """New wire names by old ones, as this run finds them."""

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How many contracts and operations the files have for each tenant."""

    def fitting_tier(self, tenant: str) -> str:
        """The smallest tier that what comes in for the tenant fits into; the largest where it fits none."""
        contracts, tools = self.sizes.get(tenant, (0, 0))
        tiers = sorted(self.platform.spec.tiers.items(), key=lambda t: (t[1].max_tools, t[1].max_contracts, t[0]))
        fitting = (n for n, t in tiers if t.max_contracts >= contracts and t.max_tools >= tools)
        return next(fitting, tiers[-1][0])

    def values(self, account: Account) -> Values:
        """The reader of a file's values."""
        return Values(account, self.tools)

    def assume(self, place: Place, value: Any, reason: str) -> None:
        """Notes a value that no file said."""
        self.assumptions.append(Assumption(place, value, reason))

    def capped(self, rate: int, classification: str) -> int:
        """Calls a minute, at most what the platform lets an operation of the class take."""
        declared = self.platform.spec.classifications.get(classification)  # type: ignore[call-overload]
        cap = math_floor(calls_per_second(declared.max_rate) * 60) if declared else rate
        return min(rate, max(1, cap))

    def demands_approval(self, classification: str, effects: SideEffects) -> bool:
        """Whether the class has these side effects approved by a second person."""
        declared = self.platform.spec.classifications.get(classification)  # type: ignore[call-overload]
        return declared is not None and effects in declared.approval


def math_floor(value: float) -> int:
    """The whole part, where rounding has not taken a hair of it."""
    return int(value + 1e-9)


def side_effects_of(method: str) -> SideEffects:
    """What a method alone says; for POST the careful guess."""
    return "read" if method in SAFE else "destructive" if method == "DELETE" else "write"


def agreeing(method: str, declared: SideEffects) -> SideEffects:
    """The declared side effects, made at least as severe as the method."""
    if method == "DELETE":
        return "destructive"
    return "write" if method in ("PUT", "PATCH") and declared in ("none", "read") else declared


def route_of(path: str) -> str:
    """The path with a slash before it and each argument in braces."""
    text = path.strip()
    text = text if text.startswith("/") else f"/{text}"
    steps = (f"{{{s[1:]}}}" if s.startswith(":") and s[1:].isidentifier() else s for s in text.split("/"))
    return "/".join(steps)


def twins(routes: Sequence[tuple[str, str, bool]]) -> dict[int, int]:
    """For each operation that is another's route, the one that stays: the first that agents see, else the first.

    Each is given by method, path and whether agents see it; access to one would be access to the other.
    """
    by_route: dict[tuple[str, str], list[int]] = {}
    for index, (method, path, _) in enumerate(routes):
        by_route.setdefault((method, _TEMPLATE.sub("{}", path)), []).append(index)
    result: dict[int, int] = {}
    for same in by_route.values():
        kept = next((i for i in same if routes[i][2]), same[0])
        result |= {i: kept for i in same if i != kept}
    return result


def leave_out(account: Account, loc: Loc, reason: str) -> None:
    """Notes a whole part as left out."""
    account.withdraw(loc)
    account.put(loc, "left out", reason)


def put_all(account: Account, data: Mapping[str, Any], loc: Loc, outcome: Outcome, reason: str) -> None:
    """Notes each value below `loc` that has no note yet."""
    for key in data:
        if (*loc, key) not in account.entries:
            account.put((*loc, key), outcome, reason)
