"""Rules on secrets: references only, and only below the tenant's own prefix."""

from collections.abc import Iterator
from typing import Any

from stoa_compiler.diagnostics import Note, Report, Rule
from stoa_compiler.graph import Graph
from stoa_compiler.literals import MARKS, kind_of_secret
from stoa_compiler.source import Document, Loc

FOREIGN_SECRET = Rule(
    code="STOA471",
    title="the secret is not the tenant's",
    why="A reference outside the tenant's prefix would send another's credential to this backend.",
    help="Keep the secret below the tenant's own prefix.",
)
LITERAL_SECRET = Rule(
    code="STOA472",
    title="a literal that looks like a secret",
    why="What is in Git is known to everyone who ever clones it.",
    help="Revoke the credential now, keep its successor in Vault and refer to it as `vault:<path>#<key>`.",
)

RULES = (FOREIGN_SECRET, LITERAL_SECRET)


def check(graph: Graph, report: Report) -> None:
    """Adds secrets that are written out, and references to another's."""
    check_literals(graph.origin.document, report)
    for tenant in graph.tenants:
        origins = [tenant.origin]
        for contract in tenant.contracts:
            origins.append(contract.origin)
            auth = contract.declared.spec.backend.auth
            if auth is None:
                continue
            path = auth.secret.removeprefix("vault:").partition("#")[0]
            prefix = tenant.declared.spec.secrets.prefix + "/"
            if not path.startswith(prefix) or ".." in path.split("/") or "." in path.split("/"):
                report.add(
                    FOREIGN_SECRET,
                    contract.origin.document.span(("spec", "backend", "auth", "secret")),
                    f"`{path}` is not below `{prefix}`",
                    [
                        Note(
                            f"the prefix of `{tenant.name}`", tenant.origin.document.span(("spec", "secrets", "prefix"))
                        )
                    ],
                )
        origins.extend(c.origin for c in tenant.consumers)
        origins.extend(p.origin for p in tenant.plans)
        for origin in origins:
            check_literals(origin.document, report)


def check_literals(document: Document, report: Report) -> None:
    """Adds secrets that are written out: names their kind and key, never the value."""
    if not document.may_hold(*MARKS):
        return
    for loc, text in _strings(document.data, ()):
        kind = kind_of_secret(text)
        if kind is not None:
            _add(document, loc, kind, report)


def _add(document: Document, loc: Loc, kind: str, report: Report) -> None:
    key = next((str(s) for s in reversed(loc) if isinstance(s, str)), "the document")
    report.add(LITERAL_SECRET, document.span(loc, "key"), f"`{key}` holds what looks like {kind}")


def _strings(data: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _strings(value, (*loc, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _strings(value, (*loc, index))
    elif isinstance(data, str):
        yield loc, data
