"""Go programs that engines are built from: fetched through the module proxy, compiled once, kept for other runs."""

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ENGINES = Path.home() / ".cache" / "stoa-engines"
BUILD_LIMIT = 3600
"""Seconds. A large program needs 7 minutes on an idle machine with two processors, and has needed 43 on a busy one."""
ASKED = "STOA_BUILD_ENGINES"
_TOLD_SECONDS = 20


def asked() -> bool:
    """Whether this run may spend minutes on building what is not there yet."""
    return os.environ.get(ASKED, "") not in ("", "0")


def built(binary: Path, title: str, minutes: int, build: Callable[[Path], None], *, unasked: str | None = None) -> Path:
    """`binary`, made by `build` where it is not there; skips the test, and says why, where it cannot be had.

    `unasked` is the command that builds it, for what is built only when somebody asks for it. `build` writes to the
    path that it is given, and may leave other files beside it.
    """
    if binary.is_file():
        return binary
    if shutil.which("go") is None:
        pytest.skip(f"{title} is built with go, which is not on PATH")
    if unasked is not None and not asked():
        pytest.skip(f"{title} is not built yet: some {minutes} minutes, once, by `{unasked}` or with {ASKED}=1")
    say(f"building {title}, once: some {minutes} minutes")
    binary.parent.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_name(f"{binary.name}.{secrets.token_hex(4)}")
    try:
        build(fresh)
        fresh.rename(binary)
    except (subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
        said = getattr(error, "stderr", "") or str(error)
        pytest.skip(f"{title} cannot be built: {said[-300:].strip()}")
    finally:
        fresh.unlink(missing_ok=True)
    say(f"{title} is built: {binary}")
    return binary


def go(folder: Path, *command: str) -> str:
    """What the command prints. A build says how far it is, every so often."""
    building = command[0] == "build"
    environment = os.environ | {"GOFLAGS": "-p=2 -buildvcs=false"}
    process = subprocess.Popen(
        ["go", *command[:1], *(["-v"] if building else []), *command[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()
    output: list[str] = []
    writer = threading.Thread(target=output.extend, args=(process.stdout,), daemon=True)
    writer.start()
    started = told = time.monotonic()
    try:
        while process.poll() is None:
            now = time.monotonic()
            if now - started > BUILD_LIMIT:
                raise subprocess.TimeoutExpired(process.args, BUILD_LIMIT)
            if building and now - told > _TOLD_SECONDS:
                told = now
                say(f"  {len(lines)} packages compiled or fetched after {now - started:.0f} s")
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    reader.join()
    writer.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args, stderr="".join(lines))
    return "".join(output)


def say(what: str) -> None:
    """To the terminal, whatever pytest captures."""
    print(what, file=sys.__stderr__, flush=True)


def main(builders: Sequence[Callable[[], Path]]) -> int:
    """The exit code of a command that builds what is not there."""
    os.environ[ASKED] = "1"
    try:
        for one in builders:
            print(one())
    except pytest.skip.Exception as missing:
        print(missing.msg, file=sys.stderr)
        return 3
    return 0
