"""The file: what survives the end of a process, a full disk, a moved file, and several processes at once."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler.auditlog import Verified, verify
from stoa_runtime.audit import Audit, AuditUnavailable, Event, files, open_audit
from stoa_runtime.audit.files import FileSink
from stoa_schemas.audit import DECISION


def event(number: int = 0, **more: Any) -> Event:
    return Event("allowed", "granted", f"{number:032x}", "sha256:" + "b" * 64, "parzival", "ioi", **more)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def numbers(path: Path) -> list[int]:
    """The events that are in the log, by the number that `event` gave them."""
    return [int(line["data"]["trace_id"], 16) for line in read(path) if line["type"] == DECISION]


def actions(path: Path) -> list[str]:
    return [line["data"]["action"] for line in read(path) if line["type"] != DECISION]


def good(*paths: Path) -> Verified:
    found = verify(paths)
    assert found.findings == []
    return found


def until(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_restarted_process_goes_on_with_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for run in range(3):
        log = open_audit(path)
        log.write(event(run))
        log.close()
    assert numbers(path) == [0, 1, 2]
    assert actions(path) == ["opened", "closed", "resumed", "closed", "resumed", "closed"]
    assert [int(line["id"]) for line in read(path)] == list(range(1, 10))
    assert good(path).notes == []
    with pytest.raises(AuditUnavailable):
        log.write(event())
    log.close()


def test_a_line_torn_by_a_killed_process_is_closed_off(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    writing = textwrap.dedent("""
        import sys
        from pathlib import Path
        from stoa_runtime.audit import Event, open_audit
        log, number = open_audit(Path(sys.argv[1])), 0
        while True:
            log.write(Event("allowed", "granted", f"{number:032x}", "s"))
            number += 1
            if number == 50:
                print("fifty", flush=True)
    """)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", writing, str(path)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            process.stdout.readline()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
        # A loss of power leaves less than a killed process does: the beginning of a line.
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) - 333])
        path.with_name("audit.jsonl.head").unlink()
        [note] = [note for note in verify([path]).notes if "being written" in note.message]
        assert note.line == len(whole.splitlines())
        good(path)
    log = open_audit(path)
    log.write(event(7))
    log.close()
    found = good(path)
    assert [n.message.partition(":")[0] for n in found.notes].count(
        "the beginning of a line, left by a process that was ended; the next line says so"
    ) == 3


def test_lines_that_went_missing_while_no_process_ran_are_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = open_audit(path)
    for number in range(5):
        log.write(event(number))
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]))
    open_audit(path).close()
    path.with_name("audit.jsonl.head").unlink()
    [finding] = verify([path]).findings
    assert finding.line == 5
    assert "line 7" in finding.message


def test_a_file_that_is_no_audit_log_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"decision": "allowed"}\n' * 3)
    log = open_audit(path)
    log.write(event(1))
    log.close()
    good(path)
    [aside] = tmp_path.glob("audit.*.jsonl")
    assert read(path)[0]["data"]["previous_file"] == aside.name
    assert aside.read_text().count("allowed") == 3


def test_processes_beside_each_other_have_a_file_each(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    logs = [open_audit(path) for _ in range(3)]
    for number, log in enumerate(logs):
        log.write(event(number))
    for log in logs:
        log.close()
    second, third = (tmp_path / f"audit-{n}.jsonl" for n in (2, 3))
    assert [numbers(p) for p in (path, second, third)] == [[0], [1], [2]]
    assert len({stretch.first.chain for stretch in good(path, second, third).stretches}) == 3
    again = open_audit(path)
    again.write(event(9))
    again.close()
    assert numbers(path) == [0, 9]


def test_a_file_that_is_moved_away_is_followed_by_a_linked_one(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    log = open_audit(path)
    log.write(event(1))
    path.rename(old)
    log.write(event(2))
    until(path.exists)
    log.write(event(3))
    log.close()
    assert (numbers(old), numbers(path)) == ([1, 2], [3])
    assert good(path, old).notes == []


FULL = """
    import asyncio, json, resource, sys, time
    from pathlib import Path
    from stoa_runtime.audit import AuditUnavailable, Event, open_audit

    path, when_full = Path(sys.argv[1]), sys.argv[2]

    def event(number):
        return Event("allowed", "granted", f"{number:032x}", "s")

    def room(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def main():
        log = open_audit(path, when_full=when_full, wait_seconds=0.3)
        answered, withheld, refused, number = [], [], 0, 0

        async def call(n):
            nonlocal refused
            try:
                await log.admitted()
            except AuditUnavailable:
                refused += 1
                return
            try:
                log.write(event(n))
                await log.settled()
            except AuditUnavailable:
                withheld.append(n)
            else:
                answered.append(n)

        room(5000)
        for number in range(12):
            await call(number)
        assert not log.works and withheld and refused, (log.works, withheld, refused)
        if when_full == "wait":
            waiting = asyncio.create_task(call(100))
            await asyncio.sleep(0.1)
            assert not waiting.done()
        room(resource.RLIM_INFINITY)
        if when_full == "wait":
            await waiting
            assert 100 in answered
        end = time.monotonic() + 10
        while not log.works and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await call(200)
        await log.aclose()
        print(json.dumps({"answered": answered, "withheld": withheld, "refused": refused}))

    asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of a file's size")
@pytest.mark.parametrize("when_full", ["refuse", "wait"])
def test_when_the_file_cannot_grow_no_backend_is_called_until_it_can(tmp_path: Path, when_full: str) -> None:
    path = tmp_path / "audit.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(path), when_full],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert 200 in told["answered"]
    # What was answered is there, and what a backend may have done without an answer, too; the line cut in two is whole.
    assert sorted(numbers(path)) == sorted(told["answered"] + told["withheld"])
    assert len(told["withheld"]) == 1
    assert actions(path) == ["opened", "recovered", "closed"]
    found = good(path)
    assert "lines were written late" in found.notes[0].message


def test_what_cannot_even_be_kept_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "HELD", 3)
    pipe = tmp_path / "audit.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = open_audit(pipe)
    failed = 0
    for number in range(200):
        try:
            log.write(event(number))
        except AuditUnavailable:
            failed += 1
    assert failed > 3
    assert not log.works
    got = b""

    def drained() -> bool:
        nonlocal got
        with contextlib.suppress(BlockingIOError):
            got += os.read(reader, 1 << 20)
        return log.works

    until(drained)
    log.close()
    got += os.read(reader, 1 << 20)
    os.close(reader)
    saved = tmp_path / "saved.jsonl"
    saved.write_bytes(got)
    [recovered] = [line for line in read(saved) if line["data"].get("action") == "recovered"]
    assert recovered["data"]["lost"] == failed - 3
    assert len(numbers(saved)) == 200 - (failed - 3)
    assert any("decisions could not be recorded" in note.message for note in good(saved).notes)


def test_nothing_waits_where_nothing_is_promised(tmp_path: Path) -> None:
    log = open_audit(tmp_path / "audit.jsonl")
    log.write(event())
    for waiting in (log.settled(), log.admitted()):
        with pytest.raises(StopIteration):
            waiting.send(None)
    log.close()


def test_concurrent_calls_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    synced: list[int] = []
    real = files._sync

    def counted(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        time.sleep(0.005)
        real(descriptor)
        synced.append(size)

    monkeypatch.setattr(files, "_sync", counted)

    async def main() -> int:
        log = open_audit(path, durability="event")

        async def call(number: int) -> None:
            log.write(event(number))
            end = path.stat().st_size
            await log.settled()
            assert max(synced) >= end, "the answer would have gone out before its line was synced"

        for batch in range(10):
            await asyncio.gather(*(call(batch * 50 + n) for n in range(50)))
        count = len(synced)
        await log.aclose()
        return count

    assert asyncio.run(main()) <= 60
    assert numbers(path) == list(range(500))
    good(path)


def test_within_a_second_lines_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = files._sync
    monkeypatch.setattr(files, "_sync", lambda fd: (real(fd), synced.append(os.fstat(fd).st_size)))
    path = tmp_path / "audit.jsonl"
    log = open_audit(path, durability="second")
    log.write(event(1))
    until(lambda: bool(synced) and synced[-1] == path.stat().st_size)
    monkeypatch.setattr(files, "_sync", lambda fd: time.sleep(3.0))
    log.write(event(2))
    until(lambda: not log.works)  # The disk does not keep up.
    until(lambda: log.works)
    log.close()


@pytest.mark.parametrize("durability", ["second", "event"])
def test_a_failed_sync_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any) -> None:
    path = tmp_path / "audit.jsonl"
    real = files._sync

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def main() -> None:
        log = open_audit(path, durability=durability)
        monkeypatch.setattr(files, "_sync", broken)
        log.write(event(1))
        if durability == "event":
            with pytest.raises(AuditUnavailable):
                await log.settled()
        until(lambda: not log.works)
        monkeypatch.setattr(files, "_sync", real)
        until(lambda: log.works)
        log.write(event(2))
        await log.settled()
        await log.aclose()

    asyncio.run(main())
    assert actions(path) == ["opened", "recovered", "closed"]
    good(path)


def test_a_cancelled_call_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def main() -> None:
        log = open_audit(path, durability="event")

        async def call() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                log.write(event(5))

        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await log.settled()
        await log.aclose()

    asyncio.run(main())
    assert numbers(path) == [5]


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "audit.jsonl"):
        with pytest.raises(AuditUnavailable, match="cannot be opened for appending"):
            Audit(FileSink(path))


def test_a_weak_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditUnavailable, match="fewer than 16 bytes"):
        open_audit(tmp_path / "audit.jsonl", key=b"")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
@pytest.mark.parametrize("into", ["pipe", "file"])
def test_standard_output_is_a_log(tmp_path: Path, into: str) -> None:
    code = (
        "from pathlib import Path; from stoa_runtime.audit import Event, open_audit;"
        "log = open_audit(Path('/dev/stdout'));"
        "[log.write(Event('allowed', 'granted', f'{n:032x}', 's')) for n in range(20)]; log.close()"
    )
    saved = tmp_path / "saved.jsonl"
    with saved.open("wb") as file:
        if into == "file":
            subprocess.run([sys.executable, "-c", code], stdout=file, check=True, timeout=60)
        else:
            file.write(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout)
    assert numbers(saved) == list(range(20))
    good(saved)
