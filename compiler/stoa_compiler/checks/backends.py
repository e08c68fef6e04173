"""Rules on backends: on an allowed host, by name, over TLS, and never where the platform itself lives."""

from collections.abc import Mapping

from stoa_compiler.checks.addresses import endpoint, host_matches, is_cluster_name, is_loopback_host, literal_address
from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.graph import ContractNode, Graph, TenantNode
from stoa_compiler.records import record
from stoa_compiler.source import Span
from stoa_schemas.documents.platform import EnvironmentName

HOST_NOT_ALLOWED = Rule(
    code="STOA451",
    title="the backend's host is not the tenant's",
    why="A backend on any other host could reach another tenant's service, or one of the platform's own.",
    help="Ask the platform team to list the host for this tenant under `backends.allowedHosts`.",
)
ADDRESS = Rule(
    code="STOA452",
    title="the backend is an address or a cluster's own name",
    why="Loopback, link-local, metadata and cluster addresses lead behind the platform's walls, in whatever form.",
    help="Use a DNS name that the platform lists for this tenant.",
)
PLAIN_HTTP = Rule(
    code="STOA453",
    title="the backend is not https",
    why="Credentials and answers would cross the network in the clear.",
    help="Use https; plain http is for development environments only.",
)

RULES = (HOST_NOT_ALLOWED, ADDRESS, PLAIN_HTTP)


def check(graph: Graph, report: Report) -> None:
    """Adds backends that are not where the platform allows them."""
    hosts = _Hosts.of(graph)
    for tenant in graph.tenants:
        for contract in tenant.contracts:
            for environment, url in contract.declared.spec.backend.urls.items():
                _backend(graph, hosts, tenant, contract, environment, url, report)


@record(slots=False)
class _Hosts:
    """The tenants for which the platform lists each host, so that many tenants cost no more than each its own."""

    listed: Mapping[str, frozenset[str]]
    """By entry of the allow-list."""
    tenants: frozenset[str]
    """Every tenant that there is."""

    @classmethod
    def of(cls, graph: Graph) -> "_Hosts":
        listed: dict[str, frozenset[str]] = {}
        for allowed in graph.platform.spec.backends.allowed_hosts:
            listed[allowed.host] = listed.get(allowed.host, frozenset()) | frozenset(allowed.tenants)
        return cls(listed, graph.known | {t.name for t in graph.tenants})

    def named_for(self, host: str) -> frozenset[str]:
        """The tenants for which an entry names the host: it, or any name that it lies below."""
        labels = host.split(".")
        entries = [host, *("*." + ".".join(labels[at:]) for at in range(1, len(labels)))]
        found = [self.listed[e] for e in entries if e in self.listed and host_matches(e, host)]
        return frozenset().union(*found)


def _backend(
    graph: Graph,
    hosts: _Hosts,
    tenant: TenantNode,
    contract: ContractNode,
    environment: EnvironmentName,
    url: str,
    report: Report,
) -> None:
    spec = graph.platform.spec
    declared = spec.environments.get(environment)
    development = declared is not None and declared.development

    def where(words: str = url) -> Span:
        return contract.origin.document.find(("spec", "backend", "urls", environment), words)

    found = endpoint(url)
    if found is None:
        report.add(ADDRESS, where(), f"`{url[:80]}` names no host and port that every reader takes alike")
        return
    scheme, host = found
    if development and is_loopback_host(host):
        return
    address = literal_address(host)
    if address is not None or is_cluster_name(host):
        said = "a name that only a cluster or a machine knows"
        if address is not None:
            said = "an address" if str(address) == host else f"the address {address}"
        report.add(ADDRESS, where(host), f"`{host}` is {said}")
        return
    named = hosts.named_for(host)
    if tenant.name not in named and named <= hosts.tenants:  # Else a name is misspelt there.
        report.add(HOST_NOT_ALLOWED, where(host), f"`{host}` is not listed for `{tenant.name}`")
    if scheme != "https" and not development:
        report.add(PLAIN_HTTP, where("http:"), f"`{environment}` is reached by plain http")
