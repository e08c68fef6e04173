"""Tokens, good and forged, of an issuer that publishes keys of several kinds."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.runtime.world import Issuer

Claims = Mapping[str, Any]


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    """A part of a token."""
    return b64(json.dumps(value).encode())


class Forge(Issuer):
    """Publishes `k1` (RSA), `e1` (EC), both without `alg` as `k2` and `e2`, one to encrypt with, and a secret."""

    def __init__(self) -> None:
        super().__init__()
        self.ec = ec.generate_private_key(ec.SECP256R1())
        bare = {n: v for n, v in self.published("k2", self.key).items() if n != "alg"}
        curve = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.ec.public_key()))
        to_encrypt = {**self.published("enc", self.other), "use": "enc"}
        secret = {"kty": "oct", "kid": "oct", "k": b64(b"k" * 32), "use": "sig"}
        self.server.documents["/jwks"] = {
            "keys": [
                self.published("k1", self.key),
                {**curve, "kid": "e1", "use": "sig", "alg": "ES256"},
                bare,
                {**curve, "kid": "e2", "use": "sig"},
                to_encrypt,
                secret,
                {"kty": "RSA", "kid": "broken", "n": "AQAB", "e": "!"},
                "no key",
            ]
        }

    def signed(self, header: Mapping[str, Any], claims: Claims | bytes | None = None, key: Any = None) -> str:
        """A token with exactly this header and these claims, really signed by RS256."""
        payload = claims if isinstance(claims, bytes) else json.dumps(claims or self.claims()).encode()
        signing: rsa.RSAPrivateKey = key or self.key
        text = f"{b64(json.dumps(header).encode())}.{b64(payload)}"
        return f"{text}.{b64(signing.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def hmac(self, secret: bytes, alg: str = "HS256", kid: str = "k1") -> str:
        """A token that is sealed with a secret, such as a key that everybody knows."""
        digest: Callable[..., Any] = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg]
        text = f"{part({'alg': alg, 'typ': 'JWT', 'kid': kid})}.{part(self.claims())}"
        return f"{text}.{b64(hmac.new(secret, text.encode(), digest).digest())}"

    def unsigned(self, alg: str, signature: str = "") -> str:
        """A token without a signature."""
        return f"{part({'alg': alg, 'typ': 'JWT', 'kid': 'k1'})}.{part(self.claims())}.{signature}"

    def public(self, encoding: serialization.Encoding, form: serialization.PublicFormat) -> bytes:
        """The public key, as files hold it."""
        return self.key.public_key().public_bytes(encoding, form)
