"""References: which places of a document name something else, what names there are, and where each is declared."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from stoa_compiler import openapi
from stoa_compiler.load import FOLDER_KINDS, PLATFORM_FILE, TENANT_FILE
from stoa_compiler.lsp.project import Analysis, tenants
from stoa_compiler.records import record
from stoa_compiler.source import Loc, Part, SourceFile, Span

What = Literal[
    "argument",
    "classification",
    "consumer",
    "contract",
    "digest",
    "environment",
    "file",
    "operation",
    "person",
    "plan",
    "role",
    "secret",
    "tenant",
    "tier",
    "tool",
    "zone",
]

_REFERENCES: tuple[tuple[str, str, Part, What], ...] = (
    ("Platform", "spec.grants.*.role", "value", "role"),
    ("Platform", "spec.grants.*.tools.*", "value", "tool"),
    ("Platform", "spec.groups.*.roles.*", "value", "role"),
    ("Platform", "spec.groups.*.members.*", "value", "person"),
    ("Platform", "spec.backends.allowedHosts.*.tenants.*", "value", "tenant"),
    ("Platform", "spec.flows.*.from", "value", "zone"),
    ("Platform", "spec.flows.*.to", "value", "zone"),
    ("Tenant", "spec.tier", "value", "tier"),
    ("Tenant", "spec.environments.*", "value", "environment"),
    ("Tenant", "spec.grants.*.role", "value", "role"),
    ("Tenant", "spec.grants.*.tools.*", "value", "tool"),
    ("Tenant", "spec.groups.*.roles.*", "value", "role"),
    ("Tenant", "spec.groups.*.members.*", "value", "person"),
    ("UniversalAPIContract", "spec.classification", "value", "classification"),
    ("UniversalAPIContract", "spec.backend.urls.*", "key", "environment"),
    ("UniversalAPIContract", "spec.backend.auth.secret", "value", "secret"),
    ("UniversalAPIContract", "spec.source.file", "value", "file"),
    ("UniversalAPIContract", "spec.source.sha256", "value", "digest"),
    ("UniversalAPIContract", "spec.operations.*.from", "value", "operation"),
    ("UniversalAPIContract", "spec.operations.*.parameters.*", "key", "argument"),
    ("UniversalAPIContract", "spec.operations.*.input.required.*", "value", "argument"),
    ("UniversalAPIContract", "spec.operations.*.examples.*.input.*", "key", "argument"),
    ("Consumer", "spec.roles.*", "value", "role"),
    ("Subscription", "spec.consumer", "value", "consumer"),
    ("Subscription", "spec.contract", "value", "contract"),
    ("Subscription", "spec.plan", "value", "plan"),
    ("UniversalAPIContract", "metadata.tenant", "value", "tenant"),
    ("Consumer", "metadata.tenant", "value", "tenant"),
    ("Plan", "metadata.tenant", "value", "tenant"),
    ("Subscription", "metadata.tenant", "value", "tenant"),
)
"""Kind, place (`*` is any key or index), whether key or value, and what is named there."""

_TABLES: Mapping[What, str] = {
    "classification": "classifications",
    "environment": "environments",
    "role": "roles",
    "tier": "tiers",
    "zone": "zones",
}
"""Tables of the platform document."""
_FOLDERS: Mapping[What, str] = {"consumer": "consumers", "contract": "contracts", "plan": "plans"}


@record
class Declared:
    """Something that can be named, and where it is declared."""

    name: str
    file: SourceFile
    span: Span
    words: str
    """What it is, in a line or two."""


@record(slots=False)
class At:
    """The document in which a reference stands."""

    analysis: Analysis
    path: str
    kind: str
    tenant: str
    data: Any
    """The document as it is now, or as it last was when it could be parsed."""


def reference(kind: str, loc: Loc, part: Part) -> What | None:
    """What is named at a place; None where nothing is."""
    for of, pattern, at, what in _REFERENCES:
        if of == kind and at == part:
            steps = pattern.split(".")
            if len(steps) == len(loc) and all(s in ("*", str(step)) for s, step in zip(steps, loc, strict=True)):
                return what
    return None


def declared(what: What, at: At, loc: Loc) -> dict[str, Declared]:
    """Everything that can be named at a place, by name."""
    found: Iterator[Declared]
    if what in _TABLES:
        found = _table(at, PLATFORM_FILE, ("spec", _TABLES[what]))
    elif what == "person":
        found = _table(at, at.path, ("spec", "people"))
    elif what == "tenant":
        found = (d for t in tenants(at.analysis) if (d := _document(at, f"{t}/{TENANT_FILE}", t)) is not None)
    elif what in _FOLDERS:
        found = _documents(at, at.tenant, _FOLDERS[what])
    elif what == "argument":
        found = _table(at, at.path, (*loc[:3], "input", "properties"))
    elif what == "file":
        found = _sources(at)
    elif what == "operation":
        found = _source_operations(at)
    else:
        found = iter(())
    return {d.name: d for d in found}


def tool(pattern: str, at: At) -> Declared | None:
    """Where the last named segment of a tool pattern is declared."""
    segments = [s for s in pattern.split(":")[:3] if s]
    while segments and segments[-1] == "*":
        segments.pop()
    if not segments or "*" in segments:
        return None
    tenant = segments[0]
    if len(segments) == 1:
        return _document(at, f"{tenant}/{TENANT_FILE}", tenant)
    contract = f"{tenant}/contracts/{segments[1]}.yaml"
    if len(segments) == 2:
        return _document(at, contract, segments[1])
    return next((d for d in _table(at, contract, ("spec", "operations")) if d.name == segments[2]), None)


def tool_patterns(at: At) -> Iterator[tuple[str, str]]:
    """Every pattern that a grant may hold, the widest first, with what it names."""
    own = at.kind == "Tenant"
    if not own:
        yield "*:*:*", "every tool of every tenant"
    for tenant in [at.tenant] if own else tenants(at.analysis):
        yield f"{tenant}:*:*", f"every tool of `{tenant}`"
        for contract in _documents(at, tenant, "contracts"):
            yield f"{tenant}:{contract.name}:*", f"every tool of `{contract.name}`"
            for operation in _table(at, contract.file.path, ("spec", "operations")):
                yield f"{tenant}:{contract.name}:{operation.name}", operation.words


def digest(at: At) -> str | None:
    """The sha256 of the OpenAPI description that the contract names."""
    file = _description(at)
    return None if file is None else file.digest


def secret_prefix(at: At) -> str | None:
    """The path below which the tenant's secrets lie."""
    document = at.analysis.documents.get(f"{at.tenant}/{TENANT_FILE}")
    prefix = inside(document.data, "spec", "secrets", "prefix") if document else None
    return prefix if isinstance(prefix, str) else None


def _table(at: At, path: str, loc: Loc) -> Iterator[Declared]:
    """The keys of a mapping in a document."""
    document = at.analysis.documents.get(path)
    if document is None:
        return
    entries = inside(document.data, *loc)
    if isinstance(entries, dict):
        for name, value in entries.items():
            yield Declared(name, document.file, document.span((*loc, name), "key"), _words(value))


def _documents(at: At, tenant: str, folder: str) -> Iterator[Declared]:
    kind = FOLDER_KINDS[folder]
    for place in at.analysis.source.placed:
        if place.tenant == tenant and place.kind == kind:
            found = _document(at, place.file.path, place.name)
            if found is not None:
                yield found


def _document(at: At, path: str, name: str) -> Declared | None:
    """The document at a path, whether or not it could ever be parsed."""
    document = at.analysis.documents.get(path)
    if document is not None:
        return Declared(name, document.file, document.span(("metadata", "name")), _words(inside(document.data, "spec")))
    file = next((f for f in at.analysis.source.files.values() if f.path == path), None)
    return None if file is None else Declared(name, file, file.span(), "")


def _description(at: At) -> SourceFile | None:
    file = inside(at.data, "spec", "source", "file")
    return at.analysis.source.descriptions.get(f"{at.tenant}/{file}")


def _sources(at: At) -> Iterator[Declared]:
    for path, file in sorted(at.analysis.source.descriptions.items()):
        if path.startswith(f"{at.tenant}/"):
            yield Declared(path.partition("/")[2], file, file.span(), "An OpenAPI description.")


@lru_cache(maxsize=32)
def _operations(content: bytes, name: str) -> tuple[openapi.OperationRef, ...]:
    """The operations of an OpenAPI description; none where it cannot be read."""
    try:
        return tuple(openapi.read(content, name).operations.values())
    except openapi.DescriptionError:
        return ()


def _source_operations(at: At) -> Iterator[Declared]:
    file = _description(at)
    if file is None:
        return
    text = file.content.decode("utf-8", "replace")
    for operation in _operations(file.content, file.path):
        words = f"{operation.method} {operation.path}" + (f": {operation.summary}" if operation.summary else "")
        yield Declared(operation.id, file, _operation_span(file, text, operation), words)


def _operation_span(file: SourceFile, text: str, operation: openapi.OperationRef) -> Span:
    """Where an OpenAPI description has an operation: at its id, else at its path."""
    if operation.declared_id is not None:
        word, lead = operation.declared_id, r"""["']?operationId["']?\s*:\s*["']?"""
    else:
        word, lead = operation.path, r"""(?m:^|[{,])\s*["']?"""
    found = re.search(lead + f"({re.escape(word)})" + r"""(?=["'\s,}:]|$)""", text)
    if not found:
        return file.span()
    start = found.start(1)
    return file.span(text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start), len(word))


def _words(value: Any) -> str:
    """What a declaration says of itself: the texts that people read, else its plain values."""
    if not isinstance(value, dict):
        return ""
    name = " ".join(str(value[k]) for k in ("firstName", "lastName") if isinstance(value.get(k), str))
    texts = [name] if name else []
    texts += [value[k] for k in ("displayName", "summary", "title", "description", "intent") if _is_text(value.get(k))]
    if texts:
        return "\n\n".join(dict.fromkeys(t.strip() for t in texts))
    plain = {k: v for k, v in value.items() if isinstance(v, (str, int, float))}
    return ", ".join(f"{k} {v}" for k, v in plain.items())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def inside(data: Any, *loc: str | int) -> Any:
    """The value at a place; None where there is none."""
    for step in loc:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data
