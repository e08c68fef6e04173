"""What a real API server makes of the rendered manifests: each is taken, and bounds what it says it bounds."""

from collections.abc import Iterator
from typing import Any

import pytest

from stoa_compiler.targets import kubernetes as target
from tests.compiler.targets.clustered import graph, objects, rendered
from tests.compiler.targets.deployable import HOSTILE, compiled
from tests.engines.kubernetes import Cluster, running

pytestmark = pytest.mark.engine
CUSTOM = "external-secrets.io/v1"
"""Kinds of a controller that is not here."""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every object of two tenants and all zones, namespaces first; one catalog holds hostile text and needs parts."""
    both = graph(tmp_path_factory.mktemp("source"))
    carried = compiled(both, {"acme": HOSTILE * 20_000})
    files = {**rendered(both), **{a.path: a for a in target.TARGET.emit(both, "prod", carried)}}
    found = [o for many in objects(files, "kubernetes").values() for o in many if o["apiVersion"] != CUSTOM]
    return sorted(found, key=lambda o: o["kind"] != "Namespace")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, manifests: list[dict[str, Any]]) -> Iterator[Cluster]:
    """A server with the namespaces, and the objects applied after each passed a dry run."""
    with running(tmp_path_factory.mktemp("kubernetes")) as server:
        for name in ("ingress", "mcp-gateway", "identity", "data"):
            assert server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})[0] == 201
        for one in manifests:
            status, answer = server.apply(one, dry_run=True)
            assert status in (200, 201), f"{one['kind']} {one['metadata']['name']}: {answer.get('message')}"
            status, answer = server.apply(one)
            assert status in (200, 201), (one["kind"], one["metadata"]["name"], answer)
        yield server


def without_server_fields(value: Any, wanted: Any) -> Any:
    """Those parts of a live object that the manifest says."""
    if isinstance(wanted, dict) and isinstance(value, dict):
        # The server leaves out lists that are empty.
        return {
            key: without_server_fields(value.get(key, [] if said == [] else None), said) for key, said in wanted.items()
        }
    return value


def test_every_object_is_taken_and_comes_back_as_it_was_written(
    cluster: Cluster, manifests: list[dict[str, Any]]
) -> None:
    for one in manifests:
        status, live = cluster.call("GET", f"{cluster.path(one)}/{one['metadata']['name']}")
        assert status == 200
        assert without_server_fields(live, one) == one, one["metadata"]["name"]
    assert len(manifests) > 40


def test_a_second_apply_changes_nothing(cluster: Cluster, manifests: list[dict[str, Any]]) -> None:
    for one in manifests:
        path = f"{cluster.path(one)}/{one['metadata']['name']}"
        before = cluster.call("GET", path)[1]
        after = cluster.apply(one)[1]
        if one["metadata"]["name"] == "stoa-default-deny":
            # The server forgets that empty lists were applied, and counts them anew: what holds is the same.
            assert after["spec"] == before["spec"]
        else:
            assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], one["metadata"][
                "name"
            ]


@pytest.mark.parametrize(
    ("namespace", "verb", "group", "resource", "wanted"),
    [
        ("stoa-acme-prod", "get", "", "configmaps", True),
        ("stoa-acme-prod", "list", "", "pods", True),
        ("stoa-acme-prod", "get", "", "pods/log", True),
        ("stoa-acme-prod", "get", "", "secrets", False),
        ("stoa-acme-prod", "list", "", "secrets", False),
        ("stoa-acme-prod", "create", "", "pods", False),
        ("stoa-acme-prod", "delete", "", "configmaps", False),
        ("stoa-acme-prod", "create", "", "serviceaccounts/token", False),
        ("stoa-acme-prod", "update", "networking.k8s.io", "networkpolicies", False),
        ("stoa-acme-prod", "create", "rbac.authorization.k8s.io", "rolebindings", False),
        ("stoa-acme-prod", "impersonate", "", "users", False),
        ("stoa-zenith-prod", "get", "", "configmaps", False),
        ("mcp-gateway", "get", "", "configmaps", False),
        ("", "list", "", "configmaps", False),
        ("", "list", "", "namespaces", False),
    ],
)
def test_what_a_tenants_account_may(
    cluster: Cluster, namespace: str, verb: str, group: str, resource: str, wanted: bool
) -> None:
    """As `kubectl auth can-i VERB RESOURCE --as ACCOUNT` asks it: the account itself, impersonated."""
    name, _, part = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": name, "subresource": part, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    account = "system:serviceaccount:stoa-acme-prod:stoa-tenant"
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    status, answer = cluster.call("POST", path, review, who=account)
    assert (status, answer["status"]["allowed"]) == (201, wanted)


@pytest.mark.parametrize("account", ["stoa-secrets", "default"])
def test_other_accounts_may_nothing(cluster: Cluster, account: str) -> None:
    who = f"system:serviceaccount:stoa-acme-prod:{account}"
    for resource in ("configmaps", "secrets", "pods"):
        status, _ = cluster.call("GET", f"/api/v1/namespaces/stoa-acme-prod/{resource}", who=who)
        assert status == 403


def pod(**container: Any) -> dict[str, Any]:
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    one = {"name": "c", "image": "registry.stoa.example/x:1", "securityContext": security, **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "p-", "namespace": "stoa-acme-prod"},
        "spec": {"containers": [one]},
    }


def test_pods_get_the_tiers_defaults_and_no_token(cluster: Cluster) -> None:
    status, made = cluster.call("POST", "/api/v1/namespaces/stoa-acme-prod/pods?dryRun=All", pod())
    assert status == 201, made
    (container,) = made["spec"]["containers"]
    assert container["resources"] == {
        "limits": {"cpu": "4", "memory": "128Mi"},
        "requests": {"cpu": "100m", "memory": "128Mi"},
    }
    assert "volumes" not in made["spec"]


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({"securityContext": {"runAsUser": 0}}, "violates PodSecurity"),
        ({"resources": {"limits": {"memory": "9Gi"}}}, "maximum memory usage per Container is 8Gi"),
        ({"resources": {"requests": {"cpu": "5"}, "limits": {"cpu": "5"}}}, "maximum cpu usage per Container is 4"),
    ],
)
def test_pods_beyond_the_bounds_are_refused(cluster: Cluster, container: dict[str, Any], said: str) -> None:
    status, answer = cluster.call("POST", "/api/v1/namespaces/stoa-acme-prod/pods?dryRun=All", pod(**container))
    assert status == 403
    assert said in answer["message"]


def test_a_catalog_cannot_be_changed_in_place(cluster: Cluster, manifests: list[dict[str, Any]]) -> None:
    one = next(o for o in manifests if o["kind"] == "ConfigMap")
    status, answer = cluster.apply({**one, "data": dict.fromkeys(one["data"], "{}")})
    assert status == 422
    assert "immutable" in answer["message"]


def test_a_quota_that_is_not_a_quantity_is_refused(cluster: Cluster, manifests: list[dict[str, Any]]) -> None:
    """The dry run is worth something: it refuses what is wrong."""
    quota = next(o for o in manifests if o["kind"] == "ResourceQuota")
    assert cluster.apply({**quota, "spec": {"hard": {"pods": "many"}}}, dry_run=True)[0] in (400, 422, 500)
    assert cluster.apply({**quota, "unknown": 1}, dry_run=True)[0] in (400, 422, 500)
