"""The includable pipeline, run job by job on a sample repository, with a GitLab API on loopback."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoa_compiler.cli import COMMANDS
from tests.compiler.fake_gitlab import BOT, FakeGitLab, gitlab
from tests.engines.gitlab_ci_local import Pipeline, run
from tests.engines.prism import Missing

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
STOA = Path(sys.executable).with_name("stoa")
BASE = ROOT / "tests" / "bad" / "base"
RULES = """\
  reviews:
    owners:
      platform: [harbour/platform]
    rules:
      new-access:
        when: change.code == 'access-gained'
        approvers: [harbour/security]
        reason: New access is looked at by security.
"""
PIPELINE = """\
include:
  - local: gitlab/stoa.gitlab-ci.yml
    inputs:
      environments: [dev, prod]
      codeowners: true
      publish: true
      repository: {rendered}
      drift: true
      drift-options: --repo {rendered} --branch env/$ENVIRONMENT
"""


class Repository:
    """A user's repository, its remote, and the one that bundles go to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rendered = folder / "work", folder / "rendered.git"
        for bare in (folder / "origin.git", self.rendered):
            subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], check=True)
        self.folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", ".")
        self.git("remote", "add", "origin", str(folder / "origin.git"))
        shutil.copytree(BASE, self.folder / "tenants")
        shutil.copytree(ROOT / "gitlab", self.folder / "gitlab")
        with (self.folder / "tenants" / "platform.yaml").open("a") as file:
            file.write(RULES)
        (self.folder / ".gitlab-ci.yml").write_text(PIPELINE.format(rendered=self.rendered))
        (self.folder / ".gitignore").write_text(
            ".gitlab-ci-local/\n.cache/\nbuild/\n*.json\n*.sarif\nplan.md\nstoa-junit.xml\n"
        )
        subprocess.run([str(STOA), "review", "codeowners"], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        self.commit("first")
        self.git("push", "--quiet", "origin", "main")
        self.git("remote", "set-head", "origin", "main")

    def git(self, *command: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@x.example"]
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        done = subprocess.run(["git", *who, *command], cwd=self.folder, capture_output=True, text=True, check=False,
                              env=os.environ | quiet)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGitLab]:
    with gitlab() as running:
        running.groups["harbour/security"] = ["alice"]
        yield running


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, server: FakeGitLab) -> Repository:
    """A repository with an open merge request that gives somebody a tool."""
    made = Repository(tmp_path_factory.mktemp("pipeline"))
    made.git("checkout", "--quiet", "-b", "feature")
    file = made.folder / "tenants" / "umbra" / "tenant.yaml"
    text = file.read_text()
    file.write_text(text.replace("  grants:\n", '  grants:\n    - role: reader\n      tools: ["umbra:*:*"]\n'))
    server.sha = made.commit("readers of umbra")
    server.versions = [{"id": 1, "head_commit_sha": server.sha, "created_at": "2026-11-20T10:00:00Z"}]
    return made


def pipeline(repository: Repository, server: FakeGitLab, source: str, *jobs: str, **more: str) -> Pipeline:
    variables = {"CI_PIPELINE_SOURCE": source, "CI_API_V4_URL": server.url, "CI_PROJECT_ID": "11"}
    variables |= {"STOA_GITLAB_TOKEN": BOT} | more
    if source == "merge_request_event":
        variables |= {"CI_MERGE_REQUEST_IID": "4", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    try:
        return run(repository.folder, variables, *jobs)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def first(repository: Repository, server: FakeGitLab) -> Pipeline:
    """The merge request's pipeline, before anybody approved."""
    return pipeline(repository, server, "merge_request_event")


def test_every_job_of_a_merge_request_runs(first: Pipeline) -> None:
    assert first.jobs == {
        "stoa-check": True,
        "stoa-compile: [dev]": True,
        "stoa-compile: [prod]": True,
        "stoa-plan": True,
        "stoa-gate": False,
    }, first.text
    assert "missing   new-access: 1 of `harbour/security`" in first.of("stoa-gate")
    assert BOT not in first.text


def test_the_note_is_there_once(first: Pipeline, server: FakeGitLab) -> None:
    (body,) = server.bodies()
    assert body.startswith("<!-- stoa:plan ")
    assert "STOA plan: access gained" in body
    assert "New access is looked at by security." in body


def test_reports_are_what_gitlab_reads(first: Pipeline, repository: Repository) -> None:
    assert json.loads((repository.folder / "gl-code-quality-report.json").read_text()) == []
    assert (repository.folder / "stoa-junit.xml").read_text().startswith("<?xml")
    counts = json.loads((repository.folder / "plan.terraform.json").read_text())
    assert counts["create"] >= 1
    assert counts.keys() == {"create", "update", "delete"}
    plan = json.loads((repository.folder / "plan.json").read_text())
    assert sorted(plan["head"]["bundles"]) == ["dev", "prod"]


def test_an_approval_opens_the_gate_and_the_note_stays_one(
    first: Pipeline, repository: Repository, server: FakeGitLab
) -> None:
    server.approve("mallory")
    assert pipeline(repository, server, "merge_request_event", "stoa-gate").jobs == {"stoa-gate": False}
    server.approve("alice")
    again = pipeline(repository, server, "merge_request_event", "stoa-plan", "stoa-gate")
    assert again.jobs == {"stoa-plan": True, "stoa-gate": True}, again.text
    assert len(server.bodies()) == 1


def test_without_a_token_the_plan_is_an_artifact(first: Pipeline, repository: Repository, server: FakeGitLab) -> None:
    before = len(server.asked)
    done = pipeline(repository, server, "merge_request_event", "stoa-plan", STOA_GITLAB_TOKEN="", CI_JOB_TOKEN="")
    assert done.jobs == {"stoa-plan": True}, done.text
    assert "not posted: there is no token in STOA_GITLAB_TOKEN" in done.of("stoa-plan")
    assert (repository.folder / "plan.md").read_text().startswith("## STOA plan")
    assert len(server.asked) == before


def test_what_was_merged_is_published_and_watched(first: Pipeline, repository: Repository, server: FakeGitLab) -> None:
    head, plan = server.sha, (repository.folder / "plan.json").read_bytes()
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "-m", "merge", "feature")
    merge = repository.git("rev-parse", "HEAD")
    unreviewed = pipeline(repository, server, "push", "--needs", "stoa-publish")
    assert not any(passed for job, passed in unreviewed.jobs.items() if job.startswith("stoa-publish"))
    assert "was not reviewed" in unreviewed.text
    server.merged[merge] = [{"iid": 4, "sha": head, "state": "merged"}]
    server.artifacts[("refs/merge-requests/4/head", "stoa-plan", "plan.json")] = plan
    done = pipeline(repository, server, "push")
    assert done.jobs == {
        "stoa-check": True,
        "stoa-compile: [dev]": True,
        "stoa-compile: [prod]": True,
        "stoa-publish: [dev]": True,
        "stoa-publish: [prod]": True,
    }, done.text
    for environment in ("dev", "prod"):
        shown = subprocess.run(
            ["git", "-C", str(repository.rendered), "show", f"env/{environment}:{environment}/bundle.json"],
            capture_output=True, check=True,
        )  # fmt: skip
        assert json.loads(shown.stdout)["environment"] == environment
    nightly = pipeline(repository, server, "schedule")
    assert {j for j in nightly.jobs if j.startswith("stoa-drift")} == {"stoa-drift: [dev]", "stoa-drift: [prod]"}
    assert not any(j.startswith("stoa-publish") for j in nightly.jobs)
    if "drift" in COMMANDS:
        assert all(nightly.jobs.values()), nightly.text
