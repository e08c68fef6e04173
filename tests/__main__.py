"""`python -m tests`: every test. Those that start servers or measure times have the machine to themselves, the others
share its processors. Arguments go to pytest; with a path among them, it is run once, as it is."""

import os
import subprocess
import sys
from pathlib import Path

ALONE = ("tests/chain", "tests/demo", "tests/engines", "tests/faults", "tests/fuzz", "tests/threats")
NOTHING_SELECTED = 5
"""pytest's exit code where no test was."""


def main(arguments: list[str]) -> int:
    """The worst exit code of the runs."""
    if any(Path(argument.partition("::")[0]).exists() for argument in arguments):
        return run(arguments)
    together = ["-n", str(os.cpu_count() or 1), "--dist", "loadfile", *(f"--ignore={folder}" for folder in ALONE)]
    codes = [run([*together, *named(arguments, "together")]), run([*ALONE, *named(arguments, "alone")])]
    if codes == [NOTHING_SELECTED] * 2:
        return NOTHING_SELECTED
    return max(code for code in (*codes, 0) if code != NOTHING_SELECTED)


def named(arguments: list[str], part: str) -> list[str]:
    """The arguments, a file of results by another name in each run."""
    option = "--junitxml="
    return [f"{a.removesuffix('.xml')}-{part}.xml" if a.startswith(option) else a for a in arguments]


def run(arguments: list[str]) -> int:
    """The exit code of one run."""
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
