"""A realm's file as Keycloak reads it, and the access tokens that it would issue.

Written from Keycloak's behaviour alone: nothing here knows how the file was made.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from stoa_compiler.records import record
from stoa_schemas.names import ROLES_CLAIM, TENANT_CLAIM


@record(slots=False)
class Account:
    """A user as tokens see it: everything its groups bring included."""

    tenants: frozenset[str]
    roles: frozenset[str]
    client_roles: frozenset[tuple[str, str]]


@record(slots=False)
class Token:
    """What an access token says."""

    subject: bool
    tenants: frozenset[str]
    roles: frozenset[str]
    audience: frozenset[str]
    scopes: frozenset[str]


@record(slots=False)
class Realm:
    """A realm as Keycloak reads it, and the tokens that it issues."""

    data: dict[str, Any]

    @cached_property
    def clients(self) -> dict[str, dict[str, Any]]:
        return {c["clientId"]: c for c in self.data.get("clients", [])}

    @cached_property
    def users(self) -> dict[str, dict[str, Any]]:
        return {u["username"]: u for u in self.data.get("users", [])}

    @cached_property
    def scopes(self) -> dict[str, dict[str, Any]]:
        return {s["name"]: s for s in self.data.get("clientScopes", [])}

    @cached_property
    def realm_roles(self) -> frozenset[str]:
        return frozenset(r["name"] for r in self.data.get("roles", {}).get("realm", []))

    @cached_property
    def lines(self) -> dict[str, tuple[dict[str, Any], ...]]:
        """Each group by its path, with the groups above it."""

        def below(groups: list[dict[str, Any]], above: tuple[dict[str, Any], ...], path: str) -> Iterator[Any]:
            for group in groups:
                line = (*above, group)
                yield f"{path}/{group['name']}", line
                yield from below(group.get("subGroups", []), line, f"{path}/{group['name']}")

        return dict(below(self.data.get("groups", []), (), ""))

    @cached_property
    def _mapped(self) -> tuple[dict[str, set[str]], dict[str, set[tuple[str, str]]]]:
        """Realm roles in scope of each client, and the roles that open each client scope."""
        clients: dict[str, set[str]] = {}
        scopes: dict[str, set[tuple[str, str]]] = {}
        for mapping in self.data.get("scopeMappings", []):
            if "client" in mapping:
                clients.setdefault(mapping["client"], set()).update(mapping["roles"])
            if "clientScope" in mapping:
                scopes.setdefault(mapping["clientScope"], set()).update(("", r) for r in mapping["roles"])
        for owner, mappings in self.data.get("clientScopeMappings", {}).items():
            for mapping in mappings:
                if "clientScope" in mapping:
                    scopes.setdefault(mapping["clientScope"], set()).update((owner, r) for r in mapping["roles"])
        return clients, scopes

    @cached_property
    def accounts(self) -> dict[str, Account]:
        return {name: self._account(user) for name, user in self.users.items()}

    def _account(self, user: dict[str, Any]) -> Account:
        sources = [user, *(g for path in user.get("groups", []) for g in self.lines.get(path, ()))]
        return Account(
            tenants=frozenset(v for s in sources for v in s.get("attributes", {}).get(TENANT_CLAIM, [])),
            roles=frozenset(r for s in sources for r in s.get("realmRoles", [])),
            client_roles=frozenset(
                (c, r) for s in sources for c, roles in s.get("clientRoles", {}).items() for r in roles
            ),
        )

    def gates(self, scope: str) -> frozenset[tuple[str, str]]:
        """Roles of which a person needs one to get the scope; with none, everyone gets it."""
        return frozenset(self._mapped[1].get(scope, ()))

    def offered(self, client: dict[str, Any]) -> list[str]:
        """Scopes that a token for the client can have, optional ones included: whoever asks for them gets them."""
        names = [*client.get("defaultClientScopes", []), *client.get("optionalClientScopes", [])]
        return [n for n in names if n in self.scopes]

    def mappers(self, client: dict[str, Any], scopes: Iterable[str]) -> list[dict[str, Any]]:
        """The client's own mappers and those of its scopes."""
        own = client.get("protocolMappers", [])
        return [*own, *(m for s in scopes for m in self.scopes[s].get("protocolMappers", []))]

    def token(self, username: str, client_id: str) -> Token:
        """The access token that the client gets for the user."""
        return self.token_for(username, self.clients[client_id], self._mapped[0].get(client_id, ()))

    def token_for(self, username: str, client: dict[str, Any], in_scope: Iterable[str]) -> Token:
        """The access token that a client gets which need not be in the file; `in_scope` are its own realm roles."""
        account = self.accounts[username]
        held = account.client_roles | {("", r) for r in account.roles}
        scopes = [s for s in self.offered(client) if not (gates := self.gates(s)) or gates & held]
        if client.get("fullScopeAllowed", True):
            allowed = account.roles
        else:
            inherited = {r for s in scopes for owner, r in self.gates(s) if not owner}
            allowed = account.roles & ({*in_scope} | inherited)
        subject, tenants, roles, audience = False, frozenset[str](), frozenset[str](), set[str]()
        for mapper in self.mappers(client, scopes):
            config, kind = mapper.get("config", {}), mapper.get("protocolMapper")
            if config.get("access.token.claim") != "true":
                continue
            if kind == "oidc-sub-mapper":
                subject = True
            elif kind == "oidc-audience-mapper":
                audience |= {config[k] for k in config if k.startswith("included.") and k.endswith(".audience")}
            elif kind == "oidc-usermodel-realm-role-mapper" and config.get("claim.name") == ROLES_CLAIM:
                roles = allowed
            elif config.get("claim.name") == TENANT_CLAIM:
                tenants = account.tenants
        named = {s for s in scopes if self.scopes[s].get("attributes", {}).get("include.in.token.scope") != "false"}
        return Token(subject, tenants, roles, frozenset(audience), frozenset(named))
