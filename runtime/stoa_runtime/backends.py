"""Calls of backends: one request sent within its limits, and the answer, or the reason why there is none."""

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from yarl import URL

from stoa_runtime.addresses import AddressRefused, AddressRule, FilteringResolver
from stoa_runtime.credentials import CredentialMissing, Credentials
from stoa_runtime.multipart import boundary
from stoa_runtime.requests import Outgoing
from stoa_schemas import bundle

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be tried again (RFC 9110, 9.2.2)."""
_AGAIN = frozenset({502, 503, 504})
_REDIRECTS = frozenset({300, 301, 302, 303, 305, 307, 308})
_WITHHELD = b"[withheld]"
_SECRET_MIN = 6
"""Characters below which a credential is too common a text to be looked for in an answer."""
_PER_HOST = 64

Rule = Literal[
    "backend-address",
    "backend-circuit",
    "backend-credential",
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
    ) -> None:
        self._session = session
        self._addresses = addresses
        self._credentials = credentials
        self._clock = clock
        self._circuits: dict[tuple[str, str], _Circuit] = {}

    async def send(
        self, tenant: str, contract: bundle.ContractEntry, outgoing: Outgoing, answer: bundle.Answer, traceparent: str
    ) -> Reply:
        """The backend's answer; `BackendFailed` where there is none that may be used."""
        rule = contract.backend
        circuit = self._circuits.setdefault((tenant, contract.name), _Circuit())
        self._enter(circuit, rule.breaker)
        healthy: bool | None = None
        circuit.in_flight += 1
        try:
            credential = self._credential(rule.auth)
            url = URL(rule.url.rstrip("/") + outgoing.target, encoded=True)
            try:
                self._addresses.check_host(url.host or "")
            except AddressRefused as error:
                raise BackendFailed("backend-address", f"The call was not made: {error}.") from None
            own = {name.lower() for name in credential.headers}
            headers = [
                *(sent for sent in outgoing.headers if sent[0].lower() not in own),  # No argument stands in for it.
                ("Accept", ", ".join(answer.media_types) or "*/*"),
                ("Accept-Encoding", "gzip, deflate"),
                ("traceparent", traceparent),
                *credential.headers.items(),
            ]
            try:
                async with asyncio.timeout(rule.total_ms / 1000):
                    reply = await self._tried(rule, outgoing, url, headers, answer.max_bytes, credential)
            except TimeoutError:
                raise BackendFailed(
                    "backend-timeout", "The backend did not answer in time. The call may have taken effect."
                ) from None
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
            for key, c in self._circuits.items()
        }

    async def _tried(
        self,
        rule: bundle.BackendRule,
        outgoing: Outgoing,
        url: URL,
        headers: list[tuple[str, str]],
        limit: int,
        credential: _Credential,
    ) -> Reply:
        """The answer of the first try that gives one; methods that are not idempotent have one try."""
        tries = 1 + (rule.retries if outgoing.method in IDEMPOTENT else 0)
        for tried in range(tries):
            last = tried == tries - 1
            try:
                reply = await self._once(rule, outgoing, url, headers, limit, credential)
            except BackendFailed as failure:
                if last or failure.rule not in ("backend-timeout", "backend-unreachable"):
                    raise
            else:
                if last or reply.status not in _AGAIN:
                    return reply
            await asyncio.sleep(rule.backoff_ms * 2**tried / 1000)
        raise AssertionError("the last try returns or raises")

    async def _once(
        self,
        rule: bundle.BackendRule,
        outgoing: Outgoing,
        url: URL,
        headers: list[tuple[str, str]],
        limit: int,
        credential: _Credential,
    ) -> Reply:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=rule.connect_ms / 1000, sock_read=rule.read_ms / 1000)
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
                body = await _read(response, limit)
                for secret in credential.secrets:
                    body = body.replace(secret, _WITHHELD)
                return Reply(
                    status=response.status,
                    media_type=response.content_type.lower() if "Content-Type" in response.headers else "",
                    charset=response.charset or "utf-8",
                    body=body,
                    retry_after=response.headers.get("Retry-After"),
                    boundary=boundary(response.headers.get("Content-Type", "")),
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
            return _Credential()
        try:
            secret = self._credentials.read(auth.secret)
        except CredentialMissing:
            raise BackendFailed(
                "backend-credential", "The call was not made: the platform's credential for this backend is not there."
            ) from None
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
        return _Credential(headers, tuple(s.encode() for s in sent if len(s) >= _SECRET_MIN))

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
