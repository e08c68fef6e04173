"""One pair of somebody and a tool: everything that decides a call, with its place, and the verdict."""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import field

import orjson

from stoa_compiler.graph import ConsumerNode, ContractNode, Graph, OperationNode, PersonNode, TenantNode
from stoa_compiler.matrix.build import OWN_ACCOUNT, active, counted_roles
from stoa_compiler.matrix.forms import Style, reason_json, reason_lines
from stoa_compiler.matrix.platform import PLATFORM_TOOLS
from stoa_compiler.matrix.reasons import NO_ROLE, Reason, Reasons, allows
from stoa_compiler.records import record
from stoa_compiler.reports.terminal import visible, wrapped
from stoa_compiler.source import Document, Loc
from stoa_schemas.names import PLATFORM_TENANT

VERSION = "gostoa.dev/decision/v1"


@record
class Decision:
    """What becomes of a call."""

    who: str
    tool: str
    environment: str | None
    allowed: bool
    approval: bool
    roles: Sequence[tuple[str, Sequence[Reason]]]
    """By each role that counts: what speaks for the call and against it."""
    about: Sequence[Reason] = field(default_factory=tuple)
    """What holds whatever the role."""
    facts: Sequence[Reason] = field(default_factory=tuple)
    """Classification, approval, limits."""

    @property
    def verdict(self) -> str:
        """In one line."""
        if not self.allowed:
            return f"refused: `{self.tool}` does not exist for this caller"
        return f"allowed{', once a second person has approved the call' if self.approval else ''}"


@record(slots=False)
class Deciding:
    """Answers for one graph and one environment."""

    graph: Graph
    environment: str | None = None
    on: datetime.date | None = None

    def person(self, person: PersonNode, tool: str) -> Decision:
        """For a person who signs in with one of the platform's own clients."""
        answers = Reasons(self.graph).person(person, tool)
        who = f"{person.username} ({person.first_name} {person.last_name}) of `{person.tenant}`"
        missing = [] if answers else [self._without_roles(person)]
        return self._decided(who, tool, answers, [*missing, *self._home(person.tenant)], None)

    def role(self, role: str, tool: str) -> Decision:
        """For whoever holds the role: of the tool's tenant, or of the platform."""
        answers = [(role, Reasons(self.graph).role(role, tool))]
        return self._decided(f"holders of `{role}`", tool, answers, [], None)

    def consumer(self, tenant: TenantNode, consumer: ConsumerNode, tool: str, role: str | None) -> Decision:
        """For an application: by its own account, and where people sign in, by their roles; or by one role alone."""
        spec = consumer.declared.spec
        roles = list(spec.roles) if "client_credentials" in spec.grant_types else []
        if "authorization_code" in spec.grant_types:
            roles += counted_roles(self.graph, self.graph.platform.spec.roles, tenant.name)
        acts = OWN_ACCOUNT if "authorization_code" not in spec.grant_types else "whoever signs in"
        who = f"{consumer.client_id} ({spec.display_name}) by {acts}"
        wanted = roles if role is None else [r for r in roles if r == role]
        answers = Reasons(self.graph).consumer(tenant, consumer, wanted, tool, self.on)
        return self._decided(who, tool, answers, [*self._home(tenant.name)], consumer)

    def _decided(
        self,
        who: str,
        tool: str,
        answers: Sequence[tuple[str, list[Reason]]],
        about: Sequence[Reason],
        consumer: ConsumerNode | None,
    ) -> Decision:
        found = Reasons(self.graph).operation(tool)
        about = [*about, *(self._rendered(found[0]) if found else ())]
        allowed = allows(about) and any(allows(mine) for _, mine in answers)
        facts: list[Reason] = []
        if found is not None:
            facts = [*self._facts(*found), *(self._plans(found[0], consumer, found[1]) if consumer else ())]
        elif tool in PLATFORM_TOOLS:
            facts = [Reason("rate", "fact", "the runtime itself lets one caller use it 120 times a minute", None)]
        approval = found is not None and found[2].approval
        return Decision(who, tool, self.environment, allowed, approval, answers, about, facts)

    def _without_roles(self, person: PersonNode) -> Reason:
        return Reason("no-role", "against", NO_ROLE.text, person.origin.document.span(person.origin.loc, "key"))

    def _home(self, tenant: str) -> Iterator[Reason]:
        """Whether who calls is there at all in the environment."""
        if self.environment is None or tenant == PLATFORM_TENANT:
            return
        node = next(t for t in self.graph.tenants if t.name == tenant)
        yield from self._rendered(node)

    def _rendered(self, tenant: TenantNode) -> Iterator[Reason]:
        environments = tenant.declared.spec.environments
        if self.environment is not None and self.environment not in environments:
            at = tenant.origin.document.span(("spec", "environments"))
            yield Reason("environment", "against", f"`{tenant.name}` is not in `{self.environment}`", at)

    @property
    def _factor(self) -> float:
        return 1.0 if self.environment is None else self.graph.environment(self.environment).limit_factor

    def _facts(self, tenant: TenantNode, contract: ContractNode, operation: OperationNode) -> Iterator[Reason]:
        platform = self.graph.origin.document
        spec, declared = contract.declared.spec, operation.declared
        at, ours = operation.origin.loc, operation.origin.document
        yield _fact("effects", f"side effects: {declared.side_effects}", ours, (*at, "sideEffects"))
        said = f"classification: {spec.classification}"
        demands = f", which demands {', '.join(contract.policies)}" if contract.policies else ""
        yield _fact("classification", said + demands, ours, ("spec", "classification"))
        yield from self._approval(contract, operation)
        if declared.limits is not None:
            yield self._rate("rate", "one caller may call it", operation.rate, ours, (*at, "limits", "rate"))
        else:
            where: Loc = ("spec", "defaults", "operationRate")
            yield self._rate("rate", "one caller may call it", operation.rate, platform, where, "by default")
        classes = ("spec", "classifications", spec.classification, "maxRate")
        cap = self.graph.platform.spec.classifications[spec.classification].max_rate
        yield _fact("cap", f"`{spec.classification}` lets no operation have more than {_words(cap)}", platform, classes)
        if operation.concurrency is not None:
            said = f"{_calls(operation.concurrency)} of it may run at the same time, of all callers"
            yield _fact("concurrency", said, ours, (*at, "limits", "concurrency"))
        if spec.backend.concurrency is not None:
            said = f"{_calls(spec.backend.concurrency)} of `{contract.name}` may run at the same time"
            yield _fact("concurrency", said, ours, ("spec", "backend", "concurrency"))
        every = f"all callers of `{tenant.name}` together may make"
        own = tenant.declared.spec
        if own.quotas.rate is not None:
            yield self._rate("tenant-rate", every, tenant.rate, tenant.origin.document, ("spec", "quotas", "rate"))
        tier = ("spec", "tiers", own.tier, "maxRate")
        most = self.graph.platform.spec.tiers[own.tier].max_rate
        if own.quotas.rate is None:
            yield self._rate("tenant-rate", every, most, platform, tier, f"by its tier `{own.tier}`")
        else:
            yield _fact("tier", f"the tier `{own.tier}` has {_words(most)} at the most", platform, tier)
        if self.environment is not None and self._factor != 1:
            where = ("spec", "environments", self.environment, "limitFactor")
            said = f"`{self.environment}` multiplies every rate and quota by {self._factor:g}"
            yield _fact("factor", said, platform, where)

    def _rate(self, kind: str, lead: str, rate: str, document: Document, loc: Loc, tail: str = "") -> Reason:
        calls, _, span = rate.partition("/")
        there = ""
        if self._factor != 1:
            there = f": {int(calls) * self._factor:g} a {span} in `{self.environment}`"
        return _fact(kind, f"{lead} {_words(rate)}{f' {tail}' if tail else ''}{there}", document, loc)

    def _approval(self, contract: ContractNode, operation: OperationNode) -> Iterator[Reason]:
        platform, effects = self.graph.origin.document, operation.declared.side_effects
        name = contract.declared.spec.classification
        listed = self.graph.platform.spec.classifications[name].approval
        if operation.declared.approval is not None:
            said = "approval: a second person must approve each call" if operation.approval else "approval: none"
            yield _fact("approval", said, operation.origin.document, (*operation.origin.loc, "approval"))
        elif operation.approval:
            where: Loc = ("spec", "classifications", name, "approval")
            where = (
                (*where, listed.index(effects))
                if "approval" in platform.data["spec"]["classifications"][name]
                else where
            )
            said = f"approval: `{name}` demands that a second person approves what is `{effects}`"
            yield _fact("approval", said, platform, where)
        else:
            where = ("spec", "classifications", name, "approval")
            yield _fact("approval", f"approval: `{name}` asks for none where effects are `{effects}`", platform, where)
        if operation.approval:
            expiry = self.graph.platform.spec.defaults.approval_expiry
            yield _fact("approval", f"an approval can be used for {expiry}", platform, _EXPIRY)
            for role, declared in sorted(self.graph.platform.spec.roles.items()):
                if "approvals:decide" in declared.permissions:
                    at = ("spec", "roles", role, "permissions", declared.permissions.index("approvals:decide"))
                    yield _fact("approver", f"another person with `{role}` can give it", platform, at)

    def _plans(self, tenant: TenantNode, consumer: ConsumerNode, contract: ContractNode) -> Iterator[Reason]:
        plans = {p.name: p for p in tenant.plans}
        for subscription in active(consumer, self.on):
            if subscription.declared.spec.contract != contract.name:
                continue
            plan = plans[subscription.declared.spec.plan]
            spec, document = plan.declared.spec, plan.origin.document
            lead = f"the plan `{plan.name}` lets `{subscription.name}` make"
            yield self._rate("plan-rate", lead, spec.rate, document, ("spec", "rate"))
            yield _fact("burst", f"of these, {spec.burst} may come at once", document, ("spec", "burst"))
            if spec.quota is not None:
                calls = spec.quota.calls * self._factor
                said = f"and {calls:,g} in a calendar {spec.quota.per}"
                yield _fact("quota", said, document, ("spec", "quota", "calls"))


_EXPIRY = ("spec", "defaults", "approvalExpiry")


def _fact(kind: str, text: str, document: Document, loc: Loc) -> Reason:
    return Reason(kind, "fact", text, document.span(loc))


def _calls(number: int) -> str:
    return f"{number:,} call{'' if number == 1 else 's'}"


def _words(rate: str) -> str:
    calls, _, span = rate.partition("/")
    return f"{int(calls):,} times a {span}" if calls != "1" else f"once a {span}"


def as_text(decision: Decision, style: Style) -> str:
    """The decision for a terminal: verdict first, then what it rests on."""

    def lines() -> Iterator[str]:
        tone = "1;32" if decision.allowed else "1;31"
        where = f" in {decision.environment}" if decision.environment else ""
        yield from wrapped(visible(f"{decision.who} calls `{decision.tool}`{where}"), "", style.width)
        yield style.paint(tone, visible(decision.verdict))
        if decision.about:
            yield ""
            for reason in decision.about:
                yield from reason_lines(reason, style, "  ")
        for role, reasons in decision.roles:
            yield ""
            yield f"by the role {visible(role)}: {'yes' if allows(reasons) else 'no'}"
            for reason in reasons:
                yield from reason_lines(reason, style, "  ")
        if decision.facts:
            yield ""
            yield "whoever may call it:"
            for reason in decision.facts:
                yield from reason_lines(reason, style, "  ")

    return "\n".join(lines()) + "\n"


def as_json(decision: Decision) -> bytes:
    """The decision as one JSON object, as `schemas/decision.v1.schema.json` says."""
    document = {
        "version": VERSION,
        "who": decision.who,
        "tool": decision.tool,
        "environment": decision.environment,
        "allowed": decision.allowed,
        "approval": decision.approval,
        "verdict": decision.verdict,
        "roles": [
            {"role": role, "allows": allows(reasons), "reasons": [reason_json(r) for r in reasons]}
            for role, reasons in decision.roles
        ],
        "about": [reason_json(r) for r in decision.about],
        "facts": [reason_json(r) for r in decision.facts],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
