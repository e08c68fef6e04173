"""What the runtime's read-only API answers with, below `/api/v1`.

Nothing is null: a key without a value is left out. A list's page holds `next` while more follow.
"""

from typing import Any, Literal

from pydantic import Field

from stoa_schemas.base import Closed
from stoa_schemas.bundle import Annotations
from stoa_schemas.documents.access import Permission, SideEffects

CircuitState = Literal["closed", "open", "half-open"]


class Shown(Closed):
    """A part of an answer."""


class Page(Shown):
    """A stretch of a list, in the list's fixed order."""

    next: str | None = None
    """What to give as `cursor` for the items that follow; absent on the last page."""


class Rate(Shown):
    """How much may be used."""

    calls: float
    """Calls in the span."""
    seconds: int
    """The span."""
    concurrency: int | None = None
    """Calls at the same time."""


class Signature(Shown):
    """What the holder of a trusted key says of a bundle."""

    key_id: str
    """The key that signed."""
    sequence: int | None = None
    """Its place in the order of bundles."""
    commit: str | None = None
    """The source's commit."""


class ServedBundle(Shown):
    """What this process serves."""

    digest: str
    """The bundle's digest, `sha256:<hex>`: it names everything that decides an answer."""
    platform: str
    """The platform's name."""
    display_name: str
    """The platform's name as people see it."""
    environment: str
    """dev, staging or prod."""
    development: bool
    """Whether the development issuer and mock backends may be used with it."""
    signature: Signature | None = None
    """Its signature; absent where this process trusts no keys, and nobody's word would count."""


class Tenant(Shown):
    """A tenant."""

    name: str
    """Its name."""
    display_name: str
    """As people see it."""
    description: str | None = None
    """What it does."""
    tier: str
    """Its tier."""
    contact: str
    """Whom to write to."""
    rate: Rate
    """Calls over all its tools."""
    contracts: int
    """How many API contracts it has."""
    tools: int
    """How many of its tools the caller sees."""


class Tenants(Page):
    """Tenants, by name."""

    items: list[Tenant]
    """Those of this page."""


class Contract(Shown):
    """An API contract."""

    tenant: str
    """Whose it is."""
    name: str
    """Its name."""
    display_name: str
    """As people see it."""
    description: str | None = None
    """What the API is for."""
    version: str
    """Semantic version."""
    classification: str
    """How critical it is: H, VH or VVH."""
    status: str
    """published, or deprecated: not to be built upon any more."""
    owner: str
    """Whom to write to."""
    tools: int
    """How many of its tools the caller sees."""


class Contracts(Page):
    """API contracts, by tenant and name."""

    items: list[Contract]
    """Those of this page."""


class Breaker(Shown):
    """When a failing backend is left alone."""

    failures: int
    """Failures in a row that open the circuit."""
    reset_ms: int
    """How long it stays open."""


class Patience(Shown):
    """How long the backend is waited for, and how often it is tried."""

    connect_ms: int
    """Until the connection stands."""
    read_ms: int
    """Between two reads."""
    total_ms: int
    """For the whole call."""
    retries: int
    """Tries after the first, for idempotent methods."""
    breaker: Breaker | None = None
    """When it is left alone."""


class WholeContract(Contract):
    """An API contract with what is demanded of it."""

    policies: list[str]
    """What its classification demands, and the compiler checked."""
    source_digest: str | None = None
    """Digest of the OpenAPI description that it comes from."""
    backend: Patience
    """How its backend is called. Where that is, and with which credential, is in no answer."""


class Tool(Shown):
    """A tool that the caller sees, and so may call."""

    tenant: str
    """Whose it is."""
    contract: str
    """The contract that it belongs to."""
    id: str
    """Canonical id, `tenant:contract:operation`."""
    name: str
    """The name that MCP clients see."""
    title: str
    """One line for people."""
    side_effects: SideEffects
    """What calling it may do."""
    approval: bool
    """Whether a second person must approve each call."""
    digest: str
    """Digest of what agents see of it."""


class Tools(Page):
    """Tools, by tenant and wire name."""

    items: list[Tool]
    """Those of this page."""


class WholeTool(Tool):
    """A tool with its schemas."""

    description: str
    """What agents read."""
    input_schema: dict[str, Any]
    """JSON Schema 2020-12 of the arguments."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema 2020-12 of the answer."""
    annotations: Annotations
    """Hints for clients. They inform; access never rests on them."""
    rate: Rate
    """How much one caller may use."""
    answer_check: Literal["enforce", "report"]
    """What happens to an answer outside the output schema."""


class Subscription(Shown):
    """A contract that a consumer may use, and by which plan."""

    name: str
    """Its name."""
    contract: str
    """The contract."""
    plan: str
    """The plan."""
    expires: str | None = None
    """The last day, UTC, on which it gives anything."""


class Consumer(Shown):
    """An application of a tenant."""

    tenant: str
    """Whose it is."""
    client_id: str
    """Its OAuth client id."""
    display_name: str
    """As people see it."""
    actors: list[str]
    """The agents and services behind it, as `kind:name`."""
    subscriptions: list[Subscription]
    """What it may use. Its tokens reach the tools of these contracts only."""


class Consumers(Page):
    """Consumers, by tenant and client id."""

    items: list[Consumer]
    """Those of this page."""


class Plan(Shown):
    """What a subscription may use."""

    tenant: str
    """Whose it is."""
    name: str
    """Its name."""
    rate: Rate
    """Calls of one subscription."""
    burst: int
    """Calls that may come at once."""
    quota_calls: float | None = None
    """Calls in a calendar span."""
    quota_per: Literal["day", "month"] | None = None
    """Which span."""


class Plans(Page):
    """Plans, by tenant and name."""

    items: list[Plan]
    """Those of this page."""


class Grant(Shown):
    """A pair of the access table: holders of the role may call the tool."""

    tenant: str
    """Whose tool it is."""
    role: str
    """The role."""
    scope: Literal["tenant", "platform"]
    """`platform`: a role of the platform's own people."""
    tool: str
    """The tool's canonical id."""
    name: str
    """The tool's name as MCP clients see it."""
    side_effects: SideEffects
    """What calling it may do."""
    approval: bool
    """Whether a second person must approve each call."""


class Grants(Page):
    """The access table, by tenant, tool and role."""

    items: list[Grant]
    """Those of this page."""


class OwnTool(Shown):
    """A tool that the caller may call, the platform's own tools among them."""

    id: str
    """Canonical id; of the platform's own tools, their name."""
    name: str
    """The name in tools/list."""
    title: str
    """One line for people."""
    side_effects: SideEffects
    """What calling it may do."""
    approval: bool
    """Whether a second person must approve each call."""


class OwnAccess(Page):
    """Who the caller is to this platform, and the tools that it may call, by name."""

    subject: str
    """The token's subject."""
    tenant: str
    """The token's tenant; `platform` for the platform's own people."""
    client: str
    """The OAuth client that the token was issued to."""
    roles: list[str]
    """The roles that count."""
    permissions: list[Permission]
    """What they may do at all."""
    contracts: list[str] | None = None
    """The contracts that the client's subscriptions reach; absent where the client is not bound to any."""
    items: list[OwnTool]
    """Those of this page."""


class Backend(Shown):
    """How one contract's backend does, as the answering process has seen it since it began to serve the bundle."""

    tenant: str
    """Whose contract it is."""
    contract: str
    """The contract."""
    circuit: CircuitState | None = None
    """`open`: it is left alone for a while; `half-open`: the next call shows. Absent without a circuit breaker."""
    failures_in_row: int
    """How many of the last calls failed, up to the last that did not."""
    in_flight: int
    """Calls that have not ended."""
    last_status: int | None = None
    """The HTTP status of the last call's answer, where there was one."""
    last_failure: str | None = None
    """Why the last call gave no answer that may be used: a rule as in the audit log, such as `backend-timeout`."""


class Backends(Page):
    """Backends, by tenant and contract."""

    items: list[Backend]
    """Those of this page."""


class QueryError(Shown):
    """What is wrong with one query parameter."""

    parameter: str
    """The parameter."""
    detail: str
    """What is wrong, for a person."""


class Problem(Shown):
    """Why there is no answer (RFC 9457)."""

    type: str
    """Which kind of problem it is."""
    title: str
    """The kind in words."""
    status: int = Field(ge=400, le=599)
    """The HTTP status."""
    detail: str
    """What to do about it."""
    errors: list[QueryError] | None = None
    """Every mistake in the query."""
