"""The matrix of a bundle: the same, read from the rendered files alone.

Roles, permissions and tools come from the catalogs that the runtime enforces; people from the realm that Keycloak
imports, or from the development issuer's list where no realm is rendered.
"""

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from stoa_compiler.matrix.build import OWN_ACCOUNT
from stoa_compiler.matrix.model import Holder, Matrix, Tool
from stoa_compiler.matrix.platform import opened, rows
from stoa_schemas import bundle
from stoa_schemas.names import PLATFORM_TENANT

_Part = TypeVar("_Part", bound=bundle.Part)


class NoBundle(Exception):
    """The folder holds no bundle that can be read; the message is for people."""


def of_bundle(folder: Path, on: datetime.date | None = None) -> Matrix:
    """Everyone and every tool of the bundle in `folder`; raises `NoBundle`."""
    index = _read(folder, bundle.PLATFORM_INDEX, bundle.PlatformIndex)
    catalogs = {t.name: _read(folder, t.catalog, bundle.Catalog) for t in index.tenants}
    tools = rows() | {t.id: t for c in catalogs.values() for t in _tools(c)}
    people = _people(folder, index)
    access = {name: _access(c) for name, c in catalogs.items()}
    reading = _Reading(index, access)
    holders = [reading.person(*p) for p in people]
    for name, role in index.roles.items():
        for tenant in [PLATFORM_TENANT] if role.scope == "platform" else catalogs:
            holders.append(reading.row("role", name, "", tenant, [name]))
    grants = _grant_types(folder)
    for tenant, catalog in catalogs.items():
        for consumer in catalog.consumers:
            holders += reading.consumer(tenant, consumer, grants.get(consumer.client_id), on)
    return Matrix.sorted(index.environment, tools, holders)


def differences(source: Matrix, rendered: Matrix) -> list[str]:
    """Where the two disagree about who may call what, in words; nothing where they are equal."""
    found = []
    for what in sorted(source.tools.keys() - rendered.tools.keys()):
        found.append(f"`{what}` is declared, and not in the bundle")
    for what in sorted(rendered.tools.keys() - source.tools.keys()):
        found.append(f"`{what}` is in the bundle, and not declared")
    for what in sorted(source.tools.keys() & rendered.tools.keys()):
        declared, other = source.tools[what], rendered.tools[what]
        for key in ("side_effects", "approval", "classification", "deprecated"):
            wanted, there = getattr(declared, key), getattr(other, key)
            if wanted != there:
                found.append(f"`{what}`: {key.replace('_', ' ')} is {wanted} in the source and {there} in the bundle")
    mine, theirs = {h.key: h for h in source.holders}, {h.key: h for h in rendered.holders}
    for who in sorted(mine.keys() | theirs.keys()):
        found += _disagreements(_named(*who), mine.get(who), theirs.get(who))
    return found


def _named(kind: str, tenant: str, name: str, acts: str) -> str:
    return f"{kind} `{name}` of `{tenant}`" + (f" ({acts})" if acts else "")


def _disagreements(who: str, source: Holder | None, rendered: Holder | None) -> Iterator[str]:
    if source is None or rendered is None:
        yield f"{who} is declared, and not in the bundle" if source else f"{who} is in the bundle, and not declared"
        return
    for tool in sorted(set(source.tools) - set(rendered.tools)):
        yield f"{who} may call `{tool}` by the source, and not by the bundle"
    for tool in sorted(set(rendered.tools) - set(source.tools)):
        yield f"{who} may call `{tool}` by the bundle, and not by the source"


class _Reading:
    """Tools by holder, from the index and the access tables of the catalogs."""

    def __init__(self, index: bundle.PlatformIndex, access: Mapping[str, Mapping[str, list[str]]]) -> None:
        self._index = index
        self._access = access

    def row(self, kind: Any, name: str, title: str, tenant: str, roles: Iterable[str]) -> Holder:
        """Someone with those of the roles that count in a token of the tenant."""
        counted = self._counted(roles, tenant)
        own = opened({p for r in counted for p in self._index.roles[r].permissions})
        return Holder(kind, name, title, tenant, tuple(counted), (*own, *self._granted(tenant, counted)))

    def person(self, name: str, title: str, tenant: str, roles: Iterable[str]) -> Holder:
        """A person."""
        return self.row("person", name, title, tenant, roles)

    def consumer(
        self, tenant: str, consumer: bundle.ConsumerEntry, client: "tuple[set[str], list[str]] | None", on: Any
    ) -> Iterator[Holder]:
        """An application's lines, as far as the realm tells how it signs in."""
        kinds, roles = client if client is not None else (set[str](), list[str]())
        contracts = {
            s.contract
            for s in consumer.subscriptions
            if on is None or s.expires is None or on <= datetime.date.fromisoformat(s.expires)
        }

        def row(acts: str, held: Iterable[str]) -> Holder:
            counted = self._counted(held, tenant)
            tools = tuple(i for i in self._granted(tenant, counted) if i.split(":")[1] in contracts)
            return Holder(
                "consumer", consumer.client_id, consumer.display_name, tenant, tuple(counted), tools, acts=acts
            )

        if "client_credentials" in kinds:
            yield row(OWN_ACCOUNT, roles)
        if "authorization_code" in kinds:
            made = [row(f"people with {r}", [r]) for r in self._counted(self._index.roles, tenant)]
            yield from [m for m in made if m.tools] or [row("people who sign in", ())]

    def _counted(self, roles: Iterable[str], tenant: str) -> list[str]:
        scope = "platform" if tenant == PLATFORM_TENANT else "tenant"
        return sorted(r for r in set(roles) if r in self._index.roles and self._index.roles[r].scope == scope)

    def _granted(self, tenant: str, roles: Iterable[str]) -> list[str]:
        tables = self._access.values() if tenant == PLATFORM_TENANT else [self._access[tenant]]
        roles = list(roles)
        return sorted({tool for table in tables for role in roles for tool in table.get(role, ())})


def _read(folder: Path, path: str, part: type[_Part]) -> _Part:
    try:
        return part.model_validate_json((folder / path).read_bytes())
    except OSError as error:
        raise NoBundle(f"`{folder / path}` cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise NoBundle(f"`{folder / path}` is not what a bundle holds there: {error.errors()[0]['msg']}") from error


def _tools(catalog: bundle.Catalog) -> Iterator[Tool]:
    contracts = {c.name: c for c in catalog.contracts}
    for tool in catalog.tools:
        contract = contracts[tool.contract]
        yield Tool(
            id=tool.id,
            tenant=catalog.tenant,
            contract=tool.contract,
            title=tool.title,
            side_effects=tool.side_effects,
            approval=tool.approval,
            classification=contract.classification,
            deprecated=contract.status == "deprecated",
        )


def _access(catalog: bundle.Catalog) -> dict[str, list[str]]:
    ids = {t.name: t.id for t in catalog.tools}
    return {role: [ids[name] for name in tools] for role, tools in catalog.access.items()}


def _realms(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("keycloak/*-realm.json")):
        try:
            found.append(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise NoBundle(f"`{path}` cannot be read: {error}") from error
    return found


def _people(folder: Path, index: bundle.PlatformIndex) -> list[tuple[str, str, str, list[str]]]:
    """User name, name, tenant and roles."""
    people = []
    for realm in _realms(folder):
        roles = {
            f"/{top['name']}/{group['name']}": group.get("realmRoles", [])
            for top in realm["groups"]
            for group in top.get("subGroups", [])
        }
        for user in realm["users"]:
            if "serviceAccountClientId" not in user:
                name = f"{user['firstName']} {user['lastName']}"
                tenant = user["groups"][0].split("/")[1]
                held = [r for g in user["groups"] for r in roles.get(g, [])]
                people.append((user["username"], name, tenant, held))
    if not people and (folder / bundle.DEVELOPMENT).is_file():
        listed = _read(folder, bundle.DEVELOPMENT, bundle.Development)
        people = [(p.username, p.display_name, p.tenant, p.roles) for p in listed.people]
    return people


def _grant_types(folder: Path) -> dict[str, tuple[set[str], list[str]]]:
    """How each client gets tokens, and the roles of its own account."""
    found: dict[str, tuple[set[str], list[str]]] = {}
    for realm in _realms(folder):
        accounts = {u["serviceAccountClientId"]: u for u in realm["users"] if "serviceAccountClientId" in u}
        for client in realm["clients"]:
            kinds = {"authorization_code"} if client.get("standardFlowEnabled") else set()
            kinds |= {"client_credentials"} if client.get("serviceAccountsEnabled") else set()
            found[client["clientId"]] = (kinds, accounts.get(client["clientId"], {}).get("realmRoles", []))
    return found
