"""The audit log's lines: CloudEvents 1.0 in JSON, each sealed by a hash and linked to the line before it.

The runtime writes them and `stoa audit verify` reads them; what both must agree on stands here.

A line is one JSON object in ASCII, without spaces, and ends with a line feed. Its first members are `specversion`,
`source`, `id` and `previoushash`, in this order; its last is `hash`. The hash is SHA-256, or HMAC-SHA-256 where a key
is used, over the line's bytes before `,"hash":"`. `previoushash` is the hash of the line before, so that whoever
changes a line must write every later one anew. `id` is the line's number in its chain, and the last part of `source`
is the chain's name. `python -m stoa_schemas.audit` prints the JSON Schema.
"""

import hashlib
import hmac
import json
import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter

from stoa_schemas.base import Closed

SCHEMA_FILE = "audit-event.v1.schema.json"
SCHEMA_URL = f"https://gostoa.dev/schemas/{SCHEMA_FILE}"
DECISION = "dev.gostoa.decision.v1"
"""The type of a line about a decision."""
MARK = "dev.gostoa.audit.v1"
"""The type of a line about the log itself."""
GENESIS = "0" * 64
"""What a chain's first line has as `previoushash`."""
SEAL_MARK = b',"hash":"'
"""What stands between the bytes that are hashed and their hash."""
SEAL_LENGTH = len(SEAL_MARK) + 64 + len(b'"}')
"""Bytes of a line from the mark to its end, without the line feed."""
LINE_LIMIT = 65_536
"""Bytes that a line may have."""
HEAD = re.compile(r"([1-9][0-9]{0,18}):([0-9a-f]{64})(?: ([0-9a-f]{32}))?\s*", re.ASCII)
"""A chain's head as text: `<sequence>:<hash>`, and the chain's name where it is known."""
SOURCE = re.compile(r"[A-Za-z0-9._~:/@%-]{1,256}")
"""What may stand before the chain's name in `source`."""
_START = re.compile(
    rb'\{"specversion":"1\.0","source":"([A-Za-z0-9._~:/@%-]{1,256}/([0-9a-f]{32}))","id":"([1-9][0-9]{0,18})",'
    rb'"previoushash":"([0-9a-f]{64})",'
)


def seal(body: bytes, key: bytes | None) -> str:
    """The hash of a line's bytes before the mark."""
    return hashlib.sha256(body).hexdigest() if key is None else hmac.digest(key, body, "sha256").hex()


def fingerprint(key: bytes | None) -> str | None:
    """A name for the key that tells nothing about it but whether it is the same."""
    return None if key is None else hashlib.sha256(b"stoa audit key\0" + key).hexdigest()[:16]


def start(source: str, sequence: int, previous: str) -> bytes:
    """The bytes that a line of this place in a chain begins with."""
    return f'{{"specversion":"1.0","source":"{source}","id":"{sequence}","previoushash":"{previous}",'.encode()


class Place(NamedTuple):
    """Where a line says that it stands. Nothing is proved by it."""

    source: str
    chain: str
    sequence: int
    previous: str
    hash: str


def place(line: bytes) -> Place | None:
    """Where `line` (without its line feed) says that it stands; None where it is no line of an audit log."""
    match = _START.match(line)
    tail = line[-SEAL_LENGTH:]
    if match is None or not tail.startswith(SEAL_MARK) or not tail.endswith(b'"}'):
        return None
    own = tail[len(SEAL_MARK) : -2]
    if not re.fullmatch(rb"[0-9a-f]{64}", own):
        return None
    source, chain, sequence, previous = (part.decode("ascii", "replace") for part in match.groups())
    return Place(source, chain, int(sequence), previous, own.decode())


class Recorded(Closed):
    """A part of a line. It holds these fields and no others, each always there."""

    model_config = ConfigDict(alias_generator=None)


class Decision(Recorded):
    """One decision. Texts that a caller chose are cut, and everything outside printable ASCII in them is escaped."""

    decision: Literal["allowed", "refused", "failed"]
    """`failed`: it was allowed, and the backend did not answer well."""
    rule: str
    """The rule that decided."""
    subject: str | None
    """Who called: the token's subject. Null where there was no good token."""
    tenant: str | None
    """The caller's tenant, or `platform`."""
    client: str | None
    """The OAuth client that the token was issued to."""
    actors: list[str]
    """The agents or services that acted for the subject (RFC 8693 `act`), the nearest first."""
    tool: str | None
    """The tool's canonical id, `tenant:contract:operation`; null where there is no such tool for anybody."""
    asked: str | None
    """The name that the caller gave, where it is not that of a tool of theirs."""
    arguments: str | None
    """Digest of the arguments, `sha256:<hex>`. The arguments never stand in the log."""
    backend_status: int | None
    """The backend's HTTP status; null where it was not called or did not answer."""
    answer_deviates: bool
    """The answer was outside its schema, and the contract lets that pass."""
    approval: str | None
    """The approval that was used or asked for."""
    approver: str | None
    """Who gave the approval that was used."""
    limit: str | None
    """The limit that refused the call."""
    protocol: str | None
    """The protocol version of the request."""
    duration_ms: float
    """From the request to the decision."""
    trace_id: str
    """The trace that the answer names, too."""
    bundle: str
    """Digest of the bundle that decided."""


class Torn(Recorded):
    """Bytes before this line that are the beginning of one which was never written to its end."""

    bytes: int
    """How many."""
    sha256: str
    """Their SHA-256."""


class Mark(Recorded):
    """What happened to the log itself."""

    action: Literal["opened", "resumed", "recovered", "closed"]
    """A new file was begun; a process went on with a file; writing works again; the process ended in order."""
    file: str
    """Name of the file, or `kafka:<topic>`, when the line was written."""
    algorithm: Literal["sha256", "hmac-sha256"]
    """How lines are sealed."""
    key: str | None
    """Fingerprint of the key that lines are sealed with."""
    previous_file: str | None
    """The name that the file before got: the one that this file goes on from, or one that was set aside."""
    head: str | None
    """`<sequence>:<hash> <chain>` that the log had reached by the head file, and that was not found in it."""
    torn: Torn | None
    """What was left of a line that was being written when a process ended."""
    late: int | None
    """The first line since which the promised durability could not be kept."""
    lost: int
    """Decisions that could be neither written nor kept since the last mark; none of their answers went out."""


class Event(Recorded):
    """What every line has (CloudEvents 1.0)."""

    specversion: Literal["1.0"]
    """Version of CloudEvents."""
    source: str
    """The log: the platform and environment, and last the chain's name."""
    id: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,18}$")]
    """The line's number in its chain, from 1."""
    previoushash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The hash of the line before; zeros in a chain's first."""
    dataschema: Literal["https://gostoa.dev/schemas/audit-event.v1.schema.json"]
    """The schema of the line."""
    datacontenttype: Literal["application/json"]
    """What `data` is."""
    time: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$")]
    """When it was decided, in UTC."""
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 or HMAC-SHA-256 over the line's bytes before `,"hash":"`."""


class DecisionEvent(Event):
    """A line about a decision."""

    type: Literal["dev.gostoa.decision.v1"]
    """What the line is about."""
    subject: Annotated[str, Field(min_length=1)] | None = None
    """The tool's canonical id, or the name that was asked for where there is none; left out where there is neither."""
    traceparent: Annotated[str, Field(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | None = None
    """The call's span (W3C Trace Context), as the backend got it; left out where there is none."""
    data: Decision
    """The decision."""


class MarkEvent(Event):
    """A line about the log itself."""

    type: Literal["dev.gostoa.audit.v1"]
    """What the line is about."""
    data: Mark
    """What happened."""


LINE: TypeAdapter[DecisionEvent | MarkEvent] = TypeAdapter(
    Annotated[DecisionEvent | MarkEvent, Field(discriminator="type")]
)
"""Reads one line."""


def schema() -> dict[str, Any]:
    """The JSON Schema of a line."""
    made = LINE.json_schema()
    made.pop("discriminator", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URL,
        "title": "A line of the audit log",
        **made,
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
