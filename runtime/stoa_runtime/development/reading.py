"""The arguments that a request carries, read back through the placements of its tool.

Written from OpenAPI's rules for parameters (3.1, 4.8.12) and not from the runtime's own writer, so that a
backend that reads this way finds the writer's mistakes.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_plus

from stoa_schemas.bundle import Placement, Tool

Schema = Mapping[str, Any] | bool

_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})
_EVERY_KIND = _SCALARS | {"array", "object"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DEEP_KEY = re.compile(r"\[([^\[\]]*)\]")
_BETWEEN = {"spaceDelimited": r"%20|\+", "pipeDelimited": r"\||%7[Cc]"}


class Unreadable(Exception):
    """The request is not one that the tool makes; the message says what is wrong with it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in."""

    path: Mapping[str, str]
    """The path's values by their names in the template, still encoded."""
    query: str
    headers: Sequence[tuple[str, str]]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class _Pair:
    """A name and its value in a query or form, the value still encoded."""

    name: str
    value: str


def arguments_of(tool: Tool, received: Received) -> dict[str, Any]:
    """The arguments that make this request; values have the types that the input schema names."""
    schemas = _Schemas(tool.input_schema)
    query = _pairs(received.query)
    cookies = [pair for name, value in received.headers if name == "cookie" for pair in _pairs(value, "; ")]
    arguments: dict[str, Any] = {}
    for argument, place in tool.request.arguments.items():
        schema = schemas.property(tool.input_schema, argument)
        match place.in_:
            case "path":
                found = [schemas.in_path(received.path[place.name], place, schema)]
            case "query":
                found = list(schemas.in_pairs(query, place, schema, _others(tool, place)))
            case "cookie":
                found = list(schemas.in_pairs(cookies, place, schema, _others(tool, place)))
            case "header":
                found = list(schemas.in_header(received.headers, place, schema))
            case _:
                continue
        for value in found:
            arguments[argument] = value
    arguments.update(_body(tool, received, schemas))
    return arguments


def _others(tool: Tool, place: Placement) -> frozenset[str]:
    """Names of the other arguments in the same part of the request."""
    return frozenset(other.name for other in tool.request.arguments.values() if other.in_ == place.in_) - {place.name}


def _body(tool: Tool, received: Received, schemas: "_Schemas") -> dict[str, Any]:
    body = tool.request.body
    if body is None or (not received.body and not body.required):
        return {}
    content_type = dict(received.headers).get("content-type", "")
    essence, expected = (text.partition(";")[0].strip().lower() for text in (content_type, body.media_type))
    if essence != expected:
        raise Unreadable(f"the body must be {expected}, not {essence or 'untyped'}", 415)
    schema = schemas.property(tool.input_schema, body.argument) if body.argument is not None else tool.input_schema
    places = {place.name: (name, place) for name, place in tool.request.arguments.items() if place.in_ == "body"}
    if body.base64:
        value: Any = base64.b64encode(received.body).decode()
    elif essence == "application/json" or essence.endswith("+json"):
        value = _json(received.body)
    elif essence == "application/x-www-form-urlencoded":
        value = _form(received.body, schemas, schema, places)
    elif essence == "multipart/form-data":
        files = frozenset(place.name for _, place in places.values() if place.file is not None)
        value = _multipart(received.body, content_type, schemas, schema, files)
    else:
        value = received.body.decode(errors="replace")
    if body.argument is not None:
        return {body.argument: value}
    if not isinstance(value, dict):
        raise Unreadable("the body must be an object", 422)
    return {places[name][0] if name in places else name: inner for name, inner in value.items()}


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unreadable("not well-formed JSON") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _form(
    body: bytes, schemas: "_Schemas", schema: Schema, places: Mapping[str, tuple[str, Placement]]
) -> dict[str, Any]:
    pairs = _pairs(body.decode(errors="replace"))
    names = dict.fromkeys([*places, *schemas.property_names(schema), *(pair.name.partition("[")[0] for pair in pairs)])
    value: dict[str, Any] = {}
    for name in names:
        argument, place = places.get(name, (name, Placement(in_="body", name=name)))
        inner = schemas.property(schema, argument)
        others = frozenset(names) - {name}
        for found in schemas.in_pairs(pairs, place, inner, others):
            value[name] = found
    return value


def _multipart(
    body: bytes, content_type: str, schemas: "_Schemas", schema: Schema, files: frozenset[str]
) -> dict[str, Any]:
    """Fields of a multipart body (RFC 7578), files as base64; those that come more than once are arrays."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if match is None:
        raise Unreadable("the multipart body has no boundary")
    fields: dict[str, list[str]] = {}
    for part in body.split(b"--" + match[1].encode())[1:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if not separator or name is None or not content.endswith(b"\r\n"):
            raise Unreadable("the multipart body is malformed")
        field, content = unquote(name[1].decode()), content[:-2]
        if field in files and b"filename=" not in head:
            raise Unreadable(f"the part {field} is no file", 422)
        text = base64.b64encode(content).decode() if field in files else content.decode(errors="replace")
        fields.setdefault(field, []).append(text)
    return {name: schemas.repeated(texts, schemas.property(schema, name)) for name, texts in fields.items()}


def _pairs(text: str, between: str = "&") -> list[_Pair]:
    pairs = (part.partition("=") for part in text.split(between) if part)
    return [_Pair(unquote_plus(name), value) for name, _, value in pairs]


class _Schemas:
    """Schemas asked what a text that stands for one of their values can be."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def in_path(self, text: str, place: Placement, schema: Schema) -> Any:
        """The value of a path parameter."""
        if place.content is not None:
            return _json(unquote(text))
        style, between = place.style or "simple", ","
        if style == "label":
            text, between = text.removeprefix("."), "." if place.explode else ","
        if style == "matrix":
            pairs = _pairs(text, ";")
            exploded = Placement(in_="path", name=place.name, style="form", explode=place.explode)
            return next(self.in_pairs(pairs, exploded, schema, frozenset()), "")
        return self._delimited(text.split(between), schema, between=between, exploded=place.explode)

    def in_header(self, headers: Sequence[tuple[str, str]], place: Placement, schema: Schema) -> Iterator[Any]:
        """The value of a header, where it was sent."""
        sent = [value for name, value in headers if name == place.name.lower()]
        if sent and place.content is not None:
            yield _json(sent[0])
        elif sent:
            kinds = self._kinds(schema)
            parts = ",".join(sent).split(",") if kinds & {"array", "object"} else [",".join(sent)]
            yield self._delimited([part.strip() for part in parts], schema, exploded=place.explode, encoded=False)

    def in_pairs(
        self, pairs: Sequence[_Pair], place: Placement, schema: Schema, others: frozenset[str]
    ) -> Iterator[Any]:
        """The value of a query parameter, cookie or form field, where it was sent."""
        own = [pair.value for pair in pairs if pair.name == place.name]
        kinds = self._kinds(schema)
        explode = place.explode or place.style is None
        if place.content is not None:
            yield from (_json(unquote_plus(text)) for text in own[:1])
        elif place.style == "deepObject" and "object" in kinds:
            if deep := self._deep(pairs, place.name, schema):
                yield deep
        elif explode and "object" in kinds and not kinds & _SCALARS:
            names = set(self.property_names(schema)) or {pair.name for pair in pairs} - others
            fields = [(pair.name, pair.value) for pair in pairs if pair.name in names - others]
            if fields:
                yield {name: self._scalar(unquote_plus(text), self.property(schema, name)) for name, text in fields}
        elif own and (explode or not kinds & {"array", "object"}):
            yield self.repeated([unquote_plus(text) for text in own], schema)
        elif own:
            between = _BETWEEN.get(place.style or "form", ",")
            yield self._delimited(re.split(between, own[0]), schema, exploded=False)

    def repeated(self, texts: Sequence[str], schema: Schema) -> Any:
        """The value of a parameter that may come several times."""
        kinds = self._kinds(schema)
        if "array" in kinds and (len(texts) > 1 or not kinds & _SCALARS):
            return [self._scalar(text, self._items(schema)) for text in texts]
        return self._scalar(texts[0], schema)

    def property(self, schema: Schema, name: str) -> Schema:
        """What holds for the property, as far as it says what kind of value it is."""
        inner = [part["properties"][name] for part in self._parts(schema) if name in part.get("properties", {})]
        if not inner:
            inner = [part["additionalProperties"] for part in self._parts(schema) if "additionalProperties" in part]
        return {"anyOf": inner} if inner else True

    def property_names(self, schema: Schema) -> Sequence[str]:
        """The properties that are described."""
        return list(dict.fromkeys(name for part in self._parts(schema) for name in part.get("properties", {})))

    def _items(self, schema: Schema) -> Schema:
        items = [part["items"] for part in self._parts(schema) if "items" in part]
        return {"anyOf": items} if items else True

    def _delimited(
        self, parts: Sequence[str], schema: Schema, *, between: str = ",", exploded: bool, encoded: bool = True
    ) -> Any:
        """The value that was written as one text with separators."""
        texts = [unquote(part) for part in parts] if encoded else parts
        kinds = self._kinds(schema)
        if "array" in kinds and (len(texts) > 1 or not kinds & _SCALARS):
            return [self._scalar(text, self._items(schema)) for text in texts]
        if "object" in kinds and not kinds & _SCALARS:
            if exploded:
                fields: Iterable[tuple[str, str]] = ((unquote(p.name), p.value) for p in _pairs(",".join(parts), ","))
            else:
                fields = zip(parts[::2], parts[1::2], strict=False)
            return {
                unquote(name): self._scalar(unquote(text), self.property(schema, unquote(name)))
                for name, text in fields
            }
        return self._scalar(between.join(texts), schema)

    def _deep(self, pairs: Sequence[_Pair], name: str, schema: Schema) -> dict[str, Any]:
        """The object that `name[a]=1&name[b][c]=2` stands for."""
        value: dict[str, Any] = {}
        texts: dict[tuple[str, ...], list[str]] = {}
        for pair in pairs:
            if pair.name.startswith(f"{name}["):
                path = tuple(_DEEP_KEY.findall(pair.name[len(name) :]))
                texts.setdefault(path, []).append(unquote_plus(pair.value))
        for path, found in texts.items():
            inner, at = schema, value
            for key in path[:-1]:
                inner, at = self.property(inner, key), at.setdefault(key, {})
                if not isinstance(at, dict):
                    raise Unreadable(f"{name} is both a value and an object")
            at[path[-1] if path else ""] = self.repeated(found, self.property(inner, path[-1] if path else ""))
        return value

    def _scalar(self, text: str, schema: Schema) -> Any:
        """The text as the kind of value that the schema names; a text where it names all or none."""
        kinds = self._kinds(schema)
        if kinds == _EVERY_KIND:
            return text
        if kinds & {"integer", "number"} and _INTEGER.fullmatch(text) and len(text) < 400:
            return int(text)
        if "number" in kinds and _NUMBER.fullmatch(text):
            return float(text)
        if "boolean" in kinds and text in ("true", "false"):
            return text == "true"
        if "null" in kinds and text == "null":
            return None
        if (text[:1], True) in (("[", "array" in kinds), ("{", "object" in kinds)):
            try:
                return _json(text)
            except Unreadable:
                return text
        return text

    def _kinds(self, schema: Schema) -> frozenset[str]:
        """The types that a value may have."""
        kinds: set[str] = set()
        for part in self._parts(schema):
            if "type" in part:
                kinds.update([part["type"]] if isinstance(part["type"], str) else part["type"])
            elif "enum" in part or "const" in part:
                kinds.update(map(_kind, part.get("enum", [part.get("const")])))
        return frozenset(kinds) or _EVERY_KIND

    def _parts(self, schema: Schema, seen: frozenset[str] = frozenset()) -> Iterator[Mapping[str, Any]]:
        """The schema and those that it is made of."""
        if not isinstance(schema, Mapping):
            return
        yield schema
        for keyword in ("allOf", "anyOf", "oneOf"):
            for arm in schema.get(keyword, ()):
                yield from self._parts(arm, seen)
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            yield from self._parts(self._resolve(reference), seen | {reference})

    def _resolve(self, reference: str) -> Schema:
        found: Any = self._root
        for step in filter(None, unquote(reference.removeprefix("#")).split("/")):
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key, True) if isinstance(found, Mapping) else True
        return found if isinstance(found, Mapping) else True


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case None:
            return "null"
        case list():
            return "array"
    return "object"
