"""Whether one schema takes all that another takes: keyword by keyword, and what nobody can tell."""

# ruff: noqa: E501

from typing import Any

import pytest

from stoa_compiler.compatibility import accepts_all
from stoa_compiler.compatibility.regular import includes

TREE = {
    "type": "object",
    "properties": {"v": {"type": "integer"}, "k": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
}
WIDE_TREE = {
    "type": "object",
    "properties": {"v": {"type": "number"}, "k": {"type": "array", "items": {"$ref": "#/$defs/u"}}},
}
DEEP_TREE = {
    "type": "object",
    "properties": {"v": {"type": "string"}, "k": {"type": "array", "items": {"$ref": "#/$defs/u"}}},
}


def tagged(*tags: str, **extra: Any) -> list[dict[str, Any]]:
    return [{"type": "object", "properties": {"t": {"const": t}, **extra}, "required": ["t"]} for t in tags]


COMPATIBLE: list[tuple[Any, Any]] = [
    ({"type": "integer"}, {"type": "number"}),
    ({"type": "number", "multipleOf": 2}, {"type": "integer"}),
    ({"type": "boolean"}, {"enum": [True, False, None]}),
    ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["string", "null"]}),
    ({"enum": [1, 2.0, 3]}, {"type": "integer", "minimum": 1, "maximum": 3}),
    ({"type": "integer", "minimum": 1, "maximum": 3}, {"enum": [1, 2, 3, 4]}),
    ({"type": "integer", "exclusiveMinimum": 0}, {"minimum": 1}),
    ({"type": "integer", "multipleOf": 10, "maximum": 15}, {"maximum": 12}),
    ({"multipleOf": 4}, {"multipleOf": 2}),
    ({"type": "string", "pattern": "^[a-z]{3}$"}, {"type": "string", "minLength": 3, "maxLength": 3}),
    ({"type": "string", "pattern": "^(GET|PUT)$"}, {"type": "string", "pattern": "^[A-Z]+$"}),
    ({"type": "string", "format": "email"}, {"type": "string", "format": "idn-email"}),
    ({"type": "integer", "format": "int32"}, {"type": "integer", "format": "int64"}),
    ({"type": "array", "items": False}, {"type": "array", "maxItems": 0}),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "integer"}}, {"items": {"type": "number"}}),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, {"contains": {"type": "number"}}),
    ({"type": "array", "maxItems": 1}, {"type": "array", "uniqueItems": True}),
    ({"properties": {"a": False}}, {"properties": {"a": {"type": "string"}}}),
    ({"type": "object", "additionalProperties": False}, {"type": "object", "maxProperties": 0}),
    ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}}, {"patternProperties": {"^x": {"type": "number"}}}),
    ({"type": "object", "required": ["a"]}, {"type": "object", "minProperties": 1}),
    ({"type": "object", "required": ["b"]}, {"dependentRequired": {"a": ["b"]}}),
    ({"dependentRequired": {"a": ["b", "c"]}}, {"dependentRequired": {"a": ["b"]}}),
    ({"oneOf": tagged("p", "q")}, {"oneOf": tagged("p", "q", "r")}),
    ({"type": "object", "properties": {"t": {"enum": ["p", "q"]}}, "required": ["t"]}, {"oneOf": tagged("p", "q")}),
    ({"type": "integer", "minimum": 5}, {"not": {"type": "integer", "maximum": 4}}),
    ({"not": {"type": ["string", "null"]}}, {"not": {"type": "string"}}),
    ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, {"type": "string", "maxLength": 5}),
    ({"type": "string", "minLength": 3, "maxLength": 2}, {"type": "null"}),
    (False, {"type": "null"}),
    ({"type": "null"}, True),
    (
        {"if": {"type": "string"}, "then": {"maxLength": 3}, "else": {"type": "integer"}},
        {"if": {"type": "string"}, "then": {"maxLength": 5}, "else": {"type": "number"}},
    ),
    ({"$ref": "#/$defs/t", "$defs": {"t": TREE}}, {"$ref": "#/$defs/u", "$defs": {"u": WIDE_TREE}}),
    ({"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False}, {"properties": {"a": True}, "additionalProperties": False}),
    ({"$ref": "#/properties/a", "properties": {"a": {"type": ["object", "null"]}}}, {"type": ["object", "null"]}),
]  # fmt: skip
BREAKING: list[tuple[Any, Any, str]] = [
    ({"type": "number"}, {"type": "integer"}, "/type"),
    ({"type": ["string", "null"]}, {"type": "string"}, "/type"),
    (True, {"type": "object"}, "/type"),
    ({"enum": ["a", "b"]}, {"enum": ["a"]}, "/enum"),
    ({"const": 1}, {"const": 2}, "/const"),
    ({"type": "number"}, {"minimum": 0}, "/minimum"),
    ({"type": "number", "maximum": 5}, {"type": "number", "exclusiveMaximum": 5}, "/exclusiveMaximum"),
    ({"type": "integer"}, {"multipleOf": 2}, "/multipleOf"),
    ({"type": "string"}, {"pattern": "a"}, "/pattern"),
    ({"type": "string", "pattern": "^a*$"}, {"type": "string", "pattern": "^a+$"}, "/pattern"),
    ({"type": "string"}, {"type": "string", "format": "date"}, "/format"),
    ({"type": "array"}, {"type": "array", "items": {"type": "string"}}, "/items/type"),
    ({"type": "array"}, {"type": "array", "uniqueItems": True}, "/uniqueItems"),
    ({"type": "array"}, {"type": "array", "contains": {"type": "string"}}, "/contains"),
    ({"type": "object"}, {"type": "object", "required": ["a"]}, "/required/0"),
    ({"type": "object"}, {"type": "object", "additionalProperties": False}, "/additionalProperties"),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "integer"}}}, "/properties/a/type"),
    ({"type": "object", "properties": {"a": {}}}, {"propertyNames": {"maxLength": 0}}, "/propertyNames"),
    ({"type": "object"}, {"type": "object", "dependentRequired": {"a": ["b"]}}, "/dependentRequired/a"),
    ({"oneOf": tagged("p", "q", "r")}, {"oneOf": tagged("p", "q")}, "/oneOf"),
    ({"type": "integer"}, {"oneOf": [{"minimum": 0}, {"maximum": 0}]}, "/oneOf"),
    ({"type": "string"}, {"not": {"const": "a"}}, "/not"),
    ({"type": "string"}, False, ""),
    ({"$ref": "#/$defs/t", "$defs": {"t": TREE}}, {"$ref": "#/$defs/u", "$defs": {"u": DEEP_TREE}}, "/$defs/u/properties/v/type"),
]  # fmt: skip


@pytest.mark.parametrize(("narrower", "wider"), COMPATIBLE)
def test_compatible(narrower: Any, wider: Any) -> None:
    verdict = accepts_all(narrower, wider)
    assert verdict.answer == "compatible", (verdict.why, verdict.problems)


@pytest.mark.parametrize(("narrower", "wider", "pointer"), BREAKING)
def test_breaking_says_where_and_why(narrower: Any, wider: Any, pointer: str) -> None:
    verdict = accepts_all(narrower, wider)
    assert verdict.answer == "breaking"
    assert pointer in {"".join(f"/{s}" for s in p.wide_at) for p in verdict.problems if p.certain}
    assert "is not within" in verdict.why


def test_a_name_that_took_anything_is_no_certain_break() -> None:
    open_object = {"type": "object", "properties": {"a": {"type": "string"}}}
    more = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    verdict = accepts_all(open_object, more)
    assert verdict.answer == "unknown"
    assert [(p.family, p.name) for p in verdict.problems] == [("claimed", "b")]
    by_pattern = {**open_object, "patternProperties": {"^x": {"type": "string"}}}
    assert accepts_all(open_object, by_pattern).answer == "unknown"


def test_what_is_not_looked_into_is_unknown() -> None:
    wide = {"type": "object", "anyOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}
    verdict = accepts_all({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, wide)
    assert verdict.answer == "unknown"
    assert verdict.problems[0].family == "unproven"


def test_all_differences_of_a_schema_are_told() -> None:
    old = {"type": "object", "properties": {"a": {"maxLength": 5}, "b": {"type": "array", "items": {"enum": [1, 2]}}}}
    new = {"type": "object", "properties": {"a": {"maxLength": 4}, "b": {"type": "array", "items": {"enum": [2]}}}, "required": ["b"]}  # fmt: skip
    found = accepts_all(old, new).problems
    assert {(p.family, p.place, p.name) for p in found} == {
        ("length", ("a",), ""),
        ("enum", ("b", "[]"), ""),
        ("required", (), "b"),
    }


def union(step: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "integer", "multipleOf": n + step} for n in range(2, 14)]}


def ladder(step: int, depth: int = 24) -> dict[str, Any]:
    """Each definition names the next one twice: paths double with each."""
    steps = {
        f"d{n}": {"type": "object", "properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in ("l", "r")}}
        for n in range(depth)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{depth}": {"type": "integer", "maximum": step}}}


@pytest.mark.parametrize(
    ("narrower", "wider"),
    [
        pytest.param({"allOf": [union(n) for n in range(8)]}, {"allOf": [union(n + 1) for n in range(8)]}, id="product"),
        pytest.param(
            {"type": "array", "items": {"allOf": [union(1)] * 9}}, {"type": "array", "items": union(40)}, id="items"
        ),
        pytest.param(
            {"type": "string", "pattern": "(a|b)*a(a|b){25}$"}, {"type": "string", "pattern": "(a|b)*b(a|b){25}$"}, id="pattern"
        ),
        pytest.param(
            {"oneOf": [{"required": [f"p{i}", f"p{i + 1}"]} for i in range(40)]},
            {"oneOf": [{"required": [f"p{i}"], "maxProperties": 9} for i in range(40)]},
            id="oneOf",
        ),
    ],
)  # fmt: skip
def test_exponential_work_ends_and_is_never_called_compatible(narrower: Any, wider: Any) -> None:
    assert accepts_all(narrower, wider).answer != "compatible"


def test_one_part_that_takes_too_much_hides_no_other() -> None:
    old, new = (
        {"properties": {"x": {"allOf": [union(n + s) for n in range(8)]}, "y": {"maxLength": 5 - s}}} for s in (0, 1)
    )
    found = accepts_all(old, new)
    assert found.answer == "breaking"
    assert {(p.family, p.place) for p in found.problems} >= {("unproven", ("x",)), ("length", ("y",))}


def test_two_schemas_may_share_a_part_and_mean_other_definitions() -> None:
    shared = {"$ref": "#/$defs/a"}
    old, new = ({"properties": {"x": shared}, "$defs": {"a": {"type": t}}} for t in ("string", "null"))
    assert accepts_all(old, new).answer == "breaking"


def test_definitions_are_compared_once() -> None:
    assert accepts_all(ladder(5), ladder(6)).answer == "compatible"
    verdict = accepts_all(ladder(6), ladder(5))
    assert verdict.answer == "breaking"
    assert verdict.problems[0].wide_at == ("$defs", "d24", "maximum")


@pytest.mark.parametrize(
    ("narrower", "wider", "witness"),
    [
        ("^[a-c]$", "^[a-z]$", None),
        ("^[a-z]$", "^[a-c]$", "d"),
        ("abc", "b", None),
        ("^\\d+$", "^[0-9]+$", "\u0660"),
        ("^(ab)*$", "^(ab){0,3}$", "abababab"),
        ("^a{2,4}$", "^a{1,5}$", None),
        ("^[^x]*$", "^[^xy]*$", "y"),
        ("^(?:a|bc)+$", "^[abc]+$", None),
        ("a$|^b", "^.*a$|^b.*$", "b\n"),
    ],
)
def test_patterns_are_compared_by_their_texts(narrower: str, wider: str, witness: str | None) -> None:
    found = includes([narrower], 0, None, wider)
    assert found.holds == (witness is None)
    assert found.witness == witness


@pytest.mark.parametrize("pattern", ["\\bword", "^a(?=b)", "\\p{L}+", "a^b", "^[[:alpha:]]$", "\\w+"])
def test_patterns_beyond_what_is_decided(pattern: str) -> None:
    found = includes(["^x$"], 0, None, pattern)
    assert (found.holds, found.witness) == (False, None)
