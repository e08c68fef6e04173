"""Samples: each is accepted by the schema it was made for, and is the same every time."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_runtime.development.samples import NoSample, sample

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "required": ["name", "children"],
            "properties": {
                "name": {"type": "string"},
                "parent": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
        }
    },
}

SCHEMAS: dict[str, Any] = {
    "a constant": {"const": {"a": [1]}},
    "values": {"enum": ["b", "a"]},
    "an integer in bounds": {"type": "integer", "minimum": 7, "maximum": 9},
    "a negative integer": {"type": "integer", "exclusiveMaximum": 0},
    "a multiple": {"type": "integer", "exclusiveMinimum": 10, "multipleOf": 5},
    "a decimal multiple": {"type": "number", "minimum": 0.05, "multipleOf": 0.01},
    "between two integers": {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
    "a text by length": {"type": "string", "minLength": 12, "maxLength": 12},
    "a short text": {"type": "string", "maxLength": 2},
    "an empty text": {"type": "string", "maxLength": 0},
    "a text by pattern": {"type": "string", "pattern": "^INV-[0-9]{6}$"},
    "a pattern with a length": {"type": "string", "pattern": "^[a-z]+$", "minLength": 20},
    "an open pattern with a length": {"type": "string", "pattern": "^[A-Z]{2}", "minLength": 6},
    "different texts": {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
    "different numbers": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "uniqueItems": True},
    "different values": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "uniqueItems": True},
    "an array that contains": {"type": "array", "items": {"type": "integer"}, "contains": {"const": 42}},
    "a tuple": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "items": False,
        "minItems": 2,
    },
    "no items": {"type": "array", "items": False},
    "null among types": {"type": ["null", "integer"]},
    "only null": {"type": "null"},
    "an object": {
        "type": "object",
        "required": ["id"],
        "additionalProperties": False,
        "properties": {"id": {"type": "string", "format": "uuid"}, "at": {"type": "string", "format": "date-time"}},
    },
    "a map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "a map with keys": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z]{2}$"},
        "minProperties": 1,
        "additionalProperties": {"type": "boolean"},
    },
    "patterned keys": {
        "type": "object",
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 1,
    },
    "a dependency": {
        "type": "object",
        "properties": {"card": {"type": "string"}, "address": {"type": "string"}},
        "dependentRequired": {"card": ["address"]},
    },
    "a required property that nobody describes": {"type": "object", "required": ["x"]},
    "parts together": {
        "allOf": [
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3}}},
            {"required": ["b"], "properties": {"a": {"maximum": 3}, "b": {"type": "string"}}},
        ]
    },
    "one of two that overlap": {
        "oneOf": [
            {"type": "object", "required": ["a"]},
            {"type": "object", "required": ["b"], "properties": {"a": False}},
        ]
    },
    "one of two that overlap in what is optional": {
        "type": "object",
        "oneOf": [
            {"required": ["a"], "properties": {"a": {"const": 1}, "b": {"const": 2}}},
            {"required": ["b"], "properties": {"a": {"const": 1}, "b": {"const": 2}}},
        ],
    },
    "an optional property that nothing can be": {
        "type": "object",
        "properties": {"a": {"oneOf": [{}, {}]}, "b": {"type": "integer"}},
    },
    "different texts by pattern": {
        "type": "array",
        "items": {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"},
        "minItems": 3,
        "uniqueItems": True,
    },
    "any of, with a dead end": {"anyOf": [False, {"type": "integer"}]},
    "a choice beside a type": {
        "type": "object",
        "required": ["a"],
        "anyOf": [{"required": ["b"]}, {"required": ["c"]}],
    },
    "a good default": {"type": "integer", "default": 40},
    "a wrong example": {"type": "integer", "examples": ["forty"]},
    "a recursive tree": TREE,
    "a reference with company": {"$ref": "#/$defs/n", "maximum": 5, "$defs": {"n": {"type": "integer", "minimum": 5}}},
    "an escaped reference": {"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "boolean"}}},
    "anything": {},
}


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_accepts_its_sample(name: str, optional: bool) -> None:
    schema = SCHEMAS[name]
    value = sample(schema, optional=optional)
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(value)
    assert sample(schema, optional=optional) == value


@pytest.mark.parametrize("name", ["date", "date-time", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"])
def test_formats_are_kept(name: str) -> None:
    schema = {"type": "string", "format": name}
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(sample(schema))


def test_what_the_author_wrote_is_preferred() -> None:
    assert sample({"type": "integer", "default": 40}) == 40
    assert sample({"type": "string", "examples": ["INV-1"], "default": "INV-0"}) == "INV-1"
    assert sample({"type": "integer", "examples": ["forty"]}) == 1


def test_optional_properties_are_there_or_not() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    assert sample(schema) == {"a": 1, "b": 1}
    assert sample(schema, optional=False) == {"a": 1}


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [{"enum": [1]}, {"enum": [2]}]},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "#", "type": "object", "required": ["x"], "properties": {"x": {"$ref": "#"}}},
        {"type": "string", "pattern": "(?=x)"},
        {"oneOf": [{}, {}]},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"type": "array", "items": {"enum": [1]}, "minItems": 2, "uniqueItems": True},
        {
            "$ref": "#/$defs/wide",
            "$defs": {
                "wide": {
                    "type": "object",
                    "required": list("abcdefgh"),
                    "additionalProperties": {"$ref": "#/$defs/wide"},
                }
            },
        },
    ],
)
def test_where_there_is_no_sample_it_says_so(schema: Any) -> None:
    with pytest.raises(NoSample):
        sample(schema)


scalars = st.one_of(
    st.builds(
        lambda low, span, step: {"type": "integer", "minimum": low, "maximum": low + span, "multipleOf": step},
        st.integers(-1000, 1000),
        st.integers(20, 100),
        st.integers(1, 10),
    ),
    st.builds(
        lambda low, span: {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": low + span},
        st.integers(-1000, 1000),
        st.sampled_from([0.25, 1, 7]),
    ),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 40),
        st.integers(0, 10),
    ),
    st.just({"type": "boolean"}),
    st.just({"type": ["null", "string"]}),
)
schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3)),
        st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=4).map(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)[::2]}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda arms: {"anyOf": arms}),
        inner.map(lambda schema: {"allOf": [schema, {"title": "more"}]}),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(schema=schemas, optional=st.booleans())
def test_any_composition_accepts_its_sample(schema: Any, optional: bool) -> None:
    jsonschema_rs.Draft202012Validator(schema).validate(sample(schema, optional=optional))
