"""What is wrong with arguments, worded so that a model can mend it."""

from typing import Any

import pytest

from stoa_runtime.arguments import PROBLEMS, problems
from stoa_runtime.bundles import validator

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2, "description": "Where   to\nlook."},
        "day": {"type": "string", "format": "date"},
        "kind": {"enum": ["rain", "wind"]},
        "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "limit": {"type": ["integer", "null"], "maximum": 10},
        "parts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"size": {"type": "integer"}},
                "required": ["size"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["city"],
    "additionalProperties": False,
}


def told(arguments: dict[str, Any]) -> list[str]:
    return problems(validator(SCHEMA, "x"), tuple(SCHEMA["properties"]), SCHEMA, arguments)


def test_good_arguments_have_no_problems() -> None:
    assert told({"city": "Oslo", "limit": None, "parts": [{"size": 1}]}) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "`city` is missing (a string): Where to look."),
        ({"city": 3}, "`city` must be a string, not a number."),
        ({"city": "Oslo", "ctiy": 1}, "There is no argument `ctiy`; did you mean `city`?"),
        ({"city": "Oslo", "City": 1}, "There is no argument `City`; did you mean `city`?"),
        ({"city": "Oslo", "zzz": 1}, "There is no argument `zzz`; it takes `city`, `day`"),
        ({"city": "Oslo", "kind": "snow"}, "`kind` must be one of `rain`, `wind`."),
        ({"city": "Oslo", "code": "no"}, "`code` must match the pattern ^[A-Z]{3}$."),
        ({"city": "Oslo", "limit": "3"}, "`limit` must be null or a whole number, not a string."),
        ({"city": "Oslo", "limit": 11}, "`limit`: 11 is greater than the maximum of 10."),
        ({"city": "Oslo", "parts": [{"size": 1}, {}]}, "`parts[1].size` is missing."),
        ({"city": "Oslo", "parts": [{"size": "x"}]}, "`parts[0].size` must be a whole number, not a string."),
        ({"city": "Oslo", "parts": {}}, "`parts` must be an array, not an object."),
    ],
)
def test_each_problem_says_what_to_do(arguments: dict[str, Any], said: str) -> None:
    [problem] = told(arguments)
    assert problem.startswith(said)


def test_many_problems_are_told_at_once_up_to_a_limit() -> None:
    few = told({"kind": 1, "day": 2, "colour": 3})
    assert len(few) == 4
    many = told({"city": "Oslo", "parts": [{} for _ in range(50)]})
    assert len(many) == PROBLEMS + 1
    assert many[-1] == "There may be more."


def test_a_nested_unknown_property_is_named() -> None:
    said = told({"city": "Oslo", "parts": [{"size": 1, "colour": 2}]})
    assert said
    assert "parts[0]" in said[0]
    assert "colour" in said[0]
