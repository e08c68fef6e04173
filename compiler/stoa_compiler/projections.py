"""Output schemas of projections: what is left of a schema when only some members of an answer are passed on.

Whatever fits the whole schema fits the pruned one once it is projected. Where that cannot be known from the schema, the
path is refused: the author is told, and no member is guessed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal
from urllib.parse import unquote

from stoa_compiler.diagnostics import listed, nearest
from stoa_compiler.records import record
from stoa_schemas import projection
from stoa_schemas.projection import ITEMS, Tree

MAX_DEPTH = 64
MAX_NODES = 5_000

_EVERY = frozenset({"array", "boolean", "null", "number", "object", "string"})
_BY_NAME = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_DATA = frozenset({"const", "default", "dependentRequired", "enum", "examples", "required", "type"})
_WORDS = ("title", "description", "deprecated", "readOnly", "writeOnly", "$comment")
_UNIONS = ("anyOf", "oneOf")


@record
class Problem:
    """Why a path is refused."""

    index: int
    """Which of the paths."""
    kind: Literal["unknown", "mixed", "covered"]
    message: str
    help: str = ""


class _Unresolvable(Exception):
    """The schema leads in a circle, or is beyond all bounds."""


def prune(schema: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any] | list[Problem]:
    """The schema of the projected answer, or what is wrong with the paths."""
    pruner = _Pruner(schema)
    try:
        problems = [*_covered(paths), *pruner.problems(paths)]
        return problems or pruner.pruned(projection.tree(paths))
    except _Unresolvable:
        return [Problem(0, "mixed", "the output schema is too deep to pick members of, or leads in a circle")]


def _covered(paths: Sequence[str]) -> Iterator[Problem]:
    """Paths that another one passes on already, or that take a place for a list which another takes for an object."""
    taken = [projection.steps(path) for path in paths]
    for index, mine in enumerate(taken):
        for other, theirs in enumerate(taken):
            shared = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
            if mine == theirs and other < index:
                yield Problem(index, "covered", f"`{paths[index]}` is named twice", "Remove one of them.")
                break
            if shared is None and len(theirs) < len(mine):
                said = f"`{paths[index]}` is part of `{paths[other]}`, which is passed on whole"
                yield Problem(index, "covered", said, "Remove one of them: the parent, where only this part is meant.")
                break
            if shared is not None and other < index and ITEMS in (mine[shared], theirs[shared]):
                at = projection.text(mine[:shared]) or "the answer"
                said = f"`{paths[index]}` and `{paths[other]}` disagree on whether `{at}` is a list"
                yield Problem(index, "covered", said, "Write both with `[]`, or both without.")
                break


@dataclass(slots=True)
class _Pruner:
    """One schema being pruned."""

    root: Mapping[str, Any]
    definitions: dict[str, Any] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    """The new names of what is referred to, by reference."""
    nodes: int = 0

    def problems(self, paths: Sequence[str]) -> Iterator[Problem]:
        """What cannot be found in the schema, or not be told apart."""
        for index, path in enumerate(paths):
            found = self._problem(index, path)
            if found is not None:
                yield found

    def _problem(self, index: int, path: str) -> Problem | None:
        taken = projection.steps(path)
        nodes: list[Any] = [self.root]
        for at, step in enumerate(taken):
            here = projection.text(taken[:at])
            place = f"`{here}`" if here else "the answer"
            kinds = self._types(self.root, taken[:at], 0)
            wanted = "array" if step == ITEMS else "object"
            below = [sub for node in nodes for sub in self._below(node, step, 0)]
            if wanted not in kinds or (not below and kinds <= {"array", "null"}):
                if step != ITEMS and "array" in kinds:
                    right = projection.text((*taken[:at], ITEMS, *taken[at:]))
                    return Problem(index, "unknown", f"{place} is a list", f"Write `{right}`.")
                return Problem(index, "unknown", f"{place} is no {'list' if step == ITEMS else 'object'}", "")
            if not below:
                names = sorted({n for node in nodes for n in self._names(node, 0)})
                close = nearest(step, names)
                advice = f"Did you mean `{close}`?" if close else f"It has {listed(names)}." if names else ""
                whose = f"`{here}` has no member" if here else "the output schema has no member"
                return Problem(index, "unknown", f"{whose} `{step}`", advice)
            if not kinds <= {wanted, "null"}:
                others = listed(sorted(kinds - {wanted}))
                return Problem(
                    index,
                    "mixed",
                    f"{place} may be {others} as well, of which `{path}` could pass nothing on",
                    f"Give it `type: {wanted}`, or pick it whole." if here else f"Give `output` `type: {wanted}`.",
                )
            nodes = below
        return None

    def pruned(self, wanted: Tree) -> dict[str, Any]:
        """The schema with what `wanted` names."""
        found = self._prune(self.root, wanted, 0)
        assert isinstance(found, dict)
        queue = list(self.named)
        for reference in queue:  # Grows while definitions refer to further ones.
            self.definitions[self.named[reference]] = self._kept(self._target(reference))
            queue += [r for r in self.named if r not in queue]
        if self.definitions:
            found["$defs"] = dict(sorted(self.definitions.items()))
        return found

    def _prune(self, node: Any, wanted: Tree, depth: int) -> Any:
        """What is left of a schema whose values are projected to `wanted`; {} says nothing."""
        self._count(depth)
        if not isinstance(node, Mapping):
            return node if isinstance(node, bool) else {}
        words = {k: node[k] for k in _WORDS if k in node}
        out: dict[str, Any] = {"type": node["type"]} if "type" in node else {}
        out |= self._items(node, wanted, depth) if ITEMS in wanted else self._members(node, wanted, depth)
        every = [self._target(node["$ref"])] if isinstance(node.get("$ref"), str) else []
        every += _list(node.get("allOf"))
        parts = [p for sub in every if (p := self._prune(sub, wanted, depth + 1)) not in ({}, True)]
        for keyword in _UNIONS:
            if keyword in node:
                # Of several branches, more than one may fit what is left; that one does is still true.
                branches = [self._prune(sub, wanted, depth + 1) for sub in _list(node[keyword])]
                branches = [b for i, b in enumerate(branches) if b is not False and b not in branches[:i]]
                if branches and {} not in branches and True not in branches:
                    parts.append(branches[0] if len(branches) == 1 else {"anyOf": branches})
        if not out and len(parts) == 1 and isinstance(parts[0], dict):
            return {**parts[0], **words}
        return {**words, **out, **({"allOf": parts} if parts else {})}

    def _members(self, node: Mapping[str, Any], wanted: Tree, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        properties = {
            name: self._kept(declared) if below is None else self._prune(declared, below, depth + 1)
            for name, below in wanted.items()
            if (declared := _declared(node, name)) is not None
        }
        if properties:
            out["properties"] = properties
        required = [r for r in _list(node.get("required")) if r in wanted]
        if required:
            out["required"] = required
        if node.get("additionalProperties") is False and not node.get("patternProperties"):
            out["additionalProperties"] = False
        return out

    def _items(self, node: Mapping[str, Any], wanted: Tree, depth: int) -> dict[str, Any]:
        out = {k: node[k] for k in ("minItems", "maxItems") if k in node}
        below = wanted[ITEMS]
        assert below is not None  # A path ends in a name.
        if _list(node.get("prefixItems")):
            out["prefixItems"] = [self._prune(sub, below, depth + 1) for sub in node["prefixItems"]]
        if "items" in node:
            out["items"] = self._prune(node["items"], below, depth + 1)
        return out

    def _kept(self, node: Any, by_name: bool = False) -> Any:
        """A subschema as it is, its references pointing to where their targets now stand."""
        self._count(0)
        if isinstance(node, list):
            return [self._kept(item) for item in node]
        if not isinstance(node, Mapping):
            return node
        if by_name:
            return {name: self._kept(sub) for name, sub in node.items()}
        return {
            key: self._reference(value)
            if key in ("$ref", "$dynamicRef") and isinstance(value, str)
            else value
            if key in _DATA
            else self._kept(value, key in _BY_NAME)
            for key, value in node.items()
            if key not in ("$defs", "definitions", "$schema")
        }

    def _reference(self, reference: str) -> str:
        """Where the target of a reference stands in the pruned schema."""
        if reference not in self.named:
            head, _, name = reference.rpartition("/")
            defined = self.root.get("$defs")
            taken = set(defined) if isinstance(defined, Mapping) else set()
            if head != "#/$defs" or name not in taken:
                taken |= set(self.named.values())
                name = next(n for i in count(1) if (n := f"part-{i}") not in taken)
            self.named[reference] = name
        return f"#/$defs/{self.named[reference]}"

    def _target(self, reference: str) -> Any:
        """The subschema that a reference names; one that says nothing where there is none, which is told elsewhere."""
        node: Any = self.root
        for step in unquote(reference.partition("#")[2]).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping):
                node = node.get(step)
            elif isinstance(node, list) and step.isascii() and step.isdigit() and int(step) < len(node):
                node = node[int(step)]
            else:
                return {}
        return {} if node is None else node

    def _count(self, depth: int) -> None:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES * 4:
            raise _Unresolvable

    def _applied(self, node: Mapping[str, Any]) -> list[Any]:
        """The subschemas that say something of the same value."""
        found = [self._target(node["$ref"])] if isinstance(node.get("$ref"), str) else []
        return [*found, *(sub for k in ("allOf", *_UNIONS) for sub in _list(node.get(k)))]

    def _below(self, node: Any, step: str, depth: int) -> Iterator[Any]:
        """What a schema says of a member, or of a list's items, in any of its branches."""
        self._count(depth)
        if not isinstance(node, Mapping):
            return
        if step == ITEMS:
            yield from _list(node.get("prefixItems"))
            if isinstance(node.get("items"), Mapping):
                yield node["items"]
        elif (declared := _declared(node, step)) is not None:
            yield declared
        for sub in self._applied(node):
            yield from self._below(sub, step, depth + 1)

    def _names(self, node: Any, depth: int) -> Iterator[str]:
        self._count(depth)
        if not isinstance(node, Mapping):
            return
        if isinstance(node.get("properties"), Mapping):
            yield from (str(name) for name in node["properties"])
        for sub in self._applied(node):
            yield from self._names(sub, depth + 1)

    def _types(self, node: Any, path: Sequence[str], depth: int) -> frozenset[str]:
        """The types that a value at `path` may have, as far as the schema tells; too many rather than too few."""
        self._count(depth)
        if node is False:
            return frozenset()
        if not isinstance(node, Mapping):
            return _EVERY
        found = _own_types(node) if not path else self._types_below(node, path, depth)
        every = [self._target(node["$ref"])] if isinstance(node.get("$ref"), str) else []
        for sub in [*every, *_list(node.get("allOf"))]:
            found &= self._types(sub, path, depth + 1)
        for keyword in _UNIONS:
            if branches := _list(node.get(keyword)):
                found &= frozenset[str]().union(*(self._types(sub, path, depth + 1) for sub in branches))
        return found

    def _types_below(self, node: Mapping[str, Any], path: Sequence[str], depth: int) -> frozenset[str]:
        step, rest = path[0], path[1:]
        if (("array" if step == ITEMS else "object") not in _own_types(node)) or (
            step != ITEMS and _declared(node, step) is None and _is_closed(node)
        ):
            return frozenset()  # No such place in this branch.
        if step != ITEMS:
            declared = _declared(node, step)
            return _EVERY if declared is None else self._types(declared, rest, depth + 1)
        subs = [*_list(node.get("prefixItems")), node.get("items", True)]
        return frozenset[str]().union(*(self._types(sub, rest, depth + 1) for sub in subs))


def _own_types(node: Mapping[str, Any]) -> frozenset[str]:
    """The types that a schema's own keywords allow."""
    found = _EVERY
    if "type" in node:
        names = node["type"] if isinstance(node["type"], list) else [node["type"]]
        found &= {"number" if name == "integer" else name for name in names if isinstance(name, str)}
    for values in (node.get("enum"), [node["const"]] if "const" in node else None):
        if isinstance(values, list):
            found &= {_type_of(value) for value in values}
    return found


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _declared(node: Mapping[str, Any], name: str) -> Any:
    """What a schema itself says of a member: by its name, or as one of a map. None where it says nothing."""
    properties = node.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return properties[name]
    others = node.get("additionalProperties")
    return others if isinstance(others, Mapping) and others and not node.get("patternProperties") else None


def _is_closed(node: Mapping[str, Any]) -> bool:
    return node.get("additionalProperties") is False and not node.get("patternProperties")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
