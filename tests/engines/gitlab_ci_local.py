"""gitlab-ci-local: runs a pipeline's jobs on this machine, as GitLab's runner would in a shell."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.engines.node import node, package
from tests.engines.prism import Missing

VERSION = "4.75.1"
TOOLS = ("bash", "git", "rsync")


@dataclass(frozen=True)
class Pipeline:
    """What a run said, and what became of each job."""

    text: str
    jobs: Mapping[str, bool]
    """Whether it passed, by name."""

    def of(self, job: str) -> str:
        """What the job said."""
        lines = (re.match(rf"{re.escape(job)} +(?:> |\$ )?(.*)", line) for line in self.text.splitlines())
        return "\n".join(m[1] for m in lines if m)


def run(repository: Path, variables: Mapping[str, str], *arguments: str) -> Pipeline:
    """The pipeline that these variables make; raises `Missing` where it cannot be run at all."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        raise Missing(f"gitlab-ci-local needs {', '.join(lacking)} on PATH")
    program = package("gitlab-ci-local", VERSION) / "dist" / "index.js"
    command = [str(node()), str(program), "--force-shell-executor", "--no-color", *arguments]
    for name, value in variables.items():
        command += ["--variable", f"{name}={value}"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CI_", "GCL_", "STOA_", "GITLAB_"))}
    environment = kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GCL_IGNORE_PREDEFINED_VARS": ",".join(variables),
        "HOME": str(repository.parent),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    jobs = {m[2].strip(): m[1] == "PASS" for m in re.finditer(r"(?m)^ (PASS|FAIL|WARN)  (.+?) *$", text)}
    return Pipeline(text, jobs)
