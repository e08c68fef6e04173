"""A YAML reader for other people's descriptions: YAML 1.2's core schema, with anchors, aliases and merge keys."""

import re
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from stoa_compiler.openapi.model import MAX_DEPTH, MAX_NODES, DescriptionError
from stoa_compiler.openapi.text import one_line

MAX_NUMBER_LENGTH = 40

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCT_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMERIC_START = frozenset("0123456789+-.")
_STRING_TAG = "tag:yaml.org,2002:str"


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is being read."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    line: int
    nodes: int = 1
    key: str | None = None
    merged: list[Any] | None = None
    """Values of merge keys, put below the mapping's own keys at its end."""


def read_yaml(text: str) -> Any:
    """The plain values of one YAML document; raises `DescriptionError`."""
    try:
        parser = CParser(text)
        try:
            return _YamlReader(parser).read()
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it ends too early"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise DescriptionError(f"not well-formed YAML: {problem}", line, column) from None
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character[0])
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise DescriptionError(f"the control character U+{code:04X}", line, column) from None


class _YamlReader:
    """Plain values out of libyaml's events, without recursion: depth is the author's choice."""

    def __init__(self, parser: Any) -> None:
        self.parser = parser
        self.anchors: dict[str, tuple[Any, int, int]] = {}
        """Value, number of nodes, height."""
        self.stack: list[_Open] = []
        self.heights: list[int] = []
        self.nodes = 0

    def read(self) -> Any:
        root: Any = None
        documents = 0
        while (event := self.parser.get_event()) is not None:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error("a second document begins here", event)
            elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                self._open(event)
            elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                done = self.stack.pop()
                height = self.heights.pop()
                if done.merged is not None:
                    self._merge(done, event)
                root = self._finish(done.value, done.nodes, height, done.anchor, event)
            elif isinstance(event, ScalarEvent):
                root = self._finish(self._scalar(event), 1, 0, event.anchor, event)
            elif isinstance(event, AliasEvent):
                if event.anchor not in self.anchors:
                    raise self._error(
                        f"the alias `*{event.anchor}` stands inside what it repeats, or has no anchor", event
                    )
                value, nodes, height = self.anchors[event.anchor]
                root = self._finish(value, nodes, height, None, event)
        return root

    def _open(self, event: Any) -> None:
        if self.stack and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None:
            raise self._error("a key is a list or a mapping", event)
        if len(self.stack) >= MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep", event)
        if event.anchor:
            self.anchors.pop(event.anchor, None)
        value: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
        self.stack.append(_Open(value, event.anchor, event.start_mark.line + 1))
        self.heights.append(1)

    def _finish(self, value: Any, nodes: int, height: int, anchor: str | None, event: Event) -> Any:
        """Puts a finished value into what encloses it."""
        if anchor:
            self.anchors[anchor] = (value, nodes, height)
        if not self.stack:
            return value
        parent = self.stack[-1]
        if isinstance(parent.value, dict) and parent.key is None:
            self._key(parent, value, event)
            return None
        parent.nodes += nodes
        self.nodes += nodes if isinstance(event, (AliasEvent, ScalarEvent)) else 1
        if self.nodes > MAX_NODES:
            raise self._error(f"more than {MAX_NODES:,} values, aliases expanded", event)
        if len(self.stack) + height > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep, aliases expanded", event)
        self.heights[-1] = max(self.heights[-1], height + 1)
        if isinstance(parent.value, list):
            parent.value.append(value)
            return None
        assert parent.key is not None
        if parent.key == "<<" and parent.merged is not None:
            parent.merged.append(value)
        else:
            parent.value[parent.key] = value
        parent.key = None
        return None

    def _key(self, parent: _Open, value: Any, event: Event) -> None:
        if isinstance(event, ScalarEvent):
            key = event.value
            if key == "<<" and not event.style:
                parent.merged = parent.merged or []
                parent.key = key
                return
        else:
            key = value
        if not isinstance(key, str):
            raise self._error("a key is a list or a mapping", event)
        assert isinstance(parent.value, dict)
        if key in parent.value:
            raise self._error(f"the key `{one_line(key, 60)}` stands twice", event)
        parent.key = key

    def _merge(self, done: _Open, event: Event) -> None:
        """The mapping's own keys win over merged ones, and earlier merged ones over later."""
        assert isinstance(done.value, dict)
        for value in done.merged or ():
            for mapping in value if isinstance(value, list) else [value]:
                if not isinstance(mapping, dict):
                    raise self._error("a merge key takes mappings only", event)
                for key, item in mapping.items():
                    done.value.setdefault(key, item)

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.style or event.tag == _STRING_TAG:
            return text
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if text[0] in _NUMERIC_START:
            return self._number(text, event)
        return text

    def _number(self, text: str, event: Event) -> Any:
        """A number; text that only looks like one, or has no JSON form, stays text."""
        integer, radix = _INT.fullmatch(text), _OCT_HEX.fullmatch(text)
        if not integer and not radix and not _FLOAT.fullmatch(text):
            return text
        if len(text) > MAX_NUMBER_LENGTH:
            raise self._error(f"a number of {len(text)} characters", event)
        value: int | float = int(text, 0) if radix else int(text) if integer else float(text)
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            value = float(value)
        return text if value in (float("inf"), float("-inf")) else value

    def _error(self, message: str, event: Any) -> DescriptionError:
        return DescriptionError(message, event.start_mark.line + 1, event.start_mark.column + 1)
