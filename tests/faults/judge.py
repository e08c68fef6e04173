"""What callers saw, what the log says and what backends got, held against each other.

The promises: no answer without its line in the log; no call of a backend without a line, but for those that were in
flight when the process was killed; and the log verifies.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoa_schemas.audit import DECISION
from tests.faults.load import Outcome, Seen

STOA = Path(sys.executable).with_name("stoa")


@dataclass
class Verdict:
    """What became of the calls of one run, and which promises were broken."""

    seen: Counter[str]
    """Calls by what the caller saw."""
    logged: int
    """Calls that have a line."""
    reached: int
    """Calls that reached a backend."""
    unrecorded: int
    """Calls that reached a backend and have no line: in flight when the process was killed."""
    broken: list[str] = field(default_factory=list)
    marks: Counter[str] = field(default_factory=Counter)
    """Lines about the log itself, by action."""

    @property
    def calls(self) -> int:
        """All calls."""
        return self.seen.total()


@dataclass(frozen=True)
class Logged:
    """The decisions of a log by trace, and what `stoa audit verify` finds."""

    decisions: Mapping[str, Sequence[Mapping[str, Any]]]
    marks: Counter[str]
    findings: Sequence[str]


def logged(files: Iterable[Path]) -> Logged:
    """The files of logs, each verified by the command line."""
    found = sorted(files)
    done = subprocess.run(
        [STOA, "audit", "verify", *found, "--format", "json"], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    findings = [f"{f['file']}:{f['line']}: {f['message']}" for f in json.loads(done.stdout)["findings"]]
    lines = [line for file in found for line in file.read_bytes().splitlines()]
    return read(lines, findings)


def read(lines: Iterable[bytes], findings: Sequence[str] = ()) -> Logged:
    """The decisions and marks of lines; one that a crash cut in two is none."""
    decisions: dict[str, list[Mapping[str, Any]]] = {}
    marks: Counter[str] = Counter()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["type"] == DECISION:
            decisions.setdefault(event["data"]["trace_id"], []).append(event["data"])
        else:
            marks[event["data"]["action"]] += 1
    return Logged(decisions, marks, findings)


def judge(
    seen: Sequence[Seen], log: Logged, got: Mapping[str, int], *, killed: Sequence[float] = (), flight: int = 0
) -> Verdict:
    """The verdict; `killed` are the moments of kills, at each of which at most `flight` calls were in flight."""
    verdict = Verdict(
        seen=Counter(dict.fromkeys(("answered", "refused", "failed", "unknown"), 0)) + Counter(s.outcome for s in seen),
        logged=sum(s.trace in log.decisions for s in seen),
        reached=sum(s.trace in got for s in seen),
        unrecorded=sum(s.trace in got and s.trace not in log.decisions for s in seen),
        marks=log.marks,
    )
    say = verdict.broken.append
    for finding in log.findings[:5]:
        say(f"stoa audit verify: {finding}")
    if twice := sum(len(lines) > 1 for lines in log.decisions.values()):
        say(f"{twice} calls have two lines")
    if strange := len(log.decisions.keys() - {s.trace for s in seen}):
        say(f"{strange} lines are of no call")
    wrong = Counter(problem for s in seen if (problem := _problem(s, log, got, killed)))
    verdict.broken += [f"{count} x {problem}" for problem, count in wrong.items()]
    if verdict.unrecorded > flight * len(killed):
        say(f"{verdict.unrecorded} backend calls have no line, and {flight * len(killed)} were in flight at most")
    return verdict


_DECISIONS: Mapping[Outcome, tuple[str, ...]] = {
    "answered": ("allowed",),
    "refused": ("refused",),
    "failed": ("failed",),
}


def _problem(seen: Seen, log: Logged, got: Mapping[str, int], killed: Sequence[float]) -> str:
    """Which promise was broken for one call."""
    lines = log.decisions.get(seen.trace, ())
    if seen.wrong:
        return seen.wrong
    if seen.trace in got and not lines:
        cut = any(seen.began <= moment and seen.outcome == "unknown" for moment in killed)
        return "" if cut else f"a backend was called and there is no line ({seen.outcome})"
    if seen.outcome == "unknown" or seen.unrecordable:
        return ""
    if not lines:
        return f"an answer without a line ({seen.outcome}: {seen.status} {seen.text[:60]})"
    if lines[0]["decision"] not in _DECISIONS[seen.outcome]:
        return f"seen as {seen.outcome}, recorded as {lines[0]['decision']} ({lines[0]['rule']})"
    if seen.bundle and lines[0]["bundle"] != seen.bundle:
        return "the answer and its line name two bundles"
    if seen.outcome == "answered" and seen.tool.startswith("ioi_") and seen.trace not in got:
        return "answered, and no backend was called"
    return ""
