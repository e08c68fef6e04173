"""Readback: rendered YAML as its consumers read it, and stricter: a key that is there twice is refused."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml

from stoa_compiler.blockyaml import is_plain_line
from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.source import Span

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = "tag:yaml.org,2002:str"
_COLLECTIONS: dict[type[yaml.Node], str] = {
    yaml.MappingNode: "tag:yaml.org,2002:map",
    yaml.SequenceNode: "tag:yaml.org,2002:seq",
}
_LONG = 1000
"""Characters from which on a line in a literal block is read by itself: nearly always a file that is carried."""

_HEAD = re.compile(rb'( *(?:- )?)(?:[\w./-]+|"[\w./-]+"): \|(-?)')


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
    loader = _Loader(text)
    try:
        found = []
        while loader.check_node():
            found.append(_Values(loader, blocks).of(loader.get_node()))
        return found
    finally:
        loader.dispose()


@dataclass
class _Values:
    """What the nodes of one document say."""

    loader: Any
    blocks: dict[str, str]
    """Texts by what stands for them in the document, until it is read."""
    made: dict[int, Any] = field(default_factory=dict)
    """Collections by their nodes, for whoever refers to one again; None while it is being made."""

    def of(self, node: yaml.Node) -> Any:
        """The node's value."""
        if type(node) is yaml.ScalarNode:
            if node.tag == _TEXT:
                return self.blocks.pop(node.value, None) or node.value
            return self.loader.construct_object(node, deep=True)
        if node.tag != _COLLECTIONS[type(node)]:
            raise _refused(node, "a collection has a tag")
        if id(node) in self.made:
            if self.made[id(node)] is None:
                raise _refused(node, "a collection holds itself")
            return self.made[id(node)]
        self.made[id(node)] = None
        found = self.made[id(node)] = self._mapping(node) if type(node) is yaml.MappingNode else self._sequence(node)
        return found

    def _sequence(self, node: yaml.Node) -> list[Any]:
        return [self.of(item) for item in node.value]

    def _mapping(self, node: yaml.Node) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if type(key_node) is not yaml.ScalarNode or key_node.tag == "tag:yaml.org,2002:merge":
                raise _refused(key_node, "a key is no scalar")
            key = self.of(key_node)
            if key in mapping:
                raise _refused(key_node, "a key is there twice")
            mapping[key] = self.of(value_node)
        return mapping


def _refused(node: yaml.Node, why: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


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
