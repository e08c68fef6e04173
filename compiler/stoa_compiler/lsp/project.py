"""A source as an editor has it: files with unsaved text laid over them, and what the phases find."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stoa_compiler.checks import check
from stoa_compiler.diagnostics import Diagnostic, Report, Stop
from stoa_compiler.graph import Graph
from stoa_compiler.link import link
from stoa_compiler.load import FOLDER_KINDS, PLATFORM_FILE, TENANT_FILE, Placed, Source, load
from stoa_compiler.parse import parse_file, understand
from stoa_compiler.pipeline import render
from stoa_compiler.records import record
from stoa_compiler.source import Document, SourceFile
from stoa_compiler.unlinked import judge_unlinked
from stoa_compiler.validate import Valid, validate_document

RENDERED_WHILE_TYPING = 100
"""Up to so many documents, bundles are rendered at each pause; in a larger source only when a file is saved."""
CHECKED_WHILE_TYPING = 500
"""Up to so many, all are checked at each pause; in a larger source only the tenant's whose document is edited."""


@record(slots=False)
class Analysis:
    """What is known of a source at one moment."""

    source: Source
    documents: Mapping[str, Document]
    """By path: as it is now, or as it last was when it could be parsed."""
    graph: Graph | None
    """Of what is sound; None where the platform document is not."""
    findings: Mapping[str, Sequence[Diagnostic]]
    """By path; every file of the source has an entry."""


@dataclass
class Project:
    """One source. `edit` and `forget` are told what the editor holds; `analyse` runs the phases on it.

    What a document says is worked out again only when its content has changed.
    """

    root: Path
    unsaved: dict[str, bytes] = field(default_factory=dict)
    current: Analysis | None = None
    _edited: set[str] = field(default_factory=set)
    """Tenants whose documents were edited since the last analysis; empty text for the platform."""
    _stale: bool = True
    """Whether the disk may hold something else than what was loaded."""
    _loaded: tuple[Source, tuple[Diagnostic, ...]] = (Source((), {}), ())
    _parsed: dict[str, tuple[bytes, Document | None, tuple[Diagnostic, ...]]] = field(default_factory=dict)
    _validated: dict[str, tuple[Placed, Valid | None, tuple[Diagnostic, ...]]] = field(default_factory=dict)
    _last_good: dict[str, Document] = field(default_factory=dict)
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def edit(self, path: str, content: bytes) -> None:
        """The editor holds `content` for a file."""
        known = self.file(path)
        if known is None:
            self._stale = True
        elif known.content != content:
            self._edited.add(path.rpartition("/")[0].partition("/")[0])
        self.unsaved[path] = content

    def forget(self, path: str) -> None:
        """The editor holds the file no longer: what is on disk counts."""
        content = self.unsaved.pop(path, None)
        file = self.root / path
        if not file.is_file() or file.read_bytes() != content:
            self._stale = True

    def disk_changed(self) -> None:
        """Files were written, made or removed."""
        self._stale = True

    def analyse(self) -> Analysis:
        """What is found now. Takes its time; may be called in another thread."""
        with self._busy:
            anew, self._stale = self._stale, False
            edited, self._edited = self._edited, set()
            source, found = self._source(anew)
            few = len(source.placed) <= CHECKED_WHILE_TYPING
            if anew or few or "" in edited or self.current is None:
                self.current = self._whole(source, found, anew or len(source.placed) <= RENDERED_WHILE_TYPING)
            elif edited:
                self.current = self._part(self.current, source, edited)
            return self.current

    def _whole(self, source: Source, found: Sequence[Diagnostic], rendered: bool) -> Analysis:
        report = Report(list(found))
        valid = [v for place in source.placed if (v := self._valid(place, report)) is not None]
        graph = link(source, valid, report)
        if graph is not None:
            check(graph, report)
        judge_unlinked(self._documents(source.placed), graph, report)
        if graph is not None and rendered and not report.errors:
            _render(graph, report)
        return Analysis(source, self._known(source), graph, _by_path(source, report))

    def _part(self, before: Analysis, source: Source, edited: set[str]) -> Analysis:
        """The analysis with only some tenants looked at again; what they do to others shows when a file is saved."""
        report = Report()
        places = [p for p in source.placed if p.tenant is None or p.tenant in edited]
        graph = link(source, [v for p in places if (v := self._valid(p, report)) is not None], report)
        if graph is not None:
            check(graph, report)
        judge_unlinked(self._documents(places), graph, report)
        now = {p: f for p, f in _by_path(source, report).items() if p.partition("/")[0] in edited}
        if graph is not None and before.graph is not None:
            looked_at = {t.name for t in graph.tenants}
            others = [t for t in before.graph.tenants if t.name not in edited]
            kept = [t for t in before.graph.tenants if t.name in edited - looked_at]
            tenants = sorted([*others, *kept, *graph.tenants], key=lambda t: t.name)
            graph = replace(graph, tenants=tuple(tenants))
        return Analysis(source, self._known(source), graph, {**before.findings, **now})

    def _documents(self, places: Iterable[Placed]) -> list[tuple[Placed, Document]]:
        """The documents of `places` as far as they can be understood."""
        read = ((place, self._parsed.get(place.file.path)) for place in places)
        return [(place, known[1]) for place, known in read if known is not None and known[1] is not None]

    def _known(self, source: Source) -> dict[str, Document]:
        paths = {file.path for file in source.files.values()}
        return {path: document for path, document in self._last_good.items() if path in paths}

    def file(self, path: str) -> SourceFile | None:
        """A file of the source as it is now, also one that was edited since the last analysis."""
        found = self._files().get(path)
        content = self.unsaved.get(path)
        if content is None or (found is not None and found.content == content):
            return found
        return SourceFile(path, found.shown if found else path, content)

    def document(self, path: str) -> Document | None:
        """The document as it is now; None where it cannot be parsed."""
        file = self.file(path)
        if file is None:
            return None
        known = self._parsed.get(path)
        if known is not None and known[0] == file.content:
            return known[1] if known[1] is None or known[1].doubts is None else None
        return parse_file(file, Report())

    def _files(self) -> Mapping[str, SourceFile]:
        return {f.path: f for f in self.current.source.files.values()} if self.current else {}

    def _source(self, anew: bool) -> tuple[Source, tuple[Diagnostic, ...]]:
        unsaved = dict(self.unsaved)
        if anew:
            report = Report()
            self._loaded = load(self.root, report, unsaved), tuple(report.found)
            return self._loaded
        source, found = self._loaded

        def now(file: SourceFile) -> SourceFile:
            content = unsaved.get(file.path, file.content)
            return file if content == file.content else SourceFile(file.path, file.shown, content)

        edited = Source(
            tuple(replace(p, file=f) if (f := now(p.file)) is not p.file else p for p in source.placed),
            {path: now(file) for path, file in source.descriptions.items()},
            {shown: now(file) for shown, file in source.files.items()},
        )
        self._loaded = edited, found
        return self._loaded

    def _valid(self, place: Placed, report: Report) -> Valid | None:
        path, content = place.file.path, place.file.content
        known = self._parsed.get(path)
        if known is None or known[0] != content:
            parsing = Report()
            known = (content, understand(place.file, parsing), tuple(parsing.found))
            self._parsed[path] = known
            self._validated.pop(path, None)
        report.found.extend(known[2])
        document = known[1]
        if document is None:
            return None
        if document.doubts is None:
            self._last_good[path] = document
        judged = self._validated.get(path)
        if judged is None or judged[0].file.content != content:
            judging = Report()
            value = validate_document(place, document, judging)
            valid = None if value is None else Valid(place, document, value)
            judged = (place, valid, tuple(judging.found))
            self._validated[path] = judged
        report.found.extend(judged[2])
        return judged[1]


def root_of(file: Path) -> Path | None:
    """The source that a file belongs to: the nearest folder above it that holds `platform.yaml`."""
    return next((folder for folder in file.parents if (folder / PLATFORM_FILE).is_file()), None)


def place_of(path: str) -> tuple[str, str, str] | None:
    """Kind, tenant and name of the document that a path below the source is for; None where none can be."""
    match path.split("/"):
        case [file] if file == PLATFORM_FILE:
            return "Platform", "", ""
        case [tenant, file] if file == TENANT_FILE:
            return "Tenant", tenant, tenant
        case [tenant, folder, file] if folder in FOLDER_KINDS and file.endswith(".yaml"):
            return FOLDER_KINDS[folder], tenant, file.removesuffix(".yaml")
    return None


def belongs(path: str) -> bool:
    """Whether a file is the source's at all: dot files and Markdown are nobody's documents."""
    parts = path.split("/")
    return not any(part.startswith(".") for part in parts) and not path.endswith(".md")


def _render(graph: Graph, report: Report) -> None:
    for environment in graph.platform.spec.environments:
        try:
            render(graph, environment, report)
        except Stop:
            continue


def _by_path(source: Source, report: Report) -> dict[str, list[Diagnostic]]:
    found: dict[str, list[Diagnostic]] = {file.path: [] for file in source.files.values()}
    for finding in report.sorted():
        file = source.files.get(finding.span.file)
        found.setdefault(file.path if file else PLATFORM_FILE, []).append(finding)
    return found


def tenants(analysis: Analysis) -> Iterator[str]:
    """Names of all tenants, sound or not."""
    return iter(sorted({p.tenant for p in analysis.source.placed if p.tenant is not None}))
