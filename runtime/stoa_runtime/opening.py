"""A bundle opened as the operator wants it: what is light enough to be done before all that serves it is there."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from stoa_runtime import bundles
from stoa_runtime.bundles import BundleError, Snapshot
from stoa_runtime.reload import Load
from stoa_runtime.sequence import Pin
from stoa_runtime.settings import Settings
from stoa_runtime.signatures import SignatureRefused, trusted

PROCESSES = 2
"""Processes that judge a large bundle while this one reads its modules."""

Begun = Callable[[], Snapshot]
"""Gives the snapshot of the bundle that was begun; `BundleError` where it cannot be served."""


def begun(settings: Settings) -> Begun | None:
    """The bundle of the settings, begun: its digests hold, and other processes judge its catalogs.

    None where several workers serve it, each of which reads it itself. `BundleError` where it is refused already.
    """
    if settings.workers > 1:
        return None
    processes = min(PROCESSES, os.cpu_count() or 1)
    rest = bundles.begin(settings.bundle, **_wanted(settings), processes=processes if processes > 1 else 0)
    return partial(rest, None)


def loader(settings: Settings) -> Load:
    """What reads bundles as these settings want them judged."""
    return partial(bundles.load, **_wanted(settings))


def _wanted(settings: Settings) -> dict[str, Any]:
    try:
        keys = trusted(settings.keys)
    except SignatureRefused as error:
        raise BundleError(str(error)) from None
    pin = Pin(settings.state_folder, settings.allow_rollback) if keys else None
    return {"allow_development": settings.allow_development, "keys": keys, "pin": pin}
