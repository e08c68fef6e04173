"""Every document is closed at every level: whatever is broken in a good one, a finding covers it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.load import Placed, load
from stoa_compiler.parse import parse_file
from stoa_compiler.source import Document, Loc, SourceFile, Span
from stoa_compiler.validate import validate_document
from stoa_schemas.documents import KINDS, AnyDocument
from tests.compiler.sources import BASE

PLACED = load(BASE, Report()).placed


def findings(place: Placed, text: str) -> tuple[AnyDocument | None, list[Diagnostic]]:
    """What the phases up to validate say of a document."""
    report = Report()
    file = SourceFile(place.file.path, place.file.path, text.encode())
    document = parse_file(file, report)
    value = None if document is None else validate_document(place, document, report)
    return value, report.sorted()


@pytest.mark.parametrize("place", PLACED, ids=lambda p: p.file.path)
def test_good_documents_fit(place: Placed) -> None:
    value, found = findings(place, place.file.content.decode())
    assert value is not None
    assert found == []


# One thing broken at a time, mechanically.


@dataclass(frozen=True)
class Broken:
    """A document with one mistake."""

    how: str
    place: Placed
    text: str
    at: tuple[int, int]
    """Line and column of the broken thing, in the broken text."""
    codes: tuple[str, ...]
    """Of the rules that may say so."""


@cache
def schema_of(kind: str) -> dict[str, Any]:
    return KINDS[kind].model_json_schema(by_alias=True)


def resolved(root: dict[str, Any], node: dict[str, Any], data: Any) -> dict[str, Any]:
    """A schema's node with references followed, null left out, and the union's branch that `data` chose."""
    while True:
        if "$ref" in node:
            node = root["$defs"][node["$ref"].rpartition("/")[2]]
        elif "anyOf" in node:
            node = next(n for n in node["anyOf"] if n.get("type") != "null")
        elif "oneOf" in node:
            node = {"$ref": node["discriminator"]["mapping"][data["type"]]}
        else:
            return node


@dataclass(frozen=True)
class Spot:
    """A place of a good document, and what its model says there."""

    loc: Loc
    value: Any
    node: dict[str, Any]
    closed: bool
    """Whether it is a key that the model declares, and not one of the author's choosing."""
    required: bool


def spots(kind: str, data: Any) -> Iterator[Spot]:
    root = schema_of(kind)

    def walk(loc: Loc, value: Any, node: dict[str, Any], closed: bool, required: bool) -> Iterator[Spot]:
        node = resolved(root, node, value)
        yield Spot(loc, value, node, closed, required)
        if isinstance(value, dict):
            of_pattern = next(iter(node.get("patternProperties", {}).values()), None)
            for key, below in value.items():
                own = node.get("properties", {}).get(key)
                child = own or node.get("additionalProperties") or of_pattern
                if isinstance(child, dict):
                    yield from walk((*loc, key), below, child, own is not None, key in node.get("required", ()))
        elif isinstance(value, list):
            for index, below in enumerate(value):
                yield from walk((*loc, index), below, node.get("items", {}), False, False)

    return walk((), data, root, False, False)


def put(document: Document, span: Span, words: str) -> str:
    """The document's text with other words at `span`."""
    lines = document.file.content.decode().split("\n")
    before, after = lines[span.line - 1][: span.column - 1], lines[span.end_line - 1][span.end_column - 1 :]
    return "\n".join([*lines[: span.line - 1], before + words + after, *lines[span.end_line :]])


def broken_documents(place: Placed) -> Iterator[Broken]:
    document = parse_file(place.file, Report())
    assert document is not None
    for spot in spots(place.kind, document.data):
        if spot.loc:
            yield from broken_key(place, document, spot)
            yield from broken_value(place, document, spot)


def broken_key(place: Placed, document: Document, spot: Spot) -> Iterator[Broken]:
    if not spot.closed:
        return
    name, key = str(spot.loc[-1]), document.span(spot.loc, "key")
    at = (key.line, key.column)
    yield Broken("key renamed", place, put(document, key, f"{name}zzz"), at, ("STOA201",))
    yield Broken("key in capitals", place, put(document, key, f"{name.upper()}_"), at, ("STOA201",))
    margin = document.file.lines[key.line - 1][: key.column - 1]
    if margin.strip() not in ("", "-"):
        return  # Within brackets, where one line holds several keys.
    before, indent = Span(key.file, *at, *at), "\n" + " " * len(margin)
    yield Broken("key unknown", place, put(document, before, f"zzz: 0{indent}"), at, ("STOA201",))
    second = (key.line + 1, key.column)
    yield Broken("key twice", place, put(document, before, f"{name}: 0{indent}"), second, ("STOA103",))
    if spot.required:
        value = document.span(spot.loc)
        whole = Span(key.file, *at, value.end_line, value.end_column)
        siblings = at_loc(document.data, spot.loc[:-1])
        parent = document.span(spot.loc[:-1], "key") if len(spot.loc) > 1 else Span(key.file, 1, 1, 1, 1)
        after = (key.line + 1, key.column)  # Where the parent begins when it began with the key.
        yield Broken(
            "key dropped",
            place,
            put(document, whole, "" if len(siblings) > 1 else "{}"),
            after if (parent.line, parent.column) == at else (parent.line, parent.column),
            ("STOA202",),
        )


def broken_value(place: Placed, document: Document, spot: Spot) -> Iterator[Broken]:
    span, node, header = document.span(spot.loc), spot.node, spot.loc[0] in ("apiVersion", "kind")
    at = (span.line, span.column)

    def broken(how: str, words: str, *codes: str) -> Broken:
        return Broken(how, place, put(document, span, words), at, ("STOA207",) if header else codes)

    if not node.keys() & {"type", "enum", "const"}:
        return  # The author's own value.
    if isinstance(spot.value, (dict, list)):
        yield broken("text for a list or mapping", "zzz", "STOA203")
        return
    yield broken("list for a scalar", "[zzz]", "STOA203", "STOA204")
    nothing = document.span(spot.loc, "key")
    yield Broken("no value", place, put(document, span, "~"), (nothing.line, nothing.column), ("STOA209",))
    if "enum" in node or "const" in node:
        yield broken("no such choice", "zzz", "STOA204")
    if node.get("type") == "string":
        yield broken("number for text", "12", "STOA203", "STOA204")
        if "pattern" in node and spot.loc[-1] == "secret":
            yield Broken(
                "not well formed", place, put(document, span, "' ?'"), (nothing.line, nothing.column), ("STOA205",)
            )
        elif "pattern" in node:
            yield broken("not well formed", "' ?'", "STOA205")
    if node.get("type") in ("integer", "number"):
        yield broken("text for a number", "'12'", "STOA203")
        yield broken("out of bounds", "-1", "STOA206")
    if node.get("type") == "boolean":
        yield broken("word for a truth value", "yes", "STOA203")


def at_loc(data: Any, loc: Loc) -> Any:
    for step in loc:
        data = data[step]
    return data


def covers(span: Span, at: tuple[int, int]) -> bool:
    return (span.line, span.column) <= at <= (span.end_line, span.end_column)


def test_whatever_is_broken_a_finding_covers_it() -> None:
    """Every key and value of every good document, broken in every way that fits: all are found, at their place."""
    tried, found_all, missed = Counter[str](), Counter[str](), []
    for place in PLACED:
        for broken in broken_documents(place):
            tried[broken.how] += 1
            value, found = findings(place, broken.text)
            if value is None and any(d.rule.code in broken.codes and covers(d.span, broken.at) for d in found):
                found_all[broken.how] += 1
            else:
                missed.append((broken.how, place.file.path, broken.at, [(str(d.span), d.message) for d in found]))
    assert missed == [], f"{sum(found_all.values())} of {sum(tried.values())} found"
    assert len(tried) == 14, tried
    assert sum(tried.values()) > 800, tried


def test_one_mistake_is_one_finding() -> None:
    """Nothing is reported that only follows from the mistake itself."""
    several = []
    for place in PLACED:
        for broken in broken_documents(place):
            found = findings(place, broken.text)[1]
            if len(found) != 1 and broken.how != "key renamed":
                several.append((broken.how, place.file.path, broken.at, [d.message for d in found]))
    assert several == []


# Keys are those of the language, and no others.


@pytest.mark.parametrize("place", PLACED, ids=lambda p: p.file.path)
def test_the_models_own_names_for_keys_are_no_keys(place: Placed) -> None:
    """`side_effects`, `api_version`, `in_`: names inside the models, which no author may use."""
    document = parse_file(place.file, Report())
    assert document is not None
    for spot in spots(place.kind, document.data):
        name = str(spot.loc[-1]) if spot.closed else ""
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        snake = f"{name}_" if name in ("in", "from") else snake
        if snake != name:
            value, found = findings(place, put(document, document.span(spot.loc, "key"), snake))
            assert value is None
            assert [(d.rule.code, d.help) for d in found] == [("STOA201", f"Did you mean `{name}`?")]


PLAN = next(p for p in PLACED if p.file.path == "acme/plans/basic.yaml")
CONTRACT = next(p for p in PLACED if p.file.path == "acme/contracts/orders.yaml")


def test_a_misspelt_key_is_not_reported_as_missing_too() -> None:
    text = PLAN.file.content.decode().replace("displayName", "dislpayName")
    assert [d.rule.code for d in findings(PLAN, text)[1]] == ["STOA201"]
    text = PLAN.file.content.decode().replace("displayName", "colour")
    assert sorted(d.rule.code for d in findings(PLAN, text)[1]) == ["STOA201", "STOA202"]


def test_a_kind_that_lies_elsewhere_is_only_that() -> None:
    text = CONTRACT.file.content.decode()
    assert [d.rule.code for d in findings(PLAN, text)[1]] == ["STOA207"]


def test_null_in_an_example_is_a_value() -> None:
    text = CONTRACT.file.content.decode().replace("output: {id: AB1234, total: 12.5}", "output: null")
    value, found = findings(CONTRACT, text)
    assert value is not None, [d.message for d in found]
    text = CONTRACT.file.content.decode().replace("input: {order_id: AB1234}", "input: null")
    assert [d.rule.code for d in findings(CONTRACT, text)[1]] == ["STOA203"]


def test_a_key_of_an_authentication_that_is_called_like_its_type() -> None:
    text = CONTRACT.file.content.decode().replace("type: bearer\n", "type: bearer\n      bearer: x\n")
    _, found = findings(CONTRACT, text)
    assert [(d.rule.code, d.span.line, d.span.column) for d in found] == [("STOA201", 18, 7)]


@pytest.mark.parametrize("word", ["${", "{{", "$("])
@pytest.mark.parametrize("key", ["displayName: Orders", "summary: One order", "prod: https://orders.acme.example/v1"])
def test_placeholders_are_refused_in_every_text(word: str, key: str) -> None:
    text = CONTRACT.file.content.decode().replace(key, f"{key}{word}x")
    value, found = findings(CONTRACT, text)
    assert value is None
    assert "STOA210" in {d.rule.code for d in found}
    (at,) = (d.span for d in found if d.rule.code == "STOA210")
    assert text.split("\n")[at.line - 1][at.column - 1 : at.end_column - 1] == word


@pytest.mark.parametrize("key", ["secret", "contact"])
def test_a_secret_is_never_repeated(key: str) -> None:
    token = "ghp_" + "a1B2" * 9
    text = CONTRACT.file.content.decode().replace("vault:tenants/acme/orders#token", token)
    text = text.replace("      method: GET", f"      {token}: 1\n      method: GET") if key == "contact" else text
    _, found = findings(CONTRACT, text)
    said = repr([(d.message, d.help, d.notes) for d in found])
    assert found
    assert token not in said


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(PLACED),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("gostoa.dev/v2")),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["apiVersion", "kind", "metadata", "spec", "name", "type", "auth", "operations"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=20,
    ),
)
def test_any_value_at_all_is_judged(place: Placed, data: Any) -> None:
    report = Report()
    file = SourceFile("f.yaml", "f.yaml", b"a: 1\n")
    document = parse_file(file, Report())
    assert document is not None
    value = validate_document(place, Document(file, data, document.spans), report)
    assert (value is None) == (report.errors > 0)
