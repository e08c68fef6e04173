"""A mistake hides no other, and is the ground of no other: whatever is broken, what is sound is judged."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.parse import understand
from stoa_compiler.pipeline import read
from stoa_compiler.source import SourceFile
from tests.compiler.sources import Copy, copy_of_base

ORDERS = "acme/contracts/orders.yaml"

HARMLESS = [
    ("displayName: Orders", "displayName: Orders\n  team: sales", "STOA201"),
    ("version: 1.2.0", "version: 1.2", "STOA203"),
    ("status: published", "status: public", "STOA204"),
    ("owner: orders@acme.example", "owner: orders", "STOA205"),
    ("owner: orders@acme.example", "owner: &who orders@acme.example", "STOA105"),
    ("owner: orders@acme.example", "owner: *who", "STOA105"),
    ("displayName: Orders", "displayName: !!str Orders", "STOA106"),
    ("displayName: Orders", "displayName: Orders\n  displayName: Orders", "STOA103"),
    ("displayName: Orders", "displayName: Orders\n  12: x", "STOA104"),
    ("displayName: Orders", "displayName: Or\u200bders", "STOA111"),
    ("apiVersion:", "%YAML 1.1\n---\napiVersion:", "STOA101"),
]
"""Mistakes of a document outside its operations: of the models, and of YAML where what is meant is clear."""

HIDDEN_BEFORE = [
    ("            type: string\n            pattern", "            typ: string\n            pattern", "STOA447"),
    ('pattern: "^[A-Z]', 'pattern: "^(', "STOA444"),
    ("type: boolean", "type: bolean", "STOA441"),
    ("type: number", "$ref: other.json", "STOA442"),
    ("path: /orders/{order_id}\n      summary: One", "path: /orders/{order}\n      summary: One", "STOA316"),
    ("input: {order_id: AB1234}", "input: {order_id: X}", "STOA445"),
    ("output: {id: AB1234, total: 12.5}", "output: {id: AB1234}", "STOA445"),
    ("          output: {id: AB1234, total: 12.5}\n", "", "STOA446"),
    ("sideEffects: destructive", "sideEffects: none", "STOA432"),
    ("summary: Cancel an order", "summary: Cancel ${it}", "STOA210"),
    ("summary: Cancel an order", "summary: AKIAIOSFODNN7EXAMPLE", "STOA472"),
    ("summary: Cancel an order", "protocols: []", "STOA438"),
    (
        "        required: [order_id]\n      output",
        "        required: [order_id]\n        oneOf: [{}]\n      output",
        "STOA317",
    ),
    ("      examples:", "      answer: {fields: [id, totl]}\n      examples:", "STOA321"),
]
"""Mistakes that one operation's own text shows."""


def found(source: Copy) -> list[Diagnostic]:
    report = Report()
    read(source.root, report)
    return report.sorted()


@pytest.mark.parametrize(("old", "new", "code"), HARMLESS, ids=lambda v: v if v.startswith("STOA") else "")
def test_a_mistake_beside_an_operation_hides_none_in_it(tmp_path: Path, old: str, new: str, code: str) -> None:
    for number, (before, after, expected) in enumerate(HIDDEN_BEFORE):
        source = copy_of_base(tmp_path / str(number)).change(ORDERS, before, after)
        alone = found(source)
        assert {d.rule.code for d in alone} == {expected}
        both = found(source.change(ORDERS, old, new))
        assert [d.message for d in both if d.rule.code == expected] == [d.message for d in alone], (new, after)
        assert {d.rule.code for d in both} == {expected, code}, (new, after, [d.message for d in both])


def test_a_platform_with_mistakes_hides_none_of_the_tenants(tmp_path: Path) -> None:
    for number, (before, after, expected) in enumerate(HIDDEN_BEFORE):
        source = copy_of_base(tmp_path / str(number)).change(ORDERS, before, after)
        source.change("platform.yaml", "  domain: ", "  dominion: ")
        assert {d.rule.code for d in found(source)} == {expected, "STOA201"}, after


OPERATION_KEYS = ["method", "path", "summary", "intent", "sideEffects", "input", "output", "examples"]


def _misspelt(line: str) -> str:
    return line.replace(":", "x:", 1)


def _strange(line: str) -> str:
    key = line.strip().partition(":")[0]
    return line.replace(key, "zzzqqq", 1)


def _tagged(line: str) -> str:
    return line.replace(":", ": !x", 1)


BREAKINGS: list[tuple[Callable[[str], str], set[str]]] = [
    (_misspelt, {"STOA201"}),
    (_strange, {"STOA201", "STOA202"}),
    (_tagged, {"STOA106"}),
]


@pytest.mark.parametrize(
    ("key", "breaking"),
    list(itertools.product(OPERATION_KEYS, BREAKINGS)),
    ids=lambda v: v if isinstance(v, str) else v[0].__name__.strip("_"),
)
def test_nothing_follows_from_a_broken_key(
    tmp_path: Path, key: str, breaking: tuple[Callable[[str], str], set[str]]
) -> None:
    """Whatever key of an operation is misspelt or behind a tag, only that is said."""
    change, codes = breaking
    source = copy_of_base(tmp_path)
    path = source.root / ORDERS
    lines = path.read_text().split("\n")
    number = next(n for n, line in enumerate(lines) if line.startswith(f"      {key}:"))
    lines[number] = change(lines[number])
    path.write_text("\n".join(lines))
    reported = found(source)
    assert {d.rule.code for d in reported} <= codes, [d.message for d in reported]
    assert any(d.span.line == number + 1 for d in reported)


def test_nothing_is_missed_where_a_key_is_not_clear(tmp_path: Path) -> None:
    for number, key in enumerate(("      type: bearer", "  version: 1.2.0", "      method: GET", "    urls:")):
        indent = " " * (len(key) - len(key.lstrip()))
        source = copy_of_base(tmp_path / str(number)).change(ORDERS, key, indent + "12: " + key.partition(": ")[2])
        assert [d.rule.code for d in found(source)] == ["STOA104"], key


@pytest.mark.parametrize(
    ("text", "values", "mappings"),
    [
        ("a: 1\nb: 2\na: 3\n", {("a",)}, set()),
        ("a: &x 1\nb: *x\n", {("b",)}, set()),
        ("a: &x [1]\nb: {<<: *x, c: 1}\n", set(), {("b",)}),
        ("a: !!str 1\nb: !!map {c: 1}\nc: !!seq [1]\n", set(), set()),
        ("a: !!int 1\nb: !own {c: 1}\nc: [!x y]\n", {("a",), ("b",), ("c", 0)}, set()),
        ("a: {1: x, b: y}\n", set(), {("a",)}),
        ("a: {type: !x y, b: 1}\n", {("a", "type")}, set()),
        ("a: 99999999999999999999\nb: .inf\n", {("a",), ("b",)}, set()),
        ("a: x\u200by\nb: c # \u200b\n", {("a",)}, set()),
        ("a\u200b: x\nb: c\n", set(), {()}),
        ("kind: A\nmetadata: {name: b}\nspec: {}\n---\nc: d\n", {("kind",), ("metadata", "name")}, set()),
    ],
)
def test_what_is_not_clear(text: str, values: set[tuple[str | int, ...]], mappings: set[tuple[str | int, ...]]) -> None:
    report = Report()
    document = understand(SourceFile("f.yaml", "f.yaml", text.encode()), report)
    assert report.errors
    assert document is not None
    assert document.doubts is not None
    assert document.doubts.values == values
    assert document.doubts.mappings == mappings
    assert all(isinstance(k, str) for k in document.data)


def test_every_anchor_of_a_name_is_reported(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path).change(ORDERS, "displayName: Orders", "displayName: &a Orders")
    source.change(ORDERS, "summary: One order", "summary: &a One order")
    source.change(ORDERS, "summary: Cancel an order", "summary: *a")
    first, second = found(source)
    assert first.help == "Remove `&a`."
    assert second.help == "Remove `&a`, and write the value out in line 50."


def test_the_type_of_a_schema_tells_nothing_of_its_other_keywords(tmp_path: Path) -> None:
    source = copy_of_base(tmp_path).change(
        ORDERS, "      output:\n        type: object", "      output:\n        type: !x object"
    )
    source.change(ORDERS, "required: [id, total]", "requird: [id, total]")
    assert [d.rule.code for d in found(source)] == ["STOA106", "STOA447"]


@pytest.mark.parametrize("text", ["a: [", "*x", "!x {a: 1}", "a: \t\x00", "", "a: 1\nb: x: y\n"])
def test_what_cannot_be_understood_at_all(text: str) -> None:
    report = Report()
    assert understand(SourceFile("f.yaml", "f.yaml", text.encode()), report) is None
    assert report.errors


def test_a_tag_that_says_what_the_value_is_is_heeded() -> None:
    document = understand(SourceFile("f.yaml", "f.yaml", b"a: !!str 12\n"), Report())
    assert document is not None
    assert document.data == {"a": "12"}
