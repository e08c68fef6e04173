"""Where `stoa check` and `stoa compile` put the findings, and in which forms."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stoa_compiler.cli.session import FORMS as NAMES
from stoa_compiler.reports import FORMS
from tests.bad.corpus import BASE

PLAN = "tenants/acme/plans/basic.yaml"


def stoa(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from stoa_compiler.cli import run; run()", *arguments]
    return subprocess.run(
        command, cwd=folder, env={"PATH": "", **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    shutil.copytree(BASE, tmp_path / "tenants")
    return tmp_path


@pytest.fixture
def bad(good: Path) -> Path:
    """A source with one error."""
    plan = good / PLAN
    plan.write_text(plan.read_text().replace("10/second", "10/s"))
    return good


def test_names_of_forms_are_known_without_loading_them() -> None:
    assert tuple(FORMS) == NAMES


@pytest.mark.parametrize("command", [("check",), ("compile", "--env", "prod", "--out", "out")])
def test_forms_on_stdout(bad: Path, command: tuple[str, ...]) -> None:
    for form in NAMES:
        done = stoa(bad, *command, "--format", form)
        assert done.returncode == 1
        said, silent = (done.stderr, done.stdout) if form == "text" else (done.stdout, done.stderr)
        assert silent == ""
        assert "STOA205" in said
        assert "basic.yaml" in said
    assert not (bad / "out").exists()


@pytest.mark.parametrize("command", [("check",), ("compile", "--env", "prod", "--out", "out")])
def test_one_run_gives_text_and_reports(bad: Path, command: tuple[str, ...]) -> None:
    reports = [f"--report={form}={form}.out" for form in NAMES]
    done = stoa(bad, *command, *reports)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{PLAN}:8:9: error[STOA205]: `10/s` is not well formed\n" in done.stderr
    assert done.stderr.endswith("\n1 error in 1 file; `stoa explain STOA205` tells more\n")
    for form in NAMES:
        alone = stoa(bad, *command, "--format", form)
        assert (bad / f"{form}.out").read_text() == (
            done.stderr.rpartition("\n1 error")[0] if form == "text" else alone.stdout
        )


def test_output_takes_the_form_and_leaves_the_text(bad: Path) -> None:
    done = stoa(bad, "check", "--format", "json", "--output", "findings.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error[STOA205]" in done.stderr
    assert json.loads((bad / "findings.json").read_bytes())["errors"] == 1


def test_reports_of_a_good_source_are_there_and_empty(good: Path) -> None:
    reports = ["--report", "gitlab=gl.json", "--report", "sarif=a.sarif", "--report", "junit=junit.xml"]
    done = stoa(good, "compile", "--env", "prod", "--out", "out", "--format", "json", *reports)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["documents"] == 9
    assert json.loads((good / "gl.json").read_bytes()) == []
    assert json.loads((good / "a.sarif").read_bytes())["runs"][0]["results"] == []
    assert 'failures="0"' in (good / "junit.xml").read_text()
    assert stoa(good, "check", "--format", "gitlab").stdout == "[]\n"
    quiet = stoa(good, "compile", "--env", "prod", "--out", "out", "--format", "gitlab")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "[]\n", "")


def test_warnings_are_said_beside_a_summary_for_machines(good: Path) -> None:
    contract = good / "tenants/acme/contracts/orders.yaml"
    contract.write_text(contract.read_text().replace("status: published", "status: draft"))
    done = stoa(good, "compile", "--env", "prod", "--out", "out", "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["changed"] is True
    assert "warning[STOA464]" in done.stderr


@pytest.mark.parametrize("value", ["gitlab", "gitlab=", "=x", "xml=x.xml", "text"])
def test_a_report_without_format_or_file_is_wrong_use(good: Path, value: str) -> None:
    done = stoa(good, "check", "--report", value)
    assert done.returncode == 2
    assert "is not FORMAT=FILE" in done.stderr


def test_a_report_that_cannot_be_written_is_said(bad: Path) -> None:
    done = stoa(bad, "check", "--report", "gitlab=no/such/folder/gl.json")
    assert done.returncode == 3
    assert "error[STOA205]" in done.stderr
    assert done.stderr.endswith(
        "error: the report `no/such/folder/gl.json` cannot be written: No such file or directory\n"
    )


def test_limit(good: Path) -> None:
    tenant = good / "tenants/acme/tenant.yaml"
    tenant.write_text(tenant.read_text() + "".join(f"  unknown{n}: 1\n" for n in range(50)))
    assert stoa(good, "check").stderr.count("error[STOA201]") == 20
    assert "tenants/acme/tenant.yaml: 30 more of STOA201; `--limit 0` shows all\n" in stoa(good, "check").stderr
    assert "\n50 errors in 1 file" in stoa(good, "check").stderr
    assert stoa(good, "check", "--limit", "0").stderr.count("error[STOA201]") == 50
    assert len(json.loads(stoa(good, "check", "--format", "json").stdout)["diagnostics"]) == 50


def test_color(bad: Path) -> None:
    plain, forced = stoa(bad, "check").stderr, stoa(bad, "check", FORCE_COLOR="1").stderr
    assert "\x1b[" not in plain
    assert "\x1b[1;31merror[STOA205]\x1b[0m" in forced
    assert stoa(bad, "check", FORCE_COLOR="1", NO_COLOR="1").stderr == plain
    assert "\x1b[" not in stoa(bad, "check", "--format", "json", FORCE_COLOR="1").stdout
