"""Arguments as an HTTP request, by the map that the compiler wrote (OpenAPI 3.1, 4.8.12).

Every value is encoded for the place where it stands. Host, scheme and the path's fixed parts are the
bundle's; no argument reaches them.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from stoa_schemas import bundle

_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[0-9A-Za-z_~-]+")
"""Texts that every place takes as they are."""
_SEPARATORS = re.compile(r"[/\\]")
_RESERVED = ":/?@!$'()*,"
"""Reserved characters that stay as they are where the contract says so; those that would end the value, or
start another parameter, are encoded all the same."""


class ArgumentRefused(Exception):
    """An argument that cannot be written in its place; the message says how to mend it."""


class Outgoing(NamedTuple):
    """A request without host and credential."""

    method: str
    target: str
    """Path and query, encoded."""
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Template:
    """What is the same in every request of one tool."""

    between: tuple[str, ...]
    """The path's fixed pieces, encoded, before, between and after its values."""
    names: tuple[str, ...]
    """Names of the values."""
    query: frozenset[str]
    """Names of query parameters."""


def template(request: bundle.Request) -> Template:
    """The template of a tool's requests."""
    pieces = _TEMPLATE.split(request.path)
    return Template(
        between=tuple(quote(piece, safe="/!$&'()*+,;=:@%~") for piece in pieces[::2]),
        names=tuple(pieces[1::2]),
        query=frozenset(p.name for p in request.arguments.values() if p.in_ == "query"),
    )


def build(request: bundle.Request, arguments: Mapping[str, Any], made: Template | None = None) -> Outgoing:
    """The request that `arguments` make; `ArgumentRefused` for a value that has no safe form in its place.

    `made` is the request's template, where it is known.
    """
    made = made or template(request)
    places = request.arguments
    path: dict[str, str] = {}
    query: list[tuple[str, str]] = []
    headers: list[tuple[str, str]] = []
    cookies: list[str] = []
    body: dict[str, Any] = {}
    for argument, value in arguments.items():
        place = places.get(argument)
        if place is None:
            continue  # The whole body, taken below; anything else was refused before.
        match place.in_:
            case "path":
                path[place.name] = _in_path(argument, place, value)
            case "query":
                query += _in_query(argument, place, value, made.query)
            case "header":
                headers += _in_header(argument, place, value)
            case "cookie":
                cookies += _in_cookie(argument, place, value)
            case "body":
                body[place.name] = value
    if cookies:
        headers.append(("Cookie", "; ".join(cookies)))
    content = _body(request, body, arguments) if request.body is not None else None
    if content is not None:
        headers.append(("Content-Type", content[0]))
    target = _fill(made, path)
    if query:
        target += "?" + "&".join(f"{name}={value}" for name, value in query)
    return Outgoing(request.method, target, tuple(headers), content[1] if content else None)


def _fill(made: Template, values: Mapping[str, str]) -> str:
    """The path with its values in place. No value can have made a dot segment, also with what stands around it."""
    target = made.between[0]
    for name, after in zip(made.names, made.between[1:], strict=True):
        if name not in values:
            raise ArgumentRefused(f"`{name}` is part of the path and is missing.")
        target += values[name] + after
    for segment in target.split("/") if "." in target else ():
        if segment in (".", ".."):
            raise ArgumentRefused("The arguments make a path with a dot segment (`.` or `..`).")
    return target


def _scalar(value: Any) -> str:
    """A single value as text; what is nested is JSON, since OpenAPI leaves it open."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _encode(value: Any, reserved: bool = False) -> str:
    return quote(_scalar(value), safe=_RESERVED if reserved else "")


def _pairs(value: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((name, item) for name, item in value.items() if item is not None)


def _in_path(argument: str, place: bundle.Placement, value: Any) -> str:
    def piece(item: Any) -> str:
        text = _scalar(item)
        _check_segment(argument, text)
        return quote(text, safe="")

    if place.content is not None:
        return piece(_scalar_json(value))
    style = place.style or "simple"
    if type(value) is str and style == "simple" and _PLAIN.fullmatch(value):
        return value
    name = quote(place.name, safe="")
    if isinstance(value, Mapping):
        if not value:
            raise ArgumentRefused(f"`{argument}` is part of the path and must not be empty.")
        joined = [(piece(k), piece(v)) for k, v in _pairs(value)]
        if style == "matrix":
            if place.explode:
                return "".join(f";{k}={v}" for k, v in joined)
            return f";{name}=" + ",".join(f"{k},{v}" for k, v in joined)
        between = ("." if style == "label" else ",") if place.explode else ","
        text = between.join(f"{k}={v}" if place.explode else f"{k},{v}" for k, v in joined)
        return f".{text}" if style == "label" else text
    if isinstance(value, list):
        if not value:
            raise ArgumentRefused(f"`{argument}` is part of the path and must not be empty.")
        items = [piece(item) for item in value]
        if style == "matrix":
            return "".join(f";{name}={i}" for i in items) if place.explode else f";{name}=" + ",".join(items)
        if style == "label":
            return "." + ("." if place.explode else ",").join(items)
        return ",".join(items)
    text = piece(value)
    return {"matrix": f";{name}={text}", "label": f".{text}"}.get(style, text)


def _check_segment(argument: str, text: str) -> None:
    """Refuses what a server might take for another path, also one that decodes once or twice too often."""
    decoded = text
    for _ in range(3):
        if not decoded or any(part in (".", "..") for part in _SEPARATORS.split(decoded)):
            raise ArgumentRefused(f"`{argument}` is part of the path: it must not be empty, `.` or `..`.")
        if _CONTROL.search(decoded):
            raise ArgumentRefused(f"`{argument}` is part of the path: it must not hold control characters.")
        decoded = unquote(decoded)


def _scalar_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _in_query(argument: str, place: bundle.Placement, value: Any, taken: AbstractSet[str]) -> list[tuple[str, str]]:
    name = quote(place.name, safe="")
    if place.content is not None:
        return [(name, quote(_scalar_json(value), safe=""))]
    if value is None:
        return []
    style, explode, reserved = place.style or "form", place.explode or place.style is None, place.allow_reserved
    between = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}.get(style, ",")
    if isinstance(value, Mapping):
        if style == "deepObject":
            return [(quote(f"{place.name}{at}", safe=""), _encode(v, reserved)) for at, v in _deep(value)]
        if explode:
            for key in value:
                if key in taken and key != place.name:
                    raise ArgumentRefused(f"`{argument}` must not hold `{key}`: that is an argument of its own.")
            return [(quote(str(k), safe=""), _encode(v, reserved)) for k, v in _pairs(value)]
        joined = between.join(f"{_encode(k)}{between}{_encode(v, reserved)}" for k, v in _pairs(value))
        return [(name, joined)] if value else []
    if isinstance(value, list):
        items = [_encode(item, reserved) for item in value]
        if explode:
            return [(name, item) for item in items]
        return [(name, between.join(items))] if items else []
    return [(name, _encode(value, reserved))]


def _deep(value: Any) -> Iterable[tuple[str, Any]]:
    """`[a][b]` and value for each leaf. OpenAPI leaves deeper levels open; this is how most servers read them."""
    for key, item in _pairs(value):
        if isinstance(item, Mapping):
            yield from ((f"[{key}]{at}", leaf) for at, leaf in _deep(item))
        elif isinstance(item, list):
            yield from ((f"[{key}]", leaf) for leaf in item)
        else:
            yield f"[{key}]", item


def _in_header(argument: str, place: bundle.Placement, value: Any) -> list[tuple[str, str]]:
    if place.name.lower() in bundle.OWN_HEADERS or not _TOKEN.fullmatch(place.name):
        raise ArgumentRefused(f"`{argument}` cannot be given: the header `{place.name}` is not a caller's to set.")
    if value is None:
        return []
    if place.content is not None:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    elif isinstance(value, Mapping):
        text = ",".join(f"{k}={_scalar(v)}" if place.explode else f"{k},{_scalar(v)}" for k, v in _pairs(value))
    elif isinstance(value, list):
        text = ",".join(_scalar(item) for item in value)
    else:
        text = _scalar(value)
    if not text.isascii() or _CONTROL.search(text) or text != text.strip():
        raise ArgumentRefused(
            f"`{argument}` goes into a header: printable ASCII only, no line breaks, no spaces around it."
        )
    return [(place.name, text)]


def _in_cookie(argument: str, place: bundle.Placement, value: Any) -> list[str]:
    if not _TOKEN.fullmatch(place.name):
        raise ArgumentRefused(f"`{argument}` cannot be given: `{place.name}` is not a cookie's name.")
    if value is None:
        return []
    if place.content is not None:
        return [f"{place.name}={quote(_scalar_json(value), safe='')}"]
    explode = place.explode
    if isinstance(value, Mapping):
        if explode:
            return [f"{quote(str(k), safe='')}={_encode(v)}" for k, v in _pairs(value)]
        return [f"{place.name}=" + ",".join(f"{_encode(k)},{_encode(v)}" for k, v in _pairs(value))] if value else []
    if isinstance(value, list):
        items = [_encode(item) for item in value]
        if explode:
            return [f"{place.name}={item}" for item in items]
        return [f"{place.name}={','.join(items)}"] if items else []
    return [f"{place.name}={_encode(value)}"]


def _body(request: bundle.Request, fields: dict[str, Any], arguments: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Content type and bytes of the body; None where there is none."""
    body = request.body
    if body is None:
        return None
    if body.argument is not None:
        if body.argument not in arguments:
            return (body.media_type, b"") if body.required else None
        value = arguments[body.argument]
    elif fields or body.required:
        value = fields
    else:
        return None
    if body.base64:
        return body.media_type, _decoded(body.argument or "body", value)
    essence = body.media_type.partition(";")[0].strip().lower()
    if essence == "application/x-www-form-urlencoded" and isinstance(value, Mapping):
        return body.media_type, _form(request, value).encode()
    if essence == "multipart/form-data" and isinstance(value, Mapping):
        return _multipart(request, value)
    if isinstance(value, str) and not _is_json(essence):
        return body.media_type, value.encode()
    return body.media_type, _scalar_json(value).encode()


def _is_json(essence: str) -> bool:
    return essence == "application/json" or essence.endswith("+json")


def _decoded(argument: str, value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ArgumentRefused(f"`{argument}` must be base64 (RFC 4648, section 4).") from None


def _form(request: bundle.Request, fields: Mapping[str, Any]) -> str:
    """A form body: each field as a query parameter is written, in the style that its placement names."""
    places = {p.name: p for p in request.arguments.values() if p.in_ == "body"}
    pairs: list[tuple[str, str]] = []
    for name, value in fields.items():
        place = places.get(name) or bundle.Placement(in_="body", name=name)
        pairs += _in_query(name, place, value, set(fields))
    return "&".join(f"{name}={value}" for name, value in pairs)


def _multipart(request: bundle.Request, fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """A multipart body (RFC 7578). The boundary comes from the content, so that no field can hold it by choice."""
    boundary = "stoa-" + hashlib.sha256(_scalar_json(dict(fields)).encode()).hexdigest()
    places = {p.name: p for p in request.arguments.values() if p.in_ == "body"}
    parts: list[bytes] = []
    for name, value in _pairs(fields):
        escaped = name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
        file = places[name].file if name in places else None
        for item in value if isinstance(value, list) else [value]:
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{escaped}"'
            if file is not None:
                # Servers take a part for a file by its having a file name.
                head += f'; filename="{escaped}"\r\nContent-Type: {file}'
                content = _decoded(name, item)
            else:
                head += "\r\nContent-Type: application/json" if isinstance(item, Mapping) else ""
                content = _scalar(item).encode()
            parts.append(f"{head}\r\n\r\n".encode() + content + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()
