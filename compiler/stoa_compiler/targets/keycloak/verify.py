"""Verify: the realm read back, and the tokens that it would issue compared with the graph.

Nothing of `emit` is used here: a mistake there must not excuse itself.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any
from urllib.parse import urlsplit

from stoa_compiler.diagnostics import Note, Report, Rule, listed
from stoa_compiler.graph import Graph, Origin, PersonNode, TenantNode
from stoa_compiler.records import record
from stoa_compiler.source import Loc
from stoa_compiler.target import Artifact, Artifacts
from stoa_compiler.targets.keycloak import exact
from stoa_compiler.targets.keycloak.marks import GATE, MARK
from stoa_compiler.targets.keycloak.realm import Realm, Token
from stoa_compiler.targets.keycloak.rules import (
    AT_ODDS,
    COLLISION,
    NAME_REFUSED,
    OPEN_REDIRECT,
    PLACEHOLDER,
    PLATFORM_ROLE,
    ROLE_MISSING,
    SECRET,
    TOO_LONG,
    TOO_MANY_REALMS,
    TOO_OLD,
    UNDECLARED,
    UNMARKED,
    UNREADABLE,
    WEAKENED,
    WRONG_CLIENT,
    WRONG_ISSUER,
    WRONG_ORGANIZATION,
    WRONG_TOKEN,
)
from stoa_compiler.targets.keycloak.strategy import RealmPart, parts
from stoa_schemas.names import MCP_SCOPE, PLATFORM_TENANT, ROLES_CLAIM, TENANT_CLAIM


def verify(graph: Graph, environment: str, artifacts: Artifacts, report: Report) -> None:
    """Reads each realm back as Keycloak does, and compares the tokens that it would issue with the graph."""
    where = _at(graph.origin, "spec", "identity")
    identity = graph.platform.spec.identity
    judge_identity(graph, report)
    held = parts(graph, environment)
    if identity.strategy == "realm-per-tenant":
        tenants = {t.name for t in graph.tenants_in(environment)}
        if sorted(t.name for p in held for t in p.graph.tenants) != sorted(tenants):
            _unreadable(where, "not every tenant has one realm", report)
        judge_number(graph, len(tenants), report)
    for part in held:
        prove(part, environment, artifacts.get(part.path), report)


def judge_number(graph: Graph, realms: int, report: Report) -> None:
    """Tenants with a realm each are not too many for a server."""
    if realms >= MANY_REALMS:
        where = graph.origin.document.span(("spec", "identity", "strategy"))
        report.add(TOO_MANY_REALMS, where, f"{realms} tenants are as many realms")


def judge_identity(graph: Graph, report: Report) -> None:
    """What the declared server cannot do, and keys that would do nothing beside each other."""
    identity, document = graph.platform.spec.identity, graph.origin.document
    loc = ("spec", "identity")
    for index, feature in enumerate(identity.features):
        if identity.keycloak == "26.4":
            where = document.span((*loc, "features", index))
            note = Note("the version is declared here", document.span((*loc, "keycloak")))
            report.add(TOO_OLD, where, f"Keycloak 26.4 has no feature `{feature}`", [note])
        if feature in identity.features[:index]:
            report.add(AT_ODDS, document.span((*loc, "features", index)), f"`{feature}` is there twice")
    if identity.tenants == "organizations" and identity.strategy == "realm-per-tenant":
        said = "`tenants: organizations` is for one realm, and each tenant has its own"
        report.add(AT_ODDS, document.span((*loc, "tenants")), said)
    cimd = "cimd" in identity.features
    if cimd and not identity.metadata_hosts:
        where = document.span((*loc, "features", identity.features.index("cimd")))
        help_text = "Add `metadataHosts:` with the hosts whose applications may register themselves."
        report.add(AT_ODDS, where, "`cimd` trusts no host, so nobody could register", help=help_text)
    if identity.metadata_hosts and not cimd:
        said, help_text = "`metadataHosts` is for the feature `cimd`", "Add `features: [cimd]`, or leave the hosts out."
        report.add(AT_ODDS, document.span((*loc, "metadataHosts"), "key"), said, help=help_text)


MANY_REALMS = 300
"""Realms from which on a server is slow to start, to import and to administer."""


def prove(
    part: RealmPart, environment: str, found: Artifact | None, report: Report, small: bool = False
) -> Mapping[str, Any]:
    """Proves one realm's file by what it must come to, and gives what it was read as.

    In a `small` one each text is looked at, which takes less than to make ready for many.
    """
    where = _at(part.graph.origin, "spec", "identity")
    try:
        data = json.loads(found.content) if found else None
    except ValueError as error:
        _unreadable(where, f"`{part.path}` is not JSON: {error}", report)
        return {}
    if found is None or not isinstance(data, dict):
        _unreadable(where, f"`{part.path}` is not there, or not an object", report)
        return {}
    proof = _Proof(
        part.graph, environment, Realm(data), found.content.decode("utf-8", "replace"), report, part.platform, small
    )
    before = len(report.found)
    try:
        for check in _CHECKS:
            check(proof)
        if len(report.found) == before:
            _check_exactly(proof)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        _unreadable(where, f"`{part.path}` is not shaped like a realm: {error!r}", report)
    return data


def _unreadable(where: Origin, message: str, report: Report) -> None:
    report.add(UNREADABLE, where.document.span(where.loc), message)


@record(slots=False)
class _Declared:
    """A client as it was declared."""

    origin: Origin
    loc: Loc
    """Where the redirect URIs stand."""
    public: bool
    redirect_uris: Sequence[str]
    grant_types: Sequence[str]
    consent: bool
    owner: TenantNode | None
    """The tenant whose consumer it is; none for the platform's MCP clients."""
    roles: Sequence[str] = ()


@dataclass
class _Proof:
    """The graph and the realm side by side."""

    graph: Graph
    environment: str
    realm: Realm
    text: str
    """The realm's file."""
    report: Report
    platform_people: bool = True
    """Whether the platform's own people are in the realm."""
    small: bool = False
    """Whether each text is looked at."""

    @cached_property
    def tenants(self) -> Mapping[str, TenantNode]:
        return {t.name: t for t in self.graph.tenants if self.environment in t.declared.spec.environments}

    @cached_property
    def people(self) -> Mapping[str, PersonNode]:
        return {p.username: p for t in self.tenants.values() for p in t.people} | {
            p.username: p for p in self.graph.people
        }

    @cached_property
    def clients(self) -> Mapping[str, _Declared]:
        clients = {
            name: _Declared(
                origin=self.graph.origin,
                loc=("spec", "identity", "clients", name, "redirectUris"),
                public=True,
                redirect_uris=client.redirect_uris,
                grant_types=["authorization_code", "refresh_token"],
                consent=True,
                owner=None,
            )
            for name, client in self.graph.platform.spec.identity.clients.items()
        }
        for tenant in self.tenants.values():
            for consumer in tenant.consumers:
                spec = consumer.declared.spec
                clients[consumer.client_id] = _Declared(
                    origin=consumer.origin,
                    loc=("spec", "redirectUris"),
                    public=spec.client == "public",
                    redirect_uris=spec.redirect_uris,
                    grant_types=spec.grant_types,
                    consent=False,
                    owner=tenant,
                    roles=spec.roles,
                )
        return clients

    def add(self, rule: Rule, origin: Origin, message: str, notes: Sequence[Note] = ()) -> None:
        """Adds a finding. Spans are asked for only here, since a realm without any never needs them."""
        self.report.add(rule, origin.document.span(origin.loc), message, notes)

    def platform(self, *loc: str | int) -> Origin:
        """A place in the platform's document."""
        return _at(self.graph.origin, *loc)

    def written_at(self, kind: str, entry: Any, path: Loc) -> Origin:
        """Where the author wrote the text at `path` of an entry of the realm."""
        if kind == "displayName":
            return self.platform("spec", "displayName")
        if kind == "roles" and len(path) > 1 and isinstance(path[1], int):
            return self.platform("spec", "roles", entry["realm"][path[1]]["name"], "description")
        if not isinstance(entry, dict) or not path:
            return self.platform("spec", "identity")
        origin = self.origin_of(kind, entry)
        declared = _DECLARED_AS.get((kind, str(path[0])), ())
        if kind == "clients" and not origin.loc and declared:
            declared = ("spec", *declared)
        if kind == "groups" and entry.get("name") == PLATFORM_TENANT:
            origin = self.graph.origin
        return _at(origin, *declared)

    def origin_of(self, kind: str, entry: Mapping[str, Any]) -> Origin:
        """Where an entry of the realm was declared, as closely as its names tell."""
        if kind == "clients" and (client := self.clients.get(entry.get("clientId", ""))):
            return _at(client.origin, *(client.loc[:-1] if client.owner is None else ()))
        if kind == "users":
            if person := self.people.get(entry.get("username", "")):
                return _at(person.origin)
            if client := self.clients.get(entry.get("serviceAccountClientId", "")):
                return _at(client.origin)
        if kind == "groups" and (tenant := self.tenants.get(entry.get("name", ""))):
            return _at(tenant.origin)
        return self.platform("spec", "identity")


_DECLARED_AS: Mapping[tuple[str, str], Loc] = {
    ("clients", "name"): ("displayName",),
    ("clients", "description"): ("description",),
    ("clients", "redirectUris"): ("redirectUris",),
    ("groups", "description"): ("spec", "displayName"),
    ("users", "email"): ("email",),
    ("users", "firstName"): ("firstName",),
    ("users", "lastName"): ("lastName",),
}
"""What an author calls the keys whose text comes from the source, seen from where the entry is declared."""


def _at(origin: Origin, *loc: str | int) -> Origin:
    """A place below `origin`."""
    return Origin(origin.document, (*origin.loc, *loc))


_LIMIT = 255
_SECRET_KEY = re.compile(r"(?i)secret|credential|privatekey|certificate|password(?!policy)|registrationaccesstoken")


def _check_texts(proof: _Proof) -> None:
    """No placeholder, nothing longer than a column, no secret."""
    spec = proof.graph.platform.spec
    for kind, value in proof.realm.data.items() if proof.small or not _is_harmless(proof.text) else ():
        for entry in value if isinstance(value, list) else [value]:
            for path, text, is_key in _texts(entry):
                at = (kind, *path)
                if "${" in text:
                    proof.add(PLACEHOLDER, proof.written_at(kind, entry, path), f"`{_dotted(at)}` holds `${{`")
                if len(text) > _LIMIT and at[:2] != ("clients", "attributes"):
                    message = f"`{_dotted(at)}` has {len(text)} characters"
                    proof.add(TOO_LONG, proof.written_at(kind, entry, path), message)
                if is_key and _SECRET_KEY.search(text):
                    message = f"`{_dotted(at)}` is a secret's place"
                    proof.add(SECRET, proof.written_at(kind, entry, path), message)
        if _SECRET_KEY.search(kind):
            proof.add(SECRET, proof.platform("spec", "identity"), f"`{kind}` is a secret's place")
    realm = spec.identity.realm
    issuer = proof.graph.environment(proof.environment)
    exempt = issuer.development and spec.identity.strategy == "single-realm"
    if not exempt and not issuer.issuer.endswith(f"/realms/{realm}"):
        loc = ("spec", "environments", proof.environment, "issuer")
        proof.add(WRONG_ISSUER, proof.platform(*loc), f"`{issuer.issuer}` is not the realm `{realm}`")


def _is_harmless(text: str) -> bool:
    """Whether no text of the realm can be any of these, wherever it stands: nearly always so, and seen at once.

    A name that holds one of the words of `_SECRET_KEY` is a key before a colon; `passwordPolicy` is none of them.
    """
    return not _harm()(text.replace('"passwordPolicy":', "", 1))


@cache
def _harm() -> Callable[[str], bool]:
    """Tells whether a realm's file has a text to look at closely; the library's engine is fast with large ones."""
    import jsonschema_rs

    words = "secret|credential|privatekey|certificate|password|registrationaccesstoken"
    # A file in another encoding shows by NUL or by what stands for what is no UTF-8.
    pattern = rf"""[\x00\uFFFD]|\$\{{|\\u|(?:[^"\\]|\\.){{{_LIMIT + 1}}}|(?i:{words})[^"]*"\s*:"""
    return jsonschema_rs.Draft202012Validator(
        {"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions()
    ).is_valid


def _dotted(path: Loc) -> str:
    return ".".join(map(str, path))


def _texts(value: Any, path: Loc = ()) -> Iterator[tuple[Loc, str, bool]]:
    """Every string below `value` with its path, and whether it is a mapping's key."""
    if isinstance(value, str):
        yield path, value, False
    elif isinstance(value, dict):
        for key, child in value.items():
            here = (*path, key)
            yield here, key, True
            yield from _texts(child, here)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _texts(child, (*path, index))


_SETTINGS: Mapping[str, tuple[str, Any]] = {
    "enabled": ("is", True),
    "sslRequired": ("in", ("external", "all")),
    "registrationAllowed": ("is", False),
    "bruteForceProtected": ("is", True),
    "failureFactor": ("at most", 10),
    "accessTokenLifespan": ("at most", 900),
    "ssoSessionIdleTimeout": ("at most", 7200),
    "ssoSessionMaxLifespan": ("at most", 43200),
    "revokeRefreshToken": ("is", True),
    "refreshTokenMaxReuse": ("at most", 0),
    "eventsEnabled": ("is", True),
    "eventsExpiration": ("at most", 7776000),
    "adminEventsEnabled": ("is", True),
    "defaultSignatureAlgorithm": ("in", ("RS256",)),
}
_KEYS: Mapping[str, frozenset[str]] = {
    "realm": frozenset(_SETTINGS)
    | {"realm", "displayName", "attributes", "passwordPolicy", "roles", "groups", "users", "clients", "clientScopes"}
    | {"defaultDefaultClientScopes", "defaultOptionalClientScopes", "scopeMappings", "clientScopeMappings"}
    | {"clientProfiles", "clientPolicies", "maxSecondaryAuthFailures", "organizationsEnabled", "organizations"},
    # Keycloak's own clients among them are looked at by `_check_account`.
    "clients": frozenset({"clientId", "name", "description", "publicClient", "bearerOnly", "redirectUris"})
    | {"standardFlowEnabled", "implicitFlowEnabled", "directAccessGrantsEnabled", "serviceAccountsEnabled"}
    | {"fullScopeAllowed", "consentRequired", "webOrigins", "attributes"}
    | {"defaultClientScopes", "optionalClientScopes"},
    "users": frozenset({"username", "firstName", "lastName", "email", "emailVerified", "enabled", "groups"})
    | {"requiredActions", "realmRoles", "clientRoles", "serviceAccountClientId"},
    "groups": frozenset({"name", "description", "attributes", "realmRoles", "clientRoles", "subGroups"}),
    "clientScopes": frozenset({"name", "description", "protocol", "attributes", "protocolMappers"}),
}
"""What a realm of ours may say at all. Every other key gives somebody something that no declaration asked for."""


def _check_settings(proof: _Proof) -> None:
    """The realm is hardened, and says nothing that was not asked for."""
    data, where = proof.realm.data, proof.platform("spec", "identity")
    declared = proof.graph.platform.spec
    for key, (relation, bound) in _SETTINGS.items():
        value = data.get(key)
        if relation == "at most":
            sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= bound
        else:
            sound = value is bound if relation == "is" else value in bound
        if not sound:
            wanted = {"is": "", "in": "one of ", "at most": "at most "}[relation] + json.dumps(bound)
            proof.add(WEAKENED, where, f"`{key}` is {json.dumps(value)}; it must be {wanted}")
    length = re.search(r"(?:^|\s)length\((\d+)\)", str(data.get("passwordPolicy", "")))
    if length is None or int(length[1]) < 12:
        proof.add(WEAKENED, where, "`passwordPolicy` does not ask for 12 characters")
    _check_policies(proof)
    second = data.get("maxSecondaryAuthFailures")
    if declared.identity.keycloak == "26.4" and second is not None:
        proof.add(TOO_OLD, where, "Keycloak 26.4 would refuse `maxSecondaryAuthFailures`")
    elif declared.identity.keycloak != "26.4" and not (type(second) is int and 0 < second <= 20):
        proof.add(WEAKENED, where, f"`maxSecondaryAuthFailures` is {json.dumps(second)}; it must be 1 to 20")
    if data.get("realm") != declared.identity.realm:
        proof.add(UNDECLARED, where, f"the realm is called `{data.get('realm')}`")
    if declared.identity.realm == "master":
        proof.add(COLLISION, where, "`master` is the realm of Keycloak's own administrators")
    for key in sorted(set(data) - _KEYS["realm"]):
        proof.add(UNDECLARED, where, f"the realm sets `{key}`")
    for kind in ("clients", "users", "groups", "clientScopes"):
        entries = [line[-1] for line in proof.realm.lines.values()] if kind == "groups" else data.get(kind, [])
        for entry in entries:
            if kind == "clients" and entry.get("clientId") in _ACCOUNT:
                continue
            if stray := sorted(set(entry) - _KEYS[kind]):
                who = entry.get("clientId") or entry.get("username") or entry.get("name")
                proof.add(UNDECLARED, proof.origin_of(kind, entry), f"`{who}` in `{kind}` sets {listed(stray)}")


def _check_policies(proof: _Proof) -> None:
    """One policy that is on holds every client to PKCE, and off the implicit flow and the password grant."""
    where, data = proof.platform("spec", "identity"), proof.realm.data
    profiles = {p["name"]: p for p in data.get("clientProfiles", {}).get("profiles", [])}
    enforced: set[str] = set()
    for policy in data.get("clientPolicies", {}).get("policies", []):
        anybody = policy.get("conditions") == [{"condition": "any-client", "configuration": {}}]
        if policy.get("enabled") is True and anybody:
            for name in policy.get("profiles", []):
                for executor in profiles.get(name, {}).get("executors", []):
                    if executor.get("configuration", {}).get("auto-configure") is True:
                        enforced.add(executor.get("executor", ""))
    for executor in ("pkce-enforcer", "reject-implicit-grant", "reject-ropc-grant"):
        if executor not in enforced:
            proof.add(WEAKENED, where, f"no policy holds every client to `{executor}`")


def _check_registering(proof: _Proof) -> None:
    """Whoever registers by a document comes from a trusted host, and gets tokens that say no more than Claude's.

    What every later client is given is compared too: without `cimd` nothing of the gateway's.
    """
    data, where, identity = proof.realm.data, proof.platform("spec", "identity"), proof.graph.platform.spec.identity
    cimd = "cimd" in identity.features
    given, asked = data.get("defaultDefaultClientScopes"), data.get("defaultOptionalClientScopes")
    built_in = {"acr", "basic", "email", "profile", "roles", "web-origins"}
    if set(given or ()) - (built_in | ({"stoa-roles", "stoa-tenant"} if cimd else set())) or not built_in <= set(
        given or ()
    ):
        proof.add(UNDECLARED, where, f"later clients are given {listed(sorted(given or ()))}")
    if asked != ([MCP_SCOPE] if cimd else []):
        proof.add(UNDECLARED, where, f"later clients may ask for {listed(sorted(asked or ())) or 'all that there is'}")
    profiles = {p["name"]: p for p in data.get("clientProfiles", {}).get("profiles", [])}
    policies = {p["name"]: p for p in data.get("clientPolicies", {}).get("policies", [])}
    names = {"stoa", "stoa-cimd"} if cimd else {"stoa"}
    if set(profiles) != names or set(policies) != names:
        proof.add(UNDECLARED, where, f"the realm has the client policies {listed(sorted(policies))}")
        return
    executors = {
        e.get("executor"): e.get("configuration", {}) for p in profiles.values() for e in p.get("executors", [])
    }
    if (
        set(executors)
        - {"pkce-enforcer", "reject-implicit-grant", "reject-ropc-grant"}
        - ({"client-id-metadata-document", "full-scope-disabled", "consent-required"} if cimd else set())
    ):
        proof.add(UNDECLARED, where, f"client profiles hold {listed(sorted(map(str, executors)))}")
    if not cimd:
        return
    development = proof.graph.environment(proof.environment).development
    hosts = sorted(set(identity.metadata_hosts))
    document = executors.get("client-id-metadata-document", {})
    wanted = {
        "cimd-allow-permitted-domains": hosts,
        "cimd-allow-http-scheme": development,
        "cimd-restrict-same-domain": True,
        "cimd-required-properties": ["client_name", "redirect_uris"],
    }
    conditions = [
        {
            "condition": "client-id-uri",
            "configuration": {
                "client-id-uri-scheme": ["http", "https"] if development else ["https"],
                "client-id-uri-allow-permitted-domains": hosts,
            },
        }
    ]
    policy = policies["stoa-cimd"]
    if document != wanted or policy.get("conditions") != conditions or policy.get("profiles") != ["stoa-cimd"]:
        proof.add(WEAKENED, where, "not only applications of the declared hosts can register by a document")
    if policy.get("enabled") is not True:
        proof.add(WEAKENED, where, "the policy of applications that register by a document is off")
    for executor in ("full-scope-disabled", "consent-required"):
        if executors.get(executor) != {"auto-configure": True}:
            proof.add(WEAKENED, where, f"applications that register by a document are not held to `{executor}`")
    stranger = {"fullScopeAllowed": False, "defaultClientScopes": given or [], "optionalClientScopes": asked or []}
    audience = frozenset({proof.graph.environment(proof.environment).gateway.rstrip("/") + "/mcp"})
    for username, person in sorted(proof.people.items()):
        if username in proof.realm.users:
            token = proof.realm.token_for(username, stranger, ())
            if said := _disagreement(token, {person.tenant}, set(person.roles), audience):
                message = f"a token of `{username}` for an application that registered itself {said}"
                proof.add(WRONG_TOKEN, _at(person.origin), message)
                return


def _check_organizations(proof: _Proof) -> None:
    """There is an Organization for each tenant with its own people, where that is declared, and none else."""
    data, identity = proof.realm.data, proof.graph.platform.spec.identity
    wanted = identity.tenants == "organizations" and identity.strategy == "single-realm"
    where = proof.platform("spec", "identity")
    if data.get("organizationsEnabled", False) is not wanted:
        proof.add(
            WRONG_ORGANIZATION, where, f"`organizationsEnabled` is {json.dumps(data.get('organizationsEnabled'))}"
        )
    found: dict[str, dict[str, Any]] = {}
    for organization in data.get("organizations", []):
        name = organization["name"]
        if name in found or name not in proof.tenants or not wanted:
            proof.add(WRONG_ORGANIZATION, where, f"the realm has the Organization `{name}`")
        found[name] = organization
    for name, tenant in proof.tenants.items() if wanted else ():
        organization = found.get(name)
        if organization is None:
            proof.add(WRONG_ORGANIZATION, _at(tenant.origin), f"the realm lacks the Organization `{name}`")
            continue
        members = organization.get("members", [])
        if sorted(m.get("username", "") for m in members) != sorted(p.username for p in tenant.people):
            said = f"has the members {listed(sorted(str(m.get('username')) for m in members)) or 'nobody'}"
            proof.add(WRONG_ORGANIZATION, _at(tenant.origin), f"the Organization `{name}` {said}")
        if any(set(m) != {"username", "membershipType"} or m["membershipType"] != "UNMANAGED" for m in members):
            said = f"accounts belong to the Organization `{name}`, and would go with it"
            proof.add(WRONG_ORGANIZATION, _at(tenant.origin), said)
        rest = {k: v for k, v in organization.items() if k != "members"}
        declared = {
            "name": name,
            "alias": name,
            "description": tenant.declared.spec.display_name,
            "enabled": True,
            "attributes": {MARK: [name], TENANT_CLAIM: [name]},
        }
        if rest != declared:
            odd = sorted(k for k in {*rest, *declared} if rest.get(k) != declared.get(k))
            proof.add(WRONG_ORGANIZATION, _at(tenant.origin), f"the Organization `{name}` differs in {listed(odd)}")


def _check_roles(proof: _Proof) -> None:
    """Every role that gives a tool is there, and no role of the platform is in a tenant's hands."""
    spec, realm = proof.graph.platform.spec, proof.realm
    for name in sorted(set(spec.roles) - realm.realm_roles):
        proof.add(ROLE_MISSING, proof.platform("spec", "roles", name), f"the realm lacks the role `{name}`")
    for tenant in proof.tenants.values():
        for role in sorted({r for r, tools in tenant.access.items() if tools} - realm.realm_roles - set(spec.roles)):
            proof.add(ROLE_MISSING, _at(tenant.origin), f"tools of `{tenant.name}` need the role `{role}`")
    for role in realm.data.get("roles", {}).get("realm", []):
        where = proof.platform("spec", "roles", role["name"])
        if role["name"] not in spec.roles:
            proof.add(UNDECLARED, where, f"the realm has the role `{role['name']}`")
        if stray := sorted(set(role) - {"name", "description", "attributes"}):
            proof.add(UNDECLARED, where, f"the role `{role['name']}` sets {listed(stray)}")
        if role["name"] == f"default-roles-{spec.identity.realm}":
            proof.add(COLLISION, where, f"Keycloak gives its own role `{role['name']}` to everybody")
    for path, line in realm.lines.items():
        for role_name in line[-1].get("realmRoles", []):
            tenant_node = proof.tenants.get(line[0]["name"])
            if tenant_node and (role_name not in spec.roles or spec.roles[role_name].scope == "platform"):
                group = next((g for g in tenant_node.groups if g.name == line[-1]["name"]), None)
                where = _at(group.origin, "roles") if group else _at(tenant_node.origin)
                proof.add(PLATFORM_ROLE, where, f"the group `{path}` holds the platform's role `{role_name}`")
    for name, user in realm.users.items():
        if realm.accounts[name].tenants != {PLATFORM_TENANT}:
            for role_name in user.get("realmRoles", []):
                if role_name not in spec.roles or spec.roles[role_name].scope == "platform":
                    message = f"`{name}` holds the platform's role `{role_name}`"
                    proof.add(PLATFORM_ROLE, proof.origin_of("users", user), message)


_PROHIBITED = re.compile(r'[<>&"$%!#?§;*~/\\|^=\[\]{}()\x00-\x1f\x7f]')
"""What the user profile of a new realm refuses in a person's name."""


def _check_people(proof: _Proof) -> None:
    """The people and groups are those declared, each under a name of its own."""
    realm = proof.realm
    service = {f"service-account-{c}": d for c, d in proof.clients.items() if "client_credentials" in d.grant_types}
    everyone = [*proof.graph.people, *(p for t in proof.tenants.values() for p in t.people)]
    judge_names(everyone, proof.report)
    for person in everyone:
        if person.username.startswith("service-account-"):
            where, message = _at(person.origin), f"`{person.username}` is a name for an application's account"
            proof.add(COLLISION, where, message)
        for key in ("firstName", "lastName"):
            if _PROHIBITED.search(realm.users.get(person.username, {}).get(key, "")):
                proof.add(NAME_REFUSED, _at(person.origin, key), f"Keycloak refuses the `{key}` of `{person.username}`")
        if person.username not in realm.users:
            proof.add(UNDECLARED, _at(person.origin), f"the realm lacks `{person.username}`")
    for name in sorted(set(realm.users) - set(proof.people) - set(service)):
        where = proof.origin_of("users", realm.users[name])
        proof.add(UNDECLARED, where, f"the realm has the account `{name}`")
    for name, user in realm.users.items():
        own = {"account": {"manage-account", "view-profile"}, GATE: {MARK}} if name in proof.people else {}
        given = {client: set(roles) for client, roles in user.get("clientRoles", {}).items()}
        if any(roles - own.get(client, set()) for client, roles in given.items()):
            proof.add(UNDECLARED, proof.origin_of("users", user), f"`{name}` holds roles of {listed(sorted(given))}")
        linked = user.get("serviceAccountClientId")
        if linked is not None and name != f"service-account-{linked}":
            proof.add(UNDECLARED, proof.origin_of("users", user), f"`{name}` is the account of `{linked}`")
    expected: dict[str, frozenset[str]] = {}
    for tenant, groups in (
        *([(PLATFORM_TENANT, proof.graph.groups)] if proof.platform_people else []),
        *((t.name, t.groups) for t in proof.tenants.values()),
    ):
        expected |= {f"/{tenant}": frozenset()} | {f"/{tenant}/{g.name}": frozenset(g.roles) for g in groups}
    actual = {path: frozenset(line[-1].get("realmRoles", [])) for path, line in realm.lines.items()}
    for path in sorted(set(expected) | set(actual)):
        if expected.get(path) != actual.get(path):
            owner = proof.tenants.get(path.split("/")[1])
            where = _at(owner.origin if owner else proof.graph.origin, "spec", "groups", *path.split("/")[2:])
            said = "is not there" if path not in actual else f"gives {listed(sorted(actual[path])) or 'no role'}"
            proof.add(UNDECLARED, where, f"the group `{path}` {said}")


def judge_names(everyone: Sequence[PersonNode], report: Report) -> None:
    """No two people of a realm have one user name or one e-mail address."""
    for names, what in (
        ([(p.username.lower(), p) for p in everyone], "user name"),
        ([(p.email.lower(), p) for p in everyone], "e-mail address"),
    ):
        first: dict[str, PersonNode] = {}
        for name, person in names:
            if (other := first.setdefault(name, person)) is not person:
                # The other one may be another tenant's: its place is not this author's to see.
                notes = (
                    [Note("declared here first", other.origin.document.span(other.origin.loc))]
                    if other.tenant == person.tenant
                    else []
                )
                where = person.origin.document.span(person.origin.loc)
                report.add(COLLISION, where, f"the {what} `{name}` is taken", notes)


_BUILT_IN_CLIENTS = frozenset(
    {"account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console"}
)
_CLIENT_ATTRIBUTES = frozenset({"pkce.code.challenge.method", "use.refresh.tokens", "stoa.actors", MARK})
_MAPPERS = frozenset(
    {
        "oidc-audience-mapper",
        "oidc-full-name-mapper",
        "oidc-sub-mapper",
        "oidc-usermodel-attribute-mapper",
        "oidc-usermodel-property-mapper",
        "oidc-usermodel-realm-role-mapper",
        "oidc-usersessionmodel-note-mapper",
    }
)


def _check_clients(proof: _Proof) -> None:
    """Every client has the flows and addresses that were declared, and no others."""
    seen: set[str] = set()
    audience = proof.graph.environment(proof.environment).gateway.rstrip("/") + "/mcp"
    resources = "resource-indicators" in proof.graph.platform.spec.identity.features
    if resources and audience not in proof.realm.clients:
        said = "the gateway's address is no resource that a token could be asked for"
        proof.add(WRONG_CLIENT, proof.platform("spec", "identity"), said)
    for client in proof.realm.data.get("clients", []):
        client_id = client["clientId"]
        if client_id in _ACCOUNT and client_id not in seen:
            seen.add(client_id)
            _check_account(proof, client)
            continue
        if client_id in seen or client_id in _BUILT_IN_CLIENTS:
            owner = "another client" if client_id in seen else "Keycloak"
            proof.add(COLLISION, proof.origin_of("clients", client), f"`{client_id}` is a client of {owner}")
        seen.add(client_id)
        flows = ("standardFlowEnabled", "implicitFlowEnabled", "directAccessGrantsEnabled", "serviceAccountsEnabled")
        if client_id == audience and resources:
            alone = client.get("attributes", {}).get("resource_url") == audience and client.get("bearerOnly") is True
            if not alone or any(client.get(flow) is not False for flow in flows):
                said = f"`{client_id}` does not stand for the gateway alone"
                proof.add(WRONG_CLIENT, proof.platform("spec", "identity"), said)
        elif "resource_url" in client.get("attributes", {}):
            said = f"`{client_id}` stands for the resource of an address"
            proof.add(UNDECLARED, proof.origin_of("clients", client), said)
        if client_id not in proof.clients and any(client.get(flow) is not False for flow in flows):
            proof.add(UNDECLARED, proof.origin_of("clients", client), f"the realm has the client `{client_id}`")
    for client_id, declared in proof.clients.items():
        if client_id not in proof.realm.clients:
            proof.add(WRONG_CLIENT, _at(declared.origin), f"the realm lacks the client `{client_id}`")
        else:
            _check_client(proof, client_id, declared)


_ACCOUNT = ("account", "account-console")
_ACCOUNT_KEYS = frozenset({"clientId", "baseUrl", "redirectUris", "attributes", "protocolMappers", "publicClient"}) | {
    "standardFlowEnabled",
    "implicitFlowEnabled",
    "directAccessGrantsEnabled",
    "serviceAccountsEnabled",
    "fullScopeAllowed",
    "defaultClientScopes",
    "optionalClientScopes",
}


def _check_account(proof: _Proof, client: dict[str, Any]) -> None:
    """Keycloak's own clients for accounts stay within the server, and carry nothing of ours."""
    client_id, where = client["clientId"], proof.platform("spec", "identity")
    home = f"/realms/{proof.realm.data.get('realm')}/account/"
    wrong = [
        key
        for key, value in {
            "baseUrl": home,
            "redirectUris": [f"{home}*"],
            "fullScopeAllowed": False,
            "implicitFlowEnabled": False,
            "directAccessGrantsEnabled": False,
            "serviceAccountsEnabled": False,
            "optionalClientScopes": [],
        }.items()
        if client.get(key) != value
    ]
    wrong += sorted(set(client) - _ACCOUNT_KEYS)
    if not set(client.get("attributes", {}).items()) <= {("pkce.code.challenge.method", "S256")}:
        wrong.append("attributes")
    if {m.get("protocolMapper") for m in client.get("protocolMappers", [])} - {"oidc-audience-resolve-mapper"}:
        wrong.append("protocolMappers")
    own = {"acr", "basic", "email", "profile", "roles", "web-origins"}
    if not set(client.get("defaultClientScopes", [])) <= own:
        wrong.append("defaultClientScopes")
    if wrong:
        proof.add(UNDECLARED, where, f"Keycloak's own `{client_id}` differs in {listed(wrong)}")


def _check_client(proof: _Proof, client_id: str, declared: _Declared) -> None:
    client = proof.realm.clients[client_id]
    where = proof.origin_of("clients", client)
    attributes = client.get("attributes", {})
    code = "authorization_code" in declared.grant_types
    expected: dict[str, Any] = {
        "publicClient": declared.public,
        "bearerOnly": False,
        "standardFlowEnabled": code,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": "client_credentials" in declared.grant_types,
        "fullScopeAllowed": False,
        "consentRequired": declared.consent,
    }
    actual = {"bearerOnly": False, **client}
    for key, value in expected.items():
        if actual.get(key) is not value:
            message = f"`{client_id}` has `{key}` {json.dumps(actual.get(key))}, not {json.dumps(value)}"
            proof.add(WRONG_CLIENT, where, message)
    if code and attributes.get("pkce.code.challenge.method") != "S256":
        proof.add(WRONG_CLIENT, where, f"`{client_id}` does not demand PKCE with S256")
    if code and (attributes.get("use.refresh.tokens", "true") == "true") != ("refresh_token" in declared.grant_types):
        proof.add(WRONG_CLIENT, where, f"`{client_id}` and its declaration disagree on refresh tokens")
    if stray := sorted(set(attributes) - _CLIENT_ATTRIBUTES):
        proof.add(UNDECLARED, where, f"`{client_id}` sets {listed(stray)}")
    asked, given = client.get("optionalClientScopes"), set(client.get("defaultClientScopes", []))
    if asked != [] or "offline_access" in given:
        more = sorted({*(asked or ["the realm's default"]), *(given & {"offline_access"})})
        proof.add(WRONG_CLIENT, where, f"`{client_id}` can ask for {listed(more)}")
    uris = client.get("redirectUris", [])
    if sorted(uris) != sorted(declared.redirect_uris):
        message = f"`{client_id}` is sent back to {listed(sorted(uris)) or 'nowhere'}"
        proof.add(WRONG_CLIENT, _at(declared.origin, *declared.loc), message)
    for uri in uris:
        if reason := _unsafe(uri):
            index = list(declared.redirect_uris).index(uri) if uri in declared.redirect_uris else 0
            proof.add(OPEN_REDIRECT, _at(declared.origin, *declared.loc, index), f"`{uri}` {reason}")
    origins = {f"{u.scheme}://{u.netloc}" for u in map(urlsplit, declared.redirect_uris)} if declared.public else set()
    if stray := sorted(set(client.get("webOrigins", [])) - origins):
        proof.add(WRONG_CLIENT, where, f"`{client_id}` lets pages of {listed(stray)} read its tokens")
    if "webOrigins" not in client:
        proof.add(WRONG_CLIENT, where, f"`{client_id}` leaves it to the server whose pages read its tokens")


def _unsafe(uri: str) -> str | None:
    """Why a redirect URI lets someone else collect the code; None where it does not."""
    if "*" in uri:
        return "holds a wildcard"
    if not uri.isascii() or not uri.isprintable() or re.search(r"[\s\\<>\"^`{|}]", uri):
        return "holds a character that a URL cannot"
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return "is not a URL"
    if parts.fragment or uri.endswith("#"):
        return "has a fragment"
    if "@" in parts.netloc:
        return "has a user"
    if "." in (segments := parts.path.lower().replace("%2e", ".").split("/")) or ".." in segments:
        return "walks up its path"
    if not host:
        return "has no host"
    if parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost")):
        return None
    return "is not https"


def _check_mappers(proof: _Proof) -> None:
    """Tenant and roles are written by one kind of mapper each, in full; no other mapper says who someone is."""
    offered = {
        s: c for c in proof.clients if c in proof.realm.clients for s in proof.realm.offered(proof.realm.clients[c])
    }
    where = proof.platform("spec", "identity")
    settings = {
        TENANT_CLAIM: {"user.attribute": TENANT_CLAIM, "aggregate.attrs": "true", "multivalued": "true"},
        ROLES_CLAIM: {"multivalued": "true"},
    }
    kinds = {TENANT_CLAIM: "oidc-usermodel-attribute-mapper", ROLES_CLAIM: "oidc-usermodel-realm-role-mapper"}
    for name in sorted(offered):
        for mapper in proof.realm.scopes[name].get("protocolMappers", []):
            config, kind = mapper.get("config", {}), mapper.get("protocolMapper")
            claim = str(config.get("claim.name", "")).split(".")[0]
            if kind not in _MAPPERS:
                proof.add(UNDECLARED, where, f"the scope `{name}` has a mapper `{kind}`")
            elif claim in kinds or kind == "oidc-usermodel-realm-role-mapper":
                wanted = settings.get(claim, {})
                wrong = sorted(k for k, v in wanted.items() if config.get(k) != v)
                if kinds.get(claim) != kind or config["claim.name"] != claim or wrong:
                    said = f"differs in {listed(wrong)}" if wrong else "is not the one that is wanted"
                    message = f"the mapper of `{config.get('claim.name')}` in the scope `{name}` {said}"
                    proof.add(WRONG_TOKEN, where, message)


def _check_tokens(proof: _Proof) -> None:
    """Every token that a person or an application can get says what the graph says of them."""
    environment = proof.graph.environment(proof.environment)
    audience = frozenset({environment.gateway.rstrip("/") + "/mcp"})
    realm = proof.realm
    holders: dict[tuple[str, str], set[str]] = {}
    for username, account in realm.accounts.items():
        for role in (*account.client_roles, *(("", r) for r in account.roles)):
            holders.setdefault(role, set()).add(username)
    for client_id, declared in proof.clients.items():
        client = realm.clients.get(client_id)
        if client is None:
            continue
        mismatches: list[tuple[Origin, str]] = []
        if "authorization_code" in declared.grant_types:
            for username in sorted(_signing_in(proof, client, declared, holders)):
                person = proof.people[username]
                if username in realm.users:
                    home = declared.owner is None or declared.owner.name == person.tenant
                    token = realm.token(username, client_id)
                    said = _disagreement(
                        token, {person.tenant} if home else set(), set(person.roles) if home else set(), audience
                    )
                    if said:
                        mismatches.append((_at(person.origin), f"a token of `{username}` for `{client_id}` {said}"))
        if "client_credentials" in declared.grant_types and declared.owner is not None:
            username = f"service-account-{client_id}"
            said = "cannot be had: the account is missing"
            if username in realm.users:
                token = realm.token(username, client_id)
                said = _disagreement(token, {declared.owner.name}, set(declared.roles), audience)
            if said:
                mismatches.append((_at(declared.origin), f"a token of `{client_id}` itself {said}"))
        if mismatches:
            where, message = mismatches[0]
            more = [Note(f"{len(mismatches) - 1} more tokens for `{client_id}` are wrong")] if mismatches[1:] else []
            proof.add(WRONG_TOKEN, where, message, more)


def _signing_in(
    proof: _Proof, client: dict[str, Any], declared: _Declared, holders: Mapping[tuple[str, str], set[str]]
) -> set[str]:
    """The people whose tokens for the client can say anything: its own, and whoever passes a scope's gate.

    With a thousand tenants not every pair can be tried. A client of a tenant whose claims all stand behind gates
    says nothing of the people without the gates' roles; one claim in the open, and everybody is tried.
    """
    if declared.owner is None:
        return set(proof.people)
    people = {p.username for p in declared.owner.people}
    for scope in proof.realm.offered(client):
        claims = {m.get("config", {}).get("claim.name") for m in proof.realm.scopes[scope].get("protocolMappers", [])}
        if claims & {TENANT_CLAIM, ROLES_CLAIM}:
            gates = proof.realm.gates(scope)
            people |= {u for g in gates for u in holders.get(g, ())} if gates else set(proof.people)
    return people & set(proof.people)


def _disagreement(token: Token, tenants: set[str], roles: set[str], audience: frozenset[str]) -> str | None:
    """What the token says wrongly; None where it says what it should."""
    if not token.subject:
        return "has no `sub`"
    for claim, actual, wanted in (
        (TENANT_CLAIM, token.tenants, tenants),
        (ROLES_CLAIM, token.roles, roles),
        ("aud", token.audience, audience),
    ):
        if actual != wanted:
            return f"has {listed(sorted(actual)) or 'nothing'} in `{claim}`, not {listed(sorted(wanted)) or 'nothing'}"
    return None if MCP_SCOPE in token.scopes else f"lacks the scope `{MCP_SCOPE}`"


def _check_marks(proof: _Proof) -> None:
    """Everything says who declared it, or `stoa reconcile` would never take it back."""
    data, platform = proof.realm.data, PLATFORM_TENANT
    where = proof.platform("spec", "identity")
    for client_id, client in proof.realm.clients.items():
        if client_id in _ACCOUNT:
            continue
        declared = proof.clients.get(client_id)
        owner = declared.owner.name if declared and declared.owner else platform
        if client.get("attributes", {}).get(MARK) != owner:
            proof.add(UNMARKED, proof.origin_of("clients", client), f"`{client_id}` is not marked as `{owner}`'s")
    for path, line in proof.realm.lines.items():
        if line[-1].get("attributes", {}).get(MARK) != [line[0]["name"]]:
            origin = proof.origin_of("groups", line[0])
            proof.add(UNMARKED, origin, f"the group `{path}` is not marked as `{line[0]['name']}`'s")
    for role in data.get("roles", {}).get("realm", []):
        if role.get("attributes") != {MARK: [platform]}:
            proof.add(UNMARKED, where, f"the role `{role['name']}` is not marked, or has attributes besides")
    for name, scope in proof.realm.scopes.items():
        owners = {role for client, role in proof.realm.gates(name) if client == GATE} or {platform}
        if scope.get("attributes", {}).get(MARK) not in owners:
            said = f"the client scope `{name}` is not marked as {listed(sorted(owners))}'s"
            proof.add(UNMARKED, where, said)
    if MARK not in {r["name"] for r in data.get("roles", {}).get("client", {}).get(GATE, [])}:
        proof.add(UNMARKED, where, f"`{GATE}` lacks the role `{MARK}`, by which people are marked")
    for name in sorted(set(proof.realm.users) & set(proof.people)):
        if (GATE, MARK) not in proof.realm.accounts[name].client_roles:
            proof.add(UNMARKED, _at(proof.people[name].origin), f"`{name}` is not marked")


def _check_exactly(proof: _Proof) -> None:
    """Every entry reads as it must. Only where nothing else was found: what is wrong has then been said better."""
    wanted = exact.entries(proof.graph, proof.environment, proof.platform_people)
    for kind, name, key in exact.differences(wanted, exact.found(proof.realm.data)):
        entry = {"clients": "clientId", "users": "username", "groups": "name"}.get(kind)
        where = proof.origin_of(kind, {entry: name}) if entry else proof.platform("spec", "identity")
        said = f"`{key}` of `{name}`" if key else f"`{name}`"
        proof.add(UNDECLARED, where, f"{said} in `{kind}` is not as it must be")
    for client_id, entry_wanted in exact.account_clients(str(proof.realm.data.get("realm"))).items():
        if proof.realm.clients.get(client_id) != entry_wanted:
            where = proof.platform("spec", "identity")
            proof.add(UNDECLARED, where, f"Keycloak's own `{client_id}` is not as it must be")


_CHECKS = (
    _check_texts,
    _check_settings,
    _check_registering,
    _check_organizations,
    _check_roles,
    _check_people,
    _check_clients,
    _check_mappers,
    _check_tokens,
    _check_marks,
)
