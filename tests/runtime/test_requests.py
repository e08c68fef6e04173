"""Arguments written in their place: every style with and without explode."""

import re
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoa_runtime.requests import ArgumentRefused, build
from stoa_schemas import bundle
from tests.runtime.world import place

ARRAY = ["blue", "black", "b&w"]
OBJECT = {"R": 100, "G": "2 0"}


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        ("form", True, "a b", "color=a%20b"),
        ("form", True, ARRAY, "color=blue&color=black&color=b%26w"),
        ("form", False, ARRAY, "color=blue,black,b%26w"),
        ("form", False, ["a,b", "c"], "color=a%2Cb,c"),
        ("form", True, OBJECT, "R=100&G=2%200"),
        ("form", False, OBJECT, "color=R,100,G,2%200"),
        ("spaceDelimited", False, ARRAY, "color=blue%20black%20b%26w"),
        ("spaceDelimited", True, ARRAY, "color=blue&color=black&color=b%26w"),
        ("spaceDelimited", False, OBJECT, "color=R%20100%20G%202%200"),
        ("pipeDelimited", False, ARRAY, "color=blue%7Cblack%7Cb%26w"),
        ("pipeDelimited", True, ARRAY, "color=blue&color=black&color=b%26w"),
        ("pipeDelimited", False, OBJECT, "color=R%7C100%7CG%7C2%200"),
        ("deepObject", True, OBJECT, "color%5BR%5D=100&color%5BG%5D=2%200"),
        ("deepObject", True, {"a": {"b": [1, 2]}}, "color%5Ba%5D%5Bb%5D=1&color%5Ba%5D%5Bb%5D=2"),
        ("form", True, [], ""),
        ("form", False, [], ""),
        ("form", True, None, ""),
        ("form", True, True, "color=true"),
        ("form", True, 1.5, "color=1.5"),
        ("form", True, 12345678901234567890123, "color=12345678901234567890123"),
        ("form", True, "", "color="),
        ("form", True, "x&admin=1#f", "color=x%26admin%3D1%23f"),
    ],
)
def test_query(style: Any, explode: bool, value: Any, expected: str) -> None:
    request = bundle.Request(
        method="GET", path="/c", arguments={"c": place("query", "color", style=style, explode=explode)}
    )
    assert build(request, {"c": value}).target == ("/c?" + expected if expected else "/c")


@pytest.mark.parametrize(
    ("style", "explode", "value", "expected"),
    [
        ("simple", False, "blue", "blue"),
        ("simple", False, ARRAY, "blue,black,b%26w"),
        ("simple", True, ARRAY, "blue,black,b%26w"),
        ("simple", False, OBJECT, "R,100,G,2%200"),
        ("simple", True, OBJECT, "R=100,G=2%200"),
        ("label", False, "blue", ".blue"),
        ("label", False, ARRAY, ".blue,black,b%26w"),
        ("label", True, ARRAY, ".blue.black.b%26w"),
        ("label", False, OBJECT, ".R,100,G,2%200"),
        ("label", True, OBJECT, ".R=100.G=2%200"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", False, ARRAY, ";color=blue,black,b%26w"),
        ("matrix", True, ARRAY, ";color=blue;color=black;color=b%26w"),
        ("matrix", False, OBJECT, ";color=R,100,G,2%200"),
        ("matrix", True, OBJECT, ";R=100;G=2%200"),
    ],
)
def test_path(style: Any, explode: bool, value: Any, expected: str) -> None:
    request = bundle.Request(
        method="GET", path="/c/{color}/x", arguments={"c": place("path", "color", style=style, explode=explode)}
    )
    assert build(request, {"c": value}).target == f"/c/{expected}/x"


@pytest.mark.parametrize("style", ["simple", "label", "matrix"])
@pytest.mark.parametrize("value", ["", ".", "..", "a/..", "%2e%2e", "a\x00", [], {}, ["ok", ".."], {"k": ".."}])
def test_path_values_that_change_the_path_are_refused(style: Any, value: Any) -> None:
    request = bundle.Request(method="GET", path="/c/{c}", arguments={"c": place("path", "c", style=style)})
    with pytest.raises(ArgumentRefused, match="`c`"):
        build(request, {"c": value})


def test_two_values_cannot_make_a_dot_segment_together() -> None:
    request = bundle.Request(
        method="GET", path="/{a}{b}/x", arguments={"a": place("path", "a"), "b": place("path", "b")}
    )
    assert build(request, {"a": "..x", "b": "y"}).target == "/..xy/x"
    with pytest.raises(ArgumentRefused, match="missing"):
        build(request, {"a": "x"})


@pytest.mark.parametrize(
    ("explode", "value", "expected"),
    [
        (False, "a", "a"),
        (False, ["a", "b"], "a,b"),
        (True, ["a", "b"], "a,b"),
        (False, {"k": 1}, "k,1"),
        (True, {"k": 1}, "k=1"),
    ],
)
def test_header(explode: bool, value: Any, expected: str) -> None:
    request = bundle.Request(
        method="GET", path="/", arguments={"h": place("header", "X-H", style="simple", explode=explode)}
    )
    assert build(request, {"h": value}).headers == (("X-H", expected),)


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\nb", "a\x00", "é", " a", "a\x7f", ["a", "b\r\n"]])
def test_headers_take_no_line_breaks(value: Any) -> None:
    request = bundle.Request(method="GET", path="/", arguments={"h": place("header", "X-H")})
    with pytest.raises(ArgumentRefused, match="header"):
        build(request, {"h": value})


@pytest.mark.parametrize("name", ["Authorization", "host", "COOKIE", "Content-Length", "X-Forwarded-For", "a b", "a:b"])
def test_headers_that_are_not_a_callers_are_never_sent(name: str) -> None:
    request = bundle.Request(method="GET", path="/", arguments={"h": place("header", name)})
    with pytest.raises(ArgumentRefused, match="not a caller's"):
        build(request, {"h": "x"})


@pytest.mark.parametrize(
    ("explode", "value", "expected"),
    [
        (False, "a;b=c", "k=a%3Bb%3Dc"),
        (False, ["a", "b"], "k=a,b"),
        (True, ["a", "b"], "k=a; k=b"),
        (False, {"x": 1}, "k=x,1"),
        (True, {"x": 1}, "x=1"),
    ],
)
def test_cookie(explode: bool, value: Any, expected: str) -> None:
    request = bundle.Request(
        method="GET", path="/", arguments={"c": place("cookie", "k", style="form", explode=explode)}
    )
    assert build(request, {"c": value}).headers == (("Cookie", expected),)


def test_content_is_json_in_its_place() -> None:
    request = bundle.Request(
        method="GET",
        path="/{p}",
        arguments={
            "p": place("path", "p", content="application/json"),
            "q": place("query", "q", content="application/json"),
            "h": place("header", "X-H", content="application/json"),
        },
    )
    made = build(request, {"p": [1], "q": {"a": "é&"}, "h": {"a": "é\n"}})
    assert made.target == "/%5B1%5D?q=%7B%22a%22%3A%22%C3%A9%26%22%7D"
    assert made.headers == (("X-H", '{"a":"\\u00e9\\n"}'),)


def test_reserved_characters_stay_only_where_they_do_no_harm() -> None:
    request = bundle.Request(
        method="GET", path="/", arguments={"q": place("query", "q", style="form", explode=True, allow_reserved=True)}
    )
    assert build(request, {"q": "a/b:c?d&e=f#g+h"}).target == "/?q=a/b:c?d%26e%3Df%23g%2Bh"


def test_an_exploded_object_cannot_set_another_parameter() -> None:
    request = bundle.Request(
        method="GET",
        path="/",
        arguments={
            "filter": place("query", "filter", style="form", explode=True),
            "admin": place("query", "admin", style="form", explode=True),
        },
    )
    with pytest.raises(ArgumentRefused, match="`admin`"):
        build(request, {"filter": {"admin": "1"}})


def body(media_type: str, arguments: dict[str, Any], **more: Any) -> tuple[Any, bytes | None]:
    argument = more.pop("argument", None)
    placements = more.pop("placements", {name: place("body", name) for name in arguments} if argument is None else {})
    request = bundle.Request(
        method="POST",
        path="/",
        arguments=placements,
        body=bundle.Body(media_type=media_type, argument=argument, **more),
    )
    made = build(request, arguments)
    return dict(made.headers).get("Content-Type"), made.body


def test_json_bodies() -> None:
    assert body("application/json", {"a": 1, "b": None}) == ("application/json", b'{"a":1,"b":null}')
    assert body("application/json", {}, required=True) == ("application/json", b"{}")
    assert body("application/json", {}) == (None, None)
    assert body("application/json", {"all": [1, "é"]}, argument="all") == ("application/json", '[1,"é"]'.encode())
    assert body("application/merge-patch+json", {"all": "x"}, argument="all")[1] == b'"x"'
    assert body("application/json", {}, argument="all") == (None, None)


def test_form_bodies() -> None:
    form = "application/x-www-form-urlencoded"
    assert body(form, {"a": "x&y=z", "b": [1, 2], "c": True}) == (form, b"a=x%26y%3Dz&b=1&b=2&c=true")
    assert body(form, {"a": {"k": "v"}}, placements={"a": place("body", "a", style="deepObject", explode=True)})[1] == (
        b"a%5Bk%5D=v"
    )
    assert body(form, {"all": {"a": 1, "b": ["x"]}}, argument="all") == (form, b"a=1&b=x")


def test_multipart_bodies() -> None:
    kind, content = body("multipart/form-data", {"name": 'x"\r\n--', "tags": ["a", "b"]})
    boundary = kind.partition("boundary=")[2]
    assert content is not None
    assert content.count(f"--{boundary}".encode()) == 4
    assert content.endswith(f"--{boundary}--\r\n".encode())


def test_files_of_a_multipart_body() -> None:
    places = {"scan": bundle.Placement(in_="body", name="scan", file="image/png"), "note": place("body", "note")}
    kind, content = body("multipart/form-data", {"scan": ["AAEC", "Aw=="], "note": {"k": 1}}, placements=places)
    parts = (content or b"").split(f"--{kind.partition('boundary=')[2]}".encode())[1:-1]
    file = b'\r\nContent-Disposition: form-data; name="scan"; filename="scan"\r\nContent-Type: image/png\r\n\r\n'
    assert parts[:2] == [file + b"\x00\x01\x02\r\n", file + b"\x03\r\n"]
    assert b"Content-Type: application/json\r\n\r\n{" in parts[2]
    with pytest.raises(ArgumentRefused, match="`scan` must be base64"):
        body("multipart/form-data", {"scan": "no!"}, placements=places)


def test_text_and_base64_bodies() -> None:
    assert body("text/plain", {"t": "é"}, argument="t") == ("text/plain", "é".encode())
    assert body("application/octet-stream", {"t": "AAEC"}, argument="t", base64=True)[1] == b"\x00\x01\x02"
    with pytest.raises(ArgumentRefused, match="base64"):
        body("application/octet-stream", {"t": "no!"}, argument="t", base64=True)


PLAIN = bundle.Request(
    method="GET",
    path="/v1/{p}/end",
    arguments={"p": place("path", "p"), "q": place("query", "q[x]", style="form", explode=True)},
)


@given(p=st.text(min_size=1), q=st.text())
def test_any_text_comes_out_at_the_other_end_in_its_own_place(p: str, q: str) -> None:
    """Whatever is not refused is one segment, or one parameter, and reads back as the same text."""
    try:
        target = build(PLAIN, {"p": p, "q": q}).target
    except ArgumentRefused:
        return
    assert re.fullmatch(r"[!-~]+", target)
    path, _, query = target.partition("?")
    segments = path.split("/")
    assert segments[:2] + segments[3:] == ["", "v1", "end"]
    assert unquote(segments[2]) == p
    assert parse_qsl(query, keep_blank_values=True) == [("q[x]", q)]
