"""What recorded calls would come to by a bundle, beside what they came to, in groups.

The order of the checks is the runtime's: token and tenant, the tenant's rate, the limits of the tool and the plan,
whether there is such a tool for the caller, approval. Arguments are not in the log, so a call that was refused by its
arguments stays refused, and one whose arguments were taken is judged as if they still were.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

from stoa_compiler.replay import limits
from stoa_compiler.replay.access import Access, Caller, Refusal, person_tenant
from stoa_compiler.replay.callers import Person
from stoa_compiler.replay.recorded import Call, Log
from stoa_schemas import bundle
from stoa_schemas.names import PLATFORM_TENANT

Kind = Literal["refused", "approval", "unapproved", "allowed", "askable", "unjudged"]
KINDS: tuple[Kind, ...] = ("refused", "approval", "unapproved", "allowed", "askable", "unjudged")
"""In the order in which they are shown."""
Before = Literal["allowed", "approved", "unseen", "limit", "approval", "arguments", "other"]
"""What a call came to: `other` is refused for a reason that no bundle decides."""
After = Literal["allowed", "approval", "refused", "unknown"]
_DAY = 86_400
_UNSEEN = frozenset({"tool-unknown", "tool-not-visible"})
_APPROVAL = frozenset({"approval-demanded", "approval-pending", "approval-rejected", "approval-expired"})


class Callers(Protocol):
    """Who a recorded subject is; `stoa_compiler.replay.callers` finds it in a bundle."""

    @property
    def open_groups(self) -> Set[str]:
        """Groups whose members are not declared in the bundle."""

    def of(self, subject: str, client: str, tenant: str) -> Person | None:
        """Whom a line means; None where nothing tells."""


_At = tuple[Kind, str, str, str, str, str, str]
"""What one group's calls have in common."""


class Verdict(NamedTuple):
    """What a call would come to."""

    after: After
    code: str
    """Why: `granted`, `approval`, the code of a refusal or the rule of a limit."""
    words: str


@dataclass(slots=True)
class Group:
    """Calls of one caller to one tool that come out otherwise for one reason."""

    kind: Kind
    tenant: str
    who: str
    client: str
    tool: str
    code: str
    words: str
    calls: int = 0
    first: str = ""
    last: str = ""
    peak: int | None = None
    """Of a limit on a rate: the most calls that were made in its span."""


@dataclass(slots=True)
class Comparison:
    """What came of a replay."""

    log: Log
    index: bundle.PlatformIndex
    digest: str | None
    groups: list[Group] = field(default_factory=list)
    calls: int = 0
    first: str = ""
    last: str = ""
    unchanged: int = 0
    outside: int = 0
    """Calls before or after the span that was asked for."""
    bundles: Counter[str] = field(default_factory=Counter)
    """Calls by the bundle that decided them."""
    arguments: int = 0
    """Calls refused by their arguments then, and not judged again."""
    callers: set[tuple[str, str]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def of(self, kind: Kind) -> list[Group]:
        """The groups of one kind."""
        return [g for g in self.groups if g.kind == kind]

    def count(self, kind: Kind) -> int:
        """Calls of one kind."""
        return sum(g.calls for g in self.groups if g.kind == kind)


class Decided(NamedTuple):
    """One call with what it came to, and what it would come to."""

    call: Call
    was: Before
    who: str
    tenant: str
    verdict: Verdict
    charge: limits.Charge | None
    """The rate that refuses it."""


class _Judged(NamedTuple):
    """What does not change from one call to the next of a caller, a tool and a day."""

    who: str
    tenant: str
    verdict: Verdict
    caller: Caller | None
    """None where a token would not be taken."""
    tool: bundle.Tool | str | None


def compare(
    log: Log, access: Access, callers: Callers, digest: str | None, since: float = -math.inf, until: float = math.inf
) -> Comparison:
    """The calls of the log from `since` to before `until` that come out otherwise by the bundle, grouped and sorted.

    Calls before them are decided, too: they use up what limits leave to those that are told.
    """
    replay, done = _Replay(access, callers), Comparison(log, access.index, digest)
    groups: dict[_At, Group] = {}
    limited: dict[_At, limits.Charge] = {}
    for call, was, who, tenant, verdict, charge in replay.decided(c for c in log.calls if c.at < until):
        if call.at < since:
            continue
        done.calls += 1
        done.first, done.last = min(done.first or call.time, call.time), max(done.last, call.time)
        done.bundles[call.bundle] += 1
        done.callers.add((call.tenant, call.subject))
        done.arguments += was == "arguments"
        changed = kind(was, verdict.after)
        if changed is None:
            done.unchanged += 1
            continue
        tool, words = call.tool or call.asked or "(a request)", _why(changed, was, call, verdict)
        at = (changed, tenant, who, call.client, tool, verdict.code, words)
        group = groups.get(at)
        if group is None:
            group = groups[at] = Group(*at, first=call.time)
        group.calls += 1
        group.first, group.last = min(group.first, call.time), max(group.last, call.time)
        if charge is not None:
            limited[at] = charge
    for at, charge in limited.items():
        groups[at].peak = limits.peak(replay.times[charge.key], charge.law.span)
    order = {k: n for n, k in enumerate(KINDS)}
    done.groups = sorted(
        groups.values(), key=lambda g: (order[g.kind], g.tenant, g.who, g.tool, g.client, g.code, g.words)
    )
    done.outside = len(log.calls) - done.calls
    done.notes = list(_notes(done, callers))
    return done


def decided(calls: Iterable[Call], access: Access, callers: Callers) -> Iterator[Decided]:
    """Each call, decided by the bundle; they come in the order in which they were made."""
    return _Replay(access, callers).decided(calls)


def before(call: Call) -> Before:
    """What the call came to."""
    if call.decision in ("allowed", "failed"):
        return "approved" if call.approved else "allowed"
    rule = call.rule
    if rule in _UNSEEN:
        return "unseen"
    if rule == "limit":
        return "limit" if call.limit != "limits-unavailable" else "other"
    if rule == "arguments":
        return "arguments"
    return "approval" if rule in _APPROVAL else "other"


def kind(was: Before, after: After) -> Kind | None:
    """What changes; None where nothing does, as far as a bundle decides it."""
    if after == "unknown":
        return "unjudged" if was not in ("arguments", "other") else None
    if was in ("allowed", "approved"):
        if after == "refused":
            return "refused"
        if was == "allowed":
            return "approval" if after == "approval" else None
        return "unapproved" if after == "allowed" else None
    if was in ("unseen", "limit"):
        if after == "refused":
            return None
        return "allowed" if after == "allowed" else "askable"
    return "allowed" if was == "approval" and after == "allowed" else None


class _Replay:
    def __init__(self, access: Access, callers: Callers) -> None:
        self._access, self._callers = access, callers
        self._laws, self._counts = limits.Laws(access), limits.Counts()
        self._known: dict[tuple[str, str, str, str | None, float], _Judged] = {}
        self.times: dict[limits.Key, list[float]] = defaultdict(list)
        """When each key of a rate was charged, or would have been."""

    def decided(self, calls: Iterable[Call]) -> Iterator[Decided]:
        """Each call with its verdict."""
        for call in calls:
            was = before(call)
            judged, verdict, charge = self._judge(call, was)
            yield Decided(call, was, judged.who, judged.tenant, verdict, charge)

    def _judge(self, call: Call, was: Before) -> tuple[_Judged, Verdict, limits.Charge | None]:
        name = call.asked if call.tool is None else call.tool.replace(":", "_")
        at = (call.tenant, call.subject, call.client, name, call.at // _DAY)
        judged = self._known.get(at)
        if judged is None:
            judged = self._known[at] = self._decide(call, name)
        if judged.caller is None:
            return judged, judged.verdict, None
        takes = self._laws.request(judged.tenant)
        reached = self._take(call, takes) if takes.charges else None
        if reached is None and call.is_call:
            tool = judged.tool
            if judged.verdict.after == "unknown" and was == "unseen":
                tool = None
            reached = self._take(call, self._laws.call(judged.caller, tool, call.at))
        # That there is no such tool for the caller is the better reason: it stays so when the limit is free again.
        if reached is None or judged.verdict.after == "refused":
            return judged, judged.verdict, None
        charge = reached if isinstance(reached, limits.Charge) else None
        return judged, Verdict("refused", reached.law.rule, reached.law.words), charge

    def _take(self, call: Call, takes: limits.Taken) -> limits.Charge | limits.Quota | limits.Slot | None:
        for charge in takes.charges:
            self.times[charge.key].append(call.at)
        return self._counts.take(call.at, takes, call.seconds)

    def _decide(self, call: Call, name: str | None) -> _Judged:
        """Everything but the limits."""
        access, day = self._access, _day(call)
        person = self._callers.of(call.subject, call.client, call.tenant)
        tenant = person_tenant(person, call.tenant)
        who = person.name if person is not None else call.subject
        roles: Iterable[str] = person.roles if person is not None else ()
        caller = access.caller(tenant, call.subject, call.client, roles, day)
        if isinstance(caller, Refusal):
            return _Judged(who, tenant, Verdict("refused", caller.code, caller.words), None, None)
        if name is None:
            words = "a request beyond the tenant's rate; what it asked for is not in the log"
            return _Judged(who, tenant, Verdict("unknown", "request", words), caller, None)
        if person is None:
            return self._unknown(call, who, caller, name)
        found = access.tool(caller, name, day)
        if isinstance(found, Refusal):
            return _Judged(who, tenant, Verdict("refused", found.code, found.words), caller, None)
        return _Judged(who, tenant, self._granted(found), caller, found)

    def _granted(self, found: bundle.Tool | str) -> Verdict:
        if isinstance(found, str) or not found.approval:
            return Verdict("allowed", "granted", "the bundle gives it")
        tenant = self._access.tenant(found.id.partition(":")[0])
        assert tenant is not None
        level = tenant.contracts[found.contract].classification
        words = f"each call needs a second person's approval ({found.side_effects}, classified {level})"
        return Verdict("approval", "approval", words)

    def _unknown(self, call: Call, who: str, caller: Caller, name: str) -> _Judged:
        """Somebody whose roles nothing tells: only what no role could change is certain."""
        scope = "platform" if caller.tenant == PLATFORM_TENANT else "tenant"
        every = frozenset(r for r, entry in self._access.index.roles.items() if entry.scope == scope)
        found = self._access.tool(caller._replace(roles=every), name, _day(call))
        if isinstance(found, Refusal):
            words = found.words if found.code != "role" else "no role of the tenant gives it"
            return _Judged(who, caller.tenant, Verdict("refused", found.code, words), caller, None)
        giving = ", ".join(f"`{r}`" for r in self._access.roles_that_give(name) if r in every)
        words = f"nothing tells the caller's roles; it is given to {giving}"
        return _Judged(who, caller.tenant, Verdict("unknown", "roles", words), caller, found)


def _day(call: Call) -> str:
    """The day in UTC on which the call came; subscriptions end with a day."""
    return datetime.fromtimestamp(call.at, UTC).date().isoformat()


def _notes(done: Comparison, callers: Callers) -> Iterator[str]:
    log = done.log
    here = f"/stoa/{done.index.name}/{done.index.environment}/"
    for other in sorted({s.rpartition("/")[0] for s in log.sources if not s.startswith(here)}):
        yield f"lines were recorded by `{other}`, and the bundle is of `{here.rstrip('/')}`"
    yield "roles at the time of a call are not in the log: people's roles are those that the bundle gives them"
    yield "arguments are not in the log, only their digests: whether they fit the bundle's schemas could not be judged"
    yield "lists and other requests that pass are not in the log: a tenant's rate may be reached sooner than here"
    tenants = {c.tenant for c in log.calls}
    if any(g.split("/")[1] in tenants for g in callers.open_groups):
        yield "some groups' members are not declared in the bundle: people in them may hold more roles than here"
    if done.arguments:
        yield f"{done.arguments:,} calls were refused by their arguments then, and are not judged again"
    if log.control:
        yield f"{log.control:,} requests to the control plane's API are not replayed"
    if log.nameless:
        yield f"{log.nameless:,} requests without an accepted token name nobody, and are not replayed"
    if log.repeats:
        yield f"{log.repeats:,} lines stood there twice, and count once"
    if done.outside:
        yield f"{done.outside:,} calls lie outside the span that was asked for"


def _why(changed: Kind, was: Before, call: Call, verdict: Verdict) -> str:
    """The reason, with what was refused then where that is what ends."""
    if changed in ("allowed", "askable"):
        if was == "limit":
            return f"the limit `{call.limit}` refused it then, and leaves room now"
        if was == "approval":
            return "it needed an approval then, and needs none now"
        if changed == "askable":
            return f"there was no such tool for the caller then; now {verdict.words}"
        return "there was no such tool for the caller then, and there is one now"
    if changed == "unapproved":
        return "it was approved by a second person then, and needs no approval now"
    return verdict.words
