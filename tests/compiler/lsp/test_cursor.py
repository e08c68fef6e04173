"""What the cursor is at, in documents that are whole, half typed, or not YAML at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.lsp.columns import to_characters, to_units
from stoa_compiler.lsp.cursor import Cursor, cursor_at


def at(text: str) -> Cursor | None:
    """What the cursor, drawn as `¦`, is at."""
    before, _, after = text.partition("¦")
    return cursor_at(before + after, before.count("\n"), len(before) - before.rfind("\n") - 1)


GRANT = "spec:\n  grants:\n    - role: viewer\n"


@pytest.mark.parametrize(
    ("text", "loc", "part", "typed", "keys"),
    [
        ("spec:\n  ti¦er: team\n", ("spec", "tier"), "key", "ti", set()),
        ("spec:\n  tier: te¦am\n", ("spec", "tier"), "value", "te", set()),
        ("spec:\n  tier: ¦\n  x: 1", ("spec", "tier"), "value", "", set()),
        ("spec:\n  tier:¦\n", ("spec", "tier"), "value", "", set()),
        ("spec:\n  ti¦\n  other: 1", ("spec", "ti"), "key", "ti", {"other"}),
        ("spec:\n  ¦\n  other: 1", ("spec", ""), "key", "", {"other"}),
        ("¦", ("",), "key", "", set()),
        ("kind: Plan\n¦", ("",), "key", "", {"kind"}),
        (GRANT + "      ¦\n", ("spec", "grants", 0, ""), "key", "", {"role"}),
        (GRANT + "    - ¦\n", ("spec", "grants", 1, ""), "key", "", set()),
        (GRANT + "    - ef¦\n      role: x", ("spec", "grants", 1, "ef"), "key", "ef", {"role"}),
        ("spec:\n  grants:\n  - role: a\n    e¦\n  z: 1", ("spec", "grants", 0, "e"), "key", "e", {"role"}),
        ("spec:\n  list:\n    - dev\n    - pr¦\n", ("spec", "list", 1, "pr"), "key", "pr", set()),
        (GRANT + '      tools: ["a:b¦:*", "x"]\n', ("spec", "grants", 0, "tools", 0), "value", "a:b", set()),
        (GRANT + '      tools: ["a:b:*", ¦]\n', ("spec", "grants", 0, "tools", 1), "value", "", set()),
        (GRANT + '      tools: ["a:b:*", ¦\n  other: 1\n', ("spec", "grants", 0, "tools", 1), "value", "", set()),
        (GRANT + "      tools: [a,\n        ¦]\n", ("spec", "grants", 0, "tools", 1), "value", "", set()),
        ('spec:\n  tools: ["un¦\n  other: 2\n', ("spec", "tools", 0), "value", "un", set()),
        ("a:\n  - {role: viewer, to¦}\n", ("a", 0, "to"), "key", "to", {"role"}),
        ("a:\n  - {role: ¦}\n", ("a", 0, "role"), "value", "", set()),
        ("a: [{b: x}, {¦", ("a", 1, ""), "key", "", set()),
        ("a: |\n  text: x\nb: ¦", ("b",), "value", "", set()),
        ('"a b": {c: ¦}', ("a b", "c"), "value", "", set()),
        ("a: # why\n  ¦", ("a", ""), "key", "", set()),
        ("a:\r\n  b: x¦y\r\n", ("a", "b"), "value", "x", set()),
    ],
)
def test_cursor(text: str, loc: tuple[str | int, ...], part: str, typed: str, keys: set[str]) -> None:
    found = at(text)
    assert found is not None
    assert (found.loc, found.part, found.typed, set(found.keys)) == (loc, part, typed, keys)


@pytest.mark.parametrize(
    "text", ["a: x # comm¦ent", "# ¦", "a: >\n  text ¦here\nb: 1", "a: |\n  x\n\n  ¦\n", "a: x  ¦"]
)
def test_no_place_for_a_word(text: str) -> None:
    assert at(text) is None


def test_what_follows_an_open_bracket_is_not_in_it() -> None:
    found = at("spec:\n  tools: [a, b\n  tier: te¦am\n")
    assert found is not None
    assert found.loc == ("spec", "tier")


SCRAPS = st.sampled_from(
    [
        *"abc:-#[]{},\"'|>&*!%@`\\\t \n",
        *("- ", ": ", "key: ", "\n  ", "\n    - ", "- - ", "|\n", "\r\n", "é", "🙂", "\ud800"),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(SCRAPS, max_size=60), st.integers(0, 20), st.integers(0, 40))
def test_any_text_at_all(scraps: list[str], line: int, column: int) -> None:
    text = "".join(scraps)
    found = cursor_at(text, line, column)
    if found is not None:
        shown = text.split("\n")[line].rstrip("\r")
        assert 0 <= found.start <= found.column <= len(shown)
        assert found.start <= found.end <= len(shown)
        assert not found.text or found.text[0] in shown[found.start : found.end]


@given(st.text(alphabet=st.sampled_from("a:é日🙂\U00010000\u0301"), max_size=30), st.integers(0, 30))
def test_columns(line: str, characters: int) -> None:
    characters = min(characters, len(line))
    for encoding in ("utf-8", "utf-16", "utf-32"):
        units = to_units(line, characters, encoding)
        assert to_characters(line, units, encoding) == characters
    assert to_units(line, characters, "utf-32") == characters
    assert to_units("🙂x", 1, "utf-16") == 2
    assert to_units("🙂x", 1, "utf-8") == 4
