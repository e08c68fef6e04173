"""The plan of two trees: which tenants differ, their graphs, and everything that is otherwise.

`of` is the whole on one screen.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from stoa_compiler.compatibility import Break, Versions
from stoa_compiler.compatibility import judge as judge_contracts
from stoa_compiler.diagnostics import Diagnostic, Report, Stop
from stoa_compiler.graph import Graph
from stoa_compiler.load import PLATFORM_FILE, Source
from stoa_compiler.pipeline import judge
from stoa_compiler.plan.access import access_changes, environment_changes
from stoa_compiler.plan.artifacts import artifact_changes, bundle_digests
from stoa_compiler.plan.changes import JSON, Change, Place, Plan, Section, Side
from stoa_compiler.plan.declared import Difference, differences, is_deny, said, uncovered
from stoa_compiler.plan.pairs import Pairs
from stoa_compiler.plan.policies import Known, Rules, requirements
from stoa_compiler.plan.revisions import Lines, Tree
from stoa_compiler.plan.tools import Covered, hit_changes, things_changes, tool_changes
from stoa_compiler.plan.wording import counted, joined, names, q
from stoa_compiler.records import record
from stoa_compiler.reports.terminal import visible
from stoa_compiler.source import SourceFile

_ALONE = frozenset({"displayName", "people", "groups", "backends", "reviews", "compatibility"})
"""Keys of the platform's `spec` that change no tenant's meaning, but for the tenants that allowed hosts name."""


@record(slots=False)
class Made:
    """A plan, and what is needed to show it."""

    plan: Plan
    files: Mapping[str, SourceFile]
    """Head's files by shown path, for its diagnostics."""
    base_files: Mapping[str, SourceFile]
    broken: bool
    """Whether head does not compile: the plan then holds its findings and no change."""
    errors: tuple[Diagnostic, ...] = ()
    """Of the change itself: it breaks what its versions promise."""


def of(base: Tree, head: Tree, today: date, *, bind: bool = False, blame: bool = False, artifacts: bool = True,
       target: Tree | None = None) -> Made:  # fmt: skip
    """What the step from `base` to `head` does, judged as on the day `today`, UTC.

    The rules for reviews of `target`, the branch that is merged into as it is now, apply besides those of both sides.
    With `bind`, head's bundles are named by their digests, which takes a whole compile; it raises `Stop` where that
    fails. Without `artifacts`, nothing is rendered.
    """
    changed = {p for p in {*base.objects, *head.objects} if base.objects.get(p) != head.objects.get(p)}
    tenants = _scope(base, head, changed)
    old, new = _Read.of(base, tenants), _Read.of(head, tenants)
    made = Made(Plan(_side(base, old), _side(head, new)), new.source.files, old.source.files, False)
    if new.errors or new.graph is None:
        said = f"head does not compile ({counted(len(new.errors), 'error')}): nothing was compared"
        plan = replace(made.plan, findings=tuple(new.found), uncompared=(said,))
        return replace(made, plan=plan, broken=True)
    plan = replace(made.plan, findings=tuple(d for d in new.found if d not in old.found))
    errors: tuple[Diagnostic, ...] = ()
    if changed:
        plan, errors = _compared(plan, old, new, changed, today, tenants is None, artifacts)
        known = Known.of(old.graph, new.graph)
        was, will = Rules.of("base", _platform(base)), Rules.of("head", _platform(head))
        now = None if target is None else Rules.of("base", _platform(target))
        demanded = requirements(plan.changes, was, will, known, complete=plan.complete, target=now)
        plan = replace(plan, requirements=demanded)
    if blame:
        plan = replace(plan, changes=_blamed(plan.changes, base, head, made))
    if bind:
        plan = replace(plan, head=replace(plan.head, bundles=_bundles(head)))
    return replace(made, plan=plan, errors=errors)


def _platform(tree: Tree) -> bytes | None:
    """The bytes of the platform's document; None where the tree has none."""
    return tree.contents({PLATFORM_FILE}).get(PLATFORM_FILE) if PLATFORM_FILE in tree.objects else None


@record(slots=False)
class _Read:
    """One side, compiled as far as it can be."""

    source: Source
    graph: Graph | None
    found: Sequence[Diagnostic]
    empty: bool

    @classmethod
    def of(cls, tree: Tree, tenants: Iterable[str] | None) -> "_Read":
        if tree.empty and not tree.objects:
            return cls(Source((), {}), None, (), True)
        source, found = tree.read(None if tenants is None else set(tenants))
        report = Report(list(found))
        graph = judge(source, report).graph
        return cls(source, graph, report.sorted(), False)

    @property
    def errors(self) -> Sequence[Diagnostic]:
        return [d for d in self.found if d.rule.severity == "error"]

    def without(self, tenants: set[str]) -> "Graph | None":
        if self.graph is None:
            return None
        return replace(self.graph, tenants=tuple(t for t in self.graph.tenants if t.name not in tenants))


def _side(tree: Tree, read: _Read) -> Side:
    return Side(tree.name, tree.commit, tree.source, tree.digest, not read.errors)


def _scope(base: Tree, head: Tree, changed: set[str]) -> set[str] | None:
    """The tenants to look at; None for all, where the platform's document changes what all of them mean."""
    tenants = {p.partition("/")[0] for p in changed if "/" in p}
    if PLATFORM_FILE not in changed or base.empty or head.empty:
        return None if base.empty and PLATFORM_FILE in changed else tenants
    from stoa_compiler.parse import parse

    sides = []
    for tree in (base, head):
        source, _ = tree.read(set())
        documents = parse(source.placed, Report())
        data = documents[0][1].data if documents else None
        if not isinstance(data, dict) or not isinstance(data.get("spec"), dict):
            return None
        sides.append(data)
    before, after = (side["spec"] for side in sides)
    if {k: v for k, v in sides[0].items() if k != "spec"} != {k: v for k, v in sides[1].items() if k != "spec"}:
        return None
    if any(before.get(k) != after.get(k) for k in {*before, *after} - _ALONE):
        return None
    hosts: list[list[dict[str, object]]] = []
    for spec in (before, after):
        backends = spec.get("backends")
        if not isinstance(backends, dict) or set(backends) - {"allowedHosts"}:
            return None
        listed = backends.get("allowedHosts")
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            return None
        hosts.append(listed)
    moved = [e for e in hosts[0] if e not in hosts[1]] + [e for e in hosts[1] if e not in hosts[0]]
    for entry in moved:
        named = entry.get("tenants")
        if not isinstance(named, list):
            return None
        tenants |= {str(t) for t in named}
    return tenants


def _compared(
    plan: Plan, old: _Read, new: _Read, changed: set[str], today: date, whole: bool, rendered: bool
) -> tuple[Plan, tuple[Diagnostic, ...]]:
    """The plan with what is otherwise, and the errors of the change itself."""
    assert new.graph is not None
    bad, uncompared = _unsound(old)
    if old.errors and (old.graph is None or "" in bad):
        first = old.errors[0]
        text = f"base does not compile ({counted(len(old.errors), 'error')}, the first {first.rule.code} at "
        said_ = f"{text}{q(str(first.span))}): nothing was compared"
        return replace(plan, findings=(*plan.findings, *old.errors), uncompared=(said_,)), ()
    base, head = old.without(bad), new.without(bad)
    assert head is not None
    pairs = Pairs(base, head)
    changes = list(_changes(pairs, today))
    judged: tuple[Diagnostic, ...] = ()
    if base is not None:
        judgement = judge_contracts(base, head, today)
        changes += together([*map(_break, judgement.breaks), *_versions(judgement.versions)])
        judged = judgement.findings
    artifacts, failed = artifact_changes(base, head, whole) if rendered else ((), ())
    plan = replace(
        plan,
        changes=tuple(sorted(changes, key=_order)),
        findings=(*judged, *plan.findings, *(old.errors if bad else ())),
        artifacts=tuple(artifacts),
        notes=tuple(_notes(pairs, changed)),
        uncompared=(*uncompared, *failed),
    )
    return plan, tuple(d for d in judged if d.rule.severity == "error")


def _break(found: Break) -> Change:
    """The line of a change that breaks callers."""
    certain = found.level == "breaking"
    places = [Place("head", found.head)] if found.head is not None else []
    places += [Place("base", found.base)] if found.base is not None else []
    ignored = f"; ignored until {q(found.ignored.until)}" if found.ignored else ""
    details = [f"at {q(found.place)}"] if found.place else []
    details += [f"for example {q(found.example)}"] if found.example else []
    details += [f"ignored: {q(found.ignored.reason, 300)}"] if found.ignored else []
    return Change(
        section=Section.CONTRACTS,
        code=found.code,
        tenant=found.tenant,
        subject=found.subject,
        text=f"{q(found.subject)} {'breaks' if certain else 'may break'} callers: {visible(found.text)}{ignored}",
        direction="weakened" if certain and not found.ignored else "changed",
        spans=tuple(places),
        details=tuple(details),
        data={
            "contracts": [f"{found.tenant}:{found.contract}"],
            "tools": [found.subject] if found.operation else [],
            "categories": list(found.categories),
            "level": found.level,
            "ignored": found.ignored is not None,
        },
    )


def _versions(versions: Sequence[Versions]) -> Iterable[Change]:
    """Contracts whose version says less than the change does."""
    for v in versions:
        if not v.enough:
            name = f"{v.tenant}:{v.contract}"
            stays = f"stays {q(v.base)}" if v.base == v.head else f"goes from {q(v.base)} to {q(v.head)}"
            yield Change(
                section=Section.CONTRACTS,
                code="version-too-low",
                tenant=v.tenant,
                subject=name,
                text=f"{q(name)}: the version {stays}, and the changes ask for {q(v.suggested)}",
                direction="weakened" if v.wanted == "major" else "changed",
                spans=(Place("head", v.span),),
                data={"contracts": [name], "before": v.base, "after": v.head, "suggested": v.suggested,
                      "bump": v.wanted},
            )  # fmt: skip


def _unsound(read: _Read) -> tuple[set[str], list[str]]:
    """Tenants whose documents at base are not sound, `` for the platform; and what that means, in sentences."""
    by_tenant: dict[str, list[Diagnostic]] = {}
    paths = {file.shown: file.path for file in read.source.files.values()}
    for found in read.errors:
        path = paths.get(found.span.file, "")
        by_tenant.setdefault(path.partition("/")[0] if "/" in path else "", []).append(found)
    said_ = [
        f"tenant {q(tenant)} of base does not compile ({counted(len(found), 'error')}, the first "
        f"{found[0].rule.code} at {q(str(found[0].span))}): nothing of it was compared"
        for tenant, found in sorted(by_tenant.items())
        if tenant
    ]
    return set(by_tenant), said_


def _changes(pairs: Pairs, today: date) -> Iterable[Change]:
    covered: Covered = set()
    made = [*access_changes(pairs, today), *environment_changes(pairs, covered)]
    made += [*tool_changes(pairs, covered), *things_changes(pairs)]
    if pairs.base is None:
        place = Place("head", pairs.head.origin.document.span(("metadata", "name")))
        text = f"the platform {q(pairs.head.name)} is new, with {counted(len(pairs.head.tenants), 'tenant')}"
        made.append(Change(Section.ADDITIONS, "platform-added", "", "platform", text, "added", (place,)))
    found = [d for documents in pairs.documents for d in differences(documents)]
    told = _Told(made)
    rest = [said(d) for d in uncovered(found, covered) if not told.of(d)]
    rest = [*(c for c in rest if c.code != "grant-changed"), *_grants([c for c in rest if c.code == "grant-changed"])]
    return [*made, *together(rest), *together(list(hit_changes(pairs, [*made, *rest])))]


_TOLD_BY_PLACE = {
    "grant-changed", "member-changed", "membership-changed", "group-role-changed", "group-changed",
    "consumer-role-changed",
}  # fmt: skip


class _Told:
    """What changes of access have told of already: places, people, and grants that are wider now."""

    def __init__(self, made: Sequence[Change]) -> None:
        self.places: dict[tuple[str, str], list[Place]] = {}
        self.people: set[tuple[str, str]] = set()
        self.wider: set[tuple[str, str]] = set()
        for change in made:
            if change.section is not Section.ACCESS:
                continue
            for place in change.spans:
                self.places.setdefault((place.side, place.span.file), []).append(place)
            tenants = _texts(change, "tenants") or [change.tenant]
            if change.code in ("role-gained", "role-lost"):
                self.people |= {(t, p) for t in tenants for p in _texts(change, "people")}
            if change.code == "access-gained" and change.data.get("why") in ("grant", "wildcard"):
                self.wider |= {(t, r) for t in tenants for r in _texts(change, "roles")}

    def of(self, difference: Difference) -> bool:
        """Whether the difference, of a grant, a member or a role, is told of."""
        change = said(difference)
        if change.section is not Section.ACCESS:
            return False
        if change.code == "person-changed":
            return (change.tenant, str(difference.loc[-1])) in self.people
        if change.code not in _TOLD_BY_PLACE:
            return False
        narrower = change.code == "grant-changed" and change.direction == "lost" and not is_deny(difference)
        if narrower and (change.tenant, change.subject.rpartition("/")[2]) in self.wider:
            return True  # A wider pattern of the same role stands for it now.
        return any(
            _within(mine, theirs) or _within(theirs, mine)
            for mine in change.spans
            for theirs in self.places.get((mine.side, mine.span.file), ())
        )


def _texts(change: Change, key: str) -> list[str]:
    """A list among the facts of a change; empty where there is none."""
    found = change.data.get(key)
    return list(map(str, found)) if isinstance(found, list | tuple) else []


def _grants(changes: Sequence[Change]) -> Iterable[Change]:
    """Grants that are written otherwise and give the same: one line for each role."""
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.tenant, change.subject), []).append(change)
    for same in groups.values():
        if len(same) == 1:
            yield same[0]
            continue
        named = same[0].text.partition(": ")[0]
        parts = []
        for key, word in (("after", "adds"), ("before", "removes")):
            values = [q(str(v)) for c in same if (v := c.data.get(key)) is not None and isinstance(v, str)]
            parts += [f"{word} {joined(values)}"] if values else []
        said_ = joined(parts) or "changes"
        yield replace(
            same[0],
            text=f"{named}: {said_}; no role has other tools by it now",
            direction="changed",
            spans=tuple(p for c in same for p in c.spans),
            data={**same[0].data, "before": None, "after": None},
        )


def _within(inner: Place, outer: Place) -> bool:
    if (inner.side, inner.span.file) != (outer.side, outer.span.file):
        return False
    a, b = inner.span, outer.span
    starts = (b.line, b.column) <= (a.line, a.column)
    return starts and (a.end_line, a.end_column) <= (b.end_line, b.end_column)


MANY = 5
"""From more on, changes that say the same of different things are one line."""


def together(changes: Sequence[Change]) -> Iterable[Change]:
    """The changes; those that say the same of many things become one."""
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        named, _, rest = change.text.partition(": ")
        if change.section is Section.CONSUMERS:
            rest = _NAME.sub("", rest)
        elif change.tenant:
            rest = rest.replace(f"`{change.tenant}:", "`<tenant>:")
        kind = " ".join(_NAME.sub("", named).split())
        groups.setdefault((change.section, change.code, change.direction, kind, rest), []).append(change)
    for (*_, kind, rest), same in groups.items():
        if len(same) <= MANY:
            yield from same
            continue
        tenants = sorted({c.tenant for c in same})
        subjects = [c.subject for c in same]
        verb = " are hit" if " hit by" in f" {kind}" else _VERBS.get(kind, "")
        merged = _merged(same)
        if verb == " are hit":
            hit = merged.get("consumers")
            subjects = list(map(str, hit)) if isinstance(hit, list) else subjects
            rest = rest.removeprefix("its ")
        text = f"{names(subjects)}{verb}: {' '.join(rest.split())}"
        yield replace(
            same[0],
            tenant=tenants[0] if len(tenants) == 1 else "",
            subject=tenants[0] if len(tenants) == 1 else "platform",
            text=text,
            spans=tuple(dict.fromkeys(p for c in same for p in c.spans)),
            details=(*(q(s) for s in subjects), *(same[0].details if same[0].section is Section.TEXTS else ())),
            data={**same[0].data, "subjects": subjects, "tenants": tenants, **merged},
            parts=tuple(part for c in same for part in (c.parts or (c,))),
        )


_VERBS = {"breaks callers": " break callers", "may break callers": " may break callers"}
_NAME = re.compile(r"`[^`]*`")


def _merged(same: Sequence[Change]) -> dict[str, JSON]:
    """Lists of facts, of all of them."""
    merged: dict[str, JSON] = {}
    for key in ("tools", "contracts", "consumers", "subscriptions", "people", "roles"):
        values = [v for c in same if isinstance(listed := c.data.get(key), list) for v in listed]
        if values:
            merged[key] = sorted(dict.fromkeys(map(str, values)))
    return merged


_DIRECTIONS = {"gained": 0, "weakened": 0, "lost": 1, "removed": 1, "changed": 2, "strengthened": 3, "added": 4}
_EFFECTS = {"destructive": 0, "write": 1, "read": 2, "none": 3}


def _order(change: Change) -> tuple[object, ...]:
    """Sections by danger; in each, gains before losses, and what destroys before what reads."""
    section = list(Section).index(change.section)
    effects = change.data.get("sideEffects")
    worst = _EFFECTS.get(effects, 2) if isinstance(effects, str) else 2
    approval = bool(change.data.get("approval"))
    return (
        section,
        _DIRECTIONS[change.direction],
        worst,
        approval,
        change.tenant,
        change.subject,
        change.code,
        change.text,
    )


def _notes(pairs: Pairs, changed: set[str]) -> Iterable[str]:
    """Files that differ and mean the same."""
    same = sorted(
        (d.renamed, d.head.file.path)
        for d in pairs.documents
        if d.base is not None
        and d.head is not None
        and d.head.file.path in changed
        and d.base.file.path == d.head.file.path
        and not any(differences(d))
    )
    for renamed, words in ((False, "no change of meaning in {}"), (True, "{} changed only as the renaming demands")):
        paths = [path for follows, path in same if follows == renamed]
        if paths:
            yield f"{words.format(counted(len(paths), 'file'))}: {names(paths)}"


def _blamed(changes: Sequence[Change], base: Tree, head: Tree, made: Made) -> tuple[Change, ...]:
    trees = {"base": (base, made.base_files), "head": (head, made.files)}
    wanted: dict[tuple[str, str], set[Lines]] = {}
    for change in changes:
        for place in change.spans:
            wanted.setdefault((place.side, place.span.file), set()).add(_lines(place))
    known: dict[tuple[str, str], Mapping[Lines, tuple[str, str]]] = {}
    for (side, shown), lines in wanted.items():
        tree, files = trees[side]
        if shown in files:
            known[side, shown] = tree.blame(files[shown].path, lines)

    def blamed(place: Place) -> Place:
        commit, author = known.get((place.side, place.span.file), {}).get(_lines(place), ("", ""))
        return replace(place, commit=commit, author=author)

    return tuple(replace(c, spans=tuple(map(blamed, c.spans))) for c in changes)


def _lines(place: Place) -> Lines:
    """The lines that the place covers, the first hundred of them."""
    last = place.span.end_line - (place.span.end_column == 1 and place.span.end_line > place.span.line)
    return (place.span.line, min(last, place.span.line + 99))


def _bundles(head: Tree) -> dict[str, str]:
    """Digests of head's bundles; raises `Stop` where the whole of head does not compile."""
    whole = _Read.of(head, None)
    if whole.errors or whole.graph is None:
        raise Stop
    return bundle_digests(whole.graph, Report())
