"""Reports: findings in the forms that people and machines read. Each form is one module and a line here."""

from collections.abc import Callable, Mapping, Sequence

from stoa_compiler.diagnostics import Diagnostic
from stoa_compiler.reports.gitlab import as_gitlab
from stoa_compiler.reports.junit import as_junit
from stoa_compiler.reports.markdown import as_markdown
from stoa_compiler.reports.sarif import as_sarif
from stoa_compiler.reports.text import render
from stoa_compiler.source import SourceFile

Form = Callable[[Sequence[Diagnostic], Mapping[str, SourceFile]], bytes]
"""Sorted findings, and every file that was read by its shown path -> the report's bytes."""


def as_text(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings as a person reads them, without colour: UTF-8."""
    return render(diagnostics, files).encode()


def as_json(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings by `schemas/findings.schema.json`. The models are loaded when the form is asked for."""
    from stoa_compiler.reports import json

    return json.as_json(diagnostics, files)


FORMS: Mapping[str, Form] = {
    "text": as_text,
    "json": as_json,
    "gitlab": as_gitlab,
    "sarif": as_sarif,
    "junit": as_junit,
    "markdown": as_markdown,
}
