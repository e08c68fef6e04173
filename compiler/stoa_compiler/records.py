"""Records: the frozen dataclasses that phases hand on, made quickly.

`dataclasses` writes and compiles six functions for every frozen class, 0.4 ms of a start that makes sixty of them.
Here only `__init__` is written, since it runs for every node; the others are shared by all records, or look at the
fields by one getter. `fields`, `replace`, `match`, pickling and copying know a record as the dataclass that it is.
"""

import dataclasses
import operator
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, field
from reprlib import recursive_repr
from types import FunctionType
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")
Getter = Callable[[Any], tuple[Any, ...]]


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, slots: bool = True, order: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: Any = None, /, *, slots: bool = True, order: bool = False) -> Any:
    """The class as `dataclass(frozen=True, slots=slots, order=order)` makes it.

    Without slots, it can hold cached properties. A method that the class defines itself stays.
    """
    if cls is None:
        return lambda cls: _made(cls, slots, order)
    return _made(cls, slots, order)


def _made(cls: type[Any], slots: bool, order: bool) -> type[Any]:
    own = frozenset(vars(cls))
    made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    declared = dataclasses.fields(made)
    compared = _getter([f.name for f in declared if f.compare])
    methods = {
        "__init__": _init(made, declared),
        "__repr__": _repr(tuple(f.name for f in declared if f.repr)),
        "__eq__": _comparison(compared, operator.eq),
        "__hash__": lambda self: hash(compared(self)),
        "__setattr__": _set,
        "__delattr__": _delete,
    }
    if order:
        methods["__lt__"] = _comparison(compared, operator.lt)
        methods["__le__"] = _comparison(compared, operator.le)
        methods["__gt__"] = _comparison(compared, operator.gt)
        methods["__ge__"] = _comparison(compared, operator.ge)
    if slots:  # Without a `__dict__`, pickling sets attributes one by one.
        methods["__getstate__"], methods["__setstate__"] = _state(tuple(f.name for f in declared))
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return made


def _init(cls: type[Any], declared: tuple[Field[Any], ...]) -> Callable[..., None]:
    """The function that sets the fields: straight code, as `dataclasses` writes it."""
    names: dict[str, Any] = {"__name__": cls.__module__, "_set": object.__setattr__, "_MISSING": MISSING}
    parameters, body = ["self"], []
    for f in declared:
        value = f.name
        if f.default is not MISSING:
            names[f"_default_{f.name}"] = f.default
            if f.init:
                parameters.append(f"{f.name}=_default_{f.name}")
            else:
                value = f"_default_{f.name}"
        elif f.default_factory is not MISSING:
            names[f"_make_{f.name}"] = f.default_factory
            value = f"_make_{f.name}()"
            if f.init:
                parameters.append(f"{f.name}=_MISSING")
                value += f" if {f.name} is _MISSING else {f.name}"
        elif f.init:
            parameters.append(f.name)
        else:
            continue  # `__post_init__` sets it.
        body.append(f"_set(self, {f.name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(body or ["pass"]), names)
    init: FunctionType = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {f.name: f.type for f in declared if f.init} | {"return": None}
    return init


def _getter(names: list[str]) -> Getter:
    """What gives the values of these fields."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _comparison(values: Getter, holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Any:
        return holds(values(self), values(other)) if other.__class__ is self.__class__ else NotImplemented

    return compare


def _repr(names: tuple[str, ...]) -> Callable[[Any], str]:
    @recursive_repr()
    def shown(self: Any) -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"

    return shown


def _state(names: tuple[str, ...]) -> tuple[Callable[[Any], list[Any]], Callable[[Any, list[Any]], None]]:
    """What gives the fields of a record to be pickled, and what sets them in one that is made again."""

    def get(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def put(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return get, put


def _set(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")
