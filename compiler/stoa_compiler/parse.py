"""Parse: bytes into plain values, with a span for every key and value.

YAML 1.2's core schema. The language needs no anchors, aliases, merge keys, tags or several documents, and
refuses them: each is a way to write something other than what a reviewer reads. A plain document is read by
`fastread.py`; any other, and every mistake and span, by `reader.py` over libyaml's events.

A document with such a mistake goes on with its doubts (`source.Doubts`), so that one run shows what else is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stoa_compiler.diagnostics import Diagnostic, Report, Rule
from stoa_compiler.fastread import fast_read
from stoa_compiler.load import Placed
from stoa_compiler.source import Document, Doubts, SourceFile, SpanTree

MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_NUMBER_LENGTH = 40
MAX_FINDINGS = 100
"""Findings of one file: what follows is not read, so that no author drowns all others."""

SYNTAX = Rule(
    code="STOA101",
    title="not well-formed YAML",
    why="The file ends or turns where YAML 1.2 expects something else, so nothing below it can be trusted.",
    help="Mend the syntax at the marked place; often the mistake is an indentation, a missing colon or an open quote.",
)
ENCODING = Rule(
    code="STOA102",
    title="not UTF-8 text",
    why="Another encoding, a byte order mark or a control character would be read differently by other tools.",
    help="Save the file as UTF-8 without a byte order mark.",
)
DUPLICATE_KEY = Rule(
    code="STOA103",
    title="the key stands twice",
    why="Readers of YAML disagree on which of two equal keys counts, so a reviewer may read the one that does not.",
    help="Keep one of them.",
)
NOT_A_STRING_KEY = Rule(
    code="STOA104",
    title="the key is not a string",
    why="Keys are names. A number, a list or null as a key becomes something else in JSON.",
    help="Put the key in quotes, or name it.",
)
ANCHOR = Rule(
    code="STOA105",
    title="anchors, aliases and merge keys are not taken",
    why="They make a value stand where a reviewer does not see it, and a few lines can grow to gigabytes.",
    help="Write the value out where it is meant.",
)
TAG = Rule(
    code="STOA106",
    title="tags are not taken",
    why="A tag changes what a value is behind a reader's back.",
    help="Remove the tag; put the value in quotes where a string is meant.",
)
SEVERAL_DOCUMENTS = Rule(
    code="STOA107",
    title="several documents in one file",
    why="Identity comes from the path, so one file is one document.",
    help="Move each document to a file of its own.",
)
EMPTY = Rule(
    code="STOA108",
    title="the file is empty",
    why="A document needs `apiVersion`, `kind`, `metadata` and `spec`.",
    help="Write the document, or remove the file.",
)
TOO_DEEP = Rule(
    code="STOA109",
    title="nested too deep or too large",
    why=f"A document may nest {MAX_DEPTH} levels and hold {MAX_NODES:,} values, so that none can exhaust the compiler.",
    help="Flatten or split it.",
)
NUMBER = Rule(
    code="STOA110",
    title="not a number that every reader takes alike",
    why=f"Numbers of more than {MAX_NUMBER_LENGTH} characters, whole numbers beyond 64 bits, infinity and not-a-number "
    "have no JSON form that every reader takes alike.",
    help="Write a smaller number, or a string in quotes.",
)
HIDDEN_CHARACTER = Rule(
    code="STOA111",
    title="a character that cannot be seen",
    why="Zero-width, bidirectional, tag and control characters let a text say one thing to a reviewer and another to "
    "an agent.",
    help="Delete the character.",
)
NOT_NFC = Rule(
    code="STOA112",
    title="the text is not in Unicode's composed form",
    why="Two texts that look the same must be the same: names and texts are in normalisation form C.",
    help="Type the character in its composed form, for example `\u00e9` as one character.",
)

RULES = (
    SYNTAX,
    ENCODING,
    DUPLICATE_KEY,
    NOT_A_STRING_KEY,
    ANCHOR,
    TAG,
    SEVERAL_DOCUMENTS,
    EMPTY,
    TOO_DEEP,
    NUMBER,
    HIDDEN_CHARACTER,
    NOT_NFC,
)


def parse(placed: Sequence[Placed], report: Report) -> list[tuple[Placed, Document]]:
    """The documents that can be understood; every mistake is reported."""
    read = ((place, understand(place.file, report)) for place in placed)
    return [(place, document) for place, document in read if document is not None]


def parse_file(file: SourceFile, report: Report) -> Document | None:
    """The file's document, or None with at least one finding. Any bytes at all are taken."""
    document = understand(file, report)
    return None if document is None or document.doubts is not None else document


def understand(file: SourceFile, report: Report) -> Document | None:
    """The file's document as far as it can be understood: with findings, it has doubts, and may be None."""
    data, doubts = fast_read(file.content), None
    if data is None:
        data, doubts, found = _read(file)
        report.found.extend(found)
    return None if data is None else Document(file, data, _Spans(file), doubts)


def _read(file: SourceFile) -> tuple[Any, Doubts | None, list[Diagnostic]]:
    """The file's plain values, or None, where they are not clear, and what was found: all that a worker sends back."""
    from stoa_compiler.reader import compose, doubts_of

    report = Report()
    root = compose(file, report)
    if root is None or not report.errors:
        return (None if root is None else root.data), None, report.found
    doubts = doubts_of(root)
    return (None if () in doubts.values else root.data), doubts, report.found


def spans_of(file: SourceFile) -> Callable[[], SpanTree]:
    """The file's spans, which are read when they are first asked for."""
    return _Spans(file)


@dataclass
class _Spans:
    """The spans of a file, read when they are first asked for: a document without mistakes needs none."""

    file: SourceFile
    tree: SpanTree | None = None

    def __call__(self) -> SpanTree:
        if self.tree is None:
            from stoa_compiler.reader import spans

            self.tree = spans(self.file)
        return self.tree
