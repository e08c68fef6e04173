"""The README's tutorial: each command in it is run, and what the README shows is what is printed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_tutorial(tmp_path: Path) -> None:
    """In a checkout of its own, since the tutorial writes beside the demo source."""
    shutil.copytree(REPOSITORY / "tenants", tmp_path / "tenants")
    shutil.copytree(REPOSITORY / "tests" / "demo", tmp_path / "tests" / "demo")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    tutorial = README[README.index("## Ten minutes") : README.index("## Where to go on")]
    blocks = _BLOCK.findall(tutorial)
    script = "".join(text for kind, text in blocks if kind == "sh")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu"],
        input=script,
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, "PATH": path, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for kind, shown in blocks:
        if kind == "text":
            assert shown in done.stdout


def test_commands_are_make_targets() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / link).exists(), link
