"""What a reconcile finds between a realm's file and a server's realm, without a server."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.pipeline import read
from stoa_compiler.reconcile.changes import Change, plan
from stoa_compiler.reconcile.keycloak import Live, changes, owner, paths
from stoa_compiler.targets.keycloak import TARGET
from stoa_compiler.targets.keycloak.marks import GATE, MARK

SOURCE = Path(__file__).parents[3] / "tenants"


@pytest.fixture(scope="module")
def emitted() -> dict[str, Any]:
    graph = read(SOURCE, Report()).graph
    assert graph is not None
    (artifact,) = TARGET.emit(graph, "prod", {})
    realm: dict[str, Any] = json.loads(artifact.content)
    return realm


@pytest.fixture
def declared(emitted: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(emitted)


def live(realm: dict[str, Any]) -> Live:
    """A server that holds `realm`: with ids, and defaults that the file leaves out."""
    export = copy.deepcopy(realm)
    export["id"], export["otpPolicyDigits"] = "r", 6
    for kind in ("clients", "clientScopes"):
        for number, entry in enumerate(export[kind]):
            entry |= {"id": f"{kind}-{number}", "protocol": "openid-connect"}
    for client in export["clients"]:
        client |= {"enabled": True, "surrogateAuthRequired": False, "bearerOnly": client.get("bearerOnly", False)}
        client["attributes"] = {**client.get("attributes", {}), "realm_client": "false"}
        client["defaultClientScopes"] = client["defaultClientScopes"][::-1]
    for scope in export["clientScopes"]:
        for number, mapper in enumerate(scope.get("protocolMappers", [])):
            mapper |= {"id": f"{scope['name']}-{number}", "consentRequired": False}
    everyone = export.pop("users")
    members: dict[str, set[str]] = {path: set() for path, _ in paths(export["groups"])}
    holders: dict[str, set[str]] = {role["name"]: set() for role in export["roles"]["realm"]}
    for user in everyone:
        for path in user["groups"]:
            members[path].add(user["username"])
        for role in user.get("realmRoles", []):
            holders[role].add(user["username"])
    people = [u for u in everyone if "serviceAccountClientId" not in u]
    return Live(
        export=export,
        users={u["username"]: {k: u[k] for k in ("username", "firstName", "lastName", "email")} for u in people},
        marked={u["username"] for u in people if MARK in u["clientRoles"].get(GATE, [])},
        members=members,
        holders=holders,
    )


def told(found: Any) -> list[str]:
    return [f"{c.action} {c.kind} {c.name}" for c in found]


def client(realm: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in realm["clients"] if c["clientId"] == name)
    return found


def test_what_was_imported_does_not_differ(declared: dict[str, Any]) -> None:
    assert told(changes(declared, live(declared))) == []


def test_values_of_the_server_own_are_never_compared(declared: dict[str, Any]) -> None:
    now = live(declared)
    now.export["otpPolicyDigits"] = 8
    client(now.export, "claude")["attributes"]["login_theme"] = "acme"
    now.users["parzival"]["enabled"] = False  # Locked out by hand: not for a pipeline to let in again.
    assert told(changes(declared, now)) == []


def test_a_client_of_somebody_else_is_left_alone(declared: dict[str, Any]) -> None:
    now = live(declared)
    now.export["clients"].append({"clientId": "grafana", "id": "g", "attributes": {}, "redirectUris": ["*"]})
    assert told(changes(declared, now)) == []


def test_a_declared_name_that_belongs_to_somebody_else_is_a_conflict_until_it_is_adopted(
    declared: dict[str, Any],
) -> None:
    now = live(declared)
    web = client(now.export, "ioi.sales-assistant")
    del web["attributes"][MARK]
    web["redirectUris"] = ["https://elsewhere.example/"]
    web["defaultClientScopes"] = ["basic"]
    assert told(changes(declared, now)) == ["conflict client ioi.sales-assistant"]
    adopted = changes(declared, now, adopt=True)
    assert "update client ioi.sales-assistant" in told(adopted)
    (update,) = [c for c in adopted if c.action == "update"]
    assert [d.key for d in update.differences] == ["redirectUris", f"attributes.{MARK}"]


def without_marks(now: Live) -> Live:
    """The same realm as it was imported before there were marks."""
    export = now.export
    groups = [group for _, group in paths(export["groups"])]
    for entry in (*export["clients"], *export["clientScopes"], *export["roles"]["realm"], *groups):
        entry.get("attributes", {}).pop(MARK, None)
    export["roles"]["client"][GATE] = [r for r in export["roles"]["client"][GATE] if r["name"] != MARK]
    return Live(export, now.users, frozenset(), now.members, {**now.holders, "default-roles-stoa": frozenset({"aech"})})


def test_a_realm_from_before_there_were_marks_is_adopted_whole(declared: dict[str, Any]) -> None:
    now = without_marks(live(declared))
    assert {c.action for c in changes(declared, now)} <= {"conflict", "create"}
    now.members["/ioi/owners"].add("sorrento")  # type: ignore[attr-defined]
    found = changes(declared, now, adopt=True)
    assert {c.action for c in found} == {"create", "update", "revoke"}
    assert [n for n in told(found) if not n.startswith("update ")] == [
        "revoke member /ioi/owners -> sorrento",
        f"create gate {MARK}",
    ]
    named = {(c.kind, c.name) for c in found if c.action == "update"}
    assert {("client", "claude"), ("client", GATE), ("person", "parzival"), ("group", "/ioi/owners")} <= named
    assert {("role", "viewer"), ("client scope", "stoa-mcp")} <= named
    assert all(d.key.removeprefix("attributes.") in (MARK, "mark") for c in found for d in c.differences)


def test_a_persons_name_that_belongs_to_somebody_else_gets_nothing(declared: dict[str, Any]) -> None:
    now = live(declared)
    now = Live(
        now.export,
        now.users,
        now.marked - {"parzival"},
        {**now.members, "/ioi": frozenset(), "/ioi/owners": frozenset()},
        now.holders,
    )
    assert told(changes(declared, now)) == ["conflict person parzival"] + [
        f"add member /ioi -> {u}" for u in ("aech", "art3mis", "service-account-ioi.ledger-sync")
    ]


def test_what_git_no_longer_declares_is_revoked_and_its_deletion_is_held_back(declared: dict[str, Any]) -> None:
    now = live(declared)
    gone = "ioi.sales-assistant"
    declared["clients"] = [c for c in declared["clients"] if c["clientId"] != gone]
    declared["scopeMappings"] = [m for m in declared["scopeMappings"] if m.get("client") != gone]
    declared["users"] = [u for u in declared["users"] if u["username"] != "aech"]
    found = changes(declared, now)
    assert told(found) == [
        "revoke member /ioi -> aech",
        "revoke member /ioi/auditors -> aech",
        f"revoke client {gone}",
        "delete person aech",
        f"delete client {gone}",
    ]
    for allowed, held in ((0, 2), (1, 2), (2, 0)):
        planned = plan("stoa", found, allowed)
        assert (len(planned.held), len(planned.changes), planned.in_sync) == (held, 5 - held, False)
    (revoked,) = [c for c in found if c.kind == "client" and c.action == "revoke"]
    assert revoked.body["enabled"] is False
    assert "secret" not in revoked.body


def test_deletions_are_counted_for_each_tenant(declared: dict[str, Any]) -> None:
    found = [
        Change("delete", "client", "ioi.a", "ioi"),
        Change("delete", "client", "ioi.b", "ioi"),
        Change("delete", "client", "greg.a", "greg"),
    ]
    planned = plan("stoa", found, 1)
    assert [c.name for c in planned.changes] == ["greg.a"]
    assert [c.name for c in planned.held] == ["ioi.a", "ioi.b"]


def test_a_disabled_client_that_comes_back_is_enabled_and_one_disabled_by_hand_is_not(declared: dict[str, Any]) -> None:
    now = live(declared)
    client(now.export, "claude")["enabled"] = False
    web = client(now.export, "ioi.sales-assistant")
    web["enabled"], web["attributes"]["stoa.removed"] = False, "true"
    (update,) = changes(declared, now)
    assert (update.name, update.body["client"]["enabled"]) == ("ioi.sales-assistant", True)
    assert update.body["client"]["attributes"]["stoa.removed"] == ""


def test_a_tenant_that_leaves_takes_its_people_and_what_its_groups_give(declared: dict[str, Any]) -> None:
    now = live(declared)

    def greg(entry: dict[str, Any]) -> bool:
        return owner(entry) == "greg"

    for kind in ("clients", "clientScopes", "groups"):
        declared[kind] = [e for e in declared[kind] if not greg(e)]
    declared["users"] = [u for u in declared["users"] if "/greg" not in u["groups"]]
    declared["roles"]["client"][GATE] = [r for r in declared["roles"]["client"][GATE] if r["name"] != "greg"]
    declared["scopeMappings"] = [m for m in declared["scopeMappings"] if not m.get("client", "").startswith("greg.")]
    declared["clientScopeMappings"][GATE] = [
        m for m in declared["clientScopeMappings"][GATE] if m["clientScope"] != "stoa-tenant-greg"
    ]
    found = changes(declared, now)
    assert {c.tenant for c in found} == {"greg"}
    planned = plan("stoa", found, 0)
    assert {c.action for c in planned.changes} == {"revoke"}
    assert {"revoke role of a group /greg -> stoa.gateway/greg", "revoke member /greg -> sorrento"} <= set(
        told(planned.changes)
    )
    deletions = told(planned.held)
    assert [d for d in deletions if d.startswith("delete group")] == [
        "delete group /greg"
    ]  # What is below goes with it.
    # A scope without its gate is open to everybody: the gate goes last.
    assert deletions.index("delete client scope stoa-tenant-greg") < deletions.index("delete gate greg")


def test_a_group_whose_members_are_not_declared_keeps_those_that_were_put_there(declared: dict[str, Any]) -> None:
    (ioi,) = [g for g in declared["groups"] if g["name"] == "ioi"]
    auditors = next(g for g in ioi["subGroups"] if g["name"] == "auditors")
    del auditors["attributes"]["stoa.members"]
    now = live(declared)
    members = {
        **now.members,
        "/ioi/auditors": frozenset({"guest", "aech", "parzival"}),
        "/ioi": now.members["/ioi"] | {"guest"},
    }
    now = Live(now.export, {**now.users, "guest": {"username": "guest"}}, now.marked, members, now.holders)
    assert told(changes(declared, now)) == []
    auditors["attributes"]["stoa.members"] = ["declared"]
    assert told(changes(declared, now)) == [
        "revoke member /ioi/auditors -> guest",
        "revoke member /ioi/auditors -> parzival",
        "update group /ioi/auditors",
    ]


def test_ways_around_the_gate_are_closed(declared: dict[str, Any]) -> None:
    now = live(declared)
    now.export["clientScopeMappings"][GATE][0]["roles"] = ["ioi", "greg"]
    closed = now.export["clientScopeMappings"][GATE][0]["clientScope"]
    web = client(now.export, "ioi.sales-assistant")
    web["attributes"]["oauth2.device.authorization.grant.enabled"] = "true"
    web["optionalClientScopes"] = ["offline_access"]
    role = next(r for r in now.export["roles"]["realm"] if r["name"] == "viewer")
    role["composites"] = {"realm": ["cpi-admin"], "client": {"realm-management": ["realm-admin"]}}
    mapping = next(m for m in now.export["scopeMappings"] if m.get("client") == "ioi.ledger-sync")
    mapping["roles"] = ["cpi-admin", "devops"]
    scope = next(s for s in now.export["clientScopes"] if s["name"] == "stoa-mcp")
    scope["protocolMappers"][0]["config"]["included.custom.audience"] = "https://elsewhere.example"
    wanted = closed.removeprefix("stoa-tenant-")
    extra = sorted({"ioi", "greg"} - {wanted})
    assert set(told(changes(declared, now))) == {
        *(f"revoke gate of a scope {closed} -> {e}" for e in extra),
        *([] if wanted in ("ioi", "greg") else [f"add gate of a scope {closed} -> {wanted}"]),
        "update client ioi.sales-assistant",
        "revoke scope of a client ioi.sales-assistant -> offline_access",
        "revoke composite role viewer -> cpi-admin",
        "revoke composite role viewer -> realm-management/realm-admin",
        "revoke role of a client ioi.ledger-sync -> cpi-admin",
        "update client scope stoa-mcp",
    }


def test_a_policy_that_was_weakened_is_set_right_and_others_stay(declared: dict[str, Any]) -> None:
    now = live(declared)
    now.export["clientPolicies"]["policies"][0]["enabled"] = False
    now.export["clientPolicies"]["policies"].append({"name": "desk"})
    (update,) = changes(declared, now)
    assert [d.key for d in update.differences] == ["enabled"]
    assert [p["name"] for p in update.body["policies"]] == ["stoa", "desk"]
    assert update.body["policies"][0]["enabled"] is True


def test_the_account_console_gets_the_scopes_that_it_lacks_and_keeps_others(declared: dict[str, Any]) -> None:
    now = live(declared)
    client(now.export, "account-console")["defaultClientScopes"] = ["basic", "company"]
    found = told(changes(declared, now))
    assert found == [
        f"add scope of a client account-console -> {s}" for s in ("acr", "email", "profile", "roles", "web-origins")
    ]


def test_everything_that_can_change_can_be_made() -> None:
    pytest.importorskip("keycloak")
    from stoa_compiler.clients.keycloak import _MAKE
    from stoa_compiler.reconcile.keycloak import _ORDER

    assert set(_MAKE) == set(_ORDER)


def test_an_organization_is_made_emptied_and_held_until_it_may_go(declared: dict[str, Any]) -> None:
    body = {"name": "ioi", "alias": "ioi", "description": "IOI", "enabled": True, "attributes": {MARK: ["ioi"]}}
    now = live(declared)
    organized = declared | {"organizations": [body | {"members": [{"username": "parzival"}]}]}
    assert told(changes(organized, now)) == [
        "create Organization ioi",
        "add member of an Organization ioi -> parzival",
    ]
    there = {"ioi": body | {"id": "o", "members": ["parzival", "sorrento", "guest"]}}
    held = Live(now.export, now.users, now.marked, now.members, now.holders, there)
    # Sorrento is another tenant's; the guest is nobody's of ours.
    assert told(changes(organized, held)) == ["revoke member of an Organization ioi -> sorrento"]
    found = changes(declared, held)
    assert told(found) == [
        "revoke member of an Organization ioi -> parzival",
        "revoke member of an Organization ioi -> sorrento",
        "revoke Organization ioi",
        "delete Organization ioi",
    ]
    assert told(plan("stoa", found, 0).held) == ["delete Organization ioi"]


def test_a_policy_of_ours_that_is_no_longer_declared_goes(declared: dict[str, Any]) -> None:
    now = live(declared)
    now.export["clientPolicies"]["policies"] += [{"name": "stoa-cimd", "enabled": True}, {"name": "desk"}]
    now.export["defaultOptionalClientScopes"] = ["stoa-mcp"]
    found = changes(declared, now)
    assert told(found) == [
        "revoke client policy stoa-cimd",
        "revoke optional default scope realm -> stoa-mcp",
    ]
    assert [p["name"] for p in found[0].body["policies"]] == ["stoa", "desk"]
