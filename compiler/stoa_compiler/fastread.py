"""The values of a document in plain style, read line by line; None for everything else.

Most documents are plain: block mappings and lists, scalars and flow collections on one line, block scalars
without indicators. For these, values need no YAML parser, which costs more than all later phases together.
Whatever is not plain, or may be a mistake, is left to the reference reader (`reader.py`), which alone
reports. What is read here must be equal to what that one reads: `tests/compiler/test_fastread.py` compares them.
"""

import re
from typing import Any
from unicodedata import is_normalized

from stoa_compiler.characters import hidden_character

MAX_BYTES = 150_000
"""A larger document could hold more values than the reference reader takes."""
MAX_DEPTH = 30
MAX_KNOWN = 50_000
"""Lines that are remembered: tenants' documents repeat each other."""

_ASCII_TEXT = bytes(range(0x20, 0x7F)) + b"\n"
_SIMPLE = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
"""YAML 1.2's core schema: plain words that are no strings."""
_NUMERIC_START = frozenset("0123456789+-.")
_INT = re.compile(r"[-+]?[0-9]{1,15}")
_FLOAT = re.compile(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}")
_OTHER_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)

_ENTRY = re.compile(
    r"""( *)(- +)?(?:([A-Za-z_$/][A-Za-z0-9_$/.{}*+-]{0,127}|"[^"\\]{0,127}"|'[^']{0,127}'):(?: +|$))?(.*)"""
)
"""Indentation, dash, key, and what follows."""
_DOUBLE = re.compile(r'"([^"\\]*)" *(?: #.*)?')
_SINGLE = re.compile(r"'((?:[^']|'')*)' *(?: #.*)?")
# Sets are written by what they leave out: one that names all letters beyond ASCII takes milliseconds to compile.
_PLAIN_START = re.compile(r"""[^\x00-\x20\x7f-\xa0!"#%&')*,\-:;>?@\[\]`{|}]|-[A-Za-z0-9.]""")
_BLOCK = re.compile(r"[|>]-?")
_CONTINUED = re.compile(r""" *([^\x00-\x20\x7f-\xa0!"#$%&')*+,\-./:;<=>?@\[\\\]^_`{|}~].*?) *""")

_FLOW = re.compile(
    r"""\ *(?:([\[\]{}])|(,)|"([^"\\]*)"|'((?:[^']|'')*)'|"""
    r"""((?:[^\x00-\x20\x7f-\xa0!"\#%&'()*,\-:;=>?@\[\\\]^`{|}]|-[A-Za-z0-9.])"""
    r"""(?:[^\x00-\x1f\x7f-\xa0!"\#%&,:?\[\\\]^`{|}]|:(?=[A-Za-z0-9/*_]))*))(:(?=\ ))?""",
    re.VERBOSE,
)
"""One token of a flow collection: bracket, comma, text in quotes, plain text; and the colon that makes it a key."""
_END = re.compile(r" *(?: #.*)?")
_WORDS = r"[A-Za-z_][A-Za-z0-9_]*: [A-Za-z0-9_][A-Za-z0-9_./+-]*"
_FLAT_MAPPING = re.compile(rf"\{{({_WORDS}(?:, {_WORDS})*)\}}")
"""A flow mapping of words to words, as most are: `{type: integer, minimum: 1}`."""

_NOTHING, _OPEN, _VALUE, _TEXT, _FLAT, _COPY, _BLOCK_TEXT = range(7)
"""What stands on a line: nothing, a key alone, a value, plain text that may go on, a collection of scalars, one of
others, a block's header."""

_Line = tuple[int, int, int, str | None, Any]
"""Indentation, indentation behind the dash (-1: no dash), what stands there, key, value."""


class _Odd(Exception):
    """The document is not plain."""


_known: dict[str, _Line] = {}


def fast_read(content: bytes, limit: int = MAX_BYTES) -> Any:
    """The document's values where it is plain and holds no mistake that a reader sees; else None."""
    text = _plain_text(content, limit)
    if text is None:
        return None
    try:
        return _read(text.split("\n"))
    except _Odd:
        return None


def _plain_text(content: bytes, limit: int) -> str | None:
    if len(content) > limit or not content.endswith(b"\n"):
        return None
    if not content.translate(None, _ASCII_TEXT):
        return content.decode("ascii")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    odd = "\t" in text or hidden_character(text) or not is_normalized("NFC", text)
    return None if odd else text


def _read(lines: list[str]) -> dict[str, Any]:
    """The mapping that the lines hold."""
    if len(_known) > MAX_KNOWN:
        _known.clear()
    root: dict[str, Any] = {}
    container: Any = root
    depth = 0
    """Of `container`, in columns."""
    waiting: str | None = None
    """The key of `container` that has no value yet."""
    outer: list[tuple[Any, int]] = []
    index, last = 0, len(lines)
    while index < last:
        line = lines[index]
        index += 1
        entry = _known.get(line)
        if entry is None:
            entry = _known[line] = _line(line)
        column, behind, what, key, value = entry
        if what == _NOTHING:
            continue
        if waiting is not None:
            if (column > depth) if behind < 0 else (column >= depth):
                outer.append((container, depth))
                if len(outer) > MAX_DEPTH:
                    raise _Odd
                inner: Any = {} if behind < 0 else []
                container[waiting] = inner
                container, depth = inner, column
            waiting = None
        while column < depth:
            container, depth = outer.pop() if outer else _odd()
        if column != depth:
            raise _Odd
        if behind >= 0:
            if type(container) is not list:
                raise _Odd
            if key is not None:
                outer.append((container, depth))
                item: dict[str, Any] = {}
                container.append(item)
                container, depth = item, behind
        elif type(container) is list:  # A list that stands under its key without indentation ends here.
            container, depth = outer.pop() if outer else _odd()
            if depth != column or type(container) is list:
                raise _Odd
        if what == _OPEN:
            if key in container:
                raise _Odd
            container[key] = None
            waiting = key
            continue
        if what == _FLAT:
            value = value.copy()
        elif what == _COPY:
            value = _copy(value)
        elif what == _TEXT:
            # Text that goes on is indented deeper than what holds it.
            if index < last and (following := lines[index]).startswith(" " * (depth + 1)):
                index, value = _continued(lines, index, depth, value, following)
        elif what == _BLOCK_TEXT:
            index, value = _block(lines, index, depth, value)
        if key is None:
            container.append(value)
        elif key in container:
            raise _Odd
        else:
            container[key] = value
    if not root:
        raise _Odd
    return root


def _odd() -> tuple[Any, int]:
    raise _Odd


def _line(line: str) -> _Line:
    """What stands on a line, as far as the line alone tells."""
    found = _ENTRY.fullmatch(line)
    assert found is not None  # It takes everything.
    spaces, dash, key, rest = found.groups()
    column = len(spaces)
    behind = column + len(dash) if dash else -1
    if key is None:
        if not dash and (not rest or rest[0] == "#"):
            return column, -1, _NOTHING, None, None
        if not dash:
            raise _Odd
    elif key[0] in "\"'":
        key = key[1:-1]
    elif key in _SIMPLE:
        raise _Odd
    if not rest or rest[0] == "#":
        if key is None:
            raise _Odd
        return column, behind, _OPEN, key, None
    what, value = _value(rest)
    return column, behind, what, key, value


def _value(rest: str) -> tuple[int, Any]:
    """What stands behind a key or a dash."""
    first = rest[0]
    if first == '"' or first == "'":
        quoted = (_DOUBLE if first == '"' else _SINGLE).fullmatch(rest)
        if quoted is None:
            raise _Odd
        return _VALUE, quoted[1] if first == '"' else quoted[1].replace("''", "'")
    if first == "[" or first == "{":
        flat = _FLAT_MAPPING.fullmatch(rest)
        if flat is not None:
            return _FLAT, _flat(flat[1])
        value, end = _collection(rest, 0, 0)
        if not _END.fullmatch(rest, end):
            raise _Odd
        inner = value.values() if type(value) is dict else value
        return (_COPY if any(type(v) in (dict, list) for v in inner) else _FLAT), value
    if first == "|" or first == ">":
        if not _BLOCK.fullmatch(rest):
            raise _Odd
        return _BLOCK_TEXT, rest
    if not _PLAIN_START.match(rest):
        raise _Odd
    text, comment, _ = rest.partition(" #")
    text = text.rstrip(" ")
    if ": " in text or text[-1] == ":":
        raise _Odd
    return (_VALUE if comment else _TEXT), _scalar(text)


def _scalar(text: str) -> Any:
    """A plain scalar's value."""
    if text in _SIMPLE:
        return _SIMPLE[text]
    if text[0] in _NUMERIC_START:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _OTHER_NUMBER.fullmatch(text):
            raise _Odd
    return text


def _continued(lines: list[str], index: int, depth: int, value: Any, following: str) -> tuple[int, Any]:
    """The plain text with the lines that continue it, and the index of the line behind."""
    if following.lstrip(" ").startswith("#") or not following.strip(" "):
        return index, value  # A comment, or a blank line: what follows stands by itself, or is odd.
    text = [lines[index - 1].rstrip(" ")]
    entry = _ENTRY.fullmatch(text[0])
    assert entry is not None
    text[0] = entry[4]
    deeper = " " * (depth + 1)
    while lines[index].startswith(deeper):
        part = _CONTINUED.fullmatch(lines[index])
        if part is None or ": " in part[1] or part[1][-1] == ":" or " #" in part[1]:
            raise _Odd
        text.append(part[1])
        index += 1
    return index, " ".join(text)


def _block(lines: list[str], index: int, depth: int, header: str) -> tuple[int, str]:
    """The text of a literal or folded block, and the index of the line behind."""
    first = lines[index]
    column = len(first) - len(first.lstrip(" "))
    if column <= depth or column == len(first):
        raise _Odd
    indent = first[:column]
    text: list[str] = []
    while index < len(lines):
        line = lines[index]
        if line.startswith(indent):
            text.append(line[column:])
        elif not line:
            text.append("")
        elif line[: depth + 1].isspace() and len(line) > depth:
            raise _Odd  # Between the block's indentation and its parent's.
        else:
            break
        index += 1
    while text and not text[-1]:
        text.pop()
    if header[0] == ">":
        if any(t[:1] == " " or t[-1:] == " " for t in text):
            raise _Odd
        folded = "\n".join(text)
        joined = re.sub(r"\n(\n*)", lambda breaks: breaks[1] or " ", folded)
    else:
        joined = "\n".join(text)
    return index, joined if header.endswith("-") else joined + "\n"


def _flat(pairs: str) -> dict[str, Any]:
    """The mapping that the pairs of words are."""
    mapping: dict[str, Any] = {}
    for pair in pairs.split(", "):
        key, _, word = pair.partition(": ")
        if key in mapping or key in _SIMPLE:
            raise _Odd
        mapping[key] = _scalar(word)
    return mapping


def _collection(text: str, at: int, level: int) -> tuple[Any, int]:
    """The flow collection whose bracket stands at `at`, and where it ends."""
    if level > MAX_DEPTH // 2:
        raise _Odd
    closing = "]" if text[at] == "[" else "}"
    items: list[Any] = []
    mapping: dict[str, Any] = {}
    at += 1
    if text[at : at + 1] == closing:
        return (items if closing == "]" else mapping), at + 1
    while True:
        key = None
        if closing == "}":
            found = _FLOW.match(text, at)
            if found is None or found[6] is None:
                raise _Odd
            key = found[3] if found[3] is not None else found[4] if found[4] is not None else found[5]
            if key is None or "''" in key or (found[5] is not None and type(_scalar(key)) is not str) or key == "<<":
                raise _Odd
            if key != key.strip(" ") and found[5] is not None:
                raise _Odd
            at = found.end()
        found = _FLOW.match(text, at)
        if found is None or found[6] is not None or found[2] is not None:
            raise _Odd
        if found[1] is not None:
            if found[1] in "]}":
                raise _Odd
            value, at = _collection(text, found.end() - 1, level + 1)
        else:
            at = found.end()
            if found[3] is not None:
                value = found[3]
            elif found[4] is not None:
                value = found[4].replace("''", "'")
            else:
                value = _scalar(found[5].rstrip(" "))
        if key is None:
            items.append(value)
        elif key in mapping:
            raise _Odd
        else:
            mapping[key] = value
        while text[at : at + 1] == " ":
            at += 1
        end = text[at : at + 1]
        at += 1
        if end == closing:
            return (items if closing == "]" else mapping), at
        if end != ",":
            raise _Odd


def _copy(value: Any) -> Any:
    """A collection of one's own: lines are remembered, and their values would be shared."""
    if type(value) is dict:
        return {k: _copy(v) if type(v) in (dict, list) else v for k, v in value.items()}
    return [_copy(v) if type(v) in (dict, list) else v for v in value]
