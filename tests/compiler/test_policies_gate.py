"""The gate: it opens for the approvals that the rules name, and for nothing else."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli.review import command
from stoa_compiler.plan.approvals import Review, judged, met, review_of
from stoa_compiler.plan.changes import Change, Plan, Requirement, Section, Side
from tests.compiler.fake_gitlab import BOT, HEAD, JOB, FakeGitLab, gitlab

CHANGE = Change(Section.ACCESS, "access-gained", "ioi", "ioi:billing:refund", "`devops` gains `refund`", "gained")
VVH = Requirement("vvh-access", ("acme/security", "zoe"), "Two pairs of eyes.", (CHANGE.id,))


@pytest.fixture
def server() -> Iterator[FakeGitLab]:
    with gitlab() as running:
        running.groups["acme/security"] = ["alice", "bob", "-carol"]
        yield running


def saved(folder: Path, *requirements: Requirement, commit: str = HEAD, compiles: bool = True) -> Path:
    base, head = Side("main", "b" * 40, "tenants", "x"), Side("HEAD", commit, "tenants", "y", compiles)
    file = folder / "plan.json"
    file.write_bytes(Plan(base, head, (CHANGE,), requirements=requirements).to_json())
    return file


def gate(plan: Path, server: FakeGitLab, *options: str, token: str | None = BOT, **more: str) -> Result:
    environment = {"CI_API_V4_URL": server.url, "CI_PROJECT_ID": "11", "CI_MERGE_REQUEST_IID": "4"}
    environment |= {"CI_COMMIT_SHA": HEAD} | ({"STOA_GITLAB_TOKEN": token} if token else {}) | more
    blank: dict[str, str | None] = {k: None for k in os.environ if k.startswith(("CI_", "STOA_"))}
    return CliRunner().invoke(command, ["gate", "--plan", str(plan), *options], env=blank | environment)


def test_without_a_requirement_nobody_is_asked(server: FakeGitLab, tmp_path: Path) -> None:
    done = gate(saved(tmp_path), server, token=None)
    assert (done.exit_code, done.output) == (0, "no rule demands an approval\n")
    assert server.asked == []


def test_a_missing_approval_closes_it(server: FakeGitLab, tmp_path: Path) -> None:
    done = gate(saved(tmp_path, VVH), server)
    assert done.exit_code == 1
    assert done.output == (
        "missing   vvh-access: 1 of `acme/security` and `zoe`\n"
        "          Two pairs of eyes.\n"
        "          - `devops` gains `refund`\n"
        "1 approval is missing; run this job again when given\n"
    )


@pytest.mark.parametrize("who", ["alice", "BOB", "zoe"])
def test_a_member_or_a_person_that_is_named_opens_it(server: FakeGitLab, tmp_path: Path, who: str) -> None:
    server.approve(who)
    done = gate(saved(tmp_path, VVH), server)
    assert done.exit_code == 0, done.output
    assert f"approved  vvh-access: 1 of `acme/security` and `zoe`, given by `{who}`" in done.output


def test_a_group_that_the_token_cannot_see_is_told(server: FakeGitLab, tmp_path: Path) -> None:
    del server.groups["acme/security"]
    server.approve("alice")
    done = gate(saved(tmp_path, VVH), server)
    assert done.exit_code == 1
    assert "note: GitLab shows no group `acme/security`, so it is taken for a user name\n" in done.output


@pytest.mark.parametrize(
    ("who", "at", "why"),
    [
        ("mallory", "2026-11-20T11:00:00Z", "is the author"),
        ("Mallory", "2026-11-20T11:00:00Z", "is the author"),
        ("dave", "2026-11-20T11:00:00Z", "is named by no rule that applies"),
        ("carol", "2026-11-20T11:00:00Z", "is named by no rule that applies"),
        ("acme/security", "2026-11-20T11:00:00Z", "is named by no rule that applies"),
        ("alice", "2026-11-20T09:59:59Z", "approved before aaaaaaaaaaaa was pushed"),
        ("alice", None, "approved at a time that GitLab does not tell"),
        ("alice", "yesterday", "approved at a time that GitLab does not tell"),
    ],
)
def test_approvals_that_do_not_count(server: FakeGitLab, tmp_path: Path, who: str, at: str | None, why: str) -> None:
    server.groups["acme/security"].append("mallory")
    server.approve(who, at)
    done = gate(saved(tmp_path, VVH), server)
    assert done.exit_code == 1
    assert f"does not count: `{who}` {why}\n" in done.output


def test_older_gitlab_tells_the_time_in_its_own_notes(server: FakeGitLab, tmp_path: Path) -> None:
    server.approve("alice", None)
    said = "approved this merge request"
    server.add_note(50, said, username="alice", at="2026-11-20T12:00:00Z")  # Anybody can write these words.
    assert gate(saved(tmp_path, VVH), server).exit_code == 1
    server.add_note(50, said, system=True, username="alice", at="2026-11-20T09:00:00Z")
    assert gate(saved(tmp_path, VVH), server).exit_code == 1
    server.add_note(50, said, system=True, username="alice", at="2026-11-20T12:00:00Z")
    assert gate(saved(tmp_path, VVH), server).exit_code == 0


def test_earlier_approvals_count_when_asked_for(server: FakeGitLab, tmp_path: Path) -> None:
    server.approve("alice", "2026-11-20T09:00:00Z")
    assert gate(saved(tmp_path, VVH), server, "--earlier").exit_code == 0
    assert gate(saved(tmp_path, VVH), server).exit_code == 1


def test_a_date_that_the_author_wrote_makes_no_approval_fresh(server: FakeGitLab, tmp_path: Path) -> None:
    """Only GitLab's own clock counts: a head that GitLab never saw pushed has no fresh approval."""
    server.versions = []
    server.approve("alice")
    assert gate(saved(tmp_path, VVH), server).exit_code == 1


def test_a_plan_of_another_commit_is_no_plan(server: FakeGitLab, tmp_path: Path) -> None:
    server.approve("alice")
    done = gate(saved(tmp_path, VVH, commit="c" * 40), server)
    assert (done.exit_code, "plan again" in done.output) == (1, True)
    server.sha = "d" * 40
    done = gate(saved(tmp_path, VVH), server)
    assert (done.exit_code, "by now" in done.output) == (1, True)
    merged = gate(saved(tmp_path, VVH), server, CI_MERGE_REQUEST_SOURCE_BRANCH_SHA="d" * 40)
    assert merged.exit_code == 1
    server.versions.append({"id": 2, "head_commit_sha": "d" * 40, "created_at": "2026-11-20T10:30:00Z"})
    assert gate(saved(tmp_path, VVH), server, CI_MERGE_REQUEST_SOURCE_BRANCH_SHA="d" * 40).exit_code == 0
    assert gate(saved(tmp_path, VVH, compiles=False), server).exit_code == 1


@pytest.mark.parametrize("token", [None, JOB, "glpat-wrong"])
def test_who_may_not_ask_opens_nothing(server: FakeGitLab, tmp_path: Path, token: str | None) -> None:
    server.approve("alice")
    own = {"CI_JOB_TOKEN": JOB} if token == JOB else {}
    done = gate(saved(tmp_path, VVH), server, token=None if own else token, **own)
    assert done.exit_code == 3
    assert "STOA_GITLAB_TOKEN" in done.output
    assert token is None or token not in done.output


def test_rules_that_nobody_can_read_are_met_by_nobody(server: FakeGitLab, tmp_path: Path) -> None:
    server.approve("alice")
    done = gate(saved(tmp_path, Requirement("rules-of-base", (), "Unreadable.", ())), server)
    assert (done.exit_code, "nobody can approve" in done.output) == (1, True)


def test_each_requirement_is_met_by_itself() -> None:
    both = Requirement("two", ("acme/security",), "", (), 2)
    members = {"acme/security": {"alice", "bob"}}
    one = judged([VVH, both], Review(HEAD, "mallory", ("alice", "ALICE"), members.get))
    assert [met(r) for r in one.requirements] == [True, False]
    two = judged([VVH, both], Review(HEAD, "mallory", ("alice", "bob"), members.get))
    assert [(r.given, met(r)) for r in two.requirements] == [(("alice", "bob"), True)] * 2


def told(**more: object) -> dict[str, object]:
    approvals = [{"user": "alice", "groups": ["acme/security"]}, {"user": "mallory", "groups": ["acme/security"]}]
    return {"commit": HEAD, "author": "mallory", "approvals": approvals} | more


def test_a_file_tells_who_approved(server: FakeGitLab, tmp_path: Path) -> None:
    file = tmp_path / "approvals.json"
    file.write_text(json.dumps(told()))
    done = gate(saved(tmp_path, VVH), server, "--approvals", str(file), "--format", "json", token=None)
    assert done.exit_code == 0
    facts = json.loads(done.stdout)
    assert (facts["met"], facts["requirements"][0]["given"]) == (True, ["alice"])
    assert facts["passedOver"] == [{"user": "mallory", "why": "is the author"}]
    file.write_text(json.dumps(told(commit="c" * 40)))
    assert gate(saved(tmp_path, VVH), server, "--approvals", str(file)).exit_code == 1
    file.write_text(json.dumps(told(approvals=[])))
    assert gate(saved(tmp_path, VVH), server, "--approvals", str(file)).exit_code == 1
    assert server.asked == []


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", json.dumps(told(extra=1)).encode(), json.dumps(told(commit="HEAD")).encode(),
                json.dumps(told(approvals=["alice"])).encode(), json.dumps(told(author=None)).encode()],
)  # fmt: skip
def test_a_file_that_says_something_else(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        review_of(content)


def test_the_plan_that_was_reviewed_is_fetched(server: FakeGitLab, tmp_path: Path) -> None:
    merge = "e" * 40
    environment = {"CI_API_V4_URL": server.url, "CI_PROJECT_ID": "11", "CI_COMMIT_SHA": merge, "STOA_GITLAB_TOKEN": BOT}
    out = tmp_path / "fetched.json"

    def fetch() -> Result:
        return CliRunner().invoke(command, ["fetch", "--out", str(out)], env=environment)

    assert (fetch().exit_code, out.exists()) == (1, False)
    one = {"iid": 4, "sha": HEAD, "state": "merged"}
    server.merged[merge] = [one, {"iid": 5, "sha": HEAD, "state": "opened"}]
    assert "left no `plan.json`" in fetch().output
    server.artifacts[("refs/merge-requests/4/head", "stoa-plan", "plan.json")] = b"{}"
    assert fetch().exit_code == 3
    content = saved(tmp_path).read_bytes()
    server.artifacts[("refs/merge-requests/4/head", "stoa-plan", "plan.json")] = content
    assert fetch().exit_code == 0
    assert out.read_bytes() == content
    server.merged[merge] = [one, one | {"iid": 6}]
    assert "more than one" in fetch().output
