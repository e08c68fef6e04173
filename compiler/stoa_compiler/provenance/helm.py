"""Where the Helm values of the runtime come from."""

from collections.abc import Iterator
from typing import Any

from stoa_compiler.provenance.model import Cause, Origins, Place, Pointer, Seen, Table, fixed, made
from stoa_compiler.provenance.places import Places
from stoa_schemas import bundle

VALUES = "helm/stoa-runtime.values.yaml"
OUR_ZONE = "dmz"
"""The zone where the runtime is."""


def whole(path: str) -> str:
    """The file that a part of it is of."""
    return path.partition(bundle.PART_SUFFIX)[0]


def _mounted(seen: Seen) -> list[tuple[str, Pointer]]:
    return [(whole(str(f["path"])), ()) for f in seen.near(1, "files")]


def _tenant_file(seen: Seen) -> bool:
    return str(seen.near(1, "path")).startswith("mcp/tenants/")


def _file_name(seen: Seen) -> Origins:
    path = whole(str(seen.near(1, "path")))
    return seen.places.tenant_name(path.rpartition("/")[2].removesuffix(".json"))


def _env(*loc: str) -> Any:
    return lambda seen: [seen.places.env(*loc)]


def _ingress(seen: Seen) -> Origins:
    """Namespaces of the zones that have a flow to the runtime's."""
    if seen.value == []:
        return [Cause((seen.places.platform("flows"), *_zones(seen.places)))]
    coming = {f.from_ for f in seen.places.graph.platform.spec.flows if f.to == OUR_ZONE}
    found = [
        seen.places.platform("zones", zone, "namespaces", index)
        for zone in sorted(coming & seen.places.zones_of(str(seen.value)))
        for index, name in enumerate(seen.places.spec["zones"][zone]["namespaces"])
        if name == seen.value
    ]
    opening = [
        seen.places.platform("flows", index)
        for index, flow in enumerate(seen.places.graph.platform.spec.flows)
        if flow.to == OUR_ZONE and flow.from_ in seen.places.zones_of(str(seen.value))
    ]
    return [Cause(tuple(found), together=True), Cause(tuple(opening), together=True)]


def _zones(places: Places) -> Iterator[Place]:
    yield places.platform("zones")


def _zone(seen: Seen) -> str | None:
    """The zone that a rule of the egress is for; None for that of the backends."""
    spec = seen.places.graph.platform.spec
    named = [
        name
        for name, zone in sorted(spec.zones.items())
        if (zone.namespaces or zone.cidrs) and any(f.from_ == OUR_ZONE and f.to == name for f in spec.flows)
    ]
    index = int(seen.pointer[2])
    return named[index] if index < len(named) else None


def _port(seen: Seen) -> Origins:
    zone = _zone(seen)
    if zone is not None:
        return [seen.places.flows([(OUR_ZONE, zone)], int(seen.value))]
    return [Cause(tuple(_urls(seen.places, int(seen.value))), together=True)]


def _urls(places: Places, port: int) -> Iterator[Place]:
    """The backends that are at a port."""
    from urllib.parse import urlsplit

    for tenant in places.tenants:
        for contract in tenant.contracts:
            rule = contract.backends.get(places.environment)
            if contract.exposed and rule is not None:
                parts = urlsplit(rule.url)
                if (parts.port or (443 if parts.scheme == "https" else 80)) == port:
                    yield places.of(contract, "backend", "urls", places.environment)


def _namespace(seen: Seen) -> Origins:
    zone = _zone(seen)
    assert zone is not None
    return seen.places.items(seen.places.platform("zones", zone, "namespaces"), seen.value)


def _block(seen: Seen) -> Origins:
    cidr = str(seen.at(*seen.pointer[:5], "cidr"))
    zone = _zone(seen)
    if zone is not None:
        return seen.places.ranges(seen.places.platform("zones", zone, "cidrs"), cidr)
    return seen.places.ranges(seen.places.env("backendNetworks"), cidr)


def _timeouts(seen: Seen) -> Origins:
    """The limit of every call, of which the longest counts."""
    found = []
    for tenant in seen.places.tenants:
        for contract in tenant.contracts:
            found.append(seen.places.of(contract, "status"))
            if contract.exposed:
                own = "timeouts" in contract.origin.document.data["spec"]["backend"]
                found.append(
                    seen.places.of(contract, "backend", "timeouts", "total")
                    if own
                    else seen.places.platform("defaults", "timeouts", "total")
                )
    return [Cause(tuple(found) or (seen.places.platform("defaults", "timeouts", "total"),))]


_TABLE = (
    made(
        "/bundle/digest",
        "helm.digest",
        "The digest of the runtime's manifest.",
        within=lambda s: [(bundle.RUNTIME_MANIFEST, ())],
    ),
    made("/bundle/platform", "helm.platform", "The platform's name.", lambda s: [s.places.platform_name]),
    fixed("/bundle/environment", "bundle.environment", "The environment that the bundle is compiled for."),
    made("/bundle/development", "bundle.development", "As the environment says.", _env("development")),
    made("/bundle/configMaps/*/name", "helm.config-map", "Called after the digest of what it holds.", within=_mounted),
    made(
        "/bundle/configMaps/*/files/*/content",
        "helm.file",
        "The file, byte for byte.",
        within=lambda s: [(whole(str(s.near(1, "path"))), ())],
    ),
    made("/bundle/configMaps/*/files/*/*", "helm.file.name", "The file's path.", _file_name, when=_tenant_file),
    fixed("/bundle/configMaps/*/files/*/*", "helm.file.fixed-name", "The path is the same in every bundle."),
    made("/image/repository", "helm.image", "As declared.", _env("runtime", "image", "repository")),
    made("/image/tag", "helm.image", "As declared.", _env("runtime", "image", "tag")),
    made("/image/digest", "helm.image", "As declared.", _env("runtime", "image", "digest")),
    made("/replicas/min", "helm.replicas", "As declared.", _env("runtime", "replicas", "min")),
    made("/replicas/max", "helm.replicas", "As declared.", _env("runtime", "replicas", "max")),
    made("/resources/cpu", "helm.resources", "As declared.", _env("runtime", "cpu")),
    made("/resources/memory", "helm.resources", "As declared.", _env("runtime", "memory")),
    made("/gateway/url", "helm.gateway", "As declared.", _env("gateway")),
    made(
        "/issuer/tenants/*",
        "helm.issuer.of-tenant",
        "The issuer's URL, ending in the tenant's name.",
        lambda s: [s.places.env("issuer"), *s.places.tenant_name(str(s.pointer[2]))],
    ),
    made("/issuer/url", "helm.issuer", "As declared.", _env("issuer")),
    made(
        "/networkPolicy/ingressNamespaces/**",
        "helm.ingress",
        "Namespaces of the zones that have a flow to the runtime's.",
        _ingress,
    ),
    made(
        "/networkPolicy/egress",
        "helm.egress",
        "No flow leaves the runtime's zone.",
        lambda s: [Cause((s.places.platform("flows"), s.places.env("backendNetworks")))],
    ),
    made(
        "/networkPolicy/egress/*/ports/*", "helm.egress.ports", "Ports of the flows to the zone, or of backends.", _port
    ),
    made("/networkPolicy/egress/*/namespaces/*", "helm.egress.namespaces", "The zone's namespaces.", _namespace),
    made(
        "/networkPolicy/egress/*/blocks/*/cidr",
        "helm.egress.blocks",
        "The zone's ranges, or those of backends.",
        _block,
    ),
    made(
        "/networkPolicy/egress/*/blocks/*/except/*",
        "helm.egress.except",
        "Private ranges that a wider one does not mean.",
        _block,
    ),
    made(
        "/terminationGracePeriodSeconds",
        "helm.drain",
        "What the slowest call may take and 15 s, from 45 s to an hour.",
        _timeouts,
    ),
)

TABLES = (Table(VALUES, _TABLE),)
"""What is known of the target's artifacts."""
