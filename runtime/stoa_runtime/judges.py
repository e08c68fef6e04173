"""A large bundle's catalogs judged by other processes, while the one that is to serve it gets ready for that.

A child sees the bundle's bytes as they were read and compared with their digests; what it says of a catalog is what its
parent would have found. Whatever a child does not get done is judged by the parent.
"""

import marshal
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from stoa_schemas import bundle

Told = tuple[list[str], list[str], list[str]]
"""Of a catalog: its consumers as JSON, its tools' wire names, the references to secrets."""


Found = Told | str
"""The same, or why the bundle cannot be served with it."""
Judge = Callable[[bundle.TenantEntry], Found]


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    heard: int
    """Where it says what it has found, once."""


class Judges:
    """Children that judge, from now until they are asked what they have found.

    There are none where this process has threads, which a fork would leave behind with whatever they hold, or where the
    system has no fork.
    """

    def __init__(self, processes: int, entries: Sequence[bundle.TenantEntry], judge: Judge) -> None:
        self._children: list[_Child] = []
        if not hasattr(os, "fork") or threading.active_count() > 1:
            return
        for number in range(processes):
            heard, says = os.pipe()
            pid = os.fork()
            if pid == 0:
                _be(says, entries[number::processes], judge)
            os.close(says)
            self._children.append(_Child(pid, heard))

    def told(self) -> Mapping[str, Found]:
        """What the children have found, by tenant."""
        found: dict[str, Found] = {}
        children, self._children = self._children, []
        for child in children:
            with os.fdopen(child.heard, "rb") as pipe:
                said = pipe.read()
            with suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
            # A child that was killed has said nothing, or not all.
            with suppress(EOFError, ValueError, TypeError):
                found |= marshal.loads(said)
        return found


def _be(says: int, entries: Sequence[bundle.TenantEntry], judge: Judge) -> None:
    """The child, from its first to its last step: it never returns."""
    try:
        for sig in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sig, signal.SIG_DFL)
        found = {entry.name: judge(entry) for entry in entries}
        with os.fdopen(says, "wb") as pipe:
            pipe.write(marshal.dumps(found))
    finally:
        os._exit(0)  # Nothing of the parent's is unwound here.
