"""A bundle's folder read, checked and made ready: the snapshot that one request is answered from.

Nothing is served before every byte that decides an answer has been compared with its digest.
"""

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, TypeVar

import jsonschema_rs
from pydantic import ValidationError

from stoa_schemas import bundle, names

_Part = TypeVar("_Part", bound=bundle.Part)

MANIFEST_LIMIT = 1_048_576
"""Bytes of the manifest. It is read before any digest can be checked."""
FILE_LIMIT = 268_435_456
"""Bytes of one file."""

_PART = re.compile(re.escape(bundle.PART_SUFFIX) + r"(\d{3})")
_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"},
)


class BundleError(Exception):
    """A bundle that cannot be served; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class PreparedTool:
    """One tool with all that a call of it needs."""

    tenant: str
    declared: bundle.Tool
    contract: bundle.ContractEntry
    known: tuple[str, ...]
    """The arguments that have a place in the request."""
    input: jsonschema_rs.Validator
    output: jsonschema_rs.Validator | None


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's catalog, ready to answer from."""

    catalog: bundle.Catalog
    tools: Mapping[str, PreparedTool]
    """By wire name, in the catalog's order."""
    access: Mapping[str, frozenset[str]]
    """Wire names by role."""
    contracts: Mapping[str, bundle.ContractEntry]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole bundle, immutable: a request keeps the one that it began with."""

    digest: str
    """Digest of the manifest, `sha256:<hex>`: it names everything that decides an answer."""
    index: bundle.PlatformIndex
    development: bundle.Development | None
    tenants: Mapping[str, Tenant]
    consumers: Mapping[str, tuple[str, bundle.ConsumerEntry]]
    """Tenant and consumer by OAuth client id."""


def load(folder: Path, *, allow_development: bool = False) -> Snapshot:
    """The snapshot of the bundle in `folder`; `BundleError` where any check fails."""
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder")
    data = _read(folder, bundle.RUNTIME_MANIFEST, MANIFEST_LIMIT)
    manifest = _parse(bundle.RuntimeManifest, data, bundle.RUNTIME_MANIFEST)
    digest = bundle.sha256(data)
    _check_whole(folder, manifest, digest)
    if manifest.development and not allow_development:
        raise BundleError(
            f"this is a development bundle (environment {manifest.environment}): it is served only by"
            " `stoa dev`, or when development bundles are allowed explicitly"
        )
    files = _files(folder, manifest)
    index = _parse(bundle.PlatformIndex, _listed(files, bundle.PLATFORM_INDEX), bundle.PLATFORM_INDEX)
    if (index.name, index.environment) != (manifest.platform, manifest.environment):
        raise BundleError(f"{bundle.PLATFORM_INDEX} is of another platform or environment than the manifest")
    _check_token_rules(index)
    tenants = {entry.name: _tenant(entry, index, files) for entry in index.tenants}
    if len(tenants) != len(index.tenants) or names.PLATFORM_TENANT in tenants:
        raise BundleError(f"{bundle.PLATFORM_INDEX} lists a tenant twice, or one with a reserved name")
    development = None
    if bundle.DEVELOPMENT in files:
        if not manifest.development:
            raise BundleError(f"{bundle.DEVELOPMENT} stands in a bundle that is not a development one")
        development = _parse(bundle.Development, files[bundle.DEVELOPMENT], bundle.DEVELOPMENT)
    return Snapshot(
        digest=digest,
        index=index,
        development=development,
        tenants=MappingProxyType(tenants),
        consumers=MappingProxyType(_consumers(index, tenants)),
    )


def _read(folder: Path, path: str, limit: int) -> bytes:
    """The bytes of `path`, or of its parts joined in order."""
    whole = folder / path
    try:
        if whole.is_file():
            if whole.stat().st_size > limit:
                raise BundleError(f"{path} has more than {limit} bytes")
            return whole.read_bytes()
        parts: list[bytes] = []
        size = 0
        while (part := folder / f"{path}{bundle.PART_SUFFIX}{len(parts):03}").is_file():
            size += part.stat().st_size
            if size > limit:
                raise BundleError(f"{path} has more than {limit} bytes")
            parts.append(part.read_bytes())
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if not parts:
        raise BundleError(f"{path} is missing")
    return b"".join(parts)


def _parse(model: type[_Part], data: bytes, path: str) -> _Part:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(part) for part in first["loc"]) or "root"
        raise BundleError(f"{path} is not as this version reads it: {at}: {first['msg']}") from None


def _check_whole(folder: Path, manifest: bundle.RuntimeManifest, digest: str) -> None:
    """Compares with `bundle.json`, where the bundle was not mounted in part."""
    if not (folder / bundle.BUNDLE_FILE).is_file():
        return
    whole = _parse(bundle.Bundle, _read(folder, bundle.BUNDLE_FILE, FILE_LIMIT), bundle.BUNDLE_FILE)
    if whole.digest != digest:
        raise BundleError(f"{bundle.RUNTIME_MANIFEST} is {digest}, but {bundle.BUNDLE_FILE} names {whole.digest}")
    if (whole.platform, whole.environment, whole.development) != (
        manifest.platform,
        manifest.environment,
        manifest.development,
    ):
        raise BundleError(f"{bundle.BUNDLE_FILE} and {bundle.RUNTIME_MANIFEST} are of different environments")
    listed = {artifact.path: artifact.sha256 for artifact in whole.artifacts}
    for artifact in manifest.files:
        if listed.get(artifact.path) != artifact.sha256:
            raise BundleError(f"{artifact.path} has another digest in {bundle.BUNDLE_FILE}, or none")


def _files(folder: Path, manifest: bundle.RuntimeManifest) -> dict[str, bytes]:
    """Every listed file's bytes by path, each compared with its digest; anything unlisted is refused."""
    files: dict[str, bytes] = {}
    for artifact in manifest.files:
        path = PurePosixPath(artifact.path)
        if path.is_absolute() or path.parts[:1] != ("mcp",) or ".." in path.parts or str(path) != artifact.path:
            raise BundleError(f"the manifest lists {artifact.path!r}, which is outside `mcp/`")
        if artifact.path in files or artifact.path == bundle.RUNTIME_MANIFEST:
            raise BundleError(f"the manifest lists {artifact.path} twice, or itself")
        data = _read(folder, artifact.path, min(artifact.bytes, FILE_LIMIT))
        if bundle.sha256(data) != artifact.sha256:
            raise BundleError(f"{artifact.path} is not what the manifest lists: its digest differs")
        files[artifact.path] = data
    for found in _found(folder):
        if found != bundle.RUNTIME_MANIFEST and found not in files:
            raise BundleError(f"{found} is not listed in the manifest")
    return files


def _found(folder: Path) -> Iterator[str]:
    """The paths below `mcp/`, parts by their whole's name.

    Kubernetes mounts a ConfigMap as links into folders whose names begin with two dots; those are the
    same files again.
    """
    for at, folders, files in os.walk(folder / "mcp", followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith(".."))
        for name in sorted(files):
            yield _PART.sub("", (Path(at) / name).relative_to(folder).as_posix())


def _listed(files: Mapping[str, bytes], path: str) -> bytes:
    if path not in files:
        raise BundleError(f"the manifest does not list {path}")
    return files[path]


def _check_token_rules(index: bundle.PlatformIndex) -> None:
    rules = index.token
    weak = sorted(set(rules.algorithms) - _ASYMMETRIC)
    if weak or not rules.algorithms:
        raise BundleError(
            f"token.algorithms holds {', '.join(weak) or 'nothing'}: only public-key signatures are taken"
        )
    if rules.audience != index.mcp_url:
        raise BundleError("token.audience is not the MCP endpoint's URL: other services' tokens would be accepted")


def _tenant(entry: bundle.TenantEntry, index: bundle.PlatformIndex, files: Mapping[str, bytes]) -> Tenant:
    path = entry.catalog
    catalog = _parse(bundle.Catalog, _listed(files, path), path)
    if catalog.tenant != entry.name:
        raise BundleError(f"{path} is the catalog of `{catalog.tenant}`, not of `{entry.name}`")
    contracts = {contract.name: contract for contract in catalog.contracts}
    tools: dict[str, PreparedTool] = {}
    for tool in catalog.tools:
        tenant, contract, operation = (*tool.id.split(":"), "", "")[:3]
        if tenant != entry.name or contract != tool.contract or contract not in contracts:
            raise BundleError(f"{path}: the tool `{tool.id}` belongs to another tenant or contract")
        if tool.name != names.wire_name(tenant, contract, operation) or tool.name in tools:
            raise BundleError(f"{path}: the tool `{tool.id}` is named `{tool.name}`, or twice")
        tools[tool.name] = _prepared(path, entry.name, tool, contracts[contract])
    for role, granted in catalog.access.items():
        if role not in index.roles or not set(granted) <= set(tools):
            raise BundleError(f"{path}: the access of `{role}` names a role or tool that is not there")
    for consumer in catalog.consumers:
        for subscription in consumer.subscriptions:
            if subscription.contract not in contracts:
                raise BundleError(f"{path}: `{consumer.client_id}` subscribes to `{subscription.contract}`, not there")
    return Tenant(
        catalog=catalog,
        tools=MappingProxyType(tools),
        access=MappingProxyType({role: frozenset(granted) for role, granted in catalog.access.items()}),
        contracts=MappingProxyType(contracts),
    )


def _prepared(path: str, tenant: str, tool: bundle.Tool, contract: bundle.ContractEntry) -> PreparedTool:
    request = tool.request
    filled = {p.name for p in request.arguments.values() if p.in_ == "path"}
    if set(_TEMPLATE.findall(request.path)) != filled or not request.path.startswith("/"):
        raise BundleError(f"{path}: `{tool.id}` does not fill its path `{request.path}`")
    known = list(request.arguments)
    if request.body is not None and request.body.argument is not None:
        known.append(request.body.argument)
    return PreparedTool(
        tenant=tenant,
        declared=tool,
        contract=contract,
        known=tuple(dict.fromkeys(known)),
        input=validator(tool.input_schema, f"{path}: the input schema of `{tool.id}`"),
        output=None
        if tool.output_schema is None
        else validator(tool.output_schema, f"{path}: the output schema of `{tool.id}`"),
    )


def validator(schema: Mapping[str, Any], what: str) -> jsonschema_rs.Validator:
    """A validator of `schema` that reads no other document.

    Patterns run in linear time where they can; one that needs look-around runs with few steps of
    backtracking, and gives up as a mismatch.
    """
    try:
        return _validator(json.dumps(schema, sort_keys=True))
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise BundleError(f"{what} does not compile: {str(error).splitlines()[0][:200]}") from None


@functools.lru_cache(maxsize=4096)
def _validator(schema: str) -> jsonschema_rs.Validator:
    parsed = json.loads(schema)
    try:
        return jsonschema_rs.Draft202012Validator(parsed, offline=True, pattern_options=jsonschema_rs.RegexOptions())
    except jsonschema_rs.ValidationError:
        options = jsonschema_rs.FancyRegexOptions(backtrack_limit=20_000)
        return jsonschema_rs.Draft202012Validator(parsed, offline=True, pattern_options=options)


def _consumers(
    index: bundle.PlatformIndex, tenants: Mapping[str, Tenant]
) -> dict[str, tuple[str, bundle.ConsumerEntry]]:
    found: dict[str, tuple[str, bundle.ConsumerEntry]] = {}
    for name, tenant in tenants.items():
        for consumer in tenant.catalog.consumers:
            if consumer.client_id in found or consumer.client_id in index.clients:
                raise BundleError(f"the client id `{consumer.client_id}` is used twice")
            found[consumer.client_id] = (name, consumer)
    return found
