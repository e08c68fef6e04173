"""The demo source's own values, environment by environment."""

from pathlib import Path

import kubernetes_validate
import pytest

from stoa_compiler import pipeline
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.targets import helm as target
from tests.charts.conftest import HelmLibrary, mounted, of_kind, the

DEMO = Path(__file__).parents[2] / "tenants"


@pytest.fixture(scope="module")
def demo() -> Graph:
    report = Report()
    graph = pipeline.read(DEMO, report).graph
    assert graph is not None
    assert report.errors == 0
    return graph


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_values_lint_render_and_mount_the_bundle(demo: Graph, helm: HelmLibrary, environment: str) -> None:
    report = Report()
    bundle = pipeline.render(demo, environment, report)
    assert report.found == []
    values = bundle.files[target.VALUES].content.decode()
    assert helm.lint(values) == []
    objects = helm.render(values)
    for thing in objects:
        kubernetes_validate.validate(thing, kubernetes_validate.latest_version(), strict=True)
    carried = {path: a.content.decode() for path, a in bundle.files.items() if path.startswith("mcp/")}
    assert mounted(objects) == carried
    template = the(objects, "Deployment")["spec"]["template"]
    assert template["metadata"]["annotations"]["gostoa.dev/bundle"] == bundle.digest
    (container,) = template["spec"]["containers"]
    assert ("--development" in container["args"]) == (environment == "dev")
    assert bool(of_kind(objects, "PodDisruptionBudget")) == (environment == "prod")
