"""Values that a JSON Schema accepts, always the same for the same schema.

Mock backends answer with them where a contract gives no example. They cover what API descriptions are written
in; a schema with `not` or `if` may get a value that it does not accept.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from stoa_runtime.development.patterns import UnsupportedPattern, text_matching

Schema = Mapping[str, Any] | bool

_RICH_DEPTH = 3
"""Down to here objects have their optional properties and arrays an item."""
_DEEPEST = 24
_MOST_VALUES = 20_000
_MOST_ITEMS = 1000
_LONGEST_TEXT = 100_000
_TEXT = "example"

_FORMATS = {
    "byte": "ZXhhbXBsZQ==",
    "date": "2030-01-15",
    "date-time": "2030-01-15T09:30:00Z",
    "duration": "PT15M",
    "email": "person@example.com",
    "hostname": "host.example.com",
    "idn-email": "person@example.com",
    "idn-hostname": "host.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "iri": "https://example.com/",
    "iri-reference": "/example",
    "json-pointer": "/example",
    "regex": "^example$",
    "relative-json-pointer": "1/example",
    "time": "09:30:00Z",
    "uri": "https://example.com/",
    "uri-reference": "/example",
    "uri-template": "https://example.com/{id}",
    "uuid": "6f1f7c0e-6a53-4f0e-9d5b-3f6f0f0a7c11",
}
_KEYWORDS_OF_TYPE = {
    "object": {"properties", "required", "additionalProperties", "patternProperties", "minProperties"},
    "array": {"items", "prefixItems", "minItems", "contains", "uniqueItems"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
_LARGER_WINS = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"}
_SMALLER_WINS = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"}
_BY_NAME = {"properties", "patternProperties", "dependentSchemas"}
_BOTH_HOLD = {"items", "additionalProperties", "propertyNames", "contains"}


class NoSample(ValueError):
    """No value was found: the schema accepts none, or none that is simple enough."""


def sample(schema: Schema, *, optional: bool = True) -> Any:
    """A value that `schema` accepts; with `optional`, objects have optional properties and arrays an item."""
    return _Sampler(schema, optional).value(schema, 0, 0)


@dataclass(frozen=True, slots=True)
class _Flat:
    """A schema without `$ref` and `allOf`, and the choices that it leaves."""

    schema: Mapping[str, Any]
    choices: tuple[tuple[str, Sequence[Schema]], ...]
    """Each an `anyOf` or `oneOf`, and its arms."""


class _Sampler:
    def __init__(self, root: Schema, optional: bool) -> None:
        self._root = root
        self._optional = optional
        self._values = 0

    def value(self, schema: Schema, depth: int, nth: int) -> Any:
        """The `nth` of the values that differ from each other, where the schema has as many."""
        self._values += 1
        if depth > _DEEPEST or self._values > _MOST_VALUES:
            raise NoSample("the schema nests too deep")
        return self._flat_value(self._flat(schema), depth, nth)

    def _flat_value(self, flat: _Flat, depth: int, nth: int) -> Any:
        schema = flat.schema
        if "const" in schema:
            return schema["const"]
        if not flat.choices and schema.get("enum"):
            return schema["enum"][nth % len(schema["enum"])]
        if nth == 0:
            for hint in (*_list(schema.get("examples")), *(schema[key] for key in ("default",) if key in schema)):
                if self._accepts(
                    {**schema, "allOf": [True, *({keyword: arms} for keyword, arms in flat.choices)]}, hint
                ):
                    return hint
        if flat.choices:
            return self._chosen(flat, depth, nth)
        return self._typed(schema, depth, nth)

    def _chosen(self, flat: _Flat, depth: int, nth: int) -> Any:
        """A value of the first arm that has one; under `oneOf`, of the first whose value no other arm takes."""
        (keyword, arms), *others = flat.choices
        if depth >= _RICH_DEPTH:
            arms = sorted(arms, key=_weight)
        for arm in arms:
            # What is optional may be what another arm takes as well, so the second try goes without.
            for at in sorted({depth + 1, max(depth + 1, _RICH_DEPTH)}):
                try:
                    value = self._flat_value(self._with(_Flat(flat.schema, tuple(others)), arm), at, nth)
                except NoSample:
                    break
                if keyword == "anyOf" or self._accepts({"oneOf": arms}, value):
                    return value
        raise NoSample("no arm of the choice has a value of its own")

    def _typed(self, schema: Mapping[str, Any], depth: int, nth: int) -> Any:
        failure = NoSample("the schema takes no type")
        for kind in sorted(_types(schema), key=lambda kind: kind == "null"):
            try:
                return self._of_type(kind, schema, depth, nth)
            except NoSample as error:
                failure = error
        raise failure

    def _of_type(self, kind: str, schema: Mapping[str, Any], depth: int, nth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth, nth)
            case "array":
                return self._array(schema, depth, nth)
            case "string":
                return _text(schema, nth)
            case "integer" | "number":
                return _number(schema, nth, whole=kind == "integer")
            case "boolean":
                return nth % 2 == 0
            case "null":
                return None
        raise NoSample(f"unknown type {kind!r}")

    def _object(self, schema: Mapping[str, Any], depth: int, nth: int) -> dict[str, Any]:
        properties: Mapping[str, Schema] = schema.get("properties", {})
        required = list(schema.get("required", ()))
        most = schema.get("maxProperties", _MOST_ITEMS)
        value: dict[str, Any] = {}
        for name in (*properties, *required):
            if name in required and name not in value:
                value[name] = self.value(self._property(schema, name), depth + 1, nth)
        if self._rich(depth):
            for name, inner in properties.items():
                if name not in value and len(value) < most:
                    self._add_if_possible(value, name, inner, depth, nth)
            if not value and isinstance(schema.get("additionalProperties"), Mapping) and most > 0:
                name = next(self._further_names({**schema, "minProperties": 1}))
                self._add_if_possible(value, name, self._property(schema, name), depth, nth)
        self._add_dependent(value, schema, depth, nth)
        for name in self._further_names(schema):
            if len(value) >= schema.get("minProperties", 0):
                break
            if name not in value:
                self._add_if_possible(value, name, self._property(schema, name), depth, nth)
        if not schema.get("minProperties", 0) <= len(value) <= most:
            raise NoSample("the number of properties cannot be met")
        return {name: value[name] for name in (*properties, *value) if name in value}

    def _add_if_possible(self, value: dict[str, Any], name: str, inner: Schema, depth: int, nth: int) -> None:
        try:
            value[name] = self.value(inner, depth + 1, nth)
        except NoSample:
            return

    def _add_dependent(self, value: dict[str, Any], schema: Mapping[str, Any], depth: int, nth: int) -> None:
        waiting = list(value)
        while waiting:
            for name in schema.get("dependentRequired", {}).get(waiting.pop(), ()):
                if name not in value:
                    value[name] = self.value(self._property(schema, name), depth + 1, nth)
                    waiting.append(name)

    def _further_names(self, schema: Mapping[str, Any]) -> Iterator[str]:
        yield from schema.get("properties", {})
        for nth in range(min(schema.get("minProperties", 0), _MOST_ITEMS)):
            pattern = next(iter(schema.get("patternProperties", {})), None)
            names = schema.get("propertyNames", {"pattern": pattern} if pattern is not None else {})
            yield str(self._flat_value(self._with(self._flat(names), {"type": "string"}), _RICH_DEPTH, nth))

    def _property(self, schema: Mapping[str, Any], name: str) -> Schema:
        """What holds for the property."""
        inner: Schema | None = schema.get("properties", {}).get(name)
        if inner is not None:
            return inner
        for pattern, by_pattern in schema.get("patternProperties", {}).items():
            if jsonschema_rs.is_valid({"pattern": pattern}, name):
                matched: Schema = by_pattern
                return matched
        further: Schema = schema.get("additionalProperties", True)
        return further

    def _array(self, schema: Mapping[str, Any], depth: int, nth: int) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", _MOST_ITEMS)
        if least > min(most, _MOST_ITEMS):
            raise NoSample("the number of items cannot be met")
        contained: Schema | None = schema.get("contains")
        wanted = schema.get("minContains", 1) if contained is not None else 0
        prefix: Sequence[Schema] = schema.get("prefixItems", ())
        items: Schema = schema.get("items", True)
        length = min(max(least, wanted, (len(prefix) or 1) if self._rich(depth) else 0), most)

        value: list[Any] = []
        vary = schema.get("uniqueItems", False)
        for index in range(length * (2 if vary else 1)):
            if len(value) == length:
                break
            inner = prefix[index] if index < len(prefix) else items
            if contained is not None and index < wanted:
                inner = {"allOf": [inner, contained]}
            try:
                item = self.value(inner, depth + 1, index if vary else nth)
            except NoSample:
                if len(value) < max(least, wanted):
                    raise
                break
            if not vary or not any(_same(item, other) for other in value):
                value.append(item)
        if len(value) < max(least, wanted):
            raise NoSample("not enough different items")
        return value

    def _rich(self, depth: int) -> bool:
        return self._optional and depth < _RICH_DEPTH

    def _flat(self, schema: Schema) -> _Flat:
        return self._with(_Flat({}, ()), schema)

    def _with(self, flat: _Flat, schema: Schema, seen: tuple[str, ...] = ()) -> _Flat:
        """`flat` with all that `schema` demands besides."""
        if isinstance(schema, bool):
            if not schema:
                raise NoSample("the schema accepts nothing")
            return flat
        own = dict(schema)
        reference, arms = own.pop("$ref", None), own.pop("allOf", ())
        choices = tuple((keyword, own.pop(keyword)) for keyword in ("anyOf", "oneOf") if own.get(keyword))
        if reference is not None:
            if reference in seen:
                raise NoSample(f"{reference} refers to itself")
            flat = self._with(flat, self._resolve(reference), (*seen, reference))
        for arm in arms:
            flat = self._with(flat, arm, seen)
        return _Flat(_merge(flat.schema, own), (*flat.choices, *choices))

    def _resolve(self, reference: str) -> Schema:
        if not reference.startswith("#"):
            raise NoSample(f"{reference} is not in the document")
        found: Any = self._root
        for step in filter(None, unquote(reference[1:]).split("/")):
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, Sequence) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                raise NoSample(f"{reference} leads nowhere")
        if not isinstance(found, Mapping | bool):
            raise NoSample(f"{reference} is not a schema")
        return found

    def _accepts(self, schema: Mapping[str, Any], value: Any) -> bool:
        try:
            return jsonschema_rs.is_valid({**schema, "$defs": self._definitions(schema)}, value)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
            return False

    def _definitions(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The definitions that `schema` leads to. A description may have a thousand, and each check reads them."""
        known = self._root.get("$defs", {}) if isinstance(self._root, Mapping) else {}
        reached: dict[str, Any] = {}
        waiting: list[Any] = [schema]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Mapping):
                waiting.extend(node.values())
                name = str(node.get("$ref", "")).removeprefix("#/$defs/").split("/")[0]
                if name in known and name not in reached:
                    reached[name] = known[name]
                    waiting.append(known[name])
            elif isinstance(node, list):
                waiting.extend(node)
        return reached


def _merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema that accepts what both accept; titles and the like are `other`'s."""
    merged = dict(one)
    for key, value in other.items():
        if key not in merged:
            merged[key] = value
        elif key in _BY_NAME:
            both = {name: {"allOf": [merged[key][name], value[name]]} for name in value if name in merged[key]}
            merged[key] = {**merged[key], **value, **both}
        elif key in _BOTH_HOLD:
            merged[key] = {"allOf": [merged[key], value]}
        elif key in _LARGER_WINS:
            merged[key] = max(merged[key], value)
        elif key in _SMALLER_WINS:
            merged[key] = min(merged[key], value)
        elif key == "required":
            merged[key] = [*merged[key], *(name for name in value if name not in merged[key])]
        elif key == "type":
            merged[key] = _common_types(_list(merged[key]), _list(value))
        elif key == "enum":
            merged[key] = _common(merged[key], value)
        elif key == "const" and not _same(merged[key], value):
            raise NoSample("two constants cannot both hold")
        else:
            merged[key] = value
    if "const" in merged and "enum" in merged and not _common([merged["const"]], merged["enum"]):
        raise NoSample("the constant is not one of the values")
    return merged


def _common_types(one: Sequence[str], other: Sequence[str]) -> list[str]:
    common = [kind for kind in one if kind in other]
    if "integer" in (*one, *other) and "number" in (*one, *other) and "integer" not in common:
        common.append("integer")
    if not common:
        raise NoSample("two types cannot both hold")
    return common


def _common(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    common = [value for value in one if any(_same(value, candidate) for candidate in other)]
    if not common:
        raise NoSample("no value is in both lists")
    return common


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON Schema has it: 1 is 1.0, true is not 1."""
    return jsonschema_rs.is_valid({"const": one}, other)


def _types(schema: Mapping[str, Any]) -> Sequence[str]:
    if "type" in schema:
        return _list(schema["type"])
    for kind, keywords in _KEYWORDS_OF_TYPE.items():
        if keywords & schema.keys():
            return [kind]
    return ["string"]


def _weight(schema: Schema) -> int:
    """Scalars before what may nest."""
    if isinstance(schema, bool):
        return 0
    return 1 if {"$ref", "properties", "items", "allOf", "anyOf", "oneOf"} & schema.keys() else 0


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(schema: Mapping[str, Any], nth: int) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength", _LONGEST_TEXT)
    if least > min(most, _LONGEST_TEXT):
        raise NoSample("the length cannot be met")
    if "pattern" in schema:
        return _patterned(schema["pattern"], least, most, nth)
    text = _FORMATS.get(schema.get("format", ""))
    if text is None and schema.get("contentEncoding") == "base64":
        text = _FORMATS["byte"]
    if text is not None and nth == 0 and least <= len(text) <= most:
        return text
    suffix = str(nth) if nth else ""
    text = _TEXT + suffix
    if len(text) > most:
        text = suffix.rjust(most, "x")[-most:] if most else ""
    return text.ljust(least, "x")


def _patterned(pattern: str, least: int, most: int, nth: int) -> str:
    try:
        text = text_matching(pattern, least=min(least + nth, most))
    except UnsupportedPattern:
        raise NoSample(f"no text is known for the pattern {pattern!r}") from None
    # Where the pattern is not anchored, the text may be filled up.
    for candidate in (text, text.ljust(least, "x"), text.ljust(least, "0")):
        if least <= len(candidate) <= most and _matches(pattern, candidate):
            return candidate
    raise NoSample(f"no text of that length is known for the pattern {pattern!r}")


def _matches(pattern: str, text: str) -> bool:
    try:
        return jsonschema_rs.is_valid({"pattern": pattern}, text)
    except (jsonschema_rs.ValidationError, ValueError):
        return False


def _number(schema: Mapping[str, Any], nth: int, *, whole: bool) -> int | float:
    """The number nearest to 1 from above, or the least or greatest that there is."""
    step = Fraction(str(schema.get("multipleOf", 1 if whole else 0)))
    if whole and step.denominator != 1:
        step = Fraction(step.numerator)
    low, high = _bound(schema, "minimum", "exclusiveMinimum"), _bound(schema, "maximum", "exclusiveMaximum")
    number = Fraction(1)
    if low is not None and low >= number:
        number = low
    elif high is not None and high <= number:
        number = high if low is None else low
    if step:
        number = math.ceil(number / step) * step
        if low is not None and number == schema.get("exclusiveMinimum"):
            number += step
        if high is not None and (number > high or number == schema.get("exclusiveMaximum")):
            number = math.floor(high / step) * step
            number -= step if number == schema.get("exclusiveMaximum") else 0
        number += nth * step if high is None or number + nth * step <= high else 0
    elif low is not None and high is not None and low < high:
        number = low + (high - low) / (nth + 2)
    elif number in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")):
        number += 1 if high is None else -1
    elif high is None:
        number += nth
    value = int(number) if number.denominator == 1 else float(number)
    bounds = {key: schema[key] for key in schema if key in _LARGER_WINS | _SMALLER_WINS | {"multipleOf"}}
    if not jsonschema_rs.is_valid({"type": "integer" if whole else "number", **bounds}, value):
        raise NoSample("no number is in the bounds")
    return value


def _bound(schema: Mapping[str, Any], inclusive: str, exclusive: str) -> Fraction | None:
    """The tighter of the two bounds."""
    bounds = [Fraction(str(schema[key])) for key in (inclusive, exclusive) if key in schema]
    if not bounds:
        return None
    return max(bounds) if inclusive == "minimum" else min(bounds)
