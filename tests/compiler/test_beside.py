"""Work in a forked child, and runs that use it."""

import os
import signal
from pathlib import Path

import pytest

from stoa_compiler import beside, pipeline
from stoa_compiler import checks as checks_module
from stoa_compiler import parse as parse_module
from stoa_compiler.diagnostics import Report
from tests.compiler.sources import PLATFORM, Copy, copy_of_base


def test_results_come_back() -> None:
    numbers = [beside.beside(lambda n=n: ("result", n, os.getpid())) for n in range(3)]  # type: ignore[misc]
    found = [number() for number in numbers]
    assert [f[:2] for f in found] == [("result", 0), ("result", 1), ("result", 2)]
    assert os.getpid() not in [f[2] for f in found]
    values = {"a": [1, 2.5, None, True, "é", 2**64 - 1]}
    assert beside.values_beside(lambda: values)() == values


def test_a_large_result_does_not_wait_for_ever() -> None:
    assert len(beside.values_beside(lambda: "x" * 3_000_000)()) == 3_000_000


def test_what_the_work_raises_is_raised() -> None:
    def fail() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        beside.beside(fail)()


def test_a_child_that_is_killed_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="was killed"):
        beside.beside(lambda: os.kill(os.getpid(), signal.SIGKILL))()


def outcome(root: Path, jobs: int) -> tuple[list[str], dict[str, bytes]]:
    report = Report()
    checked = pipeline.read(root, report, jobs)
    files: dict[str, bytes] = {}
    if checked.graph is not None and not report.errors:
        rendered = pipeline.render(checked.graph, "prod", report, jobs=jobs)
        files = {path: artifact.content for path, artifact in rendered.files.items()}
    return [repr(d) for d in report.sorted()], files


@pytest.mark.parametrize("mistake", [None, ("displayName:", "displayname:"), ("\nmetadata", "\n\tmetadata")])
def test_findings_and_bytes_are_those_of_one_process(
    mistake: tuple[str, str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse_module, "MIN_DOCUMENTS", 2)
    monkeypatch.setattr(checks_module, "MANY", 0)
    monkeypatch.setattr(pipeline, "MANY", 0)
    source: Copy = copy_of_base(tmp_path)
    if mistake is not None:
        path = next(p for p in sorted(source.root.rglob("*.yaml")) if p.name != PLATFORM)
        path.write_text(path.read_text().replace(*mistake))
    alone = outcome(source.root, 1)
    assert outcome(source.root, 2) == alone
    assert outcome(source.root, 5) == alone
    assert alone[1] if mistake is None else alone[0]
