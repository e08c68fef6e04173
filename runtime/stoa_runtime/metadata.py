"""How a client learns where to sign in: protected-resource metadata (RFC 9728) and the challenges that name it."""

from typing import Any
from urllib.parse import urlsplit

from stoa_schemas import bundle

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def endpoint_path(index: bundle.PlatformIndex) -> str:
    """The path of the MCP endpoint."""
    return urlsplit(index.mcp_url).path or "/"


def origin(index: bundle.PlatformIndex) -> str:
    """Scheme and authority of the MCP endpoint."""
    parts = urlsplit(index.mcp_url)
    return f"{parts.scheme}://{parts.netloc}"


def metadata_paths(index: bundle.PlatformIndex) -> tuple[str, ...]:
    """Where the metadata is: with the endpoint's path inserted, and at the root for clients that look only there."""
    path = endpoint_path(index).rstrip("/")
    return (WELL_KNOWN + path, WELL_KNOWN) if path else (WELL_KNOWN,)


def resource_metadata(index: bundle.PlatformIndex) -> dict[str, Any]:
    """The metadata document."""
    return {
        "resource": index.mcp_url,
        "authorization_servers": [i.issuer for i in index.token.issuers or ()] or [index.token.issuer],
        "scopes_supported": list(index.token.scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": index.display_name,
    }


def challenge(index: bundle.PlatformIndex, error: str | None = None, description: str | None = None) -> str:
    """The `WWW-Authenticate` value. It names every scope that is needed, so that one new sign-in is enough."""
    parts = [
        f'resource_metadata="{origin(index)}{metadata_paths(index)[0]}"',
        f'scope="{" ".join(index.token.scopes)}"',
    ]
    if error is not None:
        parts.insert(0, f'error="{error}"')
    if description is not None:
        clean = description.replace("\\", "'").replace('"', "'").encode("ascii", "replace").decode()
        parts.insert(1, f'error_description="{clean}"')
    return "Bearer " + ", ".join(parts)
