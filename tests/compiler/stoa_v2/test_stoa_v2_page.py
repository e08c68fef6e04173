"""The page on moving: its example prints what the page shows."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from stoa_compiler.cli import main

PAGE = Path(__file__).parents[3] / "docs/migrating.md"


def test_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text("utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("lantern.yaml").write_text(example, "utf-8")
    done = CliRunner().invoke(main, ["import", "stoa-v2", "lantern.yaml", "--source", "new", "--dry-run"])
    assert done.stdout == shown
    assert done.exit_code == 1
