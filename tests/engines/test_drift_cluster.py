"""`stoa drift --kubernetes` on a real API server: in sync after an apply, and each hand-made change by its name."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler import pipeline
from stoa_compiler.diagnostics import Report
from stoa_compiler.drift.cluster import manifests
from stoa_compiler.write import write
from tests.compiler.targets.clustered import graph
from tests.engines.conftest import STOA
from tests.engines.kubernetes import Cluster, running

pytestmark = pytest.mark.engine
NAMESPACE = "stoa-acme-prod"
CUSTOM = {
    "external-secrets.io/v1": {"ExternalSecret": "externalsecrets", "SecretStore": "secretstores"},
    "argoproj.io/v1alpha1": {"Application": "applications", "AppProject": "appprojects"},
}
Drift = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two tenants, with everything that the targets for clusters render."""
    scratch = tmp_path_factory.mktemp("drift")
    report = Report()
    made = pipeline.render(graph(scratch / "source"), "prod", report)
    write(made.files, scratch / "bundle")
    return scratch / "bundle"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Cluster]:
    """A server that knows the custom kinds, with the bundle applied as Argo CD would."""
    with running(tmp_path_factory.mktemp("kubernetes")) as server:
        for version, kinds in CUSTOM.items():
            for kind, plural in kinds.items():
                group, _, name = version.partition("/")
                schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                made = {
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": {"name": f"{plural}.{group}"},
                    "spec": {
                        "group": group,
                        "scope": "Namespaced",
                        "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                        "versions": [
                            {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
                        ],
                    },
                }
                status, answer = server.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", made)
                assert status == 201, answer
        for name in ("ingress", "mcp-gateway", "identity", "data", "argocd"):
            assert server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})[0] == 201
        applied(server, folder)
        yield server


def applied(server: Cluster, folder: Path) -> None:
    """The whole bundle, applied again: what was changed by hand is taken back."""
    for one in sorted(manifests(folder), key=lambda o: o["kind"] != "Namespace"):
        for _ in range(50):  # A new custom kind takes a moment.
            status, answer = server.apply(one)
            if status in (200, 201):
                break
        assert status in (200, 201), (one["kind"], one["metadata"]["name"], answer)


@pytest.fixture
def drift(cluster: Cluster, folder: Path, tmp_path: Path) -> Drift:
    """The command's exit code, what it says of the cluster, and its text."""
    config = cluster.kubeconfig(tmp_path / "kubeconfig")

    def run(*options: str) -> tuple[int, dict[str, Any], str]:
        command = [STOA, "drift", folder, "--kubernetes", "--kubeconfig", config, *options]
        done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert done.stdout, done.stderr
        text = subprocess.run(command, capture_output=True, text=True, check=False)
        assert text.returncode == done.returncode
        (system,) = json.loads(done.stdout)["systems"]
        return done.returncode, system, text.stdout

    return run


@pytest.fixture
def mended(cluster: Cluster, folder: Path) -> Iterator[None]:
    yield
    # An apply leaves alone what it never declared.
    for name in ("stoa-default-deny", "stoa-dns"):
        cluster.call("DELETE", f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/{name}")
    applied(cluster, folder)


def told(system: dict[str, Any]) -> list[tuple[str, str]]:
    return [(d["kind"], d["object"]) for d in system["differences"]]


def test_in_sync_right_after_an_apply(drift: Drift, folder: Path) -> None:
    code, system, text = drift()
    assert (code, told(system), system["state"]) == (0, [], "equal")
    assert system["objects"] == len(list(manifests(folder))) > 60
    assert ": equal (" in text


@pytest.mark.usefixtures("mended")
def test_each_change_by_hand_is_named(cluster: Cluster, drift: Drift) -> None:
    at = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
    merge = "application/merge-patch+json"
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
    # A policy that lets everything out, and one that gets a rule of which nothing is declared.
    assert cluster.call("PATCH", f"{at}/stoa-default-deny", {"spec": {"egress": [{}]}}, merge)[0] == 200
    assert cluster.call("PATCH", f"{at}/stoa-dns?fieldManager=by-hand", {"spec": {"ingress": [{}]}}, merge)[0] == 200
    assert cluster.call("DELETE", f"{at}/stoa-from-tenants")[0] == 200
    rules = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}
    assert cluster.call("PATCH", f"{rbac}/roles/stoa-tenant", rules, merge)[0] == 200
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged", "team": "acme"}}}
    assert cluster.call("PATCH", f"/api/v1/namespaces/{NAMESPACE}", label, merge)[0] == 200
    quota = {"spec": {"hard": {"pods": "9999"}}}
    assert cluster.call("PATCH", f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/stoa-quota", quota, merge)[0] == 200
    code, system, text = drift()
    assert code == 1
    assert sorted(told(system)) == [
        ("changed", f"Namespace {NAMESPACE}"),
        ("changed", f"ResourceQuota {NAMESPACE}/stoa-quota"),
        ("changed", f"Role {NAMESPACE}/stoa-tenant"),
        ("extra", f"NetworkPolicy {NAMESPACE}/stoa-default-deny"),
        ("extra", f"NetworkPolicy {NAMESPACE}/stoa-dns"),
        ("missing", f"NetworkPolicy {NAMESPACE}/stoa-from-tenants"),
    ]
    assert 'metadata.labels[pod-security.kubernetes.io/enforce]: "privileged" -> "restricted"' in text
    assert "team" not in text
    assert "spec.egress: [{}] -> nothing" in text
    dns = f"+ NetworkPolicy {NAMESPACE}/stoa-dns has more than is declared (set by `by-hand`)"
    assert f"{dns}\n      spec.ingress: [{{}}] -> nothing" in text
    assert 'spec.hard.pods: "9999" ->' in text


@pytest.mark.usefixtures("mended")
def test_what_means_the_same_is_no_difference(cluster: Cluster, folder: Path, drift: Drift) -> None:
    merge = "application/merge-patch+json"
    at = f"/api/v1/namespaces/{NAMESPACE}/resourcequotas/stoa-quota"
    hard = cluster.call("GET", at)[1]["spec"]["hard"]
    memory = hard["limits.memory"]
    assert memory.endswith("Gi")
    other = {"spec": {"hard": {"limits.memory": f"{int(memory[:-2]) * 1024}Mi"}}}
    assert cluster.call("PATCH", at, other, merge)[0] == 200
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/stoa-tenant"
    rules = cluster.call("GET", role)[1]["rules"]
    turned = [{k: list(reversed(v)) for k, v in rule.items()} for rule in rules]
    assert turned != rules
    assert cluster.call("PATCH", role, {"rules": turned}, merge)[0] == 200
    # Whoever creates an object without server-side apply owns its defaults, too.
    for one in manifests(folder):
        kinds = ("LimitRange", "NetworkPolicy", "RoleBinding")
        if one["metadata"].get("namespace") == NAMESPACE and one["kind"] in kinds:
            path = cluster.path(one)
            assert cluster.call("DELETE", f"{path}/{one['metadata']['name']}")[0] == 200
            assert cluster.call("POST", f"{path}?fieldManager=kubectl-create", one)[0] == 201
    code, system, _ = drift()
    assert (code, told(system)) == (0, [])


def test_an_object_of_ours_that_nobody_declares_is_drift(cluster: Cluster, drift: Drift) -> None:
    labels = {
        "app.kubernetes.io/managed-by": "stoa",
        "app.kubernetes.io/part-of": "stoa",
        "gostoa.dev/environment": "prod",
    }
    left = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": NAMESPACE, "name": "left"}, "data": {}}
    others = [
        {"namespace": NAMESPACE, "name": "theirs"},
        {"namespace": NAMESPACE, "name": "staging", "labels": {**labels, "gostoa.dev/environment": "staging"}},
    ]
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    for metadata in ({**left["metadata"], "labels": labels}, *others):
        assert cluster.call("POST", path, {**left, "metadata": metadata})[0] == 201
    code, system, text = drift()
    assert (code, told(system)) == (1, [("orphan", f"ConfigMap {NAMESPACE}/left")])
    assert f"+ ConfigMap {NAMESPACE}/left is not declared (it carries our labels, and the bundle has it not)" in text
    assert cluster.call("DELETE", f"{path}/left")[0] == 200
    assert drift()[0] == 0


def test_nothing_is_changed_by_looking(cluster: Cluster, drift: Drift) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/stoa-default-deny"
    merge = "application/merge-patch+json"
    assert cluster.call("PATCH", path, {"spec": {"policyTypes": ["Ingress"]}}, merge)[0] == 200
    before = cluster.call("GET", path)[1]
    assert drift()[0] == 1
    assert cluster.call("GET", path)[1] == before
    assert cluster.call("PATCH", path, {"spec": {"policyTypes": ["Ingress", "Egress"]}}, merge)[0] == 200
    assert drift()[0] == 0


def test_who_is_not_let_in_is_told(cluster: Cluster, folder: Path, tmp_path: Path) -> None:
    config = cluster.kubeconfig(tmp_path / "kubeconfig")
    whole = json.loads(config.read_text())
    for change, words in (
        ({"users": [{"name": "admin", "user": {"token": "wrong"}}]}, "does not let us in (401)"),
        ({"current-context": "elsewhere"}, "the kubeconfig cannot be used"),
        ({"clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:9"}}]}, "cannot be asked"),
    ):
        config.write_text(json.dumps(whole | change))
        command = [STOA, "drift", folder, "--kubernetes", "--kubeconfig", config]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
        assert words in done.stdout
