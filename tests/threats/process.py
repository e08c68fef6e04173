"""Real processes of the runtime to attack: started as `stoa serve` starts it, with all that they print kept."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stoa_runtime.settings import Settings
from stoa_schemas import bundle
from tests.runtime import world

START_LIMIT = 60.0
"""Seconds."""
_SERVE = (
    "import pickle, sys; from pathlib import Path; from stoa_runtime.server import serve;"
    "serve(pickle.loads(Path(sys.argv[1]).read_bytes()), lambda url: print('listening on', url, flush=True))"
)


@dataclass
class Attacked(world.World):
    """A process that serves a small world."""

    process: subprocess.Popen[bytes] | None = None
    output: Path = Path()
    """All that the process prints, on both of its streams."""
    address: tuple[str, int] = ("", 0)
    folder: Path = field(default_factory=Path)
    """The bundle's folder."""

    def printed(self) -> str:
        """What it printed after it said where it listens."""
        return self.output.read_text(errors="replace").partition("\n")[2]

    def memory(self) -> int:
        """Bytes that it has in memory."""
        status = Path(f"/proc/{self._pid}/statm")
        if not status.exists():
            pytest.skip("memory is read from Linux's /proc")
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid


@contextmanager
def serving(
    settings: Settings,
    issuer: world.Issuer,
    backend: world.Recorder,
    tenants: dict[str, bundle.Catalog],
    scratch: Path,
    before: str = "",
) -> Iterator[Attacked]:
    """A process that serves by these settings, on a free port of loopback. `before` runs before it serves."""
    scratch.mkdir(parents=True, exist_ok=True)
    handed = scratch / "settings.pickle"
    handed.write_bytes(pickle.dumps(settings))
    output = scratch / "printed.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-c", before + _SERVE, str(handed)], stdout=stream, stderr=stream)
    try:
        until = time.monotonic() + START_LIMIT
        while b"\n" not in (said := output.read_bytes()) or not said.startswith(b"listening on"):
            assert process.poll() is None, said.decode(errors="replace")
            assert time.monotonic() < until, "it does not start"
            time.sleep(0.02)
        url = said.splitlines()[0].decode().removeprefix("listening on ")
        parts = urlsplit(url)
        digest = bundle.sha256((settings.bundle / bundle.RUNTIME_MANIFEST).read_bytes())
        yield Attacked(
            url,
            issuer,
            backend,
            settings.audit,
            digest,
            tenants,
            process=process,
            output=output,
            address=(parts.hostname or "", parts.port or 0),
            folder=settings.bundle,
        )
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
