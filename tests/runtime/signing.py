"""Bundles of the small world, signed as `stoa sign` signs them."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from stoa_compiler import signing
from stoa_schemas import attestation


class Signer:
    """A pair of keys."""

    def __init__(self) -> None:
        private = ed25519.Ed25519PrivateKey.generate()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key = signing.signing_key(pem, "a test's key")
        self.public_pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public = self.key.public

    def sign(self, folder: Path, sequence: int | None = None, **said: str) -> Path:
        """Signs the bundle in `folder`; `said` changes what is stated of it."""
        whole = signing.statement(folder, sequence)
        stated = whole.model_copy(update={"predicate": whole.predicate.model_copy(update=said)})
        (folder / attestation.ATTESTATIONS).write_bytes(signing.sign(stated, self.key))
        return folder
