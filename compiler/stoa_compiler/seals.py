"""Seals: one digest of the files that were proved of a tenant together, so that no other can take the place of one."""

from collections.abc import Iterable

from stoa_compiler.target import Artifact
from stoa_schemas import calls


def sealed(files: Iterable[Artifact]) -> str:
    """The digest of the files' paths and digests, in whatever order they come; no content is read for it."""
    return calls.sha256("".join(sorted(f"{a.path} {a.digest}\n" for a in files)).encode())
