"""Stores: caches that several machines share, a folder of CI's or an object store by fsspec.

What one machine keeps, another one believes: so entries of a shared cache are sealed with a key that only those have
who may fill it (HMAC, RFC 2104). An entry with another seal counts as absent. What tells of one machine's files alone
stays in its own cache.
"""

import hashlib
import hmac
import os
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

from stoa_compiler.cache import FORMAT, Cache

KEY = "STOA_CACHE_KEY"
"""The environment variable with the key."""
MIN_KEY = 16
"""Characters."""
_MAGIC = FORMAT.encode() + b"-shared\n"
_SEAL = hashlib.sha256().digest_size
_LOCAL = ("seen ", "index ", "settled ")
"""Beginnings of the keys of what tells of this machine's files, or of its last run."""


class StoreRefused(Exception):
    """The store cannot be used: why, for people."""


class SharedCache(Cache):
    """A machine's own cache in front of a store: what one has not, the other may have."""

    def __init__(self, own: Cache, url: str, key: bytes) -> None:
        super().__init__(own.folder, own.limit)
        self._own = own
        self._key = key
        self._url = url
        self._process = os.getpid()
        self._filesystem, self._root = _filesystem(url)

    @classmethod
    def at(cls, url: str) -> "SharedCache":
        """The cache in front of the store at `url`; raises `StoreRefused`."""
        key = os.environ.get(KEY, "")
        if len(key) < MIN_KEY:
            raise StoreRefused(f"a shared cache needs a key of {MIN_KEY} characters or more in {KEY}")
        own = Cache.open()
        if own is None:
            raise StoreRefused("this machine's own cache, which stands in front of it, cannot be used")
        return cls(own, url, key.encode())

    @property
    def _fs(self) -> Any:
        """The store's; a forked child has one of its own, since connections and their threads stay with its parent."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._filesystem, self._root = _filesystem(self._url)
        return self._filesystem

    def get(self, key: str) -> bytes | None:
        """The entry, from here or from there."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of the entries that are here or there; the store is asked once for all."""
        found = self._own.get_many(keys)
        wanted = {self._path(key): key for key in keys if key not in found and not key.startswith(_LOCAL)}
        if not wanted:
            return found
        try:
            there: Mapping[str, Any] = self._fs.cat(list(wanted), on_error="omit")
        except (OSError, ValueError, StoreRefused):
            return found
        fetched = {}
        for path, sealed in there.items():
            key = wanted.get(path) or wanted.get(f"/{path}", "")
            content = self._opened(key, sealed) if key else None
            if content is not None:
                fetched[key] = content
        self._own.put_many(fetched)
        return found | fetched

    def has_many(self, keys: Collection[str]) -> Set[str]:
        """Those of the entries that are here, or that the store just gave."""
        here = self._own.has_many(keys)
        return here | self.get_many([key for key in keys if key not in here]).keys()

    def put(self, key: str, *payload: bytes) -> None:
        """Keeps the entry here and there."""
        self._own.put(key, *payload)
        self._send({key: b"".join(payload)})

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        """Keeps the entries here and there."""
        self._own.put_many(entries)
        self._send(entries)

    def _send(self, entries: Mapping[str, bytes]) -> None:
        sealed = {
            self._path(key): _MAGIC + self._seal(key, content) + content
            for key, content in entries.items()
            if not key.startswith(_LOCAL)
        }
        if sealed:
            try:
                self._fs.pipe(sealed)
            except (OSError, ValueError, StoreRefused):
                return  # A store that takes nothing is no reason to stop.

    def _path(self, key: str) -> str:
        return f"{self._root}/{hashlib.sha256(key.encode()).hexdigest()}"

    def _opened(self, key: str, sealed: bytes) -> bytes | None:
        head = len(_MAGIC) + _SEAL
        content = sealed[head:]
        whole = hmac.compare_digest(sealed[:head], _MAGIC + self._seal(key, content))
        return content if whole else None

    def _seal(self, key: str, content: bytes) -> bytes:
        name = hashlib.sha256(key.encode()).digest()
        return hmac.new(self._key, name + content, hashlib.sha256).digest()


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise StoreRefused("a shared cache needs fsspec: pip install 'stoa-platform[distributed]'") from error
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
        filesystem.makedirs(root, exist_ok=True)
    except (ImportError, OSError, ValueError) as error:
        raise StoreRefused(f"the cache `{url}` cannot be reached: {error}") from error
    return filesystem, str(root).rstrip("/")
