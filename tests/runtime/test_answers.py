"""Answers by their media type: text, JSON and bytes, each as the contract's schema reads it."""

import json
from typing import Any

import pytest

from stoa_runtime import bundles
from stoa_runtime.answers import shaped
from stoa_runtime.backends import Reply
from stoa_runtime.bundles import PreparedTool
from stoa_runtime.results import as_json
from tests.runtime import world


def tool(media_type: str, schema: dict[str, Any] | None, **answer: Any) -> PreparedTool:
    answer = {"media_types": [media_type], **answer}
    declared = world.tool("ioi", "billing", "get", "GET", "/it", output=schema, answer=answer)
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


LISTED = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "string"}, "minItems": 3}, "n": {"type": "integer"}},
    "required": ["items"],
}


def long(number: int) -> bytes:
    return json.dumps({"items": ["x" * 98] * number, "n": number}).encode()


@pytest.mark.parametrize("legacy", [True, False])
def test_only_named_members_pass(legacy: bool) -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string"}, "to": {"type": "object"}}}
    given = reply("application/json", b'{"id":"a","iban":"DE1","to":{"name":"N","iban":"DE2"}}')
    found = shaped(tool("application/json", schema, fields=["id", "to.name"]), given, legacy=legacy)
    assert found.result.structured == {"id": "a", "to": {"name": "N"}}
    assert b"DE" not in as_json(found.result, legacy=legacy)


@pytest.mark.parametrize("check", ["enforce", "report"])
@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b'"secret"'),
        ("application/json", b'{"to":"secret","id":{"x":1}}'),
        ("text/plain", b"secret"),
        ("image/png", b"secret"),
        ("application/json", b'["secret"]'),
    ],
)
def test_nothing_of_another_kind_than_the_path_says_passes(check: str, media_type: str, body: bytes) -> None:
    schema = {"type": "object", "properties": {"to": {"type": "object"}}}
    found = shaped(tool("*/*", schema, fields=["to.name"], check=check), reply(media_type, body), legacy=False)
    assert b"secret" not in as_json(found.result, legacy=False)
    assert b"c2VjcmV0" not in as_json(found.result, legacy=False)


def test_a_long_answer_is_refused_with_what_to_do() -> None:
    found = shaped(
        tool("application/json", LISTED, max_characters=5000), reply("application/json", long(90)), legacy=False
    )
    assert (found.decision, found.rule) == ("refused", "answer-size")
    assert "Ask for less" in found.result.content[0]["text"]


@pytest.mark.parametrize("legacy", [True, False])
def test_a_long_answer_is_cut_so_that_it_still_conforms(legacy: bool) -> None:
    cutting = tool("application/json", LISTED, max_characters=5000, when_too_large="truncate")
    found = shaped(cutting, reply("application/json", long(90)), legacy=legacy)
    value = json.loads(found.result.content[0]["text"])
    assert found.decision == "allowed"
    assert value == found.result.structured == json.loads(found.result.structured_json or b"")
    assert cutting.output is not None
    assert cutting.output.is_valid(value)
    assert sum(len(block["text"]) for block in found.result.content) <= 5000
    kept = len(value["items"])
    assert 40 < kept < 50
    assert value["n"] == 90
    assert found.result.meta["dev.gostoa/truncated"]["lists"] == [{"at": "items", "kept": kept, "of": 90}]
    assert f"{kept} of 90 items of `items`" in found.result.content[1]["text"]


def test_what_cannot_be_cut_and_still_conform_is_refused() -> None:
    strict = LISTED | {"properties": {"items": {"type": "array", "minItems": 90}}}
    cutting = tool("application/json", strict, max_characters=5000, when_too_large="truncate")
    found = shaped(cutting, reply("application/json", long(90)), legacy=False)
    assert found.rule == "answer-size"
    one = shaped(cutting, reply("application/json", b'{"items":["' + b"y" * 6000 + b'"]}'), legacy=False)
    assert one.decision == "refused"


def test_long_text_is_cut_between_characters() -> None:
    cutting = tool("text/plain", {"type": "string"}, max_characters=1000, when_too_large="truncate")
    found = shaped(cutting, reply("text/plain", "é".encode() * 3000), legacy=False)
    assert found.result.content[0]["text"] == found.result.structured == "é" * 600
    assert "first 600 of 3,000 characters" in found.result.content[1]["text"]


def test_long_bytes_are_refused() -> None:
    cutting = tool("image/png", None, max_characters=1000, when_too_large="truncate")
    assert shaped(cutting, reply("image/png", b"x" * 3000), legacy=False).rule == "answer-size"
