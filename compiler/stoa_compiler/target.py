"""What a target is: how it makes artifacts from the graph, and how it proves them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from stoa_compiler.diagnostics import Report, Rule
from stoa_compiler.graph import Graph, Origin, TenantNode
from stoa_compiler.records import record
from stoa_schemas import calls

if TYPE_CHECKING:
    from stoa_schemas import bundle

Artifacts = Mapping[str, "Artifact"]
"""Artifacts by path."""


@record
class Artifact:
    """One file of a bundle."""

    path: str
    """POSIX path from the bundle's folder, made of validated ids only."""
    media_type: str
    content: bytes
    origins: tuple[Origin, ...]
    """The declarations that it came from."""
    digest: str = field(init=False, repr=False, compare=False)
    """Of the content, `sha256:<hex>`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", calls.sha256(self.content))

    @classmethod
    def known(cls, path: str, media_type: str, content: bytes, origins: tuple[Origin, ...], digest: str) -> "Artifact":
        """An artifact whose digest another process or run told; whoever verifies it computes it anew."""
        made = object.__new__(cls)
        names = ("path", "media_type", "content", "origins", "digest")
        for name, value in zip(names, (path, media_type, content, origins, digest), strict=True):
            object.__setattr__(made, name, value)
        return made

    @property
    def listing(self) -> "bundle.Artifact":
        """The artifact's line in a manifest."""
        from stoa_schemas import bundle  # Only here: a check lists nothing.

        return bundle.Artifact(
            path=self.path,
            media_type=self.media_type,
            sha256=self.digest,
            bytes=len(self.content),
        )


@record
class Parts:
    """The artifacts that are one tenant's alone, so that each can be made and proved without the others."""

    emit: Callable[[Graph, str, TenantNode], Sequence[Artifact]]
    """Graph, environment, tenant -> its artifacts."""
    verify: Callable[[Graph, str, TenantNode, Artifacts, Report], None]
    """Parses these artifacts back and compares them with the graph."""
    verify_rest: Callable[[Graph, str, Artifacts, Report], None]
    """What is left to prove where `verify` proved each tenant's. The graph may be without operations."""


@record
class Target:
    """One renderer. A new one is a module under `targets/` and a name in `targets.MODULES`."""

    name: str
    emit: Callable[[Graph, str, Artifacts], Sequence[Artifact]]
    """Graph, environment, and what the targets named in `carries` emitted -> artifacts, sorted by path.

    A target with `parts` takes those that were made before from there as well.
    """
    verify: Callable[[Graph, str, Artifacts, Report], None]
    """Parses the target's own artifacts back and compares them with the graph; adds what disagrees."""
    rules: tuple[Rule, ...] = ()
    """What `verify` can find."""
    carries: tuple[str, ...] = ()
    """Targets whose artifacts this one carries; they are emitted first."""
    parts: Parts | None = None
    """How each tenant's own artifacts are made; None where all are made from the whole."""
