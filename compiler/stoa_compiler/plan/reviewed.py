"""Reviewed: whether a bundle is the one that a saved plan was reviewed for."""

from collections.abc import Callable
from dataclasses import replace

from stoa_compiler.plan.changes import Plan
from stoa_compiler.records import record

HAPPENED = (
    "Where the target branch moved on since, bring the merge request up to date and plan again, "
    "or give the plan of what was merged as well, by --replanned"
)


class NotReviewed(Exception):
    """What would be published is not what was reviewed; the message says in what it differs."""


@record
class Candidate:
    """What would be published."""

    environment: str
    digest: str
    """sha256 of `bundle.json`: `sha256:...`."""
    commit: str
    """The source's commit."""
    holds: Callable[[str], bool]
    """Whether a commit is this one or comes before it."""
    source_digest: Callable[[str], str]
    """The digest of the source's files at this commit, by the source's path in the repository."""


def check(plan: Plan, candidate: Candidate, replanned: Plan | None = None) -> None:
    """Raises `NotReviewed` where `plan` was reviewed for something else than the candidate.

    `replanned` is the plan of what was merged, made where the target had moved on: it may do nothing that the reviewed
    plan does not do, and then binds the bundle instead.
    """
    if replanned is not None:
        _within(plan, replanned)
        _bound(replanned, candidate, "the plan of what was merged")
    else:
        _bound(plan, candidate, "the reviewed plan")
    same = plan.head.commit and candidate.holds(plan.head.commit)
    # A merge request that is squashed or rebased ends in a commit of its own, with the same files.
    binding = plan if replanned is None else replanned
    if not same and candidate.source_digest(binding.head.source) != binding.head.digest:
        reviewed = f"commit {plan.head.commit[:12]}" if plan.head.commit else "a folder"
        raise NotReviewed(
            f"commit {candidate.commit[:12]} neither comes after the reviewed {reviewed} nor has the same source. "
            f"{HAPPENED}"
        )


def _bound(plan: Plan, candidate: Candidate, what: str) -> None:
    if not plan.head.compiles:
        raise NotReviewed(f"head of {what} does not compile")
    if not plan.head.bundles:
        raise NotReviewed(f"{what} names no bundle: save it by `stoa plan --out`")
    reviewed = plan.head.bundles.get(candidate.environment)
    if reviewed is None:
        raise NotReviewed(f"{what} has no environment `{candidate.environment}`")
    if reviewed != candidate.digest:
        raise NotReviewed(
            f"the bundle of `{candidate.environment}` is not the one of {what}: "
            f"{_short(candidate.digest)}, and not {_short(reviewed)}. {HAPPENED}"
        )


def _within(plan: Plan, replanned: Plan) -> None:
    # All of a change but the lines that cause it: these move.
    known = {c.id: replace(c, spans=()) for c in plan.changes}
    beyond = [c for c in replanned.changes if known.get(c.id) != replace(c, spans=())]
    if beyond:
        more = f", and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
        raise NotReviewed(f"what was merged does what was not reviewed: {beyond[0].text}{more}")
    if not replanned.complete and plan.complete:
        raise NotReviewed(f"not everything of what was merged could be compared: {replanned.uncompared[0]}")
    asked = {(r.policy, r.approvers, r.count) for r in plan.requirements}
    for r in replanned.requirements:
        if (r.policy, r.approvers, r.count) not in asked:
            raise NotReviewed(f"what was merged needs an approval that was not asked for: `{r.policy}`")


def _short(digest: str) -> str:
    return digest[:19]
