"""The format `json`: everything that is known of each finding, as `stoa_schemas.findings` describes it."""

from collections.abc import Mapping, Sequence
from typing import Any

from stoa_compiler.diagnostics import Diagnostic, Fix, Note
from stoa_compiler.reports.encoding import dumped, text
from stoa_compiler.reports.excerpts import short_text
from stoa_compiler.reports.fingerprints import fingerprints
from stoa_compiler.source import SourceFile, Span
from stoa_schemas.findings import VERSION, Finding, Findings, Mending, Remark, Replacement


def as_json(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings as one JSON object: `version`, `errors`, `warnings`, `diagnostics`."""
    names = fingerprints(diagnostics, files)
    findings = Findings(
        version=VERSION,
        errors=sum(d.rule.severity == "error" for d in diagnostics),
        warnings=sum(d.rule.severity == "warning" for d in diagnostics),
        diagnostics=[_finding(d, files, name) for d, name in zip(diagnostics, names, strict=True)],
    )
    return dumped(findings.model_dump(mode="json", by_alias=True, exclude_none=True))


def _finding(d: Diagnostic, files: Mapping[str, SourceFile], name: str) -> Finding:
    return Finding(
        code=d.rule.code,
        severity=d.rule.severity,
        title=d.rule.title,
        message=text(d.message),
        **_place(d.span),
        text=text(short_text(d.span, files)),
        notes=[_remark(n) for n in d.notes],
        why=d.rule.why,
        help=text(d.help or d.rule.help),
        fingerprint=name,
        fix=_fix(d.fix) if d.fix else None,
    )


def _fix(fix: Fix) -> Mending:
    edits = [Replacement(**_place(e.span), replacement=text(e.text)) for e in fix.edits]
    return Mending(description=text(fix.description), edits=edits)


def _remark(note: Note) -> Remark:
    return Remark(message=text(note.message), **(_place(note.span) if note.span else {}))


def _place(span: Span) -> dict[str, Any]:
    return {
        "file": text(span.file),
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }
