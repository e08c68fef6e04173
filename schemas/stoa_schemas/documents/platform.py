"""The platform: what holds for every tenant."""

from typing import Annotated, Literal

from pydantic import Field

from stoa_schemas.base import (
    API_VERSION,
    Cidr,
    Closed,
    Day,
    DnsName,
    Duration,
    HostPattern,
    Id,
    Metadata,
    Rate,
    RedirectUri,
    Text,
    Title,
    Url,
)
from stoa_schemas.documents.access import Grant, Groups, People, Permission, SideEffects
from stoa_schemas.documents.contract import AnswerRule, CircuitBreaker, Retries, Timeouts

EnvironmentName = Literal["dev", "staging", "prod"]
ClassificationName = Literal["H", "VH", "VVH"]
ZoneName = Literal["external", "dmz", "internal", "tenants"]
"""`tenants` is optional: the tenants' own namespaces, which the target `kubernetes` renders."""
TargetName = Literal["mcp", "keycloak", "helm", "kubernetes", "argocd"]
KeycloakVersion = Literal["26.4", "26.7"]
KeycloakFeature = Literal["cimd", "resource-indicators"]
"""`cimd`: client ids that are URLs of metadata documents. `resource-indicators`: tokens for the one resource that a
client names (RFC 8707)."""
ClientProfile = Literal["claude", "openai", "openai-strict", "gemini"]
"""Families of agents' clients, by the API behind them."""

Policy = Literal[
    "backend-auth",
    "circuit-breaker",
    "enforced-answers",
    "examples",
    "intent",
    "operation-limits",
    "output-schema",
    "timeouts",
    "tls-backend",
]
"""What a classification can demand of a contract. Each is checked when the source compiles."""


class Image(Closed):
    """The runtime's container image."""

    repository: Annotated[
        str, Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+$", examples=["registry.acme.example/stoa/runtime"])
    ]
    """Registry and name, without a tag."""
    tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
    """The version to run."""
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Pins the exact image; the tag is then only for people."""


class Replicas(Closed):
    """How many pods serve: the autoscaler moves between the two."""

    min: Annotated[int, Field(ge=1, le=100)] = 2
    """Pods that always run. From 2 on, a disruption budget keeps one."""
    max: Annotated[int, Field(ge=1, le=1000)] = 6
    """Pods at the most."""


class Deployment(Closed):
    """How the runtime is deployed: Helm values of `charts/stoa-runtime`."""

    image: Image
    """The runtime's container image."""
    replicas: Replicas = Replicas.model_construct()
    """How many pods serve."""
    cpu: Annotated[str, Field(pattern=r"^[1-9][0-9]*m?$")] = "500m"
    """CPU that each pod requests, as a Kubernetes quantity."""
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi)$")] = "256Mi"
    """Memory that each pod requests and is limited to, as a Kubernetes quantity."""


class ClusterVault(Closed):
    """The Vault or OpenBao that External Secrets reads a tenant's backend credentials from."""

    server: Url
    """Where it answers."""
    mount: Annotated[str, Field(pattern=r"^[a-z0-9-]+(/[a-z0-9-]+)*$", max_length=64)] = "secret"
    """Where the KV engine (version 2) is mounted."""
    auth_mount: Annotated[str, Field(pattern=r"^[a-z0-9-]+(/[a-z0-9-]+)*$", max_length=64)] = "kubernetes"
    """Where the cluster's service accounts log in. A tenant's role there is called like its namespace."""


class Cluster(Closed):
    """The tenants' namespaces in Kubernetes."""

    pod_security: Literal["baseline", "restricted"] = "restricted"
    """The pod security standard that is enforced in every tenant's namespace."""
    vault: ClusterVault | None = None
    """Where External Secrets reads the backends' credentials; without it none are rendered."""


GitUrl = Annotated[
    str,
    Field(
        pattern=r"^(https://[A-Za-z0-9.-]+(:[0-9]+)?|ssh://git@[A-Za-z0-9.-]+(:[0-9]+)?|file://)(/[A-Za-z0-9._-]+)+$",
        max_length=256,
        examples=["https://git.acme.example/platform/rendered.git"],
    ),
]
"""A Git repository's URL, without a password."""
GitPath = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=128, examples=["prod"]),
]
"""A folder in a repository."""
GitRevision = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=128)
]
"""A branch, a tag or a commit."""


class RuntimeChart(Closed):
    """Where Argo CD finds the runtime's chart, and where it installs it."""

    repository: GitUrl
    """The Git repository that holds `charts/stoa-runtime`."""
    revision: GitRevision
    """Its tag or commit."""
    path: GitPath = "charts/stoa-runtime"
    """The chart's folder."""
    namespace: Id
    """The runtime's namespace, one of the zone `dmz`."""
    values: list[GitPath] = []
    """The operator's own values files in that repository, each over those before it and over the bundle's."""
    signed: bool = False
    """Whether the pods are given the bundle's signature; the public keys stand in `values`."""


class ArgoCd(Closed):
    """Where the bundle is published, and where Argo CD applies it."""

    repository: GitUrl
    """The Git repository that `stoa publish` writes to."""
    branch: GitRevision
    """This environment's branch there."""
    path: GitPath | None = None
    """The bundle's folder on the branch; called like the environment where left out."""
    cluster: Url = "https://kubernetes.default.svc"
    """The cluster's API server, as Argo CD knows it."""
    namespace: Id = "argocd"
    """Where Argo CD itself runs."""
    runtime: RuntimeChart | None = None
    """The runtime's chart; without it Argo CD does not install the runtime."""


class Environment(Closed):
    """One place where the platform runs; each gets a bundle of its own."""

    gateway: Url
    """Base URL of the MCP gateway; clients connect to `<gateway>/mcp`, which is also the tokens' audience."""
    issuer: Url
    """The tokens' exact issuer: a Keycloak realm's URL."""
    development: bool = False
    """Only such an environment takes loopback addresses, the development issuer and mock backends."""
    limit_factor: Annotated[float, Field(gt=0, le=10)] = 1.0
    """Multiplies every rate and quota."""
    targets: Annotated[list[TargetName], Field(min_length=1)]
    """What is rendered here."""
    backend_networks: list[Cidr] = []
    """Private address ranges where backends may be; all others are refused when the runtime connects."""
    runtime: Deployment | None = None
    """How the runtime is deployed; the target `helm` needs it."""
    kubernetes: Cluster | None = None
    """The tenants' namespaces; only with the target `kubernetes`."""
    argocd: ArgoCd | None = None
    """Where the bundle is published and applied; the target `argocd` needs it."""


class Zone(Closed):
    """Where components run, and how far they are trusted."""

    trust: Literal["untrusted", "semi-trusted", "trusted"]
    """How far what comes from here is trusted."""
    namespaces: list[Id] = []
    """Kubernetes namespaces of the zone."""
    cidrs: list[Cidr] = []
    """Address ranges of the zone outside the cluster."""


class Flow(Closed):
    """An opening from one zone to another. What is not declared is closed."""

    from_: Annotated[ZoneName, Field(alias="from")]
    """Where connections come from."""
    to: ZoneName
    """Where they go."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """The TCP port at the far end."""


Cpu = Annotated[str, Field(pattern=r"^[1-9][0-9]*m?$", max_length=9)]
"""CPU as a Kubernetes quantity."""
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi)$", max_length=9)]
"""Memory or storage as a Kubernetes quantity."""


class TierResources(Closed):
    """What all pods of a tenant's namespace may use."""

    pods: Annotated[int, Field(ge=0, le=10_000)] = 20
    """Pods."""
    cpu: Cpu = "4"
    """CPU that they may request together; no container may have more."""
    memory: Memory = "8Gi"
    """Memory that they may request together, and be limited to; no container may have more."""
    storage: Memory = "20Gi"
    """Storage that they may claim together."""
    container_cpu: Cpu = "100m"
    """CPU that a container requests where it says nothing."""
    container_memory: Memory = "128Mi"
    """Memory that a container requests and is limited to where it says nothing."""


class Tier(Closed):
    """What a tenant of this tier may have at the most."""

    max_contracts: Annotated[int, Field(ge=1, le=10_000)]
    """Contracts."""
    max_tools: Annotated[int, Field(ge=1, le=100_000)]
    """Tools over all contracts."""
    max_consumers: Annotated[int, Field(ge=0, le=100_000)]
    """Consumers."""
    max_rate: Rate
    """Calls over all tools."""
    resources: TierResources = TierResources.model_construct()
    """What all pods of the tenant's namespace may use; the target `kubernetes` renders it."""


class Classification(Closed):
    """How critical a contract is: what it must then fulfil."""

    demands: list[Policy] = []
    """Policies that each contract of this class must fulfil, or it does not compile."""
    approval: list[SideEffects] = ["destructive"]
    """Side effects that need a second person's approval."""
    max_rate: Rate
    """Calls that one operation may take at the most."""


class Role(Closed):
    """What its holders may do at all, before any grant."""

    description: Text
    """For whom the role is."""
    scope: Literal["tenant", "platform"] = "tenant"
    """`platform`: its grants may cross tenants, and only the platform's own people can hold it."""
    permissions: list[Permission]
    """What its holders may do at all."""


class AllowedHost(Closed):
    """A host where backends may be."""

    host: HostPattern
    """A host name, or `*.` and a host name for every name below it."""
    tenants: Annotated[list[Id], Field(min_length=1)]
    """The tenants whose contracts may name it."""


class Backends(Closed):
    """Where backends may be."""

    allowed_hosts: list[AllowedHost]
    """Hosts by tenant. A backend on any other host is refused."""


class McpClient(Closed):
    """An MCP client registered beforehand, such as Claude."""

    display_name: Title
    """What people see when they consent."""
    redirect_uris: Annotated[list[RedirectUri], Field(min_length=1)]
    """Where the identity provider may send its answer: exact URLs."""


class Identity(Closed):
    """How people and applications sign in."""

    strategy: Literal["single-realm", "realm-per-tenant"] = "single-realm"
    """One Keycloak realm holds all tenants, kept apart by groups; or each has its own, called `<realm>-<tenant>`, and
    an issuer of its own."""
    tenants: Literal["groups", "organizations"] = "groups"
    """What a tenant is in one realm for all: a group, or a group and an Organization of Keycloak's with its people."""
    realm: Id
    """The realm's name; with a realm for each tenant, that of the platform's own people."""
    keycloak: KeycloakVersion = "26.7"
    """The server's version, or the newest here that is not newer: what it lacks is left out or refused."""
    features: list[KeycloakFeature] = []
    """Experimental features that the server is started with (`--features=...`)."""
    metadata_hosts: list[HostPattern] = []
    """Hosts whose applications register themselves by a document at their client id; only with the feature `cimd`."""
    clients: dict[Id, McpClient]
    """MCP clients registered beforehand, by client id."""


class Defaults(Closed):
    """What holds where a contract says nothing."""

    timeouts: Timeouts = Timeouts.model_construct()
    """How long a backend may take."""
    retries: Retries = Retries.model_construct()
    """How often a call that may be repeated is tried again."""
    circuit_breaker: CircuitBreaker | None = None
    """When a failing backend is left alone."""
    answer: AnswerRule = AnswerRule.model_construct()
    """What is done with a backend's answer."""
    operation_rate: Rate = "600/minute"
    """Calls that one operation takes where it declares no limits."""
    approval_expiry: Duration = "15m"
    """How long an approval can be used."""


class Agents(Closed):
    """What agents and their clients can take. Tools beyond it compile, with a warning."""

    clients: list[ClientProfile] = []
    """Clients that every tool is checked for: what they are known to refuse or to pass over is a warning."""
    tool_tokens: Annotated[int, Field(ge=50, le=1_000_000)] = 8_000
    """Tokens of a model's context that one tool may take, by estimate."""
    catalog_tokens: Annotated[int, Field(ge=50, le=10_000_000)] = 100_000
    """Tokens of a model's context that all tools of a tenant may take, by estimate."""


class LimitRule(Closed):
    """How limits are kept where several processes share them."""

    when_down: Literal["refuse", "local"] = "refuse"
    """While the shared store cannot be reached: `refuse` calls, or let each process count for itself (`local`)."""


class AuditRule(Closed):
    """What the audit log promises."""

    durability: Literal["system", "second", "event"] = "system"
    """Before an answer goes out, its event is with the operating system (`system`; a crash of the process loses
    nothing), on disk at the latest a second later (`second`), or on disk (`event`)."""
    when_full: Literal["refuse", "wait"] = "refuse"
    """When events cannot be taken: calls are refused at once, or wait until their time is over and are then refused."""


class Enforcement(Closed):
    """What every runtime of the platform does about limits and audit."""

    limits: LimitRule = LimitRule.model_construct()
    """How limits are kept."""
    audit: AuditRule = AuditRule.model_construct()
    """What the audit log promises."""


Approver = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){0,19}$",
        max_length=255,
        examples=["platform-security", "acme/platform/security"],
    ),
]
"""A group's full path or a user name, as GitLab knows them; without `@`."""


class ReviewRule(Closed):
    """Who must approve a merge request that changes something of a kind."""

    when: Annotated[str, Field(min_length=1, max_length=1000)]
    """A condition in CEL on one change of the plan: `change.code == 'access-gained'`. docs/policies.md lists what a
    change has."""
    approvers: Annotated[list[Approver], Field(min_length=1)]
    """Groups and people. One approval of any of them counts; that of the author does not."""
    count: Annotated[int, Field(ge=1, le=10)] = 1
    """How many of them must approve."""
    reason: Text
    """Why, for the author who waits."""


class CodeOwners(Closed):
    """Who owns which documents: sections of CODEOWNERS are made of it."""

    platform: list[Approver] = []
    """Owners of the platform document, of CODEOWNERS itself, and of the pipeline."""
    tenants: dict[Id, Annotated[list[Approver], Field(min_length=1)]] = {}
    """Owners of a tenant's folder. Who is not named here is owned by the address in its `contact`."""


class Reviews(Closed):
    """What merge requests need before they are merged. A rule also guards itself: who changes or removes it needs its
    approvers."""

    owners: CodeOwners = CodeOwners.model_construct()
    """Who owns which documents."""
    rules: dict[Id, ReviewRule] = {}
    """Who must approve which kind of change."""


BreakCode = Literal[
    "agents-excluded",
    "answer-bound-widened",
    "answer-condition-dropped",
    "answer-dependency-dropped",
    "answer-enum-widened",
    "answer-exclusion-dropped",
    "answer-field-left-out",
    "answer-format-widened",
    "answer-items-widened",
    "answer-length-widened",
    "answer-limit-lowered",
    "answer-media-type-changed",
    "answer-names-widened",
    "answer-opened",
    "answer-pattern-widened",
    "answer-property-added",
    "answer-property-removed",
    "answer-required-dropped",
    "answer-schema-removed",
    "answer-size-widened",
    "answer-truncated",
    "answer-type-widened",
    "answer-unchecked",
    "answer-union-widened",
    "answer-unproven",
    "approval-demanded",
    "argument-name-changed",
    "argument-place-changed",
    "argument-style-changed",
    "base-path-changed",
    "contract-removed",
    "contract-unpublished",
    "default-changed",
    "method-changed",
    "operation-removed",
    "operation-renamed",
    "path-changed",
    "protocol-removed",
    "request-body-changed",
    "request-bound-narrowed",
    "request-closed",
    "request-condition-added",
    "request-dependency-added",
    "request-enum-narrowed",
    "request-exclusion-added",
    "request-format-narrowed",
    "request-items-narrowed",
    "request-length-narrowed",
    "request-names-narrowed",
    "request-pattern-narrowed",
    "request-property-claimed",
    "request-property-ignored",
    "request-property-removed",
    "request-required-added",
    "request-size-narrowed",
    "request-type-narrowed",
    "request-union-narrowed",
    "request-unproven",
    "side-effects-raised",
]
"""Kinds of breaking changes, as docs/compatibility.md explains them."""
BreakScope = Annotated[
    str,
    Field(
        pattern=r"^(\*|[a-z][a-z0-9-]*):(\*|[a-z][a-z0-9-]*)(:(\*|[a-z][a-z0-9_]*))?$",
        max_length=128,
        examples=["acme:billing", "acme:billing:get_invoice", "acme:*"],
    ),
]
"""A contract with all of its operations, `tenant:contract`, or one operation by its tool's id; `*` stands for one
whole segment."""


class IgnoredBreak(Closed):
    """A breaking change that is known and wanted, for a time."""

    code: BreakCode
    """The kind of change."""
    contract: BreakScope
    """Where it may happen: `tenant:contract`, or a tool's id; `*` stands for one whole segment."""
    reason: Text
    """Why nobody is harmed. The plan shows it."""
    until: Day
    """The last day on which it is ignored."""


class Compatibility(Closed):
    """What is done about changes that break callers."""

    ignore: list[IgnoredBreak] = []
    """Breaking changes that need no new version, each with a reason and a last day."""


class PlatformSpec(Closed):
    """What holds for every tenant."""

    display_name: Title
    """The platform's name as people see it."""
    domain: DnsName
    """Gateways and issuers of all but development environments must be at or below this DNS name."""
    environments: Annotated[dict[EnvironmentName, Environment], Field(min_length=1)]
    """Where the platform runs."""
    zones: dict[ZoneName, Zone]
    """Security zones; network policies are rendered from them."""
    flows: list[Flow]
    """Openings between zones."""
    tiers: Annotated[dict[Id, Tier], Field(min_length=1)]
    """Caps for tenants."""
    classifications: dict[ClassificationName, Classification]
    """Criticality of contracts."""
    roles: Annotated[dict[Id, Role], Field(min_length=1)]
    """The role table."""
    grants: list[Grant] = []
    """What roles of scope `platform` may call, across tenants."""
    people: People = {}
    """The platform's own people."""
    groups: Groups = {}
    """Groups of the platform's own people."""
    backends: Backends
    """Where backends may be."""
    identity: Identity
    """How people and applications sign in."""
    defaults: Defaults = Defaults.model_construct()
    """What holds where a contract says nothing."""
    agents: Agents = Agents.model_construct()
    """What agents and their clients can take."""
    enforcement: Enforcement = Enforcement.model_construct()
    """What every runtime does about limits and audit."""
    reviews: Reviews = Reviews.model_construct()
    """Who must approve which change, and who owns which documents."""
    compatibility: Compatibility = Compatibility.model_construct()
    """What is done about changes that break callers; `stoa plan` judges them."""


class Platform(Closed):
    """The platform: what holds for every tenant."""

    api_version: Literal["gostoa.dev/v2"] = Field(description=f"Always `{API_VERSION}`.")
    kind: Literal["Platform"]
    """The document's kind."""
    metadata: Metadata
    """Who the document is."""
    spec: PlatformSpec
    """What is declared."""
