"""What is recorded of a decision. Fields are chosen here and nowhere else.

Arguments, answers and tokens never stand in it; arguments are there as a digest, so that one call can be recognised
without being disclosed.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import orjson

NAME_LIMIT = 128
"""Characters of a value that a caller chose."""
ACTOR_LIMIT = 8
_REMEMBERED = 4096
_WHOLE: dict[str | None, str] = {}
"""Texts that stand in a line as they are, as most do again and again."""


class Event(NamedTuple):
    """One decision."""

    decision: Literal["allowed", "refused", "failed"]
    """`failed`: it was allowed, and the backend did not answer well."""
    rule: str
    """The rule that decided."""
    trace_id: str
    bundle: str
    subject: str | None = None
    tenant: str | None = None
    client: str | None = None
    tool: str | None = None
    """Canonical id; null where there is no such tool for anybody."""
    asked: str | None = None
    """The name that the caller gave, where it is not a tool's."""
    arguments: str | None = None
    """Digest of the arguments, `sha256:<hex>`."""
    backend_status: int | None = None
    answer_deviates: bool = False
    """The answer was outside its schema, and the contract lets that pass."""
    duration_ms: float = 0.0
    actors: tuple[str, ...] = ()
    """Who acted for the subject, the nearest first."""
    approval: str | None = None
    """Id of the approval that was used or asked for."""
    approver: str | None = None
    """Who gave the approval that was used."""
    limit: str | None = None
    """The limit that refused the call."""
    protocol: str | None = None
    """The request's protocol version."""
    traceparent: str | None = None
    """The call's own span, as the backend gets it; it must be well formed."""
    parent: str | None = None
    """The caller's span, for traces: no line holds it."""


def recorded(event: Event) -> dict[str, Any]:
    """The decision as it stands in a line: every text printable ASCII and of bounded length."""
    whole = _WHOLE
    return {
        "decision": event.decision,
        "rule": whole.get(event.rule) or _bounded(event.rule),
        "subject": whole.get(event.subject) or _bounded(event.subject),
        "tenant": whole.get(event.tenant) or _bounded(event.tenant),
        "client": whole.get(event.client) or _bounded(event.client),
        "actors": [_bounded(actor) for actor in event.actors[:ACTOR_LIMIT]] if event.actors else [],
        "tool": whole.get(event.tool) or _bounded(event.tool),
        "asked": event.asked and _bounded(event.asked),
        "arguments": event.arguments,
        "backend_status": event.backend_status,
        "answer_deviates": event.answer_deviates,
        "approval": event.approval and _bounded(event.approval),
        "approver": event.approver and _bounded(event.approver),
        "limit": event.limit and _bounded(event.limit),
        "protocol": whole.get(event.protocol) or _bounded(event.protocol),
        "duration_ms": round(event.duration_ms, 3),
        "trace_id": event.trace_id,
        "bundle": event.bundle,
    }


def _bounded(value: str | None) -> str | None:
    """The text, cut, with backslashes and everything outside printable ASCII escaped as Python writes it.

    It stays harmless when a reader of the JSON prints it to a terminal, and two texts never look alike.
    """
    if value is None:
        return None
    if value.isascii() and value.isprintable() and len(value) <= NAME_LIMIT and "\\" not in value:
        if len(_WHOLE) >= _REMEMBERED:
            _WHOLE.clear()
        _WHOLE[value] = value
        return value
    escaped = value[:NAME_LIMIT].encode("unicode_escape").decode("ascii").replace("\x7f", "\\x7f")
    return escaped if len(value) <= NAME_LIMIT else f"{escaped}...({len(value)} characters)"


def arguments_digest(arguments: Mapping[str, Any]) -> str:
    """The digest of the arguments, the same for the same values in any order."""
    try:
        data = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # A whole number beyond 64 bits.
        data = repr(sorted(arguments.items())).encode()
    return "sha256:" + hashlib.sha256(data).hexdigest()
