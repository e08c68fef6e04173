"""The server: the Language Server Protocol over stdio, and nothing of what is said in it."""

import asyncio
import gc
import logging
from collections.abc import Mapping
from pathlib import Path

from lsprotocol import types as lsp
from pygls import uris
from pygls.lsp.server import LanguageServer

from stoa_compiler import __version__
from stoa_compiler.diagnostics import Diagnostic, Note, Report
from stoa_compiler.layout import NotKept, lay_out
from stoa_compiler.load import PLATFORM_FILE
from stoa_compiler.lsp.columns import to_characters, to_units
from stoa_compiler.lsp.completion import Item, complete
from stoa_compiler.lsp.cursor import Cursor, cursor_at, node_at
from stoa_compiler.lsp.hover import hover, target
from stoa_compiler.lsp.project import Analysis, Project, belongs, place_of, root_of
from stoa_compiler.lsp.references import At, inside
from stoa_compiler.source import SourceFile, Span

PAUSE_SECONDS = 0.15
"""Typing must rest for so long before the source is checked again."""

_KINDS: Mapping[str, lsp.CompletionItemKind] = {
    "key": lsp.CompletionItemKind.Property,
    "name": lsp.CompletionItemKind.Reference,
    "value": lsp.CompletionItemKind.Value,
}
_TRIGGERS = [":", " ", '"', "'", "[", ",", "-"]


class Server(LanguageServer):
    """One editor's server. It holds a project for each source that the editor has a file of."""

    def __init__(self) -> None:
        # The whole text with each change: what is where is then never a matter of how lines are counted.
        super().__init__("stoa", __version__, text_document_sync_kind=lsp.TextDocumentSyncKind.Full)
        self.projects: dict[Path, Project] = {}
        self.waiting: dict[Path, asyncio.Task[None]] = {}
        self.held: dict[Path, lsp.VersionedTextDocumentIdentifier] = {}
        """Files that are open, each as the editor names it, and the version that it last sent."""
        self.problems: dict[Path, dict[str, list[lsp.Diagnostic]]] = {}

    def place(self, uri: str) -> tuple[Project, str] | None:
        """The source that a file belongs to, and its path there; None where it belongs to none."""
        name = uris.to_fs_path(uri) if uri.startswith("file:") else None
        if name is None:
            return None
        file = Path(name)
        root = root_of(file) or next((r for r in self.projects if file.is_relative_to(r)), None)
        if root is None and file.name == PLATFORM_FILE:
            root = file.parent
        if root is None:
            return None
        path = file.relative_to(root).as_posix()
        return (self.projects.setdefault(root, Project(root)), path) if belongs(path) else None

    def check_soon(self, project: Project, pause: float = PAUSE_SECONDS) -> None:
        """Checks the source when nothing has changed for a while, and publishes what is found."""
        before = self.waiting.get(project.root)
        if before is not None:
            before.cancel()
        self.waiting[project.root] = asyncio.ensure_future(self._check(project, pause))

    async def _check(self, project: Project, pause: float) -> None:
        await asyncio.sleep(pause)
        analysis = await asyncio.to_thread(project.analyse)
        await asyncio.sleep(0)  # Here a newer change may take over.
        self._publish(project, analysis)

    async def analysis(self, project: Project) -> Analysis:
        """What is known of the source, which may lag behind what is being typed."""
        current = project.current
        return current if current is not None else await asyncio.to_thread(project.analyse)

    def _publish(self, project: Project, analysis: Analysis) -> None:
        files = {file.path: file for file in analysis.source.files.values()}
        now = {path: [self.problem(project, analysis, d) for d in found] for path, found in analysis.findings.items()}
        before = self.problems.get(project.root, {})
        for path in sorted({*now, *before}):
            if now.get(path, []) != before.get(path, []):
                uri = self.uri(project, path)
                held = self.held.get(project.root / path)
                fresh = path in files and project.unsaved.get(path) == files[path].content
                self.text_document_publish_diagnostics(
                    lsp.PublishDiagnosticsParams(uri, now.get(path, []), held.version if held and fresh else None)
                )
        self.problems[project.root] = now

    def problem(self, project: Project, analysis: Analysis, found: Diagnostic) -> lsp.Diagnostic:
        """A finding as the protocol has it."""
        file = analysis.source.files.get(found.span.file)
        elsewhere = [n for n in found.notes if n.span is not None and n.span.file in analysis.source.files]
        said = [n.message for n in found.notes if n not in elsewhere]
        return lsp.Diagnostic(
            range=self.range(file, found.span) if file else _NOWHERE,
            severity=lsp.DiagnosticSeverity.Error if found.rule.severity == "error" else lsp.DiagnosticSeverity.Warning,
            code=found.rule.code,
            source="stoa",
            message="\n".join([found.message, *said, f"help: {found.help or found.rule.help}"]),
            related_information=[self._related(project, analysis, n) for n in elsewhere] or None,
        )

    def _related(self, project: Project, analysis: Analysis, note: Note) -> lsp.DiagnosticRelatedInformation:
        assert note.span is not None
        file = analysis.source.files[note.span.file]
        place = lsp.Location(self.uri(project, file.path), self.range(file, note.span))
        return lsp.DiagnosticRelatedInformation(place, note.message)

    def range(self, file: SourceFile, span: Span) -> lsp.Range:
        """A span in the units that the client counts in."""
        return lsp.Range(
            self._position(file, span.line - 1, span.column - 1),
            self._position(file, span.end_line - 1, span.end_column - 1),
        )

    def _position(self, file: SourceFile, line: int, character: int) -> lsp.Position:
        text = file.lines[line] if 0 <= line < len(file.lines) else ""
        return lsp.Position(max(0, line), to_units(text, max(0, character), self.encoding))

    @property
    def encoding(self) -> str:
        """What the client counts columns in."""
        return str(lsp.PositionEncodingKind(self.server_capabilities.position_encoding or "utf-16").value)

    def uri(self, project: Project, path: str) -> str:
        """A file as the editor names it."""
        file = project.root / path
        held = self.held.get(file)
        return held.uri if held else file.absolute().as_uri()

    async def at(self, uri: str, position: lsp.Position) -> tuple[At, Cursor, Project] | None:
        """The document and what the cursor is at."""
        placed = self.place(uri)
        found = place_of(placed[1]) if placed else None
        if placed is None or found is None:
            return None
        project, path = placed
        analysis = await self.analysis(project)
        file = project.file(path)
        if file is None:
            return None
        kind, tenant, _ = found
        line = position.line
        column = to_characters(file.lines[line], position.character, self.encoding) if line < len(file.lines) else 0
        cursor = cursor_at("\n".join(file.lines), line, column)
        document = project.document(path)
        if document is not None and (cursor is None or (cursor.bare and cursor.text)):
            # Text over several lines, of which only the parser knows what it belongs to.
            loc, part, _ = node_at(document, line, column) or ((), "key", None)
            value = inside(document.data, *loc)
            if part == "value" and isinstance(value, str):
                cursor = Cursor(loc, "value", line, column, column, column, value)
        if cursor is None:
            return None
        known = document or analysis.documents.get(path)
        return At(analysis, path, kind, tenant, known.data if known else None), cursor, project


_NOWHERE = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))


def server() -> Server:
    """A server with every feature."""
    made = Server()

    def edited(uri: str, version: int, text: str, pause: float) -> None:
        placed = made.place(uri)
        if placed is not None:
            project, path = placed
            made.held[project.root / path] = lsp.VersionedTextDocumentIdentifier(version, uri)
            project.edit(path, text.encode("utf-8", "surrogatepass"))
            made.check_soon(project, pause)

    @made.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    async def did_open(params: lsp.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        edited(document.uri, document.version, document.text, 0)

    @made.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    async def did_change(params: lsp.DidChangeTextDocumentParams) -> None:
        document = params.text_document
        if params.content_changes:
            edited(document.uri, document.version, params.content_changes[-1].text, PAUSE_SECONDS)

    @made.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    async def did_save(params: lsp.DidSaveTextDocumentParams) -> None:
        placed = made.place(params.text_document.uri)
        if placed is not None:
            placed[0].disk_changed()
            made.check_soon(placed[0], 0)

    @made.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    async def did_close(params: lsp.DidCloseTextDocumentParams) -> None:
        placed = made.place(params.text_document.uri)
        if placed is not None:
            made.held.pop(placed[0].root / placed[1], None)
            placed[0].forget(placed[1])
            made.check_soon(placed[0], 0)

    @made.feature(lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    async def did_change_watched_files(params: lsp.DidChangeWatchedFilesParams) -> None:
        for change in params.changes:
            placed = made.place(change.uri)
            if placed is not None:
                placed[0].disk_changed()
                made.check_soon(placed[0])

    @made.feature(lsp.INITIALIZED)
    async def initialized(params: lsp.InitializedParams) -> None:
        workspace = made.client_capabilities.workspace
        watched = workspace and workspace.did_change_watched_files
        if watched and watched.dynamic_registration:
            patterns = [lsp.FileSystemWatcher(glob_pattern=f"**/*.{end}") for end in ("yaml", "yml", "json")]
            options = lsp.DidChangeWatchedFilesRegistrationOptions(patterns)
            registration = lsp.Registration("files", lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
            await made.client_register_capability_async(lsp.RegistrationParams([registration]))

    @made.feature(lsp.TEXT_DOCUMENT_HOVER)
    async def on_hover(params: lsp.HoverParams) -> lsp.Hover | None:
        found = await made.at(params.text_document.uri, params.position)
        said = hover(found[0], found[1]) if found else None
        if found is None or said is None:
            return None
        at, cursor, project = found
        file = project.file(at.path)
        assert file is not None
        span = file.span(cursor.line + 1, cursor.start + 1, cursor.end - cursor.start)
        shown = made.range(file, span) if cursor.end > cursor.start else None
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, said), shown)

    @made.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    async def on_definition(params: lsp.DefinitionParams) -> lsp.Location | None:
        found = await made.at(params.text_document.uri, params.position)
        declaration = target(found[0], found[1]) if found else None
        if found is None or declaration is None:
            return None
        uri = made.uri(found[2], declaration.file.path)
        return lsp.Location(uri, made.range(declaration.file, declaration.span))

    @made.feature(lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=_TRIGGERS))
    async def on_completion(params: lsp.CompletionParams) -> lsp.CompletionList | None:
        found = await made.at(params.text_document.uri, params.position)
        if found is None:
            return None
        at, cursor, project = found
        file = project.file(at.path)
        assert file is not None
        place = made.range(file, file.span(cursor.line + 1, cursor.start + 1, cursor.end - cursor.start))
        quote = file.lines[cursor.line][cursor.start] if cursor.quoted else ""
        items = [_item(item, order, place, quote) for order, item in enumerate(complete(at, cursor))]
        return lsp.CompletionList(is_incomplete=False, items=items)

    @made.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions([lsp.CodeActionKind.QuickFix]))
    async def on_code_action(params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
        placed = made.place(params.text_document.uri)
        analysis = placed[0].current if placed else None
        if placed is None or analysis is None:
            return []
        project, path = placed
        file = project.file(path)
        actions = []
        for found in analysis.findings.get(path, ()):
            of = analysis.source.files.get(found.span.file)
            if found.fix is None or of is None or file is None or of.content != file.content:
                continue
            problem = made.problem(project, analysis, found)
            if problem.range.start.line <= params.range.end.line and params.range.start.line <= problem.range.end.line:
                edits = [lsp.TextEdit(made.range(of, e.span), e.text) for e in found.fix.edits]
                actions.append(
                    lsp.CodeAction(
                        title=found.fix.description[:1].upper() + found.fix.description[1:],
                        kind=lsp.CodeActionKind.QuickFix,
                        diagnostics=[problem],
                        is_preferred=True,
                        edit=lsp.WorkspaceEdit(changes={params.text_document.uri: edits}),
                    )
                )
        return actions

    @made.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    async def on_formatting(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
        placed = made.place(params.text_document.uri)
        found = place_of(placed[1]) if placed else None
        file = placed[0].file(placed[1]) if placed else None
        if found is None or file is None:
            return None
        try:
            text = await asyncio.to_thread(lay_out, file, found[0], Report())
        except NotKept:
            return None
        if text is None or text.encode() == file.content:
            return None
        everything = lsp.Range(lsp.Position(0, 0), lsp.Position(len(file.lines), 0))
        return [lsp.TextEdit(everything, text)]

    return made


def _item(item: Item, order: int, place: lsp.Range, quote: str) -> lsp.CompletionItem:
    return lsp.CompletionItem(
        label=item.label,
        kind=_KINDS[item.kind],
        detail=item.detail or None,
        documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, item.words) if item.words else None,
        sort_text=f"{order:05}",
        filter_text=quote + item.label,
        text_edit=lsp.TextEdit(place, item.text),
    )


def serve() -> None:
    """Serves one editor over stdin and stdout until it says goodbye."""
    gc.enable()
    logging.basicConfig(level=logging.ERROR)
    server().start_io()
