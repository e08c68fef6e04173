"""The format `gitlab`: a Code Quality report, which GitLab shows in merge requests.

GitLab reads `description`, `check_name`, `fingerprint`, `severity` and `location`, ignores the rest, and silently
drops the whole report when a line is no integer.
"""

from collections.abc import Mapping, Sequence

from stoa_compiler.diagnostics import Diagnostic
from stoa_compiler.reports.encoding import dumped
from stoa_compiler.reports.fingerprints import fingerprints
from stoa_compiler.reports.terminal import visible
from stoa_compiler.source import SourceFile

_SEVERITIES = {"error": "major", "warning": "minor"}


def as_gitlab(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings as one array. GitLab matches them across branches by their fingerprints."""
    return dumped(
        [
            {
                "description": visible(f"{d.message}. {d.help or d.rule.help}"),
                "check_name": d.rule.code,
                "fingerprint": name,
                "severity": _SEVERITIES[d.rule.severity],
                "location": {
                    "path": visible(d.span.file),
                    "lines": {"begin": d.span.line},
                },
            }
            for d, name in zip(diagnostics, fingerprints(diagnostics, files), strict=True)
        ]
    )
