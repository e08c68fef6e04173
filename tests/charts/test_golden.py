"""What the target writes and what the chart makes of it, in full, for a reviewer to read."""

from pathlib import Path

import pytest

from stoa_compiler import blockyaml
from stoa_compiler.target import Artifact
from stoa_compiler.targets import helm as target
from stoa_schemas import bundle
from tests.charts.conftest import HelmLibrary
from tests.compiler.targets.deployable import HOSTILE, graph

GOLDEN = Path(__file__).parent / "golden"


def carried() -> dict[str, Artifact]:
    """A bundle of fixed bytes, so that only this target's changes show."""
    texts = {
        "mcp/platform.json": {"name": "stoa"},
        "mcp/tenants/acme.json": {"tenant": "acme", "description": HOSTILE},
        "mcp/tenants/zenith.json": {"tenant": "zenith", "description": "next line \x85, separator \u2028"},
    }
    files = {path: Artifact(path, "application/json", bundle.canonical(text), ()) for path, text in texts.items()}
    manifest = bundle.RuntimeManifest(
        platform="stoa", environment="prod", development=False, files=[files[path].listing for path in sorted(files)]
    )
    path = bundle.RUNTIME_MANIFEST
    return {**files, path: Artifact(path, "application/json", manifest.encode(), ())}


def compare(golden: Path, content: bytes, update: bool) -> None:
    if update:
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(content)
    assert content == golden.read_bytes()


@pytest.fixture
def values(tmp_path: Path) -> bytes:
    runtime = {
        "image": {"repository": "registry.stoa.example/stoa/runtime", "tag": "1.2.3", "digest": "sha256:" + "ab" * 32},
        "replicas": {"min": 3, "max": 12},
        "cpu": "1",
        "memory": "512Mi",
    }
    (artifact,) = target.TARGET.emit(graph(tmp_path, tenants=("acme", "zenith"), runtime=runtime), "prod", carried())
    return artifact.content


def test_values(values: bytes, update_golden: bool) -> None:
    compare(GOLDEN / "values.yaml", values, update_golden)


def test_rendered_objects(helm: HelmLibrary, values: bytes, update_golden: bool) -> None:
    objects = {f"{o['kind']}/{o['metadata']['name']}": o for o in helm.render(values.decode())}
    compare(GOLDEN / "objects.yaml", blockyaml.dump(objects), update_golden)
