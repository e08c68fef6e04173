"""Schemas of OpenAPI 2.0, 3.0 and 3.1 as JSON Schema 2020-12."""

import json
from typing import Any

import jsonschema_rs
import pytest

from stoa_compiler.openapi import Converted, Description, Problem, convert, read
from stoa_compiler.openapi.schema import MAX_BYTES, MAX_DEFINITIONS, MAX_INLINE_DEPTH, TOO_LARGE


def describe(schema: Any, schemas: Any = None, version: str = "3.0.3") -> Description:
    """A description whose operation `op` takes `schema` as the property `v` of its body and answers with it."""
    body = {"type": "object", "properties": {"v": schema}}
    content = {"application/json": {"schema": body}}
    document = {
        "openapi": version,
        "info": {"title": "T", "version": "1"},
        "paths": {
            "/op": {
                "post": {
                    "operationId": "op",
                    "requestBody": {"required": True, "content": content},
                    "responses": {"200": {"description": "", "content": content}},
                }
            }
        },
        "components": {"schemas": schemas or {}},
    }
    return read(json.dumps(document).encode(), "a.json")


def converted(schema: Any, schemas: Any = None, version: str = "3.0.3") -> Converted:
    result = convert(describe(schema, schemas, version), "op")
    assert isinstance(result, Converted), result
    return result


def argument(schema: Any, schemas: Any = None, version: str = "3.0.3") -> Any:
    return converted(schema, schemas, version).input_schema["properties"]["v"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        (
            {"type": "string", "nullable": True, "enum": ["a", "a", "b"]},
            {"type": ["string", "null"], "enum": ["a", "b", None]},
        ),
        ({"nullable": True, "enum": ["a", None]}, {"enum": ["a", None]}),
        ({"nullable": True}, {}),
        (
            {"nullable": True, "allOf": [{"$ref": "#/components/schemas/E"}], "description": "d"},
            {"description": "d", "anyOf": [{"$ref": "#/$defs/E"}, {"type": "null"}]},
        ),
        (
            {"$ref": "#/components/schemas/E", "nullable": True},
            {"anyOf": [{"$ref": "#/$defs/E"}, {"type": "null"}]},
        ),
        (
            {"nullable": True, "oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"type": "null"}]},
        ),
        (
            {"nullable": True, "anyOf": [{"type": "string"}, {"type": "integer"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        ),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, {"type": "integer", "exclusiveMinimum": 1}),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": False}, {"type": "integer", "minimum": 1}),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": True}, {"type": "number", "exclusiveMaximum": 1}),
        ({"type": "number", "exclusiveMaximum": True}, {"type": "number"}),
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"enum": [1, 1.0, True, "1"]}, {"enum": [1, 1.0, True, "1"]}),
        ({"type": "string", "enum": []}, {"type": "string"}),
        ({"type": "string", "example": "x"}, {"type": "string", "examples": ["x"]}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"type": "string", "format": "made-up"}, {"type": "string"}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
        ({"type": "string", "pattern": "(a"}, {"type": "string"}),
        ({"type": "string", "pattern": "(?=a)b"}, {"type": "string"}),
        ({"type": "string", "pattern": "a" * 1001}, {"type": "string"}),
        ({"type": "string", "minLength": "3"}, {"type": "string"}),
        ({"type": "string", "minLength": 3.0}, {"type": "string", "minLength": 3}),
        ({"type": "strin"}, {}),
        ({"type": "object", "required": True}, {"type": "object"}),
        ({"type": "object", "discriminator": {"propertyName": "t"}, "xml": {}, "x-a": 1}, {"type": "object"}),
        (
            {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
            {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
        ),
        (
            {"allOf": [{"$ref": "#/components/schemas/E"}], "description": "d"},
            {"description": "d", "$ref": "#/$defs/E"},
        ),
        ({"description": "a\u200bb {{ x }} ${HOME}"}, {"description": "ab { { x } } $ {HOME}"}),
        ({"type": "string", "default": "a\u200bb"}, {"type": "string"}),
        ({"type": "string", "enum": ["a", "b\U000e0041"]}, {"type": "string", "enum": ["a"]}),
        ("not a schema", {}),
        (None, {}),
    ],
)
def test_schema_of_3_0_becomes_2020_12(written: Any, meant: Any) -> None:
    result = argument(written, {"E": {"type": "string"}})
    assert result == meant
    assert list(map(type, result.get("enum", []))) == list(map(type, meant.get("enum", [])))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"type": ["null", "string", "number"]}, {"type": ["null", "string", "number"]}),
        ({"type": ["string"]}, {"type": "string"}),
        ({"exclusiveMinimum": 3}, {"exclusiveMinimum": 3}),
        ({"const": {"a": 1}}, {"const": {"a": 1}}),
        ({"examples": ["a", "b"]}, {"examples": ["a", "b"]}),
        ({"$ref": "#/components/schemas/E", "minLength": 2}, {"$ref": "#/$defs/E", "minLength": 2}),
        ({"$ref": "#here"}, {"$ref": "#/$defs/Anchored"}),
        ({"$dynamicRef": "#x", "type": "string"}, {"type": "string"}),
        ({"contentEncoding": "base64", "type": "string"}, {"contentEncoding": "base64", "type": "string"}),
        (True, True),
        (False, False),
    ],
)
def test_schema_of_3_1_stays_2020_12(written: Any, meant: Any) -> None:
    schemas = {"E": {"type": "string"}, "Anchored": {"$anchor": "here", "type": "string"}}
    result = argument(written, schemas, "3.1.0")
    assert result == meant


def test_what_is_dropped_is_noted_with_its_place() -> None:
    problems = converted({"type": "string", "format": "made-up", "pattern": "("}).problems
    where = "/paths/~1op/post/requestBody/content/application~1json/schema/properties/v"
    assert {p.pointer for p in problems} >= {f"{where}/format", f"{where}/pattern"}
    assert all(p.message and p.help for p in problems)


RECURSIVE = {
    "property": {"type": "object", "properties": {"n": {"$ref": "#/components/schemas/R"}}},
    "array": {"type": "array", "items": {"$ref": "#/components/schemas/R"}},
    "inline object": {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"$ref": "#/components/schemas/R"}}}},
    },
    "additionalProperties": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/R"}},
    "oneOf below a property": {
        "type": "object",
        "properties": {"n": {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/R"}]}},
    },
    "indirect": {"type": "object", "properties": {"n": {"$ref": "#/components/schemas/S"}}},
    "allOf-only chain": {"allOf": [{"$ref": "#/components/schemas/C"}]},
    "itself": {"$ref": "#/components/schemas/R"},
    "union of itself": {"oneOf": [{"$ref": "#/components/schemas/R"}, {"type": "string"}]},
    "base that lists its kinds": {
        "type": "object",
        "oneOf": [{"$ref": "#/components/schemas/Kind"}],
        "properties": {"k": {"type": "string"}},
    },
    "not itself": {"not": {"$ref": "#/components/schemas/R"}},
    "inside its own part": {
        "type": "object",
        "properties": {"n": {"type": "object", "properties": {"m": {"$ref": "#/components/schemas/R/properties/n"}}}},
    },
}
OTHERS = {
    "S": {"type": "object", "properties": {"back": {"$ref": "#/components/schemas/R"}}},
    "C": {"allOf": [{"$ref": "#/components/schemas/D"}]},
    "D": {"allOf": [{"$ref": "#/components/schemas/R"}]},
    "Kind": {"allOf": [{"$ref": "#/components/schemas/R"}, {"properties": {"extra": {"type": "string"}}}]},
}


@pytest.mark.parametrize("shape", RECURSIVE)
@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
def test_recursion_stays_finite_in_every_shape(shape: str, version: str) -> None:
    schemas = {"R": RECURSIVE[shape], **OTHERS}
    result = converted({"$ref": "#/components/schemas/R"}, schemas, version)
    for schema in (result.input_schema, result.output_schema):
        assert schema is not None
        validator = jsonschema_rs.Draft202012Validator(schema)
        for value in ({}, [], "x", {"n": {"n": {"n": {}}}}, [[[]]], {"a": {"b": {"a": {}}}}, {"k": "x"}):
            validator.is_valid({"v": value})


def test_schema_whose_base_lists_it_keeps_what_it_says() -> None:
    result = converted({"$ref": "#/components/schemas/Kind"}, {"R": RECURSIVE["base that lists its kinds"], **OTHERS})
    validator = jsonschema_rs.Draft202012Validator(result.input_schema)
    assert validator.is_valid({"v": {"k": "x", "extra": "y"}})
    assert not validator.is_valid({"v": {"k": 1}})
    assert not validator.is_valid({"v": {"extra": 1}})
    assert any("made of the whole again" in p.message for p in result.problems)


def test_definitions_are_only_those_that_are_reached() -> None:
    schemas = {
        "A": {"type": "object", "properties": {"b": {"$ref": "#/components/schemas/B"}}},
        "B": {"type": "string"},
        "Unused": {"type": "string"},
        "weird name!": {"type": "integer"},
    }
    result = converted({"$ref": "#/components/schemas/A"}, schemas).input_schema
    assert list(result["$defs"]) == ["A", "B"]
    odd = converted({"$ref": "#/components/schemas/weird%20name!"}, schemas).input_schema
    (name,) = odd["$defs"]
    assert name.startswith("weird_name_-")
    assert odd["$defs"][name] == {"type": "integer"}


def test_references_to_any_place_of_the_file_are_followed() -> None:
    ref = "#/paths/~1op/post/requestBody/content/application~1json/schema/properties/w"
    description = describe({"$ref": ref})
    body = description.document["paths"]["/op"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    body["properties"]["w"] = {"type": "integer"}
    result = convert(description, "op")
    assert isinstance(result, Converted)
    assert jsonschema_rs.is_valid(result.input_schema, {"v": 1})
    assert not jsonschema_rs.is_valid(result.input_schema, {"v": "x"})


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("other.yaml#/A", "outside the file"),
        ("https://schemas.example/a.json", "outside the file"),
        ("#/components/schemas/Missing", "leads nowhere"),
        ("#nowhere", "leads nowhere"),
        ("#", "leads nowhere"),
        ("", "outside the file"),
    ],
)
def test_references_that_the_file_does_not_hold_keep_the_operation_out(ref: str, words: str) -> None:
    result = convert(describe({"type": "array", "items": {"$ref": ref}}), "op")
    assert isinstance(result, Problem)
    assert words in result.message
    assert result.pointer.endswith("/properties/v/items/$ref")


READ_ONLY = {
    "direct": ({"type": "object", "properties": {"id": {"type": "string", "readOnly": True}}, "required": ["id"]}, {}),
    "by reference": (
        {"type": "object", "properties": {"id": {"$ref": "#/components/schemas/Id"}}, "required": ["id"]},
        {"Id": {"type": "string", "readOnly": True}},
    ),
    "in allOf, required elsewhere": (
        {
            "allOf": [
                {"type": "object", "properties": {"id": {"type": "string", "readOnly": True}}},
                {"required": ["id"]},
            ]
        },
        {},
    ),
    "required in a shared part": (
        {
            "allOf": [
                {"$ref": "#/components/schemas/Needs"},
                {"type": "object", "properties": {"id": {"type": "string", "readOnly": True}}},
            ]
        },
        {"Needs": {"type": "object", "required": ["id", "name"], "properties": {"name": {"type": "string"}}}},
    ),
    "in every arm": (
        {
            "type": "object",
            "required": ["id"],
            "oneOf": [{"properties": {"id": {"readOnly": True}}}],
        },
        {},
    ),
}


@pytest.mark.parametrize("where", READ_ONLY)
def test_read_only_is_neither_taken_nor_required_in_arguments(where: str) -> None:
    schema, schemas = READ_ONLY[where]
    value = {"name": "x"} if "shared" in where else {}
    for nested in (schema, {"type": "array", "items": schema}):
        given = value if nested is schema else [value]
        result = converted(nested, schemas)
        assert result.output_schema is not None
        assert jsonschema_rs.is_valid(result.input_schema, {"v": given})
        assert not jsonschema_rs.is_valid(result.output_schema, {"v": given})
        assert '"id"' not in json.dumps(result.input_schema).replace('"Id"', "")


def test_write_only_is_not_in_answers() -> None:
    schema = {"type": "object", "properties": {"p": {"type": "string", "writeOnly": True}}, "required": ["p"]}
    result = converted(schema)
    assert result.output_schema is not None
    assert "p" in result.input_schema["properties"]["v"]["properties"]
    assert result.output_schema["properties"]["v"] == {"type": "object", "properties": {}}


def test_large_schemas_are_bounded_and_say_so() -> None:
    count = MAX_DEFINITIONS * 3
    schemas = {
        f"N{i}": {"type": "object", "properties": {"next": {"$ref": f"#/components/schemas/N{(i + 1) % count}"}}}
        for i in range(count)
    }
    result = converted({"$ref": "#/components/schemas/N0"}, schemas)
    definitions = result.input_schema["$defs"]
    assert len(definitions) == MAX_DEFINITIONS + 1
    assert definitions["N0"]["properties"]["next"] == {"$ref": "#/$defs/N1"}
    assert definitions[f"N{MAX_DEFINITIONS}"] == {"description": TOO_LARGE}
    assert any("any value is taken for `N64`" in p.message for p in result.problems)


def test_bytes_of_a_schema_are_bounded() -> None:
    text = "word " * 90
    wide = {"type": "object", "properties": {f"p{i}": {"type": "string", "description": text} for i in range(150)}}
    result = converted({"$ref": "#/components/schemas/Wide"}, {"Wide": wide})
    assert len(json.dumps(result.input_schema)) < MAX_BYTES
    assert result.input_schema["$defs"]["Wide"] == {"description": TOO_LARGE}
    inline = converted(wide)
    assert inline.input_schema["properties"]["v"] == {"description": TOO_LARGE}
    assert jsonschema_rs.is_valid(inline.input_schema, {"v": {"p1": "x"}})


@pytest.mark.parametrize(
    "dropped",
    [
        {"type": "string", "pattern": "(?i)a"},
        {"type": "object", "properties": {"id": {"type": "string", "readOnly": True}}, "required": ["id"]},
        {"allOf": [{"$ref": "#/components/schemas/D"}]},
    ],
)
def test_an_arm_that_was_widened_makes_the_choice_any_of(dropped: Any) -> None:
    schemas = {"D": {"type": "string", "minLength": "x"}, "E": {"type": ["string", "object"]}}
    choice = {"oneOf": [dropped, {"$ref": "#/components/schemas/E"}], "anyOf": [{"type": ["string", "object"]}]}
    result = converted(choice, schemas, "3.1.0")
    written = result.input_schema["properties"]["v"]
    assert "oneOf" not in written
    assert len(written["anyOf"]) == 1
    assert len(written["allOf"][-1]["anyOf"]) == 2
    accepts = jsonschema_rs.Draft202012Validator(result.input_schema)
    assert accepts.is_valid({"v": "text"} if "object" not in str(dropped) else {"v": {}})


def test_what_is_cut_below_a_choice_leaves_it_fulfillable() -> None:
    schemas = {
        "Big": {
            "type": "object",
            "properties": {f"p{i}": {"type": "string", "description": "x" * 400} for i in range(200)},
        },
        "Holder": {
            "type": "object",
            "properties": {"kind": {"const": "big"}, "oneOf": {"$ref": "#/components/schemas/Big"}},
        },
        "Other": {"type": "object", "properties": {"oneOf": {"type": "string"}}},
    }
    choice = {"oneOf": [{"$ref": "#/components/schemas/Holder"}, {"$ref": "#/components/schemas/Other"}]}
    schema = converted(choice, schemas, "3.1.0").input_schema
    assert schema["$defs"]["Big"] == {"description": TOO_LARGE}
    assert set(schema["$defs"]["Holder"]["properties"]) == {"kind", "oneOf"}  # Names are not keywords.
    assert list(schema["properties"]["v"]) == ["anyOf"]
    assert jsonschema_rs.is_valid(schema, {"v": {"oneOf": "text"}})


@pytest.mark.parametrize("keyword", ["not", "if"])
def test_what_would_narrow_the_whole_is_left_out_with_what_it_rests_on(keyword: str) -> None:
    cut = {"type": "object", "properties": {f"p{i}": {"description": "x" * 400} for i in range(200)}}
    for inner in ({"type": "string", "pattern": "(?i)a"}, {"$ref": "#/components/schemas/Cut"}):
        schema = argument({"title": "T", keyword: inner, "then": {"type": "string"}}, {"Cut": cut}, "3.1.0")
        assert keyword not in schema
        assert schema["title"] == "T"


def test_deep_inline_schemas_are_cut() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(MAX_INLINE_DEPTH + 20):
        schema = {"type": "array", "items": schema}
    result = converted(schema)
    assert any("schemas deep" in p.message for p in result.problems)
