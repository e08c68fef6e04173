"""Which network addresses a backend may have: checked on the address that is connected to, not on a name."""

import ipaddress
import socket
from collections.abc import Iterable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TRANSLATED = tuple(
    ipaddress.IPv6Network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "fec0::/10")
)
"""IPv6 ranges behind which an IPv4 address can stand (NAT64, 6to4, Teredo), and old private ones."""


class AddressRefused(OSError):
    """A backend's address is not one where backends may be."""


class AddressRule:
    """Public addresses always, others only within the platform's backend networks."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(n, strict=False) for n in networks)

    def permits(self, text: str) -> bool:
        """Whether the address `text` may be connected to."""
        address: Address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._networks if network.version == address.version):
            return True
        if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _TRANSLATED):
            return False
        return address.is_global and not (address.is_multicast or address.is_unspecified or address.is_reserved)

    def check_host(self, host: str) -> None:
        """Refuses a host that is itself an address outside the rule; names are checked when they are resolved."""
        try:
            ipaddress.ip_address(host.strip("[]").partition("%")[0])
        except ValueError:
            return
        if not self.permits(host.strip("[]")):
            raise AddressRefused("the backend's address is outside the networks where backends may be")


class FilteringResolver(AbstractResolver):
    """Resolves names to permitted addresses only, so that what was checked is what is connected to."""

    def __init__(self, rule: AddressRule) -> None:
        self._rule = rule
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The permitted addresses of `host`."""
        found = await self._resolver.resolve(host, port, family)
        permitted = [result for result in found if self._rule.permits(result["host"])]
        if not permitted:
            raise AddressRefused("the backend's name leads outside the networks where backends may be")
        return permitted

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()
