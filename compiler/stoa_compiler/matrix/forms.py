"""The matrix as text, JSON and CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import orjson

from stoa_compiler.matrix.model import KINDS, Holder, Kind, Matrix, Tool
from stoa_compiler.matrix.reasons import Reason
from stoa_compiler.records import record
from stoa_compiler.reports.terminal import columns, visible, wrapped

By = Literal["person", "role", "tenant", "tool", "consumer"]
BYS: tuple[By, ...] = ("person", "role", "tenant", "tool", "consumer")
VERSION = "gostoa.dev/access/v1"

Why = Mapping[tuple[tuple[str, str, str, str], str], Sequence[Reason]]
"""What decides, by holder and tool."""

_TONES = {"destructive": "1;31", "write": "33", "approval": "36", "for": "32", "against": "31"}
_EFFECTS = ("none", "read", "write", "destructive")


@record
class Style:
    """How text is written."""

    width: int = 100
    color: bool = False

    def paint(self, tone: str, text: str) -> str:
        """The text in a colour, where there are any."""
        return f"\x1b[{tone}m{text}\x1b[0m" if self.color and tone else text


# Text


def as_text(matrix: Matrix, by: By, style: Style, why: Why | None = None, full: bool = False) -> str:
    """The matrix for a terminal: whole contracts are folded unless `full` or `why` asks for every tool."""
    if by == "tool":
        lines = _by_tool(matrix, style, why)
    elif by == "tenant":
        lines = _by_tenant(matrix, style, why, full)
    else:
        lines = _by_holder(matrix, by, style, why, full)
    found = [*lines]
    if not found:
        found = ["Nobody may call anything that was asked for."]
    for remark in matrix.remarks:
        found += ["", *wrapped(visible(remark), "note: ", style.width)]
    return "\n".join(line.rstrip() for line in found) + "\n"


def _by_holder(matrix: Matrix, kind: Kind, style: Style, why: Why | None, full: bool) -> Iterator[str]:
    for number, holder in enumerate(matrix.of(kind)):
        if number:
            yield ""
        yield from _holder(matrix, holder, style, why, full)


def _holder(matrix: Matrix, holder: Holder, style: Style, why: Why | None, full: bool) -> Iterator[str]:
    yield style.paint("1", _who(holder)) + f": {_count(len(holder.tools), 'tool')}"
    yield from (f"  {visible(r)}" for r in holder.remarks)
    yield from _groups(matrix, holder, style, why, full)


def _who(holder: Holder) -> str:
    name = visible(holder.name)
    whose = "the platform" if holder.tenant == "platform" else f"`{visible(holder.tenant)}`"
    if holder.kind == "role":
        return f"{name} of {whose}"
    roles = f", {', '.join(map(visible, holder.roles))}" if holder.kind == "person" else f", {visible(holder.acts)}"
    return f"{name} ({visible(holder.title)}) of {whose}{roles if roles != ', ' else ', no role'}"


def _groups(matrix: Matrix, holder: Holder, style: Style, why: Why | None, full: bool) -> Iterator[str]:
    held = set(holder.tools)
    looked = [matrix.tools[i] for i in holder.tools] if why is None else [*_judged(matrix, holder, why)]
    wide = max((columns(t.group) for t in looked), default=0)
    for group, tools in ((g, list(ts)) for g, ts in groupby(looked, key=lambda t: t.group)):
        size, mine = matrix.sizes[group], [t for t in tools if t.id in held]
        if why is not None or full:
            yield f"  {style.paint('1', group)}  {len(mine)} of {_count(size, 'tool')}"
            for tool in tools:
                refused = "" if tool.id in held else style.paint(_TONES["against"], "refused  ")
                yield f"    {refused}{_tool(tool, style)}"
                yield from _whys(why, holder, tool, style)
            continue
        lead = f"  {group}{' ' * (wide - columns(group))}  "
        if len(tools) == size:
            yield f"{lead}all {size}: {_summary(tools, style)}"
        else:
            words = f"{len(tools)} of {size}: " + ", ".join(_marked(t, style) for t in tools)
            yield from wrapped(words, lead, style.width)


def _judged(matrix: Matrix, holder: Holder, why: Why) -> Iterator[Tool]:
    """The tools of which something is said, those that are refused included."""
    return (t for t in matrix.reach(holder) if (holder.key, t.id) in why)


def _summary(tools: Sequence[Tool], style: Style) -> str:
    parts = []
    for effects in _EFFECTS:
        mine = [t for t in tools if t.side_effects == effects]
        if mine:
            asked = sum(t.approval for t in mine)
            said = style.paint(_TONES.get(effects, ""), f"{len(mine)} {effects}")
            whose = "" if not asked else " with approval" if asked == len(mine) else f" ({asked} with approval)"
            parts.append(said + style.paint(_TONES["approval"], whose))
    classes = sorted({t.classification for t in tools} - {""})
    return ", ".join(parts) + (f"  [{' '.join(classes)}]" if classes else "")


def _marked(tool: Tool, style: Style) -> str:
    """A tool's name where several stand in a line: what it changes is said, what only reads is not."""
    marks = [tool.side_effects] if tool.side_effects in ("write", "destructive") else []
    marks += ["approval"] if tool.approval else []
    tone = _TONES.get(tool.side_effects, "")
    return visible(tool.operation) + (style.paint(tone, f" ({', '.join(marks)})") if marks else "")


def _tool(tool: Tool, style: Style) -> str:
    """One tool on a line of its own."""
    facts = [style.paint(_TONES.get(tool.side_effects, ""), tool.side_effects)]
    facts += [style.paint(_TONES["approval"], "with approval")] if tool.approval else []
    facts += [tool.classification] if tool.classification else []
    facts += ["deprecated"] if tool.deprecated else []
    return f"{visible(tool.id)}  {', '.join(facts)}"


def _whys(why: Why | None, holder: Holder, tool: Tool, style: Style) -> Iterator[str]:
    for reason in (why or {}).get((holder.key, tool.id), ()):
        yield from reason_lines(reason, style, "      ")


def reason_lines(reason: Reason, style: Style, indent: str) -> Iterator[str]:
    """The reason with its place."""
    sign = {"for": "+", "against": "-", "fact": "\N{MIDDLE DOT}"}[reason.sense]
    place = f"  {visible(str(reason.span))}" if reason.span else ""
    yield f"{indent}{style.paint(_TONES.get(reason.sense, ''), sign)} {visible(reason.text)}{place}"


def _by_tool(matrix: Matrix, style: Style, why: Why | None) -> Iterator[str]:
    callers = _callers(matrix)
    for number, tool in enumerate(matrix.tools.values()):
        if number:
            yield ""
        place = f"  {visible(str(tool.place()))}" if tool.place else ""
        yield f"{style.paint('1', visible(tool.id))}  {_tool(tool, style).partition('  ')[2]}{place}"
        yield f"  {visible(tool.title)}"
        mine = callers.get(tool.id, [])
        for kind in KINDS:
            named = [h for h in mine if h.kind == kind]
            label = f"  {kind + 's' if kind != 'person' else 'people':<10}"
            if why is not None:
                for holder in named:
                    yield f"  {kind} {_short(holder)}"
                    yield from _whys(why, holder, tool, style)
            elif named:
                yield from wrapped(", ".join(map(_short, named)), label, style.width)
        if not mine:
            yield "  nobody"


def _short(holder: Holder) -> str:
    acts = f" ({visible(holder.acts)})" if holder.acts else ""
    whose = f" of {visible(holder.tenant)}" if holder.kind == "role" or holder.tenant == "platform" else ""
    return f"{visible(holder.name)}{whose}{acts}"


def _callers(matrix: Matrix) -> dict[str, list[Holder]]:
    found: dict[str, list[Holder]] = {}
    for holder in matrix.holders:
        for tool in holder.tools:
            found.setdefault(tool, []).append(holder)
    return found


def _by_tenant(matrix: Matrix, style: Style, why: Why | None, full: bool) -> Iterator[str]:
    """Each tenant with its contracts, its roles, people and applications, and those who cross into it."""
    for number, tenant in enumerate(matrix.tenants):
        if number:
            yield ""
        tools = [t for t in matrix.tools.values() if t.tenant == tenant]
        yield style.paint("1;4", visible(tenant)) + f": {_count(len(tools), 'tool')}"
        for group, members in ((g, list(ts)) for g, ts in groupby(tools, key=lambda t: t.group)):
            yield f"  {group}  {_summary(members, style)}"
        for kind in KINDS:
            for holder in matrix.of(kind):
                mine = tuple(i for i in holder.tools if matrix.tools[i].tenant in ("", tenant))
                crosses = holder.tenant == "platform" and any(matrix.tools[i].tenant for i in mine)
                if holder.tenant == tenant or crosses:
                    cut = Holder(
                        holder.kind,
                        holder.name,
                        holder.title,
                        holder.tenant,
                        holder.roles,
                        mine,
                        holder.acts,
                        holder.remarks,
                        holder.place,
                    )
                    yield ""
                    yield from (f"  {line}" for line in _holder(matrix, cut, style, why, full))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# JSON


def as_json(matrix: Matrix, by: By, why: Why | None = None) -> bytes:
    """The matrix as one JSON object, as `schemas/access.v1.schema.json` says."""
    kinds = {"tenant": KINDS, "tool": KINDS}.get(by, (by,))
    said = _by_key(why)
    document = {
        "version": VERSION,
        "environment": matrix.environment,
        "by": by,
        "tools": [_tool_json(t) for t in matrix.tools.values()],
        "holders": [_holder_json(h, said) for h in matrix.holders if h.kind in kinds],
        "remarks": list(matrix.remarks),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _tool_json(tool: Tool) -> dict[str, Any]:
    return {
        "id": tool.id,
        "tenant": tool.tenant or None,
        "contract": tool.contract or None,
        "title": tool.title,
        "sideEffects": tool.side_effects,
        "approval": tool.approval,
        "classification": tool.classification or None,
        "deprecated": tool.deprecated,
    }


_Said = Mapping[tuple[str, str, str, str], Mapping[str, Sequence[Reason]]]


def _by_key(why: Why | None) -> _Said | None:
    """What decides, by holder, and then by tool."""
    if why is None:
        return None
    found: dict[tuple[str, str, str, str], dict[str, Sequence[Reason]]] = {}
    for (key, tool), reasons in why.items():
        found.setdefault(key, {})[tool] = reasons
    return found


def _holder_json(holder: Holder, why: _Said | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kind": holder.kind,
        "name": holder.name,
        "title": holder.title,
        "tenant": holder.tenant,
        "roles": list(holder.roles),
        "acts": holder.acts or None,
        "tools": list(holder.tools),
        "remarks": list(holder.remarks),
    }
    if why is not None:
        made["why"] = {i: [reason_json(r) for r in mine] for i, mine in why.get(holder.key, {}).items()}
    return made


def reason_json(reason: Reason) -> dict[str, Any]:
    """The reason, its place as file, line and column."""
    span = reason.span
    place = {"file": span.file, "line": span.line, "column": span.column} if span else None
    return {"kind": reason.kind, "sense": reason.sense, "text": reason.text, "place": place}


# CSV

_HEADS = (
    "kind",
    "name",
    "title",
    "tenant",
    "roles",
    "acts",
    "tool",
    "tool title",
    "side effects",
    "approval",
    "classification",
    "deprecated",
)
_ACTIVE = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may take for the beginning of a formula, full-width forms included."""


def as_csv(matrix: Matrix, by: By, why: Why | None = None) -> str:
    """A line for each pair of holder and tool (RFC 4180). No cell begins as a formula does."""
    kinds = {"tenant": KINDS, "tool": KINDS}.get(by, (by,))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*_HEADS, *(["why"] if why is not None else [])])
    writer.writerows(_rows(matrix, [h for h in matrix.holders if h.kind in kinds], why))
    return out.getvalue()


def _rows(matrix: Matrix, holders: Iterable[Holder], why: Why | None) -> Iterator[list[str]]:
    for holder in holders:
        for tool in (matrix.tools[i] for i in holder.tools):
            row = [
                holder.kind,
                holder.name,
                holder.title,
                holder.tenant,
                " ".join(holder.roles),
                holder.acts,
                tool.id,
                tool.title,
                tool.side_effects,
                "yes" if tool.approval else "no",
                tool.classification,
                "yes" if tool.deprecated else "no",
            ]
            if why is not None:
                reasons = why.get((holder.key, tool.id), ())
                row.append("; ".join(f"{r.text} ({r.span})" if r.span else r.text for r in reasons))
            yield [_inert(cell) for cell in row]


def _inert(cell: str) -> str:
    """The cell as text: an apostrophe before what would be taken for a formula (OWASP, CSV injection)."""
    text = visible(cell)
    return f"'{text}" if text.startswith(_ACTIVE) else text
