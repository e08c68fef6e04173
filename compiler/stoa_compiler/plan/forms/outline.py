"""What every form for people shares: titles, counts, the artifacts in few lines."""

from collections import Counter
from collections.abc import Iterator, Sequence

from stoa_compiler.plan.changes import SECTIONS, ArtifactChange, Change, Place, Plan, Section
from stoa_compiler.plan.wording import counted

TITLES: dict[Section, str] = {
    Section.ACCESS: "Access",
    Section.SAFEGUARDS: "Weakened safeguards",
    Section.EXPOSURE: "Exposure",
    Section.TEXTS: "Tool texts and schemas",
    Section.CONTRACTS: "Contracts",
    Section.CONSUMERS: "Consumers and subscriptions",
    Section.LIMITS: "Limits",
    Section.DELETIONS: "Deletions and renamings",
    Section.ADDITIONS: "Additions and the rest",
}

SIGNS = {
    "gained": "+",
    "added": "+",
    "lost": "-",
    "removed": "-",
    "weakened": "!",
    "strengthened": "^",
    "changed": "~",
}
"""One character for a direction."""


def sections(plan: Plan) -> Iterator[tuple[Section, Sequence[Change]]]:
    """The sections that have changes, most dangerous first."""
    for section in SECTIONS:
        found = [c for c in plan.changes if c.section is section]
        if found:
            yield section, found


def headline(plan: Plan) -> str:
    """The plan in one line: what there is of each section."""
    if plan.uncompared and not plan.changes:
        return "not compared"
    if not plan.changes:
        return "no change of meaning" if plan.base.digest != plan.head.digest else "no changes: both sides are equal"
    parts = []
    for section, found in sections(plan):
        if section is Section.ACCESS:
            gained = sum(c.direction == "gained" for c in found)
            lost = sum(c.direction == "lost" for c in found)
            parts += [f"access gained {gained:,}"] if gained else []
            parts += [f"lost {lost:,}" if gained else f"access lost {lost:,}"] if lost else []
            parts += [f"access otherwise {rest:,}"] if (rest := len(found) - gained - lost) else []
        else:
            parts.append(f"{_SHORT[section]} {len(found):,}")
    return ", ".join(parts)


_SHORT = {
    Section.SAFEGUARDS: "safeguards weakened",
    Section.EXPOSURE: "exposure",
    Section.TEXTS: "texts and schemas",
    Section.CONTRACTS: "contracts",
    Section.CONSUMERS: "consumers",
    Section.LIMITS: "limits",
    Section.DELETIONS: "deletions",
    Section.ADDITIONS: "additions and the rest",
}


def by_tenant(changes: Sequence[Change]) -> str:
    """How many each tenant has: `2 of `ioi`, 1 of the platform`."""
    counts = Counter(c.tenant for c in changes)
    parts = [f"{n} of {f'`{t}`' if t else 'the platform'}" for t, n in sorted(counts.items())]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} tenants more" if len(parts) > 8 else "")


def where(place: Place) -> str:
    """File and line; `base:` before what only stands there."""
    return f"{'base:' if place.side == 'base' else ''}{place.span.file}:{place.span.line}"


def who(place: Place) -> str:
    """Author and commit of the line, where they were asked for."""
    if not place.author:
        return ""
    return f"{place.author}{f' {place.commit[:9]}' if place.commit else ''}"


def size(change: ArtifactChange) -> str:
    """How the bytes change."""
    if change.kind == "changed":
        step = change.after - change.before
        total = f" to {change.after:,}" if change.whole else ""
        return f"{step:+,} bytes{total}" if step else f"same size{f', {change.after:,} bytes' if change.whole else ''}"
    return f"{change.after or change.before:,} bytes"


def by_target(artifacts: Sequence[ArtifactChange]) -> Iterator[tuple[str, str, Sequence[ArtifactChange]]]:
    """Artifacts by environment and target."""
    groups: dict[tuple[str, str], list[ArtifactChange]] = {}
    for artifact in artifacts:
        groups.setdefault((artifact.environment, artifact.target), []).append(artifact)
    for (environment, target), found in groups.items():
        yield environment, target, found


def summed(found: Sequence[ArtifactChange]) -> str:
    """`3 files: 1 new, 2 changed (+1,204 bytes)`."""
    kinds = Counter[str](a.kind for a in found)
    words = {"added": "new", "changed": "changed", "removed": "gone"}
    there = [k for k in ("added", "changed", "removed") if kinds[k]]
    step = sum(a.after - a.before for a in found)
    bytes_ = f"{step:+,} bytes" if step else "same size"
    if len(there) == 1:
        return f"{counted(len(found), 'file')} {words[there[0]]} ({bytes_})"
    return f"{counted(len(found), 'file')}: {', '.join(f'{kinds[k]:,} {words[k]}' for k in there)} ({bytes_})"
