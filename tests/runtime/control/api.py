"""How the tests ask the API, and what they ask it for."""

from collections.abc import Iterator
from typing import Any

import httpx2

from stoa_runtime.control import PREFIX
from tests.runtime.world import World

CATALOG = (
    "/bundle",
    "/tenants",
    "/tenants/ioi",
    "/tenants/ioi/contracts",
    "/tenants/ioi/contracts/billing",
    "/tenants/ioi/contracts/billing/tools",
    "/tenants/ioi/tools",
    "/tenants/ioi/tools/ioi_billing_get_invoice",
    "/tenants/ioi/consumers",
    "/tenants/ioi/consumers/ioi.shop",
    "/tenants/ioi/plans",
    "/tenants/ioi/plans/small",
)
"""What `catalog:read` opens to a person of `ioi`."""
POSTURE = ("/access", "/backends")
"""What `posture:read` opens."""
ANYONE = ("/access/me", "/approvals", "/openapi.json")
"""What every caller may ask."""


def ask(stoa: World, path: str, token: str | None, method: str = "GET", **headers: str) -> httpx2.Response:
    """One request below the API's path."""
    named = {"Host": "mcp.example.test", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if token is not None:
        named["Authorization"] = f"Bearer {token}"
    return httpx2.request(method, f"{stoa.url}{PREFIX}{path}", headers=named)


def items(stoa: World, path: str, token: str, limit: int = 200) -> list[dict[str, Any]]:
    """Every item of a list, through its pages."""
    return [item for page in pages(stoa, path, token, limit) for item in page]


def pages(stoa: World, path: str, token: str, limit: int) -> Iterator[list[dict[str, Any]]]:
    """A list's pages."""
    query = f"{path}{'&' if '?' in path else '?'}limit={limit}"
    cursor = ""
    while True:
        answer = ask(stoa, query + cursor, token)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["items"]) <= limit
        yield body["items"]
        if "next" not in body:
            assert "Link" not in answer.headers
            return
        cursor = f"&cursor={body['next']}"
