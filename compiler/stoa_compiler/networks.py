"""Address ranges as network policies write them."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

NEVER = ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10")
"""Loopback and link-local: no backend is there, and instance metadata is."""
PRIVATE = (*NEVER, "10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "64:ff9b::/96", "fc00::/7")
"""What a range as wide as the internet does not mean; NAT64 leads back to private IPv4 addresses."""

Network = IPv4Network | IPv6Network


def blocks(cidrs: Sequence[str], kept_closed: Sequence[str]) -> list[dict[str, Any]]:
    """The `ipBlock` of each range, in order: those of `kept_closed` that lie inside a wider one are left out."""
    made: list[dict[str, Any]] = []
    for network in sorted({ip_network(cidr, strict=False) for cidr in cidrs}, key=str):
        inside = sorted(c for c in kept_closed if _within(ip_network(c), network) and ip_network(c) != network)
        made.append({"cidr": str(network)} | ({"except": inside} if inside else {}))
    return made


def _within(inner: Network, outer: Network) -> bool:
    """Whether every address of `inner` is one of `outer`."""
    return (
        inner.version == outer.version
        and outer.network_address <= inner.network_address  # type: ignore[operator]
        and inner.broadcast_address <= outer.broadcast_address  # type: ignore[operator]
    )
