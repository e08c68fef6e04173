"""What a run of a command gave, kept for a run that would give the same."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from stoa_compiler.cache import Cache, Snapshot, compiler_digest, digest_of, is_any, is_source, snapshot
from stoa_compiler.diagnostics import Diagnostic, Edit, Fix, Note, Rule
from stoa_compiler.load import Source, shown_root
from stoa_compiler.records import record
from stoa_compiler.source import SourceFile, Span

if TYPE_CHECKING:
    from stoa_compiler.shares import Share


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
        before, compiler = snapshot(source, is_source, cache), compiler_digest(cache)
        if before is None or compiler is None:
            return None
        depends_on = [command, options, str(shown_root(source)), compiler, before.digest]
        key = orjson.dumps(depends_on, option=orjson.OPT_SORT_KEYS).decode()
        return cls(cache, key, source, before, compiler)

    @property
    def tenants(self) -> "Tenants":
        """What is kept of single tenants, whatever the command."""
        scope = f"{self.compiler} {shown_root(self.source)}"
        return Tenants(self.cache, scope, partial(self.before.digests_of_all, self.cache))

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
        by_path = {file.path: file for file in files.values()}
        if not self.before.still_holds(lambda path: by_path[path].content if path in by_path else None):
            return False
        named = {d.span.file for d in found} | {n.span.file for d in found for n in d.notes if n.span}
        rules = list(dict.fromkeys(d.rule for d in found))
        numbers = {rule: index for index, rule in enumerate(rules)}
        data = {
            "files": [[f.path, f.shown, hashlib.sha256(f.content).hexdigest()] for s, f in files.items() if s in named],
            "rules": [[r.code, r.title, r.why, r.help, r.severity] for r in rules],
            "found": [_plain(d, numbers[d.rule]) for d in found],
            "facts": facts,
        }
        self.cache.put(self.key, orjson.dumps(data))
        return True

    def form(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The findings in one form, as bytes that were made before where they are known."""
        key = f"{name} {self.key}"
        content = self.cache.get(key)
        if content is None:
            content = make()
            self.cache.put(key, content)
        return content

    def keep_bundle(self, files: Mapping[str, bytes]) -> None:
        """Keeps a bundle's files, one after the other."""
        listing = orjson.dumps([[path, len(content)] for path, content in files.items()])
        self.cache.put(f"bundle {self.key}", listing, b"\n", *files.values())

    def bundle(self) -> dict[str, bytes] | None:
        """The files of the bundle; None where they are not known."""
        payload = self.cache.get(f"bundle {self.key}")
        if payload is None:
            return None
        listing, _, content = payload.partition(b"\n")
        files, at = {}, 0
        for path, size in orjson.loads(listing):
            files[path] = content[at : at + size]
            at += size
        return files

    def lies_in(self, out: Path, digest: str) -> bool:
        """Whether the folder holds the very files that `digest` names, and nothing else."""
        here = snapshot(out, is_any, self.cache) if out.is_dir() and not out.is_symlink() else None
        return here is not None and here.digest == digest


@record(slots=False)
class Tenants:
    """What single tenants came to, each by the bytes of its own documents and of the platform's.

    Only of tenants without errors: where nothing is wrong, nothing depends on what else there is.
    """

    cache: Cache
    scope: str
    """What else it depends on."""
    digests: Callable[[], Mapping[str, str]]
    """Gives the digest of each file of the source, by path."""

    def known(self, environments: Sequence[str] | None) -> dict[str, list[bytes]]:
        """By tenant, what was kept of it: of the environments named, or of all where it is None."""
        by_tenant: dict[str, dict[str, str]] = {}
        for path, digest in self.digests().items():
            tenant, slash, _ = path.partition("/")
            by_tenant.setdefault(tenant if slash else "", {})[path] = digest
        platform = by_tenant.pop("", {})
        keys = {tenant: self._key(tenant, {**platform, **digests}) for tenant, digests in by_tenant.items()}
        judged = self.cache.get_many(list(keys.values()))
        wanted: dict[str, list[str]] = {}
        for key, content in judged.items():
            declared = orjson.loads(content[: content.index(b"\n")])
            names = declared if environments is None else [e for e in environments if e in declared]
            wanted[key] = [f"{name} {key}" for name in names]
        rendered = self.cache.get_many([r for keys_of_one in wanted.values() for r in keys_of_one])
        return {
            tenant: [judged[key].partition(b"\n")[2], *(rendered[r] for r in wanted[key])]
            for tenant, key in keys.items()
            if key in wanted and all(r in rendered for r in wanted[key])
        }

    def keep(self, share: "Share", source: Source) -> None:
        """Keeps what can be known again of the share's tenants."""
        from stoa_compiler.sending import send

        if share.graph is None or any(d.rule.severity == "error" for d in share.found):
            return
        platform: dict[str, str] = {}
        by_tenant: dict[str, dict[str, str]] = {t.name: {} for t in share.graph.tenants}
        for file in source.files.values():
            tenant, slash, _ = file.path.partition("/")
            digests = by_tenant.get(tenant) if slash else platform
            if digests is not None:  # Else its tenant has mistakes, or was known.
                digests[file.path] = hashlib.sha256(file.content).hexdigest()
        declared = orjson.dumps(list(share.graph.platform.spec.environments))
        entries = {}
        for one in share.by_tenant():
            key = self._key(one.name, {**platform, **by_tenant[one.name]})
            for environment, made in one.rendered.items():
                entries[f"{environment} {key}"] = send((environment, made))
            entries[key] = declared + b"\n" + send(one.judged)
        self.cache.put_many(entries)

    def _key(self, tenant: str, digests: Mapping[str, str]) -> str:
        return f"tenant {tenant} {self.scope} {digest_of(digests)}"


def bundle_digest(files: Mapping[str, bytes]) -> str:
    """What `Run.lies_in` takes for a folder of these files."""
    return digest_of({path: hashlib.sha256(content).hexdigest() for path, content in files.items()})


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
