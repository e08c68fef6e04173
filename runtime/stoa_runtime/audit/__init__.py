"""The audit log: one line for each decision, sealed and chained, written before the answer goes out."""

from pathlib import Path

from stoa_runtime.audit.events import NAME_LIMIT, Event, arguments_digest
from stoa_runtime.audit.files import FileSink
from stoa_runtime.audit.kafka import KafkaTopic
from stoa_runtime.audit.log import Audit, Durability, Sink, WhenFull
from stoa_runtime.audit.promises import AuditUnavailable


def open_audit(
    path: Path,
    *,
    source: str = "/stoa/audit",
    durability: Durability = "system",
    when_full: WhenFull = "refuse",
    wait_seconds: float = 10.0,
    rotate_bytes: int = 0,
    key: bytes | None = None,
    kafka: "KafkaTopic | None" = None,
) -> Audit:
    """The log in the file, or on the topic where one is named; `AuditUnavailable` where it can't be opened.

    `wait_seconds` is how long a call may wait for it, where nothing shorter is said at the call.
    """
    sink: Sink
    if kafka is None:
        sink = FileSink(path, durability=durability, rotate_bytes=rotate_bytes)
    else:
        from stoa_runtime.audit.kafka import KafkaSink

        sink = KafkaSink(kafka, durability=durability)
    return Audit(sink, source=source, key=key, when_full=when_full, wait_seconds=wait_seconds)


__all__ = [
    "NAME_LIMIT",
    "Audit",
    "AuditUnavailable",
    "Durability",
    "Event",
    "FileSink",
    "KafkaTopic",
    "WhenFull",
    "arguments_digest",
    "open_audit",
]
