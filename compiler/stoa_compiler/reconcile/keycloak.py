"""Compare: a live Keycloak realm with the declared one, as the changes that would bring it in line.

Only what is declared is compared, and only what carries our mark is changed. Where the server fills in a value that
the file leaves out, there is nothing to compare, so an import is in sync at once.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import field
from functools import cached_property
from typing import Any

from stoa_compiler.reconcile.changes import Action, Change, Difference
from stoa_compiler.records import record
from stoa_compiler.targets.keycloak.marks import BUILT_IN, GATE, MARK, MEMBERS
from stoa_schemas.names import PLATFORM_TENANT

Json = dict[str, Any]

REMOVED = "stoa.removed"
"""Attribute of a client that was disabled because Git no longer declares it: if it comes back, so does its use."""
_OFF = (
    "oauth2.device.authorization.grant.enabled",
    "oidc.ciba.grant.enabled",
    "standard.token.exchange.enabled",
)
"""Ways to get tokens that a client of ours has only where they are declared."""
_VOLATILE = frozenset({"emailVerified", "enabled", "requiredActions"})
"""Of people: said when they are created, and theirs or an administrator's afterwards. Somebody locked out by hand stays
locked out."""


@record(slots=False)
class Live:
    """A realm as the server has it, in the shape of a realm's file."""

    export: Json
    """Settings, clients, client scopes, groups and roles."""
    users: Mapping[str, Json] = field(default_factory=dict)
    """People by user name, ours or not; no applications' accounts."""
    marked: Set[str] = frozenset()
    """User names of the people that are ours."""
    members: Mapping[str, Set[str]] = field(default_factory=dict)
    """User names by the path of a group of ours, applications' accounts included."""
    holders: Mapping[str, Set[str]] = field(default_factory=dict)
    """User names by a realm role of ours that they hold by themselves, not by a group."""
    organizations: Mapping[str, Json] = field(default_factory=dict)
    """Organizations by name, with the user names of the members of ours in `members`."""

    @cached_property
    def clients(self) -> Mapping[str, Json]:
        """Clients by their id for OAuth."""
        return {c["clientId"]: c for c in self.export.get("clients", [])}

    @cached_property
    def scopes(self) -> Mapping[str, Json]:
        """Client scopes by name."""
        return {s["name"]: s for s in self.export.get("clientScopes", [])}

    @cached_property
    def roles(self) -> Mapping[str, Json]:
        """Realm roles by name."""
        return {r["name"]: r for r in self.export.get("roles", {}).get("realm", [])}

    @cached_property
    def groups(self) -> Mapping[str, Json]:
        """Groups by path."""
        return dict(paths(self.export.get("groups", [])))


def paths(groups: Sequence[Json], above: str = "") -> Iterator[tuple[str, Json]]:
    """Each group below `groups`, with its path."""
    for group in groups:
        path = f"{above}/{group['name']}"
        yield path, group
        yield from paths(group.get("subGroups", []), path)


def owner(entry: Mapping[str, Any]) -> str | None:
    """Who declared an entry of a realm, by its mark; None where it is not ours."""
    mark = entry.get("attributes", {}).get(MARK)
    if isinstance(mark, list):
        mark = mark[0] if mark else None
    return mark if isinstance(mark, str) else None


def changes(declared: Json, live: Live | None, adopt: bool = False) -> Sequence[Change]:
    """What would bring `live` in line with `declared`, in the order in which it can be done.

    With `adopt`, an entry that has a declared name but not our mark becomes ours; else it is a conflict.
    """
    if live is None:
        return [Change("create", "realm", declared["realm"], PLATFORM_TENANT, body=declared)]
    return _Comparison(declared, live, adopt).run()


_ORDER: Mapping[tuple[str, str], int] = {
    pair: index
    for index, pair in enumerate(
        [
            ("revoke", "member"),
            ("revoke", "member of an Organization"),
            ("revoke", "Organization"),
            ("revoke", "role of an account"),
            ("revoke", "client policy"),
            ("revoke", "client profile"),
            ("revoke", "optional default scope"),
            ("revoke", "client"),
            ("revoke", "role of a group"),
            ("revoke", "role of a client"),
            ("revoke", "scope of a client"),
            ("revoke", "composite role"),
            ("create", "role"),
            ("create", "gate client"),
            ("create", "gate"),
            ("create", "client scope"),
            # A scope is closed to others before any client offers it.
            ("add", "gate of a scope"),
            ("revoke", "gate of a scope"),
            ("create", "client"),
            ("update", "realm"),
            ("update", "client profile"),
            ("update", "client policy"),
            ("update", "role"),
            ("update", "client scope"),
            ("update", "client"),
            ("add", "default scope"),
            ("revoke", "default scope"),
            ("add", "optional default scope"),
            ("add", "scope of a client"),
            ("add", "role of a client"),
            ("create", "group"),
            ("update", "group"),
            ("add", "role of a group"),
            ("create", "Organization"),
            ("update", "Organization"),
            ("create", "person"),
            ("update", "person"),
            ("add", "member"),
            ("add", "member of an Organization"),
            ("add", "role of an account"),
            ("delete", "person"),
            ("delete", "Organization"),
            ("delete", "group"),
            ("delete", "client"),
            ("delete", "client scope"),
            # Only now: a scope without its gate is open to everybody.
            ("delete", "gate"),
            ("delete", "role"),
        ]
    )
}


class _Comparison:
    """One realm, compared part by part."""

    def __init__(self, declared: Json, live: Live, adopt: bool) -> None:
        self.declared = declared
        self.live = live
        self.adopt = adopt
        self.found: list[Change] = []
        self.foreign: set[tuple[str, str]] = set()
        """What has a declared name and belongs to somebody else, by kind and name."""

    def run(self) -> Sequence[Change]:
        """All changes."""
        for part in (
            self._settings,
            self._policies,
            self._roles,
            self._scopes,
            self._clients,
            self._gates,
            self._role_mappings,
            self._groups,
            self._people,
            self._members,
            self._organizations,
            self._account_roles,
        ):
            part()
        return sorted(self.found, key=lambda c: (_ORDER.get((c.action, c.kind), -1), c.kind, c.name))

    def _add(
        self,
        action: Action,
        kind: str,
        name: str,
        tenant: str,
        differences: Sequence[Difference] = (),
        body: Mapping[str, Any] | None = None,
    ) -> None:
        self.found.append(Change(action, kind, name, tenant, tuple(differences), body or {}))

    def _links(self, kind: str, near: str, tenant: str, live: Set[str], declared: Set[str], **body: Any) -> None:
        """What one entry gives another: added where it is missing, revoked where nobody declared it."""
        for far in sorted(declared - live):
            self._add("add", kind, f"{near} -> {far}", tenant, body={"near": near, "far": far, **body})
        for far in sorted(live - declared):
            self._add("revoke", kind, f"{near} -> {far}", tenant, body={"near": near, "far": far, **body})

    def _ours(self, kind: str, name: str, entry: Mapping[str, Any], tenant: str) -> bool:
        """Whether an entry with a declared name may be changed."""
        if owner(entry) is not None or self.adopt:
            return True
        self.foreign.add((kind, name))
        self._add("conflict", kind, name, tenant)
        return False

    def _settings(self) -> None:
        live, found = self.live.export, []
        for key, value in self.declared.items():
            if isinstance(value, (str, bool, int)) and live.get(key) != value:
                found.append(Difference(key, live.get(key), value))
        for key, value in self.declared.get("attributes", {}).items():
            if (now := live.get("attributes", {}).get(key)) != value:
                found.append(Difference(f"attributes.{key}", now, value))
        if found:
            body = {d.key: d.declared for d in found if not d.key.startswith("attributes.")}
            attributes = {d.key.removeprefix("attributes."): d.declared for d in found if d.key not in body}
            if attributes:
                body["attributes"] = {**live.get("attributes", {}), **attributes}
            self._add("update", "realm", self.declared["realm"], PLATFORM_TENANT, found, body)
        wanted = set(self.declared.get("defaultDefaultClientScopes", []))
        self._links("default scope", "realm", PLATFORM_TENANT, set(live.get("defaultDefaultClientScopes", [])), wanted)
        asked = set(self.declared.get("defaultOptionalClientScopes", []))
        now = set(live.get("defaultOptionalClientScopes", []))
        self._links("optional default scope", "realm", PLATFORM_TENANT, now, asked)

    def _policies(self) -> None:
        """Declared client profiles and policies. Of others, those with a name of ours go: one may be a way in."""
        for key, inner, kind in (
            ("clientProfiles", "profiles", "client profile"),
            ("clientPolicies", "policies", "client policy"),
        ):
            live = {entry["name"]: entry for entry in self.live.export.get(key, {}).get(inner, [])}
            names = {entry["name"] for entry in self.declared.get(key, {}).get(inner, [])}
            for name in sorted(_POLICIES & live.keys() - names):
                del live[name]
                self._add("revoke", kind, name, PLATFORM_TENANT, body={inner: list(live.values())})
            for entry in self.declared.get(key, {}).get(inner, []):
                now = live.get(entry["name"])
                found = _differences(entry, now or {}, list(entry), ordered=True)
                if found:
                    live[entry["name"]] = entry
                    body = {inner: list(live.values())}
                    self._add("update", kind, entry["name"], PLATFORM_TENANT, found, body)

    def _roles(self) -> None:
        declared = {r["name"]: r for r in self.declared["roles"]["realm"]}
        for name, role in declared.items():
            live = self.live.roles.get(name)
            if live is None:
                self._add("create", "role", name, PLATFORM_TENANT, body=role)
                continue
            if not self._ours("role", name, live, PLATFORM_TENANT):
                continue
            if found := [*_differences(role, live, ("description",)), *_attributes(role, live)]:
                body = {**live, "description": role["description"], "attributes": _merged(role, live)}
                self._add("update", "role", name, PLATFORM_TENANT, found, body)
            inside = live.get("composites", {})
            names = [("", r) for r in inside.get("realm", [])]
            names += [(c, r) for c, roles in inside.get("client", {}).items() for r in roles]
            for client, far in names:
                shown = f"{name} -> {client}{'/' if client else ''}{far}"
                self._add(
                    "revoke",
                    "composite role",
                    shown,
                    PLATFORM_TENANT,
                    body={"near": name, "client": client, "far": far},
                )
        for name, live in self.live.roles.items():
            if name not in declared and owner(live) is not None:
                self._add("delete", "role", name, PLATFORM_TENANT)

    def _scopes(self) -> None:
        declared = {s["name"]: s for s in self.declared["clientScopes"]}
        for name, scope in declared.items():
            tenant = owner(scope) or PLATFORM_TENANT
            live = self.live.scopes.get(name)
            if live is None:
                self._add("create", "client scope", name, tenant, body=scope)
                continue
            if not self._ours("client scope", name, live, tenant):
                continue
            found = [*_differences(scope, live, ("description", "protocol")), *_attributes(scope, live)]
            now = {m["name"]: m for m in live.get("protocolMappers", [])}
            wanted = {m["name"]: m for m in scope.get("protocolMappers", [])}
            put, gone = [], [now[n]["id"] for n in sorted(set(now) - set(wanted))]
            found += [Difference(f"protocolMappers.{n}", _mapper(now[n]), None) for n in sorted(set(now) - set(wanted))]
            for mapper_name, mapper in wanted.items():
                before = now.get(mapper_name)
                if before is not None and _mapper(before) == _mapper(mapper):
                    continue
                found.append(Difference(f"protocolMappers.{mapper_name}", before and _mapper(before), _mapper(mapper)))
                if before is not None and before["protocolMapper"] != mapper["protocolMapper"]:
                    gone.append(before["id"])  # A mapper keeps its kind for life.
                    before = None
                put.append({**mapper, "id": before["id"]} if before else mapper)
            if found:
                entry = {k: v for k, v in live.items() if k != "protocolMappers"}
                entry |= {k: scope[k] for k in ("description", "protocol")} | {"attributes": _merged(scope, live)}
                self._add("update", "client scope", name, tenant, found, {"scope": entry, "put": put, "gone": gone})
        for name, live in self.live.scopes.items():
            if name not in declared and (mark := owner(live)) is not None:
                self._add("delete", "client scope", name, mark)

    def _clients(self) -> None:
        declared = {c["clientId"]: c for c in self.declared["clients"]}
        for client_id in BUILT_IN:
            built_in, now = declared.pop(client_id, None), self.live.clients.get(client_id)
            if built_in is not None and now is not None:
                scopes = set(now.get("defaultClientScopes", []))
                wanted = scopes | set(built_in["defaultClientScopes"])
                self._links("scope of a client", client_id, PLATFORM_TENANT, scopes, wanted, into="defaultClientScopes")
        for client_id, client in declared.items():
            tenant = owner(client) or PLATFORM_TENANT
            live = self.live.clients.get(client_id)
            if live is None:
                kind = "gate client" if client_id == GATE else "client"
                self._add("create", kind, client_id, tenant, body=client)
            elif self._ours("client", client_id, live, tenant):
                self._client(client, live, tenant)
        for client_id, live in self.live.clients.items():
            if client_id not in declared and (mark := owner(live)) is not None:
                if live.get("enabled", True):
                    attributes = {**live.get("attributes", {}), REMOVED: "true"}
                    body = {**_without_secret(live), "enabled": False, "attributes": attributes}
                    self._add("revoke", "client", client_id, mark, [Difference("enabled", True, False)], body)
                self._add("delete", "client", client_id, mark)

    def _client(self, client: Json, live: Json, tenant: str) -> None:
        linked = ("defaultClientScopes", "optionalClientScopes")
        found = _differences(client, live, [k for k in client if k not in (*linked, "attributes")])
        found += _attributes(client, live)
        attributes = _merged(client, live)
        for key in _OFF:
            if attributes.get(key) == "true" and key not in client["attributes"]:
                found.append(Difference(f"attributes.{key}", "true", "false"))
                attributes[key] = "false"
        body = {**_without_secret(live), **{k: v for k, v in client.items() if k not in linked}}
        if live.get("attributes", {}).get(REMOVED) == "true":
            found.append(Difference("enabled", live.get("enabled", True), True))
            body["enabled"], attributes[REMOVED] = True, ""
        mappers = [m["id"] for m in live.get("protocolMappers", [])]
        found += [Difference(f"protocolMappers.{m['name']}", _mapper(m), None) for m in live.get("protocolMappers", [])]
        for key in (*linked, "protocolMappers"):
            body.pop(key, None)
        if found:
            body["attributes"] = attributes
            self._add("update", "client", client["clientId"], tenant, found, {"client": body, "gone": mappers})
        for key in linked:
            name, now, wanted = client["clientId"], set(live.get(key, [])), set(client[key])
            self._links("scope of a client", name, tenant, now, wanted, into=key)

    def _gates(self) -> None:
        """The gate's own roles, and the client scopes that they close to everybody else."""
        wanted = {r["name"] for r in self.declared["roles"]["client"][GATE]}
        now = {r["name"] for r in self.live.export.get("roles", {}).get("client", {}).get(GATE, [])}
        if ("client", GATE) in self.foreign:
            return
        for name in sorted(wanted - now):
            self._add("create", "gate", name, PLATFORM_TENANT if name == MARK else name, body={"name": name})
        for name in sorted(now - wanted):
            self._add("delete", "gate", name, name)
        declared, live = _scope_gates(self.declared), _scope_gates(self.live.export)
        for scope in self.declared["clientScopes"]:
            name = scope["name"]
            if ("client scope", name) not in self.foreign:
                tenant = owner(scope) or PLATFORM_TENANT
                self._links("gate of a scope", name, tenant, live.get(name, set()), declared.get(name, set()))

    def _role_mappings(self) -> None:
        """The realm roles that a token for a client, or with a client scope, may carry."""
        for key, kind in (("client", "client"), ("clientScope", "client scope")):
            declared, live = _mappings(self.declared, key), _mappings(self.live.export, key)
            entries = self.declared["clients" if key == "client" else "clientScopes"]
            for entry in entries:
                name = entry["clientId" if key == "client" else "name"]
                if (kind, name) not in self.foreign and name not in BUILT_IN:
                    tenant = owner(entry) or PLATFORM_TENANT
                    wanted = declared.get(name, set())
                    self._links("role of a client", name, tenant, live.get(name, set()), wanted, of=key)

    def _groups(self) -> None:
        declared = dict(paths(self.declared["groups"]))
        for path, group in declared.items():
            tenant, live = owner(group) or PLATFORM_TENANT, self.live.groups.get(path)
            if live is None:
                self._add("create", "group", path, tenant, body={k: v for k, v in group.items() if k in _GROUP})
                live = {}
            elif not self._ours("group", path, live, tenant):
                continue
            elif found := [*_differences(group, live, ("description",)), *_attributes(group, live)]:
                entry = {k: v for k, v in live.items() if k in ("id", "name", "description", "attributes")}
                entry |= {k: group[k] for k in ("description",) if k in group} | {"attributes": _merged(group, live)}
                if MEMBERS not in group["attributes"]:
                    entry["attributes"].pop(MEMBERS, None)
                self._add("update", "group", path, tenant, found, entry)
            self._links("role of a group", path, tenant, _held(live), _held(group))
        for path, live in self.live.groups.items():
            if path not in declared and (mark := owner(live)) is not None:
                self._links("role of a group", path, mark, _held(live), set())
                if not any(path.startswith(f"{above}/") for above in self._leaving(declared)):
                    self._add("delete", "group", path, mark)

    def _leaving(self, declared: Mapping[str, Json]) -> Set[str]:
        """Groups of ours that are deleted; what lies below one goes with it."""
        return {p for p, g in self.live.groups.items() if p not in declared and owner(g) is not None}

    def _people(self) -> None:
        declared = self._declared_people
        for username, person in declared.items():
            live = self.live.users.get(username)
            tenant = person["groups"][0].split("/")[1]
            if live is None:
                self._add("create", "person", username, tenant, body=person)
            elif username not in self.live.marked and not self.adopt:
                self.foreign.add(("person", username))
                self._add("conflict", "person", username, tenant)
            else:
                keys = [k for k in person if k not in (*_VOLATILE, "groups", "clientRoles", "username", "realmRoles")]
                found = _differences(person, live, keys)
                if username not in self.live.marked:
                    found.append(Difference("mark", None, MARK))
                if found:
                    body = {"user": {k: person[k] for k in keys}, "mark": username not in self.live.marked}
                    self._add("update", "person", username, tenant, found, body)
        for username in sorted(self.live.marked - set(declared)):
            tops = [p.split("/")[1] for p, members in self.live.members.items() if username in members]
            self._add("delete", "person", username, min(tops, default=PLATFORM_TENANT))

    @cached_property
    def _declared_people(self) -> Mapping[str, Json]:
        return {u["username"]: u for u in self.declared["users"] if "serviceAccountClientId" not in u}

    @cached_property
    def _accounts(self) -> Mapping[str, str]:
        """Applications' own accounts that are ours, with the tenant; a removed application's is disabled with it."""
        return {
            f"service-account-{client_id}": owner(client) or PLATFORM_TENANT
            for clients in (self.live.clients, {c["clientId"]: c for c in self.declared["clients"]})
            for client_id, client in clients.items()
            if owner(client) is not None and ("client", client_id) not in self.foreign
        }

    def _members(self) -> None:
        """Who belongs to which group.

        A group whose members are declared has those. In any other group of ours, people who are not ours may be, and
        ours only where that leaves them in one tenant. A person whom Git no longer knows is in none.
        """
        ours = {u for u in (*self._declared_people, *self.live.marked) if ("person", u) not in self.foreign}
        ours |= set(self._accounts)
        homes = {u["username"]: set(u["groups"]) for u in self.declared["users"]}
        groups = {p: g for p, g in self.live.groups.items() if owner(g) is not None}
        groups |= {p: g for p, g in paths(self.declared["groups"]) if ("group", p) not in self.foreign}
        declared_groups = dict(paths(self.declared["groups"]))
        for path, group in groups.items():
            top = "/" + path.split("/")[1]
            live = self.live.members.get(path, set())
            wanted = {u for u, at in homes.items() if path in at and u in ours}
            strict = path in declared_groups and MEMBERS in group.get("attributes", {})
            extra = {
                u
                for u in live - wanted
                if strict or (u in ours and (path == top or path not in declared_groups or top not in homes.get(u, ())))
            }
            tenant = owner(group) or PLATFORM_TENANT
            self._links("member", path, tenant, (live & wanted) | extra, wanted)

    def _organizations(self) -> None:
        """Tenants' Organizations, each with its own people. Whoever was invited by hand and is not ours may stay in."""
        declared = {o["name"]: o for o in self.declared.get("organizations", [])}
        ours = {u for u in (*self._declared_people, *self.live.marked) if ("person", u) not in self.foreign}
        for name, organization in declared.items():
            tenant, live = owner(organization) or PLATFORM_TENANT, self.live.organizations.get(name)
            body = {k: v for k, v in organization.items() if k != "members"}
            if live is None:
                self._add("create", "Organization", name, tenant, body=body)
            elif not self._ours("Organization", name, live, tenant):
                continue
            elif found := [*_differences(body, live, ("alias", "description", "enabled")), *_attributes(body, live)]:
                entry = {k: v for k, v in live.items() if k != "members"}
                entry |= body | {"attributes": _merged(body, live)}
                self._add("update", "Organization", name, tenant, found, entry)
            now = set((live or {}).get("members", ())) & ours
            wanted = {m["username"] for m in organization["members"]} & ours
            self._links("member of an Organization", name, tenant, now, wanted)
        for name, live in self.live.organizations.items():
            if name not in declared and (mark := owner(live)) is not None:
                self._links("member of an Organization", name, mark, set(live["members"]) & ours, set())
                if live.get("enabled", True):
                    body = {k: v for k, v in live.items() if k != "members"} | {"enabled": False}
                    self._add("revoke", "Organization", name, mark, [Difference("enabled", True, False)], body)
                self._add("delete", "Organization", name, mark)

    def _account_roles(self) -> None:
        """Roles of ours that accounts of ours hold by themselves: people none, applications those declared."""
        wanted: dict[str, set[str]] = {}
        for user in self.declared["users"]:
            for role in user.get("realmRoles", []):
                wanted.setdefault(role, set()).add(user["username"])
        ours = {u for u in (*self._declared_people, *self.live.marked) if ("person", u) not in self.foreign}
        ours |= set(self._accounts)
        known = {r["name"] for r in self.declared["roles"]["realm"]}
        known |= {name for name, role in self.live.roles.items() if owner(role) is not None}
        for role in sorted(known & {*wanted, *self.live.holders}):
            if ("role", role) not in self.foreign:
                live, declared = self.live.holders.get(role, set()) & ours, wanted.get(role, set()) & ours
                for account in sorted(declared ^ live):
                    action: Action = "add" if account in declared else "revoke"
                    tenant = self._tenant_of(account)
                    body = {"near": account, "far": role}
                    self._add(action, "role of an account", f"{account} -> {role}", tenant, body=body)

    def _tenant_of(self, account: str) -> str:
        if account in self._accounts:
            return self._accounts[account]
        person = self._declared_people.get(account)
        return str(person["groups"][0].split("/")[1]) if person else PLATFORM_TENANT


_GROUP = ("name", "description", "attributes")
_POLICIES = frozenset({"stoa", "stoa-cimd"})
"""Names of client profiles and policies that only we give."""


def _differences(declared: Json, live: Json, keys: Sequence[str], ordered: bool = False) -> list[Difference]:
    """Values of `keys` that differ; lists are compared whatever their order, unless they are `ordered`."""
    found = []
    for key in keys:
        if key in declared:
            now, wanted = live.get(key), declared[key]
            if isinstance(wanted, list) and not ordered:
                now = sorted(now or [])
            if now != wanted and not (wanted is False and now is None):
                found.append(Difference(key, now, wanted))
    return found


def _attributes(declared: Json, live: Json) -> list[Difference]:
    """Declared attributes that differ. Of ours, one that is no longer declared goes."""
    now, wanted = live.get("attributes", {}), declared.get("attributes", {})
    found = [Difference(f"attributes.{k}", now.get(k), v) for k, v in wanted.items() if now.get(k) != v]
    stale = [k for k in now if k.startswith("stoa.") and k not in wanted and k != REMOVED and now[k] not in ("", None)]
    return found + [Difference(f"attributes.{k}", now[k], None) for k in stale]


def _merged(declared: Json, live: Json) -> Json:
    """The attributes to send: those of the server, with ours in place."""
    wanted, now = declared.get("attributes", {}), live.get("attributes", {})
    # An empty text takes an attribute away where leaving it out would keep it.
    gone = {k: "" for k in now if k.startswith("stoa.") and k not in wanted and isinstance(now[k], str)}
    kept = {k: v for k, v in now.items() if not k.startswith("stoa.")}
    return {**kept, **gone, **wanted}


def _mapper(mapper: Json) -> Json:
    """What a mapper does: its kind and settings. The server adds settings that are off."""
    config = {k: v for k, v in mapper.get("config", {}).items() if v not in ("false", "")}
    return {"protocolMapper": mapper["protocolMapper"], "config": config}


def _without_secret(client: Json) -> Json:
    """A client as it can be sent back. The export masks its secret, and to send the mask would make it the secret."""
    return {k: v for k, v in client.items() if k not in ("secret", "registrationAccessToken", "authorizationSettings")}


def _scope_gates(realm: Json) -> dict[str, set[str]]:
    """Roles of the gate by the client scope that they close."""
    found: dict[str, set[str]] = {}
    for mapping in realm.get("clientScopeMappings", {}).get(GATE, []):
        if "clientScope" in mapping:
            found.setdefault(mapping["clientScope"], set()).update(mapping["roles"])
    return found


def _mappings(realm: Json, key: str) -> dict[str, set[str]]:
    """Realm roles by the client or the client scope that may carry them."""
    found: dict[str, set[str]] = {}
    for mapping in realm.get("scopeMappings", []):
        if key in mapping:
            found.setdefault(mapping[key], set()).update(mapping["roles"])
    return found


def _held(group: Json) -> set[str]:
    """What a group gives: realm roles, and roles of the gate and other clients as `client/role`."""
    clients = group.get("clientRoles", {})
    return {*group.get("realmRoles", []), *(f"{c}/{r}" for c, roles in clients.items() for r in roles)}
