"""Any bytes give a document or findings; values follow YAML 1.2, and every span covers what it names."""

import math
import re
import string
import unicodedata
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from stoa_compiler import characters
from stoa_compiler.diagnostics import Report
from stoa_compiler.parse import MAX_DEPTH, MAX_FINDINGS, MAX_NODES, parse_file
from stoa_compiler.source import Document, Loc, SourceFile, Span, SpanTree


def read(text: str | bytes) -> tuple[Document | None, Report]:
    report = Report()
    content = text.encode() if isinstance(text, str) else text
    return parse_file(SourceFile("f.yaml", "f.yaml", content), report), report


def data(text: str) -> Any:
    document, report = read(text)
    assert document is not None, [d.message for d in report.found]
    return document.data


def codes(text: str | bytes) -> list[str]:
    document, report = read(text)
    assert document is None
    return [d.rule.code for d in report.sorted()]


def covered(document: Document, span: Span) -> str:
    """The text between a span's two ends."""
    lines = document.file.lines[span.line - 1 : span.end_line]
    if len(lines) == 1:
        return lines[0][span.column - 1 : span.end_column - 1]
    return "\n".join([lines[0][span.column - 1 :], *lines[1:-1], lines[-1][: span.end_column - 1]])


# Any bytes at all.

yaml_like = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "a",
                "key",
                ": ",
                ":",
                "- ",
                "\n",
                "  ",
                "\n  ",
                "'",
                '"',
                "[",
                "]",
                "{",
                "}",
                ",",
                "? ",
                "|",
                ">",
                "&a ",
                "*a",
                "!t ",
                "%YAML 1.2\n",
                "---\n",
                "...\n",
                "#",
                "<<: ",
                "~",
                "1",
                "\t",
                "\r\n",
                "\r",
                "\\",
                "@",
                "`",
                "\ufeff",
                "\u2028",
                "\x85",
                "\u200b",
                "e\u0301",
                "\U000e0041",
                "0x1F",
                ".inf",
                "-",
                "=",
                "\x00",
                "\x07",
                "\ud7ff",
                "€",
                "😀",
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=40,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), yaml_like.map(lambda t: t.encode("utf-8", "surrogatepass"))))
@example(b"\xff\xfea\x00")
@example(b"*a : 1\n")
@example(b"? \n")
@example(b"- &a [*a]\n")
@example(b"a: !!binary \xff")
@example(b'"\\ud800": 1\n')
@example(b"a: |\n\n\n")
@example(b"{a: [}")
def test_any_bytes_give_a_document_or_findings(content: bytes) -> None:
    document, report = read(content)
    assert (document is None) == (report.errors > 0)
    assert len(report.found) <= MAX_FINDINGS + 2
    for d in report.found:
        lines = SourceFile("f", "f", content).lines
        assert 1 <= d.span.line <= d.span.end_line <= len(lines)
        assert 1 <= d.span.column <= len(lines[d.span.line - 1]) + 1
    if document is not None:
        assert shape(document.spans()) == keys(document.data)


def shape(tree: SpanTree) -> Any:
    """The keys and indexes that have spans."""
    return {name: shape(child) for name, child in tree.children.items()}


def keys(value: Any) -> Any:
    """The keys and indexes of a value."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {name: keys(child) for name, child in below}


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "'",
        "&a ",
        "*a ",
        "!a ",
        "a:\n",
        "- a\n",
        "a: b\n",
        "{a: b, ",
        "[a, b], ",
        "#",
        "|\n",
        "? a\n",
        "- &a b\n",
        "- *a\n",
        "\u200bx",
        "é",
        "e\u0301: 1\n",
        "- !x y\n",
        "- &a b\n- *a\n",
        '"\n',
        "\ufeff",
    ],
)
def test_any_text_repeated_to_the_limit_ends_with_few_findings(text: str) -> None:
    """None may grow faster than the text: with a square of it, this test would take minutes."""
    document, report = read(text * (900_000 // len(text.encode())))
    assert document is None or report.errors == 0
    assert len(report.found) <= MAX_FINDINGS + 2


def test_depth_and_number_of_values_are_bounded() -> None:
    assert data("[" * (MAX_DEPTH - 1) + "a" + "]" * (MAX_DEPTH - 1)) is not None
    assert codes("[" * 3000 + "]" * 3000) == ["STOA109"]
    assert codes("- 1\n" * (MAX_NODES + 1)) == ["STOA109"]


# Values.


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("NO", "NO"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("-0x1F", "-0x1F"),
        ("0o8", "0o8"),
        ("2026-11-24", "2026-11-24"),
        ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z"),
        ("=", "="),
        ("nULL", "nULL"),
        ("tRUE", "tRUE"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("12", 12),
        ("+12", 12),
        ("-12", -12),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        ("1e", "1e"),
        (".", "."),
        ("-", "-"),
        ("+.e3", "+.e3"),
        ("1.2.0", "1.2.0"),
        ("0.1.0", "0.1.0"),
        (".inf0", ".inf0"),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("'12'", "12"),
        ('"true"', "true"),
        ('"~"', "~"),
        ("|\n  no\n", "no\n"),
    ],
)
def test_plain_scalars_resolve_by_the_core_schema(written: str, value: object) -> None:
    found = data(f"a: {written}\n")["a"] if written != "-" else data("a: '-'\n")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("written", ["~", "null", "Null", "NULL", ""])
def test_null_is_a_value_of_a_key(written: str) -> None:
    assert data(f"a: {written}\n") == {"a": None}


@pytest.mark.parametrize(
    "written", [".inf", "-.Inf", "+.INF", ".nan", ".NaN", "1e999", "9" * 5000, "1" * 41, str(2**64), "-" + "9" * 20]
)
def test_numbers_that_readers_take_differently_are_refused(written: str) -> None:
    assert codes(f"a: {written}\n") == ["STOA110"]


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda f: f + 0.0),
        st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(string.ascii_letters + "_-. #:é[", min_size=1, max_size=8), inner, max_size=4),
    ),
    max_leaves=12,
)


def in_form_c(value: Any) -> bool:
    if isinstance(value, str):
        if re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", value):
            return False  # The dumper leaves `0E0` without quotes: to YAML 1.1, it is no number.
        return unicodedata.is_normalized("NFC", value) and characters.hidden_character(value) is None
    if isinstance(value, Mapping):
        return all(in_form_c(k) and in_form_c(v) for k, v in value.items())
    return all(in_form_c(v) for v in value) if isinstance(value, list) else True


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=6), json_values, min_size=1, max_size=4),
    st.booleans(),
    st.integers(2, 6),
    st.sampled_from([20, 80, 10_000]),
    st.booleans(),
)
def test_what_a_dumper_writes_is_read_back_and_every_span_covers_it(
    value: dict[str, Any], flow: bool, indent: int, width: int, unicode: bool
) -> None:
    assume(in_form_c(value))
    text = yaml.safe_dump(value, default_flow_style=flow, indent=indent, width=width, allow_unicode=unicode)
    assume(yaml.safe_load(text) == value)  # In narrow columns, the dumper writes another text now and then.
    document, report = read(text)
    assert document is not None, (text, [d.message for d in report.found])
    # The dumper writes by YAML 1.1, where a number may hold `_` or `:` and is quoted; floats keep their point.
    assert document.data == value
    every_span(document)


def every_span(document: Document) -> None:
    """What each span covers is, read alone, the key or the value that it is the span of."""

    def walk(loc: Loc, value: Any) -> None:
        written = covered(document, document.span(loc))
        assert written == written.strip(" \t\r\n") or "\n" in written
        alone = yaml.load(_dedented(written, document.span(loc)), Loader=Core) if written else None
        if not isinstance(value, float) or math.isfinite(value):
            assert alone == value, (loc, written)
        if isinstance(value, dict):
            for key, below in value.items():
                name = covered(document, document.span((*loc, key), "key"))
                assert yaml.load(name, Loader=Core) == key
                walk((*loc, key), below)
        elif isinstance(value, list):
            for index, below in enumerate(value):
                walk((*loc, index), below)

    walk((), document.data)


def _dedented(written: str, span: Span) -> str:
    """The text as if it stood in a file of its own, its first line where it was."""
    return " " * (span.column - 1) + written + ("\n" if "\n" in written else "")


class Core(yaml.SafeLoader):
    """An independent reader of single values, by the core schema."""


Core.yaml_implicit_resolvers = {}
for tag, pattern in (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
):
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), None)
Core.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(node.value, 0 if node.value[:2] in ("0x", "0o") else 10)
)
Core.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value))


@pytest.mark.parametrize(
    ("text", "loc", "words"),
    [
        ("a:\n  b:\n    c: 1\n  d: 2\n", ("a", "b"), "c: 1"),
        ("a:\n  - x\n  - y: 1\n    z: 2\nb: 3\n", ("a", 1), "y: 1\n    z: 2"),
        ("a:\n- x\n- y\nb: 3\n", ("a",), "- x\n- y"),
        ("a: [1,\n  2]  # two\nb: 3\n", ("a",), "[1,\n  2]"),
        ("a: |\n  x\n  y\n\n\nb: 1\n", ("a",), "|\n  x\n  y"),
        ("é: {ü: 'ß'}\n", ("é", "ü"), "'ß'"),
        ("a: '😀' # x\n", ("a",), "'😀'"),
        ("a: x y  \nb: 1\n", ("a",), "x y"),
        ("a: one\n  two\nb: 1\n", ("a",), "one\n  two"),
        ("a:\r\n  b: 1\r\nc: 2\r\n", ("a", "b"), "1"),
    ],
)
def test_spans_cover_exactly_the_value(text: str, loc: Loc, words: str) -> None:
    document, _ = read(text)
    assert document is not None
    assert covered(document, document.span(loc)) == words


def test_a_span_of_what_is_not_there_is_its_nearest_parents_key() -> None:
    document, _ = read("a:\n  b: 1\n")
    assert document is not None
    assert covered(document, document.span(("a", "missing", "deeper"))) == "a"
    assert str(document.span(("x",))) == "f.yaml:1:1"


# What one reader sees and another does not.


@pytest.mark.parametrize("line_break", ["\r", "\x85", "\u2028", "\u2029"])
def test_no_character_is_a_line_break_to_one_reader_and_text_to_another(line_break: str) -> None:
    """libyaml and YAML 1.1 break lines there: a second key would hide in what a reviewer reads as a comment."""
    assert codes(f"a: 1 #{line_break}b: 2\n") == ["STOA102"]
    assert codes(f"a: x{line_break}b: y\n") == ["STOA102"]


def test_windows_line_ends_are_fine() -> None:
    assert data("a: 1\r\nb: |\r\n  x\r\n  y\r\n") == {"a": 1, "b": "x\ny\n"}


@pytest.mark.parametrize(
    "character",
    ["\u200b", "\u202e", "\u2066", "\U000e0041", "\u00ad", "\u3164", "\ufe0f", "\u180e", "\u2060", "\u115f"],
)
def test_characters_that_cannot_be_seen_are_refused_everywhere(character: str) -> None:
    for text in (f"a: x{character}y\n", f"a: 'x{character}'\n", f"a: |\n  x{character}\n", f"a: 1 # {character}\n"):
        assert codes(text) == ["STOA111"], text
    assert codes(f'a: "\\U{ord(character):08x}"\n') == ["STOA111"]
    assert codes(f"a{character}b: 1\n") == ["STOA111"]


def test_a_key_that_differs_only_by_its_composition_is_refused() -> None:
    assert codes("caf\u00e9: 1\ncafe\u0301: 2\n") == ["STOA112"]


@pytest.mark.parametrize("key", ["a", "'a'", '"a"', '"\\x61"', "!!str a"])
def test_equal_keys_are_found_however_they_are_written(key: str) -> None:
    assert "STOA103" in codes(f"a: 1\n{key}: 2\n")


def test_every_duplicate_is_reported_with_both_its_lines() -> None:
    _, report = read("a: 1\nb: 1\na: 2\nb: 2\na: 3\n")
    assert [(d.span.line, d.notes[0].span and d.notes[0].span.line) for d in report.sorted()] == [
        (3, 1),
        (4, 2),
        (5, 1),
    ]


def test_an_alias_is_its_anchors_matter_and_never_followed() -> None:
    _, report = read("a: &x {b: 1}\nc: [*x, *x]\n<<: *x\nd:\n  <<: *x\n")
    assert [(d.span.line, d.message) for d in report.sorted()] == [
        (1, "the anchor `&x` is not taken"),
        (3, "the merge key `<<` is not taken"),
        (5, "the merge key `<<` is not taken"),
    ]
    assert report.sorted()[0].help == "Remove `&x`, and write the value out in lines 2, 3, 5."
    assert data("'<<': 1\n") == {"<<": 1}
