"""All contracts of two graphs: what breaks, what of it is ignored, and whether versions say so."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

from stoa_compiler.compatibility.contracts import Break, Ignored, compare_contracts
from stoa_compiler.compatibility.versions import Bump, Version, enough, suggested
from stoa_compiler.diagnostics import Diagnostic, Note, Report, Rule
from stoa_compiler.graph import ContractNode, Graph, OperationNode, TenantNode
from stoa_compiler.records import record
from stoa_compiler.source import Loc, Span
from stoa_schemas.documents.platform import IgnoredBreak

BREAKING = Rule(
    code="STOA711",
    title="a breaking change without its version",
    why="Consumers and agents were built on what the contract said. The version is how they learn that it no longer "
    "holds.",
    help="Raise the version, undo the change, or ignore it for a time with `spec.compatibility.ignore` of the platform "
    "document.",
)
UNDERSTATED = Rule(
    code="STOA712",
    title="the version says less than the change",
    why="What is new can only be asked for by a version that has it.",
    help="Raise the version.",
    severity="warning",
)
BACKWARDS = Rule(
    code="STOA713",
    title="the version goes backwards",
    why="Whoever holds the newer version would take the older contract for the newer one.",
    help="Give a version above the one that was merged.",
)
POSSIBLE = Rule(
    code="STOA714",
    title="a change that may break callers",
    why="Nobody can tell from the contract alone whether a caller relied on what is different now.",
    help="Look at the change with those who call it. A raised minor version says that you did.",
    severity="warning",
)
OUT_OF_DATE = Rule(
    code="STOA715",
    title="a break is ignored no longer",
    why="Each entry of `ignore` ends, so that nothing stays ignored because nobody remembers it.",
    help="Remove the entry, or give it a later day that the callers have agreed to.",
    severity="warning",
)
UNUSED = Rule(
    code="STOA716",
    title="nothing is ignored by the entry",
    why="An entry that fits no break of this change would silently allow a later one.",
    help="Remove the entry when its change is merged; correct its `code` or `contract` when it is not.",
    severity="warning",
)
REMOVED = Rule(
    code="STOA717",
    title="a contract is removed that was not deprecated",
    why="Nobody was told: a deprecated contract says so to agents and consumers while it still works.",
    help="Set `status: deprecated` first, and remove the contract when its callers have left.",
    severity="warning",
)

RULES = (BREAKING, UNDERSTATED, BACKWARDS, POSSIBLE, OUT_OF_DATE, UNUSED, REMOVED)

MAX_NOTES = 12
"""Breaks that a finding lists with their places."""


@record
class Versions:
    """What a contract's version says of its change, and what it should say."""

    tenant: str
    contract: str
    base: str
    head: str
    wanted: Bump
    """`major` for what breaks, `minor` for what is added, `patch` for texts; before ignored breaks are taken out."""
    suggested: str
    """The lowest version that is enough."""
    enough: bool
    """Whether the declared version is; also where the contract is a draft and promises nothing."""
    span: Span
    """The version at head."""


@record
class Judgement:
    """What a change does to those who rely on contracts."""

    breaks: tuple[Break, ...]
    """Also those that are ignored, which say why."""
    findings: tuple[Diagnostic, ...]
    versions: tuple[Versions, ...] = ()
    """Of every contract that is on both sides and otherwise at head than at base."""


def judge(base: Graph, head: Graph, today: date) -> Judgement:
    """The breaks between two graphs, and the findings on versions and ignored breaks.

    `today` is a day in UTC; it decides only which ignored breaks are out of date.
    """
    report = Report()
    entries = head.platform.spec.compatibility.ignore
    live = [index for index, entry in enumerate(entries) if _is_live(head, index, entry, today, report)]
    used: set[int] = set()
    breaks: list[Break] = []
    versions: list[Versions] = []
    defaults = _shared(base) == _shared(head)
    old, new = ({t.name: t for t in g.tenants} for g in (base, head))
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            continue
        now = {c.name: c for c in new[name].contracts} if name in new else {}
        for contract in old[name].contracts:
            after = now.get(contract.name)
            if after is None:
                found = _removed(contract, head, new.get(name), report)
            elif defaults and _same(contract, after):
                continue
            else:
                found = compare_contracts(contract, after)
            found = [_ignored(b, head, entries, live, used) for b in found]
            breaks += found
            # What the platform's defaults change is shown, and is not the contract's author's to declare.
            if after is not None and not _same(contract, after):
                versions += _version(contract, after, found, report)
    for index in sorted(set(live) - used):
        loc: Loc = ("spec", "compatibility", "ignore", index)
        entry = entries[index]
        said = f"this change has no `{entry.code}` in `{entry.contract}`"
        report.add(UNUSED, head.origin.document.span(loc), said)
    return Judgement(tuple(sorted(breaks, key=lambda b: b.order)), tuple(report.sorted()), tuple(versions))


def _shared(graph: Graph) -> object:
    """What contracts take from the platform."""
    spec = graph.platform.spec
    return spec.defaults, spec.classifications


def _same(base: ContractNode, head: ContractNode) -> bool:
    """Whether both say the same: by the bytes of their files, which pin what else they are made of."""
    return base.origin.document.file.content == head.origin.document.file.content


def _removed(contract: ContractNode, head: Graph, tenant: TenantNode | None, report: Report) -> list[Break]:
    if not contract.exposed:
        return []
    spec = contract.declared.spec
    home = (tenant or head).origin.document.span(("metadata", "name"))
    subject = f"{contract.declared.metadata.tenant}:{contract.name}"
    if spec.status != "deprecated":
        report.add(REMOVED, home, f"`{subject}` {spec.version} is gone, and was {spec.status}")
    count = len(contract.operations)
    text = f"`{subject}` {spec.version} is gone, and with it {count} operation{'s' * (count != 1)}"
    owner = contract.declared.metadata.tenant
    return [Break("contract-removed", owner, contract.name, "", text, contract.origin.document.span(), None)]


# Ignored breaks


def _is_live(head: Graph, index: int, entry: IgnoredBreak, today: date, report: Report) -> bool:
    """Whether the entry still holds; says so where it does not."""
    try:
        if today <= date.fromisoformat(entry.until):
            return True
        said = f"`{entry.code}` in `{entry.contract}` was ignored until {entry.until}"
    except ValueError:
        said = f"`{entry.until}` is no day of the calendar"
    report.add(OUT_OF_DATE, head.origin.document.span(("spec", "compatibility", "ignore", index, "until")), said)
    return False


def covers(scope: str, found: Break) -> bool:
    """Whether a scope, `tenant:contract` or a tool's id with `*` for whole segments, takes in the break."""
    segments = scope.split(":")
    mine = (found.tenant, found.contract, found.operation)
    if len(segments) == 3 and not found.operation:
        return False
    return all(wanted in ("*", have) for wanted, have in zip(segments, mine, strict=False))


def _ignored(found: Break, head: Graph, entries: Sequence[IgnoredBreak], live: Sequence[int], used: set[int]) -> Break:
    """The break, marked where an entry ignores it; notes every entry that fits."""
    fitting = [i for i in live if entries[i].code == found.code and covers(entries[i].contract, found)]
    used.update(fitting)
    if not fitting:
        return found
    entry = entries[fitting[0]]
    span = head.origin.document.span(("spec", "compatibility", "ignore", fitting[0]))
    return replace(found, ignored=Ignored(entry.reason, entry.until, span))


# Versions


def _version(base: ContractNode, head: ContractNode, breaks: Sequence[Break], report: Report) -> Iterator[Versions]:
    """What the declared version says of the change; adds the findings."""
    wanted = _wanted(base, head, breaks)
    old, new = Version.read(base.declared.spec.version), Version.read(head.declared.spec.version)
    if wanted == "none" and old == new:
        return
    at, tenant = head.origin.document.span(("spec", "version")), head.declared.metadata.tenant
    subject = f"{tenant}:{head.name}"
    # A draft promises nothing, so its version may be anything until it is published.
    exempt = not base.exposed
    counted = [b for b in breaks if b.ignored is None]
    certain = [b for b in counted if b.level == "breaking"]
    possible = [b for b in counted if b.level == "possible"]
    need: Bump = "major" if certain else "none" if breaks and not counted else "minor" if breaks else wanted
    fine = exempt or enough(old, new, need)
    yield Versions(tenant, head.name, str(old), str(new), wanted, suggested(old, wanted), fine, at)
    if exempt:
        return
    if new < old:
        said = f"`{subject}` goes from {old} back to {new}"
        report.add(BACKWARDS, at, said, help=f"Write {suggested(old, need)}, or a later one.")
        return
    if certain and not fine:
        ways = f"{len(certain)} breaking change{'s' * (len(certain) != 1)}"
        said = f"`{subject}` has {ways}, and its version goes from {old} to {new}"
        if old == new:
            said = f"`{subject}` has {ways}, and its version stays {old}"
        advice = (
            f"Write {suggested(old, 'major')}, undo the change, or ignore it for a time (`spec.compatibility.ignore`)."
        )
        report.add(BREAKING, at, said, _notes(certain), advice)
        return
    if possible and not certain and not enough(old, new, "minor"):
        ways = f"{len(possible)} change{'s' * (len(possible) != 1)}"
        stays = f"stays {old}" if old == new else f"goes from {old} to {new}"
        said = f"`{subject}` has {ways} that may break callers, and its version {stays}"
        report.add(POSSIBLE, at, said, _notes(possible), f"Look at each; then write {suggested(old, 'minor')}.")
    elif not certain and need == "minor" and not fine:
        stays = f"stays {old}" if old == new else f"goes from {old} to {new}"
        said = f"`{subject}` offers more than before, and its version {stays}"
        report.add(UNDERSTATED, at, said, help=f"Write {suggested(old, 'minor')}.")


def _notes(breaks: Sequence[Break]) -> list[Note]:
    """Each break with its place at head. Places at base are not among them: they are in other files."""
    notes = [Note(f"{b.code}: `{b.subject}`: {b.text}", b.head) for b in breaks[:MAX_NOTES]]
    if len(breaks) > MAX_NOTES:
        notes.append(Note(f"and {len(breaks) - MAX_NOTES} more"))
    return notes


def _wanted(base: ContractNode, head: ContractNode, breaks: Sequence[Break]) -> Bump:
    """The part of a version that the change is worth."""
    if any(b.level == "breaking" for b in breaks):
        return "major"
    if breaks or _offers(base) != _offers(head):
        return "minor"
    return "patch" if _texts(base) != _texts(head) else "none"


def _offers(contract: ContractNode) -> object:
    """What callers can do with the contract, but for words."""
    if not contract.exposed:
        return None
    return {o.name: _offered(o) for o in contract.operations}


def _offered(operation: OperationNode) -> object:
    declared = operation.declared
    return (
        declared.side_effects,
        declared.agents,
        sorted(declared.protocols),
        operation.approval,
        operation.request,
        operation.answer,
        _bare(operation.input_schema),
        _bare(operation.output_schema),
    )


_WORDS = frozenset({"title", "description", "examples", "$comment"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"const", "default", "enum"})


def _bare(schema: object) -> object:
    """The schema without words."""
    if isinstance(schema, dict):
        return {
            k: {n: _bare(s) for n, s in v.items()}
            if k in _NAMED and isinstance(v, dict)
            else v
            if k in _DATA
            else _bare(v)
            for k, v in schema.items()
            if k not in _WORDS and not k.startswith("x-")
        }
    return [_bare(v) for v in schema] if isinstance(schema, list) else schema


def _texts(contract: ContractNode) -> object:
    """What people and agents read of it."""
    spec = contract.declared.spec
    own = (spec.display_name, spec.description, spec.status)
    return own, [
        (o.name, o.title, o.description, o.examples, o.answers, o.input_schema, o.output_schema)
        for o in contract.operations
    ]
