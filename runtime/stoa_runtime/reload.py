"""A bundle's folder watched: each new bundle that is whole and good, and each lasting mistake, once.

Looking at a few places in the folder is cheap enough to do often, and works wherever a bundle may lie: a folder that
the compiler exchanges, a ConfigMap's mount, a network file system. Notices of the kernel follow the exchanged folder
to where it was put aside, and some mounts give none.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from stoa_runtime import bundles
from stoa_runtime.bundles import BundleError, Snapshot
from stoa_schemas import attestation, bundle

SETTLED_SECONDS = 0.4
"""How long a folder must lie still before what is wrong with it is told: it may be half written."""
_STOCK_SECONDS = 0.1
"""Between two looks at every file."""
_BREATH_SECONDS = 0.0001

_WATCHED = ("", "mcp", bundle.RUNTIME_MANIFEST, attestation.ATTESTATIONS, bundle.BUNDLE_FILE, "..data", "mcp/..data")
"""What changes when a bundle does: a folder that is exchanged, files that are replaced, a link that is moved."""

Seen = tuple[tuple[int, ...], ...]


class Load(Protocol):
    """`bundles.load`, with the operator's keys, pin and leave already given."""

    def __call__(
        self, folder: Path, *, previous: Snapshot | None = None, between: Callable[[], None] | None = None
    ) -> Snapshot:
        """The snapshot of the bundle in `folder`; `BundleError` where any check fails."""


async def changes(
    folder: Path, current: Callable[[], Snapshot], interval: float = 1.0, *, load: Load = bundles.load
) -> AsyncIterator[Snapshot | BundleError]:
    """Each snapshot that `folder` comes to hold, and what is wrong where it comes to hold none that can be served.

    `current` says what is served; its catalogs are taken over where they did not change. What was told is not told
    again, but for the bundle that is served: it is, when the folder holds it again after a mistake, so that the
    mistake can be taken back. The folder is looked at every `interval` seconds. Loading happens in a thread.
    """
    seen: Seen | None = None  # What the folder looked like when it was loaded last; at first, whatever is there is.
    told: str | None = None
    while True:
        now = _glance(folder)
        if now == seen:
            await asyncio.sleep(interval)
            continue
        found, stock = await _settled(folder, current, interval, load)
        # What changed while it was loaded is seen at the next turn.
        seen = now
        if isinstance(found, BundleError):
            # The cure of a bad bundle may lie in any file, so all of it is watched until it is cured.
            if str(found) != told:
                told = str(found)
                yield found
            await _moved(folder, stock, interval)
            seen = None
        elif told is not None or _name(found) != _name(current()):
            told = None
            yield found


async def _settled(
    folder: Path, current: Callable[[], Snapshot], interval: float, load: Load
) -> tuple[Snapshot | BundleError, Seen]:
    """What the folder holds, and how it looked: a good bundle at once, a bad one when the folder has lain still."""
    while True:
        before = await asyncio.to_thread(_stock, folder)
        try:
            return await asyncio.to_thread(partial(load, folder, previous=current(), between=_breathe)), before
        except BundleError as error:
            failed = error
        still = time.monotonic() + SETTLED_SECONDS
        while (same := await asyncio.to_thread(_stock, folder) == before) and time.monotonic() < still:
            await asyncio.sleep(min(interval, SETTLED_SECONDS / 4))
        if same:
            return failed, before


async def _moved(folder: Path, stock: Seen, interval: float) -> None:
    """Waits until anything in the folder is other than in `stock`."""
    while await asyncio.to_thread(_stock, folder) == stock:
        await asyncio.sleep(max(interval, _STOCK_SECONDS))


def _name(snapshot: Snapshot) -> tuple[str, int | None]:
    """What makes one snapshot another's equal: signing the same bundle anew may only move its sequence."""
    return snapshot.digest, snapshot.signature.sequence if snapshot.signature is not None else None


def _glance(folder: Path) -> Seen:
    """How the places look that change when the bundle does."""
    seen: list[tuple[int, ...]] = []
    for place in _WATCHED:
        path = os.path.join(folder, place) if place else str(folder)  # noqa: PTH118  Ten times a second and more.
        # A link is looked at as such and through: either may be what is new.
        seen.append((*_looks(path, follow=False), *_looks(path, follow=True)))
    return tuple(seen)


def _stock(folder: Path) -> Seen:
    """How every file in the folder looks."""
    found = list(_glance(folder))
    for at, files in bundles.walked(folder / "mcp"):
        found.extend(_looks(os.path.join(at, name), follow=True) for name in files)  # noqa: PTH118
    return tuple(found)


def _looks(path: str, *, follow: bool) -> tuple[int, ...]:
    try:
        found = os.stat(path, follow_symlinks=follow)  # noqa: PTH116
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _breathe() -> None:
    """Lets go of the interpreter, so that requests are answered meanwhile."""
    time.sleep(_BREATH_SECONDS)
