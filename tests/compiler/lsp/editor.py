"""An editor for tests: a client of the Language Server Protocol that starts `stoa lsp` and speaks JSON-RPC with it."""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 60


class Editor:
    """One session with a server over stdio."""

    def __init__(self, folder: Path, encodings: list[str] | None = None) -> None:
        self.folder = folder
        command = [str(Path(sys.executable).with_name("stoa")), "lsp"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.arrived: queue.Queue[dict[str, Any]] = queue.Queue()
        self.problems: dict[str, list[dict[str, Any]]] = {}
        """The findings that were published last, by path."""
        self.versions: dict[str, int] = {}
        self.published = 0
        self.number = 0
        self.errors = b""
        threading.Thread(target=self._receive, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()
        general = {"positionEncodings": encodings} if encodings else {}
        self.capabilities = self.ask(
            "initialize",
            {"processId": os.getpid(), "rootUri": folder.as_uri(), "capabilities": {"general": general}},
        )["capabilities"]
        self.tell("initialized", {})

    def uri(self, path: str) -> str:
        return (self.folder / path).as_uri()

    def ask(self, method: str, params: Any) -> Any:
        """The answer to a request."""
        self.number += 1
        mine = self.number
        self._send({"id": mine, "method": method, "params": params})
        while True:
            message = self.arrived.get(timeout=PATIENCE_SECONDS)
            if message.get("id") == mine and "method" not in message:
                assert "error" not in message, message
                return message["result"]
            self._take(message)

    def tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def open(self, path: str, text: str | None = None) -> None:
        text = (self.folder / path).read_text(encoding="utf-8") if text is None else text
        self.versions[path] = 1
        item = {"uri": self.uri(path), "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})

    def type(self, path: str, text: str) -> None:
        """Puts `text` in place of everything in the buffer."""
        self.versions[path] += 1
        document = {"uri": self.uri(path), "version": self.versions[path]}
        self.tell("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})

    def save(self, path: str) -> None:
        self.tell("textDocument/didSave", {"textDocument": {"uri": self.uri(path)}})

    def close(self, path: str) -> None:
        self.tell("textDocument/didClose", {"textDocument": {"uri": self.uri(path)}})

    def at(self, method: str, path: str, line: int, character: int) -> Any:
        place = {"textDocument": {"uri": self.uri(path)}, "position": {"line": line, "character": character}}
        return self.ask(f"textDocument/{method}", place)

    def until(self, path: str, codes: list[str]) -> list[dict[str, Any]]:
        """The findings of a file, once they are of these rules."""
        while sorted(p["code"] for p in self.problems.get(path, [])) != sorted(codes):
            try:
                self._take(self.arrived.get(timeout=PATIENCE_SECONDS))
            except queue.Empty:
                raise AssertionError((codes, self.problems, self.errors.decode())) from None
        return self.problems.get(path, [])

    def leave(self) -> int:
        """Says goodbye; the server's exit code."""
        self.ask("shutdown", None)
        self.tell("exit", None)
        return self.process.wait(PATIENCE_SECONDS)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "textDocument/publishDiagnostics":
            uri = message["params"]["uri"]
            assert uri.startswith(self.folder.as_uri()), uri
            self.problems[uri[len(self.folder.as_uri()) + 1 :]] = message["params"]["diagnostics"]
            self.published += 1
        elif "id" in message and "method" in message:
            self._send({"id": message["id"], "result": None})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def _receive(self) -> None:
        out = self.process.stdout
        assert out is not None
        while header := out.readline():
            length = 0
            while header.strip():
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                header = out.readline()
            self.arrived.put(json.loads(out.read(length)))

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line
