"""The format `junit`: one test case for each file that was read, which fails with the errors in it.

A case is called the same in every run, so that a CI server tells what a change broke and what it mended.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as xml

from stoa_compiler.diagnostics import Diagnostic
from stoa_compiler.reports.terminal import visible
from stoa_compiler.reports.text import render
from stoa_compiler.source import SourceFile

_CASE = "stoa check"


def as_junit(diagnostics: Sequence[Diagnostic], files: Mapping[str, SourceFile]) -> bytes:
    """The findings as one suite, without times. Warnings stand in a case's output and do not fail it."""
    found = defaultdict[str, list[Diagnostic]](list)
    for d in diagnostics:
        found[d.span.file].append(d)
    suite = xml.Element("testsuite", name="stoa")
    failures = 0
    for file in sorted({*files, *found}):
        path = visible(file)
        case = xml.SubElement(suite, "testcase", classname=path, name=_CASE, file=path, time="0")
        errors = [d for d in found[file] if d.rule.severity == "error"]
        warnings = [d for d in found[file] if d.rule.severity == "warning"]
        if errors:
            failures += 1
            first = f"{errors[0].rule.code} {visible(errors[0].message)}"
            message = first if len(errors) == 1 else f"{first}, and {len(errors) - 1} more"
            xml.SubElement(case, "failure", type=errors[0].rule.code, message=message).text = render(errors, files)
        if warnings:
            xml.SubElement(case, "system-out").text = render(warnings, files)
    counts = {"tests": str(len(suite)), "failures": str(failures), "errors": "0", "skipped": "0", "time": "0"}
    suite.attrib |= counts
    root = xml.Element("testsuites", counts)
    root.append(suite)
    xml.indent(root)
    written: bytes = xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"
