"""Bearer tokens verified: the claims of a token that the bundle's rules accept, or a refusal (RFC 9068, RFC 8725)."""

import asyncio
import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import orjson

from stoa_schemas import bundle

TOKEN_LIMIT = 16_384
"""Characters of a token."""
CACHE_LIMIT = 10_000
"""Verified tokens that are remembered."""
KEYS_RENEWED = 480.0
"""Seconds after which the keys are fetched again while calls go on with those that are there."""
KEYS_MAX_AGE = 600.0
"""Seconds after which the keys are fetched again, so that one taken back by the issuer stops counting."""
KEYS_STALE_LIMIT = 3600.0
"""Seconds for which keys count while the issuer cannot be reached; then every token is refused."""
REFRESH_PAUSE = 10.0
"""Seconds from the end of one fetch to the next, whatever callers send."""
FETCH_SECONDS = 5.0
"""What one fetch may take."""
JWKS_LIMIT = 262_144
"""Bytes of a key set."""

_REFUSED_HEADERS = frozenset({"b64", "crit", "jku", "jwk", "x5c", "x5u", "zip"})
"""Headers that would have the token itself say how it is to be trusted, or which nothing here understands."""
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
"""A signed JWT (RFC 7515, 7.1). Without padding and the like, so that one token has no other spellings."""
_LAST_MOMENT = 1e11
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


class TokenRefused(Exception):
    """A token that is not accepted; the message says why without repeating any of it."""


class ScopeMissing(Exception):
    """A good token that lacks a scope."""


class KeysUnavailable(Exception):
    """No key can be had to check any token with: nothing is accepted."""


@dataclass(frozen=True, slots=True)
class Token:
    """A verified token."""

    claims: Mapping[str, Any]
    key: bytes
    """Digest of the token: what is known about it may be remembered under this."""
    expires: float


class Keys:
    """The issuer's public keys, fetched when needed and not more often than the pause allows.

    Whoever needs a fetch waits for the one that is under way. While there are keys that count, an issuer that does
    not answer holds nobody up but for once: after a fetch that failed, the next ones happen while calls go on.
    """

    def __init__(self, rules: bundle.TokenRules, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._session = session
        self._clock = clock
        self._keys: dict[str, _Key] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        """When the last fetch ended."""
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None
        self.generation = 0
        """Grows when the set of keys changes; what was verified with an older set is verified again."""

    async def key(self, kid: str) -> "_Key":
        """The key named `kid`; one refresh is tried for a name that is not known."""
        await self.refresh_when_old()
        if kid not in self._keys:
            await self._refresh()
        if self._fetched is None:
            raise KeysUnavailable
        if kid not in self._keys:
            raise TokenRefused("the token is signed with a key that its issuer does not publish")
        return self._keys[kid]

    async def refresh_when_old(self) -> None:
        """Fetches the keys when there are none or they are old; raises when none can be trusted any more."""
        age = self._age()
        if KEYS_MAX_AGE < age <= KEYS_STALE_LIMIT and self._failing:
            self._begin()
        elif age > KEYS_MAX_AGE:
            await self._refresh()
        if self._age() > KEYS_STALE_LIMIT:
            raise KeysUnavailable

    def fresh(self) -> bool:
        """Whether the keys are young enough to count without a look at the issuer; in time, one begins."""
        age = self._age()
        if KEYS_RENEWED < age <= KEYS_MAX_AGE:
            self._begin()
        return age <= KEYS_MAX_AGE

    def _age(self) -> float:
        return math.inf if self._fetched is None else self._clock() - self._fetched

    async def _refresh(self) -> None:
        """Returns when the fetch that is under way has ended, or at once where one ended a moment ago."""
        fetching = self._begin()
        if fetching is not None:
            await asyncio.shield(fetching)  # Others wait for it too.

    def _begin(self) -> "asyncio.Task[None] | None":
        """The fetch that is under way, or else a new one; None where one ended a moment ago."""
        if self._fetching is None:
            if self._tried is not None and self._clock() - self._tried < REFRESH_PAUSE:
                return None
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            keys = await self._published()
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            keys = None
        finally:
            self._tried, self._fetching = self._clock(), None
        self._failing = keys is None
        if keys is None:
            return
        self._fetched = self._clock()
        if {k: v.entry for k, v in keys.items()} != {k: v.entry for k, v in self._keys.items()}:
            self.generation += 1
        self._keys = keys

    async def _published(self) -> "dict[str, _Key] | None":
        """The issuer's keys as they are now; None where there is no key set that may be used."""
        if self._session.closed:  # The process ends.
            return None
        async with self._session.get(
            self._rules.jwks_url,
            allow_redirects=False,
            headers={"Accept": "application/json"},
            timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
        ) as response:
            data = await response.content.read(JWKS_LIMIT + 1)
            while len(data) <= JWKS_LIMIT and (more := await response.content.read(JWKS_LIMIT + 1 - len(data))):
                data += more
            if response.status != 200 or len(data) > JWKS_LIMIT:
                return None
        return _usable(orjson.loads(data), self._rules.algorithms)


@dataclass(frozen=True, slots=True)
class _Key:
    """A public key as it was published, and as it is used."""

    entry: Mapping[str, Any]
    public: jwt.PyJWK


def _usable(document: Any, algorithms: list[str]) -> dict[str, _Key] | None:
    """The signature keys of a key set by name; None where it is no key set.

    A key that cannot be read is passed over, as RFC 7517, 5 wants.
    """
    keys: dict[str, _Key] = {}
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return None
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        kid, algorithm = entry.get("kid"), entry.get("alg")
        if not isinstance(kid, str) or (algorithm is not None and algorithm not in algorithms):
            continue
        try:
            keys[kid] = _Key(entry, jwt.PyJWK(entry))
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    return keys


def _is_moment(value: Any) -> bool:
    """Whether `value` is a NumericDate that calendars reach (RFC 7519, 2): no text, no truth value."""
    return type(value) in (int, float) and 0 <= value < _LAST_MOMENT


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(slots=True)
class _Issuer:
    """One who signs tokens, and the tenant that they may name; any where it is the only one."""

    rules: bundle.TokenRules
    """The bundle's, with this issuer in place."""
    keys: Keys
    tenant: str | None = None


class Verifier:
    """Verifies tokens by one bundle's rules, and remembers those that it has verified until they expire."""

    def __init__(
        self, rules: bundle.TokenRules, session: aiohttp.ClientSession, clock: Callable[[], float] = time.time
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._main = _Issuer(rules, Keys(rules, session, clock))
        self._issuers = {rules.issuer: self._main}
        for entry in rules.issuers or ():
            own = rules.model_copy(update={"issuer": entry.issuer, "jwks_url": entry.jwks_url})
            self._issuers[entry.issuer] = _Issuer(own, Keys(own, session, clock), entry.tenant)
        self._main = self._issuers[rules.issuer]
        self._verified: OrderedDict[bytes, tuple[Token, Keys, int]] = OrderedDict()
        self.checked = 0
        """Tokens that were looked into, since nothing was known about them."""

    @property
    def remembered(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._verified)

    @property
    def keys(self) -> Keys:
        """The issuer's keys; of several issuers, those of the platform's own people."""
        return self._main.keys

    def take_keys(self, before: "Verifier") -> None:
        """Goes on with the keys of `before`, where the same issuer publishes them at the same place."""
        for name, issuer in self._issuers.items():
            known = before._issuers.get(name)
            if known is not None and (known.rules.jwks_url, known.rules.algorithms) == (
                issuer.rules.jwks_url,
                issuer.rules.algorithms,
            ):
                issuer.keys = known.keys

    def known(self, text: str) -> Token | None:
        """The token that `text` is, where it was verified before and nothing has changed since."""
        return self._remembered(_key(text))

    def _remembered(self, key: bytes) -> Token | None:
        found = self._verified.get(key)
        if found is None:
            return None
        token, keys, generation = found
        if not keys.fresh():
            return None
        if generation == keys.generation and self._clock() < token.expires:
            return token
        del self._verified[key]
        return None

    async def verify(self, text: str) -> Token:
        """The token that `text` is; refused in every other case."""
        key = _key(text)
        if known := self._remembered(key):
            return known
        self.checked += 1
        issuer = self._issuer(text)
        token = await self._decoded(text, key, issuer)
        self._verified[key] = (token, issuer.keys, issuer.keys.generation)
        if len(self._verified) > CACHE_LIMIT:
            self._verified.popitem(last=False)
        return token

    def _issuer(self, text: str) -> _Issuer:
        """Who says to have issued the token; whether that is so is found out with that issuer's keys."""
        if len(text) > TOKEN_LIMIT:
            raise TokenRefused("the token is too long")
        if not _COMPACT.fullmatch(text):
            raise TokenRefused("the token is not a signed JWT")
        if len(self._issuers) == 1:
            return self._main
        try:
            named = jwt.decode(text, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise TokenRefused("the token is not a signed JWT") from None
        found = self._issuers.get(named) if isinstance(named, str) else None
        if found is None:
            raise TokenRefused("the token was issued by another issuer")
        return found

    async def _decoded(self, text: str, key: bytes, issuer: _Issuer) -> Token:
        try:
            header = jwt.get_unverified_header(text)
        except jwt.PyJWTError:
            raise TokenRefused("the token is not a signed JWT") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._rules.algorithms:
            raise TokenRefused("the token's signature algorithm is not accepted")
        if named := sorted(_REFUSED_HEADERS & header.keys()):
            raise TokenRefused(f"the token's header holds `{named[0]}`, which is not accepted")
        if str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise TokenRefused("the token is not an access token")
        if not isinstance(kid, str):
            raise TokenRefused("the token does not name its key")
        key_used = await issuer.keys.key(kid)
        if key_used.entry.get("alg", algorithm) != algorithm:
            raise TokenRefused("the token's signature algorithm is not that of its key")
        claims = self._claims(text, key_used.public, algorithm, issuer)
        return Token(claims=claims, key=key, expires=float(claims["exp"]) + self._rules.leeway_seconds)

    def _claims(self, text: str, public: jwt.PyJWK, algorithm: str, issuer: _Issuer) -> dict[str, Any]:
        rules = issuer.rules
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                key=public.key,
                algorithms=[algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=rules.leeway_seconds,
                options={"require": ["exp", "iat", "iss", "aud", "sub"], "verify_iat": True, "verify_nbf": True},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("the token has expired") from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("the token was issued for another audience") from None
        except jwt.InvalidIssuerError:
            raise TokenRefused("the token was issued by another issuer") from None
        except jwt.ImmatureSignatureError:
            raise TokenRefused("the token is not valid yet") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise TokenRefused("the token's signature or claims are not valid") from None
        if not all(_is_moment(claims[name]) for name in ("exp", "nbf", "iat") if name in claims):
            raise TokenRefused("the token's times are not numbers")
        if not claims["sub"] or claims.get("typ", "Bearer") != "Bearer":
            raise TokenRefused("the token is not an access token")
        if issuer.tenant is not None and claims.get(rules.tenant_claim) not in (issuer.tenant, [issuer.tenant]):
            raise TokenRefused("the token names another tenant than its issuer's")
        scopes = claims.get("scope", "")
        held = set(scopes.split()) if isinstance(scopes, str) else set()
        if not set(rules.scopes) <= held:
            raise ScopeMissing
        return claims
