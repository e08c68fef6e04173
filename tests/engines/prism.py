"""Prism, a mock server that judges each request against an OpenAPI description: fetched once, started per file."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.keycloak import free_port

VERSION = "5.14.2"
"""It runs on Node 18 and later; 5.16 needs Node 24."""
CACHE = Path.home() / ".cache" / "stoa-engines"
START_LIMIT = 60
"""Seconds."""


class Missing(Exception):
    """The engine cannot be had here; the message says why."""


def node_package(name: str, version: str) -> Path:
    """The folder with the npm package, from the cache or from npm; raises `Missing` where it cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Missing(f"{name} needs node and npm on PATH")
    folder = CACHE / f"{name.strip('@').replace('/', '-')}-{version}"
    if (folder / "node_modules" / name / "package.json").is_file():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    fresh = CACHE / f".{folder.name}.{os.getpid()}"
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(fresh), f"{name}@{version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise Missing(f"{name} {version} cannot be fetched: {done.stderr[-300:].strip()}")
    try:
        fresh.rename(folder)
    except OSError:
        shutil.rmtree(fresh)
        if not folder.is_dir():  # Another test run was first where it is.
            raise
    return folder


@contextmanager
def mocking(description: Path, scratch: Path) -> Iterator[str]:
    """The base URL of a Prism that answers as `description` says, and refuses the requests that it does not."""
    folder = node_package("@stoplight/prism-cli", VERSION)
    port = free_port()
    command = [str(folder / "node_modules" / ".bin" / "prism"), "mock", "--host", "127.0.0.1", "--port", str(port)]
    log = scratch / f"prism-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--verboseLevel", "error", str(description)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Prism ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return  # It answers, if only that there is nothing at `/`.
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Prism did not start in {START_LIMIT} s:\n{log.read_text()[-2000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process and what it started: they are a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


_ABOUT_THE_ANSWER = (
    "NOT_ACCEPTABLE",
    "NOT_FOUND",
    "NO_COMPLEX_OBJECT_TEXT",
    "NO_RESPONSE_RESPONSE_DEFINED",
    "SCHEMA_TOO_COMPLEX",
)
"""Kinds of Prism's own errors that say that it has no answer to give; it has judged the request before."""


def refusal(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> str:
    """Why Prism refuses the request; empty where it accepts it."""
    told = next((v for k, v in headers if k.lower() == "sl-violations"), "")
    wrong = [_in_words(v) for v in _violations(told) if v.get("location", [""])[0] == "request"]
    if wrong:
        return "; ".join(wrong)
    problem = _json(body)
    kind = str(problem.get("type", "")) if isinstance(problem, dict) else ""
    if "stoplight.io/prism/errors" in kind and kind.rpartition("#")[2] not in _ABOUT_THE_ANSWER:
        shown = [_in_words(v) for v in problem.get("validation", [])]
        return "; ".join(shown) or f"{status}: {problem.get('title')} {problem.get('detail', '')}".strip()
    return ""


def _violations(header: str) -> Iterator[dict[str, Any]]:
    """What the header lists. Prism cuts a long one anywhere; what is said of the request comes first."""
    rest = header[header.find("[") + 1 :]
    while rest.startswith("{"):
        try:
            violation, end = json.JSONDecoder().raw_decode(rest)
        except ValueError:
            return
        yield violation
        rest = rest[end:].lstrip(",")


def _in_words(violation: dict[str, Any]) -> str:
    return f"{'.'.join(map(str, violation.get('location', [])))}: {violation.get('message')}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
