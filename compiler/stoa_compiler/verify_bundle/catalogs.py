"""Who may call what, as the runtime reads it from the catalogs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stoa_compiler.records import record
from stoa_compiler.verify_bundle.findings import APPROVAL, BEYOND, CROSSING, MISMATCH, ROLE_MISSING, SECRET, TOKEN
from stoa_compiler.verify_bundle.reading import Json, Read
from stoa_schemas import bundle
from stoa_schemas.names import PLATFORM_TENANT

SECRET_REFERENCE = re.compile(r"vault:([a-z0-9-]+(?:/[a-z0-9._-]+)+)#[A-Za-z0-9_.-]+")
ASYMMETRIC = frozenset({"ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"})
_EFFECT = {"none": "tools:read", "read": "tools:read", "write": "tools:write", "destructive": "tools:destructive"}


@record
class Access:
    """A role and a tool that it may call."""

    tenant: str
    role: str
    tool: str


def access(read: Read) -> Iterator[Access]:
    """Every pair of a role and a tool, as the catalogs give them."""
    for catalog in read.catalogs.values():
        ids = {t["name"]: t["id"] for t in catalog["tools"]}
        for role, names in catalog["access"].items():
            yield from (Access(catalog["tenant"], role, ids[n]) for n in names if n in ids)


def callable_by(tenant: str, roles: frozenset[str], pairs: Mapping[str, frozenset[Access]], index: Json) -> set[Access]:
    """What a token with this tenant and these roles may call: a platform's role counts for the platform's own only."""
    found = set()
    for role in roles:
        scope = index["roles"].get(role, {}).get("scope")
        for pair in pairs.get(role, ()):
            if (scope == "platform" and tenant == PLATFORM_TENANT) or (scope == "tenant" and pair.tenant == tenant):
                found.add(pair)
    return found


def prove(read: Read) -> None:
    """Adds what is wrong in the runtime's files."""
    if not read.serves:
        return
    _manifest(read)
    index = read.index
    if index is None:
        return
    token = index["token"]
    if token["audience"] != index["mcpUrl"]:
        said = f"the audience is `{token['audience']}`, and the endpoint `{index['mcpUrl']}`"
        read.add(TOKEN, bundle.PLATFORM_INDEX, said, "token", "audience")
    for number, algorithm in enumerate(token["algorithms"]):
        if algorithm not in ASYMMETRIC:
            said = f"tokens signed with `{algorithm}` are taken"
            read.add(TOKEN, bundle.PLATFORM_INDEX, said, "token", "algorithms", number)
    for key, wanted in (("tenantClaim", bundle.TENANT_CLAIM), ("rolesClaim", bundle.ROLES_CLAIM)):
        if token.get(key, wanted) != wanted:
            read.add(TOKEN, bundle.PLATFORM_INDEX, f"`{key}` is `{token[key]}`", "token", key)
    if bundle.MCP_SCOPE not in token["scopes"]:
        read.add(TOKEN, bundle.PLATFORM_INDEX, f"tokens need no scope `{bundle.MCP_SCOPE}`", "token", "scopes")
    if not 0 <= token.get("leewaySeconds", 0) <= 120:
        said = f"a token lives {token['leewaySeconds']} seconds longer than it says"
        read.add(TOKEN, bundle.PLATFORM_INDEX, said, "token", "leewaySeconds")
    named = {t["catalog"]: t["name"] for t in index["tenants"]}
    for number, entry in enumerate(index["tenants"]):
        if entry["catalog"] not in read.files:
            said = f"the catalog `{entry['catalog']}` is not there"
            read.add(MISMATCH, bundle.PLATFORM_INDEX, said, "tenants", number, "catalog")
    if len(named) != len(index["tenants"]) or len({*named.values()}) != len(index["tenants"]):
        read.add(MISMATCH, bundle.PLATFORM_INDEX, "a tenant or a catalog is there twice", "tenants")
    owners: dict[str, str] = {}
    for path, catalog in read.catalogs.items():
        if named.get(path) != catalog["tenant"]:
            read.add(MISMATCH, path, f"it is `{catalog['tenant']}`'s, and the index says otherwise", "tenant")
        _catalog(read, path, catalog, index, owners)


def _manifest(read: Read) -> None:
    manifest = read.manifest
    if manifest is None:
        return
    listed = {f["path"]: f for f in manifest["files"]}
    here = {p for p in read.files if p.startswith("mcp/") and p not in (bundle.RUNTIME_MANIFEST, _SIGNATURE)}
    for number, entry in enumerate(manifest["files"]):
        content = read.files.get(entry["path"])
        if content is None or (bundle.sha256(content), len(content)) != (entry["sha256"], entry["bytes"]):
            said = f"`{entry['path']}` is not what the manifest's digest names"
            read.add(MISMATCH, bundle.RUNTIME_MANIFEST, said, "files", number)
    for path in sorted(here - listed.keys()):
        read.add(MISMATCH, bundle.RUNTIME_MANIFEST, f"the manifest does not list `{path}`", "files")
    index = read.index
    if index is not None:
        for key, of in (("platform", "name"), ("environment", "environment")):
            if manifest[key] != index[of]:
                said = f"the manifest is of `{manifest[key]}`, the index of `{index[of]}`"
                read.add(MISMATCH, bundle.RUNTIME_MANIFEST, said, key)
    if manifest["development"] is not (bundle.DEVELOPMENT in read.files):
        read.add(MISMATCH, bundle.RUNTIME_MANIFEST, "it is a development bundle in one place only", "development")


_SIGNATURE = "mcp/bundle.intoto.jsonl"


def _catalog(read: Read, path: str, catalog: Json, index: Json, owners: dict[str, str]) -> None:
    tenant = catalog["tenant"]
    contracts = {c["name"]: c for c in catalog["contracts"]}
    if len(contracts) != len(catalog["contracts"]):
        read.add(MISMATCH, path, "a contract is there twice", "contracts")
    tools: dict[str, Json] = {}
    for number, tool in enumerate(catalog["tools"]):
        at = ("tools", number)
        parts = tool["id"].split(":")
        if parts[0] != tenant:
            read.add(CROSSING, path, f"`{tool['id']}` is in the catalog of `{tenant}`", *at, "id")
        if len(parts) != 3 or parts[1] != tool["contract"] or tool["contract"] not in contracts:
            read.add(MISMATCH, path, f"`{tool['id']}` is no tool of the contract `{tool['contract']}`", *at, "id")
        if tool["name"] != "_".join(parts):
            read.add(MISMATCH, path, f"`{tool['id']}` is called `{tool['name']}`", *at, "name")
        if tool["name"] in tools:
            read.add(MISMATCH, path, f"`{tool['name']}` is there twice", *at, "name")
        tools[tool["name"]] = tool
        if tool["sideEffects"] == "destructive" and not tool["approval"]:
            read.add(APPROVAL, path, f"`{tool['id']}` destroys, and nobody approves it", *at, "approval")
        _seen(read, path, tool, at)
        if tool["request"]["method"] in ("GET", "HEAD") and tool["sideEffects"] not in ("none", "read"):
            read.add(MISMATCH, path, f"`{tool['id']}` changes something by a GET", *at, "request", "method")
    for role, names in catalog["access"].items():
        declared = index["roles"].get(role)
        if declared is None:
            said = f"the role `{role}` gives tools and is not in the role table"
            read.add(ROLE_MISSING, path, said, "access", role)
            continue
        for number, name in enumerate(names):
            found = tools.get(name)
            if found is None:
                said = f"the role `{role}` gives `{name}`, which is no tool here"
                read.add(MISMATCH, path, said, "access", role, number)
            elif _EFFECT[found["sideEffects"]] not in declared["permissions"]:
                said = f"the role `{role}` gives `{found['id']}` without `{_EFFECT[found['sideEffects']]}`"
                read.add(BEYOND, path, said, "access", role, number)
        if len(set(names)) != len(names):
            read.add(MISMATCH, path, f"the role `{role}` gives a tool twice", "access", role)
    for number, contract in enumerate(catalog["contracts"]):
        auth = contract["backend"].get("auth")
        if auth is not None:
            _reference(read, path, tenant, auth["secret"], owners, ("contracts", number, "backend", "auth", "secret"))
        plain = not contract["backend"]["url"].startswith("https://")
        if plain and "tls-backend" in contract["policies"] and bundle.DEVELOPMENT not in read.files:
            said = f"the contract `{contract['name']}` demands TLS, and its backend has none"
            read.add(MISMATCH, path, said, "contracts", number, "backend", "url")
    for number, consumer in enumerate(catalog["consumers"]):
        if consumer["clientId"].partition(".")[0] != tenant:
            said = f"`{consumer['clientId']}` is no application of `{tenant}`"
            read.add(CROSSING, path, said, "consumers", number, "clientId")
        for place, subscription in enumerate(consumer["subscriptions"]):
            below = ("consumers", number, "subscriptions", place)
            if subscription["contract"] not in contracts:
                said = f"`{consumer['clientId']}` subscribed to `{subscription['contract']}`, which is not here"
                read.add(MISMATCH, path, said, *below, "contract")
            if subscription["plan"] not in catalog["plans"]:
                said = f"`{consumer['clientId']}` has the plan `{subscription['plan']}`, which is not here"
                read.add(MISMATCH, path, said, *below, "plan")


def _seen(read: Read, path: str, tool: Json, at: tuple[str, int]) -> None:
    """What agents see is what its digest names, and says of the tool what the runtime does."""
    said = tool["annotations"]
    effects = tool["sideEffects"]
    hints = {"readOnlyHint": effects in ("none", "read"), "destructiveHint": effects == "destructive"}
    for key, value in hints.items():
        if said[key] is not value:
            read.add(MISMATCH, path, f"`{key}` of `{tool['id']}` is not as its side effects", *at, "annotations", key)
    seen = {k: tool.get(k) for k in ("name", "title", "description", "inputSchema", "outputSchema", "annotations")}
    if bundle.sha256(bundle.canonical(seen)) != tool["digest"]:
        read.add(MISMATCH, path, f"what agents see of `{tool['id']}` is not what its digest names", *at, "digest")
    named = {a["name"] for a in tool["request"]["arguments"].values() if a["in"] == "path"}
    wanted = set(re.findall(r"\{([^{}]+)\}", tool["request"]["path"]))
    if named != wanted:
        read.add(MISMATCH, path, f"the path of `{tool['id']}` and its arguments differ", *at, "request", "path")
    if any(
        p["in"] == "header" and p["name"].lower() in bundle.OWN_HEADERS for p in tool["request"]["arguments"].values()
    ):
        read.add(MISMATCH, path, f"an argument of `{tool['id']}` sets a header of ours", *at, "request", "arguments")


def _reference(
    read: Read, path: str, tenant: str, secret: Any, owners: dict[str, str], at: tuple[str | int, ...]
) -> None:
    found = SECRET_REFERENCE.fullmatch(secret) if isinstance(secret, str) else None
    if found is None:
        read.add(SECRET, path, "the credential is no reference into the vault", *at)  # Never shown.
    elif tenant not in found[1].split("/"):
        read.add(SECRET, path, f"the credential of `{tenant}` is not kept below its own name", *at)
    elif owners.setdefault(found[1], tenant) != tenant:
        read.add(SECRET, path, f"`{owners[found[1]]}` and `{tenant}` have one credential", *at)
