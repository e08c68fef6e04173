"""What changes about tools: safeguards, texts, schemas, limits, requests; and what is new, gone or renamed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stoa_compiler.graph import ConsumerNode, ContractNode, OperationNode, SubscriptionNode, TenantNode
from stoa_compiler.plan.changes import JSON, Change, Direction, Place, Section, SideName
from stoa_compiler.plan.pairs import Documents, Operations, Pair, Pairs, name_of, value_at
from stoa_compiler.plan.wording import counted, joined, json_difference, names, q, text_difference
from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_schemas.base import calls_per_second
from stoa_schemas.calls import Request

Key = tuple[str, str, str]
Covered = set[tuple[Key, Loc]]
"""Documents and places that were told of."""

_PLATFORM: Key = ("Platform", "", "platform")
_EFFECTS = ("none", "read", "write", "destructive")


@record(slots=False)
class Aspect:
    """One thing about a tool that is compared by its effect, wherever it is declared."""

    code: str
    words: str
    """What it is, of one tool: `approval by a second person`."""
    of: Callable[[OperationNode], Any]
    keys: tuple[str, ...]
    """Keys of an operation that decide it."""
    above: tuple[Loc, ...] = ()
    """Places in the contract, then `platform:` places, that decide it where the operation says nothing."""
    judged: Callable[[Any, Any], tuple[Section, Direction]] = lambda _before, _after: (Section.CONTRACTS, "changed")
    shown: Callable[[Any, Any], tuple[str, ...]] | None = None
    said: Callable[[Any, Any, Mapping[str, str]], str] | None = None
    """The predicate of a sentence about one or several tools, whose verbs have the form that is given."""


def _approval(before: bool, after: bool) -> tuple[Section, Direction]:
    return (Section.SAFEGUARDS, "weakened") if before else (Section.ADDITIONS, "strengthened")


def _effects(before: str, after: str) -> tuple[Section, Direction]:
    lowered = _EFFECTS.index(after) < _EFFECTS.index(before)
    return (Section.SAFEGUARDS, "weakened") if lowered else (Section.CONTRACTS, "changed")


def _check(before: str, after: str) -> tuple[Section, Direction]:
    return (Section.SAFEGUARDS, "weakened") if after == "report" else (Section.ADDITIONS, "strengthened")


def _fields(before: Sequence[str] | None, after: Sequence[str] | None) -> tuple[Section, Direction]:
    wider = after is None or (before is not None and bool(set(after) - set(before)))
    return (Section.EXPOSURE, "gained" if wider else "lost")


def _rate(before: str, after: str) -> tuple[Section, Direction]:
    return (Section.LIMITS, "gained" if calls_per_second(after) > calls_per_second(before) else "lost")


def _more(before: int | None, after: int | None) -> tuple[Section, Direction]:
    more = after is None or (before is not None and after > before)
    return (Section.LIMITS, "gained" if more else "lost")


def _text(before: Any, after: Any) -> tuple[Section, Direction]:
    return (Section.TEXTS, "changed")


def _described(node: OperationNode) -> str:
    return node.description if node.title in node.description else f"{node.title}\n\n{node.description}"


ASPECTS: tuple[Aspect, ...] = (
    Aspect(
        "approval-changed",
        "approval",
        lambda o: o.approval,
        ("approval", "sideEffects"),
        (("spec", "classification"),),
        _approval,
        said=lambda before, after, f: f"no longer {f['need']} a second person's approval"
        if before
        else f"now {f['need']} a second person's approval",
    ),
    Aspect(
        "side-effects-changed",
        "side effects",
        lambda o: o.declared.side_effects,
        ("sideEffects",),
        (),
        _effects,
        said=lambda before, after, f: f"{f['is']} said to be {q(after)} and no longer {q(before)}",
    ),
    Aspect(
        "answer-check-changed",
        "check of answers",
        lambda o: o.answer.check,
        ("answer",),
        (("spec", "answer", "check"),),
        _check,
        said=lambda before, after, f: f"{f['pass']} on answers outside the output schema"
        if after == "report"
        else f"{f['refuse']} answers outside the output schema",
    ),
    Aspect(
        "answer-fields-changed",
        "what of the answer is passed on",
        lambda o: o.answer.fields,
        ("answer",),
        (),
        _fields,
        json_difference,
        lambda before, after, f: f"{f['pass']} on more of the answer"
        if _fields(before, after)[1] == "gained"
        else f"{f['pass']} on less of the answer",
    ),
    Aspect(
        "description-changed",
        "description that agents read",
        _described,
        ("summary", "intent"),
        (),
        _text,
        text_difference,
        lambda before, after, f: f"{f['say']} something else to agents",
    ),
    Aspect(
        "input-schema-changed",
        "input schema",
        lambda o: o.input_schema,
        ("input", "from"),
        (),
        _text,
        json_difference,
        lambda before, after, f: f"{f['take']} other arguments",
    ),
    Aspect(
        "output-schema-changed",
        "output schema",
        lambda o: o.output_schema,
        ("output", "from"),
        (),
        _text,
        json_difference,
        lambda before, after, f: f"{f['promise']} another answer",
    ),
    Aspect(
        "request-changed",
        "request to the backend",
        lambda o: o.request,
        ("method", "path", "from", "parameters"),
        (),
        shown=json_difference,
        said=lambda before, after, f: f"{f['ask']} the backend otherwise"
        + ("" if before["method"] == after["method"] and before["path"] == after["path"] else
           f": {q(_line(after))} instead of {q(_line(before))}"),
    ),
    Aspect(
        "rate-changed",
        "rate",
        lambda o: o.rate,
        ("limits",),
        (),
        _rate,
        said=lambda before, after, f: f"{f['take']} {q(after)} of a caller instead of {q(before)}",
    ),
    Aspect(
        "concurrency-changed",
        "calls at the same time",
        lambda o: o.concurrency,
        ("limits",),
        (),
        _more,
        said=lambda before, after, f: f"{f['take']} {_calls(after)} at the same time instead of {_calls(before)}",
    ),
    Aspect(
        "answer-size-changed",
        "size of answers",
        lambda o: (o.answer.max_bytes, o.answer.max_characters, o.answer.when_too_large),
        ("answer",),
        (("spec", "answer", "maxBytes"), ("spec", "answer", "maxCharacters"), ("spec", "answer", "whenTooLarge")),
        lambda before, after: (Section.LIMITS, "changed"),
        said=lambda before, after, f: f"{f['take']} answers of {_size(after)} instead of {_size(before)}",
    ),
)  # fmt: skip

_PLATFORM_PLACES: dict[str, tuple[Loc, ...]] = {
    "answer-check-changed": (("spec", "defaults", "answer", "check"),),
    "rate-changed": (("spec", "defaults", "operationRate"),),
    "answer-size-changed": (
        ("spec", "defaults", "answer", "maxBytes"),
        ("spec", "defaults", "answer", "maxCharacters"),
        ("spec", "defaults", "answer", "whenTooLarge"),
    ),
}


def _of_both(base: Request, head: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both requests as JSON, without the arguments that only one has: these are told of with the input schema."""
    before, after = (r.model_dump(mode="json", by_alias=True, exclude_none=True) for r in (base, head))
    both = before["arguments"].keys() & after["arguments"].keys()
    old, new = ({**r, "arguments": {k: v for k, v in r["arguments"].items() if k in both}} for r in (before, after))
    return old, new


def _line(request: dict[str, Any]) -> str:
    return f"{request['method']} {request['path']}"


def _calls(number: int | None) -> str:
    return "any number of calls" if number is None else counted(number, "call")


def _size(of: tuple[int, int, str]) -> str:
    return f"{of[0]:,} bytes and {of[1]:,} characters ({'cut' if of[2] == 'truncate' else 'refused'} beyond)"


_FORMS = {
    "need": ("needs", "need"),
    "is": ("is", "are"),
    "pass": ("passes", "pass"),
    "refuse": ("refuses", "refuse"),
    "say": ("says", "say"),
    "take": ("takes", "take"),
    "promise": ("promises", "promise"),
    "ask": ("asks", "ask"),
}


@record(slots=False)
class _Found:
    tool: Operations
    aspect: Aspect
    before: Any
    after: Any
    key: Key
    loc: Loc


def tool_changes(pairs: Pairs, covered: Covered) -> Iterator[Change]:
    """What is otherwise about tools that are on both sides."""
    documents = {d.key: d for d in pairs.documents}
    platform = documents[_PLATFORM]
    kept = [(side["spec"]["defaults"], side["spec"]["classifications"]) for side in (platform.before, platform.after)
            if side]  # fmt: skip
    settled = len(kept) == 2 and kept[0] == kept[1]
    groups: dict[tuple[str, str, str], list[_Found]] = {}
    for pair in pairs.operations:
        base, head = pair.on("base"), pair.on("head")
        if base is None or head is None:
            continue
        contract = documents["UniversalAPIContract", name_of(pair.tenant), name_of(pair.contract)]
        if settled and contract.untouched:
            continue
        for aspect in ASPECTS:
            before, after = aspect.of(base[1]), aspect.of(head[1])
            if aspect.code == "request-changed" and before != after:
                before, after = _of_both(before, after)
            if before == after:
                continue
            key, loc, told = _cause(aspect, pair, contract, platform)
            covered |= told
            found = _Found(pair, aspect, before, after, key, loc)
            if aspect.shown is not None:  # The same step in many tools is one line, wherever they are.
                where, step = "", "\n".join(aspect.shown(before, after))
            else:
                where = "" if key == _PLATFORM else f"{contract.tenant}:{contract.name}"
                step = f"{before!r} {after!r}"
            groups.setdefault((aspect.code, where, step), []).append(found)
    for same in groups.values():
        yield _tool_change(documents, same)
    yield from _exposed(pairs, covered)


def _cause(
    aspect: Aspect, pair: Operations, contract: Documents, platform: Documents
) -> tuple[Key, Loc, set[tuple[Key, Loc]]]:
    """The document and place that decide the aspect and differ, and all places that are told of by it."""
    head = pair.operation.head
    assert head is not None
    at: Loc = ("spec", "operations", head.name)
    told: set[tuple[Key, Loc]] = set()
    first: tuple[Key, Loc] | None = None
    for key in aspect.keys:
        loc = (*at, key)
        if value_at(contract.before, loc) != value_at(contract.after, loc):
            first = first or (contract.key, loc)
            told.add((contract.key, loc))
    for loc in aspect.above:
        if value_at(contract.before, loc) != value_at(contract.after, loc):
            first = first or (contract.key, loc)
            if loc != ("spec", "classification"):
                told.add((contract.key, loc))
    for loc in _PLATFORM_PLACES.get(aspect.code, ()):
        if value_at(platform.before, loc) != value_at(platform.after, loc):
            first = first or (_PLATFORM, loc)
    if first is None and aspect.code == "approval-changed":
        classification = str(value_at(contract.after, ("spec", "classification")))
        first = (_PLATFORM, ("spec", "classifications", classification, "approval"))
    if first is None and value_at(contract.before, ("spec", "source")) != value_at(contract.after, ("spec", "source")):
        first = (contract.key, ("spec", "source", "sha256"))
    return (*(first or (contract.key, at)), told)


def _tool_change(documents: dict[Key, Documents], same: Sequence[_Found]) -> Change:
    first = same[0]
    aspect, tools = first.aspect, [f.tool.tool for f in same]
    section, direction = aspect.judged(first.before, first.after)
    tenants = sorted({name_of(f.tool.tenant) for f in same})
    contracts = sorted({t.rpartition(":")[0] for t in tools})
    if len(tools) <= 3:
        whom = joined([q(t) for t in tools])
    elif len(contracts) > 3:
        whom = f"{counted(len(tools), 'tool')} of {counted(len(tenants), 'tenant')}"
    else:
        whom = f"{counted(len(tools), 'tool')} of {names(contracts)}"
    assert aspect.said is not None
    words = aspect.said(first.before, first.after, {verb: forms[len(tools) > 1] for verb, forms in _FORMS.items()})
    places = tuple(dict.fromkeys(p for f in same for p in _places(documents[f.key], f.loc)))
    classes = sorted({c[0].declared.spec.classification for f in same if (c := f.tool.on("head")) is not None})
    node = first.tool.operation.head
    assert node is not None
    details = tuple(f"tool {q(t)}" for t in tools if len(tools) > 1)
    if aspect.shown:
        details += aspect.shown(first.before, first.after)
    data: dict[str, JSON] = {
        "tools": tools,
        "tenants": tenants,
        "contracts": contracts,
        "classification": max(classes, key=lambda c: len(c)),
        "classifications": classes,
        "sideEffects": max((f.tool.operation.head.declared.side_effects for f in same if f.tool.operation.head),
                           key=_EFFECTS.index),
        "approval": node.approval,
        "environments": sorted({e for f in same if (t := f.tool.tenant.head) for e in t.declared.spec.environments}),
    }  # fmt: skip
    if not aspect.shown:
        data |= {"before": _json(first.before), "after": _json(first.after)}
    code = _CODES.get((aspect.code, direction), aspect.code)
    return Change(
        section=section,
        code=code,
        tenant=tenants[0] if len(tenants) == 1 else "",
        subject=tools[0] if len(tools) == 1 else contracts[0] if len(contracts) == 1 else "platform",
        text=f"{whom} {words}",
        direction=direction,
        spans=places,
        details=details,
        data=data,
    )


_CODES = {
    ("approval-changed", "weakened"): "approval-dropped",
    ("approval-changed", "strengthened"): "approval-added",
    ("side-effects-changed", "weakened"): "side-effects-lowered",
    ("side-effects-changed", "changed"): "side-effects-raised",
    ("answer-check-changed", "weakened"): "answer-check-dropped",
    ("answer-check-changed", "strengthened"): "answer-check-added",
}


def _json(value: Any) -> JSON:
    return list(value) if isinstance(value, tuple) else value


def _places(documents: Documents, loc: Loc) -> tuple[Place, ...]:
    """The place at head; at base where it is only there."""
    if documents.head is not None and value_at(documents.head.data, loc) is not None:
        return (Place("head", documents.head.span(loc)),)
    if documents.base is not None and value_at(documents.base.data, loc) is not None:
        return (Place("base", documents.base.span(loc)),)
    return (Place("head", documents.head.span(loc)),) if documents.head is not None else ()


def _exposed(pairs: Pairs, covered: Covered) -> Iterator[Change]:
    """Tools that agents come to see, or see no more."""
    moved: dict[tuple[str, bool], list[Operations]] = {}
    for pair in pairs.operations:
        if pair.on("base") and pair.on("head") and pair.seen("base") != pair.seen("head"):
            moved.setdefault((f"{name_of(pair.tenant)}:{name_of(pair.contract)}", pair.seen("head")), []).append(pair)
    for (contract, shown), same in moved.items():
        head = same[0].on("head")
        assert head is not None
        tools = [o.tool for o in same]
        tenant = name_of(same[0].tenant)
        key: Key = ("UniversalAPIContract", tenant, name_of(same[0].contract))
        places = []
        for pair in same:
            node = pair.operation.head
            assert node is not None
            covered |= {(key, (*node.origin.loc, name)) for name in ("agents", "protocols")}
            places += [Place("head", node.origin.document.span(node.origin.loc, "key"))]
        many = len(tools) > 1
        whom = joined([q(t) for t in tools]) if len(tools) < 4 else f"{counted(len(tools), 'tool')} of {q(contract)}"
        verb = "are" if many else "is"
        yield Change(
            section=Section.EXPOSURE,
            code="tool-exposed" if shown else "tool-withdrawn",
            tenant=tenant,
            subject=tools[0] if not many else contract,
            text=f"{whom} {verb} exposed to agents{'' if shown else ' no longer'}",
            direction="gained" if shown else "lost",
            spans=tuple(places),
            details=tuple(f"tool {q(t)}" for t in tools) if many else (),
            data={"tools": tools, "contracts": [contract], "tenants": [tenant],
                  "classification": head[0].declared.spec.classification},
        )  # fmt: skip


# What is new, gone or renamed.


def things_changes(pairs: Pairs) -> Iterator[Change]:
    """Tenants, contracts, tools, applications, plans and subscriptions that came, went or have another name."""
    for tenant in pairs.tenants:
        if tenant.base is None or tenant.head is None:
            yield _tenant(tenant)
        elif tenant.base.name != tenant.head.name:
            yield _renamed_tenant(tenant.base, tenant.head)
    for tenant, contract in pairs.contracts:
        if tenant.base is None or tenant.head is None:
            continue  # Told with its tenant.
        if contract.base is None or contract.head is None:
            yield _contract(pairs, tenant, contract)
        elif contract.base.name != contract.head.name:
            yield _renamed_contract(tenant.head, contract.base, contract.head)
    yield from _operations(pairs)
    for documents in pairs.documents:
        one = (documents.base is None) != (documents.head is None)
        if one and documents.kind in ("Consumer", "Plan", "Subscription") and _tenant_stays(pairs, documents.tenant):
            yield _thing(documents)


def _tenant_stays(pairs: Pairs, name: str) -> bool:
    return any(name_of(t) == name and t.base is not None and t.head is not None for t in pairs.tenants)


def _holds(tenant: TenantNode) -> str:
    counts = (
        (len(tenant.contracts), "contract", ""),
        (len(tenant.operations), "tool", ""),
        (len(tenant.people), "person", "people"),
        (len(tenant.consumers), "consumer", ""),
    )
    return joined([counted(*one) for one in counts if one[0]]) or "nothing in it"


def _tenant(pair: Pair[TenantNode]) -> Change:
    node = pair.head or pair.base
    assert node is not None
    new = pair.head is not None
    side: SideName = "head" if new else "base"
    spec = node.declared.spec
    return Change(
        section=Section.ADDITIONS if new else Section.DELETIONS,
        code="tenant-added" if new else "tenant-removed",
        tenant=node.name,
        subject=node.name,
        text=f"tenant {q(node.name)} is {'new' if new else 'removed'}, with {_holds(node)}, in "
        f"{joined([q(e) for e in spec.environments])}",
        direction="added" if new else "removed",
        spans=(Place(side, node.origin.document.span(("metadata", "name"))),),
        details=(
            *(f"contract {q(c.name)}, {c.declared.spec.classification}" for c in node.contracts),
            *(f"person {q(p.username)}: {joined([q(r) for r in p.roles]) or 'no role'}" for p in node.people),
            *(f"consumer {q(c.client_id)}" for c in node.consumers),
        ),
        data={
            "environments": list(spec.environments),
            "contracts": [f"{node.name}:{c.name}" for c in node.contracts],
            "tools": [o.tool_id for o in node.operations],
            "people": [p.username for p in node.people],
            "consumers": [c.client_id for c in node.consumers],
            "tier": spec.tier,
        },
    )


def _renamed_tenant(base: TenantNode, head: TenantNode) -> Change:
    return Change(
        section=Section.DELETIONS,
        code="tenant-renamed",
        tenant=head.name,
        subject=head.name,
        text=f"tenant {q(base.name)} is renamed to {q(head.name)}: {counted(len(head.operations), 'tool')} and "
        f"{counted(len(head.consumers), 'client')} get other ids, tokens that name {q(base.name)} are refused",
        direction="changed",
        spans=(
            Place("head", head.origin.document.span(("metadata", "name"))),
            Place("base", base.origin.document.span(("metadata", "name"))),
        ),
        details=tuple(f"tool {q(o.tool_id)}" for o in head.operations),
        data={"before": base.name, "after": head.name, "tools": [o.tool_id for o in head.operations],
              "consumers": [c.client_id for c in head.consumers]},
    )  # fmt: skip


def _contract(pairs: Pairs, tenant: Pair[TenantNode], pair: Pair[ContractNode]) -> Change:
    node = pair.head or pair.base
    assert node is not None
    new = pair.head is not None
    side: SideName = "head" if new else "base"
    owner = name_of(tenant)
    name = f"{owner}:{node.name}"
    spec = node.declared.spec
    tools = [o.tool_id for o in node.operations]
    moved = ""
    if not new:
        there = next((name_of(t) for t, c in pairs.contracts if c.base is None and c.head is not None
                      and c.head.declared.spec.operations == spec.operations), None)  # fmt: skip
        moved = f"; an equal one is new in {q(there)}" if there else ""
    return Change(
        section=Section.ADDITIONS if new else Section.DELETIONS,
        code="contract-added" if new else "contract-removed",
        tenant=owner,
        subject=name,
        text=f"contract {q(name)} ({spec.classification}, {spec.status}, {q(spec.version)}) is "
        f"{'new' if new else 'removed'}, with {counted(len(tools), 'tool')}{moved}",
        direction="added" if new else "removed",
        spans=(Place(side, node.origin.document.span(("metadata", "name"))),),
        details=(
            *(f"tool {q(o.tool_id)} ({o.declared.side_effects}): {q(o.title)}" for o in node.operations),
            *(f"backend in {q(e)}: {q(b.url)}" for e, b in node.backends.items()),
        ),
        data={"contracts": [name], "tools": tools, "classification": spec.classification, "status": spec.status,
              "version": spec.version},
    )  # fmt: skip


def _renamed_contract(tenant: TenantNode, base: ContractNode, head: ContractNode) -> Change:
    old, new = f"{tenant.name}:{base.name}", f"{tenant.name}:{head.name}"
    tools = [o.tool_id for o in head.operations]
    return Change(
        section=Section.DELETIONS,
        code="contract-renamed",
        tenant=tenant.name,
        subject=new,
        text=f"contract {q(old)} is moved to {q(new)}: its {counted(len(tools), 'tool')} get other ids",
        direction="changed",
        spans=(
            Place("head", head.origin.document.span(("metadata", "name"))),
            Place("base", base.origin.document.span(("metadata", "name"))),
        ),
        details=tuple(f"tool {q(t)}" for t in tools),
        data={"before": old, "after": new, "tools": tools, "contracts": [new]},
    )


def _operations(pairs: Pairs) -> Iterator[Change]:
    """Tools that came or went in contracts that stay, contract by contract."""
    moved: dict[tuple[str, str, bool], list[Operations]] = {}
    for pair in pairs.operations:
        if pair.contract.base is None or pair.contract.head is None:
            continue
        if (pair.operation.base is None) != (pair.operation.head is None):
            key = (name_of(pair.tenant), name_of(pair.contract), pair.operation.head is not None)
            moved.setdefault(key, []).append(pair)
    for (tenant, contract, new), same in moved.items():
        side: SideName = "head" if new else "base"
        nodes = [n for o in same if (n := o.operation.head or o.operation.base) is not None]
        tools = [n.tool_id for n in nodes]
        whom = q(tools[0]) if len(tools) == 1 else f"{counted(len(tools), 'tool')} of {q(f'{tenant}:{contract}')}"
        verb = "is" if len(tools) == 1 else "are"
        details: list[str] = []
        for n in nodes:
            details.append(f"tool {q(n.tool_id)} ({n.declared.side_effects}): {q(n.title)}")
            if new:
                details += text_difference("", _described(n))
        one = same[0].on(side)
        assert one is not None
        yield Change(
            section=Section.ADDITIONS if new else Section.DELETIONS,
            code="tool-added" if new else "tool-removed",
            tenant=tenant,
            subject=tools[0] if len(tools) == 1 else f"{tenant}:{contract}",
            text=f"{whom} {verb} {'new' if new else 'removed'} "
            f"({', '.join(sorted({n.declared.side_effects for n in nodes}))})",
            direction="added" if new else "removed",
            spans=tuple(Place(side, n.origin.document.span(n.origin.loc, "key")) for n in nodes),
            details=tuple(details),
            data={"tools": tools, "contracts": [f"{tenant}:{contract}"],
                  "classification": one[0].declared.spec.classification,
                  "sideEffects": max((n.declared.side_effects for n in nodes), key=_EFFECTS.index)},
        )  # fmt: skip


def _thing(documents: Documents) -> Change:
    new = documents.head is not None
    document = documents.head or documents.base
    assert document is not None
    side: SideName = "head" if new else "base"
    spec = (documents.after if new else documents.before)["spec"]
    kind, tenant, name = documents.kind, documents.tenant, documents.name
    section = Section.ADDITIONS if new else Section.DELETIONS
    data: dict[str, JSON] = {}
    if kind == "Subscription":
        section = Section.CONSUMERS
        consumer, contract = f"{tenant}.{spec['consumer']}", f"{tenant}:{spec['contract']}"
        until = f" until {q(spec['expires'])}" if spec.get("expires") else ""
        state = " (suspended)" if spec["status"] == "suspended" else ""
        reach = "reaches" if new else "no longer reaches"
        text = f"consumer {q(consumer)} {reach} {q(contract)}, by plan {q(spec['plan'])}{until}{state}"
        if not new:
            text = f"consumer {q(consumer)} no longer reaches {q(contract)}: subscription {q(name)} is removed"
        elif state:
            text = f"consumer {q(consumer)} has a subscription to {q(contract)} that is suspended"
        data = {"consumers": [consumer], "contracts": [contract]}
    elif kind == "Consumer":
        client = f"{tenant}.{name}"
        uris = spec["redirectUris"]
        grants = joined([q(g) for g in spec["grantTypes"]])
        text = f"consumer {q(client)} is {'new' if new else 'removed'}: {spec['client']}, {grants}"
        if uris:
            text += f", redirects to {names(uris)}"
            section = Section.EXPOSURE if new else section
        data = {"consumers": [client], "grantTypes": spec["grantTypes"], "redirectUris": uris, "roles": spec["roles"]}
    else:
        quota = spec.get("quota")
        many = f", {counted(quota['calls'], 'call')} a {quota['per']}" if quota else ""
        text = f"plan {q(name)} of {q(tenant)} is {'new' if new else 'removed'}: {q(spec['rate'])}{many}"
    return Change(
        section=section,
        code=f"{kind.lower()}-{'added' if new else 'removed'}",
        tenant=tenant,
        subject=f"{tenant}.{name}" if kind == "Consumer" else f"{tenant}/{kind.lower()}/{name}",
        text=text,
        direction="added" if new else "removed",
        spans=(Place(side, document.span(("metadata", "name"))),),
        data=data,
    )


# Who is hit: subscriptions of contracts and plans that change.

_HITS = {
    "input-schema-changed": "arguments",
    "output-schema-changed": "answers",
    "request-changed": "requests",
    "tool-removed": "tools",
    "tool-withdrawn": "tools",
    "contract-renamed": "ids",
    "side-effects-raised": "side effects",
    "rate-changed": "rates",
}


def hit_changes(pairs: Pairs, changes: Sequence[Change]) -> Iterator[Change]:
    """Subscriptions whose contract or plan changes under them."""
    hit: dict[str, dict[str, list[Change]]] = {}
    for change in changes:
        if change.code in _HITS and not (change.code == "rate-changed" and change.direction == "gained"):
            contracts = change.data.get("contracts")
            for contract in contracts if isinstance(contracts, list) else ():
                hit.setdefault(str(contract), {}).setdefault(_HITS[change.code], []).append(change)
    plans = {(c.tenant, c.subject): c for c in changes if c.code == "plan-limit-changed"}
    for tenant in pairs.tenants:
        if tenant.head is None or tenant.base is None:
            continue
        by_plan: dict[str, list[tuple[ConsumerNode, SubscriptionNode]]] = {}
        by_contract: dict[str, list[tuple[ConsumerNode, SubscriptionNode]]] = {}
        for consumer in tenant.head.consumers:
            for s in consumer.subscriptions:
                if s.declared.spec.status == "active":
                    by_plan.setdefault(s.declared.spec.plan, []).append((consumer, s))
                    by_contract.setdefault(s.declared.spec.contract, []).append((consumer, s))
        for plan, found in by_plan.items():
            cause = plans.get((tenant.head.name, f"{tenant.head.name}/plan/{plan}"))
            if cause is not None:
                yield _hit(
                    "plan-hits-subscriptions", tenant.head.name, f"plan {q(plan)}: its limits change", found, (cause,)
                )
        for contract, found in by_contract.items():
            name = f"{tenant.head.name}:{contract}"
            if name in hit:
                what = joined(sorted(hit[name]))
                causes = [c for same in hit[name].values() for c in same]
                yield _hit(
                    "contract-hits-subscriptions", tenant.head.name, f"{q(name)}: its {what} change", found, causes
                )


def _hit(
    code: str, tenant: str, what: str, found: Sequence[tuple[ConsumerNode, SubscriptionNode]], causes: Sequence[Change]
) -> Change:
    clients = sorted({c.client_id for c, _ in found})
    one = len(clients) == 1
    everywhere = [p for c in causes for p in c.spans]
    places = [p for p in everywhere if f"/{tenant}/" in f"/{p.span.file}"] or everywhere
    return Change(
        section=Section.CONSUMERS,
        code=code,
        tenant=tenant,
        subject=clients[0] if one else tenant,
        text=f"{names(clients)} {'is' if one else 'are'} hit by {what}",
        direction="changed",
        spans=tuple(dict.fromkeys(places)),
        details=tuple(
            f"subscription {q(s.name)} of {q(c.client_id)}, plan {q(s.declared.spec.plan)}" for c, s in found
        ),
        data={
            "consumers": clients,
            "subscriptions": [s.name for _, s in found],
            "contracts": sorted({f"{tenant}:{s.declared.spec.contract}" for _, s in found}),
        },
    )
