"""Descriptions that others wrote: every operation becomes a valid tool, or says why not.

They lie outside the repository; without them there is nothing to run.
"""

import json
from pathlib import Path

import jsonschema_rs
import pytest

from stoa_compiler.openapi import Converted, Problem, convert, read
from stoa_compiler.openapi.command import table
from stoa_compiler.openapi.importer import Selection, import_openapi
from stoa_compiler.openapi.schema import MAX_BYTES, MAX_DEFINITIONS
from stoa_schemas.documents import UniversalAPIContract

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "openapi"
FILES = sorted(FOLDER.glob("*")) if FOLDER.is_dir() else []
LEFT_OUT = {
    "discord.json": {
        "upload_application_attachment": "multipart",
        "create_guild_sticker": "multipart",
        "update_invite_target_users": "multipart",
        "get_guild_widget_png": "image/png",
    }
}

pytestmark = pytest.mark.skipif(not FILES, reason="the descriptions are not here")


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_every_operation_converts_or_says_why(file: Path) -> None:
    description = read(file.read_bytes(), file.name)
    assert description.operations
    left_out = {}
    for operation_id in description.operations:
        result = convert(description, operation_id)
        if isinstance(result, Problem):
            left_out[operation_id] = result.message
            continue
        assert isinstance(result, Converted)
        whole = {result.request.body.argument} if result.request.body and result.request.body.argument else set()
        assert set(result.input_schema["properties"]) == set(result.request.arguments) | whole
        assert result.input_schema["type"] == "object"
        assert 0 < len(result.title) <= 80
        assert 0 < len(result.description) <= 1024
        for schema in (result.input_schema, result.output_schema):
            if schema is not None:
                jsonschema_rs.meta.validate(schema)
                jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions())
                assert len(json.dumps(schema)) < 2 * MAX_BYTES
                assert len(schema.get("$defs", {})) < 10 * MAX_DEFINITIONS
                assert "nullable" not in _keywords(schema)
        for example in result.examples:
            assert jsonschema_rs.is_valid(result.input_schema, dict(example.input))
    expected = LEFT_OUT.get(file.name, {})
    assert left_out.keys() == expected.keys()
    assert all(words in left_out[operation] for operation, words in expected.items())


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_nothing_is_left_out_where_bytes_are_taken(file: Path) -> None:
    description = read(file.read_bytes(), file.name)
    for operation_id in description.operations:
        result = convert(description, operation_id, "base64")
        assert isinstance(result, Converted), result
        for schema in (result.input_schema, result.output_schema):
            if schema is not None:
                jsonschema_rs.meta.validate(schema)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_every_description_imports(file: Path) -> None:
    content = file.read_bytes()
    imported = import_openapi(
        content, file.name, tenant="acme", name="api", selection=Selection(all=True), owner="api@acme.example"
    )
    print(f"\n{file.name}", *table(imported), sep="\n")  # `pytest -rP` shows what became of each operation.
    states = [r.state for r in imported.operations]
    assert states.count("left out") == len(LEFT_OUT.get(file.name, {}))
    assert states.count("in") == len(states) - states.count("left out")
    tools = [r.tool for r in imported.operations if r.tool]
    assert len(set(tools)) == len(tools)
    assert all(len(t) <= 64 for t in tools)
    suffix = "json" if file.suffix == ".json" else "yaml"
    assert imported.files[f"acme/sources/api.{suffix}"] == content
    contract = _contract(imported.files["acme/contracts/api.yaml"])
    assert [o.from_ for o in contract.spec.operations.values()] == [
        r.operation for r in imported.operations if r.state == "in"
    ]


def _contract(text: bytes) -> UniversalAPIContract:
    from stoa_compiler.diagnostics import Report
    from stoa_compiler.parse import parse_file
    from stoa_compiler.source import SourceFile

    report = Report()
    document = parse_file(SourceFile("c.yaml", "c.yaml", text), report)
    assert document is not None, report.found
    return UniversalAPIContract.model_validate(document.data)


def _keywords(value: object) -> set[str]:
    if isinstance(value, dict):
        found = set()
        for key, inner in value.items():
            if key in ("properties", "$defs") and isinstance(inner, dict):
                found |= set().union(*(_keywords(v) for v in inner.values()))
            elif key not in ("enum", "const", "default", "examples"):
                found |= {key} | _keywords(inner)
        return found
    return set().union(*(_keywords(v) for v in value)) if isinstance(value, list) else set()
