"""`stoa check` with `--fix`, `--diff` and `--watch`."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stoa_compiler.cli import main
from tests.compiler.sources import PLAN, REPOSITORY, Copy, bare_environment, command_line, copy_of_base


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    monkeypatch.chdir(tmp_path)
    return copy_of_base(tmp_path)


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


def test_fix_mends_and_reports_what_is_left(source: Copy) -> None:
    source.change(PLAN, "displayName: Basic", "display_name: Basic  # the smallest").change(
        PLAN, "rate: 10/second", "rate: ten"
    )
    result = check("--fix")
    assert result.exit_code == 1
    assert "acme/plans/basic.yaml:8:9: error[STOA205]" in result.stderr
    assert "STOA201" not in result.stderr
    assert result.stderr.endswith("fixed 1 mistake in 1 file\n")
    assert "  displayName: Basic  # the smallest\n" in (source.root / PLAN).read_text(encoding="utf-8")
    source.change(PLAN, "rate: ten", "rate: 10/second")
    result = check("--fix")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "9 documents: no errors\n",
        "fixed 0 mistakes in 0 files\n",
    )


def test_diff_shows_and_writes_nothing(source: Copy) -> None:
    source.change(PLAN, "kind: Plan", "kind: Pln")
    before = (source.root / PLAN).read_bytes()
    for arguments in (("--diff",), ("--fix", "--diff")):
        result = check(*arguments)
        assert result.exit_code == 1
        assert result.stdout.startswith("--- a/tenants/acme/plans/basic.yaml\n+++ b/tenants/acme/plans/basic.yaml\n")
        assert "\n-kind: Pln\n+kind: Plan\n" in result.stdout
        assert "= fix: `stoa check --fix` will put `Plan` here" in " ".join(result.stderr.split())
        assert (source.root / PLAN).read_bytes() == before
    patched = subprocess.run(["git", "apply", "-"], input=result.stdout, text=True, check=False)
    assert patched.returncode == 0
    assert check().exit_code == 0


def test_json_has_the_edits(source: Copy) -> None:
    source.change(PLAN, "kind: Plan", "kind: Pln").change(PLAN, "name: basic", "name: gold")
    (finding,) = json.loads(check("--format", "json").stdout)["diagnostics"]
    assert finding["fix"]["description"] == "put `Plan` here"
    (edit,) = finding["fix"]["edits"]
    assert (edit["line"], edit["column"], edit["endColumn"], edit["replacement"]) == (2, 7, 10, "Plan")


def test_a_run_that_cannot_be_meant(source: Copy) -> None:
    for arguments in (("--watch", "--fix"), ("--watch", "--diff"), ("--diff", "--format", "json")):
        result = check(*arguments)
        assert result.exit_code == 2, arguments
        assert "Error: --" in result.stderr


@pytest.fixture
def watch(source: Copy) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        command_line("check", "--watch", "--jobs", "1"),
        env=bare_environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def read_until(process: "subprocess.Popen[bytes]", words: bytes) -> bytes:
    """The output up to `words`, for at most half a minute."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    seen, end = b"", time.monotonic() + 30
    while words not in seen:
        assert time.monotonic() < end, seen
        assert process.poll() is None, seen
        seen += process.stdout.read() or b""
        time.sleep(0.02)
    return seen


def test_watch_checks_again_and_ends_with_ctrl_c(source: Copy, watch: "subprocess.Popen[bytes]") -> None:
    first = read_until(watch, b"Ctrl-C ends the watch\n")
    assert first.startswith(b"9 documents: no errors\nchecked in ")
    assert b"\x1b" not in first
    source.change(PLAN, "kind: Plan", "kind: Pln")
    assert b"error[STOA207]" in read_until(watch, b"Ctrl-C ends the watch\n")
    (source.root / PLAN).unlink()
    assert b"error[STOA301]" in read_until(watch, b"Ctrl-C ends the watch\n")
    source.add(PLAN, (REPOSITORY / "tests/bad/base" / PLAN).read_bytes())
    assert b"9 documents: no errors\n" in read_until(watch, b"Ctrl-C ends the watch\n")
    watch.send_signal(signal.SIGINT)
    assert watch.wait(10) == 0
