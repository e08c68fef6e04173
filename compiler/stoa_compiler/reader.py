"""The reference reader: a document's values, spans and mistakes, from libyaml's events."""

import re
import unicodedata
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from stoa_compiler import fixes
from stoa_compiler.characters import HIDDEN, hidden_character
from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.parse import (
    ANCHOR,
    DUPLICATE_KEY,
    EMPTY,
    ENCODING,
    HIDDEN_CHARACTER,
    MAX_DEPTH,
    MAX_FINDINGS,
    MAX_NODES,
    MAX_NUMBER_LENGTH,
    NOT_A_STRING_KEY,
    NOT_NFC,
    NUMBER,
    SEVERAL_DOCUMENTS,
    SYNTAX,
    TAG,
    TOO_DEEP,
)
from stoa_compiler.source import Doubts, Loc, SourceFile, Span, SpanTree

# YAML 1.2.2, 10.3.2: the core schema's plain scalars.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCT_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NUMERIC_START = frozenset("0123456789+-.")
_WHOLE = range(-(2**63), 2**64)

_STRING = "tag:yaml.org,2002:str"
_OWN_TAGS: dict[type[Event], str] = {
    ScalarEvent: _STRING,
    SequenceStartEvent: "tag:yaml.org,2002:seq",
    MappingStartEvent: "tag:yaml.org,2002:map",
}
"""Tags that say what the value is anyway."""
_RAW_TAG = re.compile(r"![^\s,\[\]{}]*")
_VISIBLE_ASCII = bytes(range(0x20, 0x7F)) + b"\n\t"

_BREAKS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]|\r(?!\n)")
"""Control characters, and what one reader takes for the end of a line and another for text."""


def compose(file: SourceFile, report: Report) -> "_Node | None":
    """The document's root with the places of all values; None where there is none. What is wrong is reported."""
    text = _decode(file, report)
    return None if text is None else _Reader(file, report, text).read()


def spans(file: SourceFile) -> SpanTree:
    """The spans of a file that was read before."""
    root = compose(file, Report())
    assert root is not None
    return _tree(file, None, root)


def doubts_of(root: "_Node") -> Doubts:
    """Where the document does not tell what is meant."""
    values: set[Loc] = set()
    mappings: set[Loc] = set()
    stack: list[tuple[Loc, _Node]] = [((), root)]
    while stack:
        loc, node = stack.pop()
        if not node.clear:
            values.add(loc)
            continue
        if not node.whole:
            mappings.add(loc)
        named = isinstance(node.data, dict)
        for step, (_, _, child) in (node.children or {}).items():
            if not named or isinstance(step, str):
                stack.append(((*loc, step), child))
    return Doubts(frozenset(values), frozenset(mappings))


def _tree(file: SourceFile, key: Span | None, node: "_Node") -> SpanTree:
    children = {
        name: _tree(file, None if start is None else _span(file, start, end), child)
        for name, (start, end, child) in (node.children or {}).items()
    }
    return SpanTree(key, _span(file, node.start, node.end), children)


def _decode(file: SourceFile, report: Report) -> str | None:
    content = file.content
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        mark = fixes.deleted(Span(file.shown, 1, 1, 1, 2), "the mark") if content[:3] == b"\xef\xbb\xbf" else None
        report.add(ENCODING, file.span(), "the file begins with a byte order mark", fix=mark)
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        start = content.rfind(b"\n", 0, error.start) + 1
        column = len(content[start : error.start].decode("utf-8", "replace")) + 1
        report.add(ENCODING, file.span(line, column, 1), f"byte 0x{content[error.start]:02x} is not UTF-8")
        return None


@dataclass(slots=True)
class _Node:
    """A value with its place, while the file is read."""

    data: Any
    start: Any
    end: Any
    children: dict[str | int, tuple[Any, Any, "_Node"]] | None = None
    """By key or index: the key's marks, and the child. None for a scalar. A key that is not clear is a number."""
    clear: bool = True
    """Whether it says what is meant."""
    whole: bool = True
    """Whether every key of the mapping is clear."""


def _span(file: SourceFile, start: Any, end: Any) -> Span:
    """A span from libyaml's marks, which count from 0. A collection's end is drawn back to its last text."""
    end_line, end_column = end.line, end.column
    if end_column == 0 and end_line > start.line:
        end_line -= 1
        while end_line > start.line and not file.lines[end_line].strip():
            end_line -= 1
        end_column = len(file.lines[end_line].rstrip())
    return Span(file.shown, start.line + 1, start.column + 1, end_line + 1, end_column + 1)


def _doubt_identity(root: _Node | None) -> None:
    """Which of several documents the file is for is not clear."""
    if root is None:
        return
    children = root.children or {}
    metadata = children["metadata"][2].children or {} if "metadata" in children else {}
    for entries, key in ((children, "apiVersion"), (children, "kind"), (metadata, "name"), (metadata, "tenant")):
        if key in entries:
            entries[key][2].clear = False


class _TooMuch(Exception):
    """The document passes a cap."""


@dataclass
class _Reader:
    """Turns one file's events into values, and notes what the language does not take."""

    file: SourceFile
    report: Report
    text: str
    nodes: int = 0
    parser: Any = field(default=None)
    anchors: list[tuple[str, Span, list[int]]] = field(default_factory=list)
    """Each anchor's name, where it stands, and the lines that repeat it."""
    current: dict[str, list[int]] = field(default_factory=dict)
    """The lines that repeat the last anchor of a name."""
    unseen: bool = False
    """Whether the file holds characters that cannot be seen."""
    long_quote: _Node | None = None
    """The last text in quotes that goes over several lines: perhaps its own quote is missing."""

    def read(self) -> _Node | None:
        """The document's root; None when there is none."""
        if not self._check_characters():
            return None
        try:
            root = self._root()
        finally:
            self._report_anchors()
        if root is None:
            return None
        if root.data is None and not self.report.errors:
            self.report.add(EMPTY, self.file.span(), f"`{self.file.path}` holds no document")
        return None if root.data is None else root

    def _root(self) -> _Node | None:
        self.parser = CParser(self.text)
        root: _Node | None = None
        documents = 0
        try:
            while (event := self.parser.get_event()) is not None:
                if isinstance(event, DocumentStartEvent):
                    documents += 1
                    if event.tags:
                        self._refuse(TAG, event, "the directive `%TAG` is not taken")
                    if event.version not in (None, (1, 2)):
                        written = ".".join(map(str, event.version))
                        said = f"the directive names YAML {written}, but documents are YAML 1.2"
                        self._refuse(SYNTAX, event, said, "Remove the directive.")
                    if documents == 2:
                        self._refuse(SEVERAL_DOCUMENTS, event, "a second document begins here")
                        _doubt_identity(root)
                        return root
                elif isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent, AliasEvent)):
                    root = self._node(event)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
            return None
        except yaml.reader.ReaderError as error:
            self._unreadable_character(error)
            return None
        except _TooMuch:
            return None
        finally:
            self.parser.dispose()
        return root or _Node(None, None, None)

    def _node(self, event: Event) -> _Node:
        """The node that begins with `event`, without recursion: depth is the author's choice."""
        stack: list[_Node] = []
        keys: list[tuple[str | int | None, Any, Any]] = []
        """For each open mapping, the key that waits for its value."""
        while True:
            node: _Node | None = None
            if isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                node = stack.pop()
                keys.pop()
                if _index(event.end_mark) > _index(event.start_mark):
                    node.end = event.end_mark  # A bracket. A block has none and ends with its last part.
            else:
                self._count(event, len(stack))
                clear = self._check_properties(event)
                if isinstance(event, MappingStartEvent):
                    stack.append(_Node({}, event.start_mark, event.end_mark, {}, clear))
                    keys.append((None, None, None))
                elif isinstance(event, SequenceStartEvent):
                    stack.append(_Node([], event.start_mark, event.end_mark, {}, clear))
                    keys.append((None, None, None))
                else:
                    node = self._scalar(event)
                    node.clear = node.clear and clear
            if node is not None:
                if not stack:
                    return node
                self._attach(stack[-1], keys, node, event)
            event = self.parser.get_event()

    def _attach(self, parent: _Node, keys: list[tuple[str | int | None, Any, Any]], node: _Node, event: Event) -> None:
        """Puts a finished node into its parent: as an item, as a key, or as the value of the waiting key."""
        children = parent.children
        assert children is not None
        parent.end = node.end
        if isinstance(parent.data, list):
            children[len(parent.data)] = (None, None, node)
            parent.data.append(node.data)
            return
        waiting, start, end = keys[-1]
        if start is None:
            key = node.data
            if not isinstance(key, str):
                if not isinstance(event, AliasEvent):
                    self._refuse_key(node)
                key = None
            elif key == "<<" and not getattr(event, "style", None):
                self._refuse(ANCHOR, event, "the merge key `<<` is not taken", "Write the merged keys out here.")
                key = None
            elif key in children:
                children[key][2].clear = False
                first = _span(self.file, *children[key][:2])
                self.report.add(
                    DUPLICATE_KEY,
                    _span(self.file, node.start, node.end),
                    f"the key `{key}` stands twice"
                    + (f", in lines {first.line} and {node.start.line + 1}" if first.line <= node.start.line else ""),
                    notes=[Note(f"`{key}` is declared here first", first)],
                )
            if key is None or not node.clear:
                key, parent.whole = len(children), False
            keys[-1] = (key, node.start, node.end)
            return
        keys[-1] = (None, None, None)
        assert waiting is not None
        children.setdefault(waiting, (start, end, node))
        if isinstance(waiting, str):
            parent.data.setdefault(waiting, node.data)

    def _refuse_key(self, node: _Node) -> None:
        shown = self.text[node.start.index : node.end.index].split("\n")[0].strip()[:40]
        said = f"the key `{shown}` is {_what(node.data)}, not a string" if shown else "the key is missing"
        simple = isinstance(node.data, (bool, int, float))
        self.report.add(
            NOT_A_STRING_KEY,
            _span(self.file, node.start, node.end),
            said,
            help=f'Put it in quotes: `"{shown}":`.' if simple else "",
        )

    def _scalar(self, event: Event) -> _Node:
        if isinstance(event, AliasEvent):
            return _Node(None, event.start_mark, event.end_mark)
        assert isinstance(event, ScalarEvent)
        text: str = event.value
        before = len(self.report.found)
        node = _Node(None, event.start_mark, event.end_mark)
        if event.style or event.tag == _STRING:
            node.data = self._quoted(text, event)
        else:
            node.data = self._plain(text, event)
        unseen = self.unseen and hidden_character(self._raw(event).replace("\r\n", "\n"))
        node.clear = not unseen and len(self.report.found) == before
        return node

    def _quoted(self, text: str, event: ScalarEvent) -> str:
        self._check_text(text, event)
        if event.style and event.style in "'\"" and "\n" in self._raw(event):
            self.long_quote = _Node(text, event.start_mark, event.end_mark)
        hidden = hidden_character(text) if event.style == '"' else None
        if hidden and not hidden_character(self._raw(event).replace("\r\n", "\n")):
            self._refuse(HIDDEN_CHARACTER, event, f"the text escapes {_unseen(hidden[0])}")
        return text

    def _raw(self, event: Event) -> str:
        """The event as it is written."""
        return self.text[_index(event.start_mark) : _index(event.end_mark)]

    def _plain(self, text: str, event: Event) -> Any:
        """A plain scalar's value by the core schema (YAML 1.2.2, 10.3.2)."""
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if text[0] in _NUMERIC_START:
            integer = _INT.fullmatch(text)
            if integer or _OCT_HEX.fullmatch(text) or _FLOAT.fullmatch(text):
                return self._number(text, bool(integer), event)
            if _NOT_FINITE.fullmatch(text):
                self._refuse(NUMBER, event, f"`{text}` has no JSON form")
                return None
        self._check_text(text, event)
        return text

    def _number(self, text: str, integer: bool, event: Event) -> Any:
        if len(text) > MAX_NUMBER_LENGTH:
            self._refuse(NUMBER, event, f"a number of {len(text)} characters")
            return None
        if integer or text.startswith(("0o", "0x")):
            whole = int(text) if integer else int(text, 0)
            if whole not in _WHOLE:
                self._refuse(NUMBER, event, f"`{text}` does not fit into 64 bits")
                return None
            return whole
        value = float(text)
        if value in (float("inf"), float("-inf")):
            self._refuse(NUMBER, event, f"`{text}` is too large for a number")
            return None
        return value

    def _check_text(self, text: str, event: Event) -> None:
        if not text.isascii() and not unicodedata.is_normalized("NFC", text):
            at = _span(self.file, event.start_mark, event.end_mark)
            fix = fixes.composed(at, self._raw(event))
            self.report.add(NOT_NFC, at, "the text is not in normalisation form C", fix=fix)

    def _check_characters(self) -> bool:
        """Whether the text's lines are the same to every reader; also reports characters that cannot be seen."""
        if not self.file.content.translate(None, _VISIBLE_ASCII):
            return True
        for found in _BREAKS.finditer(self.text):
            code, is_return = f"U+{ord(found[0]):04X}", found[0] == "\r"
            said = "a carriage return without a line feed" if is_return else f"the control character {code}"
            advice = "End lines with a line feed." if is_return else "Delete the character."
            self.report.add(ENCODING, self._at(found.start(), 1), f"the file holds {said}", help=advice)
            return False
        for found in islice(HIDDEN.finditer(self.text.replace("\r\n", "\n\n")), MAX_FINDINGS):
            self.unseen = True
            at = self._at(found.start(), len(found[0]))
            advice = "" if len(found[0]) == 1 else "Delete them."
            fix = fixes.deleted(at, "the character" if len(found[0]) == 1 else "the characters")
            self.report.add(HIDDEN_CHARACTER, at, f"the file holds {_unseen(found[0])}", help=advice, fix=fix)
        return True

    def _at(self, index: int, length: int, mark: Any = None) -> Span:
        """The span of `length` characters of one line, the first at `index` of the text and not before `mark`."""
        before, line = (mark.index, mark.line + 1) if mark else (0, 1)
        line += self.text.count("\n", before, index)
        return self.file.span(line, index - self.text.rfind("\n", 0, index), length)

    def _check_properties(self, event: Event) -> bool:
        """Whether anchors, aliases and tags leave it clear what is meant; each is reported.

        An alias is its anchor's matter: the author sees the cause once.
        """
        mark: Any = event.start_mark
        if isinstance(event, AliasEvent):
            if event.anchor in self.current:
                self.current[event.anchor].append(mark.line + 1)
            else:
                self._refuse(ANCHOR, event, f"the alias `*{event.anchor}` has no anchor")
            return False
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            at = self.text.find(f"&{anchor}", mark.index)
            self.current[anchor] = []
            self.anchors.append((anchor, self._at(at, len(anchor) + 1, mark), self.current[anchor]))
        if tag is not None:
            written = _RAW_TAG.search(self.text, mark.index)
            assert written is not None
            at, shown = written.start(), written[0]
            self.report.add(TAG, self._at(at, len(shown), mark), f"the tag `{shown[:60]}` is not taken")
        return tag is None or tag == _OWN_TAGS.get(type(event))

    def _report_anchors(self) -> None:
        for name, span, lines in self.anchors:
            uses = list(dict.fromkeys(lines))
            shown = ", ".join(map(str, uses[:8])) + (f" and {len(uses) - 8} more" if len(uses) > 8 else "")
            advice = f"Remove `&{name}`" + (
                f", and write the value out in line{'s' * (len(uses) > 1)} {shown}" * bool(uses)
            )
            fix = None if uses else fixes.without_anchor(self.file, span)
            self.report.add(ANCHOR, span, f"the anchor `&{name}` is not taken", help=f"{advice}.", fix=fix)

    def _count(self, event: Event, depth: int) -> None:
        self.nodes += 1
        if depth >= MAX_DEPTH:
            self._refuse(TOO_DEEP, event, f"nested more than {MAX_DEPTH} levels deep")
            raise _TooMuch
        if self.nodes > MAX_NODES:
            self._refuse(TOO_DEEP, event, f"more than {MAX_NODES:,} values")
            raise _TooMuch
        if len(self.report.found) + len(self.anchors) >= MAX_FINDINGS:
            self._refuse(TOO_DEEP, event, f"more than {MAX_FINDINGS} mistakes: what follows here is not read")
            raise _TooMuch

    def _refuse(self, rule: Rule, event: Event, message: str, help: str = "") -> None:
        self.report.add(rule, _span(self.file, event.start_mark, event.end_mark), message, help=help)

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark: Any = error.problem_mark or error.context_mark
        context = error.context_mark
        said = (error.problem or error.context or "unexpected end").replace("'", "`")
        opened = context is not None and mark is not None and context.line < mark.line
        notes: list[Note] = []
        message, advice = said, ""
        if self.long_quote and mark and mark.line == self.long_quote.end.line:
            mark, end = self.long_quote.start, mark.line + 1
            message = f"the quote opened here closes only in line {end}"
            advice = "Close the quote where the text ends."
        elif opened and "expected `:`" in said:
            mark, message, advice = context, "a key without `:`", "Write `key: value`, with a space after the colon."
        elif opened and context and ("flow" in (error.context or "") or "quoted" in (error.context or "")):
            notes = [Note(said, self._place(mark))]
            mark, what = context, "quote" if "quoted" in (error.context or "") else "bracket"
            message, advice = f"the {what} opened here is not closed", f"Close the {what}."
        else:
            for words, better, how in _SYNTAX:
                if words in said:
                    message, advice = better, how
        self.report.add(SYNTAX, self._place(mark), message, notes, advice)

    def _place(self, mark: Any) -> Span:
        """One character at `mark`, or the last one before it where the line ends there."""
        lines = self.file.lines
        line = min(mark.line if mark else 0, len(lines) - 1)
        while line and not lines[line].strip():
            line -= 1
        column = mark.column if mark and line == mark.line else len(lines[line])
        end = len(lines[line].rstrip())
        return self.file.span(line + 1, max(0, min(column, end - 1)) + 1, 1)

    def _unreadable_character(self, error: yaml.reader.ReaderError) -> None:
        position = min(error.position, max(0, len(self.text) - 1))
        code = error.character if isinstance(error.character, int) else ord(error.character[0])
        self.report.add(ENCODING, self._at(position, 1), f"the file holds U+{code:04X}, which is no character of YAML")


_SYNTAX = (
    (
        "mapping values are not allowed",
        "a `:` where no key can be",
        "Put a text that holds `: ` in quotes, or mend the indentation.",
    ),
    (
        "cannot start any token",
        "no value can begin like this",
        "Put a text that begins with such a character in quotes.",
    ),
    ("tab character", "a tab in the indentation", "Indent with spaces."),
    ("expected `,` or", "a comma or the closing bracket is missing", "Separate the entries, or close the bracket."),
    ("did not find expected key", "a key is expected here", "Mend the indentation, or write `key: value`."),
    ("did not find expected `-`", "another entry of the list is expected here", "Mend the indentation."),
    ("block sequence entries are not allowed", "a list cannot begin here", "Begin the list in a line of its own."),
)
"""Words of libyaml, our own, and what an author most often has to do."""


def _index(mark: Any) -> int:
    """How many characters of the text stand before `mark`."""
    index: int = mark.index
    return index


def _unseen(text: str) -> str:
    """How a run of characters that cannot be seen is called."""
    first = f"U+{ord(text[0]):04X}, {unicodedata.name(text[0], 'a control character').lower()}"
    return first if len(text) == 1 else f"{len(text)} characters that cannot be seen, the first {first}"


def _what(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"
