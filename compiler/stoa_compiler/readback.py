"""Readback: rendered YAML as its consumers read it, and stricter: a key that is there twice is refused."""

import os
import re
from contextlib import suppress
from typing import Any

import yaml

from stoa_compiler.blockyaml import is_plain_line
from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.source import Span

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_LONG = 1000
"""Characters from which on a line in a literal block is read by itself: nearly always a file that is carried."""

_HEAD = re.compile(rb'( *(?:- )?)(?:[\w./-]+|"[\w./-]+"): \|(-?)')


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
    short, blocks = _without_blocks(content)
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


def _without_blocks(content: bytes) -> tuple[str, dict[str, str]]:
    """The text with a word in place of each literal block of one long line, and what each word stands for.

    Such a block is its line without the indentation, which is deeper than that of its key; it ends where the next
    line is not so deep (YAML 1.2.2, 8.1.2). Whatever is not plainly that is left for the parser.
    """
    mark = f"block-{os.urandom(16).hex()}"
    blocks: dict[str, str] = {}
    lines: list[bytes] = []
    start, whole = 0, len(content)
    while start < whole:
        end = content.find(b"\n", start)
        end = whole if end < 0 else end
        found = _HEAD.fullmatch(lines[-1]) if end - start > _LONG and lines and len(lines[-1]) < _LONG else None
        if found is not None:
            deep = _indentation(content, start)
            after = _indentation(content, end + 1)
            ends = after < deep and (end + 1 >= whole or content[end + 1 + after : end + 2 + after] not in (b"\n", b""))
            text = content[start + deep : end + (not found[2])]
            if ends and end < whole and len(found[1]) < deep and text.isascii() and is_plain_line(text):
                word = f"{mark}-{len(lines)}"
                blocks[word] = text.decode()
                lines[-1] = b'%b"%b"' % (lines[-1][: lines[-1].rindex(b"|")], word.encode())
                lines.append(b"")
                start = end + 1
                continue
        lines.append(content[start:end])
        start = end + 1
    if not blocks:
        return "", blocks
    return b"\n".join([*lines, b""]).decode(), blocks


def _indentation(content: bytes, start: int) -> int:
    end = start
    while content[end : end + 1] == b" ":
        end += 1
    return end - start


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
