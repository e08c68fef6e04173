"""Emit: the realm's file from the graph."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson

from stoa_compiler.graph import ConsumerNode, Graph, GroupNode, Origin, PersonNode, TenantNode
from stoa_compiler.target import Artifact, Artifacts
from stoa_compiler.targets.keycloak.marks import BUILT_IN, GATE, MARK, MEMBERS
from stoa_compiler.targets.keycloak.strategy import RealmPart, parts
from stoa_schemas.documents.platform import Identity, McpClient
from stoa_schemas.names import MCP_SCOPE, PLATFORM_TENANT, ROLES_CLAIM, TENANT_CLAIM

_TENANT_SCOPE = "stoa-tenant"
_ROLES_SCOPE = "stoa-roles"
_CIMD = "stoa-cimd"
_ACTORS = "stoa.actors"

_PROFILE: Mapping[str, Any] = {
    # Every client keeps to these, also one that an administrator makes or that registers itself.
    "name": "stoa",
    "description": "The code flow with PKCE; no tokens in addresses, no passwords in applications.",
    "executors": [
        {"executor": executor, "configuration": {"auto-configure": True}}
        for executor in ("pkce-enforcer", "reject-implicit-grant", "reject-ropc-grant")
    ],
}
_POLICY: Mapping[str, Any] = {
    "name": "stoa",
    "description": "Holds for every client.",
    "enabled": True,
    "conditions": [{"condition": "any-client", "configuration": {}}],
    "profiles": ["stoa"],
}
_DEFAULT_SCOPES = ("acr", "basic", "email", "profile", "roles", "web-origins")
_ACCOUNT_ROLES = (
    "manage-account",
    "manage-account-links",
    "manage-consent",
    "view-applications",
    "view-consent",
    "view-groups",
    "view-profile",
)

_HARDENING: Mapping[str, Any] = {
    # Some are Keycloak's own defaults today; they are written because a later default must not change them.
    "accessTokenLifespan": 300,
    "adminEventsEnabled": True,
    "attributes": {"adminEventsExpiration": "2592000"},
    "bruteForceProtected": True,
    "defaultSignatureAlgorithm": "RS256",
    "eventsEnabled": True,
    "eventsExpiration": 2592000,
    "failureFactor": 5,
    "passwordPolicy": "length(14) and notEmail(undefined) and notUsername(undefined)",
    "refreshTokenMaxReuse": 0,
    "registrationAllowed": False,
    "revokeRefreshToken": True,
    "sslRequired": "external",
    "ssoSessionIdleTimeout": 3600,
    "ssoSessionMaxLifespan": 36000,
}


Entry = dict[str, Any]
Lists = Mapping[str, Sequence[Entry]]
"""Entries by the list of the realm that they stand in: one of `PLACES`."""

PLACES: Mapping[str, tuple[int, str, tuple[str, ...]]] = {
    "clientScopeMappings": (4, GATE, ("clientScope",)),
    "clientScopes": (2, "clientScopes", ("name",)),
    "clients": (2, "clients", ("clientId",)),
    "groups": (2, "groups", ("name",)),
    "organizations": (2, "organizations", ("name",)),
    "roles": (6, GATE, ("name",)),
    "scopeMappings": (2, "scopeMappings", ("client", "clientScope")),
    "users": (2, "users", ("username",)),
}
"""The lists that tenants add to, in the order of the file: how far in and under which key each stands there, and what
its entries are sorted by. Of the roles and the mappings it is the gate's alone."""


def emit(graph: Graph, environment: str, carried: Artifacts) -> Sequence[Artifact]:
    """A file for each realm, in one piece."""
    return [realm(part, environment) for part in parts(graph, environment)]


def realm(part: RealmPart, environment: str) -> Artifact:
    """One realm's file."""
    tenants = part.graph.tenants_in(environment)
    lists: dict[str, list[Entry]] = {name: list(entries) for name, entries in own(part, environment).items()}
    for tenant in tenants:
        for name, entries in of_tenant(part.graph, tenant).items():
            lists.setdefault(name, []).extend(entries)
    lists = {name: sorted(entries, key=partial(order, name)) for name, entries in lists.items()}
    title = part.graph.platform.spec.display_name if part.platform else tenants[0].declared.spec.display_name
    return artifact(part, text(frame(part, environment, title, lists)), origins(part.graph, tenants))


def artifact(part: RealmPart, content: bytes, origins: tuple[Origin, ...]) -> Artifact:
    """The realm's file with this content."""
    return Artifact(path=part.path, media_type="application/json", content=content, origins=origins)


def text(value: Any) -> bytes:
    """The value as it stands in a file."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def order(name: str, entry: Entry) -> str:
    """What the entry is sorted by in its list."""
    return "\0".join(str(entry.get(by, "")) for by in PLACES[name][2])


def frame(part: RealmPart, environment: str, title: str, lists: Lists) -> dict[str, Any]:
    """The realm with these lists, and with all that only the platform says."""
    spec = part.graph.platform.spec
    identity = spec.identity
    cimd = "cimd" in identity.features
    gates = {GATE: lists["clientScopeMappings"]} if "clientScopeMappings" in lists else {}
    realm: dict[str, Any] = {
        **_HARDENING,
        **_policies(identity, part.graph.environment(environment).development),
        **{name: entries for name, entries in lists.items() if PLACES[name][1] == name},
        "realm": identity.realm,
        "enabled": True,
        "displayName": title,
        "roles": {
            "realm": [
                {"name": name, "description": role.description, "attributes": {MARK: [PLATFORM_TENANT]}}
                for name, role in sorted(spec.roles.items())
            ],
            "client": {"account": [{"name": name} for name in _ACCOUNT_ROLES], GATE: lists["roles"]},
        },
        # Whoever registers by a document has these, and asks for the gateway's tokens by name.
        "defaultDefaultClientScopes": sorted([*_DEFAULT_SCOPES, *([_ROLES_SCOPE, _TENANT_SCOPE] if cimd else [])]),
        "defaultOptionalClientScopes": [MCP_SCOPE] if cimd else [],
        "clientScopeMappings": {
            "account": [{"client": "account-console", "roles": ["manage-account", "view-groups"]}],
            **gates,
        },
    }
    if identity.keycloak != "26.4":
        realm["maxSecondaryAuthFailures"] = 10
    if "organizations" in lists:
        realm["organizationsEnabled"] = True
    return realm


def own(part: RealmPart, environment: str) -> Lists:
    """What the platform itself adds to the lists of a realm: to all but the gate's mappings."""
    graph, spec = part.graph, part.graph.platform.spec
    identity = spec.identity
    audience = f"{graph.environment(environment).gateway.rstrip('/')}/mcp"
    cimd = "cimd" in identity.features
    lists: dict[str, list[Entry]] = {
        "roles": [{"name": MARK}],
        "groups": [_top_group(PLATFORM_TENANT, spec.display_name, graph.groups, False)] if part.platform else [],
        "users": [_person(p) for p in graph.people],
        "clients": [
            *(_mcp_client(name, client) for name, client in identity.clients.items()),
            _gate(),
            *([_resource(audience)] if "resource-indicators" in identity.features else []),
            *(_built_in(client_id, identity.realm) for client_id in BUILT_IN),
        ],
        "clientScopes": [
            *_built_in_scopes(),
            _mcp_scope(audience),
            _tenant_scope(_TENANT_SCOPE, PLATFORM_TENANT),
            *([_scope(_ROLES_SCOPE, "Roles that a token may carry.", "", [], False)] if cimd else []),
        ],
        "scopeMappings": [
            *({"client": name, "roles": sorted(spec.roles)} for name in identity.clients),
            {"clientScope": "offline_access", "roles": ["offline_access"]},
            *([{"clientScope": _ROLES_SCOPE, "roles": sorted(spec.roles)}] if cimd else []),
        ],
    }
    if _organized(identity):
        lists["organizations"] = []
    return lists


def of_tenant(graph: Graph, tenant: TenantNode) -> Lists:
    """What a tenant adds to them."""
    spec = graph.platform.spec
    tenant_roles = sorted(name for name, role in spec.roles.items() if role.scope == "tenant")
    consumers, name = tenant.consumers, tenant.name
    robots = [c for c in consumers if "client_credentials" in c.declared.spec.grant_types]
    lists: dict[str, list[Entry]] = {
        "groups": [_top_group(name, tenant.declared.spec.display_name, tenant.groups, bool(consumers))],
        "users": [*map(_person, tenant.people), *(_service_account(tenant, c) for c in robots)],
    }
    if consumers:
        scope = f"{_TENANT_SCOPE}-{name}"
        lists["clients"] = [_consumer(tenant, c) for c in consumers]
        lists["clientScopes"] = [_tenant_scope(scope, name)]
        lists["scopeMappings"] = [_consumer_roles(c, tenant_roles) for c in consumers]
        lists["roles"] = [{"name": name}]
        lists["clientScopeMappings"] = [{"clientScope": scope, "roles": [name]}]
    if _organized(spec.identity):
        lists["organizations"] = [_organization(tenant)]
    return lists


def _organized(identity: Identity) -> bool:
    return identity.tenants == "organizations" and identity.strategy == "single-realm"


def _policies(identity: Identity, development: bool) -> Mapping[str, Any]:
    """What clients keep to, and with `cimd` which of them may register by a document."""
    profiles, policies = [dict(_PROFILE)], [dict(_POLICY)]
    if "cimd" in identity.features:
        hosts = sorted(set(identity.metadata_hosts))
        trusted = {
            "cimd-allow-http-scheme": development,
            "cimd-allow-permitted-domains": hosts,
            "cimd-restrict-same-domain": True,
            "cimd-required-properties": ["client_name", "redirect_uris"],
        }
        profiles.append(
            {
                "name": _CIMD,
                "description": "Registers an application by the document that its client id names.",
                "executors": [
                    {"executor": "client-id-metadata-document", "configuration": trusted},
                    {"executor": "full-scope-disabled", "configuration": {"auto-configure": True}},
                    {"executor": "consent-required", "configuration": {"auto-configure": True}},
                ],
            }
        )
        schemes = ["http", "https"] if development else ["https"]
        named = {"client-id-uri-scheme": schemes, "client-id-uri-allow-permitted-domains": hosts}
        policies.append(
            {
                "name": _CIMD,
                "description": "Holds for client ids that are addresses of trusted hosts.",
                "enabled": True,
                "conditions": [{"condition": "client-id-uri", "configuration": named}],
                "profiles": [_CIMD],
            }
        )
    return {"clientProfiles": {"profiles": profiles}, "clientPolicies": {"policies": policies}}


def _organization(tenant: TenantNode) -> dict[str, Any]:
    """The tenant as an Organization with its own people. Roles are its groups': an Organization has none.

    Nobody's account belongs to it: one that did would be deleted with it.
    """
    return {
        "name": tenant.name,
        "alias": tenant.name,
        "description": tenant.declared.spec.display_name,
        "enabled": True,
        "attributes": {MARK: [tenant.name], TENANT_CLAIM: [tenant.name]},
        "members": [
            {"username": p.username, "membershipType": "UNMANAGED"}
            for p in sorted(tenant.people, key=lambda p: p.username)
        ],
    }


def origins(graph: Graph, tenants: Sequence[TenantNode]) -> tuple[Origin, ...]:
    """Where the platform's own and these tenants' entries were declared."""
    found = [graph.origin, *(p.origin for p in graph.people), *(g.origin for g in graph.groups)]
    for t in tenants:
        nodes: tuple[PersonNode | GroupNode | ConsumerNode, ...] = (*t.people, *t.groups, *t.consumers)
        found += [t.origin, *(n.origin for n in nodes)]
    return tuple(found)


def _top_group(tenant: str, display_name: str, groups: Sequence[GroupNode], gated: bool) -> dict[str, Any]:
    top: dict[str, Any] = {
        "name": tenant,
        "description": display_name,
        "attributes": {TENANT_CLAIM: [tenant], MARK: [tenant]},
        "subGroups": [
            {
                "name": g.name,
                "realmRoles": sorted(g.roles),
                "attributes": {MARK: [tenant]} | ({} if g.members is None else {MEMBERS: ["declared"]}),
            }
            for g in sorted(groups, key=lambda g: g.name)
        ],
    }
    if gated:
        top["clientRoles"] = {GATE: [tenant]}
    return top


def _person(person: PersonNode) -> dict[str, Any]:
    return {
        "username": person.username,
        "firstName": person.first_name,
        "lastName": person.last_name,
        "email": person.email,
        "emailVerified": False,
        "enabled": True,
        "groups": sorted({f"/{person.tenant}", *(f"/{person.tenant}/{g}" for g in person.groups)}),
        # Whoever hands out the first password knows it: it opens nothing but the page that replaces it.
        "requiredActions": ["UPDATE_PASSWORD"],
        # Their own account only: without it nobody can change their password (`kc_action=UPDATE_PASSWORD`).
        "clientRoles": {"account": ["manage-account", "view-profile"], GATE: [MARK]},
    }


def _service_account(tenant: TenantNode, consumer: ConsumerNode) -> dict[str, Any]:
    return {
        "username": f"service-account-{consumer.client_id}",
        "serviceAccountClientId": consumer.client_id,
        "enabled": True,
        "groups": [f"/{tenant.name}"],
        "realmRoles": sorted(consumer.declared.spec.roles),
    }


def _client(
    client_id: str,
    owner: str,
    name: str,
    scopes: Iterable[str],
    *,
    public: bool,
    code: bool = False,
    service_account: bool = False,
    consent: bool = False,
    redirect_uris: Iterable[str] = (),
    attributes: Mapping[str, str],
) -> dict[str, Any]:
    """A client with every flow said, on or off: the server's defaults for them have changed before.

    A public client may be a page in a browser, which asks for its tokens across origins (CORS) from where it was
    sent back to. Without the list Keycloak makes one from the redirect URIs of every client.
    """
    uris = sorted(redirect_uris)
    return {
        "clientId": client_id,
        "name": name,
        "publicClient": public,
        "standardFlowEnabled": code,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": service_account,
        "fullScopeAllowed": False,
        "consentRequired": consent,
        "redirectUris": uris,
        "webOrigins": sorted({_origin(u) for u in uris}) if public else [],
        "attributes": {MARK: owner, **attributes},
        "defaultClientScopes": sorted(scopes),
        "optionalClientScopes": [],
    }


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _mcp_client(client_id: str, client: McpClient) -> dict[str, Any]:
    return _client(
        client_id,
        PLATFORM_TENANT,
        client.display_name,
        ["basic", "email", "profile", MCP_SCOPE, _TENANT_SCOPE],
        public=True,
        code=True,
        consent=True,
        redirect_uris=client.redirect_uris,
        attributes={"pkce.code.challenge.method": "S256"},
    )


def _consumer(tenant: TenantNode, consumer: ConsumerNode) -> dict[str, Any]:
    spec = consumer.declared.spec
    code = "authorization_code" in spec.grant_types
    attributes: dict[str, str] = {}
    if code:
        attributes["pkce.code.challenge.method"] = "S256"
        attributes["use.refresh.tokens"] = "true" if "refresh_token" in spec.grant_types else "false"
    if spec.actors:
        actors = sorted([a.kind, a.name] for a in spec.actors)
        attributes[_ACTORS] = json.dumps(actors, ensure_ascii=False)
    client = _client(
        consumer.client_id,
        tenant.name,
        spec.display_name,
        ["basic", MCP_SCOPE, f"{_TENANT_SCOPE}-{tenant.name}", *(("email", "profile") if code else ())],
        public=spec.client == "public",
        code=code,
        service_account="client_credentials" in spec.grant_types,
        redirect_uris=spec.redirect_uris,
        attributes=attributes,
    )
    if spec.description is not None:
        client["description"] = spec.description
    return client


def _consumer_roles(consumer: ConsumerNode, tenant_roles: Sequence[str]) -> dict[str, Any]:
    spec = consumer.declared.spec
    people = tenant_roles if "authorization_code" in spec.grant_types else ()
    return {"client": consumer.client_id, "roles": sorted({*people, *spec.roles})}


def _resource(audience: str) -> dict[str, Any]:
    """The gateway by its address: with resource indicators a token is for a client that has the address asked for."""
    attributes = {"resource_url": audience}
    return _client(audience, PLATFORM_TENANT, "MCP endpoint", [], public=False, attributes=attributes) | {
        "bearerOnly": True
    }


def _gate() -> dict[str, Any]:
    return _client(GATE, PLATFORM_TENANT, "Gateway", [], public=False, attributes={}) | {"bearerOnly": True}


def _built_in(client_id: str, realm: str) -> dict[str, Any]:
    """Keycloak's own client for people's accounts, as Keycloak makes it, but with client scopes."""
    client = {
        "clientId": client_id,
        "baseUrl": f"/realms/{realm}/account/",
        "publicClient": True,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        "redirectUris": [f"/realms/{realm}/account/*"],
        "defaultClientScopes": list(_DEFAULT_SCOPES),
        "optionalClientScopes": [],
    }
    if client_id == "account-console":
        client["attributes"] = {"pkce.code.challenge.method": "S256"}
        kind = "oidc-audience-resolve-mapper"
        client["protocolMappers"] = [_mapper("audience resolve", kind, "access")]
    return client


def _scope(
    name: str,
    description: str,
    consent: str,
    mappers: Sequence[dict[str, Any]],
    token: bool,
    owner: str = PLATFORM_TENANT,
) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "name": name,
        "description": description,
        "protocol": "openid-connect",
        "attributes": {
            "display.on.consent.screen": "true" if consent else "false",
            "include.in.token.scope": "true" if token else "false",
            MARK: owner,
        },
    }
    if consent:
        scope["attributes"]["consent.screen.text"] = consent
    if not token:
        # Nobody asks for it by name, and the names of tenants are not everyone's to read.
        scope["attributes"]["include.in.openid.provider.metadata"] = "false"
    if mappers:
        scope["protocolMappers"] = sorted(mappers, key=lambda m: str(m["name"]))
    return scope


def _mapper(name: str, kind: str, tokens: str = "access id", **config: str) -> dict[str, Any]:
    """A mapper into the named tokens; `__` in a setting's key stands for a dot."""
    settings = {key.replace("__", "."): value for key, value in config.items()}
    for token in ("access", "id", "userinfo"):
        settings[f"{token}.token.claim"] = "true" if token in tokens.split() else "false"
    return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": settings}


def _attribute(claim: str, attribute: str, tokens: str = "id userinfo") -> dict[str, Any]:
    kind = "oidc-usermodel-attribute-mapper"
    return _mapper(claim, kind, tokens, claim__name=claim, user__attribute=attribute, jsonType__label="String")


def _mcp_scope(audience: str) -> dict[str, Any]:
    mapper = _mapper("audience", "oidc-audience-mapper", "access", included__custom__audience=audience)
    return _scope(MCP_SCOPE, "Tokens for the MCP gateway.", "Call the tools that your roles allow", [mapper], True)


def _tenant_scope(name: str, owner: str) -> dict[str, Any]:
    tenant = _attribute(TENANT_CLAIM, TENANT_CLAIM, "access id")
    # All values, so that a person in the groups of two tenants is seen to be, and refused.
    tenant["config"] |= {"aggregate.attrs": "true", "multivalued": "true"}
    roles = _mapper(
        ROLES_CLAIM,
        "oidc-usermodel-realm-role-mapper",
        "access id",
        claim__name=ROLES_CLAIM,
        jsonType__label="String",
        multivalued="true",
    )
    text, consent = "The tenant, and the roles held there.", "Your tenant and your roles"
    return _scope(name, text, consent, [tenant, roles], False, owner)


def _built_in_scopes() -> Sequence[dict[str, Any]]:
    """Keycloak's own scopes, which a list of scopes suppresses, cut to what is declared of people.

    `roles` names the built-in clients one by one: Keycloak's own mapper for all of them holds a `${`. And
    `offline_access` stands here because Keycloak would make its own, offer it to every client and announce it:
    a client that then asks for it, as MCP clients do, would be refused.
    """
    note = "oidc-usersessionmodel-note-mapper"
    client_roles = [
        _mapper(
            f"roles of {client}",
            "oidc-usermodel-client-role-mapper",
            "access",
            claim__name=f"resource_access.{client}.roles",
            jsonType__label="String",
            multivalued="true",
            usermodel__clientRoleMapping__clientId=client,
        )
        for client in ("account", "realm-management")
    ]
    realm_roles = _mapper(
        "realm roles",
        "oidc-usermodel-realm-role-mapper",
        "access",
        claim__name="realm_access.roles",
        jsonType__label="String",
        multivalued="true",
    )
    verified = _attribute("email_verified", "emailVerified") | {"protocolMapper": "oidc-usermodel-property-mapper"}
    verified["config"]["jsonType.label"] = "boolean"
    basic = [
        _mapper("sub", "oidc-sub-mapper", "access"),
        _mapper("auth_time", note, claim__name="auth_time", user__session__note="AUTH_TIME", jsonType__label="long"),
    ]
    profile = [
        _mapper("name", "oidc-full-name-mapper", "id userinfo"),
        _attribute("family_name", "lastName"),
        _attribute("given_name", "firstName"),
        _attribute("preferred_username", "username", "access id userinfo"),
    ]
    email = [_attribute("email", "email"), verified]
    origins = [_mapper("allowed web origins", "oidc-allowed-origins-mapper", "access")]
    resolve = _mapper("audience resolve", "oidc-audience-resolve-mapper", "access")
    return [
        _scope("acr", "How the person was authenticated.", "", [_mapper("acr", "oidc-acr-mapper")], False),
        _scope("basic", "Subject and time of the sign-in.", "", basic, False),
        _scope("email", "The person's e-mail address.", "Your e-mail address", email, True),
        _scope("offline_access", "Tokens that outlive the sign-in; no client has it.", "Stay signed in", [], False),
        _scope("profile", "The person's name.", "Your name and user name", profile, True),
        _scope("roles", "Roles for Keycloak's own clients.", "", [realm_roles, resolve, *client_roles], False),
        _scope("web-origins", "Origins that may use the token.", "", origins, False),
    ]
