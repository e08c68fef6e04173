"""Rules on schemas and examples: JSON Schema 2020-12 that is bounded, local and true of its examples."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import orjson

from stoa_compiler import fixes
from stoa_compiler.diagnostics import Note, Report, Rule, listed, nearest
from stoa_compiler.graph import Graph, OperationNode
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc, Part
from stoa_schemas import projection
from stoa_schemas.documents.contract import Example

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

UNKNOWN_KEYWORD = Rule(
    code="STOA447",
    title="not a keyword of JSON Schema",
    why="JSON Schema ignores what it does not know: a misspelt keyword is declared and never enforced.",
    help="Use a keyword of JSON Schema 2020-12; a note of your own begins with `x-`.",
)

RULES = (NOT_A_SCHEMA, REMOTE_REFERENCE, UNBOUNDED_SCHEMA, PATTERN, EXAMPLE, EXAMPLE_OUTPUT, UNKNOWN_KEYWORD)

MAX_SCHEMA_NODES = 5_000
MAX_SCHEMA_DEPTH = 32
MAX_PATTERN = 500
MAX_BRANCHES = 5_000
"""Subschemas that one value may be checked against, references followed."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BY_NAME = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
"""Keywords whose value is a mapping from names of the author's choosing to schemas."""
_LITERAL = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose value is data."""
_KEYWORDS = frozenset(
    """
    $anchor $comment $defs $dynamicAnchor $dynamicRef $id $ref $schema $vocabulary additionalProperties allOf anyOf
    const contains contentEncoding contentMediaType contentSchema default definitions dependentRequired
    dependentSchemas deprecated description else enum examples exclusiveMaximum exclusiveMinimum format if items
    maxContains maxItems maxLength maxProperties maximum minContains minItems minLength minProperties minimum
    multipleOf not oneOf pattern patternProperties prefixItems properties propertyNames readOnly required then title
    type unevaluatedItems unevaluatedProperties uniqueItems writeOnly
    """.split()  # noqa: SIM905
)
"""JSON Schema 2020-12, core to content."""
_HOLDS: Mapping[str, str] = {
    **dict.fromkeys(
        """$comment const default deprecated description enum examples exclusiveMaximum exclusiveMinimum format
        contentEncoding contentMediaType maxContains maxItems maxLength maxProperties maximum minContains minItems
        minLength minProperties minimum multipleOf readOnly required title type uniqueItems writeOnly""".split(),  # noqa: SIM905
        "data",
    ),
    **dict.fromkeys(
        """additionalProperties contains contentSchema else if items not propertyNames then unevaluatedItems
        unevaluatedProperties""".split(),  # noqa: SIM905
        "schema",
    ),
    **dict.fromkeys(("$defs", "definitions", "dependentSchemas", "properties"), "names"),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), "list"),
    "pattern": "pattern",
}
"""What a keyword's value is, of those that `is_plain` takes."""
_ONLY_DATA = frozenset(keyword for keyword, holds in _HOLDS.items() if holds == "data")
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_ELSEWHERE: Mapping[str, str] = {
    "nullable": '`nullable` is OpenAPI 3.0: list `"null"` among the types.',
    "example": "Write `examples:` with a list.",
    "discriminator": "`discriminator` is OpenAPI: let each branch of `oneOf` fix the property with `const`.",
    "optional": "A property is optional unless `required` names it.",
}
"""Keywords of related languages, and how JSON Schema says the same."""


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
    document, loc = operation.origin.document, operation.origin.loc
    sound = set()
    for key, schema in (("input", operation.declared.input), ("output", operation.declared.output)):
        before = report.errors
        if schema is not None:
            check_schema(document, (*loc, key), schema, report)
        if report.errors == before:
            sound.add(key)
    if sound:
        _examples(operation, report, sound)


def check_schema(document: Document, loc: Loc, schema: Mapping[str, Any], report: Report) -> None:
    """Adds every mistake of the author's own schema at `loc`."""
    # A schema has fewer nodes than a third of its document's bytes, and is no deeper than that can be.
    small = len(document.file.content) < 3 * MAX_SCHEMA_NODES
    if (small and is_ordinary(schema)) or is_plain(schema):
        return
    try:
        same = orjson.dumps(schema)
    except TypeError:
        same = b""
    if same in _SOUND:
        return
    mine = Report()
    if _check_parts(document, loc, schema, mine) and not mine.errors:
        try:
            jsonschema_rs.Draft202012Validator(dict(schema))
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            said = f"the schema cannot be used: {_short(str(error))}"
            mine.add(NOT_A_SCHEMA, document.span(loc, "key"), said)
    report.found.extend(mine.found)
    if same and not mine.found:
        if len(_SOUND) >= MAX_KNOWN:
            _SOUND.clear()
        _SOUND.add(same)


def is_ordinary(schema: Mapping[str, Any]) -> bool:
    """Whether a small schema has only the commonest keywords, each with a value that it can have: then it is plain.

    The library says so of a whole tree in a fifth of the time of `is_plain`.
    """
    return type(schema) is dict and _ordinary().is_valid(schema)


@cache
def _ordinary() -> jsonschema_rs.Draft202012Validator:
    node = {"$ref": "#/$defs/node"}
    count, number, text, some = (
        {"type": "integer", "minimum": 0},
        {"type": "number"},
        {"type": "string"},
        {"type": "array"},
    )
    keywords: dict[str, Any] = {
        **dict.fromkeys(("maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"), count),
        **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), number),
        **dict.fromkeys(("description", "format", "title"), text),
        **dict.fromkeys(("additionalProperties", "items"), node),
        **dict.fromkeys(("const", "default"), True),
        **dict.fromkeys(("enum", "examples"), some),
        "properties": {"type": "object", "additionalProperties": node},
        "required": {"type": "array", "items": text, "uniqueItems": True},
        "type": {"enum": list(_TYPES)},
        "uniqueItems": {"type": "boolean"},
    }
    tree = {"type": ["object", "boolean"], "properties": keywords, "additionalProperties": False}
    return jsonschema_rs.Draft202012Validator({"$defs": {"node": tree}, **node})


def is_plain(schema: Mapping[str, Any]) -> bool:
    """Whether one look is enough to know that there is no mistake: most schemas are small trees of few keywords.

    No means that it must be looked at closely. A tree without references has no more branches than nodes, and what
    fits the meta-schema can then be built.
    """
    if type(schema) is not dict:
        return False
    nodes, stack = 0, [(schema, 0)]
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if depth > MAX_SCHEMA_DEPTH * 2 or nodes > MAX_SCHEMA_NODES:
            return False
        if node.keys() <= _ONLY_DATA:  # So are most.
            continue
        for keyword, value in node.items():
            holds = _HOLDS.get(keyword)
            if holds == "data":
                continue
            if holds == "schema":
                if type(value) is dict:
                    stack.append((value, depth + 1))
            elif holds == "names":
                if type(value) is not dict:
                    return False
                stack.extend((v, depth + 2) for v in value.values() if type(v) is dict)
            elif holds == "list":
                if type(value) is not list:
                    return False
                stack.extend((v, depth + 2) for v in value if type(v) is dict)
            elif holds != "pattern" or not isinstance(value, str) or _known_problem(value):
                return False
    return jsonschema_rs.meta.is_valid(schema)


_SOUND: set[bytes] = set()
"""Schemas without a mistake, as JSON: contracts share many."""
MAX_KNOWN = 20_000


def _check_parts(document: Document, loc: Loc, schema: Mapping[str, Any], report: Report) -> bool:
    """Adds the mistakes of each subschema; whether there is anything left to look at."""
    span = document.span
    strange: set[Loc] = set()
    for nodes, (at, node) in enumerate(_nodes(schema, loc), start=1):
        if len(at) - len(loc) > MAX_SCHEMA_DEPTH * 2 or nodes > MAX_SCHEMA_NODES:
            said = f"`{loc[-1]}` of `{loc[-2]}` is too large or too deep"
            report.add(UNBOUNDED_SCHEMA, span(loc, "key"), said)
            return False
        strange |= {(*at, keyword) for keyword in _keywords(document, at, node, schema, report)}
    if schema.get("$schema", _DIALECT) != _DIALECT:
        return False  # Another draft has other keywords.
    for error in _mistakes(dict(schema)):
        at = (*loc, *error.instance_path)
        where, name = span(at), at[-1]
        if any(at[:length] in strange for length in range(len(loc), len(at) + 1)):
            continue
        if any(d.span == where for d in report.found):
            continue
        said, advice = f"`{name}` is not valid here: {_short(error.message)}", ""
        if name == "type" and isinstance(error.instance, str):
            close = nearest(error.instance, _TYPES)
            said = f"`{error.instance[:80]}` is no type of JSON Schema"
            advice = f"Did you mean `{close}`?" if close else f"Write {listed(_TYPES)}."
        report.add(NOT_A_SCHEMA, where, said, help=advice)
    known: dict[int, int | None] = {}
    for at, node in _nodes(schema, loc):
        branches = _branches(node, schema, known, 0)
        if branches is None:
            report.add(NOT_A_SCHEMA, span((*at, "$ref")), "the reference leads back to itself, and checks nothing")
            return False
        if branches > MAX_BRANCHES:
            said = f"one value is checked against more than {MAX_BRANCHES:,} subschemas here"
            report.add(UNBOUNDED_SCHEMA, span(at, "key"), said, help="Let fewer definitions refer to each other.")
            return False
    return True


_OTHER_NAMES = frozenset({"$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$vocabulary"})
"""Keywords of JSON Schema that give a schema a further name, which no author needs here."""


def _keywords(
    document: Document, at: Loc, node: Mapping[str, Any], schema: Mapping[str, Any], report: Report
) -> list[str]:
    """Adds what one subschema says that cannot be enforced; gives what is no keyword."""
    span, strange = document.span, []
    for keyword in node:
        if keyword in _KEYWORDS or keyword.startswith("x-"):
            continue
        strange.append(keyword)
        usable = sorted(_KEYWORDS - _OTHER_NAMES - node.keys())
        close = nearest(keyword, usable)
        advice = _ELSEWHERE.get(keyword) or (f"Did you mean `{close}`?" if close else "")
        said = f"`{keyword}` is not a keyword of JSON Schema"
        known = [] if keyword in _ELSEWHERE else usable
        fix = fixes.meant(document, (*at, keyword), known, in_key=True)
        report.add(UNKNOWN_KEYWORD, span((*at, keyword), "key"), said, help=advice, fix=fix)
    for keyword in ("$ref", "$dynamicRef"):
        reference = node.get(keyword)
        if not isinstance(reference, str):
            continue
        if not reference.startswith("#"):
            report.add(REMOTE_REFERENCE, span((*at, keyword)), f"`{reference[:80]}` is outside this schema")
        elif keyword == "$ref" and not _resolves(schema, reference):
            report.add(NOT_A_SCHEMA, span((*at, keyword)), f"`{reference[:80]}` leads nowhere in this schema")
    for keyword in sorted(_OTHER_NAMES & node.keys()):
        report.add(REMOTE_REFERENCE, span((*at, keyword), "key"), f"`{keyword}` gives the schema another name")
    if node.get("$schema", _DIALECT) != _DIALECT:
        said = "the schema is written for another draft than 2020-12"
        report.add(NOT_A_SCHEMA, span((*at, "$schema")), said, help=f"Write `$schema: {_DIALECT}`, or leave it out.")
    names = node.get("patternProperties")
    patterns: list[tuple[Loc, Part, Any]] = [((*at, "pattern"), "value", node.get("pattern"))]
    patterns += [((*at, "patternProperties", n), "key", n) for n in names] if isinstance(names, Mapping) else []
    for where, part, pattern in patterns:
        problem = pattern_problem(pattern) if isinstance(pattern, str) else ""
        if problem:
            report.add(PATTERN, span(where, part), f"`{str(pattern)[:80]}` {problem}")
    return strange


def _mistakes(schema: dict[str, Any]) -> Iterable[jsonschema_rs.ValidationError]:
    """Where the schema does not fit the meta-schema, which the library holds: nothing is fetched."""
    if jsonschema_rs.meta.is_valid(schema):
        return ()
    return _meta_schema().iter_errors(schema)


@cache
def _meta_schema() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": _DIALECT})


def _branches(node: Any, root: Mapping[str, Any], known: dict[int, int | None], depth: int) -> int | None:
    """Subschemas that a value here is checked against at the most; None where a reference leads to itself.

    References multiply: thirty definitions that each name the next one twice are a thousand million checks.
    """
    if not isinstance(node, Mapping):
        return 1
    if id(node) in known:
        return known[id(node)]
    if depth > MAX_SCHEMA_DEPTH * 2:
        return MAX_BRANCHES + 1
    known[id(node)] = None
    here: list[Any] = [node[k] for k in ("not", "if", "then", "else") if k in node]
    here += [s for k in ("allOf", "anyOf", "oneOf") if isinstance(node.get(k), list) for s in node[k]]
    here += node["dependentSchemas"].values() if isinstance(node.get("dependentSchemas"), Mapping) else ()
    here += [_target(root, node["$ref"])] if isinstance(node.get("$ref"), str) else []
    total = 1
    for sub in here:
        found = _branches(sub, root, known, depth + 1)
        if found is None:
            return None
        total = min(total + found, MAX_BRANCHES + 1)
    known[id(node)] = total
    return total


@lru_cache(maxsize=10_000)
def _known_problem(pattern: str) -> str:
    return pattern_problem(pattern)


def pattern_problem(pattern: str) -> str:
    """Why `pattern` is no pattern for a linear-time engine; empty where it is one."""
    if len(pattern) > MAX_PATTERN:
        return f"has more than {MAX_PATTERN} characters"
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
    except (ValueError, jsonschema_rs.ValidationError):
        return "is no pattern of a linear-time engine" if _backtracks(pattern) else "is not a regular expression"
    return ""


def _backtracks(pattern: str) -> bool:
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern})
    except (ValueError, jsonschema_rs.ValidationError):
        return False
    return True


def _nodes(schema: Any, loc: Loc) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    """Every subschema with its place, without recursion. A property may be called like a keyword.

    What lies below an unknown keyword is nobody's schema: the keyword itself is reported.
    """
    stack: list[tuple[Loc, Any]] = [(loc, schema)]
    while stack:
        at, node = stack.pop()
        if isinstance(node, list):
            stack.extend(((*at, i), v) for i, v in enumerate(node))
        elif isinstance(node, Mapping):
            yield at, node
            for keyword, value in node.items():
                if keyword in _BY_NAME and isinstance(value, Mapping):
                    stack.extend(((*at, keyword, n), v) for n, v in value.items())
                elif keyword in _KEYWORDS - _LITERAL and keyword != "dependentRequired":
                    stack.append(((*at, keyword), value))


def _resolves(schema: Mapping[str, Any], reference: str) -> bool:
    return (reference == "#" or reference.startswith("#/")) and _target(schema, reference) is not None


def _target(schema: Mapping[str, Any], reference: str) -> Any:
    """The subschema that a reference names; None where there is none, or data that only looks like one."""
    node: Any = schema
    by_name = False
    for step in unquote(reference[1:]).split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and step in node and (by_name or step in _KEYWORDS - _LITERAL):
            node, by_name = node[step], not by_name and step in _BY_NAME
        elif isinstance(node, list) and step.isascii() and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        else:
            return None
    return None if by_name or not isinstance(node, (Mapping, bool)) else node


def _examples(operation: OperationNode, report: Report, sound: Collection[str] = ("input", "output")) -> None:
    if not operation.declared.examples:
        return
    Shown(
        document=operation.origin.document,
        loc=operation.origin.loc,
        input=operation.input_schema if "input" in sound else None,
        output=operation.backend_schema,
        judges_output="output" in sound,
        passed=operation.output_schema,
        fields=operation.answer.fields or (),
        written=operation.declared.from_ is None,
    ).check(enumerate(operation.declared.examples), report)


@record(slots=False)
class Shown:
    """What one operation's examples must fit."""

    document: Document
    loc: Loc
    input: Mapping[str, Any] | None
    """None where nothing can be said of arguments."""
    output: Mapping[str, Any] | None
    """Of the backend's answer; None where none is declared."""
    judges_output: bool
    """False where nothing can be said of answers."""
    passed: Mapping[str, Any] | None = None
    """Of what `fields` leave of the answer."""
    fields: Sequence[str] = ()
    written: bool = True
    """Whether the schemas stand in the contract."""

    def check(self, examples: Iterable[tuple[int, Example]], report: Report) -> None:
        """Adds what does not fit, by the examples' indexes."""
        options, name, span = jsonschema_rs.RegexOptions(), self.loc[-1], self.document.span
        takes, gives, passes = (
            None if schema is None else jsonschema_rs.Draft202012Validator(dict(schema), pattern_options=options)
            for schema in (self.input, *((self.output, self.passed) if self.judges_output else (None, None)))
        )
        for index, example in examples:
            at: Loc = (*self.loc, "examples", index)
            has_output = "output" in example.model_fields_set
            if takes is not None:
                self._fits(takes, example.input, (*at, "input"), report)
            if not self.judges_output:
                continue
            if gives is not None and has_output:
                before = len(report.found)
                self._fits(gives, example.output, (*at, "output"), report)
                if passes is not None and self.fields and len(report.found) == before:
                    projected = projection.project(example.output, projection.tree(self.fields))
                    self._fits(passes, projected, (*at, "output"), report)
            elif has_output:
                said = f"`{name}` has no output schema, but the example has an output"
                report.add(EXAMPLE_OUTPUT, span((*at, "output"), "key"), said)
            elif gives is not None:
                report.add(EXAMPLE_OUTPUT, span(at), f"the example of `{name}` has no output")

    def _fits(self, validator: jsonschema_rs.Draft202012Validator, value: Any, loc: Loc, report: Report) -> None:
        span = self.document.span
        for error in validator.iter_errors(value):
            path: Loc = tuple(error.instance_path)
            within = f" at `{''.join(f'/{p}' for p in path)}`" if path else ""
            notes = [Note("the schema", span((*self.loc, loc[-1]), "key"))] if self.written else []
            where, details = span((*loc, *path)), error.kind.as_dict()
            match error.kind.name:
                case "additionalProperties":
                    unexpected = [str(n) for n in details["unexpected"]]
                    where = span((*loc, *path, unexpected[0]), "key")
                    said = f"the schema does not name {listed(unexpected)}{within}"
                case "required":
                    said = f"the example has no `{str(details['property'])[:80]}`{within}"
                case _:
                    said = f"the example does not fit{within}: {_short(error.message)}"
            report.add(EXAMPLE, where, said, notes)


def _short(message: str) -> str:
    return message.replace("\n", " ")[:200]
