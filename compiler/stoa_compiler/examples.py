"""Examples of rules: a source that fails, the same place where it passes, and what is said of it.

They are made from the corpus in `tests/bad`, where each is checked on every run, and lie in `examples.json`.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson

from stoa_compiler.records import record

FILE = "examples.json"


@record
class Excerpt:
    """Some lines of a file."""

    file: str | None
    """Path from the source's folder, or from the bundle's; None for a listing of files."""
    text: str


@record
class Example:
    """One mistake, and the same place without it."""

    bad: tuple[Excerpt, ...]
    good: tuple[Excerpt, ...]
    report: str
    """What `stoa check` says of the mistake."""


def examples() -> Mapping[str, Example]:
    """The rules' examples by code."""
    return {
        code: _example(value) for code, value in orjson.loads(files(__package__).joinpath(FILE).read_bytes()).items()
    }


def encoded(made: Mapping[str, Example]) -> bytes:
    """The content of `examples.json`."""
    return orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _example(value: Mapping[str, Any]) -> Example:
    bad, good = (tuple(Excerpt(e["file"], e["text"]) for e in value[side]) for side in ("bad", "good"))
    return Example(bad, good, value["report"])
