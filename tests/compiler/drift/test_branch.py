"""`stoa drift --repo` on real bare repositories: equal right after a publish, and each change on the branch by name."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compiler.drift.command import drift as command
from tests.compiler.sources import stoa
from tests.compiler.test_publish import made, run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    files = {
        "mcp/manifest.json": '{"a": 1, "b": [1, 2]}\n',
        "a/x.yaml": "x: 1\ny: {z: 2}\n---\nw: 3\n",
        "a/y.yaml": "y: 1\n",
        "notes.txt": "hello\n",
    }
    return made(tmp_path / "bundle", files)


@pytest.fixture
def remote(tmp_path: Path, bundle: Path) -> Path:
    """A repository that the bundle was published to."""
    folder = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(folder)], check=True)
    done = stoa("publish", str(bundle), "--repo", str(folder), "--branch", "rendered", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    return folder


def drift(bundle: Path, remote: Path | str, *more: str) -> tuple[int, Any, str]:
    options = (str(bundle), "--repo", str(remote), "--branch", "rendered", *more)
    done = command(*options, "--format", "json")
    text = command(*options)
    assert text.exit_code == done.exit_code
    return done.exit_code, json.loads(done.stdout)["systems"][0] if done.stdout else None, text.stdout + text.stderr


def pushed(tmp_path: Path, remote: Path) -> Path:
    """A clone whose changes `push` brings to the branch."""
    clone = tmp_path / "clone"
    run(tmp_path, "clone", "--quiet", "--branch", "rendered", str(remote), str(clone))
    return clone


def push(clone: Path) -> None:
    run(clone, "add", "--all")
    run(clone, "-c", "user.name=x", "-c", "user.email=x@example.test", "commit", "--quiet", "-m", "by hand")
    run(clone, "push", "--quiet")


def test_equal_right_after_a_publish(bundle: Path, remote: Path) -> None:
    code, system, text = drift(bundle, remote)
    assert (code, system["state"], system["objects"], system["differences"]) == (0, "equal", 5, [])
    assert f"branch {remote} rendered:prod: equal (5 objects)" in text


def test_each_change_by_hand_is_named(tmp_path: Path, bundle: Path, remote: Path) -> None:
    clone = pushed(tmp_path, remote)
    folder = clone / "prod"
    (folder / "mcp/manifest.json").write_text('{"b": [2, 1], "a": 7, "c": true}\n')
    (folder / "a/x.yaml").write_text("x: 1\ny:\n  z: 2\n---\nw: 3\n")  # The same values.
    (folder / "a/y.yaml").unlink()
    (folder / "added\x1b[2J.yaml").write_text("evil: true\n")
    (folder / "notes.txt").unlink()
    (folder / "notes.txt").symlink_to("/etc/passwd")
    (clone / "elsewhere.txt").write_text("not ours\n")
    push(clone)
    code, system, text = drift(bundle, remote)
    assert code == 1
    assert [(d["kind"], d["object"], [(f["path"], f["live"], f["declared"]) for f in d["fields"]]) for d in
            system["differences"]] == [
        ("changed", "a/x.yaml", []),
        ("missing", "a/y.yaml", []),
        ("extra", "added\\x1b[2J.yaml", []),
        ("changed", "mcp/manifest.json", [("a", 7, 1), ("c", True, None)]),
        ("changed", "notes.txt", []),
    ]  # fmt: skip
    assert "\x1b" not in text
    assert "~ a/x.yaml (its values are the same, and its bytes are not)" in text
    assert "~ notes.txt (its mode is 120000 on the branch: no plain file)" in text
    assert "root:" not in text


def test_a_branch_that_is_not_there_is_a_difference_and_a_repository_is_not(bundle: Path, remote: Path) -> None:
    done = command(str(bundle), "--repo", str(remote), "--branch", "other")
    assert (done.exit_code, "the repository has no such branch" in done.stdout) == (1, True)
    code, system, text = drift(bundle, remote.with_name("gone.git"))
    assert (code, system["state"]) == (3, "unreachable")
    assert "cannot be read" in text
    code, system, text = drift(bundle, "https://me:pa55word@127.0.0.1:9/x.git")
    assert (code, "pa55word" in text + json.dumps(system)) == (3, False)


def test_a_hooks_surroundings_lead_nowhere_else(tmp_path: Path, bundle: Path, remote: Path) -> None:
    other = tmp_path / "other.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(other)], check=True)
    done = command(str(bundle), "--repo", str(remote), "--branch", "rendered", GIT_DIR=str(other))
    assert done.exit_code == 0, done.stdout + done.stderr
    assert not list((other / "refs").rglob("tip"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "name a system"),
        (["--repo", "x"], "given together"),
        (["--context", "x", "--repo", "x", "--branch", "y"], "are of `--kubernetes`"),
        (["--repo", "--upload-pack=x", "--branch", "y"], "is no URL and no path"),
        (["--repo", "ext::sh -c x", "--branch", "y"], "is no URL and no path"),
        (["--repo", "x", "--branch", "../y"], "is no name of a branch"),
        (["--kubernetes"], "holds no manifests"),
        (["--keycloak", "https://id.example.test"], "holds no realm"),
        (["--keycloak", "https://a:b@id.example.test"], "secrets are given by files or variables"),
        (["--runtime", "http://mcp.example.test"], "in the clear"),
        (["--runtime", "https://mcp.example.test"], "the runtime needs a token"),
        (["--runtime", "http://[x"], "not well formed"),
    ],
)
def test_wrong_use_is_a_sentence(bundle: Path, options: list[str], words: str) -> None:
    done = command(str(bundle), *options)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr


def test_a_bundle_that_is_not_whole_is_refused(bundle: Path, remote: Path) -> None:
    (bundle / "a/y.yaml").write_text("y: 2\n")
    done = command(str(bundle), "--repo", str(remote), "--branch", "rendered")
    assert (done.exit_code, "is not what its digest names" in done.stderr) == (2, True)
