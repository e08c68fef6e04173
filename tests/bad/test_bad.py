"""Each rule, broken once: the exact text that an author sees."""

import shutil
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Report, Stop, render
from stoa_compiler.pipeline import read
from stoa_compiler.pipeline import render as render_bundle
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
    """Rules that `verify` finds are mistakes of the compiler: their tests break an emitter on purpose."""
    with_case = {c.name.split("-")[0] for c in CASES}
    by_verify = {code for code in RULES if code.startswith("STOA6")}
    assert sorted(RULES.keys() - with_case - by_verify) == []
