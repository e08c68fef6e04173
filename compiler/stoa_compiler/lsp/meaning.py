"""Meaning: what may stand at a place, by the JSON Schemas of the models."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_schemas.emit import schema_of

Node = Mapping[str, Any]


def meaning(kind: str, loc: Loc, data: Any = None) -> Node:
    """The schema of the value at `loc`, references taken in; empty where nothing is known of it.

    `data` is the document, which says which form of a value was chosen where there are several.
    """
    document = _document(kind)
    node = document.deref(document.root)
    for depth, step in enumerate(loc):
        node = document.below(node, step, data)
        if kind == "UniversalAPIContract" and depth == 3 and loc[:2] == ("spec", "operations") and step in _SCHEMAS:
            node = {**_JSON_SCHEMA, "description": node.get("description", "")}
        if not node:
            return {}
        data = _inside(data, step)
    return document.chosen(node, data)


def accepts_keys(node: Node) -> bool:
    """Whether a mapping can stand there."""
    return node.get("type") == "object"


def choices(node: Node) -> list[Any]:
    """The values that are possible, where they are a fixed set."""
    if node.get("type") == "boolean":
        return [True, False]
    return list(node.get("enum", [node["const"]] if "const" in node else []))


def type_words(node: Node) -> str:
    """What kind of value it is, in a few words."""
    if node.get("type") == "array":
        return f"list of {type_words(node.get('items', {}))}"
    if "const" in node:
        return f"`{node['const']}`"
    names = {"object": "mapping", "boolean": "true or false", "integer": "whole number", "string": "text"}
    return names.get(str(node.get("type", "")), str(node.get("type", "")) or "any value")


def _inside(data: Any, step: str | int) -> Any:
    try:
        return data[step]
    except (KeyError, IndexError, TypeError):
        return None


@record(slots=False)
class _Document:
    """One kind's schema."""

    root: Node

    def deref(self, node: Node) -> Node:
        """`node` with what it refers to taken in; its own words win."""
        while "$ref" in node:
            if node["$ref"] == "#":
                target: Node = _JSON_SCHEMA
            else:
                target = self.root["$defs"][node["$ref"].rpartition("/")[2]]
            node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
        return node

    def chosen(self, node: Node, data: Any) -> Node:
        """The form that `data` chose by its `type`; all forms together where it chose none."""
        if "oneOf" not in node:
            return node
        forms = [self.deref(form) for form in node["oneOf"]]
        tag = _inside(data, "type")
        for form in forms:
            if form["properties"]["type"].get("const") == tag:
                return {**form, "description": node.get("description", form.get("description", ""))}
        tags = [form["properties"]["type"]["const"] for form in forms]
        properties = {name: child for form in forms for name, child in form["properties"].items()}
        first = properties["type"]
        properties["type"] = {**{k: v for k, v in first.items() if k != "const"}, "enum": tags}
        return {
            **{k: v for k, v in node.items() if k != "oneOf"},
            "type": "object",
            "properties": properties,
            "required": ["type"],
        }

    def below(self, node: Node, step: str | int, data: Any) -> Node:
        """What is below `node` at one key or index."""
        node = self.chosen(node, data)
        if isinstance(step, int):
            found = node.get("items")
        else:
            found = node.get("properties", {}).get(step)
            if found is None:
                found = next((n for p, n in node.get("patternProperties", {}).items() if re.search(p, step)), None)
            if found is None:
                found = node.get("additionalProperties")
        return self.deref(found) if isinstance(found, Mapping) else {}


@cache
def _document(kind: str) -> _Document:
    return _Document(schema_of(kind))


_SCHEMAS = ("input", "output")
"""Keys of an operation whose value is a JSON Schema."""

_SELF = {"$ref": "#"}


def _keyword(description: str, **schema: Any) -> dict[str, Any]:
    return {**schema, "description": description}


_JSON_SCHEMA: Node = {
    "type": "object",
    "properties": {
        "type": _keyword(
            "The type of value.",
            type="string",
            enum=["array", "boolean", "integer", "null", "number", "object", "string"],
        ),
        "description": _keyword("What it is, for agents and people.", type="string"),
        "title": _keyword("A short name for people.", type="string"),
        "properties": _keyword("Properties of an object, by name.", type="object", additionalProperties=_SELF),
        "required": _keyword("Names of properties that must be there.", type="array", items={"type": "string"}),
        "additionalProperties": _keyword(
            "`false`: only the named properties; a schema: what others must be.", type="boolean"
        ),
        "items": _keyword("What each item of an array is.", **_SELF),
        "enum": _keyword("All values that are possible.", type="array", items={}),
        "const": _keyword("The only value that is possible."),
        "default": _keyword("What holds where it is left out."),
        "examples": _keyword("Values as they may be.", type="array", items={}),
        "format": _keyword(
            "What kind of text it is.",
            type="string",
            enum=["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"],
        ),
        "pattern": _keyword("A regular expression that the text must match, without look-around.", type="string"),
        "minLength": _keyword("Characters at least.", type="integer"),
        "maxLength": _keyword("Characters at the most.", type="integer"),
        "minimum": _keyword("The smallest number.", type="number"),
        "maximum": _keyword("The largest number.", type="number"),
        "exclusiveMinimum": _keyword("Greater than this.", type="number"),
        "exclusiveMaximum": _keyword("Less than this.", type="number"),
        "multipleOf": _keyword("A multiple of this.", type="number"),
        "minItems": _keyword("Items at least.", type="integer"),
        "maxItems": _keyword("Items at the most.", type="integer"),
        "uniqueItems": _keyword("Whether no item stands twice.", type="boolean"),
        "anyOf": _keyword("At least one of these must fit. Not at the root of `input`.", type="array", items=_SELF),
        "oneOf": _keyword("Exactly one of these must fit. Not at the root of `input`.", type="array", items=_SELF),
        "allOf": _keyword("All of these must fit. Not at the root of `input`.", type="array", items=_SELF),
        "$ref": _keyword("A schema of this same schema's `$defs`: `#/$defs/name`.", type="string"),
        "$defs": _keyword("Schemas that `$ref` points to, by name.", type="object", additionalProperties=_SELF),
    },
}
"""JSON Schema 2020-12, as far as an editor offers it."""
