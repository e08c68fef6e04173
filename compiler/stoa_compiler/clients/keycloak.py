"""A Keycloak server's admin API: a realm read in few requests, and changes made to it.

python-keycloak keeps the session: signing in, renewing the token, trying again. A realm is read by one export, one list
of people, and one request for each group, role and Organization of ours; never one for each client or person. New
clients and people are sent a hundred at a time (partial import); changes of one kind that do not touch each other are
sent side by side.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from keycloak import KeycloakOpenIDConnection
from keycloak.exceptions import KeycloakError
from requests import Response

from stoa_compiler.reconcile.changes import Change
from stoa_compiler.reconcile.keycloak import Json, Live, owner, paths
from stoa_compiler.records import record
from stoa_compiler.targets.keycloak.marks import GATE, MARK

PAGE = 500
"""People that are read at once."""
READERS = 8
"""Requests at the same time."""
BATCH = 100
"""Clients or people that are made by one request."""


class Unreachable(Exception):
    """The server does not answer, or does not let us in; the message is for the operator."""


class Refused(Exception):
    """The server does not do what it was asked for; the message is for the operator."""


@record
class Login:
    """How the administration is entered: by a client's secret, or by an access token."""

    realm: str = "master"
    """The realm that the client is in."""
    client_id: str = ""
    secret: str = ""
    token: str = ""


class Server:
    """A Keycloak server, signed in to."""

    def __init__(self, url: str, login: Login, ca: Path | None = None) -> None:
        self._connection = KeycloakOpenIDConnection(
            server_url=url.rstrip("/") + "/",
            realm_name=login.realm,
            client_id=login.client_id or "admin-cli",
            client_secret_key=login.secret or None,
            token={"access_token": login.token, "expires_in": 86_400} if login.token else None,
            verify=str(ca) if ca is not None else True,
            pool_maxsize=READERS,
            timeout=300,
        )
        self._url = url
        self.requests = 0
        """Requests that were sent."""

    def read(self, realm: str, unmarked: bool = False) -> Live | None:
        """The realm as it is; None where there is none of this name.

        Who is in a group and who holds a role is read where they are marked as ours, or of all of them if `unmarked`.
        """
        at = f"admin/realms/{quote(realm)}"
        answer = self._ask("post", f"{at}/partial-export", None, exportClients=True, exportGroupsAndRoles=True)
        if answer.status_code == 404:
            return None
        export = _json(answer, f"reading the realm `{realm}`")
        groups = {p: g["id"] for p, g in paths(export.get("groups", [])) if unmarked or owner(g) is not None}
        roles = [r["name"] for r in export.get("roles", {}).get("realm", []) if unmarked or owner(r) is not None]
        gate = {c["clientId"]: c["id"] for c in export.get("clients", [])}.get(GATE)
        marked = MARK in {r["name"] for r in export.get("roles", {}).get("client", {}).get(GATE, [])}
        with ThreadPoolExecutor(READERS) as pool:

            def names(path: str) -> list[str]:
                return [u["username"] for u in self._pages(f"{at}/{path}")]

            members = pool.map(names, [f"groups/{i}/members" for i in groups.values()])
            holders = pool.map(names, [f"roles/{quote(r, safe='')}/users" for r in roles])
            ours = names(f"clients/{gate}/roles/{MARK}/users") if gate and marked else []
            users = {u["username"]: u for u in self._pages(f"{at}/users")}
            organizations: dict[str, Json] = {}
            if export.get("organizationsEnabled"):
                # The export holds none.
                organizations = {o["name"]: o for o in self._pages(f"{at}/organizations", brief=False)}
                marked_ones = [o for o in organizations.values() if unmarked or owner(o) is not None]
                inside = pool.map(names, [f"organizations/{o['id']}/members" for o in marked_ones])
                for organization, found in zip(marked_ones, inside, strict=True):
                    organization["members"] = found
            return Live(
                export=export,
                users=users,
                marked=frozenset(ours),
                members={p: frozenset(m) for p, m in zip(groups, members, strict=True)},
                holders={r: frozenset(h) for r, h in zip(roles, holders, strict=True)},
                organizations=organizations,
            )

    def apply(self, realm: str, live: Live | None, changes: tuple[Change, ...]) -> Iterator[Change]:
        """Makes the changes kind by kind, and yields each that is made; `Refused` ends it."""
        if live is None:
            for change in changes:
                self._done(self._ask("post", "admin/realms", change.body), change)
                yield change
            return
        writer = _Writer(self, realm, live)
        with ThreadPoolExecutor(READERS) as pool:
            for _, alike in groupby(changes, key=lambda c: (c.action, c.kind)):
                yield from writer.make(list(alike), pool)

    def _pages(self, path: str, brief: bool = True) -> Iterator[Json]:
        first = 0
        while True:
            answer = self._ask("get", path, None, first=first, max=PAGE, briefRepresentation=brief)
            page = _json(answer, f"reading `{path}`")
            yield from page
            if len(page) < PAGE:
                return
            first += PAGE

    def _ask(self, method: str, path: str, body: Any = None, **query: Any) -> Response:
        """The server's answer, whatever it says; `Unreachable` where it cannot be had or we are not let in."""
        call = getattr(self._connection, f"raw_{method}")
        self.requests += 1
        query = {k: str(v).lower() if isinstance(v, bool) else v for k, v in query.items()}
        sent = () if method == "get" else ("" if body is None else json.dumps(body),)
        try:
            answer: Response = call(path, *sent, **query)
        except KeycloakError as error:
            cause = error.__cause__ or error.error_message
            raise Unreachable(f"{self._url} cannot be asked: {_text(cause)}") from error
        if answer.status_code in (401, 403):
            raise Unreachable(f"{self._url} does not let us in ({answer.status_code}): the client needs `realm-admin`")
        return answer

    def _done(self, answer: Response, change: Change) -> str:
        """The id of what was created, where there is one."""
        if answer.status_code >= 300:
            raise Refused(f"`{change.words}` was refused ({answer.status_code}): {_text(answer.text)}")
        return answer.headers.get("Location", "").rpartition("/")[2]


def _json(answer: Response, what: str) -> Any:
    if answer.status_code >= 300:
        raise Refused(f"{what} was refused ({answer.status_code}): {_text(answer.text)}")
    return answer.json()


def _text(value: object) -> str:
    return str(value).strip()[:300]


class _Writer:
    """Changes made in one realm, with the ids that the server gave to what they name."""

    def __init__(self, server: Server, realm: str, live: Live) -> None:
        self._server = server
        self._at = f"admin/realms/{quote(realm)}"
        self._clients = {name: str(client["id"]) for name, client in live.clients.items()}
        self._scopes = {name: str(scope["id"]) for name, scope in live.scopes.items()}
        self._groups = {path: str(group["id"]) for path, group in live.groups.items()}
        self._users = {name: str(user["id"]) for name, user in live.users.items()}
        self._organizations = {name: str(one["id"]) for name, one in live.organizations.items()}
        self._roles: dict[tuple[str, str], Json] = {("", r["name"]): r for r in live.roles.values()}
        for client, roles in live.export.get("roles", {}).get("client", {}).items():
            self._roles |= {(client, r["name"]): r for r in roles}

    def make(self, alike: list[Change], pool: ThreadPoolExecutor) -> Iterator[Change]:
        """Makes changes of one kind, and yields each that is made."""
        key = (alike[0].action, alike[0].kind)
        if key in _IMPORTED:
            singly = []
            for first in range(0, len(alike), BATCH):
                singly += self._imported(alike[first : first + BATCH], _IMPORTED[key])
            left = {id(c) for c in singly}
            yield from (c for c in alike if id(c) not in left)
            alike = singly
        if key in _TOGETHER:
            together: dict[str, list[Change]] = {}
            for change in alike:
                together.setdefault(change.body["near"], []).append(change)
            for done in pool.map(partial(self._roles_together, key[0]), together.values()):
                yield from done
            return
        if key in _APART:
            yield from pool.map(partial(self._one, key), alike)
            return
        yield from (self._one(key, change) for change in alike)

    def _one(self, key: tuple[str, str], change: Change) -> Change:
        _MAKE[key](self, change)
        return change

    def _imported(self, alike: list[Change], kind: str) -> list[Change]:
        """Creates them by one request; those that it leaves out are returned, to be made each by itself.

        An application's own account comes with the client's own request only. Where the server refuses the lot,
        all are left, so that the one at fault is named.
        """
        fitting = [c for c in alike if kind == "users" or not c.body.get("serviceAccountsEnabled")]
        left = [c for c in alike if kind != "users" and c.body.get("serviceAccountsEnabled")]
        if not fitting:
            return left
        bodies = [{k: v for k, v in c.body.items() if k not in ("groups", "realmRoles")} for c in fitting]
        body = {"ifResourceExists": "SKIP", kind: bodies}
        answer = self._server._ask("post", f"{self._at}/partialImport", body)
        if answer.status_code >= 300:
            return alike
        made = {r["resourceName"]: str(r["id"]) for r in answer.json().get("results", []) if r["action"] == "ADDED"}
        known = self._users if kind == "users" else self._clients
        for change in fitting:
            if change.name in made:
                known[change.name] = made[change.name]
            else:
                left.append(change)
        return left

    def _roles_together(self, action: str, alike: list[Change]) -> list[Change]:
        """The roles that one client or client scope may carry, in one request."""
        first = alike[0]
        near, of = first.body["near"], first.body["of"]
        where = f"clients/{self._clients[near]}" if of == "client" else f"client-scopes/{self._scopes[near]}"
        roles = [self._role("", c.body["far"]) for c in alike]
        self._send(first, "post" if action == "add" else "delete", f"{where}/scope-mappings/realm", roles)
        return alike

    def _send(self, change: Change, method: str, path: str, body: Any = None) -> str:
        return self._server._done(self._server._ask(method, f"{self._at}/{path}", body), change)

    def _role(self, client: str, name: str) -> Json:
        """A role as mappings name it."""
        found = self._roles.get((client, name))
        if found is None:
            where = f"clients/{self._clients[client]}/roles" if client else "roles"
            answer = self._server._ask("get", f"{self._at}/{where}/{quote(name, safe='')}")
            found = self._roles[client, name] = _json(answer, f"reading the role `{name}`")
        return {"id": found["id"], "name": found["name"]}

    def _account(self, username: str) -> str:
        """The id of a person's or an application's account."""
        if username not in self._users and username.startswith("service-account-"):
            client = self._clients[username.removeprefix("service-account-")]
            answer = self._server._ask("get", f"{self._at}/clients/{client}/service-account-user")
            self._users[username] = str(_json(answer, f"reading the account `{username}`")["id"])
        if username not in self._users:
            answer = self._server._ask("get", f"{self._at}/users", None, username=username, exact=True)
            (user,) = _json(answer, f"reading the account `{username}`")
            self._users[username] = str(user["id"])
        return self._users[username]

    # Settings, roles, client scopes

    def realm(self, change: Change) -> None:
        self._server._done(self._server._ask("put", self._at, change.body), change)

    def client_profiles(self, change: Change) -> None:
        self._send(change, "put", "client-policies/profiles", change.body)

    def client_policies(self, change: Change) -> None:
        self._send(change, "put", "client-policies/policies", change.body)

    def create_role(self, change: Change) -> None:
        self._send(change, "post", "roles", change.body)

    def update_role(self, change: Change) -> None:
        self._send(change, "put", f"roles-by-id/{self._role('', change.name)['id']}", change.body)

    def delete_role(self, change: Change) -> None:
        self._send(change, "delete", f"roles-by-id/{self._role('', change.name)['id']}")

    def split_role(self, change: Change) -> None:
        inner = [self._role(change.body["client"], change.body["far"])]
        self._send(change, "delete", f"roles-by-id/{self._role('', change.body['near'])['id']}/composites", inner)

    def create_gate(self, change: Change) -> None:
        self._send(change, "post", f"clients/{self._clients[GATE]}/roles", change.body)

    def delete_gate(self, change: Change) -> None:
        self._send(change, "delete", f"clients/{self._clients[GATE]}/roles/{change.name}")

    def create_scope(self, change: Change) -> None:
        self._scopes[change.name] = self._send(change, "post", "client-scopes", change.body)

    def update_scope(self, change: Change) -> None:
        at = f"client-scopes/{self._scopes[change.name]}"
        for gone in change.body["gone"]:
            self._send(change, "delete", f"{at}/protocol-mappers/models/{gone}")
        for mapper in change.body["put"]:
            where = f"{at}/protocol-mappers/models"
            if "id" in mapper:
                self._send(change, "put", f"{where}/{mapper['id']}", mapper)
            else:
                self._send(change, "post", where, mapper)
        self._send(change, "put", at, change.body["scope"])

    def delete_scope(self, change: Change) -> None:
        self._send(change, "delete", f"client-scopes/{self._scopes[change.name]}")

    def default_scope(self, change: Change) -> None:
        method, kind = "put" if change.action == "add" else "delete", "default"
        if change.kind == "optional default scope":
            kind = "optional"
        self._send(change, method, f"default-{kind}-client-scopes/{self._scopes[change.body['far']]}")

    def scope_gate(self, change: Change) -> None:
        method = "post" if change.action == "add" else "delete"
        at = f"client-scopes/{self._scopes[change.body['near']]}/scope-mappings/clients/{self._clients[GATE]}"
        self._send(change, method, at, [self._role(GATE, change.body["far"])])

    # Clients

    def create_client(self, change: Change) -> None:
        self._clients[change.name] = self._send(change, "post", "clients", change.body)

    def update_client(self, change: Change) -> None:
        at = f"clients/{self._clients[change.name]}"
        for gone in change.body["gone"]:
            self._send(change, "delete", f"{at}/protocol-mappers/models/{gone}")
        self._send(change, "put", at, change.body["client"])

    def disable_client(self, change: Change) -> None:
        self._send(change, "put", f"clients/{self._clients[change.name]}", change.body)

    def delete_client(self, change: Change) -> None:
        self._send(change, "delete", f"clients/{self._clients[change.name]}")

    def client_scope(self, change: Change) -> None:
        kind = "default" if change.body["into"] == "defaultClientScopes" else "optional"
        at = f"clients/{self._clients[change.body['near']]}/{kind}-client-scopes/{self._scopes[change.body['far']]}"
        self._send(change, "put" if change.action == "add" else "delete", at)

    def client_role(self, change: Change) -> None:
        self._roles_together(change.action, [change])

    # Groups and people

    def create_group(self, change: Change) -> None:
        above = change.name.rpartition("/")[0]
        where = f"groups/{self._groups[above]}/children" if above else "groups"
        self._groups[change.name] = self._send(change, "post", where, change.body)

    def update_group(self, change: Change) -> None:
        self._send(change, "put", f"groups/{self._groups[change.name]}", change.body)

    def delete_group(self, change: Change) -> None:
        self._send(change, "delete", f"groups/{self._groups[change.name]}")

    def group_role(self, change: Change) -> None:
        client, _, role = change.body["far"].rpartition("/")
        where = f"clients/{self._clients[client]}" if client else "realm"
        method = "post" if change.action == "add" else "delete"
        at = f"groups/{self._groups[change.body['near']]}/role-mappings/{where}"
        self._send(change, method, at, [self._role(client, role)])

    def create_person(self, change: Change) -> None:
        body = {k: v for k, v in change.body.items() if k not in ("clientRoles", "groups", "realmRoles")}
        self._users[change.name] = self._send(change, "post", "users", body)
        for client, roles in change.body["clientRoles"].items():
            given = [self._role(client, r) for r in roles]
            at = f"users/{self._users[change.name]}/role-mappings/clients/{self._clients[client]}"
            self._send(change, "post", at, given)

    def update_person(self, change: Change) -> None:
        user = self._account(change.name)
        self._send(change, "put", f"users/{user}", change.body["user"])
        if change.body["mark"]:
            at = f"users/{user}/role-mappings/clients/{self._clients[GATE]}"
            self._send(change, "post", at, [self._role(GATE, MARK)])

    def delete_person(self, change: Change) -> None:
        self._send(change, "delete", f"users/{self._account(change.name)}")

    def member(self, change: Change) -> None:
        method = "put" if change.action == "add" else "delete"
        at = f"users/{self._account(change.body['far'])}/groups/{self._groups[change.body['near']]}"
        self._send(change, method, at)

    def create_organization(self, change: Change) -> None:
        self._organizations[change.name] = self._send(change, "post", "organizations", change.body)

    def update_organization(self, change: Change) -> None:
        self._send(change, "put", f"organizations/{self._organizations[change.name]}", change.body)

    def delete_organization(self, change: Change) -> None:
        self._send(change, "delete", f"organizations/{self._organizations[change.name]}")

    def organization_member(self, change: Change) -> None:
        at = f"organizations/{self._organizations[change.body['near']]}/members"
        account = self._account(change.body["far"])
        if change.action == "add":
            self._send(change, "post", at, account)
        else:
            self._send(change, "delete", f"{at}/{account}")

    def account_role(self, change: Change) -> None:
        method = "post" if change.action == "add" else "delete"
        at = f"users/{self._account(change.body['near'])}/role-mappings/realm"
        self._send(change, method, at, [self._role("", change.body["far"])])


_MAKE: Mapping[tuple[str, str], Callable[[_Writer, Change], None]] = {
    ("update", "realm"): _Writer.realm,
    ("update", "client profile"): _Writer.client_profiles,
    ("update", "client policy"): _Writer.client_policies,
    ("create", "role"): _Writer.create_role,
    ("update", "role"): _Writer.update_role,
    ("delete", "role"): _Writer.delete_role,
    ("revoke", "composite role"): _Writer.split_role,
    ("create", "gate"): _Writer.create_gate,
    ("delete", "gate"): _Writer.delete_gate,
    ("create", "client scope"): _Writer.create_scope,
    ("update", "client scope"): _Writer.update_scope,
    ("delete", "client scope"): _Writer.delete_scope,
    ("revoke", "client profile"): _Writer.client_profiles,
    ("revoke", "client policy"): _Writer.client_policies,
    ("create", "Organization"): _Writer.create_organization,
    ("update", "Organization"): _Writer.update_organization,
    ("revoke", "Organization"): _Writer.update_organization,
    ("delete", "Organization"): _Writer.delete_organization,
    ("add", "member of an Organization"): _Writer.organization_member,
    ("revoke", "member of an Organization"): _Writer.organization_member,
    ("add", "optional default scope"): _Writer.default_scope,
    ("revoke", "optional default scope"): _Writer.default_scope,
    ("add", "default scope"): _Writer.default_scope,
    ("revoke", "default scope"): _Writer.default_scope,
    ("add", "gate of a scope"): _Writer.scope_gate,
    ("revoke", "gate of a scope"): _Writer.scope_gate,
    ("create", "gate client"): _Writer.create_client,
    ("create", "client"): _Writer.create_client,
    ("update", "client"): _Writer.update_client,
    ("revoke", "client"): _Writer.disable_client,
    ("delete", "client"): _Writer.delete_client,
    ("add", "scope of a client"): _Writer.client_scope,
    ("revoke", "scope of a client"): _Writer.client_scope,
    ("add", "role of a client"): _Writer.client_role,
    ("revoke", "role of a client"): _Writer.client_role,
    ("create", "group"): _Writer.create_group,
    ("update", "group"): _Writer.update_group,
    ("delete", "group"): _Writer.delete_group,
    ("add", "role of a group"): _Writer.group_role,
    ("revoke", "role of a group"): _Writer.group_role,
    ("create", "person"): _Writer.create_person,
    ("update", "person"): _Writer.update_person,
    ("delete", "person"): _Writer.delete_person,
    ("add", "member"): _Writer.member,
    ("revoke", "member"): _Writer.member,
    ("add", "role of an account"): _Writer.account_role,
    ("revoke", "role of an account"): _Writer.account_role,
}

_IMPORTED: Mapping[tuple[str, str], str] = {("create", "client"): "clients", ("create", "person"): "users"}
"""What a partial import makes, by its name there."""
_TOGETHER = frozenset({("add", "role of a client"), ("revoke", "role of a client")})
"""Changes that one request makes for all that one entry gets or loses."""
_APART = frozenset(
    {
        ("create", "client"),
        ("update", "client"),
        ("revoke", "client"),
        ("delete", "client"),
        ("create", "client scope"),
        ("update", "client scope"),
        ("create", "gate"),
        ("add", "gate of a scope"),
        ("add", "scope of a client"),
        ("revoke", "scope of a client"),
        ("create", "person"),
        ("update", "person"),
        ("delete", "person"),
        ("add", "member"),
        ("revoke", "member"),
        ("add", "member of an Organization"),
        ("revoke", "member of an Organization"),
    }
)
"""Changes that touch nothing in common with others of their kind, so that they can be sent side by side."""
