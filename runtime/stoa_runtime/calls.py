"""One call from the caller to the answer: the order of the checks, in one place."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from stoa_runtime import answers, arguments, requests, results
from stoa_runtime.access import BUNDLE_KEY, Access, AnyTool, View
from stoa_runtime.approvals import Approvals, ApprovalsUnavailable, DecisionRefused, Refused, Retry
from stoa_runtime.approvals import Call as CallToApprove
from stoa_runtime.approvals.asking import input_required
from stoa_runtime.approvals.records import Approval
from stoa_runtime.audit import Audit, AuditUnavailable, Event, arguments_digest
from stoa_runtime.backends import BackendFailed, Backends
from stoa_runtime.bundles import PreparedTool, Snapshot
from stoa_runtime.limits import ADMITTED, Admission, LimitReached, LimitRules, Store
from stoa_runtime.platform_tools import Asked, NotFound, PlatformTool
from stoa_runtime.principals import Principal
from stoa_runtime.tracing import Trace

TRACE_KEY = "dev.gostoa/trace-id"

_OF_REQUESTS = frozenset({"rate-tenant", "limits-unavailable"})
"""Limits that refuse a request before anybody looks at what it asks for."""
_NO_APPROVALS = "Approvals cannot be read or kept at the moment, so nothing was done. Try again later."
_UNKNOWN = "Unknown tool: there is none of this name among those that tools/list gives you."


class Caller(NamedTuple):
    """Who makes a request, and the snapshot that the whole request is answered from."""

    principal: Principal
    snapshot: Snapshot
    access: Access
    backends: Backends
    limits: LimitRules
    traceparent: str | None
    """The request's header."""
    view: View
    """What the principal sees."""


class Call(NamedTuple):
    """What a caller asks for."""

    name: str
    """The tool's wire name, as the caller gave it."""
    arguments: Mapping[str, Any]
    trace: Trace
    protocol: str
    """The protocol's version that the client speaks."""
    legacy: bool
    """Whether that is 2025-11-25 or older."""
    retry: Retry = Retry()
    """What it sends along of an earlier answer."""


class UnknownTool(Exception):
    """There is no such tool for this caller: one that is hidden and one that is missing read alike."""


class RequestRefused(Exception):
    """The rate of the caller's tenant is used up: it is the request that is refused, whatever it asks for."""

    def __init__(self, reached: LimitReached) -> None:
        super().__init__(reached.text)
        self.reached = reached


class StateInvalid(Exception):
    """The `requestState` that came with the call is none that belongs to it; the message is for the client."""


class _Outcome(NamedTuple):
    """What a call came to."""

    result: results.Result
    decision: answers.Decision
    rule: str
    status: int | None = None
    deviates: bool = False
    approval: str | None = None
    """The id of the approval that was asked for, used or decided."""
    approver: str | None = None
    """The subject of the person who approved the call."""
    limit: str | None = None
    """The limit that was reached."""


_INTERRUPTED = _Outcome(results.failure("The call was interrupted."), "failed", "interrupted")


class Calls:
    """Answers tools/call."""

    def __init__(self, audit: Audit, approvals: Approvals, limits: Store) -> None:
        self._audit = audit
        self._approvals = approvals
        self._limits = limits

    async def call(self, caller: Caller, call: Call, *, charged: bool = True) -> results.Result:
        """The result of one call; `UnknownTool` where there is no such tool for this caller; `StateInvalid`.

        Where the request is not `charged` to its tenant yet, it is charged together with the call: `RequestRefused`.
        """
        began = time.perf_counter()
        tool = caller.view.tools.get(call.name)
        outcome, admission, recorded = _INTERRUPTED, ADMITTED, True
        digest = arguments_digest(call.arguments)
        try:
            admission = await self._admitted(caller, tool, charged)
            if tool is None:
                outcome = _UNSEEN
            elif await self._can_record(tool):
                outcome = await self._decide(caller, tool, call, digest)
            else:
                outcome = _refused("audit-unavailable", "Nothing was called: calls cannot be recorded at the moment.")
        except LimitReached as reached:
            outcome = _refused("limit", reached.text)._replace(limit=reached.rule)
        except RequestRefused:
            recorded = False  # Whoever knows the request records it.
            raise
        finally:
            # What comes now must happen even where the caller has gone: the slots are given back, the call is recorded.
            try:
                if admission.slots:
                    await self._limits.release(admission)
            finally:
                if recorded:
                    spent = (time.perf_counter() - began) * 1000
                    outcome = self._recorded(caller, call, tool, outcome, digest, spent)
        if outcome.rule != "audit-unavailable":  # That answer says itself that nothing can be recorded.
            try:
                await self._audit.settled()
            except AuditUnavailable:
                outcome = _WITHHELD
        if outcome is _UNSEEN:
            raise UnknownTool(_UNKNOWN)
        if outcome.rule == "approval-state":
            raise StateInvalid(str(outcome.result.content[0]["text"]))
        meta = {**outcome.result.meta, TRACE_KEY: call.trace.trace_id, BUNDLE_KEY: caller.snapshot.digest}
        return outcome.result._replace(meta=meta)

    async def _admitted(self, caller: Caller, tool: AnyTool | None, charged: bool) -> Admission:
        """What the call takes, taken all at once; `LimitReached`, `RequestRefused`."""
        charges, quotas, slots = caller.limits.call_charges(caller.principal, tool, time.time())
        request = () if charged else caller.limits.request_charges(caller.principal)
        try:
            return await self._limits.take((*request, *charges), quotas, slots)
        except LimitReached as reached:
            if not request:
                raise
            if reached.rule in _OF_REQUESTS:
                raise RequestRefused(reached) from None
            try:
                await self._limits.take(request)  # The request counts, though its call is refused.
            except LimitReached as also:
                raise RequestRefused(also) from None
            raise

    async def _can_record(self, tool: AnyTool) -> bool:
        """Whether a call that changes something, or may, can be recorded when it is over."""
        if isinstance(tool, PlatformTool) and not tool.changes:
            return True
        try:
            await self._audit.admitted()
        except AuditUnavailable:
            return False
        return True

    def _recorded(
        self, caller: Caller, call: Call, tool: AnyTool | None, outcome: _Outcome, digest: str, milliseconds: float
    ) -> _Outcome:
        """The outcome, once it is in the audit log; another one where it cannot be."""
        canonical = _canonical(caller, tool, call.name)
        who = caller.principal
        hidden = "tool-not-visible" if canonical else "tool-unknown"
        event = Event(
            decision=outcome.decision,
            rule=hidden if outcome is _UNSEEN else outcome.rule,
            trace_id=call.trace.trace_id,
            bundle=caller.snapshot.digest,
            subject=who.subject,
            tenant=who.tenant,
            client=who.client,
            tool=canonical,
            asked=None if tool else call.name,
            arguments=digest,
            backend_status=outcome.status,
            answer_deviates=outcome.deviates,
            duration_ms=milliseconds,
            actors=who.actors,
            approval=outcome.approval,
            approver=outcome.approver,
            limit=outcome.limit,
            protocol=call.protocol,
            traceparent=call.trace.traceparent,
            parent=call.trace.parent,
        )
        try:
            self._audit.write(event)
        except AuditUnavailable:
            if outcome.rule != "audit-unavailable":
                return _WITHHELD
        return outcome

    async def _decide(self, caller: Caller, tool: AnyTool, call: Call, digest: str) -> _Outcome:
        """Arguments, approval, backend, answer: the first check that fails decides."""
        given = call.arguments
        schema = tool.declared.input_schema if isinstance(tool, PreparedTool) else tool.input_schema
        wrong = arguments.problems(tool.input, tool.known, schema, given)
        if wrong:
            return _refused("arguments", "The arguments do not fit, and nothing was called.\n" + _bullets(wrong))
        if isinstance(tool, PlatformTool):
            return await self._told(caller, tool, given)
        try:
            outgoing = requests.build(tool.declared.request, given, tool.template)
        except requests.ArgumentRefused as refused:
            return _refused(
                "arguments", "The arguments do not fit, and nothing was called.\n" + _bullets([str(refused)])
            )
        approved: Approval | None = None
        if tool.declared.approval:
            try:
                caller.backends.check(tool.tenant, tool.contract)  # An approval is good once: not for a call like this.
                admission = await self._approvals.admit(
                    CallToApprove(caller.principal, caller.snapshot, tool, given, digest), call.retry
                )
            except BackendFailed as failed:
                return _Outcome(results.failure(str(failed)), "failed", failed.rule, failed.status)
            except ApprovalsUnavailable:
                return _refused("approvals-unavailable", _NO_APPROVALS)
            if isinstance(admission, Refused):
                return _unapproved(admission)
            approved = admission.approval
        try:
            reply = await caller.backends.send(
                tool.tenant, tool.contract, outgoing, tool.declared.answer, call.trace.traceparent
            )
        except BackendFailed as failed:
            outcome = _Outcome(results.failure(str(failed)), "failed", failed.rule, failed.status)
        else:
            shaped = answers.shaped(tool, reply, legacy=call.legacy)
            outcome = _Outcome(shaped.result, shaped.decision, shaped.rule, reply.status, shaped.deviates)
        if approved is not None and approved.decision is not None:
            outcome = outcome._replace(approval=approved.id, approver=approved.decision.subject)
        return outcome

    async def _told(self, caller: Caller, tool: PlatformTool, given: Mapping[str, Any]) -> _Outcome:
        visible = {name: seen for name, seen in caller.view.tools.items() if isinstance(seen, PreparedTool)}
        try:
            told = await tool.told(Asked(caller.snapshot, caller.principal, visible, given, self._approvals))
        except NotFound as missing:
            return _refused("not-found", str(missing))
        except DecisionRefused as refused:
            return _refused(refused.rule, str(refused))._replace(approval=refused.approval)
        except ApprovalsUnavailable:
            return _refused("approvals-unavailable", _NO_APPROVALS)
        return _Outcome(results.valued(told.value), "allowed", told.rule, approval=told.approval)


def _canonical(caller: Caller, tool: AnyTool | None, name: str) -> str | None:
    """The tool's canonical id, for the log: also of a tool that exists and is not this caller's."""
    if isinstance(tool, PlatformTool):
        return tool.name
    if tool is not None:
        return tool.declared.id
    return caller.snapshot.tool_id(name)


def _refused(rule: str, text: str) -> _Outcome:
    return _Outcome(results.failure(text), "refused", rule)


_UNSEEN = _refused("tool-unknown", _UNKNOWN)
_WITHHELD = _refused("audit-unavailable", "The call cannot be recorded, so its answer is withheld.")


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _unapproved(refused: Refused) -> _Outcome:
    """The refusal of a call that is not approved; its text is for all clients, its question for those that can ask."""
    result = results.failure(refused.text)._replace(question=input_required(refused))
    return _Outcome(result, "refused", refused.rule, approval=refused.approval.id if refused.approval else None)
