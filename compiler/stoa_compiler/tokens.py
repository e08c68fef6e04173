"""Tokens: about how much of a model's context a tool takes, and a catalog."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from stoa_compiler.graph import OperationNode

BYTES_PER_TOKEN = 4
"""Of JSON in English: tokenizers differ, and docs/openapi.md has what one of them counts for real catalogs."""


def estimate(name: str, description: str, input_schema: Mapping[str, Any]) -> int:
    """About the tokens of one tool: the bytes of what a client hands to its model, by `BYTES_PER_TOKEN`."""
    handed = {"name": name, "description": description, "input_schema": dict(input_schema)}
    return math.ceil(len(orjson.dumps(handed)) / BYTES_PER_TOKEN)


def weight(operation: OperationNode) -> int:
    """About the tokens of the operation's tool."""
    return estimate(operation.wire_name, operation.description, operation.input_schema)


def of_catalog(catalog: bytes | None) -> int:
    """About the tokens of all tools of a rendered catalog; 0 where there is none."""
    tools = orjson.loads(catalog)["tools"] if catalog is not None else ()
    return sum(estimate(t["name"], t["description"], t["inputSchema"]) for t in tools)


def shown(tokens: Iterable[int]) -> str:
    """The sum as people read it: `1,250`, and `about 24,000` from ten thousand on."""
    total = sum(tokens)
    return f"{total:,}" if total < 10_000 else f"about {round(total, -3):,}"
