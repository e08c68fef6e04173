"""A consumer: an application that calls APIs, as an OAuth client."""

from typing import Annotated, Literal

from pydantic import Field

from stoa_schemas.base import API_VERSION, Closed, Id, OwnedMetadata, RedirectUri, Text, Title, starting


class Actor(Closed):
    """An agent or service behind the client."""

    name: Title
    """What it is called."""
    kind: Literal["agent", "service"]
    """An agent decides by itself what to call; a service does what it was programmed to."""


class ConsumerSpec(Closed):
    """What a consumer is."""

    display_name: Title
    """The application's name as people see it."""
    description: Text | None = None
    """What the application does."""
    client: Literal["public", "confidential"]
    """Whether it can keep a secret (RFC 6749, 2.1)."""
    grant_types: Annotated[
        list[Literal["authorization_code", "refresh_token", "client_credentials"]], Field(min_length=1)
    ]
    """How it gets tokens. The code flow always demands PKCE with S256."""
    redirect_uris: list[RedirectUri] = starting([])
    """Exact URLs for the code flow."""
    roles: list[Id] = starting([])
    """Roles of its own account, with `client_credentials`."""
    actors: list[Actor] = starting([])
    """The agents and services behind it."""


class Consumer(Closed):
    """A consumer: an application that calls APIs, as an OAuth client."""

    api_version: Literal["gostoa.dev/v2"] = Field(description=f"Always `{API_VERSION}`.")
    kind: Literal["Consumer"]
    """The document's kind."""
    metadata: OwnedMetadata
    """Who the document is."""
    spec: ConsumerSpec
    """What is declared."""
