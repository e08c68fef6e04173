"""Portability: what agents' clients are known not to take of a tool.

MCP takes any JSON Schema whose root is an object; the model's API behind a client takes less, and one tool that
it refuses often costs the client all of them. A profile says what the API of one family refuses or passes over.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson

from stoa_compiler.records import record
from stoa_schemas.documents.platform import ClientProfile

NAME_LIMIT = 64

_CLIENTS: Mapping[ClientProfile, str] = {
    "claude": "Claude",
    "openai": "OpenAI",
    "openai-strict": "OpenAI in strict mode",
    "gemini": "Gemini",
}
_SCHEMAS_BY_NAME = ("$defs", "dependentSchemas", "patternProperties", "properties")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = (
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_STRICT_DEPTH = 10
_STRICT_PROPERTIES = 5000
_STRICT_VALUES = 1000
_NOT_STRICT = (
    "allOf",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "if",
    "not",
    "oneOf",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_NOT_GEMINI = (
    "allOf",
    "const",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if",
    "multipleOf",
    "not",
    "patternProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
)

Effect = Literal["refused", "lost"]


@record
class Concern:
    """What one client does not take of a tool."""

    client: str
    """As people call it."""
    effect: Effect
    """`refused`: the tool, and with it often the whole list; `lost`: this part, so that the model does not see it."""
    message: str
    """What is not taken, with the places: JSON pointers into the input schema."""
    place: str
    """The first of the places; the root where it has none."""


def name_budget(client: ClientProfile, server: str) -> int:
    """Characters that a tool's name may have where the client puts the server's name before it."""
    prefix = {"claude": f"mcp__{server}__", "gemini": f"mcp_{server}_"}.get(client, "")
    return NAME_LIMIT - len(prefix)


def concerns(schema: Mapping[str, Any], clients: Sequence[ClientProfile]) -> list[Concern]:
    """What these clients are known not to take of an input schema, in the clients' order."""
    nodes = list(_nodes(schema, "")) if clients else []
    found: list[Concern] = []
    for client in clients:
        for effect, what, places in _PROFILES[client](schema, nodes):
            at = f" at {_listed(places)}" if places else ""
            found.append(Concern(_CLIENTS[client], effect, what + at, places[0] if places else ""))
    return found


_Node = tuple[str, Mapping[str, Any]]
_Found = Iterator[tuple[Effect, str, Sequence[str]]]
"""What happens, to what, and where."""


def _claude(schema: Mapping[str, Any], nodes: Sequence[_Node]) -> _Found:
    yield from _union_at_root(schema)
    odd = [n for n in schema.get("properties", {}) if not _PROPERTY.fullmatch(n)]
    if odd:
        said = "names of arguments with more than letters, digits, `_`, `.` and `-`, or than 64 characters,"
        yield "refused", said, [f"/properties/{_step(n)}" for n in odd]


def _openai(schema: Mapping[str, Any], nodes: Sequence[_Node]) -> _Found:
    yield from _union_at_root(schema)
    bare = [at for at, node in nodes if _is(node, "array") and "items" not in node and "prefixItems" not in node]
    if bare:
        yield "refused", "arrays without `items`", bare
    twice = [f"{at}/enum" for at, node in nodes if _has_duplicates(node.get("enum"))]
    if twice:
        yield "refused", "a value that stands twice", twice


def _openai_strict(schema: Mapping[str, Any], nodes: Sequence[_Node]) -> _Found:
    yield from _openai(schema, nodes)
    yield from _keywords(nodes, _NOT_STRICT, "refused")
    optional = [
        f"{at}/properties/{_step(name)}"
        for at, node in nodes
        for name in node.get("properties", {})
        if name not in node.get("required", ())
    ]
    if optional:
        yield "refused", "properties that are not required", optional
    unclosed = [at for at, node in nodes if _is(node, "object") and node.get("additionalProperties") is not False]
    if unclosed:
        yield "refused", "objects without `additionalProperties: false`", unclosed
    depth = max((_object_depth(at) for at, _ in nodes), default=0)
    if depth > _STRICT_DEPTH:
        yield "refused", f"{depth} levels of objects, where {_STRICT_DEPTH} are taken", ()
    count = sum(len(node.get("properties", {})) for _, node in nodes)
    if count > _STRICT_PROPERTIES:
        yield "refused", f"{count:,} properties, where {_STRICT_PROPERTIES:,} are taken", ()
    values = sum(len(node.get("enum", ())) for _, node in nodes)
    if values > _STRICT_VALUES:
        yield "refused", f"{values:,} values of `enum`, where {_STRICT_VALUES:,} are taken", ()


def _gemini(schema: Mapping[str, Any], nodes: Sequence[_Node]) -> _Found:
    yield from _union_at_root(schema)
    numbers = [f"{at}/enum" for at, node in nodes if any(not isinstance(v, str | None) for v in node.get("enum", ()))]
    if numbers:
        yield "refused", "values that are no text", numbers
    bare = [at for at, node in nodes if _is(node, "array") and not node.get("items")]
    if bare:
        yield "refused", "arrays whose items have no type", bare
    references = [f"{at}/$ref" for at, node in nodes if "$ref" in node and not at.startswith("/$defs")]
    if references:
        yield "lost", "references", references
    several = [f"{at}/type" for at, node in nodes if _types(node) > 1]
    if several:
        yield "lost", "a choice of types", several
    yield from _keywords(nodes, _NOT_GEMINI, "lost")


_PROFILES: Mapping[ClientProfile, Callable[[Mapping[str, Any], Sequence[_Node]], _Found]] = {
    "claude": _claude,
    "openai": _openai,
    "openai-strict": _openai_strict,
    "gemini": _gemini,
}


def _union_at_root(schema: Mapping[str, Any]) -> _Found:
    unions = [k for k in ("allOf", "anyOf", "oneOf", "not", "if") if k in schema]
    if unions or schema.get("type") != "object":
        yield "refused", "a union at the root" if unions else "a root that is no object", [f"/{k}" for k in unions]


def _keywords(nodes: Sequence[_Node], keywords: Sequence[str], effect: Effect) -> _Found:
    for keyword in keywords:
        places = [f"{at}/{keyword}" for at, node in nodes if keyword in node]
        if places:
            yield effect, f"`{keyword}`", places


def _nodes(schema: Any, at: str) -> Iterator[_Node]:
    """Each subschema and its pointer; `schema` is finite, since references are not followed."""
    pending: list[tuple[str, Any]] = [(at, schema)]
    while pending:
        where, node = pending.pop()
        if not isinstance(node, Mapping):
            continue
        yield where, node
        below: list[tuple[str, Any]] = []
        for keyword in _SCHEMAS_BY_NAME:
            named = node.get(keyword)
            if isinstance(named, Mapping):
                below += [(f"{where}/{keyword}/{_step(name)}", inner) for name, inner in named.items()]
        for keyword in _SCHEMA_LISTS:
            listed = node.get(keyword)
            if isinstance(listed, list):
                below += [(f"{where}/{keyword}/{i}", inner) for i, inner in enumerate(listed)]
        below += [(f"{where}/{keyword}", node[keyword]) for keyword in _SCHEMAS if keyword in node]
        pending += reversed(below)


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _types(node: Mapping[str, Any]) -> int:
    """How many types a value may have, null not counted: that is a mark of its own."""
    types = node.get("type")
    return len([t for t in types if t != "null"]) if isinstance(types, list) else 1


def _is(node: Mapping[str, Any], kind: str) -> bool:
    types = node.get("type")
    return kind in types if isinstance(types, list) else types == kind


def _object_depth(at: str) -> int:
    """Levels of properties above the place. A property's own name may be `properties`, which counts twice."""
    return at.count("/properties/")


def _has_duplicates(values: Any) -> bool:
    if not isinstance(values, list):
        return False
    written = [orjson.dumps(v, option=orjson.OPT_SORT_KEYS) for v in values]
    return len(set(written)) < len(written)


def _listed(places: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(f"`{p[:100] or '/'}`" for p in places[:limit])
    return f"{shown} and {len(places) - limit} more" if len(places) > limit else shown
