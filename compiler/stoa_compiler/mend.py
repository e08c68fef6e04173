"""Mend: a source with the fixes of its findings applied, as often as that helps."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from stoa_compiler.diagnostics import Diagnostic, Fix, Report
from stoa_compiler.load import Source
from stoa_compiler.parse import parse_file
from stoa_compiler.pipeline import Checked, judge
from stoa_compiler.records import record
from stoa_compiler.source import SourceFile, Span

MAX_ROUNDS = 20
"""A fix can bring another mistake to light, which has its own; no author's file needs more rounds."""


@record(slots=False)
class Mended:
    """A source after its fixes, and what is left to find in it."""

    checked: Checked
    fixed: int
    """How many fixes were applied."""
    changed: tuple[tuple[SourceFile, SourceFile], ...]
    """Files before and after, by path."""


def mend(source: Source, report: Report) -> Mended:
    """The source, in memory, with every fix applied that does not meet another; `report` gets what is left.

    `report` holds what was found while loading. A file's fixes are left out where it would not read better after.
    """
    loaded = list(report.found)
    before = {place.file.path: place.file for place in source.placed}
    fixed, spared = 0, set[str]()
    for _ in range(MAX_ROUNDS):
        report.reset(loaded)
        checked = judge(source, report)
        better, count = _round(source, report.found, spared)
        if not better:
            break
        source, fixed = with_files(source, better), fixed + count
    else:
        report.reset(loaded)
        checked = judge(source, report)
    after = ((before[place.file.path], place.file) for place in source.placed)
    changed = tuple((old, new) for old, new in after if old.content != new.content)
    return Mended(checked, fixed, changed)


def with_files(source: Source, better: Mapping[str, SourceFile]) -> Source:
    """The source with other documents, by their path."""
    placed = tuple(replace(p, file=better.get(p.file.path, p.file)) for p in source.placed)
    return Source(placed, source.descriptions, {**source.files, **{f.shown: f for f in better.values()}})


def _round(source: Source, found: Sequence[Diagnostic], spared: set[str]) -> tuple[dict[str, SourceFile], int]:
    fixes = defaultdict[str, list[Fix]](list)
    for d in dict.fromkeys(found):
        if d.fix is not None:
            fixes[d.span.file].append(d.fix)
    better: dict[str, SourceFile] = {}
    count = 0
    for file in (place.file for place in source.placed):
        if file.shown not in fixes or file.path in spared:
            continue
        new, applied = apply(file, fixes[file.shown])
        if applied and _mistakes(new) <= _mistakes(file) and new.content != file.content:
            better[file.path] = new
            count += applied
        else:
            spared.add(file.path)
    return better, count


def _mistakes(file: SourceFile) -> tuple[bool, int]:
    """How badly a file reads: not at all, or with so many mistakes of form."""
    report = Report()
    document = parse_file(file, report)
    return document is None, len(report.found)


def apply(file: SourceFile, fixes: Iterable[Fix]) -> tuple[SourceFile, int]:
    """The file with those fixes that do not meet one before them, and how many they are."""
    text = file.content.decode("utf-8", "surrogateescape")
    starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    taken: list[tuple[int, int, str]] = []
    applied = 0
    for fix in sorted(fixes, key=lambda f: f.edits):
        edits = [(*_stretch(e.span, starts, len(text)), e.text) for e in fix.edits]
        if not any(_meet(a, b) for a in edits for b in taken):
            taken += edits
            applied += 1
    parts, at = [], 0
    for start, end, words in sorted(taken):
        parts += [text[at:start], words]
        at = end
    content = "".join([*parts, text[at:]]).encode("utf-8", "surrogateescape")
    return SourceFile(file.path, file.shown, content), applied


def _stretch(span: Span, starts: Sequence[int], length: int) -> tuple[int, int]:
    """Begin and end of `span` in the text."""
    begin, end = (
        min(starts[min(line, len(starts)) - 1] + column - 1, length)
        for line, column in ((span.line, span.column), (span.end_line, span.end_column))
    )
    return begin, end


def _meet(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    """Whether two edits touch the same place, or begin at one."""
    return one[0] == other[0] or (one[0] < other[1] and other[0] < one[1])
