"""A query read strictly: no parameter that the resource does not know, none twice, none of the wrong form."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from stoa_runtime.arguments import nearest
from stoa_runtime.control import paging, problems
from stoa_schemas.control import QueryError

_FIELDS = 32
"""Parameters that are read at all."""
_SHOWN = 64
"""Characters of a caller's text that a refusal repeats."""
_LIMIT = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Filter:
    """A query parameter that keeps the items with one value."""

    name: str
    description: str
    pattern: str
    """The form of the value, as OpenAPI says it."""
    example: str

    def fits(self, text: str) -> bool:
        """Whether `text` has the form. The whole text: `$` alone would let a line feed pass."""
        return re.fullmatch(self.pattern, text, re.ASCII) is not None


@dataclass(frozen=True, slots=True)
class Query:
    """What a request asks for."""

    window: paging.Window = field(default_factory=paging.Window)
    filters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def takes(self, name: str, value: str) -> bool:
        """Whether an item with this value of the filter `name` is asked for."""
        return self.filters.get(name, value) == value


def read(text: bytes, filters: Sequence[Filter], kind: str | None) -> Query:
    """The query of a resource with these filters; `kind` is that of its list, None where it has no pages.

    `Refused` with every mistake.
    """
    given = _fields(text)
    known = {f.name: f for f in filters}
    errors: list[QueryError] = []
    window: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for name in dict.fromkeys(name for name, _ in given):
        values = [value for n, value in given if n == name]
        wrong = None
        if name in known:
            wrong = None if known[name].fits(values[0]) else f"`{name}` has the form `{known[name].example}`."
            taken[name] = values[0]
        elif kind is not None and name == "limit":
            if _LIMIT.fullmatch(values[0]) and int(values[0]) <= paging.MOST:
                window["limit"] = int(values[0])
            else:
                wrong = f"`limit` is a whole number from 1 to {paging.MOST}."
        elif kind is not None and name == "cursor":
            if re.fullmatch(paging.pattern(kind), values[0]):
                window["after"] = paging.place(values[0], kind)
            else:
                wrong = "`cursor` is what `next` of this list's earlier page held."
        else:
            wrong = _unknown(name, [*known, *(("limit", "cursor") if kind is not None else ())])
        if wrong is None and len(values) > 1:
            wrong = f"`{name}` stands more than once."
        if wrong is not None:
            errors.append(QueryError(parameter=name[:_SHOWN], detail=wrong))
    if errors:
        raise problems.bad_query(errors)
    return Query(paging.Window(**window), MappingProxyType(taken))


def _fields(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=_FIELDS,
        )
    except ValueError:
        raise problems.bad_query(
            [QueryError(parameter="", detail=f"The query is not at most {_FIELDS} parameters as `name=value`, UTF-8.")]
        ) from None


def _unknown(name: str, known: Sequence[str]) -> str:
    shown = name[:_SHOWN]
    if not known:
        return f"`{shown}` is no parameter here: this resource takes none."
    near = nearest(name, known)
    hint = f"Did you mean `{near}`?" if near else "It takes " + ", ".join(f"`{k}`" for k in known) + "."
    return f"`{shown}` is no parameter of this resource. {hint}"
