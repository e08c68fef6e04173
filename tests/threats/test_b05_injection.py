"""B5: values that would be more than a value in their place. Each stays in it, or nothing is called."""

import json
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest

from tests.runtime.world import Recorder
from tests.threats import wire
from tests.threats.conftest import PLACES
from tests.threats.process import Attacked

TOOL = "ioi_inventory_place"
VALUES = {
    "dots": "..",
    "a dot": ".",
    "dots and a slash": "../",
    "dots, slash and more": "../../admin",
    "dots within": "a/../b",
    "encoded slash": "a%2fb",
    "encoded dots": "%2e%2e",
    "encoded dots and slash": "%2e%2e%2fadmin",
    "doubly encoded": "%252e%252e%252f",
    "trebly encoded": "%25252e%25252e%25252f",
    "overlong UTF-8": "%c0%ae%c0%ae%c0%af",
    "backslash": "..\\admin",
    "encoded backslash": "..%5cadmin",
    "dots and a parameter": "..;/admin",
    "slash": "a/b",
    "two slashes": "//evil.test/",
    "unicode slash": "a\u2215b",
    "fraction slash": "a\u2044b",
    "fullwidth slash": "..\uff0fadmin",
    "fullwidth dots": "\uff0e\uff0e/",
    "one dot leader": "\u2024\u2024/",
    "line end": "a\nX-Admin: 1",
    "carriage return": "a\rX-Admin: 1",
    "both": "a\r\nX-Admin: 1\r\n\r\nGET /admin HTTP/1.1\r\n",
    "encoded line end": "a%0d%0aX-Admin:1",
    "unicode line end": "a\u560d\u560aX-Admin:1",
    "line separator": "a\u2028b",
    "next line": "a\x85b",
    "NUL": "a\0b",
    "encoded NUL": "a%00.json",
    "tab": "a\tb",
    "escape": "a\x1b[31m",
    "delete": "a\x7f",
    "query": "a?admin=1",
    "fragment": "a#b",
    "further parameter": "a&admin=1",
    "further parameter with a semicolon": "a;admin=1",
    "equals": "a=b",
    "comma": "a,b",
    "pipe": "a|b",
    "space": "a b",
    "plus": "a+b",
    "percent": "100%",
    "percent and letters": "%zz",
    "an address": "http://evil.test/x",
    "an address without scheme": "//evil.test",
    "userinfo": "user@evil.test",
    "host and port": "evil.test:80",
    "metadata address": "http://169.254.169.254/latest/meta-data/",
    "a template": "{segment}{{text}}${HOME}",
    "quotes": "a\"b'c",
    "an angle": "<script>",
    "brackets": "a[b]",
    "text of other scripts": "\u0436\u4e2d\U0001f600",
    "astral and combining": "e\u0301\u200d",
    "very long": "x" * 8000,
    "empty": "",
}
KNOWN = {p.name for p in PLACES.values() if p.in_ == "query"} | {f"deep[{k}]" for k in ("k",)}
FIXED = {
    "host",
    "accept",
    "accept-encoding",
    "user-agent",
    "traceparent",
    "content-length",
    "x-head",
    "x-heads",
    "cookie",
}


def shaped(place: str, value: str) -> Any:
    """The value in the form that the place's argument has."""
    if place in ("list", "pipes", "spaces", "heads", "crumbs"):
        return [value, "second"]
    if place in ("deep", "spread", "json"):
        return {"k": value}
    return value


def targets(stoa: Attacked, token: str, arguments: dict[str, Any], era: str) -> tuple[dict[str, Any], list[Any]]:
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.call(token, TOOL, arguments, era=era))
    assert answer.status == 200
    return answer.json()["result"], got


def stays(stoa: Attacked, request: dict[str, Any]) -> None:
    """The request is the one that the contract describes: its method, host, path, parameters' and headers' names."""
    path, _, query = request["target"].partition("?")
    assert request["method"] == "GET"
    assert request["body"] == b""
    first, places, segment, end = path.split("/")
    assert (first, places, end) == ("", "places", "end")
    assert segment not in ("", ".", "..")
    assert request["target"].isascii()
    assert request["target"].isprintable()
    assert " " not in request["target"]
    headers = request["headers"]
    assert [v for k, v in headers if k == "host"] == [stoa.backend.url.removeprefix("http://")]
    assert {k for k, _ in headers} <= FIXED
    assert {k for k, _ in parse_qsl(query, keep_blank_values=True, separator="&")} <= KNOWN | {"k"}
    assert len(headers) == len({k for k, _ in headers})


@pytest.mark.parametrize("era", wire.ERAS)
@pytest.mark.parametrize("value", VALUES)
def test_value(stoa: Attacked, backend: Recorder, parzival: str, value: str, era: str) -> None:
    """In every place, each by itself; both eras come to the same code, so one of each kind is enough for the older."""
    text = VALUES[value]
    for place in PLACES if era == wire.MODERN else ("segment", "text", "head"):
        result, got = targets(stoa, parzival, {"segment": "s", place: shaped(place, text)}, era)
        if result["isError"]:
            assert got == [], place
            assert place in result["content"][0]["text"], place
            continue
        [request] = got
        stays(stoa, request)
        path, _, query = request["target"].partition("?")
        if place == "segment":
            assert unquote(path.split("/")[2]) == text
        elif place in ("text", "reserved", "deep", "spread"):
            [(_, sent)] = parse_qsl(query, keep_blank_values=True)
            assert sent == text or (place == "reserved" and sent == text.replace("+", " ")), place
        elif place == "json":
            [(_, sent)] = parse_qsl(query, keep_blank_values=True)
            assert json.loads(sent) == {"k": text}
        elif place == "head":
            assert dict(request["headers"])["x-head"] == text
        elif place == "crumb":
            assert unquote(dict(request["headers"])["cookie"].removeprefix("crumb=")) == text
            assert dict(request["headers"])["cookie"].count(";") == 0


@pytest.mark.parametrize(
    "value", ["..", ".", "", "../", "a/../b", "%2e%2e", "%2e%2e%2fadmin", "%252e%252e%252f", "..\\x", "a\r\nb", "a\0b"]
)
def test_path_that_leads_elsewhere(stoa: Attacked, parzival: str, value: str) -> None:
    result, got = targets(stoa, parzival, {"segment": value}, wire.MODERN)
    assert result["isError"] is True
    assert got == []


@pytest.mark.parametrize("place", ["head", "heads"])
@pytest.mark.parametrize(
    "value", ["a\r\nX-Admin: 1", "a\nb", "a\rb", "a\0b", "\u0436", " a", "a ", "a\x85", "a\x7f", "\ud83d"]
)
def test_header_value_that_would_be_more(stoa: Attacked, parzival: str, place: str, value: str) -> None:
    given = [value] if place == "heads" else value
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.call(parzival, TOOL, {"segment": "s", place: given}))
    assert answer.status == 400 or answer.json()["result"]["isError"] is True
    assert got == []


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "Host",
        "scheme",
        "url",
        "path",
        "method",
        "baseUrl",
        "X-Admin",
        "segment ",
        "Segment",
        "segment\0",
        "__proto__",
        "constructor",
        "$ref",
        "text[]",
        "deep[k]",
        "",
        "a" * 5000,
    ],
)
def test_argument_that_the_tool_does_not_have(stoa: Attacked, parzival: str, name: str) -> None:
    result, got = targets(stoa, parzival, {"segment": "s", name: "x"}, wire.MODERN)
    assert result["isError"] is True
    assert "There is no argument" in result["content"][0]["text"]
    assert got == []


@pytest.mark.parametrize("key", ["text", "list", "reserved", "json", "deep"])
def test_member_that_would_set_another_argument(stoa: Attacked, parzival: str, key: str) -> None:
    """A spread object must not stand in for an argument of its own."""
    result, got = targets(stoa, parzival, {"segment": "s", "spread": {key: "x"}}, wire.MODERN)
    assert result["isError"] is True
    assert got == []


@pytest.mark.parametrize("key", ["a&b=c", "a=b", "../x", "a]b[c", "a\r\nb", "k#", "k\0", "\u0436", "k[x]"])
@pytest.mark.parametrize("place", ["deep", "spread", "json"])
def test_member_whose_name_would_be_more(stoa: Attacked, parzival: str, place: str, key: str) -> None:
    result, got = targets(stoa, parzival, {"segment": "s", place: {key: "v"}}, wire.MODERN)
    if result["isError"]:
        assert got == []
        return
    [request] = got
    pairs = parse_qsl(request["target"].partition("?")[2], keep_blank_values=True)
    expected = {
        "deep": (f"deep[{key}]", "v"),
        "spread": (key, "v"),
        "json": ("json", json.dumps({key: "v"}, ensure_ascii=False, separators=(",", ":"))),
    }
    assert pairs == [expected[place]]


@pytest.mark.parametrize("style", ["list", "pipes", "spaces", "crumbs"])
def test_item_with_the_separator_of_its_style_stays_one(stoa: Attacked, parzival: str, style: str) -> None:
    result, got = targets(stoa, parzival, {"segment": "s", style: ["a,b|c d", "&x=1", "; y=2"]}, wire.MODERN)
    assert result["isError"] is False
    [request] = got
    sent = request["target"].partition("?")[2] if style != "crumbs" else dict(request["headers"])["cookie"]
    between = {"list": ",", "pipes": "%7C", "spaces": "%20", "crumbs": ","}[style]
    # Where the separator is itself percent-encoded, as OpenAPI has it, an item that holds it cannot be told apart.
    if between == ",":
        assert [unquote(p) for p in sent.partition("=")[2].split(",")] == ["a,b|c d", "&x=1", "; y=2"]
    assert "&" not in sent
    assert ";" not in sent


@pytest.mark.parametrize(
    "value",
    ["x" * 60_000, {"k": {"k": {"k": "v"}}}, [["a"]], None, 1, True, 10**30, {}, []],
    ids=lambda v: repr(v)[:20],
)
@pytest.mark.parametrize("place", PLACES)
def test_value_of_another_shape(stoa: Attacked, parzival: str, place: str, value: Any) -> None:
    with stoa.recording() as got:
        answer = wire.asked(stoa.address, wire.call(parzival, TOOL, {"segment": "s", place: value}))
    assert answer.status == 200
    if answer.json()["result"]["isError"]:
        return
    for request in got:
        stays(stoa, request)
