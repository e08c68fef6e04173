"""The backend of the conformance source: it answers with every media type, refuses, is slow, and changes the source."""

import asyncio
import io
import struct
import wave
import zlib
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SLOW_SECONDS = 4.5


def application(change: Callable[[], Awaitable[None]]) -> Starlette:
    """The backend; `change` is awaited when someone asks for other tools."""

    async def changed(_request: Request) -> Response:
        await change()
        return JSONResponse({"changed": True})

    async def slow(_request: Request) -> Response:
        await asyncio.sleep(SLOW_SECONDS)
        return JSONResponse({"slept": SLOW_SECONDS})

    def give(content: bytes, media_type: str) -> Callable[[Request], Response]:
        return lambda _request: Response(content, media_type=media_type)

    boundary = "part-7f3a"
    parts = [("text/plain; charset=utf-8", b"Several parts:"), ("image/png", png()), ("application/pdf", pdf())]
    mixed = b"".join(
        f"--{boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode() + content + b"\r\n"
        for media_type, content in parts
    )
    mixed += f"--{boundary}--\r\n".encode()
    refusal = JSONResponse(
        {"title": "Not today", "detail": "This backend refuses every call."},
        status_code=422,
        media_type="application/problem+json",
    )
    words = ["GET", "POST", "DELETE"]
    return Starlette(
        routes=[
            Route("/text", give(b"These are plain words.", "text/plain")),
            Route("/image", give(png(), "image/png")),
            Route("/audio", give(wav(), "audio/wav")),
            Route("/document", give(pdf(), "application/pdf")),
            Route("/mixed", give(mixed, f"multipart/mixed; boundary={boundary}")),
            Route("/error", lambda _request: refusal),
            Route("/slow", slow),
            Route("/change", changed, methods=["POST"]),
            Route("/words", lambda _request: JSONResponse({"words": "These are words."}), methods=words),
        ]
    )


def png() -> bytes:
    """A red dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
        + chunk(b"IEND", b"")
    )


def wav() -> bytes:
    """A hundredth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\x00\x00" * 80)
    return file.getvalue()


def pdf() -> bytes:
    """A document of one empty page."""
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    )
