"""The server's versions and experimental features: what each is told, and what it then does."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import FIRST_PASSWORD, PASSWORD, Compiled, compiled_with
from tests.engines.keycloak import OLDER, Keycloak, SignInFailed, claims, distribution, free_port, running

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("keycloak-versions")]

CLAUDE = "https://claude.ai/api/mcp/auth_callback"


@contextlib.contextmanager
def served(folder: Path, identity: str, *options: str, version: str) -> Iterator[tuple[Keycloak, Compiled]]:
    """A server of this version with the realm of the demo source, and Parzival's password known."""
    distribution(version)
    port = free_port()
    compiled = compiled_with(folder, f"http://127.0.0.1:{port}", "stoa", identity)
    (file,) = (compiled.bundle / "keycloak").iterdir()
    with running(folder, port, [(file.name, file.read_bytes())], *options, version=version) as server:
        server.set_password("stoa", "parzival", FIRST_PASSWORD)
        yield server, compiled


@pytest.fixture(scope="module")
def experimental(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Keycloak, Compiled]]:
    identity = "    features: [resource-indicators, cimd]\n    metadataHosts: [127.0.0.1]\n"
    folder = tmp_path_factory.mktemp("experimental")
    with served(folder, identity, "--features=resource-indicators,cimd", version="26.7.1") as (server, compiled):
        server.sign_in("stoa", "claude", CLAUDE, "parzival", FIRST_PASSWORD, PASSWORD)
        yield server, compiled


def test_a_token_is_for_the_resource_that_is_named(experimental: tuple[Keycloak, Compiled]) -> None:
    server, compiled = experimental
    mcp = f"{compiled.gateway}/mcp"
    for resource in ("", mcp):
        said = claims(server.sign_in("stoa", "claude", CLAUDE, "parzival", PASSWORD, resource=resource)["access_token"])
        assert (said["aud"], said["tenant"]) == (mcp, ["ioi"])
    for resource in (f"{compiled.gateway}/other", "https://elsewhere.example/mcp", "urn:client:claude"):
        with pytest.raises(SignInFailed, match="invalid_target"):
            server.sign_in("stoa", "claude", CLAUDE, "parzival", PASSWORD, resource=resource)


@contextlib.contextmanager
def publishing(host: str, path: str = "/cb") -> Iterator[str]:
    """An application's page with its metadata document at `/client.json`."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = f"http://{self.headers['Host']}"
            document = {
                "client_id": f"{here}/client.json",
                "client_name": "An application",
                "redirect_uris": [f"{here}{path}"],
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
            }
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((host, 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_application_of_a_trusted_host_registers_itself_by_its_document(
    experimental: tuple[Keycloak, Compiled],
) -> None:
    server, compiled = experimental
    with publishing("127.0.0.1") as page:
        client_id = f"{page}/client.json"
        given = server.sign_in("stoa", client_id, f"{page}/cb", "parzival", PASSWORD, scope="openid stoa-mcp")
        said = claims(given["access_token"])
        assert (said["aud"], said["azp"], said["tenant"]) == (f"{compiled.gateway}/mcp", client_id, ["ioi"])
        person = next(p for p in compiled.everyone if p.username == "parzival")
        assert sorted(said["roles"]) == sorted(person.roles)
        # Without asking for the gateway's scope, its tokens are for nobody.
        given = server.sign_in("stoa", client_id, f"{page}/cb", "parzival", PASSWORD)
        assert "aud" not in claims(given["access_token"])
        (made,) = [c for c in server.admin("GET", "/stoa/clients?max=100") if c["clientId"] == client_id]
        assert (made["fullScopeAllowed"], made["consentRequired"]) == (False, True)
        assert (made["implicitFlowEnabled"], made["directAccessGrantsEnabled"]) == (False, False)
        assert made["attributes"]["pkce.code.challenge.method"] == "S256"
        with pytest.raises(SignInFailed):
            server.sign_in("stoa", client_id, f"{page}/elsewhere", "parzival", PASSWORD)


def test_an_application_of_any_other_host_is_unknown(experimental: tuple[Keycloak, Compiled]) -> None:
    server, _ = experimental
    with publishing("127.0.0.2") as page, pytest.raises(SignInFailed, match="Client not found"):
        server.sign_in("stoa", f"{page}/client.json", f"{page}/cb", "parzival", PASSWORD)


def test_the_older_version_takes_the_realm_that_is_declared_for_it(tmp_path: Path) -> None:
    with served(tmp_path, '    keycloak: "26.4"\n    tenants: organizations\n', version=OLDER) as (server, compiled):
        assert server.admin("GET", "/stoa")["organizationsEnabled"] is True
        given = server.sign_in("stoa", "claude", CLAUDE, "parzival", FIRST_PASSWORD, PASSWORD)
        said = claims(given["access_token"])
        assert (said["aud"], said["tenant"]) == (f"{compiled.gateway}/mcp", ["ioi"])
        assert said["sub"] == server.user_id("stoa", "parzival")
        announced = server.get("/realms/stoa/.well-known/openid-configuration").json
        assert sorted(announced["scopes_supported"]) == ["email", "openid", "profile", "stoa-mcp"]
        # What it lacks is not in the file: the one for 26.7 would be refused as a whole.
        (file,) = (compiled.bundle / "keycloak").iterdir()
        realm = json.loads(file.read_bytes()) | {"realm": "newer"}
        assert "maxSecondaryAuthFailures" not in realm
        with pytest.raises(AssertionError, match="400"):
            server.admin("POST", "", realm | {"maxSecondaryAuthFailures": 10})


JUSTIFIED = {
    # What stands against an attack is said, so that another default tomorrow changes nothing.
    "realm": {
        "accessTokenLifespan",
        "defaultSignatureAlgorithm",
        "refreshTokenMaxReuse",
        "registrationAllowed",
        "sslRequired",
        "ssoSessionMaxLifespan",
    },
    # Every flow of a client is said, on or off: defaults differ between the console, registration and the import, and
    # have changed. An empty list keeps the server from filling in its own.
    "clients": {
        "consentRequired",
        "directAccessGrantsEnabled",
        "implicitFlowEnabled",
        "publicClient",
        "redirectUris",
        "serviceAccountsEnabled",
        "standardFlowEnabled",
        "webOrigins",
        "defaultClientScopes",
    },
    "clientScopes": {"protocol"},
    # An imported account is disabled unless it says otherwise.
    "users": {"emailVerified"},
    "groups": set[str](),
    # Of an Organization as of an account: whether it counts is said.
    "organizations": {"enabled"},
}
"""Keys that are written though a bare entry of the same kind has the same value, by kind."""
BARE: dict[str, Any] = {
    "realm": "bare",
    "enabled": True,
    "organizationsEnabled": True,
    "clients": [{"clientId": "bare"}],
    "users": [{"username": "bare"}],
    "groups": [{"name": "bare"}],
    "clientScopes": [{"name": "bare", "protocol": "openid-connect"}],
    "organizations": [{"name": "bare", "alias": "bare"}],
}


def test_nothing_is_written_that_the_server_would_fill_in(keycloak: Keycloak, tmp_path: Path) -> None:
    compiled = compiled_with(tmp_path, keycloak.url, "stoa", "    tenants: organizations\n")
    (file,) = (compiled.bundle / "keycloak").iterdir()
    realm = json.loads(file.read_bytes())
    keycloak.admin("POST", "", BARE)
    try:
        there = keycloak.admin("POST", "/bare/partial-export?exportClients=true&exportGroupsAndRoles=true")
        bare = {
            "clients": next(c for c in there["clients"] if c["clientId"] == "bare"),
            "clientScopes": next(s for s in there["clientScopes"] if s["name"] == "bare"),
            "groups": there["groups"][0],
            "users": keycloak.admin("GET", "/bare/users?username=bare&exact=true")[0],
            "organizations": keycloak.admin("GET", "/bare/organizations?briefRepresentation=false")[0],
        }
    finally:
        keycloak.admin("DELETE", "/bare")
    found = {"realm": {k for k, v in realm.items() if not isinstance(v, dict) and there.get(k) == v} - BARE.keys()}
    for kind, default in bare.items():
        entries = [*realm[kind], *(s for g in realm[kind] for s in g.get("subGroups", []))]
        found[kind] = {k for entry in entries for k, v in entry.items() if k in default and default[k] == v}
        found[kind] |= {k for entry in entries for k, v in entry.items() if v in ([], {}) and default.get(k, v) == v}
    extra = {kind: sorted(keys - JUSTIFIED[kind]) for kind, keys in found.items() if keys - JUSTIFIED[kind]}
    assert extra == {}
    # Every exception is one: the list does not grow stale.
    stale = {kind: sorted(keys - found[kind]) for kind, keys in JUSTIFIED.items() if keys - found[kind]}
    assert stale == {}


def test_no_ids_no_secrets_and_everything_sorted(tmp_path: Path) -> None:
    identity = "    tenants: organizations\n    features: [resource-indicators, cimd]\n"
    identity += "    metadataHosts: [b.example, a.example]\n"
    compiled = compiled_with(tmp_path, "http://127.0.0.1:1", "stoa", identity)
    (file,) = (compiled.bundle / "keycloak").iterdir()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            assert not {"id", "secret", "credentials", "containerId", "internalId"} & set(value)
            assert list(value) == sorted(value)
            for child in value.values():
                walk(child)
        if isinstance(value, list):
            for child in value:
                walk(child)
            if all(isinstance(v, str) for v in value):
                assert value == sorted(value)

    walk(json.loads(file.read_bytes()))
