"""Each rule, broken once: the exact text that an author sees."""

import shutil
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.pipeline import read
from stoa_compiler.rules import RULES
from tests.bad.corpus import (
    BASE,
    BASE_V2,
    CASES,
    CHANGES,
    DAMAGES,
    IMPORTS,
    MADE,
    MADE_V2,
    damage_of,
    damaged_source,
    files_of,
    found_after,
    found_by_change,
    found_by_import,
    found_in,
    source_of,
    text_of,
)


@pytest.mark.parametrize("case", [*CASES, *CHANGES, *DAMAGES, *IMPORTS], ids=lambda c: c.name)
def test_report(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    monkeypatch.chdir(tmp_path)
    if case in DAMAGES:
        found = found_after(damage_of(case), damaged_source(case, Path()))
    elif case in CHANGES:
        found = found_by_change(source_of(case, Path()))
    elif case in IMPORTS:
        found = found_by_import(files_of(case, Path()), Path(shutil.copytree(BASE, "tenants")))
    else:
        found = found_in(source_of(case, Path()))
    text = text_of(found)
    assert case.name.split("-")[0] in {d.rule.code for d in found[0]}, text
    if update_golden:
        (case / "report.txt").write_text(text, encoding="utf-8")
    assert text == (case / "report.txt").read_text(encoding="utf-8")


def test_base_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(BASE, tmp_path / "tenants")
    monkeypatch.chdir(tmp_path)
    found = found_in(Path("tenants"))
    assert found[0] == [], text_of(found)


def test_base_of_the_earlier_form_is_good(tmp_path: Path) -> None:
    found = found_by_import(BASE_V2, Path(shutil.copytree(BASE, tmp_path / "tenants")))
    assert found[0] == [], text_of(found)


def test_every_rule_has_a_case() -> None:
    """A link, a file without end and one that nobody may read are no files to commit: they are made."""
    with_case = {c.name.split("-")[0] for c in (*CASES, *CHANGES, *DAMAGES, *IMPORTS)}
    assert sorted(RULES.keys() - with_case - MADE.keys() - MADE_V2.keys()) == []


def test_findings_stand_inside_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case's findings stand inside the file that they name, at words that are there."""
    for number, case in enumerate(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        source_of(case, folder)
        report = Report()
        checked = read(Path("tenants"), report)
        for d in report.found:
            if d.rule.code in ("STOA001",):
                continue
            lines = checked.source.files[d.span.file].lines
            assert 1 <= d.span.line <= d.span.end_line <= len(lines), case.name
            assert d.span.column <= len(lines[d.span.line - 1]) + 1, case.name
            assert d.span.end_column <= len(lines[d.span.end_line - 1]) + 1, case.name
            assert not d.message.endswith("."), d.message
            assert (d.help or d.rule.help).endswith((".", "?")), d.help
