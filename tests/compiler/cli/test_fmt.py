"""`stoa fmt`: files on disk."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli import main

BASE = Path(__file__).parents[2] / "bad" / "base"
REST = "metadata: {name: gold, tenant: umbra}\nspec: {displayName: Gold, rate: 5/second}\n"
UNTIDY = "# Gold.\nkind: Plan\napiVersion:   gostoa.dev/v2\n" + REST
TIDY = "# Gold.\napiVersion: gostoa.dev/v2\nkind: Plan\n" + REST


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(BASE, tmp_path / "tenants")
    monkeypatch.chdir(tmp_path)
    return Path("tenants")


def fmt(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["fmt", *arguments])


def test_canonical_files_are_not_touched(source: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in source.rglob("*.yaml")}
    result = fmt()
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "9 documents, 0 laid out\n")
    assert before == {p: p.stat().st_mtime_ns for p in source.rglob("*.yaml")}


def test_a_file_is_laid_out_and_keeps_its_mode(source: Path) -> None:
    plan = source / "umbra/plans/gold.yaml"
    plan.write_text(UNTIDY, encoding="utf-8")
    plan.chmod(0o640)
    result = fmt()
    assert (result.exit_code, result.stdout) == (0, "tenants/umbra/plans/gold.yaml\n")
    assert plan.read_text(encoding="utf-8") == TIDY
    assert plan.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in plan.parent.iterdir()] == ["gold.yaml"]
    assert fmt().stdout == ""


def test_check_lists_and_diff_shows_and_neither_writes(source: Path) -> None:
    plan = source / "umbra/plans/gold.yaml"
    plan.write_text(UNTIDY, encoding="utf-8")
    result = fmt("--check")
    assert (result.exit_code, result.stdout) == (1, "tenants/umbra/plans/gold.yaml\n")
    assert result.stderr == "9 documents, 1 would be laid out\n"
    result = fmt("--diff")
    assert result.exit_code == 1
    assert result.stdout.startswith("--- a/tenants/umbra/plans/gold.yaml\n+++ b/tenants/umbra/plans/gold.yaml\n@@")
    assert "\n-apiVersion:   gostoa.dev/v2\n" in result.stdout
    assert plan.read_text(encoding="utf-8") == UNTIDY


def test_what_is_not_well_formed_is_reported_and_the_rest_is_laid_out(source: Path) -> None:
    (source / "acme/plans/basic.yaml").write_text("a: [1\n", encoding="utf-8")
    plan = source / "umbra/plans/gold.yaml"
    plan.write_text(UNTIDY, encoding="utf-8")
    result = fmt()
    assert result.exit_code == 1
    assert "tenants/acme/plans/basic.yaml:1:4: error[STOA101]" in result.stderr
    assert plan.read_text(encoding="utf-8") == TIDY
    assert (source / "acme/plans/basic.yaml").read_text(encoding="utf-8") == "a: [1\n"


def test_pinned_descriptions_are_never_touched(source: Path) -> None:
    before = (source / "umbra/sources/lamps.yaml").read_bytes()
    (source / "umbra/sources/lamps.yaml").write_bytes(before + b"\n\n\n")
    assert fmt().exit_code == 0
    assert (source / "umbra/sources/lamps.yaml").read_bytes() == before + b"\n\n\n"


def test_many_files_give_the_same_with_any_number_of_processes(source: Path) -> None:
    for number in range(80):
        (source / f"acme/plans/p{number}.yaml").write_text(UNTIDY, encoding="utf-8")
    one, two = fmt("--check", "--jobs", "1"), fmt("--check", "--jobs", "2")
    assert one.stdout == two.stdout
    assert one.stdout.count("\n") == 80
