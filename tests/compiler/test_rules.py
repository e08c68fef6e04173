"""The registry: every rule there is stands in it, is complete, and its words read alike."""

import ast
import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

import stoa_compiler
from stoa_compiler.diagnostics import Rule
from stoa_compiler.examples import examples
from stoa_compiler.rules import DECLARED, RULES

SENTENCE = re.compile(r"[A-Z`].*[.?!]\Z", re.DOTALL)


CODE = Path(stoa_compiler.__file__).parent
PAGES = Path(__file__).parents[2] / "docs" / "rules"


def declarations() -> list[tuple[str, int]]:
    """Module and line of every place in the code that writes out a rule."""
    return [
        (".".join(["stoa_compiler", *path.relative_to(CODE).with_suffix("").parts]), node.lineno)
        for path in sorted(CODE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rule"
        if any(k.arg == "code" and isinstance(k.value, ast.Constant) for k in node.keywords)
    ]


def test_every_rule_of_the_code_is_registered() -> None:
    made = declarations()
    assert len(made) == len(DECLARED)
    for module in sorted({module for module, _ in made}):
        rules = [v for v in vars(import_module(module)).values() if isinstance(v, Rule)]
        assert rules, module
        assert [r.code for r in rules if RULES.get(r.code) is not r] == [], module


def test_every_rule_has_an_example_and_a_page() -> None:
    shown = examples()
    assert sorted(RULES) == sorted(shown)
    assert sorted(RULES) == sorted(p.stem for p in PAGES.glob("STOA*.md"))
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert [code for code in RULES if f"({code}.md)" not in index] == []


def test_codes_are_unique() -> None:
    counts = Counter(rule.code for rule in DECLARED)
    assert [code for code, count in counts.items() if count > 1] == []
    assert len(RULES) == len(DECLARED)


def test_titles_are_unique() -> None:
    counts = Counter(rule.title for rule in DECLARED)
    assert [title for title, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("rule", DECLARED, ids=lambda r: r.code)
def test_words(rule: Rule) -> None:
    assert re.fullmatch(r"STOA[0-8][0-9]{2}", rule.code)
    assert rule.title[0].islower() or rule.title[0] in "`" or rule.title.split()[0] in PROPER_NAMES, rule.title
    assert not rule.title.endswith((".", "!"))
    assert len(rule.title) <= 72
    assert SENTENCE.match(rule.why), rule.why
    assert SENTENCE.match(rule.help), rule.help
    for text in (rule.title, rule.why, rule.help):
        assert text == " ".join(text.split()), text
        assert text.count("`") % 2 == 0, text


PROPER_NAMES = ("Keycloak", "OpenAPI", "ConfigMap")
