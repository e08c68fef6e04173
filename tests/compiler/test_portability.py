"""What clients are known not to take of a tool's schema and name."""

from typing import Any

import pytest

from stoa_compiler.portability import concerns, name_budget
from stoa_compiler.tokens import estimate, shown
from stoa_schemas.documents.platform import ClientProfile

PLAIN: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["id", "tags"],
    "additionalProperties": False,
}
CLIENTS: list[ClientProfile] = ["claude", "openai", "openai-strict", "gemini"]


def of(schema: Any, *clients: ClientProfile) -> list[tuple[str, str]]:
    """Effect and words of each concern about a property `v` of that schema."""
    root = {**PLAIN, "properties": {**PLAIN["properties"], "v": schema}, "required": ["id", "tags", "v"]}
    return [(c.effect, c.message) for c in concerns(root, clients)]


def test_a_plain_schema_is_taken_by_all() -> None:
    assert concerns(PLAIN, CLIENTS) == []


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
def test_no_client_takes_a_union_at_the_root(client: ClientProfile, keyword: str) -> None:
    found = concerns({**PLAIN, keyword: [{"required": ["id"]}]}, [client])
    assert ("refused", f"a union at the root at `/{keyword}`") in [(c.effect, c.message) for c in found]
    assert found[0].place == f"/{keyword}"


@pytest.mark.parametrize(
    ("client", "schema", "effect", "words"),
    [
        ("openai", {"type": "array"}, "refused", "arrays without `items` at `/properties/v`"),
        ("openai", {"enum": ["a", "b", "a"]}, "refused", "a value that stands twice at `/properties/v/enum`"),
        ("openai-strict", {"oneOf": [{"type": "string"}]}, "refused", "`oneOf` at `/properties/v/oneOf`"),
        (
            "openai-strict",
            {"type": "object"},
            "refused",
            "objects without `additionalProperties: false` at `/properties/v`",
        ),
        (
            "openai-strict",
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
            "refused",
            "properties that are not required at `/properties/v/properties/a`",
        ),
        ("gemini", {"enum": [1, 2]}, "refused", "values that are no text at `/properties/v/enum`"),
        ("gemini", {"type": "array", "items": {}}, "refused", "arrays whose items have no type at `/properties/v`"),
        ("gemini", {"$ref": "#/$defs/X"}, "lost", "references at `/properties/v/$ref`"),
        ("gemini", {"type": ["integer", "string"]}, "lost", "a choice of types at `/properties/v/type`"),
        ("gemini", {"const": 1}, "lost", "`const` at `/properties/v/const`"),
    ],
)
def test_what_one_client_does_not_take(client: ClientProfile, schema: Any, effect: str, words: str) -> None:
    assert of(schema, client) == [(effect, words)]
    assert of(schema, "claude") == []


def test_null_beside_one_type_is_taken() -> None:
    assert of({"type": ["string", "null"], "enum": ["a", None]}, *CLIENTS) == []


def test_names_that_look_like_keywords_are_names() -> None:
    assert (
        of({"type": "object", "properties": {"oneOf": {"type": "string"}, "const": {"type": "string"}}}, "gemini") == []
    )


def test_bounds_of_strict_mode() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(11):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"], "additionalProperties": False}
    assert ("refused", "12 levels of objects, where 10 are taken") in of(deep, "openai-strict")
    many = {"enum": [str(i) for i in range(1001)]}
    assert ("refused", "1,001 values of `enum`, where 1,000 are taken") in of(many, "openai-strict")


def test_names_of_arguments() -> None:
    root = {**PLAIN, "properties": {"a~b/c": {"type": "string"}}, "required": []}
    (found,) = concerns(root, ["claude"])
    assert found.place == "/properties/a~0b~1c"


def test_places_are_cut_after_three() -> None:
    schema = {"type": "object", "properties": {f"p{i}": {"const": i} for i in range(5)}}
    ((_, words),) = of(schema, "gemini")
    assert words.endswith("`/properties/v/properties/p2/const` and 2 more")


def test_a_clients_prefix_takes_from_the_name() -> None:
    assert name_budget("claude", "harbour") == 64 - len("mcp__harbour__")
    assert name_budget("gemini", "harbour") == 64 - len("mcp_harbour_")
    assert name_budget("openai", "harbour") == 64


def test_tokens_are_bytes_by_four() -> None:
    schema = {"type": "object"}
    assert estimate("n", "d", schema) == 16  # {"name":"n","description":"d","input_schema":{"type":"object"}}
    assert estimate("n", "é" * 8, schema) == 20
    assert shown([999, 1]) == "1,000"
    assert shown([20_400, 130]) == "about 21,000"
