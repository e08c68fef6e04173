"""A bundle is written whole or not at all, whatever stops the process."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler import write as write_module
from stoa_compiler.target import Artifact, Joined
from stoa_compiler.write import NotABundle, begun, write
from stoa_schemas.bundle import BUNDLE_FILE, sha256
from tests.compiler.sources import bare_environment


def files(mark: str, count: int = 5, size: int = 10) -> dict[str, Artifact]:
    """A bundle whose every file says which one it is."""
    listing = b'{"apiVersion":"gostoa.dev/bundle/v1","mark":"%s"}\n' % mark.encode()
    contents = {f"mcp/part{i}.json": f"{mark} {i} ".encode() * size for i in range(count)} | {BUNDLE_FILE: listing}
    return {path: Artifact(path, "application/json", content, ()) for path, content in contents.items()}


def there(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def contents(bundle: Mapping[str, Artifact]) -> dict[str, bytes]:
    return {path: bundle[path].content for path in sorted(bundle)}


def test_a_bundle_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert write(files("one", count=7), out)
    assert write(files("two", count=3), out)
    assert there(out) == contents(files("two", count=3))
    assert list(out.parent.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == 0o755


def test_the_same_files_are_not_written_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(files("one"), out)
    before = {p: p.stat().st_ino for p in out.rglob("*")}
    assert not write(files("one"), out)
    assert {p: p.stat().st_ino for p in out.rglob("*")} == before


def large(out: Path) -> dict[str, Artifact]:
    """A bundle with a file that carries the others, which is being written already where that is possible."""
    bundle = files("one", count=3, size=1000)
    pieces = [b"first\n", *bundle.values(), b"last\n"]
    joined = Joined("helm/values.yaml", "application/yaml", pieces, ())
    joined.begin(begun(joined, out))
    return {**bundle, joined.path: joined}


def test_a_file_that_is_begun_is_what_it_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_module, "_LARGE", 0)
    bundle = large(tmp_path / "out")
    joined = bundle["helm/values.yaml"]
    assert isinstance(joined, Joined)
    assert (joined.begun is not None) == (sys.platform == "linux")
    assert list(tmp_path.iterdir()) == []  # It has no name yet.
    assert write(bundle, tmp_path / "out")
    assert there(tmp_path / "out") == contents(bundle)
    assert joined.digest == sha256(joined.content)
    assert (tmp_path / "out" / joined.path).stat().st_mode & 0o777 == 0o666 & ~umask()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert not write(large(tmp_path / "out"), tmp_path / "out")


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("refused", ["open", "write", "link"])
def test_what_cannot_be_begun_is_written_all_the_same(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no files without names, the disk is full meanwhile, or a name cannot be given."""
    monkeypatch.setattr(write_module, "_LARGE", 0)
    plain = getattr(os, refused)

    def refuse(first: Any, *rest: Any, **named: Any) -> Any:
        odd = {
            "open": lambda: bool(rest) and rest[0] & os.O_TMPFILE == os.O_TMPFILE,
            "write": lambda: len(rest[0]) > 1,
            "link": lambda: "src_dir_fd" in named,
        }
        if odd[refused]():
            raise OSError(errno.ENOSPC, "refused")
        return plain(first, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(os, refused, refuse)
        bundle = large(tmp_path / "out")
        assert bundle["helm/values.yaml"].digest == sha256(bundle["helm/values.yaml"].content)
        if refused == "link":
            assert write(bundle, tmp_path / "out")
    if refused != "link":
        assert write(bundle, tmp_path / "out")
    assert there(tmp_path / "out") == contents(bundle)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "mine"),
        (BUNDLE_FILE, '{"name": "a bundle of something else"}'),
        (BUNDLE_FILE, '["gostoa.dev/bundle/v1"]'),
        (BUNDLE_FILE, '{"apiVersion": 1}'),
        (BUNDLE_FILE, "not JSON"),
        (f"{BUNDLE_FILE}/index.js", "x"),
    ],
)
def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path, name: str, content: str) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text(content)
    with pytest.raises(NotABundle):
        write(files("one"), out)
    assert there(out) == {name: content.encode()}
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotABundle):
        write(files("one"), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert write(files("one"), tmp_path / "out")


def test_a_link_to_a_bundle_is_followed_and_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "store" / "real", tmp_path / "out"
    write(files("one"), real)
    link.symlink_to(real)
    assert write(files("two"), link)
    assert link.is_symlink()
    assert there(real) == contents(files("two"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


def test_a_name_full_of_wildcards_sweeps_nothing_else_away(tmp_path: Path) -> None:
    other = tmp_path / ".abc.x.new"
    other.mkdir()
    write(files("one"), tmp_path / "[a-c]*")
    write(files("one"), tmp_path / "*")
    assert other.is_dir()


def test_where_two_folders_cannot_be_exchanged_two_renames_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_module, "_renameat2_exchange", lambda new, old: False)
    out = tmp_path / "out"
    write(files("one"), out)
    write(files("two"), out)
    assert there(out) == contents(files("two"))
    assert list(tmp_path.iterdir()) == [out]


def test_a_disk_that_fills_up_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write(files("one"), out)
    calls = iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(files("two"), out)
    assert there(out) == contents(files("one"))
    assert list(tmp_path.iterdir()) == [out]


# Killed with SIGKILL, which nothing can catch.

CHILD = """
import os, signal, sys
from pathlib import Path
from stoa_compiler import write as module
from stoa_compiler.target import Artifact

mark, out, stop = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
size, count = int(sys.argv[4]), int(sys.argv[5])
listing = b'{"apiVersion":"gostoa.dev/bundle/v1","mark":"%s"}\\n' % mark.encode()
contents = {f"mcp/part{i}.json": f"{mark} {i} ".encode() * size for i in range(count)} | {"bundle.json": listing}
files = {p: Artifact(p, "application/json", c, ()) for p, c in contents.items()}
moments = 0
def count_down(real):
    def step(*arguments):
        global moments
        moments += 1
        if moments == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return step
if stop:
    os.fsync = count_down(os.fsync)
    module._exchange = count_down(module._exchange)
    module.shutil.rmtree = count_down(module.shutil.rmtree)
print("begin", flush=True)
module.write(files, out)
print(moments, flush=True)
"""


def child(mark: str, out: Path, stop: int, size: int = 10, count: int = 5) -> subprocess.Popen[str]:
    """A process that writes a bundle, and kills itself at its `stop`th moment."""
    command = [sys.executable, "-c", CHILD, mark, str(out), str(stop), str(size), str(count)]
    return subprocess.Popen(command, env=bare_environment(), stdout=subprocess.PIPE, text=True)


def test_killed_between_any_two_files_the_old_bundle_stays_whole(tmp_path: Path) -> None:
    """At each moment in turn: after every file, before the exchange, after it, and while the old one is removed."""
    out = tmp_path / "out"
    old, new = contents(files("old")), contents(files("new"))
    seen = set()
    for stop in range(1, 10):
        shutil.rmtree(out, ignore_errors=True)
        write(files("old"), out)
        process = child("new", out, stop)
        process.communicate(timeout=60)
        found = there(out)
        assert found in (old, new), f"torn when killed at moment {stop}"
        seen.add((process.returncode == -signal.SIGKILL, found == new))
        assert write(files("next"), out), "the run after a killed one goes through"
        assert list(tmp_path.iterdir()) == [out], "and sweeps away what was left"
    assert seen >= {(True, False), (True, True)}


def test_killed_at_any_time_the_bundle_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundles = {mark: contents(files(mark, count=40, size=2000)) for mark in ("a", "b")}
    write(files("a", count=40, size=2000), out)
    moments = random.Random(7)
    outcomes = set()
    for attempt in range(12):
        process = child("b" if attempt % 2 == 0 else "a", out, 0, size=2000, count=40)
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.communicate(timeout=60)
        outcomes.add(process.returncode)
        assert there(out) in bundles.values(), f"torn at attempt {attempt}"
    assert write(files("a", count=1), out) or there(out) == contents(files("a", count=1))
    assert list(tmp_path.iterdir()) == [out]


def test_two_runs_at_once_leave_one_of_the_two_bundles(tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundles = {mark: contents(files(mark, count=40, size=2000)) for mark in "abc"}
    for _ in range(3):
        running = [child(mark, out, 0, size=2000, count=40) for mark in "abc"]
        for process in running:
            process.communicate(timeout=120)
            assert process.returncode == 0
        assert there(out) in bundles.values()
        assert list(tmp_path.iterdir()) == [out]
