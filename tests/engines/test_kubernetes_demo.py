"""Every object that comes of the demo source, and of larger and other ones, judged by a real API server's dry run.

Custom objects are judged by their own definitions: Argo CD's and External Secrets'.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoa_compiler import pipeline
from stoa_compiler.diagnostics import Report
from stoa_compiler.target import Artifact
from tests.charts.conftest import HelmLibrary
from tests.engines import argocd, external_secrets
from tests.engines.conftest import ROOT
from tests.engines.kubernetes import Cluster, running

pytestmark = pytest.mark.engine

Object = dict[str, Any]
LIMIT = 262_144
"""Bytes that all annotations of an object may have, and so what client-side apply can remember."""
SSA = "ServerSideApply=true"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that knows the kinds of both controllers."""
    definitions = [*argocd.manifests("crds"), *external_secrets.definitions()]
    with running(tmp_path_factory.mktemp("kubernetes")) as server:
        for one in definitions:
            assert server.apply(one)[0] in (200, 201)
        for name in ("argocd", "ingress", "mcp-gateway", "control-plane", "identity", "data"):
            made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            assert server.apply(made)[0] in (200, 201)
        yield server


def demo(folder: Path, changes: Mapping[str, str] | None = None) -> Path:
    """A copy of the demo source; `changes` are made in its platform document."""
    shutil.copytree(ROOT / "tenants", folder)
    text = (folder / "platform.yaml").read_text()
    for before, after in (changes or {}).items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    (folder / "platform.yaml").write_text(text)
    return folder


def files_of(source: Path, environment: str = "prod") -> dict[str, Artifact]:
    report = Report()
    graph = pipeline.read(source, report).graph
    assert graph is not None
    files = dict(pipeline.render(graph, environment, report).files)
    assert report.errors == 0, [d.message for d in report.found]
    return files


def objects_of(files: Mapping[str, Artifact]) -> list[Object]:
    """What Argo CD would apply, namespaces first: manifests, the chart's, and Argo CD's own."""
    found = [
        one
        for path in sorted(files)
        if path.startswith(("kubernetes/", "argocd/"))
        for one in yaml.safe_load_all(files[path].content)
    ]
    for one in HelmLibrary().render(files["helm/stoa-runtime.values.yaml"].content.decode()):
        one["metadata"].setdefault("namespace", "mcp-gateway")
        found.append(one)
    return sorted(found, key=lambda o: o["kind"] != "Namespace")


def judge(cluster: Cluster, objects: list[Object]) -> dict[str, int]:
    """How many of each kind passed the dry run, every field checked; an object that does not fails the test."""
    passed: dict[str, int] = {}
    for one in objects:
        status, answer = cluster.apply(one, dry_run=True)
        assert status in (200, 201), f"{one['kind']} {one['metadata']['name']}: {answer.get('message')}"
        passed[one["kind"]] = passed.get(one["kind"], 0) + 1
        if one["kind"] == "Namespace":  # The others' dry runs ask for it.
            assert cluster.apply(one)[0] in (200, 201)
    return passed


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_every_object_of_the_demo_is_taken(cluster: Cluster, tmp_path: Path, environment: str) -> None:
    passed = judge(cluster, objects_of(files_of(demo(tmp_path / "tenants"), environment)))
    tenants = passed["Namespace"]
    assert tenants >= 2
    assert passed["ExternalSecret"] == passed["SecretStore"] == passed["ResourceQuota"] == tenants
    assert passed["Application"] == passed["AppProject"] == 3 + 2 * tenants
    assert passed["Deployment"] == 1
    assert {"ConfigMap", "NetworkPolicy", "Role", "RoleBinding", "LimitRange", "HorizontalPodAutoscaler"} <= set(passed)


def test_every_object_is_taken_with_a_realm_for_each_tenant(cluster: Cluster, tmp_path: Path) -> None:
    changes = {"strategy: single-realm": "strategy: realm-per-tenant"}
    files = files_of(demo(tmp_path / "tenants", changes))
    assert len([p for p in files if p.startswith("keycloak/")]) > 1
    assert judge(cluster, objects_of(files))["Deployment"] == 1


def large(folder: Path, operations: int) -> Path:
    """The demo source, where one tenant has a contract of so many operations that all have much to say."""
    source = demo(folder)
    words = "Says what this is for, in so many words that whoever reads it is sure to have understood it in the end."
    properties = {f"field_{n:02}": {"type": "string", "description": f"{n}. {words}"} for n in range(60)}
    one = {
        "method": "POST",
        "summary": "Files a report",
        "sideEffects": "read",
        "input": {"type": "object", "properties": properties, "additionalProperties": False},
        "output": {"type": "object", "properties": properties},
    }
    contract = {
        "apiVersion": "gostoa.dev/v2",
        "kind": "UniversalAPIContract",
        "metadata": {"name": "reports", "tenant": "ioi"},
        "spec": {
            "displayName": "Reports",
            "version": "1.0.0",
            "classification": "H",
            "status": "published",
            "owner": "reports@ioi.example",
            "backend": {"urls": dict.fromkeys(("dev", "staging", "prod"), "https://reports.ioi.example/v1")},
            "operations": {f"file_{n:03}": {**one, "path": f"/reports/{n}"} for n in range(operations)},
        },
    }
    # JSON is YAML too, and has no aliases, which the language does not take.
    (source / "ioi" / "contracts" / "reports.yaml").write_text(json.dumps(contract, indent=1))
    return source


def test_what_passes_256_kib_is_taken_by_server_side_apply_and_by_nothing_else(
    cluster: Cluster, tmp_path: Path
) -> None:
    objects = objects_of(files_of(large(tmp_path / "tenants", 30)))
    judge(cluster, objects)
    passing = [o for o in objects if o["kind"] == "ConfigMap" and len(_json(o["data"])) > LIMIT]
    assert {o["metadata"]["namespace"] for o in passing} == {"stoa-ioi-prod", "mcp-gateway"}
    for one in passing:
        assert SSA in one["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
        # Client-side apply writes the whole object into an annotation, which then is too long.
        notes = {**one["metadata"]["annotations"], "kubectl.kubernetes.io/last-applied-configuration": _json(one)}
        status, answer = cluster.apply({**one, "metadata": {**one["metadata"], "annotations": notes}}, dry_run=True)
        assert status == 422
        assert f"may not be more than {LIMIT} bytes" in answer["message"]
    small = [o for o in objects if o["kind"] == "ConfigMap" and len(_json(o)) < 100_000]
    assert small
    assert not any(SSA in _json(o["metadata"].get("annotations", {})) for o in small)


def _json(value: Any) -> str:
    return json.dumps(value)


def test_the_dry_run_refuses_what_is_wrong(cluster: Cluster, tmp_path: Path) -> None:
    """It is worth something for custom objects too: their definitions are asked."""
    objects = objects_of(files_of(demo(tmp_path / "tenants")))
    judge(cluster, [o for o in objects if o["kind"] == "Namespace"])
    for kind, wrong in (
        ("ExternalSecret", {"refreshInterval": 5}),
        ("SecretStore", {"provider": {"vault": {"server": "https://x.example", "version": "v3"}}}),
        ("Application", {"project": "x"}),
        ("AppProject", {"destinations": "everywhere"}),
        ("NetworkPolicy", {"podSelector": {}, "policyTypes": ["Both"]}),
    ):
        one = next(o for o in objects if o["kind"] == kind)
        assert cluster.apply({**one, "spec": wrong}, dry_run=True)[0] in (400, 422, 500), kind
        status, _ = cluster.apply({**one, "spec": {**one["spec"], "unknownKey": 1}}, dry_run=True)
        assert status in (400, 422, 500), f"{kind} takes a key that nobody knows"
