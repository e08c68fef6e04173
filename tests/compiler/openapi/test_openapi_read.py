"""Bytes into descriptions: every YAML and JSON trap, always a `DescriptionError` and never another exception."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.openapi import DescriptionError, read
from stoa_compiler.openapi.read import MAX_BYTES

HEAD = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\n"


def yaml(body: str = "paths: {}\n", head: str = HEAD) -> bytes:
    return (head + body).encode()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        ("true", True),
        ("~", None),
        (".inf", ".inf"),
        ("1e400", "1e400"),
        ("18446744073709551616", 1.8446744073709552e19),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("1.5", 1.5),
    ],
)
def test_plain_scalars_follow_the_core_schema(written: str, meant: object) -> None:
    document = read(yaml(f"paths: {{}}\nx-value: {written}\n"), "a.yaml").document
    assert document["x-value"] == meant
    assert type(document["x-value"]) is type(meant)


def test_keys_are_strings() -> None:
    document = read(yaml("paths: {}\nx-codes: {200: a, no: b, 1.5: c, null: d}\n"), "a.yaml").document
    assert document["x-codes"] == {"200": "a", "no": "b", "1.5": "c", "null": "d"}


@pytest.mark.parametrize("declared", ["3.0.0", "3.0.3", "3.1.0", "3.1.1", "3.2.0", "3.1"])
def test_version_is_taken(declared: str) -> None:
    description = read(yaml(head=f"openapi: {declared}\ninfo: {{title: T, version: '1'}}\n"), "a.yaml")
    assert description.version == declared[:3]


@pytest.mark.parametrize(
    ("content", "words", "place"),
    [
        (b"", "empty", (1, 1)),
        (b"   \n", "empty", (1, 1)),
        (b"[1, 2]", "root is not a mapping", (1, 1)),
        (b"hello", "root is not a mapping", (1, 1)),
        (b"{}", "no `openapi` or `swagger` key", (1, 1)),
        (b"openapi: 4.0.0\n", "version `4.0.0`", (1, 1)),
        (b"openapi: '2.0'\n", "version `2.0`", (1, 1)),
        (b"swagger: '3.0'\n", "version `3.0`", (1, 1)),
        (b"openapi: [3]\n", "version", (1, 1)),
        (b"openapi: 3.1.0\n  paths: x\n", "not well-formed YAML", (2, 8)),
        (b'{"openapi": "3.1.0",\n "paths": }', "not well-formed JSON", (2, 11)),
        (b'{"openapi": "3.1.0", "paths": {}, "paths": {}}', "`paths` stands twice", (0, 0)),
        (b"openapi: 3.1.0\npaths: {}\npaths: {}\n", "`paths` stands twice", (3, 1)),
        (b"openapi: 3.1.0\n\xff: 1\n", "byte 0xff is not UTF-8", (2, 1)),
        (b"openapi: 3.1.0\nx: \x07\n", "control character U+0007", (2, 4)),
        (b"openapi: 3.1.0\n? [a]\n: 1\n", "a key is a list or a mapping", (2, 3)),
        (b"openapi: 3.1.0\n---\na: 1\n", "second document", (2, 1)),
        (b"openapi: 3.1.0\na: &a [*a]\n", "alias `*a`", (2, 8)),
        (b"openapi: 3.1.0\na: *b\n", "alias `*b`", (2, 4)),
        (b"openapi: 3.1.0\na: " + b"9" * 5000, "a number of 5000 characters", (2, 4)),
        (b"openapi: 3.1.0\na: " + b"[" * 3000 + b"]" * 3000, "levels deep", (2, 203)),
    ],
)
def test_what_is_no_description_says_where(content: bytes, words: str, place: tuple[int, int]) -> None:
    with pytest.raises(DescriptionError) as caught:
        read(content, "a.json" if b'"openapi"' in content else "a.yaml")
    assert words in caught.value.message
    assert (caught.value.line, caught.value.column) == place


def test_deep_json_is_refused() -> None:
    with pytest.raises(DescriptionError):
        read(b'{"openapi": "3.1.0", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "a.json")
    with pytest.raises(DescriptionError, match="levels deep"):
        read(b'{"openapi": "3.1.0", "a": ' + b"[" * 500 + b"]" * 500 + b"}", "a.json")


def test_large_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(DescriptionError, match="bytes"):
        read(b"#" * (MAX_BYTES + 1), "a.yaml")


def test_alias_bomb_is_counted_and_refused() -> None:
    lines = ["openapi: 3.1.0", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 9)]
    with pytest.raises(DescriptionError, match="aliases expanded"):
        read("\n".join(lines).encode(), "a.yaml")


def test_aliases_nested_too_deep_are_refused() -> None:
    lines = ["openapi: 3.1.0", "a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 300)]
    with pytest.raises(DescriptionError, match="levels deep, aliases expanded"):
        read("\n".join(lines).encode(), "a.yaml")


def test_anchors_and_merge_keys_are_read() -> None:
    body = "paths: {}\nx-a: &a {type: string, title: A}\nx-b: {<<: *a, title: B}\nx-c: [*a]\n"
    document = read(yaml(body), "a.yaml").document
    assert document["x-b"] == {"title": "B", "type": "string"}
    assert document["x-c"] == [{"type": "string", "title": "A"}]


def test_json_in_yaml_flow_style_is_read() -> None:
    assert read(b"{openapi: 3.1.0, info: {title: T, version: x}, paths: {}}", "a.yaml").version == "3.1"


def test_equal_bytes_are_read_once() -> None:
    content = yaml()
    assert read(content, "a.yaml") is read(bytes(bytearray(content)), "a.yaml")


def test_operations_are_found_with_tags_and_ids() -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Shop\u200b", "version": "2"},
        "paths": {
            "x-note": {},
            "/a": {"parameters": [], "get": {"operationId": "getA", "tags": ["x", 3]}, "post": {}},
            "/b": {"$ref": "#/components/pathItems/B"},
            "/c": {"$ref": "other.yaml#/c"},
            "/d": {"trace": {}, "get": []},
            "e": {"get": {}},
        },
        "components": {"pathItems": {"B": {"put": {"operationId": "putB"}}}},
    }
    description = read(json.dumps(document).encode(), "a.json")
    assert description.title == "Shop"
    assert list(description.operations) == ["getA", "POST /a", "putB"]
    assert description.operations["getA"].tags == ("x",)
    assert description.operations["putB"].pointer == "/components/pathItems/B/put"
    assert [p.pointer for p in description.problems] == [
        "/paths/~1c/$ref",
        "/paths/~1d/get",
        "/paths/~1d/trace",
        "/paths/e",
    ]


def test_ids_that_stand_twice_are_reported_and_called_by_method_and_path() -> None:
    document = {
        "openapi": "3.0.3",
        "info": {"title": "T", "version": "1"},
        "paths": {
            "/a": {"get": {"operationId": "x"}},
            "/b": {"get": {"operationId": "x"}, "put": {"operationId": "X"}},
        },
    }
    description = read(json.dumps(document).encode(), "a.json")
    assert list(description.operations) == ["GET /a", "GET /b", "X"]
    assert description.ambiguous == {"x": ("GET /a", "GET /b")}
    assert [p.message for p in description.problems] == ["the operationId `x` stands 2 times"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["openapi", "paths", "/a", "get", "$ref", "parameters", "operationId", "info", "tags", "servers"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values)
@settings(max_examples=150, deadline=None)
def test_any_json_is_read_or_refused(value: object) -> None:
    root = {**value, "openapi": "3.1.0"} if isinstance(value, dict) else value
    for version in ("openapi", "swagger"):
        if isinstance(root, dict) and version == "swagger":
            root = {**{k: v for k, v in root.items() if k != "openapi"}, "swagger": "2.0"}
        with contextlib.suppress(DescriptionError):
            read(json.dumps(root).encode(), "a.json")


@given(st.binary(max_size=60) | st.text(alphabet="{}[]:-&*!|>'\"# \n\tab01.<?,", max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(DescriptionError):
        read(content, "a.yaml")
