"""The parser under a coverage-guided fuzzer, for a bounded number of inputs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

INPUTS = 20_000


def test_no_input_breaks_a_promise(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no package for this Python or system")
    program = Path(__file__).with_name("fuzz_parse.py")
    done = subprocess.run(
        [sys.executable, str(program), str(INPUTS)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    tried = re.search(r"([\d,]+) inputs", done.stdout)
    assert tried is not None
    assert int(tried[1].replace(",", "")) >= INPUTS
