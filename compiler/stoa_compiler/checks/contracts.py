"""Rules on contracts and operations: what the classification demands, side effects, limits, routes."""

import re
from collections.abc import Callable, Mapping, Sequence

from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import ContractNode, Graph, OperationNode, TenantNode
from stoa_compiler.source import Document, Loc, Span
from stoa_schemas.base import calls_per_second
from stoa_schemas.documents.access import SideEffects
from stoa_schemas.documents.platform import Classification, Policy

DEMANDED = Rule(
    code="STOA431",
    title="the classification demands more",
    why="A contract of this criticality is only as safe as the policies that it really fulfils.",
    help="Fulfil the policy, or classify the contract otherwise.",
)
SIDE_EFFECTS = Rule(
    code="STOA432",
    title="side effects and method disagree",
    why="GET and HEAD are safe methods (RFC 9110, 9.2.1): proxies and clients repeat them freely. DELETE destroys.",
    help="Declare what the call really does, or use the method that says so.",
)
APPROVAL_WEAKENED = Rule(
    code="STOA433",
    title="the approval that the classification demands is switched off",
    why="The platform decides which side effects need a second person; a contract can only ask for more.",
    help="Remove `approval: false`.",
)
OVER_LIMIT = Rule(
    code="STOA434",
    title="the limit is above its cap",
    why="The classification and the tier bound what one operation may take.",
    help="Lower the rate.",
)
SAME_ROUTE = Rule(
    code="STOA435",
    title="two operations are one route",
    why="Both send the same method to the same path, so access to one is access to the other.",
    help="Keep one of them, or correct method or path.",
)
NO_BACKEND = Rule(
    code="STOA436",
    title="no backend for an environment",
    why="The tenant is rendered there, and the contract's tools would lead nowhere.",
    help="Add the environment to `backend.urls`, or take it out of the tenant's `environments`.",
)
UNUSED_BACKEND = Rule(
    code="STOA437",
    title="a backend for an environment where the tenant is not",
    why="What is declared would have no effect.",
    help="Remove the URL, or add the environment to the tenant.",
    severity="warning",
)
EMPTY_PROTOCOLS = Rule(
    code="STOA438",
    title="exposed nowhere",
    why="An operation on no protocol changes nothing.",
    help="Name a protocol, or remove the operation.",
)

UNAPPROVED = Rule(
    code="STOA603",
    title="a destructive tool without approval",
    why="What cannot be undone needs a second person.",
    help="Let the classification's `approval` hold `destructive`, or the operation ask for it.",
)

RULES = (
    DEMANDED,
    SIDE_EFFECTS,
    APPROVAL_WEAKENED,
    OVER_LIMIT,
    SAME_ROUTE,
    NO_BACKEND,
    UNUSED_BACKEND,
    EMPTY_PROTOCOLS,
    UNAPPROVED,
)

_TEMPLATE = re.compile(r"\{[^{}]*\}")


def check(graph: Graph, report: Report) -> None:
    """Adds what contracts declare against their class, or cannot mean."""
    for tenant in graph.tenants:
        for contract in tenant.contracts:
            demanded = graph.platform.spec.classifications.get(contract.declared.spec.classification)
            if demanded is not None:
                _demands(graph, contract, demanded, report)
            _environments(graph, tenant, contract, report)
            _routes(contract, report)
            for operation in contract.operations:
                document, loc, declared = operation.origin.document, operation.origin.loc, operation.declared
                check_side_effects(document, loc, declared.side_effects, operation.request.method, report)
                check_protocols(document, loc, declared.protocols, report)
                is_tool = contract.exposed and operation.exposed
                # Where the class demands it, what the operation says against that is found by itself.
                asks_nobody = demanded is not None and "destructive" not in demanded.approval and not operation.approval
                if is_tool and declared.side_effects == "destructive" and asks_nobody:
                    said = f"`{operation.tool_id}` is destructive and needs nobody's approval"
                    report.add(UNAPPROVED, document.span(loc, "key"), said)
                if demanded is not None:
                    _limits(graph, contract, operation, demanded, report)


_FULFILLED: Mapping[Policy, tuple[str, Callable[[ContractNode], bool]]] = {
    "backend-auth": ("the backend has no `auth`", lambda c: c.declared.spec.backend.auth is not None),
    "circuit-breaker": (
        "the backend has no `circuitBreaker`",
        lambda c: all(b.breaker is not None for b in c.backends.values()),
    ),
    "timeouts": ("the backend declares no `timeouts`", lambda c: c.declared.spec.backend.timeouts is not None),
    "tls-backend": (
        "a backend is not https",
        lambda c: all(b.url.startswith("https://") for e, b in c.backends.items() if e != "dev"),
    ),
}
"""Policies on a contract as a whole."""

_FULFILLED_BY_OPERATION: Mapping[Policy, tuple[str, Callable[[OperationNode], bool]]] = {
    "enforced-answers": ("its answers are only reported", lambda o: o.answer.check == "enforce"),
    "examples": ("it has no example", lambda o: bool(o.examples)),
    "intent": ("it has no `intent`", lambda o: o.declared.intent is not None),
    "operation-limits": ("it has no `limits`", lambda o: o.declared.limits is not None),
    "output-schema": ("it has no output schema", lambda o: o.output_schema is not None),
}
"""Policies on each operation."""


def _demands(graph: Graph, contract: ContractNode, demanded: Classification, report: Report) -> None:
    name = contract.declared.spec.classification
    document = contract.origin.document

    def note(policy: Policy) -> list[Note]:
        where = graph.origin.document.span(("spec", "classifications", name, "demands"), "key")
        return [Note(f"`{name}` demands `{policy}`", where)]

    for policy in demanded.demands:
        if policy in _FULFILLED:
            problem, fulfilled = _FULFILLED[policy]
            if not fulfilled(contract):
                at = document.span(("spec", "backend"), "key")
                report.add(DEMANDED, at, f"`{name}` demands `{policy}`, but {problem}", note(policy))
        else:
            problem, fulfils = _FULFILLED_BY_OPERATION[policy]
            for operation in contract.operations:
                if operation.exposed and not fulfils(operation):
                    at = document.span(operation.origin.loc, "key")
                    report.add(
                        DEMANDED, at, f"`{name}` demands `{policy}` of `{operation.name}`, but {problem}", note(policy)
                    )


def check_side_effects(document: Document, loc: Loc, declared: SideEffects, method: str, report: Report) -> None:
    """Adds where the side effects of the operation at `loc` are not those of its method."""
    name = loc[-1]

    def at() -> Span:
        return document.span((*loc, "sideEffects"))

    if method in ("GET", "HEAD", "OPTIONS") and declared in ("write", "destructive"):
        report.add(SIDE_EFFECTS, at(), f"`{name}` is `{declared}`, but {method} is a safe method")
    elif method == "DELETE" and declared != "destructive":
        report.add(SIDE_EFFECTS, at(), f"`{name}` is `{declared}`, but DELETE destroys")
    elif method in ("PUT", "PATCH") and declared in ("none", "read"):
        report.add(SIDE_EFFECTS, at(), f"`{name}` is `{declared}`, but {method} changes its target")


def check_protocols(document: Document, loc: Loc, protocols: Sequence[str], report: Report) -> None:
    """Adds where the operation at `loc` is exposed nowhere."""
    if not protocols:
        report.add(EMPTY_PROTOCOLS, document.span((*loc, "protocols")), f"`{loc[-1]}` is exposed nowhere")


def _limits(
    graph: Graph, contract: ContractNode, operation: OperationNode, demanded: Classification, report: Report
) -> None:
    name, document, loc = contract.declared.spec.classification, operation.origin.document, operation.origin.loc
    platform = graph.origin.document
    if operation.declared.approval is False and operation.declared.side_effects in demanded.approval:
        where = platform.span(("spec", "classifications", name, "approval"), "key")
        report.add(
            APPROVAL_WEAKENED,
            document.span((*loc, "approval")),
            f"`{operation.name}` is `{operation.declared.side_effects}` and asks for no approval, but `{name}` does",
            [Note(f"`{name}` demands approval for these side effects", where)],
        )
    own = operation.declared.limits is not None
    if not own and "operation-limits" in demanded.demands:
        return  # That there are none is said already.
    if calls_per_second(operation.rate) > calls_per_second(demanded.max_rate):
        at = document.span((*loc, "limits", "rate")) if own else document.span(loc, "key")
        said = f"`{operation.rate}`" if own else f"the platform's default `{operation.rate}`"
        where = platform.span(("spec", "classifications", name, "maxRate"))
        advice = "Lower the rate." if own else "Give the operation `limits` with a lower rate."
        note = [Note(f"the cap of `{name}`", where)]
        report.add(OVER_LIMIT, at, f"{said} is more than `{demanded.max_rate}`", note, advice)


def _environments(graph: Graph, tenant: TenantNode, contract: ContractNode, report: Report) -> None:
    document = contract.origin.document
    for environment in tenant.declared.spec.environments:
        if environment not in contract.backends and environment in graph.platform.spec.environments:
            at = document.span(("spec", "backend", "urls"), "key")
            report.add(NO_BACKEND, at, f"`{contract.name}` has no backend for `{environment}`")
    for unused in contract.backends.keys() - set(tenant.declared.spec.environments):
        at = document.span(("spec", "backend", "urls", unused), "key")
        report.add(UNUSED_BACKEND, at, f"`{tenant.name}` is not rendered in `{unused}`")


def _routes(contract: ContractNode, report: Report) -> None:
    seen: dict[tuple[str, str], OperationNode] = {}
    for operation in contract.operations:
        route = (operation.request.method, _TEMPLATE.sub("{}", operation.request.path))
        first = seen.setdefault(route, operation)
        if first is not operation:
            report.add(
                SAME_ROUTE,
                operation.origin.document.span(operation.origin.loc, "key"),
                f"`{operation.name}` is {route[0]} `{operation.request.path}`, like `{first.name}`",
                [Note(f"`{first.name}` is declared here", first.origin.document.span(first.origin.loc, "key"))],
            )
