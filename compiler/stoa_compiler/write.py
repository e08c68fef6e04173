"""Write: a bundle's files to disk, whole or not at all; and an author's own file, likewise."""

import difflib
import fcntl
import glob
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import orjson

from stoa_compiler.beside import beside
from stoa_compiler.source import SourceFile
from stoa_compiler.target import Begun, Joined
from stoa_schemas.bundle import BUNDLE_FILE


class Content(Protocol):
    """Whatever has the bytes of a file: an artifact."""

    @property
    def content(self) -> bytes:
        """The file's bytes."""

    def contents(self) -> Iterator[bytes]:
        """The same in a row of pieces."""

    @property
    def digest(self) -> str:
        """Of the bytes, `sha256:<hex>`."""


_LARGE = 8_000_000
"""Bytes from which on a file is written beside this process."""
_MANY_FILES = 64
"""Files from which on threads are worth their start."""
_WAITING = 3
"""Threads that wait for the disk."""


class Remembering(Protocol):
    """Whoever knows what lies in a bundle's folder unread. It is asked and told while nobody else writes."""

    def files_in(self, out: Path) -> Mapping[str, str]:
        """The digests of the files in the folder, in hexadecimal digits by path; nothing where they are not known."""

    def wrote(self, out: Path, files: Mapping[str, Content]) -> None:
        """Takes note that the folder holds these files."""


class NotABundle(Exception):
    """The folder to write to holds something else."""


def write(files: Mapping[str, Content], out: Path, remembering: Remembering | None = None) -> bool:
    """Puts the files into the folder `out`, in place of what was there; False where nothing changed.

    A complete sibling is written and flushed first and then exchanged with `out` in one step, so that a
    reader, or a crash at any moment, finds the old bundle or the new one. Where the system can't exchange
    two folders, `out` is missing for the moment between two renames; the old bundle then lies beside it.
    """
    out = out.resolve()
    if not _may_replace(out):
        raise NotABundle(f"`{out}` holds something that is no bundle: it is left alone")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(out.parent):
        _sweep(out)
        here = _files_in(out)
        known = remembering.files_in(out) if remembering is not None else {}
        same = {path for path, file in files.items() if path in here and _holds(f"{out}/{path}", file, known.get(path))}
        if len(same) == len(files) == len(here):
            return False
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".new", dir=out.parent))
        try:
            for folder in sorted({os.path.dirname(path) for path in files}):  # noqa: PTH120
                (staging / folder).mkdir(parents=True, exist_ok=True)
            anew = [p for p in files if p not in same or not _linked(f"{out}/{p}", f"{staging}/{p}")]
            _flushed({f"{staging}/{path}": files[path] for path in anew})
            staging.chmod(0o755)
            if out.exists():
                _exchange(staging, out)
            else:
                staging.rename(out)
            _flush_folder(out.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        if remembering is not None:
            remembering.wrote(out, files)
    return True


def begun(file: Joined, out: Path) -> Begun | None:
    """Begins to write the file beside this process, for a bundle in `out`; None where that would not be quicker.

    It has no name before it is linked into its folder (open(2), O_TMPFILE): if it never is, nothing is left of it.
    """
    if file.size < _LARGE or not hasattr(os, "O_TMPFILE"):
        return None
    try:
        descriptor = os.open(out.resolve().parent, os.O_TMPFILE | os.O_WRONLY, 0o666)
        if not os.path.exists(f"/proc/self/fd/{descriptor}"):  # noqa: PTH110
            os.close(descriptor)
            return None
    except OSError:
        return None
    return Begun(descriptor, beside(partial(_poured, file, descriptor), str.encode, bytes.decode))


def _poured(file: Joined, descriptor: int) -> str:
    """Writes the file; its digest."""
    state = hashlib.sha256()
    for content in file.contents():
        state.update(content)
        _all_of(content, descriptor)
    return f"sha256:{state.hexdigest()}"


def _all_of(content: bytes, descriptor: int) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def replace_file(path: Path, before: bytes, after: bytes) -> bool:
    """Puts `after` in place of the file's bytes in one step; False where they are no longer those of `before`."""
    if path.read_bytes() != before:
        return False
    handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(after)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(path, staging)
        Path(staging).replace(path)
    finally:
        Path(staging).unlink(missing_ok=True)
    return True


def replace_files(changes: Mapping[Path, bytes]) -> None:
    """Writes every file beside its place first, so that a full disk leaves no half of them."""
    waiting: list[tuple[Path, Path]] = []
    try:
        for path, content in changes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.new")
            waiting.append((beside, path))
            beside.write_bytes(content)
        for beside, path in waiting:
            beside.replace(path)
    finally:
        for beside, _ in waiting:
            beside.unlink(missing_ok=True)


def unified_diff(file: SourceFile, after: str) -> str:
    """What would change in the file, as `diff -u` shows it and `patch -p1` takes it."""
    texts = (file.content.decode("utf-8", "replace"), after)
    old, new = (io.StringIO(text, newline="\n").readlines() for text in texts)
    lines = difflib.unified_diff(old, new, f"a/{file.shown}", f"b/{file.shown}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _may_replace(out: Path) -> bool:
    """Whether `out` is absent, empty or a bundle; anything else is somebody's work."""
    if not out.exists():
        return True
    if not out.is_dir():
        return False
    if not any(out.iterdir()):
        return True
    try:
        listing = orjson.loads((out / BUNDLE_FILE).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    version = listing.get("apiVersion") if isinstance(listing, dict) else None
    return isinstance(version, str) and version.startswith("gostoa.dev/bundle/")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Holds off other runs that write into `folder`; the system lets go when the process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _files_in(folder: Path) -> set[str]:
    """Paths of all that is no folder, from `folder` on."""
    found = set()
    for where, _, names in os.walk(folder):
        below = os.path.relpath(where, folder)
        found |= {name if below == "." else f"{below}/{name}" for name in names}
    return found


def _holds(path: str, file: Content, known: str | None) -> bool:
    if known is not None:
        return file.digest == f"sha256:{known}"
    return not os.path.islink(path) and Path(path).read_bytes() == file.content  # noqa: PTH114


def _linked(old: str, new: str) -> bool:
    """Whether the file, which is on the disk already, is at its new place too: the old one goes with its folder."""
    try:
        os.link(old, new)
    except OSError:
        return False  # No such links here: it is written anew.
    return True


def _flushed(files: Mapping[str, Content]) -> None:
    """Writes the files, each to the disk itself. Of many, some are written while others wait for the disk."""
    if len(files) < _MANY_FILES:
        for path, file in files.items():
            _flush(_written(path, file))
        return
    from collections import deque
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(_WAITING) as waiting:
        flushed: deque[Future[None]] = deque()
        for path, file in files.items():
            flushed.append(waiting.submit(_flush, _written(path, file)))
            if len(flushed) > _MANY_FILES:  # No more files are open at a time.
                flushed.popleft().result()
        for done in flushed:
            done.result()


def _written(path: str, file: Content) -> int:
    """The open file, with its content in the system's hands."""
    if isinstance(file, Joined) and file.begun is not None:
        ours = file.begun.descriptor
        with suppress(OSError):  # Else it is written once more.
            os.link(
                f"/proc/self/fd/{ours}", path, src_dir_fd=ours, follow_symlinks=True
            )  # By linkat(2), which follows.
            return ours
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for content in file.contents():
            _all_of(content, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _flush(descriptor: int) -> None:
    """Brings the open file to the disk, and closes it."""
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(out: Path) -> None:
    """Removes what a run that was killed left beside `out`."""
    for stale in out.parent.glob(f".{glob.escape(out.name)}.*.new"):
        shutil.rmtree(stale, ignore_errors=True)


def _exchange(new: Path, old: Path) -> None:
    """Swaps two folders: atomically by renameat2 on Linux, else by two renames."""
    if _renameat2_exchange(new, old):
        return
    aside = new.with_name(new.name.removesuffix(".new") + ".old.new")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)


def _renameat2_exchange(new: Path, old: Path) -> bool:
    """Whether the kernel swapped the two in one step (renameat2, RENAME_EXCHANGE)."""
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_working_folder, exchange = -100, 2
    return bool(renameat2(at_working_folder, os.fsencode(new), at_working_folder, os.fsencode(old), exchange) == 0)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
