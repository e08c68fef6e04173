"""Credentials from Vault or OpenBao (KV version 2), kept in memory so that a call never waits for them.

What was read stays usable for a bounded time while Vault cannot be reached; then calls are refused. What Vault says is
gone or forbidden is gone at once. KV secrets have no lease, so what is renewed is the token.
"""

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoa_runtime.credentials import SECRET_LIMIT, CredentialMissing, split, usable

log = logging.getLogger("stoa")


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token in a file, as Vault's agent keeps it. Read anew at each login."""

    file: Path


@dataclass(frozen=True, slots=True)
class AppRole:
    """A role's id and secret id, each in a file."""

    role_id_file: Path
    secret_id_file: Path
    mount: str = "approle"


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """The pod's service account."""

    role: str
    jwt_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    mount: str = "kubernetes"


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where Vault is, and how it is spoken to."""

    url: str
    login: TokenFile | AppRole | Kubernetes
    mount: str = "secret"
    """The KV engine's mount."""
    prefix: str = ""
    """A path below the mount that stands before that of each reference."""
    namespace: str | None = None
    ca_file: Path | None = None
    """Certificates that vouch for Vault; the system's where None."""
    refresh_seconds: float = 30.0
    """How often secrets are read anew: how long a rotated one may go unseen."""
    max_age_seconds: float = 900.0
    """How old a secret may be that is used while Vault cannot be reached."""
    timeout_seconds: float = 5.0
    """How long one request to Vault may take."""


@dataclass(slots=True)
class _Token:
    """When the token was had, and what is known of its life."""

    since: float
    seconds: float
    renewable: bool


@dataclass(slots=True)
class _Held:
    value: str
    at: float


@dataclass(slots=True)
class _Round:
    """What one reading of all secrets came to."""

    found: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    """Why, by reference."""
    down: str | None = None


class VaultCredentials:
    """Secrets by reference. `start` reads them and keeps them fresh, `stop` ends that."""

    def __init__(
        self, settings: VaultSettings, references: Iterable[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._wanted = {reference: split(reference) for reference in references}
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._why: dict[str, str] = {}
        self._client: Any = None
        self._token: _Token | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._reading = asyncio.Lock()

    def read(self, reference: str) -> str:
        """The secret as it was last read; one that was not asked for before is read in the background, for later."""
        held = self._held.get(reference)
        if held is not None:
            if self._clock() - held.at <= self._settings.max_age_seconds:
                return held.value
            raise CredentialMissing(f"{reference} was read too long ago, and Vault cannot be reached")
        if reference not in self._wanted:
            self._wanted[reference] = split(reference)
            self._wake.set()
        raise CredentialMissing(f"{reference} is not there: {self._why.get(reference, 'it has not been read yet')}")

    async def start(self) -> None:
        """Reads every secret once, and begins to keep them fresh. A Vault that is down is tried again later."""
        await self.refresh()
        self._task = asyncio.create_task(self._keep_fresh(), name="vault")

    async def stop(self) -> None:
        """Ends the reading, and forgets every secret."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._held.clear()
        self._client = self._token = None

    async def want(self, references: Iterable[str]) -> None:
        """Reads these secrets from now on, and no others: those of a bundle before it is served."""
        self._wanted = {reference: split(reference) for reference in references}
        for reference in [r for r in self._held if r not in self._wanted]:
            del self._held[reference]
        await self.refresh()

    async def refresh(self) -> None:
        """Reads every secret now."""
        async with self._reading:
            began = self._clock()
            wanted = dict(self._wanted)
            done = await asyncio.to_thread(self._round, wanted)
            for reference, value in done.found.items():
                self._held[reference] = _Held(value, began)
                self._why.pop(reference, None)
            for reference, reason in done.gone.items():
                self._held.pop(reference, None)
                self._why[reference] = reason
            if done.down is not None:
                log.warning("vault: %s", done.down)
                for reference in wanted:
                    self._why.setdefault(reference, done.down)

    async def _keep_fresh(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.refresh_seconds):
                    await self._wake.wait()
            self._wake.clear()
            await self.refresh()

    # What follows blocks, and runs in a thread.

    def _round(self, wanted: dict[str, tuple[str, str]]) -> _Round:
        errors, unreachable = _errors(), _unreachable()
        done = _Round()
        try:
            fresh = self._authenticate()
            paths: dict[str, list[tuple[str, str]]] = {}
            for reference, (path, key) in wanted.items():
                paths.setdefault(path, []).append((reference, key))
            for path, named in paths.items():
                try:
                    data = self._data(path)
                except errors.Forbidden:
                    if not fresh:  # The token may have been revoked: once more with a new one.
                        self._token, fresh = None, True
                        self._authenticate()
                        try:
                            data = self._data(path)
                        except errors.Forbidden:
                            done.gone |= {reference: "Vault forbids reading it" for reference, _ in named}
                            continue
                    else:
                        done.gone |= {reference: "Vault forbids reading it" for reference, _ in named}
                        continue
                for reference, key in named:
                    _take(done, reference, data, key)
        except errors.Forbidden:
            done.down = "the login is forbidden"
        except (errors.VaultError, *unreachable) as error:
            done.down = f"it cannot be read from ({type(error).__name__})"
        except OSError as error:
            done.down = f"the file of the login cannot be read: {error.strerror}"
        return done

    def _data(self, path: str) -> dict[str, Any] | None:
        """The keys of one secret; None where there is none."""
        where = "/".join(part for part in (self._settings.prefix.strip("/"), path) if part)
        try:
            answer = self._client.secrets.kv.v2.read_secret_version(
                path=where, mount_point=self._settings.mount, raise_on_deleted_version=True
            )
        except _errors().InvalidPath:
            return None
        found = answer["data"]["data"]
        return found if isinstance(found, dict) else None

    def _authenticate(self) -> bool:
        """A usable token, renewed or had anew where it would soon end; whether it is new."""
        now, token = self._clock(), self._token
        if token is not None and (token.seconds == 0 or now < token.since + token.seconds * 2 / 3):
            return False
        if token is not None and token.renewable:
            try:
                auth = self._client.auth.token.renew_self()["auth"]
                self._token = _Token(now, auth["lease_duration"], auth["renewable"])
                # A token near the end of its longest life is renewed for less and less: then a login is due.
                if auth["lease_duration"] >= min(token.seconds / 2, 2 * self._settings.refresh_seconds):
                    return False
            except (_errors().Forbidden, _errors().InvalidRequest):
                pass
        self._login(now)
        return True

    def _login(self, now: float) -> None:
        settings, how = self._settings, self._settings.login
        hvac: Any = importlib.import_module("hvac")
        client = hvac.Client(
            url=settings.url,
            token="",
            namespace=settings.namespace,
            timeout=settings.timeout_seconds,
            verify=str(settings.ca_file) if settings.ca_file else True,
            allow_redirects=False,
        )
        match how:
            case TokenFile():
                client.token = _text(how.file)
                found = client.auth.token.lookup_self()["data"]
                seconds, renewable = found["ttl"], found.get("renewable", False)
            case AppRole():
                auth = client.auth.approle.login(
                    role_id=_text(how.role_id_file), secret_id=_text(how.secret_id_file), mount_point=how.mount
                )["auth"]
                seconds, renewable = auth["lease_duration"], auth["renewable"]
            case Kubernetes():
                auth = client.auth.kubernetes.login(role=how.role, jwt=_text(how.jwt_file), mount_point=how.mount)[
                    "auth"
                ]
                seconds, renewable = auth["lease_duration"], auth["renewable"]
        self._client, self._token = client, _Token(now, seconds, renewable)


def _take(done: _Round, reference: str, data: dict[str, Any] | None, key: str) -> None:
    if data is None or key not in data:
        done.gone[reference] = "Vault has no such secret"
        return
    value = data[key]
    if not isinstance(value, str) or len(value) > SECRET_LIMIT:
        done.gone[reference] = "it is no text, or too long"
        return
    try:
        done.found[reference] = usable(reference, value)
    except CredentialMissing:
        done.gone[reference] = "it is empty, or holds what a header cannot carry"


def _text(file: Path) -> str:
    return file.read_text(encoding="ascii", errors="replace").strip()


def _errors() -> Any:
    return importlib.import_module("hvac.exceptions")


def _unreachable() -> tuple[type[Exception], ...]:
    requests: Any = importlib.import_module("requests.exceptions")
    return (requests.RequestException,)
