"""Everything that one run needs: folders, an issuer, a backend, a bundle, and `stoa serve` as a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from stoa_runtime import bundles
from stoa_schemas import bundle
from tests.engines.keycloak import free_port
from tests.faults.judge import STOA, Logged, logged
from tests.faults.load import INVOICE
from tests.faults.sites import Backend, Jwks, Keyring
from tests.runtime import world

ROOT = Path(__file__).parents[2]
PLENTY = bundle.RateLimit(calls=1e9, seconds=1)
"""No limit at all."""
RECEIPT = "ioi_billing_get_receipt"
"""A second tool that takes and gives what that of invoices does."""
_START_SECONDS = 60.0
_END_SECONDS = 60.0


class Process:
    """One runtime in a process of its own, at one port, started as often as one likes."""

    def __init__(self, command: list[str], folder: Path, state: Path, port: int) -> None:
        self.port = port
        self.state = state
        self.url = f"http://127.0.0.1:{port}"
        self._command = command
        self.log = folder / f"serve-{port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Starts it, and waits until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "STOA_SECRET_BILLING_API_TOKEN": world.SECRET},
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            line = await asyncio.to_thread(self._process.stdout.readline)
        assert line.startswith(b"listening on"), self.log.read_text()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, _END_SECONDS)

    async def stop(self) -> None:
        """Ends it in order."""
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGTERM)
            try:
                await self.ended()
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)
                await self.ended()

    async def ready(self) -> int:
        """The status of its readiness."""
        return (await self.readiness())[0]

    async def readiness(self) -> tuple[int, dict[str, str]]:
        """The status of its readiness, and what it says."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as response:
            return response.status, await response.json()

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def rss(self) -> int:
        """Kilobytes of memory that it holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024


class Stage:
    """The folders and servers of one run."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.keyring = Keyring()
        self.issuer = Jwks([self.keyring.first])
        self.backend = Backend(seconds)
        self.bundle = folder / "bundle"
        self.state = folder / "state"
        self.processes: list[Process] = []

    def catalogs(
        self, rate: bundle.RateLimit = PLENTY, backends: Mapping[str, str] | None = None
    ) -> dict[str, bundle.Catalog]:
        """The world's catalogs without limits; `rate` is that of one caller and tool."""
        made = {}
        for name, catalog in world.catalogs(self.backend.url).items():
            contracts = [
                c.model_copy(
                    update={
                        "backend": c.backend.model_copy(
                            update={
                                "url": (backends or {}).get(c.name, c.backend.url),
                                "total_ms": 10_000,
                                "read_ms": 10_000,
                                "connect_ms": 10_000,
                            }
                        )
                    }
                )
                if c.name in ("billing", "oasis")
                else c
                for c in catalog.contracts
            ]
            tools = [t.model_copy(update={"rate": rate}) for t in catalog.tools]
            access = catalog.access
            if name == "ioi":
                twin = next(t for t in tools if t.name == INVOICE)
                twin = twin.model_copy(update={"id": "ioi:billing:get_receipt", "name": RECEIPT})
                tools.append(twin.model_copy(update={"digest": bundles.digest_of(twin)}))
                access = {role: sorted([*held, RECEIPT]) for role, held in access.items()}
            made[name] = catalog.model_copy(
                update={"rate": PLENTY, "tools": tools, "contracts": contracts, "access": access}
            )
        return made

    def write(self, folder: Path, catalogs: Mapping[str, bundle.Catalog], **rules: Any) -> str:
        """A bundle in `folder` whose enforcement is by `rules`; its digest."""
        roles = world.index("", {}).roles
        roles = {
            **roles,
            "devops": roles["devops"].model_copy(
                update={"permissions": ["catalog:read", "tools:read", "approvals:decide"]}
            ),
        }
        index = world.index(
            f"{self.issuer.url}/jwks", catalogs, enforcement=bundle.EnforcementRules(**rules), roles=roles
        )
        world.write_bundle(folder, index, catalogs)
        return bundle.sha256((folder / bundle.RUNTIME_MANIFEST).read_bytes())

    def serve(self, *options: str, patience: Mapping[str, float] | None = None) -> Process:
        """`stoa serve` with these options, not started yet; `patience` replaces constants by `module.NAME`."""
        port = free_port()
        command = [sys.executable, "-m", "tests.faults.served", json.dumps(patience)] if patience else [str(STOA)]
        command += ["serve", str(self.bundle), "--port", str(port), "--state", str(self.state), *options]
        process = Process(command, self.folder, self.state, port)
        self.processes.append(process)
        return process

    def log(self) -> Logged:
        """The audit logs of all processes, verified."""
        return logged(self.state.glob("audit*.jsonl"))

    def token(self, kid: str = "k1", **claims: Any) -> str:
        """A token of a person of `ioi`, signed with the key of that name."""
        return self.keyring.token(kid, **claims)

    async def stop(self) -> None:
        """Ends every process in order."""
        for process in self.processes:
            await process.stop()


@asynccontextmanager
async def staged(folder: Path, seconds: float = 0.01) -> AsyncIterator[Stage]:
    """A stage whose issuer and backend listen; at the end everything is stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(folder, seconds)
    await stage.issuer.start()
    await stage.backend.start()
    try:
        yield stage
    finally:
        await stage.stop()
        await stage.issuer.stop()
        await stage.backend.stop()


async def until(holds: Any, seconds: float = 30.0) -> None:
    """Returns once `holds()` is true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


__all__ = ["Process", "Stage", "staged", "until"]
