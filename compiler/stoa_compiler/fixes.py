"""Fixes: edits for mistakes that have one right answer.

None changes who may call what, where calls go, which file is pinned or where a secret lies: those are for a person
to decide, and what stands at such a place is never touched.
"""

import re
import unicodedata
from collections.abc import Collection
from typing import Any

from stoa_compiler.diagnostics import Edit, Fix
from stoa_compiler.source import Document, Loc, SourceFile, Span
from stoa_schemas import base
from stoa_schemas.base import pattern_of

_ACCESS = """
    grants roles role permissions scope tools effect people groups members approval agents protocols sideEffects
    status expires classification classifications demands consumer contract tenants environments actors check
"""
_WHERE_CALLS_GO = """
    urls gateway issuer domain development allowedHosts host redirectUris grantTypes client clients identity realm
    zones trust namespaces cidrs flows backendNetworks path from in parameters
"""
_SECRET_OR_PINNED = "auth secret secrets prefix source sha256 digest file image"
GUARDED = frozenset(f"{_ACCESS} {_WHERE_CALLS_GO} {_SECRET_OR_PINNED}".split())
"""Keys at and below which nothing is mended."""

_SURE = 0.75
"""How alike two words must be for one to be what the other meant."""
_POSSIBLE = 0.6
"""How alike another word may be at the most, or there are two answers."""

_NOTHING = r"[ \t]*(?:null|Null|NULL|~)?[ \t]*(#.*)?\r?"


def is_guarded(loc: Loc) -> bool:
    """Whether what stands at `loc` is for a person to decide."""
    return not GUARDED.isdisjoint(step for step in loc if isinstance(step, str))


def only_meaning(word: str, known: Collection[str]) -> str | None:
    """The one of `known` that `word` can only have meant; None where none is near, or two are."""
    alike = sorted(((_likeness(word, k), k) for k in known), reverse=True)
    if not alike or alike[0][0] < _SURE or (len(alike) > 1 and alike[1][0] > _POSSIBLE and alike[0][0] < 1):
        return None
    return alike[0][1] if len(alike) == 1 or alike[1][0] < 1 else None


def _likeness(word: str, known: str) -> float:
    from difflib import SequenceMatcher  # Only here: a source without mistakes needs none.

    return SequenceMatcher(None, _folded(word), _folded(known)).ratio()


def _folded(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def put(span: Span, text: str) -> Fix:
    """`text` in place of what stands at `span`."""
    return Fix(f"put `{text}` here", (Edit(span, text),))


def deleted(span: Span, what: str) -> Fix:
    """Nothing at `span`."""
    return Fix(f"delete {what}", (Edit(span, ""),))


def without_anchor(file: SourceFile, span: Span) -> Fix:
    """Nothing at `span`, where an anchor stands that nothing uses; nor the space that sets it apart."""
    line = file.lines[span.line - 1]
    before, after = line[: span.column - 1], line[span.end_column - 1 :]
    end = span.end_column + len(after) - len(after.lstrip(" "))
    start = span.column if after.strip() else len(before.rstrip(" ")) + 1
    return deleted(Span(span.file, span.line, start, span.line, end), "the anchor, which nothing uses")


def meant(document: Document, loc: Loc, known: Collection[str], in_key: bool = False) -> Fix | None:
    """The only one of `known` that the key or value at `loc` can have meant."""
    span = document.span(loc, "key" if in_key else "value")
    found = loc[-1] if in_key else _value(document, loc)
    only = only_meaning(str(found), known)
    where = (*loc[:-1], only) if in_key and only else loc
    return put(span, only) if only and not is_guarded(where) and span.line == span.end_line else None


def in_quotes(document: Document, loc: Loc) -> Fix | None:
    """The number or truth value at `loc` as the text that was typed."""
    span = document.span(loc)
    return None if is_guarded(loc) else put(span, f'"{_typed(document.file, span)}"')


def without_quotes(document: Document, loc: Loc, number: str) -> Fix | None:
    """The whole number that stands in quotes at `loc`."""
    plain = number if re.fullmatch(r"0|[1-9][0-9]{0,17}", number) else None
    return None if plain is None or is_guarded(loc) else put(document.span(loc), plain)


def trimmed(document: Document, loc: Loc, pattern: str) -> Fix | None:
    """The text at `loc` without white space at its ends, or a version without its `v`, where it then fits."""
    text, span = str(_value(document, loc)), document.span(loc)
    if is_guarded(loc) or span.line != span.end_line:
        return None
    if pattern == pattern_of(base.Title) and (text := text.strip()) and re.search(pattern, text):
        return put(span, '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    if pattern == pattern_of(base.SemVer) and text[:1] in "vV" and re.search(pattern, text[1:]):
        return put(span, text[1:])
    return None


def composed(span: Span, typed: str) -> Fix | None:
    """What was typed at `span` in Unicode's composed form; None where it is spelt by escapes."""
    better = unicodedata.normalize("NFC", typed)
    return None if better == typed else Fix("put the composed form here", (Edit(span, better),))


def without_null(document: Document, loc: Loc) -> Fix | None:
    """The block without the key or item at `loc`, which has no value; a comment behind it stays."""
    siblings = _value(document, loc[:-1])
    if is_guarded(loc) or len(siblings) < 2:
        return None
    span = document.span(loc, "key")
    line = document.file.lines[span.line - 1]
    if document.span(loc).line != span.line:
        return None
    if isinstance(loc[-1], str):
        before, rest = line[: span.column - 1], re.compile(r"[ \t]*:" + _NOTHING).fullmatch(line, span.end_column - 1)
    else:
        dash = re.compile(r"([ \t]*)-" + _NOTHING).fullmatch(line)
        before, rest = (dash[1], dash) if dash else ("-", None)
    if before.strip() or rest is None:
        return None
    comment = rest[rest.re.groups]
    if comment:
        kept = Span(span.file, span.line, len(before) + 1, span.line, rest.start(rest.re.groups) + 1)
        return deleted(kept, "what has no value")
    return deleted(Span(span.file, span.line, 1, span.line + 1, 1), "the line")


def added(document: Document, loc: Loc, text: str) -> Fix | None:
    """The key at `loc` with the value `text`: behind the key that it follows, or before all others."""
    parent, key = loc[:-1], str(loc[-1])
    siblings = _value(document, parent)
    if not isinstance(siblings, dict) or not siblings:
        return None
    before = {"kind": "apiVersion", "tenant": "name"}.get(key, "")
    file, entry = document.file, f"{key}: {text}"
    if isinstance(siblings.get(before), str):
        end = document.span((*parent, before))
        beside = document.span((*parent, before), "key")
    else:
        end = beside = document.span((*parent, next(iter(siblings))), "key")
        before = ""
    whole = document.span(parent)
    in_brackets = file.lines[whole.line - 1][whole.column - 1 : whole.column] == "{"
    feed = "\r\n" if b"\r\n" in file.content else "\n"
    said = f"add `{entry}`"
    if in_brackets:
        at = Span(end.file, end.end_line, end.end_column, end.end_line, end.end_column)
        start = Span(end.file, end.line, end.column, end.line, end.column)
        return Fix(said, (Edit(at, f", {entry}"),)) if before else Fix(said, (Edit(start, f"{entry}, "),))
    if file.lines[beside.line - 1][: beside.column - 1].strip():
        return None
    line = end.end_line + 1 if before else beside.line
    if line > len(file.lines):
        return None
    return Fix(said, (Edit(Span(end.file, line, 1, line, 1), f"{' ' * (beside.column - 1)}{entry}{feed}"),))


def _value(document: Document, loc: Loc) -> Any:
    data = document.data
    for step in loc:
        data = data[step]
    return data


def _typed(file: SourceFile, span: Span) -> str:
    return file.lines[span.line - 1][span.column - 1 : span.end_column - 1]
