"""Values for trying out: such as a schema may take, near the borders of another."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from stoa_compiler.compatibility import regular
from stoa_compiler.compatibility.nodes import NUMBERS, Expansion, Node, Shape, Term

MAX_CANDIDATES = 80
_TEXTS = (
    "",
    "a",
    "0",
    "A1",
    "no such value",
    "2026-01-31",
    "2026-01-31T10:00:00Z",
    "a@b.example",
    "https://a.example/b",
)
_IDS = ("3f2b8f6e-6f0a-4a0e-9b1a-2f6f6a3f1c11", "127.0.0.1", "::1", "a.example", "10:00:00Z", "P1D")


def candidates(expansion: Expansion, term: Term, wide: Node) -> Iterator[Any]:
    """Values that the conjunction may take, those first at which the schema may differ."""
    hints = list(_hints(wide.value))
    for shape in expansion.shapes(term):
        yield from islice(_of(expansion, shape, hints, 0), MAX_CANDIDATES)


def written(value: Any) -> str:
    """A value as JSON in few words."""
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 120 else f"{text[:117]}..."


def _hints(schema: Any) -> Iterator[Any]:
    """What the schema's own keywords name."""
    pending, seen = [schema], 0
    while pending and seen < 60:
        node = pending.pop()
        seen += 1
        if not isinstance(node, Mapping):
            continue
        yield from node.get("enum", ())
        if "const" in node:
            yield node["const"]
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
            if isinstance(node.get(keyword), (int, float)):
                yield from (node[keyword] - 1, node[keyword], node[keyword] + 1)
        for keyword in ("minLength", "maxLength"):
            if isinstance(node.get(keyword), int) and node[keyword] < 2000:
                yield from ("a" * max(0, node[keyword] - 1), "a" * (node[keyword] + 1))
        for keyword in ("anyOf", "oneOf", "allOf"):
            pending += node.get(keyword, ())
        pending += [node[k] for k in ("not", "if", "then", "else") if k in node]


def _of(expansion: Expansion, shape: Shape, hints: list[Any], depth: int) -> Iterator[Any]:
    if shape.values is not None:
        yield from shape.values
        return
    yield from hints
    if "string" in shape.kinds:
        yield from _texts(shape)
    if shape.kinds & NUMBERS:
        yield from _numbers(shape)
    if "array" in shape.kinds:
        yield from _arrays(expansion, shape, depth)
    if "object" in shape.kinds:
        yield from _objects(expansion, shape, depth)
    yield from (v for k, vs in (("null", [None]), ("boolean", [True, False])) if k in shape.kinds for v in vs)


def _numbers(shape: Shape) -> Iterator[Any]:
    for bound in (shape.bounds.low, shape.bounds.high):
        if bound is not None:
            whole = int(bound)
            yield from (whole, whole + 1, whole - 1, float(bound))
    yield from (0, 1, -1, 7, 10**6)
    for _, step in shape.said("multipleOf"):
        yield from (step, step * 3, step * 7)
    if "fraction" in shape.kinds:
        yield from (0.5, 1.5, -2.25)


def _texts(shape: Shape) -> Iterator[str]:
    least, most = shape.highest("minLength"), shape.lowest("maxLength")
    patterns = [p for _, p in shape.said("pattern")]
    if patterns:
        found = regular.includes(patterns, least, most, "a^").witness
        if found is not None:
            yield found
    yield from ("a" * n for n in {least, least + 1, least if most is None else most} if n < 5000)
    yield from _TEXTS
    yield from _IDS


def _arrays(expansion: Expansion, shape: Shape, depth: int) -> Iterator[list[Any]]:
    least, most = shape.highest("minItems"), shape.lowest("maxItems")
    if least > 20 or depth > 3:
        return
    prefix = [_one(expansion, shape.item(i), depth) for i in range(shape.placed)]
    rest = list(islice(_all(expansion, shape.item(None), depth), 6)) or [None]
    for count in sorted({least, least + 1, 0, 2, min(20, least if most is None else most)}):
        yield [*prefix, *([rest[0]] * max(0, count - len(prefix)))][:count]
        yield [*prefix, *(rest[i % len(rest)] for i in range(max(0, count - len(prefix))))][:count]


def _objects(expansion: Expansion, shape: Shape, depth: int) -> Iterator[dict[str, Any]]:
    if depth > 3:
        return
    least = {name: _one(expansion, shape.member(name), depth) for name in shape.required}
    yield least
    for name in shape.names[:12]:
        for value in islice(_all(expansion, shape.member(name), depth), 4):
            yield {**least, name: value}
    yield {**{name: _one(expansion, shape.member(name), depth) for name in shape.names[:40]}, **least}
    yield {**least, "of-another-name": _one(expansion, shape.rest(), depth)}


def _all(expansion: Expansion, term: Term, depth: int) -> Iterator[Any]:
    for shape in expansion.shapes(term):
        for value in islice(_of(expansion, shape, [], depth + 1), 40):
            if all(n.takes(value) for n in term):
                yield value


def _one(expansion: Expansion, term: Term, depth: int) -> Any:
    return next(_all(expansion, term, depth), None)
