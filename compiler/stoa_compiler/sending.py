"""Sending: nodes of a graph from one process to another, or into the cache, without the documents they came from.

A document is sent as its path alone, and is there again where its file is at hand: its values and spans are read
when they are asked for, which is hardly ever. Only our own kinds of values are read back, so that what was kept can
hold no code.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from stoa_compiler.diagnostics import Report
from stoa_compiler.parse import spans_of, understand
from stoa_compiler.source import Document, SourceFile

_OURS = ("stoa_compiler.", "stoa_schemas.")


def send(value: Any) -> bytes:
    """The bytes of `value`, which may hold nodes, artifacts and diagnostics."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=5)
    pickler.dispatch_table = {Document: _document, SourceFile: _file}
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
        """Our own classes only: no function of anybody's is called."""
        if (module, name) == (__name__, _at.__name__):
            return self._read
        found = super().find_class(module, name) if module.startswith(_OURS) else _PLAIN.get((module, name))
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"`{module}.{name}` is nothing that is sent")
        return found

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
