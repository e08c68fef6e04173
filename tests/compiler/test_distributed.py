"""A source compiled on a Dask cluster of several worker processes, and what happens when one of them ends."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.compiler.sources import ORDERS, Copy, copy_of_base, stoa

pytest.importorskip("distributed", reason="Dask is not installed beside this Python (extra `distributed`)")

START = 60.0
"""Seconds."""
VICTIM = """
import os, pathlib, signal
import stoa_compiler.distributed as ours

fell = pathlib.Path({fell!r})

def falls(*words):
    try:
        fell.touch(exist_ok=False)
    except FileExistsError:
        return ours.whole(*words)
    ours.whole(*words)
    os.kill(os.getpid(), signal.SIGKILL)  # All was done, and nothing of it arrived.

if not hasattr(ours, "whole"):  # A worker reads this twice.
    ours.whole, ours.work = ours.work, falls
"""
OTHER_CODE = """
import stoa_compiler.distributed as ours
ours.code_digest = lambda: "another"
"""


@dataclass
class Cluster:
    url: str
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)


@contextmanager
def started(*words: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", *words], stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def cluster(folder: Path, workers: int, preload: str = "") -> Iterator[Cluster]:
    """A scheduler and its workers, each a process; `preload` runs in each worker first."""
    words = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with ExitStack() as stack:
        stack.enter_context(started(*words, log=folder / "scheduler.log"))
        url = waited(folder / "scheduler.log", r"Scheduler at:\s+(tcp://[0-9.:]+)", 1)[0]
        made = Cluster(url)
        code = folder / "preload.py"
        code.write_text(preload)
        for number in range(workers):
            words = ["distributed.cli.dask_worker", url, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            words += ["--host", "127.0.0.1", "--local-directory", str(folder), "--preload", str(code)]
            made.workers.append(stack.enter_context(started(*words, log=folder / f"worker{number}.log")))
        for number in range(workers):
            waited(folder / f"worker{number}.log", r"Registered to", 1)
        yield made


def waited(log: Path, pattern: str, count: int) -> list[str]:
    until = time.monotonic() + START
    while len(found := re.findall(pattern, log.read_text(errors="replace"))) < count:
        assert time.monotonic() < until, log.read_text(errors="replace")
        time.sleep(0.05)
    return found


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_bytes_are_those_of_one_process_also_when_a_worker_ends_in_the_middle(source: Copy, tmp_path: Path) -> None:
    fell = tmp_path / "fell"
    compile_prod = ("compile", "--env", "prod")
    assert stoa(*compile_prod, "--out", "alone", cwd=tmp_path).returncode == 0
    with cluster(tmp_path, 3, VICTIM.format(fell=str(fell))) as made:
        on = ("--engine", "dask", "--scheduler", made.url)
        done = stoa(*compile_prod, "--out", "together", *on, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert fell.exists()
        assert [w.poll() is None for w in made.workers].count(False) == 1
        assert bytes_below(tmp_path / "together") == bytes_below(tmp_path / "alone")
        # What two workers are left of finds the mistakes of all tenants, and those between them.
        source.change(ORDERS, "sideEffects: read", "sideEffects: reed")
        alone = stoa(*compile_prod, "--out", "a", cwd=tmp_path)
        done = stoa(*compile_prod, "--out", "b", *on, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, alone.stderr)
        assert not (tmp_path / "b").exists()


def test_a_worker_with_another_compiler_is_refused(source: Copy, tmp_path: Path) -> None:
    with cluster(tmp_path, 1, OTHER_CODE) as made:
        done = stoa("compile", "--env", "prod", "--out", "o", "--engine", "dask", "--scheduler", made.url, cwd=tmp_path)
    assert done.returncode == 3
    assert "a worker has another compiler or Python than this one" in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_cluster_that_is_not_there_is_told(source: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    done = stoa("compile", "--env", "prod", "--out", "o", "--engine", "dask", "--scheduler", url, cwd=tmp_path)
    assert done.returncode == 3
    assert f"no Dask scheduler answers at `{url}`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--engine", "dask"), ("--scheduler", "tcp://a:1"), ("--shard", "0/2")])
def test_options_that_do_not_go_together(source: Copy, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert stoa("compile", "--env", "prod", "--out", "o", *words, cwd=tmp_path).returncode == 2
