"""What a schema names: its properties by their place in the value, with what stands there."""

from collections.abc import Mapping
from typing import Any

from stoa_compiler.compatibility.nodes import Node, Root
from stoa_compiler.compatibility.subschema import Place

MAX_PLACES = 3_000
_SAME = ("allOf", "anyOf", "oneOf")


def outline(schema: Any) -> dict[Place, Node]:
    """Every place of the value that the schema names, and the subschema that names it first.

    References are followed once on each way down, so that recursion ends.
    """
    found: dict[Place, Node] = {}
    if isinstance(schema, Mapping):
        _walk(Root(schema).node, (), found, frozenset())
    return found


def complete(found: Mapping[Place, Node]) -> bool:
    """Whether the outline was not cut off."""
    return len(found) < MAX_PLACES


def _walk(node: Node, place: Place, found: dict[Place, Node], above: frozenset[tuple[int, int]]) -> None:
    value = node.value
    if not isinstance(value, Mapping) or node.key in above or len(found) >= MAX_PLACES or len(place) > 24:
        return
    above |= {node.key}
    if isinstance(value.get("$ref"), str):
        _walk(node.root.target(value["$ref"]), place, found, above)
    for keyword in _SAME:
        for index in range(len(value.get(keyword, ()))):
            _walk(node.below(keyword, index), place, found, above)
    for keyword in ("then", "else"):
        if keyword in value:
            _walk(node.below(keyword), place, found, above)
    for name in value.get("dependentSchemas", ()):
        _walk(node.below("dependentSchemas", name), place, found, above)
    for name, inner in (value.get("properties") or {}).items():
        if inner is not False:
            found.setdefault((*place, name), node.below("properties", name))
            _walk(node.below("properties", name), (*place, name), found, above)
    for index in range(len(value.get("prefixItems", ()))):
        _walk(node.below("prefixItems", index), (*place, "[]"), found, above)
    if "items" in value:
        _walk(node.below("items"), (*place, "[]"), found, above)
    if "additionalProperties" in value:
        _walk(node.below("additionalProperties"), (*place, "*"), found, above)
    for pattern in value.get("patternProperties") or {}:
        _walk(node.below("patternProperties", pattern), (*place, f"/{pattern}/"), found, above)
