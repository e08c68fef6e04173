"""Reports: findings in the forms that people and machines read."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from stoa_compiler.diagnostics import Diagnostic, marked_text
from stoa_compiler.source import SourceFile, Span


def as_json(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings as one JSON object: `version`, `errors`, `warnings`, `diagnostics`."""
    return _dump(
        {
            "version": 1,
            "errors": sum(d.rule.severity == "error" for d in diagnostics),
            "warnings": sum(d.rule.severity == "warning" for d in diagnostics),
            "diagnostics": [_finding(d, files) for d in diagnostics],
        }
    )


def as_gitlab(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings as a GitLab Code Quality report: one array.

    A fingerprint names rule, file and offending text, not the line, so that it outlives edits elsewhere;
    equal ones are told apart by their order.
    """
    seen: Counter[str] = Counter()
    found = []
    for d in diagnostics:
        key = "\0".join((d.rule.code, d.span.file, offending_text(d.span, files)))
        seen[key] += 1
        found.append(
            {
                "description": f"{d.message} ({d.help or d.rule.help})",
                "check_name": d.rule.code,
                "fingerprint": hashlib.sha256(f"{key}\0{seen[key]}".encode()).hexdigest(),
                "severity": "major" if d.rule.severity == "error" else "minor",
                "location": {"path": d.span.file, "lines": {"begin": d.span.line}},
            }
        )
    return _dump(found)


def offending_text(span: Span, files: Mapping[str, SourceFile]) -> str:
    """What stands at `span`: its first line, without what looks like a secret."""
    line = marked_text(span, files)
    return line[span.column - 1 : span.end_column - 1 if span.end_line == span.line else None]


def _finding(d: Diagnostic, files: Mapping[str, SourceFile]) -> dict[str, Any]:
    return {
        "code": d.rule.code,
        "severity": d.rule.severity,
        "title": d.rule.title,
        "message": d.message,
        **_place(d.span),
        "text": offending_text(d.span, files),
        "notes": [{"message": n.message, **(_place(n.span) if n.span else {})} for n in d.notes],
        "why": d.rule.why,
        "help": d.help or d.rule.help,
    }


def _place(span: Span) -> dict[str, Any]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


def _dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
