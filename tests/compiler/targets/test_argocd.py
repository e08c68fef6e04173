"""Projects and Applications: exact, without defaults, and no slip of the emitter passes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoa_compiler import blockyaml
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.target import Artifact
from stoa_compiler.targets import argocd
from tests.charts.conftest import HelmLibrary
from tests.compiler.targets.clustered import ARGOCD, REPOSITORY, graph, objects, rendered
from tests.compiler.targets.mutations import mutants

GOLDEN = Path(__file__).parent / "golden" / "argocd"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def helm() -> HelmLibrary:
    return HelmLibrary()


@pytest.fixture(scope="module")
def files(both: Graph) -> dict[str, Artifact]:
    return rendered(both)


def named(files: Mapping[str, Artifact], kind: str) -> dict[str, dict[str, Any]]:
    every = [o for many in objects(files, "argocd").values() for o in many]
    return {o["metadata"]["name"]: o for o in every if o["kind"] == kind}


def findings(graph: Graph, files: Mapping[str, Artifact]) -> list[str]:
    report = Report()
    kept = {p: a for p, a in files.items() if p.split("/")[0] in ("argocd", "helm", "kubernetes")}
    argocd.TARGET.verify(graph, "prod", kept, report)
    return [f"{d.rule.code} {d.message}" for d in report.sorted()]


def test_golden(files: dict[str, Artifact], update_golden: bool) -> None:
    made = {p: a.content for p, a in files.items() if p.startswith("argocd/")}
    if update_golden:
        for path, content in made.items():
            (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / path).write_bytes(content)
    kept = {p.relative_to(GOLDEN).as_posix(): p.read_bytes() for p in GOLDEN.rglob("*") if p.is_file()}
    assert sorted(made) == sorted(kept)
    assert [p for p in made if made[p] != kept[p]] == []


def test_a_tenants_project_is_exact(files: dict[str, Artifact]) -> None:
    project = named(files, "AppProject")["stoa-acme-prod"]
    assert project["spec"] == {
        "sourceRepos": [REPOSITORY],
        "destinations": [{"server": ARGOCD["cluster"], "namespace": "stoa-acme-prod"}],
        "clusterResourceWhitelist": [],
        "namespaceResourceWhitelist": [
            {"group": "", "kind": "ConfigMap"},
            {"group": "external-secrets.io", "kind": "ExternalSecret"},
            {"group": "external-secrets.io", "kind": "SecretStore"},
        ],
    }


def test_what_bounds_a_tenant_is_applied_alone(files: dict[str, Artifact]) -> None:
    """Whoever must confirm that a tenant's namespace may go holds up nobody else meanwhile."""
    project = named(files, "AppProject")["stoa-acme-prod-bounds"]["spec"]
    assert project["destinations"] == [{"server": ARGOCD["cluster"], "namespace": "stoa-acme-prod"}]
    assert project["clusterResourceWhitelist"] == [{"group": "", "kind": "Namespace"}]
    applications = named(files, "Application")
    taken = {n: a["spec"]["source"]["directory"]["include"] for n, a in applications.items() if "source" in a["spec"]}
    assert taken["stoa-acme-prod-bounds"] == "tenant-acme.yaml"
    assert taken["stoa-prod-platform"] == "zone-*.yaml"
    for name, one in applications.items():
        if name not in ("stoa-prod-root", "stoa-prod-runtime"):
            notes = one["metadata"]["annotations"]
            shown = notes["argocd.argoproj.io/manifest-generate-paths"]
            assert shown == (taken[name] if taken[name] != "*.yaml" else ".")


def test_applications_lie_in_argo_cds_namespace_and_follow_their_folders(files: dict[str, Artifact]) -> None:
    applications = named(files, "Application")
    assert {a["metadata"]["namespace"] for a in applications.values()} == {"argocd"}
    folders = {n: a["spec"]["source"]["path"] for n, a in applications.items() if "source" in a["spec"]}
    assert folders == {
        "stoa-prod-root": "clusters/prod/argocd/applications",
        "stoa-prod-platform": "clusters/prod/kubernetes/platform",
        "stoa-acme-prod-bounds": "clusters/prod/kubernetes/platform",
        "stoa-zenith-prod-bounds": "clusters/prod/kubernetes/platform",
        "stoa-acme-prod": "clusters/prod/kubernetes/tenants/acme",
        "stoa-zenith-prod": "clusters/prod/kubernetes/tenants/zenith",
    }
    for path in folders.values():
        assert [p for p in files if f"clusters/prod/{p}".rpartition("/")[0] == path]
    for one in applications.values():
        assert one["spec"]["syncPolicy"] == {
            "automated": {"prune": True, "selfHeal": True},
            "retry": {"limit": -1, "refresh": True},
        }
        assert "ignoreDifferences" not in one["spec"]


def test_borders_come_first_and_no_tenant_can_hold_up_what_comes_after(files: dict[str, Artifact]) -> None:
    """Argo CD waits until one wave is healthy before it goes on to the next, but for the last."""
    wave = {
        n: int(a["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
        for n, a in named(files, "Application").items()
        if n != "stoa-prod-root"
    }
    assert wave["stoa-prod-platform"] == wave["stoa-acme-prod-bounds"] < wave["stoa-acme-prod"]
    assert wave["stoa-acme-prod"] == wave["stoa-zenith-prod"] == max(wave.values())
    assert wave["stoa-prod-runtime"] == max(wave.values())
    for name, project in named(files, "AppProject").items():
        if name != "stoa-prod-root":
            assert int(project["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) < min(wave.values())


def test_the_runtimes_project_permits_what_the_chart_renders(files: dict[str, Artifact], helm: HelmLibrary) -> None:
    rendered_objects = helm.render(files["helm/stoa-runtime.values.yaml"].content.decode())
    kinds = {(o["apiVersion"].rpartition("/")[0], o["kind"]) for o in rendered_objects}
    spec = named(files, "AppProject")["stoa-prod-runtime"]["spec"]
    assert kinds == {(k["group"], k["kind"]) for k in spec["namespaceResourceWhitelist"]}
    assert spec["sourceRepos"] == sorted([REPOSITORY, ARGOCD["runtime"]["repository"]])


def test_the_operators_values_come_last_and_the_signature_beside_them(
    files: dict[str, Artifact], tmp_path: Path
) -> None:
    chart, bundle = named(files, "Application")["stoa-prod-runtime"]["spec"]["sources"]
    assert chart["helm"]["valueFiles"] == [
        "$bundle/clusters/prod/helm/stoa-runtime.values.yaml",
        "/deploy/prod.yaml",
        "/deploy/keys.yaml",
    ]
    envelope = {"name": "signature.envelope", "path": "$bundle/clusters/prod/mcp/bundle.intoto.jsonl"}
    assert chart["helm"]["fileParameters"] == [envelope]
    assert bundle["ref"] == "bundle"
    runtime = {k: v for k, v in ARGOCD["runtime"].items() if k not in ("values", "signed")}
    plain = rendered(graph(tmp_path, tenants=("acme",), argocd={**ARGOCD, "runtime": runtime}))
    chart, _ = named(plain, "Application")["stoa-prod-runtime"]["spec"]["sources"]
    assert chart["helm"] == {
        "releaseName": "stoa",
        "valueFiles": ["$bundle/clusters/prod/helm/stoa-runtime.values.yaml"],
    }


def test_places_are_the_declared_ones(tmp_path: Path) -> None:
    declared = {
        "repository": "ssh://git@git.stoa.example:2222/x.git",
        "branch": "envs/prod",
        "namespace": "gitops",
    }
    files = rendered(graph(tmp_path, tenants=("acme",), argocd=declared))
    applications = named(files, "Application")
    wanted = ["stoa-acme-prod", "stoa-acme-prod-bounds", "stoa-prod-platform", "stoa-prod-root"]
    assert sorted(applications) == wanted
    one = applications["stoa-acme-prod"]
    assert one["metadata"]["namespace"] == "gitops"
    assert one["spec"]["source"]["repoURL"] == "ssh://git@git.stoa.example:2222/x.git"
    assert one["spec"]["source"]["targetRevision"] == "envs/prod"
    assert one["spec"]["source"]["path"] == "prod/kubernetes/tenants/acme"
    assert one["spec"]["destination"] == {"server": "https://kubernetes.default.svc", "namespace": "stoa-acme-prod"}
    root = applications["stoa-prod-root"]["spec"]["destination"]
    assert root == {"server": "https://kubernetes.default.svc", "namespace": "gitops"}


@pytest.mark.parametrize(
    ("path", "kind", "change"),
    [
        ("kubernetes/tenants/acme/catalog.yaml", "ConfigMap", {"namespace": "stoa-zenith-prod"}),
        ("kubernetes/tenants/acme/catalog.yaml", "ConfigMap", {"namespace": None}),
    ],
)
def test_a_folder_that_its_project_does_not_permit(
    both: Graph, files: dict[str, Artifact], path: str, kind: str, change: dict[str, Any]
) -> None:
    documents = list(yaml.safe_load_all(files[path].content))
    metadata = {k: v for k, v in (documents[0]["metadata"] | change).items() if v is not None}
    documents[0]["metadata"] = metadata
    content = b"---\n".join(map(blockyaml.dump, documents))
    found = findings(both, {**files, path: Artifact(path, "application/yaml", content, ())})
    assert any(f.startswith(f"STOA673 `stoa-acme-prod` does not permit {kind}") for f in found), found


def test_no_slip_of_the_emitter_passes(
    both: Graph, files: dict[str, Artifact], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each value of every file is changed, one at a time."""
    assert findings(both, files) == []
    caught, missed = 0, []
    for path in (p for p in files if p.startswith("argocd/") and "zenith" not in p):
        for what, mutant in mutants(list(yaml.safe_load_all(files[path].content))):
            try:
                content = b"---\n".join(map(blockyaml.dump, mutant))
            except (AttributeError, TypeError):
                continue  # Nothing that can be written as a document.
            if findings(both, {**files, path: Artifact(path, "application/yaml", content, ())}):
                caught += 1
            else:
                missed.append(f"{path}: {what}")
    with capsys.disabled():
        print(f"\nargocd: {caught} slips of the emitter, {len(missed)} not noticed")
    assert caught > 300
    assert missed == []
