"""A source with 200 mistakes in 50 files, reported in one run: `python tests/fuzz/many_mistakes.py [SEED]`.

A generated source of 10 tenants is broken line by line: 4 mistakes in each of 50 files, of the kinds that the
models judge or, in other files, of the kinds that only the whole source shows. Each must be reported at its line,
and nothing else may be.
"""

import random
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from generate import generate

from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.pipeline import read

FILES, PER_FILE = 50, 4

_IN_CONTRACTS = (
    (r"sideEffects: read$", "sideEffects: reed"),
    (r"sideEffects: write$", "sideEffects: rite"),
    (r"version: 1\.\d\.0$", "version: 1.0"),
    (r"status: published$", "status: publish"),
    (r"classification: V?H$", "classification: HVH"),
    (r"^  owner: .*$", "  owner: nobody"),
    (r"method: GET$", "method: FETCH"),
    (r"method: PATCH$", "method: patch"),
    (r"intent: (.*)$", r"intention: \1"),
    (r"summary: .*$", "summary: 12"),
    (r"rate: 20/second$", "rate: 20 per second"),
    (r"path: /(.*)$", r"path: \1"),
    (r"secret: vault:.*$", "secret: hunter2"),
)
"""What the models judge: the line's text, and what it is broken to."""

_IN_TENANTS = (
    (r"roles: \[owner\]$", "roles: [ownr]"),
    (r"roles: \[reader\]$", "roles: [raeder]"),
    (r"tier: standard$", "tier: standart"),
    (r"members: \[(.*)-ada\]$", r"members: [\1-adda]"),
    (r"members: \[(.*)-ben\]$", r"members: [\1-bren]"),
    (r"- role: owner$", "- role: onwer"),
    (r'tools: \["(t\d+):\*:\*"\]$', r'tools: ["\1:ordres:*"]'),
    (r'tools: \["(t\d+):orders:cancel_order"\]$', r'tools: ["\1:orders:cancel_ordr"]'),
)
"""What only the whole source shows: references that lead nowhere."""


@dataclass(frozen=True)
class Figures:
    """What one run found."""

    mistakes: int
    files: int
    missed: list[str]
    """`file:line: text` of those that no finding stands at."""
    elsewhere: list[Diagnostic]


def measure(seed: int) -> Figures:
    """Breaks a source and reads it once."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        generate(10, root)
        tenants = sorted(root.glob("*/tenant.yaml"))
        contracts = sorted(root.glob("*/contracts/*.yaml"))
        # Ten tenants and 40 contracts, one of each tenant's five left whole so that its references can be judged.
        whole = {f"{t.parent.name}/orders.yaml" for t in tenants}
        breakable = [c for c in contracts if f"{c.parents[1].name}/{c.name}" not in whole]
        broken = {
            (str(path.relative_to(root)), line)
            for path in [*tenants, *breakable]
            for line in _break(path, _IN_TENANTS if path.name == "tenant.yaml" else _IN_CONTRACTS, chance)
        }
        report = Report()
        read(root, report)
        errors = [d for d in report.sorted() if d.rule.severity == "error"]
        found = {(str(Path(d.span.file).relative_to(root)), d.span.line) for d in errors}
        elsewhere = [d for d in errors if (str(Path(d.span.file).relative_to(root)), d.span.line) not in broken]
        missed = [f"{p}:{n}: {(root / p).read_text().split(chr(10))[n - 1].strip()}" for p, n in sorted(broken - found)]
        return Figures(len(broken), len(tenants) + len(breakable), missed, elsewhere)


def _break(path: Path, ways: tuple[tuple[str, str], ...], chance: random.Random) -> list[int]:
    """Breaks `PER_FILE` lines of a file; gives their numbers."""
    lines = path.read_text().split("\n")
    chosen: list[int] = []
    for pattern, replacement in chance.sample(ways, len(ways)):
        fitting = [n for n, line in enumerate(lines) if n not in chosen and re.search(pattern, line)]
        if fitting and len(chosen) < PER_FILE:
            number = chance.choice(fitting)
            lines[number] = re.sub(pattern, replacement, lines[number])
            chosen.append(number)
    path.write_text("\n".join(lines))
    return [n + 1 for n in chosen]


def main() -> int:
    """Prints the figures; 1 where a mistake was missed or something else was reported."""
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    reported = figures.mistakes - len(figures.missed)
    print(
        f"{figures.mistakes} mistakes in {figures.files} files, one run: {reported} reported at their line "
        f"({100 * reported / figures.mistakes:.1f} %), {len(figures.elsewhere)} reports elsewhere"
    )
    for line in [*figures.missed, *(f"{d.span}: {d.message}" for d in figures.elsewhere)]:
        print(f"  {line}")
    return int(bool(figures.missed or figures.elsewhere))


if __name__ == "__main__":
    sys.exit(main())
