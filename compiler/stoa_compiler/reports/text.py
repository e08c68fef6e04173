"""Findings as a person reads them: each with the lines that it is about, and what to do."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from stoa_compiler.diagnostics import Diagnostic
from stoa_compiler.records import record
from stoa_compiler.reports.excerpts import source_line
from stoa_compiler.reports.terminal import WIDTH_OF_A_LOG, cells, columns, visible, wrapped
from stoa_compiler.source import SourceFile, Span

Files = Mapping[str, SourceFile]

_ELLIPSIS = "..."
_ALL_SHOWN = 6
"""Lines of a marked block that is shown whole; of a longer one, the beginning and the end."""
_SHOWN_FIRST = 3


def render(
    diagnostics: Sequence[Diagnostic],
    files: Files,
    color: bool = False,
    width: int = WIDTH_OF_A_LOG,
    limit: int = 0,
) -> str:
    """The findings, sorted as they come; of one rule in one file at most `limit`, 0 for all, with a count of the rest.

    Nothing that an author wrote reaches the terminal as a command to it.
    """
    page = _Page(files, color, width)
    blocks: list[str] = []
    for file, found in groupby(diagnostics, key=lambda d: d.span.file):
        seen: Counter[str] = Counter()
        for d in found:
            seen[d.rule.code] += 1
            if not limit or seen[d.rule.code] <= limit:
                blocks.append("\n".join(page.finding(d)))
        blocks.extend(
            f"{visible(file)}: {count - limit} more of {code}; `--limit 0` shows all"
            for code, count in sorted(seen.items())
            if limit and count > limit
        )
    return "\n\n".join(blocks) + ("\n" if blocks else "")


def counted(diagnostics: Sequence[Diagnostic]) -> str:
    """How many there are, in words: `2 errors and 1 warning in 3 files`."""
    kinds = Counter(d.rule.severity for d in diagnostics)
    parts = [f"{n} {word}{'' if n == 1 else 's'}" for word in ("error", "warning") if (n := kinds[word])]
    places = len({d.span.file for d in diagnostics})
    return f"{' and '.join(parts)} in {places} file{'' if places == 1 else 's'}"


@record
class _Mark:
    """A marked stretch of the source."""

    span: Span
    character: str
    tone: str
    label: str = ""


@record(slots=False)
class _Page:
    files: Files
    color: bool
    width: int

    def finding(self, d: Diagnostic) -> Iterator[str]:
        """The finding's lines."""
        tone = "1;31" if d.rule.severity == "error" else "1;33"
        kind = self.paint(tone, f"{d.rule.severity}[{d.rule.code}]")
        yield f"{self.paint('1', visible(str(d.span)))}: {kind}: {self.paint('1', visible(d.message))}"
        marks = defaultdict[str, list[_Mark]](list)
        if self._can_be_marked(d.span, d.private):
            marks[d.span.file].append(_Mark(d.span, "^", tone))
        aside = []
        for note in d.notes:
            if note.span is not None and self._can_be_marked(note.span, d.private):
                marks[note.span.file].append(_Mark(note.span, "-", "1;34", visible(note.message)))
            else:
                aside.append(f"{visible(str(note.span))}: {note.message}" if note.span else note.message)
        last = max((m.span.end_line for those in marks.values() for m in those), default=0)
        gutter = " " * len(str(last))
        for file, those in marks.items():
            if file == d.span.file:
                yield f" {gutter} {self.rule('|')}"
            else:
                yield f" {gutter}{self.rule(':::')} {visible(str(those[0].span))}"
            yield from self.snippet(sorted(those, key=lambda m: m.span), len(gutter), d.private)
        for text in aside:
            yield from self.remark("note", text, gutter)
        yield from self.remark("help", d.help or d.rule.help, gutter)
        if d.fix is not None:
            yield from self.remark("fix", f"`stoa check --fix` will {d.fix.description}", gutter)

    def remark(self, kind: str, text: str, gutter: str) -> Iterator[str]:
        """A line of words below the source."""
        first = f" {gutter} = {kind}: "
        lines = list(wrapped(visible(text), first, self.width))
        yield lines[0].replace(first, f" {gutter} {self.rule('=')} {self.paint('1', f'{kind}:')} ", 1)
        yield from lines[1:]

    def snippet(self, marks: Sequence[_Mark], gutter: int, private: bool) -> Iterator[str]:
        """Lines of one file, in their order, each once, with what is marked in them."""
        empty = f" {' ' * gutter} {self.rule('|')}"
        room = self.width - gutter - 4
        last = 0
        for number, group in groupby(marks, key=lambda m: m.span.line):
            here = list(group)
            file = here[0].span.file
            if last and number == last + 2 and not private:
                between, _ = self.cut(source_line(file, last + 1, self.files), None, room)
                yield f" {last + 1:>{gutter}} {self.rule('|')} {between}".rstrip()
            elif last and number > last + 1:
                yield self.rule(_ELLIPSIS)
            single = [m for m in here if m.span.end_line == m.span.line]
            line = source_line(file, number, self.files)
            if private and single:
                line = line[: max(m.span.end_column for m in single) - 1]
            for together in [single] if single and _fits(line, room) else [[m] for m in single]:
                yield from self.marked(number, line, together, empty, gutter)
                last = number
            for mark in here:
                if mark not in single:
                    yield from self.block(mark, empty, gutter)
                    last = mark.span.end_line

    def marked(self, number: int, line: str, marks: Sequence[_Mark], empty: str, gutter: int) -> Iterator[str]:
        """One line of the source, and below it each of its marks."""
        room = self.width - gutter - 4
        main = next((m for m in marks if m.character == "^"), marks[0])
        line, skipped = _neighbourhood(line, main.span.column, room)
        marks = [replace(m, span=_moved(m.span, skipped)) for m in marks]
        text, left = self.cut(line, _moved(main.span, skipped), room)
        if skipped:
            text = _ELLIPSIS + text[len(_ELLIPSIS) :]
        yield f" {number:>{gutter}} {self.rule('|')} {text}".rstrip()
        for mark in marks:
            start = min(max(0, _before(line, mark.span.column) - left), room - 1)
            end = _before(line, mark.span.end_column) - left
            length = max(1, min(end, room) - start)
            under = self.paint(mark.tone, mark.character * length)
            if not mark.label:
                yield f"{empty} {' ' * start}{under}"
            elif start + length + 1 + columns(mark.label) <= room:
                yield f"{empty} {' ' * start}{under} {self.paint(mark.tone, mark.label)}"
            else:
                yield f"{empty} {' ' * start}{under}"
                indent = " " * min(start, max(0, room - 40))
                for part in wrapped(mark.label, indent, room):
                    yield f"{empty} {self.paint(mark.tone, part)}"

    def block(self, mark: _Mark, empty: str, gutter: int) -> Iterator[str]:
        """A mark over several lines, with a rail at their left."""
        span, room = mark.span, self.width - gutter - 6
        rail = self.paint(mark.tone, "|")
        lines = list(range(span.line, span.end_line + 1))
        hidden = set(lines[_SHOWN_FIRST:-1]) if len(lines) > _ALL_SHOWN else set()
        for number in lines:
            if number in hidden:
                if number - 1 not in hidden:
                    yield f"{self.rule(_ELLIPSIS)}{' ' * (gutter - 1)}{self.rule('|')} {rail}"
                continue
            line = source_line(span.file, number, self.files)
            text, _ = self.cut(line, None, room)
            if number > span.line:
                yield f" {number:>{gutter}} {self.rule('|')} {rail} {text}".rstrip()
                continue
            begins = line[: span.column - 1].strip() == ""
            start = self.paint(mark.tone, "/") if begins else " "
            yield f" {number:>{gutter}} {self.rule('|')} {start} {text}".rstrip()
            if not begins:
                before = min(room - 1, _before(line, span.column))
                yield f"{empty} {self.paint(mark.tone, ' ' + '_' * (before + 1) + mark.character)}"
        last = source_line(span.file, span.end_line, self.files)
        under = "_" * min(room, max(1, _before(last, span.end_column)))
        label = f" {mark.label}" if mark.label else ""
        yield f"{empty} {self.paint(mark.tone, f'|{under}{mark.character}{label}')}"

    def cut(self, line: str, span: Span | None, room: int) -> tuple[str, int]:
        """The part of the line around `span` that there is room for, and how far left it begins."""
        if span is None:
            line, _ = _neighbourhood(line, 1, room)
        shown = list(cells(line.rstrip()))
        total = sum(width for _, width in shown)
        if total <= room:
            return "".join(text for text, _ in shown), 0
        before, end = (_before(line, c) for c in (span.column, span.end_column)) if span else (0, 0)
        left = 0 if end <= room - len(_ELLIPSIS) else max(0, min(before - room // 4, total - room))
        opening = left + len(_ELLIPSIS) if left else 0
        closing = left + room - (len(_ELLIPSIS) if left + room < total else 0)
        parts, at, filled = [], 0, opening
        for text, width in shown:
            orphan = width == 0 and filled == opening > 0
            if at >= opening and at + width <= closing and not orphan:
                parts.append(" " * (at - filled) + text)  # Half of a wide character may be cut off at the left.
                filled = at + width
            at += width
        middle = "".join(parts) + " " * (closing - filled)
        return f"{_ELLIPSIS if left else ''}{middle}{_ELLIPSIS if left + room < total else ''}", left

    def _can_be_marked(self, span: Span, private: bool) -> bool:
        """Whether the stretch has an extent, is not the whole file, and may be shown: of private lines, only one is."""
        several = span.end_line > span.line
        if (span.line, span.column) == (span.end_line, span.end_column) or (private and several):
            return False
        if span.file not in self.files or not source_line(span.file, span.line, self.files):
            return False
        return not (several and span.line == 1 and span.column == 1 and self._ends(span))

    def _ends(self, span: Span) -> bool:
        """Whether nothing comes after the stretch."""
        return not any(line.strip() for line in self.files[span.file].lines[span.end_line :])

    def rule(self, text: str) -> str:
        """What separates source from numbers."""
        return self.paint("1;34", text)

    def paint(self, code: str, text: str) -> str:
        """The text in a colour, where there is any."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.color else text


_AROUND = 4


def _neighbourhood(line: str, column: int, room: int) -> tuple[str, int]:
    """What of a very long line can be shown, and how many characters before that are left out."""
    if len(line) <= 2 * _AROUND * room:
        return line, 0
    first = max(0, column - 1 - _AROUND * room)
    return line[first : column - 1 + _AROUND * room], first


def _fits(line: str, room: int) -> bool:
    """Whether the whole line can be shown."""
    return len(line) <= 2 * _AROUND * room and _before(line, len(line) + 1) <= room


def _moved(span: Span, characters: int) -> Span:
    """The span in a line that lacks its first characters."""
    start, end = (max(1, column - characters) for column in (span.column, span.end_column))
    return replace(span, column=start, end_column=max(end, start))


def _before(line: str, column: int) -> int:
    """Columns on the terminal that lie before a column of the line."""
    return sum(width for _, width in cells(line[: column - 1]))
