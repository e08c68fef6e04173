"""Patterns that every client reads alike: kept, rewritten, or dropped."""

import re
import warnings

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.openapi.patterns import portable


@pytest.mark.parametrize(
    "pattern",
    [r"^[A-Z]{3}$", r"\d+(?:\.\d{2})?", "a|b", r"^[^\s@]+@[^\s@]+$", r"[a-z\-]", r"é+", r"A\x2f", "^$", r"\u00e9"],
)
def test_a_plain_pattern_stays_as_it_is(pattern: str) -> None:
    assert portable(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        r"([^\s]+(\.(?i)(jpeg|tiff|pdf))$)",  # Flags in the middle: neither ECMA-262 nor Python has them.
        r"(?i)abc",
        r"(?P<year>\d{4})",
        r"(?<year>\d{4})",
        r"a(?=b)",
        r"(?<!a)b",
        r"(a)\1",
        r"\p{L}+",
        r"\Aabc\z",
        r"[a-z&&[^b]]",
        "[]a]",
        "[^]",
        "[a",
        "(a",
        "a\\",
        "a**",
        "[z-a]",
        r"\cJ",
        "x{2,1}",
        "a" * 1001,
    ],
)
def test_a_pattern_that_readers_disagree_on_is_dropped(pattern: str) -> None:
    assert portable(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "written", "taken", "refused"),
    [
        (r"^\@[a-z\_]+$", "^@[a-z_]+$", "@a_b", "a"),
        (r"^\-?\d+$", r"^-?\d+$", "-1", "x"),
        ("^{id}$", r"^\{id\}$", "{id}", "id"),
        ("^[[a]$", r"^[\[a]$", "[", "b"),
        (r"^[\&\~]$", r"^[\x26\x7e]$", "&", "x"),
    ],
)
def test_what_one_engine_reads_otherwise_is_written_so_that_all_agree(
    pattern: str, written: str, taken: str, refused: str
) -> None:
    assert portable(pattern) == written
    for matches in (
        lambda text: re.search(written, text) is not None,
        lambda text: jsonschema_rs.is_valid({"pattern": written}, text),
    ):
        assert matches(taken)
        assert not matches(refused)


@settings(max_examples=300)
@given(st.text(alphabet="ab01[](){}^$|?*+\\-.,:&~@_/<>P=dwx ", max_size=12), st.text(alphabet="ab01-@{} &", max_size=6))
def test_a_pattern_means_the_same_as_before_wherever_it_is_read(pattern: str, text: str) -> None:
    written = portable(pattern)
    if written is None:
        return
    assert portable(written) == written
    expected = jsonschema_rs.is_valid({"pattern": written}, text)
    assert (re.search(written, text) is not None) == expected
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That Python may read it otherwise one day.
            before = re.compile(pattern)
    except re.error:
        return
    assert (before.search(text) is not None) == expected
