"""The audit log: one JSON line for each decision, written before the answer goes out.

Fields are chosen here and nowhere else. Arguments, answers and tokens never stand in it; arguments are
there as a digest, so that one call can be recognised without being disclosed.
"""

import datetime
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

NAME_LIMIT = 128
"""Characters of a value that a caller chose."""


class AuditUnavailable(Exception):
    """The line cannot be written, so the decision must not take effect."""


@dataclass(frozen=True, slots=True)
class Event:
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


class Audit:
    """The log file, opened once for appending."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        except OSError as error:
            raise AuditUnavailable(f"{path} cannot be opened for appending: {error.strerror}") from error
        self.works = True
        """Whether the last line could be written. While it is false, no backend is called."""

    def write(self, event: Event) -> None:
        """Appends the line in one write, so that lines of several processes do not mix."""
        line = orjson.dumps(_fields(event), option=orjson.OPT_APPEND_NEWLINE)
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self.works = False
            raise AuditUnavailable("the audit log cannot be written") from error
        self.works = written == len(line)
        if not self.works:
            raise AuditUnavailable("the audit log is full")

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def _fields(event: Event) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "time": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "decision": event.decision,
        "rule": event.rule,
        "subject": _bounded(event.subject),
        "tenant": event.tenant,
        "client": _bounded(event.client),
        "tool": event.tool,
        "asked": _bounded(event.asked),
        "arguments": event.arguments,
        "backend_status": event.backend_status,
        "answer_deviates": event.answer_deviates,
        "duration_ms": round(event.duration_ms, 3),
        "trace_id": event.trace_id,
        "bundle": event.bundle,
    }


def _bounded(value: str | None) -> str | None:
    """A caller's text, cut, and with everything outside printable ASCII escaped."""
    if value is None or (value.isascii() and value.isprintable() and len(value) <= NAME_LIMIT):
        return value
    return value[:NAME_LIMIT].encode("unicode_escape").decode("ascii")


def arguments_digest(arguments: Mapping[str, Any]) -> str:
    """The digest of the arguments, the same for the same values in any order."""
    try:
        data = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # A whole number beyond 64 bits.
        data = repr(sorted(arguments.items())).encode()
    return "sha256:" + hashlib.sha256(data).hexdigest()
