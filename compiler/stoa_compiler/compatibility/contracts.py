"""Two versions of one contract: what of the new one breaks who relied on the old one.

What callers send may be taken more widely and what they get may be narrower, never the other way round.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from stoa_compiler.compatibility.kinds import KINDS, OF_ANSWER, OF_REQUEST, Category, Level
from stoa_compiler.compatibility.nodes import Budget, Node, Pointer, canonical
from stoa_compiler.compatibility.outline import complete, outline
from stoa_compiler.compatibility.subschema import Place, Problem, accepts_all, said, shown
from stoa_compiler.diagnostics import listed
from stoa_compiler.graph import ContractNode, OperationNode
from stoa_compiler.records import record
from stoa_compiler.source import Loc, Span
from stoa_schemas import bundle

SIDE_EFFECTS = ("none", "read", "write", "destructive")
MAX_QUOTED = 160
_TEMPLATE = re.compile(r"\{[^{}]*\}")


@record
class Ignored:
    """That a break is ignored, and why."""

    reason: str
    until: str
    """The last day."""
    span: Span


@record
class Break:
    """One thing that worked with the base and does not with the head, or may not."""

    code: str
    tenant: str
    contract: str
    operation: str
    """Empty where it is about the contract."""
    text: str
    """One sentence with the value before and after, names in backticks."""
    base: Span | None
    head: Span | None
    place: str = ""
    """Where in the arguments or the answer: `customer.lines[].amount`."""
    example: str = ""
    """A value, as JSON, that was taken and is refused, or that may come and never could."""
    ignored: Ignored | None = None

    @property
    def categories(self) -> tuple[Category, ...]:
        """Whom it hits."""
        return KINDS[self.code].categories

    @property
    def level(self) -> Level:
        """Whether it is certain."""
        return KINDS[self.code].level

    @property
    def subject(self) -> str:
        """The tool's id, or the contract's."""
        own = f"{self.tenant}:{self.contract}"
        return f"{own}:{self.operation}" if self.operation else own

    @property
    def order(self) -> tuple[bool, str, str, str, str, str]:
        """Where it stands among others: what is certain first."""
        return (self.level != "breaking", self.tenant, self.contract, self.operation, self.code, self.text)


def compare_contracts(base: ContractNode, head: ContractNode) -> list[Break]:
    """Every break between two versions of a contract, certain ones first; none where base is a draft."""
    if not base.exposed:
        return []
    if not head.exposed:
        spans = [c.origin.document.span(("spec", "status")) for c in (base, head)]
        text = f"`{head.name}` was {base.declared.spec.status} and is a draft, which exposes nothing"
        return [_of_contract(base, "contract-unpublished", text, spans[0], spans[1])]
    found, budget = list(_backends(base, head)), Budget()
    old, new = ({o.name: o for o in c.operations} for c in (base, head))
    renamed = _renamed([o for n, o in old.items() if n not in new], [o for n, o in new.items() if n not in old])
    for name, operation in old.items():
        if name in new:
            found += _Operations(base, operation, new[name], budget).breaks()
        elif name in renamed:
            found += _Operations(base, operation, renamed[name], budget).breaks()
        else:
            text = f"`{operation.tool_id}` is gone"
            span = operation.origin.document.span(operation.origin.loc, "key")
            home = head.origin.document.span(("spec", "operations"), "key")
            found.append(_of_contract(base, "operation-removed", text, span, home, name))
    return sorted(dict.fromkeys(found), key=lambda b: b.order)


def _of_contract(
    contract: ContractNode, code: str, text: str, base: Span | None, head: Span | None, operation: str = ""
) -> Break:
    return Break(code, contract.declared.metadata.tenant, contract.name, operation, text, base, head)


def _backends(base: ContractNode, head: ContractNode) -> Iterator[Break]:
    """Base paths that differ, for those who call a backend itself."""
    if not any("rest" in o.declared.protocols for o in base.operations):
        return
    urls, others = base.declared.spec.backend.urls, head.declared.spec.backend.urls
    moved: dict[tuple[str, str], list[str]] = {}
    for environment, url in urls.items():
        if environment in others:
            paths = tuple(urlsplit(u).path.rstrip("/") or "/" for u in (url, others[environment]))
            if paths[0] != paths[1]:
                moved.setdefault((paths[0], paths[1]), []).append(environment)
    for (before, after), environments in moved.items():
        at: Loc = ("spec", "backend", "urls", environments[0])
        text = f"the backend's base path was `{_quoted(before)}` and is `{_quoted(after)}` in {', '.join(environments)}"
        yield _of_contract(
            base, "base-path-changed", text, base.origin.document.span(at), head.origin.document.span(at)
        )


def _renamed(gone: Sequence[OperationNode], fresh: Sequence[OperationNode]) -> dict[str, OperationNode]:
    """Operations that are called otherwise and do the same at the backend, by their old names."""
    found: dict[str, OperationNode] = {}
    taken: set[str] = set()
    for old in gone:
        alike = [
            n
            for n in fresh
            if n.name not in taken
            and (n.request.method, _shape_of(n.request.path)) == (old.request.method, _shape_of(old.request.path))
        ]
        if len(alike) == 1:
            found[old.name] = alike[0]
            taken.add(alike[0].name)
    return found


def _shape_of(path: str) -> str:
    """The path, whatever its parameters are called."""
    return _TEMPLATE.sub("{}", path)


def _quoted(text: object) -> str:
    """Text for between backticks, not too long to read."""
    shown = str(text).replace("`", "'")
    return shown if len(shown) <= MAX_QUOTED else f"{shown[: MAX_QUOTED - 3]}..."


@record(slots=False)
class _Operations:
    """One operation before and after."""

    contract: ContractNode
    base: OperationNode
    head: OperationNode
    budget: Budget
    """Of the whole contract: one operation that is hard to compare takes from the others of its own only."""

    def breaks(self) -> Iterator[Break]:
        """Everything that breaks."""
        if self.base.name != self.head.name:
            text = f"`{self.base.tool_id}` is called `{self.head.tool_id}`, the tool `{self.head.wire_name}`"
            yield self._break("operation-renamed", text, (), (), "key")
        yield from self._exposure()
        yield from self._safeguards()
        if "rest" in self.base.declared.protocols:
            yield from self._request()
        yield from self._answer_rules()
        yield from self._arguments()
        yield from self._answers()

    def _break(
        self,
        code: str,
        text: str,
        base_loc: Loc,
        head_loc: Loc,
        part: Literal["key", "value"] = "value",
        place: str = "",
        example: str = "",
    ) -> Break:
        """A break with the words of both sides that say it, or the operations where they say nothing."""
        return Break(
            code,
            self.contract.declared.metadata.tenant,
            self.contract.name,
            self.base.name,
            text,
            self._span(self.base, base_loc, part),
            self._span(self.head, head_loc, part),
            place,
            example,
        )

    def _span(self, operation: OperationNode, loc: Loc, part: Literal["key", "value"]) -> Span:
        origin = operation.origin
        if (
            operation.declared.from_ is not None
            and loc
            and loc[0] in ("input", "output", "method", "path", "parameters")
        ):
            return origin.document.span((*origin.loc, "from"))  # What the source says.
        return origin.document.span((*origin.loc, *loc), "key" if not loc else part)

    def _exposure(self) -> Iterator[Break]:
        old, new = self.base.declared, self.head.declared
        if old.agents and not new.agents and "mcp" in old.protocols:
            text = f"agents could call `{self.base.tool_id}`, and `agents` is false now"
            yield self._break("agents-excluded", text, ("agents",), ("agents",))
        for protocol in old.protocols:
            if protocol not in new.protocols and (protocol != "mcp" or old.agents):
                where = " and ".join(old.protocols)
                text = f"`{self.base.tool_id}` was exposed on {where}, and is no longer on {protocol}"
                yield self._break("protocol-removed", text, ("protocols",), ("protocols",))

    def _safeguards(self) -> Iterator[Break]:
        old, new = self.base.declared.side_effects, self.head.declared.side_effects
        if SIDE_EFFECTS.index(new) > SIDE_EFFECTS.index(old):
            text = f"side effects were `{old}` and are `{new}`"
            yield self._break("side-effects-raised", text, ("sideEffects",), ("sideEffects",))
        if self.head.approval and not self.base.approval:
            own: Loc = ("approval",) if self.head.declared.approval is not None else ("sideEffects",)
            text = f"`{self.head.tool_id}` needed no approval, and each call needs one now"
            yield self._break("approval-demanded", text, ("approval",), own)

    def _request(self) -> Iterator[Break]:
        """What a client of HTTP builds otherwise."""
        old, new = self.base.request, self.head.request
        if old.method != new.method:
            text = f"the method was `{old.method}` and is `{new.method}`"
            yield self._break("method-changed", text, ("method",), ("method",))
        if _shape_of(old.path) != _shape_of(new.path):
            text = f"the path was `{_quoted(old.path)}` and is `{_quoted(new.path)}`"
            yield self._break("path-changed", text, ("path",), ("path",))
        other_body = (old.body and old.body.media_type) != (new.body and new.body.media_type)
        for name, before in old.arguments.items():
            after = new.arguments.get(name)
            if after is not None and before != after:
                if other_body and before.in_ == after.in_ == "body" and before.name == after.name:
                    continue  # Said of the body as a whole.
                yield from self._placed(name, before, after)
        yield from self._body(old.body, new.body)

    def _placed(self, name: str, before: bundle.Placement, after: bundle.Placement) -> Iterator[Break]:
        loc: Loc = ("parameters", name)
        if before.in_ != after.in_:
            text = f"the argument `{_quoted(name)}` went to the {before.in_} and goes to the {after.in_}"
            yield self._break("argument-place-changed", text, loc, loc, "key", name)
            return
        names = [p.name.lower() if p.in_ == "header" else p.name for p in (before, after)]
        if names[0] != names[1] and before.in_ != "path":  # A path's parameter has no name in the request.
            said_of = f"was called `{_quoted(before.name)}` in the {before.in_} and is called `{_quoted(after.name)}`"
            yield self._break(
                "argument-name-changed", f"the argument `{_quoted(name)}` {said_of}", loc, loc, "key", name
            )
        styles = [self._style(p) for p in (before, after)]
        if styles[0] != styles[1]:
            text = f"the argument `{_quoted(name)}` was written as {styles[0]} and is written as {styles[1]}"
            yield self._break("argument-style-changed", text, loc, loc, "key", name)

    def _style(self, placed: bundle.Placement) -> str:
        words: list[str] = [placed.style or "JSON"]
        words += ["exploded"] if placed.explode else []
        words += [f"in `{_quoted(placed.content)}`"] if placed.content else []
        words += [f"file of `{_quoted(placed.file)}`"] if placed.file else []
        words += ["with reserved characters"] if placed.allow_reserved else []
        return " ".join(words)

    def _body(self, before: bundle.Body | None, after: bundle.Body | None) -> Iterator[Break]:
        if before is None or before == after:
            if before is None and after is not None and after.required and after.argument is not None:
                yield self._break("request-body-changed", "there was no body, and one is required", (), ())
            return
        if after is None:
            text = f"the body was `{_quoted(before.media_type)}`, and there is none now"
        elif before.media_type != after.media_type:
            text = f"the body was `{_quoted(before.media_type)}` and is `{_quoted(after.media_type)}`"
        elif before.argument != after.argument or before.base64 != after.base64:
            how = [
                f"the argument `{_quoted(b.argument)}`" if b.argument else "an object of the arguments"
                for b in (before, after)
            ]
            text = f"the body was {how[0]} and is {how[1]}"
        else:
            return
        yield self._break("request-body-changed", text, (), ())

    def _answer_rules(self) -> Iterator[Break]:
        old, new = self.base.answer, self.head.answer
        gone = [m for m in new.media_types if m not in old.media_types]
        if gone and "rest" in self.base.declared.protocols:
            text = f"answers were {listed(list(old.media_types))} and may be {listed(gone)}"
            yield self._break("answer-media-type-changed", text, ("output",), ("output",), "key")
        if old.check == "enforce" and new.check == "report" and self.base.output_schema is not None:
            text = "answers outside the schema were refused, and are passed on"
            yield self._break("answer-unchecked", text, ("answer", "check"), ("answer", "check"))
        if old.when_too_large == "refuse" and new.when_too_large == "truncate":
            text = "answers that are too large were refused, and are cut"
            yield self._break("answer-truncated", text, ("answer", "whenTooLarge"), ("answer", "whenTooLarge"))
        for key, before, after in (
            ("maxBytes", old.max_bytes, new.max_bytes),
            ("maxCharacters", old.max_characters, new.max_characters),
        ):
            if after < before:
                text = f"`{key}` of answers was {before} and is {after}"
                yield self._break("answer-limit-lowered", text, ("answer", key), ("answer", key))

    def _arguments(self) -> Iterator[Break]:
        old, new = self.base.input_schema, self.head.input_schema
        if old == new:
            return
        reported: set[Place] = set()
        problems = accepts_all(old, new, self.budget).problems
        for problem in problems:
            reported.add((*problem.place, problem.name) if problem.name else problem.place)
            yield self._of_schema("request", problem)
        before, after = outline(old), outline(new)
        yield from self._defaults(before, after)
        if complete(before) and complete(after):
            for place, node in before.items():
                if (
                    place not in after
                    and place[:-1] in {(), *after}
                    and place not in reported | _others(problems, place)
                ):
                    text = f"the argument `{_quoted(shown(place))}` was named, and is taken without a meaning now"
                    yield self._at("request-property-ignored", text, "input", node.pointer, (), place)

    def _defaults(self, before: Mapping[Place, Node], after: Mapping[Place, Node]) -> Iterator[Break]:
        for place, old in before.items():
            new = after.get(place)
            if new is None or "default" not in old.value:
                continue
            pointers = ((*old.pointer, "default"), (*new.pointer, "default"))
            name = _quoted(shown(place))
            if not isinstance(new.value, Mapping) or "default" not in new.value:
                text = f"the default of `{name}` was `{_quoted(said(old.value['default']))}`, and there is none now"
                yield self._at("default-changed", text, "input", pointers[0], new.pointer, place)
            elif canonical(old.value["default"]) != canonical(new.value["default"]):
                was, now = (_quoted(said(n.value["default"])) for n in (old, new))
                text = f"the default of `{name}` was `{was}` and is `{now}`"
                yield self._at("default-changed", text, "input", pointers[0], pointers[1], place)

    def _answers(self) -> Iterator[Break]:
        old, new = self.base.output_schema, self.head.output_schema
        if old is None or old == new:
            return
        if new is None:
            text = "the answer had a schema, and has none now"
            yield self._break("answer-schema-removed", text, ("output",), (), "key")
            return
        before, after = outline(old), outline(new)
        lost: set[Place] = set()
        problems = accepts_all(new, old, self.budget).problems
        if complete(before) and complete(after):
            kept = outline(self.head.backend_schema) if self.head.backend_schema is not None else after
            for place, node in before.items():
                if place in after or any(place[:n] in lost for n in range(1, len(place))) or _others(problems, place):
                    continue
                lost.add(place)
                name = _quoted(shown(place))
                if place in kept and self.head.answer.fields is not None:
                    text = f"the answer had `{name}`, which `answer.fields` leaves out now"
                    spans = [self._span(self.base, ("output", *node.pointer), "key")]
                    spans.append(self._span(self.head, ("answer", "fields"), "key"))
                    made = self._break("answer-field-left-out", text, (), (), "key", shown(place))
                    yield _placed_at(made, spans[0], spans[1])
                else:
                    text = f"the answer named `{name}`, and names it no longer"
                    yield self._at("answer-property-removed", text, "output", node.pointer, (), place)
        for problem in problems:
            place = (*problem.place, problem.name) if problem.name else problem.place
            if problem.family in ("claimed", "required") and place in lost:
                continue  # Told above.
            yield self._of_schema("answer", problem)

    def _at(self, code: str, text: str, key: str, base: Pointer, head: Pointer, place: Place) -> Break:
        return self._break(code, text, (key, *base), (key, *head), "value", shown(place))

    def _of_schema(self, direction: Literal["request", "answer"], problem: Problem) -> Break:
        """A difference of schemas as a break of callers."""
        request = direction == "request"
        codes = OF_REQUEST if request else OF_ANSWER
        certain = problem.certain or problem.family == "claimed"
        code = codes[problem.family if certain else "unproven"]
        if problem.family == "claimed" and not request:
            code = "answer-unproven"
        key = "input" if request else "output"
        locs: list[Loc] = [(key, *problem.narrow_at), (key, *problem.wide_at)]
        base, head = locs if request else (locs[1], locs[0])
        place = problem.place
        if problem.name:
            place = (*place, problem.name)
        return self._break(code, _sentence(request, problem, code), base, head, "value", shown(place), problem.example)


def _others(problems: Sequence[Problem], place: Place) -> set[Place]:
    """The place, where it lies below a value of which all is said by its being of another type."""
    typed = {p.place for p in problems if p.family == "type" and p.certain}
    return {place} if any(place[:n] in typed for n in range(len(place))) else set()


def _placed_at(made: Break, base: Span, head: Span) -> Break:
    return Break(made.code, made.tenant, made.contract, made.operation, made.text, base, head, made.place, made.example)


def _sentence(request: bool, problem: Problem, code: str) -> str:
    """The difference in one sentence, the value before first."""
    name = _quoted(shown((*problem.place, problem.name) if problem.name else problem.place))
    whole = "the arguments" if request else "the answer"
    where = (f"the argument `{name}`" if request else f"`{name}` of the answer") if name else whole
    before, after = (problem.narrow, problem.wide) if request else (problem.wide, problem.narrow)
    before, after = (f"`{_quoted(t)}`" for t in (before or "anything", after or "anything"))
    such = f", such as `{_quoted(problem.example)}`" if problem.example else ""
    match problem.family:
        case "required" if problem.certain:
            return f"{where} {'was optional and is required' if request else 'was always there and may be missing'}"
        case "property" if problem.certain:
            return f"{where} {'was taken and is refused' if request else 'was excluded and may come'}"
        case "claimed":
            if request:
                return f"{where} was not named and took anything, and must be {after} now"
            return f"{where} was {before}, and nothing is said of it now"
    if not problem.certain:
        still = "takes all that it took" if request else "gives nothing that it did not"
        return f"it is not proved that {where} still {still}: {before} before, {after} now"
    if problem.family == "enum" and problem.example:
        if request:
            return f"{where} took `{_quoted(problem.narrow)}`, and takes only {after} now"
        return f"{where} was only {before}, and may be `{_quoted(problem.narrow)}` now"
    verbs = ("took", "takes") if request else ("gave", "gives")
    return f"{where} {verbs[0]} {before} and {verbs[1]} {after} now{such}"
