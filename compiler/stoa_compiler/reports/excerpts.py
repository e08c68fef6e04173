"""What stands in the source at a finding, without what must not be shown."""

from collections.abc import Mapping
from functools import lru_cache

from stoa_compiler.literals import masked
from stoa_compiler.source import SourceFile, Span

SHORT = 200


def source_line(file: str, number: int, files: Mapping[str, SourceFile]) -> str:
    """One line of a file, without what looks like a secret; empty where there is none."""
    source = files.get(file)
    if source is None or not 0 < number <= len(source.lines):
        return ""
    return _masked(source.lines[number - 1].rstrip("\r"))


_masked = lru_cache(maxsize=256)(masked)
"""Many findings can stand in one line, and the line can be the whole file."""


def offending_text(span: Span, files: Mapping[str, SourceFile]) -> str:
    """What stands at `span`: its first line, without what looks like a secret."""
    line = source_line(span.file, span.line, files)
    return line[span.column - 1 : span.end_column - 1 if span.end_line == span.line else None]


def short_text(span: Span, files: Mapping[str, SourceFile]) -> str:
    """The same, of long text the beginning."""
    whole = offending_text(span, files)
    return whole if len(whole) <= SHORT else f"{whole[: SHORT - 3]}..."
