"""Projections: the members of an answer that are passed on, named by paths such as `lines[].amount`.

A path is names joined by dots; `[]` stands for every item of a list, also at the beginning. What a path names is passed
on with all that is below it. Nothing else is.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

PATH = r"^((\[\])+\.)?[^.\[\]\n\t]+((\[\])*\.[^.\[\]\n\t]+)*$"
"""The form of a path. A name that holds a dot or a bracket cannot be written; its parent can."""
ITEMS = "[]"
"""The step to every item of a list. No name can be this one."""

Tree: TypeAlias = Mapping[str, "Tree | None"]
"""What is passed on, by step: None is everything below. Beside `ITEMS` there is no other step."""

_STEP = re.compile(r"\[\]|[^.\[\]]+")
_LEFT_OUT = object()


def steps(path: str) -> tuple[str, ...]:
    """The steps of a path, in order."""
    return tuple(_STEP.findall(path))


def text(taken: Iterable[str]) -> str:
    """Steps as a path again."""
    joined = ""
    for step in taken:
        joined += step if step == ITEMS or not joined else f".{step}"
    return joined


def tree(paths: Iterable[str]) -> Tree:
    """The paths as one tree. `ValueError` where one place is both a list and an object."""
    root: dict[str, Any] = {}
    for path in paths:
        node: dict[str, Any] = root
        *parents, last = steps(path)
        for step in parents:
            _add(node, step, path)
            if node.setdefault(step, {}) is None:
                break  # A parent of this one is passed on whole.
            node = node[step]
        else:
            _add(node, last, path)
            node[last] = None
    return root


def _add(node: Mapping[str, Any], step: str, path: str) -> None:
    if node and (step == ITEMS) != (ITEMS in node):
        raise ValueError(f"{path}: one place is both a list and an object")


def project(value: Any, wanted: Tree) -> Any:
    """`value` with what `wanted` names, in the value's own order.

    A value of another kind than its path says has nothing that was named: it is left out of an object, and null
    elsewhere. Null stays null.
    """
    found = _project(value, wanted)
    return None if found is _LEFT_OUT else found


def _project(value: Any, wanted: Tree) -> Any:
    if value is None:
        return None
    if ITEMS in wanted:
        below = wanted[ITEMS]
        if not isinstance(value, list):
            return _LEFT_OUT
        return value if below is None else [project(item, below) for item in value]
    if not isinstance(value, dict):
        return _LEFT_OUT
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if name in wanted:
            below = wanted[name]
            found = item if below is None else _project(item, below)
            if found is not _LEFT_OUT:
                kept[name] = found
    return kept
