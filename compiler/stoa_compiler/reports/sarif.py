"""The format `sarif`: SARIF 2.1.0, which code scanning services and editors read."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from stoa_compiler import __version__
from stoa_compiler.diagnostics import Diagnostic, Fix, Rule
from stoa_compiler.reports.encoding import dumped, text
from stoa_compiler.reports.excerpts import short_text
from stoa_compiler.reports.fingerprints import fingerprints
from stoa_compiler.reports.terminal import visible
from stoa_compiler.source import SourceFile, Span

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def as_sarif(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings as one run, with the rules that they name."""
    rules = sorted({d.rule.code: d.rule for d in diagnostics}.values(), key=lambda r: r.code)
    indexes = {rule.code: number for number, rule in enumerate(rules)}
    names = fingerprints(diagnostics, files)
    run = {
        "tool": {
            "driver": {
                "name": "stoa",
                "version": __version__,
                "semanticVersion": __version__,
                "informationUri": "https://gostoa.dev",
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(d, indexes[d.rule.code], name, files) for d, name in zip(diagnostics, names, strict=True)],
    }
    return dumped({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.help},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(d: Diagnostic, index: int, name: str, files: Mapping[str, SourceFile]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": d.rule.code,
        "ruleIndex": index,
        "level": d.rule.severity,
        "message": {"text": visible(" ".join((f"{d.message}.", *_asides(d), d.help or d.rule.help)))},
        "locations": [{"physicalLocation": _location(d.span, files)}],
        "partialFingerprints": {"stoaFinding/v1": name},
    }
    related = [
        {"id": number, "physicalLocation": _location(note.span, files), "message": {"text": visible(note.message)}}
        for number, note in enumerate(d.notes, start=1)
        if note.span is not None
    ]
    if related:
        result["relatedLocations"] = related
    if d.fix is not None:
        result["fixes"] = [_fix(d.fix)]
    return result


def _fix(fix: Fix) -> dict[str, Any]:
    """The fix as changes of one file, which an editor can apply."""
    replacements = [
        {"deletedRegion": _region(e.span, whole=True), "insertedContent": {"text": text(e.text)}} for e in fix.edits
    ]
    change = {"artifactLocation": _artifact(fix.edits[0].span), "replacements": replacements}
    return {"description": {"text": visible(fix.description)}, "artifactChanges": [change]}


def _asides(d: Diagnostic) -> list[str]:
    """Notes without a place, as sentences."""
    return [f"({note.message}.)" for note in d.notes if note.span is None]


def _location(span: Span, files: Mapping[str, SourceFile]) -> dict[str, Any]:
    region = _region(span)
    if snippet := short_text(span, files):
        region["snippet"] = {"text": text(snippet)}
    return {"artifactLocation": _artifact(span), "region": region}


def _artifact(span: Span) -> dict[str, str]:
    path = text(span.file)
    absolute = path.startswith("/")
    return {"uri": f"file://{quote(path)}"} if absolute else {"uri": quote(path), "uriBaseId": "%SRCROOT%"}


def _region(span: Span, whole: bool = False) -> dict[str, Any]:
    """The span. Without an extent it stands for its line, but in a fix (`whole`) for the place between characters."""
    region: dict[str, Any] = {"startLine": span.line, "startColumn": span.column}
    if whole or (span.line, span.column) != (span.end_line, span.end_column):
        region |= {"endLine": span.end_line, "endColumn": span.end_column}
    return region
