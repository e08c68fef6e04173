"""Load: a folder's files into memory. Together with `write` the only phase that touches the disk."""

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path

from stoa_compiler.diagnostics import Report, Rule, lookalikes, nearest
from stoa_compiler.records import record
from stoa_compiler.source import SourceFile, Span, UnreadFile
from stoa_schemas.names import is_id, is_reserved

PLATFORM_FILE = "platform.yaml"
TENANT_FILE = "tenant.yaml"
FOLDER_KINDS: Mapping[str, str] = {
    "contracts": "UniversalAPIContract",
    "consumers": "Consumer",
    "plans": "Plan",
    "subscriptions": "Subscription",
}
"""Folders of a tenant, and the kind of document that each holds."""
SOURCES = "sources"
"""The tenant's folder of OpenAPI descriptions, which contracts pin by digest."""

MAX_DOCUMENT_BYTES = 1_000_000
MAX_SOURCE_BYTES = 20_000_000

NO_SOURCE = Rule(
    code="STOA001",
    title="there is no source here",
    why="A source is a folder with `platform.yaml`: without it nothing says what holds for the tenants.",
    help="Give the folder that holds `platform.yaml`.",
)
STRAY_FILE = Rule(
    code="STOA002",
    title="the file lies where no document can be",
    why="What a file is follows from where it lies. A file that is silently ignored is declared and never enforced.",
    help="Documents are `platform.yaml`, `<tenant>/tenant.yaml` and `<tenant>/{contracts,consumers,plans,"
    "subscriptions}/<name>.yaml`; OpenAPI descriptions lie in `<tenant>/sources/`. Move or remove it.",
)
NOT_REGULAR = Rule(
    code="STOA003",
    title="not a regular file",
    why="A symbolic link, pipe or device can lead out of the tenant's folder or never end.",
    help="Commit the file itself.",
)
TOO_LARGE = Rule(
    code="STOA004",
    title="the file is too large",
    why=f"A document may have {MAX_DOCUMENT_BYTES:,} bytes and an OpenAPI description {MAX_SOURCE_BYTES:,}, so that "
    "no tenant can slow everyone's compile.",
    help="Split the contract, or trim the description to what is used.",
)
BAD_NAME = Rule(
    code="STOA005",
    title="the name in the path is not well formed",
    why="Names become parts of hosts, OAuth clients, tools and Kubernetes objects. An id is 1 to 31 lower-case ASCII "
    "letters, digits and inner hyphens, and begins with a letter.",
    help="Rename the file or folder: 1 to 31 lower-case ASCII letters, digits and inner hyphens, "
    "beginning with a letter.",
)
RESERVED_NAME = Rule(
    code="STOA006",
    title="the name is reserved",
    why="The platform, Keycloak or Kubernetes own the name: a tenant of that name could be taken for them.",
    help="Choose another name for the tenant's folder.",
)
NO_TENANT_FILE = Rule(
    code="STOA007",
    title="the tenant's folder has no `tenant.yaml`",
    why="Without it nothing says whose the documents are, and they would be ignored.",
    help="Add `tenant.yaml`, or remove the folder.",
)
UNREADABLE = Rule(
    code="STOA008",
    title="the file cannot be read",
    why="The operating system refused to open it.",
    help="Check the file's permissions.",
)

RULES = (NO_SOURCE, STRAY_FILE, NOT_REGULAR, TOO_LARGE, BAD_NAME, RESERVED_NAME, NO_TENANT_FILE, UNREADABLE)


@record(slots=False)
class Placed:
    """A document's file, and what its path says it is."""

    file: SourceFile
    kind: str
    name: str
    """The name that the document must bear."""
    tenant: str | None
    """The tenant whose folder holds it; None for the platform's."""


@record(slots=False)
class Source:
    """A source's files, sorted by path."""

    placed: tuple[Placed, ...]
    descriptions: Mapping[str, SourceFile]
    """OpenAPI descriptions by path: `<tenant>/sources/<file>`."""
    files: Mapping[str, SourceFile] = field(default_factory=dict)
    """Every file by its shown path, for diagnostics."""
    elsewhere: tuple[tuple[str, str, str], ...] = ()
    """Tenant, kind and name of the documents of tenants that are left out here."""
    faulty: frozenset[str] = frozenset()
    """Tenants in whose folders something has no place, or could not be read: what is known of them is not all."""

    @cached_property
    def at(self) -> Mapping[str, SourceFile]:
        """Every file by its path."""
        return {file.path: file for file in self.files.values()}

    @property
    def count(self) -> int:
        """How many documents there are."""
        return len(self.placed) + len(self.elsewhere)

    @property
    def tenants(self) -> int:
        """How many tenants have documents here."""
        return len({p.tenant for p in self.placed} - {None})

    def narrowed(self, tenants: Collection[str]) -> "Source":
        """The platform's document and those tenants alone, which mean here what they mean in the whole source."""
        return Source(
            placed=tuple(p for p in self.placed if p.tenant is None or p.tenant in tenants),
            descriptions={p: f for p, f in self.descriptions.items() if p.partition("/")[0] in tenants},
            files={s: f for s, f in self.files.items() if "/" not in f.path or f.path.partition("/")[0] in tenants},
            elsewhere=self.elsewhere
            + tuple(
                (p.tenant, p.kind, p.name) for p in self.placed if p.tenant is not None and p.tenant not in tenants
            ),
            faulty=self.faulty,
        )


@record
class Known:
    """What is in a tenant's folder that nobody looks into."""

    documents: Sequence[tuple[str, str]]
    """Kinds and names."""
    descriptions: Sequence[str] = ()
    """Paths of its OpenAPI descriptions, from the source's folder on."""

    def paths(self, tenant: str) -> Iterator[str]:
        """The paths of all files there."""
        for kind, name in self.documents:
            yield f"{tenant}/{TENANT_FILE}" if kind == "Tenant" else f"{tenant}/{_FOLDERS[kind]}/{name}.yaml"
        yield from self.descriptions


_FOLDERS = {kind: folder for folder, kind in FOLDER_KINDS.items()}
_NOBODY: Mapping[str, Known] = {}


class Files(Mapping[str, SourceFile]):
    """Files by their shown paths: those that were read, and those of known tenants, which are listed when asked for."""

    def __init__(self, read: Mapping[str, SourceFile], root: Path, known: Mapping[str, Known]) -> None:
        self.read = read
        self.known = known
        self._root = root

    @cached_property
    def _all(self) -> Mapping[str, SourceFile]:
        if not self.known:
            return self.read
        prefix = shown_prefix(self._root)
        paths = sorted(path for tenant, known in self.known.items() for path in known.paths(tenant))
        unread = {prefix + path: UnreadFile.of(path, prefix + path, f"{self._root}/{path}") for path in paths}
        return dict(sorted({**unread, **self.read}.items(), key=lambda entry: entry[1].path))

    def __getitem__(self, shown: str) -> SourceFile:
        """The file at the path."""
        return self.read[shown] if shown in self.read else self._all[shown]

    def __iter__(self) -> Iterator[str]:
        """The paths of all files."""
        return iter(self._all)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)


def load(
    root: Path,
    report: Report,
    unsaved: Mapping[str, bytes] | None = None,
    known: Mapping[str, Known] = _NOBODY,
) -> Source:
    """The files below `root`, each with what its path says it is; what has no place there is reported.

    `unsaved` is what an editor holds: content by path below `root`, which stands for the file's own. The folders of
    tenants that are `known` are not looked into: what is told are the documents there.
    """
    unsaved, before = unsaved or {}, len(report.found)
    shown = shown_root(root)
    if PLATFORM_FILE not in unsaved and not (root / PLATFORM_FILE).is_file():
        empty = SourceFile("", str(shown), b"")
        report.add(NO_SOURCE, empty.span(), f"`{shown}` has no `{PLATFORM_FILE}`")
        return Source((), {})
    prefix = shown_prefix(root)
    placed: list[Placed] = []
    descriptions: dict[str, SourceFile] = {}
    files: dict[str, SourceFile] = {}
    elsewhere = [(tenant, kind, name) for tenant, there in known.items() for kind, name in there.documents]
    tenants: dict[str, bool] = {}
    refused: set[str] = set()
    odd: set[str] = set()
    paths = _walk(root, shown, known.keys(), odd, report)
    for path in sorted({*paths, *unsaved}) if unsaved else paths:
        parts = _printable(path).split("/")
        at = f"{prefix}{'/'.join(parts)}"
        file = _read(f"{root}/{path}", path, at, path not in odd, report, unsaved.get(path))
        if file is None:
            refused.add(parts[0])
            continue
        files[file.shown] = file
        if parts[0] in refused:
            continue
        found = _place(parts, file, report)
        if found is None:
            continue
        if len(parts) > 1 and parts[0] not in tenants:
            tenants[parts[0]] = False
            if not _check_tenant_name(parts[0], file, report):
                refused.add(parts[0])
                continue
        if found == "description":
            descriptions[file.path] = file
        elif isinstance(found, Placed):
            placed.append(found)
            if found.kind == "Tenant":
                tenants[parts[0]] = True
    for tenant, complete in tenants.items():
        if not complete and tenant not in refused:
            first = next(f for f in files.values() if f.path.startswith(tenant + "/"))
            report.add(NO_TENANT_FILE, first.span(), f"`{tenant}/{TENANT_FILE}` is missing")
    folders = (d.span.file.removeprefix(prefix).partition("/")[0] for d in report.found[before:])
    listed = Files(files, root, known)
    return Source(tuple(placed), descriptions, listed, tuple(elsewhere), frozenset(folders))


def shown_root(root: Path) -> Path:
    """`root` as the author would type it: from the working folder where it lies below that."""
    try:
        return (
            Path(os.path.normpath(root)).relative_to(Path.cwd()) if root.is_absolute() else Path(os.path.normpath(root))
        )
    except ValueError:
        return root


def shown_prefix(root: Path) -> str:
    """What stands before a file's path where it is shown."""
    shown = str(shown_root(root))
    return "" if shown == "." else f"{shown.removesuffix('/')}/"


def _walk(root: Path, shown_root: Path, known: Collection[str], odd: set[str], report: Report) -> Sequence[str]:
    """Paths of all files below `root` but in the folders `known`, sorted; dot files and Markdown are nobody's.

    `odd` gets those that are no regular files.
    """

    def refuse(error: OSError) -> None:
        path = _printable(os.path.relpath(error.filename, root))
        nothing = SourceFile(path, str(shown_root / path), b"")
        report.add(UNREADABLE, nothing.span(), f"`{path}` cannot be read: {error.strerror}")

    paths = []
    waiting = [(str(root), "")]
    while waiting:
        folder, below = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if not below and entry.name in known:
                            continue
                        waiting.append((entry.path, f"{below}{entry.name}/"))
                    elif not entry.name.endswith(".md"):
                        paths.append(below + entry.name)
                        if not entry.is_file(follow_symlinks=False):
                            odd.add(paths[-1])
        except OSError as error:
            refuse(error)
    return sorted(paths)


def _printable(path: str) -> str:
    """The path with a mark for each character that a terminal would act upon or cannot show."""
    if path.isprintable():
        return path
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path)


_PLAINLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _read(full: str, path: str, shown: str, regular: bool, report: Report, unsaved: bytes | None) -> SourceFile | None:
    path = _printable(path)
    limit = MAX_SOURCE_BYTES if f"/{SOURCES}/" in path else MAX_DOCUMENT_BYTES
    descriptor = -1
    try:
        if unsaved is not None:
            size = len(unsaved)
        else:
            # A device or pipe is not even opened. What took the file's place since is seen once it is open.
            descriptor = os.open(full, _PLAINLY) if regular else -1
            status = os.fstat(descriptor) if regular else None
            if status is None or not stat.S_ISREG(status.st_mode):
                report.add(NOT_REGULAR, _nothing(path, shown), f"`{path}` is not a regular file")
                return None
            size = status.st_size
        if size > limit:
            report.add(TOO_LARGE, _nothing(path, shown), f"`{path}` has {size:,} bytes; at most {limit:,} are taken")
            return None
        if unsaved is not None:
            return SourceFile(path, shown, unsaved)
        # By the system's own calls: this is done for each of many files.
        content = os.read(descriptor, size + 1)
        while len(content) > size and (part := os.read(descriptor, size)):  # It has grown meanwhile.
            content += part
        return SourceFile(path, shown, content)
    except OSError as error:
        report.add(UNREADABLE, _nothing(path, shown), f"`{path}` cannot be read: {error.strerror}")
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _nothing(path: str, shown: str) -> Span:
    """The place of a file that was not read."""
    return SourceFile(path, shown, b"").span()


def _check_tenant_name(tenant: str, file: SourceFile, report: Report) -> bool:
    """Whether a tenant may be called so; nothing below the folder is read otherwise."""
    if not is_id(tenant):
        report.add(BAD_NAME, file.span(), f"the folder `{tenant}` is not a well-formed tenant name", lookalikes(tenant))
        return False
    if is_reserved(tenant):
        report.add(RESERVED_NAME, file.span(), f"the tenant name `{tenant}` is reserved")
        return False
    return True


def _place(parts: list[str], file: SourceFile, report: Report) -> Placed | str | None:
    """What the path says the file is; None, with a finding, where it says nothing."""
    match parts:
        case ["platform.yaml"]:
            return Placed(file, "Platform", "", None)
        case [tenant, "tenant.yaml"]:
            return Placed(file, "Tenant", tenant, tenant)
        case [tenant, folder, name] if folder in FOLDER_KINDS and name.endswith(".yaml"):
            stem = name.removesuffix(".yaml")
            if not is_id(stem):
                report.add(BAD_NAME, file.span(), f"`{name}` is not a well-formed name", lookalikes(stem))
                return None
            return Placed(file, FOLDER_KINDS[folder], stem, tenant)
        case [_, "sources", name] if name.endswith((".yaml", ".yml", ".json")):
            return "description"
        case [_, folder, name] if folder in FOLDER_KINDS and name.endswith((".yml", ".json")):
            better = name.rpartition(".")[0] + ".yaml"
            said = f"`{file.path}` is not where a document can be"
            report.add(STRAY_FILE, file.span(), said, help=f"Documents end in `.yaml`: rename it to `{better}`.")
            return None
    known = [[PLATFORM_FILE], [TENANT_FILE], [*FOLDER_KINDS, SOURCES]][min(len(parts), 3) - 1]
    close = nearest(parts[min(len(parts), 2) - 1], known)
    report.add(
        STRAY_FILE,
        file.span(),
        f"`{file.path}` is not where a document can be",
        help=f"Is `{close}` meant? {STRAY_FILE.help}" if close and close not in parts else "",
    )
    return None
