"""Layout: the one canonical form of a document, with its comments where they stood.

Only the order of keys that a model declares, white space and quotes change. The text is laid out from the parser's
events, not from a tree that another library keeps comments in: a comment belongs to the entry that it stands above
or behind, and moves with it.
"""

import re
import types
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
import yaml
from pydantic import BaseModel
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.events import DocumentStartEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent

from stoa_compiler.diagnostics import Report
from stoa_compiler.parse import parse_file
from stoa_compiler.records import record
from stoa_compiler.source import Document, SourceFile
from stoa_schemas.base import camel_case
from stoa_schemas.documents import KINDS

WIDTH = 120
"""Columns that a list or mapping in brackets may reach, and that text over several lines is filled to."""


class NotKept(Exception):
    """The layout would change what a document says. Nothing may be written then."""


def lay_out(file: SourceFile, kind: str, report: Report) -> str | None:
    """The document in canonical form; None, with at least one finding, where it is not well formed.

    What it says is read back and compared, comments too: `NotKept` is raised where the two differ.
    """
    document = parse_file(file, report)
    if document is None:
        return None
    before = file.content.decode().replace("\r\n", "\n")
    reader = _Reader(before).read()
    after = _laid_out(reader, document, kind)
    again = parse_file(SourceFile(file.path, file.shown, after.encode()), Report())
    if again is None or _said(again) != _said(document) or _remarks(reader) != _remarks(_Reader(after).read()):
        raise NotKept(f"the layout of `{file.shown}` would change what it says")
    return after


def _said(document: Document) -> bytes:
    return orjson.dumps(document.data, option=orjson.OPT_SORT_KEYS)


def _remarks(reader: "_Reader") -> Counter[str]:
    return Counter(c.text for c in reader.comments)


# Reading: values with what stands between them.


@dataclass(slots=True)
class _Comment:
    """A comment, and where it stood."""

    index: int
    line: int
    column: int
    text: str


@dataclass(slots=True, eq=False)
class _Value:
    """A scalar, mapping or list as it was written."""

    form: Literal["scalar", "mapping", "list"]
    start: int
    end: int
    column: int
    holder: "_Entry | None"
    """The entry whose value it is; None for the root and for keys."""
    flow: bool = False
    style: str = ""
    """`'`, `"`, `|`, `>`; empty for a plain scalar."""
    text: str = ""
    """A scalar's value, before it is taken for a number or a truth value."""
    raw: str = ""
    entries: "list[_Entry]" = field(default_factory=list)
    foot: list[_Comment] = field(default_factory=list)
    """Comments below the last entry."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A key with its value, or an item of a list."""

    owner: _Value
    start: int
    line: int
    key: _Value | None = None
    value: _Value | None = None
    head: list[_Comment] = field(default_factory=list)
    """Comments above it."""
    tail: str = ""
    """The comment behind it."""


_REMARK = re.compile("#[^\n]*")
_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*[ \t]*(#[^\n]*)?")


@dataclass
class _Reader:
    """Reads a well-formed document's events, and gives each comment its place."""

    text: str
    parser: Any = None
    cursor: int = 0
    """Up to where the text is accounted for."""
    comments: list[_Comment] = field(default_factory=list)
    entries: list[_Entry] = field(default_factory=list)
    """All entries in the order of their begin, outer before inner."""
    ends: list[tuple[int, int, _Entry]] = field(default_factory=list)
    """Where keys and values end: index, line, entry."""
    root: _Value | None = None
    lines: list[str] = field(default_factory=list)
    last_of_blocks: set[int] = field(default_factory=set)
    """Lines where a text in block style ends. They may look blank."""
    starts: list[int] = field(default_factory=list)
    """Index of each line's first character."""

    def read(self) -> "_Reader":
        """Itself, when all is read."""
        self.lines = self.text.split("\n")
        position = 0
        for line in self.lines:
            self.starts.append(position)
            position += len(line) + 1
        self.parser = CParser(self.text)
        try:
            while (event := self.parser.get_event()) is not None:
                if isinstance(event, DocumentStartEvent):
                    self._pass(_index(event.end_mark))
                elif isinstance(event, (ScalarEvent, MappingStartEvent, SequenceStartEvent)):
                    self.root = self._value(event, None)
        finally:
            self.parser.dispose()
        self._pass(len(self.text))
        self._place_comments()
        return self

    def line_of(self, index: int) -> int:
        """The line, from 0, that holds the character at `index`."""
        return bisect_right(self.starts, index) - 1

    def is_blank(self, line: int) -> bool:
        """Whether `line` exists and holds nothing."""
        return 0 <= line < len(self.lines) and not self.lines[line].strip() and line not in self.last_of_blocks

    def _pass(self, to: int) -> None:
        """Accounts for the text up to `to`, where nothing but signs, white space and comments stands."""
        for found in _REMARK.finditer(self.text, self.cursor, max(self.cursor, to)):
            self._note(found.start(), found[0])
        self.cursor = max(self.cursor, to)

    def _note(self, index: int, text: str) -> None:
        line = self.line_of(index)
        self.comments.append(_Comment(index, line, index - self.starts[line], text.rstrip()))

    def _pass_dash(self) -> int:
        """The index of the next list item's dash."""
        at = self.cursor
        while self.text[at] != "-":
            at = self.text.index("\n", at) if self.text[at] == "#" else at + 1
        self._pass(at)
        self.cursor = at + 1
        return at

    def _value(self, event: Any, holder: _Entry | None) -> _Value:
        start, end = event.start_mark.index, event.end_mark.index
        self._pass(start)
        column = event.start_mark.column
        if isinstance(event, ScalarEvent):
            raw = self.text[start:end]
            value = _Value("scalar", start, end, column, holder, style=event.style or "", text=event.value, raw=raw)
            self.cursor = max(self.cursor, end)
            if value.style in ("|", ">"):
                if value.text.strip():
                    self.last_of_blocks.add(self.line_of(start) + len(_block_lines(value)))
                header = _BLOCK_HEADER.match(raw)
                if header and header[1]:
                    self._note(start + header.start(1), header[1])
        else:
            form: Literal["mapping", "list"] = "mapping" if isinstance(event, MappingStartEvent) else "list"
            value = _Value(form, start, end, column, holder, flow=bool(event.flow_style))
            if value.flow:
                self.cursor = max(self.cursor, end)
            self._read_entries(value)
        if holder is not None:
            # A block scalar's end lies behind its last line feed; what stands there is not behind it.
            last = value.start if value.style in ("|", ">") else value.end
            if value.form == "scalar" or value.flow:
                self.ends.append((last, self.line_of(last), holder))
        return value

    def _read_entries(self, owner: _Value) -> None:
        while True:
            if owner.form == "list" and not owner.flow:
                ahead = self.parser.peek_event()
                if isinstance(ahead, yaml.SequenceEndEvent):
                    self.parser.get_event()
                    break
                start = self._pass_dash()
                event = self.parser.get_event()
            else:
                event = self.parser.get_event()
                if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                    if owner.flow:
                        owner.end = _index(event.end_mark)
                        self._pass(owner.end)
                    break
                start = _index(event.start_mark)
            entry = _Entry(owner, start, self.line_of(start))
            owner.entries.append(entry)
            self.entries.append(entry)
            if owner.form == "mapping":
                entry.key = self._value(event, None)
                self.ends.append((entry.key.end, self.line_of(entry.key.end), entry))
                event = self.parser.get_event()
            entry.value = self._value(event, entry)
        if not owner.flow:
            owner.end = self.cursor

    def _place_comments(self) -> None:
        starts = [e.start for e in self.entries]
        self.ends.sort(key=lambda e: e[0])
        ends = [e[0] for e in self.ends]
        above: _Entry | None = None
        """The entry that the comment before belongs above."""
        for comment in self.comments:
            own_line = not self.lines[comment.line][: comment.column].strip()
            behind = bisect_right(ends, comment.index)
            if not own_line and behind and self.ends[behind - 1][1] == comment.line:
                entry = self.ends[behind - 1][2]
                if not entry.tail:
                    entry.tail = comment.text
                    continue
            at = bisect_right(starts, comment.index)
            before = self.entries[at - 1] if at else None
            after = self.entries[at] if at < len(self.entries) else None
            foot = None if after is not None and above is after else self._foot(comment, before, after)
            value = before.value if before else None
            if before and value and value.start > comment.index and (value.form == "scalar" or value.flow):
                before.head.append(comment)
            elif foot is not None and foot.entries:
                foot.foot.append(comment)
            elif foot is not None and foot.holder is not None:
                foot.holder.head.append(comment)
            elif after is not None:
                after.head.append(comment)
                above = after
            elif self.root is not None:
                self.root.foot.append(comment)

    def _foot(self, comment: _Comment, before: _Entry | None, after: _Entry | None) -> _Value | None:
        """The collection below whose last entry the comment stands; None where it stands above `after`."""
        ended = list(_around(before))
        if before and before.value and before.value.flow:
            ended.insert(0, before.value)
        around_next = set(map(id, _around(after)))
        for value in ended:
            if value.flow and value.start < comment.index < value.end:
                return None if id(value) in around_next else value
        column = -1 if after is None else after.owner.column
        if comment.column <= column:
            return None
        for value in ended:
            if not value.flow and id(value) not in around_next and value.column <= comment.column:
                return value
        return None


def _index(mark: Any) -> int:
    """How many characters of the text stand before `mark`."""
    index: int = mark.index
    return index


def _around(entry: _Entry | None) -> Iterator[_Value]:
    """The collections that hold `entry`, the innermost first."""
    while entry is not None:
        yield entry.owner
        entry = entry.owner.holder


# Writing.


def _laid_out(reader: _Reader, document: Document, kind: str) -> str:
    root = reader.root
    if root is None or not root.entries:
        return reader.text.rstrip("\n") + "\n"
    writer = _Writer(reader)
    opening = writer.remarks(root.entries[0].head, root.entries[0].line)
    own = len(opening) - opening[::-1].index("") if "" in opening else len(opening)
    first = root.entries[0]
    first.head = first.head[len([c for c in opening[:own] if c]) :]
    head, lines = writer.collection(root, document.data, KINDS.get(kind), 0)
    return "\n".join([*opening[:own], *head, *lines]) + "\n"


@record(slots=False)
class _Writer:
    """Lines of values. A line of an entry is indented by what holds the entry."""

    reader: _Reader

    def collection(self, value: _Value, data: Any, shape: Any, column: int) -> tuple[list[str], list[str]]:
        """What stands above the first entry, and the lines from there on."""
        above: list[str] = []
        lines: list[str] = []
        for entry, inside, below in _ordered(value, data, shape):
            head, body = self._entry(entry, inside, below, column)
            if not lines:
                above = head
            else:
                first = min([entry.line, *(c.line for c in entry.head)])
                # Behind a text that keeps its last blank lines another would be one more of them.
                if lines[-1] and self.reader.is_blank(first - 1):
                    lines.append("")
                lines += head
            lines += body
        if value.foot:
            if lines[-1] and self.reader.is_blank(value.foot[0].line - 1):
                lines.append("")
            lines += self.remarks(value.foot)
        return above, lines

    def remarks(self, comments: list[_Comment], line: int | None = None) -> list[str]:
        """The comments, with a blank line where there was one, also before what follows in `line`."""
        found: list[str] = []
        for comment in comments:
            if found and self.reader.is_blank(comment.line - 1):
                found.append("")
            found.append(comment.text)
        if found and line is not None and line > comments[-1].line and self.reader.is_blank(line - 1):
            found.append("")
        return found

    def _entry(self, entry: _Entry, data: Any, shape: Any, column: int) -> tuple[list[str], list[str]]:
        value = entry.value
        assert value is not None
        head = self.remarks(entry.head, entry.line)
        tail = f"  {entry.tail}" if entry.tail else ""
        lead = "-" if entry.key is None else f"{_key(entry.key, flow=False)}:"
        if value.form == "scalar":
            first, *rest = _scalar(value, data, column + len(lead) + 1, column)
            if not first and entry.key is None:
                first = "null"
            return head, [f"{lead} {first}".rstrip() + tail, *_indented(rest)]
        in_brackets = self._in_brackets(value, data, shape)
        if (in_brackets is not None and column + len(lead) + 1 + len(in_brackets) <= WIDTH) or not value.entries:
            return head, [f"{lead} {in_brackets}{tail}"]
        above, lines = self.collection(value, data, shape, column + 2)
        if entry.key is not None:
            return head, [lead + tail, *_indented([*above, *lines])]
        behind = [entry.tail] if entry.tail else []
        return [*head, *behind, *above], [f"- {lines[0]}", *_indented(lines[1:])]

    def _in_brackets(self, value: _Value, data: Any, shape: Any) -> str | None:
        """The collection in one line; None where the author wrote a block, or it holds more than scalars."""
        if not value.entries:
            return "{}" if value.form == "mapping" else "[]"
        if not value.flow or value.foot:
            return None
        parts = []
        for entry, inside, _ in _ordered(value, data, shape):
            assert entry.value is not None
            if entry.head or entry.tail or (entry.value.form != "scalar" and entry.value.entries):
                return None
            text = (
                _one_line(entry.value, inside, flow=True) or "null"
                if entry.value.form == "scalar"
                else self._in_brackets(entry.value, inside, None)
            )
            parts.append(text if entry.key is None else f"{_key(entry.key, flow=True)}: {text}")
        joined = ", ".join(str(p) for p in parts)
        return f"{{{joined}}}" if value.form == "mapping" else f"[{joined}]"


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]


# Order: that of the model's fields, where there is a model.


def _ordered(value: _Value, data: Any, shape: Any) -> list[tuple[_Entry, Any, Any]]:
    """The entries in canonical order, each with its data and the shape that it should have."""
    shape = _plain_shape(shape, data)
    if value.form == "list":
        inner = get_args(shape)[0] if get_origin(shape) is list else None
        return [(e, data[i], inner) for i, e in enumerate(value.entries)]
    named = [(e, e.key.text) for e in value.entries if e.key is not None]
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        fields = {f.alias or camel_case(n): f.annotation for n, f in shape.model_fields.items()}
        rank = {name: place for place, name in enumerate(fields)}
        named.sort(key=lambda pair: rank.get(pair[1], len(rank)))
        return [(e, data[name], fields.get(name)) for e, name in named]
    inner = get_args(shape)[1] if get_origin(shape) is dict else None
    return [(e, data[name], inner) for e, name in named]


def _plain_shape(shape: Any, data: Any) -> Any:
    """The model, list or dict that `shape` stands for; of a union, the model whose `type` is that of `data`."""
    while get_origin(shape) is Annotated:
        shape = get_args(shape)[0]
    if get_origin(shape) not in (Union, types.UnionType):
        return shape
    branches = [_plain_shape(b, data) for b in get_args(shape) if b is not type(None)]
    if len(branches) == 1:
        return branches[0]
    models = [b for b in branches if isinstance(b, type) and issubclass(b, BaseModel)]
    chosen = data.get("type") if isinstance(data, dict) else None
    return next((m for m in models if "type" in m.model_fields and chosen in _choices(m)), None)


def _choices(model: type[BaseModel]) -> tuple[Any, ...]:
    return get_args(model.model_fields["type"].annotation)


# Scalars.

_QUANTITY = re.compile(r"[0-9]+/?[a-z]*[g-wyz][a-z]*")
"""`500ms`, `60/minute`: digits that no reader takes for a number."""
_OTHER_NUMBER = re.compile(r"[-+]?0[0-9]+|0o[0-7]+")
"""Whole numbers that YAML 1.1 reads with another base, or as text."""
_NOT_IN_BRACKETS = frozenset(",[]{}?:")


def _is_bare(text: str, flow: bool) -> bool:
    """Whether `text` needs no quotes, in any reader's eyes: not those of a parser alone."""
    if not text or not (text[0].isalpha() or text[0] in "_/" or _QUANTITY.fullmatch(text)):
        return False
    if text[-1] in " :" or ": " in text or " #" in text or "*" in text or "\n" in text or "\t" in text:
        return False
    return not (flow and _NOT_IN_BRACKETS.intersection(text)) and not _is_read_otherwise(text)


def _is_read_otherwise(text: str) -> bool:
    """Whether a reader of YAML 1.1 takes the bare `text` for something else than a string."""
    known = yaml.SafeLoader.yaml_implicit_resolvers
    resolvers = [*known.get(text[:1], []), *known.get(None, [])]
    return text in ("y", "n", "Y", "N") or any(form.match(text) for _, form in resolvers)


def _quoted(text: str) -> str:
    """`text` in quotes, in one line: double ones, or single ones where that saves escapes."""
    if "\n" not in text and "\t" not in text and ("\\" in text or '"' in text):
        return "'" + text.replace("'", "''") + "'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _key(key: _Value, flow: bool) -> str:
    return _one_line(key, key.text, flow)


def _one_line(value: _Value, data: Any, flow: bool) -> str:
    """The scalar in one line; empty for a null that was not written."""
    if not isinstance(data, str):
        if data is None:
            return "null" if value.raw else ""
        if isinstance(data, bool):
            return str(data).lower()
        return str(data) if _OTHER_NUMBER.fullmatch(value.raw) else value.raw
    if not value.style and "\n" not in value.raw:
        return _quoted(data) if _is_read_otherwise(data) else value.raw
    return data if _is_bare(data, flow) else _quoted(data)


def _scalar(value: _Value, data: Any, used: int, column: int) -> list[str]:
    """The scalar's lines: what stands behind the key or dash, and the text below, not yet indented.

    `used` columns are taken in the first line; the entry itself begins at `column`.
    """
    if value.style in ("|", ">"):
        return _block(value)
    one = _one_line(value, data, flow=False)
    if "\n" not in value.raw or not isinstance(data, str) or used + len(one) <= WIDTH:
        return [one]
    if "\n" not in data and data == " ".join(data.split()):
        return [">-", *_filled(data, WIDTH - column - 2)]
    lines = data.rstrip("\n").split("\n")
    if data[0] not in " \n\t" and not any(line != line.rstrip() for line in lines):
        return _literal(data)
    return [one]


def _filled(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` characters, broken at spaces only."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _block(value: _Value) -> list[str]:
    """A text that was written as a block, its lines as the author broke them."""
    if not value.text.strip():
        return [_quoted(value.text)]
    if value.style == "|" or _is_told_its_indent(value):
        return _literal(value.text)
    return [">" + _ending(value.text), *_block_lines(value), *[""] * (_breaks(value.text) - 1)]


def _is_told_its_indent(value: _Value) -> bool:
    header = value.raw.partition("\n")[0].partition("#")[0]
    return any(c.isdigit() for c in header)


def _block_lines(value: _Value) -> list[str]:
    """The lines of a text in block style, without their indentation and without the blank ones at the end."""
    if value.style == "|" or _is_told_its_indent(value):
        return value.text.rstrip("\n").split("\n")
    _, *raw = value.raw.split("\n")
    indent = next((len(line) - len(line.lstrip(" ")) for line in raw if line.strip(" ")), 0)
    lines = [line[indent:] for line in raw]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _literal(text: str) -> list[str]:
    lines = text.rstrip("\n").split("\n")
    first = next(line for line in lines if line)
    indicator = "2" if first[0] in " \t" else ""
    return [f"|{indicator}{_ending(text)}", *lines, *[""] * (_breaks(text) - 1)]


def _breaks(text: str) -> int:
    return len(text) - len(text.rstrip("\n"))


def _ending(text: str) -> str:
    return ("-", "", "+")[min(_breaks(text), 2)]
