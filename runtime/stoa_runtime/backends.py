"""Calls of backends: one request sent within its limits, and the answer, or the reason why there is none."""

import asyncio
import base64
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.message import Message
from typing import Literal, NamedTuple

from yarl import URL

from stoa_runtime.addresses import AddressRefused, AddressRule
from stoa_runtime.credentials import CredentialMissing, Credentials
from stoa_runtime.multipart import boundary
from stoa_runtime.requests import Outgoing
from stoa_runtime.retries import CHANCE, Budget, wait_seconds
from stoa_runtime.wire import (
    IDEMPOTENT,
    Answer,
    Broken,
    Declined,
    Resolver,
    Site,
    Times,
    Unreachable,
    Unsendable,
    Why,
    Wire,
    line,
    written,
)
from stoa_schemas import bundle

_AGAIN = frozenset({502, 503, 504})
"""Answers after which a call may be tried again; 429 too, where the backend says when."""
_AGENT = "user-agent"
_WITHHELD = b"[withheld]"
_SECRET_MIN = 6
"""Characters below which a credential is too common a text to be looked for in an answer."""

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


class Reply(NamedTuple):
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
    site: Site | None
    refused: str | None
    """Why its address may not be called, where it may not; else there is a site."""
    prefix: str
    """What stands before a request's own path."""
    times: Times
    fields: dict[str, bytes]
    """What every request says, by what it accepts."""
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
    lines: str = ""
    """Its headers as they are sent."""
    secrets: tuple[bytes, ...] = ()
    own: frozenset[str] = frozenset()
    """Its headers' names in lower case."""


_NO_CREDENTIAL = _Credential()


def open_wire(rule: AddressRule, resolver: Resolver | None = None) -> Wire:
    """Connections that reach permitted addresses only."""
    return Wire(rule, resolver)


class Backends:
    """The backends of one snapshot."""

    def __init__(
        self,
        wire: Wire,
        addresses: AddressRule,
        credentials: Credentials,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = CHANCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._wire = wire
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
        rule, prepared = contract.backend, self._of(tenant, contract)
        circuit = prepared.circuit
        self._enter(circuit, rule.breaker)
        healthy: bool | None = None
        circuit.in_flight += 1
        try:
            credential = self._credential(rule.auth)
            if prepared.refused is not None:
                raise _refused(prepared.refused)
            request = self._written(prepared, outgoing, answer, credential, traceparent)
            reply = await self._tried(prepared, outgoing.method, request, answer.max_bytes, credential)
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

    def check(self, tenant: str, contract: bundle.ContractEntry) -> None:
        """`BackendFailed` where a call would fail before anything is sent: for what must not be used up by that."""
        prepared = self._of(tenant, contract)
        if _is_shut(prepared.circuit, contract.backend.breaker, self._clock()):
            raise _shut()
        self._credential(contract.backend.auth)
        if prepared.refused is not None:
            raise _refused(prepared.refused)

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

    def _of(self, tenant: str, contract: bundle.ContractEntry) -> _Prepared:
        key = (tenant, contract.name)
        prepared = self._prepared.get(key)
        if prepared is None or prepared.rule is not contract.backend:
            prepared = self._prepare(key, contract.backend, prepared)
        return prepared

    def _prepare(self, key: tuple[str, str], rule: bundle.BackendRule, earlier: _Prepared | None) -> _Prepared:
        refused, site, prefix = None, None, ""
        try:
            url = URL(rule.url, encoded=True)
            self._addresses.check_host(url.raw_host or "")
            if url.raw_query_string or url.raw_fragment:
                raise ValueError
            site, prefix = self._wire.site(url), url.raw_path.rstrip("/")
        except AddressRefused as error:
            refused = str(error)
        except ValueError:
            refused = "the backend has no valid address"
        found = _Prepared(
            rule=rule,
            site=site,
            refused=refused,
            prefix=prefix,
            times=Times(rule.connect_ms / 1000, rule.read_ms / 1000, rule.total_ms / 1000),
            fields={},
            circuit=earlier.circuit if earlier else _Circuit(),
            budget=earlier.budget if earlier else Budget(self._clock),
        )
        self._prepared[key] = found
        return found

    def _written(
        self,
        prepared: _Prepared,
        outgoing: Outgoing,
        answer: bundle.Answer,
        credential: _Credential,
        traceparent: str,
    ) -> bytes:
        """The request as it is sent."""
        assert prepared.site is not None
        accept = ", ".join(answer.media_types) or "*/*"
        try:
            fields = prepared.fields.get(accept)
            if fields is None:
                host = line("Host", prepared.site.authority)
                made = host + line("Accept", accept) + line("Accept-Encoding", "gzip, deflate")
                fields = prepared.fields[accept] = made.encode("ascii")
            more = credential.lines + line("traceparent", traceparent)
            agent = "" if _AGENT in credential.own else "User-Agent: stoa\r\n"
            for name, value in outgoing.headers:
                lower = name.lower()
                if lower not in credential.own:  # No argument stands in for it.
                    more += line(name, value)
                    if lower == _AGENT:
                        agent = ""
            return written(outgoing.method, prepared.prefix + outgoing.target, fields, more + agent, outgoing.body)
        except Unsendable:
            raise BackendFailed(
                "backend-address", "The call was not made: it cannot be written as a request of HTTP."
            ) from None

    async def _tried(
        self, prepared: _Prepared, method: str, request: bytes, limit: int, credential: _Credential
    ) -> Reply:
        """The answer of the first try that gives one; methods that are not idempotent have one try."""
        rule, times = prepared.rule, prepared.times
        retries = rule.retries if method in IDEMPOTENT else 0
        prepared.budget.called()
        if not retries:
            return await self._once(prepared, method, request, limit, credential, times)
        ends = self._clock() + times.total
        for tried in range(retries + 1):
            failed: BackendFailed | None = None
            reply: Reply | None = None
            try:
                reply = await self._once(prepared, method, request, limit, credential, times)
                again = reply.status in _AGAIN or (reply.status == 429 and reply.retry_after is not None)
            except BackendFailed as failure:
                failed, again = failure, failure.rule in ("backend-timeout", "backend-unreachable")
            if again and tried < retries:
                wait = wait_seconds(tried, rule.backoff_ms, reply.retry_after if reply else None, self._chance)
                left = ends - self._clock() - wait
                # A wait beyond the call's time would only make the caller wait for the same answer.
                if left > 0 and prepared.budget.take(rule.retry_percent):
                    await self._sleep(wait)
                    times = replace(times, total=left)
                    continue
            if failed is not None:
                raise failed
            assert reply is not None
            return reply
        raise AssertionError("the last try returns or raises")

    async def _once(
        self, prepared: _Prepared, method: str, request: bytes, limit: int, credential: _Credential, times: Times
    ) -> Reply:
        assert prepared.site is not None
        try:
            answer = await prepared.site.ask(method, request, limit, times)
        except Declined as declined:
            raise BackendFailed(*_declined(declined.why, limit), declined.status) from None
        except AddressRefused as refused:
            raise BackendFailed("backend-address", f"The call was not made: {refused}.") from None
        except Unreachable:
            raise BackendFailed("backend-unreachable", "The backend cannot be reached. Nothing was called.") from None
        except TimeoutError:
            raise BackendFailed(
                "backend-timeout", "The backend did not answer in time. The call may have taken effect."
            ) from None
        except Broken:
            raise BackendFailed(
                "backend-unreachable", "The connection to the backend broke. The call may have taken effect."
            ) from None
        return _reply(answer, credential.secrets)

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
                name, value = "Authorization", f"Bearer {secret}"
            case "header":
                name, value = auth.header or "", secret
            case "basic":
                encoded = base64.b64encode(f"{auth.username}:{secret}".encode()).decode()
                name, value = "Authorization", f"Basic {encoded}"
                sent.append(encoded)
        secrets = tuple(s.encode() for s in sent if len(s) >= _SECRET_MIN)
        try:
            made = _Credential(line(name, value), secrets, frozenset({name.lower()}))
        except Unsendable:
            raise BackendFailed(
                "backend-credential", "The call was not made: the platform's credential for this backend is no header."
            ) from None
        self._known[key] = (secret, made)
        return made

    def _enter(self, circuit: _Circuit, breaker: bundle.Breaker | None) -> None:
        """Refuses while the circuit is open; after its time, one call goes through to see."""
        if breaker is None or circuit.opened is None:
            return
        if _is_shut(circuit, breaker, self._clock()):
            raise _shut()
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


def _is_shut(circuit: _Circuit, breaker: bundle.Breaker | None, now: float) -> bool:
    """Whether no call may go there now."""
    if breaker is None or circuit.opened is None:
        return False
    return circuit.probing or now - circuit.opened < breaker.reset_ms / 1000


def _shut() -> BackendFailed:
    text = "The backend has failed several times and is left alone for a while. Try later."
    return BackendFailed("backend-circuit", text)


def _refused(why: str) -> BackendFailed:
    return BackendFailed("backend-address", f"The call was not made: {why}.")


@functools.lru_cache(maxsize=1024)
def _content(header: str) -> tuple[str, str, str]:
    """Media type in lower case, charset and boundary of a Content-Type; the type is empty where it names none."""
    if not header:
        return "", "utf-8", ""
    message = Message()
    message["Content-Type"] = header
    charset = message.get_content_charset("utf-8")
    return message.get_content_type().lower(), charset, boundary(header)


def _declined(why: Why, limit: int) -> tuple[Rule, str]:
    """What is said of an answer that is not taken."""
    match why:
        case "redirect":
            return "backend-redirect", "The backend answered with a redirect, which is not followed."
        case "encoding":
            return (
                "backend-encoding",
                "The backend's answer is encoded in a way that was not asked for; it is withheld.",
            )
        case "size":
            return "backend-size", f"The answer has more than {limit} bytes."


def _reply(answer: Answer, secrets: tuple[bytes, ...]) -> Reply:
    body = answer.body
    for secret in secrets:
        body = body.replace(secret, _WITHHELD)
    media_type, charset, separator = _content(answer.content_type)
    return Reply(answer.status, media_type, charset, body, answer.retry_after, separator)
