"""The JSON Schemas for editors: current, and equal in judgement to the models."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.diagnostics import Report
from stoa_compiler.load import Placed, load
from stoa_compiler.parse import parse_file
from stoa_compiler.source import Document, SourceFile
from stoa_compiler.validate import PLACEHOLDER, WRONG_NAME, WRONG_TYPE, validate_document
from stoa_schemas.documents import KINDS
from stoa_schemas.emit import files, schema_file, schema_of

ROOT = Path(__file__).parents[2]

OUT_OF_REACH = {
    WRONG_NAME.code: "a schema does not see the path that `metadata` must agree with",
    PLACEHOLDER.code: "it holds for every text outside of free-form parts, whatever key the text stands at",
}
"""What the models judge and the schemas do not, by rule."""
# A schema does not tell 443.0 from 443 either (JSON Schema 2020-12, 6.1.1); `test_a_whole_float` shows that one. In
# all other tests such numbers are whole before either side judges.

KEYWORDS = {
    "$defs", "$id", "$ref", "$schema", "additionalProperties", "const", "default", "description", "enum", "examples",
    "exclusiveMinimum", "items", "maxLength", "maximum", "minItems", "minLength", "minProperties", "minimum", "oneOf",
    "pattern", "patternProperties", "properties", "required", "title", "type",
}  # fmt: skip
"""Keywords that draft 7 and draft 2020-12 read alike; beside a `$ref` stand only words for people."""


def pattern(validator: Any, wanted: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """`pattern` as JSON Schema means it: in Python alone, `$` matches before a last line feed too."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", wanted), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {wanted!r}")


@cache
def judges(kind: str) -> Mapping[str, Any]:
    """Readers of the kind's schema that have nothing in common."""
    schema = schema_of(kind)
    by_draft = {
        draft: jsonschema.validators.extend(cls, {"pattern": pattern})(as_ecma(schema)).is_valid
        for draft, cls in (("2020-12", jsonschema.Draft202012Validator), ("7", jsonschema.Draft7Validator))
    }
    return {**by_draft, "rs": jsonschema_rs.validator_for(schema).is_valid}


def as_ecma(node: Any) -> Any:
    """The schema for Python's readers: to JSON Schema's patterns `$` is the very end, to Python's also before a line
    feed there. `pattern` is read so by itself."""
    if isinstance(node, list):
        return [as_ecma(n) for n in node]
    if not isinstance(node, dict):
        return node
    made = {k: as_ecma(v) for k, v in node.items()}
    if isinstance(made.get("patternProperties"), dict):
        made["patternProperties"] = {re.sub(r"\$$", r"\\Z", k): v for k, v in made["patternProperties"].items()}
    return made


def whole(value: Any) -> Any:
    """`value` with every float that is whole as an integer."""
    match value:
        case dict():
            return {k: whole(v) for k, v in value.items()}
        case list():
            return [whole(v) for v in value]
        case float() if value.is_integer():
            return int(value)
    return value


def check(place: Placed, document: Document) -> bool:
    """Whether the document is good; fails where models and schemas disagree on it."""
    data = whole(document.data)
    report = Report()
    validate_document(place, Document(document.file, data, document.spans), report)
    codes = {d.rule.code for d in report.found}
    good = not codes - OUT_OF_REACH.keys()
    for reader, accepts in judges(place.kind).items():
        assert accepts(data) == good, (reader, sorted(codes), json.dumps(data)[:2000])
    return good


def documents(source: Path) -> Iterator[tuple[Placed, Document]]:
    for place in load(source, Report()).placed:
        document = parse_file(place.file, Report())
        if document is not None:
            yield place, document


GOOD = [*documents(ROOT / "tenants"), *documents(ROOT / "tests/bad/base")]


def test_schemas_are_current() -> None:
    made = dict(files())
    written = {name: (ROOT / "schemas" / name).read_bytes() for name in made}
    assert written == made, "run `python -m stoa_schemas.emit schemas`"


@pytest.mark.parametrize("kind", KINDS)
def test_form(kind: str) -> None:
    schema = schema_of(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$id"].endswith("/" + schema_file(kind))

    def look(node: Mapping[str, Any], where: str) -> None:
        assert node.keys() <= KEYWORDS, where
        assert node.get("default", 0) is not None, where
        if "$ref" in node:
            assert node.keys() <= {"$ref", "description", "default", "examples"}, where
        if node.get("type") == "object":
            assert "additionalProperties" in node, where
        for name, child in {**node.get("properties", {}), **node.get("$defs", {})}.items():
            assert where.endswith(("/urls", "/environments", "/zones", "/classifications")) or child["description"], (
                f"{where}/{name} has no description"
            )
            look(child, f"{where}/{name}")
        for child in (*node.get("patternProperties", {}).values(), *node.get("oneOf", ())):
            look(child, where)
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                look(node[key], where)

    look(schema, kind)


def test_examples_and_defaults_fit() -> None:
    """What a hover offers, a document can hold."""
    seen = 0
    for kind in KINDS:
        schema = schema_of(kind)
        nodes = [schema]
        while nodes:
            node = nodes.pop()
            nodes += [child for child in node.values() if isinstance(child, dict)]
            nodes += [b for child in node.values() if isinstance(child, list) for b in child if isinstance(b, dict)]
            if not isinstance(node.get("description"), str):
                continue
            offered = [*node.get("examples", []), *([node["default"]] if "default" in node else [])]
            for value in offered:
                seen += 1
                jsonschema.Draft202012Validator({**node, "$defs": schema["$defs"]}).validate(value)
    assert seen > 60


@pytest.mark.parametrize(("place", "document"), GOOD, ids=[p.file.shown for p, _ in GOOD])
def test_good_documents(place: Placed, document: Document) -> None:
    assert check(place, document)


def test_bad_documents(tmp_path: Path) -> None:
    seen: set[tuple[str, bytes]] = set()
    refused = 0
    for case in sorted((ROOT / "tests/bad").glob("STOA*/in")):
        source = tmp_path / case.parent.name
        shutil.copytree(ROOT / "tests/bad/base", source)
        shutil.copytree(case, source, dirs_exist_ok=True)
        for place, document in documents(source):
            if (key := (place.file.path, place.file.content)) not in seen:
                seen.add(key)
                refused += not check(place, document)
    assert refused >= 25


def test_a_whole_float() -> None:
    place, document = next((p, d) for p, d in GOOD if p.kind == "Platform")
    data = deepcopy(document.data)
    data["spec"]["flows"][0]["port"] = 443.0
    report = Report()
    validate_document(place, Document(document.file, data, document.spans), report)
    assert {d.rule.code for d in report.found} == {WRONG_TYPE.code}
    assert all(accepts(data) for accepts in judges("Platform").values())


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of `value` with each of its keys or indexes."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield value, key
        yield from places(child)


ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 3, 443.0, 0.5, 10**15, 2**63, "", " ", "x", "ioi", "x\n", "a b", "no", "1.0.0",
        "GET", "2s", "60/minute", "mcp", "prod", "${x}", "{{x}}", "é", "日本", "a" * 31, "a" * 32, "b" * 81,
        "c" * 2001, "2027-02-30", "vault:a/b#c", "*:*:*", "https://x.example", [], ["x"], [None], {}, {"x": 1},
        {"type": "bearer"}, {"name": "x"},
    ]
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5), ODD), max_size=3))
def test_mutated_documents(origin: tuple[Placed, Document], changes: list[tuple[int, int, Any]]) -> None:
    place, document = origin
    data = deepcopy(document.data)
    for pick, how, odd in changes:
        every = list(places(data))
        parent, key = every[pick % len(every)]
        other_parent, other_key = every[(pick // 7) % len(every)]
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, dict):
            name = odd if isinstance(odd, str) else "unknown"
            parent[name] = parent.pop(key)
        elif how == 2 and isinstance(parent, dict):
            parent[other_key if isinstance(other_key, str) else "x"] = deepcopy(parent[key])
        elif how == 3:
            parent[key] = deepcopy(other_parent[other_key])
        else:
            parent[key] = deepcopy(odd)
    content = json.dumps(data, ensure_ascii=False).encode()
    changed = parse_file(SourceFile(place.file.path, place.file.shown, content), Report())
    if changed is not None:
        check(place, changed)
