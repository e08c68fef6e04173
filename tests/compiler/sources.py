"""Sources for tests: the corpus's good one, copied and then changed by a few words."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.load import load
from stoa_compiler.pipeline import Checked, read

REPOSITORY = Path(__file__).parents[2]
BASE = REPOSITORY / "tests" / "bad" / "base"
TENANTS = REPOSITORY / "tenants"

PLATFORM = "platform.yaml"
TENANT = "acme/tenant.yaml"
ORDERS = "acme/contracts/orders.yaml"
PLAN = "acme/plans/basic.yaml"
CONSUMER = "acme/consumers/shop.yaml"
SUBSCRIPTION = "acme/subscriptions/shop-orders.yaml"


@dataclass(frozen=True)
class Copy:
    """A copy of the good source that a test may change."""

    root: Path

    def change(self, path: str, old: str, new: str) -> "Copy":
        """Puts `new` in place of `old`, which must be there."""
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        (self.root / path).write_text(text.replace(old, new, 1), encoding="utf-8")
        return self

    def add(self, path: str, content: str | bytes) -> "Copy":
        """Writes a file."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def read(self) -> tuple[Checked, list[Diagnostic]]:
        """The graph, and the findings in their order."""
        report = Report()
        checked = read(self.root, report)
        return checked, report.sorted()

    def codes(self) -> list[str]:
        """The codes of the findings in their order."""
        return [d.rule.code for d in self.read()[1]]

    def loaded(self) -> list[str]:
        """The codes of what `load` alone finds."""
        report = Report()
        load(self.root, report)
        return [d.rule.code for d in report.sorted()]


def copy_of_base(folder: Path) -> Copy:
    """The good source as `folder/tenants`."""
    root = folder / "tenants"
    shutil.copytree(BASE, root)
    return Copy(root)


def stoa(*arguments: str, cwd: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; `environment` adds variables to a bare one."""
    return subprocess.run(
        command_line(*arguments),
        cwd=cwd,
        env=bare_environment(**environment),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def command_line(*arguments: str) -> list[str]:
    """How a process of its own runs the command line."""
    return [sys.executable, "-c", "from stoa_compiler.cli import run; run()", *arguments]


def bare_environment(**variables: str) -> dict[str, str]:
    """Only what Python needs to find itself and the packages."""
    packages = os.pathsep.join(str(REPOSITORY / p) for p in ("schemas", "compiler", "runtime"))
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": packages, "STOA_NO_CACHE": "1", **variables}
