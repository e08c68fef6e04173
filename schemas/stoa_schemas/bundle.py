"""What the compiler hands to the runtime: the manifest, the platform index, one catalog per tenant.

All of it is canonical JSON (`canonical`), so that equal content is equal bytes and a digest names it.
"""

from typing import Any, Literal

from stoa_schemas.calls import (
    OWN_HEADERS,
    Answer,
    BackendAuthRule,
    BackendRule,
    Body,
    Breaker,
    CallExample,
    Part,
    Placement,
    Request,
    canonical,
    sha256,
)
from stoa_schemas.documents.access import Permission, SideEffects
from stoa_schemas.names import MCP_SCOPE, ROLES_CLAIM, TENANT_CLAIM

__all__ = [
    "BUNDLE_FILE",
    "DEVELOPMENT",
    "MCP_SCOPE",
    "OWN_HEADERS",
    "PART_SUFFIX",
    "PLATFORM_INDEX",
    "ROLES_CLAIM",
    "RUNTIME_MANIFEST",
    "TENANT_CLAIM",
    "Annotations",
    "Answer",
    "Artifact",
    "BackendAuthRule",
    "BackendRule",
    "Body",
    "Breaker",
    "Bundle",
    "CallExample",
    "Catalog",
    "ConsumerEntry",
    "ContractEntry",
    "Development",
    "DevelopmentClient",
    "DevelopmentPerson",
    "EnforcementRules",
    "IssuerRule",
    "Part",
    "Placement",
    "PlanEntry",
    "PlatformIndex",
    "RateLimit",
    "Request",
    "RoleEntry",
    "RuntimeManifest",
    "SubscriptionEntry",
    "TenantEntry",
    "TokenRules",
    "Tool",
    "canonical",
    "sha256",
]

BUNDLE_FILE = "bundle.json"
RUNTIME_MANIFEST = "mcp/manifest.json"
PLATFORM_INDEX = "mcp/platform.json"
DEVELOPMENT = "mcp/development.json"
PART_SUFFIX = ".part"
"""A file over a ConfigMap's limit is mounted as `NAME.part000`, `NAME.part001`, ...; the digest is the whole's."""


class Artifact(Part):
    """One file of the bundle."""

    path: str
    """Path from the bundle's folder."""
    media_type: str
    """RFC 6838 media type."""
    sha256: str
    """Digest of the bytes, `sha256:<hex>`."""
    bytes: int
    """Size."""


class RuntimeManifest(Part):
    """What the runtime may read. The digest of this file's bytes is the bundle's digest.

    It covers everything that decides an answer. Deployment artifacts (Helm values) name the digest, so
    they can't be covered by it; `Bundle` covers all.
    """

    api_version: Literal["gostoa.dev/runtime/v1"] = "gostoa.dev/runtime/v1"
    platform: str
    """The platform's name."""
    environment: str
    """dev, staging or prod."""
    development: bool
    """Whether the development issuer and mock backends may be used with it."""
    files: list[Artifact]
    """Every file that the runtime reads but this one, by path."""


class Bundle(Part):
    """`bundle.json`: every artifact of one environment."""

    api_version: Literal["gostoa.dev/bundle/v1"] = "gostoa.dev/bundle/v1"
    compiler: str
    """Version of the compiler."""
    platform: str
    """The platform's name."""
    environment: str
    """dev, staging or prod."""
    development: bool
    """Whether the development issuer and mock backends may be used with it."""
    digest: str | None = None
    """Digest of the runtime's manifest; absent where the target `mcp` is not rendered."""
    artifacts: list[Artifact]
    """Every other file of the bundle, by path."""


class RoleEntry(Part):
    """A role as the runtime needs it."""

    scope: Literal["tenant", "platform"]
    """`platform`: counts only in a token whose tenant claim is the platform's."""
    permissions: list[Permission]
    """What its holders may do at all."""


class IssuerRule(Part):
    """One of several issuers."""

    tenant: str
    """The one tenant, or the platform, that its tokens may name."""
    issuer: str
    """The exact `iss`."""
    jwks_url: str
    """Where its keys are (RFC 7517)."""


class TokenRules(Part):
    """Which tokens are accepted (RFC 9068, RFC 8707)."""

    issuer: str
    """The exact `iss`; where there are several issuers, that of the platform's own people."""
    audience: str
    """What `aud` must hold: the MCP endpoint's exact URL."""
    jwks_url: str
    """Where the issuer's keys are (RFC 7517)."""
    issuers: list[IssuerRule] | None = None
    """Where each tenant has an issuer of its own: all of them by tenant, the platform's included."""
    algorithms: list[str]
    """Signature algorithms; a token with any other is refused."""
    tenant_claim: str = TENANT_CLAIM
    """The one claim that names the tenant."""
    roles_claim: str = ROLES_CLAIM
    """The claim that lists the roles."""
    scopes: list[str]
    """Scopes that a token must hold."""
    leeway_seconds: int = 30
    """Clock skew that is tolerated in `exp`, `nbf` and `iat`."""


class TenantEntry(Part):
    """A tenant in the index."""

    name: str
    """The tenant's name."""
    display_name: str
    """The tenant's name as people see it."""
    catalog: str
    """Path of its catalog in the bundle."""


class EnforcementRules(Part):
    """What the runtime does about limits and audit."""

    limits_when_down: Literal["refuse", "local"] = "refuse"
    """While the shared store of limits cannot be reached: refuse calls, or count in each process."""
    audit_durability: Literal["system", "second", "event"] = "system"
    """When an event must be on disk: left to the operating system, within a second, before the answer."""
    audit_when_full: Literal["refuse", "wait"] = "refuse"
    """When events cannot be taken: refuse at once, or wait for as long as the call may take."""


class PlatformIndex(Part):
    """`mcp/platform.json`: what holds for all tenants."""

    name: str
    """The platform's name."""
    display_name: str
    """The platform's name as people see it."""
    domain: str
    """The platform's DNS name."""
    environment: str
    """dev, staging or prod."""
    mcp_url: str
    """The MCP endpoint's exact URL."""
    token: TokenRules
    """Which tokens are accepted."""
    roles: dict[str, RoleEntry]
    """The role table."""
    clients: list[str]
    """OAuth client ids of the platform's own MCP clients."""
    backend_networks: list[str]
    """Private address ranges where backends may be (CIDR)."""
    approval_expiry_ms: int
    """How long an approval can be used."""
    enforcement: EnforcementRules = EnforcementRules.model_construct()
    """What the runtime does about limits and audit."""
    tenants: list[TenantEntry]
    """Every tenant of this environment, by name."""


class Annotations(Part):
    """Hints for clients (MCP 2026-07-28, ToolAnnotations). They inform; access never rests on them."""

    title: str
    """The title again, for older clients."""
    read_only_hint: bool
    """It changes nothing."""
    destructive_hint: bool
    """It may destroy."""
    idempotent_hint: bool
    """Calling twice is calling once."""
    open_world_hint: bool
    """It speaks to a system outside the platform."""


class RateLimit(Part):
    """How much may be used."""

    calls: float
    """Calls in the span, the environment's factor applied."""
    seconds: int
    """The span."""
    concurrency: int | None = None
    """Calls at the same time over all callers."""


class Tool(Part):
    """One operation as agents see and call it."""

    id: str
    """Canonical id, `tenant:contract:operation`."""
    name: str
    """Wire name."""
    contract: str
    """The contract's name."""
    title: str
    """One line for people."""
    description: str
    """What agents read."""
    input_schema: dict[str, Any]
    """JSON Schema 2020-12 of the arguments; its root is an object."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema 2020-12 of the answer, whatever its root."""
    legacy_output_schema: dict[str, Any] | None = None
    """The same, wrapped as `{"result": ...}`; only where `answer.wrap`."""
    annotations: Annotations
    """Hints for clients."""
    side_effects: SideEffects
    """What calling it may do."""
    approval: bool
    """Whether a second person must approve each call."""
    rate: RateLimit
    """How much one caller may use."""
    request: Request
    """How a call becomes a request."""
    answer: Answer
    """What is done with the answer."""
    examples: list[CallExample]
    """Calls and their answers; mock backends answer from them."""
    answers: list[Any] | None = None
    """Answers without a call, where no example has one; mock backends answer from them."""
    digest: str
    """Digest of what agents see: name, title, description, schemas, annotations."""


class ContractEntry(Part):
    """A contract in its tenant's catalog."""

    name: str
    """The contract's name."""
    display_name: str
    """As people see it."""
    description: str | None = None
    """What the API is for."""
    version: str
    """Semantic version."""
    classification: str
    """H, VH or VVH."""
    status: str
    """published or deprecated."""
    owner: str
    """Whom to write to."""
    policies: list[str]
    """What its classification demands, and the compiler checked."""
    source_digest: str | None = None
    """Digest of the OpenAPI description that it comes from."""
    backend: BackendRule
    """The service behind it."""


class PlanEntry(Part):
    """What a subscription may use."""

    rate: RateLimit
    """Calls of one subscription."""
    burst: int
    """Calls that may come at once."""
    quota_calls: float | None = None
    """Calls in a calendar span."""
    quota_per: Literal["day", "month"] | None = None
    """Which span."""


class SubscriptionEntry(Part):
    """What a consumer may use."""

    name: str
    """The subscription's name."""
    contract: str
    """The contract."""
    plan: str
    """The plan."""
    expires: str | None = None
    """The last day, UTC, on which it gives anything."""


class ConsumerEntry(Part):
    """An application of the tenant."""

    client_id: str
    """Its OAuth client id: `azp` in tokens."""
    display_name: str
    """As people see it."""
    actors: list[str]
    """The agents and services behind it, as `kind:name`."""
    subscriptions: list[SubscriptionEntry]
    """Active ones. A token of this client reaches the tools of these contracts only."""


class Catalog(Part):
    """`mcp/tenants/<tenant>.json`: one tenant's tools and who may call them."""

    api_version: Literal["gostoa.dev/catalog/v1"] = "gostoa.dev/catalog/v1"
    tenant: str
    """The tenant's name."""
    display_name: str
    """As people see it."""
    description: str | None = None
    """What the tenant does."""
    tier: str
    """Its tier."""
    contact: str
    """Whom to write to."""
    rate: RateLimit
    """Calls over all tools."""
    contracts: list[ContractEntry]
    """By name."""
    tools: list[Tool]
    """By wire name."""
    access: dict[str, list[str]]
    """Wire names by role: the one table that listing and calling both read."""
    consumers: list[ConsumerEntry]
    """By client id."""
    plans: dict[str, PlanEntry]
    """By name."""

    def encode(self) -> bytes:
        """The canonical bytes. Tools' schemas, which are most of them, are JSON already and taken as they are."""
        data = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_SCHEMAS)
        for said, tool in zip(data["tools"], self.tools, strict=True):
            said["inputSchema"] = tool.input_schema
            if tool.output_schema is not None:
                said["outputSchema"] = tool.output_schema
            if tool.legacy_output_schema is not None:
                said["legacyOutputSchema"] = tool.legacy_output_schema
        return canonical(data)


_SCHEMAS: Any = {"tools": {"__all__": {"input_schema", "output_schema", "legacy_output_schema"}}}


class DevelopmentPerson(Part):
    """Someone whom the development issuer signs in without a password."""

    username: str
    """User name."""
    display_name: str
    """As people see it."""
    email: str
    """Address."""
    tenant: str
    """The tenant claim."""
    roles: list[str]
    """The roles claim."""


class DevelopmentClient(Part):
    """A client that the development issuer knows."""

    client_id: str
    """OAuth client id."""
    redirect_uris: list[str]
    """Exact URLs; loopback ones are taken besides (RFC 8252, 7.3)."""
    tenant: str | None = None
    """The tenant of a consumer with its own account."""
    roles: list[str] = []
    """Roles of its own account."""


class Development(Part):
    """`mcp/development.json`, in development bundles only: whom the development issuer can sign in."""

    people: list[DevelopmentPerson]
    """By user name."""
    clients: list[DevelopmentClient]
    """By client id."""
