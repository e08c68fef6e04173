"""Where the values of the tenants' Kubernetes objects come from."""

import re
from collections.abc import Callable

from stoa_compiler.provenance.model import Cause, Origins, Place, Pointer, Rule, Seen, Table, fixed, made

_Test = Callable[[Seen], bool]


def _kind(*kinds: str) -> _Test:
    return lambda seen: seen.at(seen.pointer[0], "kind") in kinds


def _name(seen: Seen) -> str:
    return str(seen.at(seen.pointer[0], "metadata", "name"))


def _own(seen: Seen) -> str:
    """The object's namespace."""
    return str(seen.at(seen.pointer[0], "metadata", "namespace"))


def _tenant(seen: Seen) -> str:
    """The tenant whose file it is."""
    parts = seen.path.split("/")
    return parts[2] if parts[1] == "tenants" else parts[2].removeprefix("tenant-").removesuffix(".yaml")


def _zone(seen: Seen) -> str | None:
    """The zone at the far end of a policy; None for those that every namespace has."""
    name = _name(seen)
    found = next((name.removeprefix(p) for p in ("stoa-from-", "stoa-to-") if name.startswith(p)), None)
    return None if name in ("stoa-default-deny", "stoa-dns") else found


def _pairs(seen: Seen) -> list[tuple[str, str]]:
    """The borders that the policy opens."""
    zone, mine = str(_zone(seen)), seen.places.zones_of(_own(seen))
    coming = _name(seen).startswith("stoa-from-")
    return [(zone, z) if coming else (z, zone) for z in sorted(mine)]


def _opened(seen: Seen) -> Origins:
    """The flows that the policy is for."""
    pairs = set(_pairs(seen))
    flows = seen.places.graph.platform.spec.flows
    found = [seen.places.platform("flows", i) for i, f in enumerate(flows) if (f.from_, f.to) in pairs]
    return [Cause(tuple(found), together=True)]


def _peer(seen: Seen) -> Origins:
    zone = str(_zone(seen))
    if zone == "tenants":
        return seen.places.namespace_names(str(seen.value))
    return seen.places.items(seen.places.platform("zones", zone, "namespaces"), seen.value)


def _block(seen: Seen) -> Origins:
    cidr = str(seen.at(*seen.pointer[:6], "cidr"))
    return seen.places.ranges(seen.places.platform("zones", str(_zone(seen)), "cidrs"), cidr)


def _resource(key: str) -> Callable[[Seen], Origins]:
    def found(seen: Seen) -> Origins:
        tenant = _tenant(seen)
        tier = seen.places.node(tenant).declared.spec.tier
        found = [seen.places.platform("tiers", tier, "resources", key)]
        tiers = seen.places.graph.platform.spec.tiers.values()
        if len({t.resources.model_dump(by_alias=True)[key] for t in tiers}) > 1:  # Another tier has another value.
            found.append(seen.places.tenant(tenant, "tier"))
        return found

    return found


def _catalog(seen: Seen) -> list[tuple[str, Pointer]]:
    return [(f"mcp/tenants/{_tenant(seen)}.json", ())]


def _secret(seen: Seen) -> Origins:
    """The contracts whose backends need it."""
    wanted = str(seen.at(*seen.pointer[:4], "secretKey"))
    found: list[Place] = []
    for contract in seen.places.node(_tenant(seen)).contracts:
        rule = contract.backends.get(seen.places.environment)
        if contract.exposed and rule is not None and rule.auth is not None and variable(rule.auth.secret) == wanted:
            found.append(seen.places.of(contract, "backend", "auth", "secret"))
    return [Cause(tuple(found), together=True)]


def variable(reference: str) -> str:
    """The variable in which the runtime looks for a secret."""
    path, _, key = reference.removeprefix("vault:").partition("#")
    return "STOA_SECRET_" + re.sub(r"[^A-Z0-9]", "_", f"{path}_{key}".upper())


def _env(*loc: str) -> Callable[[Seen], Origins]:
    return lambda seen: [seen.places.env(*loc)]


def metadata(namespace: Callable[[Seen], Origins]) -> tuple[Rule, ...]:
    """Rules for what every object has."""
    return (
        fixed("/*/apiVersion", "kubernetes.kind", "The kind of object."),
        fixed("/*/kind", "kubernetes.kind", "The kind of object."),
        fixed("/*/metadata/labels/app.kubernetes.io~1managed-by", "kubernetes.labels.managed-by", "Who made it."),
        made(
            "/*/metadata/labels/app.kubernetes.io~1part-of",
            "kubernetes.labels",
            "The platform.",
            lambda s: [s.places.platform_name],
        ),
        fixed(
            "/*/metadata/labels/gostoa.dev~1environment",
            "bundle.environment",
            "The environment that the bundle is compiled for.",
        ),
        made(
            "/*/metadata/labels/gostoa.dev~1tenant",
            "kubernetes.labels",
            "The tenant.",
            lambda s: s.places.tenant_name(str(s.value)),
        ),
        made(
            "/*/metadata/namespace",
            "kubernetes.namespace",
            "Called after platform and tenant, or as a zone names it.",
            namespace,
        ),
    )


def _namespace(seen: Seen) -> Origins:
    return seen.places.namespace_names(str(seen.value))


_POLICIES = (
    fixed(
        "/*/metadata/name",
        "kubernetes.policy.every",
        "Every namespace is closed and may look up names.",
        when=lambda s: _kind("NetworkPolicy")(s) and _zone(s) is None,
    ),
    made(
        "/*/metadata/name",
        "kubernetes.policy",
        "A policy for each zone that a flow joins with this one.",
        _opened,
        when=_kind("NetworkPolicy"),
    ),
    fixed(
        "/*/spec/**",
        "kubernetes.policy.every",
        "Every namespace is closed and may look up names.",
        when=lambda s: _kind("NetworkPolicy")(s) and _zone(s) is None,
    ),
    made(
        "/*/spec/*/*/ports/*/port",
        "kubernetes.policy.ports",
        "Ports of the flows.",
        lambda s: [s.places.flows(_pairs(s), int(s.value))],
        when=_kind("NetworkPolicy"),
    ),
    made(
        "/*/spec/*/*/*/*/namespaceSelector/matchExpressions/*/values/*",
        "kubernetes.policy.peers",
        "The zone's namespaces; of all tenants' a tenant sees its own.",
        _peer,
        when=_kind("NetworkPolicy"),
    ),
    made(
        "/*/spec/*/*/*/*/ipBlock/cidr",
        "kubernetes.policy.ranges",
        "The zone's address ranges.",
        lambda s: s.places.ranges(s.places.platform("zones", str(_zone(s)), "cidrs"), str(s.value)),
        when=_kind("NetworkPolicy"),
    ),
    made(
        "/*/spec/*/*/*/*/ipBlock/except/*",
        "kubernetes.policy.except",
        "Private ranges that a wider one does not mean.",
        lambda s: s.places.ranges(s.places.platform("zones", str(_zone(s)), "cidrs"), str(s.near(2, "cidr"))),
        when=_kind("NetworkPolicy"),
    ),
    fixed("/*/spec/**", "kubernetes.policy.form", "How a policy is written.", when=_kind("NetworkPolicy")),
)

_TIER = {
    "limits.memory": "memory",
    "pods": "pods",
    "requests.cpu": "cpu",
    "requests.memory": "memory",
    "requests.storage": "storage",
}
_CONTAINER = {
    ("default", "cpu"): "cpu",
    ("default", "memory"): "containerMemory",
    ("defaultRequest", "cpu"): "containerCpu",
    ("defaultRequest", "memory"): "containerMemory",
    ("max", "cpu"): "cpu",
    ("max", "memory"): "memory",
}

_BOUNDS = (
    *metadata(_namespace),
    made(
        "/*/metadata/name",
        "kubernetes.namespace",
        "Called after platform and tenant.",
        _namespace,
        when=_kind("Namespace"),
    ),
    *(
        made(
            f"/*/metadata/labels/pod-security.kubernetes.io~1{mode}",
            "kubernetes.pod-security",
            "The standard that is enforced.",
            _env("kubernetes", "podSecurity"),
        )
        for mode in ("enforce", "audit", "warn")
    ),
    fixed(
        "/*/metadata/annotations/*",
        "kubernetes.order",
        "When Argo CD applies it, and that somebody must confirm its removal.",
    ),
    *(
        made(f"/*/spec/hard/{key}", "kubernetes.quota", "What the tenant's tier may have.", _resource(name))
        for key, name in _TIER.items()
    ),
    fixed("/*/spec/hard/*", "hardening.services", "Nothing can be reached around the gateway."),
    fixed("/*/spec/limits/*/type", "kubernetes.limits.kind", "The limits are those of a container."),
    *(
        made(f"/*/spec/limits/*/{part}/{key}", "kubernetes.limits", "What the tenant's tier may have.", _resource(name))
        for (part, key), name in _CONTAINER.items()
    ),
    *_POLICIES,
    fixed("/*/metadata/name", "kubernetes.names", "The object's name is the same in every namespace."),
    fixed("/*/automountServiceAccountToken", "hardening.tokens", "No pod gets a token that it did not ask for."),
    fixed("/*/rules/**", "hardening.role", "A tenant's own account may look, and change nothing."),
    fixed("/*/roleRef/*", "hardening.role", "A tenant's own account may look, and change nothing."),
    made("/*/subjects/*/namespace", "kubernetes.namespace", "The tenant's own account.", _namespace),
    fixed("/*/subjects/*/*", "hardening.role", "A tenant's own account may look, and change nothing."),
)

_CATALOG = (
    *metadata(_namespace),
    made("/*/metadata/name", "kubernetes.catalog", "Called after the digest of what it holds.", within=_catalog),
    fixed("/*/metadata/annotations/*", "kubernetes.large", "Too large for client-side apply."),
    fixed("/*/immutable", "kubernetes.immutable", "What it holds never changes: another catalog is another ConfigMap."),
    made("/*/data/*", "kubernetes.catalog.data", "The catalog, byte for byte.", within=_catalog),
)

_SECRETS = (
    *metadata(_namespace),
    fixed("/*/metadata/**", "kubernetes.names", "The object's name is the same in every namespace."),
    made("/*/spec/provider/vault/server", "kubernetes.vault", "As declared.", _env("kubernetes", "vault", "server")),
    made(
        "/*/spec/provider/vault/path",
        "kubernetes.vault",
        "Where the engine is mounted.",
        _env("kubernetes", "vault", "mount"),
    ),
    made(
        "/*/spec/provider/vault/auth/kubernetes/mountPath",
        "kubernetes.vault",
        "Where accounts log in.",
        _env("kubernetes", "vault", "authMount"),
    ),
    made(
        "/*/spec/provider/vault/auth/kubernetes/role", "kubernetes.vault.role", "Called like the namespace.", _namespace
    ),
    fixed("/*/spec/provider/**", "kubernetes.vault.form", "How External Secrets logs in."),
    made("/*/spec/data/*/secretKey", "kubernetes.secrets", "The variable in which the runtime looks for it.", _secret),
    made("/*/spec/data/*/remoteRef/key", "kubernetes.secrets", "The reference's path.", _secret),
    made("/*/spec/data/*/remoteRef/property", "kubernetes.secrets", "The reference's key.", _secret),
    fixed(
        "/*/spec/**",
        "kubernetes.secrets.form",
        "How External Secrets reads it; defaults are written so that nothing differs.",
    ),
)

_ZONE = (*metadata(_namespace), *_POLICIES)

TABLES = (
    Table("kubernetes/platform/zone-*.yaml", _ZONE),
    Table("kubernetes/platform/tenant-*.yaml", _BOUNDS),
    Table("kubernetes/tenants/*/catalog.yaml", _CATALOG),
    Table("kubernetes/tenants/*/secrets.yaml", _SECRETS),
)
"""What is known of the target's artifacts."""
