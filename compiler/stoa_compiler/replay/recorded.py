"""The calls that an audit log holds, in the order in which they were made, and whether the log is as it was written.

Files may be plain or gzipped, in any order, with repeats: a log with its rotated files, or a topic's messages as lines.
"""

import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from stoa_compiler import auditlog
from stoa_schemas.audit import DECISION, LINE_LIMIT, MARK, place

UNPACKED_LIMIT = 16 << 30
"""Bytes that one file may have when it is unpacked."""
UNREADABLE_LIMIT = 100
"""Places of lines that are no events that are kept."""
_LATEST = 253_402_214_400
_GZIP = b"\x1f\x8b"
_WRAPPED = ("value", "payload")
"""Where tools that export topics put a message."""


class NotReadable(Exception):
    """A file that cannot be read; the message is for people."""


class Call(NamedTuple):
    """One recorded call of a tool, or a request that its tenant's rate refused."""

    at: float
    """When it came, in Unix time: the line's time less what it took."""
    source: str
    number: int
    time: str
    """The line's."""
    decision: str
    rule: str
    subject: str
    tenant: str
    client: str
    tool: str | None
    asked: str | None
    approved: bool
    """Whether somebody had approved it."""
    limit: str | None
    seconds: float
    """How long it took."""
    bundle: str
    is_call: bool
    """False: a request, of which only the caller is known."""


@dataclass(slots=True)
class Log:
    """What was read."""

    files: list[str] = field(default_factory=list)
    lines: int = 0
    calls: list[Call] = field(default_factory=list)
    repeats: int = 0
    """Lines that came a second time."""
    unreadable: int = 0
    """Lines that are no events."""
    unreadable_at: list[str] = field(default_factory=list)
    """Where the first of them stand."""
    nameless: int = 0
    """Decisions about requests whose caller was not known."""
    control: int = 0
    """Requests to the control plane's API."""
    sources: set[str] = field(default_factory=set)
    """Platform and environment of each log, `/stoa/<platform>/<environment>`."""
    chain: list[str] = field(default_factory=list)
    """What is wrong with the chain; nothing where every line is as it was written."""
    notes: list[str] = field(default_factory=list)
    """What the chain's check tells besides."""


def read(files: Sequence[Path], key: bytes | None = None) -> Log:
    """The calls of `files`, each once; raises `NotReadable`."""
    log = Log()
    with tempfile.TemporaryDirectory(prefix="stoa-replay-") as scratch:
        plain = [_plain(file, Path(scratch) / str(number)) for number, file in enumerate(files)]
        names = {str(p): str(f) for p, f in zip(plain, files, strict=True)}
        log.files = [str(f) for f in files]
        try:
            _check(plain, names, key, Path(scratch), log)
            for file in plain:
                _take(file, names[str(file)], log)
        except OSError as error:
            raise NotReadable(f"`{error.filename or error}` cannot be read: {error.strerror}") from error
    log.calls.sort(key=lambda c: (c.at, c.source, c.number))
    _drop_repeats(log)
    return log


def _plain(file: Path, folder: Path) -> Path:
    """The file itself, or what is packed in it, in a folder of our own."""
    try:
        with file.open("rb") as opened:
            if opened.read(2) != _GZIP:
                return file
        folder.mkdir()
        unpacked, size = folder / file.name.removesuffix(".gz"), 0
        with gzip.open(file) as packed, unpacked.open("wb") as target:
            while piece := packed.read(1 << 20):
                size += len(piece)
                if size > UNPACKED_LIMIT:
                    raise NotReadable(f"`{file}` has more than {UNPACKED_LIMIT >> 30} GiB when it is unpacked")
                target.write(piece)
        return unpacked
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NotReadable(f"`{file}` cannot be unpacked: {error}") from error
    except OSError as error:
        raise NotReadable(f"`{file}` cannot be read: {error.strerror}") from error


# The chain


def _check(files: Sequence[Path], names: Mapping[str, str], key: bytes | None, scratch: Path, log: Log) -> None:
    """Whether every line is as it was written, also where lines were exported in another order or twice."""
    found = auditlog.verify(files, key)
    if found.findings:
        sorted_files = _in_order(files, scratch)
        if sorted_files:
            again = auditlog.verify(sorted_files, key)
            if not again.findings:
                log.notes.append("lines stood in another order or twice; sorted by source and id, they are one chain")
                return
            if len(again.findings) < len(found.findings):
                found, names = again, {str(f): "sorted by source and id" for f in sorted_files}
    log.chain = [_told(remark, names) for remark in found.findings]
    log.notes += [_told(remark, names) for remark in found.notes]


def _told(remark: auditlog.Remark, names: Mapping[str, str]) -> str:
    where = names.get(remark.file, remark.file)
    return f"{where}{f':{remark.line}' if remark.line else ''}: {remark.message}"


def _in_order(files: Sequence[Path], scratch: Path) -> list[Path]:
    """The same lines once each and sorted, a file for each chain; none where some line is of no audit log."""
    chains: dict[str, dict[tuple[int, str], bytes]] = {}
    for file in files:
        for line in _lines(file):
            bare = line.rstrip(b"\r\n")
            here = place(bare)
            if here is None:
                return []
            chains.setdefault(here.source, {}).setdefault((here.sequence, here.hash), bare)
    written = []
    for number, source in enumerate(sorted(chains)):
        target = scratch / f"sorted-{number}.jsonl"
        target.write_bytes(b"".join(b"%b\n" % chains[source][at] for at in sorted(chains[source])))
        written.append(target)
    return written


def _lines(file: Path) -> Iterator[bytes]:
    with io.BufferedReader(file.open("rb", buffering=0), 1 << 20) as data:
        while line := data.readline(4 * LINE_LIMIT):  # An export may wrap a line.
            if line != b"\n":
                yield line


# The events


def _take(file: Path, name: str, log: Log) -> None:
    """Adds the file's calls to the log."""
    loads, seen = orjson.loads, _Seen(log)
    for number, line in enumerate(_lines(file), 1):
        log.lines += 1
        try:
            event = loads(line)
            if "specversion" not in event:
                event = _unwrapped(event)
            seen.event(event)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            log.unreadable += 1
            if log.unreadable <= UNREADABLE_LIMIT:
                log.unreadable_at.append(f"{name}:{number}")


def _unwrapped(event: Mapping[str, Any]) -> Any:
    """The event in a message as tools that export topics write one."""
    for key in _WRAPPED:
        inner = event.get(key)
        if isinstance(inner, str):
            return orjson.loads(inner)
        if isinstance(inner, dict):
            return inner
    raise KeyError("specversion")


class _Seen:
    """Takes events one by one, each once."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._texts: dict[str, str] = {}
        """One object for each text: a log has few different ones."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Adds the call that the event is about."""
        log, texts = self._log, self._texts
        kind, data = event["type"], event["data"]
        source, number = event["source"], int(event["id"])
        if kind == MARK:
            return
        if kind != DECISION:
            raise ValueError(kind)
        source = _known(texts, source)
        if source not in log.sources:
            log.sources.add(source)
        subject, tenant, client = data["subject"], data["tenant"], data["client"]
        asked, arguments, limit = data["asked"], data["arguments"], data["limit"]
        if subject is None or tenant is None or client is None:
            log.nameless += 1
            return
        if arguments is None and limit is None:
            log.control += 1
            return
        time, seconds, tool = _text(event["time"]), data["duration_ms"] / 1000, data["tool"]
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is not UTC:
            if moment.tzinfo is None:
                raise ValueError("a time without its zone")
            time = moment.astimezone(UTC).isoformat()
        at = moment.timestamp() - seconds
        if not 0 <= at < _LATEST:
            raise ValueError("a time that calendars do not reach")
        log.calls.append(
            Call(
                at,
                source,
                number,
                time,
                _known(texts, data["decision"]),
                _known(texts, data["rule"]),
                _known(texts, subject),
                _known(texts, tenant),
                _known(texts, client),
                None if tool is None else _known(texts, tool),
                None if asked is None else _known(texts, asked),
                data["approver"] is not None,
                None if limit is None else _known(texts, limit),
                seconds,
                _known(texts, data["bundle"]),
                arguments is not None,
            )
        )


def _known(texts: dict[str, str], value: Any) -> str:
    return texts.setdefault(value, value) if type(value) is str else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _drop_repeats(log: Log) -> None:
    """Drops calls that stand in the log twice, as a topic's messages may."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for call in log.calls:
        if (at := (call.source, call.number)) not in seen:
            seen.add(at)
            kept.append(call)
    log.repeats, log.calls = len(log.calls) - len(kept), kept
