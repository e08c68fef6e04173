"""A file as the audit log: appended to, never rewritten, by one process at a time.

A process takes the file by a lock on `<file>.head`, where it also notes how far it has come; a second one takes
`<name>-2.jsonl` beside it, and so on. A file that was moved away, or has grown to its limit, is followed by a new one
whose first line is linked to its last.
"""

import hashlib
import logging
import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stoa_runtime.audit.log import Durability, Log
from stoa_runtime.audit.promises import AuditUnavailable
from stoa_schemas.audit import HEAD, LINE_LIMIT, SEAL_LENGTH, Place, place, seal

log = logging.getLogger("stoa")

WRITERS = 64
"""Processes that may write beside each other."""
HELD = 10_000
"""Lines that are kept while the file can't be written."""
_TICK = 0.2
_LATEST = 1.0
"""Seconds in which a line must be on disk where that is promised within a second."""
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_sync = getattr(os, "fdatasync", os.fsync)


class FileSink:
    """Appends lines to a file; a thread of its own syncs, retries and looks whether the file was moved away."""

    def __init__(self, path: Path, *, durability: Durability = "system", rotate_bytes: int = 0) -> None:
        self._wanted = path.resolve() if path.is_file() else path  # `/dev/stdout` may lead to a file.
        self._durability = durability
        self._rotate_bytes = rotate_bytes
        self._fd = -1
        self._head = -1
        self._size = 0
        self._written = 0
        """The last line that the operating system has whole."""
        self._held: deque[tuple[int, bytes]] = deque()
        """Lines, or the rest of one, that could not be written."""
        self._late: int | None = None
        self._unsynced_since: float | None = None
        self._sync_failed = False
        self._noted = ""
        self._stopping = False
        self.path = path
        """The file that was taken."""

    def open(self, audit: Log) -> None:
        """Takes the first file that no other process has."""
        self._log = audit
        self._wakes = threading.Condition(audit.lock)
        try:
            self._wanted.parent.mkdir(parents=True, exist_ok=True)
            self._claim()
            self._begin()
        except OSError as error:
            self._release()
            raise AuditUnavailable(f"{self.path} cannot be opened for appending: {error.strerror}") from error
        self._thread = threading.Thread(target=self._keep, name="stoa-audit", daemon=True)
        self._thread.start()

    def put(self, sequence: int, line: bytes, key: str | None = None) -> bool:
        """Appends the line in one write."""
        if self._held:
            self._held.append((sequence, line))
            return False
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._stuck(sequence, line, error.strerror)
            return False
        self._size += written
        if written < len(line):
            self._stuck(sequence, line[written:], "only a part of a line fitted")
            return False
        self._written = sequence
        if self._unsynced_since is None:
            self._unsynced_since = time.monotonic()
        if self._rotate_bytes and self._size >= self._rotate_bytes:
            self._rotate()
        return True

    @property
    def is_full(self) -> bool:
        """Whether as many lines are held as may be."""
        return len(self._held) >= HELD

    @property
    def works(self) -> bool:
        """Whether lines are written, and synced in the time that is promised."""
        if self._held or self._sync_failed:
            return False
        since = self._unsynced_since
        return self._durability != "second" or since is None or time.monotonic() - since <= _LATEST

    @property
    def handed_on(self) -> int:
        """The last line that the operating system has whole."""
        return self._written

    @property
    def confirms(self) -> bool:
        """Whether an answer waits until its line is on disk."""
        return self._durability == "event"

    def hurry(self) -> None:
        """Wakes the thread."""
        with self._wakes:
            self._wakes.notify()

    def close(self) -> None:
        """Writes what is held, the last mark and the head."""
        with self._wakes:
            self._stopping = True
            self._wakes.notify()
        self._thread.join()
        with self._log.lock:
            self._flush()
            self._mark("closed", {})
            if self._held:
                log.error("audit: %d lines could not be written before the process ended", len(self._held))
            with suppress(OSError):
                _sync(self._fd)
            if not self._held:
                self._note(self._log.chain.head)
            self._release()

    # Under the log's lock, from here on.

    def _claim(self) -> None:
        """The lock of the first file that nobody has. What is no regular file has no lock and no head."""
        for number in range(1, WRITERS + 1):
            stem = self._wanted.stem if number == 1 else f"{self._wanted.stem}-{number}"
            self.path = self._wanted.with_name(stem + self._wanted.suffix)
            if self.path.exists() and not self.path.is_file():
                return
            head = os.open(_head_of(self.path), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o640)
            if _lock(head):
                self._head = head
                return
            os.close(head)
        raise AuditUnavailable(f"{WRITERS} processes write to {self._wanted} and the files beside it already")

    def _begin(self) -> None:
        """Goes on with the chain that the file holds, or begins one."""
        self._fd = os.open(self.path, _APPEND, 0o640)
        noted = self._noted_head()
        self._size = 0
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self._log.begin(None)
            self._mark("opened", {})
            return
        self._size = size = os.fstat(self._fd).st_size
        last, torn = _end(self.path, size, self._log.chain.key)
        if last is not None:
            self._log.begin(last)
            missing = noted is not None and noted[1] == last.chain and noted[0] > last.sequence
            details: dict[str, Any] = {"head": noted[2] if noted and missing else None}
            if torn:
                details["torn"] = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
            self._mark("resumed", details, before=b"" if torn is None else b"\n")
            return
        aside = self._move() if size else None
        if aside is not None:
            os.close(self._fd)
            self._fd = os.open(self.path, _APPEND, 0o640)
            self._size = 0
            log.error("audit: %s does not end as an audit log of this process does; it is now %s", self.path, aside)
        self._log.begin(None)
        self._mark("opened", {"previous_file": aside, "head": noted[2] if noted else None})

    def _noted_head(self) -> tuple[int, str, str] | None:
        """Sequence, chain and text of the head file."""
        if self._head < 0:
            return None
        match = HEAD.fullmatch(os.pread(self._head, 256, 0).decode("ascii", "replace"))
        if match is None or match[3] is None:
            return None
        return int(match[1]), match[3], match[0].strip()

    def _mark(self, action: str, details: Mapping[str, Any], before: bytes = b"") -> None:
        line = self._log.mark(action, self.path.name, details)
        self.put(self._log.chain.sequence, before + line)

    def _stuck(self, sequence: int, rest: bytes, why: str | None) -> None:
        log.error("audit: %s cannot be written (%s); nothing is called until it can", self.path, why)
        self._held.append((sequence, rest))
        self._late = sequence if self._late is None else self._late

    def _flush(self) -> None:
        """Writes what is held; once all of it is, a mark says since when lines are late, and how many are lost."""
        while self._held:
            sequence, line = self._held[0]
            try:
                written = os.write(self._fd, line)
            except OSError:
                return
            self._size += written
            if written < len(line):
                self._held[0] = sequence, line[written:]
                return
            self._held.popleft()
            self._written = sequence
            if self._unsynced_since is None:
                self._unsynced_since = time.monotonic()
        self._recovered()

    def _recovered(self) -> None:
        if self._late is None or self._held or self._sync_failed:
            return
        late, self._late = self._late, None
        log.warning("audit: %s can be written again", self.path)
        self._mark("recovered", {"late": late})
        if not self.confirms:
            self._log.promises.keep(self._written)

    def _rotate(self) -> None:
        """Moves the full file away and goes on with a new one; where that fails, the file grows a little more."""
        if self._head < 0:
            return
        try:
            self._follow(self._move())
        except OSError as error:
            log.error("audit: %s cannot be moved away: %s", self.path, error.strerror)
            self._size = self._rotate_bytes - min(self._rotate_bytes, 1_048_576)

    def _move(self) -> str:
        """The name that the file got: its own, with the time."""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in range(1, 10_000):
            again = "" if number == 1 else f"-{number}"
            aside = self.path.with_name(f"{self.path.stem}.{moment}{again}{self.path.suffix}")
            if not aside.exists():
                break
        self.path.rename(aside)
        return aside.name

    def _follow(self, aside: str | None) -> None:
        """A new file after one that was moved away; the chain goes on."""
        if self._durability != "system":
            _sync(self._fd)
        fresh = os.open(self.path, _APPEND, 0o640)
        os.close(self._fd)
        self._fd = fresh
        self._size = os.fstat(fresh).st_size
        self._mark("opened", {"previous_file": aside})

    def _was_moved(self) -> bool:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return True
        own = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino)

    def _note(self, head: str) -> None:
        """The head file: one line of a fixed length, so that it is never half an old one."""
        if self._head >= 0 and head != self._noted:
            with suppress(OSError):  # The log's own trouble shows by itself; this is a note.
                os.pwrite(self._head, f"{head:<120}\n".encode(), 0)
                self._noted = head

    def _release(self) -> None:
        for descriptor in (self._fd, self._head):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd = self._head = -1

    # The thread.

    def _keep(self) -> None:
        looked = time.monotonic()
        while True:
            with self._wakes:
                promises = self._log.promises
                awaited = self.confirms and promises.awaited and promises.kept < self._written
                if not awaited and not self._stopping:
                    self._wakes.wait(_TICK)
                if self._stopping:
                    return
                self._flush()
            if self._unsynced_since is not None and self._durability != "system":
                self._sync_now()
            if time.monotonic() - looked >= _LATEST:
                looked = time.monotonic()
                with self._log.lock:
                    self._look()

    def _look(self) -> None:
        """Once a second: was the file moved away, and how far has the log come?"""
        if self._head < 0:
            return
        try:
            if not self._held and self._was_moved():
                self._follow(None)
        except OSError as error:
            log.error("audit: %s cannot be opened again: %s", self.path, error.strerror)
        if self._durability == "system" and not self._held:
            self._note(self._log.chain.head)

    def _sync_now(self) -> None:
        """Syncs what was written so far, outside of the lock: writers go on meanwhile, and share the next sync."""
        with self._log.lock:
            target, began = self._written, time.monotonic()
            head = None if self._held else self._log.chain.head
            try:
                descriptor = os.dup(self._fd)
            except OSError as error:
                self._unsynced(error)
                return
        try:
            _sync(descriptor)
        except OSError as error:
            # A pipe or a device can't be synced, and has no other place where lines could be.
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._unsynced(error)
                return
        finally:
            os.close(descriptor)
        with self._log.lock:
            self._unsynced_since = None if self._written == target else began
            self._log.promises.keep(target)
            if head is not None:
                self._note(head)  # Only now: the note must not run ahead of what survives a loss of power.
            if self._sync_failed:
                self._sync_failed = False
                self._recovered()

    def _unsynced(self, error: OSError) -> None:
        """A sync that failed tells nothing about which lines are on disk; a later one does not mend that."""
        with self._wakes:
            if not self._sync_failed:
                log.error("audit: %s cannot be synced (%s); nothing is called until it can", self.path, error.strerror)
            self._sync_failed = True
            self._late = self._log.promises.kept + 1 if self._late is None else self._late
            self._log.promises.cannot("the audit log cannot be synced")
            self._wakes.wait(_TICK)


def _head_of(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours until the process ends. Without `flock`, the operator sees to it."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end(path: Path, size: int, key: bytes | None) -> tuple[Place | None, bytes | None]:
    """The last whole line, and what stands behind it without a line feed.

    None for the line where the file does not end as this process would have written it. None for the rest where
    there is none; it is empty where only the line feed of the last line is missing.
    """
    with path.open("rb") as file:
        file.seek(max(0, size - 2 * LINE_LIMIT))
        tail = file.read(2 * LINE_LIMIT)
    whole, feed, rest = tail.rpartition(b"\n")
    if rest and (last := _sound(rest, key)):
        return last, b""
    last = _sound(whole.rpartition(b"\n")[2], key) if feed else None
    return last, rest or None


def _sound(line: bytes, key: bytes | None) -> Place | None:
    found = place(line)
    return found if found and seal(line[:-SEAL_LENGTH], key) == found.hash else None
