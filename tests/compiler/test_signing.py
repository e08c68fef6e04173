"""A signed bundle, checked by ours and by tools that know only the standards."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as StandardStatement

from stoa_compiler import signing
from stoa_schemas import attestation, bundle
from stoa_schemas.attestation import ATTESTATIONS
from tests.compiler.sources import copy_of_base, stoa

_COMPILED: dict[str, Path] = {}


@pytest.fixture
def compiled(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the good source, to be changed at will."""
    if "prod" not in _COMPILED:
        folder = tmp_path_factory.mktemp("compiled")
        copy_of_base(folder)
        assert stoa("compile", "--env", "prod", "--out", "out", cwd=folder).returncode == 0
        _COMPILED["prod"] = folder / "out"
    shutil.copytree(_COMPILED["prod"], tmp_path / "out")
    return tmp_path / "out"


def keys(folder: Path, name: str, private: Any = None, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """A pair of keys as files."""
    private = private or ed25519.Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    (folder / f"{name}.key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    (folder / f"{name}.pub").write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return folder / f"{name}.key", folder / f"{name}.pub"


def signed(out: Path, key: Path, *more: str, **environment: str) -> bytes:
    done = stoa("sign", str(out), "--key", str(key), *more, cwd=out.parent, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return (out / ATTESTATIONS).read_bytes()


def refused(out: Path, *keys: Path) -> str:
    """What `stoa verify` finds wrong."""
    done = stoa("verify", str(out), *(f"--key={key}" for key in keys), cwd=out.parent)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def pae(envelope: dict[str, Any]) -> bytes:
    """DSSE's pre-authentication encoding, written from its text: lengths in bytes, in decimal digits."""
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])


PAIRS = [
    pytest.param(ed25519.Ed25519PrivateKey.generate, id="ed25519"),
    pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="p256"),
]


@pytest.mark.parametrize("generate", PAIRS)
def test_signed_and_verified(compiled: Path, tmp_path: Path, generate: Any) -> None:
    key, public = keys(tmp_path, "a", generate())
    signed(compiled, key, "--sequence", "7", "--commit", "0123abcd")
    done = stoa("verify", "out", "--key", str(public), "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["whole"], facts["signed"], facts["sequence"], facts["commit"]) == (True, True, 7, "0123abcd")


@pytest.mark.parametrize("generate", PAIRS)
def test_the_envelope_is_what_the_standards_say(compiled: Path, tmp_path: Path, generate: Any) -> None:
    """Checked without any code of ours or of the library that signs."""
    key, public_file = keys(tmp_path, "a", generate())
    lines = signed(compiled, key, "--sequence", "7").splitlines()
    assert len(lines) == 1
    envelope = json.loads(lines[0])
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    (signature,) = envelope["signatures"]
    raw = base64.b64decode(signature["sig"], validate=True)
    public = load_pem_public_key(public_file.read_bytes())
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(raw, pae(envelope))
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(raw, pae(envelope), ec.ECDSA(hashes.SHA256()))

    said = json.loads(base64.b64decode(envelope["payload"]))
    parsed = json_format.Parse(base64.b64decode(envelope["payload"]), statement_pb2.Statement())
    StandardStatement.copy_from_pb(parsed).validate()
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    subjects = {s["name"]: s["digest"]["sha256"] for s in said["subject"]}
    files = {p.relative_to(compiled).as_posix(): p for p in compiled.rglob("*") if p.is_file()}
    del files[ATTESTATIONS]
    assert subjects == {path: bundle.sha256(p.read_bytes()).removeprefix("sha256:") for path, p in files.items()}
    assert said["predicate"]["environment"] == "prod"
    assert said["predicate"]["sequence"] == 7


@pytest.mark.engine
@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_openssl_makes_keys_and_checks_signatures(compiled: Path, tmp_path: Path, algorithm: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    kind = ["ed25519"] if algorithm == "ed25519" else ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl("genpkey", "-algorithm", *kind, "-out", "a.key")
    openssl("pkey", "-in", "a.key", "-pubout", "-out", "a.pub")
    envelope = json.loads(signed(compiled, tmp_path / "a.key"))
    (tmp_path / "covered").write_bytes(pae(envelope))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    if algorithm == "ed25519":
        checked = openssl(
            "pkeyutl", "-verify", "-pubin", "-inkey", "a.pub", "-rawin", "-in", "covered", "-sigfile", "sig"
        )
        assert "Signature Verified Successfully" in checked
    else:
        assert "Verified OK" in openssl("dgst", "-sha256", "-verify", "a.pub", "-signature", "sig", "covered")
    openssl("pkey", "-pubin", "-in", "a.pub", "-outform", "DER", "-out", "a.der")
    assert envelope["signatures"][0]["keyid"] == bundle.sha256((tmp_path / "a.der").read_bytes()).removeprefix(
        "sha256:"
    )


def test_ed25519_gives_the_same_bytes(compiled: Path, tmp_path: Path) -> None:
    key, _ = keys(tmp_path, "a")
    first = signed(compiled, key, "--sequence", "7")
    assert signed(compiled, key, "--sequence", "7") == first
    assert signed(compiled, key, "--sequence", "8") != first


def test_a_foreign_envelope_without_a_key_id_is_taken(compiled: Path, tmp_path: Path) -> None:
    """DSSE: the key's id is a hint. cosign leaves it out."""
    key, public = keys(tmp_path, "a")
    envelope = json.loads(signed(compiled, key))
    del envelope["signatures"][0]["keyid"]
    envelope["signatures"].insert(0, {"sig": base64.b64encode(b"another's").decode()})
    envelope["unknown"] = 1
    (compiled / ATTESTATIONS).write_text(json.dumps(envelope))
    assert stoa("verify", "out", "--key", str(public), cwd=tmp_path).returncode == 0


def test_keys_are_changed_without_a_gap(compiled: Path, tmp_path: Path) -> None:
    """Trust both, sign by both, then forget the old one."""
    old, old_public = keys(tmp_path, "old")
    new, new_public = keys(tmp_path, "new")
    signed(compiled, old)
    both = [f"--key={old_public}", f"--key={new_public}"]
    assert stoa("verify", "out", *both, cwd=tmp_path).returncode == 0
    assert "no trusted key made it" in refused(compiled, new_public)
    signed(compiled, new, "--add")
    assert len((compiled / ATTESTATIONS).read_bytes().splitlines()) == 2
    for public in (old_public, new_public):
        assert stoa("verify", "out", "--key", str(public), cwd=tmp_path).returncode == 0
    signed(compiled, new, "--add", "--sequence", "2")
    assert len((compiled / ATTESTATIONS).read_bytes().splitlines()) == 2
    signed(compiled, new)
    assert "no trusted key made it" in refused(compiled, old_public)


def test_an_encrypted_key(compiled: Path, tmp_path: Path) -> None:
    key, public = keys(tmp_path, "a", passphrase=b"open sesame")
    done = stoa("sign", "out", "--key", str(key), cwd=tmp_path)
    assert done.returncode == 2
    assert "is encrypted, and no passphrase is given; set STOA_SIGNING_PASSPHRASE" in done.stderr
    done = stoa("sign", "out", "--key", str(key), cwd=tmp_path, STOA_SIGNING_PASSPHRASE="sesame shut")
    assert done.returncode == 2
    assert "the passphrase is wrong" in done.stderr
    assert "shut" not in done.stderr
    signed(compiled, key, "--passphrase-variable", "OTHER", OTHER="open sesame")
    assert stoa("verify", "out", "--key", str(public), cwd=tmp_path).returncode == 0
    plain, _ = keys(tmp_path, "plain")
    signed(compiled, plain, STOA_SIGNING_PASSPHRASE="for another key")


def test_what_was_changed_is_named(compiled: Path, tmp_path: Path) -> None:
    key, public = keys(tmp_path, "a")
    assert "the bundle is not signed" in refused(compiled, public)
    envelope = json.loads(signed(compiled, key))

    said = json.loads(base64.b64decode(envelope["payload"]))
    said["predicate"]["sequence"] = 99
    forged = {**envelope, "payload": base64.b64encode(json.dumps(said).encode()).decode()}
    (compiled / ATTESTATIONS).write_text(json.dumps(forged))
    assert "does not fit: something was changed" in refused(compiled, public)

    (compiled / ATTESTATIONS).write_text("{}")
    assert "is no DSSE envelope" in refused(compiled, public)
    (compiled / ATTESTATIONS).write_text("")
    assert "holds no envelopes" in refused(compiled, public)
    (compiled / ATTESTATIONS).write_text(json.dumps({**envelope, "payload": "%"}))
    assert "not base64" in refused(compiled, public)
    (compiled / ATTESTATIONS).write_text((json.dumps(envelope) + "\n") * 17)
    assert "17 envelopes" in refused(compiled, public)
    (compiled / ATTESTATIONS).write_bytes(b" " * (attestation.FILE_LIMIT + 1))
    assert "more than" in refused(compiled, public)

    (compiled / ATTESTATIONS).write_text(json.dumps(envelope))
    listing = json.loads((compiled / bundle.BUNDLE_FILE).read_bytes())
    listing["compiler"] = "9.9.9"
    (compiled / bundle.BUNDLE_FILE).write_bytes(bundle.canonical(listing))
    found = refused(compiled, public)
    assert "compiler 9.9.9" in found
    assert "`bundle.json` is not what was signed" in found


def test_a_changed_artifact_with_a_mended_listing_is_found(compiled: Path, tmp_path: Path) -> None:
    """Digests alone cannot tell: whoever changes a file can change its digest too."""
    key, public = keys(tmp_path, "a")
    signed(compiled, key)
    values = compiled / "extra.yaml"
    values.write_text("image: evil\n")
    listing = json.loads((compiled / bundle.BUNDLE_FILE).read_bytes())
    listing["artifacts"].append(
        {
            "path": "extra.yaml",
            "mediaType": "application/yaml",
            "sha256": bundle.sha256(values.read_bytes()),
            "bytes": values.stat().st_size,
        }
    )
    (compiled / bundle.BUNDLE_FILE).write_bytes(bundle.canonical(listing))
    assert stoa("verify", "out", cwd=tmp_path).returncode == 0
    assert "`extra.yaml` is in the bundle but not signed" in refused(compiled, public)


def test_another_bundles_signature_is_refused(compiled: Path, tmp_path: Path) -> None:
    key, public = keys(tmp_path, "a")
    private = signing.signing_key(key.read_bytes(), "a")
    said = signing.statement(compiled)
    others = [
        s.model_copy(update={"digest": {"sha256": "0" * 64}}) if s.name == bundle.RUNTIME_MANIFEST else s
        for s in said.subject
    ]
    (compiled / ATTESTATIONS).write_bytes(signing.sign(said.model_copy(update={"subject": others}), private))
    assert "but of another bundle: it names sha256:000" in refused(compiled, public)
    (compiled / ATTESTATIONS).write_bytes(
        signing.sign(said.model_copy(update={"predicate_type": "https://slsa.dev/provenance/v1"}), private)
    )
    assert "it says `https://slsa.dev/provenance/v1`" in refused(compiled, public)
    other_environment = said.predicate.model_copy(update={"environment": "dev"})
    (compiled / ATTESTATIONS).write_bytes(
        signing.sign(said.model_copy(update={"predicate": other_environment}), private)
    )
    assert "/dev, compiler" in refused(compiled, public)


def test_a_bundle_that_is_not_whole_is_not_signed(compiled: Path, tmp_path: Path) -> None:
    key, _ = keys(tmp_path, "a")
    (compiled / "mcp" / "more.json").write_text("{}")
    done = stoa("sign", "out", "--key", str(key), cwd=tmp_path)
    assert done.returncode == 1
    assert "`mcp/more.json` is there but not listed" in done.stderr
    assert not (compiled / ATTESTATIONS).exists()


def test_keys_that_are_not_taken(compiled: Path, tmp_path: Path) -> None:
    key, public = keys(tmp_path, "a")
    weak, weak_public = keys(tmp_path, "rsa", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    signed(compiled, key)
    (tmp_path / "two.pub").write_bytes(public.read_bytes() * 2)
    (tmp_path / "none.pub").write_text("hello")
    (tmp_path / "cosign.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA\n")
    for arguments, said in [
        (["verify", "out", f"--key={key}"], "is a private key"),
        (["verify", "out", f"--key={weak_public}"], "must be Ed25519 or ECDSA P-256"),
        (["verify", "out", f"--key={tmp_path / 'two.pub'}"], "holds 2 PEM blocks"),
        (["verify", "out", f"--key={tmp_path / 'none.pub'}"], "holds no PEM blocks"),
        (["sign", "out", f"--key={weak}"], "must be Ed25519 or ECDSA P-256"),
        (["sign", "out", f"--key={public}"], "is no private key"),
        (["sign", "out", f"--key={tmp_path / 'cosign.key'}"], "cosign's own form"),
    ]:
        done = stoa(*arguments, cwd=tmp_path)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_an_unchecked_signature_is_said_to_be_one(compiled: Path, tmp_path: Path) -> None:
    key, _ = keys(tmp_path, "a")
    done = stoa("sign", "out", "--key", str(key), cwd=tmp_path)
    assert "without a sequence" in done.stdout
    assert "was not checked" in stoa("verify", "out", cwd=tmp_path).stdout
