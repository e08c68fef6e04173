"""The highest sequence that was served, remembered, so that an older bundle with a good signature is still refused.

Processes that share the state folder share the memory. It holds no longer than the folder does.
"""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from stoa_runtime.signatures import Verified
from stoa_schemas import attestation
from stoa_schemas.base import Closed

log = logging.getLogger("stoa")

PINNED = "sequence.json"
"""What is remembered, in the state folder."""
LOCK = "sequence.lock"
PINNED_LIMIT = 65_536


class RollbackRefused(Exception):
    """A bundle older than one that was served, or a memory that cannot be kept; one line for the operator."""


class Pinned(Closed):
    """The bundle of the highest sequence that was served from this state folder."""

    platform: str
    """The platform's name."""
    environment: str
    """dev, staging or prod."""
    sequence: Annotated[int, Field(ge=0, le=attestation.SEQUENCE_LIMIT)] | None = None
    """Its place in the order of bundles; null where it had none."""
    digest: str
    """The bundle's digest."""
    rolled_back_from: Annotated[int, Field(ge=0, le=attestation.SEQUENCE_LIMIT)] | None = None
    """The higher sequence that an operator gave up for it."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The memory in one state folder."""

    folder: Path
    allow_rollback: bool = False
    """Whether the operator asks that an older bundle is taken, which then is what is remembered."""

    def admit(self, verified: Verified, digest: str) -> None:
        """Remembers a signed bundle as served; `RollbackRefused` where a newer one was, or a bundle elsewhere's."""
        try:
            with self._alone():
                self._admit(verified, digest)
        except OSError as error:
            raise RollbackRefused(
                f"the highest sequence cannot be remembered in {self.folder}: {error.strerror or error}"
            ) from error

    def _admit(self, verified: Verified, digest: str) -> None:
        before = self._read()
        refusal = self._refusal(before, verified, digest) if before is not None else None
        if refusal is not None and not self.allow_rollback:
            raise RollbackRefused(refusal)
        after = Pinned(
            platform=verified.platform,
            environment=verified.environment,
            sequence=verified.sequence,
            digest=digest,
            rolled_back_from=before.sequence if before is not None and refusal is not None else None,
        )
        if before is not None and _place(before) == _place(after):
            return
        self._write(after)
        if refusal is not None:
            log.warning("rolled back, as the operator allows: %s", refusal)

    def _refusal(self, before: Pinned, verified: Verified, digest: str) -> str | None:
        """Why a bundle is not taken after `before`; None where it may be."""
        if (before.platform, before.environment) != (verified.platform, verified.environment):
            return (
                f"this is a bundle of {verified.platform}/{verified.environment}, and {self.folder} remembers one of"
                f" {before.platform}/{before.environment}: give each its own state folder"
            )
        if before.sequence is None:
            return None
        if verified.sequence is None:
            return (
                f"the bundle's signature gives no sequence, and sequence {before.sequence} was served: sign it with"
                " `--sequence`, or allow the rollback"
            )
        if verified.sequence < before.sequence:
            return (
                f"the bundle is older than what was served: its sequence is {verified.sequence}, and"
                f" {before.sequence} was served; an operator may allow the rollback"
            )
        if verified.sequence == before.sequence and digest != before.digest:
            return (
                f"another bundle of the same sequence, {before.sequence}, was served: {before.digest}; a new bundle"
                " needs a higher one, or an operator may allow it"
            )
        return None

    def _read(self) -> Pinned | None:
        try:
            with (self.folder / PINNED).open("rb") as stream:
                data = stream.read(PINNED_LIMIT)
        except FileNotFoundError:
            return None
        try:
            return Pinned.model_validate_json(data)
        except ValidationError:
            if self.allow_rollback:
                return None
            raise RollbackRefused(
                f"{self.folder / PINNED} is not readable as the memory of the highest sequence; remove it, or allow"
                " the rollback, if you know which bundle is right"
            ) from None

    def _write(self, pinned: Pinned) -> None:
        handle, staging = tempfile.mkstemp(prefix=f".{PINNED}.", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(pinned.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            Path(staging).replace(self.folder / PINNED)
        finally:
            Path(staging).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds off other processes with this state folder; the system lets go when the process ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _place(pinned: Pinned) -> tuple[str, str, int | None, str]:
    return (pinned.platform, pinned.environment, pinned.sequence, pinned.digest)
