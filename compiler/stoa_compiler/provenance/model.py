"""What is said of a value: the rule that made it, and what it was made from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc, Span

if TYPE_CHECKING:
    from stoa_compiler.provenance.places import Places

Pointer = tuple[str | int, ...]
"""A JSON pointer's steps; in a file of several YAML documents the first is the document's number."""

Part = Literal["key", "value"]


def within(value: Any, loc: Loc) -> bool:
    """Whether plain data has something at `loc`."""
    for step in loc:
        if isinstance(value, Mapping):
            if step not in value:
                return False
            value = value[step]
        elif isinstance(value, list):
            if not isinstance(step, int) or step >= len(value):
                return False
            value = value[step]
        else:
            return False
    return True


@record
class Place:
    """One place of the source: a value, or a name. It may be left out there, where the value is a default."""

    document: Document
    loc: Loc
    part: Part = "value"

    @property
    def key(self) -> tuple[str, Loc, Part]:
        """What tells it from others."""
        return (self.document.file.path, self.loc, self.part)

    @property
    def there(self) -> bool:
        """Whether the source says anything there."""
        return within(self.document.data, self.loc)

    @property
    def span(self) -> Span:
        """Where it is, or would be."""
        return self.document.span(self.loc, self.part)


@record
class Cause:
    """What a value follows from: another value at these places is another value here."""

    places: tuple[Place, ...]
    together: bool = False
    """Each of them alone is enough, so only a change of all of them changes the value."""

    @property
    def key(self) -> tuple[tuple[str, Loc, Part], ...]:
        """What tells it from others."""
        return tuple(p.key for p in self.places)


@record
class Emission:
    """A rule of emission: a stable name, and what it does in one sentence."""

    name: str
    sentence: str
    constant: bool = False
    """Nothing in the source can change what it makes."""


@record
class Traced:
    """A value with its provenance."""

    path: str
    pointer: Pointer
    value: Any
    emission: Emission | None = None
    causes: tuple[Cause, ...] = ()
    within: tuple[tuple[str, Pointer], ...] = ()
    """Artifacts, and pointers below which their values are what this one is made of."""


class Undeclared(Exception):
    """A table says nothing of a value."""


@record
class Seen:
    """One value while its provenance is looked for."""

    places: "Places"
    path: str
    data: Any
    pointer: Pointer
    value: Any

    def at(self, *steps: str | int) -> Any:
        """What stands at a pointer of the same artifact; None where there is nothing."""
        node = self.data
        for step in steps:
            if isinstance(node, Mapping):
                node = node.get(str(step))
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                node = node[step]
            else:
                return None
        return node

    def near(self, up: int, *steps: str | int) -> Any:
        """What stands at `steps` below the value `up` levels above this one."""
        return self.at(*self.pointer[: len(self.pointer) - up], *steps)


Origins = Iterable[Place | Cause]
Trace = Callable[[Seen], Origins]
Within = Callable[[Seen], Sequence[tuple[str, Pointer]]]


@record
class Rule:
    """A pattern of pointers with the emission that makes the values there."""

    pattern: tuple[str, ...]
    """`*` is one step, `**` at the end is any number of them."""
    emission: Emission
    causes: Trace | None = None
    within: Within | None = None
    when: Callable[[Seen], bool] | None = None

    def matches(self, pointer: Pointer) -> bool:
        """Whether the pattern fits."""
        pattern = self.pattern
        if pattern and pattern[-1] == "**":
            pattern = pattern[:-1]
            if len(pointer) < len(pattern):
                return False
        elif len(pointer) != len(pattern):
            return False
        return all(w in ("*", str(s)) for w, s in zip(pattern, pointer, strict=False))


def made(
    pattern: str,
    name: str,
    sentence: str,
    causes: Trace | None = None,
    within: Within | None = None,
    when: Callable[[Seen], bool] | None = None,
) -> Rule:
    """A rule whose values come from the source."""
    return Rule(_steps(pattern), Emission(name, sentence), causes, within, when)


def fixed(pattern: str, name: str, sentence: str, when: Callable[[Seen], bool] | None = None) -> Rule:
    """A rule whose values are the platform's own constants."""
    return Rule(_steps(pattern), Emission(name, sentence, constant=True), when=when)


def _steps(pattern: str) -> tuple[str, ...]:
    return tuple(s.replace("~1", "/").replace("~0", "~") for s in pattern.split("/")[1:])


@record
class Table:
    """What is known of one kind of artifact. The first rule that fits a pointer holds."""

    paths: str
    """Paths of the artifacts, as a shell's pattern."""
    rules: tuple[Rule, ...]

    def fits(self, path: str) -> bool:
        """Whether the table is for the artifact at `path`."""
        return fnmatchcase(path, self.paths)

    def trace(self, places: "Places", path: str, data: Any, pointer: Pointer, value: Any) -> Traced:
        """The value with its provenance."""
        seen = Seen(places, path, data, pointer, value)
        for rule in self.rules:
            if rule.matches(pointer) and (rule.when is None or rule.when(seen)):
                causes = tuple(_causes(rule.causes(seen)) if rule.causes else ())
                within = tuple(rule.within(seen)) if rule.within else ()
                if not rule.emission.constant and not causes and not within:
                    return Traced(path, pointer, value)
                return Traced(path, pointer, value, rule.emission, causes, within)
        return Traced(path, pointer, value)


def _causes(origins: Origins) -> list[Cause]:
    found: dict[object, Cause] = {}
    for origin in origins:
        cause = origin if isinstance(origin, Cause) else Cause((origin,))
        found.setdefault(cause.key, cause)
    return list(found.values())
