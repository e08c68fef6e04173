"""Sending: nodes of a graph from one process to another, or into the cache, without the documents they came from.

A document is sent as its path alone, and is there again where its file is at hand: its values and spans are read
when they are asked for, which is hardly ever. Only the classes of nodes, findings and artifacts are read back, each by
the name that it was declared under: what was kept or handed over can hold no code, and reach none.

A model is sent as its values and the names of those that were set: all models with the same names share them when they
are received.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib import import_module
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

from stoa_compiler.diagnostics import Report
from stoa_compiler.parse import spans_of, understand
from stoa_compiler.source import Document, SourceFile, UnreadFile
from stoa_compiler.target import Artifact, Stored

_SENT: Mapping[str, frozenset[str] | None] = {
    "stoa_compiler.diagnostics": frozenset({"Diagnostic", "Edit", "Fix", "Note", "Rule"}),
    "stoa_compiler.graph": None,
    "stoa_compiler.shares": frozenset({"One", "Share"}),
    "stoa_compiler.source": frozenset({"Span"}),
    "stoa_compiler.target": frozenset({"Part"}),
}
"""Modules whose classes are sent, and which: None, all that are declared there. Models are sent besides."""
_MODELS = ("stoa_schemas.base", "stoa_schemas.bundle", "stoa_schemas.calls", "stoa_schemas.documents.")


def send(value: Any, contents: bool = True) -> bytes:
    """The bytes of `value`, which may hold nodes, artifacts and diagnostics; of artifacts without their contents
    only what these are called by, for whoever has kept them."""
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=5)
    pickler.dispatch_table = _REDUCERS if contents else _KEEPING
    pickler.dump(value)
    return stream.getvalue()


def receive(sent: bytes, file: Callable[[str], SourceFile], content: Callable[[str], bytes] | None = None) -> Any:
    """The value that was sent; `file` gives a source's file by its path, `content` an artifact's bytes by their digest.

    Raises `pickle.UnpicklingError`.
    """
    return _Reader(io.BytesIO(sent), file, content).load()


def _document(document: Document) -> tuple[Any, ...]:
    return _at, (document.file.path, True)


def _file(file: SourceFile) -> tuple[Any, ...]:
    return _at, (file.path, False)


def _artifact(artifact: Artifact) -> tuple[Any, ...]:
    return _rendered, (artifact.path, artifact.media_type, artifact.content, artifact.digest)


def _called(artifact: Artifact) -> tuple[Any, ...]:
    return _stored, (artifact.path, artifact.media_type, artifact.digest, artifact.size)


def _rendered(path: str, media_type: str, content: bytes, digest: str) -> Artifact:
    """The artifact as it was."""
    return Artifact.known(path, media_type, content, digest)


def _stored(path: str, media_type: str, digest: str, size: int) -> Artifact:
    """Stands in what was sent for an artifact whose content was kept; the reader puts its own function here."""
    raise AssertionError((path, media_type, digest, size))


def _model(model: BaseModel) -> tuple[Any, ...]:
    names = frozenset(model.__pydantic_fields_set__)
    return _made, (type(model), model.__dict__, _SENT_NAMES.setdefault(names, names))


_SENT_NAMES: dict[frozenset[str], frozenset[str]] = {}
_NAMES: dict[frozenset[str], set[str]] = {}
"""The same names are one object for all who have them; nobody changes those of a frozen model."""


def _at(path: str, document: bool) -> Any:
    """Stands in what was sent for a document or its file; the reader puts its own function here."""
    raise AssertionError((path, document))


def _made(model: type[BaseModel], values: dict[str, Any], names: frozenset[str]) -> BaseModel:
    """The model as it was; it was judged where it was sent. Written out: it is done for many."""
    if not isinstance(model, type) or BaseModel not in model.__mro__ or type(values) is not dict:
        raise pickle.UnpicklingError("this is no model")
    made = object.__new__(model)
    _put(made, "__dict__", values)
    _put(made, "__pydantic_fields_set__", _NAMES.get(names) or _NAMES.setdefault(names, set(names)))
    _put(made, "__pydantic_extra__", None)
    _put(made, "__pydantic_private__", None)
    return made


_put = object.__setattr__


class _Reducers(dict[type, Callable[[Any], tuple[Any, ...]]]):
    """How each class is sent that is not sent as Python does it."""

    def __missing__(self, kind: type) -> Callable[[Any], tuple[Any, ...]]:
        if issubclass(kind, BaseModel):
            self[kind] = _model
        elif is_dataclass(kind) and len(fields(kind)) > 1:
            values = attrgetter(*(f.name for f in fields(kind)))
            self[kind] = lambda node: (kind, values(node))
        else:
            raise KeyError(kind)
        return self[kind]


class _Reader(pickle.Unpickler):
    def __init__(
        self, stream: io.BytesIO, file: Callable[[str], SourceFile], content: Callable[[str], bytes] | None
    ) -> None:
        super().__init__(stream)
        self._file = file
        self._content = content
        self._documents: dict[str, Document] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Values without a life of their own; not what their modules import, by whatever path."""
        if (module, name) == (__name__, _at.__name__):
            return self._read
        if (module, name) == (__name__, _stored.__name__) and self._content is not None:
            return partial(Stored, read=self._content)
        if module == __name__ and name in _MAKING:
            return _MAKING[name]
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        return _declared(module, name)

    def _read(self, path: str, document: bool) -> Document | SourceFile:
        if not document:
            return self._file(path)
        if path not in self._documents:
            file = self._file(path)
            self._documents[path] = _Resent.of(file)
        return self._documents[path]


@cache
def _declared(module: str, name: str) -> type:
    """The class, where it is one of those that are sent."""
    names = _SENT.get(module, frozenset[str]())
    if (module.startswith(_MODELS) or names is None or name in names) and "." not in name:
        found = vars(import_module(module)).get(name)
        if isinstance(found, type) and found.__module__ == module:
            return found
    raise pickle.UnpicklingError(f"`{module}.{name}` is nothing that is sent")


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

_OF_FILES: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    Document: _document,
    _Resent: _document,
    SourceFile: _file,
    UnreadFile: _file,
}
_REDUCERS = _Reducers({**_OF_FILES, Artifact: _artifact, Stored: _artifact})
_KEEPING = _Reducers({**_OF_FILES, Artifact: _called, Stored: _called})
_MAKING: Mapping[str, Callable[..., Any]] = {"_made": _made, "_rendered": _rendered}
