"""Artifacts read back: their values by pointer, and the lines where these stand."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import yaml

from stoa_compiler.provenance.model import Pointer
from stoa_compiler.reader import spans
from stoa_compiler.source import SourceFile, Span, SpanTree
from stoa_compiler.target import Artifact

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BORDER = re.compile(rb"(?m)^---\n")


def several(path: str) -> bool:
    """Whether files at such paths hold several YAML documents."""
    return path.startswith(("kubernetes/", "argocd/"))


def read(artifact: Artifact) -> Any:
    """What the artifact holds; of several YAML documents a list of them."""
    if artifact.path.endswith(".json"):
        return orjson.loads(artifact.content)
    if several(artifact.path):
        return [yaml.load(part, Loader=_Loader) for part in _BORDER.split(artifact.content)]
    return yaml.load(artifact.content, Loader=_Loader)


def leaves(data: Any, pointer: Pointer = ()) -> Iterator[tuple[Pointer, Any]]:
    """Every value that is no mapping and no list, and those that are empty, with its pointer."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from leaves(value, (*pointer, key))
    elif isinstance(data, list) and data:
        for index, value in enumerate(data):
            yield from leaves(value, (*pointer, index))
    else:
        yield pointer, data


def written(pointer: Pointer) -> str:
    """The pointer as RFC 6901 writes it."""
    return "".join("/" + str(s).replace("~", "~0").replace("/", "~1") for s in pointer)


def resolved(data: Any, text: str) -> Pointer | None:
    """The steps of a pointer in `data`; None where it leads nowhere."""
    steps: list[str | int] = []
    for raw in text.split("/")[1:]:
        step = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(data, dict) and step in data:
            data = data[step]
            steps.append(step)
        elif isinstance(data, list) and step.isascii() and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
            steps.append(int(step))
        else:
            return None
    return tuple(steps)


def on_line(artifact: Artifact, line: int) -> set[Pointer]:
    """The pointers of the values that stand on a line, or whose text goes over it."""
    found: set[Pointer] = set()
    start = 0
    parts = _BORDER.split(artifact.content) if several(artifact.path) else [artifact.content]
    for number, part in enumerate(parts):
        prefix: Pointer = (number,) if several(artifact.path) else ()
        tree = spans(SourceFile(artifact.path, artifact.path, part))
        found |= {(*prefix, *pointer) for pointer, span in _values(tree) if _holds(span, line - start)}
        start += part.count(b"\n") + 1
    return found


def _values(tree: SpanTree, pointer: Pointer = ()) -> Iterator[tuple[Pointer, Span]]:
    if not tree.children:
        key, value = tree.key or tree.value, tree.value
        yield pointer, Span(value.file, key.line, key.column, value.end_line, value.end_column)
    for step, child in tree.children.items():
        yield from _values(child, (*pointer, step))


def _holds(span: Span, line: int) -> bool:
    end = span.end_line if span.end_column > 1 or span.end_line == span.line else span.end_line - 1
    return span.line <= line <= end
