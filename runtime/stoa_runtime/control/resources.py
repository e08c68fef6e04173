"""What the API shows: each resource a function of the bundle, the caller and the query, and the table of them all.

Another tenant's things are looked up in the caller's own tenants, like everything else, and so are not found there.
Tools come from the one table that tools/list and tools/call read: a tool that the caller may not call is in no
answer but that of `/access`, whose permission is there for that.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel

from stoa_runtime.approvals import Approvals, ApprovalsUnavailable, DecisionRefused, Listed, NoApproval, Verdict
from stoa_runtime.approvals import Shown as ShownApproval
from stoa_runtime.backends import State
from stoa_runtime.bundles import PreparedTool, Snapshot, Tenant
from stoa_runtime.calls import Caller
from stoa_runtime.control import paging, problems
from stoa_runtime.control.paging import Row
from stoa_runtime.control.queries import Filter, Query
from stoa_runtime.principals import Principal
from stoa_schemas import bundle, control, names
from stoa_schemas.base import ToolPattern, pattern_of
from stoa_schemas.control import Shown
from stoa_schemas.documents.access import Permission, SideEffects

_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose caller holds the resource's permission and whose query is sound."""

    caller: Caller
    path: Mapping[str, str]
    """The values in the path, by name."""
    query: Query = field(default_factory=Query)
    approvals: Approvals | None = None
    """Where approvals are kept; None where they are not."""

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self.caller.principal

    @property
    def snapshot(self) -> Snapshot:
        """The bundle that the answer comes from."""
        return self.caller.snapshot

    def tenants(self) -> list[str]:
        """The names of the tenants that the caller may look at. No catalog is read for it."""
        return sorted(self.snapshot.tenants) if self.principal.is_platform else [self.principal.tenant]

    def tenant(self) -> tuple[str, Tenant]:
        """The tenant that the path names."""
        name = self.path["tenant"]
        if name not in self.tenants():
            raise problems.not_found()
        return name, self.snapshot.tenants[name]

    def filtered(self) -> Iterable[tuple[str, Tenant]]:
        """The tenants that the filter `tenant` takes."""
        return ((name, self.snapshot.tenants[name]) for name in self.tenants() if self.query.takes("tenant", name))

    def visible(self) -> list[PreparedTool]:
        """The tenants' tools that the caller may call."""
        view = self.caller.access.view(self.principal)
        return [tool for tool in view.tools.values() if isinstance(tool, PreparedTool)]


@dataclass(frozen=True, slots=True)
class One:
    """How a single thing is answered, at once or once it is there."""

    model: type[BaseModel]
    answer: Callable[[Asked], BaseModel | Awaitable[BaseModel]]


@dataclass(frozen=True, slots=True)
class Many:
    """How a list is answered, a page at a time."""

    model: type[control.Page]
    rows: Callable[[Asked], Iterable[Row]]
    whole: Callable[[Asked, list[Shown], str | None], control.Page] | None = None
    """Makes the page where it holds more than its items."""

    def page(self, asked: Asked, kind: str) -> control.Page:
        """The page that the request's window takes."""
        items, following = paging.page(list(self.rows(asked)), asked.query.window, kind)
        if self.whole is not None:
            return self.whole(asked, items, following)
        return self.model.model_validate({"items": items, "next": following})


@dataclass(frozen=True, slots=True)
class Done:
    """What a request came to that changed something."""

    content: BaseModel
    rule: str
    """For the audit log."""
    approval: str


@dataclass(frozen=True, slots=True)
class Act:
    """How a request that changes something is done."""

    body: type[BaseModel]
    """What it sends."""
    model: type[BaseModel]
    perform: Callable[[Asked, Any], Awaitable[Done]]


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API."""

    path: str
    """Below the API's own path, with `{name}` for a segment that varies."""
    name: str
    """Its operation's id, and the first part of its cursors."""
    summary: str
    permission: Permission | None
    """What the caller's roles must hold; None: every caller may ask, a consumer's token too."""
    content: One | Many | Act
    filters: Sequence[Filter] = ()

    @property
    def kind(self) -> str | None:
        """The first part of its cursors; None where it has no pages."""
        return self.name if isinstance(self.content, Many) else None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it takes."""
        return ("POST",) if isinstance(self.content, Act) else ("GET", "HEAD")

    def check(self, principal: Principal) -> None:
        """`Refused` where the caller may not ask for this at all, whatever the path and the query say."""
        if self.permission is None:
            return
        if principal.contracts is not None:
            raise problems.for_people_only()
        if self.permission not in principal.permissions:
            raise problems.insufficient_rights(self.permission)

    def answer(self, asked: Asked) -> BaseModel | Awaitable[BaseModel]:
        """The answer; `Refused` where there is nothing that the caller may see."""
        match self.content:
            case One():
                return self.content.answer(asked)
            case Many():
                return self.content.page(asked, self.name)
            case Act():
                raise TypeError("what changes something is performed, not answered")


def _found(things: Mapping[str, _Thing], name: str) -> _Thing:
    if name not in things:
        raise problems.not_found()
    return things[name]


def _rate(declared: bundle.RateLimit) -> control.Rate:
    return control.Rate(calls=declared.calls, seconds=declared.seconds, concurrency=declared.concurrency)


def _bundle(asked: Asked) -> control.ServedBundle:
    index, signed = asked.snapshot.index, asked.snapshot.signature
    return control.ServedBundle(
        digest=asked.snapshot.digest,
        platform=index.name,
        display_name=index.display_name,
        environment=index.environment,
        development=asked.snapshot.development is not None,
        signature=None
        if signed is None
        else control.Signature(key_id=signed.key_id, sequence=signed.sequence, commit=signed.commit),
    )


def _show_tenant(name: str, tenant: Tenant, tools: int) -> control.Tenant:
    catalog = tenant.catalog
    return control.Tenant(
        name=name,
        display_name=catalog.display_name,
        description=catalog.description,
        tier=catalog.tier,
        contact=catalog.contact,
        rate=_rate(catalog.rate),
        contracts=len(catalog.contracts),
        tools=tools,
    )


def _tenants(asked: Asked) -> Iterable[Row]:
    counted = Counter(tool.tenant for tool in asked.visible())
    for name, tenant in asked.filtered():
        yield Row((name,), partial(_show_tenant, name, tenant, counted[name]))


def _tenant(asked: Asked) -> control.Tenant:
    name, tenant = asked.tenant()
    return _show_tenant(name, tenant, sum(tool.tenant == name for tool in asked.visible()))


def _show_contract(tenant: str, entry: bundle.ContractEntry, tools: int) -> control.Contract:
    return control.Contract(
        tenant=tenant,
        name=entry.name,
        display_name=entry.display_name,
        description=entry.description,
        version=entry.version,
        classification=entry.classification,
        status=entry.status,
        owner=entry.owner,
        tools=tools,
    )


def _contracts(asked: Asked) -> Iterable[Row]:
    name, tenant = asked.tenant()
    counted = Counter((tool.tenant, tool.declared.contract) for tool in asked.visible())
    for entry in tenant.catalog.contracts:
        yield Row((name, entry.name), partial(_show_contract, name, entry, counted[name, entry.name]))


def _contract(asked: Asked) -> control.WholeContract:
    name, tenant = asked.tenant()
    entry = _found(tenant.contracts, asked.path["contract"])
    tools = sum((tool.tenant, tool.declared.contract) == (name, entry.name) for tool in asked.visible())
    rule = entry.backend
    return control.WholeContract(
        **dict(_show_contract(name, entry, tools)),
        policies=list(entry.policies),
        source_digest=entry.source_digest,
        backend=control.Patience(
            connect_ms=rule.connect_ms,
            read_ms=rule.read_ms,
            total_ms=rule.total_ms,
            retries=rule.retries,
            breaker=None
            if rule.breaker is None
            else control.Breaker(failures=rule.breaker.failures, reset_ms=rule.breaker.reset_ms),
        ),
    )


def _show_tool(tool: PreparedTool) -> control.Tool:
    declared = tool.declared
    return control.Tool(
        tenant=tool.tenant,
        contract=declared.contract,
        id=declared.id,
        name=declared.name,
        title=declared.title,
        side_effects=declared.side_effects,
        approval=declared.approval,
        digest=declared.digest,
    )


def _tools(asked: Asked) -> Iterable[Row]:
    name, tenant = asked.tenant()
    contract = asked.path.get("contract")
    if contract is not None:
        _found(tenant.contracts, contract)
    for tool in asked.visible():
        if tool.tenant == name and contract in (None, tool.declared.contract):
            yield Row((name, tool.declared.name), partial(_show_tool, tool))


def _tool(asked: Asked) -> control.WholeTool:
    name, _ = asked.tenant()
    tool = _found({t.declared.name: t for t in asked.visible() if t.tenant == name}, asked.path["tool"])
    declared = tool.declared
    return control.WholeTool(
        **dict(_show_tool(tool)),
        description=declared.description,
        input_schema=declared.input_schema,
        output_schema=declared.output_schema,
        annotations=declared.annotations,
        rate=_rate(declared.rate),
        answer_check=declared.answer.check,
    )


def _show_consumer(tenant: str, entry: bundle.ConsumerEntry) -> control.Consumer:
    return control.Consumer(
        tenant=tenant,
        client_id=entry.client_id,
        display_name=entry.display_name,
        actors=list(entry.actors),
        subscriptions=[
            control.Subscription(name=s.name, contract=s.contract, plan=s.plan, expires=s.expires)
            for s in entry.subscriptions
        ],
    )


def _consumers(asked: Asked) -> Iterable[Row]:
    name, tenant = asked.tenant()
    for entry in tenant.catalog.consumers:
        yield Row((name, entry.client_id), partial(_show_consumer, name, entry))


def _consumer(asked: Asked) -> control.Consumer:
    name, tenant = asked.tenant()
    return _show_consumer(name, _found({c.client_id: c for c in tenant.catalog.consumers}, asked.path["client"]))


def _show_plan(tenant: str, name: str, entry: bundle.PlanEntry) -> control.Plan:
    return control.Plan(
        tenant=tenant,
        name=name,
        rate=_rate(entry.rate),
        burst=entry.burst,
        quota_calls=entry.quota_calls,
        quota_per=entry.quota_per,
    )


def _plans(asked: Asked) -> Iterable[Row]:
    tenant_name, tenant = asked.tenant()
    for name, entry in tenant.catalog.plans.items():
        yield Row((tenant_name, name), partial(_show_plan, tenant_name, name, entry))


def _plan(asked: Asked) -> control.Plan:
    tenant_name, tenant = asked.tenant()
    return _show_plan(tenant_name, asked.path["plan"], _found(tenant.catalog.plans, asked.path["plan"]))


def _show_grant(tool: PreparedTool, role: str, scope: str) -> control.Grant:
    declared = tool.declared
    return control.Grant.model_validate(
        {
            "tenant": tool.tenant,
            "role": role,
            "scope": scope,
            "tool": declared.id,
            "name": declared.name,
            "side_effects": declared.side_effects,
            "approval": declared.approval,
        }
    )


def _access(asked: Asked) -> Iterable[Row]:
    """Every pair of the tenants that the caller sees, also of tools that it may not call: it is for reviewing."""
    roles = asked.snapshot.index.roles
    for name, tenant in asked.filtered():
        for role, granted in tenant.access.items():
            if not asked.query.takes("role", role):
                continue
            for wire in granted:
                tool = tenant.tools[wire]
                if asked.query.takes("tool", tool.declared.id):
                    yield Row((name, tool.declared.id, role), partial(_show_grant, tool, role, roles[role].scope))


def _own_tools(asked: Asked) -> Iterable[Row]:
    for name, tool in asked.caller.access.view(asked.principal).tools.items():
        if isinstance(tool, PreparedTool):
            declared = tool.declared
            shown = partial(
                control.OwnTool,
                id=declared.id,
                name=name,
                title=declared.title,
                side_effects=declared.side_effects,
                approval=declared.approval,
            )
        else:
            effects: SideEffects = "write" if tool.changes else "read"
            shown = partial(control.OwnTool, id=name, name=name, title=tool.title, side_effects=effects, approval=False)
        yield Row((name,), shown)


def _own_access(asked: Asked, items: list[Shown], following: str | None) -> control.OwnAccess:
    who = asked.principal
    return control.OwnAccess.model_validate(
        {
            "subject": who.subject,
            "tenant": who.tenant,
            "client": who.client,
            "roles": sorted(who.roles),
            "permissions": sorted(who.permissions),
            "contracts": None if who.contracts is None else sorted(who.contracts),
            "items": items,
            "next": following,
        }
    )


def _show_backend(tenant: str, entry: bundle.ContractEntry, state: State | None) -> control.Backend:
    return control.Backend(
        tenant=tenant,
        contract=entry.name,
        circuit=None if entry.backend.breaker is None else _circuit(entry.backend.breaker, state),
        failures_in_row=state.failures if state else 0,
        in_flight=state.in_flight if state else 0,
        last_status=state.status if state else None,
        last_failure=state.failure if state else None,
    )


def _circuit(breaker: bundle.Breaker, state: State | None) -> control.CircuitState:
    if state is None or state.open_seconds is None:
        return "closed"
    if state.probing or state.open_seconds >= breaker.reset_ms / 1000:
        return "half-open"
    return "open"


def _backends(asked: Asked) -> Iterable[Row]:
    states = asked.caller.backends.states()
    for name, tenant in asked.filtered():
        for entry in tenant.catalog.contracts:
            yield Row((name, entry.name), partial(_show_backend, name, entry, states.get((name, entry.name))))


async def _approvals(asked: Asked) -> Listed:
    """What the caller asked for itself, and, for one who may decide, what waits in its tenants."""
    if asked.approvals is None:
        raise problems.not_found()
    filters = asked.query.filters
    try:
        found = await asked.approvals.listed(
            asked.principal,
            asked.snapshot,
            tenant=filters.get("tenant"),
            waiting=filters.get("waiting", "true") == "true",
        )
    except ApprovalsUnavailable:
        raise problems.unavailable("approvals-unavailable", "Approvals cannot be read at the moment.") from None
    return Listed(approvals=found)


async def _approval(asked: Asked) -> ShownApproval:
    if asked.approvals is None:
        raise problems.not_found()
    try:
        return await asked.approvals.shown(asked.principal, asked.snapshot, asked.path["approval"])
    except NoApproval:
        raise problems.not_found() from None
    except ApprovalsUnavailable:
        raise problems.unavailable("approvals-unavailable", "Approvals cannot be read at the moment.") from None


async def _decided(asked: Asked, verdict: Verdict) -> Done:
    """The decision, as the tool `stoa_approvals_decide` makes it."""
    if asked.approvals is None:
        raise problems.not_found()
    approve = verdict.decision == "approve"
    try:
        shown = await asked.approvals.decide(
            asked.principal, asked.snapshot, asked.path["approval"], approve=approve, reason=verdict.reason
        )
    except NoApproval:
        raise problems.not_found() from None
    except DecisionRefused as refused:
        raise problems.conflict(refused.rule, str(refused), refused.approval) from None
    except ApprovalsUnavailable:
        raise problems.unavailable("approvals-unavailable", "Approvals cannot be kept at the moment.") from None
    return Done(shown, "approval-granted" if approve else "approval-refused", shown.id)


_TENANT = Filter("tenant", "Only of this tenant.", names.ID, "acme")
_ROLE = Filter("role", "Only of this role.", names.ID, "viewer")
_TOOL = Filter(
    "tool",
    "Only this tool, by its canonical id.",
    pattern_of(ToolPattern).replace(r"\*|", ""),
    "acme:billing:get_invoice",
)
_WAITING = Filter("waiting", "`false` shows decided ones too.", "^(true|false)$", "true")

RESOURCES: tuple[Resource, ...] = (
    Resource("/bundle", "bundle", "The bundle that is served", "catalog:read", One(control.ServedBundle, _bundle)),
    Resource("/tenants", "tenants", "The tenants that you see", "catalog:read", Many(control.Tenants, _tenants)),
    Resource("/tenants/{tenant}", "tenant", "One tenant", "catalog:read", One(control.Tenant, _tenant)),
    Resource(
        "/tenants/{tenant}/contracts",
        "contracts",
        "A tenant's API contracts",
        "catalog:read",
        Many(control.Contracts, _contracts),
    ),
    Resource(
        "/tenants/{tenant}/contracts/{contract}",
        "contract",
        "One API contract",
        "catalog:read",
        One(control.WholeContract, _contract),
    ),
    Resource(
        "/tenants/{tenant}/contracts/{contract}/tools",
        "contract-tools",
        "The tools of an API contract that you may call",
        "catalog:read",
        Many(control.Tools, _tools),
    ),
    Resource(
        "/tenants/{tenant}/tools",
        "tools",
        "A tenant's tools that you may call",
        "catalog:read",
        Many(control.Tools, _tools),
    ),
    Resource(
        "/tenants/{tenant}/tools/{tool}",
        "tool",
        "One tool, by its wire name, with its schemas",
        "catalog:read",
        One(control.WholeTool, _tool),
    ),
    Resource(
        "/tenants/{tenant}/consumers",
        "consumers",
        "A tenant's consumers and their subscriptions",
        "catalog:read",
        Many(control.Consumers, _consumers),
    ),
    Resource(
        "/tenants/{tenant}/consumers/{client}",
        "consumer",
        "One consumer, by its OAuth client id",
        "catalog:read",
        One(control.Consumer, _consumer),
    ),
    Resource(
        "/tenants/{tenant}/plans",
        "plans",
        "A tenant's plans",
        "catalog:read",
        Many(control.Plans, _plans),
    ),
    Resource("/tenants/{tenant}/plans/{plan}", "plan", "One plan", "catalog:read", One(control.Plan, _plan)),
    Resource(
        "/access",
        "access",
        "Which role may call which tool, in the tenants that you see",
        "posture:read",
        Many(control.Grants, _access),
        (_TENANT, _ROLE, _TOOL),
    ),
    Resource(
        "/access/me",
        "own-access",
        "Who you are here, and the tools that you may call",
        None,
        Many(control.OwnAccess, _own_tools, _own_access),
    ),
    Resource(
        "/backends",
        "backends",
        "How the backends do, as the process that answers sees them",
        "posture:read",
        Many(control.Backends, _backends),
        (_TENANT,),
    ),
    Resource(
        "/approvals",
        "approvals",
        "The approvals that you wait for or may decide, newest first, at most 100",
        None,
        One(Listed, _approvals),
        (_TENANT, _WAITING),
    ),
    Resource("/approvals/{approval}", "approval", "One approval", None, One(ShownApproval, _approval)),
    Resource(
        "/approvals/{approval}/decision",
        "decide",
        "Decide another person's call",
        "approvals:decide",
        Act(Verdict, ShownApproval, _decided),
    ),
)
"""Every resource. A path without a varying segment comes before one that it could be taken for."""
