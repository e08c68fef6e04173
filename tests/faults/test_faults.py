"""Each fault under a little load: no promise is broken. `python -m tests.faults` does the same with more load."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engines.valkey import Missing
from tests.faults import table
from tests.faults.judge import Logged, judge
from tests.faults.load import INVOICE, Outcome, Seen
from tests.faults.rows import Fault, Size

SMALL = Size(callers=8, calls=60, swaps=12, memory_calls=1500)
CASES = [
    pytest.param(fault, id=fault.name, marks=[pytest.mark.engine] if fault.engine else []) for fault in table.FAULTS
]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="processes are looked at through Linux's /proc")
@pytest.mark.parametrize("fault", CASES)
def test_promises_are_kept(fault: Fault, tmp_path: Path) -> None:
    try:
        row = asyncio.run(table.row(fault, tmp_path, SMALL))
    except Missing as missing:
        pytest.skip(str(missing))
    assert row.verdict.broken == []
    assert row.verdict.calls > 0


def seen(trace: str, outcome: Outcome, **more: Any) -> Seen:
    now = time.monotonic()
    return Seen(trace, INVOICE, now - 1, now, outcome, 200 if outcome != "unknown" else 0, **more)


def line(decision: str = "allowed", bundle: str = "sha256:1") -> list[Mapping[str, Any]]:
    return [{"decision": decision, "rule": "granted", "bundle": bundle}]


def broken(calls: list[Seen], lines: dict[str, Any], got: list[str], **more: Any) -> str:
    """What the judge says is broken."""
    log = Logged(lines, Counter(), more.pop("findings", ()))
    return "; ".join(judge(calls, log, Counter(got), **more).broken)


def test_the_judge_finds_what_is_broken() -> None:
    now = time.monotonic()
    good = seen("a", "answered", bundle="sha256:1")
    assert broken([good], {"a": line()}, ["a"]) == ""
    assert "an answer without a line" in broken([good], {}, [])
    assert "backend was called and there is no line" in broken([good], {}, ["a"])
    assert "two bundles" in broken([good], {"a": line(bundle="sha256:2")}, ["a"])
    assert "no backend was called" in broken([good], {"a": line()}, [])
    assert "two lines" in broken([good], {"a": line() * 2}, ["a"])
    assert "of no call" in broken([], {"a": line()}, [])
    assert "recorded as refused" in broken([good], {"a": line("refused")}, ["a"])
    assert "an answer without a line" in broken([seen("a", "refused")], {}, [])
    assert "another call" in broken([seen("a", "answered", wrong="another call's")], {"a": line()}, ["a"])
    assert "audit verify" in broken([], {}, [], findings=["changed"])
    # A call in flight at a kill may have called the backend, but not more of them than there were, nor at other times.
    cut = [seen(str(n), "unknown") for n in range(3)]
    assert broken(cut, {}, ["0", "1", "2"], killed=[now], flight=3) == ""
    assert "in flight at most" in broken(cut, {}, ["0", "1", "2"], killed=[now], flight=2)
    assert "there is no line" in broken(cut, {}, ["0"], killed=[now - 60], flight=3)
    assert "there is no line" in broken([good], {}, ["a"], killed=[now], flight=1)
    withheld = seen("a", "failed", text="The call cannot be recorded, so its answer is withheld.")
    assert broken([withheld], {}, []) == ""
    assert "there is no line" in broken([withheld], {}, ["a"])
