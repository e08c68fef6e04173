"""Policies: which approvals the platform's rules demand for a plan.

The rules of both sides apply. Those of base judge a merge request that would relax them; those of head are what the
platform will demand from now on. A rule that is changed or removed also demands its own approval. Whatever cannot be
judged counts as demanded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import Graph, OperationNode
from stoa_compiler.load import PLATFORM_FILE
from stoa_compiler.parse import parse_file
from stoa_compiler.plan.changes import Change, Requirement, SideName
from stoa_compiler.plan.conditions import FACTS, NOTHING, Condition, Missing, Unjudged, Wrong, condition
from stoa_compiler.records import record
from stoa_compiler.source import SourceFile
from stoa_schemas.documents.access import SideEffects
from stoa_schemas.documents.platform import ClassificationName, ReviewRule

UNREADABLE_RULES = "rules-of-base"
"""The policy that nobody can satisfy: base has rules that cannot be read."""

_RULES: TypeAdapter[dict[str, ReviewRule]] = TypeAdapter(dict[str, ReviewRule])
_REVIEWS = "spec.reviews"


@record
class Rules:
    """The rules of one side's platform document."""

    side: SideName
    declared: Mapping[str, ReviewRule] = field(default_factory=dict)
    unreadable: str = ""
    """Why they cannot be read, in a sentence; empty where they can."""

    @classmethod
    def of(cls, side: SideName, content: bytes | None) -> "Rules":
        """The rules in the bytes of `platform.yaml`, whatever else is wrong with it; none where there is no file."""
        if content is None:
            return cls(side)
        document = parse_file(SourceFile(PLATFORM_FILE, PLATFORM_FILE, content), Report())
        if document is None:
            return cls(side, unreadable=f"`{PLATFORM_FILE}` of {side} is no YAML document of ours")
        found: Any = document.data
        for key in ("spec", "reviews", "rules"):
            if not isinstance(found, dict):
                return cls(side, unreadable=f"`{PLATFORM_FILE}` of {side} has no mapping around `{key}`")
            if key not in found:
                return cls(side)
            found = found[key]
        try:
            return cls(side, _RULES.validate_python(found))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (_REVIEWS, "rules", *first["loc"])))
            return cls(side, unreadable=f"`{where}` of {side} cannot be read: {first['msg']}")


@record
class Known:
    """What the tools and contracts of both sides are: a merge request that lowers a class is judged by the higher."""

    classifications: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By tool and by `tenant:contract`."""
    side_effects: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By tool."""
    by_itself: bool = False
    """Whether nothing is known of the sources, and what changes say of themselves is all there is."""

    def has(self, tool: str) -> bool:
        """Whether the tool is on either side."""
        return self.by_itself or tool in self.side_effects

    @classmethod
    def of(cls, *graphs: Graph | None) -> "Known":
        """What the graphs say; None is a side without one."""
        classes: dict[str, set[str]] = {}
        effects: dict[str, set[str]] = {}
        for graph in graphs:
            for tenant in graph.tenants if graph else ():
                for contract in tenant.contracts:
                    kind = contract.declared.spec.classification
                    classes.setdefault(f"{tenant.name}:{contract.name}", set()).add(kind)
                    for operation in contract.operations:
                        classes.setdefault(operation.tool_id, set()).add(kind)
                        effects.setdefault(operation.tool_id, set()).add(_effects(operation))
        return cls({k: frozenset(v) for k, v in classes.items()}, {k: frozenset(v) for k, v in effects.items()})


def _effects(operation: OperationNode) -> str:
    return operation.declared.side_effects


NOTHING_KNOWN = Known(by_itself=True)


def facts_of(change: Change, known: Known = NOTHING_KNOWN) -> dict[str, Any]:
    """What conditions can ask of the change: every fact, each of its type."""
    data = change.data
    facts: dict[str, Any] = dict(NOTHING)
    facts |= {"section": change.section.value, "code": change.code, "direction": change.direction}
    facts |= {"tenant": change.tenant, "subject": change.subject}
    for name, (kind, _) in FACTS.items():
        value = data.get(name)
        if kind == "list":
            facts[name] = _texts(value)
        elif kind == "bool":
            facts[name] = value is True
        elif name in ("kind", "path", "why"):
            facts[name] = value if isinstance(value, str) else ""
    classes = {*facts["classifications"], *_texts(data.get("classification"))}
    if change.code.startswith("classification"):
        classes |= {*_texts(data.get("before")), *_texts(data.get("after"))}
    effects = {*facts["sideEffects"]}
    for name in (change.subject, *facts["tools"], *facts["contracts"]):
        classes |= known.classifications.get(name, frozenset())
        effects |= known.side_effects.get(name, frozenset())
    if any("*" in tool or not known.has(tool) for tool in facts["tools"]):
        # A pattern, or a tool that was not looked at: it may be any.
        classes |= {*get_args(ClassificationName)}
        effects |= {*get_args(SideEffects)}
    facts["classifications"] = sorted(classes)
    facts["sideEffects"] = sorted(effects)
    if change.tenant and change.tenant not in facts["tenants"]:
        facts["tenants"] = [change.tenant, *facts["tenants"]]
    return facts


def _each(change: Change, known: Known) -> Iterable[dict[str, Any]]:
    """The facts of each change that a line stands for, and of each tenant where it is the same in many."""
    for part in change.parts or (change,):
        facts = facts_of(part, known)
        yield facts
        if not part.tenant:
            yield from (facts | {"tenant": tenant} for tenant in facts["tenants"])


def _texts(value: Any) -> list[str]:
    """The texts of a list; of one text, a list of it; of anything else none."""
    if isinstance(value, str):
        return [value] if value else []
    return [v for v in value if isinstance(v, str)] if isinstance(value, list | tuple) else []


def requirements(
    changes: Sequence[Change],
    base: Rules,
    head: Rules,
    known: Known = NOTHING_KNOWN,
    *,
    complete: bool = True,
    target: Rules | None = None,
) -> tuple[Requirement, ...]:
    """The approvals that the rules of both sides demand. With anything that was not compared, each rule is demanded.

    `target` are the rules of the branch that is merged into, as it is now: a branch that left before a rule was made
    is judged by it as well.
    """
    sides = [base, head, *([target] if target is not None else [])]
    judged = changes if any(s.declared for s in sides) else ()
    facts = [(change, facts) for change in judged for facts in _each(change, known)]
    # A rule that is new demands nothing of its own: nobody agreed to it yet.
    touched = {name: _own(name, changes) for name in base.declared if _changed(name, base, head)}
    made = [
        _Judged.of(name, rule, facts, complete, touched.get(name) if side is base else None)
        for side in sides
        for name, rule in side.declared.items()
    ]
    found = [_requirement(name, same) for name, same in _together(j for j in made if j.demanded)]
    for side in sides:
        if side.unreadable:
            reason = f"{side.unreadable}; no merge request can be judged by rules that nobody can read"
            found.append(Requirement(UNREADABLE_RULES, (), reason, ()))
    return tuple(sorted(found, key=lambda r: (r.policy, r.approvers, r.count)))


@record
class _Judged:
    """One rule of one side, and the changes that it is about."""

    name: str
    rule: ReviewRule
    changes: tuple[str, ...]
    demanded: bool
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        name: str,
        rule: ReviewRule,
        facts: Iterable[tuple[Change, Mapping[str, Any]]],
        complete: bool,
        own: Sequence[str] | None,
    ) -> "_Judged":
        """`own` are the changes of the rule itself; None where it stays as it is."""
        judge, notes = _condition(rule)
        found: list[str] = []
        unjudged = ""
        for change, known in facts:
            if found and found[-1] == change.id:
                continue
            try:
                if judge is None or judge.holds(known):
                    found.append(change.id)
            except Unjudged as why:
                unjudged = unjudged or str(why)
                found.append(change.id)
        if unjudged:
            notes.append(f"some changes could not be judged and count: {unjudged}")
        if own is not None:
            notes.append("the rule itself is changed or removed")
            found += [c for c in own if c not in found]
        if not complete:
            notes.append("not everything could be compared")
        demanded = bool(found) or own is not None or not complete
        return cls(name, rule, tuple(found), demanded, tuple(notes))


def _condition(rule: ReviewRule) -> tuple[Condition | None, list[str]]:
    """None stands for one that always holds."""
    try:
        return condition(rule.when), []
    except Wrong as wrong:
        return None, [f"its condition cannot be read and counts as true: {wrong}"]
    except Missing:
        return None, ["conditions cannot be read here (`pip install 'stoa-platform[reviews]'`) and count as true"]


def _changed(name: str, base: Rules, head: Rules) -> bool:
    """Whether a rule of that name is otherwise on the two sides. Its reason is words only."""
    one, other = base.declared.get(name), head.declared.get(name)
    if one is None or other is None:
        return True
    return (one.when, set(one.approvers), one.count) != (other.when, set(other.approvers), other.count)


def _own(name: str, changes: Sequence[Change]) -> list[str]:
    """The changes that are the rule's own."""
    at = f"{_REVIEWS}.rules.{name}"
    paths = ((c.id, c.data.get("path")) for c in changes if c.data.get("kind") == "Platform")
    return [
        identity
        for identity, path in paths
        if isinstance(path, str) and (path == at or path.startswith(f"{at}.") or at.startswith(f"{path}."))
    ]


def _together(judged: Iterable[_Judged]) -> Iterable[tuple[str, Sequence[_Judged]]]:
    """Rules of both sides that demand the same of the same people, as one."""
    groups: dict[tuple[str, frozenset[str], int], list[_Judged]] = {}
    for one in judged:
        groups.setdefault((one.name, frozenset(one.rule.approvers), one.rule.count), []).append(one)
    return [(name, same) for (name, _, _), same in groups.items()]


def _requirement(name: str, same: Sequence[_Judged]) -> Requirement:
    rule = same[-1].rule
    notes = [f"({note})" for note in dict.fromkeys(n for j in same for n in j.notes)]
    return Requirement(
        policy=name,
        approvers=tuple(sorted(set(rule.approvers))),
        reason=" ".join([" ".join(same[0].rule.reason.split()), *notes]),
        changes=tuple(dict.fromkeys(c for j in same for c in j.changes)),
        count=rule.count,
    )
