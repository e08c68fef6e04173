"""Owners: the part of CODEOWNERS that says who owns which documents, between two marks of ours."""

import re
from collections.abc import Sequence

from stoa_compiler.graph import Graph
from stoa_compiler.load import PLATFORM_FILE

BEGIN = "# stoa: begin. `stoa review codeowners` writes what stands here; change `spec.reviews.owners` instead."
END = "# stoa: end"
PLACES = ("CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS")
"""Where GitLab looks, the first that is there."""

_BEGIN = re.compile(r"(?m)^# stoa: begin\b.*(?:\n|\Z)")
_END = re.compile(r"(?m)^# stoa: end\b.*(?:\n|\Z)")
_SPECIAL = re.compile(r"([\\ #*?\[\]!])")


class Unclear(Exception):
    """The file cannot be written without a guess; the message says why."""


def block(graph: Graph, prefix: str, itself: str, pipeline: Sequence[str] = (".gitlab-ci.yml",)) -> str:
    """The lines for a source whose folder is `prefix` in its repository, and for CODEOWNERS and the pipeline."""
    owners = graph.platform.spec.reviews.owners
    folder = prefix.strip("/")
    folder = "" if folder in ("", ".") else f"{folder}/"
    platform = " ".join(f"@{name}" for name in owners.platform)
    lines = [BEGIN]
    if platform:
        paths = [f"{folder}{PLATFORM_FILE}", itself, *pipeline]
        lines += ["[STOA platform]", *(f"/{_written(path)} {platform}" for path in dict.fromkeys(paths)), ""]
    lines += ["[STOA tenants]"]
    if platform:
        # Whoever adds a tenant asks the platform's owners. Of several lines that fit a file, the last one counts.
        lines.append(f"{f'/{_written(folder)}' if folder else '*'} {platform}")
    for tenant in graph.tenants:
        named = owners.tenants.get(tenant.name)
        whom = " ".join(f"@{name}" for name in named) if named else tenant.declared.spec.contact
        lines.append(f"/{_written(f'{folder}{tenant.name}')}/ {whom}")
    return "\n".join([*lines, END]) + "\n"


def merged(existing: str, made: str) -> str:
    """The file with our block as its last part, and everything else as it was.

    It is last because a line that follows a section's head belongs to that section: somebody else's line below our
    block would become one of ours.
    """
    text = existing.replace("\r\n", "\n")
    begins, ends = list(_BEGIN.finditer(text)), list(_END.finditer(text))
    if len(begins) > 1 or len(ends) != len(begins) or (begins and ends[0].start() < begins[0].end()):
        raise Unclear("the marks `# stoa: begin` and `# stoa: end` do not stand there once each, in this order")
    if begins:
        before, after = text[: begins[0].start()], text[ends[0].end() :]
        text = before.rstrip("\n") + ("\n\n" if before.strip() and after.strip() else "") + after.lstrip("\n")
    rest = text.rstrip("\n")
    return f"{rest}\n\n{made}" if rest.strip() else made


def _written(path: str) -> str:
    """The path as a pattern that fits nothing else."""
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in path):
        raise Unclear("a path with a control character has no line in CODEOWNERS")
    return _SPECIAL.sub(r"\\\1", path)
