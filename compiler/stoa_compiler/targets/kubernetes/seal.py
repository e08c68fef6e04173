"""Seal: one digest of all that is proved of a tenant together, so that nothing else can take its place later."""

from collections.abc import Iterable

from stoa_compiler.target import Artifact
from stoa_schemas import calls


def sealed(own: Iterable[Artifact], catalog: Artifact | None) -> str:
    """The digest of a tenant's files, and of the catalog that one of them shows."""
    files = sorted([*own, catalog] if catalog is not None else own, key=lambda a: a.path)
    return calls.sha256("".join(f"{a.path} {a.digest}\n" for a in files).encode())
