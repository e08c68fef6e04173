"""Hosts and addresses: what a name or number really points at, however it is written."""

import ipaddress
import re
from urllib.parse import urlsplit

_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
_CLUSTER_SUFFIXES = (".svc", ".cluster.local", ".local", ".localhost", ".internal", ".localdomain")
"""Names that resolve inside a cluster or a machine, where a tenant's allow-list cannot reach."""
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")


def endpoint(url: str) -> tuple[str, str] | None:
    """Scheme and host of an http URL; None where readers could disagree on them.

    A backslash, a percent sign or a character outside ASCII in the authority is a border to one reader and
    part of the name to another.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if port == 0 or "@" in parts.netloc or parts.netloc.endswith(":"):
        return None
    if not _HOST.fullmatch(host) and literal_address(host) is None:
        return None
    return parts.scheme, host.rstrip(".")


def literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` writes, in any form that resolvers take; None for a name.

    Besides the usual forms: `127.1`, `0x7f000001`, `2130706433`, `0177.0.0.1` (inet_aton).
    """
    bare = host.strip("[]")
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    parts = bare.rstrip(".").split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(p) for p in parts):
        return None
    try:
        numbers = [int(p, 16 if p[:2].lower() == "0x" else 8 if len(p) > 1 and p[0] == "0" else 10) for p in parts]
    except ValueError:
        return ipaddress.IPv4Address(0)  # An invalid number is nobody's host name: refuse it like an address.
    value = 0
    for number in numbers[:-1]:
        value = value << 8 | min(number, 255)
    value = value << 8 * (5 - len(parts)) | numbers[-1]
    return ipaddress.IPv4Address(value & 0xFFFFFFFF)


def is_loopback_host(host: str) -> bool:
    """Whether `host` is this machine: `localhost` or a loopback address."""
    address = literal_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def is_cluster_name(host: str) -> bool:
    """Whether `host` is a name that only a cluster or a machine's own resolver knows."""
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith(_CLUSTER_SUFFIXES)


def host_matches(pattern: str, host: str) -> bool:
    """Whether an allow-list entry names `host`: equal, or below `*.`'s name."""
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and host != pattern[1:]
    return host == pattern


def is_network(network: str) -> bool:
    """Whether `network` is a network in CIDR form, without host bits."""
    try:
        ipaddress.ip_network(network)
    except ValueError:
        return False
    return True


def backend_network_problem(network: str, development: bool) -> str:
    """Why `network` may not hold backends; empty where it may."""
    try:
        parsed = ipaddress.ip_network(network)
    except ValueError:
        return "is not a network in CIDR form"
    if parsed.prefixlen < 8:
        return "is wider than a /8"
    loopback = ipaddress.ip_network("127.0.0.0/8" if parsed.version == 4 else "::1/128")
    local = ipaddress.ip_network("169.254.0.0/16" if parsed.version == 4 else "fe80::/10")
    if parsed.overlaps(loopback) and not development:
        return "holds loopback addresses"
    if parsed.overlaps(local):
        return "holds link-local addresses"
    return ""
