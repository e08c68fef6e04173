"""JSON that is safe to show: nothing in it is taken as a command by a terminal."""

import re
from typing import Any

import orjson

from stoa_compiler.reports.terminal import visible

_COMMANDS = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def dumped(value: Any) -> bytes:
    """`value` as indented JSON, characters that cannot be seen written as escapes."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    return _COMMANDS.sub(lambda found: _escape(found[0]), text).encode()


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
