"""Schemas of OpenAPI 2.0, 3.0 and 3.1 as JSON Schema 2020-12, for one direction of data.

What a reference names becomes a definition, so that recursion in any shape stays finite. A definition is
converted once for a description; its name follows from its pointer alone, so it never depends on which
operation asked first.
"""

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jsonschema_rs
import orjson

from stoa_compiler.characters import hidden_character
from stoa_compiler.openapi.model import Description, Problem
from stoa_compiler.openapi.patterns import portable
from stoa_compiler.openapi.pointer import look_up
from stoa_compiler.openapi.references import Refused, resolve
from stoa_compiler.openapi.text import clean, one_line
from stoa_compiler.records import record

Direction = Literal["request", "answer"]
Schema = dict[str, Any]

MAX_DEFINITIONS = 64
"""Definitions that one schema carries."""
MAX_BYTES = 32_768
"""Bytes of one schema: about 8,000 tokens in an agent's context."""
MAX_INLINE_DEPTH = 40
MAX_TEXT = 500
"""Characters of a description inside a schema."""
MAX_EXAMPLE_BYTES = 500

TOO_LARGE = "Any value: its schema is left out here, because it is too large."
_OPAQUE: Schema = {"description": TOO_LARGE}
_OPAQUE_BYTES = 120

_CONCEALED: dict[Direction, str] = {"request": "readOnly", "answer": "writeOnly"}
_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_DATA = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose value is data."""
_BY_NAME = frozenset({"dependentSchemas", "patternProperties", "properties"})
"""Keywords whose value holds schemas by names of the author's choosing."""
_FORMATS = frozenset(
    """
    date-time date time duration email idn-email hostname idn-hostname ipv4 ipv6 uri uri-reference iri iri-
    reference uuid uri-template json-pointer relative-json-pointer regex int8 int16 int32 int64 uint8 uint16
    uint32 uint64 single-int double-int float double decimal decimal128 byte base64url binary char password
    commonmark html media-range http-date date-time-local time-local sf-string sf-token sf-integer sf-decimal sf-
    boolean sf-binary unixtime
    """.split()  # noqa: SIM905
)
"""JSON Schema 2020-12, 7.3, and the OpenAPI format registry."""
_COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "not", "const", "if")
_TURNED = ("not", "if")
"""Keywords below which a schema that takes more lets the whole take less."""
_UNIONS = ("anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_ANNOTATIONS = ("title", "description", "default", "deprecated", "examples")
_BESIDE_REFERENCE = frozenset({"title", "description", "default", "deprecated", "nullable", "x-nullable", "example"})
"""What counts beside `$ref` before OpenAPI 3.1: strictly nothing, but this is what authors mean."""

Key = tuple[str, frozenset[str]]
"""A definition: its pointer, and the names that are not required there since what encloses it conceals them."""


@record
class Definition:
    """What a reference names, converted."""

    name: str
    schema: Any
    references: tuple[Key, ...]
    bytes: int
    problems: tuple[Problem, ...]
    loosened: bool
    """Whether it takes values that the description refuses."""


@record
class Names:
    """Properties of an object, over everything that it is composed of."""

    concealed: frozenset[str] = frozenset()
    """Those that this direction of data does not have."""
    visible: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


class _Loose(list[Any]):
    """Arms of a `oneOf` of which some take more than the description says."""


class SchemaWriter:
    """Converts schemas of one description and direction; remembers what they refer to and what was left out."""

    def __init__(self, description: Description, direction: Direction, home: Any = None) -> None:
        """`home`: what the reference names that this writer converts, so that it can tell a loop."""
        self.description = description
        self.direction = direction
        self.references: dict[Key, None] = {}
        self.problems: list[Problem] = []
        self.loosened = False
        """Whether something is taken that the description refuses: what is left out of a schema widens it."""
        self._home = home
        self._at_home = home is not None
        """Whether the schema in hand is about the same value as `home`."""
        self._beside = None if description.version in ("3.1", "3.2") else _BESIDE_REFERENCE

    def write(self, node: Any, where: str, concealed: frozenset[str] | None = None, depth: int = 0) -> Any:
        """`node` as a 2020-12 schema. References point below `#/$defs/`.

        `concealed`: given where `node` is a part of an object whose properties these are.
        """
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            self._note(where, "the schema is not a mapping", "Write a JSON Schema.")
            self.loosened = True
            return {}
        if depth > MAX_INLINE_DEPTH:
            self._note(
                where, f"nested more than {MAX_INLINE_DEPTH} schemas deep; any value is taken there", "Flatten it."
            )
            self.loosened = True
            return dict(_OPAQUE)
        outside = self._at_home
        if concealed is None:
            self._at_home = False
        try:
            return self._written(node, where, concealed or frozenset(), depth)
        finally:
            self._at_home = outside

    def _written(self, node: Schema, where: str, concealed: frozenset[str], depth: int) -> Schema:
        concealed = concealed | self.names(node, where).concealed
        out: Schema = {}
        ref = node.get("$ref")
        if isinstance(ref, str):
            if self._beside is not None:
                node = {k: v for k, v in node.items() if k in self._beside}
            if self._at_home and self._leads_home({"$ref": ref}, where, strong_only=True):
                self._note(f"{where}/$ref", "the reference is ignored: it leads back to itself", "Remove it.")
                self.loosened = True
            else:
                out["$ref"] = "#/$defs/" + self._reference(ref, where, concealed)
        for keyword, value in node.items():
            write = _KEYWORDS.get(keyword)
            if write is not None:
                if keyword in _UNIONS and self._at_home and self._leads_home({keyword: value}, where):
                    self._note(
                        f"{where}/{keyword}",
                        f"`{keyword}` is ignored: an arm of it is made of the whole again",
                        "Let the arms be made of a schema that is not the union itself.",
                    )
                    self.loosened = True
                    continue
                write(self, out, keyword, value, node, where, concealed, depth)
        self._drop_lone_all_of(out)
        if isinstance(out.get("oneOf"), _Loose):
            _any_instead(out)
        types = out.get("type")
        if (types == "array" or (isinstance(types, list) and "array" in types)) and "items" not in out:
            out["items"] = {}
        if node.get("nullable") is True or node.get("x-nullable") is True:
            out = _nullable(out)
        return out

    def names(self, node: Any, where: str) -> Names:
        """The properties of `node`, over its references and `allOf`.

        A name that only arms of `anyOf` and `oneOf` have is concealed when no arm shows it.
        """
        if not isinstance(node, dict):
            return Names()
        if not any(k in node for k in ("properties", "required", "$ref", "allOf", "anyOf", "oneOf")):
            return Names()
        slot: Any = ("names", self.direction, id(node))
        known: tuple[Any, Names] | None = self.description.targets.get(slot)
        if known is None:
            # The node is kept with its names, so that its id stays its own.
            known = (node, self._names(node, where, set(), 0))
            self.description.targets[slot] = known
        return known[1]

    def _names(self, node: Any, where: str, visited: set[int], depth: int) -> Names:
        if not isinstance(node, dict) or id(node) in visited or depth > MAX_INLINE_DEPTH:
            return Names()
        visited.add(id(node))
        concealed, visible, required = set[str](), set[str](), set[str]()
        properties = node.get("properties")
        if isinstance(properties, dict):
            for name, value in properties.items():
                hidden = self._conceals(value, where, 0)
                (concealed if hidden else visible).add(name)
        if isinstance(node.get("required"), list):
            required.update(n for n in node["required"] if isinstance(n, str))
        parts: list[Any] = []
        if isinstance(node.get("$ref"), str):
            parts.append(resolve(self.description, node["$ref"], where)[0])
        if isinstance(node.get("allOf"), list):
            parts.extend(node["allOf"])
        for part in parts:
            names = self._names(part, where, visited, depth + 1)
            concealed |= names.concealed
            visible |= names.visible
            required |= names.required
        arms = [a for k in ("anyOf", "oneOf") if isinstance(node.get(k), list) for a in node[k]]
        if required and arms:
            found = [self._names(a, where, visited, depth + 1) for a in arms]
            shown = visible.union(*(f.visible for f in found))
            concealed |= set().union(*(f.concealed for f in found)) - shown
        # A name that one part conceals is concealed: the direction is the property's, not the part's.
        return Names(frozenset(concealed), frozenset(visible - concealed), frozenset(required))

    def _conceals(self, node: Any, where: str, depth: int) -> bool:
        """Whether the property is not part of this direction of data."""
        if not isinstance(node, dict) or depth > 8:
            return False
        if node.get(_CONCEALED[self.direction]) is True:
            return True
        if isinstance(node.get("$ref"), str) and self._conceals(
            resolve(self.description, node["$ref"], where)[0], where, depth + 1
        ):
            return True
        parts = node.get("allOf")
        return isinstance(parts, list) and any(self._conceals(p, where, depth + 1) for p in parts)

    def _reference(self, ref: str, where: str, concealed: frozenset[str]) -> str:
        node, at = resolve(self.description, ref, where)
        own = self.names(node, at)
        key = (at, frozenset((concealed - own.concealed) & own.required))
        self.references[key] = None
        return definition_name(self.description, key)

    def _leads_home(self, node: Schema, where: str, strong_only: bool = False) -> bool:
        """Whether `node` is made of `home` again, for the same value: a validator would never end.

        `strong_only`: by references and `allOf` alone.
        """
        pending = self._made_of(node, strong_only)
        visited: set[int] = set()
        while pending:
            target, _ = resolve(self.description, pending.pop(), where)
            if target is self._home:
                return True
            if isinstance(target, dict) and id(target) not in visited:
                visited.add(id(target))
                pending.extend(self._made_of(target, strong_only))
        return False

    def _made_of(self, node: Schema, strong_only: bool) -> list[str]:
        """References to what the same value must, or with unions may, fulfil besides."""
        found: list[str] = []
        pending: list[Any] = [node]
        depth = 0
        while pending and depth < 1000:
            depth += 1
            part = pending.pop()
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("$ref"), str):
                found.append(part["$ref"])
            for keyword in ("allOf",) if strong_only else ("allOf", *_UNIONS):
                value = part.get(keyword)
                pending.extend(
                    value
                    if isinstance(value, list)
                    else value.values()
                    if keyword == "dependentSchemas" and isinstance(value, dict)
                    else [value]
                )
        return found

    def _drop_lone_all_of(self, out: Schema) -> None:
        """`allOf` around one reference is how 3.0 puts a description beside it."""
        parts = out.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and "$ref" not in out and list(parts[0] or ()) == ["$ref"]:
            del out["allOf"]
            out["$ref"] = parts[0]["$ref"]

    def _note(self, where: str, message: str, help: str) -> None:
        self.problems.append(Problem(where, message, help))

    def _ignored(self, where: str, keyword: str, wanted: str) -> None:
        self.loosened = True
        self._note(f"{where}/{keyword}", f"`{keyword}` is ignored: it is not {wanted}", f"Write {wanted}.")

    # One method a kind of keyword; `_KEYWORDS` below says which takes which.

    def _type(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        types = value if isinstance(value, list) else [value]
        types = ["string" if t == "file" else t for t in types if isinstance(t, str)]
        known = list(dict.fromkeys(t for t in types if t in _TYPES))
        if len(known) < len(types) or not known:
            self._ignored(where, keyword, "a type of JSON Schema")
        if known and len(known) == len(set(types)):
            out["type"] = known[0] if len(known) == 1 else known

    def _enum(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        if not isinstance(value, list) or not value:
            self._ignored(where, keyword, "a list of values")
            return
        unique = {orjson.dumps(v, option=orjson.OPT_SORT_KEYS): v for v in value}
        shown = [v for v in unique.values() if not _has_hidden(v)]
        if len(shown) < len(unique):
            self.loosened = True
            self._note(
                f"{where}/enum", "a value with characters that cannot be seen is left out", "Delete the characters."
            )
        if shown:
            out["enum"] = shown

    def _any_value(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        if _has_hidden(value):
            self._note(f"{where}/{keyword}", "a value with characters that cannot be seen is left out", "Delete them.")
        else:
            out[keyword] = value

    def _text(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        text = clean(value, 80 if keyword == "title" else MAX_TEXT)
        if text:
            out[keyword] = text

    def _number(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (keyword == "multipleOf" and value <= 0):
            self._ignored(where, keyword, "a number" if keyword != "multipleOf" else "a number above 0")
            return
        exclusive = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}.get(keyword)
        if exclusive and node.get(exclusive) is True:
            out[exclusive] = value
        else:
            out[keyword] = value

    def _exclusive(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *rest: Any) -> None:
        if isinstance(value, bool):  # OpenAPI 3.0 and 2.0: it says how `minimum` or `maximum` is meant.
            if value and not isinstance(node.get(keyword[9].lower() + keyword[10:]), (int, float)):
                self._ignored(where, keyword, "beside the bound that it is about")
            return
        self._number(out, keyword, value, node, where, *rest)

    def _count(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
            self._ignored(where, keyword, "a whole number from 0 on")
        else:
            out[keyword] = value

    def _flag(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        if value is True:
            out[keyword] = True

    def _pattern(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        pattern = portable(value) if isinstance(value, str) else None
        if pattern is not None:
            out[keyword] = pattern
        else:
            self._ignored(where, keyword, "a regular expression that every client reads alike, in linear time")

    def _format(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        if value in _FORMATS if isinstance(value, str) else False:
            out[keyword] = value
        else:
            shown = f"`{one_line(value, 40)}` " if isinstance(value, str) else ""
            self._note(
                f"{where}/format", f"the format {shown}is ignored: it is not registered", "Say it in the description."
            )

    def _media(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        if isinstance(value, str) and len(value) <= 100 and value.isascii() and value.isprintable():
            out[keyword] = value

    def _examples(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        found = [value] if keyword == "example" else value
        if isinstance(found, dict):  # The shape that parameters and bodies have.
            found = [v["value"] for v in found.values() if isinstance(v, dict) and "value" in v]
        if not isinstance(found, list):
            return
        short = [v for v in found if len(orjson.dumps(v)) <= MAX_EXAMPLE_BYTES and not _has_hidden(v)]
        if short:
            out["examples"] = [*out.get("examples", []), *short][:3]

    def _required(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], *_: Any
    ) -> None:
        if not isinstance(value, list) or not all(isinstance(n, str) for n in value):
            self._ignored(where, keyword, "a list of names")
            return
        names = [n for n in dict.fromkeys(value) if n not in concealed and not hidden_character(n)]
        self.loosened = self.loosened or len(names) < len(set(value))
        if names:
            out["required"] = names

    def _properties(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], depth: int
    ) -> None:
        if not isinstance(value, dict):
            self._ignored(where, keyword, "a mapping of schemas")
            return
        result = {}
        for name, schema in value.items():
            at = f"{where}/properties/{_step(name)}"
            if name in concealed:
                self.loosened = True
                continue
            if hidden_character(name):
                self.loosened = True
                self._note(at, "a property with characters that cannot be seen is left out", "Delete them.")
                continue
            result[name] = self.write(schema, at, None, depth + 1)
        out["properties"] = result

    def _pattern_properties(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], depth: int
    ) -> None:
        if not isinstance(value, dict):
            self._ignored(where, keyword, "a mapping of schemas")
            return
        result = {}
        for pattern, schema in value.items():
            at = f"{where}/patternProperties/{_step(pattern)}"
            read_alike = portable(pattern)
            if read_alike is not None:
                result[read_alike] = self.write(schema, at, None, depth + 1)
            else:
                self._note(
                    at, "the pattern is ignored: clients do not read it alike, in linear time", "Write a plainer one."
                )
                self.loosened = True
        if result:
            out[keyword] = result
            if len(result) < len(value):
                out.pop("additionalProperties", None)

    def _additional(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], depth: int
    ) -> None:
        patterns = node.get("patternProperties")
        if isinstance(patterns, dict) and any(portable(p) is None for p in patterns):
            return  # What a dropped pattern allowed would be refused.
        self._one(out, keyword, value, node, where, concealed, depth)

    def _one(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], depth: int
    ) -> None:
        part = concealed if keyword in ("not", "if", "then", "else") else None
        if not isinstance(value, (dict, bool)):
            self._ignored(where, keyword, "a schema")
            return
        before, self.loosened = self.loosened, False
        written = self.write(value, f"{where}/{keyword}", part, depth + 1)
        if keyword in _TURNED and self.loosened:
            # What takes more below `not` takes less as a whole.
            self._note(f"{where}/{keyword}", f"`{keyword}` is ignored: part of it is left out", "Say it positively.")
        else:
            out[keyword] = written
        self.loosened = self.loosened or before

    def _items(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], depth: int
    ) -> None:
        if isinstance(value, list):  # Drafts before 2020-12: one schema for each place.
            if value:
                out["prefixItems"] = [self.write(v, f"{where}/items/{i}", None, depth + 1) for i, v in enumerate(value)]
            if isinstance(node.get("additionalItems"), (dict, bool)):
                out["items"] = self.write(node["additionalItems"], f"{where}/additionalItems", None, depth + 1)
        else:
            self._one(out, keyword, value, node, where, concealed, depth)

    def _several(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], depth: int
    ) -> None:
        if not isinstance(value, list) or not value:
            self._ignored(where, keyword, "a list of schemas")
            return
        part = None if keyword == "prefixItems" else concealed
        before, self.loosened = self.loosened, False
        arms = [self.write(v, f"{where}/{keyword}/{i}", part, depth + 1) for i, v in enumerate(value)]
        out[keyword] = _Loose(arms) if keyword == "oneOf" and self.loosened else arms
        self.loosened = self.loosened or before

    def _dependent_required(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *rest: Any) -> None:
        concealed: frozenset[str] = rest[0]
        if not isinstance(value, dict) or not all(
            isinstance(v, list) and all(isinstance(n, str) for n in v) for v in value.values()
        ):
            self._ignored(where, keyword, "a mapping of lists of names")
            return
        out[keyword] = {k: [n for n in dict.fromkeys(v) if n not in concealed] for k, v in value.items()}

    def _dependent_schemas(
        self, out: Schema, keyword: str, value: Any, node: Schema, where: str, concealed: frozenset[str], depth: int
    ) -> None:
        if not isinstance(value, dict):
            self._ignored(where, keyword, "a mapping of schemas")
            return
        out[keyword] = {
            k: self.write(v, f"{where}/{keyword}/{_step(k)}", concealed, depth + 1) for k, v in value.items()
        }

    def _not_taken(self, out: Schema, keyword: str, value: Any, node: Schema, where: str, *_: Any) -> None:
        self.loosened = True
        self._note(
            f"{where}/{keyword}", f"`{keyword}` is ignored: it is not taken", "Use `$ref` and `dependentRequired`."
        )


_Write = Callable[..., None]
_KEYWORDS: Mapping[str, _Write] = {
    "type": SchemaWriter._type,
    "enum": SchemaWriter._enum,
    "const": SchemaWriter._any_value,
    "default": SchemaWriter._any_value,
    "title": SchemaWriter._text,
    "description": SchemaWriter._text,
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), SchemaWriter._number),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), SchemaWriter._exclusive),
    **dict.fromkeys(
        (
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minContains",
            "maxContains",
            "minProperties",
            "maxProperties",
        ),
        SchemaWriter._count,
    ),
    **dict.fromkeys(("uniqueItems", "deprecated"), SchemaWriter._flag),
    "pattern": SchemaWriter._pattern,
    "format": SchemaWriter._format,
    **dict.fromkeys(("contentEncoding", "contentMediaType"), SchemaWriter._media),
    **dict.fromkeys(("example", "examples"), SchemaWriter._examples),
    "required": SchemaWriter._required,
    "properties": SchemaWriter._properties,
    "patternProperties": SchemaWriter._pattern_properties,
    "additionalProperties": SchemaWriter._additional,
    "items": SchemaWriter._items,
    **dict.fromkeys(
        ("not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
        SchemaWriter._one,
    ),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), SchemaWriter._several),
    "dependentRequired": SchemaWriter._dependent_required,
    "dependentSchemas": SchemaWriter._dependent_schemas,
    **dict.fromkeys(("$dynamicRef", "$recursiveRef", "dependencies"), SchemaWriter._not_taken),
}
"""Every keyword that is kept, in 2020-12's sense; what is not here (discriminator, xml, x-...) is dropped."""


def _nullable(out: Schema) -> Schema:
    """`out`, and null besides (OpenAPI 3.0.3, 4.7.24.1)."""
    if any(k in out for k in _COMBINING):
        if "anyOf" in out and not any(k in out for k in (*_COMBINING, "type", "enum") if k != "anyOf"):
            return {**out, "anyOf": [*out["anyOf"], {"type": "null"}]}
        annotations = {k: out[k] for k in _ANNOTATIONS if k in out}
        rest = {k: v for k, v in out.items() if k not in annotations}
        return {**annotations, "anyOf": [rest, {"type": "null"}]}
    result = dict(out)
    if "type" in out:
        types = out["type"] if isinstance(out["type"], list) else [out["type"]]
        result["type"] = list(dict.fromkeys([*types, "null"]))
    if "enum" in out and None not in out["enum"]:
        result["enum"] = [*out["enum"], None]
    return result


def _any_instead(schema: Schema) -> None:
    """Lets `oneOf` be `anyOf`: arms that take more than the description says may take the same value twice."""
    arms = list(schema.pop("oneOf"))
    if "anyOf" in schema:
        schema["allOf"] = [*schema.get("allOf", ()), {"anyOf": arms}]
    else:
        schema["anyOf"] = arms


def _has_hidden(value: Any) -> bool:
    """Whether any text inside `value` holds a character that cannot be seen."""
    if isinstance(value, str):
        return hidden_character(value) is not None
    if isinstance(value, dict):
        return any(hidden_character(k) or _has_hidden(v) for k, v in value.items())
    return isinstance(value, list) and any(_has_hidden(v) for v in value)


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,80}")


def definition_name(description: Description, key: Key) -> str:
    """The name below `$defs`: the component's own, with a suffix where that would not be unique."""
    at, not_required = key
    home, _, name = at.rpartition("/")
    usual = "/definitions" if description.version == "2.0" else "/components/schemas"
    if home == usual and not not_required and _PLAIN_NAME.fullmatch(name):
        return name
    digest = hashlib.sha256("\n".join([at, *sorted(not_required)]).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:60]}-{digest}"


def definition(description: Description, direction: Direction, key: Key) -> Definition:
    """What `key` names, converted; made once."""
    slot: Any = ("definition", direction, key)
    known: Definition | None = description.targets.get(slot)
    if known is None:
        at, not_required = key
        node = look_up(description.document, at)
        writer = SchemaWriter(description, direction, node)
        schema = writer.write(node, at, not_required)
        name = definition_name(description, key)
        size = len(orjson.dumps(schema)) + len(name) + 4
        known = Definition(name, schema, tuple(writer.references), size, tuple(writer.problems), writer.loosened)
        description.targets[slot] = known
    return known


def assemble(
    description: Description, direction: Direction, root: Schema, references: Iterable[Key]
) -> tuple[Schema, list[Problem]]:
    """`root` with the definitions that it reaches, nearest first, within the caps.

    What does not fit becomes a definition that takes anything and says so.
    """
    problems: list[Problem] = []
    root = _within_cap(root, problems)
    definitions: dict[str, Any] = {}
    pending = deque(_kept(root, description, references))
    seen = set(pending)
    used = len(orjson.dumps(root)) + _OPAQUE_BYTES * len(pending)
    taken, left_out = 0, []
    loose: set[str] = set()
    while pending:
        key = pending.popleft()
        found = definition(description, direction, key)
        new = [r for r in found.references if r not in seen]
        cost = found.bytes - _OPAQUE_BYTES + _OPAQUE_BYTES * len(new)
        if taken >= MAX_DEFINITIONS or used + cost > MAX_BYTES:
            definitions[found.name] = dict(_OPAQUE)
            left_out.append(found.name)
            loose.add(found.name)
            continue
        taken += 1
        used += cost
        definitions[found.name] = found.schema
        if found.loosened:
            loose.add(found.name)
        problems.extend(found.problems)
        seen.update(new)
        pending.extend(new)
    if left_out:
        shown = ", ".join(f"`{n}`" for n in left_out[:5]) + (
            f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        )
        problems.append(
            Problem(
                "",
                f"the {'arguments' if direction == 'request' else 'answer'} would need more than {MAX_DEFINITIONS} "
                f"definitions or {MAX_BYTES:,} bytes; any value is taken for {shown}",
                "Declare the schema in the contract where agents need more than this.",
            )
        )
    if loose:
        loose = _reaching(loose, definitions)
        root = _with_loose_arms(root, loose)
        definitions = {name: _with_loose_arms(schema, loose) for name, schema in definitions.items()}
    if definitions:
        root["$defs"] = dict(sorted(definitions.items()))
    return root, problems


def _reaching(names: set[str], definitions: Mapping[str, Any]) -> set[str]:
    """`names`, and the definitions that lead to one of them."""
    users: dict[str, list[str]] = {}
    for name, schema in definitions.items():
        for used in _referred(schema):
            users.setdefault(used, []).append(name)
    reached, pending = set(names), list(names)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in reached:
                reached.add(user)
                pending.append(user)
    return reached


def _referred(schema: Any) -> set[str]:
    """Names of the definitions that `schema` refers to itself."""
    found: set[str] = set()
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            ref = node.get("$ref")
            if isinstance(ref, str):
                found.add(ref.removeprefix("#/$defs/"))
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return found


def _with_loose_arms(schema: Any, loose: set[str]) -> Any:
    """`schema` without a `oneOf`, `not` or `if` over what takes more than the description says."""
    if isinstance(schema, list):
        return [_with_loose_arms(item, loose) for item in schema]
    if not isinstance(schema, dict) or not _referred(schema) & loose:
        return schema
    result = {
        k: v
        if k in _DATA
        else {name: _with_loose_arms(inner, loose) for name, inner in v.items()}
        if k in _BY_NAME and isinstance(v, dict)
        else _with_loose_arms(v, loose)
        for k, v in schema.items()
    }
    if isinstance(result.get("oneOf"), list) and _referred(result["oneOf"]) & loose:
        _any_instead(result)
    for keyword in _TURNED:
        if isinstance(result.get(keyword), (dict, list)) and _referred(result[keyword]) & loose:
            del result[keyword]
    return result


def _within_cap(root: Schema, problems: list[Problem]) -> Schema:
    """A copy of `root` whose largest properties are opaque where it is too large by itself."""
    root = dict(root)
    if len(orjson.dumps(root)) <= MAX_BYTES:
        return root
    properties = root.get("properties")
    if not isinstance(properties, dict) or len(orjson.dumps({**root, "properties": {}})) > MAX_BYTES:
        problems.append(Problem("", "the schema is too large by itself; any value is taken", "Declare a smaller one."))
        return {**({"type": root["type"]} if "type" in root else {}), **_OPAQUE}
    properties = root["properties"] = dict(properties)
    by_size = sorted(properties, key=lambda n: (-len(orjson.dumps(properties[n])), n))
    cut = []
    for name in by_size:
        properties[name] = dict(_OPAQUE)
        cut.append(name)
        if len(orjson.dumps(root)) <= MAX_BYTES:
            break
    shown = ", ".join(f"`{one_line(n, 40)}`" for n in cut[:5])
    problems.append(
        Problem(
            "", f"the schema is too large; any value is taken for {shown}", "Declare a smaller one in the contract."
        )
    )
    return root


def _kept(root: Schema, description: Description, references: Iterable[Key]) -> list[Key]:
    """Those references that `root` still holds."""
    text = orjson.dumps(root).decode()
    return [k for k in references if f'"#/$defs/{definition_name(description, k)}"' in text]


def opened(
    description: Description, direction: Direction, root: Any, references: Iterable[Key], problems: list[Problem]
) -> tuple[Any, list[Key]]:
    """`root` with what it refers to in its place, so that a reader sees at once whether it is an object."""
    keys = list(references)
    names: set[str] = set()
    while isinstance(root, dict) and isinstance(root.get("$ref"), str) and not set(root) - {"$ref", *_ANNOTATIONS}:
        name = root["$ref"].removeprefix("#/$defs/")
        if name in names:
            break
        names.add(name)
        found = definition(description, direction, next(k for k in keys if definition_name(description, k) == name))
        problems.extend(found.problems)
        keys.extend(found.references)
        rest = {k: v for k, v in root.items() if k != "$ref"}
        root = {**found.schema, **rest} if isinstance(found.schema, dict) else found.schema
    if isinstance(root, dict) and "type" not in root and _is_object(description, direction, root, keys, 0):
        root = {"type": "object", **root}
    return root, list(dict.fromkeys(keys))


def _is_object(description: Description, direction: Direction, schema: Any, keys: Sequence[Key], depth: int) -> bool:
    """Whether `schema` takes objects only."""
    if not isinstance(schema, dict) or depth > 8:
        return False
    if schema.get("type") == "object":
        return True
    parts = [p for p in schema.get("allOf", []) if isinstance(p, dict)]
    if isinstance(schema.get("$ref"), str):
        name = schema["$ref"].removeprefix("#/$defs/")
        key = next((k for k in keys if definition_name(description, k) == name), None)
        if key is not None:
            found = definition(description, direction, key)
            if _is_object(description, direction, found.schema, found.references, depth + 1):
                return True
    arms = schema.get("oneOf", schema.get("anyOf"))
    if isinstance(arms, list) and all(_is_object(description, direction, a, keys, depth + 1) for a in arms):
        return True
    return any(_is_object(description, direction, p, keys, depth + 1) for p in parts)


_BENIGN = frozenset(
    """
    type properties required additionalProperties unevaluatedProperties title description example examples default
    deprecated externalDocs xml discriminator nullable readOnly writeOnly $ref allOf $id $schema $comment $anchor
    $dynamicAnchor $defs definitions
    """.split()  # noqa: SIM905
)
"""What a schema may say and still be nothing but its properties."""


@record
class PlainObject:
    """An object schema that is nothing but its properties."""

    properties: Mapping[str, list[tuple[Any, str]]]
    """By name: the schemas that it must fulfil, with their pointers."""
    required: frozenset[str]


def plain_object(description: Description, node: Any, where: str) -> PlainObject | None:
    """The properties of `node`, over its references and `allOf`; None where it is more, or less, than an object."""
    properties: dict[str, list[tuple[Any, str]]] = {}
    required: set[str] = set()
    closed = False
    pending: list[tuple[Any, str]] = [(node, where)]
    visited: set[int] = set()
    while pending:
        part, at = pending.pop(0)
        if not isinstance(part, dict) or id(part) in visited or len(visited) > 200:
            return None
        visited.add(id(part))
        if any(k not in _BENIGN and not k.startswith("x-") for k in part):
            return None
        types = part.get("type", "object")
        if types != "object" and not (isinstance(types, list) and set(map(str, types)) <= {"object", "null"}):
            return None
        for keyword in ("additionalProperties", "unevaluatedProperties"):
            if part.get(keyword, False) is not False:
                return None
            closed = closed or keyword in part
        own = part.get("properties", {})
        if not isinstance(own, dict):
            return None
        for name, schema in own.items():
            entry = properties.setdefault(name, [])
            if all(schema != s for s, _ in entry):
                entry.append((schema, f"{at}/properties/{_step(name)}"))
        if isinstance(part.get("required"), list):
            required.update(n for n in part["required"] if isinstance(n, str))
        if isinstance(part.get("$ref"), str):
            pending.append(resolve(description, part["$ref"], at))
        if isinstance(part.get("allOf"), list):
            pending.extend((p, f"{at}/allOf/{i}") for i, p in enumerate(part["allOf"]))
    return PlainObject(properties, frozenset(required)) if properties or closed else None


def check(schema: Schema, where: str) -> None:
    """Raises `Refused` where `schema` is not valid 2020-12 or does not compile."""
    try:
        jsonschema_rs.meta.validate(schema)
        jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions())
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        problem = str(error).split("\n", 1)[0]
        raise Refused(
            Problem(where, f"the schema is not valid: {one_line(problem, 200)}", "Mend the schema in the description.")
        ) from None
