"""The form `markdown`: one note of a merge request, however large the plan is.

What an author wrote stands in inline code or in code blocks alone, each of whose lines begins with a sign of ours:
there it is no mention, quick action, link, image, table or HTML.
"""

import re
from collections.abc import Iterator

from stoa_compiler.plan.changes import Change, Place, Plan, Section
from stoa_compiler.plan.forms.outline import TITLES, by_target, by_tenant, headline, sections, size, summed, where, who
from stoa_compiler.plan.wording import counted
from stoa_compiler.reports.markdown import code, fenced
from stoa_compiler.reports.terminal import visible

LIMIT = 900_000
"""Characters; GitLab takes notes of 1,000,000."""
SHOWN = 10
"""Changes of one section that are shown without unfolding."""
PLACES = 3
FINDINGS = 5
TEXT_LINES = 60
"""Lines of a text that are shown without unfolding."""

_SIGNS = {
    "gained": "\N{HEAVY PLUS SIGN}",
    "added": "\N{HEAVY PLUS SIGN}",
    "lost": "\N{HEAVY MINUS SIGN}",
    "removed": "\N{HEAVY MINUS SIGN}",
    "weakened": "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}",
    "strengthened": "\N{WHITE HEAVY CHECK MARK}",
    "changed": "\N{CLOCKWISE OPEN CIRCLE ARROW}",
}
"""How a direction looks. None is a word, so that a list can be read by its first column."""


def as_markdown(plan: Plan) -> bytes:
    """The note, counts first; folded where it is long, and cut before GitLab would refuse it."""
    for details in (True, False):
        text = "\n\n".join(_parts(plan, details, None)) + "\n"
        if len(text) <= LIMIT:
            return text.encode()
    for most in (1000, 300, 100, 30):
        text = "\n\n".join(_parts(plan, False, most)) + "\n"
        if len(text) <= LIMIT:
            break
    return text.encode()


def _parts(plan: Plan, details: bool, most: int | None) -> Iterator[str]:
    yield f"## STOA plan: {headline(plan)}"
    yield f"From {_side(plan.base.name, plan.base.commit)} to {_side(plan.head.name, plan.head.commit)}."
    if not details:
        yield "**Shortened:** the whole plan is too long for a note. It stands in the job's artifact."
    for sentence in plan.uncompared:
        yield f"> **Not compared:** {_inline(sentence)}"
    if plan.requirements:
        yield "### Approvals that are needed"
        yield "\n".join(_requirements(plan))
    if plan.changes:
        yield "\n".join(_table(plan))
    for section, found in sections(plan):
        yield f"### {TITLES[section]}{f' ({by_tenant(found)})' if section is Section.DELETIONS else ''}"
        kept = found if most is None else found[:most]
        shown = kept[:SHOWN]
        yield "\n".join(_change(c, details) for c in shown)
        rest = kept[SHOWN:]
        if rest:
            yield _folded(f"{len(rest):,} more", "\n".join(_change(c, details) for c in rest))
        if len(found) > len(kept):
            yield f"and {len(found) - len(kept):,} more, which only the job's artifact has"
    if plan.artifacts:
        yield "### Artifacts"
        yield "\n".join(_artifact_table(plan))
        listing = [f"{a.environment} {_mark(a.kind)} {visible(a.path)}, {size(a)}" for a in plan.artifacts]
        kept_lines = listing if most is None else listing[:most]
        if details:
            yield _folded(f"{counted(len(listing), 'file')}", fenced("\n".join(kept_lines), "text"))
    yield from (_inline(note) for note in plan.notes)
    if plan.findings:
        yield "### Findings"
        listed = list(_findings(plan, 100))
        yield "\n".join(listed[:FINDINGS])
        if len(listed) > FINDINGS:
            yield _folded(f"{len(plan.findings) - FINDINGS:,} more", "\n".join(listed[FINDINGS:]))


def _side(name: str, commit: str) -> str:
    return f"{code(visible(name)[:200])}{f' ({code(commit[:12])})' if commit else ''}"


def _requirements(plan: Plan) -> Iterator[str]:
    for r in plan.requirements:
        done = bool(r.approvers) and len(r.given) >= r.count
        given = f", given by {', '.join(code(visible(g)[:80]) for g in r.given)}" if r.given else ""
        whom = ", ".join(code(visible(a)[:80]) for a in r.approvers) or "nobody: no merge request passes"
        reason = code(visible(r.reason)[:300])
        yield f"- [{'x' if done else ' '}] {r.count} of {whom}{given}: {reason} ({code(visible(r.policy)[:80])})"
        causes = [c for c in plan.changes if c.id in r.changes]
        yield from (f"  - {_inline(c.text)}" for c in causes[:PLACES])
        if len(causes) > PLACES:
            yield f"  - and {len(causes) - PLACES:,} more"


def _table(plan: Plan) -> Iterator[str]:
    yield "| | gained | lost | weakened | other |"
    yield "|---|---:|---:|---:|---:|"
    for section, found in sections(plan):
        gained = sum(c.direction in ("gained", "added") for c in found)
        lost = sum(c.direction in ("lost", "removed") for c in found)
        weak = sum(c.direction == "weakened" for c in found)
        rest = len(found) - gained - lost - weak
        yield f"| {TITLES[section]} | {' | '.join(f'{n:,}' if n else '' for n in (gained, lost, weak, rest))} |"


def _change(change: Change, details: bool) -> str:
    """One item of a list, with the places that cause it, and below it what else there is to know."""
    places = ", ".join(_place(p) for p in change.spans[:PLACES])
    more = f" and {len(change.spans) - PLACES:,} more" if len(change.spans) > PLACES else ""
    item = f"- {_SIGNS[change.direction]} {_inline(change.text)}{f'<br>{places}{more}' if places else ''}"
    if not details or not change.details:
        return item
    texts = [d for d in change.details if d[:1] in "+- "]
    words = [d for d in change.details if d[:1] not in "+- "]
    parts = [item]
    if words:
        listed = "\n".join(f"  - {_inline(w)}" for w in words)
        parts.append(listed if len(words) <= PLACES else _indented(_folded(f"{len(words):,} details", listed)))
    if texts:
        block = fenced("\n".join(texts), "diff")
        parts.append(_indented(block if len(texts) <= TEXT_LINES else _folded(f"{len(texts):,} lines", block)))
    return "\n".join(parts)


def _place(place: Place) -> str:
    blamed = f" ({code(visible(who(place)))})" if place.author else ""
    return f"{code(visible(where(place))[:200])}{blamed}"


def _inline(text: str) -> str:
    """A sentence of ours: what stands in backticks is code, whatever it is; the rest are our own words."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(code(p[1:-1]) if p.startswith("`") and len(p) > 2 else _escaped(p) for p in parts)


def _escaped(text: str) -> str:
    """Our own words; should a value be among them after all, nothing of it becomes a link, mention or quick action."""
    parts = re.split(r"(\S*(?:://|www\.|@)\S*|(?:^|(?<=\s))/\S*)", text)
    return "".join(code(part) if number % 2 else _words(part) for number, part in enumerate(parts))


def _words(text: str) -> str:
    return re.sub(r"([\\*_\[\]<>#|~!@&`])", r"\\\1", text).replace("\n", " ")


def _folded(summary: str, inside: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{inside}\n\n</details>"


def _indented(text: str) -> str:
    """The text as part of the list's item before it."""
    return "\n" + "\n".join(f"  {line}" if line else "" for line in text.split("\n")) + "\n"


def _artifact_table(plan: Plan) -> Iterator[str]:
    yield "| environment | target | files |"
    yield "|---|---|---|"
    for environment, target, found in by_target(plan.artifacts):
        yield f"| {environment} | {target} | {summed(found)} |"


def _mark(kind: str) -> str:
    return {"added": "+", "removed": "-", "changed": "~"}[kind]


def _findings(plan: Plan, limit: int) -> Iterator[str]:
    for d in plan.findings[:limit]:
        at = code(visible(str(d.span))[:200])
        yield f"- {d.rule.severity} {d.rule.code} at {at}: {code(visible(d.message)[:300])}"
    if len(plan.findings) > limit:
        yield f"- and {len(plan.findings) - limit:,} more"
