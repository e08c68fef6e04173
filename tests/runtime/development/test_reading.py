"""Requests read back to arguments: by OpenAPI's own examples, and turned round from the runtime's writer."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_runtime.development.reading import Received, Unreadable, arguments_of
from stoa_runtime.requests import ArgumentRefused, build
from stoa_schemas.bundle import Annotations, Answer, Body, Placement, RateLimit, Request, Tool

TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "integer"}}
COLOUR: dict[str, Any] = {
    "type": "object",
    "properties": {"R": {"type": "integer"}, "G": {"type": "integer"}, "B": {"type": "integer"}},
}


def a_tool(
    properties: dict[str, Any],
    places: dict[str, Placement],
    *,
    path: str = "/colours",
    body: Body | None = None,
    method: str = "GET",
) -> Tool:
    return Tool(
        id="acme:paint:find",
        name="acme_paint_find",
        contract="paint",
        title="Find",
        description="Finds.",
        input_schema={"type": "object", "properties": properties},
        annotations=Annotations(
            title="Find", read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=True
        ),
        side_effects="read",
        approval=False,
        rate=RateLimit(calls=1, seconds=1),
        request=Request(method=method, path=path, arguments=places, body=body),
        answer=Answer(media_types=["application/json"], check="enforce", max_bytes=1000),
        examples=[],
        digest="sha256:" + "0" * 64,
    )


def received(
    *, query: str = "", path: dict[str, str] | None = None, headers: dict[str, str] | None = None, body: bytes = b""
) -> Received:
    return Received(path or {}, query, list((headers or {}).items()), body)


# OpenAPI 3.1, 4.8.12.4, the table of examples
@pytest.mark.parametrize(
    ("style", "explode", "schema", "text", "value"),
    [
        ("matrix", False, TEXT, ";color=blue", "blue"),
        ("matrix", False, TEXTS, ";color=blue,black,brown", ["blue", "black", "brown"]),
        ("matrix", True, TEXTS, ";color=blue;color=black;color=brown", ["blue", "black", "brown"]),
        ("matrix", False, COLOUR, ";color=R,100,G,200,B,150", {"R": 100, "G": 200, "B": 150}),
        ("matrix", True, COLOUR, ";R=100;G=200;B=150", {"R": 100, "G": 200, "B": 150}),
        ("label", False, TEXT, ".blue", "blue"),
        ("label", False, TEXTS, ".blue,black,brown", ["blue", "black", "brown"]),
        ("label", True, TEXTS, ".blue.black.brown", ["blue", "black", "brown"]),
        ("label", True, COLOUR, ".R=100.G=200.B=150", {"R": 100, "G": 200, "B": 150}),
        ("simple", False, TEXT, "a%2Fb%20c", "a/b c"),
        ("simple", False, NUMBERS, "3,4,5", [3, 4, 5]),
        ("simple", False, COLOUR, "R,100,G,200,B,150", {"R": 100, "G": 200, "B": 150}),
        ("simple", True, COLOUR, "R=100,G=200,B=150", {"R": 100, "G": 200, "B": 150}),
    ],
)
def test_path_styles(style: Any, explode: bool, schema: Any, text: str, value: Any) -> None:
    place = Placement(in_="path", name="color", style=style, explode=explode)
    tool = a_tool({"color": schema}, {"color": place}, path="/colours/{color}")
    assert arguments_of(tool, received(path={"color": text})) == {"color": value}


@pytest.mark.parametrize(
    ("style", "explode", "schema", "query", "value"),
    [
        ("form", False, TEXT, "color=blue+sky", "blue sky"),
        ("form", True, TEXTS, "color=blue&color=black", ["blue", "black"]),
        ("form", True, TEXTS, "color=blue", ["blue"]),
        ("form", False, TEXTS, "color=blue,bl%2Cack", ["blue", "bl,ack"]),
        ("spaceDelimited", False, TEXTS, "color=blue%20black", ["blue", "black"]),
        ("pipeDelimited", False, TEXTS, "color=blue|black%7Cbrown", ["blue", "black", "brown"]),
        ("form", True, COLOUR, "R=100&G=200", {"R": 100, "G": 200}),
        ("form", False, COLOUR, "color=R,100,G,200", {"R": 100, "G": 200}),
        ("deepObject", True, COLOUR, "color%5BR%5D=100&color[G]=200", {"R": 100, "G": 200}),
        ("form", True, {"type": "integer"}, "color=12", 12),
        ("form", True, {"type": "number"}, "color=1.5e1", 15.0),
        ("form", True, {"type": "boolean"}, "color=true", True),
        ("form", True, {"type": "string"}, "color=12", "12"),
        ("form", True, {"type": ["integer", "null"]}, "color=null", None),
        ("form", True, {"anyOf": [TEXT, TEXTS]}, "color=blue", "blue"),
        ("form", True, {"anyOf": [TEXT, TEXTS]}, "color=blue&color=red", ["blue", "red"]),
        ("form", True, {"enum": [1, 2]}, "color=2", 2),
        ("form", True, True, "color=12", "12"),
        (None, False, TEXTS, "color=blue&color=black", ["blue", "black"]),
    ],
)
def test_query_styles(style: Any, explode: bool, schema: Any, query: str, value: Any) -> None:
    tool = a_tool({"color": schema}, {"color": Placement(in_="query", name="color", style=style, explode=explode)})
    assert arguments_of(tool, received(query=query)) == {"color": value}


def test_deeper_objects() -> None:
    schema = {"properties": {"at": {"properties": {"x": {"type": "integer"}}}, "tags": TEXTS}, "type": "object"}
    tool = a_tool({"f": schema}, {"f": Placement(in_="query", name="f", style="deepObject", explode=True)})
    value = arguments_of(tool, received(query="f[at][x]=3&f[tags]=a&f[tags]=b"))
    assert value == {"f": {"at": {"x": 3}, "tags": ["a", "b"]}}


def test_types_are_found_behind_references() -> None:
    tool = a_tool({"n": {"$ref": "#/$defs/n"}}, {"n": Placement(in_="query", name="n", style="form", explode=True)})
    schema = {**tool.input_schema, "$defs": {"n": {"allOf": [{"$ref": "#/$defs/m"}]}, "m": {"type": "integer"}}}
    assert arguments_of(tool.model_copy(update={"input_schema": schema}), received(query="n=3")) == {"n": 3}


def test_what_is_not_sent_is_not_there() -> None:
    places = {
        "q": Placement(in_="query", name="q", style="form", explode=True),
        "o": Placement(in_="query", name="o", style="form", explode=True),
        "d": Placement(in_="query", name="d", style="deepObject", explode=True),
        "h": Placement(in_="header", name="X-H", style="simple"),
        "c": Placement(in_="cookie", name="c", style="form"),
    }
    assert arguments_of(a_tool({"q": TEXT, "o": COLOUR, "d": COLOUR}, places), received(query="other=1")) == {}


def test_headers_cookies_and_content() -> None:
    places = {
        "ids": Placement(in_="header", name="X-Ids", style="simple"),
        "label": Placement(in_="header", name="X-Label", style="simple"),
        "session": Placement(in_="cookie", name="session", style="form"),
        "filter": Placement(in_="query", name="filter", content="application/json"),
    }
    tool = a_tool({"ids": NUMBERS, "label": TEXT, "session": TEXT, "filter": {"type": "object"}}, places)
    headers = {"x-ids": "1, 2", "x-label": "a,b", "cookie": "other=1; session=s%20x"}
    assert arguments_of(tool, received(headers=headers, query="filter=%7B%22a%22%3A%5B1%5D%7D")) == {
        "ids": [1, 2],
        "label": "a,b",
        "session": "s x",
        "filter": {"a": [1]},
    }


def test_json_bodies() -> None:
    places = {"name": Placement(in_="body", name="display-name")}
    json_type = {"content-type": "application/json; charset=utf-8"}
    tool = a_tool({"name": TEXT}, places, body=Body(media_type="application/json"), method="POST")
    assert arguments_of(tool, received(headers=json_type, body=b'{"display-name":"x"}')) == {"name": "x"}
    assert arguments_of(tool, received(headers=json_type, body=b'{"more":1}')) == {"more": 1}
    assert arguments_of(tool, received()) == {}
    whole = a_tool({"item": {}}, {}, body=Body(media_type="application/json", argument="item"), method="POST")
    assert arguments_of(whole, received(headers=json_type, body=b"[1]")) == {"item": [1]}


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", b"{}", 415),
        ("", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b'{"a":NaN}', 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"[]", 422),
    ],
)
def test_bodies_that_cannot_be_read(content_type: str, body: bytes, status: int) -> None:
    tool = a_tool({"a": {}}, {"a": Placement(in_="body", name="a")}, body=Body(media_type="application/json"))
    with pytest.raises(Unreadable) as refusal:
        arguments_of(tool, received(headers={"content-type": content_type}, body=body))
    assert refusal.value.status == status


def test_bodies_that_are_not_json() -> None:
    raw = a_tool({"data": TEXT}, {}, body=Body(media_type="image/png", argument="data", base64=True))
    assert arguments_of(raw, received(headers={"content-type": "image/png"}, body=b"\x89P")) == {"data": "iVA="}
    text = a_tool({"note": TEXT}, {}, body=Body(media_type="text/plain", argument="note"))
    assert arguments_of(text, received(headers={"content-type": "text/plain"}, body=b"hi")) == {"note": "hi"}


def test_files_of_a_multipart_body() -> None:
    places = {
        "scan": Placement(in_="body", name="scan", file="image/png"),
        "pages": Placement(in_="body", name="pages", file="image/png"),
        "note": Placement(in_="body", name="note"),
    }
    schemas = {"scan": TEXT, "pages": TEXTS, "note": TEXT}
    tool = a_tool(schemas, places, body=Body(media_type="multipart/form-data"), method="POST")
    arguments = {"scan": "AP8NCg==", "pages": ["AAEC", "Aw=="], "note": "hi"}
    request = build(tool.request, arguments)
    headers = [(name.lower(), value) for name, value in request.headers]
    assert arguments_of(tool, Received({}, "", headers, request.body or b"")) == arguments
    unnamed = (request.body or b"").replace(b'; filename="scan"', b"")
    with pytest.raises(Unreadable, match="scan is no file"):
        arguments_of(tool, Received({}, "", headers, unnamed))


# Turned round: what the runtime's writer wrote

WORDS = st.text("aZ09 é/%&=+,;.:|[]{}~'\"", min_size=1, max_size=8).filter(lambda text: text.strip() == text)
PLAIN = st.text("abcXYZ019-_", min_size=1, max_size=8)
VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (TEXT, WORDS),
    "integer": ({"type": "integer"}, st.integers(-(10**12), 10**12)),
    "boolean": ({"type": "boolean"}, st.booleans()),
    "texts": (TEXTS, st.lists(PLAIN, min_size=1, max_size=4)),
    "numbers": (NUMBERS, st.lists(st.integers(-99, 99), min_size=1, max_size=4)),
    "colour": (COLOUR, st.fixed_dictionaries({"R": st.integers(0, 255)}, optional={"G": st.integers(0, 255)})),
}
PLACES = [
    *(("path", style, explode) for style in ("simple", "label", "matrix") for explode in (False, True)),
    *(("query", style, explode) for style in ("form", "pipeDelimited", "spaceDelimited") for explode in (False, True)),
    ("header", "simple", False),
    ("header", "simple", True),
    ("cookie", "form", False),
]


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize(("where", "style", "explode"), PLACES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_writer_is_turned_round(where: Any, style: Any, explode: bool, kind: str, data: st.DataObject) -> None:
    schema, values = VALUES[kind]
    place = Placement(in_=where, name="it", style=style, explode=explode)
    path = "/at/{it}" if where == "path" else "/at"
    tool = a_tool(
        {"it": schema, "other": TEXT}, {"it": place, "other": Placement(in_="query", name="other")}, path=path
    )
    arguments = {"it": data.draw(values), "other": "x"}
    try:
        request = build(tool.request, arguments)
    except ArgumentRefused:
        return
    target = urlsplit(request.target)
    path_values = {"it": target.path.removeprefix("/at/")} if where == "path" else {}
    headers = [(name.lower(), value) for name, value in request.headers]
    assert arguments_of(tool, Received(path_values, target.query, headers, request.body or b"")) == arguments


@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bodies_are_turned_round(media_type: str, data: st.DataObject) -> None:
    schemas = {name: schema for name, (schema, _) in VALUES.items() if name != "colour"}
    places = {name: Placement(in_="body", name=name) for name in schemas}
    tool = a_tool(schemas, places, body=Body(media_type=media_type), method="POST")
    drawn = {name: VALUES[name][1] for name in schemas}
    arguments = data.draw(st.fixed_dictionaries({"text": drawn.pop("text")}, optional=drawn))
    request = build(tool.request, arguments)
    headers = [(name.lower(), value) for name, value in request.headers]
    assert arguments_of(tool, Received({}, "", headers, request.body or b"")) == arguments
