"""Comparing values as what they mean: only what is declared, and a list as a set where its order says nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoa_compiler.drift.model import Field

Object = Mapping[str, Any]

ORDERED = frozenset({"args", "command", "valueFiles", "sources", "finalizers", "rotate"})
"""Keys of lists whose order says something."""
FIELDS = 50
"""Fields of one object that are told."""


def differences(wanted: Any, live: Any, declared: Any, path: str = "") -> Iterator[Field]:
    """Where `live` is not `wanted`, at the places that `declared` names.

    `wanted` is what the system makes of `declared`: quantities in its own spelling, defaults filled in.
    """
    if isinstance(declared, Mapping) and isinstance(wanted, Mapping):
        there = live if isinstance(live, Mapping) else {}
        for key in declared:
            yield from differences(wanted.get(key), there.get(key), declared[key], step(path, key))
        return
    if isinstance(wanted, list) and isinstance(live, list):
        yield from _lists(wanted, live, path)
        return
    if canonical(wanted) != canonical(live):
        yield Field(path, live, wanted)


def _lists(wanted: Sequence[Any], live: Sequence[Any], path: str) -> Iterator[Field]:
    name = path.rpartition(".")[2]
    if canonical(list(wanted), name) == canonical(list(live), name):
        return
    if name in ORDERED:
        yield Field(path, list(live), list(wanted))
        return
    left = [canonical(item) for item in live]
    missing = []
    for item in wanted:
        if (form := canonical(item)) in left:
            left.remove(form)
        else:
            missing.append(item)
    more = []
    for item in live:
        if (form := canonical(item)) in left:
            left.remove(form)
            more.append(item)
    yield Field(path, more or None, missing or None)


def canonical(value: Any, key: str = "") -> str:
    """A text that is the same for values that mean the same."""
    return json.dumps(_plain(value, key), sort_keys=True, ensure_ascii=False)


def _plain(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        items = [_plain(v, "") for v in value]
        return items if key in ORDERED else sorted(items, key=lambda i: json.dumps(i, sort_keys=True))
    return value


def step(path: str, key: str) -> str:
    """The path one step deeper; a key that holds a dot stands in brackets."""
    if "." in key or "/" in key:
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


# What others added, by Kubernetes' record of who set which field


def added(declared: Object, live: Object) -> Iterator[tuple[Field, str]]:
    """Fields outside `metadata` and `status` that somebody set and nobody declared, with who set them.

    What the server filled in by itself has no owner in `managedFields`, so it is none of them.
    """
    told: set[str] = set()
    for entry in live.get("metadata", {}).get("managedFields", []):
        if entry.get("subresource"):
            continue
        fields = {k: v for k, v in entry.get("fieldsV1", {}).items() if k not in ("f:metadata", "f:status")}
        for path, value in _owned(fields, declared, live, ""):
            if path not in told:
                told.add(path)
                yield Field(path, value, None), str(entry.get("manager", "somebody"))


def _owned(fields: Object, declared: Any, live: Any, path: str) -> Iterator[tuple[str, Any]]:
    for key, inner in fields.items():
        if key == ".":
            continue
        kind, _, name = key.partition(":")
        if kind == "f":
            here = live.get(name) if isinstance(live, Mapping) else None
            if here is None:
                continue
            if not isinstance(declared, Mapping) or name not in declared:
                yield step(path, name), here
            elif inner:
                yield from _owned(inner, declared[name], here, step(path, name))
        elif kind in ("k", "v"):
            wanted = json.loads(name)
            mine, theirs = _item(declared, kind, wanted), _item(live, kind, wanted)
            shown = f"{path}[{name}]"
            if theirs is None:
                continue
            if mine is None:
                yield shown, theirs
            elif inner and kind == "k":
                yield from _owned(inner, mine, theirs, shown)


def _item(items: Any, kind: str, wanted: Any) -> Any:
    """The item of a list that a key of `managedFields` names; None where there is none."""
    for item in items if isinstance(items, list) else ():
        if kind == "v":
            if item == wanted:
                return item
        elif isinstance(item, Mapping) and all(item.get(k) == v for k, v in wanted.items()):
            return item
    return None
