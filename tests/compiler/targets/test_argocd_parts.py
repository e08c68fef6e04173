"""Projects and Applications of tenants who are proved apart."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from stoa_compiler import blockyaml
from stoa_compiler.graph import Graph
from stoa_compiler.seals import sealed
from stoa_compiler.target import Artifact, Part
from tests.compiler.targets.clustered import graph, rendered
from tests.compiler.targets.parted import Proved, assert_joined, parts_of, proof, proved, share

TENANTS = ("acme", "umbra", "zenith")
ACME = "argocd/applications/tenant-acme.yaml"
PARTS = parts_of("argocd")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph(tmp_path_factory.mktemp("source"), tenants=TENANTS)


@pytest.fixture(scope="module")
def apart(every: Graph) -> Proved:
    return proved(every, [("acme", "zenith"), ("umbra",)])


def test_proved_in_shares_and_joined_it_is_what_is_made_at_once(every: Graph, apart: Proved) -> None:
    """And no tenant's node is asked for, nor a file read that was proved."""
    assert_joined(every, apart, "argocd")


def test_parts_are_the_tenants_own(apart: Proved) -> None:
    acme, zenith = (apart.parts["argocd"][t] for t in ("acme", "zenith"))
    assert apart.rest("argocd", apart.replaced("argocd", acme=None)) != []
    assert apart.rest("argocd", apart.replaced("argocd", acme=zenith)) != []
    assert apart.rest("argocd", apart.replaced("argocd", acme=zenith, zenith=acme)) != []
    assert apart.rest("argocd", apart.replaced("argocd", nobody=acme)) != []
    both = (*acme.artifacts, *zenith.artifacts)
    assert apart.rest("argocd", apart.replaced("argocd", acme=replace(acme, artifacts=both))) != []
    assert apart.rest("argocd", apart.replaced("argocd", acme=replace(acme, shared=zenith.shared))) != []


@pytest.mark.parametrize(
    "path",
    [
        ACME,
        "kubernetes/platform/tenant-acme.yaml",
        "kubernetes/tenants/acme/catalog.yaml",
        "kubernetes/tenants/acme/secrets.yaml",
    ],
)
def test_files_are_those_that_were_proved(apart: Proved, path: str) -> None:
    """Those of the cluster, too: they are what the project was proved to permit."""
    wanted = "STOA672 the files of `acme` are not those that were proved"
    assert wanted in apart.rest("argocd", files={**apart.files, path: Artifact(path, "", b"kind: Other\n", ())})
    assert wanted in apart.rest("argocd", files={p: a for p, a in apart.files.items() if p != path})


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("kubernetes/tenants/acme/more.yaml", "STOA672 the files of `acme` are not those that were proved"),
        ("kubernetes/tenants/nobody/a.yaml", "STOA673 `kubernetes/tenants/nobody/a.yaml` is applied by 0 Applications"),
        ("kubernetes/platform/more.yaml", "STOA673 `kubernetes/platform/more.yaml` is applied by 0 Applications"),
        ("argocd/more.yaml", "STOA672 AppProject `stoa-zenith-prod` is declared nowhere"),
        ("argocd/applications/more.yaml", "STOA671 AppProject `stoa-zenith-prod` is there twice"),
    ],
)
def test_nothing_else_is_there(apart: Proved, path: str, wanted: str) -> None:
    project: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": {"name": "stoa-zenith-prod"},
    }
    more = Artifact(path, "", blockyaml.dump({**project, "spec": {}}), ())
    assert wanted in apart.rest("argocd", files={**apart.files, path: more})


def changed(apart: Proved, path: str, change: Callable[[list[Any]], object]) -> list[str]:
    documents = list(yaml.safe_load_all(apart.files[path].content))
    change(documents)
    content = b"---\n".join(map(blockyaml.dump, documents))
    return list(apart.rest("argocd", files={**apart.files, path: Artifact(path, "", content, ())}))


def test_the_platforms_own_take_what_is_the_platforms(apart: Proved) -> None:
    platform, root = "argocd/applications/platform.yaml", "argocd/root.yaml"

    def include(what: str) -> Callable[[list[Any]], object]:
        return lambda documents: documents[1]["spec"]["source"]["directory"].update(include=what)

    twice = "STOA673 `kubernetes/platform/tenant-umbra.yaml` is applied by 2 Applications"
    assert twice in changed(apart, platform, include("*.yaml"))
    assert twice in changed(apart, platform, include("tenant-umbra.yaml"))
    never = "STOA673 `argocd/applications/tenant-umbra.yaml` is applied by 0 Applications"
    assert never in changed(apart, root, include("tenant-acme.yaml"))
    assert never in changed(apart, root, include("p*.yaml"))


# A tenant alone


def alone(every: Graph, change: Callable[[list[Any]], object]) -> list[str]:
    """What is found where a tenant's objects are changed, who is proved without the others."""
    graph = share(every, ("acme",))
    (tenant,) = graph.tenants
    carried = {p: a for p, a in rendered(graph).items() if p.startswith("kubernetes/") and "/zone-" not in p}
    (made,) = PARTS.emit(graph, "prod", tenant, carried).artifacts
    documents = list(yaml.safe_load_all(made.content))
    change(documents)
    made = Artifact(ACME, "", b"---\n".join(map(blockyaml.dump, documents)), ())
    part = Part((made,), sealed([made, *carried.values()]))
    return proof(graph, "argocd", {"acme": part}, carried)


def test_a_tenant_that_is_proved_alone_holds(every: Graph) -> None:
    assert alone(every, lambda documents: None) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda d: d[0]["spec"]["destinations"][0].update(namespace="stoa-umbra-prod"), id="another's namespace"
        ),
        pytest.param(
            lambda d: d[2]["spec"]["destinations"].append({**d[2]["spec"]["destinations"][0], "namespace": "*"}),
            id="every namespace",
        ),
        pytest.param(
            lambda d: d[1]["spec"]["source"]["directory"].update(include="tenant-*.yaml"), id="every tenant's borders"
        ),
        pytest.param(
            lambda d: d[3]["spec"]["source"].update(path="clusters/prod/kubernetes/tenants/umbra"),
            id="another's folder",
        ),
        pytest.param(lambda d: d[0]["metadata"].update(name="stoa-umbra-prod-bounds"), id="another's name"),
        pytest.param(lambda d: d.pop(), id="one too few"),
    ],
)
def test_a_project_or_an_application_that_takes_what_is_anothers(
    every: Graph, change: Callable[[list[Any]], object]
) -> None:
    found = alone(every, change)
    assert found
    assert {f.split()[0] for f in found} <= {"STOA672", "STOA673"}


def test_what_is_told_of_a_part_is_proved(every: Graph) -> None:
    graph = share(every, ("acme",))
    carried = {p: a for p, a in rendered(graph).items() if p.startswith("kubernetes/") and "/zone-" not in p}
    part = PARTS.emit(graph, "prod", graph.tenants[0], carried)
    assert proof(graph, "argocd", {"acme": part}, carried) == []
    (made,) = part.artifacts
    told = Artifact.known(made.path, "", made.content, "sha256:" + "0" * 64)
    assert any("another digest" in f for f in proof(graph, "argocd", {"acme": Part((told,))}, carried))
    assert proof(graph, "argocd", {"acme": replace(part, shared="")}, carried) == [
        "STOA672 the part of `acme` is sealed as another"
    ]
    assert proof(graph, "argocd", {}, carried) != []


def test_an_environment_without_tenants(every: Graph) -> None:
    graph = share(every, ())
    files = rendered(graph)
    assert [p for p in files if p.startswith("argocd/")] == [
        "argocd/applications/platform.yaml",
        "argocd/applications/runtime.yaml",
        "argocd/root.yaml",
    ]
    assert proved(graph, [()]).rest("argocd") == []
