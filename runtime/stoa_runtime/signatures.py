"""Whether a bundle is signed by a key that this process trusts, and what the signature says of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stoa_schemas import attestation
from stoa_schemas.attestation import PublicKey

KEY_LIMIT = 65_536
"""Bytes of a key's file."""


class SignatureRefused(Exception):
    """A bundle without a good signature, or a key that cannot be used; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a trusted key's holder says of a bundle."""

    sequence: int | None
    """Its place in the order of bundles; None where the signer gave none."""
    key_id: str
    """The key that signed."""
    platform: str
    environment: str
    development: bool
    commit: str | None
    """The source's commit, where the signer named one."""


def trusted(files: Iterable[Path]) -> tuple[PublicKey, ...]:
    """The public keys in `files`, PEM, one each; `SignatureRefused` where one cannot be used."""
    keys: dict[str, PublicKey] = {}
    for file in files:
        try:
            with file.open("rb") as stream:
                pem = stream.read(KEY_LIMIT)
            key = attestation.public_key(pem, str(file))
        except OSError as error:
            raise SignatureRefused(f"the key {file} cannot be read: {error.strerror}") from error
        except attestation.KeyRefused as error:
            raise SignatureRefused(str(error)) from None
        keys[key.id] = key
    return tuple(keys.values())


def verify(attestations: bytes | None, manifest_digest: str, keys: Sequence[PublicKey]) -> Verified:
    """What one of `keys` signed about the manifest of this digest; `SignatureRefused` where none did.

    `attestations` are the bytes of `mcp/bundle.intoto.jsonl`, None where there is no such file.
    """
    if attestations is None:
        raise SignatureRefused(
            f"the bundle is not signed ({attestation.ATTESTATIONS} is missing), and only signed ones are served here"
        )
    try:
        found = attestation.attested(attestations, manifest_digest, keys)
    except attestation.NotAttested as error:
        raise SignatureRefused(f"the bundle's signature is not accepted: {error}") from None
    said = found.statement.predicate
    return Verified(said.sequence, found.key_id, said.platform, said.environment, said.development, said.commit)
