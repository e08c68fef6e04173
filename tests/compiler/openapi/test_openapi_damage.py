"""A description that is broken anywhere is refused or converted; nothing else ever happens."""

import copy
import json
import random
from typing import Any

import jsonschema_rs
import pytest

from stoa_compiler.openapi import Converted, DescriptionError, Problem, convert, read
from stoa_compiler.openapi.importer import Selection, import_openapi

SCHEMA = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "readOnly": True, "pattern": "^a", "format": "uuid", "enum": ["a"], "example": "a"},
        "n": {"type": "number", "minimum": 1, "exclusiveMinimum": True, "multipleOf": 2, "nullable": True},
        "many": {"type": "array", "items": {"$ref": "#/components/schemas/S"}, "minItems": 1},
        "map": {"type": "object", "additionalProperties": {"type": "string"}, "patternProperties": {"^x": {}}},
        "any": {"oneOf": [{"$ref": "#/components/schemas/S"}, {"not": {"type": "string"}}], "discriminator": {}},
        "dep": {
            "dependentRequired": {"a": ["b"]},
            "dependentSchemas": {"a": {"required": ["b"]}},
            "if": {},
            "then": {},
        },
    },
}
CONTENT = {"application/json": {"schema": SCHEMA, "examples": {"a": {"value": {"n": 2}}}, "example": 1}}
OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "T", "version": "1", "description": "d"},
    "servers": [{"url": "https://{a}.example", "variables": {"a": {"default": "x"}}}],
    "paths": {
        "/a/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "post": {
                "operationId": "a",
                "tags": ["t"],
                "summary": "s",
                "description": "d",
                "parameters": [
                    {"$ref": "#/components/parameters/P"},
                    {"name": "c", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                    {"name": "l", "in": "query", "style": "form", "explode": False, "schema": {"type": "array"}},
                ],
                "requestBody": {"required": True, "description": "d", "content": CONTENT},
                "responses": {"200": {"description": "", "content": CONTENT}, "204": {"description": ""}},
            },
        },
        "/f": {
            "post": {
                "operationId": "f",
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {"type": "object", "properties": {"x": {"type": "array"}}},
                            "encoding": {"x": {"style": "form", "explode": True}},
                        }
                    }
                },
                "responses": {"default": {"$ref": "#/components/responses/R"}},
            }
        },
    },
    "components": {
        "schemas": {"S": {"allOf": [{"$ref": "#/components/schemas/B"}, SCHEMA]}, "B": {"properties": {"b": {}}}},
        "parameters": {"P": {"name": "h", "in": "header", "schema": {"$ref": "#/components/schemas/B"}, "example": 1}},
        "responses": {"R": {"description": "", "content": {"text/plain": {"schema": {"type": "string"}}}}},
        "securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": "K"}},
    },
}
SWAGGER = {
    "swagger": "2.0",
    "info": {"title": "T", "version": "1"},
    "host": "a.example",
    "basePath": "/v1",
    "schemes": ["https"],
    "consumes": ["application/json"],
    "produces": ["application/json"],
    "paths": {
        "/a": {
            "parameters": [{"$ref": "#/parameters/Q"}],
            "post": {
                "operationId": "a",
                "parameters": [{"name": "b", "in": "body", "required": True, "schema": {"$ref": "#/definitions/S"}}],
                "responses": {"200": {"description": "", "schema": SCHEMA, "examples": {"application/json": {}}}},
            },
            "put": {
                "consumes": ["application/x-www-form-urlencoded"],
                "parameters": [
                    {"name": "f", "in": "formData", "type": "array", "collectionFormat": "multi", "required": True}
                ],
                "responses": {"200": {"$ref": "#/responses/R"}},
            },
        }
    },
    "definitions": {"S": SCHEMA},
    "parameters": {"Q": {"name": "q", "in": "query", "type": "array", "items": {"type": "string"}}},
    "responses": {"R": {"description": "", "schema": {"type": "file"}}},
    "securityDefinitions": {"k": {"type": "apiKey", "in": "query", "name": "k"}},
}
JUNK = [
    None, True, False, 0, -1, 1.5, "", "x", "\u200b", "(", [], {}, [[]], [None], [1], {"": None}, {"$ref": None},
    {"$ref": "#"}, {"$ref": "#/"}, {"$ref": "#/paths"}, {"$ref": "#/components/schemas/S"}, {"$ref": "a.yaml"},
    {"type": []}, {"type": {}}, ["object"], {"content": []}, {"examples": []}, {"properties": []}, 10**30,
    {"style": []}, {"x": 1},
]  # fmt: skip


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) below `node`."""
    found: list[tuple[Any, Any]] = []
    pending = [node]
    while pending:
        holder = pending.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                pending.append(holder[key])
    return found


def _survives(document: Any) -> None:
    content = json.dumps(document).encode()
    try:
        description = read(content, "a.json")
    except DescriptionError:
        return
    for operation_id in description.operations:
        result = convert(description, operation_id)
        if isinstance(result, Problem):
            assert result.message
            continue
        assert isinstance(result, Converted)
        jsonschema_rs.Draft202012Validator(result.input_schema).is_valid({"n": 1})
    import_openapi(content, "a.json", tenant="acme", name="a", selection=Selection(all=True), owner="a@acme.example")


@pytest.mark.parametrize("document", [OPENAPI, SWAGGER], ids=["3.0", "2.0"])
def test_every_place_can_hold_anything(document: dict[str, Any]) -> None:
    shape = json.dumps(document)
    count = len(_places(json.loads(shape)))
    for index in range(count):
        damaged = json.loads(shape)
        holder, key = _places(damaged)[index]
        holder[key] = copy.deepcopy(random.Random(index).choice(JUNK))
        _survives(damaged)


@pytest.mark.parametrize("document", [OPENAPI, SWAGGER], ids=["3.0", "2.0"])
@pytest.mark.parametrize("seed", range(60))
def test_several_places_can_hold_anything(document: dict[str, Any], seed: int) -> None:
    chance = random.Random(seed)
    damaged = json.loads(json.dumps(document))
    if seed % 2:
        damaged["openapi" if "openapi" in damaged else "swagger"] = "3.1.0" if "openapi" in damaged else "2.0"
    for _ in range(4):
        holder, key = chance.choice(_places(damaged))
        if isinstance(holder, dict) and chance.random() < 0.3:
            holder[chance.choice(["$ref", "nullable", "items", "allOf", "x", "required", "examples", "parameters"])] = (
                copy.deepcopy(chance.choice(JUNK))
            )
        else:
            holder[key] = copy.deepcopy(chance.choice(JUNK))
    _survives(damaged)
