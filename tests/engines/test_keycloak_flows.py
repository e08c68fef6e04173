"""Every person and every application of the demo source through the real flows, with each way of keeping tenants apart.

Each token is decoded and compared with the one that `verify` works out from the realm's file.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stoa_compiler.graph import ConsumerNode, PersonNode
from stoa_compiler.targets.keycloak.realm import Realm
from tests.engines.conftest import FIRST_PASSWORD, PASSWORD, Compiled, compiled_with
from tests.engines.keycloak import Keycloak, SignInFailed, claims

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("keycloak")]

CLAUDE = "https://claude.ai/api/mcp/auth_callback"
WAYS = {
    "organizations": "    tenants: organizations\n",
    "realm-per-tenant": "    strategy: realm-per-tenant\n",
}


@dataclass(frozen=True)
class Place:
    """The realms of one way, in the server."""

    compiled: Compiled
    keycloak: Keycloak
    way: str
    files: dict[str, Realm]
    """Realms by name, as the bundle has them."""

    def realm(self, tenant: str) -> str:
        """The realm of a tenant's people and applications."""
        own = self.way == "realm-per-tenant" and tenant != "platform"
        return f"{self.compiled.realm}-{tenant}" if own else self.compiled.realm

    def worked_out(self, tenant: str, username: str, client_id: str) -> dict[str, Any]:
        """What `verify` says of a token."""
        said = self.files[self.realm(tenant)].token(username, client_id)
        return {
            "tenant": sorted(said.tenants),
            "roles": sorted(said.roles),
            "aud": sorted(said.audience),
            "azp": client_id,
            "scope": sorted(said.scopes),
        }

    def sign_in(self, person: PersonNode, client_id: str, uri: str, **more: str) -> dict[str, Any]:
        """The claims of a person's access token."""
        realm = self.realm(person.tenant)
        return claims(
            self.keycloak.sign_in(realm, client_id, uri, person.username, PASSWORD, PASSWORD, **more)["access_token"]
        )


def said(token: dict[str, Any]) -> dict[str, Any]:
    """A token's claims as `verify` words them; `openid` is asked for, and stands for nothing."""
    audience = token.get("aud", [])
    return {
        "tenant": sorted(token.get("tenant", [])),
        "roles": sorted(token.get("roles", [])),
        "aud": [audience] if isinstance(audience, str) else sorted(audience),
        "azp": token["azp"],
        "scope": sorted(set(token["scope"].split()) - {"openid"}),
    }


@pytest.fixture(scope="module", params=WAYS)
def place(
    request: pytest.FixtureRequest, keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    name = f"flows-{request.param}"
    compiled = compiled_with(tmp_path_factory.mktemp(name), keycloak.url, name, WAYS[request.param])
    realms = [json.loads(f.read_bytes()) for f in sorted((compiled.bundle / "keycloak").iterdir())]
    for realm in realms:
        keycloak.admin("POST", "", realm)
    made = Place(compiled, keycloak, request.param, {r["realm"]: Realm(r) for r in realms})
    for person in compiled.everyone:
        realm_name = made.realm(person.tenant)
        keycloak.set_password(realm_name, person.username, FIRST_PASSWORD)
        keycloak.sign_in(realm_name, "claude", CLAUDE, person.username, FIRST_PASSWORD, PASSWORD)
    yield made
    for realm in realms:
        keycloak.admin("DELETE", f"/{realm['realm']}")


def consumers(place: Place, grant_type: str) -> list[tuple[str, ConsumerNode]]:
    found = [
        (t.name, c)
        for t in place.compiled.graph.tenants
        for c in t.consumers
        if grant_type in c.declared.spec.grant_types
    ]
    assert found
    return found


def test_everybody_at_claude(place: Place) -> None:
    for person in place.compiled.everyone:
        token = place.sign_in(person, "claude", CLAUDE)
        assert said(token) == place.worked_out(person.tenant, person.username, "claude")
        assert said(token)["tenant"] == [person.tenant]
        assert said(token)["roles"] == sorted(person.roles)
        assert token["aud"] == f"{place.compiled.gateway}/mcp"
        assert token["iss"] == place.keycloak.issuer(place.realm(person.tenant))


def test_everybody_at_every_application_that_they_can_reach(place: Place) -> None:
    for tenant, consumer in consumers(place, "authorization_code"):
        spec, realm = consumer.declared.spec, place.realm(tenant)
        secret = place.keycloak.client_secret(realm, consumer.client_id) if spec.client == "confidential" else ""
        for person in place.compiled.everyone:
            if place.realm(person.tenant) != realm:
                continue  # Another realm does not know them.
            token = place.sign_in(person, consumer.client_id, spec.redirect_uris[0], secret=secret)
            assert said(token) == place.worked_out(tenant, person.username, consumer.client_id)
            assert said(token)["tenant"] == ([tenant] if person.tenant == tenant else [])


def test_every_application_by_itself(place: Place) -> None:
    for tenant, consumer in consumers(place, "client_credentials"):
        realm = place.realm(tenant)
        form = {
            "grant_type": "client_credentials",
            "client_id": consumer.client_id,
            "client_secret": place.keycloak.client_secret(realm, consumer.client_id),
        }
        token = claims(place.keycloak.token(realm, form).json["access_token"])
        account = f"service-account-{consumer.client_id}"
        assert said(token) == place.worked_out(tenant, account, consumer.client_id)
        assert (said(token)["tenant"], said(token)["roles"]) == ([tenant], sorted(consumer.declared.spec.roles))


def test_whoever_is_in_two_organizations_is_of_their_own_tenant_alone(place: Place) -> None:
    if place.way != "organizations":
        assert not place.keycloak.admin("GET", f"/{place.realm('ioi')}")["organizationsEnabled"]
        return
    realm, server = place.realm("ioi"), place.keycloak
    parzival = next(p for p in place.compiled.everyone if p.username == "parzival")
    before = said(place.sign_in(parzival, "claude", CLAUDE))
    (greg,) = server.admin("GET", f"/{realm}/organizations?search=greg&exact=true")
    user = server.user_id(realm, "parzival")
    server.admin("POST", f"/{realm}/organizations/{greg['id']}/members", user)
    try:
        names = {o["name"] for o in server.admin("GET", f"/{realm}/organizations/members/{user}/organizations")}
        assert names == {"greg", "ioi"}
        assert said(place.sign_in(parzival, "claude", CLAUDE)) == before
        # Nobody chooses an Organization by asking for it either.
        for scope in ("openid organization", "openid organization:greg", "openid organization:*"):
            with pytest.raises(SignInFailed, match="invalid_scope"):
                place.sign_in(parzival, "claude", CLAUDE, scope=scope)
    finally:
        server.admin("DELETE", f"/{realm}/organizations/{greg['id']}/members/{user}")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unauthorized_client"),
        ({"redirect_uri": "https://evil.example/cb"}, ""),
    ],
)
def test_the_server_refuses_what_is_not_the_code_flow_with_pkce(
    place: Place, changed: dict[str, str], error: str
) -> None:
    query = {
        "response_type": "code",
        "client_id": "claude",
        "redirect_uri": CLAUDE,
        "scope": "openid",
        "code_challenge": "x" * 43,
        "code_challenge_method": "S256",
    }
    for realm in place.files:
        answer = place.keycloak.authorize(realm, {k: v for k, v in {**query, **changed}.items() if v})
        if error:
            assert answer.location.startswith(CLAUDE)
            assert f"error={error}" in answer.location
        else:
            assert (answer.status, answer.location) == (400, "")


def test_the_server_takes_no_password_from_an_application(place: Place) -> None:
    for person in place.compiled.everyone:
        form = {"grant_type": "password", "client_id": "claude", "username": person.username, "password": PASSWORD}
        answer = place.keycloak.token(place.realm(person.tenant), form)
        assert (answer.status, answer.json["error"]) == (400, "unauthorized_client")
