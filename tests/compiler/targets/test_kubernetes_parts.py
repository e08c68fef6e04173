"""Namespaces of tenants who are proved apart: joined they are what is made at once, and nothing passes between."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from stoa_compiler import blockyaml
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.seals import sealed
from stoa_compiler.target import Artifact, Part
from stoa_compiler.targets import kubernetes
from tests.compiler.targets import clustered, deployable
from tests.compiler.targets.clustered import graph, rendered
from tests.compiler.targets.mutations import mutants
from tests.compiler.targets.parted import Proved, assert_joined, parts_of, proof, proved, said, share

NAME = "kubernetes.io/metadata.name"
TENANTS = ("acme", "umbra", "zenith")
ZONE = "kubernetes/platform/zone-ingress.yaml"
PARTS = parts_of("kubernetes")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph(tmp_path_factory.mktemp("source"), tenants=TENANTS)


@pytest.fixture(scope="module")
def apart(every: Graph) -> Proved:
    return proved(every, [("acme", "zenith"), ("umbra",)])


def test_proved_in_shares_and_joined_it_is_what_is_made_at_once(every: Graph, apart: Proved) -> None:
    """And no tenant's node is asked for, nor a file read that was proved."""
    assert_joined(every, apart, "kubernetes")


def test_origins_are_the_declarations(every: Graph) -> None:
    """A plan tells by them which tenant a file came from."""
    carried = deployable.compiled(every)
    for artifact in kubernetes.TARGET.emit(every, "prod", carried):
        of = {o.document.file.path.partition("/")[0] for o in artifact.origins if "/" in o.document.file.path}
        assert of == ({t for t in TENANTS if t in artifact.path} if "zone-" not in artifact.path else set())


# The rest


def test_parts_are_the_tenants_own(apart: Proved) -> None:
    acme, zenith = (apart.parts["kubernetes"][t] for t in ("acme", "zenith"))
    assert apart.rest("kubernetes", apart.replaced("kubernetes", acme=None)) != []
    assert apart.rest("kubernetes", apart.replaced("kubernetes", acme=zenith)) != []
    assert apart.rest("kubernetes", apart.replaced("kubernetes", acme=zenith, zenith=acme)) != []
    assert apart.rest("kubernetes", apart.replaced("kubernetes", nobody=acme)) != []
    assert (
        apart.rest("kubernetes", apart.replaced("kubernetes", acme=replace(acme, artifacts=acme.artifacts[:-1]))) != []
    )
    assert apart.rest("kubernetes", apart.replaced("kubernetes", acme=replace(acme, artifacts=()))) != []
    both = (*acme.artifacts, *zenith.artifacts)
    assert apart.rest("kubernetes", apart.replaced("kubernetes", acme=replace(acme, artifacts=both))) != []
    assert apart.rest("kubernetes", apart.replaced("kubernetes", acme=replace(acme, shared=zenith.shared))) != []
    other = Part(both, sealed([*both, apart.files["mcp/tenants/acme.json"]]))
    assert apart.rest("kubernetes", apart.replaced("kubernetes", acme=other)) == [
        "STOA662 the part of `acme` holds what is not its own"
    ]


@pytest.mark.parametrize(
    "path",
    [
        "kubernetes/platform/tenant-acme.yaml",
        "kubernetes/tenants/acme/catalog.yaml",
        "kubernetes/tenants/acme/secrets.yaml",
        "mcp/tenants/acme.json",
    ],
)
def test_files_are_those_that_were_proved(apart: Proved, path: str) -> None:
    """A catalog, too, that the target `mcp` renders now must be the one that is shown."""
    wanted = "STOA662 the files of `acme` are not those that were proved"
    assert wanted in apart.rest("kubernetes", files={**apart.files, path: Artifact(path, "", b"kind: Other\n", ())})
    assert wanted in apart.rest("kubernetes", files={p: a for p, a in apart.files.items() if p != path})


@pytest.mark.parametrize(
    "path", ["kubernetes/tenants/acme/more.yaml", "kubernetes/tenants/nobody/a.yaml", "kubernetes/platform/more.yaml"]
)
def test_nothing_else_is_there(apart: Proved, path: str) -> None:
    space: Any = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "stoa-acme-prod"}}
    more = Artifact(path, "", blockyaml.dump(space), ())
    assert apart.rest("kubernetes", files={**apart.files, path: more}) == [
        "STOA662 ConfigMap `stoa-acme-prod/a` is declared nowhere"
    ]


def changed_zone(apart: Proved, change: Callable[[list[Any]], object]) -> list[str]:
    """What is found where all choices of tenants in a zone's policies are changed alike."""
    documents = list(yaml.safe_load_all(apart.files[ZONE].content))
    chosen = [e for e in _expressions(documents) if "stoa-acme-prod" in e["values"]]
    assert len(chosen) == 2
    for expression in chosen:
        change(expression["values"])
    content = b"---\n".join(map(blockyaml.dump, documents))
    return list(apart.rest("kubernetes", files={**apart.files, ZONE: Artifact(ZONE, "", content, ())}))


def _expressions(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        own = [value] if value.get("key") == NAME else []
        return own + [e for v in value.values() for e in _expressions(v)]
    return [e for v in value for e in _expressions(v)] if isinstance(value, list) else []


def _without(name: str, names: list[Any]) -> None:
    names.remove(name)


def _with(name: str, names: list[Any]) -> None:
    names.append(name)


def test_a_zone_knows_all_tenants_and_nobody_else(apart: Proved) -> None:
    assert changed_zone(apart, lambda names: names.reverse()) == []
    for name in ("stoa-acme-prod", "stoa-umbra-prod", "stoa-zenith-prod"):
        (found,) = changed_zone(apart, partial(_without, name))
        assert found.startswith("STOA663"), found
    for stranger in ("stoa-nobody-prod", "elsewhere", "default", "kube-system", "data"):
        (found,) = changed_zone(apart, partial(_with, stranger))
        assert found.startswith("STOA663"), found


def test_no_slip_in_a_zones_file_passes(apart: Proved, capsys: pytest.CaptureFixture[str]) -> None:
    """Each value is changed, one at a time; labels in the first object."""
    caught, missed = 0, []
    for what, mutant in mutants(list(yaml.safe_load_all(apart.files[ZONE].content))):
        if ".metadata.labels" in what and not what.startswith("0."):
            continue
        try:
            content = b"---\n".join(map(blockyaml.dump, mutant))
        except (AttributeError, TypeError):
            continue  # Nothing that can be written as a document.
        if apart.rest("kubernetes", files={**apart.files, ZONE: Artifact(ZONE, "", content, ())}):
            caught += 1
        else:
            missed.append(what)
    with capsys.disabled():
        print(f"\nkubernetes, zones: {caught} slips of the emitter, {len(missed)} not noticed")
    assert caught > 200
    # TCP is what a port without a protocol means.
    assert [m for m in missed if not (".ports." in m and m.endswith("protocol left out"))] == []


# A tenant alone


def alone(every: Graph, change: Callable[[list[dict[str, Any]]], object]) -> list[str]:
    """What is found where a tenant's policies are changed, who is proved without the others."""
    graph = share(every, ("acme",))
    (tenant,) = graph.tenants
    carried = deployable.compiled(graph)
    part = PARTS.emit(graph, "prod", tenant, carried)
    path = "kubernetes/platform/tenant-acme.yaml"
    bounds = next(a for a in part.artifacts if a.path == path)
    documents = list(yaml.safe_load_all(bounds.content))
    change(documents)
    made = Artifact(path, "", b"---\n".join(map(blockyaml.dump, documents)), ())
    own = [made if a.path == path else a for a in part.artifacts]
    part = Part(tuple(own), sealed([*own, carried["mcp/tenants/acme.json"]]))
    return proof(graph, "kubernetes", {"acme": part}, carried)


def policy(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = next(d for d in documents if d["kind"] == "NetworkPolicy" and d["metadata"]["name"] == name)
    spec: dict[str, Any] = found["spec"]
    return spec


def chosen(**selector: Any) -> Callable[[list[dict[str, Any]]], object]:
    """Adds a peer to those from whom a tenant's own pods are reached."""
    return lambda documents: policy(documents, "stoa-from-tenants")["ingress"][0]["from"].append(
        {"namespaceSelector": selector}
    )


def names(operator: str, *values: str, key: str = NAME) -> Callable[[list[dict[str, Any]]], object]:
    return chosen(matchExpressions=[{"key": key, "operator": operator, "values": list(values)}])


def test_a_tenant_that_is_proved_alone_holds(every: Graph) -> None:
    assert alone(every, lambda documents: None) == []
    assert alone(every, names("In", "stoa-acme-prod")) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(names("In", "stoa-umbra-prod"), id="another tenant"),
        pytest.param(chosen(matchLabels={NAME: "stoa-umbra-prod"}), id="another tenant by a label"),
        pytest.param(names("In", "stoa-umbra-prod", key="gostoa.dev/tenant"), id="by the label of tenants"),
        pytest.param(chosen(matchLabels={"app.kubernetes.io/part-of": "stoa"}), id="by the label of all"),
        pytest.param(names("In", "data", key="gostoa.dev/tenant"), id="by a label that has a known name"),
        pytest.param(names("Exists", key="gostoa.dev/tenant"), id="every tenant"),
        pytest.param(names("NotIn", "stoa-acme-prod"), id="everybody else"),
        pytest.param(
            names("NotIn", "ingress", "mcp-gateway", "identity", "data", "kube-system", "default"), id="all unasked"
        ),
        pytest.param(
            names("NotIn", "ingress", "mcp-gateway", "identity", "data", "kube-system", "default", "elsewhere"),
            id="all that nobody asks about",
        ),
        pytest.param(names("Exists"), id="everybody with a name"),
        pytest.param(chosen(), id="everybody"),
        pytest.param(
            lambda documents: policy(documents, "stoa-from-tenants")["ingress"][0].pop("from"), id="no peers at all"
        ),
        pytest.param(
            lambda documents: policy(documents, "stoa-to-tenants")["egress"][0]["to"].append(
                {
                    "namespaceSelector": {"matchLabels": {NAME: "stoa-umbra-prod"}},
                    "podSelector": {"matchLabels": {"app": "web"}},
                }
            ),
            id="some pods of another tenant",
        ),
    ],
)
def test_a_policy_that_lets_a_tenant_of_another_share_in(
    every: Graph, change: Callable[[list[dict[str, Any]]], object]
) -> None:
    found = alone(every, change)
    assert found
    assert {f.split()[0] for f in found} == {"STOA663"}


def test_an_object_in_another_tenants_namespace(every: Graph) -> None:
    space = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "stoa-umbra-prod"}}
    assert alone(every, lambda documents: documents.append(space)) == [
        "STOA662 ConfigMap `stoa-umbra-prod/a` is declared nowhere"
    ]


def test_what_is_told_of_a_part_is_proved(every: Graph) -> None:
    graph = share(every, ("acme",))
    carried = deployable.compiled(graph)
    part = PARTS.emit(graph, "prod", graph.tenants[0], carried)
    assert proof(graph, "kubernetes", {"acme": part}, carried) == []
    first, *others = part.artifacts
    told = Artifact.known(first.path, "", first.content, "sha256:" + "0" * 64)
    assert any("another digest" in f for f in proof(graph, "kubernetes", {"acme": Part((told, *others))}, carried))
    assert proof(graph, "kubernetes", {"acme": replace(part, shared="")}, carried) == [
        "STOA662 the part of `acme` is sealed as another"
    ]
    assert proof(graph, "kubernetes", {}, carried) != []


# Sources at the edge


def test_an_environment_without_tenants(every: Graph) -> None:
    graph = share(every, ())
    files = rendered(graph)
    assert [p for p in files if p.startswith("kubernetes/")] == [
        f"kubernetes/platform/zone-{name}.yaml" for name in ("data", "identity", "ingress", "mcp-gateway")
    ]
    assert proved(graph, [()]).rest("kubernetes") == []


def test_a_zone_that_is_called_like_nobodys(tmp_path: Path) -> None:
    """Nobody's namespace has another name then: else nobody would be asked about."""
    zones: Mapping[str, Any] = {
        **clustered.ZONES,
        "internal": {"trust": "trusted", "namespaces": ["elsewhere", "data"]},
    }
    flows = [*clustered.FLOWS, {"from": "internal", "to": "internal", "port": 5432}]
    graph = deployable.graph(
        tmp_path, tenants=TENANTS, zones=zones, flows=flows, environment={"targets": ["mcp", "kubernetes"]}
    )
    files = {p: a for p, a in rendered(graph).items() if p.split("/")[0] in ("kubernetes", "mcp")}
    path = "kubernetes/platform/zone-data.yaml"
    documents = list(yaml.safe_load_all(files[path].content))
    (expression,) = _expressions(policy(documents, "stoa-from-internal"))
    others = ["ingress", "mcp-gateway", "kube-system", "default", *(f"stoa-{t}-prod" for t in TENANTS)]
    expression |= {"operator": "NotIn", "values": others}
    content = b"---\n".join(map(blockyaml.dump, documents))
    report = Report()
    kubernetes.TARGET.verify(graph, "prod", {**files, path: Artifact(path, "", content, ())}, report)
    assert any("elsewhere-else to data, port 5432" in str(d.notes) for d in report.found), said(report)
