"""Rendered YAML read back: a long block is taken without the parser, and what it holds is what the parser reads."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler import blockyaml, readback

LONG = 1200
"""More characters than a line has that the parser reads."""


def parsed(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the parser says of the whole text, or that it refuses."""
    with monkeypatch.context() as patch:
        patch.setattr(readback, "_LONG", 10**9)
        return read(text)


def read(text: str) -> Any:
    try:
        return readback.document(text.encode())
    except yaml.YAMLError:
        return yaml.YAMLError


SEVERAL = st.lists(
    st.sampled_from(["x", " ", "\n", ": |", "- a: |", "|", '"', "'", "#", "\x85", "\t", "\u2028", "é", "  ", "---"]),
    max_size=8,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abc./_- :|", min_size=1, max_size=6), SEVERAL.map(lambda t: t + "y" * LONG + t)))
def test_what_was_dumped_is_read(document: dict[str, str]) -> None:
    assert read(blockyaml.dump(document).decode()) == (document or {})


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from(
                [
                    *("a: |", "a: |-", "- a: |", "- - a: |", '"a: |', "a: 'b: |", "a: >", "a: |2", "b:", "c: d", ""),
                    *("#: |", "y" * LONG, "y" * LONG + '"', "'" + "y" * LONG, "y: " + "z" * LONG, "é" * LONG),
                    "\t" + "y" * LONG,
                ]
            ),
        ),
        max_size=6,
    )
)
def test_any_lines_are_read_as_the_parser_reads_them(lines: list[tuple[int, str]]) -> None:
    monkeypatch = pytest.MonkeyPatch()
    text = "\n".join(" " * deep + line for deep, line in lines)
    assert read(text) == parsed(text, monkeypatch)


def test_a_block_inside_another_text_is_text() -> None:
    inner = "a: |\n  " + "y" * LONG + "\n"
    text = "outer: |\n" + "".join(f"  {line}\n" for line in inner.splitlines())
    assert read(text) == {"outer": inner}
    assert read(f'outer: "a: |\n  {"y" * LONG}"\n') == {"outer": f"a: | {'y' * LONG}"}


def test_a_key_that_is_there_twice_is_refused() -> None:
    block = f"a: |\n  {'y' * LONG}\n"
    with pytest.raises(yaml.YAMLError, match="twice"):
        readback.document((block + block).encode())


def test_more_than_one_document_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="more than one"):
        readback.document(b"a: 1\n---\nb: 2\n")
    assert readback.documents(b"a: 1\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [*a]\n", "holds itself"),
        ("a: !!set {b}\n", "has a tag"),
        ("? [a]\n: b\n", "no scalar"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", "no scalar"),
        ("a: 1\na: 2\n", "twice"),
        ("a: !!python/name:os.system x\n", "constructor"),
    ],
)
def test_what_no_rendering_holds_is_refused(text: str, why: str) -> None:
    with pytest.raises(yaml.YAMLError, match=why):
        readback.document(text.encode())


def test_a_reference_is_read_once_however_often_it_is_made() -> None:
    text = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    found = readback.document(text.encode())
    assert found["a59"][0] is found["a59"][1] is found["a58"]


def test_scalars_are_what_helm_reads() -> None:
    assert readback.document(b"a: 1\nb: true\nc: null\nd: 1.5\ne: '1'\nf:\n") == {
        "a": 1, "b": True, "c": None, "d": 1.5, "e": "1", "f": None,
    }  # fmt: skip
