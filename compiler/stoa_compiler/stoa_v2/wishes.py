"""What the command line says, and what the checks decided: the two inputs of a mapping beside the files."""

from collections.abc import Mapping, Sequence
from dataclasses import field

from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_schemas.documents.platform import ClassificationName, EnvironmentName


class ImportRefused(Exception):
    """Nothing can be imported as it was asked; the message says why."""


@record
class Wishes:
    """What holds where a file says nothing."""

    tenant: str | None = None
    owner: str | None = None
    classification: ClassificationName | None = None
    environments: Sequence[EnvironmentName] = ()
    backends: Mapping[str, str] = field(default_factory=dict)
    """Base URLs in place of hosts, which may bear a port."""


@record
class Part:
    """An API of a file, or with `method` one operation of it: what can be left out by itself."""

    file: str
    loc: Loc
    method: str = ""


@record
class Decisions:
    """What must stay out, or may not be exposed yet, so that the source compiles."""

    left_out: Mapping[Part, str] = field(default_factory=dict)
    """Parts, each with the reason."""
    held: Mapping[Part, str] = field(default_factory=dict)
    """Operations that the platform does not let agents see yet, each with the reason."""
