"""What is declared otherwise: every difference of two documents, each said by the one line of a table that fits it.

The table has a last line that fits everything, so no difference of what is declared can be silent.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from stoa_compiler.plan.changes import Change, Direction, Place, Section
from stoa_compiler.plan.pairs import Documents, value_at
from stoa_compiler.plan.wording import json_difference, q, text_difference
from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_schemas.base import milliseconds
from stoa_schemas.names import client_id


class _Missing:
    """What is not there."""


MISSING = _Missing()

_WHOLE = frozenset({"input", "output", "examples", "parameters"})
"""Keys of an operation whose values are compared as one: schemas, examples, places of arguments."""


@record
class Difference:
    """One value that is otherwise; a thing that is on one side only is one difference."""

    documents: Documents
    loc: Loc
    """Keys, and indexes into lists: as they are at head, or at base where head has the value no more."""
    before: Any
    after: Any

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it stands: at head, or at base where head has it no more."""
        if self.after is not MISSING:
            return () if self.documents.head is None else (Place("head", self.documents.head.span(self.loc)),)
        return () if self.documents.base is None else (Place("base", self.documents.base.span(self.loc)),)


def differences(documents: Documents) -> Iterator[Difference]:
    """Every difference below `spec` of a document that is on both sides, and of the platform's name."""
    if documents.base is None or documents.head is None or documents.untouched:
        return
    start: Loc = ("spec",)
    for loc, before, after in _walk(documents.before.get("spec"), documents.after.get("spec"), start, start):
        if not (len(loc) == 3 and loc[1] == "operations"):  # Tools that come or go are told of as such.
            yield Difference(documents, loc, before, after)
    old, new = (side["metadata"].get("name") for side in (documents.before, documents.after))
    if documents.kind == "Platform" and old != new:
        yield Difference(documents, ("metadata", "name"), old, new)


_SAME_ITEM: dict[str, tuple[str, ...]] = {"grants": ("role", "effect"), "allowedHosts": ("host",), "actors": ("name",)}
"""Which keys make two items of a list the same one, by the list's key."""


def _walk(before: Any, after: Any, old_loc: Loc, loc: Loc) -> Iterator[tuple[Loc, Any, Any]]:
    if before == after:
        return
    whole = len(loc) == 4 and loc[1] == "operations" and loc[3] in _WHOLE
    if isinstance(before, Mapping) and isinstance(after, Mapping) and not whole:
        for key in [*before, *(k for k in after if k not in before)]:
            old, new = before.get(key), after.get(key)
            if old != new:
                # None is what the models have for a key that is left out.
                inner = (MISSING if old is None else old, MISSING if new is None else new)
                yield from _walk(*inner, (*old_loc, key), (*loc, key))
    elif isinstance(before, list) and isinstance(after, list) and not whole:
        kept = {_canonical(v) for v in before} & {_canonical(v) for v in after}
        gone = {i: v for i, v in enumerate(before) if _canonical(v) not in kept}
        new_items = {i: v for i, v in enumerate(after) if _canonical(v) not in kept}
        keys = _SAME_ITEM.get(str(loc[-1]), ())
        for at, item in list(new_items.items()):
            same = next((i for i, v in gone.items() if keys and all(v[k] == item[k] for k in keys)), None)
            if same is not None:
                yield from _walk(gone.pop(same), new_items.pop(at), (*old_loc, same), (*loc, at))
        yield from (((*old_loc, i), v, MISSING) for i, v in gone.items())
        yield from (((*loc, i), MISSING, v) for i, v in new_items.items())
    else:
        yield (old_loc if after is MISSING else loc), before, after


def _canonical(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


Judge = Callable[[Any, Any], bool]
"""Whether the step from one value to the other is one to less safety; either may be MISSING."""


@record
class Line:
    """What is said of the differences at places that fit `pattern`."""

    kind: str
    pattern: str
    """Keys with dots between; `*` for any key or index; `**` at the end for anything below."""
    section: Section
    code: str
    words: str
    """What it is: `the issuer`."""
    weaker: Judge | None = None
    """Where given, a step to less safety stands in `section` as weakened; any other is a strengthening."""
    shown: bool = False
    """Whether before and after are shown in full below the line."""


def _ranked(*values: object) -> Judge:
    """Weaker from left to right."""
    order = {v: i for i, v in enumerate(values)}
    return lambda before, after: order.get(_scalar(after), -1) > order.get(_scalar(before), -1)


def _scalar(value: Any) -> object:
    return None if value is MISSING else value


def _removed(before: Any, after: Any) -> bool:
    return after is MISSING


def _added(before: Any, after: Any) -> bool:
    return before is MISSING


def _not_added(before: Any, after: Any) -> bool:
    return before is not MISSING


def _always(before: Any, after: Any) -> bool:
    return True


def _longer(before: Any, after: Any) -> bool:
    return milliseconds(after) > milliseconds(before)


A, S, E, T, C, U, L, P = (
    Section.ACCESS,
    Section.SAFEGUARDS,
    Section.EXPOSURE,
    Section.TEXTS,
    Section.CONTRACTS,
    Section.CONSUMERS,
    Section.LIMITS,
    Section.ADDITIONS,
)

TABLE: tuple[Line, ...] = (
    # The platform.
    Line("Platform", "spec.environments.*.development", S, "development-mode", "`development`", _ranked(False, True)),
    Line(
        "Platform",
        "spec.environments.*.gateway",
        E,
        "gateway-changed",
        "the gateway, which is also the audience of tokens,",
    ),
    Line("Platform", "spec.environments.*.issuer", E, "issuer-changed", "the issuer of tokens"),
    Line("Platform", "spec.environments.*.targets.*", E, "target-changed", "the target"),
    Line(
        "Platform",
        "spec.environments.*.backendNetworks.*",
        E,
        "backend-network-changed",
        "the backends' private network",
    ),
    Line("Platform", "spec.environments.*.limitFactor", L, "limit-factor-changed", "the factor of every limit"),
    Line(
        "Platform",
        "spec.environments.*.kubernetes.podSecurity",
        S,
        "pod-security-changed",
        "the pod security standard",
        _ranked("restricted", "baseline"),
    ),
    Line("Platform", "spec.environments.*.kubernetes.**", E, "cluster-changed", "`kubernetes`"),
    Line("Platform", "spec.environments.*.argocd.**", E, "publication-changed", "`argocd`"),
    Line("Platform", "spec.environments.*.runtime.image.**", E, "runtime-image-changed", "the runtime's image"),
    Line("Platform", "spec.environments.*.runtime.**", L, "runtime-size-changed", ""),
    Line("Platform", "spec.environments.*", E, "environment-changed", "the environment"),
    Line("Platform", "spec.domain", E, "domain-changed", "the domain that gateways and issuers must be in"),
    Line("Platform", "spec.zones.*.trust", E, "zone-trust-changed", "the trust"),
    Line("Platform", "spec.zones.**", E, "zone-changed", ""),
    Line("Platform", "spec.flows.*", E, "flow-changed", "the opening between zones"),
    Line("Platform", "spec.tiers.**", L, "tier-changed", ""),
    Line("Platform", "spec.classifications.*.demands.*", S, "policy-demand-changed", "the demanded policy", _removed),
    Line(
        "Platform",
        "spec.classifications.*.approval.*",
        S,
        "approval-demand-changed",
        "the demand of approval for side effects",
        _removed,
    ),
    Line("Platform", "spec.classifications.*.maxRate", L, "classification-rate-changed", "the highest rate"),
    Line("Platform", "spec.classifications.**", S, "classification-table-changed", "the classification", _removed),
    Line("Platform", "spec.roles.*.permissions.*", A, "permission-changed", "the permission"),
    Line("Platform", "spec.roles.*.scope", A, "role-scope-changed", "the scope"),
    Line("Platform", "spec.roles.*.description", P, "description-of-role", "the description"),
    Line("Platform", "spec.roles.*", A, "role-changed", "the role"),
    Line("Platform", "spec.backends.allowedHosts.*.tenants.*", E, "allowed-host-changed", "the tenant"),
    Line("Platform", "spec.backends.allowedHosts.*", E, "allowed-host-changed", "the allowed backend host"),
    Line("Platform", "spec.identity.clients.*.redirectUris.*", E, "redirect-uri-changed", "the redirect URI"),
    Line("Platform", "spec.identity.clients.*.displayName", P, "client-renamed", "the name that people consent to"),
    Line("Platform", "spec.identity.clients.*", E, "client-changed", "the MCP client"),
    Line("Platform", "spec.identity.**", E, "identity-changed", "how people sign in"),
    Line(
        "Platform",
        "spec.defaults.answer.check",
        S,
        "default-answer-check-changed",
        "the default check of answers",
        _ranked("enforce", "report"),
    ),
    Line(
        "Platform",
        "spec.defaults.approvalExpiry",
        S,
        "approval-expiry-changed",
        "how long an approval can be used",
        _longer,
    ),
    Line("Platform", "spec.defaults.**", L, "default-changed", "the default"),
    Line(
        "Platform",
        "spec.enforcement.limits.whenDown",
        S,
        "limits-when-down-changed",
        "what happens while the store of limits is down",
        _ranked("refuse", "local"),
    ),
    Line(
        "Platform",
        "spec.enforcement.audit.durability",
        S,
        "audit-durability-changed",
        "how durable the audit log is",
        _ranked("event", "second", "system"),
    ),
    Line(
        "Platform",
        "spec.enforcement.audit.whenFull",
        S,
        "audit-when-full-changed",
        "what happens while the audit log takes nothing",
        _ranked("refuse", "wait"),
    ),
    Line("Platform", "spec.enforcement.**", S, "enforcement-changed", "the enforcement", _removed),
    Line("Platform", "spec.reviews.**", S, "review-rule-changed", "the reviews'", _not_added),
    Line("Platform", "spec.compatibility.ignore.*.**", S, "ignored-break-changed", "the ignored break's", _always),
    Line("Platform", "spec.compatibility.ignore.*", S, "ignored-break-changed", "the ignored break", _added),
    Line("Platform", "spec.agents.**", L, "agent-checks-changed", "what tools are checked for"),
    Line("Platform", "spec.displayName", P, "display-name-changed", "the display name"),
    # What Platform and Tenant share.
    Line("*", "spec.grants.*.tools.*", A, "grant-changed", "the pattern"),
    Line("*", "spec.grants.*", A, "grant-changed", "the grant"),
    Line("*", "spec.groups.*.members", A, "membership-changed", "who is a member"),
    Line("*", "spec.groups.*.members.*", A, "member-changed", "the member"),
    Line("*", "spec.groups.*.roles.*", A, "group-role-changed", "the role"),
    Line("*", "spec.groups.*", A, "group-changed", "the group"),
    Line("*", "spec.people.*.email", A, "person-email-changed", "the address, at which whoever reads it can sign in,"),
    Line("*", "spec.people.*.*", P, "person-renamed", "the name"),
    Line("*", "spec.people.*", A, "person-changed", "the person"),
    # Tenants.
    Line("Tenant", "spec.environments.*", E, "tenant-environment-changed", "the environment"),
    Line("Tenant", "spec.secrets.prefix", E, "secrets-prefix-changed", "the place of its secrets"),
    Line("Tenant", "spec.tier", L, "tier-of-tenant-changed", "the tier"),
    Line("Tenant", "spec.quotas.**", L, "quota-changed", "the quota"),
    Line("Tenant", "spec.**", P, "tenant-described", ""),
    # Contracts.
    Line(
        "UniversalAPIContract",
        "spec.classification",
        S,
        "classification-changed",
        "the classification",
        _ranked("VVH", "VH", "H"),
    ),
    Line("UniversalAPIContract", "spec.version", C, "version-changed", "the version"),
    Line("UniversalAPIContract", "spec.status", C, "status-changed", "the status"),
    Line("UniversalAPIContract", "spec.owner", C, "owner-changed", "the owner"),
    Line("UniversalAPIContract", "spec.source.**", C, "source-changed", "the pinned OpenAPI description"),
    Line("UniversalAPIContract", "spec.description", T, "contract-description-changed", "the description", shown=True),
    Line("UniversalAPIContract", "spec.displayName", T, "contract-renamed-for-people", "the display name"),
    Line("UniversalAPIContract", "spec.backend.urls.*", E, "backend-url-changed", "the backend's URL"),
    Line("UniversalAPIContract", "spec.backend.auth", S, "backend-auth-changed", "the backend's credential", _removed),
    Line(
        "UniversalAPIContract",
        "spec.backend.auth.secret",
        E,
        "secret-reference-changed",
        "where the backend's credential is kept",
    ),
    Line(
        "UniversalAPIContract",
        "spec.backend.auth.**",
        E,
        "backend-auth-changed",
        "how the backend's credential is sent",
    ),
    Line("UniversalAPIContract", "spec.backend.**", L, "backend-limit-changed", "the backend's"),
    Line(
        "UniversalAPIContract",
        "spec.answer.check",
        S,
        "answer-check-changed",
        "the check of answers",
        _ranked("enforce", "report"),
    ),
    Line("UniversalAPIContract", "spec.answer.**", L, "answer-rule-changed", "the rule of answers"),
    Line("UniversalAPIContract", "spec.operations.*.approval", S, "approval-said", "`approval`"),
    Line("UniversalAPIContract", "spec.operations.*.sideEffects", S, "side-effects-said", "the side effects"),
    Line("UniversalAPIContract", "spec.operations.*.agents", E, "agents-changed", "`agents`"),
    Line("UniversalAPIContract", "spec.operations.*.protocols.*", E, "protocol-changed", "the protocol"),
    Line(
        "UniversalAPIContract",
        "spec.operations.*.answer.fields.**",
        E,
        "answer-fields-changed",
        "what of the answer is passed on",
    ),
    Line("UniversalAPIContract", "spec.operations.*.answer.**", L, "answer-rule-changed", "the rule of answers"),
    Line("UniversalAPIContract", "spec.operations.*.limits.**", L, "limit-changed", "the limit"),
    Line("UniversalAPIContract", "spec.operations.*.summary", T, "summary-changed", "the summary", shown=True),
    Line("UniversalAPIContract", "spec.operations.*.intent", T, "intent-changed", "the intent", shown=True),
    Line("UniversalAPIContract", "spec.operations.*.input", T, "input-schema-said", "the input schema", shown=True),
    Line("UniversalAPIContract", "spec.operations.*.output", T, "output-schema-said", "the output schema", shown=True),
    Line("UniversalAPIContract", "spec.operations.*.examples", T, "examples-changed", "the examples", shown=True),
    Line(
        "UniversalAPIContract",
        "spec.operations.*.parameters",
        C,
        "parameters-changed",
        "the places of arguments",
        shown=True,
    ),
    Line("UniversalAPIContract", "spec.operations.**", C, "request-changed", ""),
    # Consumers, plans, subscriptions.
    Line("Consumer", "spec.client", E, "client-kind-changed", "whether it keeps a secret"),
    Line("Consumer", "spec.grantTypes.*", E, "grant-type-changed", "the grant type"),
    Line("Consumer", "spec.redirectUris.*", E, "redirect-uri-changed", "the redirect URI"),
    Line("Consumer", "spec.roles.*", A, "consumer-role-changed", "the role"),
    Line("Consumer", "spec.actors.*", U, "actor-changed", "the agent or service behind it"),
    Line("Consumer", "spec.**", P, "consumer-described", ""),
    Line("Plan", "spec.displayName", P, "plan-described", "the display name"),
    Line("Plan", "spec.description", P, "plan-described", "the description"),
    Line("Plan", "spec.**", L, "plan-limit-changed", "the limit"),
    Line("Subscription", "spec.status", U, "subscription-status-changed", "the status"),
    Line("Subscription", "spec.expires", U, "subscription-expiry-changed", "the last day"),
    Line("Subscription", "spec.**", U, "subscription-changed", ""),
    # Whatever is left: said as it stands.
    Line("*", "**", P, "declared-otherwise", ""),
)
"""The first line that fits is the one that speaks."""


@lru_cache(maxsize=4096)
def line_for(kind: str, loc: Loc) -> Line:
    """The table's line for a difference at `loc` of a document of that kind."""
    return next(line for line in TABLE if line.kind in ("*", kind) and _fits(line.pattern, loc))


def _fits(pattern: str, loc: Loc) -> bool:
    steps = pattern.split(".")
    if steps[-1] == "**":
        steps.pop()
        if len(loc) < len(steps):
            return False
    elif len(loc) != len(steps):
        return False
    return all(step in ("*", str(key)) for step, key in zip(steps, loc, strict=False))


def said(difference: Difference) -> Change:
    """The change that the table makes of a difference."""
    documents, loc = difference.documents, difference.loc
    line = line_for(documents.kind, loc)
    subject, named, rest = subject_of(documents, loc, difference.after is MISSING)
    before, after = difference.before, difference.after
    section: Section = line.section
    direction: Direction = "changed"
    if line.weaker is not None:
        weakened = line.weaker(before, after)
        direction = "weakened" if weakened else "strengthened"
        section = section if weakened else Section.ADDITIONS
    elif before is MISSING:
        direction = "gained" if section in (Section.ACCESS, Section.EXPOSURE) else "added"
    elif after is MISSING:
        direction = "lost" if section in (Section.ACCESS, Section.EXPOSURE) else "removed"
    if line.code == "grant-changed" and is_deny(difference) and direction in ("gained", "lost"):
        direction = "lost" if direction == "gained" else "gained"
    what = _what(line, rest)
    shown = line.shown or (loc and isinstance(loc[-1], str) and isinstance(before if after is MISSING else after, dict))
    return Change(
        section=section,
        code=line.code,
        tenant=documents.tenant,
        subject=subject,
        text=_sentence(named, what, before, after, bool(shown))
        + ("; no role has other tools by it now" if line.code == "grant-changed" else ""),
        direction=direction,
        spans=difference.places,
        details=_shown(before, after) if shown else (),
        data={
            "kind": documents.kind,
            "path": ".".join(map(str, loc)),
            "before": None if before is MISSING else before,
            "after": None if after is MISSING else after,
            **({"environments": [str(loc[2])]} if loc[1:2] == ("environments",) and len(loc) > 2 else {}),
        },
    )


def is_deny(difference: Difference) -> bool:
    """Whether the difference is of a grant that denies."""
    loc = difference.loc
    if loc[1:2] != ("grants",) or len(loc) < 3:
        return False
    declared = difference.documents.before if difference.after is MISSING else difference.documents.after
    grant = value_at(declared, loc[:3])
    return isinstance(grant, Mapping) and grant.get("effect") == "deny"


def _what(line: Line, rest: Sequence[str | int]) -> str:
    """The words of the line, with the key below the subject where they do not tell it."""
    keys = [str(k) for k in rest if not isinstance(k, int)]
    path = q(".".join(keys)) if keys else ""
    if not line.words:
        return path or "it"
    if line.pattern.endswith("**"):
        return f"{line.words} {path}"
    if line.pattern.endswith(".*") and rest and isinstance(rest[-1], str):
        return f"{line.words} {q(rest[-1])}"
    return line.words


def _sentence(named: str, what: str, before: Any, after: Any, shown: bool) -> str:
    comma = "," if what.endswith(",") else ""
    bare = what.removesuffix(",")
    if shown:
        verb = "is added" if before is MISSING else "is removed" if after is MISSING else "changes"
        return f"{named}: {bare} {verb}"
    if before is MISSING:
        return f"{named}: {bare}{comma} {_value(after)} is added"
    if after is MISSING:
        return f"{named}: {bare}{comma} {_value(before)} is removed"
    return f"{named}: {bare}{comma} changes from {_value(before)} to {_value(after)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = {k: v for k, v in value.items() if v not in (None, [], {})}
        return q(", ".join(f"{k}: {_inner(v)}" for k, v in pairs.items()), 200)
    return q(value, 200)


def _inner(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shown(before: Any, after: Any) -> tuple[str, ...]:
    if all(isinstance(v, str) or v is MISSING for v in (before, after)):
        return text_difference("" if before is MISSING else before, "" if after is MISSING else after)
    return json_difference(None if before is MISSING else before, None if after is MISSING else after)


_NAMED = {
    "environments": "environment",
    "zones": "zone",
    "tiers": "tier",
    "classifications": "classification",
    "roles": "role",
    "people": "person",
    "groups": "group",
}


def subject_of(documents: Documents, loc: Loc, base: bool = False) -> tuple[str, str, Sequence[str | int]]:
    """Canonical id of what a place belongs to, its name in a sentence, and the keys that are left below it."""
    kind, tenant, name = documents.key
    if kind in ("Platform", "Tenant"):
        owner = "the platform" if not tenant else f"tenant {q(tenant)}"
        inner = _NAMED.get(str(loc[1])) if len(loc) > 3 and isinstance(loc[2], str) else None
        if inner is not None:
            of = "" if not tenant else f" of {q(tenant)}"
            prefix = f"{tenant}/" if tenant else ""
            return f"{prefix}{inner}/{loc[2]}", f"{inner} {q(loc[2])}{of}", loc[3:]
        if len(loc) > 3 and loc[1] == "grants":
            grant = _item(documents, loc[:3], base)
            denied = "deny" if grant.get("effect") == "deny" else "grant"
            return (
                f"{tenant or 'platform'}/role/{grant.get('role')}",
                f"{owner}, {denied} to role {q(grant.get('role'))}",
                loc[3:],
            )
        if len(loc) > 4 and loc[2] == "allowedHosts":
            host = _item(documents, loc[:4], base).get("host")
            return f"host/{host}", f"backend host {q(host)}", loc[4:]
        if loc[1:3] == ("identity", "clients") and len(loc) > 4:
            return f"client/{loc[3]}", f"the MCP client {q(loc[3])}", loc[4:]
        return tenant or "platform", owner, loc[1:]
    if kind == "UniversalAPIContract":
        if len(loc) > 3 and loc[1] == "operations":
            tool = f"{tenant}:{name}:{loc[2]}"
            return tool, q(tool), loc[3:]
        return f"{tenant}:{name}", q(f"{tenant}:{name}"), loc[1:]
    if kind == "Consumer":
        return client_id(tenant, name), f"consumer {q(client_id(tenant, name))}", loc[1:]
    word = kind.lower()
    return f"{tenant}/{word}/{name}", f"{word} {q(name)} of {q(tenant)}", loc[1:]


def _item(documents: Documents, loc: Loc, base: bool) -> Mapping[str, Any]:
    """The item of a list at `loc`: of base, where the place is one of base's, or of head."""
    found = value_at(documents.before if base else documents.after, loc)
    return found if isinstance(found, Mapping) else {}


def uncovered(
    found: Sequence[Difference], covered: Collection[tuple[tuple[str, str, str], Loc]]
) -> Iterator[Difference]:
    """The differences that nothing else has told of: `covered` are documents and places, with all below them."""
    by_document: dict[tuple[str, str, str], set[Loc]] = {}
    for key, loc in covered:
        by_document.setdefault(key, set()).add(loc)
    for difference in found:
        locs = by_document.get(difference.documents.key, set())
        if not any(difference.loc[:length] in locs for length in range(1, len(difference.loc) + 1)):
            yield difference
