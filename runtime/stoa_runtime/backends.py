"""Calls of backends: one request sent within its limits, and the answer, or the reason why there is none."""

import asyncio
import base64
import functools
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import Message
from typing import Literal

import aiohttp
from yarl import URL

from stoa_runtime.addresses import AddressRefused, AddressRule, FilteringResolver
from stoa_runtime.credentials import CredentialMissing, Credentials
from stoa_runtime.multipart import boundary
from stoa_runtime.requests import Outgoing
from stoa_runtime.retries import CHANCE, Budget, wait_seconds
from stoa_schemas import bundle

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be tried again (RFC 9110, 9.2.2)."""
_AGAIN = frozenset({502, 503, 504})
"""Answers after which a call may be tried again; 429 too, where the backend says when."""
_REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
"""Content codings that an answer may have: those that are asked for, once."""
_NO_ENCODINGS: list[str] = []
_WITHHELD = b"[withheld]"
_SECRET_MIN = 6
"""Characters below which a credential is too common a text to be looked for in an answer."""
_PER_HOST = 64

Rule = Literal[
    "backend-address",
    "backend-circuit",
    "backend-credential",
    "backend-encoding",
    "backend-redirect",
    "backend-size",
    "backend-timeout",
    "backend-unreachable",
]


class BackendFailed(Exception):
    """There is no answer. The message is for the caller and names neither host nor credential."""

    def __init__(self, rule: Rule, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.rule: Rule = rule
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """A backend's answer, read whole."""

    status: int
    media_type: str
    """In lower case, without parameters; empty where the backend names none."""
    charset: str
    body: bytes
    """Decompressed, with the platform's own credential blotted out."""
    retry_after: str | None = None
    boundary: str = ""
    """What separates the parts of a multipart answer."""


@dataclass(slots=True)
class _Circuit:
    """What one backend has done lately."""

    failures: int = 0
    opened: float | None = None
    probing: bool = False
    in_flight: int = 0
    status: int | None = None
    failure: Rule | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What every call of one backend needs, made once."""

    rule: bundle.BackendRule
    base: str
    refused: str | None
    """Why its address may not be called, where it is one."""
    timeout: aiohttp.ClientTimeout
    circuit: _Circuit
    budget: Budget


@dataclass(frozen=True, slots=True)
class State:
    """How one contract's backend does, as this process has seen it since it began to serve."""

    failures: int
    """Failures in a row."""
    open_seconds: float | None
    """How long its circuit has been open; None while it is closed."""
    probing: bool
    """Whether one call is on its way to see whether it works again."""
    in_flight: int
    """Calls that have not ended."""
    status: int | None
    """The status of the last answer, where the last call had one."""
    failure: Rule | None
    """Why the last call gave no answer that may be used."""


@dataclass(frozen=True, slots=True)
class _Credential:
    headers: dict[str, str] = field(default_factory=dict)
    secrets: tuple[bytes, ...] = ()
    own: frozenset[str] = frozenset()
    """Its headers' names in lower case."""


_NO_CREDENTIAL = _Credential()


def open_session(rule: AddressRule) -> aiohttp.ClientSession:
    """A client session that reaches permitted addresses only, keeps no cookies and heeds no proxy variables."""
    connector = aiohttp.TCPConnector(
        resolver=FilteringResolver(rule), limit=0, limit_per_host=_PER_HOST, ttl_dns_cache=30, force_close=False
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers={"User-Agent": "stoa"},
        raise_for_status=False,
    )


class Backends:
    """The backends of one snapshot."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        addresses: AddressRule,
        credentials: Credentials,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = CHANCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._addresses = addresses
        self._credentials = credentials
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._prepared: dict[tuple[str, str], _Prepared] = {}
        self._known: dict[str, tuple[str, _Credential]] = {}
        """The headers of credentials by type, name and reference, each with the secret that they hold."""

    async def send(
        self, tenant: str, contract: bundle.ContractEntry, outgoing: Outgoing, answer: bundle.Answer, traceparent: str
    ) -> Reply:
        """The backend's answer; `BackendFailed` where there is none that may be used."""
        rule = contract.backend
        prepared = self._prepared.get((tenant, contract.name))
        if prepared is None or prepared.rule is not rule:
            prepared = self._prepare((tenant, contract.name), rule, prepared)
        circuit = prepared.circuit
        self._enter(circuit, rule.breaker)
        healthy: bool | None = None
        circuit.in_flight += 1
        try:
            credential = self._credential(rule.auth)
            if prepared.refused is not None:
                raise BackendFailed("backend-address", f"The call was not made: {prepared.refused}.")
            own = credential.own
            headers = [
                *(sent for sent in outgoing.headers if sent[0].lower() not in own),  # No argument stands in for it.
                ("Accept", ", ".join(answer.media_types) or "*/*"),
                ("Accept-Encoding", "gzip, deflate"),
                ("traceparent", traceparent),
                *credential.headers.items(),
            ]
            url = URL(prepared.base + outgoing.target, encoded=True)
            reply = await self._tried(prepared, outgoing, url, headers, answer.max_bytes, credential)
            healthy = reply.status < 500
            circuit.status, circuit.failure = reply.status, None
            return reply
        except BackendFailed as failure:
            circuit.status, circuit.failure = failure.status, failure.rule
            if failure.rule != "backend-credential":
                healthy = failure.rule not in ("backend-timeout", "backend-unreachable")
            raise
        finally:
            circuit.in_flight -= 1
            self._leave(circuit, rule.breaker, healthy)

    def states(self) -> dict[tuple[str, str], State]:
        """How each backend that was called does, by tenant and contract."""
        now = self._clock()
        return {
            key: State(
                failures=c.failures,
                open_seconds=None if c.opened is None else now - c.opened,
                probing=c.probing,
                in_flight=c.in_flight,
                status=c.status,
                failure=c.failure,
            )
            for key, prepared in self._prepared.items()
            if (c := prepared.circuit) is not None
        }

    def _prepare(self, key: tuple[str, str], rule: bundle.BackendRule, earlier: _Prepared | None) -> _Prepared:
        base = rule.url.rstrip("/")
        refused = None
        try:
            self._addresses.check_host(URL(base, encoded=True).host or "")
        except AddressRefused as error:
            refused = str(error)
        except ValueError:
            refused = "the backend has no valid address"
        found = _Prepared(
            rule=rule,
            base=base,
            refused=refused,
            timeout=_timeout(rule, rule.total_ms / 1000),
            circuit=earlier.circuit if earlier else _Circuit(),
            budget=earlier.budget if earlier else Budget(self._clock),
        )
        self._prepared[key] = found
        return found

    async def _tried(
        self,
        prepared: _Prepared,
        outgoing: Outgoing,
        url: URL,
        headers: list[tuple[str, str]],
        limit: int,
        credential: _Credential,
    ) -> Reply:
        """The answer of the first try that gives one; methods that are not idempotent have one try."""
        rule, timeout = prepared.rule, prepared.timeout
        retries = rule.retries if outgoing.method in IDEMPOTENT else 0
        prepared.budget.called()
        if not retries:
            return await self._once(outgoing, url, headers, limit, credential, timeout)
        ends = self._clock() + rule.total_ms / 1000
        for tried in range(retries + 1):
            failed: BackendFailed | None = None
            reply: Reply | None = None
            try:
                reply = await self._once(outgoing, url, headers, limit, credential, timeout)
                again = reply.status in _AGAIN or (reply.status == 429 and reply.retry_after is not None)
            except BackendFailed as failure:
                failed, again = failure, failure.rule in ("backend-timeout", "backend-unreachable")
            if again and tried < retries:
                wait = wait_seconds(tried, rule.backoff_ms, reply.retry_after if reply else None, self._chance)
                left = ends - self._clock() - wait
                # A wait beyond the call's time would only make the caller wait for the same answer.
                if left > 0 and prepared.budget.take(rule.retry_percent):
                    await self._sleep(wait)
                    timeout = _timeout(rule, left)
                    continue
            if failed is not None:
                raise failed
            assert reply is not None
            return reply
        raise AssertionError("the last try returns or raises")

    async def _once(
        self,
        outgoing: Outgoing,
        url: URL,
        headers: list[tuple[str, str]],
        limit: int,
        credential: _Credential,
        timeout: aiohttp.ClientTimeout,
    ) -> Reply:
        try:
            async with self._session.request(
                outgoing.method, url, headers=headers, data=outgoing.body, allow_redirects=False, timeout=timeout
            ) as response:
                if response.status in _REDIRECTS:
                    raise BackendFailed(
                        "backend-redirect",
                        "The backend answered with a redirect, which is not followed.",
                        response.status,
                    )
                encodings = response.headers.getall("Content-Encoding", _NO_ENCODINGS)
                if len(encodings) > 1 or (encodings and encodings[0].strip().lower() not in _ENCODINGS):
                    response.close()
                    raise BackendFailed(
                        "backend-encoding",
                        "The backend's answer is encoded in a way that was not asked for; it is withheld.",
                        response.status,
                    )
                body = await _read(response, limit)
                for secret in credential.secrets:
                    body = body.replace(secret, _WITHHELD)
                media_type, charset, separator = _content(response.headers.get("Content-Type", ""))
                return Reply(
                    status=response.status,
                    media_type=media_type,
                    charset=charset,
                    body=body,
                    retry_after=response.headers.get("Retry-After"),
                    boundary=separator,
                )
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise BackendFailed("backend-address", f"The call was not made: {error.os_error}.") from None
            raise BackendFailed("backend-unreachable", "The backend cannot be reached. Nothing was called.") from None
        except aiohttp.InvalidURL:
            raise BackendFailed("backend-address", "The call was not made: the backend has no valid address.") from None
        except TimeoutError:
            raise BackendFailed(
                "backend-timeout", "The backend did not answer in time. The call may have taken effect."
            ) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise BackendFailed(
                "backend-unreachable", "The connection to the backend broke. The call may have taken effect."
            ) from None

    def _credential(self, auth: bundle.BackendAuthRule | None) -> _Credential:
        """The platform's own credential; without it nothing is called."""
        if auth is None:
            return _NO_CREDENTIAL
        try:
            secret = self._credentials.read(auth.secret)
        except CredentialMissing:
            raise BackendFailed(
                "backend-credential", "The call was not made: the platform's credential for this backend is not there."
            ) from None
        key = f"{auth.type} {auth.header} {auth.username} {auth.secret}"
        known = self._known.get(key)
        if known is not None and known[0] == secret:
            return known[1]
        sent = [secret]
        match auth.type:
            case "bearer":
                headers = {"Authorization": f"Bearer {secret}"}
            case "header":
                headers = {auth.header or "": secret}
            case "basic":
                encoded = base64.b64encode(f"{auth.username}:{secret}".encode()).decode()
                headers = {"Authorization": f"Basic {encoded}"}
                sent.append(encoded)
        secrets = tuple(s.encode() for s in sent if len(s) >= _SECRET_MIN)
        made = _Credential(headers, secrets, frozenset(name.lower() for name in headers))
        self._known[key] = (secret, made)
        return made

    def _enter(self, circuit: _Circuit, breaker: bundle.Breaker | None) -> None:
        """Refuses while the circuit is open; after its time, one call goes through to see."""
        if breaker is None or circuit.opened is None:
            return
        if circuit.probing or self._clock() - circuit.opened < breaker.reset_ms / 1000:
            raise BackendFailed(
                "backend-circuit", "The backend has failed several times and is left alone for a while. Try later."
            )
        circuit.probing = True

    def _leave(self, circuit: _Circuit, breaker: bundle.Breaker | None, healthy: bool | None) -> None:
        """Counts what happened. None: nothing was learned, since the caller left or no call was made."""
        circuit.probing = False
        if healthy is None:
            return
        circuit.failures = 0 if healthy else circuit.failures + 1
        circuit.opened = None
        if breaker is not None and circuit.failures >= breaker.failures:
            circuit.opened = self._clock()


@functools.lru_cache(maxsize=1024)
def _content(header: str) -> tuple[str, str, str]:
    """Media type in lower case, charset and boundary of a Content-Type; the type is empty where it names none."""
    if not header:
        return "", "utf-8", ""
    message = Message()
    message["Content-Type"] = header
    charset = message.get_content_charset("utf-8")
    return message.get_content_type().lower(), charset, boundary(header)


def _timeout(rule: bundle.BackendRule, total: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=total, sock_connect=rule.connect_ms / 1000, sock_read=rule.read_ms / 1000, ceil_threshold=math.inf
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, counted after decompression while it comes in."""
    if response.method != "HEAD" and (response.content_length or 0) > limit:
        response.close()
        raise BackendFailed("backend-size", f"The answer has more than {limit} bytes.", response.status)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise BackendFailed("backend-size", f"The answer has more than {limit} bytes.", response.status)
    return bytes(body)
