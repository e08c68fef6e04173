"""Drift as text and JSON. Values come from systems that others write to: none is taken as a command."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from stoa_compiler.drift.model import Compared, Difference, Field, exit_code
from stoa_compiler.literals import masked
from stoa_compiler.reports.encoding import dumped
from stoa_compiler.reports.terminal import visible

VALUE_LIMIT = 300
"""Characters of one value that are shown."""
_SIGNS = {"missing": "-", "changed": "~", "extra": "+", "orphan": "+"}
_WORDS = {"missing": "is declared, and not there", "extra": "has more than is declared", "orphan": "is not declared"}


def as_text(compared: Sequence[Compared], digest: str | None) -> str:
    """For a terminal: a line for each system, and what differs below it."""
    lines = [f"bundle {digest}"] if digest else []
    for one in compared:
        lines += _system(one)
    return "\n".join(lines) + "\n"


def _system(one: Compared) -> Iterator[str]:
    where = f"{one.system} {visible(one.where)}"
    if one.state == "equal":
        yield f"{where}: equal ({_many(one.objects, 'object')})"
    elif one.differences:
        yield f"{where}: {_many(len(one.differences), 'difference')}"
    for difference in one.differences:
        yield from _difference(difference)
    if one.error is not None:
        yield f"{where}: unreachable{', so there may be more' if one.differences else ''}: {visible(one.error)}"


def _difference(found: Difference) -> Iterator[str]:
    words = f" {_WORDS[found.kind]}" if found.kind in _WORDS else ""
    note = f" ({visible(found.note)})" if found.note else ""
    yield f"  {_SIGNS[found.kind]} {visible(found.object)}{words}{note}"
    for field in found.fields:
        yield f"      {visible(field.path) or 'the file'}: {_shown(field.live)} -> {_shown(field.declared)}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = visible(masked(json.dumps(value, ensure_ascii=False, sort_keys=True)))
    return text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}... ({len(text):,} characters)"


def as_json(compared: Sequence[Compared], digest: str | None) -> bytes:
    """For programs. Version 1."""
    return dumped(
        {
            "version": 1,
            "bundle": digest,
            "exitCode": exit_code(compared),
            "systems": [
                {
                    "system": c.system,
                    "where": visible(c.where),
                    "state": c.state,
                    "objects": c.objects,
                    "error": visible(c.error) if c.error is not None else None,
                    "differences": [
                        {
                            "kind": d.kind,
                            "object": visible(d.object),
                            "note": visible(d.note),
                            "fields": [_field(f) for f in d.fields],
                        }
                        for d in c.differences
                    ],
                }
                for c in compared
            ],
        }
    )


def _field(field: Field) -> dict[str, Any]:
    return {"path": visible(field.path), "live": _cut(field.live), "declared": _cut(field.declared)}


def _cut(value: Any) -> Any:
    """The value, where it is no longer than is shown; else its beginning as a text."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= VALUE_LIMIT and masked(text) == text:
        return value
    return _shown(value)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
