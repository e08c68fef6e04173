"""Unlinked: what is wrong with the operations and texts that did not reach the graph, each part by itself.

A document with one mistake leaves the graph, and the checks with it. So that one run shows everything, its
operations are judged here by their own text. A part that has a mistake, or that the YAML does not tell, is never
the ground of another finding: the author sees each cause once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stoa_compiler.checks.contracts import check_protocols, check_side_effects
from stoa_compiler.checks.schemas import Shown, check_schema
from stoa_compiler.checks.secrets import check_literals
from stoa_compiler.diagnostics import Diagnostic, Report, nearest
from stoa_compiler.graph import Graph
from stoa_compiler.load import Placed
from stoa_compiler.operations import CLOSED_ROOT, PATH_TEMPLATE, UNKNOWN_ARGUMENT, Written
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc, Span
from stoa_compiler.validate import placeholder_in
from stoa_schemas.base import API_VERSION, OperationName
from stoa_schemas.documents.contract import Example, Operation

_NAME: TypeAdapter[str] = TypeAdapter(OperationName)


def judge_unlinked(documents: Iterable[tuple[Placed, Document]], graph: Graph | None, report: Report) -> None:
    """Adds what is wrong with the documents and operations that `graph` does not hold."""
    linked, lowered = _linked(graph)
    known: set[Diagnostic] | None = None
    for place, document in documents:
        path = place.file.path
        if path not in linked and place.kind != "Subscription" and _is_meant(place, document):
            known = set(report.found) if known is None else known
            mine = Report()
            check_literals(document, mine)
            _take_over(document, mine, known, report)
        if place.kind == "UniversalAPIContract" and _is_meant(place, document):
            for name, data in _operations(document):
                if name not in lowered.get(path, ()):
                    known = set(report.found) if known is None else known
                    mine = Report()
                    _Alone(place, document, ("spec", "operations", name), data, mine).judge()
                    _take_over(document, mine, known, report)


def _linked(graph: Graph | None) -> tuple[AbstractSet[str], Mapping[str, AbstractSet[str]]]:
    """Paths of the documents that the graph holds, and the names of each contract's operations."""
    if graph is None:
        return set(), {}
    linked = {graph.origin.document.file.path}
    lowered = {}
    for tenant in graph.tenants:
        origins = [tenant.origin, *(c.origin for c in tenant.contracts)]
        origins += [*(c.origin for c in tenant.consumers), *(p.origin for p in tenant.plans)]
        linked.update(o.document.file.path for o in origins)
        for contract in tenant.contracts:
            lowered[contract.origin.document.file.path] = {o.name for o in contract.operations}
    return linked, lowered


def _is_meant(place: Placed, document: Document) -> bool:
    """Whether the document is one of the kind that its place says."""
    data = document.data
    return isinstance(data, dict) and (
        data.get("kind") in (None, place.kind) and data.get("apiVersion") in (None, API_VERSION)
    )


def _operations(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    spec = document.data.get("spec")
    operations = spec.get("operations") if isinstance(spec, dict) else None
    for name, data in operations.items() if isinstance(operations, dict) else ():
        loc: Loc = ("spec", "operations", name)
        if isinstance(data, dict) and not (document.doubts and document.doubts.hide(loc)):
            yield name, data


def _take_over(document: Document, mine: Report, known: AbstractSet[Diagnostic], report: Report) -> None:
    """Adds the findings that say something new, at places that are clear."""
    if not mine.found:
        return
    doubts = document.doubts
    hidden = [s for d in (doubts.values if doubts else ()) for s in (document.span(d), document.span(d, "key"))]
    places = {d.span: d.rule.code for d in known}
    for d in mine.found:
        fresh = d not in known and places.get(d.span, d.rule.code) == d.rule.code
        if fresh and not any(_within(d.span, h) for h in hidden):
            report.found.append(d)


def _within(inner: Span, outer: Span) -> bool:
    begin, end = (outer.line, outer.column), (outer.end_line, outer.end_column)
    return begin <= (inner.line, inner.column) and (inner.end_line, inner.end_column) <= end


@record(slots=False)
class _Alone:
    """One operation as its author wrote it."""

    place: Placed
    document: Document
    loc: Loc
    data: Mapping[str, Any]
    report: Report

    def judge(self) -> None:
        """Adds every mistake of a part that is sound but for it, and of parts that are to fit each other."""
        written = Written(self.document, self.report)
        if self._has_name and self.place.tenant is not None:
            written.wire_name(self.loc, self.place.tenant, self.place.name)
        if self._given("protocols"):
            check_protocols(self.document, self.loc, self._operation.protocols, self.report)
        if "from" in self.data:
            written.beside_from(self.loc, self.data.keys() - self._faults)
            return
        method = self._operation.method
        if self._given("sideEffects") and self._given("method") and method is not None:
            check_side_effects(self.document, self.loc, self._operation.side_effects, method, self.report)
        arguments = self._arguments(written)
        rooted = {d.span for d in self.report.found if d.rule is CLOSED_ROOT}
        sound = {key for key in ("input", "output") if self._check_schema(key, rooted)}
        if "output" in sound and self._known("output", "answer") and self._operation.answer is not None:
            written.projected(self.loc, self._operation, self._operation.output)
        self._check_examples(arguments if "input" in sound else None, "output" in sound and self._known("output"))

    @cached_property
    def _has_name(self) -> bool:
        try:
            _NAME.validate_python(self.loc[-1])
        except ValidationError:
            return False
        return True

    @cached_property
    def _errors(self) -> Sequence[Loc]:
        """Where the operation does not fit its model."""
        try:
            Operation.model_validate(self.data, by_alias=True, by_name=False)
        except ValidationError as error:
            return [tuple(e["loc"]) for e in error.errors(include_url=False, include_context=False)]
        return ()

    @cached_property
    def _faults(self) -> AbstractSet[str]:
        """Keys whose value has a mistake of its own."""
        faults = {str(loc[0]) for loc in self._errors}
        faults |= {key for key, value in self.data.items() if value is None}
        faults |= {key for key, value in self.data.items() if isinstance(value, str) and placeholder_in(value)}
        doubts = self.document.doubts
        return faults | {key for key in self.data if doubts is not None and doubts.touch((*self.loc, key))}

    @cached_property
    def _meant(self) -> AbstractSet[str]:
        """Keys that are not there, and may be meant by one that is not known."""
        doubts, left_out = self.document.doubts, sorted(_KEYS - self.data.keys())
        close = [nearest(key, left_out) for key in self.data if key not in _KEYS]
        anything = None in close or (doubts is not None and self.loc in doubts.mappings)
        return frozenset(left_out) if anything else {key for key in close if key is not None}

    @cached_property
    def _operation(self) -> Operation:
        """The operation with the keys that are sound."""
        fit = {k: v for k, v in self.data.items() if k in _KEYS and k not in self._faults and k != "examples"}
        return Operation.model_validate({"sideEffects": "none", **fit}, by_alias=True, by_name=False)

    def _given(self, key: str) -> bool:
        """Whether the key stands there, and is sound."""
        return key in self.data and key not in self._faults

    def _known(self, *keys: str) -> bool:
        """Whether it is clear of every key what it says, or that it is left out."""
        return all(self._given(k) or (k not in self.data and k not in self._meant) for k in keys)

    def _arguments(self, written: Written) -> dict[str, Any] | None:
        """The input schema with its root closed; None where nothing can rest on it."""
        operation, before = self._operation, len(self.report.found)
        if not self._known("input"):
            return None
        if self._known("from", "method", "path", "parameters"):
            written.taken(self.loc, operation)
        elif self._given("input"):
            placed = list(operation.parameters) if self._given("parameters") else []
            written.arguments(self.loc, operation.input, placed)
        rules = {d.rule for d in self.report.found[before:]}
        if rules & {CLOSED_ROOT, PATH_TEMPLATE, UNKNOWN_ARGUMENT}:
            return None
        return {"type": "object", **(operation.input or {}), "additionalProperties": False}

    def _check_schema(self, key: str, rooted: AbstractSet[Span]) -> bool:
        """Whether the schema is sound, or left out; `rooted` are the places of which something was said."""
        schema, loc = self.data.get(key), (*self.loc, key)
        if not isinstance(schema, dict) or (self.document.doubts and self.document.doubts.hide(loc)):
            return key not in self.data
        mine = Report()
        check_schema(self.document, loc, schema, mine)
        fresh = (d for d in mine.found if not any(_within(d.span, place) for place in rooted))
        self.report.found.extend(fresh)
        return not mine.found

    def _check_examples(self, arguments: Mapping[str, Any] | None, judges_output: bool) -> None:
        written = self.data.get("examples")
        if not isinstance(written, list):
            return
        doubts = self.document.doubts
        faulty = {loc[1] for loc in self._errors if loc[0] == "examples" and len(loc) > 1}
        sound = {
            index: Example.model_validate(value, by_alias=True, by_name=False)
            for index, value in enumerate(written)
            if index not in faulty and not (doubts and doubts.touch((*self.loc, "examples", index)))
        }
        output = self._operation.output if judges_output else None
        Shown(self.document, self.loc, arguments, output, judges_output).check(sound.items(), self.report)


_KEYS = frozenset(f.alias or name for name, f in Operation.model_fields.items())
