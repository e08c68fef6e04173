"""Schemas taken apart: subschemas with their places, and conjunctions of them as unions of plain shapes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from itertools import count
from math import ceil, floor
from typing import Any, TypeAlias
from urllib.parse import unquote

import jsonschema_rs
import orjson

from stoa_compiler.records import record

Pointer: TypeAlias = tuple[str | int, ...]

KINDS = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
"""What a value can be; `fraction` is a number that is no integer, so that the kinds do not overlap."""
NUMBERS = frozenset({"integer", "fraction"})
MAX_SHAPES = 256
"""Alternatives that one conjunction may have."""
MAX_DEPTH = 48
"""Subschemas inside each other that are about one and the same value, and levels that emptiness looks down."""

_ANNOTATIONS = frozenset(
    """
    $comment $schema default deprecated description examples readOnly title writeOnly $defs definitions
    """.split()  # noqa: SIM905
)
"""Keywords that refuse no value."""
_BY_NAME = frozenset({"dependentSchemas", "patternProperties", "properties"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_DATA = frozenset({"const", "enum", "dependentRequired", "required", "type"})
_UNORDERED = frozenset({"enum", "required", "type"})


_WORTH_IT = tuple(
    f'"{keyword}"'.encode()
    for keyword in (
        "$ref",
        "anyOf",
        "contains",
        "dependentSchemas",
        "format",
        "if",
        "not",
        "oneOf",
        "pattern",
        "patternProperties",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    )
)
"""Keywords for which it helps to know that both sides say the same in another order."""


class Spent(Exception):
    """More work than one comparison may take; what it would have found is not known."""


_NUMBERS = count(1)


class Root:
    """One whole schema, and what is known of its parts."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.number = next(_NUMBERS)
        self._kept: list[Any] = []
        self._targets: dict[str, Node] = {}
        self._fingerprints: dict[int, bytes] = {}
        self._texts: dict[int, bytes] = {}
        self._validators: dict[int, jsonschema_rs.Draft202012Validator | None] = {}

    @property
    def node(self) -> "Node":
        """The schema as a node."""
        return Node(self, self.schema, ())

    def made(self, schema: Mapping[str, Any], pointer: Pointer) -> "Node":
        """A node that does not stand in the schema, in whose place `pointer` is shown."""
        self._kept.append(schema)
        return Node(self, schema, pointer)

    def target(self, reference: str) -> "Node":
        """The node that a reference names; anything where it leads nowhere, which checks report elsewhere."""
        known = self._targets.get(reference)
        if known is None:
            node: Any = self.schema
            steps: list[str | int] = []
            for raw in unquote(reference[1:]).split("/")[1:]:
                step: str | int = raw.replace("~1", "/").replace("~0", "~")
                if isinstance(node, list) and str(step).isdigit() and int(step) < len(node):
                    step = int(step)
                elif not isinstance(node, Mapping) or step not in node:
                    node = True
                    break
                node = node[step]
                steps.append(step)
            known = self._targets[reference] = Node(self, node, tuple(steps))
        return known

    def fingerprint(self, schema: Any) -> bytes:
        """The same for schemas that say the same about values, in the same words but for order and annotations."""
        known = self._fingerprints.get(id(schema))
        if known is None:
            own, reached = self._reached(schema)
            text = orjson.dumps([own, reached], option=orjson.OPT_SORT_KEYS)
            known = self._fingerprints[id(schema)] = sha256(text).digest()
        return known

    def text(self, schema: Any) -> bytes:
        """The schema as JSON, as it is written."""
        known = self._texts.get(id(schema))
        if known is None:
            known = self._texts[id(schema)] = orjson.dumps(schema)
        return known

    def _reached(self, schema: Any) -> tuple[Any, dict[str, Any]]:
        """The schema as it is compared, and so what its references lead to, by reference."""
        references: dict[str, None] = {}
        own, reached = _plain(schema, references, 0), dict[str, Any]()
        while len(reached) < len(references):
            for reference in [r for r in references if r not in reached]:
                reached[reference] = _plain(self.target(reference).value, references, 0)
        return own, reached

    def takes(self, schema: Any, value: Any) -> bool:
        """Whether the part of this schema takes the value, formats included; raises `Spent` where nobody can tell."""
        if isinstance(schema, bool):
            return schema
        if id(schema) not in self._validators:
            self._validators[id(schema)] = self._validator(schema)
        validator = self._validators[id(schema)]
        if validator is None:
            raise Spent
        return bool(validator.is_valid(value))

    def _validator(self, schema: Any) -> jsonschema_rs.Draft202012Validator | None:
        whole = self.schema if isinstance(self.schema, Mapping) else {}
        shared = {k: whole[k] for k in ("$defs", "definitions") if k in whole}
        _, references = self._reached(schema)
        options: dict[str, Any] = {"pattern_options": jsonschema_rs.RegexOptions(), "validate_formats": True}
        try:
            if schema is self.schema:
                return jsonschema_rs.Draft202012Validator(schema, **options)
            if all(r.startswith(("#/$defs/", "#/definitions/")) for r in references):
                used = shared if references else {}
                return jsonschema_rs.Draft202012Validator({**schema, **used}, **options)
            # Other references are about the whole, which then stands beside the part under a name of its own.
            wrapped = {"$defs": {"whole": {**whole, "$id": "urn:whole"}}}
            part = _repointed(schema)
            return jsonschema_rs.Draft202012Validator({**wrapped, "allOf": [part]}, **options)
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
            return None


def _repointed(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {k: f"urn:whole{v}" if k == "$ref" and isinstance(v, str) else _repointed(v) for k, v in schema.items()}
    return [_repointed(v) for v in schema] if isinstance(schema, list) else schema


@record
class Node:
    """A subschema."""

    root: Root
    value: Any
    pointer: Pointer

    @property
    def key(self) -> tuple[int, int]:
        """The same for the same subschema. Two wholes may share a part, and mean other definitions by it."""
        return (0, int(self.value)) if isinstance(self.value, bool) else (self.root.number, id(self.value))

    @property
    def fingerprint(self) -> bytes:
        """The same for schemas that say the same."""
        return self.root.fingerprint(self.value)

    def same(self, other: "Node") -> bool:
        """Whether both surely say the same: no is no proof that they do not."""
        mine, theirs = self.root.text(self.value), other.root.text(other.value)
        if mine == theirs and b'"$ref"' not in mine:
            return True
        if not any(mark in theirs for mark in _WORTH_IT):
            return False  # What follows keyword by keyword is as quick.
        return self.fingerprint == other.fingerprint

    def below(self, *steps: str | int) -> "Node":
        """The subschema at these keys and indexes."""
        value = self.value
        for step in steps:
            value = value[step]
        return Node(self.root, value, (*self.pointer, *steps))

    def takes(self, value: Any) -> bool:
        """Whether the value fits."""
        return self.root.takes(self.value, value)


Term: TypeAlias = tuple[Node, ...]
"""Subschemas that a value must fit all together."""
TermKey: TypeAlias = tuple[tuple[int, int], ...]


def term_of(nodes: Sequence[Node]) -> Term:
    """The conjunction without repetitions."""
    return tuple({n.key: n for n in nodes if n.value is not True}.values())


def key_of(term: Term) -> TermKey:
    """The same for the same conjunction."""
    return tuple(sorted(n.key for n in term))


def canonical(value: Any) -> bytes:
    """The same bytes for values that JSON Schema calls equal."""
    return orjson.dumps(_number(value), option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME)


def _number(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {k: _number(v) for k, v in value.items()}
    return [_number(v) for v in value] if isinstance(value, list) else value


def kind_of(value: Any) -> str:
    """What kind of value it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "fraction"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def kinds_of(types: Any) -> frozenset[str]:
    """The kinds that a `type` names."""
    named = [types] if isinstance(types, str) else list(types)
    found = {t for t in named if t != "number"}
    return frozenset(found | NUMBERS if "number" in named else found)


def _plain(schema: Any, references: dict[str, None], depth: int) -> Any:
    """The schema without annotations and in one order; notes what it refers to."""
    if not isinstance(schema, Mapping):
        return schema
    if depth > MAX_DEPTH * 4:
        raise Spent
    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _ANNOTATIONS or keyword.startswith("x-"):
            continue
        if keyword == "$ref":
            references.setdefault(value, None)
            out[keyword] = value
        elif keyword == "type":
            out[keyword] = sorted(kinds_of(value))
        elif keyword in _UNORDERED and isinstance(value, list):
            out[keyword] = sorted({canonical(v).decode() for v in value})
        elif keyword == "const":
            out["const" if "enum" in schema else "enum"] = [canonical(value).decode()]
        elif keyword == "dependentRequired":
            out[keyword] = {k: sorted(set(v)) for k, v in value.items()}
        elif keyword in _BY_NAME and isinstance(value, Mapping):
            out[keyword] = {k: _plain(v, references, depth + 1) for k, v in value.items()}
        elif keyword in _LISTS and isinstance(value, list):
            arms = [_plain(v, references, depth + 1) for v in value]
            out[keyword] = arms if keyword == "prefixItems" else sorted(arms, key=canonical)
        elif isinstance(value, Mapping):
            out[keyword] = _plain(value, references, depth + 1)
        else:
            out[keyword] = _number(value)
    return out or True


@record(slots=False)
class Bounds:
    """Where numbers lie; None where there is no bound."""

    low: Fraction | None = None
    above: bool = False
    """Whether `low` itself is excluded."""
    high: Fraction | None = None
    below: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing lies between."""
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.above or self.below))


def exact(number: Any) -> Fraction:
    """The number as its digits say."""
    return Fraction(str(number)) if isinstance(number, float) else Fraction(number)


@dataclass
class Shape:
    """A conjunction of subschemas without alternatives: what each says itself is true together."""

    nodes: tuple[Node, ...]
    """References, `allOf` and one arm of each union are among them."""
    nots: tuple[Node, ...] = ()
    kinds: frozenset[str] = KINDS
    split: frozenset[str] = field(default=frozenset())
    """Properties whose values were told apart already."""

    def said(self, keyword: str) -> Iterator[tuple[Node, Any]]:
        """Who says the keyword, and what."""
        return ((n, n.value[keyword]) for n in self.nodes if keyword in n.value)

    def highest(self, keyword: str, least: int = 0) -> int:
        """The strictest lower bound of a count."""
        return max((ceil(v) for _, v in self.said(keyword)), default=least)

    def lowest(self, keyword: str) -> int | None:
        """The strictest upper bound of a count."""
        return min((floor(v) for _, v in self.said(keyword)), default=None)

    @cached_property
    def values(self) -> list[Any] | None:
        """All values, where they are listed."""
        if self.kinds <= {"null", "boolean"}:
            found: list[Any] = [
                v for k, vs in (("null", [None]), ("boolean", [False, True])) if k in self.kinds for v in vs
            ]
        else:
            listed = [v for _, v in self.said("enum")] + [[v] for _, v in self.said("const")]
            low, high = self.bounds.low, self.bounds.high
            if not listed and self.kinds == {"integer"} and low is not None and high is not None and high - low < 32:
                listed = [list(range(int(low), int(high) + 1))]
            if not listed:
                return None
            found = list({canonical(v): v for v in min(listed, key=len)}.values())
        return [
            v
            for v in found
            if kind_of(v) in self.kinds
            and all(n.takes(v) for n in self.nodes)
            and not any(n.takes(v) for n in self.nots)
        ]

    @cached_property
    def bounds(self) -> Bounds:
        """Where its numbers lie."""
        low = high = None
        above = below = False
        for keyword, strict in (("minimum", False), ("exclusiveMinimum", True)):
            for _, raw in self.said(keyword):
                value = exact(raw)
                if low is None or value > low or (value == low and strict):
                    low, above = value, strict
        for keyword, strict in (("maximum", False), ("exclusiveMaximum", True)):
            for _, raw in self.said(keyword):
                value = exact(raw)
                if high is None or value < high or (value == high and strict):
                    high, below = value, strict
        steps = [exact(m) for _, m in self.said("multipleOf")] + ([] if "fraction" in self.kinds else [Fraction(1)])
        for step in steps:
            if low is not None:
                low, above = step * (floor(low / step) + 1 if above else ceil(low / step)), False
            if high is not None:
                high, below = step * (ceil(high / step) - 1 if below else floor(high / step)), False
        return Bounds(low, above, high, below)

    @cached_property
    def required(self) -> dict[str, Node]:
        """Names of properties that are always there, and who says so."""
        found: dict[str, Node] = {}
        for node, names in self.said("required"):
            for name in names:
                found.setdefault(name, node)
        pending = list(found)
        while pending:
            name = pending.pop()
            for node, needs in self.said("dependentRequired"):
                for other in needs.get(name, ()):
                    if other not in found:
                        found[other] = node
                        pending.append(other)
        return found

    @cached_property
    def names(self) -> list[str]:
        """The properties that any of its parts knows by name."""
        return list(dict.fromkeys([*(n for _, p in self.said("properties") for n in p), *self.required]))

    @cached_property
    def patterns(self) -> list[str]:
        """The patterns by which any of its parts knows properties."""
        return list(dict.fromkeys(p for _, ps in self.said("patternProperties") for p in ps))

    def member(self, name: str) -> Term:
        """What the property must fit."""
        return term_of([part for node in self.nodes for part in parts_of(node, name)])

    def rest(self, pattern: str | None = None) -> Term:
        """What a property must fit at the least that no part knows by name: one that matches `pattern`, where it is
        given, else one that matches none that is known here."""
        found: list[Node] = []
        for node in self.nodes:
            own = node.value.get("patternProperties") or {}
            if pattern is not None and pattern in own:
                found.append(node.below("patternProperties", pattern))
            elif pattern is None or not own:
                found += _others(node)
        return term_of(found)

    def item(self, index: int | None) -> Term:
        """What the item at `index` must fit, or one after all that have a place of their own."""
        found: list[Node] = []
        for node in self.nodes:
            prefix = node.value.get("prefixItems") or []
            if index is not None and index < len(prefix):
                found.append(node.below("prefixItems", index))
            elif "items" in node.value:
                found.append(node.below("items"))
            elif "unevaluatedItems" in node.value and not applies(node):
                found.append(node.below("unevaluatedItems"))
        return term_of(found)

    @property
    def placed(self) -> int:
        """How many items have a place of their own."""
        return max((len(p) for _, p in self.said("prefixItems")), default=0)


def applies(node: Node) -> bool:
    """Whether it evaluates members by what stands elsewhere, or only for some values."""
    return any(k in node.value for k in ("$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "contains"))


def _others(node: Node) -> list[Node]:
    """What the node says of properties that it does not know."""
    if "additionalProperties" in node.value:
        return [node.below("additionalProperties")]
    if "unevaluatedProperties" in node.value and not applies(node):
        return [node.below("unevaluatedProperties")]
    return []


def matches(pattern: str, name: str) -> bool:
    """Whether a property's name matches."""
    try:
        known = _NAMES.get(pattern)
        if known is None:
            if len(_NAMES) > 10_000:
                _NAMES.clear()
            known = jsonschema_rs.Draft202012Validator(
                {"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions()
            )
            _NAMES[pattern] = known
        return bool(known.is_valid(name))
    except (ValueError, jsonschema_rs.ValidationError):
        raise Spent from None


_NAMES: dict[str, jsonschema_rs.Draft202012Validator] = {}


def parts_of(node: Node, name: str) -> list[Node]:
    """What one subschema says of the property."""
    found = []
    if name in (node.value.get("properties") or {}):
        found.append(node.below("properties", name))
    found += [node.below("patternProperties", p) for p in node.value.get("patternProperties") or {} if matches(p, name)]
    return found or _others(node)


@dataclass
class Budget:
    """Steps that many comparisons may take together; a step is some 30 microseconds."""

    left: int = 300_000


class Expansion:
    """Conjunctions as unions of shapes, and which of these are empty."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._known: dict[TermKey, list[Shape]] = {}
        self._empty: dict[TermKey, bool] = {}
        self.steps = 0
        self.limit = 20_000
        """Steps that one comparison may take."""

    def step(self, steps: int = 1) -> None:
        """Counts steps; raises `Spent` when there were too many."""
        self.steps += steps
        self.budget.left -= steps
        if self.steps > self.limit or self.budget.left < 0:
            raise Spent

    def shapes(self, term: Term) -> list[Shape]:
        """The alternatives of a conjunction, without those that hold no value."""
        key = key_of(term)
        if key not in self._known:
            self._known[key] = self.extended(Shape(()), term)
        return self._known[key]

    def extended(self, shape: Shape, term: Sequence[Node], depth: int = 0) -> list[Shape]:
        """The alternatives of a shape and more subschemas."""
        found: list[Shape] = []
        for alternative in self._alternatives(list(term), shape, 0):
            if len(found) >= MAX_SHAPES:
                raise Spent
            kept = self._kept(alternative, depth)
            if kept is not None:
                found.append(kept)
        return found

    def apart(self, shape: Shape, term: Sequence[Node], depth: int = 0) -> bool:
        """Whether it is certain that no value of the shape fits the subschemas too."""
        try:
            return all(self._kept(a, depth) is None for a in self._alternatives(list(term), shape, 0))
        except Spent:
            return False

    def _alternatives(self, pending: list[Node], shape: Shape, depth: int) -> Iterator[Shape]:
        nodes, nots, kinds = list(shape.nodes), list(shape.nots), shape.kinds
        seen = {n.key for n in nodes}
        choices: list[list[tuple[list[Node], list[Node]]]] = []
        while pending:
            self.step()
            node = pending.pop()
            if node.value is True:
                continue
            if node.value is False:
                return
            if node.key in seen:
                continue
            seen.add(node.key)
            nodes.append(node)
            value = node.value
            if "type" in value:
                kinds &= kinds_of(value["type"])
            if "enum" in value:
                kinds &= frozenset(map(kind_of, value["enum"]))
            if "const" in value:
                kinds &= {kind_of(value["const"])}
            if "multipleOf" in value and exact(value["multipleOf"]).denominator == 1:
                kinds -= {"fraction"}
            if not kinds:
                return
            if isinstance(value.get("$ref"), str):
                pending.append(node.root.target(value["$ref"]))
            pending += [node.below("allOf", i) for i in range(len(value.get("allOf", ())))]
            if "not" in value:
                nots.append(node.below("not"))
            for keyword in ("anyOf", "oneOf"):
                if keyword in value:
                    choices.append([([node.below(keyword, i)], []) for i in range(len(value[keyword]))])
            if "if" in value and ("then" in value or "else" in value):
                condition = node.below("if")
                yes = [condition, *([node.below("then")] if "then" in value else [])]
                no = [node.below("else")] if "else" in value else []
                choices.append([(yes, []), (no, [condition])])
        here = Shape(tuple(nodes), tuple(nots), kinds, shape.split)
        if not choices:
            yield here
            return
        if depth > MAX_DEPTH:
            raise Spent
        yield from self._chosen(choices, here, depth)

    def _chosen(self, choices: list[list[tuple[list[Node], list[Node]]]], shape: Shape, depth: int) -> Iterator[Shape]:
        if not choices:
            yield shape
            return
        for more, nots in choices[0]:
            started = Shape(shape.nodes, (*shape.nots, *nots), shape.kinds, shape.split)
            for found in self._alternatives(list(more), started, depth + 1):
                yield from self._chosen(choices[1:], found, depth)

    def _kept(self, shape: Shape, depth: int) -> Shape | None:
        """The shape without the kinds of which it has no value; None where none is left."""
        kinds = set(shape.kinds)
        if kinds & NUMBERS and shape.bounds.empty:
            kinds -= NUMBERS
        longest = shape.lowest("maxLength")
        if longest is not None and shape.highest("minLength") > longest:
            kinds.discard("string")
        if "array" in kinds and self._no_array(shape, depth):
            kinds.discard("array")
        if "object" in kinds and self._no_object(shape, depth):
            kinds.discard("object")
        if not kinds:
            return None
        if kinds != shape.kinds:
            shape = Shape(shape.nodes, shape.nots, frozenset(kinds), shape.split)
        if shape.values is not None and not shape.values:
            return None
        return None if any(n.value is True for n in shape.nots) else shape

    def _no_array(self, shape: Shape, depth: int) -> bool:
        least, most = shape.highest("minItems"), shape.lowest("maxItems")
        if most is not None and least > most:
            return True
        return any(
            self.empty(shape.item(i if i < shape.placed else None), depth + 1)
            for i in range(min(least, shape.placed + 1))
        )

    def _no_object(self, shape: Shape, depth: int) -> bool:
        least = max(shape.highest("minProperties"), len(shape.required))
        most = shape.lowest("maxProperties")
        if most is not None and least > most:
            return True
        if any(self.empty(shape.member(name), depth + 1) for name in shape.required):
            return True
        return least > 0 and not shape.patterns and least > self.possible(shape, depth)

    def possible(self, shape: Shape, depth: int = 0) -> float:
        """How many properties an object of the shape can have."""
        if shape.patterns or not self.empty(shape.rest(), depth + 1):
            return float("inf")
        return sum(not self.empty(shape.member(name), depth + 1) for name in shape.names)

    def empty(self, term: Term, depth: int = 0) -> bool:
        """Whether it is certain that no value fits."""
        if any(n.value is False for n in term):
            return True
        if not term or depth > 6:
            return False
        key = key_of(term)
        if key not in self._empty:
            self._empty[key] = False  # A value that must hold itself has an end somewhere, or is caught by the depth.
            self._empty[key] = self.apart(Shape(()), term, depth)
        return self._empty[key]
