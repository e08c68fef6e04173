"""Whether all texts that some regular expressions match are matched by another: by automata, exactly, or not at all.

Takes the language that both Rust's engine and ECMAScript read alike: classes, groups, alternatives, repetition, and
anchors at the ends. What is beyond it, or needs too many states, is not decided.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from stoa_compiler.records import record

MAX_STATES = 4_000
"""States of one expression."""
MAX_PAIRS = 2_000
"""Pairs of states that one comparison looks at."""
MAX_CHARACTER = 0x10FFFF

Range: TypeAlias = tuple[int, int]
Ranges: TypeAlias = tuple[Range, ...]
"""Characters, as sorted stretches."""
ANY: Ranges = ((0, MAX_CHARACTER),)


@record
class Inclusion:
    """What is known of an inclusion."""

    holds: bool
    """Whether it is proved."""
    witness: str | None = None
    """A text that the narrower ones match and the wider does not."""


class Undecided(Exception):
    """The expression is beyond what is taken here."""


@dataclass
class Automaton:
    """States with the moves that a text can make, from the first state."""

    moves: list[list[tuple[Ranges, int]]] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)
    """Moves without a character."""
    accepting: int = -1

    def state(self) -> int:
        """A new state."""
        if len(self.moves) >= MAX_STATES:
            raise Undecided
        self.moves.append([])
        self.free.append([])
        return len(self.moves) - 1

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        """What is reached without a character."""
        found, pending = set(states), list(states)
        while pending:
            for target in self.free[pending.pop()]:
                if target not in found:
                    found.add(target)
                    pending.append(target)
        return frozenset(found)

    def after(self, states: frozenset[int], character: int) -> frozenset[int]:
        """The states after one character."""
        return self.closure(
            [t for s in states for ranges, t in self.moves[s] if any(a <= character <= b for a, b in ranges)]
        )


@lru_cache(maxsize=4096)
def includes_(patterns: tuple[str, ...], least: int, most: int | None, wide: str) -> Inclusion:
    """As `includes`."""
    try:
        narrow = [automaton(p) for p in patterns]
        target = automaton(wide)
        bounded = least > 0 or most is not None
        if max(least, most or 0) > 300:
            bounded = False  # Dropping a bound makes the narrower side wider: a proof stays one, a witness may not.
            decided = not (least > 0 or most is not None)
        else:
            decided = True
        found = _compared(narrow, target, (least, most) if bounded else None)
    except Undecided:
        return Inclusion(False)
    if found is None:
        return Inclusion(True)
    return Inclusion(False, found if decided or _fits(found, least, most) else None)


def includes(patterns: Sequence[str], least: int, most: int | None, wide: str) -> Inclusion:
    """Whether each text of this length that matches all `patterns` matches `wide`."""
    return includes_(tuple(sorted(set(patterns))), least, most, wide)


def _fits(text: str, least: int, most: int | None) -> bool:
    return least <= len(text) and (most is None or len(text) <= most)


def _compared(narrow: list[Automaton], wide: Automaton, lengths: tuple[int, int | None] | None) -> str | None:
    """A text that all of `narrow` match and `wide` does not, the shortest one; None where there is none."""
    letters = _letters([*narrow, wide])
    start = (tuple(a.closure([0]) for a in narrow), wide.closure([0]), 0)
    paths: dict[tuple[tuple[frozenset[int], ...], frozenset[int], int], str] = {start: ""}
    pending = [start]
    least, most = lengths or (0, None)
    top = least if most is None else most + 1
    for state in pending:
        mine, theirs, length = state
        text = paths[state]
        if (
            all(a.accepting in s for a, s in zip(narrow, mine, strict=True))
            and wide.accepting not in theirs
            and (lengths is None or _fits_count(length, least, most))
        ):
            return text
        for letter in letters:
            following = tuple(a.after(s, letter) for a, s in zip(narrow, mine, strict=True))
            if not all(following):
                continue
            count = min(length + 1, top) if lengths is not None else 0
            if lengths is not None and most is not None and count > most:
                continue
            found = (following, wide.after(theirs, letter), count)
            if found not in paths:
                if len(paths) >= MAX_PAIRS:
                    raise Undecided
                paths[found] = text + chr(letter)
                pending.append(found)
    return None


def _fits_count(length: int, least: int, most: int | None) -> bool:
    return length >= least and (most is None or length <= most)


def _letters(automata: Sequence[Automaton]) -> list[int]:
    """One character of each stretch that no move tells apart, readable ones first."""
    borders = {0}
    for one in automata:
        for moves in one.moves:
            for ranges, _ in moves:
                for low, high in ranges:
                    borders |= {low, high + 1}
    edges = sorted(b for b in borders if b <= MAX_CHARACTER)
    if len(edges) > 400:
        raise Undecided
    ends = [*edges[1:], MAX_CHARACTER + 1]
    chosen = []
    for low, end in zip(edges, ends, strict=True):
        good = next((c for c in (ord("a"), ord("0"), ord("A"), ord("-"), ord(" ")) if low <= c < end), None)
        if good is None:
            good = low if low > 31 or end <= 33 else 33
        if 0xD800 <= good <= 0xDFFF:
            if end <= 0xE000:
                continue  # No text holds half of a pair.
            good = 0xE000
        chosen.append(good)
    return sorted(chosen, key=lambda c: (not 33 <= c < 127, c))


@lru_cache(maxsize=2048)
def automaton(pattern: str) -> Automaton:
    """The texts in which the pattern is found anywhere, as JSON Schema means it."""
    return _Reader(pattern).read()


def _united(ranges: Iterable[Range]) -> Ranges:
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def _others(ranges: Ranges) -> Ranges:
    found, last = [], 0
    for low, high in ranges:
        if low > last:
            found.append((last, low - 1))
        last = high + 1
    if last <= MAX_CHARACTER:
        found.append((last, MAX_CHARACTER))
    return tuple(found)


_CLASS_SPACE: Ranges = _united(
    [
        (9, 13),
        (32, 32),
        (0x85, 0x85),
        (0xA0, 0xA0),
        (0x1680, 0x1680),
        (0x2000, 0x200A),
        (0x2028, 0x2029),
        (0x202F, 0x202F),
        (0x205F, 0x205F),
        (0x3000, 0x3000),
    ]
)
_NEWLINE: Ranges = ((10, 10),)


_DIGITS: Ranges = _united(
    (int(zero, 16), int(zero, 16) + 9)
    for zero in """
    30 660 6F0 7C0 966 9E6 A66 AE6 B66 BE6 C66 CE6 D66 DE6 E50 ED0 F20 1040 1090 17E0 1810 1946 19D0 1A80 1A90
    1B50 1BB0 1C40 1C50 A620 A8D0 A900 A9D0 A9F0 AA50 ABF0 FF10 104A0 10D30 11066 110F0 11136 111D0 112F0
    11450 114D0 11650 116C0 11730 118E0 11950 11C50 11D50 11DA0 16A60 16AC0 16B50 1D7CE 1D7D8 1D7E2 1D7EC
    1D7F6 1E140 1E2F0 1E950 1FBF0
    """.split()  # noqa: SIM905
)
"""Decimal digits of every script (general category Nd), by their zeros."""
_CONTROLS = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "0": 0}
Fragment: TypeAlias = tuple[int, int]
"""First and last state."""
Build: TypeAlias = Callable[[], Fragment]


class _Reader:
    """One expression being read. A part that is repeated is built as often."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.made = Automaton()
        self.depth = 0

    def read(self) -> Automaton:
        """The automaton; raises `Undecided`."""
        made = self.made
        start, end = made.state(), made.state()
        branches = self._branches()
        if self.at < len(self.pattern):
            raise Undecided
        for anchored_left, parts, anchored_right in branches:
            first, last = made.state(), made.state()
            made.free[start].append(first)
            made.free[last].append(end)
            if not anchored_left:
                made.moves[first].append((ANY, first))
            if not anchored_right:
                made.moves[last].append((ANY, last))
            inner_first, inner_last = self._sequence(parts)
            made.free[first].append(inner_first)
            made.free[inner_last].append(last)
        made.accepting = end
        return made

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _branches(self) -> list[tuple[bool, list[Build], bool]]:
        """Alternatives: whether each begins and ends where the text does, and its parts."""
        found = []
        while True:
            left = self._peek() == "^"
            self.at += left
            parts: list[Build] = []
            while self._peek() not in ("", "|", ")", "$"):
                parts.append(self._repeated())
            right = self._peek() == "$"
            self.at += right
            if right and self._peek() not in ("", "|", ")"):
                raise Undecided
            found.append((left, parts, right))
            if self._peek() != "|":
                return found
            self.at += 1

    def _sequence(self, parts: Sequence[Build]) -> Fragment:
        first = last = self.made.state()
        for build in parts:
            begin, end = build()
            self.made.free[last].append(begin)
            last = end
        return first, last

    def _repeated(self) -> Build:
        build = self._atom()
        sign = self._peek()
        if sign in ("*", "+", "?"):
            self.at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif sign == "{":
            end = self.pattern.find("}", self.at)
            low, comma, high = self.pattern[self.at + 1 : end].partition(",")
            if end < 0 or not low.isascii() or not low.isdigit() or (high and not (high.isascii() and high.isdigit())):
                raise Undecided
            self.at = end + 1
            least, most = int(low), (int(high) if high else None) if comma else int(low)
        else:
            return build
        if self._peek() in ("?", "+", "*", "{"):
            if self._peek() != "?":
                raise Undecided
            self.at += 1  # Whether it takes few or many first, the same texts match.
        if least > MAX_STATES or (most or 0) > MAX_STATES or (most is not None and most < least):
            raise Undecided
        return lambda: self._times(build, least, most)

    def _times(self, build: Build, least: int, most: int | None) -> Fragment:
        made = self.made
        first = last = made.state()
        for _ in range(least):
            begin, end = build()
            made.free[last].append(begin)
            last = end
        if most is None:
            begin, end = build()
            turn = made.state()
            made.free[last].append(turn)
            made.free[turn].append(begin)
            made.free[end].append(turn)
            return first, turn
        out = made.state()
        made.free[last].append(out)
        for _ in range(most - least):
            begin, end = build()
            made.free[last].append(begin)
            made.free[end].append(out)
            last = end
        return first, out

    def _characters(self, ranges: Ranges) -> Build:
        def build() -> Fragment:
            first, last = self.made.state(), self.made.state()
            self.made.moves[first].append((ranges, last))
            return first, last

        return build

    def _atom(self) -> Build:
        sign = self._peek()
        self.at += 1
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._characters(self._class())
        if sign == ".":
            return self._characters(_others(_NEWLINE))
        if sign == "\\":
            return self._characters(self._escape())
        if sign in ("^", "$", "*", "+", "?", "{", "}", "]", ")", ""):
            raise Undecided
        return self._characters(((ord(sign), ord(sign)),))

    def _group(self) -> Build:
        if self._peek() == "?":
            if self.pattern[self.at : self.at + 2] != "?:":
                raise Undecided
            self.at += 2
        self.depth += 1
        if self.depth > 50:
            raise Undecided
        branches = self._branches()
        self.depth -= 1
        if self._peek() != ")" or any(left or right for left, _, right in branches):
            raise Undecided
        self.at += 1

        def build() -> Fragment:
            first, last = self.made.state(), self.made.state()
            for _, parts, _ in branches:
                begin, end = self._sequence(parts)
                self.made.free[first].append(begin)
                self.made.free[end].append(last)
            return first, last

        return build

    def _escape(self) -> Ranges:
        letter = self._peek()
        self.at += 1
        if letter in ("d", "D"):
            return _DIGITS if letter == "d" else _others(_DIGITS)
        if letter in ("s", "S"):
            return _CLASS_SPACE if letter == "s" else _others(_CLASS_SPACE)
        if letter in _CONTROLS:
            code = _CONTROLS[letter]
            return ((code, code),)
        if letter in ("x", "u"):
            size = 2 if letter == "x" else 4
            digits = self.pattern[self.at : self.at + size]
            if len(digits) < size or any(d not in "0123456789abcdefABCDEF" for d in digits):
                raise Undecided
            self.at += size
            return ((int(digits, 16), int(digits, 16)),)
        if not letter or letter.isalnum():
            raise Undecided  # Words, borders of words, properties: engines do not read them alike.
        return ((ord(letter), ord(letter)),)

    def _class(self) -> Ranges:
        negated = self._peek() == "^"
        self.at += negated
        found: list[Range] = []
        if self._peek() == "]":
            raise Undecided
        while self._peek() != "]":
            low = self._member()
            if self._peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or low[0][0] > high[0][1]:
                    raise Undecided
                found.append((low[0][0], high[0][1]))
            else:
                found += low
        self.at += 1
        ranges = _united(found)
        return _others(ranges) if negated else ranges

    def _member(self) -> Ranges:
        sign = self._peek()
        self.at += 1
        if sign == "\\":
            return self._escape()
        if sign in ("", "[", "&", "~") or (sign == "-" and self._peek() not in ("]",)):
            raise Undecided  # Rust's sets of sets begin so.
        return ((ord(sign), ord(sign)),)
