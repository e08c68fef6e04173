"""`python -m tests.faults [NAME...]`: the faults under load, as the table of docs/faults.md."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.engines.valkey import Missing
from tests.faults import table
from tests.faults.rows import Size


def main() -> int:
    """The table on standard output; 1 where a promise was broken."""
    given = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    given.add_argument("names", nargs="*", help="faults whose names hold one of these words; all of them otherwise")
    given.add_argument("--callers", type=int, default=Size.callers)
    given.add_argument("--calls", type=int, default=Size.calls, help="calls of each phase of a fault")
    given.add_argument("--rounds", type=int, default=Size.rounds, help="how often a process is killed or ended")
    given.add_argument("--swaps", type=int, default=Size.swaps, help="bundles that are served one after the other")
    given.add_argument("--memory-calls", type=int, default=Size.memory_calls, help="calls between two looks at memory")
    given.add_argument("--keep", type=Path, help="folder in which logs are kept")
    options = vars(given.parse_args())
    names, keep = options.pop("names"), options.pop("keep")
    chosen = [f for f in table.FAULTS if not names or any(name in f.name for name in names)]
    broken = False
    print(table.heading(), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for number, fault in enumerate(chosen):
            try:
                row = asyncio.run(table.row(fault, (keep or Path(scratch)) / str(number), Size(**options)))
            except Missing as missing:
                print(f"{fault.name}: {missing}", file=sys.stderr)
                continue
            print(table.shown(row), flush=True)
            broken = broken or bool(row.verdict.broken)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
