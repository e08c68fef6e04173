"""A platform document for a source that has none: small, whole, and wide enough for what comes in."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoa_compiler.stoa_v2.bundles import apis_of
from stoa_compiler.stoa_v2.read import Input
from stoa_compiler.stoa_v2.values import mapping
from stoa_schemas import names
from stoa_schemas.base import API_VERSION

DEFAULT_RATE = 600
"""Calls a minute that an operation has where it says nothing."""
WIDEST = 30_000


def propose(inputs: Sequence[Input], hosts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The document. Its caps are the highest rates of the bundles; its hosts are those of the contracts."""
    bundles = [i.data for i in inputs if i.form == "bundle"]
    tiers = {str(t) for b in bundles if names.is_id(str(t := mapping(b.get("metadata")).get("tier") or ""))}
    realms = {str(mapping(mapping(b.get("metadata")).get("labels")).get("keycloak-realm")) for b in bundles}
    only = next(iter(realms)) if len(realms) == 1 else ""
    realm = only if names.is_id(only) and only != "None" else "stoa"
    classes = sorted({str(a.get("classification")) for b in bundles for _, a in apis_of(b)})
    rates = {c: [_rate(b, "classifications", c, "rate_limit") for b in bundles] for c in (*classes, "H", "VH", "VVH")}
    minute = max([_rate(b, "rateLimits", "global", "requests_per_minute") for b in bundles], default=0)
    tier = {
        "maxContracts": 200,
        "maxTools": 2000,
        "maxConsumers": 200,
        "maxRate": f"{max(minute, WIDEST)}/minute",
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "Platform",
        "metadata": {"name": "stoa"},
        "spec": {
            "displayName": "STOA",
            "domain": "stoa.example",
            "environments": {
                "dev": {
                    "gateway": "http://127.0.0.1:8080",
                    "issuer": f"http://127.0.0.1:8081/realms/{realm}",
                    "development": True,
                    "targets": ["mcp", "keycloak"],
                    "backendNetworks": ["127.0.0.0/8"],
                },
                "prod": {
                    "gateway": "https://mcp.stoa.example",
                    "issuer": f"https://id.stoa.example/realms/{realm}",
                    "targets": ["mcp", "keycloak"],
                },
            },
            "zones": {
                "external": {"trust": "untrusted", "cidrs": ["0.0.0.0/0"]},
                "dmz": {"trust": "semi-trusted", "namespaces": ["mcp-gateway"]},
                "internal": {"trust": "trusted", "namespaces": ["identity"]},
            },
            "flows": [
                {"from": "external", "to": "dmz", "port": 443},
                {"from": "dmz", "to": "external", "port": 443},
            ],
            "tiers": dict.fromkeys(sorted(tiers) or ["standard"], tier),
            "classifications": {
                name: {
                    "demands": ["tls-backend"],
                    "approval": ["destructive"],
                    "maxRate": f"{max([DEFAULT_RATE, *rates[name]])}/minute",
                }
                for name in ("H", "VH", "VVH")
            },
            "roles": {
                "tenant-admin": {
                    "description": "Answers for a tenant and decides its approvals.",
                    "permissions": [
                        "catalog:read",
                        "posture:read",
                        "tools:read",
                        "tools:write",
                        "tools:destructive",
                        "approvals:decide",
                    ],
                },
                "viewer": {
                    "description": "Looks, and changes nothing.",
                    "permissions": ["catalog:read", "posture:read", "tools:read"],
                },
            },
            "backends": {"allowedHosts": [{"host": h, "tenants": list(t)} for h, t in sorted(hosts.items())]},
            "identity": {"realm": realm, "clients": {}},
        },
    }


def _rate(bundle: Mapping[str, Any], *path: str) -> int:
    """A number of the bundle's `spec`; 0 where there is none."""
    node: Any = bundle.get("spec")
    for step in path:
        node = mapping(node).get(step)
    return min(node, 999_999_999) if isinstance(node, int) and not isinstance(node, bool) else 0
