"""Sending: nodes of a graph from one process to another, or into the cache, without the documents they came from.

A document is sent as its path alone, and is there again where its file is at hand: its values and spans are read
when they are asked for, which is hardly ever. Only the classes of nodes, findings and artifacts are read back, each by
the name that it was declared under: what was kept or handed over can hold no code, and reach none.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from stoa_compiler.diagnostics import Report
from stoa_compiler.parse import spans_of, understand
from stoa_compiler.source import Document, SourceFile, UnreadFile

_SENT: Mapping[str, frozenset[str] | None] = {
    "stoa_compiler.diagnostics": frozenset({"Diagnostic", "Edit", "Fix", "Note", "Rule"}),
    "stoa_compiler.graph": None,
    "stoa_compiler.shares": frozenset({"Share"}),
    "stoa_compiler.source": frozenset({"Span"}),
    "stoa_compiler.target": frozenset({"Artifact"}),
}
"""Modules whose classes are sent, and which: None, all that are declared there. Models are sent besides."""
_MODELS = ("stoa_schemas.base", "stoa_schemas.bundle", "stoa_schemas.calls", "stoa_schemas.documents.")


def send(value: Any) -> bytes:
    """The bytes of `value`, which may hold nodes, artifacts and diagnostics."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=5)
    pickler.dispatch_table = {Document: _document, _Resent: _document, SourceFile: _file, UnreadFile: _file}
    pickler.dump(value)
    return stream.getvalue()


def receive(sent: bytes, file: Callable[[str], SourceFile]) -> Any:
    """The value that was sent; `file` gives a source's file by its path. Raises `pickle.UnpicklingError`."""
    return _Reader(io.BytesIO(sent), file).load()


def _document(document: Document) -> tuple[Any, ...]:
    return _at, (document.file.path, True)


def _file(file: SourceFile) -> tuple[Any, ...]:
    return _at, (file.path, False)


def _at(path: str, document: bool) -> Any:
    """Stands in what was sent for a document or its file; the reader puts its own function here."""
    raise AssertionError((path, document))


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, file: Callable[[str], SourceFile]) -> None:
        super().__init__(stream)
        self._file = file
        self._documents: dict[str, Document] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Values without a life of their own; not what their modules import, by whatever path."""
        if (module, name) == (__name__, _at.__name__):
            return self._read
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        names = _SENT.get(module, frozenset[str]())
        if (module.startswith(_MODELS) or names is None or name in names) and "." not in name:
            found = vars(import_module(module)).get(name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"`{module}.{name}` is nothing that is sent")

    def _read(self, path: str, document: bool) -> Document | SourceFile:
        if not document:
            return self._file(path)
        if path not in self._documents:
            file = self._file(path)
            self._documents[path] = _Resent.of(file)
        return self._documents[path]


class _Resent(Document):
    """A document that is read again when its values are asked for."""

    @classmethod
    def of(cls, file: SourceFile) -> "_Resent":
        made = object.__new__(cls)
        for name, value in (("file", file), ("spans", spans_of(file)), ("doubts", None)):
            object.__setattr__(made, name, value)
        return made

    def __getattr__(self, name: str) -> Any:
        if name != "data":
            raise AttributeError(name)
        document = understand(self.file, Report())
        object.__setattr__(self, "data", None if document is None else document.data)
        return self.data


_PLAIN: Mapping[tuple[str, str], type] = {("builtins", "set"): set, ("builtins", "frozenset"): frozenset}
