"""Where the values of a rendered realm come from."""

from collections.abc import Iterator
from typing import Any

from stoa_compiler.graph import ConsumerNode
from stoa_compiler.provenance.model import Cause, Origins, Place, Seen, Table, fixed, made
from stoa_compiler.provenance.places import Places
from stoa_compiler.targets.keycloak.marks import BUILT_IN, GATE
from stoa_schemas.names import PLATFORM_TENANT

_TENANT_SCOPE = "stoa-tenant-"


def realm_name(places: Places, realm: str) -> Iterator[Place]:
    """What a realm is called after: the platform's realm, and with a realm for each tenant the tenant."""
    yield places.platform("identity", "realm")
    yield from places.tenant_name(realm_tenant(places, realm))


def realm_tenant(places: Places, realm: str) -> str:
    """Whose realm it is; where one holds all, the platform's."""
    own = places.graph.platform.spec.identity.realm
    return realm.removeprefix(f"{own}-") if places.separate and realm != own else PLATFORM_TENANT


def _whose(seen: Seen) -> str:
    return realm_tenant(seen.places, str(seen.at("realm")))


def _realm(seen: Seen) -> Origins:
    return realm_name(seen.places, str(seen.at("realm")))


# Roles and groups


def _role(seen: Seen) -> str:
    return str(seen.at("roles", "realm", seen.pointer[2], "name"))


def _group(seen: Seen) -> str:
    """The tenant of a top group."""
    return str(seen.at("groups", seen.pointer[1], "name"))


def _subgroup(seen: Seen) -> str:
    return str(seen.at(*seen.pointer[:4], "name"))


def _consumers_of(seen: Seen, tenant: str) -> Iterator[Place]:
    """A consumer of the tenant: without any, there is no gate for it."""
    for consumer in seen.places.node(tenant).consumers:
        yield seen.places.name_of(consumer)


def _group_role(seen: Seen) -> Origins:
    return seen.places.items(seen.places.owner(_group(seen), "groups", _subgroup(seen), "roles"), seen.value)


def _is_platform(seen: Seen) -> bool:
    return bool(seen.value == PLATFORM_TENANT)


# People


def _user(seen: Seen) -> str:
    return str(seen.at("users", seen.pointer[1], "username"))


def _account(seen: Seen) -> ConsumerNode | None:
    """The consumer whose account it is; None for a person."""
    client = seen.at("users", seen.pointer[1], "serviceAccountClientId")
    found = seen.places.consumer(str(client)) if client is not None else None
    return found[1] if found else None


def _person(*loc: str) -> Any:
    return lambda seen: [seen.places.person(_user(seen), *loc)]


def _user_group(seen: Seen) -> Origins:
    tenant, _, group = str(seen.value).removeprefix("/").partition("/")
    yield from seen.places.tenant_name(tenant)
    if group:
        declared = seen.places.owner(tenant, "groups", group)
        yield Place(declared.document, declared.loc, "key")
        yield seen.places.memberships(tenant, _user(seen), group=group)


# Clients


def _client(seen: Seen) -> str:
    return str(seen.at(*seen.pointer[:2], "clientId"))


def _consumer(seen: Seen) -> ConsumerNode | None:
    found = seen.places.consumer(_client(seen))
    return found[1] if found else None


def _is_built_in(seen: Seen) -> bool:
    return _client(seen) in (*BUILT_IN, GATE)


def _of_client(key: str) -> Any:
    """A key that both consumers and the platform's clients have."""

    def found(seen: Seen) -> Origins:
        consumer = _consumer(seen)
        if consumer is not None:
            return [seen.places.of(consumer, key)]
        return [seen.places.platform("identity", "clients", _client(seen), key)]

    return found


def _is_consumer(seen: Seen) -> bool:
    return _consumer(seen) is not None


def _grant_type(kind: str) -> Any:
    def found(seen: Seen) -> Origins:
        consumer = _consumer(seen)
        assert consumer is not None
        return seen.places.items(seen.places.of(consumer, "grantTypes"), kind)

    return found


def _redirects(seen: Seen) -> Origins:
    (listed,) = _of_client("redirectUris")(seen)
    return seen.places.items(listed, seen.value)


def _origins(seen: Seen) -> Origins:
    """The redirect URIs that have the origin; a confidential client has none."""
    (listed,) = _of_client("redirectUris")(seen)
    uris = seen.near(2, "redirectUris") if seen.value else []
    if not seen.value:
        consumer = _consumer(seen)
        assert consumer is not None
        return [seen.places.of(consumer, "client")]
    node = listed.document.data
    for step in listed.loc:
        node = node[step]
    mine = [i for i, u in enumerate(node) if u in uris and (u + "/").startswith(str(seen.value) + "/")]
    return [Cause(tuple(Place(listed.document, (*listed.loc, i)) for i in mine), together=True)]


def _actors(seen: Seen) -> Origins:
    consumer = _consumer(seen)
    assert consumer is not None
    for index in range(len(consumer.declared.spec.actors)):
        yield seen.places.of(consumer, "actors", index, "kind")
        yield seen.places.of(consumer, "actors", index, "name")


def _owner(seen: Seen) -> Origins:
    found = seen.places.consumer(_client(seen))
    return seen.places.tenant_name(found[0].name) if found else ()


def _scope_of_tenant(seen: Seen) -> str | None:
    name = str(seen.value)
    return name.removeprefix(_TENANT_SCOPE) if name.startswith(_TENANT_SCOPE) else None


def _mapped_role(seen: Seen) -> Origins:
    """A role that may be in a client's tokens: of the role table, or of the consumer's own account."""
    client = str(seen.at("scopeMappings", seen.pointer[1], "client"))
    found = seen.places.consumer(client)
    key = seen.places.platform_key("roles", str(seen.value))
    if found is not None and "authorization_code" not in found[1].declared.spec.grant_types:
        return [*seen.places.items(seen.places.of(found[1], "roles"), seen.value)]
    return [key]


def _is_resource(seen: Seen) -> bool:
    """The client that stands for the MCP endpoint's address."""
    return seen.at(*seen.pointer[:2], "attributes", "resource_url") is not None


def _feature(name: str) -> Any:
    """The feature in the list that switches something on, or the list."""

    def found(seen: Seen) -> Origins:
        return seen.places.items(seen.places.platform("identity", "features"), name)

    return found


def _hosts(seen: Seen) -> Origins:
    return seen.places.items(seen.places.platform("identity", "metadataHosts"), seen.value)


def _organization(seen: Seen) -> str:
    return str(seen.at(*seen.pointer[:2], "name"))


def _of_scope(seen: Seen) -> bool:
    return bool(seen.at("scopeMappings", seen.pointer[1], "clientScope") == "offline_access")


_SCHEMES = "/clientPolicies/policies/*/conditions/*/configuration/client-id-uri-scheme/*"

_TABLE = (
    made(
        "/clientProfiles/profiles/*/executors/*/configuration/cimd-allow-http-scheme",
        "keycloak.metadata.scheme",
        "Only a development environment takes documents over plain HTTP.",
        lambda s: [s.places.env("development")],
    ),
    made(
        "/clientProfiles/profiles/*/executors/*/configuration/cimd-allow-permitted-domains/*",
        "keycloak.metadata.hosts",
        "Hosts whose applications register themselves, sorted.",
        _hosts,
    ),
    fixed(_SCHEMES, "hardening.https", "Documents are read over HTTPS.", when=lambda s: s.value == "https"),
    made(
        _SCHEMES,
        "keycloak.metadata.scheme",
        "Only a development environment takes documents over plain HTTP.",
        lambda s: [s.places.env("development")],
    ),
    made(
        "/clientPolicies/policies/*/conditions/*/configuration/client-id-uri-allow-permitted-domains/*",
        "keycloak.metadata.hosts",
        "Hosts whose applications register themselves, sorted.",
        _hosts,
    ),
    made(
        "/organizationsEnabled",
        "keycloak.organizations",
        "Each tenant is an Organization besides.",
        lambda s: [s.places.platform("identity", "tenants")],
    ),
    made(
        "/organizations/*/description",
        "keycloak.organizations",
        "As people see the tenant.",
        lambda s: [s.places.display_name(_organization(s))],
    ),
    fixed("/organizations/*/enabled", "keycloak.enabled", "Organizations are enabled."),
    made(
        "/organizations/*/members",
        "keycloak.organizations.members",
        "The tenant has no people.",
        lambda s: [s.places.tenant(_organization(s), "people")],
    ),
    made(
        "/organizations/*/members/*/username",
        "keycloak.organizations.members",
        "The tenant's people.",
        lambda s: [s.places.person(str(s.value))],
    ),
    fixed(
        "/organizations/*/members/*/membershipType",
        "keycloak.organizations.membership",
        "Nobody's account goes with the Organization.",
    ),
    made(
        "/organizations/**",
        "keycloak.organizations",
        "Called after the tenant.",
        lambda s: s.places.tenant_name(_organization(s)),
    ),
    made("/realm", "keycloak.realm", "The realm's name.", _realm),
    made(
        "/displayName",
        "keycloak.realm",
        "The platform's name, or that of the realm's tenant.",
        lambda s: [s.places.display_name(_whose(s))],
    ),
    fixed("/clientProfiles/**", "hardening.client-profiles", "Every client keeps to PKCE and the code flow."),
    fixed("/clientPolicies/**", "hardening.client-policies", "The profile holds for every client."),
    made(
        "/roles/realm/*/name",
        "keycloak.roles",
        "Every role of the role table.",
        lambda s: [s.places.platform_key("roles", s.value)],
    ),
    made(
        "/roles/realm/*/description",
        "keycloak.roles",
        "As declared.",
        lambda s: [s.places.platform("roles", _role(s), "description")],
    ),
    fixed("/roles/realm/*/attributes/**", "keycloak.mark", "Marks what is managed from Git: it is the platform's."),
    fixed("/roles/client/account/**", "keycloak.account-roles", "What the account console needs."),
    made(
        "/roles/client/stoa.gateway/*/name",
        "keycloak.gate",
        "Says whose client scopes a person may use: one for each tenant with consumers.",
        lambda s: s.places.tenant_name(s.value),
        when=lambda s: s.value in {t.name for t in s.places.tenants},
    ),
    fixed("/roles/client/**", "keycloak.gate.own", "Marks people who are managed from Git."),
    fixed("/groups/*/name", "keycloak.group.platform", "The group of the platform's own people.", when=_is_platform),
    made(
        "/groups/*/name", "keycloak.group.tenant", "A group for each tenant.", lambda s: s.places.tenant_name(s.value)
    ),
    made(
        "/groups/*/description",
        "keycloak.group.tenant",
        "As people see the tenant.",
        lambda s: [s.places.display_name(_group(s))],
    ),
    fixed(
        "/groups/*/attributes/**",
        "keycloak.group.platform",
        "The tenant claim of the platform's own people.",
        when=_is_platform,
    ),
    made("/groups/*/attributes/**", "keycloak.claim", "The tenant claim.", lambda s: s.places.tenant_name(s.value)),
    made(
        "/groups/*/clientRoles/**",
        "keycloak.gate",
        "Members may use the client scopes of the tenant's consumers.",
        lambda s: s.places.tenant_name(s.value),
    ),
    made(
        "/groups/*/subGroups", "keycloak.groups", "There is no group.", lambda s: [s.places.owner(_group(s), "groups")]
    ),
    made(
        "/groups/*/subGroups/*/name",
        "keycloak.groups",
        "Each declared group.",
        lambda s: [_group_key(s)],
    ),
    made("/groups/*/subGroups/*/realmRoles/**", "keycloak.group.roles", "The roles that members hold.", _group_role),
    fixed(
        "/groups/*/subGroups/*/attributes/stoa.managed/*",
        "keycloak.mark",
        "Marks what is managed from Git: it is the platform's.",
        when=_is_platform,
    ),
    made(
        "/groups/*/subGroups/*/attributes/stoa.managed/*",
        "keycloak.mark.tenant",
        "Marks what is managed from Git: it is the tenant's.",
        lambda s: s.places.tenant_name(s.value),
    ),
    made(
        "/groups/*/subGroups/*/attributes/stoa.members/*",
        "keycloak.members",
        "Says that Git decides who belongs to the group.",
        lambda s: [s.places.owner(_group(s), "groups", _subgroup(s), "members")],
    ),
    # Accounts of consumers.
    made(
        "/users/*/username",
        "keycloak.account",
        "Keycloak's name for the account of a client.",
        lambda s: s.places.client_id(str(s.near(1, "serviceAccountClientId"))),
        when=lambda s: _account(s) is not None,
    ),
    made(
        "/users/*/serviceAccountClientId", "keycloak.account", "The client's id.", lambda s: s.places.client_id(s.value)
    ),
    made(
        "/users/*/realmRoles/**",
        "keycloak.account.roles",
        "Roles of the consumer's own account.",
        lambda s: s.places.items(s.places.of(_account(s), "roles"), s.value),  # type: ignore[arg-type]
    ),
    # People.
    made("/users/*/username", "keycloak.people", "Everyone by user name.", _person()),
    made("/users/*/firstName", "keycloak.people", "As declared.", _person("firstName")),
    made("/users/*/lastName", "keycloak.people", "As declared.", _person("lastName")),
    made("/users/*/email", "keycloak.people", "As declared.", _person("email")),
    fixed("/users/*/emailVerified", "hardening.email", "Nobody has verified the address yet."),
    fixed("/users/*/enabled", "keycloak.enabled", "Accounts are enabled."),
    fixed(
        "/users/*/requiredActions/*",
        "hardening.first-password",
        "The first password opens only the page that replaces it.",
    ),
    fixed("/users/*/clientRoles/**", "keycloak.own-account", "Their own account, and the mark that Git manages them."),
    fixed(
        "/users/*/groups/*",
        "keycloak.group.platform",
        "The group of the platform's own people.",
        when=lambda s: s.value == f"/{PLATFORM_TENANT}",
    ),
    made(
        "/users/*/groups/*", "keycloak.memberships", "The tenant's group, and those that name the person.", _user_group
    ),
    # Clients.
    made(
        "/clients/*/clientId",
        "keycloak.resource",
        "The MCP endpoint's address: a token is for the client that has the address asked for.",
        lambda s: [s.places.env("gateway"), *_feature("resource-indicators")(s)],
        when=_is_resource,
    ),
    made(
        "/clients/*/attributes/resource_url",
        "keycloak.resource",
        "The MCP endpoint's address: a token is for the client that has the address asked for.",
        lambda s: [s.places.env("gateway"), *_feature("resource-indicators")(s)],
    ),
    fixed("/clients/*/**", "keycloak.resource.client", "Nobody signs in to it.", when=_is_resource),
    fixed("/clients/*/clientId", "keycloak.built-in", "Keycloak's own client, or the gate's.", when=_is_built_in),
    made("/clients/*/baseUrl", "keycloak.built-in.paths", "Below the realm.", _realm, when=_is_built_in),
    made("/clients/*/redirectUris/*", "keycloak.built-in.paths", "Below the realm.", _realm, when=_is_built_in),
    fixed("/clients/*/**", "keycloak.built-in", "As Keycloak makes it, but with client scopes.", when=_is_built_in),
    made(
        "/clients/*/clientId",
        "keycloak.client",
        "Tenant and consumer, or the client's name.",
        lambda s: s.places.client_id(s.value),
    ),
    made("/clients/*/name", "keycloak.client", "As people see it.", _of_client("displayName")),
    made("/clients/*/description", "keycloak.client", "As declared.", _of_client("description")),
    made(
        "/clients/*/publicClient",
        "keycloak.client.kind",
        "Whether it can keep a secret.",
        _of_client("client"),
        when=_is_consumer,
    ),
    fixed("/clients/*/publicClient", "hardening.mcp-client", "MCP clients registered beforehand are public."),
    made(
        "/clients/*/standardFlowEnabled",
        "keycloak.client.flows",
        "Whether people sign in.",
        _grant_type("authorization_code"),
        when=_is_consumer,
    ),
    made(
        "/clients/*/serviceAccountsEnabled",
        "keycloak.client.flows",
        "Whether it has an account of its own.",
        _grant_type("client_credentials"),
        when=_is_consumer,
    ),
    fixed("/clients/*/standardFlowEnabled", "hardening.mcp-client", "People sign in by the code flow."),
    fixed("/clients/*/serviceAccountsEnabled", "hardening.mcp-client", "It has no account of its own."),
    fixed("/clients/*/implicitFlowEnabled", "hardening.flows", "No tokens in addresses."),
    fixed("/clients/*/directAccessGrantsEnabled", "hardening.flows", "No passwords in applications."),
    fixed("/clients/*/fullScopeAllowed", "hardening.scopes", "Tokens carry only the roles that are mapped."),
    fixed(
        "/clients/*/consentRequired",
        "hardening.consent",
        "People consent to MCP clients; a tenant's own client needs none.",
    ),
    made("/clients/*/redirectUris/**", "keycloak.client.redirect-uris", "As declared, sorted.", _redirects),
    made(
        "/clients/*/webOrigins/**",
        "keycloak.client.web-origins",
        "Of a public client: where its redirect URIs are.",
        _origins,
    ),
    fixed(
        "/clients/*/attributes/stoa.managed",
        "keycloak.mark",
        "Marks what is managed from Git: it is the platform's.",
        when=_is_platform,
    ),
    made(
        "/clients/*/attributes/stoa.managed",
        "keycloak.mark.tenant",
        "Marks what is managed from Git: it is the tenant's.",
        _owner,
    ),
    made("/clients/*/attributes/stoa.actors", "keycloak.client.actors", "The agents and services behind it.", _actors),
    made(
        "/clients/*/attributes/use.refresh.tokens",
        "keycloak.client.refresh",
        "Whether it gets refresh tokens.",
        _grant_type("refresh_token"),
    ),
    fixed(
        "/clients/*/attributes/pkce.code.challenge.method",
        "hardening.pkce",
        "The code flow always demands PKCE with S256.",
    ),
    made(
        "/clients/*/defaultClientScopes/*",
        "keycloak.client.scopes",
        "The scope with the tenant and the roles.",
        lambda s: s.places.tenant_name(_scope_of_tenant(s) or PLATFORM_TENANT),
        when=lambda s: _scope_of_tenant(s) is not None,
    ),
    fixed("/clients/*/defaultClientScopes/*", "keycloak.client.fixed-scopes", "What every client of its kind has."),
    fixed("/clients/*/optionalClientScopes", "hardening.scopes", "No client can ask for more."),
    # Scopes.
    made(
        "/clientScopes/*/name",
        "keycloak.tenant-scope",
        "A scope for each tenant with consumers.",
        lambda s: s.places.tenant_name(_scope_of_tenant(s) or PLATFORM_TENANT),
        when=lambda s: _scope_of_tenant(s) is not None,
    ),
    made(
        "/clientScopes/*/protocolMappers/*/config/included.custom.audience",
        "keycloak.audience",
        "The gateway's URL and `/mcp`.",
        lambda s: [s.places.env("gateway")],
    ),
    fixed(
        "/clientScopes/*/attributes/stoa.managed",
        "keycloak.mark",
        "Marks what is managed from Git: it is the platform's.",
        when=_is_platform,
    ),
    made(
        "/clientScopes/*/attributes/stoa.managed",
        "keycloak.mark.tenant",
        "Marks what is managed from Git: it is the tenant's.",
        lambda s: s.places.tenant_name(s.value),
    ),
    fixed("/clientScopes/*/**", "keycloak.scopes", "Which claims tokens carry is the platform's to say."),
    made(
        "/defaultDefaultClientScopes/*",
        "keycloak.metadata.scopes",
        "Whoever registers by a document has the tenant and the roles.",
        _feature("cimd"),
        when=lambda s: str(s.value).startswith("stoa-"),
    ),
    fixed("/defaultDefaultClientScopes/**", "keycloak.scopes", "Which claims tokens carry is the platform's to say."),
    made(
        "/defaultOptionalClientScopes/**",
        "keycloak.metadata.scopes",
        "Whoever registers by a document may ask for the gateway's tokens; nobody else may ask for more.",
        _feature("cimd"),
    ),
    made(
        "/scopeMappings/*/client",
        "keycloak.scope-mappings",
        "The client's id.",
        lambda s: s.places.client_id(s.value),
    ),
    fixed("/scopeMappings/**", "keycloak.offline", "`offline_access` is nobody's.", when=_of_scope),
    made(
        "/scopeMappings/*/roles/**",
        "keycloak.scope-mappings",
        "Roles that the client's tokens may carry.",
        _mapped_role,
    ),
    fixed("/scopeMappings/*/clientScope", "keycloak.scopes", "Which claims tokens carry is the platform's to say."),
    made(
        "/clientScopeMappings/stoa.gateway/*/clientScope",
        "keycloak.gate.scope",
        "Only members of the tenant's group may use its scope.",
        lambda s: s.places.tenant_name(_scope_of_tenant(s) or PLATFORM_TENANT),
    ),
    made(
        "/clientScopeMappings/stoa.gateway/*/roles/*",
        "keycloak.gate.scope",
        "Only members of the tenant's group may use its scope.",
        lambda s: s.places.tenant_name(s.value),
    ),
    fixed("/clientScopeMappings/account/**", "keycloak.account-roles", "What the account console needs."),
    made("/users", "keycloak.people", "There is nobody.", lambda s: [s.places.owner(_whose(s), "people")]),
    fixed("/enabled", "keycloak.enabled", "The realm is enabled."),
    fixed("/attributes/**", "hardening.admin-events", "Administrators' events are kept for 30 days."),
    fixed("/*", "hardening.realm", "Every realm has it, so that a later default of Keycloak's changes nothing."),
)


def _group_key(seen: Seen) -> Place:
    owner = seen.places.owner(_group(seen), "groups", _subgroup(seen))
    return Place(owner.document, owner.loc, "key")


TABLES = (Table("keycloak/*-realm.json", _TABLE),)
"""What is known of the target's artifacts."""
