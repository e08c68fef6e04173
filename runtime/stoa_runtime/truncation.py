"""Answers made short enough for a client: items left out at the end of lists, so that what is left still conforms."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stoa_runtime.results import encode

_ROUNDS = 32
"""Lists that are shortened in one answer."""
_TRIES = 12
"""Lengths that are tried of a list that must not become too short."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A list of which only the beginning is left."""

    at: str
    """Where, as people write it: `orders[0].lines`; empty for the answer itself."""
    kept: int
    of: int


def shorten(value: Any, limit: int, conforms: Callable[[Any], bool]) -> tuple[Any, list[Cut]] | None:
    """`value` with its largest lists cut at their ends until it has at most `limit` characters and conforms.

    None where that cannot be had with at least one item in each list. `value` itself stays as it is.
    """
    whole = {"": value}  # So that the answer itself can be a list that is replaced.
    fixed: set[str] = set()
    cuts: dict[str, Cut] = {}
    for _ in range(_ROUNDS):
        excess = _size(whole[""]) - limit
        if excess <= 0:
            return whole[""], [cuts[at] for at in sorted(cuts)]
        lists = [(at, found) for at, found in _lists(whole[""]) if len(found) > 1 and at not in fixed]
        if not lists:
            return None
        at, items = max(lists, key=lambda entry: _size(entry[1]))
        length = len(items)
        while length > 1 and excess > 0:
            length -= 1
            excess -= _size(items[length]) + 1
        shorter = _first_conforming(whole[""], items, length, conforms)
        if shorter is None:
            fixed.add(at)
            continue
        kept, whole[""] = shorter
        cuts[at] = Cut(at, kept, cuts[at].of if at in cuts else len(items))
        fixed.add(at)  # It is as short as it may be, or short enough.
    return None


def _first_conforming(
    value: Any, items: list[Any], length: int, conforms: Callable[[Any], bool]
) -> tuple[int, Any] | None:
    """The shortest length of at least `length` with which the value conforms, among a few; None where none does."""
    step = 1
    for _ in range(_TRIES):
        if length >= len(items):
            return None
        candidate = _with(value, items, items[:length])
        if conforms(candidate):
            return length, candidate
        length, step = length + step, step * 2
    return None


def _with(value: Any, old: list[Any], new: list[Any]) -> Any:
    """`value` with one list replaced; what does not hold it is shared."""
    if value is old:
        return new
    if isinstance(value, dict):
        return {name: _with(item, old, new) for name, item in value.items()}
    if isinstance(value, list):
        return [_with(item, old, new) for item in value]
    return value


def _lists(value: Any, at: str = "") -> Iterator[tuple[str, list[Any]]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _lists(item, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        yield at, value
        for index, item in enumerate(value):
            yield from _lists(item, f"{at}[{index}]")


def _size(value: Any) -> int:
    return len(encode(value).decode())
