"""Texts that a regular expression accepts: the subset of ECMA 262 that schemas' `pattern`s are written in."""

from collections.abc import Sequence
from dataclasses import dataclass

_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}
_CANDIDATES = "a0A-_ .,:/@+#~!x1Z9éß"
_ENDLESS = 1_000_000
_LONGEST = 10_000


class UnsupportedPattern(ValueError):
    """The pattern uses something beyond the subset."""


@dataclass(frozen=True, slots=True)
class _Repeat:
    """One of several sequences, so many times."""

    branches: tuple[tuple["_Repeat | str", ...], ...]
    least: int
    most: int


_Part = _Repeat | str


def text_matching(pattern: str, *, least: int = 0) -> str:
    """A text that `pattern` accepts, with at least `least` characters where its repetitions can give them.

    Raises `UnsupportedPattern` for look-around, back references and the like.
    """
    branches = _Reader(pattern).branches()
    for more in range(least + 8):
        text = _write(_branch(branches, more), more)
        if len(text) >= least:
            return text
    return _write(branches[0], 0)


def _branch(branches: Sequence[Sequence["_Part"]], more: int) -> Sequence["_Part"]:
    """Another one each time: the first may be one that cannot grow."""
    return branches[more % len(branches)]


def _write(parts: Sequence[_Part], more: int) -> str:
    """The parts as text, each repetition `more` times over its least where it may."""
    written = []
    for part in parts:
        if isinstance(part, str):
            written.append(part)
        else:
            times = min(part.least + more, max(part.most, part.least))
            branch = _branch(part.branches, more if times == 1 else 0)
            written.append(_write(branch, more if times == 1 else 0) * times)
        if sum(map(len, written)) > _LONGEST:
            raise UnsupportedPattern(f"texts of over {_LONGEST} characters")
    return "".join(written)


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def branches(self) -> tuple[tuple[_Part, ...], ...]:
        """The whole pattern."""
        branches = self._alternatives()
        if self._at < len(self._pattern):
            raise UnsupportedPattern(self._pattern)
        return branches

    def _alternatives(self) -> tuple[tuple[_Part, ...], ...]:
        branches = [self._sequence()]
        while self._next("|"):
            branches.append(self._sequence())
        return tuple(branches)

    def _sequence(self) -> tuple[_Part, ...]:
        parts: list[_Part] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            if self._next("^") or self._next("$"):
                continue
            atom = self._atom()
            least, most = self._repetition()
            branches = atom if isinstance(atom, tuple) else ((atom,),)
            parts.append(_Repeat(branches, least, most))
        return tuple(parts)

    def _atom(self) -> str | tuple[tuple[_Part, ...], ...]:
        character = self._take()
        if character == "(":
            if self._next("?") and not self._next(":"):
                if self._flags():
                    return ""
                self._group_name()
            branches = self._alternatives()
            if not self._next(")"):
                raise UnsupportedPattern(self._pattern)
            return branches
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character == ".":
            return "a"
        if character in "*+?{":
            raise UnsupportedPattern(self._pattern)
        return character

    def _flags(self) -> bool:
        """Whether these are flags for what follows, `(?i)`: no part of ECMA 262, and common all the same."""
        end = self._pattern.find(")", self._at)
        if end <= self._at or not set(self._pattern[self._at : end]) <= set("ims"):
            return False
        self._at = end + 1
        return True

    def _group_name(self) -> None:
        """Past `<name>` of a named group; look-around is not one."""
        if not self._next("<") or self._peek() in ("=", "!"):
            raise UnsupportedPattern(self._pattern)
        while self._take() != ">":
            pass

    def _escape(self) -> str:
        character = self._take()
        if character in _CLASSES:
            return _CLASSES[character]
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character in "ux":
            digits = self._pattern[self._at : self._at + (4 if character == "u" else 2)]
            try:
                code = int(digits, 16)
            except ValueError:
                raise UnsupportedPattern(self._pattern) from None
            self._at += len(digits)
            return chr(code)
        if character.isalnum():
            raise UnsupportedPattern(self._pattern)
        return character

    def _class(self) -> str:
        """One character of a class: its first, or one outside it where it is negated."""
        negated = self._next("^")
        members: list[tuple[str, str]] = []
        shorthands: list[str] = []
        while not self._next("]"):
            if self._peek() == "\\" and self._pattern[self._at + 1 : self._at + 2] in _CLASSES:
                self._at += 1
                shorthands.append(self._take())
                continue
            first = self._member()
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                members.append((first, self._member()))
            else:
                members.append((first, first))
        if not negated:
            if members:
                return members[0][0]
            if shorthands:
                return _CLASSES[shorthands[0]]
            raise UnsupportedPattern(self._pattern)
        for candidate in _CANDIDATES:
            if not any(first <= candidate <= last for first, last in members) and not any(
                _in_shorthand(candidate, shorthand) for shorthand in shorthands
            ):
                return candidate
        raise UnsupportedPattern(self._pattern)

    def _member(self) -> str:
        character = self._take()
        return self._escape() if character == "\\" else character

    def _repetition(self) -> tuple[int, int]:
        if self._next("*"):
            bounds = (0, _ENDLESS)
        elif self._next("+"):
            bounds = (1, _ENDLESS)
        elif self._next("?"):
            bounds = (0, 1)
        elif self._peek() == "{":
            bounds = self._counted()
        else:
            return (1, 1)
        self._next("?")
        return bounds

    def _counted(self) -> tuple[int, int]:
        end = self._pattern.find("}", self._at)
        least, comma, most = self._pattern[self._at + 1 : end].partition(",")
        if end < 0 or not least.isdecimal() or (most and not most.isdecimal()):
            raise UnsupportedPattern(self._pattern)
        if len(least) > 5 or int(least) > _LONGEST:
            raise UnsupportedPattern(self._pattern)
        self._at = end + 1
        if not comma:
            return int(least), int(least)
        return int(least), int(most) if most else _ENDLESS

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._pattern):
            raise UnsupportedPattern(self._pattern)
        self._at += 1
        return self._pattern[self._at - 1]

    def _next(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True


def _in_shorthand(character: str, shorthand: str) -> bool:
    inside = {
        "d": character.isascii() and character.isdecimal(),
        "w": character.isascii() and (character.isalnum() or character == "_"),
        "s": character.isspace(),
    }[shorthand.lower()]
    return inside != shorthand.isupper()
