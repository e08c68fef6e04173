"""The command line run as a person runs it, and `stoa dev` kept alive while a block runs."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoa_schemas.audit import DECISION
from stoa_schemas.bundle import PLATFORM_INDEX, Catalog, PlatformIndex

STOA = Path(sys.executable).with_name("stoa")
REPOSITORY = Path(__file__).parents[2]

_START_SECONDS = 40.0
_STOP_SECONDS = 8.0


class Failed(Exception):
    """A command failed, or a server did not come up; the message holds its own words."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where `stoa dev` serves."""

    mcp: str
    issuer: str
    backends: str
    bundle: Path
    audit: Path
    digest: str

    def catalogs(self) -> list[Catalog]:
        """The catalogs of the bundle that is served."""
        index = PlatformIndex.model_validate_json((self.bundle / PLATFORM_INDEX).read_bytes())
        return [Catalog.model_validate_json((self.bundle / entry.catalog).read_bytes()) for entry in index.tenants]

    def decisions(self) -> list[dict[str, Any]]:
        """The decisions in the audit log, in order."""
        lines = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [line["data"] for line in lines if line["type"] == DECISION]

    def audit_line(self, trace_id: str) -> dict[str, Any] | None:
        """What the audit log says about the call with this trace id."""
        return next((decision for decision in self.decisions() if decision["trace_id"] == trace_id), None)


def stoa(*arguments: str | Path, timeout: float = 60.0) -> str:
    """What the command prints; `Failed` with its words where it does not end with 0."""
    try:
        done = subprocess.run([STOA, *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"`stoa {arguments[0]}` did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise Failed(f"`stoa {arguments[0]}` ended with exit code {done.returncode}\n{done.stderr}{done.stdout}")
    return done.stdout


@contextlib.asynccontextmanager
async def serving(source: Path, state: Path) -> AsyncIterator[Serving]:
    """`stoa dev` on free ports, stopped when the block ends, with all processes that it started."""
    state.mkdir(parents=True, exist_ok=True)
    command = [str(STOA), "dev", str(source), "--port", "0", "--state", str(state), "--format", "json"]
    with (state / "dev.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True
        )
    try:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
        except TimeoutError:
            line = b""
        if not line:
            words = (state / "dev.log").read_text(errors="replace")
            raise Failed(f"`stoa dev` did not come up\n{words}")
        facts = json.loads(line)
        yield Serving(
            mcp=facts["mcp"],
            issuer=facts["issuer"],
            backends=facts["backends"],
            bundle=Path(facts["bundle"]),
            audit=Path(facts["audit"]),
            digest=facts["digest"],
        )
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ends the process; after a grace, it and everything in its session."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def run_to_the_end(program: Any, *, seconds: float) -> int:
    """The exit code of the coroutine `program`; a signal or the deadline ends it and still cleans up."""

    async def bounded() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        async with asyncio.timeout(seconds):
            code: int = await program
            return code

    try:
        return asyncio.run(bounded())
    except Failed as failure:
        print(f"FAILED  {failure}", file=sys.stderr)
    except TimeoutError:
        print(f"FAILED  not done within {seconds:.0f} s", file=sys.stderr)
    except asyncio.CancelledError:
        print("FAILED  stopped from outside", file=sys.stderr)
    return 1
