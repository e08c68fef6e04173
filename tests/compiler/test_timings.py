"""`stoa compile --timings` and `--profile`: what is told of a run. How long anything took is nobody's business here."""

import json
import os
import pstats
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.load import load
from stoa_compiler.timings import slowest
from stoa_compiler.watch import Stopwatch
from tests.compiler.sources import ORDERS, Copy, bare_environment, copy_of_base, stoa

COMPILE = ("compile", "--env", "prod", "--out", "out", "--timings")
PHASES = ["recall", "import", "load", "parse", "validate", "link", "check"]
TARGETS = ["mcp", "helm", "keycloak"]


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path)


def rows(text: str) -> list[str]:
    """The names in the table's first column."""
    table = text[text.index("phase ") :].split("\n\n")[0].splitlines()
    return [line[:20].rstrip() for line in table[1:]]


def test_the_text_has_every_phase_and_every_target(source: Copy, tmp_path: Path) -> None:
    done = stoa(*COMPILE, "--no-cache", cwd=tmp_path)
    assert done.returncode == 0
    assert "phase" not in done.stdout
    found = rows(done.stderr)
    assert found[:7] == PHASES
    for part in ("emit", "verify"):
        assert [row for row in found if row.startswith(part)] == [f"{part} {target}" for target in TARGETS]
    assert found[-3:-1] == ["write", "whole command"]
    documents = done.stderr.split("slowest documents")[1].split("\n\n")[0].splitlines()[1:]
    listed = {line.split()[-1] for line in documents}
    assert listed == {f"tenants/{place.file.path}" for place in load(source.root, Report()).placed}
    assert done.stderr.endswith("cache: not used\n")


def test_json_has_the_same_in_the_summary(source: Copy, tmp_path: Path) -> None:
    command = (*COMPILE, "--cache", "cache", "--format", "json")
    first = json.loads(stoa(*command, cwd=tmp_path, STOA_NO_CACHE="").stdout)
    told = first["timings"]
    assert [lap["phase"] for lap in told["phases"]][:7] == PHASES
    assert [lap["target"] for lap in told["phases"] if lap["phase"] == "emit"] == TARGETS
    numbers = {"milliseconds", "cpuMilliseconds", "peakBytes"}
    assert all(isinstance(lap[key], int | float) and lap[key] >= 0 for lap in told["phases"] for key in numbers)
    assert {s["path"] for s in told["slowest"]} >= {"tenants/platform.yaml", f"tenants/{ORDERS}"}
    sizes = {s["path"]: s["bytes"] for s in told["slowest"]}
    assert sizes[f"tenants/{ORDERS}"] == len((source.root / ORDERS).read_bytes())
    assert (told["recalled"], told["cache"]["found"]) == (False, 0)
    assert told["cache"]["kept"] > 0
    again = json.loads(stoa(*command, cwd=tmp_path, STOA_NO_CACHE="").stdout)
    assert (again["changed"], again["digest"]) == (False, first["digest"])
    assert again["timings"]["recalled"] is True
    assert again["timings"]["cache"]["found"] > 0
    assert "check" not in [lap["phase"] for lap in again["timings"]["phases"]]
    assert again["timings"]["slowest"] == []


def test_a_summary_without_the_option_has_no_timings(source: Copy, tmp_path: Path) -> None:
    done = stoa(*COMPILE[:-1], "--format", "json", cwd=tmp_path)
    assert "timings" not in json.loads(done.stdout)
    assert done.stderr == ""


def test_a_source_with_errors_has_timings_up_to_them(source: Copy, tmp_path: Path) -> None:
    source.change(ORDERS, "method: GET", "method: GOT")
    done = stoa(*COMPILE, "--no-cache", cwd=tmp_path)
    assert done.returncode == 1
    assert rows(done.stderr)[:7] == PHASES
    assert "emit mcp" not in rows(done.stderr)
    form = stoa(*COMPILE, "--no-cache", "--format", "json", cwd=tmp_path)
    assert json.loads(form.stdout)["diagnostics"]
    assert rows(form.stderr)[:7] == PHASES


def test_the_slowest_documents_tell_which_are_not_plain(source: Copy) -> None:
    source.change(ORDERS, "displayName: Orders", 'displayName: "\\x4frders"')
    found = slowest(load(source.root, Report()).placed, count=100)
    assert {s.path.rpartition("tenants/")[2] for s in found if not s.plain} == {ORDERS}
    assert [s.seconds for s in found] == sorted((s.seconds for s in found), reverse=True)


def test_a_profile_is_one_that_pstats_reads(source: Copy, tmp_path: Path) -> None:
    done = stoa(*COMPILE[:-1], "--no-cache", "--profile", "run.pstats", cwd=tmp_path)
    assert done.returncode == 0
    stats = pstats.Stats(str(tmp_path / "run.pstats"))
    functions = {(Path(file).name, name) for file, _, name in vars(stats)["stats"]}
    assert {("pipeline.py", "compiled"), ("link.py", "link"), ("write.py", "write")} <= functions


def test_a_profile_that_cannot_be_written_is_told_before_anything_is_done(source: Copy, tmp_path: Path) -> None:
    done = stoa(*COMPILE[:-1], "--profile", "nowhere/run.pstats", cwd=tmp_path)
    assert done.returncode == 3
    assert "the profile `nowhere/run.pstats` cannot be written: No such file or directory" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_phase_that_fails_has_its_lap() -> None:
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch.phase("emit", "mcp"):
        _ = 1 / 0
    assert [(lap.phase, lap.target) for lap in watch.laps] == [("emit", "mcp")]


HASTY = (
    "import stoa_compiler.watch as watch\n"
    "watch.SHOWN_AFTER = watch.SHOWN_EVERY = 0.005\n"
    "from stoa_compiler.cli import run\n"
    "run()"
)
"""The command line, which thinks after 5 ms that it takes long."""


def on_a_terminal(*arguments: str, cwd: Path, **environment: str) -> bytes:
    """What stands on the terminal that is the command's stderr."""
    ours, its = pty.openpty()
    command = [sys.executable, "-c", HASTY, *arguments]
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=bare_environment(**{"TERM": "xterm", **environment}),
        stdout=subprocess.DEVNULL,
        stderr=its,
    )
    os.close(its)
    seen = _read_to_end(ours)
    assert process.wait() == 0
    return seen


def _read_to_end(descriptor: int) -> bytes:
    parts = []
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:
            part = b""  # Linux' way to say that nobody holds the other end.
        if not part:
            os.close(descriptor)
            return b"".join(parts)
        parts.append(part)


@pytest.mark.parametrize("arguments", [("check",), ("compile", "--env", "prod", "--out", "out")])
def test_a_long_run_says_on_a_terminal_where_it_is(source: Copy, tmp_path: Path, arguments: Sequence[str]) -> None:
    seen = on_a_terminal(*arguments, "--no-cache", cwd=tmp_path)
    shown = [part for part in seen.split(b"\r\x1b[K") if part]
    assert shown
    assert all(b" ... " in part and part.endswith(b" s") for part in shown)
    assert seen.endswith(b"\r\x1b[K"), "the last thing done is to clear the line"
    assert on_a_terminal(*arguments, "--no-cache", cwd=tmp_path, TERM="dumb") == b""


def test_nothing_is_shown_where_stderr_is_no_terminal(source: Copy, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HASTY, "check", "--no-cache"],
        cwd=tmp_path,
        env=bare_environment(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
