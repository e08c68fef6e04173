"""Approvals: which of a plan's requirements are met by whom, and which are not."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stoa_compiler.plan.changes import Requirement
from stoa_compiler.records import record

Members = Callable[[str], Collection[str] | None]
"""User names of a group's members; None where there is no such group, and a user is meant."""


@record
class Review:
    """Who approved a merge request."""

    commit: str
    """The commit that was approved."""
    author: str
    """Whose own approval does not count."""
    approved: tuple[str, ...]
    """User names, each once, of those whose approvals count."""
    members: Members
    passed_over: Mapping[str, str] = field(default_factory=dict)
    """Who approved to no effect, and why."""


@record
class Verdict:
    """The requirements with who met them."""

    requirements: tuple[Requirement, ...]
    passed_over: Mapping[str, str]
    users: tuple[str, ...] = ()
    """Approvers of unmet requirements that were taken for user names, as no group of that name is seen."""

    @property
    def missing(self) -> tuple[Requirement, ...]:
        """Those that are not met."""
        return tuple(r for r in self.requirements if not met(r))


def met(requirement: Requirement) -> bool:
    """Whether enough of those named have approved. Where nobody is named, nobody can."""
    return bool(requirement.approvers) and len(requirement.given) >= requirement.count


def judged(requirements: Sequence[Requirement], review: Review) -> Verdict:
    """Who of those that approved is named by which requirement. Names differ by more than upper and lower case."""
    author = review.author.casefold()
    counted = {name.casefold(): name for name in review.approved if name.casefold() != author}
    passed_over = dict(review.passed_over)
    passed_over |= {name: "is the author" for name in review.approved if name.casefold() == author}
    known: dict[str, Collection[str] | None] = {}
    found = []
    useful: set[str] = set()
    for requirement in requirements:
        given: set[str] = set()
        # Without any approval nothing has to be asked about groups.
        for approver in requirement.approvers if counted else ():
            if approver not in known:
                known[approver] = review.members(approver)
            members = known[approver]
            named = {approver.casefold()} if members is None else {m.casefold() for m in members}
            given |= {counted[n] for n in named & counted.keys()}
        useful |= given
        found.append(replace(requirement, given=tuple(sorted(given))))
    if requirements:
        passed_over |= {n: "is named by no rule that applies" for n in counted.values() if n not in useful}
    unmet = {a for r in found if not met(r) for a in r.approvers}
    return Verdict(tuple(found), passed_over, tuple(sorted(n for n in unmet if n in known and known[n] is None)))


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Approval(_Closed):
    user: Annotated[str, Field(min_length=1, max_length=255)]
    groups: list[Annotated[str, Field(min_length=1, max_length=255)]] = []


class _File(_Closed):
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")]
    author: Annotated[str, Field(min_length=1, max_length=255)]
    approvals: list[_Approval]


def review_of(content: bytes) -> Review:
    """The review that a file tells of; raises `ValueError` with a sentence where it is none."""
    try:
        found = _File.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None
    groups: dict[str, set[str]] = {}
    for approval in found.approvals:
        for group in approval.groups:
            groups.setdefault(group.casefold(), set()).add(approval.user)
    approved = tuple(dict.fromkeys(a.user for a in found.approvals))
    return Review(found.commit, found.author, approved, lambda name: groups.get(name.casefold()))


def as_json(verdict: Verdict) -> bytes:
    """The verdict for programs."""
    requirements: list[dict[str, Any]] = [
        {
            "policy": r.policy,
            "met": met(r),
            "approvers": list(r.approvers),
            "count": r.count,
            "given": list(r.given),
            "reason": r.reason,
            "changes": list(r.changes),
        }
        for r in verdict.requirements
    ]
    passed_over = [{"user": name, "why": why} for name, why in sorted(verdict.passed_over.items())]
    facts = {"met": not verdict.missing, "requirements": requirements, "passedOver": passed_over}
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
