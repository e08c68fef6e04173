"""The registry: every rule is complete, and its words read alike."""

import re
from collections import Counter

import pytest

from stoa_compiler.diagnostics import Rule
from stoa_compiler.rules import DECLARED, RULES

SENTENCE = re.compile(r"[A-Z`].*[.?!]\Z", re.DOTALL)


def test_codes_are_unique() -> None:
    counts = Counter(rule.code for rule in DECLARED)
    assert [code for code, count in counts.items() if count > 1] == []
    assert len(RULES) == len(DECLARED)


def test_titles_are_unique() -> None:
    counts = Counter(rule.title for rule in DECLARED)
    assert [title for title, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("rule", DECLARED, ids=lambda r: r.code)
def test_words(rule: Rule) -> None:
    assert re.fullmatch(r"STOA[0-6][0-9]{2}", rule.code)
    assert rule.title[0].islower() or rule.title[0] in "`" or rule.title.split()[0] in PROPER_NAMES, rule.title
    assert not rule.title.endswith((".", "!"))
    assert len(rule.title) <= 72
    assert SENTENCE.match(rule.why), rule.why
    assert SENTENCE.match(rule.help), rule.help
    for text in (rule.title, rule.why, rule.help):
        assert text == " ".join(text.split()), text
        assert text.count("`") % 2 == 0, text


PROPER_NAMES = ("Keycloak", "OpenAPI", "ConfigMap")
