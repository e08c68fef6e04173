"""The plan as JSON: what `stoa plan --format json` and `--out` write, for policies, `stoa publish` and other programs.

`apiVersion` rises when a key goes away or changes its meaning. New keys may come at any time, so the schema is open.
"""

from typing import Any, Literal

from pydantic import JsonValue

from stoa_schemas.findings import Open, Place, Remark

API_VERSION: Literal["gostoa.dev/plan/v1"] = "gostoa.dev/plan/v1"
SCHEMA_FILE = "plan.v1.schema.json"

SectionName = Literal[
    "access", "safeguards", "exposure", "texts", "contracts", "consumers", "limits", "deletions", "additions"
]
DirectionName = Literal["gained", "lost", "weakened", "strengthened", "changed", "added", "removed"]


class Cause(Place):
    """A stretch of a file that causes a change, on one of the two sides."""

    side: Literal["base", "head"]
    """Where the file is to be looked up: as it was (`base`), or as it will be (`head`)."""
    commit: str = ""
    """The commit that wrote the line; only with `--blame`."""
    author: str = ""
    """Who wrote it; only with `--blame`."""


class OneChange(Open):
    """One thing that is otherwise at head than at base."""

    id: str
    """The same for the same change: digits of a hash over section, code, tenant, subject and text."""
    section: SectionName
    """What it is about; sections are in order of danger."""
    code: str
    """What kind of change: `access-gained`, `approval-dropped`."""
    tenant: str
    """Whose it is; empty for the platform's."""
    subject: str
    """The canonical id of what changes: `ioi:billing:refund`, `role/devops`."""
    text: str
    """One sentence, names in backticks."""
    direction: DirectionName
    """Which way it goes."""
    causes: list[Cause]
    """The lines that cause it: at head for what is gained, at base for what is lost."""
    details: list[str]
    """More lines for who wants to know: each tool, each person, a text before and after."""
    data: dict[str, JsonValue]
    """Facts for programs: roles, tools, sideEffects, classification, approval, environments, people."""


class ChangedArtifact(Open):
    """One file of a bundle that is otherwise at head than at base."""

    environment: str
    """The bundle's environment."""
    target: str
    """Which target renders it."""
    path: str
    """POSIX path from the bundle's folder."""
    kind: Literal["added", "removed", "changed"]
    """Whether it is new, gone, or has other bytes."""
    before: int
    """Its bytes at base; 0 where it is not there."""
    after: int
    """Its bytes at head; 0 where it is not there."""
    whole: bool = True
    """Whether these are its sizes. Else it is a file of many tenants, of which only what differs was rendered: the
    difference of the two holds, the sizes are those of parts."""


class Demand(Open):
    """An approval that a policy of the platform demands for this plan."""

    policy: str
    """The policy's name."""
    approvers: list[str]
    """Who may give it: names of groups or people, as the code host knows them."""
    count: int = 1
    """How many of them must."""
    reason: str
    """Why, in the policy's words."""
    changes: list[str]
    """Ids of the changes that it is about."""
    given: list[str] = []
    """Who has given it, where that is known."""


class OneFinding(Place):
    """A diagnostic of one side."""

    code: str
    """The rule's code, `STOA301`; `stoa explain` tells about it."""
    severity: Literal["error", "warning"]
    """With any error, nothing is compiled."""
    title: str
    """What the rule is about."""
    message: str
    """What is wrong here. Names stand in backticks."""
    notes: list[Remark]
    """Other places and words that explain it."""
    why: str
    """Why the rule is there."""
    help: str
    """What to do."""


class OneSide(Open):
    """One of the two sources that are compared."""

    name: str
    """The revision or folder as it was asked for."""
    commit: str
    """The commit's id; empty for a folder."""
    source: str
    """Path of the source in its repository, or the folder."""
    digest: str
    """sha256 over the sorted paths and Git object ids of all of its files."""
    compiles: bool
    """Whether it is without errors."""
    bundles: dict[str, str] = {}
    """sha256 of `bundle.json`, by environment; only of head, and only in a saved plan (`--out`)."""


class ThePlan(Open):
    """What a change of the source does."""

    api_version: Literal["gostoa.dev/plan/v1"]
    """Version of this format."""
    base: OneSide
    """What there is."""
    head: OneSide
    """What there will be."""
    complete: bool
    """Whether all could be compared: false where a side does not compile. Then no absence of changes means anything."""
    uncompared: list[str]
    """What could not be compared, in sentences."""
    counts: dict[SectionName, int]
    """Changes by section."""
    changes: list[OneChange]
    """Every change, most dangerous first."""
    notes: list[str]
    """What is worth a line and changes nothing: files that were only reformatted."""
    findings: list[OneFinding]
    """Diagnostics of head, and of base where it does not compile."""
    artifacts: list[ChangedArtifact]
    """Files of bundles that change."""
    requirements: list[Demand]
    """Approvals that policies demand."""


def schema() -> dict[str, Any]:
    """The JSON Schema of `ThePlan`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://gostoa.dev/schemas/{SCHEMA_FILE}",
        **ThePlan.model_json_schema(by_alias=True),
    }


if __name__ == "__main__":
    import json

    print(json.dumps(schema(), indent=2))
