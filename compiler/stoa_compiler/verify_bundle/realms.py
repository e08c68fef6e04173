"""What tokens say to whom: realms compared with what the gateway expects and with the catalogs."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from stoa_compiler.diagnostics import listed
from stoa_compiler.targets.keycloak.realm import Realm, Token
from stoa_compiler.verify_bundle import catalogs
from stoa_compiler.verify_bundle.catalogs import Access
from stoa_compiler.verify_bundle.findings import (
    CLIENT,
    CROSSING,
    ISSUER,
    MISMATCH,
    ROLE_MISSING,
    SECRET,
    TOKEN,
    UNREADABLE,
)
from stoa_compiler.verify_bundle.reading import Json, Read
from stoa_schemas import bundle
from stoa_schemas.names import PLATFORM_TENANT

_FLOWS = ("implicitFlowEnabled", "directAccessGrantsEnabled")
_OWN_CLIENTS = frozenset({"account", "account-console"})
_SECRET = re.compile(r"(?i)secret|credential|privatekey|certificate|password(?!policy)|registrationaccesstoken")
_HARDENED: Mapping[str, tuple[Any, ...]] = {
    "bruteForceProtected": (True,),
    "defaultSignatureAlgorithm": ("RS256",),
    "eventsEnabled": (True,),
    "registrationAllowed": (False,),
    "revokeRefreshToken": (True,),
    "sslRequired": ("all", "external"),
}


def prove(read: Read) -> None:
    """Adds what is wrong with the realms."""
    if not read.realms:
        return
    _issuers(read)
    _clients_known(read)
    for path, realm in read.realms.items():
        try:
            _realm(read, path, realm)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            read.add(UNREADABLE, path, f"it is not shaped like a realm: {error!r}")


def _issuers(read: Read) -> None:
    """Each issuer that the gateway trusts is one of the bundle's realms, and each realm is trusted for its tenant."""
    index = read.index
    if index is None:
        return
    token, at = index["token"], bundle.PLATFORM_INDEX
    issuers = token.get("issuers")
    named = {r.data.get("realm"): p for p, r in read.realms.items()}
    if index["environment"] == "dev" and bundle.DEVELOPMENT in read.files and issuers is None:
        return  # `stoa dev` has an issuer of its own.
    trusted = {token["issuer"]} if issuers is None else {i["issuer"] for i in issuers}
    ends = {urlsplit(i).path.rpartition("/realms/")[2] for i in trusted}
    for issuer in sorted(trusted):
        name = urlsplit(issuer).path.rpartition("/realms/")[2]
        if name not in named:
            read.add(ISSUER, at, f"`{issuer}` is no realm of the bundle", "token", "issuer")
    for name in sorted(str(n) for n in named if n not in ends):
        read.add(ISSUER, named[name], f"nobody trusts the realm `{name}`", "realm")
    for number, entry in enumerate(issuers or [{"issuer": token["issuer"], "jwksUrl": token["jwksUrl"]}]):
        if entry["jwksUrl"] != entry["issuer"].rstrip("/") + "/protocol/openid-connect/certs":
            where = ("token", "issuers", number, "jwksUrl") if issuers else ("token", "jwksUrl")
            read.add(ISSUER, at, "keys are not fetched from their issuer", *where)
    if issuers is None:
        return
    if [i["issuer"] for i in issuers if i["tenant"] == PLATFORM_TENANT] != [token["issuer"]]:
        read.add(ISSUER, at, "the platform's issuer is not the first one", "token", "issuer")
    if sorted(i["tenant"] for i in issuers) != sorted([PLATFORM_TENANT, *(t["name"] for t in index["tenants"])]):
        read.add(ISSUER, at, "there is not one issuer for each tenant", "token", "issuers")
    for number, entry in enumerate(issuers):
        realm = read.realms.get(named.get(urlsplit(entry["issuer"]).path.rpartition("/realms/")[2], ""))
        groups = {g.get("name") for g in realm.data.get("groups", [])} if realm is not None else set()
        if realm is not None and groups != {entry["tenant"]}:
            said = f"`{entry['issuer']}` speaks for `{entry['tenant']}`, and its realm holds {listed(sorted(groups))}"
            read.add(ISSUER, at, said, "token", "issuers", number)


def _clients_known(read: Read) -> None:
    """The applications of the catalogs are those of the realms."""
    index = read.index
    if index is None:
        return
    declared = {c["clientId"]: (p, n) for p, k in read.catalogs.items() for n, c in enumerate(k["consumers"])}
    found: dict[str, str] = {}
    for path, realm in read.realms.items():
        for client in realm.data.get("clients", []):
            if isinstance(client, dict) and _signs_in(client):
                found[str(client.get("clientId"))] = path
    for client_id in sorted(declared.keys() - found.keys()):
        path, number = declared[client_id]
        read.add(CLIENT, path, f"no realm knows the application `{client_id}`", "consumers", number, "clientId")
    for client_id in sorted(found.keys() - declared.keys() - set(index["clients"]) - _OWN_CLIENTS):
        read.add(CLIENT, found[client_id], f"nobody declared the application `{client_id}`", "clients")
    for client_id in sorted(set(index["clients"]) - found.keys()):
        read.add(CLIENT, bundle.PLATFORM_INDEX, f"no realm knows the client `{client_id}`", "clients")


def _signs_in(client: Json) -> bool:
    flows = ("standardFlowEnabled", "serviceAccountsEnabled", *_FLOWS)
    return any(client.get(f, f == "standardFlowEnabled") for f in flows)


def _realm(read: Read, path: str, realm: Realm) -> None:
    data = realm.data
    for key, allowed in _HARDENED.items():
        if data.get(key) not in allowed:
            read.add(CLIENT, path, f"`{key}` is {data.get(key)!r}", key)
    for key, most in (("accessTokenLifespan", 900), ("failureFactor", 10), ("ssoSessionMaxLifespan", 43200)):
        if not isinstance(data.get(key), int) or data[key] > most:
            read.add(CLIENT, path, f"`{key}` is {data.get(key)!r}, more than {most}", key)
    _secrets(read, path, data, ())
    _enforced(read, path, data)
    for number, client in enumerate(data.get("clients", [])):
        _client(read, path, client, number)
    index = read.index
    if index is not None:
        _tokens(read, path, realm, index)
        _organizations(read, path, realm)


def _secrets(read: Read, path: str, value: Any, at: tuple[str | int, ...]) -> None:
    if isinstance(value, dict):
        for key, child in value.items():
            if _SECRET.search(key):
                read.add(SECRET, path, "this is a secret's place", *at, key)
            _secrets(read, path, child, (*at, key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            _secrets(read, path, child, (*at, number))
    elif isinstance(value, str) and "${" in value:
        read.add(SECRET, path, "Keycloak would put the server's environment in here", *at)


def _enforced(read: Read, path: str, data: Json) -> None:
    """One policy holds every client to the code flow with PKCE."""
    profiles = {p["name"]: p for p in data.get("clientProfiles", {}).get("profiles", [])}
    enforced = set()
    for policy in data.get("clientPolicies", {}).get("policies", []):
        if policy.get("enabled") is True and [c.get("condition") for c in policy.get("conditions", [])] == [
            "any-client"
        ]:
            executors = [e for n in policy.get("profiles", []) for e in profiles.get(n, {}).get("executors", [])]
            enforced |= {e.get("executor") for e in executors if e.get("configuration") == {"auto-configure": True}}
    for executor in ("pkce-enforcer", "reject-implicit-grant", "reject-ropc-grant"):
        if executor not in enforced:
            read.add(CLIENT, path, f"no policy holds every client to `{executor}`", "clientPolicies")


def _client(read: Read, path: str, client: Json, number: int) -> None:
    client_id, at = client["clientId"], ("clients", number)
    for flow in _FLOWS:
        if client.get(flow) is not False:
            read.add(CLIENT, path, f"`{client_id}` has `{flow}`", *at, flow)
    if client.get("fullScopeAllowed") is not False:
        read.add(CLIENT, path, f"tokens for `{client_id}` carry every role", *at, "fullScopeAllowed")
    if client_id in _OWN_CLIENTS:
        home = f"/realms/{read.realms[path].data.get('realm')}/account/*"
        if client.get("redirectUris") != [home]:
            read.add(CLIENT, path, f"`{client_id}` is sent elsewhere than home", *at, "redirectUris")
        return
    code = client.get("standardFlowEnabled") is True
    if code and client.get("attributes", {}).get("pkce.code.challenge.method") != "S256":
        read.add(CLIENT, path, f"`{client_id}` does not demand PKCE with S256", *at, "attributes")
    uris = client.get("redirectUris", [])
    if code != bool(uris):
        read.add(CLIENT, path, f"`{client_id}` has {len(uris)} addresses to be sent to", *at, "redirectUris")
    for place, uri in enumerate(uris):
        parts = urlsplit(uri)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if "*" in uri or not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            read.add(CLIENT, path, f"`{uri}` is not an exact and safe address", *at, "redirectUris", place)
    origins = {f"{p.scheme}://{p.netloc}" for p in map(urlsplit, uris)} if client.get("publicClient") is True else set()
    if not set(client.get("webOrigins", ["*"])) <= origins:
        read.add(CLIENT, path, f"pages of other origins read tokens of `{client_id}`", *at, "webOrigins")
    if client.get("optionalClientScopes") != []:
        read.add(CLIENT, path, f"`{client_id}` can ask for more scopes", *at, "optionalClientScopes")
    if client.get("protocolMappers"):
        read.add(CLIENT, path, f"`{client_id}` has mappers of its own", *at, "protocolMappers")


def _tokens(read: Read, path: str, realm: Realm, index: Json) -> None:
    """Each token that anybody can get says one tenant or none, its roles, and the gateway's audience alone."""
    scopes, audience = index["token"]["scopes"], {index["token"]["audience"]}
    roles = realm.realm_roles
    declared = index["roles"]
    platform_realm = PLATFORM_TENANT in {g.get("name") for g in realm.data.get("groups", [])}
    for name in sorted(roles - declared.keys()):
        read.add(ROLE_MISSING, path, f"the realm's role `{name}` is not in the role table", "roles", "realm")
    for number, role in enumerate(realm.data.get("roles", {}).get("realm", [])):
        if role.get("composite") or role.get("composites"):
            read.add(CROSSING, path, f"the role `{role['name']}` brings others with it", "roles", "realm", number)
    pairs: dict[str, frozenset[Access]] = {}
    for pair in catalogs.access(read):
        pairs[pair.role] = pairs.get(pair.role, frozenset()) | {pair}
    tenants = {g.get("name") for g in realm.data.get("groups", [])} - {PLATFORM_TENANT}
    for role, given in sorted(pairs.items()):
        here = any(p.tenant in tenants for p in given) or platform_realm
        scope = declared.get(role, {}).get("scope")
        if role not in roles and here and ((scope == "tenant" and tenants) or (scope == "platform" and platform_realm)):
            read.add(ROLE_MISSING, path, f"tools need the role `{role}`, which nobody can hold", "roles", "realm")
    clients = {c: k for c, k in realm.clients.items() if _signs_in(k) and c not in _OWN_CLIENTS}
    numbers = {c["clientId"]: n for n, c in enumerate(realm.data.get("clients", []))}
    users = {u["username"]: n for n, u in enumerate(realm.data.get("users", []))}
    for path_of, line in realm.lines.items():
        top = line[0]["name"]
        for role in line[-1].get("realmRoles", []):
            scope = declared.get(role, {}).get("scope")
            if scope == "platform" and top != PLATFORM_TENANT:
                read.add(CROSSING, path, f"the group `{path_of}` gives the platform's role `{role}`", "groups")
            if scope is None:
                read.add(ROLE_MISSING, path, f"the group `{path_of}` gives `{role}`, which nobody declared", "groups")
    for username, user in sorted(realm.users.items()):
        tops = {f"{p}/".split("/")[1] for p in user.get("groups", [])}
        at = ("users", users[username])
        if len(tops) != 1 or any(p not in realm.lines for p in user.get("groups", [])):
            read.add(CROSSING, path, f"`{username}` is in the groups of {listed(sorted(tops)) or 'nobody'}", *at)
            continue
        (home,) = tops
        own = user.get("serviceAccountClientId")
        if own is None and user.get("realmRoles"):
            read.add(CROSSING, path, f"`{username}` holds roles that no group gives", *at, "realmRoles")
        for client_id in [own] if own is not None else sorted(clients):
            client = clients.get(client_id)
            if client is None:
                read.add(CLIENT, path, f"`{username}` is the account of an application that is not here", *at)
                continue
            if own is None and client.get("standardFlowEnabled") is not True:
                continue
            owner = client_id.partition(".")[0] if "." in client_id else None
            token = realm.token(username, client_id)
            if said := _disagreement(token, home, owner, audience, scopes):
                read.add(
                    TOKEN, path, f"a token of `{username}` for `{client_id}` {said}", "clients", numbers[client_id]
                )
            held = frozenset(r for p in user.get("groups", []) for g in realm.lines[p] for r in g.get("realmRoles", []))
            held |= frozenset(user.get("realmRoles", []))
            if owner in (None, home) and token.roles != held & roles:
                said = f"has the roles {listed(sorted(token.roles)) or 'none'}, not {listed(sorted(held)) or 'none'}"
                read.add(
                    TOKEN, path, f"a token of `{username}` for `{client_id}` {said}", "clients", numbers[client_id]
                )
            for tenant in token.tenants:
                for pair in sorted(catalogs.callable_by(tenant, token.roles, pairs, index), key=lambda p: p.tool):
                    if home not in (pair.tenant, PLATFORM_TENANT):
                        read.add(CROSSING, path, f"`{username}` of `{home}` reaches `{pair.tool}`", *at)
                        break
    _people(read, path, realm)


def _disagreement(token: Token, home: str, owner: str | None, audience: set[str], scopes: list[str]) -> str | None:
    """What a token says wrongly. A tenant's application says something of the tenant's own people only."""
    wanted = {home} if owner in (None, home) else set()
    if token.tenants != wanted:
        return f"names {listed(sorted(token.tenants)) or 'no tenant'}, not {listed(sorted(wanted)) or 'none'}"
    if not wanted and token.roles:
        return f"holds {listed(sorted(token.roles))} of another tenant"
    if token.audience != audience:
        return f"is for {listed(sorted(token.audience)) or 'nobody'}"
    if not token.subject:
        return "has no `sub`"
    if missing := sorted(set(scopes) - token.scopes):
        return f"lacks the scope {listed(missing)}"
    return None


def _people(read: Read, path: str, realm: Realm) -> None:
    """The development issuer's people hold what the realm gives them."""
    development = read.development
    for number, person in enumerate(development["people"] if development else ()):
        account = realm.accounts.get(person["username"])
        if account is not None and (account.tenants, account.roles) != (
            frozenset({person["tenant"]}),
            frozenset(person["roles"]),
        ):
            said = f"`{person['username']}` differs from the realm"
            read.add(MISMATCH, bundle.DEVELOPMENT, said, "people", number)


def _organizations(read: Read, path: str, realm: Realm) -> None:
    """Whoever is in an Organization is one of that tenant's people."""
    for number, organization in enumerate(realm.data.get("organizations", [])):
        name = organization.get("name")
        for place, member in enumerate(organization.get("members", [])):
            user = realm.users.get(member.get("username", ""), {})
            if f"/{name}" not in user.get("groups", []):
                said = f"`{member.get('username')}` is in the Organization `{name}`, and none of its people"
                read.add(CROSSING, path, said, "organizations", number, "members", place)
            if member.get("membershipType") != "UNMANAGED":
                said = f"the account of `{member.get('username')}` would go with the Organization `{name}`"
                read.add(CROSSING, path, said, "organizations", number, "members", place)
        inside = {m.get("username") for m in organization.get("members", [])}
        own = {
            u for u, k in realm.users.items() if f"/{name}" in k.get("groups", []) and "serviceAccountClientId" not in k
        }
        if own - inside:
            said = f"{listed(sorted(own - inside))} are not in the Organization `{name}`"
            read.add(MISMATCH, path, said, "organizations", number, "members")
