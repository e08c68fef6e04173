"""The examples that the package carries, and the pages made of them, are those of the corpus."""

from pathlib import Path

import pytest

import stoa_compiler.examples
from stoa_compiler.examples import FILE, encoded
from stoa_compiler.explain import pages, write
from stoa_compiler.rules import RULES
from tests.bad.corpus import examples

PACKAGED = Path(stoa_compiler.examples.__file__).parent / FILE


def test_examples_are_current(update_golden: bool) -> None:
    made = examples()
    if update_golden:
        PACKAGED.write_bytes(encoded(made))
    assert encoded(made) == PACKAGED.read_bytes()
    assert stoa_compiler.examples.examples() == made


def test_pages_are_current(update_golden: bool) -> None:
    folder = Path(__file__).parents[2] / "docs" / "rules"
    if update_golden:
        write(folder)
    assert {p.name: p.read_text(encoding="utf-8") for p in folder.glob("*.md")} == pages()


@pytest.mark.parametrize("code", RULES)
def test_every_rule_has_an_example(code: str) -> None:
    example = stoa_compiler.examples.examples()[code]
    assert example.bad or example.good
    assert example.bad != example.good
    assert f"[{code}]" in example.report
