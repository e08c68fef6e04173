"""Provenance: from every value of every artifact back to the places in the source that made it.

It is derived beside the renderers and not carried through them: each module here says for the pointers of one target's
artifacts which rule made a value, and from what. Tests prove it by causality: a change at each place that is named
changes the value, and a value that is named constant never changes (ADR 0015).
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

from stoa_compiler.graph import Graph
from stoa_compiler.provenance import argocd, helm, keycloak, kubernetes, mcp, sealed
from stoa_compiler.provenance.model import Cause, Emission, Place, Table, Traced, Undeclared
from stoa_compiler.provenance.places import Places
from stoa_compiler.provenance.reading import leaves, read
from stoa_compiler.source import SourceFile
from stoa_compiler.target import Artifact

TABLES: tuple[Table, ...] = (
    *mcp.TABLES,
    *keycloak.TABLES,
    *helm.TABLES,
    *kubernetes.TABLES,
    *argocd.TABLES,
    *sealed.TABLES,
)
"""Every table, by the artifacts that it is for."""

__all__ = ["TABLES", "Cause", "Emission", "Place", "Provenance", "Traced", "Undeclared"]


class Provenance:
    """Answers for one bundle of one graph."""

    def __init__(
        self,
        graph: Graph,
        environment: str,
        files: Mapping[str, Artifact],
        descriptions: Mapping[str, SourceFile] | None = None,
    ) -> None:
        self.files = files
        self._places = Places(graph, environment, descriptions or {})
        self._traced: dict[str, list[Traced]] = {}
        self._read: dict[str, object] = {}

    def of(self, path: str) -> list[Traced]:
        """Every value of the artifact at `path`, in its order; a value that no table knows has no emission."""
        if path not in self._traced:
            data = self.data(path)
            table = next((t for t in TABLES if t.fits(path)), None)
            self._traced[path] = [
                table.trace(self._places, path, data, pointer, value) if table else Traced(path, pointer, value)
                for pointer, value in leaves(data)
            ]
        return self._traced[path]

    def data(self, path: str) -> object:
        """What the artifact holds; of several YAML documents a list of them."""
        if path not in self._read:
            self._read[path] = read(self.files[path])
        return self._read[path]

    def causes(self, traced: Traced) -> list[Cause]:
        """The value's causes, those of what it is made of included."""
        found = {c.key: c for c in traced.causes}
        for part in self.parts(traced):
            found |= {c.key: c for c in self.causes(part)}
        return list(found.values())

    def parts(self, traced: Traced) -> Iterator[Traced]:
        """The values that it is made of: those of the artifacts that it holds, or is the digest of."""
        for path, pointer in traced.within:
            for part in self.of(path):
                if part.pointer[: len(pointer)] == pointer and part is not traced:
                    yield part

    @cached_property
    def undeclared(self) -> list[Traced]:
        """Values of which nothing is known: there must be none."""
        return [t for path in sorted(self.files) for t in self.of(path) if t.emission is None]
