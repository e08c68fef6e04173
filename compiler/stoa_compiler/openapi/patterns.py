"""Patterns: regular expressions that mean the same to every reader, and that none has to backtrack for."""

import re
import warnings
from functools import lru_cache

import jsonschema_rs

MAX_LENGTH = 1000

_TOKEN = re.compile(
    r"""
    \\(?: x[0-9A-Fa-f]{2} | u[0-9A-Fa-f]{4} | c[A-Za-z] | . )
  | \(\?: | \(\? | \{\d+(?:,\d*)?\} | .
    """,
    re.VERBOSE | re.DOTALL,
)
_CLASS_LETTERS = frozenset("dDwWsS")
_LETTERS = _CLASS_LETTERS | frozenset("bBfnrtv")
"""Letters that mean the same behind a backslash everywhere; `b` only outside of brackets."""
_SYNTAX = frozenset("^$\\.*+?()[]{}|/")
"""Characters that ECMA-262 lets a backslash stand before, read as Unicode; `-` only inside brackets."""
_SET_OPERATORS = re.compile(r"&&|--|~~|\|\|")


@lru_cache(maxsize=4096)
def portable(pattern: str) -> str | None:
    """`pattern` in the words that ECMA-262, Python and linear-time engines share; None where it has none.

    Clients compile the patterns of a tool list, and one that a client cannot read costs it the whole list.
    """
    if len(pattern) > MAX_LENGTH:
        return None
    written = _rewritten(pattern)
    if written is None:
        return None
    try:
        with warnings.catch_warnings():
            # Python warns of what it may read otherwise one day: set operators in brackets.
            warnings.simplefilter("error")
            re.compile(written)
        jsonschema_rs.Draft202012Validator({"pattern": written}, pattern_options=jsonschema_rs.RegexOptions())
    except (re.error, Warning, OverflowError, RecursionError, jsonschema_rs.ValidationError, ValueError):
        return None
    return written


def _rewritten(pattern: str) -> str | None:
    """The pattern with every character that some engine reads otherwise escaped, or bare, as all read it."""
    written: list[str] = []
    brackets: list[str] | None = None
    for match in _TOKEN.finditer(pattern):
        token = match[0]
        if token == "\\" or token == "(?":
            return None  # An end in the middle of an escape; flags, look-around and names of groups.
        if token.startswith("\\"):
            escape = _escape(token, inside=brackets is not None)
            if escape is None:
                return None
            (written if brackets is None else brackets).append(escape)
        elif brackets is not None:
            if token == "]":
                content = "".join(brackets)
                if content in ("", "^") or _SET_OPERATORS.search(content):
                    return None
                written.append(f"[{content}]")
                brackets = None
            else:
                brackets.append("\\[" if token == "[" else token)
        elif token == "[":
            brackets = []
        else:
            written.append(f"\\{token}" if token in "{}]" else token)
    return None if brackets is not None else "".join(written)


def _escape(token: str, inside: bool) -> str | None:
    """The escape as every engine reads it; None for one that they read differently."""
    character = token[1]
    if len(token) > 2:
        return token if character != "c" else None
    if character.isalnum():
        known = _LETTERS if not inside else _LETTERS - frozenset("bB")
        return token if character in known else None
    if character in _SYNTAX or (inside and character == "-"):
        return token
    if not character.isascii() or not character.isprintable():
        return character
    # A character that stands for itself; in brackets, two of some are an operator to some engines.
    return f"\\x{ord(character):02x}" if inside and character in "&~" else character
