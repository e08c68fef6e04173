"""Every reader gets back what was dumped, in the bytes that were promised."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stoa_compiler import blockyaml, readback

NASTY = st.sampled_from(list('\x00\t\n\r"\\ #:-|{}$%\x7f\x80\x85\xa0\u2028\u2029\ufeff\ufffe\N{GRINNING FACE}é<&'))
TEXT = st.text(st.one_of(NASTY, st.characters(exclude_categories=["Cs"])), max_size=40)
LONG = TEXT.map(lambda text: text * 7)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | LONG,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=5)


def ruamel(text: str) -> Any:
    reader = YAML(typ="safe", pure=True)
    return reader.load(text)


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS)
@example({"no": "yes", "a": "1e3", "b": "0x1f", "c": "2026-01-01", "d": "~", "e": "", "f": "1_000", "g": "12:30:45"})
@example({"long": "x" * 200, "lines": "one\n\ntwo\n", "no-end": "one\ntwo", "two-ends": "one\n\n", "led": " a\nb\n"})
@example({"a": [[], {}, [[1], []], {"b": [{"c": None}]}], "b": {"c": {}}})
def test_readers_of_yaml_1_1_and_1_2_get_the_value_back(document: dict[str, Any]) -> None:
    text = blockyaml.dump(document).decode()
    assert yaml.safe_load(text) == document
    assert ruamel(text) == document
    assert readback.document(text.encode()) == document


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXT, st.one_of(TEXT, LONG, st.lists(TEXT, max_size=3)), max_size=4))
def test_helm_gets_the_value_back(document: dict[str, Any]) -> None:
    helm = pytest.importorskip("helm_python")
    assert helm.values_from_yaml(blockyaml.dump(document).decode()) == document


def test_layout() -> None:
    document = {
        "b": [{"z": 1, "a": "no"}, "x", ["y"]],
        "a": {"on": True, "empty": {}, "none": []},
        "text": '{"json":"{{ .Values }} ${HOME}"}\n',
    }
    assert blockyaml.dump(document).decode() == (
        "a:\n"
        "  empty: {}\n"
        "  none: []\n"
        '  "on": true\n'
        "b:\n"
        '  - a: "no"\n'
        "    z: 1\n"
        '  - "x"\n'
        "  -\n"
        '    - "y"\n'
        "text: |\n"
        '  {"json":"{{ .Values }} ${HOME}"}\n'
    )


def test_order_of_keys_does_not_matter() -> None:
    assert blockyaml.dump({"a": 1, "b": {"c": 2, "d": 3}}) == blockyaml.dump({"b": {"d": 3, "c": 2}, "a": 1})


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        blockyaml.dump({"a": "\ud800"})
