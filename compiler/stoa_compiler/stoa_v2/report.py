"""The report of an import: as text, as JSON with every value of every file, and as a page of Markdown."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stoa_compiler.records import record
from stoa_compiler.source import Span
from stoa_compiler.stoa_v2.account import OUTCOMES, Account, Fate, Outcome, Place, path_of, shown
from stoa_compiler.stoa_v2.importer import Imported

QUIET: frozenset[Outcome] = frozenset({"mapped", "derived", "duplicate", "note"})
"""Outcomes about which there is nothing to do."""


@record(slots=False)
class Line:
    """Values of one part that had the same fate."""

    outcome: Outcome
    reason: str
    path: str
    span: Span
    values: tuple[Fate, ...]

    @property
    def below(self) -> str:
        """What stands below the part, each key once; the value itself where it is only one."""
        if len(self.values) == 1 and path_of(self.values[0].loc) == self.path:
            return shown(self.values[0])
        depth = len(self.values[0].entry.loc)
        names = dict.fromkeys(re.sub(r"\[\d+\]", "[]", path_of(f.loc[depth:])) for f in self.values)
        return ", ".join(names)


def lines(account: Account) -> list[Line]:
    """What became of the file, part by part, in its order."""
    found: dict[tuple[Any, ...], list[Fate]] = {}
    for fate in account.fates():
        found.setdefault(fate.entry.loc, []).append(fate)
    return [
        Line(
            outcome=fates[0].entry.outcome,
            reason=fates[0].entry.reason,
            path=path_of(loc),
            span=account.document.span(loc, "key"),
            values=tuple(fates),
        )
        for loc, fates in found.items()
    ]


def counts(account: Account) -> dict[Outcome, int]:
    """How many values had which fate, the most pressing first."""
    found: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    for fate in account.fates():
        found[fate.entry.outcome] += 1
    return {outcome: number for outcome, number in found.items() if number}


def as_text(imported: Imported) -> str:
    """The report as a person reads it on a terminal."""
    return "\n".join(_text(imported)) + "\n"


def _text(imported: Imported) -> Iterator[str]:
    for account in imported.accounts:
        numbers = counts(account)
        yield f"{account.file}: {sum(numbers.values())} values: " + ", ".join(f"{n} {o}" for o, n in numbers.items())
        for row in (r for r in imported.rows if r.file == account.file):
            what = row.tool or f"left out: {row.reason}"
            yield f"  {row.method} {row.path} ({row.operation[:60]}) -> {what}"
        yield from _grouped(account)
    for skipped in imported.skipped:
        yield f"{skipped.file}: passed over: {skipped.reason}"
    assumed: dict[str, list[str]] = {}
    for a in imported.assumptions:
        assumed.setdefault(a.reason, []).append(f"{_at(a.place)} = {_short(a.value)}")
    for reason, found in assumed.items():
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        yield f"assumed: {reason}: {', '.join(found[:3])}{more}"


def _grouped(account: Account) -> Iterator[str]:
    """Every part about which there is something to do or to know, under its outcome and reason."""
    groups: dict[tuple[Outcome, str], list[str]] = {}
    for line in lines(account):
        if line.outcome not in QUIET:
            groups.setdefault((line.outcome, line.reason), []).append(f"{line.path} ({line.span.line})")
    for outcome in OUTCOMES:
        mine = {reason: parts for (o, reason), parts in groups.items() if o == outcome}
        if mine:
            yield f"  {outcome}: {OUTCOMES[outcome]}"
        for reason, parts in mine.items():
            yield f"    {', '.join(parts)}" + (f": {reason}" if reason else "")


def as_json(imported: Imported, written: Sequence[str], platform_change: str | None) -> dict[str, Any]:
    """The report for machines: every value of every file, with its place, its fate and where it stands now."""
    return {
        "version": 1,
        "files": [
            {
                "file": item.document.file.shown,
                "form": item.form,
                "counts": counts(account),
                "values": [_value(account, fate) for fate in account.fates()],
            }
            for item, account in zip(imported.inputs, imported.accounts, strict=True)
        ],
        "skipped": [{"file": s.file, "reason": s.reason} for s in imported.skipped],
        "operations": [
            {
                "file": r.file,
                "path": path_of(r.loc),
                "operation": r.operation,
                "method": r.method,
                "route": r.path,
                "tool": r.tool,
                "reason": r.reason or None,
            }
            for r in imported.rows
        ],
        "assumed": [
            {"file": a.place.path, "path": path_of(a.place.loc), "value": a.value, "reason": a.reason}
            for a in imported.assumptions
        ],
        "documents": sorted(imported.files),
        "written": list(written),
        "platform": platform_change,
        "hosts": [{"host": h, "tenant": t} for h, t in imported.hosts],
        "diagnostics": [
            {
                "code": d.rule.code,
                "severity": d.rule.severity,
                "file": d.span.file,
                "line": d.span.line,
                "column": d.span.column,
                "message": d.message,
                "help": d.help or d.rule.help,
            }
            for d in imported.report.sorted()
        ],
    }


def _value(account: Account, fate: Fate) -> dict[str, Any]:
    span = account.document.span(fate.loc)
    return {
        "path": path_of(fate.loc),
        "line": span.line,
        "column": span.column,
        "value": shown(fate),
        "outcome": fate.entry.outcome,
        "reason": fate.entry.reason or OUTCOMES[fate.entry.outcome],
        "to": [{"file": p.path, "path": path_of(p.loc)} for p in fate.places],
    }


def as_markdown(imported: Imported) -> str:
    """The report as a page: what needs a decision first, and every key of every file."""
    return "\n".join(_markdown(imported)) + "\n"


def _markdown(imported: Imported) -> Iterator[str]:
    yield "# What the import made of each file"
    yield ""
    yield "Every value of every file stands below, once: carried over, or with the reason why not."
    yield ""
    present = [o for o in OUTCOMES if any(o in counts(a) for a in imported.accounts)]
    yield from _table(
        ("file", "values", *present),
        [(_code(a.file), sum((n := counts(a)).values()), *(n.get(o, 0) for o in present)) for a in imported.accounts],
    )
    yield from (f"- **{o}**: {OUTCOMES[o]}" for o in present)
    yield ""
    if imported.skipped:
        yield "Passed over:"
        yield ""
        yield from (f"- {_code(s.file)}: {_cell(s.reason)}" for s in imported.skipped)
        yield ""
    if imported.hosts:
        yield "Hosts that the platform document must allow:"
        yield ""
        yield from (f"- {_code(h)} for {_code(t)}" for h, t in imported.hosts)
        yield ""
    for account in imported.accounts:
        yield f"## {_cell(account.file)}"
        yield ""
        rows = [r for r in imported.rows if r.file == account.file]
        if rows:
            yield from _table(
                ("operation", "request", "tool"),
                [
                    (
                        _code(r.operation),
                        _code(f"{r.method} {r.path}"),
                        _code(r.tool) if r.tool else f"left out: {_cell(r.reason)}",
                    )
                    for r in rows
                ],
            )
        found = lines(account)
        for outcome in OUTCOMES:
            mine = [line for line in found if line.outcome == outcome]
            if not mine:
                continue
            yield f"### {outcome[0].upper()}{outcome[1:]}"
            yield ""
            yield f"{OUTCOMES[outcome][0].upper()}{OUTCOMES[outcome][1:]}."
            yield ""
            placed = outcome in ("mapped", "changed", "held back")
            head = ("line", "key", "value or keys below", *(["stands now in"] if placed else []), "why")
            yield from _table(head, [_part(line, placed) for line in mine])
    if imported.assumptions:
        yield "## What no file said"
        yield ""
        yield "Documents need it; see that it is right."
        yield ""
        yield from _table(
            ("document", "key", "value", "why"),
            [
                (_code(a.place.path), _code(path_of(a.place.loc)), _cell(_short(a.value)), _cell(a.reason))
                for a in imported.assumptions
            ],
        )


def _part(line: Line, placed: bool) -> tuple[object, ...]:
    """A row of a table: one part of the file."""
    where = [_cell(_places(line))] if placed else []
    return (line.span.line, _code(line.path), _cell(line.below), *where, _cell(line.reason))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
    yield ""


def _places(line: Line) -> str:
    """Where it stands now; places that differ only in operation or environment are one."""
    found = [_at(p) for p in line.values[0].entry.places]
    return found[0] + (f" and {len(found) - 1} more" if len(found) > 1 else "") if found else ""


def _at(place: Place) -> str:
    return f"{place.path}: {path_of(place.loc)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "\N{HORIZONTAL ELLIPSIS}"


def _cell(text: str) -> str:
    """Text for a cell: one line, and nothing that Markdown or HTML would act upon."""
    kept = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([\\|<>*_\[\]])", r"\\\1", kept) if "`" not in kept else re.sub(r"([|<>])", r"\\\1", kept)


def _code(text: str) -> str:
    kept = "".join(c if c.isprintable() else " " for c in text).replace("`", "'").replace("|", "\\|")
    return f"`{kept}`"
