"""Day two of a real Keycloak: what was changed by hand and what was changed in Git, shown and brought in line."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.engines.conftest import FIRST_PASSWORD, PASSWORD, ROOT, STOA
from tests.engines.keycloak import Keycloak, claims, free_port

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
    own = {"name": "desk", "conditions": [], "profiles": [], "enabled": True}
    server.admin("PUT", f"/{realm}/client-policies/policies", {"policies": [own]})
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
        "update client policy stoa",
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
    policies = server.admin("GET", f"/{realm}/client-policies/policies")["policies"]
    assert sorted(p["name"] for p in policies) == ["desk", "stoa"]
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


def test_what_was_made_by_hand_is_left_alone(repository: Repository) -> None:
    server, realm = repository.keycloak, repository.realm
    server.admin("POST", f"/{realm}/clients", {"clientId": "grafana", "redirectUris": ["https://grafana.example/*"]})
    server.admin("POST", f"/{realm}/users", {"username": "contractor", "enabled": True, "email": "c@elsewhere.example"})
    server.admin("POST", f"/{realm}/roles", {"name": "grafana-admin"})
    contractor = server.user_id(realm, "contractor")
    server.admin("PUT", f"/{realm}/users/{contractor}/groups/{repository.find('group', '/ioi')['id']}")
    assert repository.reconcile("--dry-run")[0] == 0
    before = repository.find("client", "grafana")
    repository.edit("ioi/tenant.yaml", lambda t: without_member(t, "aech"))
    repository.compile()
    repository.settle("--allow-deletions", "100")
    assert repository.find("client", "grafana") == before
    assert [g["path"] for g in server.admin("GET", f"/{realm}/users/{contractor}/groups")] == ["/ioi"]
    assert server.admin("GET", f"/{realm}/roles/grafana-admin")["name"] == "grafana-admin"


def test_a_client_and_a_person_that_git_forgets_are_shut_out_at_once_and_deleted_when_that_is_allowed(
    repository: Repository,
) -> None:
    server, realm = repository.keycloak, repository.realm
    account = {
        "grant_type": "client_credentials",
        "client_id": "ioi.ledger-sync",
        "client_secret": server.client_secret(realm, "ioi.ledger-sync"),
    }
    assert server.token(realm, account).status == 200
    server.set_password(realm, "aech", FIRST_PASSWORD)
    assert repository.said("aech", FIRST_PASSWORD)["tenant"] == ["ioi"]
    kept = (repository.source / "ioi/consumers/ledger-sync.yaml").read_text()
    subscriptions = {f: f.read_text() for f in (repository.source / "ioi/subscriptions").glob("*.yaml")}
    (repository.source / "ioi/consumers/ledger-sync.yaml").unlink()
    for file, text in subscriptions.items():
        if "ledger-sync" in text:
            file.unlink()
    repository.edit("ioi/tenant.yaml", lambda t: without_person(without_member(t, "aech"), "aech"))
    repository.compile()

    code, facts = repository.reconcile()
    assert code == 1
    assert set(shown(facts, "held")) == {"delete person aech", "delete client ioi.ledger-sync"}
    assert server.token(realm, account).status == 401
    assert "tenant" not in repository.said("aech")
    code, facts = repository.reconcile()
    assert (code, shown(facts)) == (1, [])  # What is held back is all that is left.

    (repository.source / "ioi/consumers/ledger-sync.yaml").write_text(kept)
    for file, text in subscriptions.items():
        file.write_text(text)
    repository.compile()
    code, facts = repository.reconcile()
    assert set(shown(facts)) == {
        "update client ioi.ledger-sync",
        "add member /ioi -> service-account-ioi.ledger-sync",
        "add role of an account service-account-ioi.ledger-sync -> devops",
    }
    assert server.token(realm, account).status == 200  # With the secret that it had.

    code, facts = repository.reconcile("--allow-deletions", "1")
    assert (code, shown(facts)) == (0, ["delete person aech"])
    assert server.admin("GET", f"/{realm}/users?exact=true&username=aech") == []


def without_person(text: str, username: str) -> str:
    """A tenant's document in which nobody of this name works."""
    lines, leaving = [], False
    for line in text.split("\n"):
        leaving = line == f"    {username}:" or (leaving and line.startswith("      "))
        lines += [] if leaving else [line]
    return "\n".join(lines)


@pytest.fixture
def organized(repository: Repository) -> Repository:
    """The same with an Organization for each tenant, in sync."""
    repository.edit(
        "platform.yaml",
        lambda t: t.replace("    strategy: single-realm\n", "    strategy: single-realm\n    tenants: organizations\n"),
    )
    repository.compile()
    code, facts = repository.reconcile("--dry-run")
    assert code == 1
    tenants = ("alderbrook", "greg", "ioi")
    assert {f"create Organization {t}" for t in tenants} <= set(shown(facts))
    repository.settle()
    return repository


def organization(repository: Repository, name: str) -> tuple[dict[str, Any], set[str]]:
    """An Organization as the server has it, and its members."""
    at = f"/{repository.realm}/organizations"
    found = repository.keycloak.admin("GET", f"{at}?briefRepresentation=false&exact=true&search={name}")[0]
    return found, {m["username"] for m in repository.keycloak.admin("GET", f"{at}/{found['id']}/members")}


def test_organizations_changed_by_hand_and_in_git(organized: Repository) -> None:
    server, realm = organized.keycloak, organized.realm
    ioi, members = organization(organized, "ioi")
    assert members == {"aech", "art3mis", "parzival"}
    at = f"/{realm}/organizations/{ioi['id']}"
    server.admin("POST", "/" + f"{realm}/users", {"username": "guest", "enabled": True, "email": "g@elsewhere.example"})
    for username in ("guest", "sorrento"):
        server.admin("POST", f"{at}/members", server.user_id(realm, username))
    server.admin("DELETE", f"{at}/members/{server.user_id(realm, 'art3mis')}")
    server.admin("PUT", at, ioi | {"description": "Somebody else", "attributes": {**ioi["attributes"], "note": ["x"]}})
    server.admin("POST", f"/{realm}/organizations", {"name": "byhand", "alias": "byhand", "enabled": True})
    code, facts = organized.reconcile("--dry-run")
    assert code == 1
    assert set(shown(facts)) == {
        "revoke member of an Organization ioi -> sorrento",
        "add member of an Organization ioi -> art3mis",
        "update Organization ioi",
    }
    organized.settle()
    ioi, members = organization(organized, "ioi")
    assert members == {"aech", "art3mis", "guest", "parzival"}  # Who was invited by hand and is not ours stays in.
    assert (ioi["description"], ioi["attributes"]["note"]) == ("IOI", ["x"])
    assert organization(organized, "byhand")[0]["enabled"] is True

    server.set_password(realm, "aech", FIRST_PASSWORD)
    assert organized.said("aech", FIRST_PASSWORD)["tenant"] == ["ioi"]
    organized.edit("ioi/tenant.yaml", lambda t: without_person(without_member(t, "aech"), "aech"))
    organized.compile()
    code, facts = organized.reconcile()
    assert "revoke member of an Organization ioi -> aech" in shown(facts)
    assert (code, shown(facts, "held")) == (1, ["delete person aech"])
    assert "aech" not in organization(organized, "ioi")[1]
    assert "tenant" not in organized.said("aech")
    organized.settle("--allow-deletions", "1")

    organized.edit("platform.yaml", lambda t: t.replace("    tenants: organizations\n", ""))
    organized.compile()
    code, facts = organized.reconcile()
    assert (code, len(shown(facts, "held"))) == (1, 3)
    ioi, members = organization(organized, "ioi")
    assert (ioi["enabled"], members) == (False, {"guest"})
    organized.settle("--allow-deletions", "1")
    assert [o["name"] for o in server.admin("GET", f"/{realm}/organizations")] == ["byhand"]


def test_many_clients_take_few_requests(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    one = (repository.source / "ioi/consumers/sales-assistant.yaml").read_text()
    many = int(os.environ.get("STOA_CLIENTS", "300"))
    for number in range(many):
        file = repository.source / f"ioi/consumers/bulk-{number}.yaml"
        file.write_text(one.replace("sales-assistant", f"bulk-{number}"))
    repository.edit("platform.yaml", lambda t: t.replace("maxConsumers: 200", "maxConsumers: 2000"))
    repository.compile()
    times, asked = {}, {}
    for run, options in (("create", []), ("dry run", ["--dry-run"]), ("again", [])):
        begun = time.monotonic()
        code, facts = repository.reconcile(*options)
        times[run], asked[run] = time.monotonic() - begun, facts["requests"]
        assert code == 0
        assert len([c for c in shown(facts) if c.startswith("create client ")]) == (many if run == "create" else 0)
        assert run == "create" or shown(facts) == []
    repository.edit("ioi/consumers/bulk-7.yaml", lambda t: t.replace("https://assistant.", "https://other."))
    repository.compile()
    begun = time.monotonic()
    code, facts = repository.reconcile()
    times["one change"], asked["one change"] = time.monotonic() - begun, facts["requests"]
    assert shown(facts) == ["update client ioi.bulk-7"]
    # New clients come a hundred at a time, and what roles each may carry is one request. Nothing is read one by one.
    assert asked["create"] < many + 100
    assert max(asked["dry run"], asked["again"], asked["one change"]) < 50
    with capsys.disabled():
        said = ", ".join(f"{run} {seconds:.1f} s, {asked[run]} requests" for run, seconds in times.items())
        print(f"\n{many} clients: {said}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


@pytest.fixture
def apart(operator: Keycloak, tmp_path: Path) -> Repository:
    """The demo source with a realm for each tenant; the server has none of them yet."""
    realm = f"apart-{time.monotonic_ns() % 10**9}"
    made = Repository(tmp_path, operator, realm)
    shutil.copytree(ROOT / "tenants", made.source)
    gateway, issuer = f"http://127.0.0.1:{free_port()}", operator.issuer(realm)

    def change(text: str) -> str:
        text = text.replace(
            "    strategy: single-realm\n    realm: stoa\n", f"    strategy: realm-per-tenant\n    realm: {realm}\n"
        )
        for key, value in (("gateway", gateway), ("issuer", issuer)):
            text, changed = re.subn(rf"(?m)^(    dev:\n(?:      .*\n)*?      {key}: ).*$", rf"\g<1>{value}", text)
            assert changed == 1
        return text

    made.edit("platform.yaml", change)
    made.compile()
    return made


@contextlib.contextmanager
def serving(bundle: Path, state: Path) -> Iterator[str]:
    """The MCP URL of `stoa serve` with the bundle."""
    index = json.loads((bundle / "mcp/platform.json").read_bytes())
    gateway = index["mcpUrl"].removesuffix("/mcp")
    command = [STOA, "serve", bundle, "--port", gateway.rpartition(":")[2], "--state", state, "--development"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().decode().strip() == f"listening on {gateway}"
        yield f"{gateway}/mcp"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def tools(mcp: str, token: str) -> tuple[int, set[str]]:
    """The status that a bearer gets, and whose tools."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }
    answer = httpx2.post(mcp, json=body, headers=headers, timeout=30)
    listed = answer.json()["result"]["tools"] if answer.status_code == 200 else []
    return answer.status_code, {t["name"].split("_")[0] for t in listed}


def test_a_realm_for_each_tenant_keeps_tenants_apart(apart: Repository) -> None:
    server, tenants = apart.keycloak, ("alderbrook", "greg", "ioi")
    code, facts = apart.reconcile("--dry-run")
    assert code == 1
    assert set(shown(facts)) == {f"create realm {apart.realm}{end}" for end in ("", *(f"-{t}" for t in tenants))}
    apart.settle()
    with serving(apart.folder / "bundle", apart.folder / "state") as mcp:
        people = {"halliday": apart.realm, "parzival": f"{apart.realm}-ioi", "sorrento": f"{apart.realm}-greg"}
        tokens = {}
        for username, realm in people.items():
            server.set_password(realm, username, FIRST_PASSWORD)
            given = server.sign_in(realm, "claude", CLAUDE, username, FIRST_PASSWORD, PASSWORD)
            tokens[username] = given["access_token"]
        assert tools(mcp, tokens["parzival"]) == (200, {"ioi", "stoa"})
        assert tools(mcp, tokens["sorrento"]) == (200, {"greg", "stoa"})
        assert tools(mcp, tokens["halliday"]) == (200, {"alderbrook", "greg", "ioi", "stoa"})

        # The administrator of one tenant's realm can write anything into its tokens: it counts for that tenant only.
        realm = people["sorrento"]
        (group,) = server.admin("GET", f"/{realm}/groups?search=greg&exact=true&briefRepresentation=false")
        forged = group | {"attributes": group["attributes"] | {"tenant": ["ioi"]}}
        server.admin("PUT", f"/{realm}/groups/{group['id']}", forged)
        token = server.sign_in(realm, "claude", CLAUDE, "sorrento", PASSWORD)["access_token"]
        assert claims(token)["tenant"] == ["ioi"]
        assert tools(mcp, token)[0] == 401

        code, facts = apart.reconcile("--dry-run")
        assert (code, shown(facts)) == (1, ["update group /greg"])
        apart.edit("ioi/tenant.yaml", lambda t: without_member(t, "parzival"))
        apart.compile()
        apart.settle()
        token = server.sign_in(realm, "claude", CLAUDE, "sorrento", PASSWORD)["access_token"]
        assert tools(mcp, token)[0] == 200
        token = server.sign_in(people["parzival"], "claude", CLAUDE, "parzival", PASSWORD)["access_token"]
        assert tools(mcp, token) == (200, set())


def test_a_realm_from_before_there_were_marks_is_a_conflict_until_it_is_adopted(repository: Repository) -> None:
    server, realm = repository.keycloak, repository.realm
    (file,) = (repository.folder / "bundle" / "keycloak").glob("*-realm.json")
    text = re.sub(r'(?s),?\s*"stoa\.managed": (\[[^\]]*\]|"[^"]*")(?=\s*\})', "", file.read_text())
    older = json.loads(re.sub(r'(?s)"stoa\.managed": (\[[^\]]*\]|"[^"]*"),', "", text))
    for user in older["users"]:
        user.get("clientRoles", {}).pop("stoa.gateway", None)
    older["roles"]["client"]["stoa.gateway"] = [
        r for r in older["roles"]["client"]["stoa.gateway"] if r["name"] != "stoa.managed"
    ]
    assert "stoa.managed" not in json.dumps(older)
    older["users"] = [u for u in older["users"] if u["username"] != "aech"]
    server.admin("DELETE", f"/{realm}")
    server.admin("POST", "", older)
    sorrento = server.user_id(realm, "sorrento")
    server.admin("PUT", f"/{realm}/users/{sorrento}/groups/{repository.find('group', '/ioi/owners')['id']}")

    code, facts = repository.reconcile("--dry-run")
    assert code == 1
    assert "conflict client claude" in shown(facts, "held")
    repository.settle("--adopt")
    paths = {g["path"] for g in server.admin("GET", f"/{realm}/users/{sorrento}/groups")}
    assert paths == {"/greg", "/greg/directors"}
    server.set_password(realm, "aech", FIRST_PASSWORD)
    assert repository.said("aech", FIRST_PASSWORD)["roles"] == ["viewer"]
