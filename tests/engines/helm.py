"""The command `helm`: on PATH, kept from an earlier build, or built from its Go module.

python -m tests.engines.helm
"""

import shutil
import sys
from pathlib import Path

from tests.engines import golang

VERSION = "3.18.4"
"""The one that Argo CD 3.2 brings."""
_KUBERNETES = (
    "lint/rules.k8sVersionMajor=1",
    "lint/rules.k8sVersionMinor=33",
    "chartutil.k8sVersionMajor=1",
    "chartutil.k8sVersionMinor=33",
)


def helm() -> Path:
    """The program; skips the test where it cannot be had."""
    found = shutil.which("helm")
    if found:
        return Path(found)
    binary = golang.ENGINES / f"helm-{VERSION}" / "helm"

    def build(target: Path) -> None:
        folder = target.parent / "build"
        folder.mkdir(exist_ok=True)
        (folder / "go.mod").write_text("module stoa.example/engine\n")
        golang.go(folder, "get", f"helm.sh/helm/v3@v{VERSION}")
        # Without these it takes every cluster for one of version 1.20.
        known = [f"-X helm.sh/helm/v3/pkg/{name}" for name in _KUBERNETES]
        options = ["-mod=mod", "-ldflags", " ".join(known), "-o", str(target)]
        golang.go(folder, "build", *options, "helm.sh/helm/v3/cmd/helm")

    return golang.built(binary, f"helm {VERSION}", 4, build, unasked="python -m tests.engines.helm")


if __name__ == "__main__":
    sys.exit(golang.main([helm]))
