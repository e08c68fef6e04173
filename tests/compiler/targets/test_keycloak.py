"""The realm that is emitted, and what `verify` finds when it was tampered with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from stoa_compiler.diagnostics import Report
from stoa_compiler.graph import ConsumerNode, Graph, GroupNode, Origin, PersonNode, TenantNode
from stoa_compiler.local import Endpoints, localise
from stoa_compiler.source import Document, SourceFile, Span, SpanTree
from stoa_compiler.target import Artifact
from stoa_compiler.targets import mcp
from stoa_compiler.targets.keycloak import TARGET
from stoa_compiler.targets.keycloak.verify import _is_harmless
from stoa_schemas.bundle import PLATFORM_INDEX, PlatformIndex
from stoa_schemas.documents import Consumer, Platform, Tenant

Realm = dict[str, Any]

PLATFORM: Mapping[str, Any] = {
    "apiVersion": "gostoa.dev/v2",
    "kind": "Platform",
    "metadata": {"name": "stoa"},
    "spec": {
        "displayName": "STOA",
        "domain": "stoa.example",
        "environments": {
            "prod": {
                "gateway": "https://mcp.stoa.example",
                "issuer": "https://id.stoa.example/realms/stoa",
                "targets": ["keycloak"],
            },
            "dev": {
                "gateway": "http://127.0.0.1:8000/",
                "issuer": "http://127.0.0.1:8001",
                "development": True,
                "targets": ["keycloak"],
            },
        },
        "zones": {},
        "flows": [],
        "tiers": {"small": {"maxContracts": 5, "maxTools": 50, "maxConsumers": 5, "maxRate": "10/second"}},
        "classifications": {},
        "roles": {
            "admin": {"description": "Runs the platform.", "scope": "platform", "permissions": ["catalog:read"]},
            "developer": {"description": "Builds with the APIs.", "permissions": ["tools:read"]},
            "reader": {"description": "Looks things up.", "permissions": ["tools:read"]},
        },
        "people": {"halliday": {"firstName": "James", "lastName": "Halliday", "email": "halliday@stoa.example"}},
        "groups": {"operators": {"roles": ["admin"], "members": ["halliday"]}},
        "backends": {"allowedHosts": []},
        "identity": {
            "realm": "stoa",
            "clients": {
                "claude": {
                    "displayName": "Claude",
                    "redirectUris": [
                        "https://claude.com/api/mcp/auth_callback",
                        "https://claude.ai/api/mcp/auth_callback",
                    ],
                }
            },
        },
    },
}


def tenant(name: str, people: list[str], environments: list[str]) -> Mapping[str, Any]:
    """A tenant whose first person is a developer and whose others are readers."""
    return {
        "apiVersion": "gostoa.dev/v2",
        "kind": "Tenant",
        "metadata": {"name": name},
        "spec": {
            "displayName": name.upper(),
            "tier": "small",
            "contact": f"team@{name}.example",
            "environments": environments,
            "people": {
                p: {"firstName": p.title(), "lastName": "Doe", "email": f"{p}@{name}.example"} for p in sorted(people)
            },
            "groups": {
                "builders": {"roles": ["developer", "reader"], "members": people[:1]},
                "guests": {"roles": ["reader"]},
                "readers": {"roles": ["reader"], "members": people[1:]},
            },
            "secrets": {"prefix": f"tenants/{name}"},
        },
    }


CONSUMERS: Mapping[str, Mapping[str, Any]] = {
    "web": {
        "displayName": "Web application",
        "description": "Shows the stock.",
        "client": "public",
        "grantTypes": ["authorization_code", "refresh_token"],
        "redirectUris": ["https://app.ioi.example/callback"],
    },
    "robot": {
        "displayName": "Night robot",
        "client": "confidential",
        "grantTypes": ["client_credentials"],
        "roles": ["reader"],
        "actors": [{"name": "Night planner", "kind": "agent"}],
    },
}


def document(path: str, data: Mapping[str, Any]) -> Document:
    """`data` as if written to a file with one key or item a line, in the order of a walk."""
    lines = 0

    def tree(value: Any) -> SpanTree:
        nonlocal lines
        lines += 1
        here = Span(path, lines, 1, lines, 2)
        entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return SpanTree(here, here, {key: tree(child) for key, child in entries})

    spans = tree(data)
    return Document(SourceFile(path, path, b""), data, lambda: spans)


def people_of(name: str, doc: Document) -> tuple[tuple[PersonNode, ...], tuple[GroupNode, ...]]:
    spec = doc.data["spec"]
    groups = spec["groups"]
    mine = {u: sorted(g for g in groups if u in groups[g].get("members", [])) for u in spec["people"]}
    people = tuple(
        PersonNode(
            username=username,
            first_name=person["firstName"],
            last_name=person["lastName"],
            email=person["email"],
            tenant=name,
            groups=tuple(mine[username]),
            roles=tuple(sorted({r for g in mine[username] for r in groups[g]["roles"]})),
            origin=Origin(doc, ("spec", "people", username)),
        )
        for username, person in sorted(spec["people"].items())
    )
    nodes = tuple(
        GroupNode(
            g,
            tuple(groups[g]["roles"]),
            tuple(groups[g]["members"]) if "members" in groups[g] else None,
            Origin(doc, ("spec", "groups", g)),
        )
        for g in sorted(groups)
    )
    return people, nodes


def tenant_node(
    name: str, people: list[str], environments: list[str], consumers: Mapping[str, Mapping[str, Any]]
) -> TenantNode:
    doc = document(f"{name}/tenant.yaml", tenant(name, people, environments))
    persons, groups = people_of(name, doc)
    nodes = []
    for consumer, spec in sorted(consumers.items()):
        metadata = {"name": consumer, "tenant": name}
        data = {"apiVersion": "gostoa.dev/v2", "kind": "Consumer", "metadata": metadata, "spec": dict(spec)}
        origin = Origin(document(f"{name}/consumers/{consumer}.yaml", data))
        nodes.append(ConsumerNode(consumer, f"{name}.{consumer}", Consumer.model_validate(data), (), origin))
    return TenantNode(
        name=name,
        declared=Tenant.model_validate(doc.data),
        people=persons,
        groups=groups,
        contracts=(),
        consumers=tuple(nodes),
        plans=(),
        access={"developer": (f"{name}:stock:list",), "reader": (f"{name}:stock:list",)},
        rate="10/second",
        origin=Origin(doc),
    )


@pytest.fixture
def graph() -> Graph:
    """Two tenants in prod and one in dev; `ioi` has an application with people, and one without."""
    doc = document("platform.yaml", PLATFORM)
    people, groups = people_of("platform", doc)
    return Graph(
        name="stoa",
        platform=Platform.model_validate(PLATFORM),
        people=people,
        groups=groups,
        tenants=(
            tenant_node("greg", ["sorrento"], ["prod"], {}),
            tenant_node("ioi", ["parzival", "art3mis"], ["prod", "dev"], CONSUMERS),
        ),
        origin=Origin(doc),
    )


def emitted(graph: Graph, environment: str = "prod") -> Artifact:
    (artifact,) = TARGET.emit(graph, environment, {})
    return artifact


def realm_of(graph: Graph, environment: str = "prod") -> Realm:
    realm: Realm = json.loads(emitted(graph, environment).content)
    return realm


def findings(graph: Graph, realm: Realm, environment: str = "prod") -> list[tuple[str, str, str]]:
    """Code, place and message of what `verify` says of the realm."""
    content = json.dumps(realm).encode()
    artifact = Artifact("keycloak/stoa-realm.json", "application/json", content, ())
    report = Report()
    TARGET.verify(graph, environment, {artifact.path: artifact}, report)
    return [(d.rule.code, str(d.span), d.message) for d in report.sorted()]


def by(key: str, name: str, entries: list[Realm]) -> Realm:
    return next(e for e in entries if e.get(key) == name)


def client(realm: Realm, name: str) -> Realm:
    return by("clientId", name, realm["clients"])


def user(realm: Realm, name: str) -> Realm:
    return by("username", name, realm["users"])


def scope(realm: Realm, name: str) -> Realm:
    return by("name", name, realm["clientScopes"])


def group(realm: Realm, name: str) -> Realm:
    return by("name", name, realm["groups"])


def drop_mapper(realm: Realm, owner: str, name: str) -> None:
    scope(realm, owner)["protocolMappers"] = [m for m in scope(realm, owner)["protocolMappers"] if m["name"] != name]


def test_the_realm_as_emitted_holds(graph: Graph) -> None:
    for environment in ("prod", "dev"):
        assert findings(graph, realm_of(graph, environment), environment) == []


def test_emitting_twice_gives_the_same_bytes_whatever_the_order_of_the_graph(graph: Graph) -> None:
    turned = replace(graph, tenants=graph.tenants[::-1])
    assert emitted(graph).content == emitted(turned).content
    assert emitted(graph).content.endswith(b"}\n")
    assert emitted(graph).path == "keycloak/stoa-realm.json"
    assert emitted(graph).media_type == "application/json"


def test_every_list_is_sorted(graph: Graph) -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for child in value.values():
                walk(child)
        if isinstance(value, list):
            keys = ("username", "clientId", "name", "client")
            named = [next((v[k] for k in keys if k in v), "") if isinstance(v, dict) else v for v in value]
            assert named == sorted(named)
            for child in value:
                walk(child)

    walk(realm_of(graph))


def test_a_tenant_outside_the_environment_is_not_in_its_realm(graph: Graph) -> None:
    realm = realm_of(graph, "dev")
    assert [g["name"] for g in realm["groups"]] == ["ioi", "platform"]
    assert "sorrento" not in [u["username"] for u in realm["users"]]


def test_people_are_in_their_tenants_groups_and_have_no_password(graph: Graph) -> None:
    realm = realm_of(graph)
    assert user(realm, "parzival")["groups"] == ["/ioi", "/ioi/builders"]
    assert user(realm, "halliday")["groups"] == ["/platform", "/platform/operators"]
    assert not any("credentials" in u for u in realm["users"])
    assert group(realm, "ioi")["attributes"] == {"stoa.managed": ["ioi"], "tenant": ["ioi"]}


def test_membership_that_is_not_managed_differs_from_membership_of_nobody(graph: Graph) -> None:
    groups = {g["name"]: g for g in group(realm_of(graph), "greg")["subGroups"]}
    assert groups["readers"]["attributes"] == {"stoa.managed": ["greg"], "stoa.members": ["declared"]}
    assert groups["guests"]["attributes"] == {"stoa.managed": ["greg"]}


def test_the_mcp_client_is_public_with_pkce_and_exact_callbacks(graph: Graph) -> None:
    claude = client(realm_of(graph), "claude")
    assert claude["redirectUris"] == [
        "https://claude.ai/api/mcp/auth_callback",
        "https://claude.com/api/mcp/auth_callback",
    ]
    assert claude["attributes"] == {"pkce.code.challenge.method": "S256", "stoa.managed": "platform"}
    assert claude["publicClient"] is True
    assert claude["defaultClientScopes"] == ["basic", "email", "profile", "stoa-mcp", "stoa-tenant"]


def test_the_audience_is_the_exact_mcp_url(graph: Graph) -> None:
    for environment, url in (("prod", "https://mcp.stoa.example/mcp"), ("dev", "http://127.0.0.1:8000/mcp")):
        (mapper,) = scope(realm_of(graph, environment), "stoa-mcp")["protocolMappers"]
        assert mapper["config"]["included.custom.audience"] == url


def test_a_tenants_client_has_tenant_roles_only_and_is_open_to_its_own_people(graph: Graph) -> None:
    realm = realm_of(graph)
    assert by("client", "ioi.web", realm["scopeMappings"])["roles"] == ["developer", "reader"]
    assert by("client", "ioi.robot", realm["scopeMappings"])["roles"] == ["reader"]
    assert by("client", "claude", realm["scopeMappings"])["roles"] == ["admin", "developer", "reader"]
    assert realm["clientScopeMappings"]["stoa.gateway"] == [{"clientScope": "stoa-tenant-ioi", "roles": ["ioi"]}]
    assert group(realm, "ioi")["clientRoles"] == {"stoa.gateway": ["ioi"]}
    assert "clientRoles" not in group(realm, "greg")


def test_an_application_without_people_has_an_account_in_its_tenant(graph: Graph) -> None:
    realm = realm_of(graph)
    robot = client(realm, "ioi.robot")
    assert (robot["standardFlowEnabled"], robot["serviceAccountsEnabled"], robot["publicClient"]) == (
        False,
        True,
        False,
    )
    assert robot["attributes"] == {"stoa.actors": '[["agent", "Night planner"]]', "stoa.managed": "ioi"}
    account = user(realm, "service-account-ioi.robot")
    assert (account["groups"], account["realmRoles"]) == (["/ioi"], ["reader"])


def test_a_public_application_may_be_read_from_where_it_is_sent_back_to(graph: Graph) -> None:
    realm = realm_of(graph)
    assert client(realm, "ioi.web")["webOrigins"] == ["https://app.ioi.example"]
    assert client(realm, "ioi.robot")["webOrigins"] == []


Mutation = Callable[[Realm], object]

MUTATIONS: Mapping[str, tuple[Mutation, str, str, str]] = {
    "an account console that is sent elsewhere": (
        lambda r: client(r, "account-console").update(redirectUris=["https://evil.example/*"]),
        "STOA652",
        "platform.yaml",
        "Keycloak's own `account-console` differs in `redirectUris`",
    ),
    "an account console with the gateway's tokens": (
        lambda r: client(r, "account-console")["defaultClientScopes"].append("stoa-mcp"),
        "STOA652",
        "platform.yaml",
        "Keycloak's own `account-console` differs in `defaultClientScopes`",
    ),
    "a client that nobody would take back": (
        lambda r: client(r, "ioi.web")["attributes"].pop("stoa.managed"),
        "STOA655",
        "ioi/consumers/web.yaml",
        "`ioi.web` is not marked as `ioi`'s",
    ),
    "a client marked as another's": (
        lambda r: client(r, "ioi.web")["attributes"].update({"stoa.managed": "greg"}),
        "STOA655",
        "ioi/consumers/web.yaml",
        "`ioi.web` is not marked as `ioi`'s",
    ),
    "a group without a mark": (
        lambda r: group(r, "greg")["subGroups"][0].pop("attributes"),
        "STOA655",
        "greg/tenant.yaml",
        "the group `/greg/builders` is not marked as `greg`'s",
    ),
    "a person without a mark": (
        lambda r: user(r, "parzival")["clientRoles"].pop("stoa.gateway"),
        "STOA655",
        "ioi/tenant.yaml",
        "`parzival` is not marked",
    ),
    "no subject": (
        lambda r: drop_mapper(r, "basic", "sub"),
        "STOA642",
        "ioi/tenant.yaml",
        "a token of `art3mis` for `claude` has no `sub`",
    ),
    "no tenant": (
        lambda r: drop_mapper(r, "stoa-tenant", "tenant"),
        "STOA642",
        "ioi/tenant.yaml",
        "a token of `art3mis` for `claude` has nothing in `tenant`, not `ioi`",
    ),
    "no roles": (
        lambda r: drop_mapper(r, "stoa-tenant-ioi", "roles"),
        "STOA642",
        "ioi/tenant.yaml",
        "a token of `art3mis` for `ioi.web` has nothing in `roles`, not `reader`",
    ),
    "only one of several tenants shown": (
        lambda r: by("name", "tenant", scope(r, "stoa-tenant")["protocolMappers"])["config"].update(
            {"aggregate.attrs": "false"}
        ),
        "STOA642",
        "platform.yaml",
        "the mapper of `tenant` in the scope `stoa-tenant` differs in `aggregate.attrs`",
    ),
    "another tenant's attribute": (
        lambda r: group(r, "greg").update(attributes={"tenant": ["ioi"]}),
        "STOA642",
        "greg/tenant.yaml",
        "a token of `sorrento` for `claude` has `ioi` in `tenant`, not `greg`",
    ),
    "two tenants at once": (
        lambda r: user(r, "sorrento")["groups"].append("/ioi/builders"),
        "STOA642",
        "greg/tenant.yaml",
        "a token of `sorrento` for `claude` has `greg`, `ioi` in `tenant`, not `greg`",
    ),
    "a tenant's client opened to everybody": (
        lambda r: r.update(clientScopeMappings={}),
        "STOA642",
        "platform.yaml",
        "a token of `halliday` for `ioi.web` has `platform` in `tenant`, not nothing",
    ),
    "a tenant's client opened to another tenant": (
        lambda r: group(r, "greg").update(clientRoles={"stoa.gateway": ["ioi"]}),
        "STOA642",
        "greg/tenant.yaml",
        "a token of `sorrento` for `ioi.web` has `greg` in `tenant`, not nothing",
    ),
    "a role more in a group": (
        lambda r: by("name", "readers", group(r, "ioi")["subGroups"])["realmRoles"].append("developer"),
        "STOA642",
        "ioi/tenant.yaml",
        "a token of `art3mis` for `claude` has `developer`, `reader` in `roles`, not `reader`",
    ),
    "a role of the platform in a tenant": (
        lambda r: by("name", "guests", group(r, "greg")["subGroups"])["realmRoles"].append("admin"),
        "STOA653",
        "greg/tenant.yaml",
        "the group `/greg/guests` holds the platform's role `admin`",
    ),
    "a role of the platform for an application": (
        lambda r: user(r, "service-account-ioi.robot")["realmRoles"].append("admin"),
        "STOA653",
        "ioi/consumers/robot.yaml",
        "`service-account-ioi.robot` holds the platform's role `admin`",
    ),
    "a role out of scope": (
        lambda r: by("client", "claude", r["scopeMappings"])["roles"].remove("admin"),
        "STOA642",
        "platform.yaml",
        "a token of `halliday` for `claude` has nothing in `roles`, not `admin`",
    ),
    "an application's account outside its tenant": (
        lambda r: user(r, "service-account-ioi.robot").update(groups=[]),
        "STOA642",
        "ioi/consumers/robot.yaml",
        "a token of `ioi.robot` itself has nothing in `tenant`, not `ioi`",
    ),
    "another audience": (
        lambda r: scope(r, "stoa-mcp")["protocolMappers"][0]["config"].update(
            {"included.custom.audience": "https://mcp.stoa.example/"}
        ),
        "STOA642",
        "ioi/tenant.yaml",
        "a token of `art3mis` for `claude` has `https://mcp.stoa.example/` in `aud`, not `https://mcp.stoa.example/mcp`",
    ),
    "a mapper that says anything": (
        lambda r: scope(r, "basic")["protocolMappers"].append(
            {"name": "x", "protocolMapper": "oidc-hardcoded-claim-mapper", "config": {"claim.name": "tenant"}}
        ),
        "STOA652",
        "platform.yaml",
        "the scope `basic` has a mapper `oidc-hardcoded-claim-mapper`",
    ),
    "a client's own mapper": (
        lambda r: client(r, "claude").update(protocolMappers=[]),
        "STOA652",
        "platform.yaml",
        "`claude` in `clients` sets `protocolMappers`",
    ),
    "a wider redirect": (
        lambda r: client(r, "ioi.web").update(redirectUris=["https://app.ioi.example/*"]),
        "STOA645",
        "ioi/consumers/web.yaml",
        "`https://app.ioi.example/*` holds a wildcard",
    ),
    "another redirect": (
        lambda r: client(r, "claude")["redirectUris"].append("https://claude.example/cb"),
        "STOA643",
        "platform.yaml",
        "`claude` is sent back to `https://claude.ai/api/mcp/auth_callback`, "
        "`https://claude.com/api/mcp/auth_callback`, `https://claude.example/cb`",
    ),
    "the password grant": (
        lambda r: client(r, "ioi.web").update(directAccessGrantsEnabled=True),
        "STOA643",
        "ioi/consumers/web.yaml",
        "`ioi.web` has `directAccessGrantsEnabled` true, not false",
    ),
    "a flow left to the server": (
        lambda r: client(r, "claude").pop("implicitFlowEnabled"),
        "STOA643",
        "platform.yaml",
        "`claude` has `implicitFlowEnabled` null, not false",
    ),
    "no PKCE": (
        lambda r: client(r, "ioi.web").update(attributes={}),
        "STOA643",
        "ioi/consumers/web.yaml",
        "`ioi.web` does not demand PKCE with S256",
    ),
    "the device flow": (
        lambda r: client(r, "claude")["attributes"].update({"oauth2.device.authorization.grant.enabled": "true"}),
        "STOA652",
        "platform.yaml",
        "`claude` sets `oauth2.device.authorization.grant.enabled`",
    ),
    "tokens that never end": (
        lambda r: client(r, "claude").update(optionalClientScopes=["offline_access"]),
        "STOA643",
        "platform.yaml",
        "`claude` can ask for `offline_access`",
    ),
    "origins left to the server": (
        lambda r: client(r, "ioi.robot").pop("webOrigins"),
        "STOA643",
        "ioi/consumers/robot.yaml",
        "`ioi.robot` leaves it to the server whose pages read its tokens",
    ),
    "all origins": (
        lambda r: client(r, "ioi.web").update(webOrigins=["*"]),
        "STOA643",
        "ioi/consumers/web.yaml",
        "`ioi.web` lets pages of `*` read its tokens",
    ),
    "a client more": (
        lambda r: r["clients"].append({"clientId": "extra", "standardFlowEnabled": True}),
        "STOA652",
        "platform.yaml",
        "the realm has the client `extra`",
    ),
    "a client fewer": (
        lambda r: r["clients"].remove(client(r, "ioi.web")),
        "STOA643",
        "ioi/consumers/web.yaml",
        "the realm lacks the client `ioi.web`",
    ),
    "one of Keycloak's clients": (
        lambda r: r["clients"].append(client(r, "stoa.gateway") | {"clientId": "realm-management"}),
        "STOA649",
        "platform.yaml",
        "`realm-management` is a client of Keycloak",
    ),
    "a secret": (
        lambda r: client(r, "ioi.robot").update(secret="x"),
        "STOA646",
        "ioi/consumers/robot.yaml",
        "`clients.secret` is a secret's place",
    ),
    "a password": (
        lambda r: user(r, "parzival").update(credentials=[{"type": "password", "value": "x"}]),
        "STOA646",
        "ioi/tenant.yaml",
        "`users.credentials` is a secret's place",
    ),
    "an administrator": (
        lambda r: user(r, "parzival")["clientRoles"].update({"realm-management": ["realm-admin"]}),
        "STOA652",
        "ioi/tenant.yaml",
        "`parzival` holds roles of `account`, `realm-management`, `stoa.gateway`",
    ),
    "an account more": (
        lambda r: r["users"].append({"username": "ghost", "enabled": True}),
        "STOA652",
        "platform.yaml",
        "the realm has the account `ghost`",
    ),
    "no role": (
        lambda r: r["roles"]["realm"].pop(),
        "STOA644",
        "platform.yaml",
        "the realm lacks the role `reader`",
    ),
    "composite roles": (
        lambda r: r["roles"]["realm"][2].update(composites={"realm": ["admin"]}),
        "STOA652",
        "platform.yaml",
        "the role `reader` sets `composites`",
    ),
    "no brute force protection": (
        lambda r: r.update(bruteForceProtected=False),
        "STOA650",
        "platform.yaml",
        "`bruteForceProtected` is false; it must be true",
    ),
    "a policy that is off": (
        lambda r: r["clientPolicies"]["policies"][0].update(enabled=False),
        "STOA650",
        "platform.yaml",
        "no policy holds every client to `pkce-enforcer`",
    ),
    "a policy for some clients": (
        lambda r: r["clientPolicies"]["policies"][0]["conditions"][0].update(condition="client-roles"),
        "STOA650",
        "platform.yaml",
        "no policy holds every client to `reject-ropc-grant`",
    ),
    "long tokens": (
        lambda r: r.update(accessTokenLifespan=86400),
        "STOA650",
        "platform.yaml",
        "`accessTokenLifespan` is 86400; it must be at most 900",
    ),
    "another way to sign in": (
        lambda r: r.update(identityProviders=[{"alias": "x"}]),
        "STOA652",
        "platform.yaml",
        "the realm sets `identityProviders`",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_verify_reports(graph: Graph, name: str) -> None:
    mutate, code, file, message = MUTATIONS[name]
    realm = realm_of(graph)
    mutate(realm)
    found = [(c, place.split(":")[0], m) for c, place, m in findings(graph, realm)]
    assert (code, file, message) in found


def test_verify_points_at_the_redirect_uri_that_is_unsafe(graph: Graph) -> None:
    ioi = next(t for t in graph.tenants if t.name == "ioi")
    web = next(c for c in ioi.consumers if c.name == "web")
    uris = ["https://app.ioi.example/callback", "http://app.ioi.example/callback", "http://127.0.0.1/callback"]
    spec = web.declared.spec.model_copy(update={"redirect_uris": uris})
    wider = replace(web, declared=web.declared.model_copy(update={"spec": spec}))
    changed = replace(graph, tenants=(replace(ioi, consumers=(wider,)),))
    (found,) = findings(changed, realm_of(changed))
    assert (found[0], found[2]) == ("STOA645", "`http://app.ioi.example/callback` is not https")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("https://app.example/*", "holds a wildcard"),
        ("https://app.example/cb#x", "has a fragment"),
        ("https://app.example#", "has a fragment"),
        ("https://user@app.example/cb", "has a user"),
        ("https://app.example/a/../cb", "walks up its path"),
        ("https://app.example/a/%2e%2e/cb", "walks up its path"),
        ("https://app.example\\@evil.example/", "holds a character that a URL cannot"),
        ("https://app.example/c b", "holds a character that a URL cannot"),
        ("javascript:alert(1)", "has no host"),
        ("/callback", "has no host"),
        ("custom://app/cb", "is not https"),
        ("https://[::1/cb", "is not a URL"),
    ],
)
def test_unsafe_redirect_uris(graph: Graph, uri: str, reason: str) -> None:
    realm = realm_of(graph)
    client(realm, "claude")["redirectUris"] = [uri]
    assert f"`{uri}` {reason}" in [m for c, _, m in findings(graph, realm) if c == "STOA645"]


def test_a_placeholder_is_found_wherever_it_stands(graph: Graph) -> None:
    person = replace(graph.people[0], last_name="${DB_PASSWORD}")
    roles = dict(graph.platform.spec.roles)
    roles["reader"] = roles["reader"].model_copy(update={"description": "Reads ${HOME}."})
    spec = graph.platform.spec.model_copy(update={"display_name": "${env}", "roles": roles})
    changed = replace(graph, people=(person,), platform=graph.platform.model_copy(update={"spec": spec}))
    found = findings(changed, realm_of(changed))
    for loc, message in (
        (("spec", "displayName"), "`displayName` holds `${`"),
        (("spec", "people", "halliday", "lastName"), "`users.lastName` holds `${`"),
        (("spec", "roles", "reader", "description"), "`roles.realm.2.description` holds `${`"),
    ):
        assert ("STOA647", str(graph.origin.document.span(loc)), message) in found


def test_a_text_that_the_database_cannot_hold_is_found(graph: Graph) -> None:
    ioi = graph.tenants[1]
    web = next(c for c in ioi.consumers if c.name == "web")
    spec = web.declared.spec.model_copy(update={"description": "x" * 256})
    longer = replace(web, declared=web.declared.model_copy(update={"spec": spec}))
    changed = replace(graph, tenants=(replace(ioi, consumers=(longer,)),))
    where = str(web.origin.document.span(("spec", "description")))
    assert findings(changed, realm_of(changed)) == [("STOA648", where, "`clients.description` has 256 characters")]


def test_one_tenant_cannot_take_anothers_account(graph: Graph) -> None:
    greg, ioi = graph.tenants
    (sorrento,) = greg.people
    taken = replace(sorrento, email="Parzival@ioi.example")
    robot = replace(sorrento, username="service-account-ioi.robot", email="r@greg.example")
    changed = replace(graph, tenants=(replace(greg, people=(taken, robot)), ioi))
    report = Report()
    artifact = emitted(changed)
    TARGET.verify(changed, "prod", {artifact.path: artifact}, report)
    collisions = [d for d in report.sorted() if d.rule.code == "STOA649"]
    assert "`service-account-ioi.robot` is a name for an application's account" in [d.message for d in collisions]
    assert "the e-mail address `parzival@ioi.example` is taken" in [d.message for d in collisions]
    assert all(not d.notes for d in collisions)  # Where the other tenant's person stands is not told.


@pytest.mark.parametrize(
    ("name", "refused"), [("O'Nale", False), ("Żółć-Smith Jr.", False), ("Dee (guest)", True), ("A&B", True)]
)
def test_a_name_that_keycloak_refuses_is_found(graph: Graph, name: str, refused: bool) -> None:
    changed = replace(graph, people=(replace(graph.people[0], last_name=name),))
    where = str(graph.origin.document.span(("spec", "people", "halliday", "lastName")))
    found = [("STOA654", where, "Keycloak refuses the `lastName` of `halliday`")] if refused else []
    assert findings(changed, realm_of(changed)) == found


def test_an_issuer_of_another_realm_is_found(graph: Graph) -> None:
    spec = graph.platform.spec
    prod = spec.environments["prod"].model_copy(update={"issuer": "https://id.stoa.example/realms/other"})
    spec = spec.model_copy(update={"environments": {**spec.environments, "prod": prod}})
    changed = replace(graph, platform=graph.platform.model_copy(update={"spec": spec}))
    where = str(graph.origin.document.span(("spec", "environments", "prod", "issuer")))
    assert findings(changed, realm_of(changed)) == [
        ("STOA651", where, "`https://id.stoa.example/realms/other` is not the realm `stoa`")
    ]


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"clients": [{}]}', b'{"users": {"a": 1}}', b'{"groups": 1}'])
def test_a_broken_file_is_reported_and_raises_nothing(graph: Graph, content: bytes | None) -> None:
    artifact = Artifact("keycloak/stoa-realm.json", "application/json", content or b"", ())
    report = Report()
    TARGET.verify(graph, "prod", {} if content is None else {artifact.path: artifact}, report)
    assert "STOA641" in {d.rule.code for d in report.found}


def test_codes_are_unique_and_explained() -> None:
    codes = [r.code for r in TARGET.rules]
    assert len(set(codes)) == len(codes)
    assert all(r.title and r.why and r.help for r in TARGET.rules)


def apart(graph: Graph) -> Graph:
    """The same source with a realm for each tenant."""
    spec = graph.platform.spec
    identity = spec.identity.model_copy(update={"strategy": "realm-per-tenant"})
    changed = spec.model_copy(update={"identity": identity})
    return replace(graph, platform=graph.platform.model_copy(update={"spec": changed}))


def realms_of(graph: Graph) -> dict[str, Realm]:
    return {a.path: json.loads(a.content) for a in TARGET.emit(graph, "prod", {})}


def findings_apart(graph: Graph, realms: Mapping[str, Realm]) -> list[tuple[str, str]]:
    report = Report()
    files = {p: Artifact(p, "application/json", json.dumps(r).encode(), ()) for p, r in realms.items()}
    TARGET.verify(graph, "prod", files, report)
    return [(d.rule.code, d.message) for d in report.sorted()]


def test_a_realm_for_each_tenant_holds_its_own_people_clients_and_roles(graph: Graph) -> None:
    realms = realms_of(apart(graph))
    assert list(realms) == [f"keycloak/stoa{t}-realm.json" for t in ("-greg", "-ioi", "")]
    assert findings_apart(apart(graph), realms) == []
    ioi, own = realms["keycloak/stoa-ioi-realm.json"], realms["keycloak/stoa-realm.json"]
    assert [u["username"] for u in ioi["users"]] == ["art3mis", "parzival", "service-account-ioi.robot"]
    assert [u["username"] for u in own["users"]] == ["halliday"]
    assert [g["name"] for g in ioi["groups"]] == ["ioi"]
    assert [r["name"] for r in ioi["roles"]["realm"]] == ["developer", "reader"]
    assert [r["name"] for r in own["roles"]["realm"]] == ["admin"]
    assert "ioi.web" not in [c["clientId"] for c in own["clients"]]
    for realm in realms.values():
        assert client(realm, "claude")["redirectUris"]
        assert client(realm, "account")["redirectUris"] == [f"/realms/{realm['realm']}/account/*"]


APART: Mapping[str, tuple[Callable[[dict[str, Realm]], object], str, str]] = {
    "no realm for a tenant": (
        lambda r: r.pop("keycloak/stoa-greg-realm.json"),
        "STOA641",
        "`keycloak/stoa-greg-realm.json` is not there, or not an object",
    ),
    "a role of the platform in a tenant's realm": (
        lambda r: r["keycloak/stoa-greg-realm.json"]["roles"]["realm"].append({"name": "admin"}),
        "STOA652",
        "the realm has the role `admin`",
    ),
    "another tenant's person": (
        lambda r: r["keycloak/stoa-greg-realm.json"]["users"].append(
            user(r["keycloak/stoa-ioi-realm.json"], "parzival") | {"groups": ["/greg"]}
        ),
        "STOA652",
        "the realm has the account `parzival`",
    ),
    "the platform's group in a tenant's realm": (
        lambda r: r["keycloak/stoa-greg-realm.json"]["groups"].append(group(r["keycloak/stoa-realm.json"], "platform")),
        "STOA652",
        "the group `/platform` gives no role",
    ),
    "another tenant's name": (
        lambda r: group(r["keycloak/stoa-greg-realm.json"], "greg")["attributes"].update(tenant=["ioi"]),
        "STOA642",
        "a token of `sorrento` for `claude` has `ioi` in `tenant`, not `greg`",
    ),
}


@pytest.mark.parametrize("name", APART)
def test_verify_reports_in_a_realm_for_each_tenant(graph: Graph, name: str) -> None:
    mutate, code, message = APART[name]
    realms = realms_of(apart(graph))
    mutate(realms)
    assert (code, message) in findings_apart(apart(graph), realms)


def test_each_tenants_issuer_is_in_the_runtimes_index(graph: Graph) -> None:
    graph = replace(graph, tenants=tuple(replace(t, access={}) for t in graph.tenants))  # No contracts: no tools.
    index = next(a for a in mcp.TARGET.emit(apart(graph), "prod", {}) if a.path == PLATFORM_INDEX)
    token = PlatformIndex.model_validate_json(index.content).token
    home = "https://id.stoa.example/realms/stoa"
    assert token.issuer == home
    assert [(i.tenant, i.issuer, i.jwks_url) for i in token.issuers or ()] == [
        (tenant, home + end, f"{home}{end}/protocol/openid-connect/certs")
        for tenant, end in (("greg", "-greg"), ("ioi", "-ioi"), ("platform", ""))
    ]
    index = next(a for a in mcp.TARGET.emit(graph, "prod", {}) if a.path == PLATFORM_INDEX)
    assert PlatformIndex.model_validate_json(index.content).token.issuers is None


def test_an_issuer_that_no_tenants_can_be_made_from_is_found_in_development_too(graph: Graph) -> None:
    report = Report()
    files = {a.path: a for a in TARGET.emit(apart(graph), "dev", {})}
    TARGET.verify(apart(graph), "dev", files, report)
    assert {d.rule.code for d in report.found} == {"STOA651"}


def test_on_one_machine_one_issuer_signs_everybody_in(graph: Graph) -> None:
    endpoints = Endpoints("http://127.0.0.1:8000", "http://127.0.0.1:8001/realms/dev", "http://127.0.0.1:8002")
    local = localise(apart(graph), "dev", endpoints)
    assert local.issuer("dev", "ioi") == local.issuer("dev", "") == endpoints.issuer
    assert len(TARGET.emit(local, "dev", {})) == 1


def with_identity(graph: Graph, **update: Any) -> Graph:
    """The same source with more said of identity."""
    spec = graph.platform.spec
    changed = spec.model_copy(update={"identity": spec.identity.model_copy(update=update)})
    return replace(graph, platform=graph.platform.model_copy(update={"spec": changed}))


def test_an_organization_holds_a_tenants_own_people(graph: Graph) -> None:
    organized = with_identity(graph, tenants="organizations")
    realm = realm_of(organized)
    assert realm["organizationsEnabled"] is True
    assert realm["organizations"] == [
        {
            "name": name,
            "alias": name,
            "description": name.upper(),
            "enabled": True,
            "attributes": {"stoa.managed": [name], "tenant": [name]},
            "members": [{"membershipType": "UNMANAGED", "username": p} for p in people],
        }
        for name, people in (("greg", ["sorrento"]), ("ioi", ["art3mis", "parzival"]))
    ]
    assert findings(organized, realm) == []
    assert not {"organizations", "organizationsEnabled"} & set(realm_of(graph))


def organization(realm: Realm, name: str) -> Realm:
    return by("name", name, realm["organizations"])


ORGANIZED: Mapping[str, tuple[Mutation, str]] = {
    "off": (lambda r: r.update(organizationsEnabled=False), "`organizationsEnabled` is false"),
    "a tenant less": (lambda r: r["organizations"].pop(), "the realm lacks the Organization `ioi`"),
    "one more": (
        lambda r: r["organizations"].append({**organization(r, "ioi"), "name": "all"}),
        "the realm has the Organization `all`",
    ),
    "another tenant's person": (
        lambda r: organization(r, "greg")["members"].append({"username": "parzival", "membershipType": "UNMANAGED"}),
        "the Organization `greg` has the members `parzival`, `sorrento`",
    ),
    "nobody": (lambda r: organization(r, "greg").update(members=[]), "the Organization `greg` has the members nobody"),
    "accounts that go with it": (
        lambda r: organization(r, "greg")["members"][0].update(membershipType="MANAGED"),
        "accounts belong to the Organization `greg`, and would go with it",
    ),
    "another's mark": (
        lambda r: organization(r, "greg")["attributes"].update({"stoa.managed": ["ioi"]}),
        "the Organization `greg` differs in `attributes`",
    ),
    "a domain": (
        lambda r: organization(r, "greg").update(domains=[{"name": "ioi.example"}]),
        "the Organization `greg` differs in `domains`",
    ),
}


@pytest.mark.parametrize("name", ORGANIZED)
def test_verify_reports_an_organization(graph: Graph, name: str) -> None:
    mutate, message = ORGANIZED[name]
    organized = with_identity(graph, tenants="organizations")
    realm = realm_of(organized)
    mutate(realm)
    assert ("STOA659", message) in [(code, said) for code, _, said in findings(organized, realm)]


def test_what_the_older_version_lacks_is_left_out_or_refused(graph: Graph) -> None:
    older = with_identity(graph, keycloak="26.4")
    realm = realm_of(older)
    assert "maxSecondaryAuthFailures" not in realm
    assert realm_of(graph) == realm | {"maxSecondaryAuthFailures": 10}
    assert findings(older, realm) == []
    assert [f[0] for f in findings(older, realm_of(graph))] == ["STOA657"]
    assert [f[0] for f in findings(graph, realm)] == ["STOA650"]


def features(graph: Graph) -> Graph:
    return with_identity(graph, features=["cimd", "resource-indicators"], metadata_hosts=["claude.ai", "*.b.example"])


def test_a_feature_changes_the_realm_only_where_it_is_declared(graph: Graph) -> None:
    plain, realm = realm_of(graph), realm_of(features(graph))
    assert findings(features(graph), realm) == []
    resource = client(realm, "https://mcp.stoa.example/mcp")
    assert resource["attributes"] == {"resource_url": "https://mcp.stoa.example/mcp", "stoa.managed": "platform"}
    assert (resource["bearerOnly"], resource["standardFlowEnabled"]) == (True, False)
    policy = by("name", "stoa-cimd", realm["clientPolicies"]["policies"])
    hosts = ["*.b.example", "claude.ai"]
    assert policy["conditions"][0]["configuration"] == {
        "client-id-uri-scheme": ["https"],
        "client-id-uri-allow-permitted-domains": hosts,
    }
    document, *_ = by("name", "stoa-cimd", realm["clientProfiles"]["profiles"])["executors"]
    assert document["configuration"]["cimd-allow-http-scheme"] is False
    assert document["configuration"]["cimd-allow-permitted-domains"] == hosts
    assert realm["defaultOptionalClientScopes"] == ["stoa-mcp"]
    text = json.dumps(plain)
    assert not any(word in text for word in ("cimd", "resource_url", "stoa-roles", "client-id-uri"))


FEATURED: Mapping[str, tuple[Mutation, str, str]] = {
    "any host": (
        lambda r: by("name", "stoa-cimd", r["clientPolicies"]["policies"])["conditions"][0]["configuration"].update(
            {"client-id-uri-allow-permitted-domains": ["*"]}
        ),
        "STOA650",
        "not only applications of the declared hosts can register by a document",
    ),
    "plain HTTP": (
        lambda r: by("name", "stoa-cimd", r["clientProfiles"]["profiles"])["executors"][0]["configuration"].update(
            {"cimd-allow-http-scheme": True}
        ),
        "STOA650",
        "not only applications of the declared hosts can register by a document",
    ),
    "every role": (
        lambda r: by("name", "stoa-cimd", r["clientProfiles"]["profiles"])["executors"].pop(1),
        "STOA650",
        "applications that register by a document are not held to `full-scope-disabled`",
    ),
    "no roles": (
        lambda r: r["defaultDefaultClientScopes"].remove("stoa-roles"),
        "STOA642",
        "a token of `art3mis` for an application that registered itself has nothing in `roles`, not `reader`",
    ),
    "tokens for the gateway without asking": (
        lambda r: r["defaultDefaultClientScopes"].append("stoa-mcp"),
        "STOA652",
        "later clients are given",
    ),
    "a resource of another address": (
        lambda r: client(r, "https://mcp.stoa.example/mcp")["attributes"].update(resource_url="https://e.example/mcp"),
        "STOA643",
        "`https://mcp.stoa.example/mcp` does not stand for the gateway alone",
    ),
    "no resource": (
        lambda r: r["clients"].remove(client(r, "https://mcp.stoa.example/mcp")),
        "STOA643",
        "the gateway's address is no resource that a token could be asked for",
    ),
    "an application that is a resource": (
        lambda r: client(r, "ioi.web")["attributes"].update(resource_url="https://mcp.stoa.example/mcp"),
        "STOA652",
        "`ioi.web` stands for the resource of an address",
    ),
}


@pytest.mark.parametrize("name", FEATURED)
def test_verify_reports_a_feature(graph: Graph, name: str) -> None:
    mutate, code, message = FEATURED[name]
    realm = realm_of(features(graph))
    mutate(realm)
    found = findings(features(graph), realm)
    assert any(c == code and said.startswith(message) for c, _, said in found), found


@pytest.mark.parametrize(
    ("update", "code", "message"),
    [
        ({"keycloak": "26.4", "features": ["cimd"], "metadata_hosts": ["a.example"]}, "STOA657", "26.4 has no feature"),
        ({"keycloak": "26.4", "features": ["resource-indicators"]}, "STOA657", "has no feature `resource-indicators`"),
        ({"tenants": "organizations", "strategy": "realm-per-tenant"}, "STOA658", "is for one realm"),
        ({"features": ["cimd"]}, "STOA658", "`cimd` trusts no host"),
        ({"metadata_hosts": ["a.example"]}, "STOA658", "`metadataHosts` is for the feature `cimd`"),
        ({"features": ["resource-indicators"] * 2}, "STOA658", "is there twice"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(
    graph: Graph, update: Mapping[str, Any], code: str, message: str
) -> None:
    changed = with_identity(graph, **update)
    report = Report()
    TARGET.verify(changed, "prod", {a.path: a for a in TARGET.emit(changed, "prod", {})}, report)
    found = [(d.rule.code, d.message) for d in report.sorted()]
    assert any(c == code and message in said for c, said in found), found


@pytest.mark.parametrize(
    "said",
    [
        {"a": "${x}"},
        {"a": "x" * 256},
        {"a": '"' * 256},
        {"a": ["é" * 256]},
        {"${": 1},
        {"clientSecret": 1},
        {"x": [{"passwordHash": 1}]},
        {"a": "\x00"},
    ],
)
def test_a_realm_is_looked_at_closely_where_a_text_could_do_harm(said: dict[str, Any]) -> None:
    plain = {"a": "x" * 255, "passwordPolicy": "length(14)", "b": ["UPDATE_PASSWORD"], "c": {"d": '\\"' * 100}}
    assert _is_harmless(json.dumps(plain))
    for text in (json.dumps(plain | said), json.dumps([said, plain], ensure_ascii=False, indent=2)):
        assert not _is_harmless(text)
    assert not _is_harmless(json.dumps(plain).replace("UPDATE", "\\u0024{"))
    for encoding in ("utf-16", "utf-16-le", "utf-32"):  # `json` reads these too.
        assert not _is_harmless(json.dumps(plain).encode(encoding).decode("utf-8", "replace"))
