"""The findings of a run as JSON: what `stoa check --format json` writes, for other programs to read.

`version` rises when a key goes away or changes its meaning. New keys may come at any time, so the schema is open.
"""

from typing import Any, Literal

from pydantic import ConfigDict

from stoa_schemas.base import Closed

VERSION: Literal[1] = 1
SCHEMA_FILE = "findings.v1.schema.json"


class Open(Closed):
    """A mapping that may hold keys which a reader of this version does not know."""

    model_config = ConfigDict(extra="ignore")


class Place(Open):
    """A stretch of a file. Lines and columns count from 1, columns in characters; the end is exclusive."""

    file: str
    """POSIX path, from the folder in which `stoa` ran."""
    line: int
    """Its first line."""
    column: int
    """Its first column."""
    end_line: int
    """The line of its end."""
    end_column: int
    """The column after its last character. A place without extent stands for the file or the line."""


class Remark(Open):
    """Something else to look at."""

    message: str
    """Words for a person."""
    file: str | None = None
    """POSIX path; this and the other keys of a place are there together, or none is."""
    line: int | None = None
    """Its first line."""
    column: int | None = None
    """Its first column."""
    end_line: int | None = None
    """The line of its end."""
    end_column: int | None = None
    """The column after its last character."""


class Replacement(Place):
    """A stretch of the file, and what to put in its place."""

    replacement: str
    """The new text; empty where the stretch is only deleted."""


class Mending(Open):
    """The one right answer to a mistake: what `stoa check --fix` does."""

    description: str
    """What it does: `delete the character`."""
    edits: list[Replacement]
    """All of them together; none meets another."""


class Finding(Place):
    """One thing that is wrong."""

    code: str
    """The rule's code, `STOA301`; `stoa explain` tells about it."""
    severity: Literal["error", "warning"]
    """With any error, nothing is compiled."""
    title: str
    """What the rule is about."""
    message: str
    """What is wrong here. Names stand in backticks."""
    text: str
    """What stands at the place: its first line, cut after 200 characters. What looks like a secret is masked."""
    notes: list[Remark]
    """Other places and words that explain it."""
    why: str
    """Why the rule is there."""
    help: str
    """What to do."""
    fingerprint: str
    """The same for the same mistake after edits elsewhere in the file; no two findings of a run share one."""
    fix: Mending | None = None
    """How the mistake is mended, where there is one right answer."""


class Findings(Open):
    """The findings of one run."""

    version: Literal[1]
    """Version of this format."""
    errors: int
    """How many findings are errors."""
    warnings: int
    """How many are warnings."""
    diagnostics: list[Finding]
    """Each finding, sorted by file and place."""


def schema() -> dict[str, Any]:
    """The JSON Schema of `Findings`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://gostoa.dev/schemas/{SCHEMA_FILE}",
        **Findings.model_json_schema(by_alias=True),
    }
