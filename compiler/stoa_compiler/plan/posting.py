"""Posting: the plan as one note of a merge request, written anew in place.

The note is known by a hidden mark and by its author, so that nobody else's is touched. Where pipelines of one merge
request run at the same time, each looks again after it wrote: of several notes the oldest stays, with the words of who
looked last.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Protocol

from stoa_compiler.records import record

LIMIT = 900_000
"""Characters of a note; GitLab takes 1,000,000."""
ROUNDS = 5
"""How often it is looked again before giving up on others that write at the same time."""


class Notes(Protocol):
    """The notes of one merge request."""

    def mine(self, mark: str) -> list[int]:
        """Numbers of our own notes that begin with the mark, oldest first."""

    def create(self, body: str) -> int | None:
        """The number of the new note; None where it may or may not have been made."""

    def update(self, note: int, body: str) -> bool:
        """Whether it is there, and now has this text."""

    def delete(self, note: int) -> bool:
        """Whether it was there."""


@record
class Posted:
    """What became of it."""

    note: int
    created: bool
    removed: int
    """Notes that others made at the same time, and that are gone."""


class Unsettled(Exception):
    """The note was not there whenever it was to be written."""


def mark_of(source: str) -> str:
    """What the note of a source begins with: hidden, and another for each source of the repository."""
    return f"<!-- stoa:plan {hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:16]} -->"


def body_of(markdown: str, source: str, environment: Mapping[str, str]) -> str:
    """The note's text: the mark, the plan, and where all of it is. It holds no quick action, whatever the plan says."""
    mark, foot = mark_of(source), _foot(environment)
    text = _cut(markdown, LIMIT - len(mark) - len(foot) - 200)
    # GitLab takes a line that begins with a slash for an order to whoever posts it.
    text = re.sub(r"(?m)^(?=\s*/)", r"\\", text.replace("\r", ""))
    return f"{mark}\n{text.rstrip()}\n{foot}"


def post(notes: Notes, mark: str, body: str) -> Posted:
    """Puts the body into the one note that begins with the mark."""
    created = False
    removed = 0
    for _ in range(ROUNDS):
        there = notes.mine(mark)
        if not there:
            number = notes.create(body)
            created = True
            there = notes.mine(mark)
            if there == [number]:
                return Posted(there[0], created, removed)
        if there and notes.update(there[0], body):
            for more in there[1:]:
                removed += notes.delete(more)
            return Posted(there[0], created, removed)
    raise Unsettled("the note was removed each time that it was written")


def _foot(environment: Mapping[str, str]) -> str:
    url = environment.get("CI_JOB_URL", "")
    if not re.fullmatch(r"https?://[^\s<>()\[\]\"'`\\]{1,1000}", url):
        return ""
    return f"\n[The whole plan]({url}/artifacts/browse) is among the job's artifacts.\n"


def _cut(text: str, limit: int) -> str:
    """The text up to the last place before the limit where no block is open."""
    if len(text) <= limit:
        return text
    safe = size = 0
    fence, depth = "", 0
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        ticks = re.match(r"`{3,}|~{3,}", bare)
        if fence:
            if ticks and bare == ticks[0] and bare.startswith(fence):
                fence = ""
        elif ticks:
            fence = ticks[0]
        else:
            depth += line.count("<details>") - line.count("</details>")
        size += len(line)
        if size > limit:
            break
        if not fence and depth <= 0 and not bare:
            safe = size
    return f"{text[:safe]}\n**Shortened:** the whole plan is too long for a note.\n"
