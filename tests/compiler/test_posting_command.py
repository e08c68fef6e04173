"""`stoa plan --post` as a pipeline calls it, and the template that does."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from stoa_compiler.cli.plan import command
from tests.compiler.fake_gitlab import BOT, JOB, FakeGitLab, gitlab

ROOT = Path(__file__).parents[2]
BASE = ROOT / "tests" / "bad" / "base"
TEMPLATE = ROOT / "gitlab" / "stoa.gitlab-ci.yml"


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sides")
    for side in ("base", "head"):
        shutil.copytree(BASE, folder / side)
    file = folder / "head" / "umbra" / "tenant.yaml"
    text = file.read_text()
    file.write_text(text.replace("displayName: Umbra", 'displayName: "/approve Umbra"'))
    return folder


@pytest.fixture
def server() -> Iterator[FakeGitLab]:
    with gitlab() as running:
        yield running


def plan(sides: Path, environment: dict[str, str]) -> Result:
    blank: dict[str, str | None] = {k: None for k in os.environ if k.startswith(("CI_", "STOA_"))}
    report = sides / "plan.md"
    arguments = [str(sides / "head"), "--base-dir", str(sides / "base"), "--report", f"markdown={report}", "--post"]
    return CliRunner().invoke(command, arguments, env=blank | environment)


def of(server: FakeGitLab, **more: str) -> dict[str, str]:
    return {"CI_API_V4_URL": server.url, "CI_PROJECT_ID": "11", "CI_MERGE_REQUEST_IID": "4"} | more


def test_the_plan_is_posted(sides: Path, server: FakeGitLab) -> None:
    done = plan(sides, of(server, STOA_GITLAB_TOKEN=BOT, CI_JOB_URL="https://gitlab.example/a/-/jobs/1"))
    assert (done.exit_code, done.stderr) == (0, "note 101 of !4: written\n")
    (body,) = server.bodies()
    assert "## STOA plan" in body
    assert "(https://gitlab.example/a/-/jobs/1/artifacts/browse)" in body
    assert not re.search(r"(?m)^\s*/", body)
    assert BOT not in done.output
    assert plan(sides, of(server, STOA_GITLAB_TOKEN=BOT)).stderr == "note 101 of !4: written anew\n"


def test_a_head_that_does_not_compile_is_posted_as_such(sides: Path, server: FakeGitLab, tmp_path: Path) -> None:
    shutil.copytree(sides, tmp_path, dirs_exist_ok=True)
    (tmp_path / "head" / "umbra" / "tenant.yaml").write_text("kind: Tenant\n")
    done = plan(tmp_path, of(server, STOA_GITLAB_TOKEN=BOT))
    assert done.exit_code == 1
    (body,) = server.bodies()
    assert "does not compile" in body


@pytest.mark.parametrize(
    ("missing", "more", "words"),
    [
        ("STOA_GITLAB_TOKEN", {}, "there is no token in STOA_GITLAB_TOKEN"),
        ("STOA_GITLAB_TOKEN", {"CI_JOB_TOKEN": JOB}, "the job's own token may not write notes"),
        ("STOA_GITLAB_TOKEN", {"CI_JOB_TOKEN": "expired"}, "the job's own token may not write notes"),
        ("CI_MERGE_REQUEST_IID", {}, "this is no merge request's pipeline"),
        ("CI_API_V4_URL", {}, "this is no merge request's pipeline"),
    ],
)
def test_where_it_cannot_be_posted_the_artifact_is_left(
    sides: Path, server: FakeGitLab, missing: str, more: dict[str, str], words: str
) -> None:
    (sides / "plan.md").unlink(missing_ok=True)
    environment = of(server, STOA_GITLAB_TOKEN=BOT) | more
    del environment[missing]
    done = plan(sides, environment)
    assert done.exit_code == 0, done.output
    assert f"not posted: {words}" in done.stderr
    assert (sides / "plan.md").read_text().startswith("## STOA plan")
    assert server.notes == []


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"STOA_GITLAB_TOKEN": "glpat-expired"}, 3, "401 Unauthorized. STOA_GITLAB_TOKEN needs the scope `api`"),
        ({"CI_API_V4_URL": "http://127.0.0.1:9/api/v4"}, 3, "the plan is not posted: `127.0.0.1:9` does not answer"),
        ({"CI_API_V4_URL": "file:///etc/passwd"}, 2, "no http or https URL"),
        ({"CI_MERGE_REQUEST_IID": "4/notes"}, 2, "name no merge request"),
        ({"STOA_GITLAB_TOKEN": "two words"}, 2, "holds what no token can be"),
    ],
)
def test_what_is_set_wrongly_is_a_failure(
    sides: Path, server: FakeGitLab, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], code: int, words: str
) -> None:
    monkeypatch.setattr("stoa_compiler.clients.gitlab.ATTEMPTS", 1)
    environment = of(server, STOA_GITLAB_TOKEN=BOT) | more
    done = plan(sides, environment)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert environment["STOA_GITLAB_TOKEN"] not in done.output
    assert (sides / "plan.md").is_file()


# The template.


def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    head, jobs = yaml.safe_load_all(TEMPLATE.read_text())
    return head["spec"]["inputs"], jobs


def test_every_input_is_used_and_told() -> None:
    inputs, _ = documents()
    text = TEMPLATE.read_text().partition("\n---\n")[2]
    page = (ROOT / "docs" / "gitlab.md").read_text()
    assert {m[1] for m in re.finditer(r"\$\[\[ inputs\.([a-z-]+) \]\]", text)} == inputs.keys()
    for name, of_input in inputs.items():
        assert of_input["description"], name
        assert f"| `{name}` |" in page, name


def test_what_is_installed_is_what_is_released() -> None:
    inputs, _ = documents()
    match = re.search(r"stoa-platform\[([a-z,]+)\]==(\S+)\"", inputs["prepare"]["default"])
    assert match
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert match[2] == project["version"]
    assert set(match[1].split(",")) <= project["optional-dependencies"].keys()


def test_every_job_is_told() -> None:
    _, jobs = documents()
    page = (ROOT / "docs" / "gitlab.md").read_text()
    assert [name for name in jobs if not name.startswith(".") and f"`{name}`" not in page] == []


def test_the_template_is_a_pipeline_of_gitlab(tmp_path: Path) -> None:
    """With every input at its default, it is what GitLab's own schema says."""
    inputs, jobs = documents()

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: filled(v) for k, v in value.items()}
        if isinstance(value, list):
            return [filled(v) for v in value]
        if not isinstance(value, str):
            return value
        whole = re.fullmatch(r"\$\[\[ inputs\.([a-z-]+) \]\]", value)
        if whole:
            return inputs[whole[1]]["default"]
        return re.sub(r"\$\[\[ inputs\.([a-z-]+) \]\]", lambda m: str(inputs[m[1]]["default"]), value)

    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(yaml.safe_dump(filled(jobs)))
    judge = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.gitlab-ci"]
    done = subprocess.run([*judge, "--data-transform", "gitlab-ci", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_merged_is_not_published_by_a_job_that_is_cut_off() -> None:
    _, jobs = documents()
    assert jobs["stoa-publish"]["interruptible"] is False
    assert "$ENVIRONMENT" in jobs["stoa-publish"]["resource_group"]
    assert "--plan plan.json" in " ".join(jobs["stoa-publish"]["script"])
