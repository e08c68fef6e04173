"""Results of earlier runs, by what they were made from: a run on an unchanged source need not think again.

An entry's name is the digest of everything that its content depends on: the bytes of the source's files, the
compiler's own code, the packages and the interpreter it runs on, the options. Entries are JSON or plain bytes,
never code, each with a digest that is checked when it is read: what is damaged, cut or put under another name
counts as absent. Whoever may write into the folder could still forge an entry whole, so a folder or entry that
others may write is not used.
"""

import hashlib
import marshal
import os
import stat
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

import stoa_schemas

FORMAT = "stoa-cache-1"
"""Another number whenever entries change their form."""
LIMIT = 512 * 1024 * 1024
"""Bytes that the folder may hold; what was not used for longest goes first."""
MARGIN_NS = 2_000_000_000
"""A file that changed so shortly before it was looked at may change again without another time stamp."""
FINE_MARGIN_NS = 20_000_000
"""The same where the time tells parts of a millisecond: such clocks advance at least every hundredth of a second."""
PACKAGES = ("cel_expr_python", "click", "jsonschema_rs", "orjson", "pydantic", "pydantic_core", "PyYAML", "pyyaml")
"""What findings and bytes may depend on, besides our own code."""

_MAGIC = FORMAT.encode() + b"\n"
_DIGEST = 32

Stamp = tuple[int, int, int, int]
"""Of a file: size, time of the content, time of the entry, number. Changed bytes change at least one of them."""


class Cache:
    """A folder of entries. A failure to read or write one is never an error: the run does the work itself."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit

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
        self._put(key, *payload)
        with suppress(OSError):
            self._make_room()

    def _put(self, key: str, *payload: bytes) -> None:
        if sum(map(len, payload)) > self.limit // 4:
            return
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
                else:
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
            except FileNotFoundError:
                continue  # Another run was faster.
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


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


# What is in a folder


@dataclass
class Snapshot:
    """The files of a folder as they were at one moment."""

    root: Path
    wanted: Callable[[str], bool]
    stamps: Mapping[str, Stamp]
    taken: int
    """When, in nanoseconds."""
    digest: str = ""
    """Of every path and its bytes."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of each file, by path; nothing where the stamps alone told the digest of all."""
    index: str = ""
    """The entry that has the digests of the last time."""

    def digests_of_all(self, cache: Cache) -> Mapping[str, str]:
        """The digest of each file, by path; nothing where they are not known."""
        if not self.digests:
            index = orjson.loads(cache.get(self.index) or b"{}")
            known = {path: index[path] for path, stamp in self.stamps.items() if path in index}
            if all(tuple(entry[:4]) == self.stamps[path] for path, entry in known.items()):
                self.digests = {path: entry[4] for path, entry in known.items()}
        return self.digests if len(self.digests) == len(self.stamps) else {}

    @property
    def is_unchanged(self) -> bool:
        """Whether the folder looks as it did."""
        return _stamps(self.root, self.wanted) == self.stamps

    def is_what(self, read: Callable[[str], bytes | None]) -> bool:
        """Whether what a run has `read` of a path is what the digest stands for, where the stamps do not tell."""
        young = (path for path, stamp in self.stamps.items() if _is_young(stamp, self.taken))
        contents = ((path, read(path)) for path in young)
        return all(hashlib.sha256(c).hexdigest() == self.digests.get(p) for p, c in contents if c is not None)


def snapshot(root: Path, wanted: Callable[[str], bool], cache: Cache) -> Snapshot | None:
    """The folder's files and their digest; None where something there is no file, or cannot be read.

    Files whose stamps are those of the last time are not read again, unless they were so young then that a
    later change may have left the stamps alone.
    """
    taken = time.time_ns()
    stamps = _stamps(root, wanted)
    where = f"{wanted.__name__} {os.path.realpath(root)}"
    if stamps is None or not where.isprintable() or not all(map(str.isprintable, stamps)):
        return None  # Names that no text can hold: such a source has findings, and is rare.
    found = Snapshot(root, wanted, stamps, taken, index=f"index {where}")
    shortcut = cache.get(f"seen {where}")
    if shortcut is not None and shortcut[:64] == _seen(stamps).encode():
        found.digest = shortcut[65:].decode()
        return found
    index: dict[str, Any] = {}
    if shortcut is not None:
        index = orjson.loads(cache.get(found.index) or b"{}")
    digests: dict[str, str] = {}
    for path, stamp in stamps.items():
        known = index.get(path)
        if known is not None and tuple(known[:4]) == stamp:
            digests[path] = known[4]
            continue
        try:
            digests[path] = hashlib.sha256((root / path).read_bytes()).hexdigest()
        except OSError:
            return None
    _remember(found, digests, where, cache)
    return found


def remember(root: Path, wanted: Callable[[str], bool], digests: Mapping[str, str], cache: Cache) -> None:
    """Keeps that the folder holds files with these digests: for whoever just wrote them, and need not read them."""
    taken = time.time_ns()
    stamps, where = _stamps(root, wanted), f"{wanted.__name__} {os.path.realpath(root)}"
    if stamps is not None and stamps.keys() == digests.keys() and where.isprintable():
        _remember(Snapshot(root, wanted, stamps, taken, index=f"index {where}"), digests, where, cache)


def _remember(found: Snapshot, digests: Mapping[str, str], where: str, cache: Cache) -> None:
    found.digests, found.digest = digests, digest_of(digests)
    old = {p: [*stamp, digests[p]] for p, stamp in found.stamps.items() if not _is_young(stamp, found.taken)}
    cache.put(found.index, orjson.dumps(old))
    # Without a young file the stamps alone tell; with one, they say only that there is an index.
    seen = _seen(found.stamps) if len(old) == len(found.stamps) else "-" * 64
    cache.put(f"seen {where}", f"{seen} {found.digest}".encode())


def _seen(stamps: Mapping[str, Stamp]) -> str:
    """The digest of the stamps."""
    return hashlib.sha256(marshal.dumps(sorted(stamps.items()), 2)).hexdigest()


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest of every path and its bytes' digest."""
    lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _is_young(stamp: Stamp, taken: int) -> bool:
    last = max(stamp[1], stamp[2])
    return last > taken - (FINE_MARGIN_NS if last % 1_000_000 else MARGIN_NS)


def _stamps(root: Path, wanted: Callable[[str], bool]) -> dict[str, Stamp] | None:
    """The stamps of all files below `root`, by path; None where something is neither file nor folder."""
    stamps: dict[str, Stamp] = {}
    folders = [(str(root), "")]
    try:
        while folders:
            folder, prefix = folders.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if not wanted(name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((entry.path, f"{prefix}{name}/"))
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(status.st_mode):
                        return None
                    stamps[prefix + name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    except OSError:
        return None
    return stamps


def is_source(name: str) -> bool:
    """Whether a compile looks at a file or folder of this name (`load`)."""
    return not name.startswith(".") and not name.endswith(".md")


def is_any(name: str) -> bool:
    """Every file."""
    return True


def _is_code(name: str) -> bool:
    return name != "__pycache__" and not name.startswith(".")


# What a run depends on


def compiler_digest(cache: Cache) -> str | None:
    """The digest of our own code, of the packages it uses, and of the interpreter."""
    parts = [FORMAT, sys.version]
    for folder in (Path(__file__).parent, Path(stoa_schemas.__file__).parent):
        found = snapshot(folder, _is_code, cache)
        if found is None:
            return None
        parts.append(found.digest)
    parts += installed()
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def installed() -> list[str]:
    """The packages that count, each with its version, as the folders of their metadata are called."""
    names = set()
    for folder in sys.path:
        if folder.endswith("site-packages"):
            try:
                names |= {n for n in os.listdir(folder) if n.partition("-")[0] in PACKAGES}  # noqa: PTH208
            except OSError:
                continue
    return sorted(n for n in names if n.endswith(".dist-info"))
