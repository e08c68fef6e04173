"""Snapshots: what is in a folder at one moment, by digests; files whose time stamps tell enough are not read."""

import hashlib
import marshal
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson

import stoa_schemas
from stoa_compiler.cache import FORMAT, Cache

MARGIN_NS = 2_000_000_000
"""A file that changed so shortly before it was looked at may change again without another time stamp."""
FINE_MARGIN_NS = 20_000_000
"""The same where the time tells parts of a millisecond: such clocks advance at least every hundredth of a second."""
PACKAGES = ("cel_expr_python", "click", "jsonschema_rs", "orjson", "pydantic", "pydantic_core", "PyYAML", "pyyaml")
"""What findings and bytes may depend on, besides our own code."""

Stamp = tuple[int, int, int, int]
"""Of a file: size, time of the content, time of the entry, number. Changed bytes change at least one of them."""
Stamps = Mapping[str, Mapping[str, Stamp]]
"""By the first part of the path (nothing for files that lie in no folder there) and by path."""


class Which(NamedTuple):
    """The files and folders that count: none whose name begins or ends so."""

    name: str
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether a file or folder of this name counts."""
        return not name.startswith(self.begins) and not name.endswith(self.ends)


SOURCE = Which("source", (".",), (".md",))
"""What a compile looks at (`load`)."""
ANY = Which("any")
_CODE = Which("code", (".", "__pycache__"))


@dataclass
class Snapshot:
    """The files of a folder as they were at one moment."""

    root: Path
    which: Which
    stamps: Stamps
    taken: int
    """When, in nanoseconds."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """The digest of each folder there, and of the files that lie in none."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of each file that was read, by path."""

    @property
    def digest(self) -> str:
        """Of every path and its bytes."""
        return digest_of(self.folders)

    def still_holds(self, read: Callable[[str], bytes | None]) -> bool:
        """Whether the folder looks as it did, and what a run has `read` of a path is what the digest stands for."""
        young = (p for files in self.stamps.values() for p, stamp in files.items() if _is_young(stamp, self.taken))
        contents = ((path, read(path)) for path in young)
        same = all(hashlib.sha256(c).hexdigest() == self.digests.get(p) for p, c in contents if c is not None)
        return same and _stamps(self.root, self.which) == self.stamps

    def read(self, folders: Iterable[str]) -> bool:
        """Reads these folders' files for their digests; False where one cannot be read."""
        for folder in folders:
            for path in self.stamps[folder]:
                try:
                    self.digests[path] = hashlib.sha256((self.root / path).read_bytes()).hexdigest()
                except OSError:
                    return False
        return True


def snapshot(root: Path, which: Which, cache: Cache) -> Snapshot | None:
    """The folder's files and their digest; None where something there is no file, or cannot be read.

    A folder whose files' stamps are those of the last time is not read again, unless one was so young then that a
    later change may have left its stamp alone.
    """
    found = _looked_at(root, which)
    if found is None:
        return None
    seen = {folder: _seen(files) for folder, files in found.stamps.items()}
    index = orjson.loads(cache.get(_index(found)) or b"{}")
    same = {folder: index[folder][1] for folder, now in seen.items() if index.get(folder, ("",))[0] == now}
    changed = [folder for folder in seen if folder not in same]
    if not found.read(changed):
        return None
    found.folders = {**same, **by_folder({p: found.digests[p] for folder in changed for p in found.stamps[folder]})}
    if changed or len(index) != len(seen):
        _remember(found, seen, cache)
    return found


def digests_of_files(found: Snapshot, cache: Cache) -> Mapping[str, str]:
    """The digest of each file, by path; nothing where one cannot be read."""
    known = orjson.loads(cache.get(f"files {_index(found)}") or b"{}")
    if tree_digest(known) == found.digest:
        return dict(known)
    if not found.read(found.stamps) or tree_digest(found.digests) != found.digest:
        return {}
    cache.put(f"files {_index(found)}", orjson.dumps(found.digests))
    return found.digests


def remember(root: Path, which: Which, digests: Mapping[str, str], cache: Cache) -> None:
    """Keeps that the folder holds files with these digests: for whoever just wrote them, and need not read them.

    It waits for the moment until their stamps tell: reading all of them the next time would take longer.
    """
    found = _looked_at(root, which)
    youngest = max((max(t[1:3]) for files in found.stamps.values() for t in files.values()), default=0) if found else 0
    if found is not None and 0 < (left := youngest + FINE_MARGIN_NS - found.taken) <= FINE_MARGIN_NS:
        time.sleep(left / 1e9)
        found = _looked_at(root, which)
    if found is None or {path for files in found.stamps.values() for path in files} != digests.keys():
        return
    found.folders = by_folder(digests)
    _remember(found, {folder: _seen(files) for folder, files in found.stamps.items()}, cache)
    cache.put(f"files {_index(found)}", orjson.dumps(digests))


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest of files that lie in one folder, from every path and its bytes' digest."""
    lines = "".join(f"{path}\0{digest}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def tree_digest(digests: Mapping[str, str]) -> str:
    """What `Snapshot.digest` is of a folder of these files."""
    return digest_of(by_folder(digests))


def by_folder(digests: Mapping[str, str]) -> dict[str, str]:
    """What `Snapshot.folders` is of these files."""
    folders: dict[str, dict[str, str]] = {}
    for path, digest in digests.items():
        folder, slash, _ = path.partition("/")
        folders.setdefault(folder if slash else "", {})[path] = digest
    return {folder: digest_of(files) for folder, files in folders.items()}


def _looked_at(root: Path, which: Which) -> Snapshot | None:
    taken = time.time_ns()
    stamps = _stamps(root, which)
    printable = stamps is not None and all(path.isprintable() for files in stamps.values() for path in files)
    if stamps is None or not printable or not os.path.realpath(root).isprintable():
        return None  # Names that no text can hold: such a source has findings, and is rare.
    return Snapshot(root, which, stamps, taken)


def _index(found: Snapshot) -> str:
    """The entry that has the digests of the last time."""
    return f"index {found.which.name} {os.path.realpath(found.root)}"


def _remember(found: Snapshot, seen: Mapping[str, str], cache: Cache) -> None:
    index = {folder: (seen[folder], digest) for folder, digest in found.folders.items()}
    for folder, files in found.stamps.items():
        if any(_is_young(stamp, found.taken) for stamp in files.values()):
            index[folder] = ("", found.folders[folder])  # The stamps do not tell.
    cache.put(_index(found), orjson.dumps(index))


def _seen(files: Mapping[str, Stamp]) -> str:
    """The digest of the stamps."""
    return hashlib.sha256(marshal.dumps(sorted(files.items()), 2)).hexdigest()


def _is_young(stamp: Stamp, taken: int) -> bool:
    last = max(stamp[1], stamp[2])
    return last > taken - (FINE_MARGIN_NS if last % 1_000_000 else MARGIN_NS)


class _Odd(Exception):
    """Something is neither file nor folder."""


def _stamps(root: Path, which: Which) -> Stamps | None:
    """The stamps of all files below `root`; None where something is neither file nor folder, or cannot be seen."""
    try:
        names: list[str] = []
        top = _look(str(root), "", which, names)
        return ({"": top} if top else {}) | _below(root, names, which)
    except (OSError, _Odd):
        return None


def _below(root: Path, names: Iterable[str], which: Which) -> dict[str, dict[str, Stamp]]:
    """The stamps of all files in each of these folders."""
    found: dict[str, dict[str, Stamp]] = {}
    for name in names:
        waiting, files = [f"{name}/"], dict[str, Stamp]()
        while waiting:
            prefix = waiting.pop()
            below: list[str] = []
            files |= _look(f"{root}/{prefix}", prefix, which, below)
            waiting += [f"{prefix}{folder}/" for folder in below]
        if files:
            found[name] = files
    return found


def _look(folder: str, prefix: str, which: Which, folders: list[str]) -> dict[str, Stamp]:
    """The stamps of the files in one folder; `folders` gets the names of those in it."""
    stamps: dict[str, Stamp] = {}
    _, begins, ends = which
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(begins) or name.endswith(ends):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise _Odd
            stamps[prefix + name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return stamps


# What a run depends on


def compiler_digest(cache: Cache) -> str | None:
    """The digest of our own code, of the packages it uses, and of the interpreter."""
    parts = [FORMAT, sys.version]
    for folder in (Path(__file__).parent, Path(stoa_schemas.__file__).parent):
        found = snapshot(folder, _CODE, cache)
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
