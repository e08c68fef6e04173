"""How many of the truly compatible changes are called compatible: `python -m tests.compiler.compatibility.precision`.

Random schemas are changed by one step, both ways. What a change truly does is looked for with many values; where none
is found that only the old schema takes, the change counts as compatible.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from stoa_compiler.compatibility import accepts_all  # noqa: E402
from tests.compiler.compatibility import generated  # noqa: E402
from tests.engines.oasdiff import put_into  # noqa: E402

BEGIN, END = "<!-- the precision begins -->\n", "<!-- the precision ends -->\n"
VALUES = 300


def lost(random: Random, old: Any, new: Any) -> tuple[bool, int]:
    """Whether a value is found that only the old schema takes, and how many were found that it takes."""
    takes = [generated.validator(s) for s in (old, new)]
    if takes[0] is None or takes[1] is None:
        return False, 0
    fitting = 0
    for _ in range(VALUES):
        of = old if random.random() < 0.7 else new
        value = generated.value(random, of, of if isinstance(of, dict) else {})
        if takes[0].is_valid(value):
            fitting += 1
            if not takes[1].is_valid(value):
                return True, fitting
    return False, fitting


def measured(pairs: int, seed: int) -> Counter[tuple[str, str]]:
    """Verdicts by what is true, over so many pairs that have enough values to tell."""
    counts: Counter[tuple[str, str]] = Counter()
    number = 0
    while counts.total() < pairs:
        random = Random(seed * 1_000_003 + number)
        number += 1
        old = generated.whole(random)
        new = generated.changed(random, old)
        old, new = (old, new) if random.random() < 0.5 else (new, old)
        if old == new:
            continue
        broken, fitting = lost(random, old, new)
        if not broken and fitting < 20:
            continue
        counts["loses values" if broken else "loses none", accepts_all(old, new).answer] += 1
    return counts


def table(counts: Counter[tuple[str, str]], seed: int) -> str:
    """The counts in Markdown."""
    lines = [f"| {counts.total():,} random changes | compatible | unknown | breaking |", "|---|--:|--:|--:|"]
    for truth in ("loses none", "loses values"):
        row = [counts[truth, answer] for answer in ("compatible", "unknown", "breaking")]
        lines.append(f"| {truth} | {' | '.join(f'{n:,}' for n in row)} |")
    good = sum(n for (truth, _), n in counts.items() if truth == "loses none")
    share = counts["loses none", "compatible"] / good
    lines += ["", f"Of the changes that lose no value, {share:.1%} are called compatible (seed {seed})."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """The exit code: 1 where a change that loses values is called compatible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000, help="changes that are judged")
    parser.add_argument("--seed", type=int, default=1, help="which changes these are")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the table between the marks of this page")
    options = parser.parse_args()
    counts = measured(options.pairs, options.seed)
    print(table(counts, options.seed))
    if options.update and not put_into(options.update, table(counts, options.seed), BEGIN, END):
        print(f"error: {options.update} has no marks for the table", file=sys.stderr)
        return 2
    return 1 if counts["loses values", "compatible"] else 0


if __name__ == "__main__":
    sys.exit(main())
