"""Bundles are served only as they were written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoa_runtime.bundles import BundleError, load
from stoa_runtime.server import application
from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world

JWKS = "http://127.0.0.1:9/jwks"


@pytest.fixture
def tenants() -> dict[str, bundle.Catalog]:
    return world.catalogs("http://127.0.0.1:9")


@pytest.fixture
def written(empty: Path, tenants: dict[str, bundle.Catalog]) -> Path:
    return world.write_bundle(empty, world.index(JWKS, tenants), tenants)


def refusal(folder: Path, **more: Any) -> str:
    with pytest.raises(BundleError) as refused:
        load(folder, **more)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(bundle.canonical(value))


def test_a_bundle_is_named_by_its_manifests_digest(written: Path) -> None:
    snapshot = load(written)
    assert snapshot.digest == bundle.sha256((written / bundle.RUNTIME_MANIFEST).read_bytes())
    assert list(snapshot.tenants) == ["greg", "ioi"]
    (written / bundle.BUNDLE_FILE).unlink()
    assert load(written).digest == snapshot.digest


@pytest.mark.parametrize("name", ["mcp/platform.json", "mcp/tenants/ioi.json"])
def test_a_changed_byte_is_refused(written: Path, name: str) -> None:
    data = (written / name).read_bytes()
    (written / name).write_bytes(data.replace(b"devops", b"devopz", 1))
    assert f"{name} is not what the manifest lists" in refusal(written)


def test_a_longer_shorter_or_missing_file_is_refused(written: Path) -> None:
    path = written / "mcp/tenants/ioi.json"
    data = path.read_bytes()
    path.write_bytes(data + b" ")
    refusal(written)
    path.write_bytes(data[:-1])
    refusal(written)
    path.unlink()
    assert "mcp/tenants/ioi.json is missing" in refusal(written)


def test_a_manifest_that_the_bundle_does_not_name_is_refused(written: Path) -> None:
    edit(written / bundle.RUNTIME_MANIFEST, lambda m: m.update(environment="prod"))
    assert "bundle.json names" in refusal(written)


def test_an_unlisted_file_is_refused(written: Path) -> None:
    (written / "mcp/tenants/evil.json").write_text("{}")
    assert "mcp/tenants/evil.json is not listed" in refusal(written)


@pytest.mark.parametrize("path", ["../outside.json", "/etc/passwd", "mcp/../x.json", "other/x.json", "mcp//x.json"])
def test_paths_outside_the_folder_are_refused(written: Path, path: str) -> None:
    (written / bundle.BUNDLE_FILE).unlink()
    edit(written / bundle.RUNTIME_MANIFEST, lambda m: m["files"][0].update(path=path))
    assert "outside `mcp/`" in refusal(written)


def test_parts_are_joined_and_checked_as_a_whole(written: Path) -> None:
    digest = load(written).digest
    path = written / "mcp/tenants/ioi.json"
    data = path.read_bytes()
    path.unlink()
    third = len(data) // 3
    parts = [data[:third], data[third : 2 * third], data[2 * third :]]
    for number, part in enumerate(parts):
        (written / f"mcp/tenants/ioi.json.part{number:03}").write_bytes(part)
    assert load(written).digest == digest
    (written / "mcp/tenants/ioi.json.part001").unlink()
    refusal(written)


def test_a_configmap_mount_is_read_through_its_links(written: Path) -> None:
    """Kubernetes mounts a folder `..data` that leads to the files, and links to it."""
    digest = load(written).digest
    real = written / "mcp" / "..2026_11_24"
    real.mkdir()
    (written / "mcp/platform.json").rename(real / "platform.json")
    (written / "mcp/..data").symlink_to("..2026_11_24")
    (written / "mcp/platform.json").symlink_to("..data/platform.json")
    assert load(written).digest == digest


def test_a_development_bundle_needs_leave(empty: Path, tenants: dict[str, bundle.Catalog], tmp_path: Path) -> None:
    world.write_bundle(empty, world.index(JWKS, tenants), tenants, development=True)
    assert "development bundle" in refusal(empty)
    assert load(empty, allow_development=True).development is not None
    with pytest.raises(BundleError):
        application(Settings(bundle=empty, audit=tmp_path / "a.jsonl"))


def test_no_folder_and_no_manifest(tmp_path: Path, empty: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "none")
    assert "mcp/manifest.json is missing" in refusal(empty)
    (empty / "mcp").mkdir()
    (empty / bundle.RUNTIME_MANIFEST).write_text("{")
    assert "mcp/manifest.json is not as this version reads it" in refusal(empty)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t["ioi"]["tools"][0].update(id="greg:billing:big"), "another tenant"),
        (lambda t: t["ioi"]["tools"][0].update(name="stoa_tools"), "is named"),
        (lambda t: t["ioi"]["tools"][0].update(contract="inventory"), "another tenant or contract"),
        (lambda t: t["ioi"]["access"].update(devops=["greg_oasis_get_quest"]), "names a role or tool"),
        (lambda t: t["ioi"]["access"].update(ghost=[]), "names a role or tool"),
        (lambda t: t["ioi"].update(tenant="greg"), "is the catalog of"),
        (lambda t: t["ioi"]["tools"][0].update(inputSchema={"type": "nonsense"}), "does not compile"),
        (lambda t: t["ioi"]["tools"][0].update(inputSchema={"$ref": "http://127.0.0.1:9/x"}), "does not compile"),
        (lambda t: t["ioi"]["tools"][0]["request"].update(path="/x/{id}"), "does not fill its path"),
        (lambda t: t["ioi"]["consumers"][0].update(clientId="claude"), "used twice"),
        (lambda t: t["ioi"].update(surprise=1), "is not as this version reads it"),
    ],
)
def test_catalogs_that_contradict_themselves_are_refused(
    empty: Path, tenants: dict[str, bundle.Catalog], change: Callable[[Any], None], said: str
) -> None:
    class Raw:
        """A catalog that the models would not make."""

        def __init__(self, value: Any) -> None:
            self.value = value

        def encode(self) -> bytes:
            return bundle.canonical(self.value)

    values = {name: json.loads(tenant.encode()) for name, tenant in tenants.items()}
    change(values)
    raw: Any = {name: Raw(value) for name, value in values.items()}
    world.write_bundle(empty, world.index(JWKS, tenants), raw)
    assert said in refusal(empty)


@pytest.mark.parametrize("algorithms", [["HS256"], ["RS256", "none"], []])
def test_weak_signatures_are_refused(empty: Path, tenants: dict[str, bundle.Catalog], algorithms: list[str]) -> None:
    index = world.index(JWKS, tenants)
    weak = index.model_copy(update={"token": index.token.model_copy(update={"algorithms": algorithms})})
    world.write_bundle(empty, weak, tenants)
    assert "algorithms" in refusal(empty)


def test_another_audience_than_the_endpoint_is_refused(empty: Path, tenants: dict[str, bundle.Catalog]) -> None:
    index = world.index(JWKS, tenants)
    wide = index.model_copy(update={"token": index.token.model_copy(update={"audience": "account"})})
    world.write_bundle(empty, wide, tenants)
    assert "audience" in refusal(empty)


def test_a_hostile_pattern_costs_no_time(empty: Path) -> None:
    from stoa_runtime.bundles import validator

    linear = validator({"pattern": "^(a+)+$"}, "x")
    assert not linear.is_valid("a" * 50_000 + "!")
    backtracking = validator({"pattern": "^(?=a)(a+)+$"}, "x")
    assert not backtracking.is_valid("a" * 40 + "!")
    assert backtracking.is_valid("aaa")
