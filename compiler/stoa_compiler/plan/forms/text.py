"""The form `text`: for a terminal or a job's log. Sections that are long end with how many lines more there are."""

import re
from collections.abc import Iterator

from stoa_compiler.plan.changes import Change, Plan, Section
from stoa_compiler.plan.forms.outline import (
    SIGNS,
    TITLES,
    by_target,
    by_tenant,
    headline,
    sections,
    size,
    summed,
    where,
    who,
)
from stoa_compiler.plan.wording import counted
from stoa_compiler.reports.terminal import WIDTH_OF_A_LOG, visible, wrapped

LIMIT = 12
"""Changes of one section that are shown folded."""
DETAILS = 6
"""Lines below a change that are shown folded, but for texts, which are always shown in full."""
PLACES = 3

_COLORS = {"+": "32", "-": "31", "!": "1;31", "^": "32", "~": "33"}


def as_text(plan: Plan, color: bool = False, width: int = WIDTH_OF_A_LOG, everything: bool = False) -> str:
    """The plan as a person reads it; with `everything`, nothing is folded."""
    return "\n".join(_lines(plan, _Paint(color), width, everything)) + "\n"


class _Paint:
    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code else text

    def names(self, text: str, code: str = "") -> str:
        """The text with what stands in backticks bold."""
        if not self.color:
            return text
        return re.sub(r"`([^`]*)`", lambda m: f"\x1b[1m{m[1]}\x1b[0m", text)


def _lines(plan: Plan, paint: _Paint, width: int, everything: bool) -> Iterator[str]:
    base = f"{visible(plan.base.name)}{f' ({plan.base.commit[:12]})' if plan.base.commit else ''}"
    head = f"{visible(plan.head.name)}{f' ({plan.head.commit[:12]})' if plan.head.commit else ''}"
    yield f"from {base} to {head}"
    yield paint(f"Plan: {headline(plan)}", "1")
    for sentence in plan.uncompared:
        yield ""
        for line in wrapped(sentence, "!! ", width):
            yield paint(line, "1;31")
    for requirement in plan.requirements:
        whom = ", ".join(requirement.approvers) or "nobody: no merge request passes"
        need = f"needs {counted(requirement.count, 'approval')} of {whom}"
        given = f" (given by {', '.join(requirement.given)})" if requirement.given else ""
        yield ""
        yield from wrapped(visible(f"{need}{given}: {requirement.reason} [{requirement.policy}]"), "** ", width)
        causes = [c for c in plan.changes if c.id in requirement.changes]
        for cause in causes if everything else causes[:3]:
            yield from wrapped(paint.names(cause.text), "   - ", width)
        if len(causes) > 3 and not everything:
            yield paint(f"   and {len(causes) - 3:,} more", "2")
    for section, found in sections(plan):
        yield ""
        tenants = f" ({by_tenant(found)})" if section is Section.DELETIONS else f" ({len(found):,})"
        yield paint(TITLES[section], "1;4") + paint(tenants, "2")
        limit = len(found) if everything else LIMIT
        for change in found[:limit]:
            yield from _change(change, paint, width, everything)
        if len(found) > limit:
            yield paint(f"  and {len(found) - limit:,} more; --all shows them", "2")
    if plan.artifacts:
        yield ""
        yield paint("Artifacts", "1;4") + paint(f" ({len(plan.artifacts):,})", "2")
        for environment, target, files in by_target(plan.artifacts):
            yield f"  {environment} {target}: {summed(files)}"
            shown = files if everything else files[:3] if len(files) <= 3 else ()
            for artifact in shown:
                sign = {"added": "+", "removed": "-", "changed": "~"}[artifact.kind]
                yield f"    {paint(sign, _COLORS[sign])} {visible(artifact.path)}, {size(artifact)}"
    for note in plan.notes:
        yield ""
        yield from wrapped(paint.names(note), "", width)
    if plan.findings:
        errors = sum(d.rule.severity == "error" for d in plan.findings)
        rest = len(plan.findings) - errors
        parts = [counted(errors, "error")] if errors else []
        parts += [counted(rest, "new warning")] if rest else []
        yield ""
        yield f"{' and '.join(parts)} of `stoa check`"


def _change(change: Change, paint: _Paint, width: int, everything: bool) -> Iterator[str]:
    sign = SIGNS[change.direction]
    color = _COLORS[sign]
    if change.section is Section.ACCESS and change.direction == "gained":
        color = "1;31" if change.data.get("sideEffects") == "destructive" else "33"
    lines = list(wrapped(change.text, f"  {sign} ", width))
    yield paint(lines[0][:4], color) + paint.names(lines[0][4:])
    yield from (paint.names(line) for line in lines[1:])
    places = change.spans if everything else change.spans[:PLACES]
    for place in places:
        blamed = f", {visible(who(place))}" if place.author else ""
        yield paint(f"      {visible(where(place))}{blamed}", "2")
    if len(change.spans) > len(places):
        yield paint(f"      and {len(change.spans) - len(places):,} places more", "2")
    texts = [d for d in change.details if _is_text(d)]
    words = [d for d in change.details if not _is_text(d)]
    limit = len(words) if everything else DETAILS
    for detail in words[:limit]:
        yield from (paint.names(line) for line in wrapped(detail, "      ", width))
    if len(words) > limit:
        yield paint(f"      and {len(words) - limit:,} more", "2")
    for text in texts:
        yield paint(f"      | {text}", {"+": "32", "-": "31"}.get(text[0], ""))


def _is_text(detail: str) -> bool:
    """Whether it is a line of a text before and after."""
    return detail.startswith(("+ ", "- ", "  ")) or detail in ("+", "-")
