"""Whole imports: files in, documents and a report out, compared with what a reviewer has read."""

import shutil
from pathlib import Path

import pytest

from stoa_compiler.source import SourceFile
from stoa_compiler.stoa_v2 import Imported, Wishes, import_stoa_v2
from stoa_compiler.stoa_v2.report import as_markdown
from tests.compiler.stoa_v2.accounted import check_inputs, check_outputs, errors, write

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "bookshop": Wishes(tenant="Bookshop", owner="desk@bookshop.example"),
    "ferry": Wishes(classification="H", backends={"times.ferry.example": "https://new-times.ferry.example/v1"}),
    "strict": Wishes(),
}


def files(case: str) -> list[SourceFile]:
    folder = GOLDEN / case / "in"
    return [SourceFile(p.name, f"in/{p.name}", p.read_bytes()) for p in sorted(folder.iterdir())]


def imported(case: str, root: Path) -> Imported:
    if (GOLDEN / case / "source").exists():
        shutil.copytree(GOLDEN / case / "source", root, dirs_exist_ok=True)
    return import_stoa_v2(files(case), root, CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_documents_and_report(case: str, tmp_path: Path, update_golden: bool) -> None:
    result = imported(case, tmp_path)
    found = dict(result.files)
    if result.platform is not None:
        found["platform.yaml"] = result.platform
    wrong = [f"{d.span}: {d.rule.severity}[{d.rule.code}]: {d.message}\n" for d in result.report.sorted()]
    report = as_markdown(result) + "".join(["\n## Findings\n\n", *(f"- {w}" for w in wrong)] if wrong else [])
    out = GOLDEN / case / "out"
    if update_golden:
        shutil.rmtree(out, ignore_errors=True)
        for path, content in found.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(content)
        (GOLDEN / case / "report.md").write_text(report, "utf-8")
    expected = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*.yaml")}
    assert found == expected
    assert report == (GOLDEN / case / "report.md").read_text("utf-8")


@pytest.mark.parametrize("case", CASES)
def test_documents_compile(case: str, tmp_path: Path) -> None:
    write(imported(case, tmp_path), tmp_path)
    assert errors(tmp_path) == []


@pytest.mark.parametrize("case", CASES)
def test_no_value_is_lost_and_none_made_up(case: str, tmp_path: Path) -> None:
    result = imported(case, tmp_path)
    write(result, tmp_path)
    assert check_inputs(result, tmp_path) > 10
    assert check_outputs(result) > 10
