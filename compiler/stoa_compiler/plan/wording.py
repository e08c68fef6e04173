"""How the plan speaks: names in backticks, lists that end, counts, texts before and after."""

import difflib
import json
from collections.abc import Iterable, Sequence

from stoa_compiler.literals import masked
from stoa_compiler.reports.terminal import visible

NAME_LIMIT = 120
"""Characters of one name or value in a sentence."""
TEXT_LIMIT = 20_000
"""Characters of a text that is shown in full."""
LINES_LIMIT = 400
"""Lines of one comparison of texts."""


def q(value: object, limit: int = NAME_LIMIT) -> str:
    """A name or value in backticks, whatever is in it: no control character, no backtick, cut after `limit`."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = visible(masked(text)).replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")
    return f"`{text[: limit - 1]}\N{HORIZONTAL ELLIPSIS}`" if len(text) > limit else f"`{text}`"


def counted(number: int, word: str, plural: str = "") -> str:
    """`1 tool`, `2 tools`."""
    return f"{number:,} {word if number == 1 else plural or f'{word}s'}"


def names(values: Iterable[str], limit: int = 3) -> str:
    """Names in backticks with `and` before the last; from `limit` on, how many more there are."""
    quoted = [q(v) for v in values]
    if len(quoted) > limit:
        rest = len(quoted) - (limit - 1)
        return f"{', '.join(quoted[: limit - 1])} and {rest:,} more"
    return joined(quoted)


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def text_difference(before: str, after: str) -> tuple[str, ...]:
    """Both texts in full, line by line: `- ` before what was, `+ ` before what is, two spaces before what stays."""
    old, new = _lines(before), _lines(after)
    shown = list(difflib.unified_diff(old, new, lineterm="", n=len(old) + len(new)))[3:]
    return _cut([f"{line[0]} {line[1:]}" for line in shown])


def json_difference(before: object, after: object) -> tuple[str, ...]:
    """What differs between two values as JSON, with two lines around each place."""
    old, new = (
        ([] if value is None else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines())
        for value in (before, after)
    )
    shown = [
        "  \N{HORIZONTAL ELLIPSIS}" if line.startswith("@@") else f"{line[0]} {visible(masked(line[1:]))}"
        for line in list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
    ]
    return _cut(shown[1:] if shown[:1] == ["  \N{HORIZONTAL ELLIPSIS}"] else shown)


def _lines(text: str) -> list[str]:
    cut = masked(text)[:TEXT_LIMIT]
    lines = [visible(line) for line in cut.split("\n")] if text else []
    if len(text) > TEXT_LIMIT:
        lines.append(f"\N{HORIZONTAL ELLIPSIS} cut: the text has {len(text):,} characters")
    return lines


def _cut(lines: Sequence[str]) -> tuple[str, ...]:
    if len(lines) > LINES_LIMIT:
        return (*lines[:LINES_LIMIT], f"  \N{HORIZONTAL ELLIPSIS} and {len(lines) - LINES_LIMIT:,} more lines")
    return tuple(lines)
