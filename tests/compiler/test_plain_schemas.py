"""A schema that one look finds plain has no mistake for those who look closely."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stoa_compiler.checks import schemas
from stoa_compiler.diagnostics import Report
from stoa_compiler.parse import parse_file
from stoa_compiler.source import Document, SourceFile

KEYWORDS = [*sorted(schemas._KEYWORDS), "nullable", "x-note", "propertis", ""]
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["string", "object", "#/$defs/a", "(?=a)", "[", "a"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "type", "$ref"]), inner, max_size=2),
    ),
    max_leaves=12,
)
SCHEMAS = st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=5)


def document() -> Document:
    found = parse_file(SourceFile("a.yaml", "a.yaml", b"spec:\n  operations:\n    o:\n      input: {}\n"), Report())
    assert found is not None
    return found


DOCUMENT = document()


def closely(schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Report:
    report = Report()
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "is_plain", lambda schema: False)
        patch.setattr(schemas, "is_ordinary", lambda schema: False)
        schemas.check_schema(DOCUMENT, ("spec", "operations", "o", "input"), schema, report)
    return report


@settings(max_examples=1500, deadline=None)
@example({"type": "object", "properties": {"a": {"type": "string", "pattern": "^a+$"}}})
@example({"properties": {"$ref": {"type": "string"}}})
@example({"items": [{"type": "string"}]})
@given(SCHEMAS)
def test_what_is_plain_has_no_mistake(schema: dict[str, Any]) -> None:
    if schemas.is_plain(schema):
        assert not closely(schema, pytest.MonkeyPatch()).found


COMMON: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "string", "array", "integer", "any", ["string", "null"], None]),
            "properties": st.dictionaries(st.sampled_from(["a", "$ref", "pattern"]), COMMON, max_size=2),
            "items": COMMON | st.booleans(),
            "additionalProperties": COMMON | st.booleans(),
            "required": st.lists(st.sampled_from(["a", "b", 1]), max_size=2),
            "enum": st.lists(LEAVES, max_size=2) | LEAVES,
            "minimum": LEAVES,
            "maxLength": LEAVES,
            "uniqueItems": LEAVES,
            "default": LEAVES,
            "title": LEAVES,
            "pattern": LEAVES,
        },
    )
)


@settings(max_examples=1500, deadline=None)
@given(SCHEMAS | COMMON)
def test_what_is_ordinary_is_plain(schema: dict[str, Any]) -> None:
    if schemas.is_ordinary(schema):
        assert schemas.is_plain(schema)


def test_common_schemas_are_ordinary() -> None:
    inner = {"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": True}
    assert schemas.is_ordinary({"type": "object", "properties": {"a": inner, "b": True}, "required": ["a"]})
    repeated: dict[str, Any] = {"required": ["a", "a"]}
    for odd in (repeated, {"minLength": -1}, {"minLength": True}, {"propertis": {}}, {"$ref": "#"}):
        assert not schemas.is_ordinary({"properties": {"a": odd}})


def test_of_a_large_document_every_schema_is_counted() -> None:
    wide: dict[str, Any] = {"properties": {f"p{n}": {} for n in range(schemas.MAX_SCHEMA_NODES)}}
    text = f"spec:\n  operations:\n    o:\n      input: {json.dumps(wide).replace(': {}', ':{}')}\n"
    large = Document(SourceFile("a.yaml", "a.yaml", text.encode()), None, DOCUMENT.spans)
    report = Report()
    schemas.check_schema(large, ("spec", "operations", "o", "input"), wide, report)
    assert [d.rule for d in report.found] == [schemas.UNBOUNDED_SCHEMA]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": ["string", "null"], "maxLength": 3}}, "required": ["a"]},
        {"anyOf": [{"const": {"$ref": 1}}, {"enum": [{"pattern": "(?=a)"}]}], "default": {"nullable": 1}},
        {"type": "array", "items": {"allOf": [{"minimum": 1}, {"not": {"multipleOf": 2}}]}, "uniqueItems": True},
        {"$defs": {"a": True}, "additionalProperties": {"pattern": "^[a-z]{1,5}$"}},
    ],
)
def test_ordinary_schemas_are_plain(schema: dict[str, Any]) -> None:
    assert schemas.is_plain(schema)


def test_depth_and_size_are_bounded() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"properties": {"a": deep}}
    assert not schemas.is_plain(deep)
    wide = {"properties": {f"p{n}": {"type": "string"} for n in range(schemas.MAX_SCHEMA_NODES)}}
    assert not schemas.is_plain(wide)


def test_every_keyword_that_is_taken_is_one() -> None:
    assert set(schemas._HOLDS) <= set(schemas._KEYWORDS)
    by_kind = itertools.groupby(sorted(schemas._HOLDS, key=schemas._HOLDS.__getitem__), schemas._HOLDS.__getitem__)
    assert {kind for kind, _ in by_kind} == {"data", "schema", "names", "list", "pattern"}
