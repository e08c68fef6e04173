"""The demo source's realm in a real Keycloak: imported, signed in to, and its tokens read."""

import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from stoa_compiler.graph import ConsumerNode, Graph
from tests.engines.conftest import FIRST_PASSWORD, PASSWORD, Compiled, Desk
from tests.engines.keycloak import Keycloak, SignInFailed, claims

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("keycloak")]

REALM = "stoa"
CLAUDE = "https://claude.ai/api/mcp/auth_callback"


def consumers(graph: Graph, grant_type: str) -> list[tuple[str, ConsumerNode]]:
    found = [(t.name, c) for t in graph.tenants for c in t.consumers if grant_type in c.declared.spec.grant_types]
    assert found
    return found


def said_to_claude(desk: Desk, username: str, **more: str) -> dict[str, Any]:
    return claims(desk.sign_in(username, "claude", CLAUDE, **more)["access_token"])


def test_everybodys_token_for_the_mcp_client_says_what_is_declared(
    compiled: Compiled, desk: Desk, keycloak: Keycloak
) -> None:
    for person in compiled.everyone:
        said = said_to_claude(desk, person.username)
        assert said["sub"] == keycloak.user_id(REALM, person.username)
        assert said["iss"] == compiled.issuer
        assert said["tenant"] == [person.tenant]
        assert sorted(said["roles"]) == list(person.roles)
        assert said["aud"] == f"{compiled.gateway}/mcp"
        assert said["azp"] == "claude"
        assert "stoa-mcp" in said["scope"].split()
        assert said["exp"] - said["iat"] == 300
        assert not {"email", "name", "given_name", "realm_access", "resource_access", "allowed-origins"} & set(said)


def test_the_first_password_opens_nothing_but_its_own_replacement(
    compiled: Compiled, desk: Desk, keycloak: Keycloak
) -> None:
    username = compiled.everyone[-1].username
    desk.sign_in(username, "claude", CLAUDE)
    with pytest.raises(SignInFailed):
        keycloak.sign_in(REALM, "claude", CLAUDE, username, FIRST_PASSWORD, PASSWORD)


def test_the_scope_that_the_gateway_asks_for_can_be_asked_for(compiled: Compiled, desk: Desk) -> None:
    said = said_to_claude(desk, "parzival", scope="stoa-mcp")
    assert (said["tenant"], said["aud"]) == (["ioi"], f"{compiled.gateway}/mcp")
    assert said["scope"].split().count("stoa-mcp") == 1


def test_a_tenants_application_gets_a_useful_token_for_the_tenants_own_people_only(
    compiled: Compiled, desk: Desk, keycloak: Keycloak
) -> None:
    for tenant, consumer in consumers(compiled.graph, "authorization_code"):
        uri = consumer.declared.spec.redirect_uris[0]
        secret = {}
        if consumer.declared.spec.client == "confidential":
            secret = {"secret": keycloak.client_secret(REALM, consumer.client_id)}
        home = next(p for p in compiled.everyone if p.tenant == tenant)
        said = claims(desk.sign_in(home.username, consumer.client_id, uri, **secret)["access_token"])
        assert (said["tenant"], sorted(said["roles"])) == ([tenant], list(home.roles))
        assert said["aud"] == f"{compiled.gateway}/mcp"
        assert said["azp"] == consumer.client_id
        for stranger in (
            compiled.graph.people[0],
            next(p for p in compiled.everyone if p.tenant not in (tenant, "platform")),
        ):
            said = claims(desk.sign_in(stranger.username, consumer.client_id, uri, **secret)["access_token"])
            assert "tenant" not in said
            assert "roles" not in said


def test_an_application_without_people_gets_its_own_tenant_and_roles(compiled: Compiled, keycloak: Keycloak) -> None:
    for tenant, consumer in consumers(compiled.graph, "client_credentials"):
        form = {
            "grant_type": "client_credentials",
            "client_id": consumer.client_id,
            "client_secret": keycloak.client_secret(REALM, consumer.client_id),
        }
        said = claims(keycloak.token(REALM, form).json["access_token"])
        assert said["sub"] == keycloak.user_id(REALM, f"service-account-{consumer.client_id}")
        assert (said["tenant"], said["roles"]) == ([tenant], list(consumer.declared.spec.roles))
        assert said["aud"] == f"{compiled.gateway}/mcp"


def test_somebody_in_two_tenants_is_seen_to_be(desk: Desk, keycloak: Keycloak) -> None:
    user = keycloak.user_id(REALM, "sorrento")
    (group,) = keycloak.admin("GET", f"/{REALM}/groups?exact=true&search=ioi")
    keycloak.admin("PUT", f"/{REALM}/users/{user}/groups/{group['id']}")
    try:
        said = said_to_claude(desk, "sorrento")
    finally:
        keycloak.admin("DELETE", f"/{REALM}/users/{user}/groups/{group['id']}")
    assert sorted(said["tenant"]) == ["greg", "ioi"]


def test_nobody_can_write_a_tenant_into_their_own_account(desk: Desk, keycloak: Keycloak) -> None:
    user = keycloak.user_id(REALM, "sorrento")
    account = keycloak.admin("GET", f"/{REALM}/users/{user}")
    keycloak.admin("PUT", f"/{REALM}/users/{user}", account | {"attributes": {"tenant": ["ioi"]}})
    assert said_to_claude(desk, "sorrento")["tenant"] == ["greg"]


CODE: Mapping[str, str] = {
    "response_type": "code",
    "client_id": "claude",
    "redirect_uri": CLAUDE,
    "scope": "openid",
    "code_challenge": "x" * 43,
    "code_challenge_method": "S256",
}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unauthorized_client"),
        ({"response_type": "id_token token", "nonce": "n"}, "unauthorized_client"),
        ({"scope": "openid offline_access"}, "invalid_scope"),
        ({"scope": "openid stoa-tenant-greg"}, "invalid_scope"),
    ],
)
def test_the_server_refuses_a_sign_in(keycloak: Keycloak, changed: Mapping[str, str], error: str) -> None:
    query = {k: v for k, v in {**CODE, **changed}.items() if v}
    answer = keycloak.authorize(REALM, query)
    assert answer.location.startswith(CLAUDE)
    assert f"error={error}" in answer.location


@pytest.mark.parametrize(
    "uri",
    [
        "https://claude.ai/api/mcp/auth_callback/",
        "https://claude.ai/api/mcp/auth_callback?x=1",
        "https://claude.ai.evil.example/api/mcp/auth_callback",
        "https://claude.ai/api/mcp/../mcp/auth_callback",
        "http://claude.ai/api/mcp/auth_callback",
    ],
)
def test_the_server_sends_a_code_to_no_other_address(keycloak: Keycloak, uri: str) -> None:
    answer = keycloak.authorize(REALM, {**CODE, "redirect_uri": uri})
    assert (answer.status, answer.location) == (400, "")


def test_no_client_takes_a_password(desk: Desk, keycloak: Keycloak) -> None:
    desk.sign_in("parzival", "claude", CLAUDE)
    for client_id in ("claude", "ioi.sales-assistant"):
        form = {"grant_type": "password", "client_id": client_id, "username": "parzival", "password": PASSWORD}
        answer = keycloak.token(REALM, form)
        assert (answer.status, answer.json["error"]) == (400, "unauthorized_client")


def test_a_client_made_by_hand_keeps_to_the_realms_policies(compiled: Compiled, keycloak: Keycloak) -> None:
    wide = {"clientId": "byhand", "publicClient": True, "redirectUris": ["https://byhand.example/cb"]}
    wide |= {"implicitFlowEnabled": True, "directAccessGrantsEnabled": True}
    keycloak.admin("POST", f"/{REALM}/clients", wide)
    (made,) = keycloak.admin("GET", f"/{REALM}/clients?clientId=byhand")
    try:
        assert (made["implicitFlowEnabled"], made["directAccessGrantsEnabled"]) == (False, False)
        query = {**CODE, "client_id": "byhand", "redirect_uri": "https://byhand.example/cb", "code_challenge": ""}
        location = keycloak.authorize(REALM, {k: v for k, v in query.items() if v}).location
        assert "error=invalid_request" in location
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "parzival", "password": PASSWORD}
        assert keycloak.token(REALM, form).status == 400
    finally:
        keycloak.admin("DELETE", f"/{REALM}/clients/{made['id']}")


def test_people_can_change_their_password(compiled: Compiled, desk: Desk, keycloak: Keycloak) -> None:
    desk.sign_in("aech", "claude", CLAUDE)
    query = {**CODE, "kc_action": "UPDATE_PASSWORD"}
    address = f"{compiled.issuer}/protocol/openid-connect/auth?{urlencode(query)}"
    replacement = "another that only she knows"
    location = keycloak.browse(address, "aech", PASSWORD, replacement)
    assert "kc_action_status=success" in location
    keycloak.sign_in(REALM, "claude", CLAUDE, "aech", replacement)
    desk.reset("aech")


def test_people_see_their_own_account_and_the_gateway_takes_no_token_of_it(
    compiled: Compiled, desk: Desk, keycloak: Keycloak
) -> None:
    home = f"{compiled.issuer}/account/"
    token = desk.sign_in("art3mis", "account-console", home)["access_token"]
    said = claims(token)
    assert said["aud"] == "account"
    assert "tenant" not in said
    request = urllib.request.Request(home, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        assert json.load(answer)["username"] == "art3mis"


def test_a_refresh_token_is_good_once(desk: Desk, keycloak: Keycloak) -> None:
    first = desk.sign_in("parzival", "claude", CLAUDE)["refresh_token"]
    form = {"grant_type": "refresh_token", "client_id": "claude", "refresh_token": first}
    second = keycloak.token(REALM, form)
    assert second.status == 200
    assert claims(second.json["access_token"])["tenant"] == ["ioi"]
    assert keycloak.token(REALM, form).status == 400
    # A token that comes back is stolen from one of two: neither may go on.
    assert keycloak.token(REALM, form | {"refresh_token": second.json["refresh_token"]}).status == 400


def test_what_the_realm_announces(keycloak: Keycloak) -> None:
    said = keycloak.get(f"/realms/{REALM}/.well-known/openid-configuration").json
    assert "S256" in said["code_challenge_methods_supported"]
    assert sorted(said["scopes_supported"]) == ["email", "openid", "profile", "stoa-mcp"]
    assert keycloak.get(f"/.well-known/oauth-authorization-server/realms/{REALM}").status == 200


def test_passwords_are_guessed_in_vain(keycloak: Keycloak) -> None:
    for _ in range(6):
        with pytest.raises(SignInFailed):
            keycloak.sign_in(REALM, "claude", CLAUDE, "ogden", f"guess {time.monotonic_ns()}")
    user = keycloak.user_id(REALM, "ogden")
    assert keycloak.admin("GET", f"/{REALM}/attack-detection/brute-force/users/{user}")["disabled"] is True
    keycloak.admin("DELETE", f"/{REALM}/attack-detection/brute-force/users/{user}")


def test_sign_ins_leave_events(desk: Desk, keycloak: Keycloak) -> None:
    desk.sign_in("parzival", "claude", CLAUDE)
    kinds = {event["type"] for event in keycloak.admin("GET", f"/{REALM}/events?max=1000")}
    assert {"LOGIN", "CODE_TO_TOKEN"} <= kinds


def test_everything_in_the_file_is_in_the_server(compiled: Compiled, keycloak: Keycloak) -> None:
    realm = json.loads((compiled.bundle / "keycloak" / f"{REALM}-realm.json").read_bytes())
    there = keycloak.admin("GET", f"/{REALM}")
    simple = {k: v for k, v in realm.items() if isinstance(v, (str, bool, int))}
    assert {k: there[k] for k in simple} == simple
    clients = {c["clientId"]: c for c in keycloak.admin("GET", f"/{REALM}/clients?max=1000")}
    for client in realm["clients"]:
        now = clients[client["clientId"]]
        for key, value in client.items():
            if key == "protocolMappers":
                assert [m["name"] for m in now[key]] == [m["name"] for m in value]
            elif isinstance(value, list):
                assert sorted(now[key]) == value, (client["clientId"], key)
            elif isinstance(value, dict):
                assert {k: now[key][k] for k in value} == value, (client["clientId"], key)
            else:
                assert now[key] == value, (client["clientId"], key)
    scopes = {s["name"] for s in keycloak.admin("GET", f"/{REALM}/client-scopes")}
    assert scopes == {s["name"] for s in realm["clientScopes"]}
