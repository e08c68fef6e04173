"""The Helm values carry the bundle byte for byte, and say no more than the platform declares."""

import copy
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler import blockyaml, pipeline
from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph
from stoa_compiler.target import Artifact
from stoa_compiler.targets import helm
from stoa_schemas import bundle
from stoa_schemas.helm_values import HelmValues
from tests.compiler.targets.deployable import FLOWS, HOSTILE, RUNTIME, ZONES, compiled, graph, source


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph(tmp_path_factory.mktemp("source"), tenants=("acme", "zenith"))


def values_of(artifact: Artifact) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(artifact.content.decode())
    return values


def emitted(graph: Graph, carried: dict[str, Artifact]) -> dict[str, Any]:
    (artifact,) = helm.TARGET.emit(graph, "prod", carried)
    return values_of(artifact)


def found(graph: Graph, carried: dict[str, Artifact], values: Any) -> list[str]:
    """Codes and messages of what `verify` says about these values."""
    content = values if isinstance(values, bytes) else blockyaml.dump(values)
    report = Report()
    artifact = Artifact(helm.VALUES, "application/yaml", content, ())
    helm.TARGET.verify(graph, "prod", {**carried, helm.VALUES: artifact}, report)
    return [f"{d.rule.code} {d.message}" for d in report.sorted()]


def mounted(values: dict[str, Any]) -> dict[str, bytes]:
    """The files as a projected volume holds them, parts joined."""
    files = sorted((f["path"], f["content"]) for c in values["bundle"]["configMaps"] for f in c["files"])
    whole: dict[str, bytes] = {}
    for path, content in files:
        path = re.sub(r"\.part\d{3}$", "", path)
        whole[path] = whole.get(path, b"") + content.encode()
    return whole


def contents(files: dict[str, Artifact]) -> dict[str, bytes]:
    return {path: artifact.content for path, artifact in files.items()}


# What is emitted


def test_values_of_a_small_platform(small: Graph) -> None:
    carried = compiled(small)
    (artifact,) = helm.TARGET.emit(small, "prod", carried)
    values = values_of(artifact)
    config_maps = values["bundle"].pop("configMaps")
    assert values == {
        "bundle": {
            "digest": bundle.sha256(carried["mcp/manifest.json"].content),
            "platform": "stoa",
            "environment": "prod",
            "development": False,
        },
        "image": RUNTIME["image"],
        "replicas": {"min": 2, "max": 6},
        "resources": {"cpu": "500m", "memory": "256Mi"},
        "gateway": {"url": "https://mcp.stoa.example"},
        "issuer": {"url": "https://id.stoa.example/realms/stoa"},
        "networkPolicy": {
            "ingressNamespaces": ["ingress", "mcp-gateway"],
            "egress": [
                {"namespaces": ["ingress", "mcp-gateway"], "ports": [8080]},
                {
                    "blocks": [
                        {
                            "cidr": "0.0.0.0/0",
                            "except": [
                                "10.0.0.0/8",
                                "100.64.0.0/10",
                                "127.0.0.0/8",
                                "169.254.0.0/16",
                                "172.16.0.0/12",
                                "192.168.0.0/16",
                            ],
                        }
                    ],
                    "ports": [443],
                },
                {"namespaces": ["data", "identity"], "blocks": [{"cidr": "10.20.0.0/16"}], "ports": [8443]},
                {"blocks": [{"cidr": "10.30.0.0/16"}], "ports": [9443]},
            ],
        },
        "terminationGracePeriodSeconds": 45,
    }
    assert [[f["path"] for f in c["files"]] for c in config_maps if c["files"][0]["path"] == "mcp/manifest.json"]
    assert found(small, carried, artifact.content) == []
    assert artifact.content.decode().count("\r") == 0
    assert small.origin in artifact.origins


def test_values_fit_the_model_of_the_chart(small: Graph) -> None:
    HelmValues.model_validate(emitted(small, compiled(small)))


def test_image_digest_replicas_and_resources_are_the_declared_ones(tmp_path: Path) -> None:
    digest = "sha256:" + "ab" * 32
    runtime = {
        "image": {**RUNTIME["image"], "digest": digest},
        "replicas": {"min": 3, "max": 12},
        "cpu": "2",
        "memory": "1Gi",
    }
    declared = graph(tmp_path, runtime=runtime)
    values = emitted(declared, compiled(declared))
    assert values["image"]["digest"] == digest
    assert values["replicas"] == {"min": 3, "max": 12}
    assert values["resources"] == {"cpu": "2", "memory": "1Gi"}


def test_pods_may_finish_the_slowest_call(tmp_path: Path) -> None:
    root = source(tmp_path)
    contract = root / "acme" / "contracts" / "orders.yaml"
    declared = yaml.safe_load(contract.read_text())
    declared["spec"]["backend"]["timeouts"] = {"total": "2m"}
    contract.write_text(yaml.safe_dump(declared))
    slow = pipeline.read(root, Report()).graph
    assert slow is not None
    assert emitted(slow, compiled(slow))["terminationGracePeriodSeconds"] == 135


def test_same_input_same_bytes_whatever_the_order(small: Graph) -> None:
    carried = compiled(small, {"acme": HOSTILE})
    reversed_ = dict(reversed(carried.items()))
    first, second = (helm.TARGET.emit(small, "prod", c)[0].content for c in (carried, reversed_))
    assert first == second


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "next line \x85, line separator \u2028, paragraph \u2029, byte order mark \ufeff, delete \x7f, C1 \x80",
        "tab \t, return \r, feed \n, nul \x00, escape \x1b",
        "  leading, trailing  ",
    ],
)
def test_any_text_arrives_in_its_bytes(small: Graph, text: str) -> None:
    carried = compiled(small, {"acme": text})
    (artifact,) = helm.TARGET.emit(small, "prod", carried)
    assert mounted(values_of(artifact)) == contents(carried)
    assert found(small, carried, artifact.content) == []


def test_a_catalog_of_three_megabytes_goes_in_parts_cut_between_characters(small: Graph) -> None:
    carried = compiled(small, {"acme": "aé\N{GRINNING FACE}漢" * 300_000})
    assert len(carried["mcp/tenants/acme.json"].content) > 3_000_000
    (artifact,) = helm.TARGET.emit(small, "prod", carried)
    values = values_of(artifact)
    paths = [f["path"] for c in values["bundle"]["configMaps"] for f in c["files"]]
    assert sorted(p for p in paths if "acme" in p) == [f"mcp/tenants/acme.json.part{n:03}" for n in range(4)]
    assert mounted(values) == contents(carried)
    assert found(small, carried, artifact.content) == []


# Packing


def pack(files: dict[str, bytes]) -> list[tuple[str, list[helm.Piece]]]:
    return helm.pack({path: Artifact(path, "application/json", content, ()) for path, content in files.items()})


def sizes(packed: list[tuple[str, list[helm.Piece]]]) -> list[int]:
    return [sum(len(p.key) + len(held(p)) for p in pieces) for _, pieces in packed]


def held(piece: helm.Piece) -> bytes:
    return piece.content if isinstance(piece.content, bytes) else piece.content.content


def tenant_files(count: int, size: int = 20_000) -> dict[str, bytes]:
    files = {f"mcp/tenants/t{n}.json": f"{n} ".encode() * (size // len(f"{n} ")) for n in range(count)}
    return {"mcp/manifest.json": b"manifest", "mcp/platform.json": b"platform", **files}


def test_names_follow_from_content_alone() -> None:
    ((name, (piece,)),) = pack({"mcp/manifest.json": b'{"a":1}\n'})
    assert (piece.key, piece.path) == ("mcp_manifest.json", "mcp/manifest.json")
    data = bundle.canonical({"mcp_manifest.json": hashlib.sha256(b'{"a":1}\n').hexdigest()})
    assert name == f"stoa-bundle-{hashlib.sha256(data).hexdigest()[:16]}"


def test_the_manifest_shares_with_nobody() -> None:
    packed = pack(tenant_files(3, 100))
    assert [[p.path for p in pieces] for _, pieces in packed if any(p.path == "mcp/manifest.json" for p in pieces)] == [
        ["mcp/manifest.json"]
    ]


def test_small_tenants_share_config_maps_within_the_limit() -> None:
    packed = pack(tenant_files(200))
    assert max(sizes(packed)) <= helm.SHARED
    assert 200 * 20_000 // helm.SHARED < len(packed) < 90


def test_a_changed_tenant_changes_its_config_map_and_the_manifests() -> None:
    files = tenant_files(200)
    before = {name for name, _ in pack(files)}
    after = {name for name, _ in pack({**files, "mcp/manifest.json": b"other", "mcp/tenants/t7.json": b"x"})}
    assert len(before - after) == len(after - before) == 2


def test_a_new_tenant_changes_one_config_map_or_splits_one() -> None:
    files = tenant_files(200)
    before = {name for name, _ in pack(files)}
    for n in range(200, 230):
        after = {name for name, _ in pack({**files, f"mcp/tenants/t{n}.json": b"z" * 20_000})}
        assert len(before - after) == 1
        assert 1 <= len(after - before) <= 3


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"mcp/tenants/[a-z][a-z0-9-]{0,20}\.json", fullmatch=True),
        st.builds(
            lambda text, times: (text * times).encode(), st.text(min_size=1, max_size=8), st.integers(1, 150_000)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_packing_loses_nothing_and_keeps_the_limits(files: dict[str, bytes]) -> None:
    packed = pack(files)
    assert max(sizes(packed)) + helm.OVERHEAD <= helm.BUDGET
    assert len({name for name, _ in packed}) == len(packed)
    pieces = sorted((p.path, held(p)) for _, group in packed for p in group)
    whole: dict[str, bytes] = {}
    for path, content in pieces:
        path = re.sub(r"\.part\d{3}$", "", path)
        whole[path] = whole.get(path, b"") + content
    assert whole == files
    keys = [p.key for _, group in packed for p in group]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,253}", key) for key in keys)


def test_a_path_that_could_share_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="underscore"):
        pack({"mcp/tenants_a.json": b"x"})


# What verify finds


def file_of(values: dict[str, Any], path: str) -> dict[str, Any]:
    (file,) = [f for c in values["bundle"]["configMaps"] for f in c["files"] if f["path"] == path]
    found: dict[str, Any] = file
    return found


def rename(values: dict[str, Any]) -> None:
    """Gives every ConfigMap the name that its present content demands."""
    for config_map in values["bundle"]["configMaps"]:
        digests = {f["key"]: hashlib.sha256(f["content"].encode()).hexdigest() for f in config_map["files"]}
        data = bundle.canonical(digests)
        config_map["name"] = f"stoa-bundle-{hashlib.sha256(data).hexdigest()[:16]}"


def change_content(values: dict[str, Any]) -> None:
    file = file_of(values, "mcp/tenants/acme.json")
    file["content"] = file["content"].replace('"viewer"', '"anyone"')
    rename(values)


def forge_manifest(values: dict[str, Any]) -> None:
    file_of(values, "mcp/manifest.json")["content"] += " "
    rename(values)


def drop_file(values: dict[str, Any]) -> None:
    for config_map in values["bundle"]["configMaps"]:
        config_map["files"] = [f for f in config_map["files"] if "zenith" not in f["path"]]
    values["bundle"]["configMaps"] = [c for c in values["bundle"]["configMaps"] if c["files"]]
    rename(values)


def add_file(values: dict[str, Any]) -> None:
    extra = {"key": "mcp_tenants_evil.json", "path": "mcp/tenants/evil.json", "content": "{}\n"}
    values["bundle"]["configMaps"].append({"name": "stoa-bundle-" + "0" * 16, "files": [extra]})
    rename(values)


def mount_twice(values: dict[str, Any]) -> None:
    again = {"key": "other.json", "path": "mcp/platform.json", "content": "{}\n"}
    values["bundle"]["configMaps"].append({"name": "stoa-bundle-" + "0" * 16, "files": [again]})
    rename(values)


def same_key(values: dict[str, Any]) -> None:
    config_map = values["bundle"]["configMaps"][0]
    config_map["files"].append({**config_map["files"][0], "path": "mcp/other.json"})


def too_large(values: dict[str, Any]) -> None:
    file_of(values, "mcp/tenants/acme.json")["content"] += " " * helm.BUDGET
    rename(values)


def old_name(values: dict[str, Any]) -> None:
    file_of(values, "mcp/platform.json")["content"] += " "


def other_digest(values: dict[str, Any]) -> None:
    values["bundle"]["digest"] = "sha256:" + "0" * 64


def other_image(values: dict[str, Any]) -> None:
    values["image"]["tag"] = "latest"


def fewer_seconds(values: dict[str, Any]) -> None:
    values["terminationGracePeriodSeconds"] = 10


def trust_another_issuer(values: dict[str, Any]) -> None:
    values["issuer"]["url"] = "https://id.stoa.example.evil.example/realms/stoa"


def let_in(values: dict[str, Any]) -> None:
    values["networkPolicy"]["ingressNamespaces"].append("kafka")


def shut_out(values: dict[str, Any]) -> None:
    values["networkPolicy"]["ingressNamespaces"].remove("ingress")


def let_out_to_namespace(values: dict[str, Any]) -> None:
    values["networkPolicy"]["egress"].append({"namespaces": ["data"], "ports": [5432]})


def let_out_to_metadata(values: dict[str, Any]) -> None:
    (block,) = values["networkPolicy"]["egress"][1]["blocks"]
    block["except"].remove("169.254.0.0/16")


def shut_out_of_half_a_network(values: dict[str, Any]) -> None:
    values["networkPolicy"]["egress"][3]["blocks"] = [{"cidr": "10.30.0.0/17"}]


def shut_out_of_a_corner(values: dict[str, Any]) -> None:
    values["networkPolicy"]["egress"][1]["blocks"][0]["except"].append("203.0.113.0/24")


def other_port(values: dict[str, Any]) -> None:
    values["networkPolicy"]["egress"][3]["ports"] = [9443, 9444]


def other_dns(values: dict[str, Any]) -> None:
    values["networkPolicy"]["dns"] = {"namespace": "acme"}


@pytest.mark.parametrize(
    ("mutate", "codes"),
    [
        (change_content, {"STOA621"}),
        (forge_manifest, {"STOA621"}),
        (drop_file, {"STOA621"}),
        (add_file, {"STOA621"}),
        (mount_twice, {"STOA625", "STOA621"}),
        (same_key, {"STOA625", "STOA621"}),
        (too_large, {"STOA624", "STOA621"}),
        (old_name, {"STOA623", "STOA621"}),
        (other_digest, {"STOA622"}),
        (other_image, {"STOA627"}),
        (fewer_seconds, {"STOA627"}),
        (trust_another_issuer, {"STOA627"}),
        (let_in, {"STOA626"}),
        (shut_out, {"STOA626"}),
        (let_out_to_namespace, {"STOA626"}),
        (let_out_to_metadata, {"STOA626"}),
        (shut_out_of_half_a_network, {"STOA626"}),
        (shut_out_of_a_corner, {"STOA626"}),
        (other_port, {"STOA626"}),
        (other_dns, {"STOA626"}),
    ],
)
def test_verify_finds(small: Graph, mutate: Callable[[dict[str, Any]], None], codes: set[str]) -> None:
    carried = compiled(small)
    values = emitted(small, carried)
    changed = copy.deepcopy(values)
    mutate(changed)
    assert changed != values
    assert {line.split()[0] for line in found(small, carried, changed)} == codes


def test_verify_finds_parts_in_another_order(small: Graph) -> None:
    carried = compiled(small, {"acme": "".join(f"{n:07}" for n in range(300_000))})
    values = emitted(small, carried)
    first, second = (file_of(values, f"mcp/tenants/acme.json.part{n:03}") for n in range(2))
    first["content"], second["content"] = second["content"], first["content"]
    rename(values)
    lines = found(small, carried, values)
    assert "STOA621 `mcp/tenants/acme.json` is mounted with other bytes than were compiled" in lines


def test_verify_finds_a_missing_part(small: Graph) -> None:
    carried = compiled(small, {"acme": "x" * 2_000_000})
    values = emitted(small, carried)
    for config_map in values["bundle"]["configMaps"]:
        config_map["files"] = [f for f in config_map["files"] if not f["path"].endswith(".part001")]
    values["bundle"]["configMaps"] = [c for c in values["bundle"]["configMaps"] if c["files"]]
    assert any("`mcp/tenants/acme.json` is mounted with other bytes" in line for line in found(small, carried, values))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"bundle: {}\nbundle: {}\n", "a key is there twice"),
        (b"a: [\n", "no YAML"),
        (b"\xff\xfe", "no YAML"),
        (b"[]\n", "does not fit"),
    ],
)
def test_verify_refuses_what_does_not_read_back(small: Graph, content: bytes, said: str) -> None:
    (line,) = found(small, compiled(small), content)
    assert line.startswith("STOA620")
    assert said in line


def test_verify_refuses_a_rule_that_would_open_everything(small: Graph) -> None:
    carried = compiled(small)
    values = emitted(small, carried)
    values["networkPolicy"]["egress"].append({"ports": [5432]})
    (line,) = found(small, carried, values)
    assert line.startswith("STOA620")


# Zones


def test_what_no_flow_declares_is_closed(tmp_path: Path) -> None:
    closed = graph(tmp_path, flows=[], environment={"backendNetworks": []})
    carried = compiled(closed)
    values = emitted(closed, carried)
    assert values["networkPolicy"] == {"ingressNamespaces": [], "egress": []}
    assert found(closed, carried, values) == []


def test_a_flow_between_other_zones_changes_nothing(tmp_path: Path, small: Graph) -> None:
    more = [*FLOWS, {"from": "internal", "to": "external", "port": 25}]
    declared = graph(tmp_path, tenants=("acme", "zenith"), flows=more)
    assert emitted(declared, compiled(declared)) == emitted(small, compiled(small))


def test_ipv6_internet_excludes_private_and_translated_addresses(tmp_path: Path) -> None:
    zones = {**ZONES, "external": {"trust": "untrusted", "cidrs": ["::/0"]}}
    declared = graph(tmp_path, zones=zones)
    carried = compiled(declared)
    values = emitted(declared, carried)
    (rule,) = [r for r in values["networkPolicy"]["egress"] if r["ports"] == [443]]
    assert rule["blocks"] == [{"cidr": "::/0", "except": ["64:ff9b::/96", "::1/128", "fc00::/7", "fe80::/10"]}]
    assert found(declared, carried, values) == []
