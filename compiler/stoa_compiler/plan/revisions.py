"""Both sides of a plan as files in memory: straight from Git objects, from the working folder, or from any folder.

Nothing is checked out. Which files differ is told by their Git object ids; only the files of tenants that differ are
read.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stoa_compiler.diagnostics import Diagnostic, Report
from stoa_compiler.load import (
    FOLDER_KINDS,
    MAX_DOCUMENT_BYTES,
    MAX_SOURCE_BYTES,
    NOT_REGULAR,
    PLATFORM_FILE,
    SOURCES,
    TENANT_FILE,
    TOO_LARGE,
    Placed,
    Source,
    load,
    shown_root,
)
from stoa_compiler.records import record
from stoa_compiler.reports.terminal import visible
from stoa_compiler.source import SourceFile
from stoa_schemas.names import is_id

_REGULAR = {"100644", "100755", "100664"}
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
}


_OF_HOOKS = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
"""What Git sets for a hook: the repository is the one around the source, whoever calls."""


class Unreachable(Exception):
    """A side that cannot be read, in a sentence; nothing is wrong with what was asked."""


class Unusable(Exception):
    """A question that has no answer: an unknown revision, a folder outside of any repository."""


Lines = tuple[int, int]
"""First and last line of a stretch."""


@record(slots=False)
class Tree:
    """One side's files by object id, before any is read."""

    name: str
    """As it was asked for."""
    commit: str
    source: str
    """Path of the source in its repository; a folder's own path where it is none."""
    objects: Mapping[str, tuple[str, str]]
    """Git mode and object id, by path below the source's folder."""
    read: Callable[[Collection[str] | None], tuple[Source, list[Diagnostic]]]
    """The source narrowed to the platform and these tenants; all where None. And what loading them found."""
    contents: Callable[[Collection[str]], Mapping[str, bytes]]
    """The bytes of files, by path."""
    blame: Callable[[str, Collection[Lines]], Mapping[Lines, tuple[str, str]]]
    """Commit and author who last changed any of some lines, of a file by its path below the source's folder."""

    @property
    def digest(self) -> str:
        """sha256 over paths, modes and object ids: two trees with the same digest have the same files."""
        lines = "".join(f"{path}\0{mode} {oid}\n" for path, (mode, oid) in sorted(self.objects.items()))
        return "sha256:" + hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def empty(self) -> bool:
        """Whether there is no source at all on this side."""
        return PLATFORM_FILE not in self.objects


@record(slots=False)
class Repository:
    """A Git repository and a folder in it."""

    folder: Path
    """Where Git is called: the source's folder, or the nearest above that exists."""
    top: Path
    prefix: str
    """Path of the source in the repository, `/` at its end; empty where the source is its root."""
    source: Path

    @classmethod
    def around(cls, source: Path) -> "Repository":
        """The repository that holds `source`; raises `Unusable` with a sentence where none does."""
        folder = source
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        done = _git(folder, ["rev-parse", "--show-toplevel"])
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            if "dubious ownership" in said:
                raise Unreachable(
                    f"Git does not trust the repository of `{source}`, which somebody else owns: "
                    "`git config --global --add safe.directory FOLDER` says that you do"
                )
            raise Unusable(f"`{source}` is in no Git repository: give the other side as a folder with --base-dir")
        top = Path(os.fsdecode(done.stdout.rstrip(b"\n")))
        below = os.path.relpath(source.resolve(), top.resolve())
        return cls(folder, top, "" if below == "." else f"{below}/", source)

    def commit(self, revision: str) -> str:
        """The id of the commit that `revision` names; raises with a sentence where it names none."""
        if not revision or revision.startswith("-") or any(c in revision for c in "\0\n"):
            raise Unusable(f"`{visible(revision)}` is no revision")
        done = _git(self.folder, ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"])
        if not done.returncode:
            return done.stdout.decode().strip()
        if self.shallow or re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", revision):
            raise Unreachable(
                f"`{visible(revision)}` is not in this clone{', which is shallow' if self.shallow else ''}: "
                f"`git fetch --depth=1 origin {visible(revision)}` brings it. "
                "In GitLab CI, GIT_DEPTH: 0 clones everything"
            )
        close = "" if "/" in revision else f"; is `origin/{visible(revision)}` meant?"
        raise Unusable(f"`{visible(revision)}` is no revision of this repository{close}")

    def merge_base(self, base: str, head: str, name: str) -> str:
        """The newest commit that both have; raises with a sentence where there is none."""
        done = _git(self.folder, ["merge-base", base, head])
        if not done.returncode:
            return done.stdout.decode().strip()
        if self.shallow:
            raise Unreachable(
                f"where head left `{visible(name)}` is not in this shallow clone: `git fetch --deepen=200 origin` "
                f"brings more of it (GIT_DEPTH: 0 in GitLab CI); --exact compares with `{visible(name)}` itself"
            )
        raise Unusable(f"`{visible(name)}` and head share no commit: --exact compares with `{visible(name)}` itself")

    @property
    def shallow(self) -> bool:
        """Whether the clone lacks older commits."""
        return _git(self.folder, ["rev-parse", "--is-shallow-repository"]).stdout.strip() == b"true"

    @property
    def algorithm(self) -> str:
        """The hash of object ids."""
        done = _git(self.folder, ["rev-parse", "--show-object-format"])
        return done.stdout.decode().strip() or "sha1"

    def tree(self, commit: str, name: str) -> Tree:
        """The source as `commit` has it."""
        objects = self._objects(commit)
        return Tree(
            name=name,
            commit=commit,
            source=self.prefix.rstrip("/") or ".",
            objects=objects,
            read=lambda tenants: self._read(objects, tenants),
            contents=lambda paths: self._contents({p: objects[p][1] for p in paths if objects[p][0] in _REGULAR}),
            blame=lambda path, lines: self._blame(path, lines, commit),
        )

    def working(self) -> Tree:
        """The source as it lies in the working folder, whatever is committed."""
        return replace(
            folder_tree(self.source, self.algorithm),
            source=self.prefix.rstrip("/") or ".",
            name="the working folder",
            blame=lambda path, lines: self._blame(path, lines, None),
        )

    def _objects(self, commit: str) -> dict[str, tuple[str, str]]:
        where = f"{commit}:{self.prefix.rstrip('/')}"
        done = _git(self.top, ["ls-tree", "-r", "-z", "--full-tree", where])
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace")
            if "Not a valid object name" in said or "not a tree object" in said:
                return {}  # The source is not in this commit.
            raise Unreachable(f"objects of the commit `{commit[:12]}` are missing in this clone: fetch it whole")
        objects = {}
        for entry in done.stdout.split(b"\0")[:-1]:
            head, _, path = entry.partition(b"\t")
            mode, _, oid = head.decode().split(" ")
            name = os.fsdecode(path)
            if _is_read(name):
                objects[name] = ("100644" if mode in _REGULAR else mode, oid)
        return objects

    def _read(
        self, objects: Mapping[str, tuple[str, str]], tenants: Collection[str] | None
    ) -> tuple[Source, list[Diagnostic]]:
        report = Report()
        shown = shown_root(self.source)
        wanted, elsewhere = _divided(objects, tenants)
        found: dict[str, str] = {}
        for path in wanted:
            mode, oid = objects[path]
            if mode in _REGULAR:
                found[path] = oid
            else:
                what = (
                    "a symbolic link" if mode == "120000" else "another repository" if mode == "160000" else "special"
                )
                name = visible(path)
                nothing = SourceFile(path, f"{shown}/{name}", b"")
                report.add(NOT_REGULAR, nothing.span(), f"`{name}` is not a regular file: it is {what}")
        sizes = self._sizes(found.values())
        for path, oid in list(found.items()):
            limit = MAX_SOURCE_BYTES if f"/{SOURCES}/" in path else MAX_DOCUMENT_BYTES
            if sizes.get(oid, 0) > limit:
                del found[path]
                name = visible(path)
                nothing = SourceFile(path, f"{shown}/{name}", b"")
                said = f"`{name}` has {sizes[oid]:,} bytes; at most {limit:,} are taken"
                report.add(TOO_LARGE, nothing.span(), said)
        source = in_memory(self._contents(found), shown, report)
        return replace(source, elsewhere=source.elsewhere + elsewhere), report.found

    def _sizes(self, oids: Iterable[str]) -> dict[str, int]:
        given = "".join(f"{oid}\n" for oid in dict.fromkeys(oids))
        if not given:
            return {}
        done = _git(self.top, ["cat-file", "--batch-check"], given.encode())
        sizes = {}
        for line in done.stdout.decode().splitlines():
            oid, kind, *rest = line.split(" ")
            if kind == "missing" or not rest:
                raise Unreachable(f"the object `{oid}` is missing in this clone: fetch the commit whole")
            sizes[oid] = int(rest[0])
        return sizes

    def _contents(self, oids: Mapping[str, str]) -> dict[str, bytes]:
        """Bytes by path."""
        wanted = list(dict.fromkeys(oids.values()))
        if not wanted:
            return {}
        done = _git(self.top, ["cat-file", "--batch"], "".join(f"{oid}\n" for oid in wanted).encode())
        blobs: dict[str, bytes] = {}
        out, at = done.stdout, 0
        while at < len(out):
            end = out.index(b"\n", at)
            head = out[at:end].decode().split(" ")
            if len(head) < 3:
                raise Unreachable(f"the object `{head[0]}` is missing in this clone: fetch the commit whole")
            size = int(head[2])
            blobs[head[0]] = out[end + 1 : end + 1 + size]
            at = end + size + 2
        if len(blobs) < len(wanted):
            raise Unreachable("Git did not give all objects of the commit: fetch it whole")
        return {path: blobs[oid] for path, oid in oids.items()}

    def _blame(self, path: str, wanted: Collection[Lines], commit: str | None) -> dict[Lines, tuple[str, str]]:
        """Commit and author by stretch of lines; nothing of a file that Git does not know."""
        ranges = [f"-L{first},{last}" for first, last in sorted(set(wanted))]
        revision = [commit] if commit else []
        options = ["blame", "--no-textconv", "--line-porcelain", *ranges, *revision, "--", self.prefix + path]
        done = _git(self.top, options)
        if done.returncode:
            return {}
        newest: dict[int, tuple[int, str, str]] = {}
        oid, line, author, time = "", 0, "", 0
        for text in done.stdout.decode("utf-8", "replace").split("\n"):
            if text.startswith("\t"):
                known = oid.strip("0") != ""
                newest[line] = (time, oid, author) if known else (sys.maxsize, "", "not committed yet")
            elif text.startswith("author "):
                author = text.removeprefix("author ")[:80]
            elif text.startswith("committer-time "):
                time = int(text.removeprefix("committer-time "))
            elif (header := re.match(r"([0-9a-f]{40,64}) \d+ (\d+)", text)) is not None:
                oid, line = header[1], int(header[2])
        found: dict[Lines, tuple[str, str]] = {}
        for first, last in wanted:
            lines = [newest[n] for n in range(first, last + 1) if n in newest]
            if lines:
                _, oid, author = max(lines)
                found[first, last] = (oid, author)
        return found


def folder_tree(folder: Path, algorithm: str = "sha1") -> Tree:
    """The source in a folder, whether Git knows it or not."""
    report = Report()
    whole = load(folder, report)

    def read(tenants: Collection[str] | None) -> tuple[Source, list[Diagnostic]]:
        return (whole if tenants is None else whole.narrowed(tenants)), list(report.found)

    contents = {file.path: file.content for file in whole.files.values()}
    return Tree(
        name=str(folder),
        commit="",
        source=str(folder),
        objects={path: ("100644", _object_id(content, algorithm)) for path, content in contents.items()},
        read=read,
        contents=lambda paths: {p: contents[p] for p in paths},
        blame=lambda _path, _lines: {},
    )


def memory_tree(files: Mapping[str, bytes], shown: Path, name: str) -> Tree:
    """The source of files that are in memory, by path below the source's folder, as if it lay at `shown`."""

    def read(tenants: Collection[str] | None) -> tuple[Source, list[Diagnostic]]:
        report = Report()
        wanted, elsewhere = _divided(objects, tenants)
        source = in_memory({path: files[path] for path in wanted}, shown, report)
        return replace(source, elsewhere=source.elsewhere + elsewhere), report.found

    objects = {p: ("100644", _object_id(content, "sha1")) for p, content in files.items() if _is_read(p)}
    return Tree(
        name=name,
        commit="",
        source=str(shown),
        objects=objects,
        read=read,
        contents=lambda paths: {p: files[p] for p in paths},
        blame=lambda _path, _lines: {},
    )


def in_memory(files: Mapping[str, bytes], shown: Path, report: Report) -> Source:
    """The source of these files, each shown below `shown`: what `load` makes of the same bytes in a folder."""
    found = Report()
    with tempfile.TemporaryDirectory(prefix="stoa-plan-") as empty:
        source = load(Path(empty), found, unsaved=dict(files))
        beginning = str(shown_root(Path(empty))) + "/"
    prefix = "" if str(shown) == "." else f"{str(shown).removesuffix('/')}/"
    made = {file.path: SourceFile(file.path, prefix + file.shown.removeprefix(beginning), file.content)
            for file in source.files.values()}  # fmt: skip

    def moved(d: Diagnostic) -> Diagnostic:
        return replace(d, span=replace(d.span, file=prefix + d.span.file.removeprefix(beginning)))

    report.found.extend(moved(d) for d in found.found)
    return Source(
        placed=tuple(Placed(made[p.file.path], p.kind, p.name, p.tenant) for p in source.placed),
        descriptions={path: made[path] for path in source.descriptions},
        files={file.shown: file for file in made.values()},
        elsewhere=source.elsewhere,
    )


def _divided(
    objects: Mapping[str, tuple[str, str]], tenants: Collection[str] | None
) -> tuple[list[str], tuple[tuple[str, str, str], ...]]:
    """Paths to read, and the names of the documents that are left out."""
    wanted: list[str] = []
    elsewhere: list[tuple[str, str, str]] = []
    for path in sorted(objects):
        tenant, slash, rest = path.partition("/")
        if tenants is None or not slash or tenant in tenants:
            wanted.append(path)
        elif rest == TENANT_FILE:
            elsewhere.append((tenant, "Tenant", tenant))
        else:
            folder, _, name = rest.partition("/")
            stem = name.removesuffix(".yaml")
            if folder in FOLDER_KINDS and stem != name and is_id(stem):
                elsewhere.append((tenant, FOLDER_KINDS[folder], stem))
    return wanted, tuple(elsewhere)


def _is_read(path: str) -> bool:
    """Whether a file counts: dot files and Markdown are nobody's documents."""
    return not path.endswith(".md") and not any(part.startswith(".") for part in path.split("/"))


def _object_id(content: bytes, algorithm: str) -> str:
    made = hashlib.new(algorithm, b"blob %d\0" % len(content), usedforsecurity=False)
    made.update(content)
    return made.hexdigest()


def _git(folder: Path, arguments: Sequence[str], given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-c", "core.quotePath=false", "-c", "core.fsmonitor=false", *arguments],
            cwd=folder,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            env={**{k: v for k, v in os.environ.items() if k not in _OF_HOOKS}, **_ENVIRONMENT},
            check=False,
        )
    except FileNotFoundError:
        raise Unreachable("`git` is not installed: give the other side as a folder with --base-dir") from None
