"""Multipart answers: each part is a content block, and what is no multipart is withheld."""

import base64

import pytest

from stoa_runtime.answers import shaped
from stoa_runtime.backends import Reply
from stoa_runtime.multipart import LIMIT, boundary, parts
from tests.runtime.test_answers import tool

PNG = bytes(range(256))


def body(*pieces: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + piece + b"\r\n" for piece in pieces) + end


def reply(content: bytes, separator: str = "b") -> Reply:
    return Reply(200, "multipart/mixed", "utf-8", content, boundary=separator)


@pytest.mark.parametrize("legacy", [False, True])
def test_parts_become_content_blocks_in_their_order(legacy: bool) -> None:
    content = b"a preamble\r\n" + body(
        b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\ncaf\xe9",
        b"content-type: IMAGE/PNG\r\n\r\n" + PNG,
        b"Content-Type: application/json\r\n\r\n{}",
        b'Content-Type: audio/wav\r\nContent-Disposition: attachment; filename="a"\r\n\r\n\x00',
        b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(b"%PDF"),
        b"\r\nno headers",
    )
    found = shaped(tool("multipart/mixed", None), reply(content), legacy=legacy)
    assert (found.decision, found.result.structured_json, found.result.is_error) == ("allowed", None, False)
    text, image, json, sound, document, bare = found.result.content
    assert text == {"type": "text", "text": "café"}
    assert (image["type"], image["mimeType"], base64.b64decode(image["data"])) == ("image", "image/png", PNG)
    assert json == {"type": "text", "text": "{}"}
    assert sound["type"] == "audio"
    assert base64.b64decode(document["resource"]["blob"]) == b"%PDF"
    assert bare == {"type": "text", "text": "no headers"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        body(),
        body(b"Content-Type: text/plain\r\n\r\na", end=b""),
        body(b"Content-Type: text/plain"),
        body(b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\na\r\n--c--"),
        body(b"Content-Transfer-Encoding: base64\r\n\r\n!!"),
        b"--bc\r\n\r\na\r\n--b--",
        body(*[b"\r\na"] * (LIMIT + 1)),
    ],
)
def test_what_is_no_multipart_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parts(content, "b")


def test_an_unsound_answer_is_withheld() -> None:
    found = shaped(tool("multipart/mixed", None), reply(b"secret", ""), legacy=False)
    assert (found.decision, found.rule, found.result.is_error) == ("refused", "answer-multipart", True)
    assert "secret" not in str(found.result)


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        ("multipart/mixed; boundary=b", "b"),
        ('multipart/mixed; charset=utf-8; boundary="a b"', "a b"),
        ("multipart/mixed", ""),
        ("multipart/mixed; boundary=" + "x" * 71, ""),
    ],
)
def test_the_boundary_is_that_of_the_header(content_type: str, named: str) -> None:
    assert boundary(content_type) == named
