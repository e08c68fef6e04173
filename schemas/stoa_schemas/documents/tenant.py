"""A tenant: whose contracts, who works there, and what they may call."""

from typing import Annotated, Literal

from pydantic import Field

from stoa_schemas.base import API_VERSION, Closed, Email, Id, Metadata, Rate, Text, Title, starting
from stoa_schemas.documents.access import Grant, Groups, People
from stoa_schemas.documents.platform import EnvironmentName


class Quotas(Closed):
    """What the tenant may use, within its tier's caps."""

    rate: Rate | None = None
    """Calls over all tools; the tier's cap where left out."""
    max_tools: Annotated[int, Field(ge=1)] | None = None
    """Tools over all contracts; the tier's cap where left out."""


class Secrets(Closed):
    """Where the tenant's secrets are kept."""

    prefix: Annotated[str, Field(pattern=r"^[a-z0-9-]+(/[a-z0-9-]+)*$", max_length=128, examples=["tenants/acme"])]
    """The path below which every secret reference of this tenant must lie; no two tenants' overlap."""


class TenantSpec(Closed):
    """What a tenant is."""

    display_name: Title
    """The tenant's name as people see it."""
    description: Text | None = None
    """What the tenant does."""
    tier: Id
    """A tier of the platform: the caps that hold."""
    contact: Email
    """Whom to write to."""
    environments: Annotated[list[EnvironmentName], Field(min_length=1)]
    """Where the tenant is rendered."""
    people: People = starting({})
    """Who signs in, by user name."""
    groups: Groups = starting({})
    """Who holds which roles."""
    grants: list[Grant] = starting([])
    """Which roles may call which of this tenant's tools."""
    quotas: Quotas = Quotas.model_construct()
    """What the tenant may use, within its tier's caps."""
    secrets: Secrets
    """Where the tenant's secrets are kept."""


class Tenant(Closed):
    """A tenant: who works there, and what they may call."""

    api_version: Literal["gostoa.dev/v2"] = Field(description=f"Always `{API_VERSION}`.")
    kind: Literal["Tenant"]
    """The document's kind."""
    metadata: Metadata
    """Who the document is."""
    spec: TenantSpec
    """What is declared."""
