"""Results of earlier runs, by what they were made from: a run on an unchanged source need not think again.

An entry's name is the digest of everything that its content depends on: the bytes of the source's files, the
compiler's own code, the packages and the interpreter it runs on, the options. Entries are JSON or plain bytes,
never code, each with a digest that is checked when it is read: what is damaged, cut or put under another name
counts as absent. Whoever may write into the folder could still forge an entry whole, so a folder or entry that
others may write is not used.
"""

import hashlib
import os
import stat
import time
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

FORMAT = "stoa-cache-1"
"""Another number whenever entries change their form."""
LIMIT = 1024 * 1024 * 1024
"""Bytes that the folder may hold; what was not used for longest goes first."""
_MAGIC = FORMAT.encode() + b"\n"
_DIGEST = 32
_SIZE = ".size"
"""The file that tells how many bytes there are: to look at every entry takes a while."""


class Cache:
    """A folder of entries. A failure to read or write one is never an error: the run does the work itself."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._size: int | None = None
        """Bytes of all entries, as far as runs have told each other; None before this one looked."""

    @classmethod
    def open(cls, folder: Path | None = None) -> "Cache | None":
        """The cache in `folder`, else in the user's own; None where it cannot be used, or others may write there."""
        path = folder or default_folder()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
        except OSError:
            return None
        return cls(path) if _ours(status) and stat.S_ISDIR(status.st_mode) else None

    def get(self, key: str) -> bytes | None:
        """The entry's content; None where there is none that can be trusted."""
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            with open(descriptor, "rb") as stream:  # noqa: PTH123
                status = os.fstat(descriptor)
                if not self._trusts(status) or not stat.S_ISREG(status.st_mode):
                    return None
                content = stream.read()
            os.utime(path)  # It was used: others are removed before it.
        except OSError:
            return None
        head = len(_MAGIC) + _DIGEST
        payload = content[head:]
        if content[:head] != _MAGIC + _seal(key, payload):
            return None
        return payload

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of the entries that are there."""
        found = ((key, self.get(key)) for key in keys)
        return {key: content for key, content in found if content is not None}

    def has_many(self, keys: Collection[str]) -> Set[str]:
        """Those of the entries that are there, and can be had without another machine from now on."""
        try:
            there = set(os.listdir(self.folder))  # noqa: PTH208
        except OSError:
            return set()
        return {key for key in keys if _name(key) in there}

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keeps the entries, each in one step. Room is made when the next single one is kept."""
        for key, content in entries.items():
            self._put(key, content)

    def put(self, key: str, *payload: bytes) -> None:
        """Keeps the entry, the parts of its content in a row, in one step, and makes room for it."""
        if self._size is None:
            self._size = self._told_size()
        self._put(key, *payload)
        with suppress(OSError):
            if self._size is None or self._size > self.limit:
                self._make_room()
            Path(self.folder, _SIZE).write_text(str(self._size), encoding="ascii")

    def _told_size(self) -> int | None:
        """What the last run told; None where nobody did for a day: runs at one time may have missed each other."""
        try:
            with open(f"{self.folder}/{_SIZE}", "rb") as stream:  # noqa: PTH123
                status = os.fstat(stream.fileno())
                return int(stream.read(20)) if time.time() - status.st_mtime < 86400 and self._trusts(status) else None
        except (OSError, ValueError):
            return None

    def _put(self, key: str, *payload: bytes) -> None:
        size = sum(map(len, payload))
        if size > self.limit // 4:
            return
        if self._size is not None:
            self._size += size
        staging = f"{self.folder}/.{os.getpid()}-{time.monotonic_ns()}.new"
        try:
            descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "wb") as stream:  # noqa: PTH123
                stream.write(_MAGIC + _seal(key, *payload))
                stream.writelines(payload)
            os.replace(staging, self._path(key))  # noqa: PTH105
        except OSError:
            Path(staging).unlink(missing_ok=True)

    def _trusts(self, status: os.stat_result) -> bool:
        return _ours(status)

    def _path(self, key: str) -> str:
        return f"{self.folder}/{_name(key)}"

    def _make_room(self) -> None:
        """Removes what was not used for longest, until the rest fits; and what killed runs left."""
        found = []
        now = time.time()
        for entry in os.scandir(self.folder):
            try:
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(".new") and now - status.st_mtime > 3600:
                    os.unlink(entry.path)  # noqa: PTH108
                elif entry.name != _SIZE:
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
            except FileNotFoundError:
                continue  # Another run was faster.
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        self._size = total


class HandedOver(Cache):
    """Entries that another job wrote into a folder: they are believed as that job is, whoever owns the files."""

    def _trusts(self, status: os.stat_result) -> bool:
        return True


def default_folder() -> Path:
    """`stoa` in the user's folder for caches (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "stoa"  # noqa: PTH117


def _name(key: str) -> str:
    """What the entry's file is called."""
    return hashlib.sha256(key.encode()).hexdigest()


def _ours(status: os.stat_result) -> bool:
    """Whether nobody else can have written it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _seal(key: str, *payload: bytes) -> bytes:
    """The digest of an entry: of its content, and of what it stands for."""
    digest = hashlib.sha256(hashlib.sha256(key.encode()).digest())
    for part in payload:
        digest.update(part)
    return digest.digest()
