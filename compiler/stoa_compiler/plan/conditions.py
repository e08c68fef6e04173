"""Conditions on a change of the plan, in CEL: compiled against what a change has, and judged within bounds.

Nothing that a condition says can run anything: CEL has no loops, no input and no output. What is judged is bound as
values and never becomes part of an expression, whatever is in it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, get_args

from stoa_compiler.plan.changes import SECTIONS, Direction
from stoa_compiler.records import record
from stoa_schemas.documents.access import SideEffects
from stoa_schemas.documents.platform import ClassificationName, EnvironmentName

if TYPE_CHECKING:
    from cel_expr_python import cel

Kind = Literal["string", "list", "bool"]

FACTS: Mapping[str, tuple[Kind, str]] = {
    "section": ("string", "`access`, `safeguards`, `exposure`, `texts`, `contracts`, `consumers`, `limits`, "
                          "`deletions` or `additions`"),
    "code": ("string", "the kind of change: `access-gained`"),
    "direction": ("string", "`gained`, `lost`, `weakened`, `strengthened`, `changed`, `added` or `removed`"),
    "tenant": ("string", "the tenant whose it is; empty for the platform's own"),
    "subject": ("string", "what changes: `ioi:billing:refund`"),
    "kind": ("string", "the document's kind, where one declared value changes"),
    "path": ("string", "the value's path in its document, where one declared value changes"),
    "why": ("string", "for access: what gives or takes it"),
    "approval": ("bool", "whether each call of the tools needs a second person's approval"),
    "wildcard": ("bool", "for access: whether a pattern with `*` gives or takes it"),
    "classifications": ("list", "classes of the contracts concerned, before and after"),
    "sideEffects": ("list", "side effects of the tools concerned, before and after"),
    "tools": ("list", "canonical ids of tools"),
    "contracts": ("list", "`tenant:contract`"),
    "roles": ("list", "roles that gain or lose"),
    "people": ("list", "user names of those who gain or lose"),
    "groups": ("list", "groups of people"),
    "consumers": ("list", "client ids of applications"),
    "subscriptions": ("list", "subscriptions that are hit"),
    "tenants": ("list", "every tenant concerned"),
    "environments": ("list", "environments where it holds"),
}  # fmt: skip
"""What a condition can ask of a `change`, with its type. Every change has every fact: one that says nothing is ``, `[]`
or `false`."""

VALUES: Mapping[str, tuple[str, ...]] = {
    "section": tuple(s.value for s in SECTIONS),
    "direction": get_args(Direction),
    "classifications": get_args(ClassificationName),
    "sideEffects": get_args(SideEffects),
    "environments": get_args(EnvironmentName),
}
"""Facts that take no other values than these."""

MAX_TEXT = 4_096
"""Characters of one value. A longer one is not judged, and counts as demanding the rule."""
MAX_NESTED = 2
"""How deep one `exists` or `all` may stand in another."""

_ERROR = re.compile(r"(?m)^(?:[A-Z_]+: )?ERROR: <input>:(\d+):(\d+): (.*)$")
_CODE = re.compile(r" \[[A-Z_]+\]$")
_UNKNOWN = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '([^']*)'")
_WORD = re.compile(r"[A-Za-z_][\w.]*\w|[A-Za-z_]|\d[\w.]*|==|!=|<=|>=|&&|\|\||\S")
_SKIPPED = re.compile(
    r"""
    [bB]?[rR][bB]? (?: \"\"\".*?\"\"\" | \'\'\'.*?\'\'\' | "[^"\n]*" | '[^'\n]*' )
    | [bB]? (?: \"\"\"(?:[^\\]|\\.)*?\"\"\" | \'\'\'(?:[^\\]|\\.)*?\'\'\' | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
    | //[^\n]*
    """,
    re.DOTALL | re.VERBOSE,
)
"""Texts and remarks, of which no word is a function's name. Found from left to right, as CEL finds them."""
_LOOPS = frozenset({"all", "exists", "exists_one", "existsOne", "filter"})
_GROWING = frozenset({"map", "transformList", "transformMap", "transformMapEntry"})

_TEXT = r"""(?:"[^"\\\n]*"|'[^'\\\n]*')"""
_NAMED = "|".join(VALUES)
_COMPARED = re.compile(
    rf"change\.({_NAMED})\s*(?:==|!=)\s*({_TEXT})"
    rf"|({_TEXT})\s*(?:==|!=|\bin\b)\s*change\.({_NAMED})\b"
    rf"|change\.({_NAMED})\s+in\s*(\[[^\]]*\])"
)

Trouble = Literal["syntax", "unknown", "type", "growing", "never"]


@record
class Mistake:
    """What is wrong with a condition, at words of its text."""

    trouble: Trouble
    message: str
    words: str = ""
    """The text's words that it is about; the whole text where empty."""
    before: int = 0
    """How often these words stand in the text before."""
    name: str = ""
    """The unknown name."""


class Unjudged(Exception):
    """The condition has no answer for a change: the caller takes that as a yes."""


class Wrong(Exception):
    """The condition is no condition; `mistakes` says why."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("; ".join(m.message for m in mistakes))
        self.mistakes = tuple(mistakes)


class Missing(Exception):
    """The library that reads conditions is not installed."""


@record
class Condition:
    """A condition that can be judged."""

    text: str
    _compiled: Any = field(repr=False, compare=False)

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Whether it holds for a change with these facts; raises `Unjudged` with a sentence where it has no answer."""
        try:
            answer = self._compiled.eval(data={f"change.{name}": _bound(name, value) for name, value in facts.items()})
        except RuntimeError as error:
            raise Unjudged(_plain(str(error))) from None
        value = answer.value()
        if not isinstance(value, bool):
            raise Unjudged(_plain(str(value)))
        return value


@cache
def condition(text: str) -> Condition:
    """The condition that `text` is; raises `Wrong` with every mistake in it, or `Missing`."""
    environment = _environment()
    if re.search("[\ud800-\udfff]", text):
        raise Wrong([Mistake("syntax", "this is no CEL: half of a character has no meaning")])
    if mistakes := list(_growing(text)):
        raise Wrong(mistakes)
    try:
        compiled = environment.compile(text)
    except RuntimeError as error:
        raise Wrong(_mistakes(text, str(error))) from None
    given = compiled.return_type().name()
    if given != "BOOL":
        raise Wrong(
            [
                Mistake(
                    "type",
                    f"the condition gives {_article(given)}, not yes or no",
                )
            ]
        )
    if never := list(_never(text)):
        raise Wrong(never)
    made = Condition(text, compiled)
    try:
        made.holds(NOTHING)
    except Unjudged as unjudged:
        if "regular expression" in str(unjudged):
            raise Wrong([Mistake("type", str(unjudged))]) from None
    return made


_EMPTY: Mapping[Kind, Any] = {"string": "", "list": [], "bool": False}
NOTHING: Mapping[str, Any] = {name: _EMPTY[kind] for name, (kind, _) in FACTS.items()}
"""The facts of a change that says nothing."""


@cache
def _environment() -> "cel.Env":
    try:
        from cel_expr_python import cel
    except ImportError:
        raise Missing from None
    types = {"string": cel.Type.STRING, "bool": cel.Type.BOOL, "list": cel.Type.List(cel.Type.STRING)}
    return cel.NewEnv(variables={f"change.{name}": types[kind] for name, (kind, _) in FACTS.items()})


def _bound(name: str, value: Any) -> Any:
    """The value as CEL takes it."""
    kind = FACTS[name][0]
    if kind == "list":
        return [_text(name, v) for v in value]
    return _text(name, value) if kind == "string" else bool(value)


def _text(name: str, value: Any) -> str:
    text = str(value)
    if len(text) > MAX_TEXT:
        raise Unjudged(f"`change.{name}` has more than {MAX_TEXT:,} characters")
    return text.encode("utf-8", "replace").decode("utf-8")  # CEL has no lone surrogates.


def _growing(text: str) -> "Sequence[Mistake]":
    """What could take more time or memory than a change is worth."""
    bare = _SKIPPED.sub(lambda m: " " * len(m[0]), text)
    found = []
    stack: list[bool] = []
    for match in re.finditer(r"\.\s*([A-Za-z_]\w*)\s*\(|\(|\)", bare):
        name = match[1]
        if match[0] == ")":
            if stack:
                stack.pop()
            continue
        stack.append(name in _LOOPS)
        if name in _GROWING:
            found.append(_at(text, match.start(1), "growing", f"`{name}` is not taken: it can build lists without end"))
        elif name in _LOOPS and sum(stack) > MAX_NESTED:
            said = f"`{name}` stands in {MAX_NESTED} others: its time would grow with each"
            found.append(_at(text, match.start(1), "growing", said))
    return found


def _never(text: str) -> "Iterator[Mistake]":
    """Comparisons of a fact with what it never is: one plainly beside the other, as people write them."""
    for match in _COMPARED.finditer(text):
        fact = match[1] or match[4] or match[5]
        group = 2 if match[1] else 3 if match[4] else 6
        for literal in re.finditer(_TEXT, match[group]):
            value = literal[0][1:-1]
            if value not in VALUES[fact]:
                start = match.start(group) + literal.start()
                said = f"`change.{fact}` is never `{value}`"
                yield Mistake("never", said, literal[0], text.count(literal[0], 0, start), f"{fact}={value}")


def _mistakes(text: str, said: str) -> list[Mistake]:
    """What the compiler says, in our words."""
    lines = text.split("\n")
    found = []
    for line, column, words in islice(_ERROR.findall(said), 5):
        row = min(int(line), len(lines)) - 1
        offset = sum(len(before) + 1 for before in lines[:row]) + int(column) - 1
        message = _CODE.sub("", words)
        if match := _UNKNOWN.match(message):
            found.append(_unknown(text, offset, match[1]))
        elif match := _OVERLOAD.match(message):
            operator = match[1].strip("_@") if match[1] != "_[_]" else "[ ]"
            given = " and ".join(map(_article, match[2][1:-1].split(", ")))
            found.append(_at(text, offset, "type", f"`{operator}` does not take {given}"))
        elif message.startswith("Syntax error: "):
            reason = message.removeprefix("Syntax error: ").partition(" expecting")[0]
            reason = reason.replace("mismatched input '<EOF>'", "the text ends too early").replace("'", "`")
            found.append(_at(text, offset, "syntax", f"this is no CEL: {reason}"))
        else:
            found.append(_at(text, offset, "type", message.replace("'", "`")))
    return found or [Mistake("syntax", f"this is no CEL: {_plain(said)}")]


def _unknown(text: str, offset: int, name: str) -> Mistake:
    if text[offset : offset + 1] == "(":
        return _at(text, offset, "unknown", f"`{name}` is no function of CEL, or not of this kind of value", name)
    if name == "change":
        return _at(text, offset, "unknown", "`change` alone says nothing: ask one of its facts", name)
    if name.startswith("change."):
        return _at(text, offset, "unknown", f"a change has no `{name.removeprefix('change.')}`", name)
    return _at(text, offset, "unknown", f"`{name}` is not known: a condition is about one `change`", name)


def _at(text: str, offset: int, trouble: Trouble, message: str, name: str = "") -> Mistake:
    """A mistake at the word that holds the offset, or ends there where a call begins."""
    calls = text[offset : offset + 1] == "("
    last = ""
    start = 0
    for match in _WORD.finditer(text):
        if match.start() > offset:
            break
        last, start = match[0], match.start()
        if match.start() <= offset < match.end() + calls:
            break
    if calls and "." in last:  # Of `a.b(`, the function is meant.
        start, last = start + last.rindex(".") + 1, last.rpartition(".")[2]
    return Mistake(trouble, message, last, text.count(last, 0, start) if last else 0, name)


def _article(name: str) -> str:
    """A value of the type, in words: `a list of strings`."""
    plain = re.sub(r"^list\((\w+)\)$", r"list of \1s", name.lower().replace("null_type", "null"))
    return f"{'an' if plain[:1] in 'aeiou' else 'a'} {plain}"


def _plain(said: str) -> str:
    """One line of the library's message, without what only its authors understand."""
    first = _CODE.sub("", said.strip().splitlines()[0]) if said.strip() else "no answer"
    return re.sub(r"^[A-Z_]+: ", "", first)[:200].replace("`", "'")
