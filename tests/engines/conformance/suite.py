"""The official conformance suite, run on one server, and what it found."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import yaml

from tests.engines import node

PACKAGE = ("@modelcontextprotocol/conformance", "0.2.0-alpha.12")
REVISIONS = ("2026-07-28", "2025-11-25")
SECONDS = 400.0
_HERE = Path(__file__).parent
_FOLDER = re.compile(r"server-(.+)-\d{4}-\d{2}-\d{2}T[\d-]+Z")


@dataclass(frozen=True, slots=True)
class Found:
    """What one run found."""

    checks: Mapping[str, str]
    """The worst status of each check, by `scenario:check`."""
    words: Mapping[str, str]
    """What the suite says of the checks that are not fulfilled."""
    output: str

    @property
    def scenarios(self) -> frozenset[str]:
        """All that ran."""
        return frozenset(key.partition(":")[0] for key in self.checks)

    @property
    def failed(self) -> Mapping[str, str]:
        """What is not fulfilled, with the suite's words: failures, and warnings, which are SHOULDs."""
        return {key: self.words.get(key, "") for key, status in self.checks.items() if status in ("FAILURE", "WARNING")}


def required(revision: str) -> frozenset[str]:
    """The scenarios that a server must pass to conform to this revision."""
    return frozenset(_requirements(revision)["server"])


def ran_besides(revision: str) -> frozenset[str]:
    """Scenarios that are run for the report only, without those of extensions."""
    listed = _requirements(revision)["not_scored"]
    return frozenset(e["scenario"] for e in listed if e["leg"] == "server" and e["reason"] != "extension")


def baseline(revision: str) -> Mapping[str, str]:
    """Why a check or a whole scenario is not fulfilled, by `scenario:check` or `scenario`."""
    return dict(yaml.safe_load((_HERE / f"{revision}.yaml").read_text()))


async def run(revision: str, url: str, scratch: Path) -> Found:
    """Runs what the revision requires of servers."""
    program = node.package(*PACKAGE) / "dist" / "index.js"
    results = scratch / "results"
    command = [str(node.node()), str(program), "server", "--url", url, "--requirements", revision]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--output-dir",
        str(results),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=scratch,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _read(results, output.decode(errors="replace"))


def _read(results: Path, output: str) -> Found:
    checks: dict[str, str] = {}
    words: dict[str, str] = {}
    severity = ["SKIPPED", "INFO", "SUCCESS", "WARNING", "FAILURE"]
    for file in sorted(results.rglob("checks.json")):
        named = _FOLDER.fullmatch(file.parent.name)
        assert named, f"no scenario's folder: {file.parent.name}"
        for check in orjson.loads(file.read_bytes()):
            key = f"{named[1]}:{check['id']}"
            checks[key] = max(checks.get(key, "SKIPPED"), check["status"], key=severity.index)
            if check["status"] in ("FAILURE", "WARNING"):
                words[key] = "; ".join(filter(None, [words.get(key, ""), check.get("errorMessage", "")]))
    assert checks, f"the suite wrote no results:\n{output[-3000:]}"
    return Found(checks, words, output)


def _requirements(revision: str) -> dict[str, list]:  # type: ignore[type-arg]
    loaded: dict[str, list] = yaml.safe_load(  # type: ignore[type-arg]
        (node.package(*PACKAGE) / "requirements" / f"{revision}.yaml").read_text()
    )
    return loaded
