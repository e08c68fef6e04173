"""The form `terraform`: GitLab's report of what is created, updated and deleted, which it shows beside the diff.

GitLab takes three numbers (artifacts:reports:terraform). They count changes: what is new, what is otherwise, what is
gone. A plan that is not complete has none, so that GitLab says that it could not read them.
"""

import json

from stoa_compiler.plan.changes import Plan

_CREATED = ("gained", "added")
_DELETED = ("lost", "removed")


def as_terraform(plan: Plan) -> bytes:
    """The report's bytes."""
    if not plan.complete:
        return b'{"error": "the plan is not complete"}\n'
    counts = {"create": 0, "update": 0, "delete": 0}
    for change in plan.changes:
        kind = "create" if change.direction in _CREATED else "delete" if change.direction in _DELETED else "update"
        counts[kind] += 1
    return (json.dumps(counts) + "\n").encode()
