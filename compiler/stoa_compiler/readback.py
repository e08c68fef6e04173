"""Readback: rendered YAML as its consumers read it, and stricter: a key that is there twice is refused."""

import os
import re
from contextlib import suppress
from typing import Any

import yaml

from stoa_compiler.blockyaml import is_plain
from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.source import Span

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_LONG = 1000
"""Characters from which on a line in a literal block is read by itself: nearly always a file that is carried."""

_HEAD = re.compile(r'( *(?:- )?)(?:[\w./-]+|"[\w./-]+"): \|(-?)')


class _UniqueKeys(_Loader):  # type: ignore[misc]
    blocks: dict[str, str]
    """Texts by what stands for them in the document, until it is read."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        return self.blocks.pop(node.value, None) or super().construct_scalar(node)


def document(content: bytes) -> Any:
    """The one document of a file; raises `UnicodeDecodeError` and `yaml.YAMLError`."""
    found = documents(content)
    if len(found) > 1:
        raise yaml.composer.ComposerError(None, None, "there is more than one document", None)
    return found[0] if found else None


def documents(content: bytes) -> list[Any]:
    """All documents of a file; raises the same."""
    short, blocks = _without_blocks(content.decode().split("\n"))
    if blocks:
        with suppress(yaml.YAMLError):  # It is told of the text as it is.
            found = _load(short, blocks)
            if not blocks:  # Else one of them was no block, but a part of another text.
                return found
    return _load(content.decode(), {})


def _load(text: str, blocks: dict[str, str]) -> list[Any]:
    loader = _UniqueKeys(text)
    loader.blocks = blocks
    try:
        found = []
        while loader.check_data():
            found.append(loader.get_data())
        return found
    finally:
        loader.dispose()


def _without_blocks(lines: list[str]) -> tuple[str, dict[str, str]]:
    """The lines with a word in place of each literal block of one long line, and what each word stands for.

    Such a block is its line without the indentation, which is deeper than that of its key; it ends where the next
    line is not so deep (YAML 1.2.2, 8.1.2). Whatever is not plainly that is left for the parser.
    """
    mark = f"block-{os.urandom(16).hex()}"
    blocks: dict[str, str] = {}
    for number, line in enumerate(lines):
        if len(line) < _LONG:
            continue
        head, after = lines[number - 1], lines[number + 1] if number + 1 < len(lines) else ""
        found = _HEAD.fullmatch(head) if len(head) < _LONG else None
        deep = _indentation(line)
        ends = _indentation(after) < deep and (after.strip(" ") or number + 2 == len(lines))
        if found and ends and len(found[1]) < deep and is_plain(line):
            word = f"{mark}-{number}"
            blocks[word] = line[deep:] + ("" if found[2] else "\n")
            lines[number - 1 : number + 1] = [f'{head[: head.rindex("|")]}"{word}"', ""]
    return "\n".join(lines), blocks


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def objects(path: str, content: bytes, rule: Rule, span: Span, report: Report) -> list[dict[str, Any]]:
    """The objects of a file of manifests; none, with a finding of `rule`, where it holds anything else."""
    try:
        found = documents(content)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        report.add(rule, span, f"`{path}` is no YAML: {str(error).splitlines()[0]}")
        return []
    if not all(isinstance(one, dict) for one in found):
        report.add(rule, span, f"`{path}` holds something else than objects")
        return []
    return found
