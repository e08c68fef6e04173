"""Signing a bundle: an in-toto statement of every file's digest, in a DSSE envelope that lies in the bundle."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from pydantic import ValidationError

from stoa_compiler.bundles import problems
from stoa_compiler.records import record
from stoa_schemas import attestation, bundle
from stoa_schemas.attestation import Attested, BundlePredicate, KeyRefused, NotAttested, PublicKey, Statement, Subject

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

__all__ = [
    "KeyRefused",
    "NotAttested",
    "NotSigned",
    "SigningKey",
    "attestations",
    "joined",
    "sign",
    "signature_problems",
    "signing_key",
    "statement",
]


class NotSigned(Exception):
    """A bundle that cannot be signed; the problems, a line each."""

    def __init__(self, found: list[str]) -> None:
        super().__init__("\n".join(found))
        self.found = found


@record
class SigningKey:
    """A private key, and the public one by which others know it."""

    public: PublicKey
    signer: "CryptoSigner"


def signing_key(pem: bytes, name: str, passphrase: str | None = None) -> SigningKey:
    """The private key in `pem`, PKCS #8 or SEC 1; `KeyRefused`, which calls it `name`, where it can't be used."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    if b"BEGIN ENCRYPTED SIGSTORE" in pem or b"BEGIN ENCRYPTED COSIGN" in pem:
        raise KeyRefused(f"{name} is in cosign's own form; one made by `openssl genpkey` is taken")
    if b"PRIVATE KEY-----" not in pem:
        raise KeyRefused(f"{name} is no private key in PEM form (`BEGIN PRIVATE KEY`)")
    try:
        private = load_pem_private_key(pem, passphrase.encode() if passphrase is not None else None)
    except TypeError:  # A passphrase where none is wanted, or none where one is.
        if passphrase is None:
            raise KeyRefused(f"{name} is encrypted, and no passphrase is given") from None
        return signing_key(pem, name)
    except (ValueError, UnsupportedAlgorithm):
        why = "or the passphrase is wrong" if passphrase is not None else "or of a form that is not read"
        raise KeyRefused(f"{name} is damaged, {why}") from None
    public = attestation.described(private.public_key(), name)
    return SigningKey(public, CryptoSigner(private, public.key))


def statement(folder: Path, sequence: int | None = None, commit: str | None = None) -> Statement:
    """What signing the bundle in `folder` states; `NotSigned` where it is not what its own digests name."""
    if found := list(problems(folder)):
        raise NotSigned(found)
    listing = (folder / bundle.BUNDLE_FILE).read_bytes()
    try:
        declared = bundle.Bundle.model_validate_json(listing)
    except ValidationError as error:
        raise NotSigned([f"`{bundle.BUNDLE_FILE}` is no bundle's listing: {error.errors()[0]['msg']}"]) from None
    if declared.digest is None:
        raise NotSigned(["the bundle has no catalogs, so no runtime serves it and nothing is there to sign"])
    digests = {a.path: a.sha256 for a in declared.artifacts} | {bundle.BUNDLE_FILE: bundle.sha256(listing)}
    return Statement(
        subject=[
            Subject(name=path, digest={"sha256": digest.removeprefix("sha256:")})
            for path, digest in sorted(digests.items())
        ],
        predicate=BundlePredicate(
            platform=declared.platform,
            environment=declared.environment,
            development=declared.development,
            compiler=declared.compiler,
            sequence=sequence,
            commit=commit,
        ),
    )


def sign(said: Statement, key: SigningKey) -> bytes:
    """The envelope with `said`, a line. The same bytes each time for Ed25519; ECDSA draws a number."""
    from securesystemslib.dsse import Envelope

    made = Envelope(said.encode(), attestation.PAYLOAD_TYPE, {})
    signature = made.sign(key.signer)
    return orjson.dumps(
        {
            "payload": base64.b64encode(made.payload).decode(),
            "payloadType": made.payload_type,
            "signatures": [
                {"keyid": signature.keyid, "sig": base64.b64encode(bytes.fromhex(signature.signature)).decode()}
            ],
        },
        option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE,
    )


def joined(before: bytes, envelope: bytes, key_id: str) -> bytes:
    """The envelopes `before` and a new one, which takes the place of any by the same key."""
    kept = [line for line in before.splitlines() if line.strip() and key_id not in attestation.signers(line)]
    return b"".join(line + b"\n" for line in kept) + envelope


def attestations(folder: Path) -> bytes | None:
    """The envelopes that lie in the bundle; None where it is not signed."""
    try:
        return (folder / attestation.ATTESTATIONS).read_bytes()
    except FileNotFoundError:
        return None


def signature_problems(folder: Path, keys: list[PublicKey]) -> tuple[Attested | None, list[str]]:
    """What one of `keys` signed of the bundle in `folder`, and what is wrong with it, a line each."""
    data = attestations(folder)
    if data is None:
        return None, [f"the bundle is not signed: `{attestation.ATTESTATIONS}` is missing"]
    try:
        manifest = (folder / bundle.RUNTIME_MANIFEST).read_bytes()
        listing = (folder / bundle.BUNDLE_FILE).read_bytes()
        declared = bundle.Bundle.model_validate_json(listing)
    except (OSError, ValidationError):
        return None, ["the signature is not checked: there is no bundle to compare it with"]
    try:
        found = attestation.attested(data, bundle.sha256(manifest), keys)
    except NotAttested as error:
        return None, [f"the signature is not accepted: {error}"]
    wrong: list[str] = []
    said = found.statement.predicate
    here = (declared.platform, declared.environment, declared.development, declared.compiler)
    if (said.platform, said.environment, said.development, said.compiler) != here:
        wrong.append(
            f"the signature is for {said.platform}/{said.environment}, compiler {said.compiler}; the bundle is of"
            f" {declared.platform}/{declared.environment}, compiler {declared.compiler}"
        )
    digests = {a.path: a.sha256 for a in declared.artifacts} | {bundle.BUNDLE_FILE: bundle.sha256(listing)}
    signed = {s.name: f"sha256:{s.digest.get('sha256')}" for s in found.statement.subject}
    for path in sorted(digests.keys() | signed.keys()):
        if path not in signed:
            wrong.append(f"`{path}` is in the bundle but not signed")
        elif path not in digests:
            wrong.append(f"`{path}` is signed but not in the bundle")
        elif digests[path] != signed[path]:
            wrong.append(f"`{path}` is not what was signed")
    return found, wrong
