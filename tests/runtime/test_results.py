"""Results: the bytes that we write say what the SDK's object says."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.methods import serialize_server_result

from stoa_runtime.results import Result, as_json, as_sdk, encode, failure, said, valued
from tests.runtime.world import LEGACY, MODERN

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
META = st.dictionaries(st.sampled_from(["dev.gostoa/trace-id", "dev.gostoa/bundle"]), TEXT)
BINARY = st.sampled_from(
    [
        {"type": "image", "data": "AAEC", "mimeType": "image/png"},
        {"type": "audio", "data": "AAEC", "mimeType": "audio/ogg"},
        {"type": "resource", "resource": {"uri": "stoa:answer/x", "mimeType": "application/pdf", "blob": "AAEC"}},
    ]
)
RESULTS = st.builds(failure, TEXT) | st.builds(said, TEXT) | st.builds(lambda block: Result((block,)), BINARY)


def sdk(result: Result, version: str) -> Any:
    """The result as the SDK sends it."""
    dumped = as_sdk(result).model_dump(by_alias=True, mode="json", exclude_none=True)
    return serialize_server_result("tools/call", version, dumped)


@given(RESULTS | st.builds(valued, VALUES), META)
def test_modern_clients_get_the_same_from_both(result: Result, meta: dict[str, Any]) -> None:
    result = Result(result.content, result.structured, result.structured_json, result.is_error, meta)
    assert json.loads(as_json(result, legacy=False)) == sdk(result, MODERN)


@given(RESULTS | st.builds(valued, st.dictionaries(TEXT, VALUES, max_size=4)), META)
def test_legacy_clients_get_the_same_from_both(result: Result, meta: dict[str, Any]) -> None:
    result = Result(result.content, result.structured, result.structured_json, result.is_error, meta)
    assert json.loads(as_json(result, legacy=True)) == sdk(result, LEGACY)


@given(VALUES)
def test_a_value_and_its_text_are_the_same(value: Any) -> None:
    result = valued(value)
    assert json.loads(result.content[0]["text"]) == value
    assert result.structured_json is None if value is None else json.loads(result.structured_json or b"") == value


@pytest.mark.parametrize("value", [[2**70, float("inf")], "\ud800"])
def test_what_json_cannot_hold_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (its subclasses are of two libraries)
        encode(value)
