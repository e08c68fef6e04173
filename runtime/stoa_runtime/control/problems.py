"""Refusals in the form of RFC 9457. One kind has one text, so that two refusals of a kind tell nothing apart."""

from collections.abc import Sequence

from stoa_schemas.control import Problem, QueryError

_TYPES = "https://gostoa.dev/problems/"


class Refused(Exception):
    """A request without an answer: what the caller is told, and the rule that the audit log names."""

    def __init__(self, rule: str, problem: Problem, *, allow: str | None = None, approval: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.problem = problem
        self.allow = allow
        """The value of `Allow`, where the method is what is wrong."""
        self.approval = approval
        """The approval that it is about."""


def not_found() -> Refused:
    """What does not exist and what the caller may not see, in the same bytes."""
    return Refused(
        "control-unknown",
        Problem(
            type=_TYPES + "not-found",
            title="Not found",
            status=404,
            detail="There is nothing here that you may see.",
        ),
    )


def method_not_allowed(methods: Sequence[str]) -> Refused:
    """Another method than those served here."""
    allow = ", ".join(methods)
    return Refused(
        "control-method",
        Problem(
            type=_TYPES + "method-not-allowed",
            title="Method not allowed",
            status=405,
            detail=f"Only these methods are served here: {allow}.",
        ),
        allow=allow,
    )


def insufficient_rights(permission: str) -> Refused:
    """The caller's roles lack `permission`."""
    return _forbidden(f"This needs the permission `{permission}`, and none of your roles that count gives it.")


def for_people_only() -> Refused:
    """A consumer's token, which is bound to the contracts that it subscribes to."""
    return _forbidden(
        "A consumer's token is told about its own access (`/access/me`) and approvals, and about nothing else."
    )


def _forbidden(detail: str) -> Refused:
    return Refused(
        "control-rights",
        Problem(type=_TYPES + "insufficient-rights", title="Insufficient rights", status=403, detail=detail),
    )


def bad_query(errors: Sequence[QueryError]) -> Refused:
    """A query with mistakes, all of them."""
    return Refused(
        "control-query",
        Problem(
            type=_TYPES + "query",
            title="The query is not as this resource takes it",
            status=400,
            detail=" ".join(error.detail for error in errors),
            errors=list(errors),
        ),
    )


def bad_body(status: int, detail: str) -> Refused:
    """A body that is not what the resource takes."""
    return Refused(
        "control-body",
        Problem(type=_TYPES + "body", title="The body is not as this resource takes it", status=status, detail=detail),
    )


def conflict(rule: str, detail: str, approval: str) -> Refused:
    """A decision that does not count."""
    return Refused(
        rule,
        Problem(type=_TYPES + "decision", title="The decision does not count", status=409, detail=detail),
        approval=approval,
    )


def unrecorded() -> Refused:
    """What happens when the audit log cannot be written."""
    return unavailable("audit-unavailable", "Requests cannot be recorded at the moment, so nothing is answered.")


def unavailable(rule: str, detail: str) -> Refused:
    """Something that the answer rests on does not work."""
    return Refused(
        rule,
        Problem(type=_TYPES + "unavailable", title="Unavailable", status=503, detail=f"{detail} Try later."),
    )
