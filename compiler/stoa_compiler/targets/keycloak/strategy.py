"""The realms of an environment: one for all tenants, or one for each and one for the platform's own people."""

from collections.abc import Sequence
from dataclasses import replace

from stoa_compiler.graph import Graph, TenantNode
from stoa_compiler.records import record


@record
class RealmPart:
    """What one realm holds."""

    graph: Graph
    """The graph cut to it: its tenants, people and roles, its name and its issuer."""
    platform: bool
    """Whether the platform's own people are in it."""

    @property
    def name(self) -> str:
        """The realm's name."""
        return self.graph.platform.spec.identity.realm

    @property
    def path(self) -> str:
        """Where its file is in the bundle."""
        return f"keycloak/{self.name}-realm.json"


def parts(graph: Graph, environment: str) -> Sequence[RealmPart]:
    """What each realm of the environment holds, by the path of its file."""
    if graph.platform.spec.identity.strategy == "single-realm":
        return [RealmPart(graph, True)]
    tenants = [realm_of(graph, environment, tenant) for tenant in graph.tenants_in(environment)]
    return sorted([platforms(graph, environment), *tenants], key=lambda p: p.path)


def platforms(graph: Graph, environment: str) -> RealmPart:
    """The realm of the platform's own people: with a realm for each tenant it holds nobody else."""
    if graph.platform.spec.identity.strategy == "single-realm":
        return RealmPart(replace(graph, tenants=()), True)
    return RealmPart(replace(_cut(graph, environment, "", "platform"), tenants=()), True)


def realm_of(graph: Graph, environment: str, tenant: TenantNode) -> RealmPart:
    """The tenant's own realm."""
    cut = _cut(graph, environment, tenant.name, "tenant")
    access = {role: tools for role, tools in tenant.access.items() if role in cut.platform.spec.roles}
    own_tenant = replace(tenant, access=access)
    return RealmPart(replace(cut, tenants=(own_tenant,), people=(), groups=()), False)


def path_of(graph: Graph, tenant: str) -> str:
    """Where a tenant's own realm is in the bundle."""
    return f"keycloak/{graph.platform.spec.identity.realm}-{tenant}-realm.json"


def _cut(graph: Graph, environment: str, tenant: str, scope: str) -> Graph:
    """The graph with the realm and the issuer of a tenant, or of the platform; and the roles that can be held there."""
    spec = graph.platform.spec
    name = f"{spec.identity.realm}-{tenant}" if tenant else spec.identity.realm
    declared = graph.environment(environment).model_copy(update={"issuer": graph.issuer(environment, tenant)})
    update = {
        "identity": spec.identity.model_copy(update={"realm": name}),
        "roles": {n: r for n, r in spec.roles.items() if r.scope == scope},
        "environments": {n: declared if n == environment else e for n, e in spec.environments.items()},
    }
    return replace(graph, platform=graph.platform.model_copy(update={"spec": spec.model_copy(update=update)}))
