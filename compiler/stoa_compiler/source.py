"""Files, spans, and documents: what an author wrote, and where."""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any, Literal

import orjson

from stoa_compiler.records import record

Loc = tuple[str | int, ...]
"""A path of keys and indexes from a document's root."""


@record(order=True)
class Span:
    """A stretch of a file. Lines and columns count from 1, columns in characters; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@record(slots=False)
class SourceFile:
    """One file of the source, by its path from the source's folder."""

    path: str
    """POSIX path below the source's folder: `ioi/contracts/billing.yaml`."""
    shown: str
    """The path as diagnostics show it: from where the author stands."""
    content: bytes

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines, for showing; bytes that are not UTF-8 become U+FFFD."""
        return self.content.decode("utf-8", "replace").split("\n")

    @cached_property
    def digest(self) -> str:
        """Of the content: sha256, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    def span(self, line: int = 1, column: int = 1, length: int = 0) -> Span:
        """A span on one line."""
        return Span(self.shown, line, column, line, column + length)


class UnreadFile(SourceFile):
    """A file whose bytes are read when somebody asks for them: nobody does while its meaning is known."""

    @classmethod
    def of(cls, path: str, shown: str, full: str) -> "UnreadFile":
        """The file that lies at `full`; raises `OSError` when it is asked for and cannot be read."""
        made = object.__new__(cls)
        for name, value in (("path", path), ("shown", shown), ("_full", full)):
            object.__setattr__(made, name, value)
        return made

    def __getattr__(self, name: str) -> Any:
        if name != "content":
            raise AttributeError(name)
        with open(self.__dict__["_full"], "rb") as stream:  # noqa: PTH123
            object.__setattr__(self, "content", stream.read())
        return self.content


Part = Literal["key", "value"]


@record(slots=False)
class SpanTree:
    """Spans of one node: of its key, of its value, and of what lies below."""

    key: Span | None
    value: Span
    children: Mapping[str | int, "SpanTree"]


@record(slots=False)
class Doubts:
    """Where a document with mistakes of YAML does not tell what is meant: nothing more is said of these places."""

    values: frozenset[Loc]
    """Values that are not clear: of a key that stands twice, of an alias, behind a tag."""
    mappings: frozenset[Loc]
    """Mappings that have an entry whose key is not clear: it may be any key that is not there."""

    def hide(self, loc: Loc) -> bool:
        """Whether `loc` lies at or below a value that is not clear."""
        return any(loc[:length] in self.values for length in range(1, len(loc) + 1))

    def touch(self, loc: Loc) -> bool:
        """Whether anything at, above or below `loc` is not clear."""
        return self.hide(loc) or any(d[: len(loc)] == loc for d in (*self.values, *self.mappings))


@record(slots=False)
class Document:
    """A parsed file: plain values, and a span for every key and value."""

    file: SourceFile
    data: Any
    """Mappings, sequences, strings, numbers, booleans, null."""
    spans: Callable[[], SpanTree]
    """The tree of spans, made when it is first asked for: a document without mistakes never needs it."""
    doubts: Doubts | None = None
    """None where the YAML is without mistakes; with any, the document is looked at and never compiled."""

    def may_hold(self, *marks: str) -> bool:
        """Whether a walk through all values can find one of `marks`, which have no quote, backslash or control
        character: they are looked for in the document's JSON, which is much faster."""
        text = self._json
        if text is None:
            return True  # What JSON cannot say is looked at value by value.
        return _finder(marks)(text)

    @cached_property
    def _json(self) -> str | None:
        try:
            return orjson.dumps(self.data).decode()
        except TypeError:
            return None

    def find(self, loc: Loc, words: str, after: str = "") -> Span:
        """The span of `words` where they first follow `after` in the text at `loc`; else the whole text's."""
        whole = self.span(loc)
        for line in range(whole.line, whole.end_line + 1):
            first = whole.column - 1 if line == whole.line else 0
            last = whole.end_column - 1 if line == whole.end_line else None
            at = self.file.lines[line - 1][:last].find(after + words, first)
            if at >= 0:
                return self.file.span(line, at + len(after) + 1, len(words))
        return whole

    def span(self, loc: Loc = (), part: Part = "value") -> Span:
        """The span of the deepest part of `loc` that exists in the file."""
        node = self.spans()
        reached = True
        for step in loc:
            child = node.children.get(step)
            if child is None:
                reached = False
                break
            node = child
        if node.key is not None and (part == "key" or not reached):
            return node.key
        return node.value


@cache
def _finder(words: tuple[str, ...]) -> Callable[[str], bool]:
    """Tells whether a text holds one of the words.

    The library's engine looks for all of them at once, which takes a fiftieth of the time of one after the other.
    """
    import jsonschema_rs

    linear = jsonschema_rs.RegexOptions()
    pattern = "|".join(re.sub(r"([^A-Za-z0-9_ ])", r"\\\1", word) for word in words)
    return jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=linear).is_valid
