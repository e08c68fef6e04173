"""YAML for artifacts: block style, keys sorted, the same bytes on every machine.

PyYAML's two emitters write different bytes, the one that is everywhere needs more than half a second for a
megabyte, and it writes U+0085 into literal blocks, where readers take it for a line break. Here text is
either a literal block of characters that every reader keeps, or double-quoted with everything else escaped;
a bare word is never a string.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoa_compiler.records import record

Value = Mapping[str, "Value"] | Sequence["Value"] | str | bytes | int | bool | None
"""Bytes are text that is encoded already: a file that is carried."""


class Carried:
    """A text that `pieces` leaves to whoever has it: one that `is_line` is true of, with a line feed at the end."""

    __slots__ = ("text",)

    def __init__(self, text: Any) -> None:
        self.text = text


_BARE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML 1.1 or 1.2 reads as something else than a string."""

_SPECIAL = r"\x00-\x08\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff"
_ESCAPED = re.compile(rf'["\\\t\n{_SPECIAL}]')
_UNFIT_FOR_BLOCK = re.compile(rf"[\t{_SPECIAL}]")
_CONTROLS = bytes({*range(0x20)} - {0x0A}) + b"\x7f"
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_LONG = 120


def dump(value: Mapping[str, Value]) -> bytes:
    """`value` as one YAML document in UTF-8, with a line feed at the end."""
    (whole,) = pieces(value)
    assert isinstance(whole, bytes)
    return whole


def pieces(value: Mapping[str, Any]) -> list[Any]:
    """The same in a row: bytes, and between them what each `Carried` has as its text."""
    made: list[Any] = []
    lines: list[bytes] = []
    for line in _mapping(value, "") if value else ["{}"]:
        if isinstance(line, _Carried):
            made += [b"\n".join([*lines, line.indent]), line.text]
            lines = []
        else:
            lines.append(line if isinstance(line, bytes) else line.encode())
    return [*made, b"\n".join([*lines, b""])] if lines or not made else made


@record
class _Carried:
    """Where a carried text stands."""

    indent: bytes
    text: Any


def _mapping(value: Mapping[str, Value], indent: str) -> Iterator[str | bytes | _Carried]:
    for key in sorted(value):
        bare = _BARE_KEY.fullmatch(key) and key.lower() not in _WORDS
        yield from _entry(f"{indent}{key if bare else _quoted(key)}:", value[key], indent + "  ")


def _sequence(value: Sequence[Value], indent: str) -> Iterator[str | bytes | _Carried]:
    for item in value:
        if isinstance(item, Mapping) and item:
            first, *rest = _mapping(item, indent + "  ")
            assert isinstance(first, str)  # A line with a key.
            yield f"{indent}- {first.lstrip(' ')}"
            yield from rest
        else:
            yield from _entry(f"{indent}-", item, indent + "  ")


def _entry(head: str, value: Any, indent: str) -> Iterator[str | bytes | _Carried]:
    """The lines of one value, the first beginning with `head`; what hangs below is indented by `indent`."""
    match value:
        case None:
            yield f"{head} null"
        case bool():
            yield f"{head} {str(value).lower()}"
        case int():
            yield f"{head} {value}"
        case str():
            if _is_block(value):
                yield f"{head} |" if value.endswith("\n") else f"{head} |-"
                for line in value.removesuffix("\n").split("\n"):
                    yield indent + line if line else ""
            else:
                yield f"{head} {_quoted(value)}"
        case bytes():
            if _is_one_line(value):
                yield f"{head} |" if value.endswith(b"\n") else f"{head} |-"
                yield b"".join((indent.encode(), memoryview(value)[: len(value) - value.endswith(b"\n")]))
            else:
                yield from _entry(head, value.decode(), indent)
        case Carried():
            yield f"{head} |"
            yield _Carried(indent.encode(), value.text)
        case Mapping():
            yield head if value else f"{head} {{}}"
            yield from _mapping(value, indent)
        case _:
            yield head if value else f"{head} []"
            yield from _sequence(value, indent)


def _is_block(text: str) -> bool:
    """Whether `text` is worth a literal block, and every reader of one would give it back."""
    return (
        ("\n" in text or len(text) > _LONG)
        and not text.startswith((" ", "\n"))
        and not text.endswith("\n\n")
        and "\n " not in text
        and _is_plain(text)
    )


def _is_one_line(text: bytes) -> bool:
    """The same for one line of ASCII alone, which is seen without decoding it."""
    return len(text) > _LONG and text.isascii() and not text.startswith(b" ") and is_plain_line(text)


def is_line(text: bytes) -> bool:
    """Whether text is written as one line in a literal block, byte for byte, and ends in a line feed."""
    if text.isascii():
        return text.endswith(b"\n") and _is_one_line(text)
    return text.find(b"\n") == len(text) - 1 and _is_block(text.decode())


def is_plain_line(text: bytes) -> bool:
    """Whether ASCII text is one line, with a line feed or without, that a literal block can hold."""
    return text.find(b"\n") in (-1, len(text) - 1) and len(text.translate(None, _CONTROLS)) == len(text)


def _is_plain(text: str) -> bool:
    """Whether a literal block can hold each of the characters: every reader keeps it, and it breaks no line."""
    if text.isascii():  # Much faster to see, and nearly always so.
        return len(text.encode().translate(None, _CONTROLS)) == len(text)
    return all(map(str.isprintable, text.split("\n"))) or not _UNFIT_FOR_BLOCK.search(text)


def _quoted(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if 0xD800 <= ord(char) <= 0xDFFF:
        raise ValueError("a lone surrogate is no text")
    return _SHORT.get(char) or f"\\u{ord(char):04x}"
