"""What tenant bundles declare beside their APIs, and what holds of it: the longest fitting path decides."""

from collections.abc import Sequence

from stoa_compiler.source import Loc
from stoa_compiler.stoa_v2.account import Outcome

ROOT_KEYS = ("apiVersion", "kind", "metadata", "spec")
METADATA_KEYS = ("name", "tier", "created", "labels")
SPEC_KEYS = (
    "classifications",
    "security",
    "rateLimits",
    "quotas",
    "observability",
    "sla",
    "features",
    "networking",
    "compliance",
    "disaster_recovery",
    "apis",
    "mcp_tools",
)
API_KEYS = (
    "name",
    "displayName",
    "description",
    "backend",
    "classification",
    "authentication",
    "tags",
    "token_tracking",
    "shadow_mode",
    "operations",
)
OPERATION_KEYS = ("name", "method", "path", "description", "input_schema", "output_schema")
AUTHENTICATION_KEYS = ("type", "header", "env_var", "username")

Verdict = tuple[Outcome, str]

_IDENTITY = "the identity provider's realm says it, and the platform document names the realm"
_COUNTED_NOW = (
    "the runtime counts and enforces an operation's `limits`, a tenant's `quotas.rate` and the plans of subscriptions"
)
_OPERATIONS = "a matter of what runs the gateway, not of what an API is"

VERDICTS: dict[tuple[str, ...], Verdict] = {
    ("apiVersion",): ("derived", "documents say `gostoa.dev/v2`"),
    ("kind",): ("derived", "a bundle becomes a tenant and its contracts"),
    ("metadata", "created"): ("note", "Git knows when a document was made"),
    ("metadata", "labels"): ("note", "the language has no labels"),
    ("spec", "classifications"): ("unknown", "the classes are `H`, `VH` and `VVH`"),
    ("spec", "classifications", "*", "description"): ("note", "the platform document describes the classes"),
    ("spec", "classifications", "*", "enabled"): ("derived", "a class holds for the contracts that name it"),
    ("spec", "classifications", "*", "burst"): ("no equivalent", "an operation has a rate; only a plan has a `burst`"),
    ("spec", "classifications", "*", "retry_policy"): ("no equivalent", "retries have a number and a first wait"),
    ("spec", "classifications", "*", "circuit_breaker"): ("no equivalent", "a breaker has `failures` and `reset`"),
    ("spec", "classifications", "*", "connection_pool"): ("no equivalent", _OPERATIONS),
    ("spec", "classifications", "*", "priority"): ("never enforced", "no call went before another"),
    ("spec", "classifications", "*", "idempotency_required"): (
        "never enforced",
        "only methods that may be repeated are tried again now (RFC 9110, 9.2.2)",
    ),
    ("spec", "classifications", "*", "audit_logging"): ("now enforced", "every call stands in the audit log"),
    ("spec", "classifications", "*", "token_tracking"): ("no equivalent", "no tokens of models are counted"),
    ("spec", "classifications", "*", "sla_override"): ("never enforced", "a promise between people"),
    ("spec", "security"): ("never enforced", "nothing read it"),
    ("spec", "security", "authentication"): ("no equivalent", _IDENTITY),
    ("spec", "security", "authentication", "required"): ("now enforced", "every call needs a token"),
    ("spec", "security", "authentication", "methods"): (
        "no equivalent",
        "callers prove who they are by OAuth tokens of the platform's issuer, and by nothing else",
    ),
    ("spec", "security", "authentication", "oauth2", "issuer"): (
        "derived",
        "each environment of the platform document names its one issuer; compare them",
    ),
    ("spec", "security", "authentication", "oauth2", "audience"): (
        "derived",
        "tokens are for the gateway's URL, not for a tenant; the tenant is a claim",
    ),
    ("spec", "security", "authentication", "oauth2", "ai_scopes"): ("never enforced", "grants say who may call what"),
    ("spec", "security", "authorization"): ("never enforced", "no policy engine was asked"),
    ("spec", "security", "authorization", "rbac_enabled"): (
        "now enforced",
        "a role's permissions and a tenant's grants decide each call; write `groups` and `grants`",
    ),
    ("spec", "security", "authorization", "default_scopes"): (
        "no equivalent",
        "access is by roles: write `groups` and `grants` in `tenant.yaml`",
    ),
    ("spec", "security", "authorization", "custom_scopes"): (
        "no equivalent",
        "access is by roles: write `groups` and `grants` in `tenant.yaml`",
    ),
    ("spec", "security", "model_access_control"): ("never enforced", "nothing looked at a model's name"),
    ("spec", "security", "ip_allowlist"): ("never enforced", "nothing looked at callers' addresses"),
    ("spec", "security", "waf"): ("never enforced", "there was no firewall behind it; arguments are checked by schema"),
    ("spec", "security", "request_validation"): ("no equivalent", "requests are JSON, and bounded by the runtime"),
    ("spec", "security", "request_validation", "enabled"): (
        "now enforced",
        "arguments outside of the schema are refused before the backend is called",
    ),
    ("spec", "security", "request_validation", "schema_validation"): (
        "now enforced",
        "arguments are always checked, unknown ones too; there is no lenient mode",
    ),
    ("spec", "security", "secrets", "provider"): ("derived", "secrets are kept in Vault and named by reference"),
    ("spec", "security", "secrets", "rotation_enabled"): ("never enforced", "Vault rotates; a bundle cannot"),
    ("spec", "rateLimits"): ("never enforced", f"nothing counted it; {_COUNTED_NOW}"),
    ("spec", "rateLimits", "headers"): (
        "no equivalent",
        "who is refused is told how long to wait; no header says what is left",
    ),
    ("spec", "quotas"): ("never enforced", f"nothing counted it; {_COUNTED_NOW}"),
    ("spec", "quotas", "max_apis"): ("derived", "the tenant's tier says how many contracts it may have"),
    ("spec", "quotas", "max_consumers"): ("derived", "the tenant's tier says how many consumers it may have"),
    ("spec", "quotas", "alerts"): ("never enforced", "nobody was told"),
    ("spec", "observability"): ("no equivalent", _OPERATIONS),
    ("spec", "observability", "alerting"): ("never enforced", "no rule was evaluated"),
    ("spec", "observability", "logging", "pii_masking"): (
        "never enforced",
        "nothing was masked; keep personal data out of schemas that agents see",
    ),
    ("spec", "observability", "logging", "pii_fields"): ("never enforced", "nothing was masked"),
    ("spec", "observability", "audit", "enabled"): ("now enforced", "every call stands in the audit log"),
    ("spec", "observability", "audit", "tamper_proof"): ("never enforced", "nothing sealed the log"),
    ("spec", "sla"): ("never enforced", "a promise between people"),
    ("spec", "features"): ("never enforced", "a switch that nothing read"),
    ("spec", "features", "mcp_gateway_access"): ("derived", "a tenant has the gateway where its `environments` say"),
    ("spec", "features", "audit_trails"): ("now enforced", "every call stands in the audit log"),
    ("spec", "features", "openapi_validation"): ("now enforced", "what comes from an OpenAPI file is checked with it"),
    ("spec", "features", "secrets_management"): ("now enforced", "secrets are references below the tenant's prefix"),
    ("spec", "features", "shadow_mode"): ("no equivalent", "contracts are written or imported, not recorded"),
    ("spec", "features", "external_mcp_servers"): ("no equivalent", "tools come from contracts alone"),
    ("spec", "networking"): ("no equivalent", _OPERATIONS),
    ("spec", "networking", "cors"): (
        "no equivalent",
        "MCP clients are no browsers' pages; the gateway's ingress decides",
    ),
    ("spec", "compliance"): ("never enforced", "a claim that nothing checked"),
    ("spec", "disaster_recovery"): ("never enforced", "nothing was backed up or moved because of it"),
    ("spec", "apis", "*", "tags"): ("no equivalent", "contracts have no tags"),
    ("spec", "apis", "*", "token_tracking"): ("no equivalent", "no tokens of models are counted"),
    ("spec", "apis", "*", "shadow_mode"): ("no equivalent", "contracts are written or imported, not recorded"),
    ("spec", "mcp_tools", "external_servers"): (
        "no equivalent",
        "tools come from contracts alone; the gateway starts no program and speaks for no other server",
    ),
}
"""By path; `*` stands for one key or index."""


def verdict(loc: Loc) -> tuple[Loc, Verdict] | None:
    """The longest path at or above `loc` of which something is known, and what."""
    for length in range(len(loc), 0, -1):
        for pattern, found in VERDICTS.items():
            if len(pattern) == length and all(p in ("*", s) for p, s in zip(pattern, loc, strict=False)):
                return loc[:length], found
    return None


def known_keys(loc: Loc) -> Sequence[str]:
    """The keys of the level at which `loc` stands."""
    match loc:
        case (_,):
            return ROOT_KEYS
        case ("metadata", _):
            return METADATA_KEYS
        case ("spec", _):
            return SPEC_KEYS
        case ("spec", "apis", int(), _):
            return API_KEYS
        case ("spec", "apis", int(), "operations", int(), _):
            return OPERATION_KEYS
        case ("spec", "apis", int(), "authentication", _):
            return AUTHENTICATION_KEYS
        case ("spec", "mcp_tools", _):
            return ("core_tools", "proxied_tools", "external_servers")
    return ()
