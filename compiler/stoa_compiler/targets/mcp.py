"""The target `mcp`: what the runtime serves. A platform index, one catalog per tenant, and their manifest."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

import orjson

from stoa_compiler.checks.contracts import UNAPPROVED
from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.graph import (
    ConsumerNode,
    ContractNode,
    Graph,
    OperationNode,
    Origin,
    PersonNode,
    PlanNode,
    TenantFacts,
    TenantNode,
)
from stoa_compiler.operations import legacy_output_schema
from stoa_compiler.source import Span
from stoa_compiler.target import Artifact, Artifacts, Part, Parts, PartsOf, Target
from stoa_schemas import bundle
from stoa_schemas.base import milliseconds
from stoa_schemas.documents.access import PERMISSION_FOR
from stoa_schemas.names import PLATFORM_TENANT

TABLE_DIFFERS = Rule(
    code="STOA601",
    title="the rendered access is not the declared one",
    why="List and call both read this table: what it says is what is enforced.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
CROSSED = Rule(
    code="STOA602",
    title="a tenant's role reaches another tenant's tool",
    why="Only platform roles cross tenants.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
DIGEST_DIFFERS = Rule(
    code="STOA604",
    title="a rendered file is not what the manifest names",
    why="The runtime loads only what the digest covers.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
SHAPE = Rule(
    code="STOA605",
    title="a rendered tool is not what was declared",
    why="Name, schemas and request must be those of the contract.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)

RULES = (TABLE_DIFFERS, CROSSED, DIGEST_DIFFERS, SHAPE)

_JSON = "application/json"
_ALGORITHMS = ["ES256", "EdDSA", "RS256"]
_SPANS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def emit_tenant(graph: Graph, environment: str, tenant: TenantNode, carried: Artifacts) -> Part:
    """The tenant's catalog; in development its people and clients too, whom the runtime's own issuer signs in."""
    declared = graph.environment(environment)
    content = _catalog(tenant, environment, declared.limit_factor)
    shared = None
    if declared.development:
        people, clients = map(_person, tenant.people), (_client(tenant.name, c) for c in tenant.consumers)
        shared = [[p.model_dump(mode="json") for p in people], [c.model_dump(mode="json") for c in clients]]
    return Part((_artifact(_catalog_path(tenant.name), content, _origins(tenant)),), shared)


def join(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts) -> Sequence[Artifact]:
    """The runtime's files for one environment, sorted by path."""
    declared = graph.environment(environment)
    tenants = graph.facts_in(environment)
    files = [_artifact(bundle.PLATFORM_INDEX, _index(graph, environment, tenants), (graph.origin,))]
    files += [artifact for part in parts.values() for artifact in part.artifacts]
    if declared.development:
        files.append(_artifact(bundle.DEVELOPMENT, _development(graph, parts), (graph.origin,)))
    files.sort(key=lambda a: a.path)
    manifest = bundle.RuntimeManifest(
        platform=graph.name,
        environment=environment,
        development=declared.development,
        files=[a.listing for a in files],
    )
    return sorted([*files, _artifact(bundle.RUNTIME_MANIFEST, manifest, (graph.origin,))], key=lambda a: a.path)


def _artifact(path: str, part: bundle.Part, origins: tuple[Origin, ...]) -> Artifact:
    return Artifact(path, _JSON, part.encode(), origins)


def _catalog_path(tenant: str) -> str:
    return f"mcp/tenants/{tenant}.json"


def _origins(tenant: TenantNode) -> tuple[Origin, ...]:
    return (
        tenant.origin,
        *(c.origin for c in tenant.contracts),
        *(c.origin for c in tenant.consumers),
        *(p.origin for p in tenant.plans),
    )


def _index(graph: Graph, environment: str, tenants: Sequence[TenantFacts]) -> bundle.PlatformIndex:
    spec = graph.platform.spec
    declared = graph.environment(environment)
    mcp_url = f"{declared.gateway.rstrip('/')}/mcp"
    return bundle.PlatformIndex(
        name=graph.name,
        display_name=spec.display_name,
        domain=spec.domain,
        environment=environment,
        mcp_url=mcp_url,
        token=bundle.TokenRules(
            issuer=declared.issuer,
            audience=mcp_url,
            jwks_url=_keys(declared.issuer),
            issuers=None
            if spec.identity.strategy == "single-realm"
            else [
                bundle.IssuerRule(tenant=name, issuer=issuer, jwks_url=_keys(issuer))
                for name, issuer in sorted(
                    [
                        (PLATFORM_TENANT, declared.issuer),
                        *((t.name, graph.issuer(environment, t.name)) for t in tenants),
                    ]
                )
            ],
            algorithms=_ALGORITHMS,
            scopes=[bundle.MCP_SCOPE],
        ),
        roles={
            name: bundle.RoleEntry(scope=role.scope, permissions=sorted(set(role.permissions)))
            for name, role in sorted(spec.roles.items())
        },
        clients=sorted(spec.identity.clients),
        backend_networks=sorted(set(declared.backend_networks)),
        approval_expiry_ms=milliseconds(spec.defaults.approval_expiry),
        enforcement=bundle.EnforcementRules(
            limits_when_down=spec.enforcement.limits.when_down,
            audit_durability=spec.enforcement.audit.durability,
            audit_when_full=spec.enforcement.audit.when_full,
        ),
        tenants=[
            bundle.TenantEntry(name=t.name, display_name=t.display_name, catalog=_catalog_path(t.name)) for t in tenants
        ],
    )


def _keys(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/protocol/openid-connect/certs"


def _catalog(tenant: TenantNode, environment: str, factor: float) -> bundle.Catalog:
    spec = tenant.declared.spec
    exposed = [c for c in tenant.contracts if c.exposed]
    wire = {o.tool_id: o.wire_name for o in tenant.operations}
    served = {c.name for c in exposed}
    return bundle.Catalog(
        tenant=tenant.name,
        display_name=spec.display_name,
        description=spec.description,
        tier=spec.tier,
        contact=spec.contact,
        rate=_rate(tenant.rate, factor),
        contracts=[_contract(c, environment) for c in exposed],
        tools=sorted((_tool(c, o, factor) for c in exposed for o in c.operations if o.exposed), key=lambda t: t.name),
        access={role: sorted(wire[i] for i in ids) for role, ids in sorted(tenant.access.items()) if ids},
        consumers=[_consumer(c, served) for c in sorted(tenant.consumers, key=lambda c: c.client_id)],
        plans={p.name: _plan(p, factor) for p in tenant.plans},
    )


@lru_cache(maxsize=4096)
def _rate(rate: str, factor: float, concurrency: int | None = None) -> bundle.RateLimit:
    calls, _, span = rate.partition("/")
    return bundle.RateLimit(calls=int(calls) * factor, seconds=_SPANS[span], concurrency=concurrency)


def _contract(contract: ContractNode, environment: str) -> bundle.ContractEntry:
    spec = contract.declared.spec
    return bundle.ContractEntry(
        name=contract.name,
        display_name=spec.display_name,
        description=spec.description,
        version=spec.version,
        classification=spec.classification,
        status=spec.status,
        owner=spec.owner,
        policies=list(contract.policies),
        source_digest=f"sha256:{spec.source.sha256}" if spec.source else None,
        backend=contract.backends[environment],
    )


def _tool(contract: ContractNode, operation: OperationNode, factor: float) -> bundle.Tool:
    declared = operation.declared
    annotations = {
        "title": operation.title,
        "readOnlyHint": declared.side_effects in ("none", "read"),
        "destructiveHint": declared.side_effects == "destructive",
        "idempotentHint": operation.request.method not in ("POST", "PATCH"),
        "openWorldHint": True,
    }
    output = operation.output_schema
    seen: dict[str, Any] = {
        "name": operation.wire_name,
        "title": operation.title,
        "description": operation.description,
        "inputSchema": operation.input_schema,
        "outputSchema": output,
        "annotations": annotations,
    }
    return bundle.Tool(
        id=operation.tool_id,
        name=operation.wire_name,
        contract=contract.name,
        title=operation.title,
        description=operation.description,
        input_schema=dict(operation.input_schema),
        output_schema=dict(output) if output is not None else None,
        legacy_output_schema=legacy_output_schema(output) if output is not None and operation.answer.wrap else None,
        annotations=bundle.Annotations.model_validate(annotations),
        side_effects=declared.side_effects,
        approval=operation.approval,
        rate=_rate(operation.rate, factor, operation.concurrency),
        request=operation.request,
        answer=operation.answer,
        examples=list(operation.examples),
        answers=list(operation.answers) or None,
        digest=bundle.sha256(bundle.canonical(seen)),
    )


def _consumer(consumer: ConsumerNode, served: Set[str]) -> bundle.ConsumerEntry:
    """The consumer with its subscriptions to what is served: a draft is checked only."""
    active = [s for s in consumer.subscriptions if s.declared.spec.status == "active"]
    active = [s for s in active if s.declared.spec.contract in served]
    return bundle.ConsumerEntry(
        client_id=consumer.client_id,
        display_name=consumer.declared.spec.display_name,
        actors=sorted(f"{a.kind}:{a.name}" for a in consumer.declared.spec.actors),
        subscriptions=[
            bundle.SubscriptionEntry(
                name=s.name,
                contract=s.declared.spec.contract,
                plan=s.declared.spec.plan,
                expires=s.declared.spec.expires,
            )
            for s in active
        ],
    )


def _plan(plan: PlanNode, factor: float) -> bundle.PlanEntry:
    spec = plan.declared.spec
    return bundle.PlanEntry(
        rate=_rate(spec.rate, factor),
        burst=spec.burst,
        quota_calls=spec.quota.calls * factor if spec.quota else None,
        quota_per=spec.quota.per if spec.quota else None,
    )


def _development(graph: Graph, parts: PartsOf) -> bundle.Development:
    people = list(map(_person, graph.people))
    clients = [
        bundle.DevelopmentClient(client_id=name, redirect_uris=sorted(client.redirect_uris))
        for name, client in graph.platform.spec.identity.clients.items()
    ]
    for part in parts.values():
        people += [bundle.DevelopmentPerson.model_validate(p, by_name=True) for p in part.shared[0]]
        clients += [bundle.DevelopmentClient.model_validate(c, by_name=True) for c in part.shared[1]]
    return bundle.Development(
        people=sorted(people, key=lambda p: p.username), clients=sorted(clients, key=lambda c: c.client_id)
    )


def _person(person: PersonNode) -> bundle.DevelopmentPerson:
    return bundle.DevelopmentPerson(
        username=person.username,
        display_name=f"{person.first_name} {person.last_name}",
        email=person.email,
        tenant=person.tenant,
        roles=list(person.roles),
    )


def _client(tenant: str, consumer: ConsumerNode) -> bundle.DevelopmentClient:
    return bundle.DevelopmentClient(
        client_id=consumer.client_id,
        redirect_uris=sorted(consumer.declared.spec.redirect_uris),
        tenant=tenant,
        roles=sorted(consumer.declared.spec.roles),
    )


def verify(graph: Graph, environment: str, artifacts: Artifacts, report: Report) -> None:
    """Reads the files back as plain JSON and rebuilds who may call what from the grants alone."""
    parts = {}
    for tenant in graph.tenants_in(environment):
        catalog = artifacts.get(_catalog_path(tenant.name))
        parts[tenant.name] = Part((catalog,) if catalog is not None else ())
    verify_parts(graph, environment, parts, {}, report)
    verify_rest(graph, environment, parts, artifacts, report)


def verify_parts(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts, report: Report) -> None:
    """Reads the tenants' catalogs back."""
    for tenant in graph.tenants_in(environment):
        for artifact in parts[tenant.name].artifacts:
            if bundle.sha256(artifact.content) != artifact.digest:
                report.add(DIGEST_DIFFERS, tenant.origin.document.span(), f"`{artifact.path}` has another digest")
            _verify_catalog(graph, tenant, orjson.loads(artifact.content), report)


def verify_rest(graph: Graph, environment: str, parts: PartsOf, artifacts: Artifacts, report: Report) -> None:
    """Compares the files with what the manifest names, and the catalogs with the tenants' own."""
    manifest = orjson.loads(artifacts[bundle.RUNTIME_MANIFEST].content)
    named = {f["path"]: f["sha256"] for f in manifest["files"]}
    proved = {a.path: a.digest for part in parts.values() for a in part.artifacts}
    found = {
        path: artifact.digest if proved.get(path) == artifact.digest else bundle.sha256(artifact.content)
        for path, artifact in artifacts.items()
        if path.startswith("mcp/") and path != bundle.RUNTIME_MANIFEST
    }
    for path in sorted(named.keys() ^ found.keys() | {p for p in named.keys() & found.keys() if named[p] != found[p]}):
        report.add(DIGEST_DIFFERS, graph.origin.document.span(), f"`{path}` is not what the manifest names")
    for tenant in graph.facts_in(environment):
        path = _catalog_path(tenant.name)
        if path not in artifacts:
            where = graph.tenant(tenant.name).origin.document.span()
            report.add(TABLE_DIFFERS, where, f"`{tenant.name}` has no catalog")
        elif [a.path for a in parts[tenant.name].artifacts] != [path] or proved[path] != found[path]:
            report.add(DIGEST_DIFFERS, graph.origin.document.span(), f"`{path}` is not the tenant's own")


def _verify_catalog(graph: Graph, tenant: TenantNode, catalog: Mapping[str, Any], report: Report) -> None:

    def span() -> Span:
        return tenant.origin.document.span()

    tools = {t["name"]: t for t in catalog["tools"]}
    rendered = {(role, tools[n]["id"]) for role, names in catalog["access"].items() for n in names if n in tools}
    unknown = [n for names in catalog["access"].values() for n in names if n not in tools]
    for name in unknown:
        report.add(TABLE_DIFFERS, span(), f"the access table names `{name}`, which is no tool")
    declared = set(_declared_access(graph, tenant))
    operations = {o.tool_id: o for o in tenant.operations}
    for role, tool in sorted(rendered - declared):
        report.add(TABLE_DIFFERS, span(), f"`{role}` may call `{tool}`, which no grant gives")
    for role, tool in sorted(declared - rendered):
        report.add(TABLE_DIFFERS, span(), f"`{role}` may not call `{tool}`, which a grant gives")
    for tool in catalog["tools"]:
        if tool["id"].split(":")[0] != tenant.name or catalog["tenant"] != tenant.name:
            report.add(CROSSED, span(), f"the catalog of `{tenant.name}` holds `{tool['id']}`")
        operation = operations.get(tool["id"])
        if operation is None or operation.declared.side_effects != tool["sideEffects"]:
            report.add(SHAPE, span(), f"`{tool['id']}` is not declared so")
            continue

        def where(node: OperationNode = operation) -> Span:
            return node.origin.document.span(node.origin.loc, "key")

        if tool["sideEffects"] == "destructive" and not tool["approval"]:
            report.add(UNAPPROVED, where(), f"`{tool['id']}` is destructive and needs nobody's approval")
        if tool["inputSchema"].get("type") != "object" or tool["inputSchema"].get("additionalProperties") is not False:
            report.add(SHAPE, where(), f"the input of `{tool['id']}` is not a closed object")
        fields = operation.declared.answer.fields if operation.declared.answer else None
        if sorted(fields or ()) != tool["answer"].get("fields", []):
            report.add(SHAPE, where(), f"other members of the answer of `{tool['id']}` are passed on than declared")
        placed = set(tool["request"]["arguments"]) | {(tool["request"].get("body") or {}).get("argument")}
        for argument in tool["inputSchema"].get("properties", {}):
            if argument not in placed:
                report.add(SHAPE, where(), f"`{argument}` of `{tool['id']}` goes nowhere")


def _declared_access(graph: Graph, tenant: TenantNode) -> Iterator[tuple[str, str]]:
    """(role, tool) pairs straight from the documents, by other code than what the catalog was made with."""
    roles = graph.platform.spec.roles
    grants = [
        *((g, False) for g in tenant.declared.spec.grants),
        *((g, True) for g in graph.platform.spec.grants),
    ]
    tools = {
        f"{tenant.name}:{contract.name}:{name}": PERMISSION_FOR[operation.side_effects]
        for contract in tenant.contracts
        if contract.declared.spec.status != "draft"
        for name, operation in contract.declared.spec.operations.items()
        if operation.agents and "mcp" in operation.protocols
    }
    for role, declared in roles.items():
        mine = [g for g, crosses in grants if g.role == role and (declared.scope == "platform") == crosses]
        # By another way than `access` goes: this is the second opinion on it.
        named = {"allow": set[str](), "deny": set[str]()}
        for grant in mine:
            for pattern in grant.tools:
                named[grant.effect].update(_named(pattern, tools))
        for tool in named["allow"] - named["deny"]:
            if tools[tool] in declared.permissions:
                yield role, tool


def _named(pattern: str, tools: Collection[str]) -> Iterable[str]:
    """Those of the tools that the pattern names, each `*` in it standing for anything but a colon."""
    if "*" not in pattern:
        return {pattern} & set(tools)
    return filter(_glob(pattern).fullmatch, tools)


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile("[^:]*".join(map(re.escape, pattern.split("*"))))


PARTS = Parts(emit_tenant, verify_parts, join, verify_rest)
TARGET = Target(name="mcp", emit=PARTS.emit_whole, verify=verify, rules=RULES, parts=PARTS)
