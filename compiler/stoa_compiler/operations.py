"""Operations: from what a contract declares, or takes from its OpenAPI source, to what a tool needs."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import unquote

from stoa_compiler import openapi, projections
from stoa_compiler.checks import schemas
from stoa_compiler.diagnostics import Note, Report, Rule, listed, nearest
from stoa_compiler.graph import OperationNode, Origin
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc, Span
from stoa_schemas import calls, names
from stoa_schemas.documents import Platform, UniversalAPIContract
from stoa_schemas.documents.contract import AnswerRule, Operation

EITHER_OR = Rule(
    code="STOA311",
    title="an operation says how it is called once",
    why="`method` and `path` say it here; `from` takes it from the contract's OpenAPI source. Both could disagree, "
    "and neither says nothing.",
    help="Give `method` and `path`, or `from`.",
)
NO_SOURCE_DECLARED = Rule(
    code="STOA312",
    title="`from` without a source",
    why="`from` names an operation of the OpenAPI description that `spec.source` pins.",
    help="Declare `spec.source`, or give `method` and `path`.",
)
UNKNOWN_SOURCE_OPERATION = Rule(
    code="STOA313",
    title="the source has no such operation",
    why="The operation would have no method, path or schemas.",
    help="Use an `operationId` of the source.",
)
UNSUPPORTED_SOURCE_OPERATION = Rule(
    code="STOA314",
    title="the source's operation cannot become a tool",
    why="Part of it has no form that an agent can fill in or the runtime can send.",
    help="Leave the operation out, or change the description.",
)
TAKEN_FROM_SOURCE = Rule(
    code="STOA315",
    title="the key is taken from the source",
    why="With `from`, method, path, schemas and the place of each argument come from the pinned OpenAPI description.",
    help="Remove the key, or write the operation out without `from`.",
)
PATH_TEMPLATE = Rule(
    code="STOA316",
    title="path and arguments disagree",
    why="Each `{name}` of the path is filled by one required argument, and each argument has one place in the request.",
    help="Let every `{name}` have a required property of that name in `input`, or place it with `parameters`.",
)
CLOSED_ROOT = Rule(
    code="STOA317",
    title="the root of `input` is not a plain object",
    why="Clients send arguments by name, and some refuse a union or a reference at the root. Unknown arguments are "
    "refused, so the root is closed.",
    help="Let the root be `type: object` with `properties` and `required`; put unions and references below a property.",
)
WIRE_NAME = Rule(
    code="STOA318",
    title="the tool's name is too long",
    why=f"MCP clients see `tenant_contract_operation`, and take at most {names.WIRE_NAME_LIMIT} characters.",
    help="Shorten the name of the operation or the contract.",
)
UNKNOWN_ARGUMENT = Rule(
    code="STOA319",
    title="an argument is named that `input` does not have",
    why="Unknown arguments are refused, so nothing could ever fill it; one that is required would refuse every call.",
    help="Declare the property in `input`, or remove the entry.",
)
PLACE = Rule(
    code="STOA320",
    title="the argument cannot go there",
    why="Each place of a request is filled once, and none by which an argument could end a header, frame the message "
    "or speak in the runtime's name.",
    help="Place the argument elsewhere with `parameters`.",
)
UNKNOWN_FIELD = Rule(
    code="STOA321",
    title="the answer has no such member",
    why="`answer.fields` names what is passed on. A path that the output schema does not have would pass on nothing.",
    help="Name a member of `output`.",
)
MIXED_FIELD = Rule(
    code="STOA322",
    title="the member cannot be picked",
    why="The schema must tell what is passed on: where a value may be of another kind, nothing of it could be.",
    help="Pick the parent whole, or say in the schema what it is.",
)
COVERED_FIELD = Rule(
    code="STOA323",
    title="two paths pass on the same",
    why="A path within another one changes nothing, so one of them says what is not meant.",
    help="Remove one of them.",
)

RULES = (
    EITHER_OR,
    NO_SOURCE_DECLARED,
    UNKNOWN_SOURCE_OPERATION,
    UNSUPPORTED_SOURCE_OPERATION,
    TAKEN_FROM_SOURCE,
    PATH_TEMPLATE,
    CLOSED_ROOT,
    WIRE_NAME,
    UNKNOWN_ARGUMENT,
    PLACE,
    UNKNOWN_FIELD,
    MIXED_FIELD,
    COVERED_FIELD,
)
_OF_FIELDS = {"unknown": UNKNOWN_FIELD, "mixed": MIXED_FIELD, "covered": COVERED_FIELD}

_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name: a token (RFC 9110, 5.6.2)."""
_ROOT_KEYWORDS = frozenset(
    {
        "$comment",
        "$defs",
        "$schema",
        "additionalProperties",
        "dependentRequired",
        "description",
        "examples",
        "maxProperties",
        "minProperties",
        "properties",
        "required",
        "title",
        "type",
    }
)
_Style = Literal["simple", "label", "matrix", "form", "spaceDelimited", "pipeDelimited", "deepObject"]
_QUERY_METHODS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


@record(slots=False)
class Lowering:
    """What the operations of one contract share."""

    tenant: str
    contract: UniversalAPIContract
    document: Document
    platform: Platform
    description: openapi.Description | None
    """The contract's OpenAPI source; None where it has none, or a broken one that was reported."""
    report: Report

    def lower(self, name: str, operation: Operation) -> OperationNode | None:
        """The operation with everything that a tool needs; None where a finding says why not."""
        before = self.report.errors
        loc: Loc = ("spec", "operations", name)
        written = Written(self.document, self.report)
        wire = written.wire_name(loc, self.tenant, self.contract.metadata.name)
        taken = self._from_source(loc, operation) if operation.from_ is not None else written.taken(loc, operation)
        if taken is None or wire is None or self.report.errors > before:
            return None
        picks = operation.answer is not None and operation.answer.fields is not None
        if picks and operation.output is not None:  # Of a schema that is wrong, nothing can be picked.
            schemas.check_schema(self.document, (*loc, "output"), operation.output, self.report)
            if self.report.errors > before:
                return None
        output_schema = written.projected(loc, operation, taken.output_schema)
        if self.report.errors > before:
            return None
        spec, defaults = self.contract.spec, self.platform.spec.defaults
        classification = spec.classification
        demanded = self.platform.spec.classifications.get(classification)
        approval = operation.approval
        if approval is None:
            approval = demanded is not None and operation.side_effects in demanded.approval
        fields = operation.answer.fields if operation.answer else None
        title, description = self._words(operation, taken)
        declared = tuple(
            _example(e.name, e.input, e.output, "output" in e.model_fields_set) for e in operation.examples
        )
        examples = declared or taken.examples
        return OperationNode(
            name=name,
            tool_id=names.tool_id(self.tenant, self.contract.metadata.name, name),
            wire_name=wire,
            title=title,
            description=description,
            declared=operation,
            request=taken.request,
            input_schema=taken.input_schema,
            output_schema=output_schema,
            backend_schema=taken.output_schema,
            answer=_answer(
                (defaults.answer, spec.answer, operation.answer), taken.media_types, output_schema, sorted(fields or ())
            ),
            approval=approval,
            rate=operation.limits.rate if operation.limits else defaults.operation_rate,
            concurrency=operation.limits.concurrency if operation.limits else None,
            origin=Origin(self.document, loc),
            examples=examples,
            answers=() if any("output" in e.model_fields_set for e in examples) else taken.answers[:1],
        )

    def _words(self, operation: Operation, taken: "_Taken") -> tuple[str, str]:
        """Title and description: what the author wrote, else what the source says."""
        title = operation.summary or taken.title
        parts = [operation.summary] if operation.summary else []
        parts += [operation.intent.strip()] if operation.intent else []
        parts += [taken.description] if taken.description else []
        if self.contract.spec.status == "deprecated" or taken.deprecated:
            parts.append("Deprecated: use another tool where there is one.")
        return title, "\n\n".join(parts or [title])

    def _from_source(self, loc: Loc, operation: Operation) -> "_Taken | None":
        """The operation as the contract's OpenAPI source describes it."""
        span = self.document.span
        assert operation.from_ is not None
        Written(self.document, self.report).beside_from(loc, operation.model_fields_set)
        if self.contract.spec.source is None:
            self.report.add(NO_SOURCE_DECLARED, span((*loc, "from")), f"`from: {operation.from_}` has no source")
            return None
        if self.description is None:
            return None
        converted = openapi.convert(self.description, operation.from_, self.contract.spec.source.binary)
        if isinstance(converted, openapi.Problem):
            known = list(self.description.operations)
            if operation.from_ not in known:
                close = nearest(operation.from_, known)
                self.report.add(
                    UNKNOWN_SOURCE_OPERATION,
                    span((*loc, "from")),
                    f"`{self.contract.spec.source.file}` has no operation `{operation.from_}`",
                    help=f"Did you mean `{close}`?" if close else "",
                )
            else:
                self.report.add(
                    UNSUPPORTED_SOURCE_OPERATION,
                    span((*loc, "from")),
                    f"`{operation.from_}`: {converted.message}",
                    notes=[Note(f"at `{converted.pointer}` of `{self.contract.spec.source.file}`")],
                )
            return None
        return _Taken(
            request=converted.request,
            input_schema=converted.input_schema,
            output_schema=converted.output_schema,
            media_types=tuple(converted.media_types) or ("application/json",),
            title=converted.title,
            description=converted.description,
            deprecated=converted.deprecated,
            examples=tuple(_example(e.name, e.input, e.output, e.answered) for e in converted.examples),
            answers=converted.answers,
        )


@record(slots=False)
class Written:
    """What a contract writes out of one operation, judged by the operation's own text."""

    document: Document
    report: Report

    def wire_name(self, loc: Loc, tenant: str, contract: str) -> str | None:
        """The name that MCP clients see; None where it is too long."""
        wire = names.wire_name(tenant, contract, str(loc[-1]))
        if wire is None:
            full = f"{tenant}_{contract}_{loc[-1]}"
            self.report.add(WIRE_NAME, self.document.span(loc, "key"), f"`{full}` has {len(full)} characters")
        return wire

    def projected(
        self, loc: Loc, operation: Operation, output_schema: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """The schema of what is passed on: the backend's, or what `answer.fields` leaves of it."""
        fields = operation.answer.fields if operation.answer else None
        if fields is None:
            return output_schema
        span, at = self.document.span, (*loc, "answer", "fields")
        if output_schema is None:
            said = f"`{loc[-1]}` has no output schema to pick members of"
            self.report.add(UNKNOWN_FIELD, span(at, "key"), said, help="Declare `output`.")
            return None
        found = projections.prune(output_schema, fields)
        if isinstance(found, dict):
            return found
        declared = [] if operation.from_ is not None else [Note("the schema", span((*loc, "output"), "key"))]
        for problem in found:
            rule = _OF_FIELDS[problem.kind]
            notes = [] if problem.kind == "covered" else declared
            self.report.add(rule, span((*at, problem.index)), problem.message, notes, problem.help)
        return None

    def beside_from(self, loc: Loc, given: Collection[str]) -> None:
        """Reports what the source says, and the contract says too."""
        for key in ("method", "path", "input", "output", "parameters"):
            if key in given:
                at = self.document.span((*loc, key), "key")
                self.report.add(TAKEN_FROM_SOURCE, at, f"`{key}` stands beside `from`")

    def taken(self, loc: Loc, operation: Operation) -> "_Taken | None":
        """The operation as the contract writes it out."""
        span = self.document.span
        if operation.method is None or operation.path is None:
            missing = "path" if operation.path is None else "method"
            both = operation.method is None and operation.path is None
            said = "neither `method` and `path` nor `from`" if both else f"no `{missing}`"
            self.report.add(EITHER_OR, span(loc, "key"), f"the operation `{loc[-1]}` has {said}")
            return None
        schema = self.arguments(loc, operation.input, list(operation.parameters))
        if schema is None:
            return None
        properties: Mapping[str, Any] = schema.get("properties", {})
        required: list[str] = schema.get("required", [])
        placements = {a: self._placement(a, operation) for a in properties}
        self._check_places(loc, operation, placements)
        self._check_path(loc, operation, placements, required)
        body = [a for a, p in placements.items() if p.in_ == "body"]
        request = calls.Request(
            method=operation.method,
            path=operation.path,
            arguments=placements,
            body=calls.Body(media_type="application/json", required=True) if body else None,
        )
        return _Taken(
            request=request,
            input_schema=schema,
            output_schema=operation.output,
            media_types=("application/json",),
            title=f"{operation.method} {operation.path}",
            description="",
            deprecated=False,
            examples=(),
            answers=(),
        )

    def arguments(self, loc: Loc, declared: Mapping[str, Any] | None, placed: Sequence[str]) -> dict[str, Any] | None:
        """The input schema with its root closed, and every argument that is named there; None where it has no root."""
        schema, span = self._closed_root(loc, declared), self.document.span
        if schema is None:
            return None
        properties: Mapping[str, Any] = schema.get("properties", {})
        for argument in placed:
            if argument not in properties:
                self._unknown_argument(argument, span((*loc, "parameters", argument), "key"), properties)
        for index, argument in enumerate(schema.get("required", [])):
            if argument not in properties:
                self._unknown_argument(argument, span((*loc, "input", "required", index)), properties)
        return schema

    def _unknown_argument(self, argument: str, at: Span, properties: Mapping[str, Any]) -> None:
        close = nearest(argument, list(properties))
        advice = f"Did you mean `{close}`?" if close else ""
        self.report.add(UNKNOWN_ARGUMENT, at, f"`input` has no property `{argument}`", help=advice)

    def _placement(self, argument: str, operation: Operation) -> calls.Placement:
        """Where an argument goes: as declared, else by its name and the method."""
        declared = operation.parameters.get(argument)
        assert operation.method is not None
        assert operation.path is not None
        if declared is None:
            if f"{{{argument}}}" in operation.path:
                return _place(in_="path", name=argument, style="simple")
            if operation.method in _QUERY_METHODS:
                return _place(in_="query", name=argument, style="form", explode=True)
            return _place(in_="body", name=argument)
        name = declared.name or argument
        match declared.in_:
            case "path":
                return _place(in_="path", name=name, style="simple")
            case "query":
                return _place(in_="query", name=name, style=declared.style, explode=declared.explode)
            case "header":
                return _place(in_="header", name=name, style="simple")
            case _:
                return _place(in_="body", name=name)

    def _check_places(self, loc: Loc, operation: Operation, placements: Mapping[str, calls.Placement]) -> None:
        """Every place is filled once, and none that frames the message."""
        filled: dict[tuple[str, str], str] = {}
        for argument, placement in placements.items():
            kind, name = placement.in_, placement.name
            first = filled.setdefault((kind, name.lower() if kind == "header" else name), argument)
            said = ""
            if first != argument:
                said = f"`{argument}` and `{first}` go to the same place, {kind} `{name}`"
            elif kind == "header" and name.lower() in calls.OWN_HEADERS:
                said = f"the header `{name}` is the runtime's own"
            elif kind == "header" and not _HEADER.fullmatch(name):
                said = f"`{_one_line(name)}` cannot be a header's name"
            elif kind == "body" and operation.method in _QUERY_METHODS:
                said = f"`{argument}` goes to the body, but {operation.method} has none"
            if said:
                self.report.add(PLACE, self._placed_at(loc, operation, argument), said)

    def _placed_at(self, loc: Loc, operation: Operation, argument: str) -> Span:
        """Where the author placed the argument, or else declared it."""
        placed = operation.parameters.get(argument)
        if placed is not None and placed.name is not None:
            return self.document.span((*loc, "parameters", argument, "name"))
        where = ("parameters", argument) if placed is not None else ("input", "properties", argument)
        return self.document.span((*loc, *where), "key")

    def _check_path(
        self, loc: Loc, operation: Operation, placements: Mapping[str, calls.Placement], required: Sequence[str]
    ) -> None:
        """Every `{name}` is filled by one required argument."""
        span, path = self.document.span, operation.path
        assert path is not None
        wanted = _TEMPLATE.findall(path)
        rest = _TEMPLATE.sub("", path)
        if "{" in rest or "}" in rest or len(set(wanted)) != len(wanted) or "" in wanted:
            self.report.add(PATH_TEMPLATE, span((*loc, "path")), f"`{path}` is not a well-formed template")
            return
        if "\\" in rest or any(s in (".", "..") for s in unquote(path).split("/")):
            said = f"`{path}` holds a dot segment or a backslash"
            self.report.add(PATH_TEMPLATE, span((*loc, "path")), said, help="Write the path as the backend knows it.")
        filled: dict[str, str] = {}
        for argument, placement in placements.items():
            if placement.in_ == "path":
                filled.setdefault(placement.name, argument)
        for name, argument in filled.items():
            if name not in wanted:
                said = f"`{path}` has no `{{{name}}}`"
                self.report.add(PATH_TEMPLATE, self._placed_at(loc, operation, argument), said)
            elif argument not in required and placements.keys() >= set(required):
                self.report.add(
                    PATH_TEMPLATE,
                    span((*loc, "input", "properties", argument), "key"),
                    f"`{argument}` is part of the path but not required",
                    help=f"Add `{argument}` to `required`.",
                )
        for name in wanted:
            if name not in filled:
                close = nearest(name, [a for a, p in placements.items() if p.in_ != "path"])
                self.report.add(
                    PATH_TEMPLATE,
                    self.document.find((*loc, "path"), f"{{{name}}}"),
                    f"no argument fills `{{{name}}}`",
                    [Note(f"arguments: {listed(list(placements))}")] if placements else [],
                    f"Did you mean `{{{close}}}`?"
                    if close
                    else f"Declare `{name}` in `input.properties` and `required`.",
                )

    def _closed_root(self, loc: Loc, declared: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The input schema with its root closed; None where the root is no plain object."""
        schema = dict(declared or {"type": "object"})
        at, span, before = (*loc, "input"), self.document.span, self.report.errors
        if schema.get("type", "object") != "object":
            self.report.add(CLOSED_ROOT, span((*at, "type")), f"the root is `{schema['type']}`, not `object`")
            return None
        for keyword in schema:
            if keyword not in _ROOT_KEYWORDS:
                close = nearest(keyword, sorted(_ROOT_KEYWORDS - schema.keys()))
                said = f"the root of `input` has `{keyword}`"
                advice = f"Did you mean `{close}`?" if close else ""
                self.report.add(CLOSED_ROOT, span((*at, keyword), "key"), said, help=advice)
        if schema.get("additionalProperties", False) is not False:
            self.report.add(
                CLOSED_ROOT,
                span((*at, "additionalProperties")),
                "the root of `input` takes arguments that it does not name",
                help="Write `additionalProperties: false`, or leave the line out.",
            )
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict):
            self.report.add(CLOSED_ROOT, span((*at, "properties")), "`properties` of `input` is not a mapping")
        if not isinstance(required, list) or not all(isinstance(r, str) for r in required):
            said = "`required` of `input` is not a list of names"
            self.report.add(
                CLOSED_ROOT, span((*at, "required")), said, help="List the arguments that a call must have."
            )
        return None if self.report.errors > before else {**schema, "type": "object", "additionalProperties": False}


@record(slots=False)
class _Taken:
    """What a contract or its source says of one operation."""

    request: calls.Request
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    media_types: tuple[str, ...]
    title: str
    description: str
    deprecated: bool
    examples: tuple[calls.CallExample, ...]
    answers: tuple[Any, ...]


def _example(name: str, arguments: Mapping[str, Any], output: Any, answered: bool) -> calls.CallExample:
    """The example; without an answer, it says nothing of one."""
    if answered:
        return calls.CallExample(name=name, input=dict(arguments), output=output)
    return calls.CallExample(name=name, input=dict(arguments))


def _answer(
    rules: Sequence[AnswerRule | None],
    media_types: Sequence[str],
    output_schema: Mapping[str, Any] | None,
    fields: list[str],
) -> calls.Answer:
    """The rule for one operation: each key as the last of `rules` says that has it."""
    said: dict[str, Any] = {}
    for given in rules:
        said |= {key: getattr(given, key) for key in given.model_fields_set} if given is not None else {}
    said.pop("fields", None)
    wraps = output_schema is not None and output_schema.get("type") != "object"
    return _of_rule(tuple(sorted(said.items())), tuple(media_types), tuple(fields), wraps)


@lru_cache(maxsize=4096)
def _of_rule(
    said: tuple[tuple[str, Any], ...], media_types: tuple[str, ...], fields: tuple[str, ...], wraps: bool
) -> calls.Answer:
    """The same value for all operations that say the same: there are many, and few that differ."""
    rule = AnswerRule(**dict(said))
    return calls.Answer(
        media_types=list(media_types),
        check=rule.check,
        max_bytes=rule.max_bytes,
        max_characters=rule.max_characters,
        when_too_large=rule.when_too_large,
        fields=list(fields) or None,
        wrap=wraps,
    )


@lru_cache(maxsize=4096)
def _place(
    in_: Literal["path", "query", "header", "body"], name: str, style: _Style | None = None, explode: bool = False
) -> calls.Placement:
    """The same value for the same place, of which few differ."""
    return calls.Placement(in_=in_, name=name, style=style, explode=explode)


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")[:80]


def legacy_output_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` below a property `result`, for clients that take only an object at the root.

    `$defs` move to the new root, where references to them still point; references to other parts of the
    old root follow it.
    """
    inner = _repoint({k: v for k, v in schema.items() if k not in ("$defs", "$schema")})
    wrapped = {"type": "object", "properties": {"result": inner}, "required": ["result"]}
    if "$defs" in schema:
        wrapped["$defs"] = _repoint(schema["$defs"])
    return wrapped


def _repoint(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            k: f"#/properties/result{v[1:]}"
            if k == "$ref" and isinstance(v, str) and v.startswith("#") and not v.startswith("#/$defs/")
            else _repoint(v)
            for k, v in node.items()
        }
    if isinstance(node, list):
        return [_repoint(v) for v in node]
    return node
