"""Each rule, broken once: the exact text that an author sees."""

import shutil
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Report, Stop
from stoa_compiler.pipeline import read
from stoa_compiler.pipeline import render as render_bundle
from stoa_compiler.reports import render
from stoa_compiler.rules import RULES

HERE = Path(__file__).parent
CASES = sorted(p.parent for p in HERE.glob("STOA*/in"))


def source_of(case: Path, folder: Path) -> Path:
    """The case's source: `base` with the case's files laid over it, as `folder/tenants`."""
    source = folder / "tenants"
    shutil.copytree(HERE / "base", source)
    shutil.copytree(case / "in", source, dirs_exist_ok=True)
    for mark in sorted(source.rglob("*.REMOVE")):
        gone = mark.with_name(mark.name.removesuffix(".REMOVE"))
        mark.unlink()
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink()
    return source


def report_of(source: Path) -> tuple[Report, str]:
    """What `stoa check` finds, and its text."""
    report = Report()
    checked = read(source, report)
    if checked.graph is not None and not report.errors:
        for environment in checked.graph.platform.spec.environments:
            try:
                render_bundle(checked.graph, environment, report)
            except Stop:
                continue
    return report, render(report.sorted(), checked.source.files)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_report(case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool) -> None:
    source = source_of(case, tmp_path)
    monkeypatch.chdir(tmp_path)
    report, text = report_of(source.relative_to(tmp_path))
    assert case.name.split("-")[0] in {d.rule.code for d in report.found}
    if update_golden:
        (case / "report.txt").write_text(text, encoding="utf-8")
    assert text == (case / "report.txt").read_text(encoding="utf-8")


def test_base_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(HERE / "base", tmp_path / "tenants")
    monkeypatch.chdir(tmp_path)
    report, text = report_of(Path("tenants"))
    assert report.found == [], text


def test_every_rule_has_a_case() -> None:
    """Rules that `verify` finds are mistakes of the compiler: their tests break an emitter on purpose.

    A link, a file without end and one that nobody may read are no files to commit: `test_load.py` makes them.
    """
    with_case = {c.name.split("-")[0] for c in CASES}
    by_verify = {code for code in RULES if code.startswith("STOA6")}
    made_by_tests = {"STOA003", "STOA004", "STOA008"}
    assert sorted(RULES.keys() - with_case - by_verify - made_by_tests) == []


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
            assert d.message[0].islower() or not d.message[0].isalpha(), d.message
            assert not d.message.endswith("."), d.message
            assert (d.help or d.rule.help).endswith((".", "?")), d.help
