"""The realm entry by entry, as it must read: every value that an emitter could get wrong.

Written a second time, from what Keycloak needs and what the graph says; nothing of `emit` is used.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from stoa_compiler.graph import ConsumerNode, Graph, GroupNode, TenantNode

Entry = dict[str, Any]
Wanted = Mapping[str, Any]

_FILLED = {
    "acr": ("How the person was authenticated.", "", False),
    "basic": ("Subject and time of the sign-in.", "", False),
    "email": ("The person's e-mail address.", "Your e-mail address", True),
    "offline_access": ("Tokens that outlive the sign-in; no client has it.", "Stay signed in", False),
    "profile": ("The person's name.", "Your name and user name", True),
    "roles": ("Roles for Keycloak's own clients.", "", False),
    "stoa-mcp": ("Tokens for the MCP gateway.", "Call the tools that your roles allow", True),
    "web-origins": ("Origins that may use the token.", "", False),
}
"""Client scopes by name: what they are for, what people are asked, and whether tokens name them."""


def entries(graph: Graph, environment: str, platform: bool) -> Mapping[str, Wanted]:
    """What the realm must hold: by kind, each entry by its name."""
    spec = graph.platform.spec
    declared = graph.environment(environment)
    tenants = [t for t in graph.tenants if environment in t.declared.spec.environments]
    consumers = [(t, c) for t in tenants for c in t.consumers]
    gated = {t.name for t, _ in consumers}
    mcp = declared.gateway.rstrip("/") + "/mcp"
    cimd = "cimd" in spec.identity.features
    clients = {n: _at_claude(n, c.display_name, c.redirect_uris) for n, c in spec.identity.clients.items()}
    clients |= {c.client_id: _application(t, c) for t, c in consumers}
    clients["stoa.gateway"] = _silent("stoa.gateway", "Gateway", {})
    if "resource-indicators" in spec.identity.features:
        clients[mcp] = _silent(mcp, "MCP endpoint", {"resource_url": mcp})
    mappings: dict[str, Any] = {f"client {n}": sorted(spec.roles) for n in spec.identity.clients}
    for _, consumer in consumers:
        people = "authorization_code" in consumer.declared.spec.grant_types
        held = {n for n, r in spec.roles.items() if r.scope == "tenant"} if people else set()
        mappings[f"client {consumer.client_id}"] = sorted(held | {*consumer.declared.spec.roles})
    mappings["clientScope offline_access"] = ["offline_access"]
    if cimd:
        mappings["clientScope stoa-roles"] = sorted(spec.roles)
    gates = {"account": [{"client": "account-console", "roles": ["manage-account", "view-groups"]}]}
    if gated:
        gates["stoa.gateway"] = [{"clientScope": f"stoa-tenant-{t}", "roles": [t]} for t in sorted(gated)]
    account = ["manage-account", "manage-account-links", "manage-consent", "view-applications", "view-consent"]
    return {
        "clients": clients,
        "clientScopes": dict(_scopes(mcp, gated, cimd)),
        "users": dict(_users(graph, tenants)),
        "groups": dict(_groups(graph, tenants, gated, platform)),
        "roles": {
            "realm": [
                {"name": n, "description": r.description, "attributes": {"stoa.managed": ["platform"]}}
                for n, r in sorted(spec.roles.items())
            ],
            "client": {
                "account": [{"name": n} for n in (*account, "view-groups", "view-profile")],
                "stoa.gateway": [{"name": n} for n in sorted({"stoa.managed", *gated})],
            },
        },
        "scopeMappings": mappings,
        "clientScopeMappings": gates,
        "settings": {
            **_policies(spec.identity.metadata_hosts if cimd else None, declared.development),
            "displayName": spec.display_name if platform else tenants[0].declared.spec.display_name,
            "attributes": {"adminEventsExpiration": "2592000"},
            "accessTokenLifespan": 300,
            "eventsExpiration": 2592000,
            "failureFactor": 5,
            "passwordPolicy": "length(14) and notEmail(undefined) and notUsername(undefined)",
            "sslRequired": "external",
            "ssoSessionIdleTimeout": 3600,
            "ssoSessionMaxLifespan": 36000,
            "maxSecondaryAuthFailures": None if spec.identity.keycloak == "26.4" else 10,
            "defaultDefaultClientScopes": sorted(
                {"acr", "basic", "email", "profile", "roles", "web-origins"}
                | ({"stoa-roles", "stoa-tenant"} if cimd else set())
            ),
        },
    }


def found(realm: Mapping[str, Any]) -> Mapping[str, Wanted]:
    """What the file holds, in the same form."""
    mappings: dict[str, Any] = {}
    for mapping in realm.get("scopeMappings", []):
        odd = set(mapping) - {"client", "clientScope", "roles"}
        kind = "client" if "client" in mapping else "clientScope"
        key = f"{kind} {mapping.get(kind)}" + (" again" if f"{kind} {mapping.get(kind)}" in mappings else "")
        mappings[key] = mapping if odd or {"client", "clientScope"} <= set(mapping) else mapping.get("roles")
    return {
        "clients": _by(realm.get("clients", []), "clientId", ("account", "account-console")),
        "clientScopes": _by(realm.get("clientScopes", []), "name"),
        "users": _by(realm.get("users", []), "username"),
        "groups": _by(realm.get("groups", []), "name"),
        "roles": realm.get("roles", {}),
        "scopeMappings": mappings,
        "clientScopeMappings": realm.get("clientScopeMappings", {}),
        "settings": realm,
    }


def differences(wanted: Mapping[str, Wanted], read: Mapping[str, Wanted]) -> Iterator[tuple[str, str, str]]:
    """Kind, name and key of each value that is not what it must be."""
    for kind, of_kind in wanted.items():
        names = set(of_kind) if kind == "settings" else {*of_kind, *read[kind]}
        for name in sorted(names):
            now, due = read[kind].get(name), of_kind.get(name)
            if now == due:
                continue
            if isinstance(now, dict) and isinstance(due, dict):
                yield from ((kind, name, k) for k in sorted({*now, *due}) if now.get(k) != due.get(k))
            else:
                yield kind, name, ""


def _by(entries_: Sequence[Entry], key: str, but: Sequence[str] = ()) -> dict[str, Any]:
    return {e[key]: e for e in entries_ if e[key] not in but}


def account_clients(realm: str) -> Mapping[str, Entry]:
    """Keycloak's own clients for people's accounts."""
    scopes = ["acr", "basic", "email", "profile", "roles", "web-origins"]
    one = {
        "baseUrl": f"/realms/{realm}/account/",
        "publicClient": True,
        "standardFlowEnabled": True,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        "redirectUris": [f"/realms/{realm}/account/*"],
        "defaultClientScopes": scopes,
        "optionalClientScopes": [],
    }
    console = {
        "clientId": "account-console",
        "attributes": {"pkce.code.challenge.method": "S256"},
        "protocolMappers": [_mapper("audience resolve", "oidc-audience-resolve-mapper", ("access",), {})],
    }
    return {"account": {"clientId": "account", **one}, "account-console": {**console, **one}}


def _policies(hosts: Sequence[str] | None, development: bool) -> Entry:
    """What every client keeps to; with hosts, also those that register by a document."""
    on = {"auto-configure": True}
    profiles: list[Entry] = [
        {
            "name": "stoa",
            "description": "The code flow with PKCE; no tokens in addresses, no passwords in applications.",
            "executors": [
                {"executor": "pkce-enforcer", "configuration": on},
                {"executor": "reject-implicit-grant", "configuration": on},
                {"executor": "reject-ropc-grant", "configuration": on},
            ],
        }
    ]
    policies: list[Entry] = [
        {
            "name": "stoa",
            "description": "Holds for every client.",
            "enabled": True,
            "conditions": [{"condition": "any-client", "configuration": {}}],
            "profiles": ["stoa"],
        }
    ]
    if hosts is not None:
        trusted = sorted({*hosts})
        document = {
            "cimd-allow-http-scheme": development,
            "cimd-allow-permitted-domains": trusted,
            "cimd-restrict-same-domain": True,
            "cimd-required-properties": ["client_name", "redirect_uris"],
        }
        profiles.append(
            {
                "name": "stoa-cimd",
                "description": "Registers an application by the document that its client id names.",
                "executors": [
                    {"executor": "client-id-metadata-document", "configuration": document},
                    {"executor": "full-scope-disabled", "configuration": on},
                    {"executor": "consent-required", "configuration": on},
                ],
            }
        )
        where = {
            "client-id-uri-scheme": ["http", "https"] if development else ["https"],
            "client-id-uri-allow-permitted-domains": trusted,
        }
        policies.append(
            {
                "name": "stoa-cimd",
                "description": "Holds for client ids that are addresses of trusted hosts.",
                "enabled": True,
                "conditions": [{"condition": "client-id-uri", "configuration": where}],
                "profiles": ["stoa-cimd"],
            }
        )
    return {"clientProfiles": {"profiles": profiles}, "clientPolicies": {"policies": policies}}


# Clients


def _flows(code: bool, own: bool, consent: bool, public: bool) -> Entry:
    return {
        "publicClient": public,
        "standardFlowEnabled": code,
        "implicitFlowEnabled": False,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": own,
        "fullScopeAllowed": False,
        "consentRequired": consent,
        "optionalClientScopes": [],
    }


def _pages(uris: Sequence[str], public: bool) -> list[str]:
    return sorted({f"{u.scheme}://{u.netloc}" for u in map(urlsplit, uris)}) if public else []


def _at_claude(client_id: str, name: str, uris: Sequence[str]) -> Entry:
    return _flows(True, False, True, True) | {
        "clientId": client_id,
        "name": name,
        "redirectUris": sorted(uris),
        "webOrigins": _pages(uris, True),
        "attributes": {"pkce.code.challenge.method": "S256", "stoa.managed": "platform"},
        "defaultClientScopes": ["basic", "email", "profile", "stoa-mcp", "stoa-tenant"],
    }


def _application(tenant: TenantNode, consumer: ConsumerNode) -> Entry:
    spec = consumer.declared.spec
    code, public = "authorization_code" in spec.grant_types, spec.client == "public"
    attributes = {"stoa.managed": tenant.name}
    if code:
        attributes["pkce.code.challenge.method"] = "S256"
        attributes["use.refresh.tokens"] = json.dumps("refresh_token" in spec.grant_types)
    if spec.actors:
        attributes["stoa.actors"] = json.dumps(sorted([a.kind, a.name] for a in spec.actors), ensure_ascii=False)
    scopes = ["basic", *(["email", "profile"] if code else []), "stoa-mcp", f"stoa-tenant-{tenant.name}"]
    entry = _flows(code, "client_credentials" in spec.grant_types, False, public) | {
        "clientId": consumer.client_id,
        "name": spec.display_name,
        "redirectUris": sorted(spec.redirect_uris),
        "webOrigins": _pages(spec.redirect_uris, public),
        "attributes": attributes,
        "defaultClientScopes": scopes,
    }
    return entry if spec.description is None else entry | {"description": spec.description}


def _silent(client_id: str, name: str, attributes: Mapping[str, str]) -> Entry:
    """A client that nobody signs in to."""
    return _flows(False, False, False, False) | {
        "clientId": client_id,
        "name": name,
        "bearerOnly": True,
        "redirectUris": [],
        "webOrigins": [],
        "attributes": {"stoa.managed": "platform", **attributes},
        "defaultClientScopes": [],
    }


# Client scopes


def _mapper(name: str, kind: str, tokens: Sequence[str], config: Mapping[str, str]) -> Entry:
    said = {f"{t}.token.claim": json.dumps(t in tokens) for t in ("access", "id", "userinfo")}
    return {"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": {**config, **said}}


def _claim(name: str, attribute: str, tokens: Sequence[str], kind: str = "attribute", label: str = "String") -> Entry:
    config = {"claim.name": name, "user.attribute": attribute, "jsonType.label": label}
    return _mapper(name, f"oidc-usermodel-{kind}-mapper", tokens, config)


def _roles_claim(name: str, claim: str, tokens: Sequence[str]) -> Entry:
    config = {"claim.name": claim, "jsonType.label": "String", "multivalued": "true"}
    return _mapper(name, "oidc-usermodel-realm-role-mapper", tokens, config)


def _scopes(mcp: str, gated: set[str], cimd: bool) -> Iterator[tuple[str, Entry]]:
    seen, shown, access = ("id", "userinfo"), ("access", "id", "userinfo"), ("access",)
    note = {"claim.name": "auth_time", "user.session.note": "AUTH_TIME", "jsonType.label": "long"}
    mappers: dict[str, list[Entry]] = {
        "acr": [_mapper("acr", "oidc-acr-mapper", ("access", "id"), {})],
        "basic": [
            _mapper("auth_time", "oidc-usersessionmodel-note-mapper", ("access", "id"), note),
            _mapper("sub", "oidc-sub-mapper", access, {}),
        ],
        "email": [
            _claim("email", "email", seen),
            _claim("email_verified", "emailVerified", seen, "property", "boolean"),
        ],
        "offline_access": [],
        "profile": [
            _claim("family_name", "lastName", seen),
            _claim("given_name", "firstName", seen),
            _mapper("name", "oidc-full-name-mapper", seen, {}),
            _claim("preferred_username", "username", shown),
        ],
        "roles": [
            _mapper("audience resolve", "oidc-audience-resolve-mapper", access, {}),
            _roles_claim("realm roles", "realm_access.roles", access),
            *(
                _mapper(
                    f"roles of {client}",
                    "oidc-usermodel-client-role-mapper",
                    access,
                    {
                        "claim.name": f"resource_access.{client}.roles",
                        "jsonType.label": "String",
                        "multivalued": "true",
                        "usermodel.clientRoleMapping.clientId": client,
                    },
                )
                for client in ("account", "realm-management")
            ),
        ],
        "stoa-mcp": [_mapper("audience", "oidc-audience-mapper", access, {"included.custom.audience": mcp})],
        "web-origins": [_mapper("allowed web origins", "oidc-allowed-origins-mapper", access, {})],
    }
    for name, (description, consent, named) in _FILLED.items():
        yield name, _scope(name, description, consent, named, "platform", mappers[name])
    tenant = _claim("tenant", "tenant", ("access", "id"))
    tenant["config"] |= {"aggregate.attrs": "true", "multivalued": "true"}
    both = [_roles_claim("roles", "roles", ("access", "id")), tenant]
    for name, owner in {"stoa-tenant": "platform", **{f"stoa-tenant-{t}": t for t in gated}}.items():
        text = "The tenant, and the roles held there."
        yield name, _scope(name, text, "Your tenant and your roles", False, owner, both)
    if cimd:
        yield "stoa-roles", _scope("stoa-roles", "Roles that a token may carry.", "", False, "platform", [])


def _scope(name: str, description: str, consent: str, named: bool, owner: str, mappers: list[Entry]) -> Entry:
    attributes = {
        "display.on.consent.screen": json.dumps(bool(consent)),
        "include.in.token.scope": json.dumps(named),
        "stoa.managed": owner,
    }
    if consent:
        attributes["consent.screen.text"] = consent
    if not named:
        attributes["include.in.openid.provider.metadata"] = "false"
    entry = {"name": name, "description": description, "protocol": "openid-connect", "attributes": attributes}
    return entry | {"protocolMappers": mappers} if mappers else entry


# People


def _users(graph: Graph, tenants: Sequence[TenantNode]) -> Iterator[tuple[str, Entry]]:
    for person in (*graph.people, *(p for t in tenants for p in t.people)):
        home = f"/{person.tenant}"
        yield (
            person.username,
            {
                "username": person.username,
                "firstName": person.first_name,
                "lastName": person.last_name,
                "email": person.email,
                "emailVerified": False,
                "enabled": True,
                "groups": sorted({home, *(f"{home}/{g}" for g in person.groups)}),
                "requiredActions": ["UPDATE_PASSWORD"],
                "clientRoles": {"account": ["manage-account", "view-profile"], "stoa.gateway": ["stoa.managed"]},
            },
        )
    for tenant in tenants:
        for consumer in tenant.consumers:
            if "client_credentials" in consumer.declared.spec.grant_types:
                name = f"service-account-{consumer.client_id}"
                yield (
                    name,
                    {
                        "username": name,
                        "serviceAccountClientId": consumer.client_id,
                        "enabled": True,
                        "groups": [f"/{tenant.name}"],
                        "realmRoles": sorted(consumer.declared.spec.roles),
                    },
                )


def _groups(
    graph: Graph, tenants: Sequence[TenantNode], gated: set[str], platform: bool
) -> Iterator[tuple[str, Entry]]:
    tops: list[tuple[str, str, Sequence[GroupNode]]] = [
        (t.name, t.declared.spec.display_name, t.groups) for t in tenants
    ]
    if platform:
        tops.append(("platform", graph.platform.spec.display_name, graph.groups))
    for name, title, groups in tops:
        below = []
        for group in sorted(groups, key=lambda g: g.name):
            attributes = {"stoa.managed": [name]}
            if group.members is not None:
                attributes["stoa.members"] = ["declared"]
            below.append({"name": group.name, "realmRoles": sorted(group.roles), "attributes": attributes})
        entry: Entry = {
            "name": name,
            "description": title,
            "attributes": {"tenant": [name], "stoa.managed": [name]},
            "subGroups": below,
        }
        yield name, entry | ({"clientRoles": {"stoa.gateway": [name]}} if name in gated else {})
