"""What a signature says of a bundle: an in-toto statement in a DSSE envelope, and which keys it is believed of.

The envelope lies at `mcp/bundle.intoto.jsonl`, beside the manifest that it vouches for, so that it goes wherever
`mcp/` is mounted. It holds one envelope a line: several keys may sign, each with a line of its own.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stoa_schemas import bundle
from stoa_schemas.base import camel_case

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

ATTESTATIONS = "mcp/bundle.intoto.jsonl"
"""The one file below `mcp/` that the manifest does not list: it names the manifest's digest."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://gostoa.dev/attestation/bundle/v1"

FILE_LIMIT = 4 * 1024 * 1024
"""Bytes of the file of envelopes; a bundle of ten thousand tenants takes half of it."""
ENVELOPE_LIMIT = 16
"""Envelopes that one file may hold."""
SIGNATURE_LIMIT = 16
"""Signatures that one envelope may hold."""
SEQUENCE_LIMIT = 2**53 - 1
"""The highest sequence: what every reader of JSON keeps exactly."""

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")


class KeyRefused(Exception):
    """A key that cannot be used; the message is one line for whoever named it."""


class NotAttested(Exception):
    """A bundle that no trusted key vouches for; the message is one line and says why."""


class _Open(BaseModel):
    """A part of a standard's document: readers ignore what they don't know there."""

    model_config = ConfigDict(
        extra="ignore", strict=True, frozen=True, alias_generator=camel_case, populate_by_name=True
    )


class Subject(_Open):
    """A file that a statement is about."""

    name: str
    """Its path in the bundle."""
    digest: dict[str, str]
    """Its digests in hex, by algorithm; `sha256` is there."""


class BundlePredicate(_Open):
    """What is said of the subjects: together they are this bundle."""

    platform: str
    """The platform's name."""
    environment: str
    """dev, staging or prod."""
    development: bool
    """Whether the development issuer and mock backends may be used with it."""
    compiler: str
    """Version of the compiler."""
    sequence: Annotated[int, Field(ge=0, le=SEQUENCE_LIMIT)] | None = None
    """Its place in the order of this environment's bundles; absent where the signer gave none."""
    commit: str | None = None
    """The commit of the source, where the signer named one."""


class Statement(_Open):
    """An in-toto statement (v1) of a bundle."""

    type: Annotated[str, Field(alias="_type")] = STATEMENT_TYPE
    """The statement's version."""
    subject: list[Subject]
    """Every file of the bundle."""
    predicate_type: str = PREDICATE_TYPE
    """What kind of thing is said."""
    predicate: BundlePredicate
    """What is said."""

    def encode(self) -> bytes:
        """The canonical bytes."""
        value = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

    def sha256_of(self, path: str) -> str | None:
        """The digest that is stated for `path`, as `sha256:<hex>`; None where it is no subject."""
        found = next((s.digest.get("sha256") for s in self.subject if s.name == path), None)
        return f"sha256:{found}" if found else None


class _Header(_Open):
    """What must be right before the rest of a statement is read."""

    type: Annotated[str, Field(alias="_type")]
    predicate_type: str


class EnvelopeSignature(_Open):
    """One signature of an envelope."""

    keyid: str = ""
    """A hint which key made it. It is not signed, so nothing rests on it."""
    sig: str
    """The signature, base64."""


class Envelope(_Open):
    """A DSSE envelope: a payload, its type, and signatures over both."""

    payload: str
    """The payload, base64."""
    payload_type: str
    """Its media type, which the signatures cover."""
    signatures: Annotated[list[EnvelopeSignature], Field(min_length=1, max_length=SIGNATURE_LIMIT)]
    """By whom it is signed."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key whose signatures are believed."""

    id: str
    """sha256 in hex of its DER form: what `openssl pkey -pubin -outform DER | sha256sum` prints."""
    algorithm: str
    """`Ed25519` or `ECDSA P-256`."""
    key: "SSlibKey"


@dataclass(frozen=True, slots=True)
class Attested:
    """A statement, and the trusted key that signed it."""

    statement: Statement
    key_id: str


def public_key(pem: bytes, name: str) -> PublicKey:
    """The public key in `pem`; `KeyRefused`, which calls it `name`, where it is none or of a kind that is not taken."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    labels = [label.decode() for label in _PEM.findall(pem)]
    if any("PRIVATE" in label for label in labels):
        raise KeyRefused(f"{name} is a private key: verifying takes the public one, and the private one stays secret")
    if len(labels) != 1:
        raise KeyRefused(f"{name} holds {len(labels) or 'no'} PEM blocks, not one public key")
    try:
        loaded = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused(f"{name} is no public key in PEM form (`BEGIN PUBLIC KEY`)") from None
    return described(loaded, name)


def described(loaded: object, name: str) -> PublicKey:
    """`loaded`, a public key of `cryptography`, as one whose signatures are believed."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from securesystemslib.signer import SSlibKey

    if isinstance(loaded, Ed25519PublicKey):
        algorithm = "Ed25519"
    elif isinstance(loaded, EllipticCurvePublicKey) and isinstance(loaded.curve, SECP256R1):
        algorithm = "ECDSA P-256"
    else:
        raise KeyRefused(f"{name} is of a kind that is not taken: it must be Ed25519 or ECDSA P-256")
    der = loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    identity = hashlib.sha256(der).hexdigest()
    return PublicKey(identity, algorithm, SSlibKey.from_crypto(loaded, keyid=identity))


def attested(data: bytes, manifest_digest: str, keys: Sequence[PublicKey]) -> Attested:
    """The statement about the manifest of this digest that one of `keys` signed, of the highest sequence.

    `NotAttested` says what is wrong where there is none.
    """
    reasons: list[str] = []
    found: list[Attested] = []
    for number, envelope in enumerate(_envelopes(data), 1):
        outcome = _judged(envelope, manifest_digest, keys)
        if isinstance(outcome, Attested):
            found.append(outcome)
        else:
            reasons.append(outcome if not data.rstrip(b"\n").count(b"\n") else f"envelope {number}: {outcome}")
    if not found:
        raise NotAttested("; ".join(reasons))
    return max(found, key=lambda a: -1 if a.statement.predicate.sequence is None else a.statement.predicate.sequence)


def signers(data: bytes) -> list[str]:
    """The ids of the keys that the envelopes say they are signed by. Nothing is checked but their form."""
    return list(dict.fromkeys(s.keyid or "(not named)" for e in _envelopes(data) for s in e.signatures))


def _envelopes(data: bytes) -> Iterator[Envelope]:
    if len(data) > FILE_LIMIT:
        raise NotAttested(f"{ATTESTATIONS} has more than {FILE_LIMIT} bytes")
    lines = [line for line in data.split(b"\n") if line.strip()]
    if not 1 <= len(lines) <= ENVELOPE_LIMIT:
        raise NotAttested(f"{ATTESTATIONS} holds {len(lines) or 'no'} envelopes; 1 to {ENVELOPE_LIMIT} are read")
    for number, line in enumerate(lines, 1):
        try:
            yield Envelope.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            at = ".".join(str(part) for part in first["loc"]) or "root"
            raise NotAttested(f"line {number} of {ATTESTATIONS} is no DSSE envelope: {at}: {first['msg']}") from None


def _judged(envelope: Envelope, manifest_digest: str, keys: Sequence[PublicKey]) -> Attested | str:
    """The statement in `envelope`, or why it does not count."""
    payload = _decoded(envelope.payload)
    if payload is None:
        return "its payload is not base64"
    key = _signer(envelope, payload, keys)
    if isinstance(key, str):
        return key
    # From here on the words are those of a trusted key's holder.
    if envelope.payload_type != PAYLOAD_TYPE:
        return f"it is signed by a trusted key, but holds `{envelope.payload_type}`, no in-toto statement"
    try:
        header = _Header.model_validate_json(payload)
        if (header.type, header.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
            return f"it is signed by a trusted key, but is no statement of a bundle: it says `{header.predicate_type}`"
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        return f"it is signed by a trusted key, but is no statement that is read here: {error.errors()[0]['msg']}"
    stated = statement.sha256_of(bundle.RUNTIME_MANIFEST)
    if stated != manifest_digest:
        return f"it is signed by a trusted key, but of another bundle: it names {stated}, here is {manifest_digest}"
    return Attested(statement, key.id)


def _signer(envelope: Envelope, payload: bytes, keys: Sequence[PublicKey]) -> PublicKey | str:
    """The key among `keys` that made one of the signatures, or why there is none."""
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    covered = Dsse(payload, envelope.payload_type, {}).pae()
    for signature in envelope.signatures:
        raw = _decoded(signature.sig)
        if raw is None:
            continue
        for key in keys:
            # The library looks for the key that the signature names; the standard calls that name a hint.
            try:
                key.key.verify_signature(Signature(key.id, raw.hex()), covered)
            except UnverifiedSignatureError:
                continue
            return key
    named = [s.keyid for s in envelope.signatures]
    if broken := next((k for k in keys if k.id in named), None):
        return f"the signature that names the trusted key {broken.id[:16]} does not fit: something was changed"
    said = ", ".join(n[:16] or "no key" for n in named)
    return f"no trusted key made it: it names {said}; trusted are {', '.join(k.id[:16] for k in keys) or 'none'}"


def _decoded(text: str) -> bytes | None:
    """Bytes of standard or URL-safe base64 (DSSE takes both); None where it is neither."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
