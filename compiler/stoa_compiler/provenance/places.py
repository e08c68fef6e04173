"""The places of the source, found by the names that artifacts use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from ipaddress import ip_network
from typing import Any

from stoa_compiler import openapi
from stoa_compiler.access import matches
from stoa_compiler.graph import ConsumerNode, ContractNode, Graph, OperationNode, PersonNode, PlanNode, TenantNode
from stoa_compiler.provenance.model import Cause, Place
from stoa_compiler.reader import spans
from stoa_compiler.source import Document, SourceFile
from stoa_schemas.documents.access import PERMISSION_FOR, Grant
from stoa_schemas.names import PLATFORM_TENANT

Step = str | int


class Places:
    """Looks places up in one graph, for one environment."""

    def __init__(self, graph: Graph, environment: str, descriptions: Mapping[str, SourceFile]) -> None:
        self.graph = graph
        self.environment = environment
        self._descriptions = descriptions
        self._documents: dict[str, Document] = {}
        self.tenants: Sequence[TenantNode] = graph.tenants_in(environment)

    # The platform's document

    def platform(self, *loc: Step) -> Place:
        """A place below its `spec`."""
        return Place(self.graph.origin.document, ("spec", *loc))

    def platform_key(self, *loc: Step) -> Place:
        """A name below its `spec`."""
        return Place(self.graph.origin.document, ("spec", *loc), "key")

    @property
    def platform_name(self) -> Place:
        """The platform's name."""
        return Place(self.graph.origin.document, ("metadata", "name"))

    def env(self, *loc: Step) -> Place:
        """A place of the environment."""
        return self.platform("environments", self.environment, *loc)

    @property
    def spec(self) -> Any:
        """What the platform declares, as plain values."""
        return self.graph.origin.document.data["spec"]

    @property
    def factor(self) -> Place:
        """The factor of all limits."""
        return self.env("limitFactor")

    @property
    def separate(self) -> bool:
        """Whether each tenant has a realm of its own."""
        return self.graph.platform.spec.identity.strategy == "realm-per-tenant"

    # Tenants

    @cached_property
    def _tenants(self) -> dict[str, TenantNode]:
        return {t.name: t for t in self.tenants}

    def node(self, tenant: str) -> TenantNode:
        """The tenant of that name."""
        return self._tenants[tenant]

    def tenant(self, tenant: str, *loc: Step) -> Place:
        """A place below the tenant's `spec`."""
        return Place(self.node(tenant).origin.document, ("spec", *loc))

    def tenant_key(self, tenant: str, *loc: Step) -> Place:
        """A name below the tenant's `spec`."""
        return Place(self.node(tenant).origin.document, ("spec", *loc), "key")

    def tenant_name(self, tenant: str) -> Iterator[Place]:
        """The tenant's name; the platform's own, `platform`, is a constant."""
        if tenant != PLATFORM_TENANT:
            yield Place(self.node(tenant).origin.document, ("metadata", "name"))

    def display_name(self, tenant: str) -> Place:
        """As people see it."""
        return self.platform("displayName") if tenant == PLATFORM_TENANT else self.tenant(tenant, "displayName")

    def owner(self, tenant: str, *loc: Step) -> Place:
        """A place in the document that declares a tenant's people, or the platform's own."""
        return self.platform(*loc) if tenant == PLATFORM_TENANT else self.tenant(tenant, *loc)

    def declared(self, tenant: str) -> Any:
        """What that document says below `spec`."""
        document = self.graph.origin if tenant == PLATFORM_TENANT else self.node(tenant).origin
        return document.document.data["spec"]

    def tenant_rate(self, tenant: str) -> list[Place]:
        """What says how much the tenant may use."""
        tier = self.node(tenant).declared.spec.tier
        if "rate" in self.declared(tenant).get("quotas", {}):
            return [self.tenant(tenant, "quotas", "rate")]
        return [self.tenant(tenant, "tier"), self.platform("tiers", tier, "maxRate")]

    # People

    @cached_property
    def people(self) -> dict[str, PersonNode]:
        """Everyone by user name."""
        return {p.username: p for p in (*self.graph.people, *(p for t in self.tenants for p in t.people))}

    def person(self, username: str, *loc: Step) -> Place:
        """A place of the person."""
        origin = self.people[username].origin
        return Place(origin.document, (*origin.loc, *loc), "value" if loc else "key")

    def memberships(self, tenant: str, username: str, group: str | None = None, role: str | None = None) -> Cause:
        """Where the person is a member of that group, or of groups that give the role."""
        found = []
        for name, declared in self.declared(tenant).get("groups", {}).items():
            for index, member in enumerate(declared.get("members") or ()):
                fits = name == group if group is not None else role in declared["roles"]
                if member == username and fits:
                    found.append(self.owner(tenant, "groups", name, "members", index))
        return Cause(tuple(found), together=True)

    def given(self, tenant: str, username: str, role: str) -> Cause:
        """Where groups of the person give the role."""
        found = [
            self.owner(tenant, "groups", name, "roles", index)
            for name, declared in self.declared(tenant).get("groups", {}).items()
            if username in (declared.get("members") or ())
            for index, given in enumerate(declared["roles"])
            if given == role
        ]
        return Cause(tuple(found), together=True)

    # Contracts

    def contract(self, tenant: str, name: str) -> ContractNode:
        """The contract."""
        return next(c for c in self.node(tenant).contracts if c.name == name)

    def of(self, node: ContractNode | ConsumerNode | PlanNode, *loc: Step) -> Place:
        """A place below the `spec` of a document."""
        return Place(node.origin.document, ("spec", *loc))

    def name_of(self, node: ContractNode | ConsumerNode | PlanNode) -> Place:
        """A document's name."""
        return Place(node.origin.document, ("metadata", "name"))

    def operation(self, tool: str) -> tuple[ContractNode, OperationNode]:
        """A tool's contract and operation."""
        tenant, contract, name = tool.split(":")
        node = self.contract(tenant, contract)
        return node, next(o for o in node.operations if o.name == name)

    def at(self, operation: OperationNode, *loc: Step) -> Place:
        """A place of an operation."""
        return Place(operation.origin.document, (*operation.origin.loc, *loc), "value" if loc else "key")

    def written(self, operation: OperationNode) -> Any:
        """What the contract writes of an operation."""
        return operation.origin.document.data["spec"]["operations"][operation.name]

    def tool_name(self, tool: str) -> list[Place]:
        """The parts of a tool's id."""
        node, operation = self.operation(tool)
        return [*self.tenant_name(tool.split(":")[0]), self.name_of(node), self.at(operation)]

    def taken(self, tool: str) -> Cause:
        """Where the pinned OpenAPI description describes the operation."""
        node, operation = self.operation(tool)
        assert node.declared.spec.source is not None
        path = f"{tool.split(':')[0]}/{node.declared.spec.source.file}"
        document = self._description(path)
        if document is None:
            return Cause((self.at(operation, "from"),))
        described = openapi.read(document.file.content, path.rpartition("/")[2])
        reference = described.operations[str(operation.declared.from_)]
        loc = tuple(s.replace("~1", "/").replace("~0", "~") for s in reference.pointer.split("/")[1:])
        places = [Place(document, loc)]
        places += [Place(document, (key,)) for key in ("components", "definitions") if key in document.data]
        return Cause((*places, self.at(operation, "from")))

    def _description(self, path: str) -> Document | None:
        if path not in self._documents and path in self._descriptions:
            file = self._descriptions[path]
            data = openapi.read(file.content, path.rpartition("/")[2]).document
            self._documents[path] = Document(file, data, partial(spans, file))
        return self._documents.get(path)

    # Access

    def granting(self, tool: str, role: str) -> list[Place | Cause]:
        """What gives the tool to the role: grants, any of which is enough, and the role's permission."""
        _, operation = self.operation(tool)
        tenant = tool.split(":")[0]
        own = _naming(self.node(tenant).declared.spec.grants, self.node(tenant).origin.document, role, tool)
        found = [*own, *_naming(self.graph.platform.spec.grants, self.graph.origin.document, role, tool)]
        needed = PERMISSION_FOR[operation.declared.side_effects]
        index = self.graph.platform.spec.roles[role].permissions.index(needed)
        return [Cause(tuple(found), together=True), self.platform("roles", role, "permissions", index)]

    # Consumers

    def consumer(self, client_id: str) -> tuple[TenantNode, ConsumerNode] | None:
        """The consumer with that client id, and its tenant."""
        return self._consumers.get(client_id)

    @cached_property
    def _consumers(self) -> dict[str, tuple[TenantNode, ConsumerNode]]:
        return {c.client_id: (t, c) for t in self.tenants for c in t.consumers}

    def client_id(self, client_id: str) -> Iterator[Place]:
        """What an OAuth client is called after."""
        found = self.consumer(client_id)
        if found is not None:
            yield from self.tenant_name(found[0].name)
            yield self.name_of(found[1])
        elif client_id in self.graph.platform.spec.identity.clients:
            yield self.platform_key("identity", "clients", client_id)

    def items(self, place: Place, value: Any) -> Iterator[Place | Cause]:
        """Where a value stands in a list of the source; the list itself where it is empty or left out."""
        node: Any = place.document.data
        for step in place.loc:
            node = node.get(step) if isinstance(node, Mapping) else node[step]
            if node is None:
                break
        found = [Place(place.document, (*place.loc, index)) for index, item in enumerate(node or ()) if item == value]
        yield Cause(tuple(found), together=True) if len(found) > 1 else found[0] if found else place

    # Zones

    def zones_of(self, namespace: str) -> set[str]:
        """The zones that a namespace is in; of a tenant's, that is `tenants`."""
        if any(namespace == self.namespace(t.name) for t in self.tenants):
            return {"tenants"}
        return {n for n, z in self.spec["zones"].items() if namespace in z.get("namespaces", ())}

    def namespace(self, tenant: str) -> str:
        """A tenant's namespace."""
        return f"{self.graph.name}-{tenant}-{self.environment}"

    def namespace_names(self, namespace: str) -> list[Place | Cause]:
        """What a namespace is called after: a tenant, or whoever names it in a zone."""
        for tenant in self.tenants:
            if namespace == self.namespace(tenant.name):
                return [self.platform_name, *self.tenant_name(tenant.name)]
        found: list[Place | Cause] = []
        for zone in sorted(self.zones_of(namespace)):
            found += self.items(self.platform("zones", zone, "namespaces"), namespace)
        places = [p for f in found for p in (f.places if isinstance(f, Cause) else (f,))]
        return [Cause(tuple(places), together=True)] if places else []

    def flows(self, wanted: Iterable[tuple[str, str]], port: int) -> Cause:
        """The flows between zones that open a port; each of them is enough."""
        pairs = set(wanted)
        found = [
            self.platform("flows", index, "port")
            for index, flow in enumerate(self.graph.platform.spec.flows)
            if (flow.from_, flow.to) in pairs and flow.port == port
        ]
        return Cause(tuple(found), together=True)

    def ranges(self, listed: Place, cidr: str) -> list[Place | Cause]:
        """Where a list of address ranges has one, however it is written there."""
        node: Any = listed.document.data
        for step in listed.loc:
            node = node[step]
        same = [i for i, c in enumerate(node) if ip_network(c, strict=False) == ip_network(cidr)]
        return [Cause(tuple(Place(listed.document, (*listed.loc, i)) for i in same), together=True)]


def _naming(grants: Sequence[Grant], document: Document, role: str, tool: str) -> list[Place]:
    return [
        Place(document, ("spec", "grants", index, "tools", at))
        for index, grant in enumerate(grants)
        if grant.role == role and grant.effect == "allow"
        for at, pattern in enumerate(grant.tools)
        if matches(pattern, tool)
    ]
