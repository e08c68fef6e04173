"""Findings to report: made up to be awkward, and those of the whole corpus."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from stoa_compiler.diagnostics import Diagnostic, Edit, Fix, Note, Rule
from stoa_compiler.source import SourceFile, Span
from tests.bad.corpus import CASES, found_in, source_of

ERROR = Rule("STOA999", "the title", "It has a reason.", "Mend it.")
WARNING = Rule("STOA998", "another title", "It has one too.", "Think about it.", severity="warning")

Found = tuple[Sequence[Diagnostic], Mapping[str, SourceFile]]


def source(text: str, path: str = "tenants/acme/plans/a.yaml") -> SourceFile:
    """A file with this text."""
    return SourceFile(path.partition("/")[2], path, text.encode())


def files_of(*files: SourceFile) -> dict[str, SourceFile]:
    """Files by the path that is shown."""
    return {f.shown: f for f in files}


def span_of(file: SourceFile, words: str, nth: int = 0) -> Span:
    """Where the words stand on one line; `nth` counts the lines that hold them."""
    lines = [(n, line) for n, line in enumerate(file.lines, start=1) if words in line]
    number, line = lines[nth]
    return file.span(number, line.index(words) + 1, len(words))


def awkward() -> Found:
    """Findings that hold whatever an author can put into a report."""
    hostile = "\x1b[31m\x9b2J\u202e</failure>]]>&amp;\u0000 ``` @all ![x](https://evil.example) <script>|"
    file = source(f"one: 1\ntwo: '{hostile}'\nthree: [\n  4,\n  5]\n", "tenants/a b/ü&<.yaml")
    other = source("x: 1\n", "tenants/b/other.yaml")
    found = [
        Diagnostic(ERROR, span_of(file, "one"), f"`{hostile}` is wrong", (Note("declared here", other.span(1, 1, 1)),)),
        Diagnostic(ERROR, span_of(file, hostile), "this is wrong", (Note(f"a note with {hostile}"),), hostile),
        Diagnostic(
            WARNING, Span(file.shown, 3, 8, 5, 5), "this may be wrong", (Note("declared here", file.span(1, 1)),)
        ),
        Diagnostic(ERROR, file.span(), "about the file"),
        Diagnostic(
            ERROR, file.span(1, 6, 1), "mended", fix=Fix(f"write {hostile}", (Edit(file.span(1, 6, 1), hostile),))
        ),
        Diagnostic(ERROR, Span("tenants/\udcff.yaml", 1, 1, 1, 1), "a name that is no text: `\udcff`"),
    ]
    return sorted(found, key=lambda d: d.order), files_of(file, other)


def of_the_corpus(folder: Path) -> Found:
    """The findings of one case for each rule, as if they were one source."""
    found: list[Diagnostic] = []
    files: dict[str, SourceFile] = {}
    for case in {c.name.split("-")[0]: c for c in CASES}.values():
        place = folder / case.name
        place.mkdir()
        diagnostics, checked = found_in(source_of(case, place))
        found += diagnostics
        files |= checked.source.files
        shutil.rmtree(place)
    return sorted(found, key=lambda d: d.order), files
