"""The cursor: which key or value of a document it is at, whether or not the document can be parsed.

While someone types, a document is broken most of the time. So lines are read by their indentation, as a person reads
them; what cannot be understood is passed over.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc, Part, SpanTree

_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*:(?=\s|$)""")
_COLON = re.compile(r":(?=\s|$)")
_BLOCK = re.compile(r"[|>][-+0-9]*\s*(#.*)?$")
_FLOW = re.compile(
    r"""\s+|"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[\[\]{},]|:(?=[\s,\[\]{}]|$)|\#.*|(?:[^\s,\[\]{}:\#]|:(?=\S)|(?<=\S)\#)+"""
)
_COMMENT = re.compile(r"(^|\s)#")


@record
class Cursor:
    """What the cursor is at. Lines and columns count from 0, columns in characters."""

    loc: Loc
    """The key or value. The last step is empty text where a key is still to be typed."""
    part: Part
    line: int
    start: int
    """Where the word at the cursor begins; its opening quote belongs to it."""
    end: int
    column: int
    text: str = ""
    """The word, without quotes."""
    quoted: bool = False
    flow: bool = False
    """Whether it stands in brackets."""
    bare: bool = False
    """Whether it is a word without a colon in a line of its own: a key, or the value of what is above it."""
    glued: bool = False
    """Whether nothing but the colon of its key is before it, without a space."""
    keys: frozenset[str] = frozenset()
    """The other keys of the mapping that the key is in."""

    @property
    def typed(self) -> str:
        """What of the word stands before the cursor."""
        return self.text[: max(0, self.column - self.start - self.quoted)]


def cursor_at(text: str, line: int, column: int) -> Cursor | None:
    """What the cursor is at; None in a comment, and where no word can be."""
    lines = [part.rstrip("\r") for part in text.split("\n")]
    if line >= len(lines):
        return None
    column = min(column, len(lines[line]))
    whole = _Reader().read(lines)
    entry = next((e for e in reversed(whole.entries) if e.line == line and e.start <= column <= e.end), None)
    if entry is not None and not entry.bare:
        keys = whole.keys(entry.loc[:-1], entry) if entry.part == "key" else frozenset()
        return Cursor(
            entry.loc, entry.part, line, entry.start, entry.end, column, entry.text, entry.quoted, entry.flow, keys=keys
        )
    before = lines[line][: entry.start if entry else column]
    if _COMMENT.search(_quotes_masked(before)):
        return None
    above = _Reader().read([*lines[:line], before])
    word, start, end = (entry.text, entry.start, entry.end) if entry else ("", column, column)
    if above.brackets:
        loc, part = above.in_brackets()
        keys = whole.keys(loc[:-1]) if part == "key" else frozenset()
        return Cursor(loc, part, line, start, end, column, word, flow=True, keys=keys)
    if above.floor is not None and start > above.floor:
        return None
    key = next((e for e in above.entries if e.line == line and e.part == "key"), None)
    if key is not None:
        after = before[key.end :]
        glued = after.rstrip() == ":" and not after.endswith((" ", "\t"))
        return Cursor(key.loc, "value", line, start, end, column, glued=glued) if after.strip() == ":" else None
    if before.strip(" -"):
        return None
    container = above.container(start)
    return Cursor(
        (*container, word), "key", line, start, end, column, word, bool(entry and entry.quoted), bare=True,
        keys=whole.keys(container),
    )  # fmt: skip


def node_at(document: Document, line: int, column: int) -> tuple[Loc, Part, SpanTree] | None:
    """The deepest key or value of a well-formed document at a place that counts from 0."""
    place = (line + 1, column + 1)

    def search(node: SpanTree, loc: Loc) -> tuple[Loc, Part, SpanTree] | None:
        for step, child in node.children.items():
            key, value = child.key, child.value
            if key and (key.line, key.column) <= place <= (key.end_line, key.end_column):
                return (*loc, step), "key", child
            if (value.line, value.column) <= place <= (value.end_line, value.end_column):
                return search(child, (*loc, step)) or ((*loc, step), "value", child)
        return None

    return search(document.spans(), ())


@dataclass(slots=True)
class _Entry:
    """A key or a value as its line has it."""

    loc: Loc
    part: Part
    line: int
    start: int
    end: int
    text: str
    quoted: bool
    flow: bool = False
    bare: bool = False


@dataclass
class _Reader:
    """Lines read from top to bottom, and what is open after the last."""

    entries: list[_Entry] = field(default_factory=list)
    open: list[tuple[int, str | int]] = field(default_factory=list)
    """Keys and items that what follows may belong to, each with its column."""
    floor: int | None = None
    """Text over several lines goes on while lines begin behind this column."""
    brackets: list[str | int | None] = field(default_factory=list)
    """For each open bracket: the index in a list; the key in a mapping, None before there is one."""
    waiting: bool = False
    """Whether the value of a key in brackets is to come."""

    def read(self, lines: Iterable[str]) -> "_Reader":
        """Reads the lines."""
        for number, line in enumerate(lines):
            self._line(number, line)
        return self

    def keys(self, mapping: Loc, but: _Entry | None = None) -> frozenset[str]:
        """The keys of one mapping."""
        return frozenset(e.text for e in self.entries if e.part == "key" and e.loc[:-1] == mapping and e is not but)

    def container(self, column: int) -> Loc:
        """What a key at this column would belong to."""
        return tuple(step for at, step in self.open if at < column)

    def in_brackets(self) -> tuple[Loc, Part]:
        """The item, key or value that would come next; an empty step where it is a key."""
        steps = (*self._loc(), *(step for step in self.brackets if step is not None))
        if self.brackets[-1] is None or (isinstance(self.brackets[-1], str) and not self.waiting):
            return (*(steps if self.brackets[-1] is None else steps[:-1]), ""), "key"
        return steps, "value"

    def _loc(self) -> Loc:
        return tuple(step for _, step in self.open)

    def _line(self, number: int, line: str) -> None:
        content, column = line.strip(), len(line) - len(line.lstrip())
        if self.brackets:
            if not content:
                return
            if column > (self.floor or 0) or content[0] in "]}":
                self._flow(number, line, 0)
                return
            self.brackets, self.floor = [], None  # Never closed: what follows is not in it.
        if self.floor is not None:
            if not content or column > self.floor:
                return
            self.floor = None
        if not content or content.startswith("#") or content in ("---", "..."):
            return
        at = self._dashes(line, column)
        if at >= len(line) or line[at] == "#":
            return
        written, value = _key(line, at)
        if written:
            while self.open and self.open[-1][0] >= at:
                self.open.pop()
            self.open.append((at, _unquoted(written)))
            self.entries.append(
                _Entry(self._loc(), "key", number, at, at + len(written), _unquoted(written), written[0] in "\"'")
            )
            at = value
        if at < len(line) and line[at] != "#":
            self._value(number, line, at, bare=not written)

    def _dashes(self, line: str, column: int) -> int:
        """Opens an item for each dash at a line's beginning; where what is left begins."""
        at = column
        while line[at:] == "-" or line.startswith("- ", at):
            while self.open and self.open[-1][0] > at:
                self.open.pop()
            if self.open and self.open[-1][0] == at and isinstance(self.open[-1][1], int):
                self.open[-1] = (at, self.open[-1][1] + 1)
            else:
                self.open.append((at, 0))
            at = len(line) - len(line[at + 1 :].lstrip())
        return at

    def _value(self, number: int, line: str, at: int, bare: bool) -> None:
        below = self.open[-1][0] if self.open else -1
        rest = line[at:]
        if _BLOCK.match(rest):
            self.floor = below
        elif rest[0] in "[{":
            self.floor = below
            self._flow(number, line, at)
        else:
            comment = _COMMENT.search(rest)
            text = rest[: comment.start()].rstrip() if comment else rest.rstrip()
            quoted = text[0] in "\"'"
            self.entries.append(
                _Entry(self._loc(), "value", number, at, at + len(text), _unquoted(text), quoted, bare=bare)
            )

    def _flow(self, number: int, line: str, begin: int) -> None:
        """Notes keys and values in brackets, from `begin` to the line's end."""
        for token in _FLOW.finditer(line, begin):
            text = token[0]
            if text.isspace() or text.startswith("#"):
                continue
            if text in ("[", "{"):
                self.brackets.append(0 if text == "[" else None)
                self.waiting = False
            elif text in ("]", "}"):
                self.brackets.pop()
                self.waiting = False
                if not self.brackets:
                    self.floor = None
                    return
            elif text == ",":
                top = self.brackets[-1]
                self.brackets[-1] = top + 1 if isinstance(top, int) else None
                self.waiting = False
            elif text == ":":
                self.waiting = True
            else:
                part: Part = "value" if isinstance(self.brackets[-1], int) or self.waiting else "key"
                if part == "key":
                    self.brackets[-1] = _unquoted(text)
                loc = (*self._loc(), *(step for step in self.brackets if step is not None))
                quoted = text[0] in "\"'"
                self.entries.append(
                    _Entry(loc, part, number, token.start(), token.end(), _unquoted(text), quoted, flow=True)
                )


def _key(line: str, at: int) -> tuple[str, int]:
    """The key that stands at `at`, as it is written, and where its value begins; empty where there is none."""
    if line[at] in "\"'":
        quoted = _QUOTED.match(line, at)
        written, end = (quoted[1], quoted.end()) if quoted else ("", at)
    else:
        colon = _COLON.search(line, at)
        written, end = (line[at : colon.start()].rstrip(), colon.end()) if colon else ("", at)
        if written[:1] in tuple("[]{},&*!|>%@`") or _COMMENT.search(written):
            written = ""
    return written, end + len(line[end:]) - len(line[end:].lstrip())


def _unquoted(text: str) -> str:
    quote = text[:1]
    if quote not in ("'", '"'):
        return text
    inner = text[1:-1] if len(text) > 1 and text.endswith(quote) else text[1:]
    return inner.replace("''", "'") if quote == "'" else inner.replace('\\"', '"').replace("\\\\", "\\")


def _quotes_masked(text: str) -> str:
    return re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', lambda found: "x" * len(found[0]), text)
