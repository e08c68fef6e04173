"""A plan: how much a subscription may use."""

from typing import Annotated, Literal

from pydantic import Field

from stoa_schemas.base import API_VERSION, Closed, OwnedMetadata, Rate, Text, Title


class Quota(Closed):
    """Calls in a calendar span, UTC."""

    calls: Annotated[int, Field(ge=1, le=1_000_000_000_000)]
    """How many."""
    per: Literal["day", "month"]
    """In which span."""


class PlanSpec(Closed):
    """What a plan allows."""

    display_name: Title
    """The plan's name as people see it."""
    description: Text | None = None
    """For whom the plan is."""
    rate: Rate
    """Calls of one subscription."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Calls that may come at once."""
    quota: Quota | None = None
    """Calls in a calendar span; none where left out."""


class Plan(Closed):
    """A plan: how much a subscription may use."""

    api_version: Literal["gostoa.dev/v2"] = Field(description=f"Always `{API_VERSION}`.")
    kind: Literal["Plan"]
    """The document's kind."""
    metadata: OwnedMetadata
    """Who the document is."""
    spec: PlanSpec
    """What is declared."""
