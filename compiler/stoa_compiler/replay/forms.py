"""A replay as text, Markdown and JSON. Names come from a log that others write to: none is taken as a command."""

from collections.abc import Iterator, Sequence
from typing import Any

from stoa_compiler.replay.comparison import KINDS, Comparison, Group, Kind
from stoa_compiler.reports.encoding import dumped
from stoa_compiler.reports.markdown import code
from stoa_compiler.reports.terminal import visible

TITLES: dict[Kind, str] = {
    "refused": "would be refused",
    "approval": "would need an approval",
    "unapproved": "would no longer need an approval",
    "allowed": "would now be allowed",
    "askable": "would now be taken when somebody approves",
    "unjudged": "could not be judged",
}
SHOWN = 3
"""Findings about the chain, and lines that are no events, that the text shows."""


def as_text(done: Comparison, limit: int = 20) -> str:
    """For a terminal: what changes, most dangerous first, and what the log could not tell."""
    return "\n".join(_text(done, limit)) + "\n"


def _text(done: Comparison, limit: int) -> Iterator[str]:
    yield _head(done)
    yield f"  {_bundles(done)}"
    yield from (f"  {visible(line)}" for line in _chain(done))
    for kind in KINDS:
        groups = done.of(kind)
        if not groups:
            continue
        yield ""
        yield f"{TITLES[kind]}: {_many(done.count(kind), 'call')}"
        shown = groups[:limit] if limit else groups
        for group in shown:
            yield f"  {visible(_who(group))}  {visible(group.tool)}  {_many(group.calls, 'call')}, {_when(group)}"
            yield f"      {visible(_reason(group))}"
        if len(groups) > len(shown):
            yield f"  and {_many(len(groups) - len(shown), 'group')} more; `--limit 0` shows all"
    yield ""
    yield f"unchanged: {_many(done.unchanged, 'call')}"
    for note in done.notes:
        yield f"note: {visible(note)}"


def as_markdown(done: Comparison, limit: int = 20) -> str:
    """For a merge request's note."""
    lines = ["## STOA: replay", "", f"{_head(done)}, {_bundles(done)}.", ""]
    lines += [f"- {_inline(line)}" for line in _chain(done)]
    for kind in KINDS:
        groups = done.of(kind)
        if not groups:
            continue
        lines += ["", f"### {_many(done.count(kind), 'call')} {TITLES[kind]}", ""]
        lines += ["| who | tool | calls | first and last | why |", "|---|---|---:|---|---|"]
        shown = groups[:limit] if limit else groups
        for g in shown:
            cells = (_cell(_who(g)), _cell(g.tool), f"{g.calls:,}", _when(g), _inline(_reason(g)).replace("|", "\\|"))
            lines.append(f"| {' | '.join(cells)} |")
        if len(groups) > len(shown):
            lines += ["", f"and {_many(len(groups) - len(shown), 'group')} more"]
    lines += ["", f"Unchanged: {_many(done.unchanged, 'call')}.", ""]
    lines += [f"- {_inline(note)}" for note in done.notes]
    return "\n".join(lines) + "\n"


def as_json(done: Comparison) -> bytes:
    """For programs. Version 1."""
    log = done.log
    value: dict[str, Any] = {
        "version": 1,
        "against": {"digest": done.digest, "platform": done.index.name, "environment": done.index.environment},
        "log": {
            "files": [visible(f) for f in log.files],
            "lines": log.lines,
            "calls": done.calls,
            "callers": len(done.callers),
            "first": done.first or None,
            "last": done.last or None,
            "decidedBy": [{"digest": d, "calls": n} for d, n in sorted(done.bundles.items())],
            "chain": {"verified": not log.chain and not log.unreadable, "findings": log.chain, "notes": log.notes},
            "unreadable": {"lines": log.unreadable, "first": [visible(at) for at in log.unreadable_at]},
            "repeats": log.repeats,
            "outside": done.outside,
            "withoutCaller": log.nameless,
            "controlPlane": log.control,
            "refusedByArguments": done.arguments,
        },
        "counts": {kind: done.count(kind) for kind in KINDS} | {"unchanged": done.unchanged},
        "groups": [_group(g) for g in done.groups],
        "notes": done.notes,
    }
    return dumped(value)


def _group(group: Group) -> dict[str, Any]:
    value: dict[str, Any] = {
        "change": group.kind,
        "tenant": group.tenant,
        "who": group.who,
        "client": group.client,
        "tool": group.tool,
        "code": group.code,
        "reason": group.words,
        "calls": group.calls,
        "first": group.first,
        "last": group.last,
    }
    return value | ({"peak": group.peak} if group.peak is not None else {})


def _head(done: Comparison) -> str:
    when = f", {_minute(done.first)} to {_minute(done.last)}" if done.first else ""
    callers = _many(len(done.callers), "caller")
    return f"{_many(done.calls, 'recorded call')} by {callers}{when}, against {done.index.environment}"


def _bundles(done: Comparison) -> str:
    by = ", ".join(f"{_short(d)} ({_many(n, 'call')})" for d, n in sorted(done.bundles.items())[:SHOWN])
    more = f" and {len(done.bundles) - SHOWN} more" if len(done.bundles) > SHOWN else ""
    return f"decided then by {by or 'nothing'}{more}; now by {_short(done.digest or 'an unnamed bundle')}"


def _chain(done: Comparison) -> Iterator[str]:
    log = done.log
    if log.unreadable:
        yield f"{_many(log.unreadable, 'line')} could not be read, the first at {log.unreadable_at[0]}"
    if not log.chain:
        yield f"the chain of {_many(log.lines, 'line')} is whole"
    else:
        yield "the log is not as it was written, so nothing here is certain:"
        yield from log.chain[:SHOWN]
        if len(log.chain) > SHOWN:
            yield f"and {_many(len(log.chain) - SHOWN, 'finding')} more; `stoa audit verify` has them all"
    yield from log.notes[:SHOWN]


def _who(group: Group) -> str:
    return f"{group.tenant}/{group.who} by {group.client}"


def _reason(group: Group) -> str:
    if group.peak is None:
        return group.words
    return f"{group.words}; up to {group.peak:,} came in that span"


def _when(group: Group) -> str:
    if group.first[:16] == group.last[:16]:
        return _minute(group.first)
    return f"{_minute(group.first)} to {_minute(group.last)}"


def _minute(time: str) -> str:
    return visible(f"{time[:10]} {time[11:16]}Z")


def _short(digest: str) -> str:
    return visible(digest[:19] if digest.startswith("sha256:") else digest[:40])


def _cell(text: str) -> str:
    return code(visible(text)).replace("|", "\\|")


def _inline(text: str) -> str:
    """Words of ours with names in backticks; nothing outside of them is taken as Markdown or HTML."""
    parts: Sequence[str] = visible(text).split("`")
    if len(parts) % 2 == 0:
        return code(visible(text))
    escaped = [p if n % 2 else _plain(p) for n, p in enumerate(parts)]
    return "`".join(escaped)


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\*_[]<>#!@~&" else c for c in text)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
