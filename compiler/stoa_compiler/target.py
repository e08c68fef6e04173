"""What a target is: how it makes artifacts from the graph, and how it proves them."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

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
    """The declarations that it came from; nothing where another process or run made it."""
    digest: str = field(init=False, repr=False, compare=False)
    """Of the content, `sha256:<hex>`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", calls.sha256(self.content))

    @classmethod
    def known(cls, path: str, media_type: str, content: bytes, digest: str) -> "Artifact":
        """An artifact that another process made and proved, and whose digest it told."""
        made = object.__new__(cls)
        values = {"path": path, "media_type": media_type, "content": content, "origins": (), "digest": digest}
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content)

    def contents(self) -> Iterator[bytes]:
        """The content in a row of pieces, each of which is made when it is its turn."""
        return iter((self.content,))

    @property
    def listing(self) -> "bundle.Artifact":
        """The artifact's line in a manifest."""
        from stoa_schemas import bundle  # Only here: a check lists nothing.

        return bundle.Artifact(path=self.path, media_type=self.media_type, sha256=self.digest, bytes=self.size)


class Stored(Artifact):
    """An artifact that was proved and kept: its content is read when it is asked for, and is what its digest says."""

    __slots__ = ("_read", "_size")
    _read: Callable[[str], bytes]
    _size: int

    def __init__(self, path: str, media_type: str, digest: str, size: int, read: Callable[[str], bytes]) -> None:
        values = {"path": path, "media_type": media_type, "origins": (), "digest": digest, "_size": size, "_read": read}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def content(self) -> bytes:
        """Read anew each time: nobody holds many."""
        return self._read(self.digest)

    @property
    def size(self) -> int:
        """Bytes of the content, which is not read for this."""
        return self._size


@record
class Begun:
    """A file that is being written beside this process, and has no name yet."""

    descriptor: int
    digest: Callable[[], str]
    """Waits until all of it is written."""


class Joined(Artifact):
    """An artifact that carries others: their bytes are not copied before it is written."""

    __slots__ = ("_digest", "_pieces", "begun")
    _digest: str
    _pieces: "tuple[bytes | Artifact, ...]"
    begun: "Begun | None"
    """Who writes it already."""

    def __init__(
        self, path: str, media_type: str, pieces: "Sequence[bytes | Artifact]", origins: tuple[Origin, ...]
    ) -> None:
        values = {"path": path, "media_type": media_type, "origins": origins, "_pieces": tuple(pieces), "_digest": ""}
        for name, value in {**values, "begun": None}.items():
            object.__setattr__(self, name, value)

    def begin(self, begun: Begun | None) -> None:
        """Takes note of who writes it already."""
        object.__setattr__(self, "begun", begun)

    @classmethod
    def told(cls, path: str, pieces: "Sequence[bytes | Artifact]", digest: str) -> "Joined":
        """One of which another run told the digest."""
        made = cls(path, "", pieces, ())
        object.__setattr__(made, "_digest", digest)
        return made

    @property
    def content(self) -> bytes:
        """The pieces in a row."""
        return b"".join(self.contents())

    @property
    def digest(self) -> str:
        """Of the content, `sha256:<hex>`."""
        if not self._digest and self.begun is not None:
            try:
                object.__setattr__(self, "_digest", self.begun.digest())
            except OSError:
                self.begin(None)  # Whoever writes it next says what is wrong.
        if not self._digest:
            state = hashlib.sha256()
            for content in self.contents():
                state.update(content)
            object.__setattr__(self, "_digest", f"sha256:{state.hexdigest()}")
        return self._digest

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return sum(len(p) if isinstance(p, bytes) else p.size for p in self._pieces)

    @property
    def pieces(self) -> "Sequence[bytes | Artifact]":
        """What it consists of."""
        return self._pieces

    def contents(self) -> Iterator[bytes]:
        """The bytes of each piece."""
        return (p if isinstance(p, bytes) else p.content for p in self._pieces)


@record
class Part:
    """What one tenant gives to a target's artifacts."""

    artifacts: tuple[Artifact, ...] = ()
    """Those that are its alone."""
    shared: Any = None
    """What it adds to those that it shares with others, as plain JSON values: only the target reads them."""


PartsOf = Mapping[str, Part]
"""Parts by tenant."""


@record
class Parts:
    """How a target's artifacts come from what each tenant gives, so that each part is made, proved and kept alone."""

    emit: Callable[[Graph, str, TenantNode, Artifacts], Part]
    """Graph, environment, tenant, and what the tenant gave to the targets named in `carries` -> its part."""
    verify: Callable[[Graph, str, PartsOf, Artifacts, Report], None]
    """Proves the parts of the graph's tenants, who may be some of the source's: by what they come to among
    themselves. The artifacts are those that are carried."""
    join: Callable[[Graph, str, PartsOf, Artifacts], Sequence[Artifact]]
    """Graph, environment, every tenant's part, and what is carried -> all artifacts. Of the graph's tenants only facts
    are asked for."""
    verify_rest: Callable[[Graph, str, PartsOf, Artifacts, Report], None]
    """Proves that the artifacts are the platform's own and these parts, which were proved. Likewise."""

    def emit_whole(self, graph: Graph, environment: str, carried: Artifacts) -> Sequence[Artifact]:
        """All artifacts, of a graph with all of its tenants' nodes."""
        made = {t.name: self.emit(graph, environment, t, carried) for t in graph.tenants_in(environment)}
        return self.join(graph, environment, made, carried)


@record
class Target:
    """One renderer. A new one is a module under `targets/` and a name in `targets.MODULES`."""

    name: str
    emit: Callable[[Graph, str, Artifacts], Sequence[Artifact]]
    """Graph, environment, and what the targets named in `carries` emitted -> artifacts, sorted by path."""
    verify: Callable[[Graph, str, Artifacts, Report], None]
    """Parses the target's own artifacts back and compares them with the graph; adds what disagrees."""
    parts: Parts
    """How the same is made and proved of what tenants give."""
    rules: tuple[Rule, ...] = ()
    """What `verify` can find."""
    carries: tuple[str, ...] = ()
    """Targets whose artifacts this one carries; they are emitted first."""
