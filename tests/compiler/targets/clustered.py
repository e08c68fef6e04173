"""A source that renders the targets `kubernetes` and `argocd`, with everything that they can say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stoa_compiler import pipeline
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.target import Artifact
from tests.compiler.targets import deployable

ZONES: dict[str, Any] = {**deployable.ZONES, "tenants": {"trust": "semi-trusted"}}
FLOWS: list[dict[str, Any]] = [
    *deployable.FLOWS,
    {"from": "dmz", "to": "tenants", "port": 8080},
    {"from": "tenants", "to": "tenants", "port": 9000},
    {"from": "tenants", "to": "dmz", "port": 8443},
    {"from": "tenants", "to": "external", "port": 443},
]
REPOSITORY = "https://git.stoa.example/platform/rendered.git"
ARGOCD: dict[str, Any] = {
    "repository": REPOSITORY,
    "branch": "rendered",
    "path": "clusters/prod",
    "cluster": "https://prod.k8s.stoa.example:6443",
    "runtime": {
        "repository": "https://git.stoa.example/platform/stoa.git",
        "revision": "v0.1.0",
        "namespace": "mcp-gateway",
        "values": ["deploy/prod.yaml", "deploy/keys.yaml"],
        "signed": True,
    },
}
VAULT = {"server": "https://vault.stoa.example:8200"}


def graph(
    root: Path,
    tenants: tuple[str, ...] = ("acme", "zenith"),
    argocd: Mapping[str, Any] = ARGOCD,
    cluster: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    flows: list[dict[str, Any]] = FLOWS,
) -> Graph:
    """The graph; each tenant's backend has a credential."""
    declared = {
        "targets": ["mcp", "helm", "kubernetes", "argocd"],
        "kubernetes": {"vault": VAULT} if cluster is None else dict(cluster),
        "argocd": dict(argocd),
        **(environment or {}),
    }
    source = deployable.source(root, tenants=tenants, zones=ZONES, flows=flows, environment=declared)
    for path in source.glob("*/contracts/orders.yaml"):
        contract = yaml.safe_load(path.read_text())
        secret = f"vault:tenants/{path.parts[-3]}/orders#api-token"
        contract["spec"]["backend"]["auth"] = {"type": "bearer", "secret": secret}
        path.write_text(yaml.safe_dump(contract, sort_keys=False))
    if resources is not None:
        path = source / "platform.yaml"
        platform = yaml.safe_load(path.read_text())
        platform["spec"]["tiers"]["team"]["resources"] = dict(resources)
        path.write_text(yaml.safe_dump(platform, sort_keys=False))
    report = Report()
    checked = pipeline.read(source, report)
    assert checked.graph is not None
    assert report.errors == 0, [d.message for d in report.found]
    return checked.graph


def rendered(graph: Graph) -> dict[str, Artifact]:
    """Everything of the production bundle."""
    report = Report()
    files = dict(pipeline.render(graph, "prod", report).files)
    assert report.errors == 0
    return files


def objects(files: Mapping[str, Artifact], below: str) -> dict[str, list[dict[str, Any]]]:
    """The objects of each file below a folder."""
    return {
        path: list(yaml.safe_load_all(files[path].content)) for path in sorted(files) if path.startswith(f"{below}/")
    }
