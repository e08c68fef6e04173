"""Answers by their media type: text, JSON and bytes, each as the contract's schema reads it."""

from typing import Any

import mcp_types
import pytest

from stoa_runtime import bundles
from stoa_runtime.answers import shaped
from stoa_runtime.backends import Reply
from stoa_runtime.bundles import PreparedTool
from tests.runtime import world


def tool(media_type: str, schema: dict[str, Any] | None) -> PreparedTool:
    declared = world.tool("ioi", "billing", "get", "GET", "/it", output=schema, answer={"media_types": [media_type]})
    output = bundles.validator(schema, "the output") if schema is not None else None
    takes = bundles.validator(declared.input_schema, "the input")
    return PreparedTool("ioi", declared, world.contract("billing", "http://127.0.0.1:1"), (), takes, output)


def reply(media_type: str, body: bytes) -> Reply:
    return Reply(status=200, media_type=media_type, charset="utf-8", body=body, retry_after=None)


@pytest.mark.parametrize(
    "media_type", ["application/xml", "application/atom+xml", "image/svg+xml", "application/yaml", "text/csv"]
)
def test_text_is_text_by_whatever_name(media_type: str) -> None:
    found = shaped(tool(media_type, {"type": "string"}), reply(media_type, b"<a/>"), legacy=False)
    assert (found.decision, found.deviates) == ("allowed", False)
    assert found.result.structured_content == "<a/>"


@pytest.mark.parametrize("media_type", ["application/json", "text/json", "application/hal+json"])
def test_json_is_json_by_whatever_name(media_type: str) -> None:
    found = shaped(tool(media_type, {"type": "object"}), reply(media_type, b'{"a": 1}'), legacy=False)
    assert found.result.structured_content == {"a": 1}


@pytest.mark.parametrize(
    ("media_type", "block"),
    [
        ("image/png", mcp_types.ImageContent),
        ("audio/ogg", mcp_types.AudioContent),
        ("application/pdf", mcp_types.EmbeddedResource),
    ],
)
def test_bytes_are_base64(media_type: str, block: type) -> None:
    found = shaped(tool(media_type, None), reply(media_type, b"\x00\x01\x02"), legacy=False)
    (content,) = found.result.content
    assert isinstance(content, block)
    data = content.resource.blob if isinstance(content, mcp_types.EmbeddedResource) else content.data  # type: ignore[union-attr]
    assert data == "AAEC"
    assert found.result.structured_content is None
