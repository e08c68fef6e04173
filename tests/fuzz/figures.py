"""The figures of docs/figures.md, measured anew: `make figures`."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from many_mistakes import measure, measure_mixed  # noqa: E402

from tests.compiler.test_validate import PLACED, broken_documents, covers, findings  # noqa: E402


def main() -> int:
    """Prints each figure with what it stands for; 1 where any mistake was missed."""
    tried, found = Counter[str](), Counter[str]()
    for place in PLACED:
        for broken in broken_documents(place):
            tried[broken.how] += 1
            value, reported = findings(place, broken.text)
            if value is None and any(d.rule.code in broken.codes and covers(d.span, broken.at) for d in reported):
                found[broken.how] += 1
    print("One thing broken at a time in a good source, and the finding's span must cover it:\n")
    print(f"| {'broken':<34} | tried | found |\n|{'-' * 36}|------:|------:|")
    for how in sorted(tried):
        print(f"| {how:<34} | {tried[how]:5} | {found[how]:5} |")
    share = 100 * found.total() / tried.total()
    print(f"| {'all':<34} | {tried.total():5} | {found.total():5} |\n\n{share:.1f} % of {tried.total()} are found.\n")
    missed = 0
    for words, measured in (
        ("Two hundred mistakes in fifty files, one run each:", measure),
        ("Mistakes of three phases in each of forty files, one run each:", measure_mixed),
    ):
        print(f"{words}\n")
        for seed in range(1, 6):
            figures = measured(seed)
            missed += len(figures.missed) + len(figures.elsewhere)
            reported = figures.mistakes - len(figures.missed)
            print(
                f"- seed {seed}: {reported} of {figures.mistakes} reported at their line, "
                f"{len(figures.elsewhere)} reports elsewhere"
            )
        print()
    print("The parser and the models under a coverage-guided fuzzer:\n", flush=True)
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz_parse.py"), "200000"], stderr=subprocess.DEVNULL, check=False
    )
    return int(bool(missed or done.returncode or found.total() < tried.total()))


if __name__ == "__main__":
    sys.exit(main())
