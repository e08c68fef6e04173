"""`stoa publish --plan`: what is published is what was reviewed, or nothing is."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

STOA = Path(sys.executable).with_name("stoa")
BASE = Path(__file__).parents[1] / "bad" / "base"
LIMIT = "acme/plans/basic.yaml"


class Work:
    """A repository with a source on `main`, and the branch that is published to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.remote = folder / "work", folder / "rendered.git"
        shutil.copytree(BASE, self.folder / "tenants")
        subprocess.run(["git", "init", "--quiet", "--bare", str(self.remote)], check=True)
        self.git("init", "--quiet", "--initial-branch=main", ".")
        self.commit("first")

    def git(self, *command: str) -> str:
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        who = ["-c", "user.name=x", "-c", "user.email=x@x.example"]
        done = subprocess.run(["git", *who, *command], cwd=self.folder, capture_output=True, text=True, check=False,
                              env=os.environ | quiet)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    def stoa(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([STOA, *command], cwd=self.folder, capture_output=True, text=True, check=False)

    def change(self, path: str, old: str, new: str) -> None:
        file = self.folder / "tenants" / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def plan(self, base: str, name: str = "../plan.json") -> None:
        done = self.stoa("plan", "--base", base, "--head", "HEAD", "--exact", "--out", name)
        assert done.returncode == 0, done.stderr

    def compiled(self, environment: str = "prod") -> str:
        out = f"../build-{environment}"
        done = self.stoa("compile", "--env", environment, "--out", out)
        assert done.returncode == 0, done.stderr
        return out

    def publish(self, *options: str, environment: str = "prod") -> tuple[int, str]:
        bundle = self.compiled(environment)
        arguments = ["publish", bundle, "--repo", str(self.remote), "--branch", "rendered", "--source-commit", "HEAD"]
        done = self.stoa(*arguments, *options)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge request that changes a limit on its branch, planned against main."""
    folder = tmp_path_factory.mktemp("reviewed")
    work = Work(folder)
    work.git("checkout", "--quiet", "-b", "feature")
    work.change(LIMIT, "rate: 10/second", "rate: 7/second")
    work.commit("another rate")
    work.plan("main")
    return folder


@pytest.fixture
def work(template: Path, tmp_path: Path) -> Work:
    shutil.copytree(template, tmp_path / "here")
    made = object.__new__(Work)
    made.folder, made.remote = tmp_path / "here" / "work", tmp_path / "here" / "rendered.git"
    return made


PLAN = ("--plan", "../plan.json")


def test_what_was_reviewed_is_published(work: Work) -> None:
    assert work.publish(*PLAN)[0] == 0
    # After a merge with a commit of its own, and in another environment.
    work.git("checkout", "--quiet", "main")
    work.git("merge", "--quiet", "--no-ff", "-m", "merge", "feature")
    assert work.publish(*PLAN, environment="dev")[0] == 0


def test_a_squashed_merge_request_has_the_same_source(work: Work) -> None:
    work.git("checkout", "--quiet", "main")
    work.git("merge", "--quiet", "--squash", "feature")
    work.commit("squashed")
    code, said = work.publish(*PLAN)
    assert code == 0, said


def test_one_more_commit_is_not_what_was_reviewed(work: Work) -> None:
    work.change(LIMIT, "7/second", "70/second")
    work.commit("one more thing")
    code, said = work.publish(*PLAN)
    assert code == 1
    assert "not published: the bundle of `prod` is not the one of the reviewed plan" in said
    assert subprocess.run(["git", "-C", str(work.remote), "branch"], capture_output=True, check=True).stdout == b""


def test_a_bundle_of_a_commit_that_holds_something_else(work: Work) -> None:
    """The bytes are those that were reviewed; the commit is one of another line."""
    work.git("checkout", "--quiet", "main")
    file = work.folder / "tenants" / LIMIT
    file.write_text("# other words\n" + work.git("show", f"feature:tenants/{LIMIT}") + "\n")
    work.commit("the same by hand")
    code, said = work.publish(*PLAN)
    assert code == 1
    assert "neither comes after the reviewed commit" in said


def advanced(work: Work) -> None:
    """Main moves on, and the merge request is merged as it was."""
    work.git("checkout", "--quiet", "main")
    work.change("umbra/tenant.yaml", "displayName: ", "displayName: New ")
    work.commit("somebody else's")
    work.git("merge", "--quiet", "--no-ff", "-m", "merge", "feature")


def test_a_target_that_moved_on_is_refused(work: Work) -> None:
    advanced(work)
    code, said = work.publish(*PLAN)
    assert code == 1
    assert "Where the target branch moved on since" in said


def test_a_target_that_moved_on_is_taken_with_a_plan_that_says_the_same(work: Work) -> None:
    advanced(work)
    work.plan("HEAD^1", "../now.json")
    code, said = work.publish(*PLAN, "--replanned", "../now.json")
    assert code == 0, said


def test_a_merge_that_does_more_is_refused(work: Work) -> None:
    advanced(work)
    work.change("umbra/tenant.yaml", "displayName: New ", "displayName: Newest ")
    work.git("add", "--all")
    work.git("commit", "--quiet", "--amend", "-m", "merge, and more")
    work.plan("HEAD^1", "../now.json")
    code, said = work.publish(*PLAN, "--replanned", "../now.json")
    assert code == 1
    assert "what was merged does what was not reviewed" in said


def test_an_old_branch_does_not_undo_what_was_published_since(work: Work) -> None:
    work.git("checkout", "--quiet", "main")
    work.change("umbra/tenant.yaml", "displayName: ", "displayName: New ")
    work.commit("somebody else's")
    assert work.publish()[0] == 0
    work.git("checkout", "--quiet", "feature")
    code, said = work.publish(*PLAN)
    assert code == 1
    assert "which" in said
    assert "does not hold" in said


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda p: p["head"]["bundles"].clear(), "names no bundle"),
        (lambda p: p["head"]["bundles"].pop("prod"), "has no environment `prod`"),
        (lambda p: p["head"].update(compiles=False), "does not compile"),
        (lambda p: p["head"]["bundles"].update(prod="sha256:" + "0" * 64), "not the one of the reviewed plan"),
        (lambda p: p.pop("head"), "this is no plan"),
        (lambda p: p.update(apiVersion="gostoa.dev/plan/v9"), "this is no plan"),
    ],
)
def test_plans_that_bind_nothing(work: Work, edit: Callable[[dict[str, dict[str, object]]], None], words: str) -> None:
    file = work.folder / PLAN[1]
    plan = json.loads(file.read_text())
    edit(plan)
    file.write_text(json.dumps(plan))
    code, said = work.publish(*PLAN)
    assert code in (1, 2)
    assert words in said


def test_a_plan_is_reviewed_for_a_commit(work: Work) -> None:
    done = work.stoa("publish", work.compiled(), "--repo", str(work.remote), "--branch", "rendered", *PLAN)
    assert (done.returncode, "--source-commit" in done.stderr) == (2, True)


def test_a_branch_that_left_before_a_rule_was_made_is_judged_by_it(work: Work) -> None:
    """Old branches are no way round new rules, nor does their lacking the rule read as its removal."""
    work.git("checkout", "--quiet", "main")
    with (work.folder / "tenants" / "platform.yaml").open("a") as file:
        file.write(
            "  reviews:\n    rules:\n      limits:\n        when: change.section == 'limits'\n"
            "        approvers: [harbour/ops]\n        reason: Who is called at night.\n"
            "      other:\n        when: change.section == 'exposure'\n"
            "        approvers: [harbour/ops]\n        reason: Who is called at night.\n"
        )
    work.commit("a rule")
    work.git("checkout", "--quiet", "feature")
    done = work.stoa("plan", "--base", "main", "--head", "HEAD", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [r["policy"] for r in json.loads(done.stdout)["requirements"]] == ["limits"]
