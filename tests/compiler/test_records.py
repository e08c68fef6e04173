"""Records: each does what a frozen dataclass of the same fields does."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import pytest

from stoa_compiler.records import record


@record(order=True)
class Place:
    """Made here."""

    file: str
    line: int = 1
    near: tuple[str, ...] = ()
    seen: dict[str, int] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True, order=True)
class Pattern:
    """The same, made by `dataclasses`."""

    file: str
    line: int = 1
    near: tuple[str, ...] = ()
    seen: dict[str, int] = field(default_factory=dict, compare=False, repr=False)


@record(slots=False)
class Sum:
    """With a cached property, and a field that is made of others."""

    values: tuple[int, ...]
    greatest: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "greatest", max(self.values))

    @cached_property
    def total(self) -> int:
        return sum(self.values)


@record
class Node:
    """One that may hold itself."""

    children: list[Any]


@record
class Own:
    """What it defines itself stays."""

    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and other.name.lower() == self.name.lower()

    def __hash__(self) -> int:
        return hash(self.name.lower())


@record
class Nothing:
    """Without fields."""


@record
class Closer(Place):
    """Takes over another's fields."""

    column: int = 1


SAME: list[Callable[[type[Any]], Any]] = [
    lambda cls: repr(cls("a", 2, ("x",), {"y": 1})).replace(cls.__name__, ""),
    lambda cls: (cls("a") == cls("a", 1, (), {"y": 1}), cls("a") == cls("b"), cls("a") == ("a", 1, ())),
    lambda cls: hash(cls("a", 2, ("x",))),
    lambda cls: sorted([cls("b"), cls("a", 2), cls("a")])[0].line,
    lambda cls: (cls("a") < cls("a"), cls("a") <= cls("a"), cls("b") > cls("a"), cls("a") >= cls("b")),
    lambda cls: [(f.name, f.type, f.default, f.compare) for f in fields(cls)],
    lambda cls: replace(cls("a", 3), file="b").line,
    lambda cls: (cls.__match_args__, cls.__slots__, hasattr(cls("a"), "__dict__")),
    lambda cls: cls("a").seen is cls("a").seen,
    lambda cls: (cls.__name__ in cls.__init__.__qualname__, sorted(cls.__init__.__annotations__)),
]


@pytest.mark.parametrize("behaviour", SAME)
def test_a_record_is_the_dataclass_of_its_fields(behaviour: Callable[[type[Any]], Any]) -> None:
    assert behaviour(Place) == behaviour(Pattern)


@pytest.mark.parametrize("cls", [Place, Pattern])
def test_what_is_not_declared_is_refused(cls: Any) -> None:
    for wrong in (lambda: cls(), lambda: cls("a", 1, (), {}, 5), lambda: cls(name="a"), lambda: cls("a") < cls):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'line'"):
        cls("a").line = 3
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'line'"):
        del cls("a").line


@pytest.mark.parametrize("made", [Place("a", 2, ("x",)), Sum((1, 2)), Nothing(), Closer("a", column=4)])
def test_a_record_is_pickled_and_copied(made: Any) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(made, protocol)) == made
    assert copy.deepcopy(made) == copy.copy(made) == made


def test_a_record_without_slots_keeps_what_it_finds_out() -> None:
    made = Sum((1, 5, 2))
    assert (made.greatest, made.total, made.__dict__["total"]) == (5, 8, 8)
    assert repr(made) == "Sum(values=(1, 5, 2), greatest=5)"


def test_a_record_that_holds_itself_is_shown() -> None:
    made = Node([])
    made.children.append(made)
    assert repr(made) == "Node(children=[...])"


def test_records_of_different_classes_differ() -> None:
    assert Closer("a") != Place("a")
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(())


def test_methods_of_its_own_stay() -> None:
    assert len({Own("a"), Own("A")}) == 1
