"""Where keys are configured, only bundles that one of them signed are served."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stoa_runtime import signatures
from stoa_runtime.bundles import BundleError, load
from stoa_schemas import bundle
from stoa_schemas.attestation import ATTESTATIONS, FILE_LIMIT
from tests.runtime import world
from tests.runtime.signing import Signer

JWKS = "http://127.0.0.1:9/jwks"


@pytest.fixture
def written(empty: Path) -> Path:
    tenants = world.catalogs("http://127.0.0.1:9")
    return world.write_bundle(empty, world.index(JWKS, tenants), tenants)


@pytest.fixture
def signer() -> Signer:
    return Signer()


def test_a_signed_bundle_is_served(written: Path, signer: Signer) -> None:
    signer.sign(written, 7)
    snapshot = load(written, keys=[Signer().public, signer.public])
    assert snapshot.signature is not None
    assert (snapshot.signature.sequence, snapshot.signature.key_id) == (7, signer.public.id)
    assert snapshot.digest == load(written).digest
    assert load(written).signature is None  # Nobody's word counts where no key is trusted.


def test_only_mcp_needs_to_be_mounted(written: Path, signer: Signer) -> None:
    signer.sign(written, 7)
    (written / bundle.BUNDLE_FILE).unlink()
    assert load(written, keys=[signer.public]).signature is not None
    data = (written / ATTESTATIONS).read_bytes()
    (written / ATTESTATIONS).unlink()
    for number, part in enumerate((data[:400], data[400:])):
        (written / f"{ATTESTATIONS}.part{number:03}").write_bytes(part)
    assert load(written, keys=[signer.public]).signature is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, f: None, "only signed ones are served here"),
        (lambda s, f: Signer().sign(f), "no trusted key made it"),
        (lambda s, f: s.sign(f, environment="prod"), "the signature is for demo/prod, and the manifest is of demo/dev"),
        (lambda s, f: s.sign(f, platform="other"), "the signature is for other/dev"),
        (lambda s, f: (f / ATTESTATIONS).write_bytes(b" " * (FILE_LIMIT + 1)), "more than"),
        (lambda s, f: (f / ATTESTATIONS).write_bytes(b"\xff\x00"), "no DSSE envelope"),
        (lambda s, f: (f / ATTESTATIONS).write_bytes(b"[" * 100_000), "no DSSE envelope"),
    ],
)
def test_what_is_not_served(written: Path, signer: Signer, change: Callable[[Signer, Path], object], said: str) -> None:
    change(signer, written)
    with pytest.raises(BundleError) as refused:
        load(written, keys=[signer.public])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_signature_does_not_cover_another_manifest(
    empty: Path, written: Path, signer: Signer, tmp_path: Path
) -> None:
    """A manifest whose own digests are right, under the signature of the one before it."""
    signer.sign(written, 7)
    kept = (written / ATTESTATIONS).read_bytes()
    tenants = world.catalogs("http://127.0.0.1:10")
    world.write_bundle(written, world.index(JWKS, tenants), tenants)
    (written / ATTESTATIONS).write_bytes(kept)
    assert load(written)
    with pytest.raises(BundleError, match="but of another bundle"):
        load(written, keys=[signer.public])


def test_keys_are_read_from_files(tmp_path: Path, signer: Signer) -> None:
    file = tmp_path / "a.pub"
    file.write_bytes(signer.public_pem)
    assert [key.id for key in signatures.trusted([file, file])] == [signer.public.id]
    file.write_text("hello")
    with pytest.raises(signatures.SignatureRefused, match="holds no PEM blocks"):
        signatures.trusted([file])
    with pytest.raises(signatures.SignatureRefused, match="cannot be read"):
        signatures.trusted([tmp_path / "none"])
