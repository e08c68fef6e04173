"""Limits: who may call how often, how many calls may run at once, and where that is counted.

`LimitRules` says what a request is charged to, from the bundle; a `Store` counts. `open_store` gives the store.
"""

from collections.abc import Callable

from stoa_runtime.limits.charges import ADMITTED, Admission, Charge, LimitReached, Quota, Slot, Store, WhenDown
from stoa_runtime.limits.memory import MemoryStore
from stoa_runtime.limits.rules import LimitRules

__all__ = [
    "ADMITTED",
    "Admission",
    "Charge",
    "LimitReached",
    "LimitRules",
    "MemoryStore",
    "Quota",
    "Slot",
    "Store",
    "StoreUnusable",
    "WhenDown",
    "open_store",
]


class StoreUnusable(Exception):
    """The store that the settings name cannot be used at all; the message is for the operator."""


def open_store(url: str | None, when_down: Callable[[], WhenDown]) -> Store:
    """The store at `url` (`redis://`, `rediss://` or `unix://`), or one in this process where there is none.

    `when_down` is asked when the store cannot be reached: a new bundle may say something else. Nothing is
    connected yet.
    """
    if url is None:
        return MemoryStore()
    try:
        from stoa_runtime.limits.valkey import ValkeyStore
    except ModuleNotFoundError as missing:
        if missing.name != "redis":
            raise
        raise StoreUnusable("a shared store of limits needs the extra `redis`: stoa-platform[redis]") from None
    try:
        return ValkeyStore(url, when_down)
    except ValueError:
        # The error's own text may repeat the URL, which may hold a password.
        raise StoreUnusable("the URL of the store of limits is not well formed: redis://HOST:PORT/DB") from None
