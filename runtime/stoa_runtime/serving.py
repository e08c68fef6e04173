"""One snapshot with all that serves it. A request keeps the one that it began with until it is answered."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import aiohttp

from stoa_runtime.access import Access
from stoa_runtime.addresses import AddressRule
from stoa_runtime.backends import Backends, open_wire
from stoa_runtime.bundles import BundleError, Snapshot
from stoa_runtime.credentials import Credentials
from stoa_runtime.limits import LimitRules
from stoa_runtime.metadata import endpoint_path, metadata_paths, origin
from stoa_runtime.protocol import Protocol
from stoa_runtime.tokens import Verifier
from stoa_runtime.wire import Wire

_LOOPBACK_HOSTS = ("127.0.0.1:*", "localhost:*", "[::1]:*")
_LOOPBACK_ORIGINS = tuple(f"http://{host}" for host in _LOOPBACK_HOSTS)


@dataclass(frozen=True, slots=True)
class Permitted:
    """`Host` and `Origin` headers that are taken; `name:*` takes any port."""

    hosts: frozenset[str]
    origins: frozenset[str]

    def takes_host(self, value: str) -> bool:
        """Whether a request may name this host."""
        return value in self.hosts or _any_port(value) in self.hosts

    def takes_origin(self, value: str) -> bool:
        """Whether a browser's page of this origin may call."""
        return value in self.origins or _any_port(value) in self.origins


def _any_port(value: str) -> str | None:
    name, colon, port = value.rpartition(":")
    return f"{name}:*" if colon and port.isdigit() else None


def permitted(snapshot: Snapshot, hosts: tuple[str, ...], origins: tuple[str, ...]) -> Permitted:
    """Those of the MCP URL and those named besides; a development bundle takes loopback too."""
    own = urlsplit(snapshot.index.mcp_url)
    hosts = (own.netloc, f"{own.hostname}:{443 if own.scheme == 'https' else 80}", *hosts)
    origins = (origin(snapshot.index), *origins)
    if snapshot.development is not None:
        hosts, origins = (*hosts, *_LOOPBACK_HOSTS), (*origins, *_LOOPBACK_ORIGINS)
    return Permitted(frozenset(hosts), frozenset(origins))


def address_rule(snapshot: Snapshot) -> AddressRule:
    """Where backends may be; `BundleError` where the bundle's networks are none."""
    try:
        return AddressRule(snapshot.index.backend_networks)
    except ValueError as error:
        raise BundleError(f"backend networks: {error}") from None


class Serving:
    """A snapshot, its access table, its connections and the protocol that speaks for it."""

    def __init__(
        self,
        snapshot: Snapshot,
        permitted: Permitted,
        verifier: Verifier,
        wire: Wire,
        backends: Backends,
        protocol: Protocol,
    ) -> None:
        self.snapshot = snapshot
        self.access = Access(snapshot)
        self.limits = LimitRules(snapshot)
        self.permitted = permitted
        self.verifier = verifier
        self.backends = backends
        self.protocol = protocol
        self.path = endpoint_path(snapshot.index)
        """Path of the MCP endpoint."""
        self.target = quote(self.path, safe="/").encode()
        """The same as clients ask for it."""
        self.metadata_paths = frozenset(metadata_paths(snapshot.index))
        """Paths of the protected-resource metadata."""
        self.in_flight = 0
        """Requests that are being answered from it."""
        self._wire = wire
        self._speaking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Makes it ready for its first request."""
        started = asyncio.Event()
        self._speaking = asyncio.create_task(self.protocol.run(started))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({self._speaking, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._speaking.done():
            await self._speaking

    async def end(self, grace: float) -> None:
        """Lets requests in flight end, for at most `grace` seconds, then closes its connections."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self.in_flight:
                    await asyncio.sleep(0.05)
        if self._speaking is not None:
            self._speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._speaking
        await self._wire.close()


def open_serving(
    snapshot: Snapshot,
    *,
    named: Permitted,
    credentials: Credentials,
    keys: aiohttp.ClientSession,
    protocol: Protocol,
    before: Serving | None = None,
    backends: Callable[[Wire, AddressRule, Credentials], Backends] = Backends,
) -> Serving:
    """What serves `snapshot`, not yet started. Known keys of the same issuer are kept from `before`."""
    rule = address_rule(snapshot)
    wire = open_wire(rule)
    verifier = Verifier(snapshot.index.token, keys)
    if before is not None:
        verifier.take_keys(before.verifier)
    return Serving(snapshot, named, verifier, wire, backends(wire, rule, credentials), protocol)
