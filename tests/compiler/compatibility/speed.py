"""How long a contract of 300 operations takes to compare: `python -m tests.compiler.compatibility.speed`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from stoa_compiler.compatibility import compare_contracts  # noqa: E402
from tests.compiler.compatibility.pairs import PARCELS, Sources  # noqa: E402
from tests.engines.oasdiff import put_into  # noqa: E402

BEGIN, END = "<!-- the speed begins -->\n", "<!-- the speed ends -->\n"
OPERATIONS = 300


def large(step: int) -> str:
    """The contract of the tests with its first operation so many times."""
    head, _, rest = PARCELS.partition("    find_parcels:\n")
    body = rest.partition("    drop_parcel:\n")[0]
    body = body.replace("maximum: 100", f"maximum: {100 - step}", 1)  # In the argument.
    body = body.replace("maxLength: 200}", f"maxLength: {200 + step}}}") if step else body
    return head + "".join(f"    find_{n}:\n{body.replace('/search', f'/search-{n}')}" for n in range(OPERATIONS))


def measured() -> str:
    """The processor's time for one that is changed in every operation, for an equal one, and for places."""
    with tempfile.TemporaryDirectory() as folder:
        sources = Sources(Path(folder))
        tiers = sources.copy
        tiers.change("platform.yaml", "maxTools: 8", "maxTools: 1000")
        tiers.change("platform.yaml", "maxRate: 100/second", "maxRate: 100000/second")
        base, head, again = (sources.contract(large(step)) for step in (0, 1, 0))
    times: list[float] = []
    breaks = 0
    for work in (
        lambda: len(compare_contracts(base, again)),
        lambda: [c.origin.document.spans() for c in (base, head)] and 0,
        lambda: len(compare_contracts(base, head)),
    ):
        started = time.process_time()
        breaks = max(breaks, work())
        times.append(time.process_time() - started)
    lines = base.origin.document.file.content.count(b"\n")
    return (
        f"{times[2]:.2f} s of one processor, with {breaks} breaks found; {times[0]:.2f} s where nothing is changed. "
        f"To find their places, both documents of {lines:,} lines are read once more: {times[1]:.2f} s.\n"
    )


def main() -> int:
    """Prints the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the times between the marks of this page")
    options = parser.parse_args()
    text = measured()
    print(text)
    if options.update and not put_into(options.update, text, BEGIN, END):
        print(f"error: {options.update} has no marks for the times", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
