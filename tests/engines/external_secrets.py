"""The kinds of External Secrets, as its Go module defines them: objects are judged by their own definitions."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines import golang

VERSION = "1.3.2"
_NAMES = ("externalsecrets", "secretstores", "clustersecretstores", "clusterexternalsecrets")


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions, from the cache or from the Go module; skips the test where they cannot be had."""
    folder = golang.ENGINES / f"external-secrets-{VERSION}"
    files = [folder / f"external-secrets.io_{name}.yaml" for name in _NAMES]
    if not all(file.is_file() for file in files):
        if shutil.which("go") is None:
            pytest.skip("the definitions of External Secrets come with its Go module, and go is not on PATH")
        folder.mkdir(parents=True, exist_ok=True)
        module = f"github.com/external-secrets/external-secrets@v{VERSION}"
        try:
            listed = json.loads(golang.go(folder, "mod", "download", "-json", module))
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            pytest.skip(f"{module} cannot be fetched: {(getattr(error, 'stderr', '') or str(error))[-300:].strip()}")
        for file in files:
            file.write_bytes((Path(listed["Dir"]) / "config" / "crds" / "bases" / file.name).read_bytes())
    # Conversion asks a webhook of the controller, which is not here; there is one version to store anyway.
    found = [yaml.safe_load(file.read_text()) for file in files]
    for one in found:
        one["spec"].pop("conversion", None)
        one.pop("status", None)
    return found
