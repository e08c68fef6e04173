"""What `make demo` and `make demo-openapi` run, run here: they hold, and they notice when something does not."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = Path(__file__).parents[2]
DESCRIPTIONS = Path(__file__).parents[3] / "shared" / "data" / "openapi"


def run(program: str, *arguments: object, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def openapi_3_files() -> list[Path]:
    """The descriptions of version 3.x; none where the folder is missing."""
    files = sorted(DESCRIPTIONS.glob("*")) if DESCRIPTIONS.is_dir() else []
    version_3 = re.compile(r"""^\s*["']?openapi["']?\s*:\s*["']?3\.""", re.MULTILINE)
    return [file for file in files if version_3.search(file.read_text()[:2_000_000])]


def test_the_main_job_holds() -> None:
    done = run("main_job.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ documents of \d+ tenants -> \d+ tools, \d+ artifacts in \d+ ms", done.stdout)
    assert re.search(r"all \d+ expectations held", done.stdout)
    assert "FAILED" not in done.stdout


def test_a_right_that_is_missing_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "tenants"
    shutil.copytree(REPOSITORY / "tenants", source)
    tenant = source / "ioi" / "tenant.yaml"
    narrowed = tenant.read_text().replace('tools: ["ioi:*:*"]', 'tools: ["ioi:billing:*"]')
    assert narrowed != tenant.read_text()
    tenant.write_text(narrowed)
    done = run("main_job.py", source)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED  that is stoa_* and ioi:billing:* and ioi:inventory:*" in done.stdout


def test_a_source_that_does_not_compile_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text("kind: Platform\n")
    done = run("main_job.py", tmp_path)
    assert done.returncode == 1
    assert "`stoa compile` ended with exit code 1" in done.stderr


@pytest.mark.skipif(not DESCRIPTIONS.is_dir(), reason=f"other people's descriptions are not here: {DESCRIPTIONS}")
@pytest.mark.parametrize("file", openapi_3_files(), ids=lambda file: file.name)
def test_other_peoples_descriptions_are_served_and_their_tools_answer(file: Path) -> None:
    done = run("any_openapi.py", file, "--calls", 25, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"(\d+) of (\d+) calls answered without an error", done.stdout)
    assert counted is not None
    assert counted[1] == counted[2] != "0"


def test_an_own_description_is_served(tmp_path: Path) -> None:
    description = """
openapi: 3.1.0
info: {title: Tides, version: 1.0.0}
paths:
  /stations/{station}/tides:
    get:
      operationId: listTides
      summary: Tides at a station
      parameters:
        - {name: station, in: path, required: true, schema: {type: string, pattern: "^[A-Z]{3}$"}}
        - {name: days, in: query, schema: {type: array, items: {type: string, format: date}, minItems: 1}}
      responses:
        "200":
          description: The tides
          content:
            application/json:
              schema:
                type: array
                items: {type: object, required: [at], properties: {at: {type: string, format: date-time}}}
"""
    file = tmp_path / "tides.yaml"
    file.write_text(description)
    done = run("any_openapi.py", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 calls answered without an error" in done.stdout


def test_a_file_that_is_no_description_fails_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "shopping.yaml"
    file.write_text("- milk\n")
    done = run("any_openapi.py", file)
    assert done.returncode == 1
    assert "FAILED  `stoa import` ended with exit code" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("any_openapi.py", tmp_path / "missing.yaml").returncode == 2
