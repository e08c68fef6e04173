"""The platform graph: one source with every reference resolved, and the access that its grants give.

Frozen, sorted by name, complete: a target reads this and nothing else.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

from stoa_compiler.records import record
from stoa_compiler.source import Document
from stoa_schemas import calls
from stoa_schemas.documents import (
    Consumer,
    Plan,
    Platform,
    Subscription,
    Tenant,
    UniversalAPIContract,
)
from stoa_schemas.documents.contract import Operation
from stoa_schemas.documents.platform import Environment


@record
class Origin:
    """Where a node was declared: a document, and the path of keys and indexes inside it."""

    document: Document
    loc: tuple[str | int, ...] = ()


@record
class PersonNode:
    """Someone who signs in, with the roles that their groups give."""

    username: str
    first_name: str
    last_name: str
    email: str
    tenant: str
    """The tenant claim: a tenant's name, or `platform`."""
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    origin: Origin


@record
class GroupNode:
    """People who hold the same roles."""

    name: str
    roles: tuple[str, ...]
    members: tuple[str, ...] | None
    """None: membership is not managed here."""
    origin: Origin


@record
class OperationNode:
    """One operation, lowered: what a tool needs, whether it was written here or taken from a source."""

    name: str
    tool_id: str
    wire_name: str
    title: str
    description: str
    declared: Operation
    request: calls.Request
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    """Of what is passed on."""
    backend_schema: Mapping[str, Any] | None
    """Of the backend's own answer, before `answer.fields` leaves out the rest."""
    answer: calls.Answer
    approval: bool
    rate: str
    concurrency: int | None
    examples: tuple[calls.CallExample, ...]
    """As declared, else as the source gives them."""
    answers: tuple[Any, ...]
    """Answers that the source gives without a call, where no example has one."""
    origin: Origin

    @property
    def exposed(self) -> bool:
        """Whether agents can see it at all, given the right role."""
        return self.declared.agents and "mcp" in self.declared.protocols


@record
class ContractNode:
    """A contract with its operations, and the defaults of the platform filled in."""

    name: str
    declared: UniversalAPIContract
    backends: Mapping[str, calls.BackendRule]
    """By environment."""
    operations: tuple[OperationNode, ...]
    policies: tuple[str, ...]
    """What its classification demands."""
    origin: Origin

    @property
    def exposed(self) -> bool:
        """Whether its tools are rendered: a draft is checked only."""
        return self.declared.spec.status != "draft"


@record
class SubscriptionNode:
    """A subscription; consumer, contract and plan exist."""

    name: str
    declared: Subscription
    origin: Origin


@record
class ConsumerNode:
    """An application and what it subscribed to."""

    name: str
    client_id: str
    declared: Consumer
    subscriptions: tuple[SubscriptionNode, ...]
    origin: Origin


@record
class PlanNode:
    """A plan."""

    name: str
    declared: Plan
    origin: Origin


@record
class TenantNode:
    """A tenant and all that is its own."""

    name: str
    declared: Tenant
    people: tuple[PersonNode, ...]
    groups: tuple[GroupNode, ...]
    contracts: tuple[ContractNode, ...]
    consumers: tuple[ConsumerNode, ...]
    plans: tuple[PlanNode, ...]
    access: Mapping[str, tuple[str, ...]]
    """Canonical tool ids by role, platform-wide roles included: what grants and permissions give."""
    rate: str
    """Calls over all tools: its quota, or the tier's cap."""
    origin: Origin

    @property
    def operations(self) -> Sequence[OperationNode]:
        """The operations that are rendered as tools."""
        return [o for c in self.contracts if c.exposed for o in c.operations if o.exposed]


@record
class TenantFacts:
    """What a tenant is judged by beside others, and what others need to know of it."""

    name: str
    display_name: str
    environments: tuple[str, ...]
    secrets: str
    """The prefix of its secrets."""
    people: tuple[tuple[str, str], ...]
    """User name and e-mail address of each, sorted by user name."""
    documents: tuple[tuple[str, str], ...]
    """Kinds and names of its documents."""

    @classmethod
    def of(cls, tenant: TenantNode) -> "TenantFacts":
        """The tenant's."""
        spec = tenant.declared.spec
        contracts = [("UniversalAPIContract", c.name) for c in tenant.contracts]
        applications = [("Consumer", c.name) for c in tenant.consumers]
        subscriptions = [("Subscription", s.name) for c in tenant.consumers for s in c.subscriptions]
        plans = [("Plan", p.name) for p in tenant.plans]
        return cls(
            name=tenant.name,
            display_name=spec.display_name,
            environments=tuple(spec.environments),
            secrets=spec.secrets.prefix,
            people=tuple((p.username, p.email) for p in tenant.people),
            documents=(("Tenant", tenant.name), *contracts, *applications, *subscriptions, *plans),
        )


Nodes = Callable[[Collection[str]], Mapping[str, TenantNode]]
"""Gives tenants by their names."""


class Remembered(Sequence[TenantNode]):
    """Tenants of whom only facts are at hand, sorted by name; their nodes are made when one is asked for."""

    def __init__(self, facts: Sequence[TenantFacts], nodes: Nodes) -> None:
        self.facts = tuple(facts)
        self._nodes = nodes
        self._some: dict[str, TenantNode] = {}

    @cached_property
    def _all(self) -> tuple[TenantNode, ...]:
        self._some.update(self._nodes([f.name for f in self.facts if f.name not in self._some]))
        return tuple(self._some[f.name] for f in self.facts)

    def named(self, name: str) -> TenantNode:
        """The tenant of that name; nobody else's node is made for it."""
        if name not in self._some:
            self._some.update(self._nodes([name]))
        return self._some[name]

    @overload
    def __getitem__(self, index: int) -> TenantNode: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TenantNode]: ...
    def __getitem__(self, index: int | slice) -> TenantNode | Sequence[TenantNode]:
        """Tenants by number."""
        return self._all[index]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.facts)


@record(slots=False)
class Graph:
    """One source with every reference resolved."""

    name: str
    platform: Platform
    people: tuple[PersonNode, ...]
    groups: tuple[GroupNode, ...]
    tenants: Sequence[TenantNode]
    origin: Origin
    known: frozenset[str] = frozenset()
    """Names of all tenants that have documents: also those with mistakes, and those that are left out here."""

    def environment(self, name: str) -> Environment:
        """The declared environment called `name`."""
        return next(e for n, e in self.platform.spec.environments.items() if n == name)

    @cached_property
    def facts(self) -> Sequence[TenantFacts]:
        """What is known of each tenant without its node, sorted by name."""
        tenants = self.tenants
        return tenants.facts if isinstance(tenants, Remembered) else tuple(map(TenantFacts.of, tenants))

    def facts_in(self, environment: str) -> Sequence[TenantFacts]:
        """The same of the tenants that are rendered in `environment`."""
        return [f for f in self.facts if environment in f.environments]

    def tenant(self, name: str) -> TenantNode:
        """The tenant of that name."""
        tenants = self.tenants
        return tenants.named(name) if isinstance(tenants, Remembered) else next(t for t in tenants if t.name == name)

    def issuer(self, environment: str, tenant: str) -> str:
        """Who issues the tokens of a tenant's people and applications; of the platform's own where it is ``.

        With a realm for each tenant, its name is the platform's realm and the tenant's, and so is the issuer's end.
        """
        issuer = self.environment(environment).issuer
        single = self.platform.spec.identity.strategy == "single-realm" or not tenant
        return issuer if single else f"{issuer.rstrip('/')}-{tenant}"

    def tenants_in(self, environment: str) -> Sequence[TenantNode]:
        """The tenants that are rendered in `environment`."""
        return [t for t in self.tenants if environment in t.declared.spec.environments]
