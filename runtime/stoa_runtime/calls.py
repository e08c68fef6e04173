"""One call from the caller to the answer: the order of the checks, in one place."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import mcp_types
from mcp.shared.exceptions import MCPError

from stoa_runtime import answers, arguments, requests, results
from stoa_runtime.access import BUNDLE_KEY, Access, AnyTool
from stoa_runtime.audit import Audit, AuditUnavailable, Event, arguments_digest
from stoa_runtime.backends import BackendFailed, Backends
from stoa_runtime.bundles import PreparedTool, Snapshot
from stoa_runtime.platform_tools import Asked, NotFound, PlatformTool
from stoa_runtime.principals import Principal
from stoa_runtime.tracing import Trace

TRACE_KEY = "dev.gostoa/trace-id"

_UNKNOWN = "Unknown tool: there is none of this name among those that tools/list gives you."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, and the snapshot that the whole request is answered from."""

    principal: Principal
    snapshot: Snapshot
    access: Access
    backends: Backends
    traceparent: str | None
    """The request's header."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a call came to."""

    result: results.Result
    decision: answers.Decision
    rule: str
    status: int | None = None
    deviates: bool = False


class Calls:
    """Answers tools/call."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def call(
        self, caller: Caller, name: str, given: Mapping[str, Any], trace: Trace, *, legacy: bool
    ) -> mcp_types.CallToolResult:
        """The result of one call; `MCPError` for a tool that does not exist for this caller."""
        began = time.perf_counter()
        tool = caller.access.view(caller.principal).tools.get(name)
        event = Event(
            decision="failed",
            rule="interrupted",
            trace_id=trace.trace_id,
            bundle=caller.snapshot.digest,
            subject=caller.principal.subject,
            tenant=caller.principal.tenant,
            client=caller.principal.client,
            tool=_canonical(caller, tool, name),
            asked=None if tool else name,
            arguments=arguments_digest(given),
        )
        outcome: _Outcome | None = None
        try:
            if tool is None:
                event = replace(event, decision="refused", rule="tool-not-visible" if event.tool else "tool-unknown")
                raise MCPError(mcp_types.INVALID_PARAMS, _UNKNOWN)
            if not self._audit.works and isinstance(tool, PreparedTool):
                outcome = _refused("audit-unavailable", "Nothing was called: calls cannot be recorded at the moment.")
            else:
                outcome = await self._decide(caller, tool, given, trace, legacy)
            event = replace(
                event,
                decision=outcome.decision,
                rule=outcome.rule,
                backend_status=outcome.status,
                answer_deviates=outcome.deviates,
            )
        finally:
            try:
                self._audit.write(replace(event, duration_ms=(time.perf_counter() - began) * 1000))
            except AuditUnavailable:
                if outcome is None or outcome.rule != "audit-unavailable":
                    outcome = _refused("audit-unavailable", "The call cannot be recorded, so its answer is withheld.")
        meta = {**outcome.result.meta, TRACE_KEY: trace.trace_id, BUNDLE_KEY: caller.snapshot.digest}
        return results.as_sdk(replace(outcome.result, meta=meta))

    async def _decide(
        self, caller: Caller, tool: AnyTool, given: Mapping[str, Any], trace: Trace, legacy: bool
    ) -> _Outcome:
        """Arguments, approval, backend, answer: the first check that fails decides."""
        schema = tool.declared.input_schema if isinstance(tool, PreparedTool) else tool.input_schema
        wrong = arguments.problems(tool.input, tool.known, schema, given)
        if wrong:
            return _refused("arguments", "The arguments do not fit, and nothing was called.\n" + _bullets(wrong))
        if isinstance(tool, PlatformTool):
            return _from_bundle(caller, tool, given)
        try:
            outgoing = requests.build(tool.declared.request, given)
        except requests.ArgumentRefused as refused:
            return _refused(
                "arguments", "The arguments do not fit, and nothing was called.\n" + _bullets([str(refused)])
            )
        if tool.declared.approval:
            return _refused(
                "approval",
                f"`{tool.declared.id}` needs the approval of a second person for each call, and there is none for"
                " this one. Nothing was called. Ask someone whose role may decide approvals.",
            )
        try:
            reply = await caller.backends.send(
                tool.tenant, tool.contract, outgoing, tool.declared.answer, trace.traceparent
            )
        except BackendFailed as failed:
            return _Outcome(results.failure(str(failed)), "failed", failed.rule, failed.status)
        shaped = answers.shaped(tool, reply, legacy=legacy)
        return _Outcome(shaped.result, shaped.decision, shaped.rule, reply.status, shaped.deviates)


def _canonical(caller: Caller, tool: AnyTool | None, name: str) -> str | None:
    """The tool's canonical id, for the log: also of a tool that exists and is not this caller's."""
    if isinstance(tool, PlatformTool):
        return tool.name
    if tool is not None:
        return tool.declared.id
    tenant = caller.snapshot.tenants.get(name.partition("_")[0])
    hidden = tenant.tools.get(name) if tenant else None
    return hidden.declared.id if hidden else None


def _refused(rule: str, text: str) -> _Outcome:
    return _Outcome(results.failure(text), "refused", rule)


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _from_bundle(caller: Caller, tool: PlatformTool, given: Mapping[str, Any]) -> _Outcome:
    visible = {
        name: seen
        for name, seen in caller.access.view(caller.principal).tools.items()
        if isinstance(seen, PreparedTool)
    }
    try:
        value = tool.answer(Asked(caller.snapshot, caller.principal, visible, given))
    except NotFound as missing:
        return _refused("not-found", str(missing))
    return _Outcome(results.valued(value), "allowed", "permission")
