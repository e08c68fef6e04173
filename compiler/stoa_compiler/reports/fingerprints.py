"""Names for findings that outlive edits elsewhere in the file."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from stoa_compiler.diagnostics import Diagnostic
from stoa_compiler.reports.excerpts import offending_text
from stoa_compiler.source import SourceFile


def fingerprints(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> list[str]:
    """A name for each finding, no two of them equal.

    It is made of rule, file, the keys that the place lies below, and the marked words: not of the line, and not of
    the message. Equal ones are told apart by their order.
    """
    seen: Counter[str] = Counter()
    trails = {file: _trails(files[file].lines) for file in {d.span.file for d in diagnostics} if file in files}
    names = []
    for d in diagnostics:
        below = trails.get(d.span.file, [])
        trail = below[d.span.line - 1] if d.span.line <= len(below) else ""
        key = "\0".join((d.rule.code, d.span.file, trail, offending_text(d.span, files)))
        seen[key] += 1
        names.append(hashlib.sha256(f"{key}\0{seen[key]}".encode("utf-8", "surrogateescape")).hexdigest())
    return names


def _trails(lines: Sequence[str]) -> list[str]:
    """For each line the keys of the lines that it is indented below, as far as indentation tells."""
    above: list[tuple[int, str]] = []
    trails = []
    for line in lines:
        words = line.strip()
        indent = len(line) - len(line.lstrip())
        if words and not words.startswith("#"):
            while above and above[-1][0] >= indent:
                above.pop()
        trails.append(above[-1][1] if above else "")
        if words and not words.startswith("#"):
            key = hashlib.sha256(f"{trails[-1]}\0{words.partition(':')[0]}".encode("utf-8", "replace")).hexdigest()
            above.append((indent, key))
    return trails
