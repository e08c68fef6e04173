"""Work in a forked child, and runs that use it."""

import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler import pipeline
from stoa_compiler.beside import beside as begin
from stoa_compiler.diagnostics import Report
from tests.compiler.sources import PLATFORM, Copy, copy_of_base


def beside(work: Callable[[], Any]) -> Callable[[], Any]:
    return begin(work, pickle.dumps, pickle.loads)


def test_results_come_back() -> None:
    numbers = [beside(lambda n=n: ("result", n, os.getpid())) for n in range(3)]  # type: ignore[misc]
    found = [number() for number in numbers]
    assert [f[:2] for f in found] == [("result", 0), ("result", 1), ("result", 2)]
    assert os.getpid() not in [f[2] for f in found]


def test_a_large_result_does_not_wait_for_ever() -> None:
    assert len(beside(lambda: "x" * 3_000_000)()) == 3_000_000


def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        beside(fail)()


def test_a_child_that_is_killed_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="was killed"):
        beside(lambda: os.kill(os.getpid(), signal.SIGKILL))()


def outcome(root: Path, jobs: int) -> tuple[list[str], dict[str, bytes], dict[str, int]]:
    report = Report()
    made = pipeline.compiled(root, report, jobs=jobs)
    files = {f"{e}/{path}": a.content for e, b in made.bundles.items() for path, a in b.files.items()}
    return [repr(d) for d in report.sorted()], files, dict(made.tools)


MISTAKES = [
    None,
    ("displayName:", "displayname:"),
    ("\nmetadata", "\n\tmetadata"),
    ("contract: ", "contract: x"),
    ("tools: [", "tools: ['*:*:*', "),
]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_findings_and_bytes_are_those_of_one_process(
    mistake: tuple[str, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MANY_DOCUMENTS", 2)
    source: Copy = copy_of_base(tmp_path)
    if mistake is not None:
        path = next(
            p for p in sorted(source.root.rglob("*.yaml")) if p.name != PLATFORM and mistake[0] in p.read_text()
        )
        path.write_text(path.read_text().replace(*mistake))
    alone = outcome(source.root, 1)
    assert outcome(source.root, 2) == alone
    assert outcome(source.root, 5) == alone
    assert alone[1] if mistake is None else alone[0]
