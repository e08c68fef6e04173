"""The parts of a multipart answer (RFC 2046, 5.1), each with its media type and its bytes."""

import base64
import binascii
import quopri
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser

LIMIT = 64
"""Parts that an answer may have."""

_HEADERS = BytesHeaderParser()


@dataclass(frozen=True, slots=True)
class Part:
    """One part."""

    media_type: str
    """In lower case, without parameters; `text/plain` where the part names none (RFC 2046, 5.1)."""
    charset: str
    body: bytes


def boundary(content_type: str) -> str:
    """The boundary that a Content-Type names; empty where it names none."""
    message = Message()
    message["Content-Type"] = content_type
    named = message.get_boundary("")
    return named if isinstance(named, str) and len(named) <= 70 else ""


def parts(body: bytes, boundary: str) -> list[Part]:
    """The parts in their order; `ValueError` where the body is not what its boundary says."""
    if not boundary:
        raise ValueError("no boundary")
    # The line break before a delimiter belongs to it; the first delimiter may stand at the very beginning.
    _, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("ascii"))
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("no closing delimiter")
    if len(pieces) - 1 > LIMIT:
        raise ValueError("too many parts")
    return [_part(piece) for piece in pieces[:-1]]


def _part(piece: bytes) -> Part:
    rest = piece.lstrip(b" \t")
    head, found, content = rest.partition(b"\r\n\r\n")
    if not rest.startswith(b"\r\n") or not found:
        raise ValueError("a part without an end of its headers")
    headers = _HEADERS.parsebytes(head.lstrip(b"\r\n"))
    if headers.get_content_maintype() == "multipart":
        raise ValueError("parts within a part")
    match str(headers.get("Content-Transfer-Encoding", "binary")).strip().lower():
        case "base64":
            try:
                content = base64.b64decode(b"".join(content.split()), validate=True)
            except binascii.Error:
                raise ValueError("a part that is not base64") from None
        case "quoted-printable":
            content = quopri.decodestring(content)
    return Part(headers.get_content_type().lower(), headers.get_content_charset("utf-8"), content)
