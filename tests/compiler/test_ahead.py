"""A child that gets ready ahead: what it does is what the command would have done, and it ends with it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stoa_compiler.ahead import begun
from tests.compiler.sources import bare_environment, command_line

sys.path.append(str(Path(__file__).parents[1] / "bench"))

from generate import generate

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or (os.cpu_count() or 1) == 1, reason="such a child is for Linux with several processors"
)


def stoa(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command_line(*words, "--env", "prod"),
        cwd=folder,
        env=bare_environment(XDG_CACHE_HOME=str(folder / "caches"), STOA_NO_CACHE=""),
        capture_output=True,
        text=True,
        check=False,
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source of so many tenants that a child gets ready, compiled once."""
    folder = tmp_path_factory.mktemp("large")
    generate(200, folder / "tenants")
    done = stoa(folder, "compile", "tenants", "--out", "out")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_change_comes_to_what_it_comes_to_without_a_cache(large: Path) -> None:
    plan = large / "tenants" / "t00007" / "contracts" / "orders.yaml"
    before = plan.read_text(encoding="utf-8")
    plan.write_text(before.replace("displayName: ", "displayName: All ", 1), encoding="utf-8")
    done = stoa(large, "compile", "tenants", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert "out: written, " in done.stdout
    assert "out: unchanged, " in stoa(large, "compile", "tenants", "--out", "out").stdout
    assert stoa(large, "compile", "tenants", "--out", "fresh", "--no-cache").returncode == 0
    assert files_of(large / "out") == files_of(large / "fresh")
    plan.write_text(before, encoding="utf-8")


def test_a_mistake_ends_with_its_code_and_words(large: Path) -> None:
    plan = large / "tenants" / "t00007" / "contracts" / "orders.yaml"
    before, held = plan.read_text(encoding="utf-8"), files_of(large / "out")
    plan.write_text(before.replace("displayName: ", "displayname: ", 1), encoding="utf-8")
    found = [stoa(large, "compile", "tenants", "--out", "out", *more) for more in ((), (), ("--no-cache",))]
    assert {(one.returncode, one.stdout, one.stderr) for one in found} == {(1, "", found[-1].stderr)}
    assert "t00007/contracts/orders.yaml" in found[-1].stderr
    assert files_of(large / "out") == held
    plan.write_text(before, encoding="utf-8")


def test_whoever_kills_the_command_kills_the_child(large: Path) -> None:
    environment = bare_environment(XDG_CACHE_HOME=str(large / "other"), STOA_NO_CACHE="")
    words = command_line("compile", "tenants", "--env", "prod", "--out", "killed")
    running = subprocess.Popen(words, cwd=large, env=environment, start_new_session=True)
    time.sleep(0.7)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    for _ in range(200):
        try:
            os.killpg(running.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a process of the command is still there")


def test_a_child_that_nobody_needs_is_gone() -> None:
    ahead = begun(lambda: None)
    assert ahead is not None
    if ahead.is_here:
        ahead.awaited()
        os._exit(1)
    ahead.dismiss()
    with pytest.raises(ProcessLookupError):
        os.kill(ahead.child, 0)


def test_what_is_handed_over_arrives_and_the_code_comes_back() -> None:
    ahead = begun(lambda: None)
    assert ahead is not None
    if ahead.is_here:
        os._exit(7 if ahead.awaited() == b"told" else 1)
    with pytest.raises(SystemExit) as end:
        ahead.hand_over(b"told")
    assert end.value.code == 7
    signal.signal(signal.SIGINT, signal.default_int_handler)
