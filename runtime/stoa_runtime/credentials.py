"""Backends' credentials, read where the operator keeps them. What is not there is a refusal, never a pass."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

SECRET_LIMIT = 16_384
"""Bytes of one secret."""

_REFERENCE = re.compile(r"vault:([a-z0-9-]+(?:/[A-Za-z0-9._-]+)*)#([A-Za-z0-9._-]+)")
_DOTS = frozenset({".", ".."})


class CredentialMissing(Exception):
    """The credential cannot be had. The message names the reference, never a value."""


class Credentials(Protocol):
    """Where secrets are read."""

    def read(self, reference: str) -> str:
        """The secret that `reference` (`vault:<path>#<key>`) names; `CredentialMissing` where there is none."""


def split(reference: str) -> tuple[str, str]:
    """Path and key of a reference; `CredentialMissing` where it is none."""
    match = _REFERENCE.fullmatch(reference)
    if match is None or _DOTS & {*match[1].split("/"), match[2]}:
        raise CredentialMissing(f"{reference!r} is not a secret reference")
    return match[1], match[2]


def usable(reference: str, value: str) -> str:
    """`value` without the line feed that editors add; one that would break a header is refused."""
    value = value.removesuffix("\n").removesuffix("\r")
    if not value or not value.isascii() or not value.isprintable():
        raise CredentialMissing(f"{reference} is empty, or holds what a header cannot carry")
    return value


class FileCredentials:
    """Secrets as files, `<folder>/<path>/<key>`, as a mounted volume gives them. Read anew for each call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, reference: str) -> str:
        """The file's content."""
        path, key = split(reference)
        try:
            with (self._folder / path / key).open("rb") as file:
                data = file.read(SECRET_LIMIT + 1)
        except OSError as error:
            raise CredentialMissing(f"{reference} cannot be read: {error.strerror}") from None
        if len(data) > SECRET_LIMIT:
            raise CredentialMissing(f"{reference} is too long")
        return usable(reference, data.decode("utf-8", "replace"))


class EnvironmentCredentials:
    """Secrets as environment variables, `STOA_SECRET_<PATH>_<KEY>` in capitals, every other sign an underscore."""

    def __init__(self, variables: Mapping[str, str] = os.environ) -> None:
        self._variables = variables

    def read(self, reference: str) -> str:
        """The variable's value."""
        name = variable(reference)
        if name not in self._variables:
            raise CredentialMissing(f"{reference} is not there: {name} is not set")
        return usable(reference, self._variables[name])


def variable(reference: str) -> str:
    """The environment variable of a reference."""
    path, key = split(reference)
    return "STOA_SECRET_" + re.sub(r"[^A-Z0-9]", "_", f"{path}_{key}".upper())


def shared_variables(references: Iterable[str]) -> list[str]:
    """Variables that two different references would share, which would hand one tenant another's secret."""
    owners: dict[str, set[str]] = {}
    for reference in references:
        owners.setdefault(variable(reference), set()).add(reference)
    return sorted(name for name, named in owners.items() if len(named) > 1)
