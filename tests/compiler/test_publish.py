"""Publishing to real bare repositories: one commit a change, nothing forced, nothing outside the folder."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler.publish import NotPublished, Place, Unsound, publish, source_commit
from stoa_schemas import bundle

STOA = Path(sys.executable).with_name("stoa")
AUTHOR = {"GIT_AUTHOR_NAME": "Art3mis", "GIT_AUTHOR_EMAIL": "art3mis@ioi.example"}


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def made(folder: Path, files: dict[str, str], platform: str = "stoa") -> Path:
    """A bundle that is whole."""
    artifacts = []
    for path, text in sorted(files.items()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        data = text.encode()
        artifacts.append(
            bundle.Artifact(path=path, media_type="text/plain", sha256=bundle.sha256(data), bytes=len(data))
        )
    manifest = next((a.sha256 for a in artifacts if a.path == bundle.RUNTIME_MANIFEST), None)
    listing = bundle.Bundle(
        compiler="0", platform=platform, environment="prod", development=False, digest=manifest, artifacts=artifacts
    )
    (folder / bundle.BUNDLE_FILE).write_bytes(listing.encode())
    return folder


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(folder)], check=True)
    return folder


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return made(tmp_path / "one", {"mcp/manifest.json": "{}", "a/x.yaml": "x: 1\n", "a/y.yaml": "y: 1\n"})


def files_on(remote: Path, branch: str = "rendered") -> dict[str, str]:
    names = run(remote, "ls-tree", "-r", "--name-only", branch).splitlines()
    return {name: run(remote, "show", f"{branch}:{name}") for name in names}


def seed(remote: Path, tmp_path: Path, files: dict[str, str], links: dict[str, str] | None = None) -> None:
    """Something that is on the branch already."""
    work = tmp_path / "seed"
    run(tmp_path, "init", "--quiet", str(work))
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    for name, target in (links or {}).items():
        (work / name).symlink_to(target)
    run(work, "add", "--all")
    run(work, "-c", "user.name=x", "-c", "user.email=x@x.example", "commit", "--quiet", "-m", "before")
    run(work, "push", "--quiet", str(remote), "HEAD:refs/heads/rendered")


def test_one_commit_for_each_change_and_none_without(remote: Path, one: Path, tmp_path: Path) -> None:
    place = Place(str(remote), "rendered", "prod")
    first = publish(one, place)
    assert (first.pushed, first.summary) == (True, "4 added")
    again = publish(one, place)
    assert (again.pushed, again.commit) == (False, first.commit)
    two = made(tmp_path / "two", {"mcp/manifest.json": "{}", "a/x.yaml": "x: 2\n", "b/z.yaml": "z\n"})
    second = publish(two, place)
    assert second.summary == "1 added, 2 changed, 1 removed"
    assert run(remote, "rev-list", "--count", "rendered") == "2"
    assert sorted(files_on(remote)) == ["prod/a/x.yaml", "prod/b/z.yaml", "prod/bundle.json", "prod/mcp/manifest.json"]
    message = run(remote, "show", "--no-patch", "--format=%B", "rendered")
    digest = bundle.sha256(b"{}")
    assert message.splitlines() == [
        "stoa prod: 1 added, 2 changed, 1 removed",
        "",
        "changed a/x.yaml",
        "removed a/y.yaml",
        "added b/z.yaml",
        "changed bundle.json",
        "",
        f"Bundle-Digest: {digest}",
    ]


def test_what_else_is_on_the_branch_stays(remote: Path, one: Path, tmp_path: Path) -> None:
    seed(remote, tmp_path, {"README.md": "ours\n", "staging/bundle.json": "{}", "production/x": "x"})
    publish(one, Place(str(remote), "rendered", "prod"))
    found = files_on(remote)
    assert {k: v for k, v in found.items() if not k.startswith("prod/")} == {
        "README.md": "ours",
        "staging/bundle.json": "{}",
        "production/x": "x",
    }


def test_what_somebody_put_into_the_folder_is_gone(remote: Path, one: Path, tmp_path: Path) -> None:
    publish(one, Place(str(remote), "rendered", "prod"))
    work = tmp_path / "work"
    run(tmp_path, "clone", "--quiet", "--branch", "rendered", str(remote), str(work))
    (work / "prod" / "a" / "role.yaml").write_text("kind: ClusterRole\n")
    run(work, "add", "--all")
    run(work, "-c", "user.name=x", "-c", "user.email=x@x.example", "commit", "--quiet", "-m", "in between")
    run(work, "push", "--quiet", "origin", "HEAD:rendered")
    assert publish(one, Place(str(remote), "rendered", "prod")).summary == "1 removed"
    assert "prod/a/role.yaml" not in files_on(remote)


def test_a_folder_that_is_no_bundle_is_left_alone(remote: Path, one: Path, tmp_path: Path) -> None:
    seed(remote, tmp_path, {"prod/notes.txt": "mine"})
    with pytest.raises(NotPublished, match="no bundle"):
        publish(one, Place(str(remote), "rendered", "prod"))
    assert sorted(files_on(remote)) == ["prod/notes.txt"]


@pytest.mark.parametrize("path", ["prod", "prod/deeper"])
def test_a_link_on_the_branch_leads_nowhere(remote: Path, one: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    seed(remote, tmp_path, {"README.md": "x"}, {"prod": str(outside)})
    with pytest.raises(NotPublished, match="no folder"):
        publish(one, Place(str(remote), "rendered", path))
    assert list(outside.iterdir()) == []
    assert run(remote, "rev-list", "--count", "rendered") == "1"


@pytest.mark.parametrize(
    "path", ["..", "../x", "a/../b", "/etc", "a//b", ".git", "a/.GIT/b", "", "a/", "-x/..", "a\n", "x/.", "a\\b"]
)
def test_paths_outside_the_branch_are_refused(path: str) -> None:
    with pytest.raises(NotPublished, match="no folder inside"):
        Place("https://git.stoa.example/x.git", "rendered", path)


@pytest.mark.parametrize("branch", ["-f", "a..b", "+x", "a:b", "refs/../x", "x.lock", "a b", "", "x\n", "/x", "a^"])
def test_odd_branches_are_refused(branch: str) -> None:
    with pytest.raises(NotPublished, match="no name of a branch"):
        Place("https://git.stoa.example/x.git", branch, "prod")


@pytest.mark.parametrize("repository", ["--upload-pack=touch /tmp/x", "ext::sh -c id", "-x"])
def test_repositories_that_run_commands_are_refused(repository: str) -> None:
    with pytest.raises(NotPublished, match="no URL"):
        Place(repository, "rendered", "prod")


def test_links_in_the_bundle_are_refused(remote: Path, one: Path) -> None:
    (one / "a" / "x.yaml").unlink()
    (one / "a" / "x.yaml").symlink_to("/etc/passwd")
    with pytest.raises(Unsound, match="link"):
        publish(one, Place(str(remote), "rendered", "prod"))
    assert run(remote, "for-each-ref") == ""


def test_a_folder_that_is_a_link_is_refused(remote: Path, one: Path, tmp_path: Path) -> None:
    (one / "more").symlink_to(tmp_path)
    with pytest.raises(Unsound, match="`more` is a link"):
        publish(one, Place(str(remote), "rendered", "prod"))


def test_a_bundle_that_is_not_whole_is_refused(remote: Path, one: Path) -> None:
    (one / "a" / "x.yaml").write_text("x: tampered\n")
    with pytest.raises(Unsound, match=r"a/x\.yaml"):
        publish(one, Place(str(remote), "rendered", "prod"))
    assert run(remote, "for-each-ref") == ""


# The source's commit


def committed(folder: Path, text: str, date: str) -> str:
    """A commit of a source repository."""
    if not folder.exists():
        run(folder.parent, "init", "--quiet", str(folder))
    (folder / "platform.yaml").write_text(text)
    run(folder, "add", "--all")
    committer = {"GIT_COMMITTER_NAME": "c", "GIT_COMMITTER_EMAIL": "c@x.example", "GIT_COMMITTER_DATE": date}
    run(folder, "commit", "--quiet", "-m", text, **AUTHOR, **committer, GIT_AUTHOR_DATE=date)
    return run(folder, "rev-parse", "HEAD")


def test_author_and_time_are_those_of_the_source(remote: Path, one: Path, tmp_path: Path) -> None:
    sha = committed(tmp_path / "source", "one", "1700000000 +0200")
    source = source_commit(tmp_path / "source", sha[:10])
    done = publish(one, Place(str(remote), "rendered", "prod"), source)
    said = run(remote, "show", "--no-patch", "--date=raw", "--format=%an|%ae|%ad|%cd|%cn", "rendered")
    assert said == "Art3mis|art3mis@ioi.example|1700000000 +0200|1700000000 +0200|stoa"
    assert f"Source-Commit: {sha}" in run(remote, "show", "--no-patch", "--format=%B", "rendered")
    other = tmp_path / "other.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(other)], check=True)
    assert publish(one, Place(str(other), "rendered", "prod"), source).commit == done.commit


def test_a_slow_job_does_not_bring_back_what_is_older(remote: Path, one: Path, tmp_path: Path) -> None:
    first = committed(tmp_path / "source", "one", "1700000000 +0000")
    second = committed(tmp_path / "source", "two", "1700000100 +0000")
    place = Place(str(remote), "rendered", "prod")
    publish(one, place, source_commit(tmp_path / "source", second))
    two = made(tmp_path / "two", {"mcp/manifest.json": "{}"})
    with pytest.raises(Unsound, match="comes after"):
        publish(two, place, source_commit(tmp_path / "source", first))
    assert publish(two, place, source_commit(tmp_path / "source", first), older=True).pushed


@pytest.mark.parametrize("revision", ["0123456789" * 4, "--all", "HEAD:platform.yaml"])
def test_what_is_no_commit_of_the_source_is_refused(tmp_path: Path, revision: str) -> None:
    committed(tmp_path / "source", "one", "1700000000 +0000")
    with pytest.raises(NotPublished, match="no commit"):
        source_commit(tmp_path / "source", revision)


# Several at once, and remotes that say no


def stoa(*arguments: str, **environment: str) -> tuple[int, Any, str]:
    done = subprocess.run(
        [str(STOA), "publish", *arguments, "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_publishers_at_the_same_time(remote: Path, tmp_path: Path) -> None:
    """Each has its own folder on one branch, which none of them finds: all commits are there, in one line."""
    bundles = [made(tmp_path / f"b{n}", {"mcp/manifest.json": f"{n}", "x": "x" * n}) for n in range(1, 5)]

    def one(n: int) -> tuple[int, Any, str]:
        return stoa(str(bundles[n]), "--repo", str(remote), "--branch", "rendered", "--path", f"env-{n}")

    with ThreadPoolExecutor(len(bundles)) as pool:
        done = list(pool.map(one, range(len(bundles))))
    assert [code for code, _, _ in done] == [0] * len(bundles), done
    assert all(facts["pushed"] for _, facts, _ in done)
    assert run(remote, "rev-list", "--count", "rendered") == str(len(bundles))
    assert run(remote, "rev-list", "--merges", "--count", "rendered") == "0"
    found = files_on(remote)
    for n, folder in enumerate(bundles):
        assert found[f"env-{n}/mcp/manifest.json"] == (folder / "mcp/manifest.json").read_text()


def test_a_branch_that_moves_before_the_push(
    remote: Path, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the fetch and the push of one, the other pushes: the one tries again on the other's commit."""
    from stoa_compiler import publish as module

    place, other = Place(str(remote), "rendered", "prod"), made(tmp_path / "two", {"x": "1"})
    publish(other, Place(str(remote), "rendered", "before"))
    real, moved = module._Repository.push, []

    def push(self: Any, commit: str, where: Place) -> str | None:
        if where.path == "prod" and not moved:
            moved.append(publish(other, Place(str(remote), "rendered", "between")).commit)
        refusal: str | None = real(self, commit, where)
        return refusal

    monkeypatch.setattr(module._Repository, "push", push)
    done = publish(one, place)
    assert (done.pushed, done.attempts) == (True, 2)
    assert run(remote, "rev-parse", "rendered~1") == moved[0]
    assert {n.split("/")[0] for n in files_on(remote)} == {"prod", "before", "between"}


def test_a_hook_that_refuses_is_named_and_not_tried_again(remote: Path, one: Path) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'the branch is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    code, facts, said = stoa(str(one), "--repo", str(remote), "--branch", "rendered")
    assert (code, facts) == (3, None)
    assert "the branch is protected" in said
    assert run(remote, "for-each-ref") == ""


def test_a_repository_that_cannot_be_read_shows_no_password(one: Path) -> None:
    code, _, said = stoa(str(one), "--repo", "http://user:hunter2@127.0.0.1:9/x.git", "--branch", "rendered")
    assert code == 3
    assert "hunter2" not in said
    assert "127.0.0.1:9" in said


def test_a_repository_by_a_relative_path(remote: Path, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(remote.parent)
    code, facts, said = stoa("one", "--repo", remote.name, "--branch", "rendered")
    assert code == 0, said
    assert run(remote, "rev-parse", "rendered") == facts["commit"]


def test_the_folder_is_called_like_the_environment(remote: Path, one: Path) -> None:
    code, facts, _ = stoa(str(one), "--repo", str(remote), "--branch", "rendered", GIT_DIR=str(one))
    assert (code, facts["path"], facts["summary"]) == (0, "prod", "4 added")
    assert run(remote, "rev-parse", "rendered") == facts["commit"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--branch", "-f"], 2),
        (["--branch", "x", "--path", "../y"], 2),
        (["--branch", "x", "--source-commit", "no"], 2),
    ],
)
def test_wrong_use(remote: Path, one: Path, arguments: list[str], code: int) -> None:
    found, facts, said = stoa(str(one), "--repo", str(remote), *arguments)
    assert (found, facts) == (code, None)
    assert said.startswith("error: ")


def test_help_loads_no_git(one: Path) -> None:
    program = """import sys
from stoa_compiler.cli import main
main(['--help'], standalone_mode=False)
print('git' in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
