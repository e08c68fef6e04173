"""JSON that is safe to show: nothing in it is taken as a command by a terminal."""

import re
from typing import Any

import orjson

from stoa_compiler.reports.terminal import visible

_UNUSUAL = re.compile(r"[^\x20-\x7e\n]")


def dumped(value: Any) -> bytes:
    """`value` as indented JSON, characters that cannot be seen written as escapes."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    return _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else _escape(found[0]), text).encode()


def text(value: str) -> str:
    """The string as JSON can hold it: half a character, as in a file's name that is no text, becomes an escape."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return visible(value)
    return value


def _escape(character: str) -> str:
    """The character as JSON escapes it, in two halves past U+FFFF."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
