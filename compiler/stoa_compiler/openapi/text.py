"""Texts from other people's files, made fit for agents: nothing hidden, no placeholders, bounded."""

import re
import unicodedata
from typing import Any

from stoa_compiler.characters import hidden_character

_PLACEHOLDER = re.compile(r"\{(?=[{%#])|\}(?=\})|(?<=[%#])\}|\$(?=[{(])")
"""Openings and ends of `{{ }}`, `{% %}`, `{# #}`, `${ }` and `$( )`."""
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
_BLANK_LINES = re.compile(r"[ \t]*\n[ \t]*(\n\s*)?")
_SPACES = re.compile(r"[ \t]{2,}")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


def clean(value: Any, limit: int) -> str | None:
    """The text without what cannot be seen and with every placeholder broken, at most `limit` characters.

    It is cut at the end of a sentence where that keeps half of it, else at a word. None: nothing is left, or
    it is no text.
    """
    if not isinstance(value, str):
        return None
    text = value[: limit * 8]
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    if hidden_character(text):
        text = "".join(c for c in text if not hidden_character(c))
    text = _PLACEHOLDER.sub(lambda found: _broken(found), text)
    text = _SPACES.sub(" ", _BLANK_LINES.sub(lambda found: "\n\n" if found[1] else "\n", text)).strip()
    return shortened(unicodedata.normalize("NFC", text), limit) or None


def _broken(found: re.Match[str]) -> str:
    """The bracket apart from its fellow, so that no template engine takes it."""
    return " }" if found[0] == "}" and found.string[found.start() - 1] in "%#" else found[0] + " "


def one_line(value: str, limit: int) -> str:
    """The text cleaned, on one line."""
    return shortened(" ".join((clean(value, limit * 2) or "").split()), limit)


def shortened(text: str, limit: int) -> str:
    """`text` within `limit` characters."""
    if len(text) <= limit:
        return text
    head = text[: limit + 1]
    ends = [found.end() for found in _SENTENCE_END.finditer(head) if found.end() <= limit]
    if ends and ends[-1] >= limit // 2:
        return head[: ends[-1]].strip()
    head = head[: limit - 1]
    space = head.rfind(" ")
    return (head[:space] if space >= limit // 2 else head).rstrip(" ,;:-\n") + "\N{HORIZONTAL ELLIPSIS}"


def words(identifier: str) -> list[str]:
    """The words of an identifier, in lower case: `getPetByID` -> get, pet, by, id."""
    ascii_only = unicodedata.normalize("NFKD", identifier).encode("ascii", "ignore").decode()
    return [w.lower() for w in _WORD.findall(ascii_only)]


def folded(text: str) -> Any:
    """The text as a scalar that ruamel.yaml's writer folds at words, in lines of about 105 characters."""
    from ruamel.yaml.scalarstring import FoldedScalarString

    scalar = FoldedScalarString(text)
    positions, start = [], 0
    while len(text) - start > 105:
        space = text.rfind(" ", start + 1, start + 105)
        if space < 0:
            break
        positions.append(space)
        start = space
    scalar.fold_pos = positions
    return scalar
