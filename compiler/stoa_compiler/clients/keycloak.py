"""A Keycloak server's admin API: a realm read in few requests, and changes made to it.

python-keycloak keeps the session: signing in, renewing the token, trying again. A realm is read by one export, one list
of people, and one request for each group and role of ours; never one for each client or person.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from keycloak import KeycloakOpenIDConnection
from keycloak.exceptions import KeycloakError
from requests import Response

from stoa_compiler.reconcile.changes import Change
from stoa_compiler.reconcile.keycloak import Json, Live, owner, paths
from stoa_compiler.targets.keycloak.marks import GATE, MARK

PAGE = 500
"""People that are read at once."""
READERS = 8
"""Requests at the same time while a realm is read."""


class Unreachable(Exception):
    """The server does not answer, or does not let us in; the message is for the operator."""


class Refused(Exception):
    """The server does not do what it was asked for; the message is for the operator."""


@dataclass(frozen=True, slots=True)
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
            return Live(
                export=export,
                users=users,
                marked=frozenset(ours),
                members={p: frozenset(m) for p, m in zip(groups, members, strict=True)},
                holders={r: frozenset(h) for r, h in zip(roles, holders, strict=True)},
            )

    def apply(self, realm: str, live: Live | None, changes: tuple[Change, ...]) -> Iterator[Change]:
        """Makes the changes one by one, and yields each that is made; `Refused` ends it."""
        if live is None:
            for change in changes:
                self._done(self._ask("post", "admin/realms", change.body), change)
                yield change
            return
        writer = _Writer(self, realm, live)
        for change in changes:
            writer.make(change)
            yield change

    def _pages(self, path: str) -> Iterator[Json]:
        first = 0
        while True:
            answer = self._ask("get", path, None, first=first, max=PAGE, briefRepresentation=True)
            page = _json(answer, f"reading `{path}`")
            yield from page
            if len(page) < PAGE:
                return
            first += PAGE

    def _ask(self, method: str, path: str, body: Any = None, **query: Any) -> Response:
        """The server's answer, whatever it says; `Unreachable` where it cannot be had or we are not let in."""
        call = getattr(self._connection, f"raw_{method}")
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
        self._roles: dict[tuple[str, str], Json] = {("", r["name"]): r for r in live.roles.values()}
        for client, roles in live.export.get("roles", {}).get("client", {}).items():
            self._roles |= {(client, r["name"]): r for r in roles}

    def make(self, change: Change) -> None:
        """Makes one change."""
        _MAKE[(change.action, change.kind)](self, change)

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
        method = "put" if change.action == "add" else "delete"
        self._send(change, method, f"default-default-client-scopes/{self._scopes[change.body['far']]}")

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
        near = change.body["near"]
        where = (
            f"clients/{self._clients[near]}" if change.body["of"] == "client" else f"client-scopes/{self._scopes[near]}"
        )
        method = "post" if change.action == "add" else "delete"
        self._send(change, method, f"{where}/scope-mappings/realm", [self._role("", change.body["far"])])

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
