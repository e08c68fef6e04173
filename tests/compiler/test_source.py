"""Documents: what is looked for in all of their values at once."""

from hypothesis import given
from hypothesis import strategies as st

from stoa_compiler.literals import MARKS
from stoa_compiler.source import Document, SourceFile, SpanTree

WORDS = (*MARKS, "${", "{{", "$(", ":null", "[a]", "a.b", "x|y", "^", "a b", "1+1")


def no_spans() -> SpanTree:
    raise AssertionError


@given(st.lists(st.sampled_from([*WORDS, *"".join(WORDS), "é", "\U0001f600"]), max_size=12).map("".join))
def test_a_word_is_found_wherever_it_stands(text: str) -> None:
    document = Document(SourceFile("a.yaml", "a.yaml", b""), {"a": [{"b": text}]}, no_spans)
    assert document.may_hold(*WORDS) == any(word in text for word in WORDS)
    for word in WORDS:
        assert document.may_hold(word) == (word in text)


def test_what_json_cannot_say_may_hold_anything() -> None:
    document = Document(SourceFile("a.yaml", "a.yaml", b""), {"a": "\ud800"}, no_spans)
    assert document.may_hold("x")
