"""A source with 200 mistakes in 50 files, reported in one run: `python tests/fuzz/many_mistakes.py [SEED]`.

A generated source of 10 tenants is broken line by line: 4 mistakes in each of 50 files, of the kinds that the
models judge or, in other files, of the kinds that only the whole source shows. Then each of 40 contracts gets three
mistakes of three phases in one file: of YAML, of the models, of the author's own schemas, or between parts that are to
fit each other. Each must be reported at its line, and nothing else may be.
"""

import random
import re
import sys
import tempfile
from collections.abc import Callable
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

_IN_YAML = (
    (r"^      summary: (.*)$", r"      summary: !!str \1"),
    (r"^      summary: .*$", "      summary: *words"),
    (r"^  owner: (.*)$", r"  owner: &who \1"),
    (r"^  description: .*$", "  displayName: Once more"),
    (r"^      intent: (.*)$", "      intent: Use it\u200b when it fits."),
    (r"^      limits: .*$", "      12: {rate: 20/second}"),
    (r"minItems: 1$", "minItems: 99999999999999999999"),
    (r"^          next: (.*)$", r"          id: !own \1"),
)
_IN_SCHEMAS = (
    (r"minLength: 4, ", "minLenght: 4, "),
    (r"type: integer", "type: integr"),
    (r"maxLength: 500", "maxLength: -1"),
    (r"enum: \[open, held, closed\]", "enum: open"),
    (r"format: date\}", 'pattern: "("}'),
    (r"items: \{type: string\}", 'items: {$ref: "https://schemas.example/item"}'),
    (r"minimum: 1", "minimum: one"),
    (r"required: \[at, text\]", "required: at"),
    (r"next: \{type: string\}", 'next: {$ref: "#/$defs/next"}'),
    (r"type: array$", "type: arrays"),
)
_IN_FITTING = (
    (r"input: \{(\w+): X-1001\}", r"input: {\1: 1001}"),
    (r"state: open, total", "state: lost, total"),
    (r"path: /(\w+)/\{(\w+)_id\}$", r"path: /\1/{\2_no}"),
    (r"required: \[(\w+_id)\]$", r"required: [\1s]"),
    (r"sideEffects: destructive$", "sideEffects: read"),
    (r"intent: .*$", "intent: Send AKIAIOSFODNN7EXAMPLE along."),
)
_OF_ALL_PHASES = (_IN_YAML, _IN_CONTRACTS, _IN_SCHEMAS, _IN_FITTING)
PER_MIXED_FILE = 3


@dataclass(frozen=True)
class Figures:
    """What one run found."""

    mistakes: int
    files: int
    missed: list[str]
    """`file:line: text` of those that no finding stands at."""
    elsewhere: list[Diagnostic]


def measure(seed: int) -> Figures:
    """Breaks a source, each file by mistakes of one phase, and reads it once."""
    chance = random.Random(seed)

    def broken(path: Path) -> list[int]:
        return _break(path, _IN_TENANTS if path.name == "tenant.yaml" else _IN_CONTRACTS, chance)

    return _measured(broken, with_tenants=True)


def measure_mixed(seed: int) -> Figures:
    """Breaks a source, each contract by mistakes of three phases, and reads it once."""
    chance = random.Random(seed)
    return _measured(lambda path: _break_mixed(path, chance), with_tenants=False)


def _measured(break_file: Callable[[Path], list[int]], with_tenants: bool) -> Figures:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        generate(10, root)
        tenants = sorted(root.glob("*/tenant.yaml"))
        contracts = sorted(root.glob("*/contracts/*.yaml"))
        # Ten tenants and 40 contracts, one of each tenant's five left whole so that its references can be judged.
        whole = {f"{t.parent.name}/orders.yaml" for t in tenants}
        breakable = [c for c in contracts if f"{c.parents[1].name}/{c.name}" not in whole]
        files = [*(tenants if with_tenants else []), *breakable]
        broken = {(str(path.relative_to(root)), line) for path in files for line in break_file(path)}
        report = Report()
        read(root, report)
        errors = [d for d in report.sorted() if d.rule.severity == "error"]
        found = {(str(Path(d.span.file).relative_to(root)), d.span.line) for d in errors}
        elsewhere = [d for d in errors if (str(Path(d.span.file).relative_to(root)), d.span.line) not in broken]
        missed = [f"{p}:{n}: {(root / p).read_text().split(chr(10))[n - 1].strip()}" for p, n in sorted(broken - found)]
        return Figures(len(broken), len(files), missed, elsewhere)


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


def _break_mixed(path: Path, chance: random.Random) -> list[int]:
    """Breaks a line of a file for each of three phases; gives their numbers.

    Parts fit each other only where each is sound, so no other mistake is made in the operation of such a one.
    """
    lines = path.read_text().split("\n")
    chosen: dict[int, bool] = {}
    phases = chance.sample(_OF_ALL_PHASES, PER_MIXED_FILE)
    for ways in sorted(phases, key=lambda w: w is not _IN_FITTING):
        fits = ways is _IN_FITTING
        taken = {_operation_of(lines, n) for n, fitting in chosen.items() if fitting or fits} - {""}
        for pattern, replacement in chance.sample(ways, len(ways)):
            free = [n for n in range(len(lines)) if n not in chosen and _operation_of(lines, n) not in taken]
            fitting = [n for n in free if re.search(pattern, lines[n])]
            if fitting:
                number = chance.choice(fitting)
                lines[number] = re.sub(pattern, replacement, lines[number])
                chosen[number] = fits
                break
    path.write_text("\n".join(lines))
    return [n + 1 for n in chosen]


def _operation_of(lines: list[str], number: int) -> str:
    """The line that names the operation to which a line belongs; empty above the first."""
    start = lines.index("  operations:")
    names = [line for line in lines[start : number + 1] if re.fullmatch(r"    \w+:", line)]
    return names[-1] if names else ""


def main() -> int:
    """Prints the figures; 1 where a mistake was missed or something else was reported."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    wrong = False
    for figures in (measure(seed), measure_mixed(seed)):
        reported = figures.mistakes - len(figures.missed)
        print(
            f"{figures.mistakes} mistakes in {figures.files} files, one run: {reported} reported at their line "
            f"({100 * reported / figures.mistakes:.1f} %), {len(figures.elsewhere)} reports elsewhere"
        )
        for line in [*figures.missed, *(f"{d.span}: {d.message}" for d in figures.elsewhere)]:
            print(f"  {line}")
        wrong = wrong or bool(figures.missed or figures.elsewhere)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
