"""Names: from what the earlier form called things to what the language takes, each for one thing only."""

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Mapping
from typing import TypeVar

from stoa_compiler.openapi.text import words
from stoa_schemas import names

MIN_OPERATION = 12
"""Characters that a tool's name must leave for the operation."""

K = TypeVar("K", bound=Hashable)

_OPERATION = re.compile(names.OPERATION)


def tenant_names(originals: Mapping[K, str]) -> dict[K, str]:
    """A tenant's name for each; equal originals are one tenant."""

    def allowed(text: str) -> str:
        return f"t-{text}" if names.is_reserved(text) else text

    distinct = {o: o for o in originals.values()}
    chosen = fitted(distinct, {o: allowed(_id(o)) for o in distinct}, dict.fromkeys(distinct, 31), "-")
    return {key: chosen[original] for key, original in originals.items()}


def contract_names(originals: Mapping[K, str], tenant: str) -> dict[K, str]:
    """A contract's name for each, short enough for its tools' names."""
    limit = min(31, names.WIRE_NAME_LIMIT - len(tenant) - 2 - MIN_OPERATION)
    return fitted(originals, {k: _id(o) for k, o in originals.items()}, dict.fromkeys(originals, limit), "-")


def operation_names(originals: Mapping[K, str], tenant: str, contract: str) -> dict[K, str]:
    """An operation's name for each."""
    limit = min(63, names.WIRE_NAME_LIMIT - len(tenant) - len(contract) - 2)
    return fitted(originals, {k: _snake(o) for k, o in originals.items()}, dict.fromkeys(originals, limit), "_")


def fitted(originals: Mapping[K, str], plain: Mapping[K, str], limits: Mapping[K, int], sep: str) -> dict[K, str]:
    """The plain name where it fits and nobody else wants it, else one with a digest of the original.

    Who is called so already keeps the name.
    """
    wanting: dict[str, list[K]] = {}
    for key, name in plain.items():
        wanting.setdefault(name, []).append(key)
    result: dict[K, str] = {}
    for name, keys in wanting.items():
        fitting = [k for k in keys if len(name) <= limits[k]]
        exact = [k for k in fitting if originals[k] == name]
        owner = exact[0] if exact else fitting[0] if fitting and len(keys) == 1 else None
        if owner is not None:
            result[owner] = name
    taken = set(result.values())
    for position, (key, name) in enumerate(plain.items()):
        if key in result:
            continue
        length, salt = 6, originals[key]
        while (short := _cut(name, hashlib.sha256(salt.encode()).hexdigest()[:length], limits[key], sep)) in taken:
            salt = f"{originals[key]}\0{position}"  # The same name for the second time.
            length = min(length + 1, limits[key] - 2)
        result[key] = short
        taken.add(short)
    return {key: result[key] for key in originals}


def _cut(name: str, digest: str, limit: int, sep: str) -> str:
    room = limit - len(digest) - 1
    head = name
    if len(head) > room:
        head = name[: room + 1].rpartition(sep)[0] or name[:room]
    return f"{head.rstrip('-_') or 'x'}{sep}{digest}"


def _id(original: str) -> str:
    if names.is_id(original):
        return original
    text = unicodedata.normalize("NFKD", original).encode("ascii", "ignore").decode()
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text)
    text = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return text if text[:1].isalpha() else f"x-{text}" if text else "x"


def _snake(original: str) -> str:
    if _OPERATION.fullmatch(original):
        return original
    name = "_".join(words(original))
    return name if name[:1].isalpha() else f"op_{name}" if name else "op"
