"""Rules on what agents' clients take: names, schemas, and how much of a model's context tools fill."""

from typing import Any

from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import Graph, OperationNode, TenantNode
from stoa_compiler.portability import Effect, concerns, name_budget
from stoa_compiler.source import Loc
from stoa_compiler.tokens import weight

NAME = Rule(
    code="STOA501",
    title="a client cuts or refuses the tool's name",
    why="Clients put the server's name before the tool's, and the API behind them takes 64 characters for both: a "
    "longer name is cut, or the whole list of tools is refused.",
    help="Shorten the name of the operation or the contract.",
    severity="warning",
)
REFUSED = Rule(
    code="STOA502",
    title="a client refuses the tool",
    why="The API behind the client takes less than JSON Schema. One tool that it refuses often costs a session all "
    "of its tools.",
    help="Write the schema in the words that the client takes, or take the client off `agents.clients`.",
    severity="warning",
)
LOST = Rule(
    code="STOA503",
    title="a client loses part of the schema",
    why="The client leaves out what its API does not know: the model does not see it, and calls may be refused that "
    "it thinks are right.",
    help="Say the same in the description, or write the schema in the words that the client takes.",
    severity="warning",
)
HEAVY_TOOL = Rule(
    code="STOA504",
    title="the tool takes much of a model's context",
    why="Each tool that a client lists is read by its model in every turn, whether it is called or not.",
    help="Let the input hold what agents need, shorten descriptions, or raise `agents.toolTokens`.",
    severity="warning",
)
HEAVY_CATALOG = Rule(
    code="STOA505",
    title="the catalog takes much of a model's context",
    why="What tools take is missing for the task, and models choose worse among many.",
    help="Choose fewer operations, keep some off agents with `agents: false`, or raise `agents.catalogTokens`.",
    severity="warning",
)

RULES = (NAME, REFUSED, LOST, HEAVY_TOOL, HEAVY_CATALOG)

_BY_EFFECT: dict[Effect, Rule] = {"refused": REFUSED, "lost": LOST}


def check(graph: Graph, report: Report) -> None:
    """Adds what the platform's `agents` does not allow."""
    for tenant in graph.tenants:
        weights = [(operation, weight(operation)) for operation in tenant.operations]
        for operation, tokens in weights:
            _tool(graph, operation, tokens, report)
        _catalog(graph, tenant, weights, report)


def _tool(graph: Graph, operation: OperationNode, tokens: int, report: Report) -> None:
    agents, document, loc = graph.platform.spec.agents, operation.origin.document, operation.origin.loc
    long = [c for c in agents.clients if len(operation.wire_name) > name_budget(c, graph.name)]
    if long:
        budget = min(name_budget(c, graph.name) for c in long)
        length = len(operation.wire_name)
        said = f"`{operation.wire_name}` has {length} characters; {budget} are left beside `{graph.name}`"
        report.add(NAME, document.span(loc, "key"), said, _notes(graph, "clients"))
    for concern in concerns(operation.input_schema, agents.clients):
        rule = _BY_EFFECT[concern.effect]
        does = "refuses" if concern.effect == "refused" else "loses"
        said = f"{concern.client} {does} of `{operation.name}`: {concern.message}"
        at = loc if operation.declared.from_ is not None else _written(operation, concern.place)
        report.add(rule, document.span(at, "key"), said, _notes(graph, "clients"))
    if tokens > agents.tool_tokens:
        said = f"`{operation.name}` takes about {tokens:,} tokens; the budget is {agents.tool_tokens:,}"
        report.add(HEAVY_TOOL, document.span(loc, "key"), said, _notes(graph, "toolTokens"))


def _written(operation: OperationNode, place: str) -> Loc:
    """Where the author wrote what lies at `place` of the input; the operation where nothing is written there."""
    loc: Loc = (*operation.origin.loc, "input")
    node: Any = operation.declared.input
    if node is None:
        return operation.origin.loc
    for step in place.split("/")[1:]:
        key: str | int = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and step.isdigit():
            key = int(step)
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            break
        loc = (*loc, key)
    return loc


def _catalog(graph: Graph, tenant: TenantNode, weights: list[tuple[OperationNode, int]], report: Report) -> None:
    total, budget = sum(tokens for _, tokens in weights), graph.platform.spec.agents.catalog_tokens
    if total <= budget:
        return
    heaviest = sorted(weights, key=lambda w: (-w[1], w[0].wire_name))[:3]
    shown = ", ".join(f"`{operation.wire_name}` {tokens:,}" for operation, tokens in heaviest)
    said = f"the {len(weights)} tools of `{tenant.name}` take about {total:,} tokens; the budget is {budget:,}"
    notes = [Note(f"the heaviest: {shown}"), *_notes(graph, "catalogTokens")]
    report.add(HEAVY_CATALOG, tenant.origin.document.span(("metadata", "name")), said, notes)


def _notes(graph: Graph, key: str) -> list[Note]:
    """Where the platform asks for it; nothing where it is the default."""
    loc = ("spec", "agents", key)
    declared = graph.platform.spec.agents.model_fields_set
    named = {"clients": "clients", "toolTokens": "tool_tokens", "catalogTokens": "catalog_tokens"}[key]
    return [Note("asked for here", graph.origin.document.span(loc, "key"))] if named in declared else []
