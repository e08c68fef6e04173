"""A bundle's folder read, checked and made ready: the snapshot that one request is answered from.

Nothing is served before every byte that decides an answer has been compared with its digest, and every catalog has
been parsed and judged. Of a large bundle the parsed catalogs are then dropped, and parsed again from the same bytes
when somebody asks for them: ten times less memory, and no wait for fresh memory while the bundle is loaded.
"""

import functools
import gc
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, TypeVar

import jsonschema_rs
import orjson
from pydantic import ValidationError

from stoa_runtime import requests, signatures
from stoa_runtime.judges import Found, Judges
from stoa_runtime.sequence import Pin, RollbackRefused
from stoa_runtime.signatures import Verified
from stoa_schemas import attestation, bundle, names

_Part = TypeVar("_Part", bound=bundle.Part)

MANIFEST_LIMIT = 4 * 1_048_576
"""Bytes of the manifest. It is read before any digest can be checked; ten thousand tenants take half of it."""
FILE_LIMIT = 268_435_456
"""Bytes of one file."""
READY_BYTES = 4 * 1_048_576
"""Bytes of catalogs that stay parsed after loading; each takes about eight times as much memory then."""

_UNLISTED = (bundle.RUNTIME_MANIFEST, attestation.ATTESTATIONS)
"""What lies below `mcp/` and cannot be in the manifest: itself, and the signature over it."""
_PART = re.compile(re.escape(bundle.PART_SUFFIX) + r"(\d{3})")
_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"},
)


class BundleError(Exception):
    """A bundle that cannot be served; the message is one line for the operator."""


class _Missing(BundleError):
    """A file that is not there."""


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
    _made: list[requests.Template] = field(default_factory=list, compare=False, repr=False)

    @property
    def template(self) -> requests.Template:
        """What is the same in every request; made when the tool is called first."""
        if not self._made:
            self._made.append(requests.template(self.declared.request))
        return self._made[0]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's catalog, ready to answer from."""

    catalog: bundle.Catalog
    tools: Mapping[str, PreparedTool]
    """By wire name, in the catalog's order."""
    access: Mapping[str, frozenset[str]]
    """Wire names by role."""
    contracts: Mapping[str, bundle.ContractEntry]


_Compiled = Callable[[Mapping[str, Any], str], jsonschema_rs.Validator]
"""A validator for a schema; `BundleError`, which names it as the second says, where it does not compile."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a tenant without its catalog."""

    consumers: tuple[bundle.ConsumerEntry, ...]
    tools: frozenset[str]
    """Wire names."""
    secrets: frozenset[str]
    """References to backends' credentials."""


def _facts(tenant: Tenant) -> Facts:
    return Facts(
        consumers=tuple(tenant.catalog.consumers),
        tools=frozenset(tenant.tools),
        secrets=frozenset(c.backend.auth.secret for c in tenant.catalog.contracts if c.backend.auth is not None),
    )


class _Judged:
    """A catalog that passed every check: its facts, and either what was parsed or the bytes to parse it from."""

    __slots__ = ("_data", "_entry", "_ready", "_roles", "digest", "facts")

    def __init__(
        self, entry: bundle.TenantEntry, roles: frozenset[str], data: bytes, digest: str, facts: Facts
    ) -> None:
        self.digest = digest
        self.facts = facts
        self._entry = entry
        self._roles = roles
        self._data = data
        self._ready: Tenant | None = None

    def keep(self, tenant: Tenant) -> Tenant:
        """Keeps what was parsed, and lets go of the bytes."""
        self._ready = tenant
        self._data = b""
        return tenant

    def tenant(self) -> Tenant:
        """The catalog, ready to answer from."""
        data, ready = self._data, self._ready  # In this order: another thread may be in `keep`.
        if ready is None:
            ready = self._ready or self.keep(_tenant(self._entry, self._roles, data, validator))
        return ready


class Tenants(Mapping[str, Tenant]):
    """Tenants by name. One that is not ready is parsed when it is first asked for, once."""

    __slots__ = ("_judged",)

    def __init__(self, judged: Mapping[str, _Judged]) -> None:
        self._judged = judged

    def __getitem__(self, name: str) -> Tenant:
        return self._judged[name].tenant()

    def __contains__(self, name: object) -> bool:
        return name in self._judged

    def __iter__(self) -> Iterator[str]:
        return iter(self._judged)

    def __len__(self) -> int:
        return len(self._judged)

    def facts(self, name: str) -> Facts:
        """What is known of a tenant; its catalog is not parsed for it."""
        return self._judged[name].facts

    def judged(self, name: str, digest: str) -> _Judged | None:
        """The catalog of this tenant, if it is the one of this digest."""
        found = self._judged.get(name)
        return found if found is not None and found.digest == digest else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole bundle, immutable: a request keeps the one that it began with."""

    digest: str
    """Digest of the manifest, `sha256:<hex>`: it names everything that decides an answer."""
    index: bundle.PlatformIndex
    development: bundle.Development | None
    tenants: Tenants
    consumers: Mapping[str, tuple[str, bundle.ConsumerEntry]]
    """Tenant and consumer by OAuth client id."""
    signature: Verified | None = None
    """What a trusted key's holder says of it; None where no keys are configured."""

    def tool_id(self, wire_name: str) -> str | None:
        """The canonical id of a tenant's tool; None where there is none of this name. No catalog is parsed for it."""
        tenant = wire_name.partition("_")[0]
        canonical = wire_name.replace("_", ":", 2)  # Made in either case: a name that exists takes no longer.
        if tenant not in self.tenants or wire_name not in self.tenants.facts(tenant).tools:
            return None
        return canonical

    def secrets(self) -> frozenset[str]:
        """Every reference to a backend's credentials. No catalog is parsed for it."""
        return frozenset[str]().union(*(self.tenants.facts(name).secrets for name in self.tenants))


def load(
    folder: Path,
    *,
    allow_development: bool = False,
    keys: Sequence[attestation.PublicKey] = (),
    pin: Pin | None = None,
    previous: Snapshot | None = None,
    between: Callable[[], None] | None = None,
) -> Snapshot:
    """The snapshot of the bundle in `folder`; `BundleError` where any check fails.

    With `keys`, one of them must have signed it; with `pin` besides, it must not be older than what was served.
    Catalogs that `previous` has already judged, by their digest, are taken from there. `between` is called after
    each catalog: a thread beside a busy one may let go there.
    """
    return begin(folder, allow_development=allow_development, keys=keys, pin=pin, previous=previous)(between)


def begin(
    folder: Path,
    *,
    allow_development: bool = False,
    keys: Sequence[attestation.PublicKey] = (),
    pin: Pin | None = None,
    previous: Snapshot | None = None,
    processes: int = 0,
) -> Callable[[Callable[[], None] | None], Snapshot]:
    """The first half of `load`: every digest is compared, and what gives the snapshot is returned.

    So many `processes` judge the catalogs of a large bundle meanwhile, while the caller does something else.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a folder")
    data = _read(folder, bundle.RUNTIME_MANIFEST, MANIFEST_LIMIT)
    digest = bundle.sha256(data)
    verified = _verified(folder, digest, keys)
    manifest = _parse(bundle.RuntimeManifest, data, bundle.RUNTIME_MANIFEST)
    if verified is not None and (verified.platform, verified.environment, verified.development) != (
        manifest.platform,
        manifest.environment,
        manifest.development,
    ):
        raise BundleError(
            f"the signature is for {verified.platform}/{verified.environment},"
            f" and the manifest is of {manifest.platform}/{manifest.environment}"
        )
    _check_whole(folder, manifest, digest)
    if manifest.development and not allow_development:
        raise BundleError(
            f"this is a development bundle (environment {manifest.environment}): it is served only by"
            " `stoa dev`, or when development bundles are allowed explicitly"
        )
    with _uncollected():
        snapshot = _snapshot(folder, manifest, digest, verified, previous, processes)

    def load_rest(between: Callable[[], None] | None) -> Snapshot:
        with _uncollected():
            loaded = snapshot(between)
        if verified is not None and pin is not None:
            try:
                pin.admit(verified, digest)
            except RollbackRefused as refusal:
                raise BundleError(str(refusal)) from None
        return loaded

    return load_rest


def _snapshot(
    folder: Path,
    manifest: bundle.RuntimeManifest,
    digest: str,
    verified: Verified | None,
    previous: Snapshot | None,
    processes: int,
) -> Callable[[Callable[[], None] | None], Snapshot]:
    files = _files(folder, manifest)
    digests = {artifact.path: artifact.sha256 for artifact in manifest.files}
    index = _parse(bundle.PlatformIndex, _listed(files, bundle.PLATFORM_INDEX), bundle.PLATFORM_INDEX)
    if (index.name, index.environment) != (manifest.platform, manifest.environment):
        raise BundleError(f"{bundle.PLATFORM_INDEX} is of another platform or environment than the manifest")
    _check_token_rules(index)
    # What a catalog is judged by besides its own bytes: its entry, by which it is found, and the roles.
    known = previous.tenants if previous is not None and previous.index.roles == index.roles else None
    roles = frozenset(index.roles)
    listed = [entry.name for entry in index.tenants]
    if len({*listed, names.PLATFORM_TENANT}) <= len(listed):
        raise BundleError(f"{bundle.PLATFORM_INDEX} lists a tenant twice, or one with a reserved name")
    contents = {entry.name: _listed(files, entry.catalog) for entry in index.tenants}
    judges: Judges | None = None
    if processes and sum(map(len, contents.values())) > READY_BYTES:
        judges = Judges(processes, index.tenants, lambda entry: _told(entry, roles, contents[entry.name]))
    development = None
    if bundle.DEVELOPMENT in files:
        if not manifest.development:
            raise BundleError(f"{bundle.DEVELOPMENT} stands in a bundle that is not a development one")
        development = _parse(bundle.Development, files[bundle.DEVELOPMENT], bundle.DEVELOPMENT)

    def rest(between: Callable[[], None] | None) -> Snapshot:
        told = judges.told() if judges is not None else {}
        judged: dict[str, _Judged] = {}
        judge_schema = _SchemaJudge()
        ready = 0
        for entry in index.tenants:
            name, content = entry.name, contents[entry.name]
            again = known.judged(name, digests[entry.catalog]) if known is not None else None
            if again is not None:
                judged[name] = again
                continue
            if name in told:
                judged[name] = _Judged(entry, roles, content, digests[entry.catalog], _heard(told[name]))
                continue
            ready += len(content)
            stays = ready <= READY_BYTES
            tenant = _tenant(entry, roles, content, validator if stays else judge_schema)
            now = judged[name] = _Judged(entry, roles, content, digests[entry.catalog], _facts(tenant))
            if stays:
                now.keep(tenant)
            if between is not None:
                between()
        return Snapshot(
            digest=digest,
            index=index,
            development=development,
            tenants=Tenants(judged),
            consumers=MappingProxyType(_consumers(index, judged)),
            signature=verified,
        )

    return rest


_judge_schema: "_SchemaJudge | None" = None
"""That of a process that judges a part of the catalogs."""


def _told(entry: bundle.TenantEntry, roles: frozenset[str], data: bytes) -> Found:
    """What another process is told of a catalog that it has not judged itself."""
    global _judge_schema
    _judge_schema = _judge_schema or _SchemaJudge()
    try:
        facts = _facts(_tenant(entry, roles, data, _judge_schema))
    except BundleError as error:
        return str(error)
    return [c.model_dump_json() for c in facts.consumers], sorted(facts.tools), sorted(facts.secrets)


def _heard(found: Found) -> Facts:
    if isinstance(found, str):
        raise BundleError(found)
    consumers, tools, secrets = found
    return Facts(
        consumers=tuple(bundle.ConsumerEntry.model_validate_json(text) for text in consumers),
        tools=frozenset(tools),
        secrets=frozenset(secrets),
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles meanwhile: many values are made, and none is in a cycle."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _verified(folder: Path, digest: str, keys: Sequence[attestation.PublicKey]) -> Verified | None:
    """What the signature says; None where no keys are configured, and nobody's word would count."""
    if not keys:
        return None
    try:
        attestations = _read(folder, attestation.ATTESTATIONS, attestation.FILE_LIMIT)
    except _Missing:
        attestations = None
    try:
        return signatures.verify(attestations, digest, keys)
    except signatures.SignatureRefused as refusal:
        raise BundleError(str(refusal)) from None


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
        raise _Missing(f"{path} is missing")
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
        if artifact.path in files or artifact.path in _UNLISTED:
            raise BundleError(f"the manifest lists {artifact.path} twice, or itself")
        data = _read(folder, artifact.path, min(artifact.bytes, FILE_LIMIT))
        if bundle.sha256(data) != artifact.sha256:
            raise BundleError(f"{artifact.path} is not what the manifest lists: its digest differs")
        files[artifact.path] = data
    for found in _found(folder):
        if found not in _UNLISTED and found not in files:
            raise BundleError(f"{ascii(found)[1:-1]} is not listed in the manifest")
    return files


def _found(folder: Path) -> Iterator[str]:
    """The paths below `mcp/`, parts by their whole's name.

    Kubernetes mounts a ConfigMap as links into folders whose names begin with two dots; those are the
    same files again.
    """
    for at, files in walked(folder / "mcp"):
        below = Path(at).relative_to(folder).as_posix()
        for name in files:
            yield _PART.sub("", f"{below}/{name}")


def walked(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder below `top` with its files' names. A link is followed to a folder within, once; others are files."""
    root, seen = os.path.realpath(top), set[str]()
    for at, folders, files in os.walk(top, followlinks=True):
        seen.add(os.path.realpath(at))
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(at, name))  # noqa: PTH118  A tree may be large.
            if name.startswith(".."):
                folders.remove(name)
            elif real in seen or not real.startswith(root + os.sep):
                folders.remove(name)
                files.append(name)
        folders.sort()
        yield at, sorted(files)


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
    if rules.issuers is not None:
        # One issuer must not speak for two tenants, nor one tenant be spoken for by nobody.
        tenants = sorted([names.PLATFORM_TENANT, *(t.name for t in index.tenants)])
        if sorted(i.tenant for i in rules.issuers) != tenants or len({i.issuer for i in rules.issuers}) != len(tenants):
            raise BundleError("token.issuers does not hold one issuer for each tenant and for the platform")
        if (names.PLATFORM_TENANT, rules.issuer, rules.jwks_url) not in {
            (i.tenant, i.issuer, i.jwks_url) for i in rules.issuers
        }:
            raise BundleError("token.issuer is not that of the platform's own people")


def _tenant(entry: bundle.TenantEntry, roles: frozenset[str], data: bytes, compiled: _Compiled) -> Tenant:
    path = entry.catalog
    catalog = _parse(bundle.Catalog, data, path)
    if catalog.tenant != entry.name:
        raise BundleError(f"{path} is the catalog of `{catalog.tenant}`, not of `{entry.name}`")
    if isinstance(compiled, _SchemaJudge):
        compiled.look(catalog, data)
    contracts = {contract.name: contract for contract in catalog.contracts}
    tools: dict[str, PreparedTool] = {}
    for tool in catalog.tools:
        tenant, contract, operation = (*tool.id.split(":"), "", "")[:3]
        if tenant != entry.name or contract != tool.contract or contract not in contracts:
            raise BundleError(f"{path}: the tool `{tool.id}` belongs to another tenant or contract")
        if tool.name != names.wire_name(tenant, contract, operation) or tool.name in tools:
            raise BundleError(f"{path}: the tool `{tool.id}` is named `{tool.name}`, or twice")
        tools[tool.name] = _prepared(path, entry.name, tool, contracts[contract], compiled)
    for role, granted in catalog.access.items():
        if role not in roles or not set(granted) <= set(tools):
            raise BundleError(f"{path}: the access of `{role}` names a role or tool that is not there")
    for consumer in catalog.consumers:
        for subscription in consumer.subscriptions:
            if subscription.contract not in contracts:
                raise BundleError(f"{path}: `{consumer.client_id}` subscribes to `{subscription.contract}`, not there")
            if subscription.plan not in catalog.plans:
                raise BundleError(
                    f"{path}: `{consumer.client_id}` subscribes by the plan `{subscription.plan}`, not there"
                )
    rates = (catalog.rate, *(tool.rate for tool in catalog.tools), *(plan.rate for plan in catalog.plans.values()))
    if any(rate.calls <= 0 or rate.seconds <= 0 for rate in rates):
        raise BundleError(f"{path}: a rate allows nothing, or lasts no time")
    return Tenant(
        catalog=catalog,
        tools=MappingProxyType(tools),
        access=MappingProxyType({role: frozenset(granted) for role, granted in catalog.access.items()}),
        contracts=MappingProxyType(contracts),
    )


def _prepared(
    path: str, tenant: str, tool: bundle.Tool, contract: bundle.ContractEntry, compiled: _Compiled
) -> PreparedTool:
    request = tool.request
    filled = {p.name for p in request.arguments.values() if p.in_ == "path"}
    if set(_TEMPLATE.findall(request.path)) != filled or not request.path.startswith("/"):
        raise BundleError(f"{path}: `{tool.id}` does not fill its path `{request.path}`")
    known = list(request.arguments)
    if request.body is not None and request.body.argument is not None:
        known.append(request.body.argument)
    prepared = PreparedTool(
        tenant=tenant,
        declared=tool,
        contract=contract,
        known=tuple(dict.fromkeys(known)),
        input=compiled(tool.input_schema, f"{path}: the input schema of `{tool.id}`"),
        output=None
        if tool.output_schema is None
        else compiled(tool.output_schema, f"{path}: the output schema of `{tool.id}`"),
    )
    if tool.digest != digest_of(tool):
        raise BundleError(f"{path}: what agents see of `{tool.id}` is not what its digest names")
    return prepared


def digest_of(tool: bundle.Tool) -> str:
    """The digest of what agents see of `tool`."""
    hints = tool.annotations
    seen = {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": {
            "title": hints.title,
            "readOnlyHint": hints.read_only_hint,
            "destructiveHint": hints.destructive_hint,
            "idempotentHint": hints.idempotent_hint,
            "openWorldHint": hints.open_world_hint,
        },
    }
    return bundle.sha256(bundle.canonical(seen))


def validator(schema: Mapping[str, Any], what: str) -> jsonschema_rs.Validator:
    """A validator of `schema` that reads no other document.

    Patterns run in linear time where they can; one that needs look-around runs with few steps of
    backtracking, and gives up as a mismatch.
    """
    try:
        return _shared(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    except _NOT_COMPILED as error:
        raise BundleError(f"{what} does not compile: {str(error).splitlines()[0][:200]}") from None


class _SchemaJudge:
    """Judges schemas as `validator` does and keeps no validator: each takes ten kilobytes and more.

    What stands in a validator's place takes no value.
    """

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._sound = False

    def look(self, catalog: bundle.Catalog, data: bytes) -> None:
        """Judges a catalog's schemas at once, where none refers to another place: alone each would be judged alike.

        Where they are not sound together, each is judged by itself when it comes, which finds the one that is not.
        """
        self._sound = False
        if b'"$' in data or b"\\u" in data:  # Also where a key is spelled by its number.
            return
        schemas = [tool.input_schema for tool in catalog.tools]
        schemas += [tool.output_schema for tool in catalog.tools if tool.output_schema is not None]
        with suppress(*_NOT_COMPILED):
            options = jsonschema_rs.RegexOptions()
            jsonschema_rs.Draft202012Validator({"allOf": schemas or [{}]}, offline=True, pattern_options=options)
            self._sound = True

    def __call__(self, schema: Mapping[str, Any], what: str) -> jsonschema_rs.Validator:
        if self._sound:
            return _NOTHING
        try:
            data = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
            digest = hashlib.sha256(data).digest()
            if digest not in self._known:
                _compile(data)
                self._known.add(digest)
        except _NOT_COMPILED as error:
            raise BundleError(f"{what} does not compile: {str(error).splitlines()[0][:200]}") from None
        return _NOTHING


_NOTHING = jsonschema_rs.Draft202012Validator(False)


_NOT_COMPILED = (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError)


def _compile(schema: bytes) -> jsonschema_rs.Validator:
    parsed = orjson.loads(schema)
    try:
        return jsonschema_rs.Draft202012Validator(parsed, offline=True, pattern_options=jsonschema_rs.RegexOptions())
    except jsonschema_rs.ValidationError:
        options = jsonschema_rs.FancyRegexOptions(backtrack_limit=20_000)
        return jsonschema_rs.Draft202012Validator(parsed, offline=True, pattern_options=options)


_shared = functools.lru_cache(maxsize=4096)(_compile)
"""One validator for all who have the same schema."""


def _consumers(
    index: bundle.PlatformIndex, judged: Mapping[str, _Judged]
) -> dict[str, tuple[str, bundle.ConsumerEntry]]:
    found: dict[str, tuple[str, bundle.ConsumerEntry]] = {}
    for name, catalog in judged.items():
        for consumer in catalog.facts.consumers:
            if consumer.client_id in found or consumer.client_id in index.clients:
                raise BundleError(f"the client id `{consumer.client_id}` is used twice")
            found[consumer.client_id] = (name, consumer)
    return found
