"""The format `markdown`: for a merge request's comment or a job's summary.

What an author wrote stands in code blocks alone, where it is no link, image, mention or HTML.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from stoa_compiler.diagnostics import Diagnostic
from stoa_compiler.reports.terminal import visible
from stoa_compiler.reports.text import counted, render
from stoa_compiler.source import SourceFile

_WIDTH = 110
_LIMIT = 10


def as_markdown(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings: how many of each rule, then each file's as text; of one rule in one file no more than ten."""
    if not diagnostics:
        return b"## STOA: no findings\n"
    parts = [f"## STOA: {counted(diagnostics)}", "\n".join(_table(diagnostics))]
    for file, found in groupby(diagnostics, key=lambda d: d.span.file):
        parts += [f"### {code(visible(file))}", fenced(render(list(found), files, width=_WIDTH, limit=_LIMIT), "text")]
    return ("\n\n".join(parts) + "\n").encode()


def code(text: str) -> str:
    """The text as inline code, whatever is in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


def fenced(text: str, language: str) -> str:
    """The text as a block of code, whatever is in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def _table(diagnostics: Sequence[Diagnostic]) -> list[str]:
    counts = Counter(d.rule for d in diagnostics)
    rows = [
        f"| {rule.severity} | {rule.code} | {rule.title} | {count} |"
        for rule, count in sorted(counts.items(), key=lambda c: c[0].code)
    ]
    return ["| | rule | what | findings |", "|---|---|---|---:|", *rows]
