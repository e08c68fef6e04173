"""Who a recorded subject is, and which tenant and roles the bundle gives to it.

The log names a subject, a tenant and a client, and no roles. Those come from the bundle: people and groups from the
realms that it renders for Keycloak, or from the development issuer's list. Keycloak gives each person an id of its own,
which no file of ours holds; a list of people from the server ties the two together.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stoa_compiler.records import record
from stoa_schemas import bundle

_GROUP_MEMBERS = "stoa.members"


class PeopleUnreadable(Exception):
    """A list of people that cannot be used; the message is for people."""


@record
class Person:
    """Somebody whom the bundle knows, or an application's own account."""

    name: str
    tenant: str
    roles: frozenset[str]
    """As its token would list them; which of them count is judged elsewhere."""


class Callers:
    """Finds people by what the log says of them."""

    def __init__(self, folder: Path, index: bundle.PlatformIndex, lists: Sequence[Path] = ()) -> None:
        self._people: dict[str, list[Person]] = {}
        """By user name; two realms may have the same one."""
        self._accounts: dict[str, Person] = {}
        """Applications' own accounts, by client."""
        self._only_account: set[str] = set()
        """Clients by which no person signs in."""
        self._subjects: dict[str, Person] = {}
        self._names: dict[str, str] = {}
        """User names by id, of people whom the bundle does not know."""
        self._complete: dict[str, bool] = {}
        self._groups: dict[str, frozenset[str]] = {}
        self.open_groups: set[str] = set()
        """Groups whose members are not declared here."""
        realms = [_json(path) for path in sorted(folder.glob("keycloak/*-realm.json"))]
        for realm in realms:
            self._realm(realm)
        if not realms and (folder / bundle.DEVELOPMENT).is_file():
            self._development(folder / bundle.DEVELOPMENT)
        if (folder / bundle.DEVELOPMENT).is_file():  # Its issuer makes subjects of names.
            for people in self._people.values():
                self._subjects |= {_development_subject(index.name, "person", p.name): p for p in people}
            for client, account in self._accounts.items():
                self._subjects[_development_subject(index.name, "account", client)] = account
        for path in lists:
            self._listed(path)

    def of(self, subject: str, client: str, tenant: str) -> Person | None:
        """Whom a line means; None where the bundle does not tell."""
        if (known := self._subjects.get(subject)) is not None:
            return known
        if client in self._only_account or subject == f"service-account-{client}":
            return self._accounts.get(client)
        named = self._people.get(subject, [])
        here = [p for p in named if p.tenant == tenant]
        if len(here or named) == 1:
            return (here or named)[0]
        if self._is_complete(tenant):
            return Person(self._names.get(subject, subject), tenant, frozenset())
        return None

    def _is_complete(self, tenant: str) -> bool:
        """Whether each person of the tenant is known by subject, so that whoever is not known has no role."""
        if tenant not in self._complete:
            known = {id(p) for p in self._subjects.values()}
            declared = [p for people in self._people.values() for p in people if p.tenant == tenant]
            closed = not any(g.startswith(f"/{tenant}/") for g in self.open_groups)
            self._complete[tenant] = bool(known) and closed and all(id(p) in known for p in declared)
        return self._complete[tenant]

    def _realm(self, realm: Mapping[str, Any]) -> None:
        for path, group in _groups(realm.get("groups", [])):
            self._groups[path] = frozenset(group.get("realmRoles", []))
            if path.count("/") == 2 and group.get("attributes", {}).get(_GROUP_MEMBERS) != ["declared"]:
                self.open_groups.add(path)
        for user in realm.get("users", []):
            groups = user.get("groups", [])
            roles = frozenset(user.get("realmRoles", [])).union(*(self._groups.get(g, frozenset()) for g in groups))
            if client := user.get("serviceAccountClientId"):
                tenant = _tenant(groups) or client.partition(".")[0]
                self._accounts[client] = Person(client, tenant, roles)
            elif tenant := _tenant(groups):
                person = Person(user["username"], tenant, roles)
                self._people.setdefault(person.name, []).append(person)
                if "id" in user:
                    self._subjects[user["id"]] = person
        self._only_account |= {
            c["clientId"]
            for c in realm.get("clients", [])
            if c.get("serviceAccountsEnabled") and not c.get("standardFlowEnabled")
        }

    def _development(self, path: Path) -> None:
        try:
            listed = bundle.Development.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise PeopleUnreadable(f"`{path}` cannot be read: {error}") from error
        for p in listed.people:
            self._people.setdefault(p.username, []).append(Person(p.username, p.tenant, frozenset(p.roles)))
        for c in listed.clients:
            if c.tenant is not None and c.roles:
                self._accounts[c.client_id] = Person(c.client_id, c.tenant, frozenset(c.roles))
                if not c.redirect_uris:
                    self._only_account.add(c.client_id)

    def _listed(self, path: Path) -> None:
        """Ids of people, as Keycloak's admin API lists them or an export of a realm has them."""
        listed = _json(path)
        users = listed.get("users") if isinstance(listed, dict) else listed
        if not isinstance(users, list):
            raise PeopleUnreadable(f"`{path}` is no list of people, and no realm with `users`")
        for user in users:
            if not isinstance(user, dict) or not all(isinstance(user.get(k), str) for k in ("id", "username")):
                raise PeopleUnreadable(f"`{path}` has an entry without the texts `id` and `username`")
            name, groups = user["username"], user.get("groups") or []
            found = self._people.get(name, [])
            tenant = _tenant(groups)
            here = [p for p in found if p.tenant == tenant] or found
            if name.startswith("service-account-"):
                account = self._accounts.get(name.removeprefix("service-account-"))
                here = [account] if account is not None else []
            if not here and tenant:
                # Nobody whom the bundle declares: what the groups give that they are in is all that is known.
                roles = frozenset[str]().union(*(self._groups.get(g, frozenset()) for g in groups))
                here = [Person(name, tenant, roles)]
            if len(here) == 1:
                self._subjects[user["id"]] = here[0]
            else:
                self._names[user["id"]] = name


def _development_subject(platform: str, kind: str, name: str) -> str:
    """The subject that the development issuer gives; a test with the real one holds them equal."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:stoa:{platform}:{kind}:{name}"))


def _tenant(groups: Sequence[str]) -> str:
    """The tenant that somebody in these groups is of."""
    return groups[0].split("/")[1] if groups and groups[0].startswith("/") else ""


def _groups(groups: Sequence[Mapping[str, Any]], above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for group in groups:
        path = f"{above}/{group['name']}"
        yield path, group
        yield from _groups(group.get("subGroups", []), path)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PeopleUnreadable(f"`{path}` cannot be read: {error}") from error
