"""Whether an audit log is as it was written: every line's hash, and every line's link to the one before.

A first pass only confirms, at the speed of hashing. Where something does not fit, a second pass over the same files
reads every line's place and tells what was changed, taken out, put in or moved.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from stoa_compiler.records import record
from stoa_schemas.audit import (
    GENESIS,
    HEAD,
    LINE_LIMIT,
    MARK,
    SEAL_LENGTH,
    SEAL_MARK,
    Place,
    fingerprint,
    place,
    seal,
    start,
)

Head = tuple[int, str, str | None]
"""Sequence, hash and, where it is known, the chain."""


@record
class Remark:
    """Something about one line. Line 0 stands for the file."""

    file: str
    line: int
    message: str


@dataclass(slots=True)
class Stretch:
    """One file's part of a chain."""

    file: Path
    first: Place
    last: Place
    lines: int = 0
    closed: bool = False
    """Whether the last line says that the process ended in order."""
    marks: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    torn: list[Remark] = field(default_factory=list)
    is_whole: bool = True
    """Whether the first pass found nothing."""


@dataclass(slots=True)
class Verified:
    """What was found."""

    stretches: list[Stretch] = field(default_factory=list)
    findings: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """All lines that were read."""
        return sum(stretch.lines for stretch in self.stretches)


def parsed_head(text: str) -> Head | None:
    """A head as `stoa audit verify --head` or a head file has it."""
    match = HEAD.fullmatch(text.strip())
    return (int(match[1]), match[2], match[3]) if match else None


def verify(files: Sequence[Path], key: bytes | None = None, heads: Iterable[Head] = ()) -> Verified:
    """Everything about the files that is not as a log was written; `OSError` where one can't be read."""
    found = Verified()
    # Before the files, since a process that writes meanwhile notes a head only after its line.
    noted = [(file, head) for file in files if (head := _noted(file))]
    for file in files:
        stretch = _confirmed(file, key, found)
        if stretch is not None:
            found.stretches.append(stretch)
    found.stretches.sort(key=lambda s: (s.first.chain, s.first.sequence))
    for stretch in found.stretches:
        if stretch.is_whole:
            found.notes += stretch.torn
        else:
            before = len(found.findings)
            _diagnosed(stretch, key, found)
            if len(found.findings) == before:
                found.findings.append(Remark(str(stretch.file), 0, "the file is not as it was written"))
    _linked(found)
    marked = [
        (stretch.file, line, head)
        for stretch in found.stretches
        for line, data in stretch.marks
        if data.get("head") and (head := parsed_head(data["head"]))
    ]
    _reached(found, [(None, 0, h) for h in heads], [(f, 0, h) for f, h in noted], marked)
    order = {str(file): number for number, file in enumerate(files)}
    found.findings.sort(key=lambda remark: (order.get(remark.file, -1), remark.line))
    return found


def _noted(file: Path) -> Head | None:
    """What the head file beside it says."""
    try:
        return parsed_head(file.with_name(file.name + ".head").read_text("ascii", "replace"))
    except FileNotFoundError:
        return None


def _lines(file: Path) -> Iterator[bytes]:
    """The file's lines with their line feeds, overlong ones in pieces."""
    with file.open("rb", buffering=1 << 20) as data:
        while line := data.readline(LINE_LIMIT + 1):
            yield line


def _confirmed(file: Path, key: bytes | None, found: Verified) -> Stretch | None:
    """The file's part of its chain; None where no line of it is one of an audit log."""
    stretch: Stretch | None = None
    piece: bytes | None = None
    before, digest = b"", hashlib.sha256
    here: Place | None = None
    expected = b""
    sequence, last, count = 0, "", 0
    for count, line in enumerate(_lines(file), 1):
        if line.startswith(expected) and expected and piece is None and line[-1:] == b"\n":
            body = line[: -SEAL_LENGTH - 1]
            own = digest(body).hexdigest() if key is None else seal(body, key)
            if line[-SEAL_LENGTH - 1 :] == b'%b%b"}\n' % (SEAL_MARK, own.encode()):
                sequence, last = sequence + 1, own
                expected = b'%b%d","previoushash":"%b",' % (before, sequence + 1, own.encode())
                if _MARKED in line:
                    _note_mark(stretch, count, line)
                continue
        here = place(line[:-1] if line[-1:] == b"\n" else line)
        sound = here is not None and seal(line.rstrip(b"\n")[:-SEAL_LENGTH], key) == here.hash
        if here is None or not sound:
            if piece is not None and stretch is not None:
                stretch.is_whole = False
            piece = line
            if stretch is None and here is not None:
                stretch = Stretch(file, here, here, is_whole=False)
            continue
        if stretch is None:
            stretch = Stretch(file, here, here, is_whole=piece is None)
        elif here.chain != stretch.first.chain or here.sequence != sequence + 1 or here.previous != last:
            stretch.is_whole = False
        if piece is not None:
            if _closes(line, piece):
                text = "the beginning of a line, left by a process that was ended; the next line says so"
                stretch.torn.append(Remark(str(file), count - 1, text))
            else:
                stretch.is_whole = False
            piece = None
        sequence, last = here.sequence, here.hash
        before = start(here.source, 1, "").partition(b'"id":"')[0] + b'"id":"'
        expected = b'%b%d","previoushash":"%b",' % (before, sequence + 1, last.encode())
        stretch.last = here
        if _MARKED in line:
            _note_mark(stretch, count, line)
    if stretch is None:
        if count:
            found.findings.append(Remark(str(file), 1, "this is not a line of an audit log"))
        else:
            found.notes.append(Remark(str(file), 0, "the file is empty"))
        return None
    stretch.lines = count
    if piece is not None:
        if piece.endswith(b"\n"):
            stretch.is_whole = False
        else:
            text = "the beginning of a line: it is being written, or its process was ended"
            stretch.torn.append(Remark(str(file), count, text))
    if stretch.is_whole:
        stretch.last = stretch.last._replace(sequence=sequence, hash=last)
    return stretch


_MARKED = f'"type":"{MARK}",'.encode()


def _note_mark(stretch: Stretch | None, number: int, line: bytes) -> None:
    if stretch is not None:
        stretch.marks.append((number, orjson.loads(line)["data"]))


def _closes(line: bytes, piece: bytes) -> bool:
    """Whether `line` is the mark that a process leaves after a piece of a line."""
    if _MARKED not in line or not piece.endswith(b"\n"):
        return False
    torn = orjson.loads(line)["data"].get("torn") or {}
    rest = piece[:-1]
    return torn.get("bytes") == len(rest) and torn.get("sha256") == hashlib.sha256(rest).hexdigest()


@record
class _Entry:
    line: int
    place: Place | None
    is_sound: bool
    content: bytes
    """Of a line that is not sound, or that is a mark."""


def _diagnosed(stretch: Stretch, key: bytes | None, found: Verified) -> None:
    """What is wrong with a file that the first pass did not confirm."""
    entries = [_entry(number, line, key) for number, line in enumerate(_lines(stretch.file), 1)]
    name = str(stretch.file)

    def finding(line: int, message: str) -> None:
        found.findings.append(Remark(name, line, message))

    standing: dict[int, int] = {}
    """Where the first sound line of each number stands."""
    hashes: dict[int, str] = {}
    for entry in entries:
        if entry.is_sound and entry.place:
            standing.setdefault(entry.place.sequence, entry.line)
            hashes.setdefault(entry.place.sequence, entry.place.hash)
    numbers = sorted(standing)
    following: list[Place | None] = [None] * len(entries)
    """The next sound line's place, for each line."""
    for at in range(len(entries) - 2, -1, -1):
        following[at] = entries[at + 1].place if entries[at + 1].is_sound else following[at + 1]
    opening = next((e.place for e in entries if e.is_sound and e.place), None)
    first = entries[0].place
    if opening is None or first is None:
        expected, previous = None, None
    else:
        expected, previous = first.sequence, first.previous
    chain = opening.chain if opening else stretch.first.chain
    if opening is None:
        finding(1, _key_trouble(stretch, key) or "no line gives the hash that it carries")
        return
    seen: dict[tuple[int, str], int] = {}
    last: Place | None = None
    for at, entry in enumerate(entries):
        here = entry.place
        after = following[at]
        if not entry.is_sound or here is None:
            if at + 1 == len(entries) and not entry.content.endswith(b"\n"):
                found.notes.append(
                    Remark(name, entry.line, "the beginning of a line that was never written to its end")
                )
                continue
            if at + 1 < len(entries) and _closes(entries[at + 1].content, entry.content):
                text = "the beginning of a line, left by a process that was ended; the next line says so"
                found.notes.append(Remark(name, entry.line, text))
                continue
            if after is not None and previous is not None and after.previous == previous:
                finding(entry.line, "this line was put in: the lines around it are linked without it")
                continue
            what = "this is not a line of an audit log" if here is None else "this line was changed"
            finding(entry.line, f"{what}: its bytes do not give the hash that it carries" if here else what)
            if expected is not None:
                expected += 1
            previous = here.hash if here is not None else None
            if after is not None and after.sequence == expected:
                previous = after.previous  # What the changed line was linked with is told already.
            continue
        if here.chain != chain:
            finding(entry.line, "this line is of another log")
            continue
        if (twin := seen.get((here.sequence, here.hash))) is not None:
            finding(entry.line, f"this line repeats line {twin}")
            continue
        seen[here.sequence, here.hash] = entry.line
        fits = hashes.get(here.sequence - 1) == here.previous
        if previous is not None and not fits and after is not None and after.previous == previous:
            finding(entry.line, "this line was put in: the lines around it are linked without it")
            continue
        if expected is None or (here.sequence == expected and (previous is None or here.previous == previous)):
            pass
        elif here.sequence < expected:
            finding(entry.line, f"this line was moved: it is number {here.sequence}, and {expected} comes here")
            continue
        elif here.sequence == expected:
            finding(entry.line, "this line does not follow the one before: it is linked to another")
        elif any(standing[number] > entry.line for number in _between(numbers, expected, here.sequence)):
            finding(entry.line, f"this line was moved: it is number {here.sequence}, and {expected} comes here")
        else:
            gone = here.sequence - expected
            what = f"line {expected} of the log is" if gone == 1 else f"lines {expected} to {here.sequence - 1} are"
            finding(entry.line, f"{what} missing before this one")
        expected, previous, last = here.sequence + 1, here.hash, here
    if last is not None:
        stretch.last = last


def _between(numbers: Sequence[int], first: int, end: int) -> Sequence[int]:
    """Those of the sorted numbers from `first` to before `end`; of very many, the first thousand."""
    at = bisect_left(numbers, first)
    return numbers[at : min(bisect_left(numbers, end, at), at + 1000)]


def _entry(number: int, line: bytes, key: bytes | None) -> _Entry:
    bare = line[:-1] if line.endswith(b"\n") else line
    here = place(bare)
    sound = here is not None and seal(bare[:-SEAL_LENGTH], key) == here.hash
    return _Entry(number, here, sound, line if not sound or _MARKED in line else b"")


def _key_trouble(stretch: Stretch, key: bytes | None) -> str | None:
    """Words about the key, where the first line was sealed with another one or with none."""
    for line in _lines(stretch.file):
        try:
            data = orjson.loads(line)["data"]
            algorithm, used = data["algorithm"], data["key"]
        except (ValueError, KeyError, TypeError):
            return None
        if algorithm == "hmac-sha256" and key is None:
            return f"the log is sealed with the key `{used}`: give it with --key-file"
        if algorithm == "sha256" and key is not None:
            return "the log is sealed without a key"
        if used != fingerprint(key):
            return f"the log is sealed with the key `{used}`, not with `{fingerprint(key)}`"
        return None
    return None


def _linked(found: Verified) -> None:
    """Compares each file's first line with the last one of the file before it."""
    before: Stretch | None = None
    for stretch in found.stretches:
        first, name = stretch.first, str(stretch.file)
        if before is not None and before.first.chain == first.chain:
            if first.sequence != before.last.sequence + 1:
                gone = f"lines {before.last.sequence + 1} to {first.sequence - 1} are missing"
                if first.sequence <= before.last.sequence:
                    gone = f"it begins with line {first.sequence}, which that file has already"
                found.findings.append(Remark(name, 1, f"does not follow {before.file.name}: {gone}"))
            elif first.previous != before.last.hash:
                found.findings.append(Remark(name, 1, f"does not follow {before.file.name}: it is linked to another"))
        elif first.sequence != 1:
            opened = next((data for line, data in stretch.marks if line == 1), {})
            text = f"begins with line {first.sequence} of its log; the lines before are in another file"
            if opened.get("previous_file"):
                text += f", moved to {opened['previous_file']}"
            if opened.get("action") == "opened":
                found.notes.append(Remark(name, 1, text))
            else:  # A file begins with a mark; this one's beginning was taken out.
                found.findings.append(Remark(name, 1, "the beginning of the file is missing: it has no opening mark"))
        elif first.previous != GENESIS:
            found.findings.append(Remark(name, 1, "is line 1, and is linked to a line before it"))
        before = stretch
    for stretch in found.stretches:
        for line, data in stretch.marks:
            if data.get("lost"):
                text = (
                    f"{data['lost']} decisions could not be recorded before this line; none of their answers went out"
                )
                found.notes.append(Remark(str(stretch.file), line, text))
            if data.get("late"):
                text = f"from line {data['late']} on, lines were written late"
                found.notes.append(Remark(str(stretch.file), line, text))


def _reached(
    found: Verified,
    given: Sequence[tuple[None, int, Head]],
    noted: Sequence[tuple[Path, int, Head]],
    marked: Sequence[tuple[Path, int, Head]],
) -> None:
    """Looks for every head that the files are known to have reached."""
    for file, line, (sequence, wanted, chain) in (*given, *noted, *marked):
        holders = [s for s in found.stretches if chain is None or s.first.chain == chain]
        where = str(file) if file else ""
        if not holders and line:
            text = f"the log that had reached line {sequence} was not there when this one was begun; it is not given"
            found.notes.append(Remark(where, line, text))
        elif not any(_holds(s, sequence, wanted) for s in holders):
            end = max((s.last.sequence for s in holders), default=0)
            if sequence > end:
                what = f"the end is missing: the log ends with line {end}, and had reached line {sequence}"
            else:
                what = f"line {sequence} is another one than the head {sequence}:{wanted[:12]}... names, or is not here"
            found.findings.append(Remark(where, line, what))


def _holds(stretch: Stretch, sequence: int, wanted: str) -> bool:
    if stretch.last.sequence == sequence:
        return stretch.last.hash == wanted
    if not stretch.first.sequence <= sequence < stretch.last.sequence:
        return False
    mark = f'"id":"{sequence}",'.encode()
    ending = b'%b%b"}\n' % (SEAL_MARK, wanted.encode())
    return any(line.endswith(ending) and mark in line[:400] for line in _lines(stretch.file))
