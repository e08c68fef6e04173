"""Account: what became of each value of a file. What nobody claimed is unknown, so nothing is lost silently."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from stoa_compiler.diagnostics import Report, nearest
from stoa_compiler.literals import kind_of_secret
from stoa_compiler.records import record
from stoa_compiler.source import Document, Loc
from stoa_compiler.stoa_v2.read import LITERAL, MALFORMED

Outcome = Literal[
    "malformed",
    "secret",
    "left out",
    "held back",
    "changed",
    "now enforced",
    "mapped",
    "never enforced",
    "no equivalent",
    "unknown",
    "derived",
    "duplicate",
    "note",
]

OUTCOMES: dict[Outcome, str] = {
    "malformed": "not of the form that the key asks for; not carried over",
    "secret": "a credential that was written out; not carried over and not repeated here",
    "left out": "part of an API or operation that cannot come in",
    "held back": "carried over, and kept from agents until more is written",
    "changed": "carried over in another form or under another name",
    "now enforced": "declared before without effect, or by choice; holds now",
    "mapped": "carried over as it is",
    "never enforced": "declared, but nothing enforced it, and nothing does now",
    "no equivalent": "meant something; the language has nothing for it yet",
    "unknown": "a key that this form of file does not have",
    "derived": "follows from what is carried over",
    "duplicate": "says again what is carried over from elsewhere",
    "note": "a remark for people, without effect",
}
"""What each outcome means, from what needs most attention; of two outcomes of one value the first is told."""

_RANK = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}
_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_SENSITIVE = re.compile(
    r"password|passwd|secret|token|webhook|credential|private|api_?key|authorization", re.IGNORECASE
)
_URL_WITH_USER = re.compile(r"//[^/@\s]*@|hooks\.slack\.com/")


@record
class Place:
    """A value of a document that comes out."""

    path: str
    loc: Loc = ()


@record
class Entry:
    """What became of a value, or of all values below it that have no entry of their own."""

    loc: Loc
    outcome: Outcome
    reason: str
    places: tuple[Place, ...]


@record
class Fate:
    """What became of one value."""

    loc: Loc
    value: Any
    entry: Entry

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the value stands now; below the entry's places where the entry carries a whole part over."""
        if self.entry.outcome not in ("mapped", "changed"):
            return self.entry.places
        rest = self.loc[len(self.entry.loc) :]
        return tuple(Place(p.path, (*p.loc, *rest)) for p in self.entry.places)


@record
class Assumption:
    """Something that no file said and that a document needs."""

    place: Place
    value: Any
    reason: str


class Account:
    """What became of each value of one file."""

    def __init__(self, document: Document, report: Report) -> None:
        self.document = document
        self.report = report
        self.entries: dict[Loc, Entry] = {}
        self._touched: set[Loc] = set()
        """Every part in which something is claimed."""

    @property
    def file(self) -> str:
        """The file as its author calls it."""
        return self.document.file.shown

    def put(self, loc: Loc, outcome: Outcome, reason: str = "", *places: Place) -> None:
        """Notes what became of the value at `loc`, or of all below it. Two notes on one value are joined."""
        known = self.entries.get(loc)
        if known is not None:
            reason = "; ".join(dict.fromkeys(r for r in (known.reason, reason) if r))
            places = tuple(dict.fromkeys((*known.places, *places)))
            outcome = min(known.outcome, outcome, key=lambda o: _RANK[o])
        self.entries[loc] = Entry(loc, outcome, reason, places)
        self._touched.update(loc[:n] for n in range(len(loc) + 1))

    def take(self, loc: Loc, same: bool, how: str, *places: Place) -> None:
        """Notes that the value is carried over, as it is or else `how`."""
        self.put(loc, "mapped" if same else "changed", "" if same else how, *places)

    def touches(self, loc: Loc) -> bool:
        """Whether something at or below `loc` is claimed."""
        return loc in self._touched

    def withdraw(self, loc: Loc) -> None:
        """Takes back what was noted below `loc`, but not that a value is malformed."""
        if not self.touches(loc):
            return
        self.entries = {k: e for k, e in self.entries.items() if k[: len(loc)] != loc or e.outcome == "malformed"}
        self._touched = {k[:n] for k in self.entries for n in range(len(k) + 1)}

    def bad(self, loc: Loc, message: str, help: str = "") -> None:
        """Notes a value that is not of the form that its key asks for, as a finding too."""
        if loc in self.entries and self.entries[loc].outcome == "malformed":
            return
        self.report.add(MALFORMED, self.document.span(loc), message, help=help)
        self.put(loc, "malformed", message)

    def missing(self, loc: Loc, message: str, help: str = "") -> None:
        """Notes that something is not there, at what should hold it."""
        self.report.add(MALFORMED, self.document.span(loc, "key" if loc else "value"), message, help=help)

    def close(self, known: Callable[[Loc], Sequence[str]]) -> None:
        """Makes every value that nobody claimed unknown; `known` names the keys of the level that holds `loc`."""
        for loc in list(self._unclaimed((), self.document.data)):
            key = str(loc[-1]) if loc else "the document"
            close = nearest(key, [k for k in known(loc) if k != key]) if loc and isinstance(loc[-1], str) else None
            hint = f"; did it mean `{close}`?" if close else ""
            self.put(loc, "unknown", f"`{key}` is not a key of this form{hint}")
        for loc, value in leaves(self.document.data):
            kind = kind_of_secret(value) if isinstance(value, str) else None
            if kind is not None:
                said = f"`{path_of(loc)}` holds what looks like {kind}"
                self.report.add(LITERAL, self.document.span(loc, "key"), said)
                self.put(loc, "secret", f"looks like {kind}: revoke it, and keep its successor in Vault")

    def fates(self) -> list[Fate]:
        """What became of each value, in the file's order."""
        return [Fate(loc, value, self._entry(loc)) for loc, value in leaves(self.document.data)]

    def _entry(self, loc: Loc) -> Entry:
        for length in range(len(loc), -1, -1):
            found = self.entries.get(loc[:length])
            if found is not None:
                return found
        raise AssertionError(f"{path_of(loc)} has no entry: the account is not closed")

    def _unclaimed(self, loc: Loc, value: Any) -> Iterator[Loc]:
        """The highest parts in which nothing is claimed."""
        if loc in self.entries:
            return
        if _children(value) and self.touches(loc):
            for step, child in _children(value):
                yield from self._unclaimed((*loc, step), child)
        else:
            yield loc


def leaves(data: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """Every value that holds no other, empty lists and mappings too."""
    children = _children(data)
    if not children:
        yield loc, data
    for step, child in children:
        yield from leaves(child, (*loc, step))


def _children(data: Any) -> list[tuple[str | int, Any]]:
    if isinstance(data, dict):
        return list(data.items())
    return list(enumerate(data)) if isinstance(data, list) else []


def path_of(loc: Loc) -> str:
    """The place as people write it: `spec.apis[0].name`."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step, ensure_ascii=False)}]"
    return path or "(all)"


def shown(fate: Fate, limit: int = 60) -> str:
    """The value as a report shows it: short, and nothing that may be a credential."""
    value = fate.value
    if isinstance(value, str):
        hidden = fate.entry.outcome == "secret" or kind_of_secret(value) or _URL_WITH_USER.search(value)
        if hidden or any(isinstance(s, str) and _SENSITIVE.search(s) for s in fate.loc[-2:]):
            return "(not shown)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
