"""Semantic versions: their order, and the part that a change must raise."""

import re
from functools import total_ordering
from typing import Literal, TypeAlias

from stoa_compiler.records import record

Bump: TypeAlias = Literal["none", "patch", "minor", "major"]
BUMPS: tuple[Bump, ...] = ("none", "patch", "minor", "major")

_FORM = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


@total_ordering
@record
class Version:
    """A version of Semantic Versioning 2.0.0; what stands after `+` counts for nothing."""

    core: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> "Version":
        """The version that `text` writes; raises `ValueError` where it writes none."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no version")
        major, minor, patch, pre = found.groups()
        return cls((int(major), int(minor), int(patch)), tuple(pre.split(".")) if pre else ())

    def __str__(self) -> str:
        return ".".join(map(str, self.core)) + (f"-{'.'.join(self.pre)}" if self.pre else "")

    def __lt__(self, other: "Version") -> bool:
        if self.core != other.core:
            return self.core < other.core
        if not self.pre or not other.pre:
            return bool(self.pre) and not other.pre
        mine, theirs = ([(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in v.pre] for v in (self, other))
        return mine < theirs


def bump(base: Version, head: Version) -> Bump:
    """The part that `head` raises over `base`; none where it raises nothing."""
    for part, before, after in zip(("major", "minor", "patch"), base.core, head.core, strict=True):
        if after != before:
            return part if after > before else "none"  # type: ignore[return-value]
    return "none"


def demanded(base: Version, wanted: Bump) -> Bump:
    """The part that must rise for a change that is `wanted`.

    Below 1.0.0 nothing is promised for good: what breaks raises the minor part, and what is added the patch.
    """
    if base.core[0] == 0:
        return "minor" if wanted == "major" else "patch" if wanted == "minor" else wanted
    return wanted


def enough(base: Version, head: Version, wanted: Bump) -> bool:
    """Whether `head` says that the change is `wanted`, or more.

    What follows a version before its release, such as `2.0.0-rc.1`, may still break until the release is out.
    """
    if base.pre and base.core == head.core:
        return head >= base
    return BUMPS.index(bump(base, head)) >= BUMPS.index(demanded(base, wanted))


def suggested(base: Version, wanted: Bump) -> str:
    """The next version that is enough."""
    major, minor, patch = base.core
    match demanded(base, wanted):
        case "major":
            return f"{major + 1}.0.0"
        case "minor":
            return f"{major}.{minor + 1}.0"
        case "patch":
            return f"{major}.{minor}.{patch + 1}"
        case _:
            return str(base)
