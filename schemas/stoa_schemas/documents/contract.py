"""The Universal API Contract: what an API offers, to whom it is safe, and how it is called."""

from typing import Annotated, Any, Literal

from pydantic import Field

from stoa_schemas import projection
from stoa_schemas.base import (
    API_VERSION,
    Closed,
    Duration,
    Email,
    JsonSchema,
    OperationName,
    OwnedMetadata,
    Rate,
    SecretRef,
    SemVer,
    Sha256,
    Text,
    Title,
    Url,
    starting,
)
from stoa_schemas.documents.access import SideEffects

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Protocol = Literal["rest", "mcp"]
QueryStyle = Literal["form", "spaceDelimited", "pipeDelimited", "deepObject"]


class Timeouts(Closed):
    """How long a backend may take."""

    connect: Duration = "2s"
    """Until the connection stands."""
    read: Duration = "10s"
    """Between two reads of the answer."""
    total: Duration = "30s"
    """For the whole call, retries included."""


class Retries(Closed):
    """How often a call that may be repeated is tried again."""

    attempts: Annotated[int, Field(ge=0, le=5)] = 0
    """Tries after the first, only where the method is idempotent (RFC 9110, 9.2.2)."""
    backoff: Duration = "100ms"
    """Wait before the first retry; it doubles with each, and is cut short by chance so that callers do not retry at
    once together. `Retry-After` of the backend counts instead where it is longer."""
    budget_percent: Annotated[int, Field(ge=1, le=100)] = 20
    """Retries that all callers together may add, in percent of the backend's calls lately. Beyond it, the first
    answer counts: a backend that fails for everyone is not called twice as often."""


class CircuitBreaker(Closed):
    """When a failing backend is left alone."""

    failures: Annotated[int, Field(ge=1, le=1000)]
    """Failures in a row that open the circuit."""
    reset: Duration
    """How long it stays open before one call is let through."""


class AnswerRule(Closed):
    """What is done with a backend's answer."""

    check: Literal["enforce", "report"] = "enforce"
    """`enforce`: an answer outside the output schema is refused; `report`: it passes and is noted in the audit log."""
    max_bytes: Annotated[int, Field(ge=1024, le=10_000_000)] = 1_000_000
    """Decompressed bytes that an answer may have; more are refused before they are read."""
    max_characters: Annotated[int, Field(ge=1000, le=10_000_000)] = 150_000
    """Characters of the text that a client gets. Claude takes about 150,000."""
    when_too_large: Literal["refuse", "truncate"] = "refuse"
    """What happens to longer ones. `refuse`: the caller is told to ask for less; `truncate`: items are left out at the
    end of lists until it fits and still conforms to the output schema, and the result says so."""


FieldPath = Annotated[
    str, Field(pattern=projection.PATH, max_length=256, examples=["id", "customer.name", "lines[].amount"])
]


class OperationAnswer(AnswerRule):
    """What is done with the answers of one operation."""

    fields: Annotated[list[FieldPath], Field(min_length=1)] | None = None
    """The members of the answer that are passed on, each with all below it; every one where left out. `[]` stands for
    the items of a list: `lines[].amount`, and `[].id` where the answer itself is one."""


class BearerAuth(Closed):
    """The backend's own bearer token (RFC 6750)."""

    type: Literal["bearer"]
    """How the credential is sent."""
    secret: SecretRef
    """Where the token is kept."""


class HeaderAuth(Closed):
    """A key in a header of the backend's choosing."""

    type: Literal["header"]
    """How the credential is sent."""
    header: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$", examples=["X-Api-Key"])]
    """The header's name."""
    secret: SecretRef
    """Where the key is kept."""


class BasicAuth(Closed):
    """User name and password (RFC 7617)."""

    type: Literal["basic"]
    """How the credential is sent."""
    username: Annotated[str, Field(pattern=r"^[^:\s]+$", max_length=128)]
    """The user name."""
    secret: SecretRef
    """Where the password is kept."""


BackendAuth = Annotated[BearerAuth | HeaderAuth | BasicAuth, Field(discriminator="type")]


class Backend(Closed):
    """The service behind the contract."""

    urls: Annotated[dict[Literal["dev", "staging", "prod"], Url], Field(min_length=1)]
    """Base URL by environment; an operation's path is appended to it."""
    auth: BackendAuth | None = None
    """The platform's own credential there. The caller's token is never passed on."""
    timeouts: Timeouts | None = None
    """How long the backend may take; the platform's default where left out."""
    retries: Retries | None = None
    """How often a call that may be repeated is tried again; the platform's default where left out."""
    circuit_breaker: CircuitBreaker | None = None
    """When the backend is left alone; the platform's default where left out."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Calls at the same time over all of the contract's operations and all callers; no cap where left out."""


class Source(Closed):
    """The OpenAPI description that the operations come from, kept in the repository."""

    file: Annotated[
        str,
        Field(
            pattern=r"^sources/[a-z0-9][A-Za-z0-9._-]*\.(json|yaml|yml)$",
            max_length=200,
            examples=["sources/billing.yaml"],
        ),
    ]
    """Path from the tenant's folder, below `sources/`."""
    sha256: Sha256
    """Digest of the file's bytes; another file does not compile."""
    binary: Literal["exclude", "base64"] = "exclude"
    """`exclude`: operations with a multipart body, or with bytes that are no text, cannot be taken; `base64`: agents
    give such bytes as base64, and get them so."""


class Parameter(Closed):
    """Where an argument goes in the request, when the rule by name and method does not fit."""

    in_: Annotated[Literal["path", "query", "header", "body"], Field(alias="in")]
    """The part of the request."""
    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The name there; the argument's own where left out."""
    style: QueryStyle = "form"
    """How an array or object is written in the query (OpenAPI 3.1, 4.8.12.3)."""
    explode: bool = True
    """Whether each item or property is a parameter of its own."""


class Example(Closed):
    """A call and its answer. Both are checked against the schemas, and mock backends answer from them."""

    name: Title
    """What the example shows."""
    input: dict[str, Any]
    """The arguments."""
    output: Any = None
    """The backend's answer; left out where the operation declares no output."""


class Limits(Closed):
    """How much of an operation may be used."""

    rate: Rate
    """Calls of one caller."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Calls at the same time over all callers."""


class Operation(Closed):
    """One thing that the API does. Either `method` and `path`, or `from`."""

    method: Method | None = None
    """HTTP method at the backend."""
    path: Annotated[str, Field(pattern=r"^/[^\s?#]*$", max_length=512, examples=["/invoices/{invoice_id}"])] | None = (
        None
    )
    """Path at the backend below its base URL; `{name}` is filled by the argument of that name."""
    from_: Annotated[str, Field(min_length=1, max_length=256, examples=["getInvoice", "GET /invoices/{id}"])] | None = (
        Field(default=None, alias="from")
    )
    """The `operationId` in the source; method, path and schemas then come from there."""
    summary: Annotated[Title, Field(examples=["Get one invoice"])] | None = None
    """One line: what it does. Taken from the source where left out."""
    intent: (
        Annotated[
            Text,
            Field(examples=["Use it when the invoice's number is known; to find one by customer, call list_invoices."]),
        ]
        | None
    ) = None
    """When an agent should use it, and when not. Agents read this."""
    side_effects: SideEffects
    """What calling it may do."""
    agents: bool = True
    """Whether agents may call it: false keeps it out of every MCP catalog."""
    approval: bool | None = None
    """Whether a second person must approve each call; what the classification says where left out."""
    protocols: list[Protocol] = starting(["rest", "mcp"])
    """Where it is exposed."""
    input: JsonSchema | None = None
    """JSON Schema 2020-12 of the arguments; its root is an object."""
    parameters: dict[str, Parameter] = starting({})
    """Where arguments go, when the rule does not fit: names in the path go there; the others go to the
    query of GET, HEAD, DELETE and OPTIONS, and to the JSON body of POST, PUT and PATCH."""
    output: JsonSchema | None = None
    """JSON Schema 2020-12 of the backend's answer."""
    answer: OperationAnswer | None = None
    """What is done with the answer; what it leaves out is as the contract says."""
    examples: list[Example] = starting([])
    """Calls and their answers."""
    limits: Limits | None = None
    """How much may be used; the platform's default where left out."""


class ContractSpec(Closed):
    """What a contract declares."""

    display_name: Title
    """The API's name as people see it."""
    description: Text | None = None
    """What the API is for."""
    version: SemVer
    """The contract's version (Semantic Versioning 2.0.0)."""
    classification: Literal["H", "VH", "VVH"]
    """How critical the API is: what it must then fulfil."""
    status: Literal["draft", "published", "deprecated"]
    """`draft` is checked and not exposed; `deprecated` is exposed and says so."""
    owner: Email
    """Whom to write to."""
    backend: Backend
    """The service behind the contract."""
    source: Source | None = None
    """The OpenAPI description that operations with `from` come from."""
    answer: AnswerRule | None = None
    """What is done with answers; what it leaves out is as the platform's defaults say."""
    operations: Annotated[dict[OperationName, Operation], Field(min_length=1)]
    """What the API does, by name."""


class UniversalAPIContract(Closed):
    """The Universal API Contract: what an API offers, to whom it is safe, and how it is called."""

    api_version: Literal["gostoa.dev/v2"] = Field(description=f"Always `{API_VERSION}`.")
    kind: Literal["UniversalAPIContract"]
    """The document's kind."""
    metadata: OwnedMetadata
    """Who the document is."""
    spec: ContractSpec
    """What is declared."""
