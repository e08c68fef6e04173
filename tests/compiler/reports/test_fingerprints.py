"""Fingerprints outlive edits elsewhere, and tell findings apart."""

from hypothesis import given
from hypothesis import strategies as st

from stoa_compiler.diagnostics import Diagnostic
from stoa_compiler.reports.fingerprints import fingerprints
from stoa_compiler.source import SourceFile
from tests.compiler.reports.reporting import ERROR, WARNING, files_of, source, span_of

TEXT = "spec:\n  groups:\n    owners:\n      roles: [x]\n    readers:\n      roles: [x]\n"


def names(file: SourceFile, *found: Diagnostic) -> list[str]:
    return fingerprints(found, files_of(file))


def both(file: SourceFile) -> list[Diagnostic]:
    return [Diagnostic(ERROR, span_of(file, "[x]", nth), f"message {nth}, line {nth}") for nth in (0, 1)]


@given(st.lists(st.sampled_from(["# a comment", "", "  # ${x}", "other: 1"]), max_size=5))
def test_lines_above_change_nothing(above: list[str]) -> None:
    file, moved = source(TEXT), source("".join(f"{line}\n" for line in above) + TEXT)
    assert names(file, *both(file)) == names(moved, *both(moved))


def test_a_finding_keeps_its_name_when_an_equal_one_elsewhere_goes() -> None:
    """Both mark the same words; the keys above them tell one from the other."""
    file = source(TEXT)
    first, second = both(file)
    assert names(file, second) == [names(file, first, second)[1]]


def test_the_message_is_no_part() -> None:
    file = source(TEXT)
    spoken = [Diagnostic(ERROR, span_of(file, "[x]"), text) for text in ("stands twice, in lines 4 and 6", "else")]
    assert names(file, spoken[0]) == names(file, spoken[1])


def test_rule_file_and_words_are_parts() -> None:
    file, other = source(TEXT), source(TEXT, "tenants/acme/plans/b.yaml")
    changed = source(TEXT.replace("[x]", "[y]"))
    found = {
        *names(file, Diagnostic(ERROR, span_of(file, "[x]"), "m")),
        *names(file, Diagnostic(WARNING, span_of(file, "[x]"), "m")),
        *names(other, Diagnostic(ERROR, span_of(other, "[x]"), "m")),
        *names(changed, Diagnostic(ERROR, span_of(changed, "[y]"), "m")),
        *names(file, Diagnostic(ERROR, span_of(file, "[x]", 1), "m")),
    }
    assert len(found) == 5


def test_equal_findings_are_told_apart() -> None:
    file = source(TEXT)
    one = Diagnostic(ERROR, span_of(file, "[x]"), "one")
    two = Diagnostic(ERROR, span_of(file, "[x]"), "two")
    assert len(set(names(file, one, two, one))) == 3
