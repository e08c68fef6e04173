"""Findings: what is wrong, where, why, and what to do about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal
from unicodedata import combining, east_asian_width, name

from stoa_compiler.literals import masked
from stoa_compiler.source import SourceFile, Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What can be found: a stable code with the words that explain it. Codes are never reused."""

    code: str
    title: str
    why: str
    help: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """Something else to look at, with its own place."""

    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding."""

    rule: Rule
    span: Span
    message: str
    """Lower case, names in backticks, what is wrong first."""
    notes: tuple[Note, ...] = ()
    help: str = ""
    """What to do here; the rule's own help where empty."""
    private: bool = False
    """Whether what stands after the marked words must not be shown: it may be a secret."""

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """Where it stands among others: by file, place, code and words."""
        return (self.span.file, self.span.line, self.span.column, self.rule.code, self.message)


class Stop(Exception):
    """Raised by `Report.stop_if_errors`: what follows would rest on what is wrong."""


@dataclass
class Report:
    """Every finding of one run. Phases add to it and go on; only the command line picks an exit code."""

    found: list[Diagnostic] = field(default_factory=list)

    def add(
        self,
        rule: Rule,
        span: Span,
        message: str,
        notes: Sequence[Note] = (),
        help: str = "",
        private: bool = False,
    ) -> None:
        """Notes one finding. What looks like a secret is never repeated."""
        self.found.append(Diagnostic(rule, span, masked(message), tuple(notes), masked(help), private))

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(d.rule.severity == "error" for d in self.found)

    def stop_if_errors(self) -> None:
        """Raises `Stop` when there is any error."""
        if self.errors:
            raise Stop

    def sorted(self) -> list[Diagnostic]:
        """Each finding once, by file and place."""
        return sorted(dict.fromkeys(self.found), key=lambda d: d.order)


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    lowered = {k.lower(): k for k in known}
    if word.lower() in lowered:
        return lowered[word.lower()]
    close = get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return lowered[close[0]] if close else None


def listed(words: Sequence[str], limit: int = 8) -> str:
    """`words` in backticks, cut after `limit`."""
    shown = ", ".join(f"`{w}`" for w in words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown


def lookalikes(text: str) -> list[Note]:
    """A note on the first character of `text` that is no ASCII letter, and may look like one."""
    found = next((c for c in text if not c.isascii()), None)
    return [Note(f"`{found}` is U+{ord(found):04X}, {name(found, 'unnamed').lower()}")] if found else []


def marked_text(span: Span, files: Mapping[str, SourceFile], private: bool = False) -> str:
    """The text of the span's first line, to the end of the line or of the span where it is private."""
    file = files.get(span.file)
    if file is None or not 0 < span.line <= len(file.lines):
        return ""
    line = masked(file.lines[span.line - 1].rstrip("\r"))
    return line[: span.end_column - 1] if private and span.end_line == span.line else line


def render(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile], color: bool = False) -> str:
    """The findings as a person reads them, each with the line that it is about."""
    return "\n".join("\n".join(_lines(d, files, color)) for d in diagnostics) + ("\n" if diagnostics else "")


def _lines(d: Diagnostic, files: Mapping[str, SourceFile], color: bool) -> Iterator[str]:
    def paint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if color else text

    tone = "1;31" if d.rule.severity == "error" else "1;33"
    yield f"{paint('1', str(d.span))}: {paint(tone, f'{d.rule.severity}[{d.rule.code}]')}: {paint('1', d.message)}"
    text = marked_text(d.span, files, d.private)
    if text and (d.span.line, d.span.column) != (d.span.end_line, d.span.end_column):
        gutter = " " * len(str(d.span.line))
        end = d.span.end_column if d.span.end_line == d.span.line else len(text.rstrip()) + 1
        start = d.span.column
        if len(text) > 160:
            cut = max(0, start - 41)
            text, start, end = text[cut : cut + 160], start - cut, min(end - cut, 161)
        text = "".join(_printable(c) for c in text)
        before, marks = _width(text[: start - 1]), _width(text[start - 1 : end - 1])
        yield f" {gutter} {paint('34', '|')}"
        yield f" {d.span.line} {paint('34', '|')} {text}"
        yield f" {gutter} {paint('34', '|')} {' ' * before}{paint(tone, '^' * max(1, marks))}"
    for note in d.notes:
        where = f"{note.span}: " if note.span else ""
        yield f"   {paint('34', '=')} note: {where}{note.message}"
    yield f"   {paint('34', '=')} help: {d.help or d.rule.help}"


def _printable(character: str) -> str:
    if character == "\t":
        return " "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    return sum(2 if east_asian_width(c) in "WF" else 0 if combining(c) else 1 for c in text)
