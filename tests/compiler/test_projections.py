"""Projections: whatever fits the whole schema fits the pruned one once it is projected, and nothing else passes."""

import itertools
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stoa_compiler.projections import Problem, prune
from stoa_schemas import projection
from stoa_schemas.projection import ITEMS, project, tree

NAMES = ("a", "b", "c")
LEAVES: list[Any] = [
    {"type": "string"},
    {"type": "integer"},
    {"type": ["boolean", "null"]},
    {"const": 1},
    {"$ref": "#/$defs/leaf"},
    True,
]


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.lists(st.sampled_from(NAMES), unique=True)
    return st.fixed_dictionaries(
        {
            "type": st.sampled_from(["object", ["object", "null"]]),
            "properties": st.dictionaries(st.sampled_from(NAMES), inner, min_size=1),
        },
        optional={
            "required": names,
            "additionalProperties": st.just(False) | inner,
            "patternProperties": st.just({"^c": {"type": "string"}}),
            "unevaluatedProperties": st.just(False),
            "minProperties": st.integers(0, 2),
            "not": st.just({"required": ["c"]}),
            "if": st.just({"required": ["a"]}),
            "then": st.just({"required": ["b"]}),
            "dependentRequired": st.just({"a": ["b"]}),
        },
    )


def _arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(["array", ["array", "null"]]), "items": inner},
        optional={
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minItems": st.integers(0, 1),
            "uniqueItems": st.booleans(),
            "contains": st.just({"type": "object"}),
        },
    )


def _unions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        *(st.builds(lambda k, v: {k: v}, st.just(key), several) for key in ("oneOf", "anyOf", "allOf")),
        st.builds(lambda v: {"oneOf": [*v, {"type": "null"}]}, several),
    )


SCHEMAS = st.recursive(
    st.sampled_from([*LEAVES, {"$ref": "#/$defs/node"}, {"$ref": "#/$defs/node", "required": ["a"]}, {"$ref": "#"}]),
    lambda inner: _objects(inner) | _objects(inner) | _arrays(inner) | _unions(inner),
    max_leaves=8,
)
ROOTS = st.builds(
    lambda root, node: {**root, "$defs": {"node": node, "leaf": {"type": "string", "enum": ["x", "y"]}}},
    _objects(SCHEMAS) | _arrays(SCHEMAS) | _unions(_objects(SCHEMAS)),
    _objects(SCHEMAS) | _objects(st.sampled_from(LEAVES)),
)


def sample(draw: Any, schema: Any, root: Any, depth: int = 0) -> Any:
    """A value that likely fits: unions by one branch, objects with what is declared and sometimes more."""
    if depth > 6 or not isinstance(schema, dict):
        return draw(st.sampled_from([None, 1, "x", {"a": 1}, []]))
    if "$ref" in schema:
        target = root if schema["$ref"] == "#" else root["$defs"][schema["$ref"].rpartition("/")[2]]
        return sample(draw, target, root, depth + 1)
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return sample(draw, draw(st.sampled_from(schema[key])), root, depth + 1)
    if "allOf" in schema:
        found = [sample(draw, sub, root, depth + 1) for sub in schema["allOf"]]
        return {k: v for f in found for k, v in f.items()} if all(isinstance(f, dict) for f in found) else found[0]
    if "const" in schema:
        return schema["const"]
    kinds = schema.get("type", "string")
    kind = draw(st.sampled_from(kinds)) if isinstance(kinds, list) else kinds
    match kind:
        case "object":
            value = {n: sample(draw, s, root, depth + 1) for n, s in schema.get("properties", {}).items()}
            if not schema.get("required") and value and draw(st.booleans()):
                value.popitem()
            if draw(st.integers(0, 3)) == 0:
                value["secret"] = "hidden"
            return value
        case "array":
            parts = [*schema.get("prefixItems", []), schema["items"]]
            return [sample(draw, part, root, depth + 1) for part in parts]
        case "integer":
            return 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return draw(st.sampled_from(["x", "y"]))


PATHS = st.lists(
    st.lists(st.sampled_from([*NAMES, *NAMES, ITEMS]), min_size=1, max_size=4)
    .filter(lambda steps: steps[-1] != ITEMS)
    .map(projection.text),
    min_size=1,
    max_size=3,
    unique=True,
)


def leaves(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value that holds no others."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from leaves(item, (*at, name))
    elif isinstance(value, list) and value:
        for item in value:
            yield from leaves(item, (*at, ITEMS))
    elif value is not None:
        yield at


EVERY_PATH = [
    projection.text(steps)
    for length in (1, 2, 3, 4)
    for steps in itertools.product((*NAMES, ITEMS), repeat=length)
    if steps[-1] != ITEMS
]


@given(ROOTS, st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_what_fits_the_whole_fits_the_pruned_schema_once_projected(root: Any, data: Any) -> None:
    try:
        whole = jsonschema_rs.Draft202012Validator(root)
    except (ValueError, jsonschema_rs.ReferencingError):
        assume(False)
    possible = [path for path in EVERY_PATH if isinstance(prune(root, [path]), dict)]
    assume(possible)
    paths = data.draw(st.lists(st.sampled_from(possible), min_size=1, max_size=4, unique=True))
    pruned = prune(root, paths)
    if isinstance(pruned, list):
        assert {problem.kind for problem in pruned} == {"covered"}
        pruned = prune(root, paths := paths[:1])
    assert isinstance(pruned, dict)
    jsonschema_rs.meta.validate(pruned)
    value = sample(data.draw, root, root)
    assume(whole.is_valid(value))
    projected = project(value, tree(paths))
    assert jsonschema_rs.Draft202012Validator(pruned).is_valid(projected), (pruned, value, projected)


ANY = st.recursive(
    st.none() | st.integers() | st.just("x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "secret"]), inner, max_size=3),
)


@given(ANY, PATHS)
def test_nothing_passes_that_no_path_names(value: Any, paths: list[str]) -> None:
    try:
        wanted = tree(paths)
    except ValueError:
        assume(False)
    named = [projection.steps(path) for path in paths]
    for at in leaves(project(value, wanted)):
        # A leaf is below a path, or it is an object or list that is empty now and stands above one.
        assert any(at[: len(path)] == path or path[: len(at)] == at for path in named), at


@given(ANY, PATHS)
def test_a_path_passes_all_that_it_names(value: Any, paths: list[str]) -> None:
    try:
        wanted = tree(paths)
    except ValueError:
        assume(False)
    before, after = (sorted(_below(v, paths)) for v in (value, project(value, wanted)))
    assert before == after


def _below(value: Any, paths: list[str]) -> Iterator[str]:
    for path in paths:
        found = [value]
        for step in projection.steps(path):
            if step == ITEMS:
                found = [item for v in found if isinstance(v, list) for item in v]
            else:
                found = [v[step] for v in found if isinstance(v, dict) and step in v]
        yield f"{path}: {found!r}"


ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Its number."},
        "customer": {"$ref": "#/$defs/Customer"},
        "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Line"}},
        "parent": {"$ref": "#"},
        "loose": {"properties": {"x": {"type": "string"}}},
        "prices": {"type": "object", "additionalProperties": {"type": "number"}},
    },
    "required": ["id", "lines"],
    "additionalProperties": False,
    "$defs": {
        "Customer": {
            "type": ["object", "null"],
            "properties": {"name": {"type": "string"}, "iban": {"type": "string"}},
            "required": ["name", "iban"],
        },
        "Line": {
            "type": "object",
            "properties": {"amount": {"$ref": "#/$defs/Money"}, "note": {"type": "string"}},
            "required": ["amount"],
        },
        "Money": {"type": "number"},
    },
}


def test_a_schema_is_pruned_with_its_definitions() -> None:
    assert prune(ORDER, ["id", "customer.name", "lines[].amount"]) == {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Its number."},
            "customer": {
                "type": ["object", "null"],
                "properties": {"name": {"type": "string"}},
                "required": ["name"],
            },
            "lines": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {"amount": {"$ref": "#/$defs/Money"}},
                    "required": ["amount"],
                },
            },
        },
        "required": ["id", "lines"],
        "additionalProperties": False,
        "$defs": {"Money": {"type": "number"}},
    }


def test_a_reference_to_the_whole_keeps_the_whole() -> None:
    pruned = prune(ORDER, ["parent"])
    assert isinstance(pruned, dict)
    assert pruned["properties"] == {"parent": {"$ref": "#/$defs/part-1"}}
    assert pruned["$defs"]["part-1"]["properties"]["parent"] == {"$ref": "#/$defs/part-1"}
    assert set(pruned["$defs"]) == {"Customer", "Line", "Money", "part-1"}


def test_a_member_of_a_map_can_be_picked() -> None:
    pruned = prune(ORDER, ["prices.EUR"])
    assert isinstance(pruned, dict)
    assert pruned["properties"]["prices"] == {"type": "object", "properties": {"EUR": {"type": "number"}}}


def test_one_branch_of_several_is_still_told_apart_where_it_can_be() -> None:
    shapes = {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": "card"}, "pan": {"type": "string"}}},
            {"type": "object", "properties": {"kind": {"const": "bank"}, "iban": {"type": "string"}}},
        ]
    }
    assert prune(shapes, ["kind"]) == {
        "anyOf": [
            {"type": "object", "properties": {"kind": {"const": "card"}}},
            {"type": "object", "properties": {"kind": {"const": "bank"}}},
        ]
    }


@pytest.mark.parametrize(
    ("paths", "kind", "said", "advice"),
    [
        (["custmer"], "unknown", "the output schema has no member `custmer`", "Did you mean `customer`?"),
        (["customer.nme"], "unknown", "`customer` has no member `nme`", "Did you mean `name`?"),
        (["lines.amount"], "unknown", "`lines` is a list", "Write `lines[].amount`."),
        (["customer[].name"], "unknown", "`customer` is no list", ""),
        (["id.x"], "unknown", "`id` is no object", ""),
        (["loose.x"], "mixed", "`loose` may be", "Give it `type: object`, or pick it whole."),
        (["id", "id"], "covered", "`id` is named twice", "Remove one of them."),
        (["customer", "customer.name"], "covered", "`customer.name` is part of `customer`", "Remove one of them"),
        (["lines[].amount", "lines.amount"], "covered", "disagree on whether `lines` is a list", "Write both"),
    ],
)
def test_paths_that_say_nothing_are_refused(paths: list[str], kind: str, said: str, advice: str) -> None:
    found = prune(ORDER, paths)
    assert isinstance(found, list)
    assert any(
        isinstance(p, Problem) and (p.kind, said in p.message, advice in p.help) == (kind, True, True) for p in found
    ), found


def test_a_circle_of_references_is_refused_and_not_followed() -> None:
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    found = prune(circle, ["x"])
    assert isinstance(found, list)
    assert "circle" in found[0].message
