"""Every way in which one value of a structure can be wrong: what a slip in an emitter would do."""

import copy
from collections.abc import Iterator
from typing import Any

Step = str | int


def mutants(value: Any) -> Iterator[tuple[str, Any]]:
    """A name and a changed copy, for each change of one place."""
    for path in list(_paths(value)):
        at = ".".join(map(str, path))
        found = _get(value, path)
        yield f"{at} left out", _without(value, path)
        if isinstance(found, dict):
            yield f"{at} with one key more", _with(value, path, {**found, "added": "x"})
            if found:
                yield f"{at} emptied", _with(value, path, {})
        elif isinstance(found, list):
            if found:
                yield f"{at} emptied", _with(value, path, [])
                for index, item in enumerate(found):
                    if isinstance(item, dict) and len(item) > 1:
                        apart = [{k: v} for k, v in item.items()]
                        yield (
                            f"{at}.{index} taken apart",
                            _with(value, path, [*found[:index], *apart, *found[index + 1 :]]),
                        )
        elif isinstance(found, bool):
            yield f"{at} turned round", _with(value, path, not found)
        elif isinstance(found, int):
            yield f"{at} plus one", _with(value, path, found + 1)
        elif isinstance(found, str):
            yield f"{at} longer", _with(value, path, found + "0")
            yield f"{at} a star", _with(value, path, "*")


def _paths(value: Any, at: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    if isinstance(value, dict):
        for key in value:
            yield (*at, key)
            yield from _paths(value[key], (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*at, index)
            yield from _paths(item, (*at, index))


def _get(value: Any, path: tuple[Step, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _with(value: Any, path: tuple[Step, ...], put: Any) -> Any:
    changed = copy.deepcopy(value)
    _get(changed, path[:-1])[path[-1]] = put
    return changed


def _without(value: Any, path: tuple[Step, ...]) -> Any:
    changed = copy.deepcopy(value)
    del _get(changed, path[:-1])[path[-1]]
    return changed
