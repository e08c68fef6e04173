"""Read: bytes into a description. Nothing is fetched, and no input makes it fail but with `DescriptionError`.

YAML is read by YAML 1.2's core schema, so that `no`, `017` and dates stay strings; keys are strings, since
status codes are names. Other people's files have anchors and aliases: they are taken, and what they expand
to is counted.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson

from stoa_compiler.fastread import fast_read
from stoa_compiler.openapi.model import (
    MAX_DEPTH,
    MAX_NODES,
    Description,
    DescriptionError,
    OperationRef,
    Problem,
)
from stoa_compiler.openapi.pointer import look_up, pointer
from stoa_compiler.openapi.text import clean, one_line

MAX_BYTES = 20_000_000
MAX_ID_LENGTH = 256
"""What `from` in a contract can hold."""

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
OTHER_METHODS = ("trace", "query")
"""Methods that OpenAPI knows and a contract does not."""

_VERSION = re.compile(r"(3\.[012])(\.\d+)?(-[A-Za-z0-9.-]+)?|(2\.0)")


@lru_cache(maxsize=16)
def read(content: bytes, name: str) -> Description:
    """The description in `content`, JSON or YAML; equal bytes are read once in a process."""
    return describe(_parse(content, name), name)


def _parse(content: bytes, name: str) -> Any:
    if len(content) > MAX_BYTES:
        raise DescriptionError(f"the file has {len(content):,} bytes; at most {MAX_BYTES:,} are taken")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise DescriptionError("the file is empty", 1, 1)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise DescriptionError(f"byte 0x{content[error.start]:02x} is not UTF-8", line, column) from None
    if not text.lstrip().startswith(("{", "[")):
        plain = fast_read(content)
        return _yaml(text) if plain is None else plain
    try:
        return _json(content, text)
    except orjson.JSONDecodeError as error:
        # YAML's flow style begins with the same brace, and takes much that is broken JSON.
        if name.endswith((".yaml", ".yml")):
            return _yaml(text)
        raise DescriptionError(f"not well-formed JSON: {error.msg}", error.lineno, error.colno) from None


def _json(content: bytes, text: str) -> Any:
    data = orjson.loads(content)
    _check_size(data)
    json.loads(text, object_pairs_hook=_no_duplicates)
    return data


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise DescriptionError(f"the key `{one_line(twice, 60)}` stands twice in one object")
    return mapping


def _check_size(data: Any) -> None:
    """Refuses what is nested too deep or has too many values."""
    nodes, depth, level = 0, 0, [data]
    while level:
        nodes += len(level)
        depth += 1
        if depth > MAX_DEPTH:
            raise DescriptionError(f"nested more than {MAX_DEPTH} levels deep")
        if nodes > MAX_NODES:
            raise DescriptionError(f"more than {MAX_NODES:,} values")
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        level = below


def _yaml(text: str) -> Any:
    from stoa_compiler.openapi.yamlread import read_yaml  # Only here: most files are plain, and libyaml is not small.

    return read_yaml(text)


def describe(data: Any, name: str) -> Description:
    """The description that plain values hold."""
    if not isinstance(data, dict):
        raise DescriptionError("not an OpenAPI description: its root is not a mapping", 1, 1)
    declared = data.get("openapi", data.get("swagger"))
    match = _VERSION.fullmatch(str(declared)) if isinstance(declared, (str, float, int)) else None
    if match is None or bool(match[4]) != ("openapi" not in data):
        found = "no `openapi` or `swagger` key" if declared is None else f"version `{one_line(str(declared), 40)}`"
        raise DescriptionError(f"not an OpenAPI description of version 2.0, 3.0, 3.1 or 3.2: {found}", 1, 1)
    version = match[1] or match[4]
    document: Mapping[str, Any] = data
    if version == "2.0":
        from stoa_compiler.openapi.swagger import upgrade  # Only here: few descriptions are so old.

        document = upgrade(data)
    info = document.get("info")
    info = info if isinstance(info, dict) else {}
    problems: list[Problem] = []
    found_operations = list(_operations(document, problems))
    ids: dict[str, list[OperationRef]] = {}
    for operation in found_operations:
        if operation.declared_id is not None:
            ids.setdefault(operation.declared_id, []).append(operation)
    operations: dict[str, OperationRef] = {}
    ambiguous = {}
    for operation in found_operations:
        declared_id = operation.declared_id
        if declared_id is not None and len(ids[declared_id]) == 1 and len(declared_id) <= MAX_ID_LENGTH:
            operations.setdefault(declared_id, operation)
        else:
            operations.setdefault(operation.id, operation)
    for declared_id, several in sorted(ids.items()):
        if len(several) > 1:
            instead = tuple(o.id for o in several)
            ambiguous[declared_id] = instead
            problems.append(
                Problem(
                    several[1].pointer + "/operationId",
                    f"the operationId `{one_line(declared_id, 80)}` stands {len(several)} times",
                    f"Make each one unique; until then they are called {', '.join(f'`{i}`' for i in instead[:4])}.",
                )
            )
    final = {
        key: o
        if key == o.id
        else OperationRef(key, o.declared_id, o.method, o.path, o.tags, o.summary, o.deprecated, o.pointer)
        for key, o in operations.items()
    }
    text = info.get("description") or info.get("summary")
    return Description(
        name=name,
        version=version,
        title=clean(info.get("title"), 80) or name,
        summary=clean(text, 1024),
        api_version=str(info["version"])[:64] if isinstance(info.get("version"), (str, int, float)) else None,
        document=document,
        operations=final,
        problems=tuple(problems),
        ambiguous=ambiguous,
    )


def _operations(document: Mapping[str, Any], problems: list[Problem]) -> Iterator[OperationRef]:
    paths = document.get("paths", {})
    if not isinstance(paths, dict):
        problems.append(Problem("/paths", "`paths` is not a mapping", "Put each path as a key below `paths`."))
        return
    for path, item in paths.items():
        where = pointer("paths", path)
        if path.startswith("x-"):
            continue
        if not isinstance(item, dict) or not path.startswith("/"):
            problems.append(
                Problem(
                    where, f"`{one_line(path, 80)}` is not a path item", "A path begins with `/` and holds methods."
                )
            )
            continue
        item, base = _followed(document, item, where, problems)
        for method in METHODS:
            if method in item:
                ref = _operation(path, method, item[method], f"{base}/{method}")
                if ref is None:
                    problems.append(
                        Problem(f"{base}/{method}", "the operation is not a mapping", "Write it as a mapping.")
                    )
                else:
                    yield ref
        extra = item.get("additionalOperations")
        for method in [*(m for m in OTHER_METHODS if m in item), *(extra if isinstance(extra, dict) else ())]:
            problems.append(
                Problem(
                    f"{where}/{method}",
                    f"`{one_line(method, 20).upper()} {one_line(path, 120)}` is left out: the method is not taken",
                    f"Operations use one of {', '.join(m.upper() for m in METHODS)}.",
                )
            )


def _followed(
    document: Mapping[str, Any], item: dict[str, Any], where: str, problems: list[Problem]
) -> tuple[dict[str, Any], str]:
    """The path item itself, where `item` refers to another one."""
    target = item.get("$ref")
    if not isinstance(target, str):
        return item, where
    node: Any = document
    if target.startswith("#/"):
        at = unquote(target[1:])
        node = look_up(document, at)
        if isinstance(node, dict) and "$ref" not in node:
            return node, at
    problems.append(
        Problem(
            f"{where}/$ref",
            f"the path item `{one_line(target, 120)}` cannot be found in this file",
            "Bundle the description into one file; other files and URLs are not fetched.",
        )
    )
    return {k: v for k, v in item.items() if k != "$ref"}, where


def _operation(path: str, method: str, operation: Any, where: str) -> OperationRef | None:
    if not isinstance(operation, dict):
        return None
    declared = operation.get("operationId")
    declared = str(declared) if isinstance(declared, (str, int)) and str(declared).strip() else None
    tags = operation.get("tags")
    return OperationRef(
        id=f"{method.upper()} {path}",
        declared_id=declared,
        method=method.upper(),
        path=path,
        tags=tuple(str(t) for t in tags if isinstance(t, str)) if isinstance(tags, list) else (),
        summary=clean(operation.get("summary"), 80),
        deprecated=operation.get("deprecated") is True,
        pointer=where,
    )
