"""Requests byte by byte: what no well-behaved client sends."""

import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.runtime.world import LEGACY, MODERN

Headers = Iterable[tuple[str, str]]
HOST = "mcp.example.test"


@dataclass(frozen=True)
class Answer:
    """One response as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header's first value."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def envelope(version: str = MODERN) -> dict[str, Any]:
    """The `_meta` that every request of the modern protocol has."""
    return {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }


def message(method: str, params: Mapping[str, Any], *, era: str = MODERN, id: Any = 1) -> bytes:
    """A JSON-RPC request."""
    whole = dict(params)
    if era == MODERN:
        whole["_meta"] = {**envelope(), **params.get("_meta", {})}
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": whole}).encode()


def fields(method: str, token: str | None, *, era: str = MODERN, name: str | None = None) -> list[tuple[str, str]]:
    """The headers that belong to such a request, without those of its length."""
    made = [
        ("Host", HOST),
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", era),
    ]
    if era == MODERN:
        made.append(("Mcp-Method", method))
        if name is not None:
            made.append(("Mcp-Name", name))
    if token is not None:
        made.append(("Authorization", f"Bearer {token}"))
    return made


def request(headers: Headers, body: bytes, *, line: str = "POST /mcp HTTP/1.1", length: bool = True) -> bytes:
    """The bytes of one request."""
    lines = [line, *(f"{name}: {value}" for name, value in headers)]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def call(
    token: str | None, name: str, arguments: Any = None, *, era: str = MODERN, id: Any = 1, **params: Any
) -> bytes:
    """The bytes of a tool's call."""
    body = message("tools/call", {"name": name, "arguments": arguments or {}, **params}, era=era, id=id)
    return request(fields("tools/call", token, era=era, name=name), body)


def listing(token: str | None, *, era: str = MODERN) -> bytes:
    """The bytes of a request for the list of tools."""
    return request(fields("tools/list", token, era=era), message("tools/list", {}, era=era))


ERAS = (MODERN, LEGACY)


class Wire:
    """One connection."""

    def __init__(self, address: tuple[str, int], timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(address, timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends; that the other side has hung up is no error."""
        with suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self) -> Answer | None:
        """The next response; None where the connection ends instead."""
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                return None
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines)]
        if status == 100:
            return self.answer()
        length = next((int(v) for n, v in headers if n == "content-length"), None)
        if ("transfer-encoding", "chunked") in headers:
            return Answer(status, headers, self._chunks())
        while len(self._read) < (length or 0):
            if not self._more():
                break
        body, self._read = self._read[: length or 0], self._read[length or 0 :]
        return Answer(status, headers, body)

    def ends(self) -> bytes:
        """What comes until the other side closes."""
        while self._more():
            pass
        rest, self._read = self._read, b""
        return rest

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._read:
                if not self._more():
                    return body
            size, _, self._read = self._read.partition(b"\r\n")
            wanted = int(size, 16) + 2
            while len(self._read) < wanted:
                if not self._more():
                    return body + self._read
            body, self._read = body + self._read[: wanted - 2], self._read[wanted:]
            if wanted == 2:
                return body

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            return False
        self._read += data
        return bool(data)


def asked(address: tuple[str, int], data: bytes, timeout: float = 20.0) -> Answer:
    """The answer to one request over a connection of its own."""
    with Wire(address, timeout) as wire:
        wire.send(data)
        answer = wire.answer()
    assert answer is not None, "the connection ended without an answer"
    return answer


def answers(address: tuple[str, int], data: bytes, timeout: float = 20.0) -> list[Answer]:
    """All answers until the other side hangs up, having been told that nothing more comes."""
    with Wire(address, timeout) as wire:
        wire.send(data)
        found = []
        while (answer := wire.answer()) is not None:
            found.append(answer)
        return found
