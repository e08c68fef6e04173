"""Text on a terminal: what can be shown of it, and how many columns it takes."""

import os
import shutil
from collections.abc import Iterator, Mapping
from unicodedata import category, east_asian_width

WIDTH_OF_A_LOG = 160
"""Columns where nobody says how many there are: in a file, or in a job's log."""
_NARROWEST = 40
_TAB = "    "


def visible(text: str) -> str:
    """The text with every control character, format character and odd space written as an escape.

    What an author wrote stands in messages: without this it could move the cursor, recolour or hide what follows.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else escaped(c) for c in text)


def escaped(character: str) -> str:
    """The character as Python and JSON escape it: `\\u202e`."""
    number = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if short:
        return short
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def cells(line: str) -> Iterator[tuple[str, int]]:
    """What is shown for each character of a source line, and its columns."""
    for character in line:
        if character == "\t":
            yield _TAB, len(_TAB)
        elif not character.isprintable():
            yield "\N{REPLACEMENT CHARACTER}", 1
        else:
            yield character, columns_of(character)


def columns(text: str) -> int:
    """Columns that `text` takes."""
    return len(text) if text.isascii() else sum(map(columns_of, text))


def columns_of(character: str) -> int:
    """Columns of one character: 2 for wide ones, 0 for those that join the character before them."""
    if character.isascii():
        return 1
    if category(character) in ("Mn", "Me") or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def wrapped(text: str, first: str, width: int) -> Iterator[str]:
    """`first` and the text, broken at spaces outside backticks; what follows stands below the text's beginning."""
    indent = columns(first)
    line, used = first, indent
    for number, word in enumerate(_words(text)):
        length = columns(word)
        if number and used + 1 + length > max(width, indent + _NARROWEST // 2):
            yield line
            line, used = " " * indent + word, indent + length
        else:
            line, used = (f"{line} {word}", used + 1 + length) if number else (line + word, used + length)
    yield line


def _words(text: str) -> Iterator[str]:
    """What must stay on one line: words, and whatever stands between two backticks."""
    if text.count("`") % 2:
        yield from text.split(" ")
        return
    word = ""
    for part in text.split(" "):
        word = f"{word} {part}" if word else part
        if word.count("`") % 2 == 0:
            yield word
            word = ""


def wants_color(stream: object, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour: on a terminal, or where FORCE_COLOR is set; never where NO_COLOR is set.

    See no-color.org and force-color.org. An empty variable counts as not set.
    """
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return _is_terminal(stream) and environment.get("TERM") != "dumb"


def width_of(stream: object, environment: Mapping[str, str] = os.environ) -> int:
    """Columns to write in: COLUMNS, else the terminal's; where there is neither, those of a log."""
    if not _is_terminal(stream) and not environment.get("COLUMNS"):
        return WIDTH_OF_A_LOG
    return max(_NARROWEST, shutil.get_terminal_size((WIDTH_OF_A_LOG, 24)).columns)


def _is_terminal(stream: object) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())
