"""What stands in the source at a finding, without what must not be shown."""

from collections.abc import Mapping

from stoa_compiler.literals import masked
from stoa_compiler.source import SourceFile, Span


def source_line(file: str, number: int, files: Mapping[str, SourceFile]) -> str:
    """One line of a file, without what looks like a secret; empty where there is none."""
    source = files.get(file)
    if source is None or not 0 < number <= len(source.lines):
        return ""
    return masked(source.lines[number - 1].rstrip("\r"))


def offending_text(span: Span, files: Mapping[str, SourceFile]) -> str:
    """What stands at `span`: its first line, without what looks like a secret."""
    line = source_line(span.file, span.line, files)
    return line[span.column - 1 : span.end_column - 1 if span.end_line == span.line else None]
