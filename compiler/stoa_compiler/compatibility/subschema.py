"""Whether every value that one schema takes is taken by another: a proof, a reason, or that nobody can tell.

The narrower side is taken apart into shapes, plain conjunctions whose union it is; each shape must fit the wider side,
keyword by keyword. What is dropped of the narrower side only makes it wider, so that a proof stays a proof. Pairs of
subschemas that are met again below themselves are taken as proved: values are finite, so that is an induction on
their depth.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import inf
from typing import Any, Literal, TypeAlias

from stoa_compiler.compatibility import regular, samples
from stoa_compiler.compatibility.nodes import (
    KINDS,
    MAX_DEPTH,
    NUMBERS,
    Budget,
    Expansion,
    Node,
    Pointer,
    Root,
    Shape,
    Spent,
    Term,
    applies,
    exact,
    key_of,
    kinds_of,
    parts_of,
    term_of,
)
from stoa_compiler.records import record

Family: TypeAlias = Literal[
    "bound",
    "claimed",
    "closed",
    "condition",
    "dependency",
    "enum",
    "excluded",
    "format",
    "items",
    "length",
    "names",
    "pattern",
    "required",
    "property",
    "size",
    "type",
    "union",
    "unproven",
]
"""What a difference is about."""

Place: TypeAlias = tuple[str, ...]
"""Where in the value: names of properties, `[]` for an item, `*` for a property of any other name."""

MAX_SPENT = 3
"""Parts whose comparison may be given up before the whole is."""
MAX_PROBLEMS = 40
"""Differences that are told of one pair of subschemas."""


@record
class Problem:
    """One way in which the narrower schema takes what the wider does not."""

    family: Family
    place: Place
    narrow: str
    """What the narrower says there, in words."""
    wide: str
    narrow_at: Pointer
    wide_at: Pointer
    certain: bool = True
    """Whether there is such a value, as far as the place itself can be reached."""
    name: str = ""
    """The property that it is about."""
    example: str = ""
    """A value at the place that only the narrower takes, as JSON."""


@record
class Verdict:
    """Whether the wider schema takes all that the narrower takes."""

    answer: Literal["compatible", "breaking", "unknown"]
    problems: tuple[Problem, ...] = ()

    @property
    def pointer(self) -> str:
        """Where the first difference stands in the wider schema."""
        return "".join(f"/{step}" for step in self.problems[0].wide_at) if self.problems else ""

    @property
    def why(self) -> str:
        """The first difference in words."""
        if not self.problems:
            return ""
        first = self.problems[0]
        return f"`{shown(first.place)}`: {first.narrow or 'anything'} is not within {first.wide or 'anything'}"


def accepts_all(narrower: Any, wider: Any, budget: Budget | None = None) -> Verdict:
    """The verdict on two schemas of JSON Schema 2020-12, each with references into itself only.

    `budget` is shared by comparisons that together must end in a given time; what they do not get to is unknown.
    """
    comparison = _Comparison(Expansion(budget or Budget()))
    try:
        problems = comparison.check(term_of([Root(narrower).node]), Root(wider).node)
    except (Spent, RecursionError):
        problems = [Problem("unproven", (), "too much to compare", "", (), (), certain=False)]
    if not problems:
        return Verdict("compatible")
    certain = any(p.certain for p in problems)
    return Verdict("breaking" if certain else "unknown", tuple(problems))


def shown(place: Place) -> str:
    """The place as people write it: `customer.lines[].amount`."""
    text = ""
    for step in place:
        text += step if step.startswith("[") or not text else f".{step}"
    return text


def said(value: Any) -> str:
    """A value of a schema in few words."""
    return samples.written(value)


@dataclass
class _Comparison:
    """One pair of whole schemas being compared."""

    expansion: Expansion
    proved: dict[tuple[Any, ...], None] = field(default_factory=dict)
    refuted: dict[tuple[Any, ...], list[Problem]] = field(default_factory=dict)
    opened: dict[tuple[Any, ...], int] = field(default_factory=dict)
    level: int = 0
    """How many values deep."""
    trying: int = 0
    depth: int = 0
    spent: int = 0
    """How often the work for one part was too much."""

    # Pairs

    def check(self, term: Term, wide: Node) -> list[Problem]:
        """Why the conjunction is not within the schema; nothing where it is."""
        if wide.value is True or wide.value == {} or any(n.value is False for n in term):
            return []
        if any(n.same(wide) for n in term):
            return []
        key = (key_of(term), wide.key)
        if key in self.proved:
            return []
        if key in self.refuted:
            return self.refuted[key]
        if key in self.opened:
            # Met again at a deeper value: the induction's hypothesis. At the same value it would prove itself.
            return [] if self.opened[key] < self.level else [self._unproven(term, wide, "the schema leads to itself")]
        self.expansion.step()
        self.depth += 1
        if self.depth > MAX_DEPTH * 2:
            raise Spent
        self.opened[key] = self.level
        before = len(self.proved)
        try:
            problems: list[Problem] = []
            for shape in self.expansion.shapes(term):
                problems += self.within(shape, wide)
                if len(problems) > MAX_PROBLEMS:
                    break
            problems = self._distinct(problems)
            if any(not p.certain and not p.place for p in problems):
                problems = self._witnessed(term, wide, problems)
        finally:
            del self.opened[key]
            self.depth -= 1
        if problems:
            self._forget(before)
            if not self.trying:
                self.refuted[key] = problems
        else:
            self.proved[key] = None
        return problems

    def _forget(self, before: int) -> None:
        """Takes back proofs that may rest on a hypothesis which failed."""
        for key in list(self.proved)[before:]:
            del self.proved[key]

    def below(self, term: Term, wide: Node, step: str) -> list[Problem]:
        """The same one value deeper."""
        self.level += 1
        try:
            return [replace(p, place=(step, *p.place)) for p in self.check(term, wide)]
        except Spent:
            # One part that takes too much work must not hide what is found beside it.
            if self.trying or self.spent >= MAX_SPENT:
                raise
            self.spent += 1
            self.expansion.steps = 0
            return [replace(self._unproven(term, wide, "too much to compare"), place=(step,))]
        finally:
            self.level -= 1

    def tried(self, attempt: Callable[[], list[Problem]]) -> list[Problem]:
        """The problems of an attempt that need not succeed; its proofs are forgotten where it fails."""
        before = len(self.proved)
        self.trying += 1
        try:
            problems = attempt()
        finally:
            self.trying -= 1
        if problems:
            self._forget(before)
        return problems

    def _distinct(self, problems: Iterable[Problem]) -> list[Problem]:
        seen: dict[tuple[Any, ...], Problem] = {}
        for p in problems:
            key = (p.family, p.place, p.narrow_at, p.wide_at, p.name)
            if key not in seen or (p.certain and not seen[key].certain):
                seen[key] = p
        return list(seen.values())[:MAX_PROBLEMS]

    def _unproven(self, term: Term, wide: Node, why: str) -> Problem:
        at = term[0].pointer if term else ()
        return Problem("unproven", (), why, "", at, wide.pointer, certain=False)

    def _witnessed(self, term: Term, wide: Node, problems: list[Problem]) -> list[Problem]:
        """The problems, certain where a value is found that only the narrower takes."""
        if self.trying:
            return problems
        try:
            for value in samples.candidates(self.expansion, term, wide):
                if all(n.takes(value) for n in term) and not wide.takes(value):
                    return [
                        replace(p, certain=True, example=said(value))
                        if not p.certain and not p.place and p.family != "claimed"
                        else p
                        for p in problems
                    ]
        except Spent:
            pass
        return problems

    # One shape

    def within(self, shape: Shape, wide: Node) -> list[Problem]:
        """Why the shape is not within the schema."""
        value = wide.value
        if value is True or value == {}:
            return []
        if value is False:
            return [self._problem("excluded", shape, wide, (), self._kinds(shape), "nothing")]
        if any(n.same(wide) for n in shape.nodes):
            return []
        self.expansion.step()
        if shape.values is not None:
            lost = [v for v in shape.values if not wide.takes(v)]
            if not lost:
                return []
            at = next((k for k in ("enum", "const", "type", "anyOf", "oneOf", "not") if k in value), "")
            family: Family = _OF_VALUES.get(at, "enum")
            narrow = ", ".join(map(said, lost[:8])) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
            wider = "a schema that refuses it"
            if at == "type":
                wider = self._kinds_of(wide)
            elif at in ("enum", "const"):
                wider = said(value[at])
            elif at in ("anyOf", "oneOf"):
                wider = f"none of {len(value[at])} arms"
            found = self._problem(family, shape, wide, (at,) if at else (), narrow, wider, certain=True)
            return [replace(found, certain=True, example=said(lost[0]))]
        self.depth += 1
        if self.depth > MAX_DEPTH * 2:
            raise Spent
        try:
            return self._keywords(shape, wide)
        finally:
            self.depth -= 1

    def _keywords(self, shape: Shape, wide: Node) -> list[Problem]:
        value, problems = wide.value, []
        if isinstance(value.get("$ref"), str):
            problems += self.within(shape, wide.root.target(value["$ref"]))
        for index in range(len(value.get("allOf", ()))):
            problems += self.within(shape, wide.below("allOf", index))
        if "anyOf" in value:
            problems += self._any(shape, wide, "anyOf")
        if "oneOf" in value:
            problems += self._one(shape, wide)
        if "not" in value:
            problems += self._not(shape, wide)
        if "$dynamicRef" in value:
            problems.append(self._opaque(shape, wide, "$dynamicRef"))
        if "if" in value and ("then" in value or "else" in value):
            problems += self._if(shape, wide)
        if "type" in value:
            more = shape.kinds - kinds_of(value["type"])
            if more:
                problems.append(self._problem("type", shape, wide, ("type",), self._kinds(shape), self._kinds_of(wide)))
                shape = Shape(shape.nodes, shape.nots, shape.kinds - more, shape.split)
                if not shape.kinds:
                    return problems
        for keyword in ("enum", "const"):
            if keyword in value:
                vague = any(k in n.value for n in shape.nodes for k in ("pattern", "format", "multipleOf", "contains"))
                narrow, wider = self._words(shape), said(value[keyword])
                problems.append(self._problem("enum", shape, wide, (keyword,), narrow, wider, certain=not vague))
        if shape.kinds & NUMBERS:
            problems += self._numbers(shape, wide)
        if "string" in shape.kinds:
            problems += self._strings(shape, wide)
        if "array" in shape.kinds:
            problems += self._arrays(shape, wide)
        if "object" in shape.kinds:
            problems += self._objects(shape, wide)
        return problems

    def _problem(
        self,
        family: Family,
        shape: Shape,
        wide: Node,
        at: Pointer,
        narrow: str,
        wider: str,
        *,
        by: Node | None = None,
        certain: bool = True,
        name: str = "",
    ) -> Problem:
        """A problem at this very value. `by`: who says it on the narrower side."""
        origin = by or next((n for n in shape.nodes if at and at[0] in n.value), None)
        narrow_at = (*origin.pointer, *at) if origin and at and at[0] in origin.value else ()
        if not narrow_at:
            narrow_at = shape.nodes[0].pointer if shape.nodes else ()
        if shape.nots:
            certain = False
        return Problem(family, (), narrow, wider, narrow_at, (*wide.pointer, *at), certain, name)

    def _kinds(self, shape: Shape) -> str:
        return _types(shape.kinds)

    def _kinds_of(self, wide: Node) -> str:
        return _types(kinds_of(wide.value["type"]))

    def _words(self, shape: Shape) -> str:
        for keyword in ("enum", "const", "type"):
            for _, value in shape.said(keyword):
                return said(value) if keyword != "type" else self._kinds(shape)
        return "any value"

    # Applicators

    def _any(self, shape: Shape, wide: Node, keyword: str) -> list[Problem]:
        arms = [wide.below(keyword, i) for i in range(len(wide.value[keyword]))]
        return self._some(shape, wide, keyword, arms)

    def _some(self, shape: Shape, wide: Node, keyword: str, arms: Sequence[Node]) -> list[Problem]:
        """Why the shape is not within the union of the arms."""
        attempts = []
        for arm in arms:
            problems = self.tried(lambda arm=arm: self.within(shape, arm))  # type: ignore[misc]
            if not problems:
                return []
            attempts.append(problems)
        parts = self._parts(shape)
        if len(parts) > 1:
            return [p for part in parts for p in self._some(part, wide, keyword, arms)]
        near = [i for i, arm in enumerate(arms) if not self.disjoint(shape, arm)]
        if len(near) == 1:
            return self.within(shape, arms[near[0]])
        if not near:
            found = self._problem("union", shape, wide, (keyword,), self._words(shape), f"none of {len(arms)} arms")
            return [found]
        best = min((attempts[i] for i in near), key=len)
        narrow = best[0].narrow or self._words(shape)
        found = self._problem("union", shape, wide, (keyword,), narrow, f"none of {len(arms)} arms", certain=False)
        return [found]

    def _one(self, shape: Shape, wide: Node) -> list[Problem]:
        arms = [wide.below("oneOf", i) for i in range(len(wide.value["oneOf"]))]
        near = [a for a in arms if not self.disjoint(shape, a)]
        apart = all(self._apart(one, other, shape) for i, one in enumerate(near) for other in near[i + 1 :])
        problems = self._some(shape, wide, "oneOf", arms)
        if problems or apart:
            return problems
        found = self._problem(
            "union", shape, wide, ("oneOf",), self._words(shape), "exactly one arm: two may take it", certain=False
        )
        return [found]

    def _apart(self, one: Node, other: Node, shape: Shape) -> bool:
        """Whether no value of the shape fits both."""
        return self.expansion.apart(shape, [one, other])

    def _parts(self, shape: Shape) -> list[Shape]:
        """The shape in parts, by kind of value, else by the values of a property that tells kinds of objects apart."""
        groups = [NUMBERS & shape.kinds, *({k} for k in sorted(shape.kinds - NUMBERS))]
        groups = [g for g in groups if g]
        if len(groups) > 1:
            return [Shape(shape.nodes, shape.nots, frozenset(g), shape.split) for g in groups]
        if shape.kinds == NUMBERS:
            return [Shape(shape.nodes, shape.nots, frozenset({k}), shape.split) for k in sorted(NUMBERS)]
        if shape.kinds == {"object"}:
            for name in shape.required:
                if name in shape.split:
                    continue
                found = self.expansion.shapes(shape.member(name))
                values = [v for s in found for v in s.values or ()]
                if all(s.values is not None for s in found) and 1 < len(values) <= 32:
                    return [self._with(shape, name, v) for v in values]
        return [shape]

    def _with(self, shape: Shape, name: str, value: Any) -> Shape:
        """The shape of those objects whose property has this value."""
        home = next((n for n in shape.nodes if name in (n.value.get("properties") or {})), shape.nodes[0])
        fixed = home.root.made({"properties": {name: {"const": value}}}, home.pointer)
        return Shape((*shape.nodes, fixed), shape.nots, shape.kinds, shape.split | {name})

    def disjoint(self, shape: Shape, wide: Node) -> bool:
        """Whether it is certain that no value fits both."""
        return self.expansion.apart(shape, [wide])

    def _not(self, shape: Shape, wide: Node) -> list[Problem]:
        refused = wide.below("not")
        if self.disjoint(shape, refused):
            return []
        for mine in shape.nots:
            if not self.tried(lambda mine=mine: self.check(term_of([refused]), mine)):  # type: ignore[misc]
                return []
        found = self._problem(
            "excluded", shape, wide, ("not",), self._words(shape), f"not {said(refused.value)}", certain=False
        )
        return [found]

    def _if(self, shape: Shape, wide: Node) -> list[Problem]:
        condition, problems = wide.below("if"), []
        if "then" in wide.value:
            for part in self.expansion.extended(shape, [condition]):
                problems += self.within(part, wide.below("then"))
        if "else" in wide.value and self.tried(lambda: self.within(shape, condition)):
            part = Shape(shape.nodes, (*shape.nots, condition), shape.kinds, shape.split)
            problems += self.within(part, wide.below("else"))
        if not problems:
            return []
        first = problems[0]
        narrow, wider = first.narrow or self._words(shape), first.wide
        return [replace(self._problem("condition", shape, wide, ("if",), narrow, wider, certain=False))]

    # Numbers

    def _numbers(self, shape: Shape, wide: Node) -> list[Problem]:
        value, bounds, problems = wide.value, shape.bounds, []

        def fails(keyword: str, low: bool, strict: bool) -> bool:
            wanted = exact(value[keyword])
            have, excluded = (bounds.low, bounds.above) if low else (bounds.high, bounds.below)
            if have is None:
                return True
            if have == wanted:
                return strict and not excluded
            return have < wanted if low else have > wanted

        for keyword, low, strict in (
            ("minimum", True, False),
            ("exclusiveMinimum", True, True),
            ("maximum", False, False),
            ("exclusiveMaximum", False, True),
        ):
            if keyword in value and fails(keyword, low, strict):
                have = bounds.low if low else bounds.high
                narrow = "no bound" if have is None else f"{keyword} {_digits(have)}"
                pair = ("minimum", "exclusiveMinimum") if low else ("maximum", "exclusiveMaximum")
                by = next((n for k in pair for n, v in shape.said(k)), None)
                found = self._problem(
                    "bound", shape, wide, (keyword,), narrow, f"{keyword} {said(value[keyword])}", by=by
                )
                problems.append(found)
        if "multipleOf" in value:
            step = exact(value["multipleOf"])
            mine = [exact(m) for _, m in shape.said("multipleOf")]
            steps = [*mine, *([Fraction(1)] if "fraction" not in shape.kinds else [])]
            if not any((s / step).denominator == 1 for s in steps):
                narrow = f"multipleOf {_digits(mine[0])}" if mine else "no multipleOf"
                wider = f"multipleOf {said(value['multipleOf'])}"
                found = self._problem("bound", shape, wide, ("multipleOf",), narrow, wider, certain=False)
                problems.append(found)
        wanted_format = value.get("format")
        if wanted_format in _NUMERIC_FORMATS:
            problems += self._formats(shape, wide, _NUMERIC_FORMATS)
        return problems

    def _formats(self, shape: Shape, wide: Node, known: Mapping[str, frozenset[str]]) -> list[Problem]:
        wanted = wide.value["format"]
        have = [f for _, f in shape.said("format")]
        if any(wanted == f or wanted in known.get(f, ()) for f in have):
            return []
        narrow = f"format {have[0]}" if have else "no format"
        found = self._problem("format", shape, wide, ("format",), narrow, f"format {wanted}")
        return [found]

    # Strings

    def _strings(self, shape: Shape, wide: Node) -> list[Problem]:
        value, problems = wide.value, []
        least, most = shape.highest("minLength"), shape.lowest("maxLength")
        patterns = [p for _, p in shape.said("pattern")]
        if (
            value.get("minLength", 0) > least
            and not regular.includes(patterns, least, most, f"^[\\s\\S]{{{int(value['minLength'])},}}$").holds
        ):
            narrow = f"minLength {least}" if least else "no minLength"
            problems.append(
                self._problem(
                    "length",
                    shape,
                    wide,
                    ("minLength",),
                    narrow,
                    f"minLength {value['minLength']}",
                    certain=not patterns,
                )
            )
        if (
            "maxLength" in value
            and (most is None or most > value["maxLength"])
            and not regular.includes(patterns, least, most, f"^[\\s\\S]{{0,{int(value['maxLength'])}}}$").holds
        ):
            narrow = "no maxLength" if most is None else f"maxLength {most}"
            problems.append(
                self._problem(
                    "length",
                    shape,
                    wide,
                    ("maxLength",),
                    narrow,
                    f"maxLength {value['maxLength']}",
                    certain=not patterns,
                )
            )
        if "pattern" in value and value["pattern"] not in patterns:
            inclusion = regular.includes(patterns, least, most, value["pattern"])
            self.expansion.step(20 if inclusion.holds or inclusion.witness is not None else 1_000)
            if not inclusion.holds:
                narrow = f"pattern {patterns[0]}" if patterns else "no pattern"
                certain = inclusion.witness is not None
                found = self._problem(
                    "pattern", shape, wide, ("pattern",), narrow, f"pattern {value['pattern']}", certain=certain
                )
                example = said(inclusion.witness) if inclusion.witness is not None else ""
                problems.append(replace(found, example=example))
        if "format" in value and value["format"] not in _NUMERIC_FORMATS:
            problems += self._formats(shape, wide, _FORMATS)
        for keyword in ("contentEncoding", "contentMediaType"):
            if keyword in value and value[keyword] not in [v for _, v in shape.said(keyword)]:
                have = [v for _, v in shape.said(keyword)]
                narrow = f"{keyword} {have[0]}" if have else f"no {keyword}"
                problems.append(self._problem("format", shape, wide, (keyword,), narrow, f"{keyword} {value[keyword]}"))
        return problems

    # Arrays

    def _arrays(self, shape: Shape, wide: Node) -> list[Problem]:
        value, problems = wide.value, []
        least, most = shape.highest("minItems"), shape.lowest("maxItems")
        for keyword, fails, have in (
            ("minItems", value.get("minItems", 0) > least, least or None),
            ("maxItems", "maxItems" in value and self._most(shape, most) > value["maxItems"], most),
        ):
            if fails:
                narrow = f"no {keyword}" if have is None else f"{keyword} {have}"
                problems.append(self._problem("size", shape, wide, (keyword,), narrow, f"{keyword} {value[keyword]}"))
        unique = any(v is True for _, v in shape.said("uniqueItems"))
        if value.get("uniqueItems") is True and not unique and self._most(shape, most) > 1:
            problems.append(self._problem("items", shape, wide, ("uniqueItems",), "equal items", "unique items"))
        prefix = value.get("prefixItems") or []
        places = max(len(prefix), shape.placed)
        for index in range(places):
            if most is not None and index >= most:
                break
            node = (
                wide.below("prefixItems", index)
                if index < len(prefix)
                else wide.below("items")
                if "items" in value
                else None
            )
            if node is not None:
                problems += self._item(shape.item(index), node, f"[{index}]", shape, wide)
        if "items" in value and (most is None or most > places):
            problems += self._item(shape.item(None), wide.below("items"), "[]", shape, wide)
        if "unevaluatedItems" in value and value["unevaluatedItems"] is not True:
            if applies(wide) or "items" in value:
                if "items" not in value:
                    problems.append(self._opaque(shape, wide, "unevaluatedItems"))
            elif most is None or most > len(prefix):
                for index in range(len(prefix), places):
                    problems += self._item(shape.item(index), wide.below("unevaluatedItems"), f"[{index}]", shape, wide)
                problems += self._item(shape.item(None), wide.below("unevaluatedItems"), "[]", shape, wide)
        if "contains" in value:
            problems += self._contains(shape, wide, least, most)
        return problems

    def _item(self, term: Term, wide: Node, step: str, shape: Shape, whole: Node) -> list[Problem]:
        if wide.value is False:
            if self.expansion.empty(term):
                return []
            return [self._problem("size", shape, whole, (wide.pointer[-1],), "more items", "no more items")]
        if self.expansion.empty(term):
            return []
        return self.below(term, wide, step)

    def _most(self, shape: Shape, most: int | None) -> float:
        """How many items there can be."""
        if self.expansion.empty(shape.item(None)):
            return min(shape.placed, inf if most is None else most)
        return inf if most is None else most

    def _contains(self, shape: Shape, wide: Node, least: int, most: int | None) -> list[Problem]:
        value, wanted = wide.value, wide.below("contains")
        count, problems = value.get("minContains", 1), []
        every = all(
            not self.tried(lambda t=term: self.below(t, wanted, "[]"))  # type: ignore[misc]
            for term in [*(shape.item(i) for i in range(shape.placed)), shape.item(None)]
        )
        if count > 0 and not (every and least >= count):
            for mine, inner in shape.said("contains"):
                del inner
                if mine.value.get("minContains", 1) >= count and not self.tried(
                    lambda mine=mine: self.below(term_of([mine.below("contains")]), wanted, "[]")  # type: ignore[misc]
                ):
                    break
            else:
                narrow = f"{self._contained(shape)}"
                found = self._problem("items", shape, wide, ("contains",), narrow, "an item that fits", certain=False)
                problems.append(found)
        if "maxContains" in value and not self._most(shape, most) <= value["maxContains"]:
            limit = value["maxContains"]
            for mine, _ in shape.said("contains"):
                have = mine.value.get("maxContains")
                if (
                    have is not None
                    and have <= limit
                    and not self.tried(
                        lambda mine=mine: self.below(term_of([wanted]), mine.below("contains"), "[]")  # type: ignore[misc]
                    )
                ):
                    break
            else:
                found = self._problem(
                    "items", shape, wide, ("maxContains",), "more of such items", f"maxContains {limit}", certain=False
                )
                problems.append(found)
        return problems

    def _contained(self, shape: Shape) -> str:
        return next((f"contains {said(v)}" for _, v in shape.said("contains")), "no contains")

    def _opaque(self, shape: Shape, wide: Node, keyword: str) -> Problem:
        """What is not looked into."""
        narrow = next((f"{keyword} {said(v)}" for _, v in shape.said(keyword)), f"no {keyword}")
        return self._problem(
            "unproven", shape, wide, (keyword,), narrow, f"{keyword} {said(wide.value[keyword])}", certain=False
        )

    # Objects

    def _objects(self, shape: Shape, wide: Node) -> list[Problem]:
        problems = self._names_and_sizes(shape, wide)
        problems += self._properties(shape, wide)
        value = wide.value
        if (
            "additionalProperties" not in value
            and value.get("unevaluatedProperties", True) is not True
            and applies(wide)
        ):
            problems.append(self._opaque(shape, wide, "unevaluatedProperties"))
        if "dependentSchemas" in value:
            for name in value["dependentSchemas"]:
                if self.expansion.empty(shape.member(name)):
                    continue
                needs = wide.root.made({"required": [name]}, wide.pointer)
                for part in self.expansion.extended(shape, [needs]):
                    found = self.within(part, wide.below("dependentSchemas", name))
                    if found:
                        said_of = self._problem(
                            "dependency",
                            shape,
                            wide,
                            ("dependentSchemas", name),
                            found[0].narrow,
                            found[0].wide,
                            certain=False,
                            name=name,
                        )
                        problems.append(said_of)
                        break
        return problems

    def _names_and_sizes(self, shape: Shape, wide: Node) -> list[Problem]:
        value, problems = wide.value, []
        for index, name in enumerate(value.get("required", ())):
            if name not in shape.required:
                found = self._problem("required", shape, wide, (), f"without {name}", f"with {name}", name=name)
                problems.append(replace(found, wide_at=(*wide.pointer, "required", index)))
        least = max(shape.highest("minProperties"), len(shape.required))
        if value.get("minProperties", 0) > least:
            narrow = f"minProperties {least}" if least else "no minProperties"
            wider = f"minProperties {value['minProperties']}"
            problems.append(self._problem("size", shape, wide, ("minProperties",), narrow, wider))
        if "maxProperties" in value:
            most = shape.lowest("maxProperties")
            possible = self.expansion.possible(shape)
            if min(possible, inf if most is None else most) > value["maxProperties"]:
                narrow = "no maxProperties" if most is None else f"maxProperties {most}"
                wider = f"maxProperties {value['maxProperties']}"
                problems.append(self._problem("size", shape, wide, ("maxProperties",), narrow, wider))
        for name, needs in value.get("dependentRequired", {}).items():
            if self.expansion.empty(shape.member(name)):
                continue
            mine = {n for _, known in shape.said("dependentRequired") for n in known.get(name, ())}
            lacking = [n for n in needs if n not in shape.required and n not in mine and n != name]
            if lacking:
                found = self._problem(
                    "dependency",
                    shape,
                    wide,
                    ("dependentRequired", name),
                    f"{name} without {lacking[0]}",
                    f"{name} only with {lacking[0]}",
                    name=name,
                )
                problems.append(found)
        if "propertyNames" in value:
            problems += self._named(shape, wide)
        return problems

    def _named(self, shape: Shape, wide: Node) -> list[Problem]:
        rule = wide.below("propertyNames")
        bad = [
            n
            for n in shape.names
            if not self.expansion.empty(shape.member(n)) and self._may_be_called(shape, n) and not rule.takes(n)
        ]
        problems = []
        if bad:
            found = self._problem(
                "names", shape, wide, ("propertyNames",), f"{bad[0]}", f"names of {said(rule.value)}", name=bad[0]
            )
            problems.append(found)
        if shape.patterns or not self.expansion.empty(shape.rest()):
            mine = [n.below("propertyNames") for n, _ in shape.said("propertyNames")]
            text = wide.root.made({"type": "string"}, rule.pointer)
            inner = self.tried(lambda: self.check(term_of([*mine, text]), rule))
            if inner:
                narrow = f"names of {said(mine[0].value)}" if mine else "any name"
                certain = not shape.patterns and any(p.certain for p in inner)
                problems.append(
                    self._problem(
                        "names",
                        shape,
                        wide,
                        ("propertyNames",),
                        narrow,
                        f"names of {said(rule.value)}",
                        certain=certain,
                    )
                )
        return problems

    def _may_be_called(self, shape: Shape, name: str) -> bool:
        return all(n.below("propertyNames").takes(name) for n, _ in shape.said("propertyNames"))

    def _properties(self, shape: Shape, wide: Node) -> list[Problem]:
        value, problems = wide.value, []
        named: Mapping[str, Any] = value.get("properties") or {}
        patterns: Mapping[str, Any] = value.get("patternProperties") or {}
        if not named and not patterns and not _rules_others(wide):
            return []
        for name in dict.fromkeys([*named, *shape.names]):
            term = shape.member(name)
            if self.expansion.empty(term) or not self._may_be_called(shape, name):
                continue
            known = any(name in (n.value.get("properties") or {}) for n in shape.nodes)
            for part in parts_of(wide, name):
                if part.value is False:
                    narrow_at = self._declared(shape, name)
                    found = self._problem(
                        "property",
                        shape,
                        wide,
                        (),
                        f"{name}",
                        f"no {name}",
                        name=name,
                        certain=known or not shape.nots,
                    )
                    problems.append(replace(found, narrow_at=narrow_at or found.narrow_at))
                elif known or part.pointer[-2:] != ("properties", name):
                    problems += self.below(term, part, name)
                elif self.tried(lambda t=term, p=part, n=name: self.below(t, p, n)):  # type: ignore[misc]
                    # The narrower takes anything under a name that it does not know.
                    found = self._problem(
                        "claimed",
                        shape,
                        wide,
                        (),
                        f"anything as {name}",
                        self._words_of(part),
                        name=name,
                        certain=False,
                    )
                    problems.append(replace(found, wide_at=part.pointer))
        for pattern in dict.fromkeys([*shape.patterns, *patterns]):
            mine = [n for n in shape.nodes if pattern in (n.value.get("patternProperties") or {})]
            term = shape.rest(pattern)
            if self.expansion.empty(term):
                continue
            targets = [wide.below("patternProperties", p) for p in patterns]
            if pattern in patterns and len(patterns) == 1:
                targets = [wide.below("patternProperties", pattern)]
            elif pattern not in patterns:
                targets += self._others(wide)
            for target in targets:
                same = target.pointer[-1] == pattern
                found_below = self.below(term, target, f"/{pattern}/")
                certain = bool(mine) and same
                problems += [p if certain else replace(p, certain=False) for p in found_below]
        others = self._others(wide)
        if others:
            rest = shape.rest()
            if not self.expansion.empty(rest):
                if others[0].value is False:
                    by = next((n for n in shape.nodes if "additionalProperties" in n.value), None)
                    at = (others[0].pointer[-1],)
                    problems.append(
                        self._problem("closed", shape, wide, at, "properties of any other name", "no others", by=by)
                    )
                else:
                    problems += self.below(rest, others[0], "*")
        return problems

    def _others(self, wide: Node) -> list[Node]:
        if "additionalProperties" in wide.value:
            return [wide.below("additionalProperties")]
        if "unevaluatedProperties" in wide.value and not applies(wide):
            return [wide.below("unevaluatedProperties")]
        return []

    def _declared(self, shape: Shape, name: str) -> Pointer:
        for node in shape.nodes:
            if name in (node.value.get("properties") or {}):
                return (*node.pointer, "properties", name)
        return ()

    def _words_of(self, node: Node) -> str:
        value = node.value
        if isinstance(value, Mapping) and "type" in value:
            return self._kinds_of(node)
        return said(value)


def _rules_others(node: Node) -> bool:
    return "additionalProperties" in node.value or ("unevaluatedProperties" in node.value and not applies(node))


def _types(kinds: Iterable[str]) -> str:
    """The kinds as `type` names them."""
    found = set(kinds)
    if found >= KINDS:
        return "any type"
    if found >= NUMBERS:
        found = (found - NUMBERS) | {"number"}
    if "fraction" in found:
        found = (found - {"fraction"}) | {"number"}
    names = sorted(found)
    return names[0] if len(names) == 1 else " or ".join(names) if names else "nothing"


def _digits(number: Fraction) -> str:
    return str(number.numerator) if number.denominator == 1 else said(float(number))


_OF_VALUES: Mapping[str, Family] = {"type": "type", "anyOf": "union", "oneOf": "union", "not": "excluded"}
"""What it is about that listed values are refused, by the keyword that does."""
_NUMERIC_FORMATS: Mapping[str, frozenset[str]] = {
    "int8": frozenset({"int16", "int32", "int64", "double", "float"}),
    "int16": frozenset({"int32", "int64", "double", "float"}),
    "int32": frozenset({"int64", "double"}),
    "int64": frozenset(),
    "uint8": frozenset({"uint16", "uint32", "uint64", "int16", "int32", "int64"}),
    "uint16": frozenset({"uint32", "uint64", "int32", "int64"}),
    "uint32": frozenset({"uint64", "int64"}),
    "uint64": frozenset(),
    "float": frozenset({"double"}),
    "double": frozenset(),
    "decimal": frozenset(),
    "decimal128": frozenset(),
    "single-int": frozenset(),
    "double-int": frozenset(),
    "unixtime": frozenset(),
}
"""Formats of numbers, and which others hold all of their values."""
_FORMATS: Mapping[str, frozenset[str]] = {
    "email": frozenset({"idn-email"}),
    "hostname": frozenset({"idn-hostname"}),
    "uri": frozenset({"iri", "uri-reference", "iri-reference"}),
    "uri-reference": frozenset({"iri-reference"}),
    "iri": frozenset({"iri-reference"}),
}
"""Formats of text, and which others hold all of their values."""
