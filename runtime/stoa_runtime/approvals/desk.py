"""The rules of approvals: when a call may go on, who may decide, and the words that each of them gets."""

import datetime
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from stoa_runtime.approvals.records import (
    Approval,
    Binding,
    Decision,
    Entry,
    Requester,
    State,
    Store,
    TooManyPending,
)
from stoa_runtime.approvals.sealing import Sealer, StateRefused, keys
from stoa_runtime.approvals.shown import Decided, Person, Shown
from stoa_runtime.approvals.sqlite import SqliteStore
from stoa_runtime.bundles import PreparedTool, Snapshot
from stoa_runtime.principals import Principal
from stoa_schemas.documents.access import Permission

DECIDE: Permission = "approvals:decide"
"""The permission that lets its holder decide about other people's calls."""
PENDING_CAP = 10
"""Undecided approvals that one person may wait for in one tenant, through whatever clients."""
ARGUMENTS_CAP = 32_768
"""Bytes of arguments that a person can be asked to judge."""
ROUNDS = 3
"""How often a client is asked again for one call before it gets a final answer."""
LIST_CAP = 100
"""Approvals that one list holds."""
REASON_CAP = 500
"""Characters of a decision's reason."""

_AGAIN = "make the same call again, with the same arguments"
_ANEW = "Make the call again without `requestState`, to ask anew."


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool that demands approval; its arguments have been checked."""

    principal: Principal
    snapshot: Snapshot
    tool: PreparedTool
    arguments: Mapping[str, Any]
    digest: str
    """Of the arguments, as the audit log has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """What the client sent along, by the protocol 2026-07-28."""

    can_ask: bool = False
    """Whether it declared that it can ask its user with a form."""
    state: str | None = None
    """Its `requestState`."""
    answer: Literal["accept", "decline", "cancel"] | None = None
    """What its user answered."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The call may go on, once; the approval is used up."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class Refused:
    """The call may not go on; nothing was used up."""

    rule: str
    """The rule that decided, for the audit log."""
    text: str
    """For people and models: what is missing and what to do."""
    approval: Approval | None = None
    state: str | None = None
    """The sealed `requestState`, where the client's user is to be asked and the call to be sent again."""


class NoApproval(Exception):
    """There is no such approval that the caller may see."""


class DecisionRefused(Exception):
    """The decision does not count; the message says why."""

    def __init__(self, rule: str, approval: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule
        self.approval = approval
        """The approval's id."""


class Approvals:
    """Asks for, uses, shows and decides approvals. `ApprovalsUnavailable` passes through from the store."""

    def __init__(self, store: Store, sealer: Sealer, clock: Callable[[], int] | None = None) -> None:
        self._store = store
        self._sealer = sealer
        self._now = clock or _milliseconds

    @classmethod
    def open(cls, folder: Path, url: str | None = None, key: Path | None = None) -> Self:
        """Approvals kept in `folder` for all processes of this machine, or in the Valkey or Redis at `url` for several.

        The key is in the file `key`, else in `folder`. Call it after any fork; `ValueError` where `url` is not well
        formed.
        """
        sealer = Sealer(keys(folder / "approvals.key") if key is None else keys(key, ours=False))
        if url is None:
            return cls(SqliteStore(folder / "approvals.sqlite"), sealer)
        from stoa_runtime.approvals.valkey import ValkeyStore  # The extra `redis`.

        return cls(ValkeyStore(url), sealer)

    async def close(self) -> None:
        """Closes the store."""
        await self._store.close()

    async def admit(self, call: Call, retry: Retry) -> Granted | Refused:
        """Whether the call may go on: with an approval, which this uses up, or not, and then one is asked for.

        It must be the last check before the backend: whatever comes after it finds the approval spent.
        """
        now = self._now()
        if retry.state is not None:
            return await self._resume(call, retry, retry.state, now)
        deciders = _deciders(call)
        if not deciders:
            return Refused(
                "approval-impossible",
                f"`{call.tool.declared.id}` needs the approval of a second person for each call, and no role here may"
                " decide approvals. Nothing was called.",
            )
        arguments = _encoded(call.arguments)
        if len(arguments.encode()) > ARGUMENTS_CAP:
            return Refused(
                "approval-too-large",
                f"`{call.tool.declared.id}` needs the approval of a second person, and these arguments have more than"
                f" {ARGUMENTS_CAP} bytes, which is more than a person can judge. Nothing was called. Split the call.",
            )
        try:
            entry = await self._store.enter(_new(call, arguments, now), now, PENDING_CAP)
        except TooManyPending:
            return Refused(
                "approval-too-many",
                f"You wait for {PENDING_CAP} approvals already, so no further one was asked for, and nothing was"
                " called. Wait until some are decided or have expired.",
            )
        before = await self._before(call, entry, now) if entry.asked else ""
        return self._answered(call, retry, entry, now, before)

    async def _resume(self, call: Call, retry: Retry, state: str, now: int) -> Granted | Refused:
        """The retry of a refused call, with the state that its client was given."""
        binding = _binding(call)
        try:
            carried = self._sealer.open(state, binding, now)
        except StateRefused as refused:
            return Refused("approval-state", f"Nothing was called. {refused}")
        if retry.answer == "decline" and await self._store.withdraw(carried.approval, binding, now):
            return Refused("approval-withdrawn", "Nothing was called. The request for approval was taken back.")
        if retry.answer in ("decline", "cancel"):
            return Refused(
                "approval-not-wanted",
                f"Nothing was called. Approval `{carried.approval}` stands as it is; to go on, {_AGAIN}.",
            )
        entry = await self._store.use(carried.approval, binding, now)
        if entry is None:
            return Refused("approval-unknown", f"Nothing was called. The approval is not known any more. {_ANEW}")
        return self._answered(call, retry, entry, now, rounds=carried.rounds)

    def _answered(
        self, call: Call, retry: Retry, entry: Entry, now: int, before: str = "", rounds: int = 0
    ) -> Granted | Refused:
        """What the caller gets for what the store did."""
        approval, tool = entry.approval, call.tool.declared.id
        standing = approval.standing(now)
        match standing:
            case State.USED if entry.taken:
                return Granted(approval)
            case State.PENDING:
                return self._waiting(call, retry, entry, before, rounds)
            case State.REJECTED if approval.decision is not None:
                reason = f" Reason: {approval.decision.reason}" if approval.decision.reason else ""
                text = (
                    f"`{tool}` was not called: approval `{approval.id}` was rejected by a holder of"
                    f" {_names(approval.decision.roles)}.{reason}\nThe same call is refused until"
                    f" {moment(approval.expires)}; after that it may be asked for again."
                )
            case State.USED:
                text = (
                    f"Nothing was called. Approval `{approval.id}` was used already; it was good for one call. {_ANEW}"
                )
            case State.WITHDRAWN:
                text = f"Nothing was called. The request for approval `{approval.id}` was taken back. {_ANEW}"
            case _:
                missed = "decided" if approval.decision is None else "used"
                text = f"Nothing was called. Approval `{approval.id}` was not {missed} in time and has expired. {_ANEW}"
        return Refused(f"approval-{standing}", text, approval)

    def _waiting(self, call: Call, retry: Retry, entry: Entry, before: str, rounds: int) -> Refused:
        """The refusal of a call whose approval nobody has decided."""
        approval = entry.approval
        asked = "was asked for" if entry.asked else "was asked for before and is not decided yet"
        text = (
            f"`{call.tool.declared.id}` needs the approval of a second person for each call. Nothing was called."
            f" Approval `{approval.id}` {asked}; it can be decided until {moment(approval.expires)}.\nAsk"
            f" someone who holds {_names(_deciders(call))} to decide it (tool `stoa_approvals_decide`); you cannot"
            " decide it yourself."
        )
        rule = "approval-demanded" if entry.asked else "approval-pending"
        if not retry.can_ask or rounds >= ROUNDS:
            return Refused(rule, f"{text} Once it is approved, {_AGAIN}.{before}", approval)
        # The approval's second window may end later than its first; what counts then is what the store says.
        expires = approval.created + 2 * approval.window
        state = self._sealer.seal(approval.id, approval.binding, rounds + 1, expires)
        text += " Accept once it is approved, and the call is made. Decline to take the request back." + before
        return Refused(rule, text, approval, state)

    async def _before(self, call: Call, entry: Entry, now: int) -> str:
        """Why the caller's last approval for this tool does not do for this call, if it has one."""
        who, new = call.principal, entry.approval.binding
        recent = await self._store.listed(frozenset(), (who.subject, who.tenant), False, now, LIST_CAP)
        mine = [a for a in recent if a.id != entry.approval.id and a.binding.tool == new.tool]
        for last in sorted(mine, key=lambda a: a.binding.digest != new.digest):
            if last.binding.requester != new.requester:
                continue
            standing, same = last.standing(now), last.binding.digest == new.digest
            if same and standing in (State.USED, State.EXPIRED):
                ended = "was used" if standing is State.USED else "has expired"
                return f"\nThe earlier approval `{last.id}`, of the same call, {ended}. Each is good for one call."
            if standing is State.APPROVED or (same and standing is State.PENDING):
                what = "an earlier bundle" if same else "other arguments"
                return f"\nThe earlier approval `{last.id}` is for {what}, and does not count for this call."
        return ""

    async def listed(
        self, principal: Principal, snapshot: Snapshot, *, tenant: str | None = None, waiting: bool = True
    ) -> list[Shown]:
        """The approvals that `principal` may see, newest first: its own, and those of the tenants it decides for."""
        now, reach = self._now(), _reach(principal)
        if tenant is not None:
            reach = frozenset({tenant}) if reach is None else reach & {tenant}
        found = await self._store.listed(reach, (principal.subject, principal.tenant), waiting, now, LIST_CAP)
        return [_shown(a, principal, snapshot, now) for a in found if tenant is None or a.tenant == tenant]

    async def shown(self, principal: Principal, snapshot: Snapshot, identity: str) -> Shown:
        """One approval; `NoApproval` where there is none that `principal` may see."""
        found = await self._seen(principal, identity)
        return _shown(found, principal, snapshot, self._now())

    async def decide(
        self, principal: Principal, snapshot: Snapshot, identity: str, *, approve: bool, reason: str
    ) -> Shown:
        """The approval as decided; `NoApproval`, or `DecisionRefused` where the decision does not count."""
        found = await self._seen(principal, identity)
        now = self._now()
        if found.binding.requester.subject == principal.subject:
            raise DecisionRefused(
                "approval-own", found.id, "You asked for this call yourself; another person has to decide."
            )
        if found.binding.bundle != snapshot.digest:
            raise DecisionRefused(
                "approval-outdated",
                found.id,
                "This was asked for under another bundle, so no decision would count. The requester has to make the"
                " call again.",
            )
        reason = _line(reason)
        if not approve and not reason:
            raise DecisionRefused(
                "approval-reason", found.id, "A rejection needs a `reason`: the requester is told it."
            )
        roles = tuple(sorted(r for r in principal.roles if DECIDE in snapshot.index.roles[r].permissions))
        decision = Decision(principal.subject, roles, reason, now)
        state = State.APPROVED if approve else State.REJECTED
        decided = await self._store.decide(found.id, state, decision, now)
        if decided is None:
            raise NoApproval(_missing(identity))
        approval, counts = decided
        if not counts:
            standing = approval.standing(now)
            raise DecisionRefused(
                "approval-decided",
                found.id,
                f"There is nothing to decide any more: the approval is {standing}. Nothing changed.",
            )
        return _shown(approval, principal, snapshot, now)

    async def _seen(self, principal: Principal, identity: str) -> Approval:
        found = await self._store.find(identity)
        if found is None or not (_is_own(principal, found) or _reaches(principal, found)):
            raise NoApproval(_missing(identity))
        return found


def moment(milliseconds: int) -> str:
    """A time as people and programs read it: UTC, to the second."""
    time = datetime.datetime.fromtimestamp(milliseconds // 1000, datetime.UTC)
    return time.isoformat().replace("+00:00", "Z")


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _binding(call: Call) -> Binding:
    who = call.principal
    return Binding(
        Requester(who.subject, who.tenant, who.client), call.tool.declared.id, call.digest, call.snapshot.digest
    )


def _new(call: Call, arguments: str, now: int) -> Approval:
    declared, window = call.tool.declared, call.snapshot.index.approval_expiry_ms
    return Approval(
        id=f"apr_{secrets.token_hex(8)}",
        binding=_binding(call),
        tenant=call.tool.tenant,
        name=declared.name,
        title=declared.title,
        side_effects=declared.side_effects,
        arguments=arguments,
        created=now,
        window=window,
        state=State.PENDING,
        expires=now + window,
    )


def _encoded(arguments: Mapping[str, Any]) -> str:
    """The arguments as JSON, every digit kept."""
    return json.dumps(arguments, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _deciders(call: Call) -> tuple[str, ...]:
    """The roles whose holders may decide approvals."""
    return tuple(sorted(n for n, role in call.snapshot.index.roles.items() if DECIDE in role.permissions))


def _names(roles: tuple[str, ...]) -> str:
    return " or ".join(f"`{role}`" for role in roles)


def _reach(principal: Principal) -> frozenset[str] | None:
    """The tenants for which `principal` decides; None for all. A consumer's client decides for none."""
    if DECIDE not in principal.permissions or principal.contracts is not None:
        return frozenset()
    return None if principal.is_platform else frozenset({principal.tenant})


def _reaches(principal: Principal, approval: Approval) -> bool:
    reach = _reach(principal)
    return reach is None or approval.tenant in reach


def _is_own(principal: Principal, approval: Approval) -> bool:
    who = approval.binding.requester
    return (who.subject, who.tenant) == (principal.subject, principal.tenant)


def _missing(identity: str) -> str:
    return f"There is no approval `{_line(identity)[:64]}` that you may see."


def _line(text: str) -> str:
    """One line of printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:REASON_CAP]


def _shown(approval: Approval, principal: Principal, snapshot: Snapshot, now: int) -> Shown:
    """The approval for one who may see it. Who decided is told to those who decide; to others, with which roles."""
    who, decision = approval.binding.requester, approval.decision
    decides = _reaches(principal, approval)
    standing = approval.standing(now)
    return Shown(
        id=approval.id,
        state=standing.value,
        tenant=approval.tenant,
        tool=approval.binding.tool,
        name=approval.name,
        title=approval.title,
        side_effects=approval.side_effects,
        requester=Person(subject=who.subject, tenant=who.tenant, client=who.client),
        arguments=json.loads(approval.arguments),
        arguments_digest=approval.binding.digest,
        bundle=approval.binding.bundle,
        created=moment(approval.created),
        expires=moment(approval.expires),
        decision=None
        if decision is None
        else Decided(
            roles=list(decision.roles),
            reason=decision.reason,
            at=moment(decision.at),
            subject=decision.subject if decides else None,
        ),
        you_may_decide=decides
        and standing is State.PENDING
        and who.subject != principal.subject
        and approval.binding.bundle == snapshot.digest,
    )
