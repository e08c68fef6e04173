"""What `make chain` runs, run here: it holds, on real engines, and says how long each step took."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import argocd, keycloak, kubernetes

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("argocd")]

ROOT = Path(__file__).parents[2]
STEPS = (
    "git commit",
    "stoa compile",
    "stoa sign",
    "stoa publish",
    "stoa reconcile keycloak",
    "Argo CD",
    "volumes from ConfigMaps",
)
"""Of each of the two commits."""


def test_a_commit_goes_all_the_way_and_so_does_a_revocation() -> None:
    # What cannot be had is a reason to skip here, and a failure of the program.
    argocd.program()
    kubernetes.etcd()
    kubernetes.api_server()
    keycloak.distribution()
    command = [sys.executable, "-m", "tests.chain"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed, said = process.communicate(timeout=900)
        except subprocess.TimeoutExpired:
            process.terminate()  # It ends what it started.
            printed, said = process.communicate()
    assert process.returncode == 0, printed + said
    for step in STEPS:
        assert len(re.findall(rf"(?m)^ +\d+\.\d\d s  {re.escape(step)}(?:  |$)", printed)) == 2, (step, printed)
    assert re.search(r"\d+\.\d\d s  from commit to effect", printed)
    assert re.search(r"ok +aech lost ioi:billing:get_invoice, and nothing else", printed)
    assert re.search(r"all (\d+) expectations held", printed)
    assert "FAILED" not in printed
