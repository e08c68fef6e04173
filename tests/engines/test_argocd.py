"""A real Argo CD applies what the target `argocd` renders, and nothing that somebody else put into a folder.

One platform with many tenants is published and applied; then each tenant's folder on the branch is tampered with in a
way of its own, in one commit, and each test looks at what became of one of them.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chain.place import CHART_TAG, GATEWAY_NAMESPACE, chart, commit, run
from tests.compiler.targets import clustered
from tests.engines import argocd, external_secrets, kubernetes
from tests.engines.argocd import ArgoCd, told
from tests.engines.conftest import STOA
from tests.engines.kubernetes import Cluster

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("argocd")]

Object = dict[str, Any]

FOREIGN = "https://git.elsewhere.example/evil/manifests.git"
HONEST, NEIGHBOUR, ATTACKER = "acme", "zenith", "mallory"
OWN = f"stoa-{ATTACKER}-prod"


def _with(kind: str, version: str, name: str, namespace: str | None = None, **more: Any) -> Object:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def _application(name: str, namespace: str, **spec: Any) -> Object:
    source = {"repoURL": FOREIGN, "path": ".", "targetRevision": "main"}
    destination = {"server": "https://kubernetes.default.svc", "namespace": "kube-system"}
    whole = {"project": "default", "source": source, "destination": destination, **spec}
    return _with("Application", ARGO, name, namespace, spec=whole)


def _config_map(name: str, namespace: str) -> Object:
    return _with("ConfigMap", "v1", name, namespace, data={"hello": "neighbour"})


ARGO, RBAC = "argoproj.io/v1alpha1", "rbac.authorization.k8s.io/v1"
RULES = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
ADMIN = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
ME = [{"kind": "ServiceAccount", "name": "stoa-tenant", "namespace": OWN}]
EVERYTHING = {"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}]}
EVERYTHING["clusterResourceWhitelist"] = [{"group": "*", "kind": "*"}]
KIND, PLACE = "is not permitted in project", "is not permitted in project"
ATTACKS: dict[str, tuple[Object, str]] = {
    "a cluster role": (_with("ClusterRole", RBAC, "loot", rules=RULES), KIND),
    "a cluster-wide binding": (_with("ClusterRoleBinding", RBAC, "loot", roleRef=ADMIN, subjects=ME), KIND),
    "a role of its own": (_with("Role", RBAC, "loot", OWN, rules=RULES), KIND),
    "a binding of its own": (_with("RoleBinding", RBAC, "loot", OWN, roleRef=ADMIN, subjects=ME), KIND),
    "a namespace": (_with("Namespace", "v1", "loot"), KIND),
    "a webhook": (_with("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1", "loot"), KIND),
    "something in a neighbour's namespace": (_config_map("loot-1", f"stoa-{NEIGHBOUR}-prod"), PLACE),
    "something in Argo CD's namespace": (_config_map("loot-2", "argocd"), PLACE),
    "something in the gateway's namespace": (_config_map("loot-3", GATEWAY_NAMESPACE), PLACE),
    "an ApplicationSet": (_with("ApplicationSet", ARGO, "loot", OWN, spec={"generators": [], "template": {}}), KIND),
    "an ApplicationSet beside Argo CD": (
        _with("ApplicationSet", ARGO, "loot", "argocd", spec={"generators": [], "template": {}}),
        KIND,
    ),
    "an Application": (_application("loot-4", OWN), KIND),
    "an Application beside Argo CD": (_application("loot-5", "argocd"), KIND),
    "a project": (_with("AppProject", ARGO, "loot", "argocd", spec=EVERYTHING), KIND),
    "its own project, widened": (_with("AppProject", ARGO, OWN, "argocd", spec=EVERYTHING), KIND),
    "an open network policy": (
        _with("NetworkPolicy", "networking.k8s.io/v1", "loot", OWN, spec={"podSelector": {}, "egress": [{}]}),
        KIND,
    ),
    "a quota": (_with("ResourceQuota", "v1", "loot", OWN, spec={"hard": {"pods": "9999"}}), KIND),
    "a plain secret": (_with("Secret", "v1", "loot", OWN, stringData={"token": "x"}), KIND),
    "a pod": (_with("Pod", "v1", "loot", OWN, spec={"containers": [{"name": "c", "image": "x"}]}), KIND),
    "a store of the cluster's secrets": (
        _with("ClusterSecretStore", "external-secrets.io/v1", "loot", spec={"provider": {"fake": {"data": []}}}),
        KIND,
    ),
}
"""Objects that somebody puts into a tenant's folder, and what Argo CD says about them."""
TENANTS = (HONEST, NEIGHBOUR, ATTACKER, "leaver", "emptied", "thinned", "charted", "kustomized")


@dataclass
class Delivery:
    """A platform in the API server, and the branch that it comes from."""

    argo: ArgoCd
    source: Path
    work: Path
    rendered: Path
    bundle: Path
    tip: str = ""
    """The commit that tampers."""

    @property
    def cluster(self) -> Cluster:
        """Where it is applied."""
        return self.argo.cluster

    def publish(self) -> str:
        """Compiles and publishes the source; the commit on the branch."""
        run(STOA, "compile", self.source, "--env", "prod", "--out", self.bundle)
        whereto = ("--repo", f"file://{self.rendered}", "--branch", "rendered")
        published: str = json.loads(run(STOA, "publish", self.bundle, *whereto, "--format", "json"))["commit"]
        return published

    def tamper(self, message: str) -> str:
        """Pushes what lies in the working tree, as whoever can write to the branch could; the commit."""
        made = commit(self.work, message)
        run("git", "push", "--quiet", "origin", "HEAD:rendered", cwd=self.work)
        return made

    def folder(self, tenant: str) -> Path:
        """A tenant's folder in the working tree."""
        return self.work / "prod" / "kubernetes" / "tenants" / tenant

    def config_maps(self, tenant: str) -> list[str]:
        """Names of the catalogs in a tenant's namespace."""
        _, answer = self.cluster.call("GET", f"/api/v1/namespaces/stoa-{tenant}-prod/configmaps")
        return sorted(one["metadata"]["name"] for one in answer["items"])


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """The platform as it was published, applied by Argo CD; nobody has tampered with anything yet."""
    argocd.program()
    scratch = tmp_path_factory.mktemp("argocd")
    rendered, repository = scratch / "rendered.git", scratch / "platform.git"
    run("git", "init", "--quiet", "--bare", "--initial-branch", "rendered", rendered)
    chart(scratch / "platform", repository, {})
    runtime = {"repository": f"file://{repository}", "revision": CHART_TAG, "namespace": GATEWAY_NAMESPACE}
    declared = {"repository": f"file://{rendered}", "branch": "rendered", "runtime": runtime}
    definitions = external_secrets.definitions()
    clustered.graph(scratch / "source", TENANTS, argocd=declared, environment={"development": True})
    (scratch / "k").mkdir()
    (scratch / "a").mkdir()
    with kubernetes.running(scratch / "k") as cluster:
        for one in definitions:
            assert cluster.apply(one)[0] in (200, 201)
        with argocd.running(scratch / "a", cluster) as argo:
            made = Delivery(argo, scratch / "source", scratch / "work", rendered, scratch / "bundle")
            revision = made.publish()
            for name in ("ingress", GATEWAY_NAMESPACE, "identity", "data"):
                assert cluster.apply(_with("Namespace", "v1", name))[0] in (200, 201)
            for one in yaml.safe_load_all((made.bundle / "argocd" / "root.yaml").read_text()):
                assert cluster.apply(one)[0] in (200, 201)
            argo.wait_synced("stoa-prod-root", revision, healthy=False)
            for name in argo.applications():
                argo.wait_synced(name, revision, healthy=False)
            run("git", "clone", "--quiet", "--branch", "rendered", f"file://{rendered}", made.work)
            yield made


def test_everything_is_applied_and_nothing_differs_afterwards(applied: Delivery) -> None:
    """No phantom differences: another look, without any cache, changes no object and starts no sync."""
    names = sorted(applied.argo.applications())
    assert len(names) == 3 + 2 * len(TENANTS)
    before = {name: one["status"]["operationState"]["startedAt"] for name, one in applied.argo.applications().items()}
    versions = {tenant: _versions(applied, tenant) for tenant in (HONEST, NEIGHBOUR)}
    for name in names:
        note = {"metadata": {"annotations": {"argocd.argoproj.io/refresh": "hard"}}}
        path = f"/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/{name}"
        assert applied.cluster.call("PATCH", path, note, "application/merge-patch+json")[0] == 200
    for name in names:
        one = applied.argo.wait(name, _is_looked_at, "looked at")
        assert one["status"]["sync"]["status"] == "Synced", told(one)
        assert one["status"]["operationState"]["startedAt"] == before[name]
        assert not one["status"].get("conditions"), told(one)
    assert {tenant: _versions(applied, tenant) for tenant in (HONEST, NEIGHBOUR)} == versions
    assert all(versions.values())


def _is_looked_at(application: Object) -> bool:
    return "argocd.argoproj.io/refresh" not in application["metadata"].get("annotations", {})


def _versions(applied: Delivery, tenant: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in ("api/v1", "apis/networking.k8s.io/v1", "apis/external-secrets.io/v1", "apis/" + RBAC):
        for one in _in(applied.cluster, group, f"stoa-{tenant}-prod"):
            found[f"{one['kind']}/{one['metadata']['name']}"] = one["metadata"]["resourceVersion"]
    return found


def _in(cluster: Cluster, group: str, namespace: str) -> list[Object]:
    plurals = {
        "api/v1": ("configmaps", "resourcequotas", "limitranges", "serviceaccounts"),
        "apis/networking.k8s.io/v1": ("networkpolicies",),
        "apis/external-secrets.io/v1": ("externalsecrets", "secretstores"),
        "apis/" + RBAC: ("roles", "rolebindings"),
    }
    found = []
    for plural in plurals[group]:
        status, answer = cluster.call("GET", f"/{group}/namespaces/{namespace}/{plural}")
        assert status == 200, answer
        found += [{"kind": plural, **one} for one in answer["items"]]
    return found


def test_a_tenant_that_does_not_get_healthy_holds_up_nobody(applied: Delivery) -> None:
    """There is no controller of External Secrets here, so no tenant's secrets ever come."""
    for tenant in (HONEST, NEIGHBOUR):
        assert applied.argo.application(f"stoa-{tenant}-prod")["status"]["health"]["status"] == "Progressing"
    root = applied.argo.application("stoa-prod-root")["status"]
    assert root["operationState"]["phase"] == "Succeeded"
    runtime = applied.argo.application("stoa-prod-runtime")["status"]
    assert runtime["sync"]["status"] == "Synced"
    found = applied.cluster.call("GET", f"/apis/apps/v1/namespaces/{GATEWAY_NAMESPACE}/deployments/stoa-stoa-runtime")
    assert found[0] == 200


def test_what_somebody_changes_in_the_cluster_is_put_back(applied: Delivery) -> None:
    path = f"/apis/networking.k8s.io/v1/namespaces/stoa-{NEIGHBOUR}-prod/networkpolicies"
    policies = applied.cluster.call("GET", path)[1]["items"]
    closed = next(p for p in policies if not p["spec"].get("ingress") and not p["spec"].get("egress"))
    name = closed["metadata"]["name"]
    opened: Object = {"spec": {"ingress": [{}], "egress": [{}]}}
    assert applied.cluster.call("PATCH", f"{path}/{name}", opened, "application/merge-patch+json")[0] == 200
    until = time.monotonic() + 60
    while applied.cluster.call("GET", f"{path}/{name}")[1]["spec"] != closed["spec"]:
        assert time.monotonic() < until, told(applied.argo.application(f"stoa-{NEIGHBOUR}-prod-bounds"))
        time.sleep(0.2)


@pytest.fixture(scope="module")
def tampered(applied: Delivery) -> Delivery:
    """The branch after somebody wrote into the tenants' folders."""
    objects = [one for one, _ in ATTACKS.values()]
    (applied.folder(ATTACKER) / "more.yaml").write_text(yaml.safe_dump_all(objects))
    # Files that make Argo CD run a generator on a folder, where it chooses by what it finds there.
    generator = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [FOREIGN]}
    (applied.folder("kustomized") / "kustomization.yaml").write_text(yaml.safe_dump(generator))
    for file in applied.folder("emptied").glob("*.yaml"):
        file.unlink()
    (applied.folder("emptied") / "README.txt").write_text("Nothing to see here.\n")
    catalog = applied.folder("thinned") / "catalog.yaml"
    kept = [o for o in yaml.safe_load_all(catalog.read_text()) if o["kind"] != "ConfigMap"]
    catalog.write_text(yaml.safe_dump_all([*kept, _config_map("another", "stoa-thinned-prod")]))
    chart = applied.folder("charted")
    (chart / "templates").mkdir()
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: loot\nversion: 0.1.0\n")
    (chart / "templates" / "loot.yaml").write_text(yaml.safe_dump(_config_map("loot", "stoa-charted-prod")))
    applied.tip = applied.tamper("Nobody will look")
    applied.argo.refresh()
    return applied


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_does_not_belong_into_a_tenants_folder_is_refused(tampered: Delivery, attack: str) -> None:
    one, refusal = ATTACKS[attack]
    kind, name, namespace = one["kind"], one["metadata"]["name"], one["metadata"].get("namespace", "")

    def said(application: Object) -> list[str]:
        results = application["status"].get("operationState", {}).get("syncResult", {}).get("resources", ())
        mine = [r for r in results if (r["kind"], r["name"]) == (kind, name)]
        return [
            r["message"] for r in mine if r.get("namespace", "") in (namespace, OWN) and r["status"] == "SyncFailed"
        ]

    found = tampered.argo.wait(OWN, lambda a: any(refusal in m for m in said(a)), f"to refuse {attack}")
    assert found["status"]["sync"]["status"] == "OutOfSync"
    assert found["status"]["operationState"]["phase"] != "Succeeded"
    status, live = tampered.cluster.call("GET", f"{Cluster.path(one)}/{name}")
    if attack == "its own project, widened":
        assert live["spec"]["sourceRepos"] == [f"file://{tampered.rendered}"]
        assert live["spec"]["clusterResourceWhitelist"] == []
    else:
        assert status == 404, live
    # And what was there before still is.
    assert any(n.startswith("catalog-") for n in tampered.config_maps(ATTACKER))


def test_a_folder_that_pretends_to_be_kustomizes_is_none(tampered: Delivery) -> None:
    """Nothing is fetched from elsewhere: the file is read as an object, and nobody knows its kind."""
    found = tampered.argo.wait(
        "stoa-kustomized-prod",
        lambda a: "Kustomization" in json.dumps(a["status"].get("operationState", {}).get("syncResult", {})),
        "to refuse the file of Kustomize",
    )
    assert found["status"]["sync"]["status"] == "OutOfSync"
    assert "elsewhere" not in json.dumps(found["status"])
    assert any(n.startswith("catalog-") for n in tampered.config_maps("kustomized"))


def test_a_folder_that_pretends_to_be_a_chart_is_none(tampered: Delivery) -> None:
    found = tampered.argo.wait_synced("stoa-charted-prod", tampered.tip, healthy=False)
    assert "Directory" in found["status"]["sourceType"]
    assert "loot" not in tampered.config_maps("charted")
    assert any(n.startswith("catalog-") for n in tampered.config_maps("charted"))


def test_an_emptied_folder_deletes_nothing(tampered: Delivery) -> None:
    found = tampered.argo.wait(
        "stoa-emptied-prod",
        lambda a: any("wipe out all resources" in c["message"] for c in a["status"].get("conditions", ())),
        "to say that it would delete everything",
    )
    assert found["status"]["sync"]["status"] == "OutOfSync"
    assert any(name.startswith("catalog-") for name in tampered.config_maps("emptied"))


def test_what_leaves_a_folder_that_is_not_empty_is_pruned(tampered: Delivery) -> None:
    """A catalog that is no longer published does not stay."""
    tampered.argo.wait(
        "stoa-thinned-prod",
        lambda a: (
            "another" in tampered.config_maps("thinned")
            and not any(n.startswith("catalog-") for n in tampered.config_maps("thinned"))
        ),
        "to prune the catalog",
    )


def test_others_are_applied_meanwhile(tampered: Delivery) -> None:
    """What one folder holds is no reason to leave another as it was."""
    tampered.argo.wait(
        f"stoa-{HONEST}-prod", lambda a: a["status"]["sync"]["status"] == "Synced", "to stay as it is published"
    )
    assert tampered.argo.application("stoa-prod-runtime")["status"]["sync"]["status"] == "Synced"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("loot-repository", {"source": {"repoURL": FOREIGN, "path": ".", "targetRevision": "main"}}, "repo"),
        (
            "loot-destination",
            {"destination": {"server": "https://kubernetes.default.svc", "namespace": "kube-system"}},
            "do not match any of the allowed destinations",
        ),
        ("loot-path", {"source": {"path": "../../../etc", "targetRevision": "rendered"}}, "path"),
    ],
)
def test_a_tenants_project_takes_no_other_application(
    applied: Delivery, name: str, change: Mapping[str, Any], said: str
) -> None:
    """Somebody who can write Applications, but no projects, gets no further with a tenant's project."""
    good = applied.argo.application(f"stoa-{HONEST}-prod")["spec"]
    source = {**good["source"], **change.get("source", {})}
    spec = {"project": good["project"], "destination": good["destination"], **change, "source": source}
    one = _application(name, "argocd", **spec, syncPolicy={"automated": {}})
    assert applied.cluster.apply(one)[0] == 201
    try:
        found = applied.argo.wait(name, lambda a: bool(a.get("status", {}).get("conditions")), "refused")
        said_all = " ".join(c["message"] for c in found["status"]["conditions"])
        assert said in said_all
        assert found["status"].get("operationState", {}).get("phase") != "Succeeded"
    finally:
        applied.cluster.call("DELETE", f"/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/{name}")


def test_publishing_again_mends_the_branch_and_argo_cd_follows(tampered: Delivery) -> None:
    """What failed is tried again with what the branch has by then, without anybody's help."""
    revision = tampered.publish()
    tampered.argo.refresh()
    for name in tampered.argo.applications():
        tampered.argo.wait_synced(name, revision, healthy=False)
    assert "another" not in tampered.config_maps("thinned")
    assert any(name.startswith("catalog-") for name in tampered.config_maps("thinned"))


def test_a_tenant_that_leaves_loses_its_tools_and_keeps_its_namespace(tampered: Delivery) -> None:
    """The Applications go; what they applied stays, closed as it was, until somebody deletes the namespace."""
    policies = "/apis/networking.k8s.io/v1/namespaces/stoa-leaver-prod/networkpolicies"
    before = [p["spec"] for p in tampered.cluster.call("GET", policies)[1]["items"]]
    assert before
    for file in sorted((tampered.source / "leaver").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (tampered.source / "leaver").rmdir()
    platform = tampered.source / "platform.yaml"
    document = yaml.safe_load(platform.read_text())
    document["spec"]["backends"]["allowedHosts"][0]["tenants"].remove("leaver")
    platform.write_text(yaml.safe_dump(document, sort_keys=False))
    revision = tampered.publish()
    tampered.argo.refresh()
    tampered.argo.wait_synced("stoa-prod-root", revision, healthy=False)
    until = time.monotonic() + 60
    gone = {"stoa-leaver-prod", "stoa-leaver-prod-bounds"}
    while gone & tampered.argo.applications().keys():
        assert time.monotonic() < until, "its Applications stay"
        time.sleep(0.2)
    assert tampered.cluster.call("GET", "/api/v1/namespaces/stoa-leaver-prod")[1]["status"]["phase"] == "Active"
    assert [p["spec"] for p in tampered.cluster.call("GET", policies)[1]["items"]] == before
    # No pod gets ready here, so old ConfigMaps are not pruned; but new pods are told to serve another bundle.
    runtime = f"/apis/apps/v1/namespaces/{GATEWAY_NAMESPACE}/deployments/stoa-stoa-runtime"
    digest = json.loads((tampered.bundle / "bundle.json").read_bytes())["digest"]
    until = time.monotonic() + 60
    while True:
        template = tampered.cluster.call("GET", runtime)[1]["spec"]["template"]
        if template["metadata"]["annotations"]["gostoa.dev/bundle"] == digest:
            break
        assert time.monotonic() < until, template["metadata"]
        time.sleep(0.2)
    assert "leaver" not in json.dumps(template["spec"]["volumes"])


def test_a_link_out_of_the_repository_stops_the_branch_until_the_next_bundle(tampered: Delivery) -> None:
    run("git", "pull", "--quiet", "origin", "rendered", cwd=tampered.work)
    (tampered.folder(HONEST) / "passwords.yaml").symlink_to("/etc/passwd")
    tampered.tamper("A link")
    tampered.argo.refresh(f"stoa-{HONEST}-prod")
    found = tampered.argo.wait(
        f"stoa-{HONEST}-prod", lambda a: "symlink" in json.dumps(a["status"].get("conditions", ())), "to see the link"
    )
    assert "root:x:0" not in json.dumps(found)
    before = tampered.config_maps(HONEST)
    revision = tampered.publish()
    tampered.argo.refresh(f"stoa-{HONEST}-prod")
    tampered.argo.wait_synced(f"stoa-{HONEST}-prod", revision, healthy=False)
    assert tampered.config_maps(HONEST) == before
