"""The development issuer: real tokens for the people of a development bundle, without passwords.

An OAuth 2.1 authorization server and OpenID provider whose tokens look like those of the platform's realm, so
that the runtime checks them the same way. It holds everything in memory and forgets it when it stops.
"""

import base64
import binascii
import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit, urlunsplit

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from stoa_runtime.development import NotForDevelopment
from stoa_runtime.development.login_page import SignIn, problem_page, sign_in_page
from stoa_runtime.development.serving import LoopbackOnly, is_loopback
from stoa_schemas.bundle import (
    MCP_SCOPE,
    Development,
    DevelopmentClient,
    DevelopmentPerson,
    PlatformIndex,
    RuntimeManifest,
)
from stoa_schemas.names import PLATFORM_TENANT

ALGORITHM = "RS256"
ACCESS_SECONDS = 15 * 60
LOGIN_SECONDS = 10 * 60
CODE_SECONDS = 60
REFRESH_SECONDS = 8 * 60 * 60

Clock = Callable[[], float]
_T = TypeVar("_T")

_BODY_LIMIT = 64 * 1024
_SCOPES = ("email", "openid", "profile", MCP_SCOPE)
_GRANT_TYPES = ("authorization_code", "client_credentials", "refresh_token")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def issuer_application(
    development: Development, index: PlatformIndex, manifest: RuntimeManifest, *, clock: Clock = time.time
) -> Starlette:
    """The issuer of a development bundle, to be served at the issuer's address in `index`.

    Raises `NotForDevelopment` for every other bundle, and for an issuer beyond this machine. `state.renew` takes the
    people, clients and index of another bundle.
    """
    if not manifest.development:
        raise NotForDevelopment(f"the bundle of {manifest.environment!r} is not a development one")
    address, keys = urlsplit(index.token.issuer), urlsplit(index.token.jwks_url)
    if address.scheme != "http" or not is_loopback(address.hostname):
        raise NotForDevelopment(f"the issuer {index.token.issuer} is not an http address on loopback")
    if (keys.scheme, keys.netloc) != (address.scheme, address.netloc):
        raise NotForDevelopment(f"the keys at {index.token.jwks_url} are not at the issuer's address")
    if ALGORITHM not in index.token.algorithms:
        raise NotForDevelopment(f"the bundle does not take {ALGORITHM} signatures")

    issuer = _Issuer(development, index, clock)
    prefix = address.path.rstrip("/")
    documents = {
        f"{prefix}/.well-known/openid-configuration",
        f"{prefix}/.well-known/oauth-authorization-server",
        f"/.well-known/openid-configuration{prefix}",
        f"/.well-known/oauth-authorization-server{prefix}",
    }
    app = Starlette(
        routes=[
            *(Route(path, issuer.metadata, methods=["GET"]) for path in sorted(documents)),
            Route(keys.path, issuer.key_set, methods=["GET"]),
            Route(f"{prefix}/authorize", issuer.ask, methods=["GET"]),
            Route(f"{prefix}/authorize", issuer.decide, methods=["POST"]),
            Route(f"{prefix}/token", issuer.token, methods=["POST"]),
            Route(f"{prefix}/register", issuer.register, methods=["POST"]),
        ],
        middleware=[Middleware(LoopbackOnly, authority=address.netloc)],
        exception_handlers={_Refusal: _refused},
    )
    app.state.renew = issuer.renew
    return app


class _Refusal(Exception):
    """An OAuth error: its code and a sentence for the developer who reads it."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status


def _refused(_request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, _Refusal)
    content = {"error": refusal.error, "error_description": refusal.description}
    return JSONResponse(content, status_code=refusal.status, headers=_NOT_STORED)


class _Once(Generic[_T]):
    """Values handed out under names that cannot be guessed, each taken back once and before it expires."""

    def __init__(self, seconds: int, clock: Clock, limit: int = 10_000) -> None:
        self._seconds = seconds
        self._clock = clock
        self._limit = limit
        self._kept: dict[str, tuple[float, _T]] = {}
        self._spent: dict[str, tuple[float, _T]] = {}

    def put(self, value: _T) -> str:
        """The name under which `value` can be taken."""
        for entries in (self._kept, self._spent):
            self._forget(entries)
        name = secrets.token_urlsafe(32)
        self._kept[name] = (self._clock() + self._seconds, value)
        return name

    def take(self, name: str) -> _T | None:
        """The value, the first time it is asked for."""
        entry = self._kept.pop(name, None)
        if entry is None or entry[0] <= self._clock():
            return None
        self._spent[name] = (self._clock() + self._seconds, entry[1])
        return entry[1]

    def spent(self, name: str) -> _T | None:
        """The value that was taken before: whoever asks now holds a copy."""
        entry = self._spent.get(name)
        return entry[1] if entry else None

    def drop(self, unwanted: Callable[[_T], bool]) -> None:
        """Takes away every value that is `unwanted`."""
        self._kept = {name: entry for name, entry in self._kept.items() if not unwanted(entry[1])}

    def _forget(self, entries: dict[str, tuple[float, _T]]) -> None:
        # Equal lifetimes: the oldest entry is always the first.
        now = self._clock()
        while entries:
            oldest = next(iter(entries))
            if entries[oldest][0] > now and len(entries) < self._limit:
                return
            del entries[oldest]


@dataclass(frozen=True, slots=True)
class _Asked:
    """An authorization request that was found in order."""

    client: DevelopmentClient
    redirect_uri: str
    state: str | None
    challenge: str
    scope: str
    nonce: str | None


@dataclass(frozen=True, slots=True)
class _Granted:
    """What a code or a refresh token stands for."""

    client: DevelopmentClient
    person: DevelopmentPerson
    scope: str
    nonce: str | None
    family: str
    """All tokens that descend from one sign-in; a copied code or refresh token ends the whole family."""


class _Issuer:
    """The endpoints, and the requests, codes and refresh tokens that are open."""

    def __init__(self, development: Development, index: PlatformIndex, clock: Clock) -> None:
        self._clock = clock
        self._base = index.token.issuer.rstrip("/")
        self.renew(development, index)
        self._logins: _Once[_Asked] = _Once(LOGIN_SECONDS, clock)
        self._codes: _Once[tuple[_Asked, _Granted]] = _Once(CODE_SECONDS, clock)
        self._refreshes: _Once[_Granted] = _Once(REFRESH_SECONDS, clock)

        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        required = {name: public[name] for name in ("e", "kty", "n")}
        thumbprint = hashlib.sha256(orjson.dumps(required, option=orjson.OPT_SORT_KEYS)).digest()
        self._key_id = _base64url(thumbprint)
        self._public = {**required, "alg": ALGORITHM, "kid": self._key_id, "use": "sig"}

    def renew(self, development: Development, index: PlatformIndex) -> None:
        """Goes on with the people and clients of another bundle. Who has signed in stays signed in."""
        self._index = index
        self._people = {person.username: person for person in development.people}
        self._clients = {client.client_id: client for client in development.clients}
        self._tenants = {tenant.name: tenant.display_name for tenant in index.tenants}
        self._tenants[PLATFORM_TENANT] = index.display_name

    async def metadata(self, _request: Request) -> Response:
        """RFC 8414 and OpenID Connect Discovery in one document."""
        return JSONResponse(
            {
                "issuer": self._index.token.issuer,
                "authorization_endpoint": f"{self._base}/authorize",
                "token_endpoint": f"{self._base}/token",
                "registration_endpoint": f"{self._base}/register",
                "jwks_uri": self._index.token.jwks_url,
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": list(_GRANT_TYPES),
                "scopes_supported": list(_SCOPES),
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def key_set(self, _request: Request) -> Response:
        """The public key (RFC 7517)."""
        return JSONResponse({"keys": [self._public]})

    async def ask(self, request: Request) -> Response:
        """The login page, or the request's error sent back to the client."""
        try:
            parameters = _single(parse_qsl(request.url.query, keep_blank_values=True))
            client = self._clients.get(parameters.get("client_id", ""))
            if client is None:
                return problem_page("Unknown application", "No client of this bundle has the given client_id.")
            redirect_uri = parameters.get("redirect_uri", "")
            if not _may_receive(client, redirect_uri):
                return problem_page(
                    "Unknown redirect address",
                    "The redirect_uri is neither registered for this client nor an http address on loopback.",
                )
        except _Refusal as refusal:
            return problem_page("The request is not in order", refusal.description)
        try:
            asked = self._in_order(client, redirect_uri, parameters)
        except _Refusal as refusal:
            error = {"error": refusal.error, "error_description": refusal.description}
            return self._send_back(redirect_uri, parameters.get("state"), error)
        sign_in = SignIn(
            platform=self._index.display_name,
            client=client.client_id,
            redirect_uri=redirect_uri,
            action=urlsplit(f"{self._base}/authorize").path,
            transaction=self._logins.put(asked),
            people=list(self._people.values()),
            tenants=self._tenants,
        )
        return sign_in_page(sign_in)

    async def decide(self, request: Request) -> Response:
        """The browser sent on to the client, with a code for the person whose button was pressed."""
        if not self._from_our_page(request):
            return problem_page("Not from this page", "The form was sent by another site.", status=403)
        form = await _form(request)
        asked = self._logins.take(form.get("transaction", ""))
        if asked is None:
            return problem_page("The page has expired", "This login was used already, or waited too long.")
        if form.get("decision") == "cancel":
            error = {"error": "access_denied", "error_description": "the person cancelled"}
            return self._send_back(asked.redirect_uri, asked.state, error)
        person = self._people.get(form.get("person", ""))
        if person is None:
            return problem_page("Unknown person", "Nobody of this bundle has that user name.")
        granted = _Granted(asked.client, person, asked.scope, asked.nonce, family=secrets.token_urlsafe(16))
        return self._send_back(asked.redirect_uri, asked.state, {"code": self._codes.put((asked, granted))})

    async def token(self, request: Request) -> Response:
        """Tokens for a code, a refresh token or a client's own account."""
        form = await _form(request)
        client = self._clients.get(_client_id(request, form))
        if client is None:
            raise _Refusal("invalid_client", "no client of this bundle has that client_id", status=401)
        self._check_resource(form)
        match form.get("grant_type"):
            case "authorization_code":
                return self._tokens(self._redeem_code(client, form))
            case "refresh_token":
                return self._tokens(self._redeem_refresh(client, form))
            case "client_credentials":
                return self._account_token(client, form)
            case None:
                raise _Refusal("invalid_request", "grant_type is missing")
            case _:
                raise _Refusal("unsupported_grant_type", f"grant_type must be one of {', '.join(_GRANT_TYPES)}")

    async def register(self, request: Request) -> Response:
        """A client id for an MCP client that registers itself (RFC 7591).

        It is the id of a client that the platform knows already, as the RFC allows for several instances of one
        client: the runtime refuses tokens of clients that the bundle does not name.
        """
        try:
            wanted = orjson.loads(await _body(request))
        except orjson.JSONDecodeError:
            raise _Refusal("invalid_client_metadata", "the body is not JSON") from None
        redirect_uris = wanted.get("redirect_uris") if isinstance(wanted, dict) else None
        if not isinstance(redirect_uris, list) or not redirect_uris:
            raise _Refusal("invalid_redirect_uri", "redirect_uris must list at least one address")
        known = [self._clients[name] for name in self._index.clients if name in self._clients]
        for client in known:
            if all(isinstance(uri, str) and _may_receive(client, uri) for uri in redirect_uris):
                registered = {
                    "client_id": client.client_id,
                    "client_id_issued_at": int(self._clock()),
                    "redirect_uris": redirect_uris,
                    "token_endpoint_auth_method": "none",
                    "grant_types": ["authorization_code", "refresh_token"],
                    "response_types": ["code"],
                    "scope": " ".join(_SCOPES),
                }
                return JSONResponse(registered, status_code=201, headers=_NOT_STORED)
        raise _Refusal("invalid_redirect_uri", "only loopback addresses and callbacks of known clients can register")

    def _in_order(self, client: DevelopmentClient, redirect_uri: str, parameters: dict[str, str]) -> _Asked:
        """The request, once nothing about it can be refused."""
        if not client.redirect_uris:
            raise _Refusal("unauthorized_client", "this client signs nobody in")
        if parameters.keys() & {"request", "request_uri"}:
            raise _Refusal("request_not_supported", "request objects are not taken")
        if parameters.get("response_type") != "code":
            raise _Refusal("unsupported_response_type", "response_type must be code")
        if parameters.get("response_mode", "query") != "query":
            raise _Refusal("invalid_request", "response_mode must be query")
        if "code_challenge" not in parameters:
            raise _Refusal("invalid_request", "code_challenge is missing: PKCE is required")
        if parameters.get("code_challenge_method") != "S256":
            raise _Refusal("invalid_request", "code_challenge_method must be S256")
        if not _CHALLENGE.fullmatch(parameters["code_challenge"]):
            raise _Refusal("invalid_request", "code_challenge is not a base64url SHA-256 digest")
        self._check_resource(parameters)
        if parameters.get("prompt") == "none":
            raise _Refusal("login_required", "there is no session: each login is a choice on the page")
        return _Asked(
            client=client,
            redirect_uri=redirect_uri,
            state=parameters.get("state"),
            challenge=parameters["code_challenge"],
            scope=_scope(parameters.get("scope", "")),
            nonce=parameters.get("nonce"),
        )

    def _check_resource(self, parameters: dict[str, str]) -> None:
        """RFC 8707: the one resource that there are tokens for."""
        if parameters.get("resource", self._index.mcp_url) != self._index.mcp_url:
            raise _Refusal("invalid_target", f"resource must be {self._index.mcp_url}")

    def _from_our_page(self, request: Request) -> bool:
        """Whether a browser says that the form is this page's own. Other programs say nothing."""
        issuer = urlsplit(self._index.token.issuer)
        origin = request.headers.get("origin", f"{issuer.scheme}://{issuer.netloc}")
        site = request.headers.get("sec-fetch-site", "same-origin")
        return origin == f"{issuer.scheme}://{issuer.netloc}" and site == "same-origin"

    def _send_back(self, redirect_uri: str, state: str | None, answer: dict[str, str]) -> Response:
        """The browser sent to the client; `iss` tells it which server answers (RFC 9207)."""
        parameters = {**answer, "iss": self._index.token.issuer}
        if state is not None:
            parameters["state"] = state
        parts = urlsplit(redirect_uri)
        query = "&".join(filter(None, [parts.query, urlencode(parameters)]))
        # 303, or the browser would send the login form on to the client.
        return RedirectResponse(urlunsplit(parts._replace(query=query)), status_code=303, headers=_NOT_STORED)

    def _redeem_code(self, client: DevelopmentClient, form: dict[str, str]) -> _Granted:
        code = form.get("code", "")
        found = self._codes.take(code)
        if found is None:
            if copied := self._codes.spent(code):
                self._end(copied[1].family)
            raise _Refusal("invalid_grant", "the code is unknown, expired or used")
        asked, granted = found
        if asked.client.client_id != client.client_id:
            raise _Refusal("invalid_grant", "the code was given to another client")
        if form.get("redirect_uri", asked.redirect_uri) != asked.redirect_uri:
            raise _Refusal("invalid_grant", "redirect_uri is not the one that the code was sent to")
        verifier = form.get("code_verifier", "")
        if not _VERIFIER.fullmatch(verifier):
            raise _Refusal("invalid_grant", "code_verifier is missing or malformed")
        if not secrets.compare_digest(_base64url(hashlib.sha256(verifier.encode()).digest()), asked.challenge):
            raise _Refusal("invalid_grant", "code_verifier does not belong to the code_challenge")
        return granted

    def _redeem_refresh(self, client: DevelopmentClient, form: dict[str, str]) -> _Granted:
        token = form.get("refresh_token", "")
        granted = self._refreshes.take(token)
        if granted is None:
            if copied := self._refreshes.spent(token):
                self._end(copied.family)
            raise _Refusal("invalid_grant", "the refresh token is unknown, expired or used")
        if granted.client.client_id != client.client_id:
            self._end(granted.family)
            raise _Refusal("invalid_grant", "the refresh token was given to another client")
        return granted

    def _end(self, family: str) -> None:
        self._refreshes.drop(lambda granted: granted.family == family)

    def _tokens(self, granted: _Granted) -> Response:
        person, client_id = granted.person, granted.client.client_id
        profile = {
            "preferred_username": person.username,
            "name": person.display_name,
            "email": person.email,
            "email_verified": True,
        }
        subject = self._subject("person", person.username)
        answer = {
            "access_token": self._access_token(
                subject, client_id, granted.scope, person.tenant, person.roles, {**profile, "sid": granted.family}
            ),
            "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS,
            "refresh_token": self._refreshes.put(granted),
            "scope": granted.scope,
        }
        if "openid" in granted.scope.split():
            nonce = {"nonce": granted.nonce} if granted.nonce is not None else {}
            claims = {"aud": client_id, "azp": client_id, "sub": subject, "typ": "ID", **profile, **nonce}
            answer["id_token"] = self._sign(claims)
        return JSONResponse(answer, headers=_NOT_STORED)

    def _account_token(self, client: DevelopmentClient, form: dict[str, str]) -> Response:
        """A token of the client's own account. No client has a secret here, as no person has a password."""
        if client.tenant is None or not client.roles:
            raise _Refusal("unauthorized_client", "this client has no account of its own")
        scope = _scope(form.get("scope", ""), offered=("email", "profile", MCP_SCOPE))
        name = f"service-account-{client.client_id}"
        subject = self._subject("account", client.client_id)
        token = self._access_token(
            subject, client.client_id, scope, client.tenant, client.roles, {"preferred_username": name}
        )
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": ACCESS_SECONDS, "scope": scope}
        return JSONResponse(answer, headers=_NOT_STORED)

    def _access_token(
        self, subject: str, client_id: str, scope: str, tenant: str, roles: Sequence[str], profile: dict[str, Any]
    ) -> str:
        rules = self._index.token
        claims = {
            **profile,
            "sub": subject,
            "aud": self._index.mcp_url,
            "azp": client_id,
            "scope": scope,
            "typ": "Bearer",
            rules.tenant_claim: [tenant],
            rules.roles_claim: list(roles),
        }
        return self._sign(claims)

    def _sign(self, claims: dict[str, Any]) -> str:
        now = int(self._clock())
        times = {"iat": now, "exp": now + ACCESS_SECONDS, "jti": str(uuid.uuid4())}
        payload = {**claims, **times, "iss": self._index.token.issuer}
        return jwt.encode(payload, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id})

    def _subject(self, kind: str, name: str) -> str:
        """The same for the same name at every start, as a realm's would be."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:stoa:{self._index.name}:{kind}:{name}"))


def _may_receive(client: DevelopmentClient, redirect_uri: str) -> bool:
    """Whether codes for `client` may be sent there: registered exactly, or loopback with any port (RFC 8252, 7.3)."""
    if redirect_uri in client.redirect_uris:
        return True
    if not re.fullmatch(r"[!-~]+", redirect_uri) or "\\" in redirect_uri:
        return False
    try:
        parts = urlsplit(redirect_uri)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme == "http" and is_loopback(host) and "@" not in parts.netloc and "#" not in redirect_uri


def _scope(asked: str, offered: Sequence[str] = _SCOPES) -> str:
    """What is granted: the known scopes that were asked for, and the gateway's, which every client has."""
    granted = {scope for scope in asked.split() if scope in offered} | {MCP_SCOPE}
    return " ".join(sorted(granted))


def _client_id(request: Request, form: dict[str, str]) -> str:
    """The client's id, from the body or from Basic credentials (RFC 6749, 2.3.1)."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", "")
    try:
        name = base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        raise _Refusal("invalid_client", "the Authorization header is malformed", status=401) from None
    return unquote_plus(name)


async def _form(request: Request) -> dict[str, str]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise _Refusal("invalid_request", "the body must be application/x-www-form-urlencoded")
    try:
        return _single(parse_qsl((await _body(request)).decode(), keep_blank_values=True))
    except ValueError:
        raise _Refusal("invalid_request", "the body is not a form") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise _Refusal("invalid_request", f"the body is over {_BODY_LIMIT} bytes", status=413)
    return bytes(body)


def _single(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name. One that comes twice could be read one way here and another way elsewhere."""
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise _Refusal("invalid_request", "a parameter comes more than once")
    return parameters


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
