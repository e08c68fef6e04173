"""Day two of a real Keycloak: what was changed by hand and what was changed in Git, shown and brought in line."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import FIRST_PASSWORD, PASSWORD, ROOT, STOA
from tests.engines.keycloak import Keycloak, claims

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("keycloak")]

CLAUDE = "https://claude.ai/api/mcp/auth_callback"


@dataclass
class Repository:
    """A copy of the demo source with a realm of its own, and the server that it is reconciled with."""

    folder: Path
    keycloak: Keycloak
    realm: str

    @property
    def source(self) -> Path:
        """The source."""
        return self.folder / "tenants"

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        """Changes one document."""
        file = self.source / path
        before = file.read_text()
        after = change(before)
        assert after != before
        file.write_text(after)

    def compile(self) -> None:
        """Renders the bundle."""
        bundle = self.folder / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        command = [STOA, "compile", self.source, "--env", "dev", "--out", bundle]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def reconcile(self, *options: str) -> tuple[int, dict[str, Any]]:
        """The exit code, and what was said of it all."""
        secret = self.folder / "secret"
        secret.write_text(self.keycloak.client_secret("master", "stoa-reconcile"))
        command = [STOA, "reconcile", "keycloak", self.folder / "bundle", "--url", self.keycloak.url]
        command += ["--client-id", "stoa-reconcile", "--client-secret-file", secret, "--format", "json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout)

    def settle(self, *options: str) -> None:
        """Brings the server in line, and proves that nothing is left."""
        self.reconcile(*options)
        assert self.reconcile("--dry-run")[0] == 0

    def said(self, username: str, password: str = PASSWORD, realm: str = "") -> dict[str, Any]:
        """The access token of a person at Claude."""
        tokens = self.keycloak.sign_in(realm or self.realm, "claude", CLAUDE, username, password, PASSWORD)
        return claims(tokens["access_token"])

    def find(self, kind: str, name: str) -> Any:
        """A client by its id, or a group by its path."""
        if kind == "group":
            return self.keycloak.admin("GET", f"/{self.realm}/group-by-path{name}")
        (found,) = self.keycloak.admin("GET", f"/{self.realm}/clients?clientId={name}")
        return found


def shown(facts: dict[str, Any], part: str = "changes") -> list[str]:
    return [f"{c['action']} {c['kind']} {c['name']}" for r in facts["realms"] for c in r[part]]


def robot(keycloak: Keycloak) -> None:
    """A client with an administrator's account of its own, as a pipeline has it."""
    client = {"clientId": "stoa-reconcile", "serviceAccountsEnabled": True, "standardFlowEnabled": False}
    keycloak.admin("POST", "/master/clients", client)
    (made,) = keycloak.admin("GET", "/master/clients?clientId=stoa-reconcile")
    account = keycloak.admin("GET", f"/master/clients/{made['id']}/service-account-user")
    role = keycloak.admin("GET", "/master/roles/admin")
    keycloak.admin("POST", f"/master/users/{account['id']}/role-mappings/realm", [role])


@pytest.fixture(scope="module")
def operator(keycloak: Keycloak) -> Keycloak:
    robot(keycloak)
    return keycloak


@pytest.fixture
def repository(operator: Keycloak, tmp_path: Path) -> Repository:
    """A realm made from the demo source, in sync."""
    realm = f"day-two-{time.monotonic_ns() % 10**9}"
    made = Repository(tmp_path, operator, realm)
    shutil.copytree(ROOT / "tenants", made.source)
    made.edit(
        "platform.yaml",
        lambda t: t.replace("    realm: stoa\n", f"    realm: {realm}\n").replace("/realms/stoa", f"/realms/{realm}"),
    )
    made.compile()
    (file,) = (tmp_path / "bundle" / "keycloak").glob("*-realm.json")
    operator.admin("POST", "", json.loads(file.read_bytes()))
    return made


def test_an_import_is_in_sync(repository: Repository) -> None:
    code, facts = repository.reconcile("--dry-run")
    assert (code, shown(facts)) == (0, [])
    code, facts = repository.reconcile()
    assert (code, facts["realms"][0]["made"]) == (0, 0)


def test_a_realm_that_is_not_there_is_made(repository: Repository) -> None:
    repository.keycloak.admin("DELETE", f"/{repository.realm}")
    code, facts = repository.reconcile("--dry-run")
    assert (code, shown(facts)) == (1, [f"create realm {repository.realm}"])
    repository.settle()


def test_what_was_changed_by_hand_is_shown_and_taken_back(repository: Repository) -> None:
    server, realm = repository.keycloak, repository.realm
    server.admin("PUT", f"/{realm}", {"accessTokenLifespan": 36000, "bruteForceProtected": False})
    web = repository.find("client", "ioi.sales-assistant")
    server.admin(
        "PUT", f"/{realm}/clients/{web['id']}", web | {"directAccessGrantsEnabled": True, "redirectUris": ["*"]}
    )
    mapper = {
        "name": "a tenant for everybody",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-hardcoded-claim-mapper",
        "config": {"claim.name": "tenant", "claim.value": "greg", "access.token.claim": "true"},
    }
    server.admin("POST", f"/{realm}/clients/{web['id']}/protocol-mappers/models", mapper)
    admin = server.admin("GET", f"/{realm}/roles/cpi-admin")
    sorrento, halliday = server.user_id(realm, "sorrento"), server.user_id(realm, "halliday")
    server.admin("POST", f"/{realm}/users/{sorrento}/role-mappings/realm", [admin])
    server.admin("PUT", f"/{realm}/users/{sorrento}/groups/{repository.find('group', '/ioi/owners')['id']}")
    server.admin("PUT", f"/{realm}/users/{sorrento}/groups/{repository.find('group', '/ioi')['id']}")
    server.admin("DELETE", f"/{realm}/users/{halliday}/groups/{repository.find('group', '/platform/admins')['id']}")
    owners = repository.find("group", "/greg")["id"]
    server.admin("POST", f"/{realm}/groups/{owners}/role-mappings/realm", [admin])
    server.set_password(realm, "sorrento", FIRST_PASSWORD)
    said = repository.said("sorrento", FIRST_PASSWORD)
    assert (sorted(said["tenant"]), "cpi-admin" in said["roles"]) == (["greg", "ioi"], True)

    code, facts = repository.reconcile("--dry-run")
    assert code == 1
    assert set(shown(facts)) == {
        f"update realm {realm}",
        "update client ioi.sales-assistant",
        "revoke member /ioi -> sorrento",
        "revoke member /ioi/owners -> sorrento",
        "add member /platform/admins -> halliday",
        "revoke role of a group /greg -> cpi-admin",
        "revoke role of an account sorrento -> cpi-admin",
    }
    (client,) = [c for c in facts["realms"][0]["changes"] if c["kind"] == "client"]
    assert [d["key"] for d in client["differences"]] == [
        "directAccessGrantsEnabled",
        "redirectUris",
        "protocolMappers.a tenant for everybody",
    ]
    assert server.admin("GET", f"/{realm}")["accessTokenLifespan"] == 36000  # A dry run changes nothing.

    repository.settle()
    assert server.admin("GET", f"/{realm}")["bruteForceProtected"] is True
    assert "protocolMappers" not in repository.find("client", "ioi.sales-assistant")
    said = repository.said("sorrento")
    assert (said["tenant"], "cpi-admin" in said["roles"]) == (["greg"], False)


def test_a_role_and_a_member_removed_in_git_are_gone_from_the_next_token(repository: Repository) -> None:
    server, realm = repository.keycloak, repository.realm
    for username in ("parzival", "aech"):
        server.set_password(realm, username, FIRST_PASSWORD)
        before = repository.said(username, FIRST_PASSWORD)
        assert before["roles"]
    path = "ioi/tenant.yaml"
    text = (repository.source / path).read_text()
    assert "members: [aech" in text or "aech" in text
    repository.edit(path, lambda t: without_member(t, "aech"))
    repository.compile()
    code, facts = repository.reconcile("--dry-run")
    assert code == 1
    assert all(c.startswith("revoke member /ioi/") and c.endswith("-> aech") for c in shown(facts)), shown(facts)
    repository.settle()
    said = repository.said("aech")
    assert (said["tenant"], said.get("roles", [])) == (["ioi"], [])
    assert repository.said("parzival")["roles"]


def without_member(text: str, username: str) -> str:
    """A tenant's document in which nobody of this name belongs to any group."""
    lines = []
    for line in text.split("\n"):
        if line.strip().startswith("members:"):
            names = [n.strip() for n in line.partition("[")[2].rstrip("]").split(",")]
            line = line.partition("[")[0] + "[" + ", ".join(n for n in names if n != username) + "]"
        lines.append(line)
    return "\n".join(lines)
