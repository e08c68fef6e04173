"""A subscription: a consumer may use a contract, within a plan."""

from typing import Literal

from pydantic import Field

from stoa_schemas.base import API_VERSION, Closed, Day, Id, OwnedMetadata


class SubscriptionSpec(Closed):
    """Who may use what, how much, until when."""

    consumer: Id
    """A consumer of the same tenant."""
    contract: Id
    """A contract of the same tenant."""
    plan: Id
    """A plan of the same tenant."""
    status: Literal["active", "suspended"]
    """`suspended`: kept, and gives nothing."""
    expires: Day | None = None
    """The last day on which it gives anything."""


class Subscription(Closed):
    """A subscription: a consumer may use a contract, within a plan."""

    api_version: Literal["gostoa.dev/v2"] = Field(description=f"Always `{API_VERSION}`.")
    kind: Literal["Subscription"]
    """The document's kind."""
    metadata: OwnedMetadata
    """Who the document is."""
    spec: SubscriptionSpec
    """What is declared."""
