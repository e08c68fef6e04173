"""Environments for programs that only a bench needs: made once, outside the checkout."""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


def python_with(name: str, *packages: str) -> tuple[Path | None, str]:
    """The Python of an environment that has the packages; else None, and why it cannot be had.

    It lies in `stoa-bench` of the user's folder for caches, named by the packages, so that it is made once.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoa-bench"
    folder = base / "-".join([name, *(p.partition("==")[2] for p in packages)])
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        print(f"installing {', '.join(packages)} into {folder}, once", file=sys.stderr)
        try:
            venv.create(folder, with_pip=True, clear=True)
            _pip(python, packages)
        except (OSError, subprocess.SubprocessError) as error:
            return None, _reason(error)
        (folder / "ready").touch()
    return python, ""


def _pip(python: Path, packages: Sequence[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)


def _reason(error: Exception) -> str:
    said = (getattr(error, "stderr", "") or str(error)).strip()
    return str(said).splitlines()[-1] if said else type(error).__name__
