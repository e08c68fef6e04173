"""Where the values of the target `mcp` come from: index, catalogs, development list and manifest."""

from collections.abc import Iterator, Sequence
from typing import Any

from stoa_compiler.graph import ContractNode, OperationNode
from stoa_compiler.provenance.model import Cause, Origins, Place, Pointer, Rule, Seen, Table, fixed, made, within
from stoa_schemas import bundle
from stoa_schemas.names import PLATFORM_TENANT

# Shared


def rate(place: Sequence[Place], seen: Seen) -> list[Place]:
    """A number of calls: as declared, times the environment's factor."""
    return [*place, seen.places.factor]


# The index


def _issuer(seen: Seen) -> Origins:
    tenant = seen.near(1, "tenant")
    return [seen.places.env("issuer"), *seen.places.tenant_name(tenant)]


def _role_permission(seen: Seen) -> Origins:
    listed = seen.places.platform("roles", str(seen.pointer[1]), "permissions")
    return seen.places.items(listed, seen.value)


_INDEX = (
    fixed("/apiVersion", "mcp.format", "The format's own name."),
    made("/name", "mcp.platform.name", "The platform's name.", lambda s: [s.places.platform_name]),
    made("/displayName", "mcp.platform.display-name", "As declared.", lambda s: [s.places.platform("displayName")]),
    made("/domain", "mcp.platform.domain", "As declared.", lambda s: [s.places.platform("domain")]),
    fixed("/environment", "bundle.environment", "The environment that the bundle is compiled for."),
    made("/mcpUrl", "mcp.endpoint", "The gateway's URL and `/mcp`.", lambda s: [s.places.env("gateway")]),
    made("/token/audience", "mcp.audience", "The MCP endpoint's exact URL.", lambda s: [s.places.env("gateway")]),
    made("/token/issuer", "mcp.issuer", "The environment's issuer.", lambda s: [s.places.env("issuer")]),
    made("/token/jwksUrl", "mcp.keys", "Where Keycloak has the issuer's keys.", lambda s: [s.places.env("issuer")]),
    fixed(
        "/token/issuers/*/tenant",
        "mcp.issuer.platform",
        "The tenant claim of the platform's own people.",
        lambda s: s.value == PLATFORM_TENANT,
    ),
    made(
        "/token/issuers/*/tenant",
        "mcp.issuer.tenant",
        "Each tenant has an issuer of its own.",
        lambda s: [*s.places.tenant_name(s.value)],
    ),
    made("/token/issuers/*/*", "mcp.issuer.of-tenant", "The issuer's URL, ending in the tenant's name.", _issuer),
    fixed("/token/algorithms/*", "hardening.algorithms", "Signatures by these algorithms only."),
    fixed("/token/scopes/*", "hardening.scope", "The scope whose tokens carry the gateway's audience."),
    fixed("/token/*", "hardening.token", "How the runtime reads every token."),
    made(
        "/roles/*/scope",
        "mcp.role.scope",
        "As declared.",
        lambda s: [s.places.platform("roles", str(s.pointer[1]), "scope")],
    ),
    made("/roles/*/permissions", "mcp.role.permissions", "No permission is declared.", _role_permission),
    made("/roles/*/permissions/*", "mcp.role.permissions", "As declared, sorted.", _role_permission),
    made(
        "/clients/*",
        "mcp.clients",
        "Names of the clients registered beforehand, sorted.",
        lambda s: [s.places.platform_key("identity", "clients", s.value)],
    ),
    made("/clients", "mcp.clients", "No client is registered.", lambda s: [s.places.platform("identity", "clients")]),
    made(
        "/backendNetworks/**",
        "mcp.backend-networks",
        "Each once, sorted.",
        lambda s: s.places.items(s.places.env("backendNetworks"), s.value),
    ),
    made(
        "/approvalExpiryMs",
        "mcp.approval-expiry",
        "In milliseconds.",
        lambda s: [s.places.platform("defaults", "approvalExpiry")],
    ),
    made(
        "/enforcement/limitsWhenDown",
        "mcp.enforcement",
        "As declared.",
        lambda s: [s.places.platform("enforcement", "limits", "whenDown")],
    ),
    made(
        "/enforcement/auditDurability",
        "mcp.enforcement",
        "As declared.",
        lambda s: [s.places.platform("enforcement", "audit", "durability")],
    ),
    made(
        "/enforcement/auditWhenFull",
        "mcp.enforcement",
        "As declared.",
        lambda s: [s.places.platform("enforcement", "audit", "whenFull")],
    ),
    made("/tenants/*/displayName", "mcp.tenants", "As declared.", lambda s: [s.places.display_name(s.near(1, "name"))]),
    made(
        "/tenants/*/*",
        "mcp.tenants",
        "Each tenant of the environment.",
        lambda s: s.places.tenant_name(s.near(1, "name")),
    ),
    made("/tenants", "mcp.tenants", "No tenant is in the environment.", lambda s: [s.places.env()]),
)

# A catalog


def _tenant(seen: Seen) -> str:
    return str(seen.at("tenant"))


def _contract(seen: Seen) -> ContractNode:
    name = (
        seen.at(*seen.pointer[:2], "name") if seen.pointer[0] == "contracts" else seen.at(*seen.pointer[:2], "contract")
    )
    return seen.places.contract(_tenant(seen), str(name))


def _of_contract(*loc: str) -> Any:
    return lambda seen: [seen.places.of(_contract(seen), *loc)]


def _policies(seen: Seen) -> Origins:
    contract = _contract(seen)
    name = contract.declared.spec.classification
    yield seen.places.of(contract, "classification")
    yield from seen.places.items(seen.places.platform("classifications", name, "demands"), seen.value)


def _backend(block: str, default: str, *loc: str) -> Any:
    """A value of a block that the contract has whole, or the platform by default."""

    def found(seen: Seen) -> Origins:
        contract = _contract(seen)
        own = contract.origin.document.data["spec"]["backend"]
        if block in own:
            return [seen.places.of(contract, "backend", block, *loc)]
        return [seen.places.platform("defaults", default, *loc)]

    return found


def _op(seen: Seen) -> OperationNode:
    return seen.places.operation(_tool(seen))[1]


def _tool(seen: Seen) -> str:
    return str(seen.at("tools", seen.pointer[1], "id"))


def _taken(seen: Seen) -> bool:
    return seen.pointer[0] == "tools" and _op(seen).declared.from_ is not None


def _from_source(seen: Seen) -> Origins:
    return [seen.places.taken(_tool(seen))]


def _title(seen: Seen) -> Origins:
    operation = _op(seen)
    if operation.declared.summary is not None:
        return [seen.places.at(operation, "summary")]
    if operation.declared.from_ is not None:
        return _from_source(seen)
    return [seen.places.at(operation, "method"), seen.places.at(operation, "path")]


def _description(seen: Seen) -> Origins:
    operation, declared = _op(seen), _op(seen).declared
    if declared.summary is not None:
        yield seen.places.at(operation, "summary")
    if declared.intent is not None:
        yield seen.places.at(operation, "intent")
    if declared.from_ is not None:
        if declared.summary is None or operation.description != "\n\n".join(_own_words(seen, operation)):
            yield from _from_source(seen)
    elif declared.summary is None and declared.intent is None:
        yield from (seen.places.at(operation, "method"), seen.places.at(operation, "path"))
    yield seen.places.of(_contract(seen), "status")


def _own_words(seen: Seen, operation: OperationNode) -> Iterator[str]:
    declared = operation.declared
    yield from (t for t in (declared.summary, declared.intent and declared.intent.strip()) if t)
    if _contract(seen).declared.spec.status == "deprecated":
        yield "Deprecated: use another tool where there is one."


def _input(seen: Seen) -> Origins:
    return [seen.places.at(_op(seen), "input", *seen.pointer[3:])]


def _picked(seen: Seen) -> bool:
    answer = _op(seen).declared.answer
    return answer is not None and answer.fields is not None


def _output(seen: Seen, pointer: Pointer) -> Origins:
    operation = _op(seen)
    if operation.declared.from_ is not None:
        yield from _from_source(seen)
    elif not _picked(seen) or within(seen.places.written(operation)["output"], pointer):
        yield seen.places.at(operation, "output", *pointer)
    else:
        yield Cause((seen.places.at(operation, "answer", "fields"), seen.places.at(operation, "output")))


def _approval(seen: Seen) -> Origins:
    operation, contract = _op(seen), _contract(seen)
    if operation.declared.approval is not None:
        return [seen.places.at(operation, "approval")]
    name, effects = contract.declared.spec.classification, operation.declared.side_effects
    listed = seen.places.platform("classifications", name, "approval")
    found: list[Place | Cause] = [seen.places.at(operation, "sideEffects"), *seen.places.items(listed, effects)]
    classes = seen.places.graph.platform.spec.classifications
    if len({effects in c.approval for c in classes.values()}) > 1:  # Another class would say otherwise.
        found.append(seen.places.of(contract, "classification"))
    return found


def _op_rate(seen: Seen) -> list[Place]:
    operation = _op(seen)
    if operation.declared.limits is not None:
        return [seen.places.at(operation, "limits", "rate")]
    return [seen.places.platform("defaults", "operationRate")]


def _placed(seen: Seen) -> Origins:
    """Where an argument goes: as `parameters` says, else by the path's template and the method."""
    operation, argument, what = _op(seen), str(seen.pointer[4]), seen.pointer[5]
    written = seen.places.written(operation)
    declared = written.get("parameters", {}).get(argument)
    name = Place(operation.origin.document, (*operation.origin.loc, "input", "properties", argument), "key")
    if what == "name":
        named = declared is not None and "name" in declared
        return [seen.places.at(operation, "parameters", argument, "name") if named else name]
    if declared is not None:
        own = [str(what)] if what in ("style", "explode") and seen.near(1, "in") == "query" else []
        return [seen.places.at(operation, "parameters", argument, key) for key in (*own, "in")]
    if seen.near(1, "in") == "path":
        return [Cause((name, seen.places.at(operation, "path")))]
    return [seen.places.at(operation, "method")]


def _answer(key: str) -> Any:
    """A key of `answer`: the operation's, else the contract's, else the platform's."""

    def found(seen: Seen) -> Origins:
        operation, contract = _op(seen), _contract(seen)
        if key in seen.places.written(operation).get("answer", {}):
            return [seen.places.at(operation, "answer", key)]
        if key in contract.origin.document.data["spec"].get("answer", {}):
            return [seen.places.of(contract, "answer", key)]
        return [seen.places.platform("defaults", "answer", key)]

    return found


def _example(seen: Seen) -> Origins:
    operation = _op(seen)
    if operation.declared.examples or operation.declared.from_ is None or not seen.value:
        return [seen.places.at(operation, "examples", *seen.pointer[3:])]
    return _from_source(seen)


def _wraps(seen: Seen) -> Origins:
    operation = _op(seen)
    return _from_source(seen) if operation.declared.from_ is not None else [seen.places.at(operation, "output")]


def _granted(seen: Seen) -> Origins:
    role = str(seen.pointer[1])
    tool = next(t["id"] for t in seen.at("tools") if t["name"] == seen.value)
    return [*seen.places.granting(tool, role), *seen.places.tool_name(tool)]


def _consumer(seen: Seen) -> Any:
    found = seen.places.consumer(str(seen.at(*seen.pointer[:2], "clientId")))
    assert found is not None
    return found[1]


def _of_consumer(*loc: str) -> Any:
    return lambda seen: [seen.places.of(_consumer(seen), *loc)]


def _actor(seen: Seen) -> Origins:
    consumer = _consumer(seen)
    for index, actor in enumerate(consumer.declared.spec.actors):
        if seen.value == f"{actor.kind}:{actor.name}":
            yield seen.places.of(consumer, "actors", index, "kind")
            yield seen.places.of(consumer, "actors", index, "name")
    if not consumer.declared.spec.actors:
        yield seen.places.of(consumer, "actors")


def _subscription(seen: Seen) -> Origins:
    consumer = _consumer(seen)
    if not seen.near(0):
        # None is active: whatever there is is suspended.
        suspended = [Place(s.origin.document, ("spec", "status")) for s in consumer.subscriptions]
        return [Cause(tuple(suspended))] if suspended else [seen.places.name_of(consumer)]
    name = seen.near(1, "name")
    node = next(s for s in consumer.subscriptions if s.name == name)
    if seen.pointer[-1] == "name":
        return [Place(node.origin.document, ("metadata", "name"))]
    return [Place(node.origin.document, ("spec", str(seen.pointer[-1])))]


def _plan(*loc: str) -> Any:
    def found(seen: Seen) -> Origins:
        name = str(seen.pointer[1])
        node = next(p for p in seen.places.node(_tenant(seen)).plans if p.name == name)
        return [seen.places.of(node, *loc)]

    return found


def _seen_by_agents(seen: Seen) -> list[tuple[str, Pointer]]:
    tool = seen.pointer[:2]
    keys = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    return [(seen.path, (*tool, key)) for key in keys if seen.at(*tool, key) is not None]


_CLOSING: tuple[Pointer, ...] = (("type",), ("additionalProperties",))
"""Below the root of an input: they hold whether or not anybody writes them."""

_CATALOG: tuple[Rule, ...] = (
    fixed("/apiVersion", "mcp.format", "The format's own name."),
    made("/tenant", "mcp.tenant.name", "The tenant's name.", lambda s: s.places.tenant_name(_tenant(s))),
    made("/displayName", "mcp.tenant", "As declared.", lambda s: [s.places.tenant(_tenant(s), "displayName")]),
    made("/description", "mcp.tenant", "As declared.", lambda s: [s.places.tenant(_tenant(s), "description")]),
    made("/tier", "mcp.tenant", "As declared.", lambda s: [s.places.tenant(_tenant(s), "tier")]),
    made("/contact", "mcp.tenant", "As declared.", lambda s: [s.places.tenant(_tenant(s), "contact")]),
    made(
        "/rate/calls",
        "mcp.tenant.rate",
        "The quota, else the tier's cap, times the environment's factor.",
        lambda s: rate(s.places.tenant_rate(_tenant(s)), s),
    ),
    made(
        "/rate/seconds",
        "mcp.tenant.rate-span",
        "The span of the quota, else of the tier's cap.",
        lambda s: s.places.tenant_rate(_tenant(s)),
    ),
    made("/contracts", "mcp.contracts", "Every contract is a draft, or there is none.", lambda s: _contracts(s)),
    made("/contracts/*/name", "mcp.contract.name", "The contract's name.", lambda s: [s.places.name_of(_contract(s))]),
    made("/contracts/*/displayName", "mcp.contract", "As declared.", _of_contract("displayName")),
    made("/contracts/*/description", "mcp.contract", "As declared.", _of_contract("description")),
    made("/contracts/*/version", "mcp.contract", "As declared.", _of_contract("version")),
    made("/contracts/*/classification", "mcp.contract", "As declared.", _of_contract("classification")),
    made("/contracts/*/status", "mcp.contract", "As declared.", _of_contract("status")),
    made("/contracts/*/owner", "mcp.contract", "As declared.", _of_contract("owner")),
    made("/contracts/*/policies/**", "mcp.contract.policies", "What its classification demands.", _policies),
    made("/contracts/*/sourceDigest", "mcp.contract.source", "The pinned digest.", _of_contract("source", "sha256")),
    made(
        "/contracts/*/backend/url",
        "mcp.backend.url",
        "The backend's URL in the environment, without a slash at its end.",
        lambda s: [s.places.of(_contract(s), "backend", "urls", s.places.environment)],
    ),
    made(
        "/contracts/*/backend/auth/*",
        "mcp.backend.auth",
        "How the credential is sent, and where it is kept.",
        lambda s: [s.places.of(_contract(s), "backend", "auth", str(s.pointer[-1]))],
    ),
    made(
        "/contracts/*/backend/connectMs",
        "mcp.backend.timeouts",
        "In milliseconds.",
        _backend("timeouts", "timeouts", "connect"),
    ),
    made(
        "/contracts/*/backend/readMs",
        "mcp.backend.timeouts",
        "In milliseconds.",
        _backend("timeouts", "timeouts", "read"),
    ),
    made(
        "/contracts/*/backend/totalMs",
        "mcp.backend.timeouts",
        "In milliseconds.",
        _backend("timeouts", "timeouts", "total"),
    ),
    made(
        "/contracts/*/backend/retries",
        "mcp.backend.retries",
        "The contract's, else the default.",
        _backend("retries", "retries", "attempts"),
    ),
    made(
        "/contracts/*/backend/backoffMs",
        "mcp.backend.retries",
        "In milliseconds.",
        _backend("retries", "retries", "backoff"),
    ),
    made(
        "/contracts/*/backend/retryPercent",
        "mcp.backend.retries",
        "The contract's, else the default.",
        _backend("retries", "retries", "budgetPercent"),
    ),
    made(
        "/contracts/*/backend/breaker/failures",
        "mcp.backend.breaker",
        "The contract's, else the default.",
        _backend("circuitBreaker", "circuitBreaker", "failures"),
    ),
    made(
        "/contracts/*/backend/breaker/resetMs",
        "mcp.backend.breaker",
        "In milliseconds.",
        _backend("circuitBreaker", "circuitBreaker", "reset"),
    ),
    made(
        "/contracts/*/backend/concurrency",
        "mcp.backend.concurrency",
        "As declared.",
        _of_contract("backend", "concurrency"),
    ),
    made("/tools", "mcp.tools", "No operation is exposed to agents.", lambda s: _contracts(s)),
    made("/tools/*/id", "mcp.tool.id", "Tenant, contract and operation.", lambda s: s.places.tool_name(_tool(s))),
    made(
        "/tools/*/name",
        "mcp.tool.name",
        "The wire name: tenant, contract and operation.",
        lambda s: s.places.tool_name(_tool(s)),
    ),
    made("/tools/*/contract", "mcp.tool.contract", "The contract's name.", lambda s: [s.places.name_of(_contract(s))]),
    made("/tools/*/title", "mcp.tool.title", "The summary, else what the source says, else method and path.", _title),
    made(
        "/tools/*/description",
        "mcp.tool.description",
        "Summary, intent and the source's words; that it is deprecated is said.",
        _description,
    ),
    made(
        "/tools/*/inputSchema/**",
        "mcp.tool.input.source",
        "Taken from the pinned OpenAPI description.",
        _from_source,
        when=lambda s: _taken(s) and s.pointer[3:] not in _CLOSING,
    ),
    fixed("/tools/*/inputSchema/type", "hardening.closed-input", "The root of every input is an object."),
    fixed(
        "/tools/*/inputSchema/additionalProperties",
        "hardening.closed-input",
        "Arguments that are not named are refused.",
    ),
    made("/tools/*/inputSchema/**", "mcp.tool.input", "As declared, its root closed.", _input),
    made(
        "/tools/*/outputSchema/**",
        "mcp.tool.output",
        "As declared, or what `answer.fields` leaves of it.",
        lambda s: _output(s, s.pointer[3:]),
    ),
    fixed("/tools/*/legacyOutputSchema/type", "mcp.tool.wrapped", "Older clients take only an object at the root."),
    fixed("/tools/*/legacyOutputSchema/required/*", "mcp.tool.wrapped", "The answer is the member `result`."),
    made(
        "/tools/*/legacyOutputSchema/$defs/**",
        "mcp.tool.wrapped-output",
        "The output schema, wrapped.",
        lambda s: _output(s, s.pointer[3:]),
    ),
    made(
        "/tools/*/legacyOutputSchema/properties/result/**",
        "mcp.tool.wrapped-output",
        "The output schema, wrapped.",
        lambda s: _output(s, s.pointer[5:]),
    ),
    made("/tools/*/annotations/title", "mcp.tool.title", "The title again.", _title),
    made(
        "/tools/*/annotations/readOnlyHint",
        "mcp.tool.hints",
        "Whether side effects are none or read.",
        lambda s: [s.places.at(_op(s), "sideEffects")],
    ),
    made(
        "/tools/*/annotations/destructiveHint",
        "mcp.tool.hints",
        "Whether side effects are destructive.",
        lambda s: [s.places.at(_op(s), "sideEffects")],
    ),
    made(
        "/tools/*/annotations/idempotentHint",
        "mcp.tool.hints.source",
        "Whether the method may be repeated.",
        _from_source,
        when=_taken,
    ),
    made(
        "/tools/*/annotations/idempotentHint",
        "mcp.tool.hints",
        "Whether the method may be repeated.",
        lambda s: [s.places.at(_op(s), "method")],
    ),
    fixed("/tools/*/annotations/openWorldHint", "mcp.tool.open-world", "Every tool speaks to a system outside."),
    made("/tools/*/sideEffects", "mcp.tool.effects", "As declared.", lambda s: [s.places.at(_op(s), "sideEffects")]),
    made(
        "/tools/*/approval",
        "mcp.tool.approval",
        "As declared, else as the classification says for the side effects.",
        _approval,
    ),
    made(
        "/tools/*/rate/calls",
        "mcp.tool.rate",
        "The operation's rate, else the default, times the environment's factor.",
        lambda s: rate(_op_rate(s), s),
    ),
    made(
        "/tools/*/rate/seconds",
        "mcp.tool.rate-span",
        "The span of the operation's rate, else of the default.",
        _op_rate,
    ),
    made(
        "/tools/*/rate/concurrency",
        "mcp.tool.concurrency",
        "As declared.",
        lambda s: [s.places.at(_op(s), "limits", "concurrency")],
    ),
    made(
        "/tools/*/request/**",
        "mcp.request.source",
        "Taken from the pinned OpenAPI description.",
        _from_source,
        when=lambda s: _taken(s) and s.pointer[-1] not in ("allowReserved", "base64"),
    ),
    made("/tools/*/request/method", "mcp.request", "As declared.", lambda s: [s.places.at(_op(s), "method")]),
    made("/tools/*/request/path", "mcp.request", "As declared.", lambda s: [s.places.at(_op(s), "path")]),
    made(
        "/tools/*/request/arguments",
        "mcp.request.arguments",
        "The input has no properties.",
        lambda s: [s.places.at(_op(s), "input")],
    ),
    fixed(
        "/tools/*/request/arguments/*/allowReserved", "mcp.request.reserved", "Reserved characters are always escaped."
    ),
    made(
        "/tools/*/request/arguments/*/*",
        "mcp.request.arguments",
        "As `parameters` says, else by the path's template and the method.",
        _placed,
    ),
    fixed("/tools/*/request/body/*", "mcp.request.body", "Arguments of the body are one JSON object."),
    fixed("/tools/*/request/**", "mcp.request.plain", "Nothing that a description could add is there."),
    fixed(
        "/tools/*/answer/mediaTypes/*",
        "mcp.answer.json",
        "Answers are JSON where no description says otherwise.",
        when=lambda s: not _taken(s),
    ),
    made(
        "/tools/*/answer/mediaTypes/*", "mcp.answer.source", "Taken from the pinned OpenAPI description.", _from_source
    ),
    made(
        "/tools/*/answer/check",
        "mcp.answer",
        "The operation's, else the contract's, else the platform's.",
        _answer("check"),
    ),
    made(
        "/tools/*/answer/maxBytes",
        "mcp.answer",
        "The operation's, else the contract's, else the platform's.",
        _answer("maxBytes"),
    ),
    made(
        "/tools/*/answer/maxCharacters",
        "mcp.answer",
        "The operation's, else the contract's, else the platform's.",
        _answer("maxCharacters"),
    ),
    made(
        "/tools/*/answer/whenTooLarge",
        "mcp.answer",
        "The operation's, else the contract's, else the platform's.",
        _answer("whenTooLarge"),
    ),
    made(
        "/tools/*/answer/fields/*",
        "mcp.answer.fields",
        "As declared, sorted.",
        lambda s: s.places.items(s.places.at(_op(s), "answer", "fields"), s.value),
    ),
    made(
        "/tools/*/answer/wrap", "mcp.answer.wrap", "Whether the answer's root is something else than an object.", _wraps
    ),
    made("/tools/*/examples/**", "mcp.examples", "As declared, else as the description gives them.", _example),
    made("/tools/*/answers/**", "mcp.answers", "Answers without a call that the description gives.", _from_source),
    made("/tools/*/digest", "mcp.tool.digest", "The digest of what agents see of the tool.", within=_seen_by_agents),
    made("/access", "mcp.access", "No grant gives anything.", lambda s: [s.places.tenant(_tenant(s), "grants")]),
    made(
        "/access/*/*",
        "mcp.access",
        "A grant names the tool, none denies it, and the role's permissions cover its side effects.",
        _granted,
    ),
    made("/consumers", "mcp.consumers", "There is no consumer.", lambda s: s.places.tenant_name(_tenant(s))),
    made("/consumers/*/clientId", "mcp.consumer.id", "Tenant and consumer.", lambda s: s.places.client_id(s.value)),
    made("/consumers/*/displayName", "mcp.consumer", "As declared.", _of_consumer("displayName")),
    made("/consumers/*/actors/**", "mcp.consumer.actors", "Kind and name, sorted.", _actor),
    made("/consumers/*/subscriptions/**", "mcp.subscription", "Each active subscription.", _subscription),
    made("/plans", "mcp.plans", "There is no plan.", lambda s: s.places.tenant_name(_tenant(s))),
    made(
        "/plans/*/rate/calls",
        "mcp.plan.rate",
        "Times the environment's factor.",
        lambda s: rate(list(_plan("rate")(s)), s),
    ),
    made("/plans/*/rate/seconds", "mcp.plan.rate-span", "The rate's span.", _plan("rate")),
    made("/plans/*/burst", "mcp.plan", "As declared.", _plan("burst")),
    made(
        "/plans/*/quotaCalls",
        "mcp.plan.quota",
        "Times the environment's factor.",
        lambda s: rate(list(_plan("quota", "calls")(s)), s),
    ),
    made("/plans/*/quotaPer", "mcp.plan", "As declared.", _plan("quota", "per")),
)


def _contracts(seen: Seen) -> Origins:
    node = seen.places.node(_tenant(seen))
    places = [seen.places.of(c, "status") for c in node.contracts if not c.exposed]
    places += [seen.places.at(o, key) for c in node.contracts for o in c.operations for key in ("agents", "protocols")]
    return [Cause(tuple(places))] if places else seen.places.tenant_name(_tenant(seen))


# Whom the development issuer signs in


def _username(seen: Seen) -> str:
    return str(seen.at(*seen.pointer[:2], "username"))


def _person(*loc: str) -> Any:
    return lambda seen: [seen.places.person(_username(seen), *loc)]


def _person_role(seen: Seen) -> Origins:
    person = seen.places.people[_username(seen)]
    if not person.roles:
        groups = seen.places.owner(person.tenant, "groups")
        return [groups]
    return [
        seen.places.memberships(person.tenant, person.username, role=seen.value),
        seen.places.given(person.tenant, person.username, seen.value),
    ]


def _client(seen: Seen) -> str:
    return str(seen.at(*seen.pointer[:2], "clientId"))


def _redirect(seen: Seen) -> Origins:
    found = seen.places.consumer(_client(seen))
    if found is None:
        listed = seen.places.platform("identity", "clients", _client(seen), "redirectUris")
    else:
        listed = seen.places.of(found[1], "redirectUris")
    return seen.places.items(listed, seen.value)


def _client_role(seen: Seen) -> Origins:
    found = seen.places.consumer(_client(seen))
    assert found is not None
    return seen.places.items(seen.places.of(found[1], "roles"), seen.value)


_DEVELOPMENT = (
    made("/people/*/username", "mcp.development.people", "Everyone by user name.", _person()),
    made(
        "/people/*/displayName",
        "mcp.development.people",
        "First and last name.",
        lambda s: [s.places.person(_username(s), "firstName"), s.places.person(_username(s), "lastName")],
    ),
    made("/people/*/email", "mcp.development.people", "As declared.", _person("email")),
    fixed(
        "/people/*/tenant",
        "mcp.development.platform",
        "The tenant claim of the platform's own people.",
        when=lambda s: s.value == PLATFORM_TENANT,
    ),
    made("/people/*/tenant", "mcp.development.people", "The tenant's name.", lambda s: s.places.tenant_name(s.value)),
    made("/people/*/roles/**", "mcp.development.roles", "What the person's groups give.", _person_role),
    made("/clients/*/clientId", "mcp.development.clients", "Every client.", lambda s: s.places.client_id(s.value)),
    made("/clients/*/redirectUris/**", "mcp.development.clients", "As declared, sorted.", _redirect),
    made(
        "/clients/*/tenant",
        "mcp.development.clients",
        "The consumer's tenant.",
        lambda s: s.places.tenant_name(s.value),
    ),
    fixed(
        "/clients/*/roles",
        "mcp.development.no-account",
        "The platform's clients have no account.",
        when=lambda s: s.places.consumer(_client(s)) is None,
    ),
    made("/clients/*/roles/**", "mcp.development.clients", "Roles of the consumer's own account.", _client_role),
)

# The manifest

_MANIFEST = (
    fixed("/apiVersion", "mcp.format", "The format's own name."),
    made("/platform", "mcp.platform.name", "The platform's name.", lambda s: [s.places.platform_name]),
    fixed("/environment", "bundle.environment", "The environment that the bundle is compiled for."),
    made("/development", "bundle.development", "As the environment says.", lambda s: [s.places.env("development")]),
    made(
        "/files/*/path",
        "mcp.manifest.catalog",
        "Called after the tenant.",
        lambda s: s.places.tenant_name(s.value.rpartition("/")[2].removesuffix(".json")),
        when=lambda s: s.value.startswith("mcp/tenants/"),
    ),
    fixed("/files/*/path", "mcp.manifest.path", "The path is the same in every bundle."),
    fixed("/files/*/mediaType", "bundle.media-type", "What the renderer writes."),
    made(
        "/files/*/sha256",
        "bundle.digest",
        "The digest of the file's bytes.",
        within=lambda s: [(str(s.near(1, "path")), ())],
    ),
    made("/files/*/bytes", "bundle.size", "The file's size.", within=lambda s: [(str(s.near(1, "path")), ())]),
)

TABLES = (
    Table(bundle.PLATFORM_INDEX, _INDEX),
    Table("mcp/tenants/*.json", _CATALOG),
    Table(bundle.DEVELOPMENT, _DEVELOPMENT),
    Table(bundle.RUNTIME_MANIFEST, _MANIFEST),
)
"""What is known of the target's artifacts."""
