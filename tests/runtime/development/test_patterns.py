"""Texts for patterns: accepted by the engine that checks arguments, or refused openly."""

import re

import pytest

from stoa_runtime.development.patterns import UnsupportedPattern, text_matching


@pytest.mark.parametrize(
    "pattern",
    [
        "^[A-Z]{3}-[0-9]{4}$",
        "^(0|[1-9][0-9]*)$",
        r"^\d{4}-\d{2}-\d{2}$",
        r"^[\w.+-]+@[\w-]+\.[a-z]{2,}$",
        "^(?:red|green|blue)$",
        "^(?P<year>[0-9]{4})$".replace("P", ""),
        "[^a-z]",
        r"^[^\s/]+$",
        r"^\u0041+?$",
        "^#[0-9a-f]{6}([0-9a-f]{2})?$",
        r"^[a-z\]\\-]+$",
        "",
        "^$",
        "plain",
    ],
)
def test_the_text_matches(pattern: str) -> None:
    text = text_matching(pattern)
    assert re.search(pattern.replace("(?<", "(?P<"), text), text


def test_repetitions_give_the_length_that_is_asked_for() -> None:
    assert len(text_matching("^[a-z]+$", least=12)) >= 12
    assert len(text_matching("^([a-z]+-)?[0-9]{2,20}$", least=8)) >= 8
    assert len(text_matching("^(0|[1-9][0-9]*)$", least=3)) >= 3
    assert text_matching("^[a-z]{2}$", least=12) == "aa"


@pytest.mark.parametrize(
    "pattern", ["(?=a)a", "(?<!a)b", r"(a)\1", "(", "[", "a{", "*", "a{99999999999}", "(a{10000}){10000}", "\\"]
)
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedPattern):
        text_matching(pattern)
