"""The runtime's files compared with the source, value by value: what each call is sent, what it may take, who is asked.

Written from what the declarations mean; nothing of what writes the files is used.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from stoa_compiler.graph import ContractNode, Graph, OperationNode, TenantNode
from stoa_compiler.verify_bundle.findings import MISMATCH, Finding, Step, pointer
from stoa_compiler.verify_bundle.reading import VALUES, Read
from stoa_schemas import bundle

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TOKENS = {
    "algorithms": ["ES256", "EdDSA", "RS256"],
    "leewaySeconds": 30,
    "rolesClaim": "roles",
    "tenantClaim": "tenant",
}
"""What the gateway takes whatever is declared."""


def compare(files: Mapping[str, bytes], graph: Graph, environment: str) -> Iterator[Finding]:
    """What the runtime's files say otherwise than the source."""
    yield from _stopping(files, graph, environment)
    if "mcp" not in graph.environment(environment).targets:
        return
    index = _model(files.get(bundle.PLATFORM_INDEX), bundle.PlatformIndex)
    if index is not None:
        yield from _differ(bundle.PLATFORM_INDEX, (), _index(graph, environment), index)
    for tenant in graph.tenants_in(environment):
        path = f"mcp/tenants/{tenant.name}.json"
        catalog = _model(files.get(path), bundle.Catalog)
        if catalog is None:
            yield Finding(path, "", MISMATCH.code, f"the catalog of `{tenant.name}` cannot be compared")
            continue
        yield from _catalog(path, tenant, catalog, environment, graph.environment(environment).limit_factor)


def _stopping(files: Mapping[str, bytes], graph: Graph, environment: str) -> Iterator[Finding]:
    """A pod that is told to stop has the time of the slowest call, and a quarter of a minute."""
    values = Read({VALUES: files[VALUES]}).values if VALUES in files else None
    slowest = [
        c.backends[environment].total_ms
        for t in graph.tenants_in(environment)
        for c in t.contracts
        if c.exposed and environment in c.backends
    ]
    wanted = min(3600, max(45, *(15 + -(-ms // 1000) for ms in slowest), 0))
    if values is not None and values.termination_grace_period_seconds != wanted:
        said = f"a stopping pod has {values.termination_grace_period_seconds} seconds, not {wanted}"
        yield Finding(VALUES, "/terminationGracePeriodSeconds", MISMATCH.code, said)


def _model(content: bytes | None, model: type[bundle.Part]) -> dict[str, Any] | None:
    """The file as the runtime takes it, what is left out filled in."""
    try:
        return model.model_validate_json(content or b"").model_dump(by_alias=True)
    except ValidationError:
        return None


def _differ(path: str, at: tuple[Step, ...], wanted: Mapping[str, Any], found: Any) -> Iterator[Finding]:
    for key, value in wanted.items():
        now = found.get(key) if isinstance(found, dict) else None
        if isinstance(value, dict) and isinstance(now, dict) and value.keys() == now.keys():
            yield from _differ(path, (*at, key), value, now)
        elif now != value:
            yield Finding(path, pointer(*at, key), MISMATCH.code, f"`{key}` is not what the source declares")


def _index(graph: Graph, environment: str) -> dict[str, Any]:
    spec, declared = graph.platform.spec, graph.environment(environment)
    return {
        "name": graph.name,
        "displayName": spec.display_name,
        "domain": spec.domain,
        "environment": environment,
        "mcpUrl": declared.gateway.rstrip("/") + "/mcp",
        "token": {
            "issuer": declared.issuer,
            "audience": declared.gateway.rstrip("/") + "/mcp",
            "jwksUrl": declared.issuer.rstrip("/") + "/protocol/openid-connect/certs",
            "issuers": _issuers(graph, environment),
            "scopes": ["stoa-mcp"],
            **_TOKENS,
        },
        "roles": {n: {"scope": r.scope, "permissions": sorted({*r.permissions})} for n, r in spec.roles.items()},
        "clients": sorted(spec.identity.clients),
        "backendNetworks": sorted({*declared.backend_networks}),
        "approvalExpiryMs": _duration(spec.defaults.approval_expiry),
        "enforcement": {
            "limitsWhenDown": spec.enforcement.limits.when_down,
            "auditDurability": spec.enforcement.audit.durability,
            "auditWhenFull": spec.enforcement.audit.when_full,
        },
        "tenants": [
            {
                "name": t.name,
                "displayName": t.declared.spec.display_name,
                "catalog": f"mcp/tenants/{t.name}.json",
            }
            for t in graph.tenants_in(environment)
        ],
    }


def _issuers(graph: Graph, environment: str) -> list[dict[str, str]] | None:
    if graph.platform.spec.identity.strategy == "single-realm":
        return None
    home = graph.environment(environment).issuer
    issuers = {"platform": home} | {t.name: f"{home.rstrip('/')}-{t.name}" for t in graph.tenants_in(environment)}
    return [
        {"tenant": t, "issuer": i, "jwksUrl": i.rstrip("/") + "/protocol/openid-connect/certs"}
        for t, i in sorted(issuers.items())
    ]


def _duration(text: str) -> int:
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * _MILLISECONDS[unit]


def _rate(text: str, factor: float, concurrency: int | None = None) -> dict[str, Any]:
    calls, _, span = text.partition("/")
    return {"calls": int(calls) * factor, "seconds": _SECONDS[span], "concurrency": concurrency}


def _catalog(
    path: str, tenant: TenantNode, catalog: dict[str, Any], environment: str, factor: float
) -> Iterator[Finding]:
    spec = tenant.declared.spec
    head = {
        "tenant": tenant.name,
        "displayName": spec.display_name,
        "description": spec.description,
        "tier": spec.tier,
        "contact": spec.contact,
        "rate": _rate(tenant.rate, factor),
        "access": {r: sorted(i.replace(":", "_") for i in ids) for r, ids in tenant.access.items() if ids},
        "plans": {
            p.name: {
                "rate": _rate(p.declared.spec.rate, factor),
                "burst": p.declared.spec.burst,
                "quotaCalls": p.declared.spec.quota.calls * factor if p.declared.spec.quota else None,
                "quotaPer": p.declared.spec.quota.per if p.declared.spec.quota else None,
            }
            for p in tenant.plans
        },
        "consumers": [
            {
                "clientId": c.client_id,
                "displayName": c.declared.spec.display_name,
                "actors": sorted(f"{a.kind}:{a.name}" for a in c.declared.spec.actors),
                "subscriptions": [
                    {
                        "name": s.name,
                        "contract": s.declared.spec.contract,
                        "plan": s.declared.spec.plan,
                        "expires": s.declared.spec.expires,
                    }
                    for s in c.subscriptions
                    if s.declared.spec.status == "active"
                ],
            }
            for c in sorted(tenant.consumers, key=lambda c: c.client_id)
        ],
    }
    yield from _differ(path, (), head, catalog)
    contracts = {c.name: c for c in tenant.contracts if c.exposed}
    places = {c["name"]: n for n, c in enumerate(catalog["contracts"])}
    if places.keys() != contracts.keys():
        yield Finding(path, "/contracts", MISMATCH.code, "the contracts are not those that the source declares")
        return
    for name, contract in contracts.items():
        at = ("contracts", places[name])
        yield from _differ(path, at, _contract(contract, environment), catalog["contracts"][places[name]])
    tools = {o.tool_id: o for c in contracts.values() for o in c.operations if o.exposed}
    numbers = {t["id"]: n for n, t in enumerate(catalog["tools"])}
    if numbers.keys() != tools.keys():
        yield Finding(path, "/tools", MISMATCH.code, "the tools are not those that the source declares")
        return
    for tool_id, operation in tools.items():
        found = catalog["tools"][numbers[tool_id]]
        yield from _differ(path, ("tools", numbers[tool_id]), _tool(operation, factor), found)


def _contract(contract: ContractNode, environment: str) -> dict[str, Any]:
    spec = contract.declared.spec
    return {
        "name": contract.name,
        "displayName": spec.display_name,
        "description": spec.description,
        "version": spec.version,
        "classification": spec.classification,
        "status": spec.status,
        "owner": spec.owner,
        "policies": list(contract.policies),
        "sourceDigest": f"sha256:{spec.source.sha256}" if spec.source else None,
        "backend": contract.backends[environment].model_dump(by_alias=True),
    }


def _tool(operation: OperationNode, factor: float) -> dict[str, Any]:
    effects = operation.declared.side_effects
    return {
        "name": operation.tool_id.replace(":", "_"),
        "title": operation.title,
        "description": operation.description,
        "inputSchema": dict(operation.input_schema),
        "outputSchema": None if operation.output_schema is None else dict(operation.output_schema),
        "annotations": {
            "title": operation.title,
            "readOnlyHint": effects in ("none", "read"),
            "destructiveHint": effects == "destructive",
            "idempotentHint": operation.request.method not in ("POST", "PATCH"),
            "openWorldHint": True,
        },
        "sideEffects": effects,
        "approval": operation.approval,
        "rate": _rate(operation.rate, factor, operation.concurrency),
        "request": operation.request.model_dump(by_alias=True),
        "answer": operation.answer.model_dump(by_alias=True),
        "examples": [e.model_dump(by_alias=True) for e in operation.examples],
        "answers": list(operation.answers) or None,
    }
