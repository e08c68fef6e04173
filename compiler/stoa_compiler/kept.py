"""What a run of a command gave, kept for a run that would give the same."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from stoa_compiler.cache import Cache
from stoa_compiler.diagnostics import Diagnostic, Edit, Fix, Note, Report, Rule, files_of
from stoa_compiler.load import Files, Source, shown_root
from stoa_compiler.records import record
from stoa_compiler.snapshots import (
    ANY,
    SOURCE,
    Snapshot,
    by_folder,
    compiler_digest,
    digests_of_files,
    remember,
    snapshot,
    tree_digest,
)
from stoa_compiler.source import SourceFile, Span

if TYPE_CHECKING:
    from stoa_compiler.shares import One, Share
    from stoa_compiler.target import Artifact
    from stoa_compiler.write import Content


@record(slots=False)
class Kept:
    """What an earlier run gave."""

    found: Sequence[Diagnostic]
    files: Mapping[str, SourceFile]
    """The files that findings name, by their shown path."""
    facts: Mapping[str, Any]
    """What else the command says."""


@record(slots=False)
class Run:
    """One command on one state of a source: what the key names."""

    cache: Cache
    key: str
    source: Path
    before: Snapshot
    compiler: str
    """The digest of what compiles."""

    @classmethod
    def of(cls, cache: Cache | None, source: Path, command: str, options: Mapping[str, Any]) -> "Run | None":
        """The run; None where nothing can be kept of it."""
        if cache is None:
            return None
        before, compiler = snapshot(source, SOURCE, cache), compiler_digest(cache)
        if before is None or compiler is None:
            return None
        depends_on = [command, options, str(shown_root(source)), compiler, before.digest]
        key = orjson.dumps(depends_on, option=orjson.OPT_SORT_KEYS).decode()
        return cls(cache, key, source, before, compiler)

    @cached_property
    def tenants(self) -> "Tenants":
        """What is kept of single tenants, whatever the command."""
        scope = f"{self.compiler} {shown_root(self.source)}"
        return Tenants(self.cache, scope, lambda: self.before.folders)

    def recall(self, forms: Sequence[str]) -> Kept | None:
        """What such a run gave before; None where that, or one of the `forms`, is not known.

        A form may tell of files without findings too, so it is made where all of them are at hand.
        """
        payload = self.cache.get(self.key)
        if payload is None or any(self.cache.get(f"{form} {self.key}") is None for form in forms):
            return None
        data = orjson.loads(payload)
        files = {}
        for path, shown, digest in data["files"]:
            try:
                content = (self.source / path).read_bytes()
            except OSError:
                return None
            if hashlib.sha256(content).hexdigest() != digest:
                return None
            files[shown] = SourceFile(path, shown, content)
        rules = [Rule(*rule) for rule in data["rules"]]
        return Kept([_diagnostic(d, rules) for d in data["found"]], files, data["facts"])

    def keep(self, found: Sequence[Diagnostic], files: Mapping[str, SourceFile], facts: Mapping[str, Any]) -> bool:
        """Keeps what the run gave; False where the source changed meanwhile, and nobody knows what it was made from."""
        if not self._is_what_was_read(files):
            return False
        named = [file for path in sorted(files_of(found)) if (file := files.get(path)) is not None]
        rules = list(dict.fromkeys(d.rule for d in found))
        numbers = {rule: index for index, rule in enumerate(rules)}
        data = {
            "files": [[f.path, f.shown, f.digest] for f in named],
            "rules": [[r.code, r.title, r.why, r.help, r.severity] for r in rules],
            "found": [_plain(d, numbers[d.rule]) for d in found],
            "facts": facts,
        }
        self.cache.put(self.key, orjson.dumps(data))
        return True

    def _is_what_was_read(self, files: Mapping[str, SourceFile]) -> bool:
        """Whether the files that were read are those that the digest stands for. Tenants that were not read were known
        by their part of it."""
        read, known = (files.read, files.known.keys()) if isinstance(files, Files) else (files, set[str]())
        folders = by_folder({file.path: file.digest for file in read.values()})
        before = self.before.folders
        if before.keys() == folders.keys() | known and all(before[name] == now for name, now in folders.items()):
            return True
        by_path = {file.path: file for file in read.values()}  # Some had no place there, and were not read.
        return self.before.still_holds(lambda path: by_path[path].content if path in by_path else None)

    def form(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The findings in one form, as bytes that were made before where they are known."""
        key = f"{name} {self.key}"
        content = self.cache.get(key)
        if content is None:
            content = make()
            self.cache.put(key, content)
        return content

    def keep_bundle(self, files: Mapping[str, "Artifact"]) -> None:
        """Keeps a bundle's files; of those that its tenants gave, which are kept already, what they are called by."""
        from stoa_compiler.target import Joined

        listing: list[tuple[str, str, list[str | int]]] = []
        own: list[bytes] = []
        there = self.cache.has_many([_content_key(a.digest) for a in files.values() if not isinstance(a, Joined)])
        for path, artifact in files.items():
            pieces: list[str | int] = []
            for piece in artifact.pieces if isinstance(artifact, Joined) else [artifact]:
                if not isinstance(piece, bytes) and _content_key(piece.digest) in there:
                    pieces.append(piece.digest)
                else:
                    own.append(piece if isinstance(piece, bytes) else piece.content)
                    pieces.append(len(own[-1]))
            listing.append((path, artifact.digest, pieces))
        self.cache.put(f"bundle {self.key}", orjson.dumps(listing), b"\n", *own)

    def bundle(self) -> "dict[str, Artifact] | None":
        """The files of the bundle; None where they are not known."""
        from stoa_compiler.target import Joined, Stored

        payload = self.cache.get(f"bundle {self.key}")
        if payload is None:
            return None
        listing, _, content = payload.partition(b"\n")
        files: dict[str, Joined] = {}
        at = 0
        read = self.tenants.content
        for path, digest, listed in orjson.loads(listing):
            pieces: list[bytes | Artifact] = []
            for piece in listed:
                if isinstance(piece, str):
                    pieces.append(Stored("", "", piece, 0, read))
                else:
                    pieces.append(content[at : at + piece])
                    at += piece
            files[path] = Joined.told(path, pieces, digest)
        carried = {p.digest for a in files.values() for p in a.pieces if not isinstance(p, bytes)}
        keys = [_content_key(digest) for digest in carried]
        return dict(files) if len(self.cache.has_many(keys)) == len(keys) else None

    def lies_in(self, out: Path, digest: str) -> bool:
        """Whether the folder holds the very files that `digest` names, and nothing else."""
        here = self._there(out)
        return here is not None and here.digest == digest

    def files_in(self, out: Path) -> Mapping[str, str]:
        """The digests of the files in the folder, by path; nothing where they are not known."""
        here = self._there(out)
        return digests_of_files(here, self.cache) if here is not None else {}

    def wrote(self, out: Path, files: Mapping[str, "Content"]) -> None:
        """Keeps that the folder holds these files."""
        remember(out, ANY, {path: a.digest.removeprefix("sha256:") for path, a in files.items()}, self.cache)

    def _there(self, out: Path) -> Snapshot | None:
        return snapshot(out, ANY, self.cache) if out.is_dir() and not out.is_symlink() else None


class Lost(Exception):
    """What was kept is gone, though it was there a moment ago."""


class Tenants:
    """What single tenants came to, each by the bytes of its own documents and of the platform's.

    Only of tenants without errors: where nothing is wrong, nothing depends on what else there is. All that were
    known at the end of a run are kept in one entry besides, so that the next run finds them at once.
    """

    def __init__(self, cache: Cache, scope: str, digests: Callable[[], Mapping[str, str]]) -> None:
        """`scope` is what else they depend on; `digests` gives `Snapshot.folders` of the source."""
        self._cache = cache
        self._scope = scope
        self.digests = digests
        self._settling = ""
        self._keys: Mapping[str, str] = {}
        self._settled: dict[str, tuple[str, One]] = {}
        self._since: Collection[str] = ()

    def known(self, environments: Sequence[str] | None, targets: Collection[str]) -> Mapping[str, "One"]:
        """What was kept of each tenant that is as it was, for the same request."""
        request = _request(environments, targets)
        digests = self.digests()
        platform = digests.get("", "")
        self._keys = {t: self._key(request, t, platform, digest) for t, digest in digests.items() if t}
        self._settling = f"settled {request} {self._scope}"
        found = self._at_once()
        left = {key: tenant for tenant, key in self._keys.items() if tenant not in found}
        for key, content in self._cache.get_many(list(left)).items():
            found[left[key]] = self._received(content)
        there = self._cache.has_many([_content_key(a.digest) for one in found.values() for a in _artifacts(one)])
        return {
            tenant: one
            for tenant, one in found.items()
            if all(_content_key(a.digest) in there for a in _artifacts(one))
        }

    def _at_once(self) -> "dict[str, One]":
        """What the last runs left in one entry, and what the very last ones left that is newer."""
        for key in (self._settling, f"{self._settling} since"):
            content = self._cache.get(key)
            found = {} if content is None else self._received(content)
            self._settled |= found
        self._since = found.keys()
        return {t: one for t, (key, one) in self._settled.items() if self._keys.get(t) == key}

    def _received(self, content: bytes) -> Any:
        from stoa_compiler.sending import receive

        return receive(content, _no_file, self.content)

    def content(self, digest: str) -> bytes:
        """The bytes of a kept artifact; raises `Lost`."""
        content = self._cache.get(_content_key(digest))
        if content is None:
            raise Lost(f"what was kept is no longer all there: {digest}")
        return content

    def keep(
        self, share: "Share", source: Source, environments: Sequence[str] | None, targets: Collection[str]
    ) -> None:
        """Keeps what can be known again of the share's tenants."""
        from stoa_compiler.sending import send

        if share.graph is None or any(share.proved.values()) or Report(list(share.found)).errors:
            return
        request, read, entries = _request(environments, targets), _read(source), {}
        for name, one in share.tenants.items():
            if name in source.faulty:
                continue
            entries[self._key(request, name, read[""], read[name])] = send(one, contents=False)
            entries.update((_content_key(a.digest), a.content) for a in _artifacts(one))
        self._cache.put_many(entries)

    def settle(self, tenants: Mapping[str, "One"], source: Source) -> None:
        """Keeps all at once; of a few that are new, only these, beside all."""
        from stoa_compiler.sending import send

        digests = self.digests()
        if any(digests.get(folder) != digest for folder, digest in _read(source).items()):
            return  # It changed after it was looked at, and would be found under what it was.
        now = {name: (self._keys[name], one) for name, one in tenants.items() if name in self._keys}
        new = {name: kept for name, kept in now.items() if self._settled.get(name, ("",))[0] != kept[0]}
        if not new and now.keys() == self._settled.keys():
            return
        since = {**{name: now[name] for name in self._since if name in now}, **new}
        if len(since) * 8 < len(now) and now.keys() >= self._settled.keys():
            self._cache.put(f"{self._settling} since", send(since, contents=False))
        else:
            self._cache.put(self._settling, send(now, contents=False))
            self._cache.put(f"{self._settling} since", send({}))

    def _key(self, request: str, tenant: str, platform: str, digest: str) -> str:
        return f"tenant {tenant} {request} {self._scope} {platform} {digest}"


def _read(source: Source) -> dict[str, str]:
    """`Snapshot.folders` of the documents and descriptions that were read."""
    files = (*(p.file for p in source.placed), *source.descriptions.values())
    return by_folder({file.path: file.digest for file in files})


def _request(environments: Sequence[str] | None, targets: Collection[str]) -> str:
    """What a run wants of each tenant."""
    return f"{'all' if environments is None else ','.join(environments)} {','.join(sorted(targets))}"


def _content_key(digest: str) -> str:
    return f"content {digest}"


def _artifacts(one: "One") -> Iterator["Artifact"]:
    return (a for parts in one.parts.values() for part in parts.values() for a in part.artifacts)


def _no_file(path: str) -> SourceFile:
    raise AssertionError(path)  # What is kept of tenants holds no document.


def bundle_digest(files: Mapping[str, "Artifact"]) -> str:
    """What `Run.lies_in` takes for a folder of these files."""
    return tree_digest({path: artifact.digest.removeprefix("sha256:") for path, artifact in files.items()})


def _plain(d: Diagnostic, rule: int) -> list[Any]:
    notes = [[n.message, _place(n.span)] for n in d.notes]
    fix = [d.fix.description, [[_place(e.span), e.text] for e in d.fix.edits]] if d.fix else None
    return [rule, _place(d.span), d.message, notes, d.help, d.private, fix]


def _diagnostic(plain: Sequence[Any], rules: Sequence[Rule]) -> Diagnostic:
    rule, place, message, notes, advice, private, fix = plain
    return Diagnostic(
        rules[rule],
        Span(*place),
        message,
        tuple(Note(said, Span(*at) if at else None) for said, at in notes),
        advice,
        private,
        Fix(fix[0], tuple(Edit(Span(*at), text) for at, text in fix[1])) if fix else None,
    )


def _place(span: Span | None) -> list[Any] | None:
    return [span.file, span.line, span.column, span.end_line, span.end_column] if span else None
