"""Completion: which keys and values could stand at the cursor."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from stoa_compiler.lsp.cursor import Cursor
from stoa_compiler.lsp.meaning import Node, accepts_keys, choices, meaning, type_words
from stoa_compiler.lsp.references import At, declared, digest, reference, secret_prefix, tool_patterns
from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_schemas.base import API_VERSION

_BARE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+@-]*(:[A-Za-z0-9_./+@*-]+)*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


@record
class Item:
    """Something that could stand at the cursor, in place of the word that is there."""

    label: str
    text: str
    """What is written."""
    kind: Literal["key", "name", "value"]
    detail: str = ""
    words: str = ""
    rank: int = 0
    """Smaller ones come first; equal ones by their label."""


def complete(at: At, cursor: Cursor) -> list[Item]:
    """What could stand at the cursor, the likeliest first."""
    items: dict[str, Item] = {}
    for item in _items(at, cursor):
        items.setdefault(item.label, item)
    return sorted(items.values(), key=lambda i: (i.rank, i.label))


def _items(at: At, cursor: Cursor) -> Iterator[Item]:
    if cursor.part == "value":
        yield from _values(at, cursor, cursor.loc)
        return
    mapping = cursor.loc[:-1]
    node = meaning(at.kind, mapping, at.data)
    if accepts_keys(node):
        yield from _keys(at, cursor, mapping, node)
    elif cursor.bare and node.get("type") == "array":
        item = meaning(at.kind, (*mapping, 0), at.data)
        if accepts_keys(item):
            for found in _keys(at, cursor, (*mapping, 0), item):
                yield Item(found.label, f"- {found.text}", found.kind, found.detail, found.words, found.rank)
        else:
            for found in _values(at, cursor, (*mapping, 0)):
                yield Item(found.label, f"- {found.text}", found.kind, found.detail, found.words, found.rank)
    elif cursor.bare:
        yield from _values(at, cursor, mapping)


def _keys(at: At, cursor: Cursor, mapping: Loc, node: Node) -> Iterator[Item]:
    required = node.get("required", [])
    has_colon = cursor.end > cursor.start and not cursor.bare
    for order, (name, child) in enumerate(node.get("properties", {}).items()):
        if name in cursor.keys:
            continue
        full = meaning(at.kind, (*mapping, name), at.data)
        ends = "" if has_colon else ":" if full.get("type") in ("object", "array") and not cursor.flow else ": "
        detail = type_words(full) + (", required" if name in required else "")
        words = str(child.get("description") or full.get("description", ""))
        yield Item(name, _text(name, cursor) + ends, "key", detail, words, order if name in required else 1000 + order)
    # Names that are keys: what they may be is declared elsewhere.
    what = reference(at.kind, (*mapping, ""), "key")
    if what is not None and not node.get("properties"):
        for name, found in declared(what, at, (*mapping, "")).items():
            if name not in cursor.keys:
                ends = "" if has_colon else ":" if not cursor.flow else ": "
                yield Item(name, _text(name, cursor) + ends, "name", what, found.words)


def _values(at: At, cursor: Cursor, loc: Loc) -> Iterator[Item]:
    node = meaning(at.kind, loc, at.data)
    space = " " if cursor.glued else ""
    exact = _exact(at, loc)
    if exact is not None:
        yield Item(exact, space + _text(exact, cursor), "value", "what the path says")
        return
    what = reference(at.kind, loc, "value")
    if what == "tool":
        for order, (pattern, words) in enumerate(tool_patterns(at)):
            yield Item(pattern, space + _text(pattern, cursor), "name", "tool", words, order)
    elif what == "digest":
        found = digest(at)
        if found:
            yield Item(found, space + _text(found, cursor), "value", "the file's digest now", "Review the file first.")
    elif what == "secret":
        prefix = secret_prefix(at)
        if prefix:
            contract = at.path.rpartition("/")[2].removesuffix(".yaml")
            text = f"vault:{prefix}/{contract}#"
            yield Item(text, space + _text(text, cursor), "value", "below the tenant's prefix")
    elif what is not None:
        for name, declaration in declared(what, at, loc).items():
            yield Item(name, space + _text(name, cursor), "name", what, declaration.words)
    possible = choices(node)
    for order, value in enumerate(possible):
        mark = "default" if "default" in node and node["default"] == value else ""
        yield Item(_label(value), space + _text(value, cursor), "value", mark, rank=order)
    if what is None and not possible:
        if "default" in node and not isinstance(node["default"], (dict, list)):
            yield Item(_label(node["default"]), space + _text(node["default"], cursor), "value", "default")
        for value in node.get("examples", ()):
            yield Item(_label(value), space + _text(value, cursor), "value", "example", rank=1)


def _exact(at: At, loc: Loc) -> str | None:
    """The value that the place of the file decides."""
    name = at.path.rpartition("/")[2].removesuffix(".yaml")
    match loc:
        case ("apiVersion",):
            return API_VERSION
        case ("kind",):
            return at.kind
        case ("metadata", "name") if at.kind != "Platform":
            return at.tenant if at.kind == "Tenant" else name
        case ("metadata", "tenant"):
            return at.tenant
    return None


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text(value: Any, cursor: Cursor) -> str:
    """`value` as YAML, in quotes where it needs them or where the cursor is in quotes already."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = _BARE.fullmatch(value) and value.lower() not in _WORDS
    return value if plain and not cursor.quoted else json.dumps(value, ensure_ascii=False)
