"""Local: the graph of a development environment with its addresses on this machine.

`stoa dev` compiles this graph instead of the declared one, so that what the runtime trusts still comes from
a bundle, and the bundle says what it is: a development one.
"""

from collections.abc import Mapping
from dataclasses import replace

from stoa_compiler.graph import ContractNode, Graph
from stoa_compiler.records import record
from stoa_schemas import bundle
from stoa_schemas.documents.platform import EnvironmentName


@record(slots=False)
class Endpoints:
    """Addresses on loopback."""

    gateway: str
    """Base URL of the runtime."""
    issuer: str
    """URL of the development issuer."""
    backends: str
    """Base URL of the mock backends; each contract's is `<backends>/<tenant>/<contract>`."""


def localise(graph: Graph, environment: EnvironmentName, endpoints: Endpoints) -> Graph:
    """The graph with gateway, issuer and backends of `environment` at `endpoints`, and backends without credentials.

    Of its targets, only what is served here is left.
    """
    spec = graph.platform.spec
    declared = spec.environments[environment]
    if not declared.development:
        raise ValueError(f"`{environment}` is not a development environment")
    local = declared.model_copy(
        update={
            "gateway": endpoints.gateway,
            "issuer": endpoints.issuer,
            "backend_networks": ["127.0.0.0/8"],
            "targets": ["mcp"],
        }
    )
    update = {
        "environments": {**spec.environments, environment: local},
        "identity": spec.identity.model_copy(update={"strategy": "single-realm"}),  # One issuer signs everybody in.
    }
    platform = graph.platform.model_copy(update={"spec": spec.model_copy(update=update)})
    tenants = tuple(
        replace(t, contracts=tuple(_contract(t.name, c, environment, endpoints) for c in t.contracts))
        for t in graph.tenants
    )
    return replace(graph, platform=platform, tenants=tenants)


def _contract(tenant: str, contract: ContractNode, environment: str, endpoints: Endpoints) -> ContractNode:
    backends: Mapping[str, bundle.BackendRule] = {
        name: rule.model_copy(update={"url": f"{endpoints.backends}/{tenant}/{contract.name}", "auth": None})
        if name == environment
        else rule
        for name, rule in contract.backends.items()
    }
    return replace(contract, backends=backends)
