"""Rules on the platform document: endpoints, zones, roles, redirect URIs of its clients."""

from stoa_compiler.checks.addresses import backend_network_problem, endpoint, is_loopback_host, is_network
from stoa_compiler.checks.consumers import check_redirects
from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import Graph
from stoa_schemas.documents.platform import ZoneName

ENDPOINT = Rule(
    code="STOA401",
    title="the endpoint is not one that clients can trust",
    why="Tokens are sent to the gateway and issued by the issuer: both must speak TLS on a host of the platform's "
    "own domain. Loopback and plain HTTP are for development only.",
    help="Use an https URL at or below the platform's domain.",
)
SHARED_ENDPOINT = Rule(
    code="STOA402",
    title="two environments share an endpoint",
    why="A token for one environment would be good in the other.",
    help="Give each environment a gateway of its own.",
)
ZONE_FLOW = Rule(
    code="STOA403",
    title="the flow skips the DMZ",
    why="What is untrusted reaches what is trusted only through the gateways between them.",
    help="Let the flow end in `dmz`, and declare another from `dmz`.",
)
ZONES = Rule(
    code="STOA404",
    title="a zone is missing or wrongly trusted",
    why="Network policies rest on the three zones: external is untrusted, dmz semi-trusted, internal trusted.",
    help="Declare `external`, `dmz` and `internal` with these levels of trust.",
)
HELM_NEEDS_RUNTIME = Rule(
    code="STOA405",
    title="the target `helm` lacks the deployment",
    why="Helm values without an image deploy nothing.",
    help="Add `runtime:` with at least `image:` to the environment, or leave `helm` out of `targets`.",
)
NEEDS_MCP = Rule(
    code="STOA406",
    title="the target `helm` needs the target `mcp`",
    why="The values carry the catalogs that the runtime serves.",
    help="Add `mcp` to the environment's `targets`.",
)
REPLICAS = Rule(
    code="STOA407",
    title="fewer replicas at the most than at the least",
    why="The autoscaler could never satisfy both.",
    help="Let `max` be at least `min`.",
)
PLATFORM_GRANT = Rule(
    code="STOA408",
    title="a platform grant gives to a tenant's role",
    why="It would cross every tenant's border: only roles of scope `platform` do that.",
    help="Give the grant to a role of scope `platform`, or write it into the tenant's document.",
)
PRIVATE_NETWORK = Rule(
    code="STOA409",
    title="not an address range for backends",
    why="The range is malformed, or holds loopback or link-local addresses, where a host's own services and "
    "credentials answer.",
    help="Write a private range such as `10.20.0.0/16`; loopback only where `development: true`.",
)

ZONE_RANGE = Rule(
    code="STOA410",
    title="not an address range",
    why="Network policies are rendered from the zones' ranges: a malformed one would open or close something else.",
    help="Write a network in CIDR form without host bits, such as `10.20.0.0/16`.",
)

CLOSED = Rule(
    code="STOA628",
    title="a flow opens nothing",
    why="Network policies are rendered from the namespaces and address ranges of zones; a zone without any stays shut.",
    help="Give the zone its namespaces, or its address ranges where it is outside the cluster.",
    severity="warning",
)

RULES = (
    ENDPOINT,
    SHARED_ENDPOINT,
    ZONE_FLOW,
    ZONES,
    HELM_NEEDS_RUNTIME,
    NEEDS_MCP,
    REPLICAS,
    PLATFORM_GRANT,
    PRIVATE_NETWORK,
    ZONE_RANGE,
    CLOSED,
)

RUNTIME_ZONE: ZoneName = "dmz"
"""The zone where the runtime is."""
_TRUST: dict[ZoneName, str] = {"external": "untrusted", "dmz": "semi-trusted", "internal": "trusted"}

_SKIPPING = {("external", "internal"), ("external", "tenants"), ("tenants", "internal")}
"""Flows between zones that have a gateway between them."""


def check(graph: Graph, report: Report) -> None:
    """Adds what the platform document says that cannot be enforced."""
    before = report.errors
    _endpoints(graph, report)
    _zones(graph, report)
    helm = any("helm" in environment.targets for environment in graph.platform.spec.environments.values())
    if helm and report.errors == before:
        _flows(graph, report)
    spec, document = graph.platform.spec, graph.origin.document
    for name, environment in spec.environments.items():
        at = ("spec", "environments", name)
        if "helm" in environment.targets and (environment.runtime is None or "mcp" not in environment.targets):
            where = document.span((*at, "targets", environment.targets.index("helm")))
            if environment.runtime is None:
                report.add(HELM_NEEDS_RUNTIME, where, f"`{name}` renders `helm`, but declares no `runtime`")
            if "mcp" not in environment.targets:
                report.add(NEEDS_MCP, where, f"`{name}` renders `helm` without `mcp`")
        replicas = environment.runtime.replicas if environment.runtime else None
        if replicas and replicas.max < replicas.min:
            where = document.span((*at, "runtime", "replicas"))
            report.add(REPLICAS, where, f"`min` is {replicas.min} and `max` is {replicas.max}")
    for index, grant in enumerate(spec.grants):
        role = spec.roles.get(grant.role)
        if role is not None and role.scope != "platform":
            where = document.span(("spec", "grants", index, "role"))
            said = f"`{grant.role}` is a role of scope `{role.scope}`, and the grant would carry it across tenants"
            report.add(PLATFORM_GRANT, where, said)
    for client_id, client in spec.identity.clients.items():
        loc = ("spec", "identity", "clients", client_id, "redirectUris")
        check_redirects(client.redirect_uris, document, loc, report)


def _flows(graph: Graph, report: Report) -> None:
    """What the runtime's network policy, which is rendered from the zones, cannot open."""
    spec, document = graph.platform.spec, graph.origin.document
    incoming = {flow.from_ for flow in spec.flows if flow.to == RUNTIME_ZONE}
    if not any(zone.namespaces for name, zone in spec.zones.items() if name in incoming):
        report.add(
            CLOSED,
            document.span(("spec", "flows"), "key"),
            f"no zone with namespaces has a flow to `{RUNTIME_ZONE}`",
            [Note("nothing in the cluster can reach the runtime")],
        )
    for index, flow in enumerate(spec.flows):
        zone = spec.zones.get(flow.to)
        shut = zone is not None and not zone.namespaces and not zone.cidrs and flow.to != "tenants"
        if flow.from_ == RUNTIME_ZONE and shut:
            report.add(
                CLOSED,
                document.span(("spec", "flows", index, "to")),
                f"zone `{flow.to}` has neither namespaces nor address ranges",
                [Note("zones are declared here", document.span(("spec", "zones", flow.to), "key"))],
            )


def _endpoints(graph: Graph, report: Report) -> None:
    spec, document = graph.platform.spec, graph.origin.document
    seen: dict[str, str] = {}
    for name, environment in spec.environments.items():
        at = ("spec", "environments", name)
        for key, url in (("gateway", environment.gateway), ("issuer", environment.issuer)):
            found = endpoint(url)
            if found is None:
                where = document.span((*at, key))
                report.add(ENDPOINT, where, f"`{url[:80]}` names no host and port that every reader takes alike")
                continue
            scheme, host = found
            if environment.development and is_loopback_host(host):
                continue
            if scheme != "https":
                report.add(ENDPOINT, document.span((*at, key)), f"`{key}` of `{name}` is not https")
            elif host != spec.domain and not host.endswith(f".{spec.domain}"):
                report.add(
                    ENDPOINT,
                    document.span((*at, key)),
                    f"`{host}` is not at or below `{spec.domain}`",
                    [Note("the platform's domain", document.span(("spec", "domain")))],
                )
        first = seen.setdefault(environment.gateway.rstrip("/").lower(), name)
        if first != name:
            report.add(
                SHARED_ENDPOINT,
                document.span((*at, "gateway")),
                f"`{name}` has the gateway of `{first}`",
                [Note("here too", document.span(("spec", "environments", first, "gateway")))],
            )
        for index, network in enumerate(environment.backend_networks):
            problem = backend_network_problem(network, environment.development)
            if problem:
                where = document.span((*at, "backendNetworks", index))
                report.add(PRIVATE_NETWORK, where, f"`{network}` {problem}")


def _zones(graph: Graph, report: Report) -> None:
    spec, document = graph.platform.spec, graph.origin.document
    for zone, trust in _TRUST.items():
        found = spec.zones.get(zone)
        if found is None:
            where, advice = document.span(("spec", "zones"), "key"), f"Declare `{zone}` with `trust: {trust}`."
            report.add(ZONES, where, f"the zone `{zone}` is missing", help=advice)
        elif found.trust != trust:
            where = document.span(("spec", "zones", zone, "trust"))
            report.add(ZONES, where, f"`{zone}` is `{found.trust}`, not `{trust}`", help=f"Write `trust: {trust}`.")
    tenants = spec.zones.get("tenants")
    if tenants is not None and tenants.trust != "semi-trusted":
        where = document.span(("spec", "zones", "tenants", "trust"))
        said = f"`tenants` is `{tenants.trust}`, not `semi-trusted`"
        report.add(ZONES, where, said, help="Write `trust: semi-trusted`.")
    for zone, zone_declared in spec.zones.items():
        for index, network in enumerate(zone_declared.cidrs):
            if not is_network(network):
                where = document.span(("spec", "zones", zone, "cidrs", index))
                report.add(ZONE_RANGE, where, f"`{network}` is not a network in CIDR form")
    for index, flow in enumerate(spec.flows):
        if (flow.from_, flow.to) in _SKIPPING:
            where = document.span(("spec", "flows", index))
            report.add(ZONE_FLOW, where, f"a flow from `{flow.from_}` to `{flow.to}`")
