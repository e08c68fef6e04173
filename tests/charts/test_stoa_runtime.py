"""The chart, rendered by real Helm with compiled values; every object is valid for Kubernetes."""

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import stoa_compiler
from stoa_compiler.cli import serve
from stoa_compiler.graph import Graph
from stoa_compiler.targets import helm as target
from stoa_runtime import bundles
from stoa_runtime.signatures import trusted
from stoa_schemas import attestation, bundle
from stoa_schemas.helm_values import HelmValues, json_schema
from tests.charts.conftest import CHART, HelmCommand, HelmError, HelmLibrary, as_values, mounted, of_kind, the
from tests.compiler.targets.deployable import HOSTILE, RUNTIME, compiled, graph
from tests.runtime.signing import Signer

KUBERNETES = ("1.30", kubernetes_validate.latest_version())
"""The oldest version that Chart.yaml takes, and the newest whose schemas we have."""

UNSAFE = "next line \x85, separators \u2028 \u2029, byte order mark \ufeff, delete \x7f, C1 \x80"
"""Characters that YAML's readers take for line breaks, drop, or refuse."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph(tmp_path_factory.mktemp("source"))


def values_text(graph: Graph, texts: dict[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """The compiled values, and the bundle's files that they carry."""
    carried = compiled(graph, texts)
    (artifact,) = target.TARGET.emit(graph, "prod", carried)
    return artifact.content.decode(), {path: a.content.decode() for path, a in carried.items()}


def minimal(**changes: Any) -> dict[str, Any]:
    """Values with what is required and nothing else."""
    file = {"key": "mcp_manifest.json", "path": "mcp/manifest.json", "content": "{}\n"}
    return {
        "bundle": {
            "digest": "sha256:" + "0" * 64,
            "platform": "stoa",
            "environment": "prod",
            "configMaps": [{"name": "stoa-bundle-" + "0" * 16, "files": [file]}],
        },
        "image": {"repository": "registry.stoa.example/runtime", "tag": "1.2.3"},
        "gateway": {"url": "https://mcp.stoa.example"},
        "issuer": {"url": "https://id.stoa.example/realms/stoa"},
        **changes,
    }


OPERATORS: dict[str, Any] = {
    "signature": {
        "publicKeys": {"release": "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"},
        "envelope": '{"payload": ""}\n',
        "allowRollback": True,
    },
    "store": {"secretName": "stoa-store"},
    "workers": 3,
    "metrics": {"port": 9100, "namespaces": ["monitoring"]},
    "traces": {"url": "http://collector.monitoring:4318", "ratio": 0.5},
}
"""What an operator may add to the compiled values."""


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = the(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


# Lint, schemas


def test_lint_is_content_with_compiled_values(helm: HelmLibrary, small: Graph) -> None:
    assert helm.lint(values_text(small)[0]) == []


def test_lint_finds_what_the_schema_refuses(helm: HelmLibrary) -> None:
    assert any("replicaCount" in line for line in helm.lint(as_values(minimal(replicaCount=3))))


@pytest.mark.engine
def test_the_command_lints_and_renders_as_the_library_does(
    helm: HelmLibrary, helm_command: HelmCommand, small: Graph
) -> None:
    # Helm 3 checks values against a schema through a YAML of its own, which takes no such control characters; the
    # language takes none either.
    values, _ = values_text(small, {"acme": HOSTILE + UNSAFE.translate({0x7F: None, 0x80: None})})

    def by_name(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(objects, key=lambda o: (o["kind"], o["metadata"]["name"]))

    assert helm_command.lint(values) == []
    assert by_name(helm_command.render(values)) == by_name(helm.render(values))
    assert helm_command.lint(as_values(minimal(replicaCount=3)))
    with pytest.raises(HelmError, match="replicaCount"):
        helm_command.render(as_values(minimal(replicaCount=3)))


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid_for_kubernetes(helm: HelmLibrary, small: Graph, version: str) -> None:
    everything = yaml.safe_load(values_text(small)[0])
    everything["imagePullSecrets"] = [{"name": "registry"}]
    everything["credentials"] = {"secretName": "stoa-backends"}
    everything |= OPERATORS
    for values in (everything, minimal()):
        objects = helm.render(as_values(values))
        for thing in objects:
            kubernetes_validate.validate(thing, version, strict=True)
        assert {o["kind"] for o in objects} == {
            "ConfigMap",
            "Deployment",
            "HorizontalPodAutoscaler",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "Service",
            "ServiceAccount",
        }


def test_values_schema_is_that_of_the_model() -> None:
    assert json.loads((CHART / "values.schema.json").read_text()) == json_schema(), (
        "run `python -m stoa_schemas.helm_values > charts/stoa-runtime/values.schema.json`"
    )


def test_defaults_of_the_chart_are_those_of_the_model() -> None:
    values = minimal() | yaml.safe_load((CHART / "values.yaml").read_text())
    assert HelmValues.model_validate(values) == HelmValues.model_validate(minimal())


def test_every_value_is_documented_in_values_yaml() -> None:
    text = (CHART / "values.yaml").read_text()
    for name in HelmValues.model_json_schema()["properties"].keys() - {"global"}:
        assert re.search(rf"^(# )?{name}:", text, re.MULTILINE), name


def test_chart_and_compiler_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == stoa_compiler.__version__


def set_at(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            values = values.setdefault(folder, {})
        values[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (set_at("replicaCount", 3), "replicaCount"),
        (set_at("image.pullPolicy", "Always"), "pullPolicy"),
        (set_at("bundle.digest", "sha256:short"), "digest"),
        (set_at("bundle.configMaps", []), "configMaps"),
        (set_at("replicas.min", 0), "min"),
        (set_at("networkPolicy.egress", [{"ports": [443]}]), "egress"),
        (set_at("networkPolicy.egress", [{"namespaces": [], "ports": [443]}]), "egress"),
        (set_at("networkPolicy.dns.podLabels", {"k8s-app": None}), "podLabels"),
        (set_at("gateway.url", "https://user@mcp.stoa.example"), "gateway"),
        (set_at("workers", 2), "workers"),
        (set_at("signature", {"publicKeys": {}, "envelope": "{}"}), "signature"),
        (set_at("signature", {"publicKeys": {"a": "-----BEGIN PRIVATE KEY-----\n"}, "envelope": "{}"}), "signature"),
        (set_at("store", {"url": "redis://:password@store"}), "store"),
    ],
)
def test_values_outside_the_schema_are_refused(
    helm: HelmLibrary, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    values = copy.deepcopy(minimal())
    change(values)
    with pytest.raises(HelmError, match=named):
        helm.render(as_values(values))


@pytest.mark.parametrize("missing", ["bundle", "image", "gateway", "issuer"])
def test_what_is_required_has_no_default(helm: HelmLibrary, missing: str) -> None:
    values = minimal()
    del values[missing]
    with pytest.raises(HelmError, match=missing):
        helm.render(as_values(values))


def test_it_can_be_a_part_of_another_chart(helm: HelmLibrary) -> None:
    assert helm.render(as_values(minimal(**{"global": {"region": "eu"}})))


# The bundle


@pytest.mark.parametrize("text", [HOSTILE, UNSAFE, "%+q %!s(MISSING) \\u0041 \\x41 \\", "  lead and trail  "])
def test_text_of_tenants_arrives_in_its_bytes(helm: HelmLibrary, small: Graph, text: str) -> None:
    values, files = values_text(small, {"acme": text})
    objects = helm.render(values)
    assert mounted(objects) == files
    catalog = bundle.Catalog.model_validate_json(mounted(objects)["mcp/tenants/acme.json"])
    assert catalog.description == text


def test_helms_own_reader_gets_the_same_bytes(small: Graph) -> None:
    """Helm and Argo CD read the rendered text by Go's YAML, not by ours."""
    library = pytest.importorskip("helm_python")
    values, files = values_text(small, {"acme": HOSTILE + UNSAFE})
    with library.Chart.load(CHART) as chart:
        text = chart.render(library.values_from_yaml(values))["stoa-runtime/templates/configmaps.yaml"]
    assert text.isascii()
    data: dict[str, str] = {}
    for document in text.split("\n---\n"):
        data |= library.values_from_yaml(document).get("data", {})
    assert data == {path.replace("/", "_"): content for path, content in files.items()}


def test_a_catalog_of_three_megabytes_is_mounted_in_parts(helm: HelmLibrary, small: Graph) -> None:
    values, files = values_text(small, {"acme": "aé\N{GRINNING FACE}漢" * 300_000})
    objects = helm.render(values)
    pieces = mounted(objects)
    parts = sorted(path for path in pieces if path.startswith("mcp/tenants/acme.json"))
    assert len(parts) == 4
    assert "".join(pieces[path] for path in parts) == files["mcp/tenants/acme.json"]
    for config_map in of_kind(objects, "ConfigMap"):
        assert sum(len(k) + len(v.encode()) for k, v in config_map["data"].items()) < 1024 * 1024
        kubernetes_validate.validate(config_map, KUBERNETES[-1], strict=True)


def test_many_tenants_share_config_maps(helm: HelmLibrary, tmp_path: Path) -> None:
    tenants = tuple(f"t{n}" for n in range(40))
    many = graph(tmp_path, tenants=tenants)
    values, files = values_text(many, {t: f"{t} " * 4000 for t in tenants})
    objects = helm.render(values)
    assert mounted(objects) == files
    assert len(of_kind(objects, "ConfigMap")) < 16


def test_large_config_maps_ask_argo_cd_for_server_side_apply(helm: HelmLibrary, small: Graph) -> None:
    values, _ = values_text(small, {"acme": "x" * 250_000})
    maps = {"acme" in str(sorted(o["data"])): o for o in of_kind(helm.render(values), "ConfigMap")}
    options = {large: o["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] for large, o in maps.items()}
    assert options == {False: "PruneLast=true", True: "PruneLast=true"}
    values, _ = values_text(small, {"acme": "x" * 270_000})
    maps = {"acme" in str(sorted(o["data"])): o for o in of_kind(helm.render(values), "ConfigMap")}
    options = {large: o["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] for large, o in maps.items()}
    assert options == {False: "PruneLast=true", True: "PruneLast=true,ServerSideApply=true"}


def test_config_maps_are_immutable_and_a_new_bundle_rolls_the_pods(helm: HelmLibrary, small: Graph) -> None:
    before, after = (helm.render(values_text(small, {"acme": text})[0]) for text in ("one", "two"))
    assert all(o["immutable"] is True for o in of_kind(before, "ConfigMap"))
    names = [{o["metadata"]["name"] for o in of_kind(objects, "ConfigMap")} for objects in (before, after)]
    assert names[0] != names[1]
    templates = [the(objects, "Deployment")["spec"]["template"] for objects in (before, after)]
    assert templates[0] != templates[1]
    rest = [[o for o in objects if o["kind"] not in {"ConfigMap", "Deployment"}] for objects in (before, after)]
    assert rest[0] == rest[1]


def test_the_same_bundle_changes_nothing(helm: HelmLibrary, small: Graph) -> None:
    assert helm.render(values_text(small)[0]) == helm.render(values_text(small)[0])


# The pods


def test_pods_run_without_root_and_cannot_write_their_file_system(helm: HelmLibrary, small: Graph) -> None:
    spec = pod(helm.render(values_text(small)[0]))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] >= 10000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")}
    volumes = {v["name"]: v for v in spec["volumes"]}
    assert {name: "sizeLimit" in volumes[name]["emptyDir"] for name in writable} == {"state": True, "tmp": True}


def test_pods_serve_the_bundle(helm: HelmLibrary, small: Graph) -> None:
    text, _ = values_text(small)
    objects = helm.render(text)
    (container,) = pod(objects)["containers"]
    assert [*container["command"], *container["args"]] == (
        ["stoa", "serve", "/bundle", "--host", "0.0.0.0", "--port", "8080", "--state", "/state", "--drain", "35"]
    )
    assert container["image"] == "registry.stoa.example/stoa/runtime:1.2.3"
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    template = the(objects, "Deployment")["spec"]["template"]
    assert template["metadata"]["annotations"]["gostoa.dev/bundle"] == yaml.safe_load(text)["bundle"]["digest"]


def projected_volume(folder: Path, files: dict[str, str]) -> Path:
    """The files as the kubelet writes them: in a folder of its own, which symbolic links lead to."""
    for path, content in files.items():
        file = folder / "..2026_11_24_03_45_00.1" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8", newline="")
    (folder / "..data").symlink_to("..2026_11_24_03_45_00.1")
    (folder / "mcp").symlink_to("..data/mcp")
    return folder


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_the_runtime_loads_what_the_pods_have_mounted(
    helm: HelmLibrary, small: Graph, tmp_path: Path, size: int
) -> None:
    values, _ = values_text(small, {"acme": "x" * size})
    snapshot = bundles.load(projected_volume(tmp_path, mounted(helm.render(values))))
    assert snapshot.digest == yaml.safe_load(values)["bundle"]["digest"]
    assert list(snapshot.tenants) == ["acme"]


@pytest.mark.parametrize("development", [False, True])
def test_the_command_line_is_one_that_the_runtime_takes(helm: HelmLibrary, tmp_path: Path, development: bool) -> None:
    values = minimal()
    values["bundle"]["development"] = development
    (container,) = pod(helm.render(as_values(values)))["containers"]
    name, *arguments = container["args"]
    arguments[arguments.index("/bundle")] = str(tmp_path)
    parsed = serve.command.make_context(name, arguments).params
    assert parsed["host"] == "0.0.0.0"
    assert parsed["port"] == container["ports"][0]["containerPort"]
    assert str(parsed["state"]) in {m["mountPath"] for m in container["volumeMounts"]}
    assert parsed["development"] is development


def test_image_is_pinned_where_a_digest_is_declared(helm: HelmLibrary) -> None:
    digest = "sha256:" + "ab" * 32
    values = minimal(image={"repository": "registry.stoa.example/runtime", "tag": "1.2.3", "digest": digest})
    (container,) = pod(helm.render(as_values(values)))["containers"]
    assert container["image"] == f"registry.stoa.example/runtime:1.2.3@{digest}"


def test_credentials_come_from_a_secret_by_reference(helm: HelmLibrary) -> None:
    values = minimal(credentials={"secretName": "stoa-backends"})
    (container,) = pod(helm.render(as_values(values)))["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "stoa-backends"}}]
    assert "envFrom" not in pod(helm.render(as_values(minimal())))["containers"][0]


@pytest.mark.parametrize(
    ("low", "high", "replicas", "scaled", "budget"),
    [(1, 1, 1, None, False), (1, 4, None, (1, 4), False), (2, 2, 2, None, True), (3, 12, None, (3, 12), True)],
)
def test_replicas_autoscaler_and_disruption_budget(
    helm: HelmLibrary, low: int, high: int, replicas: int | None, scaled: tuple[int, int] | None, budget: bool
) -> None:
    objects = helm.render(as_values(minimal(replicas={"min": low, "max": high})))
    assert the(objects, "Deployment")["spec"].get("replicas") == replicas
    bounds = [(o["spec"]["minReplicas"], o["spec"]["maxReplicas"]) for o in of_kind(objects, "HorizontalPodAutoscaler")]
    assert bounds == ([scaled] if scaled else [])
    assert [o["spec"]["minAvailable"] for o in of_kind(objects, "PodDisruptionBudget")] == ([1] if budget else [])


def test_selectors_agree_and_names_fit(helm: HelmLibrary, small: Graph) -> None:
    objects = helm.render(values_text(small)[0])
    labels = the(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        the(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        the(objects, "Service")["spec"]["selector"],
        the(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        the(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() and selector for selector in selectors)
    for thing in objects:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", thing["metadata"]["name"])
        assert {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/version",
            "app.kubernetes.io/component",
            "app.kubernetes.io/part-of",
            "app.kubernetes.io/managed-by",
            "helm.sh/chart",
        } <= thing["metadata"]["labels"].keys()
    assert pod(objects)["serviceAccountName"] == the(objects, "ServiceAccount")["metadata"]["name"]
    assert the(objects, "ServiceAccount")["automountServiceAccountToken"] is False


def test_the_command_line_says_what_the_operator_adds(helm: HelmLibrary, tmp_path: Path) -> None:
    (container,) = pod(helm.render(as_values(minimal(**OPERATORS))))["containers"]
    name, *arguments = container["args"]
    for path in ("/bundle", "/keys/release.pem", "/store/url", "/store/approvals.key"):
        place = tmp_path / path.strip("/")
        place.parent.mkdir(exist_ok=True)
        place.mkdir() if path == "/bundle" else place.touch()
        arguments[arguments.index(path)] = str(place)
        mounts = {m["mountPath"]: m.get("readOnly") for m in container["volumeMounts"]}
        assert mounts["/" + path.split("/")[1]] is True
    parsed = serve.command.make_context(name, arguments).params
    assert parsed["key"] == (tmp_path / "keys" / "release.pem",)
    assert parsed["allow_rollback"] is True
    assert parsed["store_file"] == tmp_path / "store" / "url"
    assert parsed["approvals_key"] == tmp_path / "store" / "approvals.key"
    assert parsed["workers"] == 3
    assert parsed["metrics"] == ("0.0.0.0", 9100)
    assert (parsed["traces"], parsed["traces_ratio"]) == ("http://collector.monitoring:4318", 0.5)
    assert {"name": "metrics", "containerPort": 9100} in container["ports"]


def test_the_runtime_takes_the_mounted_bundle_by_its_mounted_signature(
    helm: HelmLibrary, small: Graph, tmp_path: Path
) -> None:
    values, _ = values_text(small)
    signer, other = Signer(), Signer()
    unsigned = projected_volume(tmp_path / "unsigned", mounted(helm.render(values)))
    plain = tmp_path / "plain"
    shutil.copytree(unsigned / "mcp", plain / "mcp")
    listing = (plain / bundle.RUNTIME_MANIFEST).read_bytes()
    manifest = bundle.RuntimeManifest.model_validate_json(listing)
    itself = bundle.Artifact(
        path=bundle.RUNTIME_MANIFEST,
        media_type="application/json",
        sha256=bundle.sha256(listing),
        bytes=len(listing),
    )
    whole = bundle.Bundle(
        compiler="0",
        platform=manifest.platform,
        environment=manifest.environment,
        development=manifest.development,
        digest=bundle.sha256(listing),
        artifacts=[itself, *manifest.files],
    )
    (plain / bundle.BUNDLE_FILE).write_bytes(whole.encode())
    signer.sign(plain, 7)
    envelope = (plain / attestation.ATTESTATIONS).read_text()
    signed = yaml.safe_load(values) | {
        "signature": {"publicKeys": {"release": signer.public_pem.decode()}, "envelope": envelope}
    }
    objects = helm.render(as_values(signed))
    (keys,) = [v["configMap"] for v in pod(objects)["volumes"] if v["name"] == "keys"]
    (holding,) = [o for o in of_kind(objects, "ConfigMap") if o["metadata"]["name"] == keys["name"]]
    key = tmp_path / "release.pem"
    key.write_text(holding["data"]["release.pem"])
    served = projected_volume(tmp_path / "signed", mounted(objects))
    snapshot = bundles.load(served, keys=trusted([key]))
    assert snapshot.signature is not None
    assert snapshot.signature.sequence == 7
    key.write_bytes(other.public_pem)
    with pytest.raises(bundles.BundleError, match="signature is not accepted"):
        bundles.load(served, keys=trusted([key]))
    with pytest.raises(bundles.BundleError, match="not signed"):
        bundles.load(unsigned, keys=signer_keys(tmp_path, signer))


def signer_keys(folder: Path, signer: Signer) -> Any:
    """What a process that trusts `signer` believes."""
    file = folder / "trusted.pem"
    file.write_bytes(signer.public_pem)
    return trusted([file])


def test_a_new_signature_rolls_the_pods_and_changes_nothing_of_the_bundle(helm: HelmLibrary) -> None:
    def rendered(envelope: str) -> list[dict[str, Any]]:
        return helm.render(as_values(minimal(signature={**OPERATORS["signature"], "envelope": envelope})))

    before, after = rendered('{"a": 1}'), rendered('{"a": 2}')
    names = [{o["metadata"]["name"] for o in of_kind(objects, "ConfigMap")} for objects in (before, after)]
    assert len(names[0] & names[1]) == 1
    assert len(names[0] ^ names[1]) == 2
    assert pod(before) != pod(after)


# The network policy


def test_only_the_named_namespaces_reach_the_metrics(helm: HelmLibrary) -> None:
    (rule,) = the(helm.render(as_values(minimal(**OPERATORS))), "NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": 9100}]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == ["monitoring"]


def test_network_policy_is_closed_both_ways_but_for_what_is_declared(helm: HelmLibrary, small: Graph) -> None:
    spec = the(helm.render(values_text(small)[0]), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]

    def within(*names: str) -> dict[str, Any]:
        expression = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(names)}
        return {"namespaceSelector": {"matchExpressions": [expression]}}

    assert spec["ingress"] == [{"from": [within("ingress", "mcp-gateway")], "ports": [{"port": 8080}]}]
    dns, *declared = spec["egress"]
    # One peer with both selectors: those pods of that namespace. Two peers would be either.
    assert dns == {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}],
    }
    private = ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
    assert declared == [
        {"to": [within("ingress", "mcp-gateway")], "ports": [{"port": 8080}]},
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": private}}], "ports": [{"port": 443}]},
        {"to": [within("data", "identity"), {"ipBlock": {"cidr": "10.20.0.0/16"}}], "ports": [{"port": 8443}]},
        {"to": [{"ipBlock": {"cidr": "10.30.0.0/16"}}], "ports": [{"port": 9443}]},
    ]


def test_network_policy_without_flows_leaves_only_dns(helm: HelmLibrary) -> None:
    spec = the(helm.render(as_values(minimal())), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert not spec.get("ingress")
    assert [rule["ports"][0]["port"] for rule in spec["egress"]] == [53]


def test_no_rule_has_no_peer(helm: HelmLibrary, small: Graph) -> None:
    """A rule without peers opens the port to everybody."""
    for values in (values_text(small)[0], as_values(minimal())):
        spec = the(helm.render(values), "NetworkPolicy")["spec"]
        assert all(rule["from"] for rule in spec.get("ingress", []))
        assert all(rule["to"] for rule in spec["egress"])


def test_pinned_image_reaches_the_pods_from_the_platform(helm: HelmLibrary, tmp_path: Path) -> None:
    digest = "sha256:" + "cd" * 32
    declared = graph(tmp_path, runtime={"image": {**RUNTIME["image"], "digest": digest}})
    (container,) = pod(helm.render(values_text(declared)[0]))["containers"]
    assert container["image"].endswith(f":1.2.3@{digest}")
