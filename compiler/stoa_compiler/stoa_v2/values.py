"""Values of the earlier form in the language's: texts, truth values, durations, rates."""

import math
import re
from typing import Any, TypeGuard

from stoa_compiler.openapi.text import clean, one_line
from stoa_compiler.source import Loc
from stoa_compiler.stoa_v2.account import Account, Place
from stoa_schemas.base import milliseconds

_DURATION = re.compile(r"([1-9][0-9]{0,5})(ms|s|m|h)")
_TRUTH = {"yes": True, "on": True, "no": False, "off": False}
"""Words that YAML 1.1 reads as truth values, as the earlier form's readers did."""
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_SEMVER = re.compile(r"v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?")
_STRICT_SEMVER = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


class Values:
    """What one file holds, value by value; each that is taken is noted in the account."""

    def __init__(self, account: Account, tools: dict[str, str] | None = None) -> None:
        self.account = account
        self.tools = tools or {}
        """The new name of each tool, by its old one: agents' texts name tools."""

    def title(self, loc: Loc, value: Any, place: Place) -> str | None:
        """One line of at most 80 characters."""
        return self._text(loc, value, 80, True, place)

    def text(self, loc: Loc, value: Any, place: Place) -> str | None:
        """A paragraph."""
        return self._text(loc, value, 2000, False, place)

    def _text(self, loc: Loc, value: Any, limit: int, line: bool, place: Place) -> str | None:
        if value is None:
            self.account.put(loc, "note", "null says nothing")
            return None
        if not isinstance(value, str):
            self.account.bad(loc, f"`{loc[-1]}` is not a text", "Put it in quotes.")
            return None
        reasons = []
        named = self._with_new_tools(value)
        if named != value:
            reasons.append("tools are called by their new names")
        result = one_line(named, limit) if line else clean(named, limit)
        if not result:
            self.account.put(loc, "note", "the text is empty")
            return None
        if result != named:
            shortened = len(named.strip()) > limit
            reasons.append(f"shortened to {limit} characters" if shortened else "white space and placeholders tidied")
        self.account.put(loc, "changed" if reasons else "mapped", "; ".join(reasons), place)
        return result

    def _with_new_tools(self, text: str) -> str:
        if not self.tools:
            return text
        return re.sub(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]+", lambda found: self.tools.get(found[0], found[0]), text)

    def truth(self, loc: Loc, value: Any) -> bool | None:
        """A truth value, in the words of YAML 1.1 too; None, with a finding, where it is none."""
        if isinstance(value, str) and value.lower() in _TRUTH:
            return _TRUTH[value.lower()]
        if isinstance(value, bool):
            return value
        self.account.bad(loc, f"`{loc[-1]}` is neither true nor false")
        return None

    def duration(self, loc: Loc, value: Any, longest: str = "") -> str | None:
        """A length of time; seconds where a number stands alone. Bounded by `longest`."""
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            self.account.bad(loc, f"`{loc[-1]}` is no length of time", "Write it like `30s`.")
            return None
        text = value if isinstance(value, str) else _seconds(value)
        if not _DURATION.fullmatch(text):
            self.account.bad(loc, f"`{loc[-1]}` is no length of time", "Write it like `30s`.")
            return None
        if longest and milliseconds(text) > milliseconds(longest):
            return longest
        return text

    def whole(self, loc: Loc, value: Any) -> int | None:
        """A whole number."""
        if isinstance(value, bool) or not isinstance(value, int):
            self.account.bad(loc, f"`{loc[-1]}` is not a whole number")
            return None
        return value

    def version(self, loc: Loc, value: Any, place: Place) -> str | None:
        """A semantic version; None, with a finding, where it is none."""
        text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
        if isinstance(text, str) and len(text) <= 64 and _STRICT_SEMVER.fullmatch(text):
            self.account.put(loc, "mapped", "", place)
            return text
        found = _SEMVER.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None:
            self.account.bad(loc, "the version is not like `1.4.0`")
            return None
        self.account.put(loc, "changed", "a semantic version has three numbers", place)
        return ".".join(str(int(part or 0)) for part in found.groups())


def is_email(value: Any) -> TypeGuard[str]:
    """Whether it is an address that the language takes."""
    return isinstance(value, str) and len(value) <= 254 and _EMAIL.fullmatch(value) is not None


def mapping(value: Any) -> dict[str, Any]:
    """The mapping, or an empty one: what is no mapping is noted where it is claimed."""
    return value if isinstance(value, dict) else {}


def _seconds(value: float) -> str:
    if math.isfinite(value) and 0 < value < 1_000_000:
        return f"{int(value)}s" if value == int(value) else f"{round(value * 1000)}ms"
    return ""
