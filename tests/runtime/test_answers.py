"""Answers by their media type: text, JSON and bytes, each as the contract's schema reads it."""

from typing import Any

import pytest

from stoa_runtime import bundles
from stoa_runtime.answers import shaped
from stoa_runtime.backends import Reply
from stoa_runtime.bundles import PreparedTool
from stoa_runtime.results import as_json
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
    assert found.result.structured == "<a/>"


@pytest.mark.parametrize("media_type", ["application/json", "text/json", "application/hal+json"])
def test_json_is_json_by_whatever_name(media_type: str) -> None:
    found = shaped(tool(media_type, {"type": "object"}), reply(media_type, b'{"a": 1}'), legacy=False)
    assert found.result.structured == {"a": 1}


@pytest.mark.parametrize(
    ("media_type", "kind"), [("image/png", "image"), ("audio/ogg", "audio"), ("application/pdf", "resource")]
)
def test_bytes_are_base64(media_type: str, kind: str) -> None:
    found = shaped(tool(media_type, None), reply(media_type, b"\x00\x01\x02"), legacy=False)
    (block,) = found.result.content
    assert block["type"] == kind
    assert (block["resource"]["blob"] if kind == "resource" else block["data"]) == "AAEC"
    assert found.result.structured_json is None


def test_what_a_parser_passes_over_is_not_sent() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    found = shaped(tool("application/json", schema), reply("application/json", b'{"a":"hidden","a":1}'), legacy=False)
    assert b"hidden" not in as_json(found.result, legacy=False)


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("iso-8859-1", b"caf\xe9", "café"),
        ("UTF-16", "ab".encode("utf-16"), "ab"),
        ("zlib", b"plain", "plain"),
        ("utf-7", b"+2AA-", "+2AA-"),
        ("no-such", b"\xff", "\ufffd"),
    ],
)
def test_text_is_read_in_charsets_of_the_web_only(charset: str, body: bytes, text: str) -> None:
    given = Reply(status=200, media_type="text/plain", charset=charset, body=body)
    assert shaped(tool("text/plain", None), given, legacy=False).result.content[0]["text"] == text
