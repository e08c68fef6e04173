"""Every format on every finding of the corpus and on awkward ones, each against its schema."""

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import orjson
import pytest
from markdown_it import MarkdownIt
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from stoa_compiler.reports import FORMS, as_gitlab, as_json, as_junit, as_markdown, as_sarif, as_text
from stoa_schemas.findings import SCHEMA_FILE, Findings, schema
from tests.compiler.reports.reporting import Found

SCHEMA = Path(__file__).parents[3] / "schemas" / SCHEMA_FILE

CODE_QUALITY = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "description": "What GitLab demands of a Code Quality report, and no key that it ignores.",
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "pattern": "^STOA[0-9]{3}$"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "additionalProperties": False,
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^(?![./])"},
                    "lines": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_nothing_in_a_report_is_a_command_to_a_terminal(form: str, found: Found) -> None:
    report = FORMS[form](*found)
    assert report == FORMS[form](*found)
    text = report.decode("utf-8")
    assert all(c.isprintable() or c == "\n" for c in text), [c for c in text if not c.isprintable()][:5]
    assert text.endswith("\n") or text == ""


def test_json_is_what_its_schema_says(found: Found, update_golden: bool) -> None:
    if update_golden:
        SCHEMA.write_bytes(orjson.dumps(schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    assert orjson.loads(SCHEMA.read_bytes()) == schema()
    report = orjson.loads(as_json(*found))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(report, schema(), jsonschema.Draft202012Validator)
    assert Findings.model_validate(report).model_dump(by_alias=True, exclude_none=True) == report
    assert len(report["diagnostics"]) == len(found[0]) == report["errors"] + report["warnings"]
    for d, finding in zip(found[0], report["diagnostics"], strict=True):
        place = d.span.line, d.span.column, d.span.end_line, d.span.end_column
        assert (finding["line"], finding["column"], finding["endLine"], finding["endColumn"]) == place
        assert finding["code"] == d.rule.code
        assert [n.get("line") for n in finding["notes"]] == [n.span.line if n.span else None for n in d.notes]


def test_code_quality_is_what_gitlab_demands(found: Found) -> None:
    report = orjson.loads(as_gitlab(*found))
    jsonschema.validate(report, CODE_QUALITY, jsonschema.Draft202012Validator)
    assert len({f["fingerprint"] for f in report}) == len(report) == len(found[0])
    assert not as_gitlab(*found).startswith(b"\xef\xbb\xbf")


def test_sarif_is_what_its_schema_says(found: Found) -> None:
    report = as_sarif(*found)
    (run,) = Sarif.model_validate_json(report).runs
    results = run.results or []
    assert len(results) == len(found[0])
    (data,) = orjson.loads(report)["runs"]
    rules = data["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == sorted({d.rule.code for d in found[0]})
    for d, result in zip(found[0], data["results"], strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == d.rule.code
        location = result["locations"][0]["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9%._/~-]+", location["artifactLocation"]["uri"])
        region = location["region"]
        assert 1 <= region["startLine"] <= region.get("endLine", region["startLine"])
        assert len(result.get("relatedLocations", [])) == sum(n.span is not None for n in d.notes)
        assert ("fixes" in result) == (d.fix is not None)
        for fix in result.get("fixes", []):
            (change,) = fix["artifactChanges"]
            assert change["artifactLocation"] == location["artifactLocation"]
            assert len(change["replacements"]) == len(d.fix.edits if d.fix else ())
            assert all("endColumn" in r["deletedRegion"] for r in change["replacements"])
    names = [r["partialFingerprints"]["stoaFinding/v1"] for r in data["results"]]
    assert len(set(names)) == len(names)


def test_junit_is_one_case_for_each_file(found: Found) -> None:
    """Held against what GitLab and Jenkins read: counts that agree, unique names, known elements and attributes."""
    report = as_junit(*found)
    root = ElementTree.fromstring(report)
    (suite,) = root
    allowed = {
        "testsuites": {"tests", "failures", "errors", "skipped", "time"},
        "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
        "testcase": {"classname", "name", "file", "time"},
        "failure": {"type", "message"},
        "system-out": set(),
    }
    assert all(set(e.attrib) <= allowed[e.tag] for e in root.iter())
    cases = suite.findall("testcase")
    assert len(cases) == len(suite) == int(suite.attrib["tests"]) == int(root.attrib["tests"])
    assert len({(c.attrib["classname"], c.attrib["name"]) for c in cases}) == len(cases)
    assert len(cases) == len({*found[1], *(d.span.file for d in found[0])})
    failures = suite.findall("testcase/failure")
    failing = {d.span.file for d in found[0] if d.rule.severity == "error"}
    assert len(failures) == int(suite.attrib["failures"]) == int(root.attrib["failures"]) == len(failing)
    bodies = "".join(e.text or "" for e in suite.iter() if e.tag in ("failure", "system-out"))
    assert Counter(re.findall(r"(?:error|warning)\[(STOA\d+)\]: ", bodies)) == Counter(d.rule.code for d in found[0])


def test_markdown_holds_what_authors_wrote_as_code_alone(found: Found) -> None:
    text = as_markdown(*found).decode()
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inline = [child for t in tokens for child in t.children or []]
    assert {t.type for t in inline} <= {"text", "code_inline"}
    assert "html_block" not in {t.type for t in tokens}
    plain = " ".join(t.content for t in inline if t.type == "text")
    assert "evil" not in plain
    assert "@" not in plain
    fences = [t for t in tokens if t.type == "fence"]
    assert len(fences) == len({d.span.file for d in found[0]})
    assert all(t.info == "text" for t in fences)
    codes = {code for t in fences for code in re.findall(r"\[(STOA\d+)\]: ", t.content)}
    assert codes == {d.rule.code for d in found[0]}


def test_text_shows_every_finding(found: Found) -> None:
    text = as_text(*found).decode()
    headings = re.findall(r"^[^ \n].*?:\d+:\d+: (?:error|warning)\[(STOA\d+)\]: ", text, re.MULTILINE)
    assert headings == [d.rule.code for d in found[0]]
