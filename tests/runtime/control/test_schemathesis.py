"""Schemathesis reads the served description and asks what it permits, and much that it does not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stoa_runtime.control import PREFIX
from tests.runtime.control.api import ANYONE, CATALOG, POSTURE
from tests.runtime.world import Issuer, World

EXAMPLES = 10
"""Requests of one operation and mode, besides those that cover each of its parameters."""


WORLD = """
[parameters]
"path.tenant" = "ioi"
"path.contract" = "billing"
"path.tool" = "ioi_billing_get_invoice"
"path.client" = "ioi.shop"
"path.plan" = "small"
"""
"""A configuration that names what exists, so that things are found."""


@pytest.mark.parametrize("configuration", ["", WORLD], ids=["anything", "what exists"])
def test_every_answer_is_as_the_description_says(
    stoa: World, issuer: Issuer, tmp_path: Path, configuration: str
) -> None:
    """All of its default checks: status, media type, schema, headers, rejected nonsense, ignored tokens, methods."""
    command = Path(sys.executable).with_name("st")
    if not command.is_file():
        pytest.skip("Schemathesis is not installed beside this Python (extra `test`)")
    token = issuer.token(sub="halliday", tenant="platform", roles=["cpi-admin"], exp=int(time.time()) + 3600)
    (tmp_path / "schemathesis.toml").write_text(configuration)
    before = len(stoa.audit_lines())
    run = subprocess.run(
        [
            str(command),
            "run",
            f"{stoa.url}{PREFIX}/openapi.json",
            "--header=Host: mcp.example.test",
            f"--header=Authorization: Bearer {token}",
            f"--max-examples={EXAMPLES}",
            "--seed=7",
            "--no-color",
            "--suppress-health-check=all",
            "--continue-on-failure",
        ],
        cwd=tmp_path,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
    lines = stoa.audit_lines()[before:]
    assert {"control-read", "control-query", "control-method", "token-missing"} <= {line["rule"] for line in lines}
    found = {line["asked"] for line in lines if line["rule"] == "control-read"}
    reached = {f"GET {PREFIX}{path}" for path in [*CATALOG, *POSTURE, *ANYONE] if "ioi" not in path or configuration}
    assert reached <= found
