"""What a tool needs, taken from what a contract says; what cannot be a tool is refused, never left out in silence."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stoa_compiler.graph import OperationNode
from stoa_compiler.operations import legacy_output_schema
from stoa_schemas import names
from tests.compiler.sources import ORDERS, PLATFORM, Copy, copy_of_base


@pytest.fixture
def source(tmp_path: Path) -> Copy:
    return copy_of_base(tmp_path)


def operation(source: Copy, **declared: Any) -> tuple[OperationNode | None, list[str]]:
    """The contract's only operation, as it was lowered, and the codes of the findings."""
    document = yaml.safe_load((source.root / ORDERS).read_text())
    document["spec"]["operations"] = {"act": {"summary": "Act", "sideEffects": "read", **declared}}
    source.add(ORDERS, yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))
    checked, found = source.read()
    assert checked.graph is not None
    acme = next(t for t in checked.graph.tenants if t.name == "acme")
    lowered = acme.contracts[0].operations if acme.contracts else ()
    return (lowered[0] if lowered else None), [d.rule.code for d in found if d.rule.severity == "error"]


def inputs(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT = {"type": "string"}


def test_arguments_go_where_the_rule_says(source: Copy) -> None:
    node, codes = operation(source, method="GET", path="/a/{id}", input=inputs("id", id=TEXT, q=TEXT))
    assert codes == []
    assert node is not None
    assert {a: (p.in_, p.name) for a, p in node.request.arguments.items()} == {
        "id": ("path", "id"),
        "q": ("query", "q"),
    }
    assert node.request.body is None
    node, codes = operation(
        source, method="POST", path="/a/{id}", sideEffects="write", input=inputs("id", id=TEXT, q=TEXT)
    )
    assert codes == []
    assert node is not None
    assert {a: p.in_ for a, p in node.request.arguments.items()} == {"id": "path", "q": "body"}
    assert node.request.body is not None


def test_the_root_of_the_input_is_closed(source: Copy) -> None:
    node, _ = operation(source, method="GET", path="/a", input={"properties": {"q": TEXT}})
    assert node is not None
    assert node.input_schema == {"type": "object", "properties": {"q": TEXT}, "additionalProperties": False}
    node, _ = operation(source, method="GET", path="/a")
    assert node is not None
    assert node.input_schema == {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": []},
        {"properties": "q"},
        {"required": "q"},
        {"required": [["q"]]},
        {"required": [{"q": 1}]},
        {"required": ["q"]},
        {"type": ["object"]},
        {"type": {"a": 1}},
        {"properties": {"q": "string"}},
        {"properties": {"q": None}},
        {"properties": {"q": {"type": "text"}}},
        {"properties": {"q": {"type": ["string", 1]}}},
        {"properties": {"q": {"enum": {}}}},
        {"properties": {"q": {"allOf": {}}}},
        {"properties": {"q": {"$ref": 1}}},
        {"properties": {"q": {"dependentSchemas": []}}},
        {"additionalProperties": {"type": "string"}},
        {"patternProperties": {"^x": TEXT}},
        {"$ref": "#/$defs/a", "$defs": {"a": {}}},
        {"allOf": []},
        {"unevaluatedProperties": False},
    ],
)
def test_a_schema_that_is_none_is_a_finding_and_never_a_missing_tool(source: Copy, schema: dict[str, Any]) -> None:
    _, codes = operation(source, method="GET", path="/a", input=schema)
    assert codes


json_like = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.sampled_from(
            ["object", "array", "string", "q", "#", "#/$defs/a", "#/properties/q", "^a", "(", "https://x.example"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "required",
                    "$ref",
                    "$defs",
                    "a",
                    "q",
                    "enum",
                    "allOf",
                    "anyOf",
                    "items",
                    "pattern",
                    "additionalProperties",
                    "default",
                    "const",
                    "not",
                    "if",
                    "dependentSchemas",
                    "minimum",
                    "$id",
                    "x-note",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=14,
)


@settings(max_examples=80, deadline=None)
@given(json_like.filter(lambda v: isinstance(v, dict)), st.sampled_from(["/a", "/a/{q}", "/a/{", "/{q}/{q}"]))
def test_any_input_gives_a_tool_or_findings(
    tmp_path_factory: pytest.TempPathFactory, schema: dict[str, Any], path: str
) -> None:
    source = copy_of_base(tmp_path_factory.mktemp("source"))
    node, codes = operation(
        source, method="GET", path=path, input=schema, output=schema, examples=[{"name": "x", "input": {}}]
    )
    assert (node is not None) or codes


@pytest.mark.parametrize(
    "name", ["Host", "cookie", "AUTHORIZATION", "X-Forwarded-For", "Transfer-Encoding", "traceparent"]
)
def test_no_argument_is_a_header_of_the_runtimes_own(source: Copy, name: str) -> None:
    _, codes = operation(
        source, method="GET", path="/a", input=inputs(h=TEXT), parameters={"h": {"in": "header", "name": name}}
    )
    assert codes == ["STOA320"]


@pytest.mark.parametrize("name", ["X\nY", "X:Y", "X Y", "X\u00e9", "X\tY", "a,b", '"a"'])
def test_a_headers_name_is_a_token(source: Copy, name: str) -> None:
    _, codes = operation(
        source, method="GET", path="/a", input=inputs(h=TEXT), parameters={"h": {"in": "header", "name": name}}
    )
    assert codes == ["STOA320"]


@pytest.mark.parametrize(
    "path", ["/a/..", "/./a", "/a/%2e%2e/b", "/a/%2E./b", "/a\\..\\b", "/{q", "/q}", "/{}", "/{q}/{q}"]
)
def test_a_path_stays_where_it_is(source: Copy, path: str) -> None:
    _, codes = operation(source, method="GET", path=path, input=inputs("q", q=TEXT))
    assert set(codes) == {"STOA316"}


def test_a_wire_name_has_64_characters_at_the_most(source: Copy) -> None:
    room = names.WIRE_NAME_LIMIT - len("acme_orders_")
    for length, codes in ((room, []), (room + 1, ["STOA318"])):
        text = (copy_of_base(source.root.parent / str(length)).root / ORDERS).read_text()
        changed = Copy(source.root.parent / str(length) / "tenants")
        changed.add(ORDERS, text.replace("    cancel_order:", f"    {'c' * length}:"))
        assert changed.codes() == codes


ids = st.from_regex(names.ID, fullmatch=True)
operations = st.from_regex(names.OPERATION, fullmatch=True)


@settings(max_examples=200)
@given(st.tuples(ids, ids, operations), st.tuples(ids, ids, operations))
def test_two_tools_never_share_a_name(one: tuple[str, str, str], two: tuple[str, str, str]) -> None:
    first, second = names.wire_name(*one), names.wire_name(*two)
    if one != two and first is not None:
        assert first != second
    if first is not None:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", first)
        assert tuple(first.split("_", 2)) == one


def test_approval_follows_the_classification_and_can_only_be_asked_for_more(source: Copy) -> None:
    """`H` demands it of what is destructive."""
    node, _ = operation(source, method="DELETE", path="/a", sideEffects="destructive")
    assert node is not None
    assert node.approval
    node, _ = operation(source, method="GET", path="/a")
    assert node is not None
    assert not node.approval
    node, _ = operation(source, method="GET", path="/a", approval=True)
    assert node is not None
    assert node.approval
    _, codes = operation(source, method="DELETE", path="/a", sideEffects="destructive", approval=False)
    assert codes == ["STOA433"]
    source.change(PLATFORM, "    H:\n", "    H:\n      approval: []\n")
    node, codes = operation(source, method="DELETE", path="/a", sideEffects="destructive", approval=False)
    assert codes == ["STOA603"]


def test_an_answer_that_is_no_object_is_wrapped() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"items": {"$ref": "#"}}}}
    assert legacy_output_schema(schema) == {
        "type": "object",
        "properties": {"result": {"type": "array", "items": {"$ref": "#/$defs/a"}}},
        "required": ["result"],
        "$defs": {"a": {"items": {"$ref": "#/properties/result"}}},
    }


def lamp(source: Copy, changed: dict[str, Any], **declared: Any) -> OperationNode:
    """The operation that stands on a description, with the description's operation changed."""
    file = source.root / "umbra/sources/lamps.yaml"
    description = yaml.safe_load(file.read_text())
    description["paths"]["/lamps/{lamp}"]["get"].update(changed)
    content = yaml.safe_dump(description)
    source.add("umbra/sources/lamps.yaml", content)
    contract = yaml.safe_load((source.root / "umbra/contracts/lamps.yaml").read_text())
    contract["spec"]["source"] |= {"sha256": hashlib.sha256(content.encode()).hexdigest(), **declared}
    source.add("umbra/contracts/lamps.yaml", yaml.safe_dump(contract, sort_keys=False))
    checked, found = source.read()
    assert [d for d in found if d.rule.severity == "error"] == []
    assert checked.graph is not None
    umbra = next(t for t in checked.graph.tenants if t.name == "umbra")
    return umbra.contracts[0].operations[0]


def answered(example: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"on": {"type": ["boolean", "null"]}}}
    return {"responses": {"200": {"description": "", "content": {"application/json": {"schema": schema, **example}}}}}


def called(value: str) -> dict[str, Any]:
    parameter = {"name": "lamp", "in": "path", "required": True, "schema": {"type": "string"}, "example": value}
    return {"parameters": [parameter]}


def test_an_example_without_an_answer_claims_none(source: Copy) -> None:
    node = lamp(source, {**answered({}), **called("L1")})
    assert [e.model_dump(exclude_unset=True) for e in node.examples] == [
        {"name": "From the description", "input": {"lamp": "L1"}}
    ]
    assert node.answers == ()


def test_an_answer_without_a_call_is_kept_for_mocks(source: Copy) -> None:
    node = lamp(source, answered({"example": {"on": True}}))
    assert node.examples == ()
    assert node.answers == ({"on": True},)


def test_an_example_with_an_answer_needs_no_other(source: Copy) -> None:
    node = lamp(source, {**answered({"example": {"on": None}}), **called("L1")})
    assert [e.output for e in node.examples] == [{"on": None}]
    assert node.answers == ()


def test_bytes_are_taken_when_the_source_says_so(source: Copy) -> None:
    picture = {"responses": {"200": {"description": "", "content": {"image/png": {}}}}}
    node = lamp(source, picture, binary="base64")
    assert node.output_schema is None
    assert node.answer.media_types == ["image/png"]
    assert not node.answer.wrap
