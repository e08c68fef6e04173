"""What a call of a tool is made of: its request, its answer, and the backend between them.

They are parts of a bundle, which the compiler's graph holds before there is one; `bundle` gives them as well, with
all that only a bundle has.
"""

import hashlib
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from stoa_schemas.base import Closed


def canonical(value: Any) -> bytes:
    """`value` as JSON: keys sorted, no white space, a line feed at the end."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def sha256(data: bytes) -> str:
    """The digest of `data`, as `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "baggage",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    }
)
"""Headers that no argument sets: they frame the message, name the caller, or choose host or method behind the path."""


class Part(Closed):
    """A part of the bundle. Absent and null are the same here: what is not set is not written."""

    def encode(self) -> bytes:
        """The canonical bytes."""
        return canonical(self.model_dump(mode="json", by_alias=True, exclude_none=True))


class Placement(Part):
    """Where one argument goes in the request."""

    in_: Annotated[Literal["path", "query", "header", "cookie", "body"], Field(alias="in")]
    """The part of the request."""
    name: str
    """The name there."""
    style: Literal["simple", "label", "matrix", "form", "spaceDelimited", "pipeDelimited", "deepObject"] | None = None
    """How the value is written (OpenAPI 3.1, 4.8.12.3); null: a JSON value of the body."""
    explode: bool = False
    """Whether each item or property is a parameter of its own."""
    allow_reserved: bool = False
    """Whether RFC 3986 reserved characters stay as they are (query only)."""
    content: str | None = None
    """Media type in which the value is written before it is placed: `application/json`."""
    file: str | None = None
    """The value is base64, or a list of such; its bytes are a file of this media type in a multipart body."""


class Body(Part):
    """How the body is made."""

    media_type: str
    """`application/json`, `application/x-www-form-urlencoded`, `text/plain`, ..."""
    argument: str | None = None
    """The argument that is the whole body; null: an object of the arguments placed in the body."""
    base64: bool = False
    """The argument is base64 and is decoded."""
    required: bool = False
    """Whether a body is always sent."""


class Request(Part):
    """How a call's arguments become a request. Host, scheme and path prefix are the backend's."""

    method: str
    """HTTP method."""
    path: str
    """Path below the backend's base URL, with `{name}` for each path parameter."""
    arguments: dict[str, Placement]
    """Where each argument goes, by its name in the tool's input schema."""
    body: Body | None = None
    """How the body is made; none where null."""


class Answer(Part):
    """What is done with the backend's answer."""

    media_types: list[str]
    """Media types that are taken; `application/json` and `+json` are parsed."""
    check: Literal["enforce", "report"]
    """What happens to an answer outside the output schema."""
    max_bytes: int
    """Decompressed bytes that an answer may have."""
    max_characters: int = 150_000
    """Characters of the text that a client gets."""
    when_too_large: Literal["refuse", "truncate"] = "refuse"
    """What happens to longer ones."""
    fields: list[str] | None = None
    """The members that are passed on, as paths (`stoa_schemas.projection`); all where null. The output schema is what
    is left then."""
    wrap: bool = False
    """The output schema's root is not an object: clients of protocol 2025-11-25 and older get `{"result": ...}`."""


class CallExample(Part):
    """A call and its answer."""

    name: str
    """What the example shows."""
    input: dict[str, Any]
    """The arguments."""
    output: Any = None
    """The backend's answer; absent where none is given, and a sample of the output schema stands for it."""


class BackendAuthRule(Part):
    """The credential sent to a backend."""

    type: Literal["bearer", "header", "basic"]
    """How it is sent."""
    header: str | None = None
    """The header's name, with `header`."""
    username: str | None = None
    """The user name, with `basic`."""
    secret: str
    """Where it is kept: `vault:<path>#<key>`."""


class Breaker(Part):
    """When a failing backend is left alone."""

    failures: int
    """Failures in a row that open the circuit."""
    reset_ms: int
    """How long it stays open."""


class BackendRule(Part):
    """The service behind a contract."""

    url: str
    """Base URL."""
    auth: BackendAuthRule | None = None
    """The credential sent there."""
    connect_ms: int
    """Until the connection stands."""
    read_ms: int
    """Between two reads."""
    total_ms: int
    """For the whole call."""
    retries: int
    """Tries after the first, for idempotent methods."""
    backoff_ms: int
    """Wait before the first retry."""
    retry_percent: int = 20
    """Retries that all callers together may add, in percent of the calls lately."""
    breaker: Breaker | None = None
    """When it is left alone."""
    concurrency: int | None = None
    """Calls at the same time over all tools and callers."""
