"""Whatever an operation looks like, each argument has exactly one place in the request."""

import json
from typing import Any

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.openapi import Converted, convert, read

NAMES = st.sampled_from(["id", "name", "body", "payload", "id__query", "a b", "filter[x]", "$top", "X-Y", "ünï"])
REFERENCES = st.sampled_from(["A", "B", "C"]).map(lambda n: {"$ref": f"#/components/schemas/{n}"})


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=3)},
        optional={
            "required": st.lists(NAMES, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "nullable": st.booleans(),
            "readOnly": st.booleans(),
        },
    )


SCALARS = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "integer", "number", "boolean"])},
    optional={
        "nullable": st.booleans(),
        "readOnly": st.booleans(),
        "enum": st.lists(st.sampled_from(["a", "b", 1, None]), max_size=3),
        "minimum": st.integers(0, 3),
        "exclusiveMinimum": st.booleans() | st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "(?=a)", "["]),
        "format": st.sampled_from(["uuid", "snowflake"]),
        "example": st.sampled_from(["a", 1, True]),
    },
)
SCHEMAS = st.recursive(
    SCALARS | REFERENCES,
    lambda inner: (
        _objects(inner)
        | st.builds(lambda i: {"type": "array", "items": i}, inner)
        | st.builds(lambda k, a: {k: a}, st.sampled_from(["allOf", "anyOf", "oneOf"]), st.lists(inner, max_size=3))
        | st.builds(lambda i: {"not": i}, inner)
    ),
    max_leaves=8,
)
PARAMETERS = st.fixed_dictionaries(
    {"name": NAMES, "in": st.sampled_from(["query", "header", "cookie", "path"]), "schema": SCHEMAS},
    optional={
        "required": st.booleans(),
        "style": st.sampled_from(["form", "deepObject", "simple", "matrix"]),
        "explode": st.booleans(),
    },
)
BODIES = st.builds(
    lambda media, schema, required: {"content": {media: {"schema": schema}}, "required": required},
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain"]),
    SCHEMAS,
    st.booleans(),
)
OPERATIONS = st.fixed_dictionaries(
    {"parameters": st.lists(PARAMETERS, max_size=5, unique_by=lambda p: (p["in"], p["name"].lower()))},
    optional={
        "requestBody": BODIES,
        "responses": st.builds(
            lambda s: {"200": {"description": "", "content": {"application/json": {"schema": s}}}}, SCHEMAS
        ),
    },
)


@given(OPERATIONS, st.lists(SCHEMAS, min_size=3, max_size=3), st.sampled_from(["3.0.3", "3.1.0"]), st.data())
@settings(max_examples=150, deadline=None)
def test_every_argument_has_exactly_one_place(
    operation: dict[str, Any], schemas: list[Any], version: str, data: st.DataObject
) -> None:
    path = "/op" + "".join(
        f"/{{{p['name']}}}" for p in operation["parameters"] if p["in"] == "path" and " " not in p["name"]
    )
    document = {
        "openapi": version,
        "info": {"title": "T", "version": "1"},
        "paths": {path: {"post": operation}},
        "components": {"schemas": dict(zip("ABC", schemas, strict=True))},
    }
    result = convert(read(json.dumps(document).encode(), "a.json"), f"POST {path}")
    if not isinstance(result, Converted):
        assert result.message
        assert result.help
        return
    schema, request = result.input_schema, result.request
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert not {"anyOf", "oneOf", "allOf", "not", "if", "$ref"} & set(schema)
    whole = {request.body.argument} if request.body and request.body.argument else set()
    assert set(schema["properties"]) == set(request.arguments) | whole
    assert not set(request.arguments) & whole
    assert set(schema.get("required", [])) <= set(schema["properties"])
    places = [(p.in_, p.name) for p in request.arguments.values()]
    assert len(places) == len(set(places))
    assert any(p.in_ == "body" for p in request.arguments.values()) <= (request.body is not None)
    for found in (schema, result.output_schema):
        if found is not None:
            jsonschema_rs.meta.validate(found)
            validator = jsonschema_rs.Draft202012Validator(found)
            assert "nullable" not in json.dumps(found)
            if found is schema:
                names = data.draw(st.lists(st.sampled_from(sorted(schema["properties"]) or ["none"]), max_size=3))
                validator.is_valid({n: data.draw(st.sampled_from(["a", 1, None, {}, []])) for n in names})
    for example in result.examples:
        assert jsonschema_rs.is_valid(schema, dict(example.input))


@given(OPERATIONS, st.lists(SCHEMAS, min_size=3, max_size=3))
@settings(max_examples=50, deadline=None)
def test_equal_descriptions_give_equal_conversions(operation: dict[str, Any], schemas: list[Any]) -> None:
    document = {
        "openapi": "3.0.3",
        "paths": {"/a": {"post": operation}, "/b": {"post": operation}},
        "components": {"schemas": dict(zip("ABC", schemas, strict=True))},
    }
    content = json.dumps(document).encode()
    forward, backward = read(content, "forward.json"), read(content, "backward.json")
    ids = list(forward.operations)
    first = {i: convert(forward, i) for i in ids}
    second = {i: convert(backward, i) for i in reversed(ids)}
    assert {i: repr(r) for i, r in first.items()} == {i: repr(r) for i, r in second.items()}
