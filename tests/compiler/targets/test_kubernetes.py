"""Tenants' namespaces: what is rendered, that Kubernetes' schemas take it, and that no slip of the emitter passes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stoa_compiler import blockyaml
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.target import Artifact
from stoa_compiler.targets import kubernetes
from stoa_compiler.targets.kubernetes.reach import Pod, Policies, Port, Unknown
from stoa_compiler.targets.kubernetes.verify import cluster_of
from stoa_schemas import bundle
from tests.compiler.targets.clustered import graph, objects, rendered
from tests.compiler.targets.deployable import HOSTILE, compiled
from tests.compiler.targets.mutations import mutants

GOLDEN = Path(__file__).parent / "golden" / "kubernetes"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def files(both: Graph) -> dict[str, Artifact]:
    return rendered(both)


def of_kind(files: Mapping[str, Artifact], kind: str, namespace: str | None = None) -> list[dict[str, Any]]:
    found = [o for many in objects(files, "kubernetes").values() for o in many if o["kind"] == kind]
    return [o for o in found if namespace is None or o["metadata"].get("namespace") == namespace]


def findings(graph: Graph, files: Mapping[str, Artifact]) -> list[str]:
    report = Report()
    kept = {p: a for p, a in files.items() if p.split("/")[0] in ("kubernetes", "mcp")}
    kubernetes.TARGET.verify(graph, "prod", kept, report)
    return [f"{d.rule.code} {d.message}" for d in report.sorted()]


def changed(files: Mapping[str, Artifact], path: str, documents: list[Any]) -> dict[str, Artifact]:
    content = b"---\n".join(blockyaml.dump(d) for d in documents)
    return {**files, path: Artifact(path, "application/yaml", content, ())}


def test_golden(both: Graph, files: dict[str, Artifact], update_golden: bool) -> None:
    made = {p: a.content for p, a in files.items() if p.startswith("kubernetes/") and "zenith" not in p}
    if update_golden:
        for path, content in made.items():
            (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / path).write_bytes(content)
    kept = {p.relative_to(GOLDEN).as_posix(): p.read_bytes() for p in GOLDEN.rglob("*") if p.is_file()}
    assert sorted(made) == sorted(kept)
    assert [p for p in made if made[p] != kept[p]] == []


def test_the_same_bytes_again(both: Graph, files: dict[str, Artifact]) -> None:
    again = rendered(both)
    assert {p: a.content for p, a in again.items()} == {p: a.content for p, a in files.items()}


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_every_object_fits_the_schemas(files: dict[str, Artifact], version: str) -> None:
    checked = 0
    for many in objects(files, "kubernetes").values():
        for one in many:
            if one["apiVersion"] != "external-secrets.io/v1":
                kubernetes_validate.validate(one, version, strict=True)
                checked += 1
    assert checked >= 2 * 16


def test_resources_of_the_tier(tmp_path: Path) -> None:
    resources = {
        "pods": 5,
        "cpu": "2000m",
        "memory": "2048Mi",
        "storage": "1024Gi",
        "containerCpu": "50m",
        "containerMemory": "64Mi",
    }
    files = rendered(graph(tmp_path, tenants=("acme",), resources=resources))
    (quota,), (limits,) = of_kind(files, "ResourceQuota"), of_kind(files, "LimitRange")
    assert quota["spec"]["hard"] == {
        "pods": "5",
        "requests.cpu": "2",
        "requests.memory": "2Gi",
        "limits.memory": "2Gi",
        "requests.storage": "1Ti",
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }
    (container,) = limits["spec"]["limits"]
    assert container["defaultRequest"] == {"cpu": "50m", "memory": "64Mi"}
    assert container["max"] == {"cpu": "2", "memory": "2Gi"}


def test_pod_security_and_vault_are_the_declared_ones(tmp_path: Path) -> None:
    vault = {"server": "https://bao.stoa.example", "mount": "kv/stoa", "authMount": "k8s-prod"}
    files = rendered(graph(tmp_path, tenants=("acme",), cluster={"podSecurity": "baseline", "vault": vault}))
    (namespace,), (store,) = of_kind(files, "Namespace"), of_kind(files, "SecretStore")
    modes = {k: v for k, v in namespace["metadata"]["labels"].items() if k.startswith("pod-security")}
    assert set(modes.values()) == {"baseline"}
    assert len(modes) == 3
    provider = store["spec"]["provider"]["vault"]
    assert (provider["server"], provider["path"]) == ("https://bao.stoa.example", "kv/stoa")
    assert provider["auth"]["kubernetes"]["mountPath"] == "k8s-prod"
    assert provider["auth"]["kubernetes"]["role"] == "stoa-acme-prod"


def test_secrets_are_references(files: dict[str, Artifact]) -> None:
    assert of_kind(files, "Secret") == []
    (secret,) = of_kind(files, "ExternalSecret", "stoa-acme-prod")
    (entry,) = secret["spec"]["data"]
    assert entry["secretKey"] == "STOA_SECRET_TENANTS_ACME_ORDERS_API_TOKEN"
    assert (entry["remoteRef"]["key"], entry["remoteRef"]["property"]) == ("tenants/acme/orders", "api-token")
    assert "dataFrom" not in secret["spec"]


def test_without_vault_there_are_no_secrets(tmp_path: Path) -> None:
    files = rendered(graph(tmp_path, tenants=("acme",), cluster={}))
    assert of_kind(files, "SecretStore") + of_kind(files, "ExternalSecret") == []


@pytest.mark.parametrize("size", [10, 300_000, 2_500_000])
def test_catalogs_of_any_size_read_back(both: Graph, size: int) -> None:
    text = (HOSTILE * (size // len(HOSTILE) + 1))[:size]
    carried = compiled(both, {"acme": text})
    files = {**carried, **{a.path: a for a in kubernetes.TARGET.emit(both, "prod", carried)}}
    assert findings(both, files) == []
    maps = of_kind(files, "ConfigMap", "stoa-acme-prod")
    parts = sorted((key, text) for m in maps for key, text in m["data"].items())
    assert "".join(text for _, text in parts).encode() == carried["mcp/tenants/acme.json"].content
    for one in maps:
        large = len(bundle.canonical(one)) > 256 * 1024
        asked = "ServerSideApply=true" in one["metadata"].get("annotations", {}).values()
        assert asked or not large
        assert len(bundle.canonical(one)) < 1024 * 1024
    assert (len(maps) > 1) == (size > 1_000_000)


def test_a_changed_catalog_has_another_name(both: Graph) -> None:
    names = set()
    for text in ("one", "two"):
        carried = compiled(both, {"acme": text})
        made = {a.path: a for a in kubernetes.TARGET.emit(both, "prod", carried)}
        names |= {m["metadata"]["name"] for m in of_kind(made, "ConfigMap", "stoa-acme-prod")}
        assert [m["immutable"] for m in of_kind(made, "ConfigMap")] == [True, True]
    assert len(names) == 2


# Reach


def reach(files: Mapping[str, Artifact]) -> set[tuple[str, str, int]]:
    """(namespace, namespace, port) by the rendered policies, for ports that flows name."""
    every = [o for many in objects(files, "kubernetes").values() for o in many]
    names = {o["metadata"]["namespace"] for o in every if o["kind"] == "NetworkPolicy"}
    policies = cluster_of(every, names | {"elsewhere"})
    found = set()
    for one in sorted(names | {"elsewhere"}):
        for port in (443, 8080, 8443, 9000):
            for other in policies.may("Egress", Pod(one), Port(port)):
                if Pod(one) in policies.may("Ingress", other, Port(port)) and not other.labels:
                    found.add((one, other.namespace, port))
    return found


def test_what_reaches_what(files: dict[str, Artifact]) -> None:
    dmz, internal = ("ingress", "mcp-gateway"), ("identity", "data")
    tenants = ("stoa-acme-prod", "stoa-zenith-prod")
    wanted = {(a, b, 8080) for a in dmz for b in (*dmz, *tenants)}
    wanted |= {(a, b, 8443) for a in dmz for b in internal}
    wanted |= {(t, t, 9000) for t in tenants}
    wanted |= {(t, d, 8443) for t in tenants for d in dmz}
    found = reach(files)
    assert {t for t in found if "elsewhere" not in t[:2]} == wanted
    assert {t for t in found if "elsewhere" in t[:2]} == {
        ("elsewhere", "elsewhere", p) for p in (443, 8080, 8443, 9000)
    }


def policy(**spec: Any) -> dict[str, Any]:
    return {"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "a"}, "spec": {"podSelector": {}, **spec}}


NAMESPACES = {n: {"kubernetes.io/metadata.name": n} for n in ("a", "b", "c")}
B = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}}
WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
"""Pods of the policy's own namespace."""


@pytest.mark.parametrize(
    ("peers", "wanted"),
    [
        ([{**B, **WEB}], {("b", True)}),
        ([B, WEB], {("b", True), ("b", False), ("a", True)}),
        ([B], {("b", True), ("b", False)}),
        ([WEB], {("a", True)}),
        ([{"namespaceSelector": {}}], {(n, w) for n in "abc" for w in (True, False)}),
        ([{"ipBlock": {"cidr": "10.0.0.0/8"}}], set()),
        ([], {(n, w) for n in "abc" for w in (True, False)}),
    ],
)
def test_selectors_of_one_peer_are_and_peers_are_or(peers: list[Any], wanted: set[tuple[str, bool]]) -> None:
    rules = [{"from": peers, "ports": [{"port": 80}]}]
    other = {"kind": "NetworkPolicy", "metadata": {"name": "q", "namespace": "c"}, "spec": policy()["spec"]}
    other["spec"] = {**other["spec"], "podSelector": WEB["podSelector"], "policyTypes": ["Ingress"]}
    policies = Policies([policy(policyTypes=["Ingress"], ingress=rules), other], NAMESPACES)
    found = policies.may("Ingress", Pod("a"), Port(80))
    assert {(p.namespace, bool(p.labels)) for p in found} == wanted
    assert policies.may("Ingress", Pod("a"), Port(81)) == set()
    assert len(policies.may("Egress", Pod("a"), Port(80))) == 6


@pytest.mark.parametrize(
    "spec",
    [
        {"ingress": []},
        {"policyTypes": ["Ingress"], "ingress": [{"from": [{}]}]},
        {"policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80, "endPort": 90}]}]},
        {"policyTypes": ["Ingress"], "ingress": [{"from": [{**B, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
        {"policyTypes": ["Ingress"], "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]},
    ],
)
def test_what_is_not_known_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(Unknown):
        Policies([policy(**spec)], NAMESPACES)


# Slips of the emitter


def test_no_slip_of_the_emitter_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each value of a tenant's files is changed, one at a time; labels in each file's first object."""
    single = graph(tmp_path, tenants=("acme",))
    files = rendered(single)
    assert findings(single, files) == []
    caught, missed = 0, []
    for path in (
        "kubernetes/platform/tenant-acme.yaml",
        "kubernetes/tenants/acme/catalog.yaml",
        "kubernetes/tenants/acme/secrets.yaml",
    ):
        documents = list(yaml.safe_load_all(files[path].content))
        for what, mutant in mutants(documents):
            if ".metadata.labels" in what and not what.startswith("0."):
                continue
            try:
                after = changed(files, path, mutant)
            except (AttributeError, TypeError):
                continue  # Nothing that can be written as a document.
            if findings(single, after):
                caught += 1
            else:
                missed.append(f"{path}: {what}")
    with capsys.disabled():
        print(f"\nkubernetes: {caught} slips of the emitter, {len(missed)} not noticed")
    assert caught > 500
    assert [m for m in missed if not harmless(m)] == []


def harmless(missed: str) -> bool:
    """Whether the cluster reads the changed policy just as before: TCP is what a port without protocol means."""
    return ".ports." in missed and missed.endswith("protocol left out")
