"""Rules on schemas and examples: JSON Schema 2020-12 that is bounded, local and true of its examples."""

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import Graph, OperationNode
from stoa_compiler.source import Loc

NOT_A_SCHEMA = Rule(
    code="STOA441",
    title="not a JSON Schema",
    why="Arguments and answers are checked against it: a schema that is itself wrong checks nothing.",
    help="Correct the schema (JSON Schema 2020-12).",
)
REMOTE_REFERENCE = Rule(
    code="STOA442",
    title="the reference leaves the schema",
    why="Compiling touches no network, and another document could change without review.",
    help="Put what is meant below `$defs` and refer to `#/$defs/<name>`.",
)
UNBOUNDED_SCHEMA = Rule(
    code="STOA443",
    title="the schema is too large or too deep",
    why="Agents read each schema whole, and each call is checked against it.",
    help="Split the operation, or leave out what agents do not need.",
)
PATTERN = Rule(
    code="STOA444",
    title="the pattern cannot be matched in linear time",
    why="Look-around and back-references need a backtracking engine, which a hostile argument can stall.",
    help="Write the pattern without look-around and back-references (RE2 syntax).",
)
EXAMPLE = Rule(
    code="STOA445",
    title="the example does not fit the schema",
    why="Agents learn from examples and mock backends answer from them: a wrong one teaches what is refused.",
    help="Correct the example or the schema.",
)
EXAMPLE_OUTPUT = Rule(
    code="STOA446",
    title="example and output schema disagree",
    why="An answer without a schema is not checked, and a schema without an answer cannot be tried.",
    help="Give both `output` in the example and in the operation, or neither.",
)

RULES = (NOT_A_SCHEMA, REMOTE_REFERENCE, UNBOUNDED_SCHEMA, PATTERN, EXAMPLE, EXAMPLE_OUTPUT)

MAX_SCHEMA_NODES = 5_000
MAX_SCHEMA_DEPTH = 32
MAX_PATTERN = 500


def check(graph: Graph, report: Report) -> None:
    """Adds schemas that cannot be enforced, and examples that do not fit."""
    for tenant in graph.tenants:
        for contract in tenant.contracts:
            for operation in contract.operations:
                if operation.declared.from_ is None:
                    _operation(operation, report)
                else:
                    _examples(operation, report)


def _operation(operation: OperationNode, report: Report) -> None:
    before = report.errors
    for key, schema in (("input", operation.declared.input), ("output", operation.declared.output)):
        if schema is not None:
            _schema(operation, (*operation.origin.loc, key), schema, report)
    if report.errors == before:
        _examples(operation, report)


def _schema(operation: OperationNode, loc: Loc, schema: Mapping[str, Any], report: Report) -> None:
    span, before = operation.origin.document.span, report.errors
    for nodes, (at, node) in enumerate(_nodes(schema, loc), start=1):
        if len(at) - len(loc) > MAX_SCHEMA_DEPTH * 2 or nodes > MAX_SCHEMA_NODES:
            report.add(
                UNBOUNDED_SCHEMA, span(loc, "key"), f"`{loc[-1]}` of `{operation.name}` is too large or too deep"
            )
            return
        reference = node.get("$ref", node.get("$dynamicRef"))
        if isinstance(reference, str) and not reference.startswith("#"):
            report.add(REMOTE_REFERENCE, span((*at, "$ref")), f"`{reference[:80]}` is outside this schema")
        elif isinstance(reference, str) and not _resolves(schema, reference):
            report.add(NOT_A_SCHEMA, span((*at, "$ref")), f"`{reference[:80]}` leads nowhere in this schema")
        for keyword in ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$vocabulary"):
            if keyword in node and isinstance(node[keyword], str):
                report.add(REMOTE_REFERENCE, span((*at, keyword), "key"), f"`{keyword}` gives the schema another name")
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            problem = pattern_problem(pattern)
            if problem:
                report.add(PATTERN, span((*at, "pattern")), f"`{pattern[:80]}` {problem}")
    if report.errors > before:
        return
    for error in _META.iter_errors(schema):
        path = tuple(error.instance_path)
        report.add(
            NOT_A_SCHEMA, span((*loc, *path)), f"`{(*loc, *path)[-1]}` is not valid here: {_short(error.message)}"
        )
        return
    try:
        jsonschema_rs.Draft202012Validator(dict(schema))
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        report.add(NOT_A_SCHEMA, span(loc, "key"), f"the schema cannot be used: {_short(str(error))}")


_META = jsonschema_rs.Draft202012Validator({"$ref": "https://json-schema.org/draft/2020-12/schema"})
"""The meta-schema, which the library holds: nothing is fetched."""


def pattern_problem(pattern: str) -> str:
    """Why `pattern` is no pattern for a linear-time engine; empty where it is one."""
    if len(pattern) > MAX_PATTERN:
        return f"has more than {MAX_PATTERN} characters"
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
    except (ValueError, jsonschema_rs.ValidationError):
        return "needs a backtracking engine, or is not a regular expression"
    return ""


def _nodes(schema: Any, loc: Loc) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    """Every mapping below `schema` with its place, without recursion."""
    stack: list[tuple[Loc, Any]] = [(loc, schema)]
    while stack:
        at, node = stack.pop()
        if isinstance(node, Mapping):
            yield at, node
            stack.extend(((*at, k), v) for k, v in node.items() if k not in ("enum", "const", "default", "examples"))
        elif isinstance(node, list):
            stack.extend(((*at, i), v) for i, v in enumerate(node))


def _resolves(schema: Mapping[str, Any], reference: str) -> bool:
    node: Any = schema
    for step in reference[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        else:
            return False
    return reference == "#" or reference.startswith("#/")


def _examples(operation: OperationNode, report: Report) -> None:
    document, loc = operation.origin.document, operation.origin.loc
    if not operation.declared.examples:
        return
    options = jsonschema_rs.RegexOptions()
    takes = jsonschema_rs.Draft202012Validator(dict(operation.input_schema), pattern_options=options)
    gives = (
        jsonschema_rs.Draft202012Validator(dict(operation.output_schema), pattern_options=options)
        if operation.output_schema is not None
        else None
    )
    for index, example in enumerate(operation.declared.examples):
        at: Loc = (*loc, "examples", index)
        _fits(takes, example.input, operation, (*at, "input"), "input", report)
        has_output = "output" in example.model_fields_set
        if gives is not None and has_output:
            _fits(gives, example.output, operation, (*at, "output"), "output", report)
        elif has_output and gives is None:
            report.add(
                EXAMPLE_OUTPUT,
                document.span((*at, "output"), "key"),
                f"`{operation.name}` has no output schema, but the example has an output",
            )
        elif gives is not None:
            report.add(EXAMPLE_OUTPUT, document.span(at), f"the example of `{operation.name}` has no output")


def _fits(
    validator: jsonschema_rs.Draft202012Validator,
    value: Any,
    operation: OperationNode,
    loc: Loc,
    key: str,
    report: Report,
) -> None:
    document = operation.origin.document
    for error in validator.iter_errors(value):
        path = tuple(error.instance_path)
        pointer = "".join(f"/{p}" for p in path) or "/"
        taken = operation.declared.from_ is not None
        notes = [] if taken else [Note("the schema", document.span((*operation.origin.loc, key), "key"))]
        report.add(EXAMPLE, document.span((*loc, *path)), f"at `{pointer}`: {_short(error.message)}", notes)


def _short(message: str) -> str:
    return message.replace("\n", " ")[:200]
