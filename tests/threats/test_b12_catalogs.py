"""B12: somebody who can write into the bundle's folder, and not sign. What is served stays the last good bundle."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from stoa_runtime.settings import Settings
from stoa_schemas import attestation, bundle
from tests.runtime import world
from tests.runtime.signing import Signer
from tests.runtime.test_reloading import eventually, without
from tests.threats import wire
from tests.threats.process import Attacked, serving

INVOICE = "ioi_billing_get_invoice"
CATALOG = "mcp/tenants/ioi.json"


@dataclass
class Deployed:
    """A process that takes signed bundles only, its folder, and who may sign."""

    stoa: Attacked
    signer: Signer
    settings: Settings
    scratch: Path

    @property
    def folder(self) -> Path:
        return self.settings.bundle

    def written(self, name: str, sequence: int | None, tenants: dict[str, bundle.Catalog] | None = None) -> Path:
        """A bundle beside the folder, signed where it has a sequence."""
        tenants = tenants or self.stoa.tenants
        folder = world.write_bundle(self.scratch / name, world.index(self.stoa.issuer.jwks_url, tenants), tenants)
        return folder if sequence is None else self.signer.sign(folder, sequence)

    def put(self, new: Path) -> str:
        """Exchanges the folder."""
        old = self.scratch / "old"
        self.folder.rename(old)
        new.rename(self.folder)
        shutil.rmtree(old)
        return bundle.sha256((self.folder / bundle.RUNTIME_MANIFEST).read_bytes())

    def ready(self) -> dict[str, str]:
        return dict(httpx2.get(f"{self.stoa.url}/readyz").json())

    def sees(self, era: str = wire.MODERN) -> bool:
        """Whether people of `ioi` see the tool."""
        answer = wire.asked(self.stoa.address, wire.listing(self.stoa.issuer.token(sub="seer"), era=era))
        return INVOICE in [tool["name"] for tool in answer.json()["result"]["tools"]]

    def holds(self, digest: str) -> None:
        """The bundle of this digest is served still, and one that is signed as it should be is taken after all."""
        assert self.ready()["bundle"] == digest
        assert self.ready()["status"] == "ready"
        assert self.sees()
        fewer = without(self.stoa.tenants, INVOICE)
        new = self.put(self.written("cure", 9, fewer))
        eventually(lambda: self.ready().get("bundle") == new, 20)
        assert not self.sees(wire.MODERN)
        assert not self.sees(wire.LEGACY)
        assert "refused" not in self.ready()


@pytest.fixture
def deployed(tmp_path: Path, issuer: world.Issuer, backend: world.Recorder) -> Iterator[Deployed]:
    signer = Signer()
    key = tmp_path / "key.pem"
    key.write_bytes(signer.public_pem)
    tenants = world.catalogs(backend.url)
    folder = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    signer.sign(folder, 5)
    state = tmp_path / "state"
    settings = Settings(bundle=folder, port=0, audit=state / "audit.jsonl", keys=(key,), reload_seconds=0.05)
    with serving(settings, issuer, backend, tenants, tmp_path / "process") as stoa:
        yield Deployed(stoa, signer, settings, tmp_path)
        assert "Traceback" not in stoa.printed()


def spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Changes a file as a careful writer does, so that no half of it is seen."""
    new = path.with_name("..new")
    new.write_bytes(change(path.read_bytes()))
    new.replace(path)


def granted(data: bytes) -> bytes:
    catalog = json.loads(data)
    catalog["access"]["viewer"] = catalog["access"]["devops"]
    return json.dumps(catalog).encode()


def consistent(deployed: Deployed) -> None:
    """Everything is changed to fit: catalog, manifest and bundle.json. Only the signature is missing."""
    access = {"viewer": [t.name for t in deployed.stoa.tenants["ioi"].tools]}
    ioi = deployed.stoa.tenants["ioi"].model_copy(update={"access": access})
    signature = (deployed.folder / attestation.ATTESTATIONS).read_bytes()
    new = deployed.written("forged", None, {**deployed.stoa.tenants, "ioi": ioi})
    (new / attestation.ATTESTATIONS).write_bytes(signature)
    deployed.put(new)


def resigned(deployed: Deployed) -> None:
    """The same, signed by a key that nobody trusts."""
    consistent(deployed)
    Signer().sign(deployed.folder, 7)


def emptied(data: bytes) -> bytes:
    return b""


ATTACKS: dict[str, Callable[[Deployed], object]] = {
    "a catalog changed": lambda d: spoil(d.folder / CATALOG, granted),
    "a catalog half written": lambda d: spoil(d.folder / CATALOG, lambda data: data[: len(data) // 2]),
    "a catalog emptied": lambda d: spoil(d.folder / CATALOG, emptied),
    "a catalog taken away": lambda d: (d.folder / CATALOG).unlink(),
    "two catalogs exchanged": lambda d: spoil(
        d.folder / CATALOG, lambda _: (d.folder / "mcp/tenants/greg.json").read_bytes()
    ),
    "the index changed": lambda d: spoil(
        d.folder / bundle.PLATFORM_INDEX, lambda data: data.replace(b"https://id.example.test", b"https://evil.test")
    ),
    "the manifest emptied": lambda d: spoil(d.folder / bundle.RUNTIME_MANIFEST, lambda _: b"{}"),
    "the manifest half written": lambda d: spoil(d.folder / bundle.RUNTIME_MANIFEST, lambda data: data[:-10]),
    "the manifest with a space more": lambda d: spoil(d.folder / bundle.RUNTIME_MANIFEST, lambda data: data + b" "),
    "all changed to fit, with the old signature": consistent,
    "all changed to fit, signed by another key": resigned,
    "the signature taken away": lambda d: (d.folder / attestation.ATTESTATIONS).unlink(),
    "the signature emptied": lambda d: spoil(d.folder / attestation.ATTESTATIONS, emptied),
    "the signature as noise": lambda d: spoil(d.folder / attestation.ATTESTATIONS, lambda _: b"\xff" * 100_000),
    "an older bundle with its signature": lambda d: d.put(d.written("older", 4, without(d.stoa.tenants, INVOICE))),
    "another bundle of the same sequence": lambda d: d.put(d.written("same", 5, without(d.stoa.tenants, INVOICE))),
    "a bundle without a sequence": lambda d: d.put(
        d.signer.sign(d.written("none", None, without(d.stoa.tenants, INVOICE)))
    ),
    "a file more": lambda d: (d.folder / "mcp/tenants/evil.json").write_bytes(b"{}"),
    "a link to a file outside": lambda d: replaced(d, Path("/etc/passwd")),
    "a link to nothing": lambda d: replaced(d, Path("/nowhere")),
    "a link to itself": lambda d: replaced(d, d.folder / CATALOG),
    "a link to a device without an end": lambda d: replaced(d, Path("/dev/zero")),
    "a link to the whole disk": lambda d: (d.folder / "mcp/disk").symlink_to("/"),
    "links in a circle": lambda d: circle(d.folder / "mcp" / "circle"),
    "a folder where the catalog was": lambda d: swapped_for_folder(d.folder / CATALOG),
    "parts instead of the catalog, one changed": lambda d: parted(d.folder / CATALOG, granted),
    "parts with a gap": lambda d: parted(d.folder / CATALOG, lambda data: data, gap=True),
    "a name with a line end": lambda d: (d.folder / "mcp/x\nCRITICAL forged line").write_bytes(b""),
}


def replaced(deployed: Deployed, target: Path) -> None:
    path = deployed.folder / CATALOG
    path.unlink()
    path.symlink_to(target)


def circle(folder: Path) -> None:
    """Folders without a file: each link doubles the ways through them."""
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).symlink_to(folder)


def swapped_for_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def parted(path: Path, change: Callable[[bytes], bytes], *, gap: bool = False) -> None:
    data = change(path.read_bytes())
    middle = len(data) // 2
    for number, piece in enumerate((data[:middle], data[middle:])):
        path.with_name(f"{path.name}.part{number + gap * number:03}").write_bytes(piece)
    path.unlink()


@pytest.mark.parametrize("attack", ATTACKS)
def test_folder_with(deployed: Deployed, attack: str) -> None:
    digest = deployed.ready()["bundle"]
    ATTACKS[attack](deployed)
    until = time.monotonic() + 1.5  # A change within the folder may not be looked at before the bundle is exchanged.
    while "refused" not in deployed.ready() and time.monotonic() < until:
        time.sleep(0.05)
    lines = deployed.stoa.printed().splitlines()
    assert not [line for line in lines if line.startswith("CRITICAL")]
    deployed.holds(digest)


def test_a_file_changed_after_it_was_loaded_has_no_effect(
    tmp_path: Path, issuer: world.Issuer, backend: world.Recorder
) -> None:
    """Nothing is read from the folder while requests are answered: here nobody even looks for another bundle."""
    tenants = world.catalogs(backend.url)
    folder = world.write_bundle(tmp_path / "bundle", world.index(issuer.jwks_url, tenants), tenants)
    settings = Settings(bundle=folder, port=0, audit=tmp_path / "state" / "a.jsonl", reload_seconds=0)
    with serving(settings, issuer, backend, tenants, tmp_path / "process") as stoa:
        token = issuer.token(sub="viewer", roles=["viewer"])
        before = wire.asked(stoa.address, wire.listing(token)).body
        spoil(folder / CATALOG, granted)
        (folder / "mcp/tenants/greg.json").unlink()
        shutil.rmtree(folder / "mcp" / "tenants")
        assert wire.asked(stoa.address, wire.listing(token)).body == before
        sorrento = issuer.token(sub="sorrento", tenant="greg")
        assert b"greg_oasis" in wire.asked(stoa.address, wire.listing(sorrento)).body


def test_an_older_bundle_is_not_served_by_a_new_process_either(deployed: Deployed) -> None:
    deployed.put(deployed.written("older", 4))
    with (
        pytest.raises(AssertionError, match="older than what was served"),
        serving(deployed.settings, deployed.stoa.issuer, deployed.stoa.backend, {}, deployed.scratch / "second"),
    ):
        pass


def test_a_bundle_swapped_amid_requests_is_never_seen_in_part(deployed: Deployed) -> None:
    """Every answer is wholly of one bundle or wholly of the next, while bundles change."""
    token = deployed.stoa.issuer.token(sub="reader")
    fewer = without(deployed.stoa.tenants, INVOICE)
    expected: dict[str, bool] = {deployed.ready()["bundle"]: True}
    with wire.Wire(deployed.stoa.address) as connection:
        for sequence in range(6, 12):
            new = deployed.put(deployed.written(f"b{sequence}", sequence, fewer if sequence % 2 == 0 else None))
            expected[new] = sequence % 2 == 1
            until = time.monotonic() + 20
            while True:
                connection.send(wire.listing(token))
                answer = connection.answer()
                assert answer is not None
                result = answer.json()["result"]
                digest = result["_meta"]["dev.gostoa/bundle"]
                assert (INVOICE in [tool["name"] for tool in result["tools"]]) == expected[digest]
                if digest == new:
                    break
                assert time.monotonic() < until
