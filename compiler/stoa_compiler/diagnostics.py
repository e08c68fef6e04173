"""Findings: what is wrong, where, why, and what to do about it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from unicodedata import name

from stoa_compiler.literals import masked
from stoa_compiler.records import record
from stoa_compiler.source import Span

Severity = Literal["error", "warning"]


@record
class Rule:
    """What can be found: a stable code with the words that explain it. Codes are never reused."""

    code: str
    title: str
    why: str
    help: str
    severity: Severity = "error"


@record(order=True)
class Note:
    """Something else to look at, with its own place."""

    message: str
    span: Span | None = None


@record(order=True)
class Edit:
    """A stretch of a file, and what to put in its place."""

    span: Span
    text: str


@record
class Fix:
    """The one right answer to a mistake, as edits of one file."""

    description: str
    """What it does, in the words of an order: `delete the character`."""
    edits: tuple[Edit, ...]


@record
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
    fix: Fix | None = None
    """What `stoa check --fix` does about it."""

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
    _counted: tuple[int, int] = field(default=(0, 0), repr=False, compare=False)
    """So many findings were looked at, and so many of them are errors: it is asked for at every step."""

    def add(
        self,
        rule: Rule,
        span: Span,
        message: str,
        notes: Sequence[Note] = (),
        help: str = "",
        private: bool = False,
        fix: Fix | None = None,
    ) -> None:
        """Notes one finding. What looks like a secret is never repeated, nor mended."""
        if fix is not None and any(masked(e.text) != e.text for e in fix.edits):
            fix = None
        self.found.append(Diagnostic(rule, span, masked(message), tuple(notes), masked(help), private, fix))

    def reset(self, found: Sequence[Diagnostic]) -> None:
        """Takes these for all that was found."""
        self.found[:] = found
        self._counted = (0, 0)

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        seen, errors = self._counted
        if len(self.found) != seen:
            errors += sum(d.rule.severity == "error" for d in self.found[seen:])
            self._counted = (len(self.found), errors)
        return errors

    def stop_if_errors(self) -> None:
        """Raises `Stop` when there is any error."""
        if self.errors:
            raise Stop

    def sorted(self) -> list[Diagnostic]:
        """Each finding once, by file and place."""
        return sorted(dict.fromkeys(self.found), key=lambda d: d.order)


def files_of(found: Iterable[Diagnostic]) -> set[str]:
    """The shown paths of the files that findings and their notes name."""
    return {span.file for d in found for span in (d.span, *(n.span for n in d.notes)) if span is not None}


def nearest(word: str, known: Collection[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    lowered = {k.lower(): k for k in known}
    if word.lower() in lowered:
        return lowered[word.lower()]
    from difflib import get_close_matches  # Only here: a source without mistakes needs none.

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
