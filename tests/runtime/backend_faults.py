"""Backends that misbehave, over real sockets, and what the caller sees of each.

`python -m tests.runtime.backend_faults` prints the table of docs/backends.md.
"""

import asyncio
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

from stoa_runtime import bundles
from stoa_runtime.addresses import AddressRule
from stoa_runtime.answers import shaped
from stoa_runtime.backends import BackendFailed, Backends, open_wire
from stoa_runtime.bundles import PreparedTool
from stoa_runtime.credentials import FileCredentials
from stoa_runtime.requests import Outgoing
from tests.runtime import world

CAP = 100_000
"""Decompressed bytes that the answers here may have."""
GOOD = b'{"ok":true}'
JSON = b"Content-Type: application/json\r\n"

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


def sends(*pieces: bytes) -> Script:
    """Sends these bytes, and closes."""

    async def script(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return script


def hangs(*pieces: bytes) -> Script:
    """Sends these bytes, and then nothing more."""

    async def script(writer: asyncio.StreamWriter) -> None:
        await sends(*pieces)(writer)
        await asyncio.sleep(30)

    return script


def resets(*pieces: bytes) -> Script:
    """Sends these bytes, and breaks the connection."""

    async def script(writer: asyncio.StreamWriter) -> None:
        await sends(*pieces)(writer)
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return script


def streams(total: int) -> Script:
    """Sends so many bytes of one JSON text, as fast as they are taken."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + JSON + b'Transfer-Encoding: chunked\r\n\r\n1\r\n"\r\n')
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        for _ in range(total // 65536):
            writer.write(piece)
            await writer.drain()

    return script


def answers(body: bytes, headers: bytes = JSON, status: bytes = b"200 OK") -> Script:
    """One whole answer."""
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return sends(b"HTTP/1.1 " + status + b"\r\n" + headers + length + body)


HEAD = b"HTTP/1.1 200 OK\r\n" + JSON


def compressed(kind: int, pieces: Iterable[bytes]) -> bytes:
    """The pieces compressed; 15 is deflate, 31 is gzip. Made without ever holding them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, kind)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


BLANKS = [b" " * 1_000_000] * 200
BOMB = compressed(31, BLANKS)
DEEP_BOMB = compressed(31, [BOMB])


async def floods(writer: asyncio.StreamWriter) -> None:
    """Informational answers without an end."""
    while True:
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
        await writer.drain()


@dataclass(frozen=True)
class Fault:
    """One way to misbehave."""

    name: str
    script: Script
    rule: str
    """What stands in the audit log."""
    method: str = "GET"


FAULTS = (
    Fault("answers well", answers(GOOD), "granted"),
    Fault("hangs before the headers", hangs(), "backend-timeout"),
    Fault("hangs in the headers", hangs(b"HTTP/1.1 200 OK\r\nContent-"), "backend-timeout"),
    Fault("hangs in the body", hangs(HEAD + b"Content-Length: 11\r\n\r\n", b'{"ok"'), "backend-timeout"),
    Fault("closes without an answer", sends(), "backend-unreachable"),
    Fault("resets before the headers", resets(), "backend-unreachable"),
    Fault("resets in the body", resets(HEAD + b"Content-Length: 11\r\n\r\n", b'{"ok"'), "backend-unreachable"),
    Fault("Content-Length too long", sends(HEAD + b"Content-Length: 50\r\n\r\n" + GOOD), "backend-unreachable"),
    Fault("Content-Length too short", sends(HEAD + b"Content-Length: 5\r\n\r\n" + GOOD), "backend-unreachable"),
    Fault("two Content-Lengths", answers(GOOD, JSON + b"Content-Length: 2\r\n"), "backend-unreachable"),
    Fault(
        "length and chunks",
        sends(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        "backend-unreachable",
    ),
    Fault(
        "chunks that are none", sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD), "backend-unreachable"
    ),
    Fault(
        "chunks without an end", sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\nb\r\n" + GOOD), "backend-unreachable"
    ),
    Fault("no HTTP at all", sends(b"SSH-2.0-OpenSSH_9.2\r\n"), "backend-unreachable"),
    Fault("10 GB, streamed", streams(10_000_000_000), "backend-size"),
    Fault("10 GB by its Content-Length", hangs(HEAD + b"Content-Length: 10000000000\r\n\r\n"), "backend-size"),
    Fault("gzip bomb", answers(BOMB, JSON + b"Content-Encoding: gzip\r\n"), "backend-size"),
    Fault(
        "deflate bomb",
        answers(compressed(15, BLANKS), JSON + b"Content-Encoding: deflate\r\n"),
        "backend-size",
    ),
    Fault("gzip, gzip", answers(DEEP_BOMB, JSON + b"Content-Encoding: gzip, gzip\r\n"), "backend-encoding"),
    Fault(
        "gzip twice, in two headers",
        answers(DEEP_BOMB, JSON + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"),
        "backend-encoding",
    ),
    Fault(
        "br, not asked for",
        answers(b"\x0b\x05\x80" + GOOD + b"\x03", JSON + b"Content-Encoding: br\r\n"),
        "backend-encoding",
    ),
    Fault(
        "zstd, not asked for",
        answers(b"\x28\xb5\x2f\xfd" + GOOD, JSON + b"Content-Encoding: zstd\r\n"),
        "backend-encoding",
    ),
    Fault("gzip that is none", answers(GOOD, JSON + b"Content-Encoding: gzip\r\n"), "backend-unreachable"),
    Fault(
        "redirect to the metadata address",
        answers(b"", b"Location: http://169.254.169.254/latest/\r\n", b"302 Found"),
        "backend-redirect",
    ),
    Fault("another content type", answers(b"<p>hello</p>", b"Content-Type: text/html\r\n"), "answer-media-type"),
    Fault("no content type", answers(GOOD, b""), "answer-media-type"),
    Fault("two content types", answers(GOOD, JSON + b"Content-Type: text/html\r\n"), "granted"),
    Fault(
        "1,000 times 1xx before its answer",
        sends(*[b"HTTP/1.1 102 Processing\r\n\r\n"] * 1000, HEAD + b"Content-Length: 11\r\n\r\n" + GOOD),
        "granted",
    ),
    Fault("1xx without an end", floods, "backend-timeout"),
    Fault("a header of 100 kB", answers(GOOD, JSON + b"X-Big: " + b"a" * 100_000 + b"\r\n"), "backend-unreachable"),
    Fault("100,000 headers", answers(GOOD, JSON + b"X-A: 1\r\n" * 100_000), "backend-unreachable"),
    Fault("JSON that is none", answers(b'{"ok":'), "answer-json"),
    Fault("outside its schema", answers(b'{"ok":"yes"}'), "answer-schema"),
)


def tool() -> PreparedTool:
    """A tool whose answer has one member."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    declared = world.tool("ioi", "faulty", "get", "GET", "/it", output=schema, answer={"max_bytes": CAP})
    takes = bundles.validator(declared.input_schema, "the input")
    entry = world.contract("faulty", "http://127.0.0.1:1")
    return PreparedTool("ioi", declared, entry, (), takes, bundles.validator(schema, "the output"))


async def seen(fault: Fault) -> tuple[str, str]:
    """The rule in the audit log, and the text that the caller sees."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await fault.script(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The runtime has had enough, or the test has.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    entry = world.contract("faulty", url, auth=None, connect_ms=500, read_ms=400, total_ms=2000)
    addresses, prepared = AddressRule(["127.0.0.0/8"]), tool()
    try:
        async with open_wire(addresses) as wire:
            backends = Backends(wire, addresses, FileCredentials(Path("/nowhere")))
            outgoing = Outgoing(fault.method, "/it", (), None)
            reply = await backends.send("ioi", entry, outgoing, prepared.declared.answer, "00-1-2-01")
    except BackendFailed as failed:
        return failed.rule, str(failed)
    finally:
        server.close()
    found = shaped(prepared, reply, legacy=False)
    return found.rule, str(found.result.content[0]["text"])


def table() -> str:
    """What the caller sees of each fault, as Markdown."""
    rows = [(fault.name, *asyncio.run(seen(fault))) for fault in FAULTS]
    return "\n".join(
        ["| the backend | audit rule | the caller sees |", "|---|---|---|"]
        + [f"| {name} | `{rule}` | {json.dumps(text, ensure_ascii=False)[1:-1]} |" for name, rule, text in rows]
    )


if __name__ == "__main__":
    print(table())
