"""Rules on backends: on an allowed host, by name, over TLS, and never where the platform itself lives."""

from stoa_compiler.checks.addresses import endpoint, host_matches, is_cluster_name, is_loopback_host, literal_address
from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.graph import ContractNode, Graph, TenantNode
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
    for tenant in graph.tenants:
        for contract in tenant.contracts:
            for environment, url in contract.declared.spec.backend.urls.items():
                _backend(graph, tenant, contract, environment, url, report)


def _backend(
    graph: Graph, tenant: TenantNode, contract: ContractNode, environment: EnvironmentName, url: str, report: Report
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
    named = {t for a in spec.backends.allowed_hosts if host_matches(a.host, host) for t in a.tenants}
    if tenant.name not in named and named <= {t.name for t in graph.tenants}:  # Else a name is misspelt there.
        report.add(HOST_NOT_ALLOWED, where(host), f"`{host}` is not listed for `{tenant.name}`")
    if scheme != "https" and not development:
        report.add(PLAIN_HTTP, where("http:"), f"`{environment}` is reached by plain http")
