"""What came of comparing one live system with a bundle."""

from collections.abc import Sequence
from typing import Any, Literal

from stoa_compiler.records import record

State = Literal["equal", "different", "unreachable"]
Kind = Literal["missing", "changed", "extra", "orphan"]
"""Not there; another value; a field, link or file that nobody declared; an object of ours that is not declared."""


class Unreachable(Exception):
    """The system does not answer, does not let us in, or not far enough; the message is for the operator."""


@record
class Field:
    """One value that differs. None: it is not there."""

    path: str
    live: Any
    declared: Any


@record
class Difference:
    """One object that is not as declared."""

    kind: Kind
    object: str
    """What it is, and its name."""
    fields: tuple[Field, ...] = ()
    note: str = ""
    """What an operator should know besides."""


@record
class Compared:
    """One live system beside the bundle."""

    system: str
    """`keycloak`, `kubernetes`, `runtime` or `branch`."""
    where: str
    """Its address, without a password."""
    objects: int = 0
    """Declared objects that were compared."""
    differences: tuple[Difference, ...] = ()
    error: str | None = None
    """Why it could not be asked."""

    @property
    def state(self) -> State:
        """Equal only where everything could be asked."""
        if self.differences:
            return "different"
        return "unreachable" if self.error is not None else "equal"


def exit_code(compared: Sequence[Compared]) -> int:
    """1 where anything differs, whatever else could not be asked; else 3 where something could not; else 0.

    A difference that was seen is certain and somebody must act on it; asking again helps only with the rest.
    """
    states = {c.state for c in compared}
    if "different" in states:
        return 1
    return 3 if "unreachable" in states else 0
