"""Helm values for `charts/stoa-runtime`: how the runtime is deployed, and the bundle packed into ConfigMaps.

The values carry the files of the target `mcp` byte for byte. A ConfigMap is immutable and named by its
content, so a new bundle is new names in the pod's template, and that rolls the pods.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from stoa_compiler import blockyaml, readback
from stoa_compiler.checks.platform import RUNTIME_ZONE
from stoa_compiler.diagnostics import Note, Report, Rule, listed
from stoa_compiler.fastread import fast_read
from stoa_compiler.graph import Graph, Origin, TenantNode
from stoa_compiler.networks import NEVER, PRIVATE, blocks
from stoa_compiler.records import record
from stoa_compiler.source import Span
from stoa_compiler.target import Artifact, Artifacts, Joined, Part, Parts, PartsOf, Target
from stoa_schemas import bundle
from stoa_schemas.documents.platform import Deployment, Environment, ZoneName
from stoa_schemas.helm_values import HelmValues
from stoa_schemas.names import PLATFORM_TENANT

VALUES = "helm/stoa-runtime.values.yaml"

CONFIG_MAP_LIMIT = 1024 * 1024
"""What Kubernetes takes in one ConfigMap: keys and values, in bytes."""
BUDGET = 900 * 1024
"""What one ConfigMap holds at the most, its own names and labels included."""
SHARED = 128 * 1024
"""What files that share a ConfigMap come to at the most: a change of one rewrites them all."""
OVERHEAD = 2 * 1024
"""Names, labels and annotations of one ConfigMap, rounded up."""

DRAIN = 45
"""Seconds that a stopping pod has at the least."""
DRAIN_LIMIT = 3600
DRAIN_SPARE = 15
"""Seconds over the slowest backend's limit: taking the pod out of the service, and writing the audit log."""

UNREADABLE = Rule(
    code="STOA620",
    title="the rendered Helm values do not read back",
    why="Helm would refuse them, or read something else than was meant.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
WRONG_FILE = Rule(
    code="STOA621",
    title="a mounted file is not the compiled one",
    why="The runtime would refuse the bundle, or serve another catalog than the one that was reviewed.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
WRONG_DIGEST = Rule(
    code="STOA622",
    title="the Helm values name another bundle",
    why="Answers and audit lines name the digest: it must be that of the manifest that is mounted.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
WRONG_NAME = Rule(
    code="STOA623",
    title="a ConfigMap is not named by its content",
    why="Pods roll because names change with content; a wrong name would leave old pods serving, or break the update.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
TOO_LARGE = Rule(
    code="STOA624",
    title="a ConfigMap is too large",
    why="Kubernetes refuses a ConfigMap of more than 1 MiB, so nothing of the bundle would be deployed.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
CLASH = Rule(
    code="STOA625",
    title="two files would be mounted in one place",
    why="One of them would silently hide the other.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
WRONG_POLICY = Rule(
    code="STOA626",
    title="the network policy is not what the zones declare",
    why="What no flow declares is closed, and what a flow declares must be open.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)
WRONG_DEPLOYMENT = Rule(
    code="STOA627",
    title="the deployment is not the declared one",
    why="Image, replicas, resources and addresses of the environment decide what runs and who trusts it.",
    help="This is a mistake of the compiler. Nothing was written; please report it.",
)


def emit_tenant(graph: Graph, environment: str, tenant: TenantNode, carried: Artifacts) -> Part:
    """What the deployment must allow for the tenant: ports of its backends, and the time of its slowest call.

    And those of its files that the values can carry as they are.
    """
    backends = [c.backends[environment] for c in tenant.contracts if c.exposed and environment in c.backends]
    mine = (carried[path] for path in (_catalog_path(tenant.name),) if path in carried)
    shared = {
        "ports": sorted({_port(backend.url) for backend in backends}),
        "slowest": max((backend.total_ms for backend in backends), default=0),
        "lines": [artifact.path for artifact in mine if blockyaml.is_line(artifact.content)],
    }
    return Part(shared=shared)


def join(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts) -> Sequence[Artifact]:
    """The values file of `environment`."""
    spec = graph.platform.spec.environments[environment]  # type: ignore[index]
    deployment = _deployment(spec)
    lines = {path for part in parts.values() for path in part.shared["lines"]}
    values: dict[str, Any] = {
        "bundle": {
            "digest": carried[bundle.RUNTIME_MANIFEST].digest,
            "platform": graph.name,
            "environment": environment,
            "development": spec.development,
            "configMaps": [
                {"name": name, "files": [{"key": f.key, "path": f.path, "content": _text(f, lines)} for f in files]}
                for name, files in pack(carried)
            ],
        },
        "image": deployment.image.model_dump(by_alias=True, exclude_none=True),
        "replicas": deployment.replicas.model_dump(by_alias=True),
        "resources": {"cpu": deployment.cpu, "memory": deployment.memory},
        "gateway": {"url": spec.gateway},
        "issuer": {"url": spec.issuer, **_tenants_issuers(graph, environment)},
        "networkPolicy": {
            "ingressNamespaces": _ingress_namespaces(graph),
            "egress": [*_zone_egress(graph), *_backend_egress(graph, environment, parts)],
        },
        "terminationGracePeriodSeconds": _drain_seconds(parts),
    }
    origins = [Origin(graph.origin.document, ("spec", "environments", environment)), graph.origin]
    origins += [origin for _, artifact in sorted(carried.items()) for origin in artifact.origins]
    once = {(origin.document.file.path, origin.loc): origin for origin in origins}
    return [Joined(VALUES, "application/yaml", blockyaml.pieces(values), tuple(once.values()))]


def _catalog_path(tenant: str) -> str:
    return f"mcp/tenants/{tenant}.json"


def _text(piece: "Piece", lines: Set[str]) -> blockyaml.Carried | bytes:
    """A file that is one line is carried as it is."""
    if isinstance(piece.content, bytes):
        return piece.content
    return blockyaml.Carried(piece.content) if piece.path in lines else piece.content.content


def _tenants_issuers(graph: Graph, environment: str) -> dict[str, Any]:
    """Each tenant's issuer, where they have their own; the runtime reads the same from the bundle."""
    if graph.platform.spec.identity.strategy == "single-realm":
        return {}
    tenants = {f.name: graph.issuer(environment, f.name) for f in graph.facts_in(environment)}
    return {"tenants": dict(sorted({**tenants, PLATFORM_TENANT: graph.issuer(environment, "")}.items()))}


def _deployment(environment: Environment) -> Deployment:
    if environment.runtime is None:
        raise ValueError("the target `helm` is checked to have `runtime` before it is rendered")
    return environment.runtime


def _drain_seconds(parts: PartsOf) -> int:
    """How long a pod may need to finish the slowest call that a contract allows."""
    slowest = max((part.shared["slowest"] for part in parts.values()), default=0)
    return min(max(DRAIN, -(-slowest // 1000) + DRAIN_SPARE), DRAIN_LIMIT)


# Packing


@record
class Piece:
    """A file, or a part of one, as a ConfigMap holds it."""

    key: str
    path: str
    content: bytes | Artifact
    """The part's bytes; the artifact where it is whole."""
    digest: str
    """Of the content: sha256, in hexadecimal digits."""

    @property
    def size(self) -> int:
        """Bytes that it takes in its ConfigMap."""
        return len(self.key) + (len(self.content) if isinstance(self.content, bytes) else self.content.size)


def pack(files: Artifacts) -> list[tuple[str, list[Piece]]]:
    """The ConfigMaps that hold `files`, by name, each with its pieces by key.

    A change of one file changes one ConfigMap, and the manifest's. The manifest, which changes every
    time, and large files have their own. Small files share: they are spread over the leaves of a trie by
    the digest of their path, and a leaf splits when it gets too full, so a file that is added or grows
    moves no files but those of its own leaf.
    """
    groups: list[list[Piece]] = []
    small: list[Piece] = []
    for path, artifact in sorted(files.items()):
        pieces = _split(artifact)
        if path == bundle.RUNTIME_MANIFEST or len(pieces) > 1 or pieces[0].size > SHARED - OVERHEAD:
            groups += [[piece] for piece in pieces]
        else:
            small += pieces
    groups += _leaves(small, 0)
    return sorted((_name(group), group) for group in groups)


def _leaves(pieces: list[Piece], depth: int) -> Iterator[list[Piece]]:
    """`pieces` in groups that may share a ConfigMap: those whose paths' digests begin with the same bits."""
    if sum(piece.size for piece in pieces) <= SHARED - OVERHEAD:
        if pieces:
            yield pieces
        return
    for bit in (0, 1):
        yield from _leaves([p for p in pieces if _bit(p.path, depth) == bit], depth + 1)


def _bit(path: str, position: int) -> int:
    return _leaf(path)[position // 8] >> (7 - position % 8) & 1


@cache
def _leaf(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()


def _split(artifact: Artifact) -> list[Piece]:
    """The file as one piece, or in parts that fit into a ConfigMap each, cut between characters."""
    path = artifact.path
    key = _key(path)
    room = BUDGET - OVERHEAD - len(key) - len(".part000")
    if artifact.size <= room:
        return [Piece(key, path, artifact, artifact.digest.removeprefix("sha256:"))]
    content = artifact.content
    parts: list[bytes] = []
    start = 0
    while start < len(content):
        end = min(start + room, len(content))
        while end < len(content) and content[end] & 0b1100_0000 == 0b1000_0000:
            end -= 1
        parts.append(content[start:end])
        start = end
    if len(parts) > 1000:
        raise ValueError(f"{path} is too large to be mounted: {len(content)} bytes")
    suffixes = [f"{bundle.PART_SUFFIX}{n:03}" for n in range(len(parts))]
    return [
        Piece(f"{key}{suffix}", f"{path}{suffix}", part, hashlib.sha256(part).hexdigest())
        for suffix, part in zip(suffixes, parts, strict=True)
    ]


def _key(path: str) -> str:
    """The key for `path`. Paths are made of ids, which hold no underscore, so no two share a key."""
    if "_" in path:
        raise ValueError(f"{path} holds an underscore")
    return path.replace("/", "_")


def _name(pieces: Sequence[Piece]) -> str:
    data = bundle.canonical({piece.key: piece.digest for piece in pieces})
    return f"stoa-bundle-{hashlib.sha256(data).hexdigest()[:16]}"


# Network policy


def _ingress_namespaces(graph: Graph) -> list[str]:
    """Namespaces of the zones that have a flow to ours.

    Address ranges give no ingress: who comes from outside the cluster enters at the ingress controller or
    gateway, which runs in a namespace.
    """
    spec = graph.platform.spec
    sources = {flow.from_ for flow in spec.flows if flow.to == RUNTIME_ZONE}
    return sorted({name for zone in sources if zone in spec.zones for name in spec.zones[zone].namespaces})


def _zone_egress(graph: Graph) -> list[dict[str, Any]]:
    """One rule for each zone that ours has a flow to."""
    spec = graph.platform.spec
    rules = []
    for name, zone in sorted(spec.zones.items()):
        ports = sorted({flow.port for flow in spec.flows if flow.from_ == RUNTIME_ZONE and flow.to == name})
        if not ports or not (zone.namespaces or zone.cidrs):
            continue
        rule: dict[str, Any] = {"ports": ports}
        if zone.namespaces:
            rule["namespaces"] = sorted(set(zone.namespaces))
        if zone.cidrs:
            rule["blocks"] = blocks(zone.cidrs, PRIVATE)
        rules.append(rule)
    return rules


def _backend_egress(graph: Graph, environment: str, parts: PartsOf) -> list[dict[str, Any]]:
    """The rule for the private ranges where backends may be, with the ports that contracts name."""
    networks = graph.platform.spec.environments[environment].backend_networks  # type: ignore[index]
    ports = sorted({port for part in parts.values() for port in part.shared["ports"]})
    return [{"blocks": blocks(networks, NEVER), "ports": ports}] if networks and ports else []


def _port(url: str) -> int:
    if url.count(":") == 1:  # It names none: of ten thousand addresses, hardly one does.
        return 443 if url.startswith("https:") else 80
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


# Reading back


def verify(graph: Graph, environment: str, artifacts: Artifacts, report: Report) -> None:
    """Reads the values as Helm would, and compares what they deploy with the bundle and the platform."""
    tenants = graph.tenants_in(environment)
    needs = _Needs(
        ports={port for tenant in tenants for port in _declared_ports(tenant, environment)},
        slowest=max((_slowest(tenant, environment) for tenant in tenants), default=0),
    )
    whole = Artifact(VALUES, "application/yaml", artifacts[VALUES].content, ())
    _verify(graph, environment, needs, {**artifacts, VALUES: whole}, report)


def verify_parts(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts, report: Report) -> None:
    """Compares what tenants need with what they declare, and reads each file that is carried back from a block."""
    span = _place(graph, environment)
    for tenant in graph.tenants_in(environment):
        shared = parts[tenant.name].shared
        if set(shared["ports"]) != set(_declared_ports(tenant, environment)):
            report.add(WRONG_POLICY, span(), f"the ports of `{tenant.name}` are not those of its backends")
        if shared["slowest"] != _slowest(tenant, environment):
            report.add(WRONG_DEPLOYMENT, span(), f"the slowest call of `{tenant.name}` takes another time")
        for path in shared["lines"]:
            content = carried[path].content
            if readback.document(b"files:\n  - content: |\n      %b" % content) != {
                "files": [{"content": content.decode()}]
            }:
                report.add(UNREADABLE, span(), f"`{path}` would not be read back from the values")


def verify_rest(graph: Graph, environment: str, parts: PartsOf, artifacts: Artifacts, report: Report) -> None:
    """The same as `verify`, but for the bytes of files that the values carry as they are.

    `verify_parts` read each of them back from such a place. So a word that is a line of its own like them stands for
    each here, and that word is read where the file is to be.
    """
    needs = _Needs(
        ports={port for part in parts.values() for port in part.shared["ports"]},
        slowest=max((part.shared["slowest"] for part in parts.values()), default=0),
    )
    _verify(graph, environment, needs, artifacts, report)


Place = Callable[[], Span]
"""Tells where the environment's deployment is declared: only a finding asks."""


def _place(graph: Graph, environment: str) -> Place:
    return lambda: graph.origin.document.span(("spec", "environments", environment, "runtime"))


@record
class _Needs:
    """What tenants need of the deployment."""

    ports: set[int]
    """Those that backends listen at."""
    slowest: int
    """The longest time of a call, in milliseconds."""


def _verify(graph: Graph, environment: str, needs: _Needs, artifacts: Artifacts, report: Report) -> None:
    span = _place(graph, environment)
    carried: dict[str, Artifact] = {}
    mark = f"carried-{os.urandom(16).hex()}"
    text: list[bytes] = []
    values_file = artifacts[VALUES]
    for piece in values_file.pieces if isinstance(values_file, Joined) else (values_file.content,):
        if isinstance(piece, bytes):
            text.append(piece)
        else:
            word = f"{mark}-{len(carried)}\n"
            carried[word] = piece
            text.append(word.encode())
    values = _read(b"".join(text), _values if carried else readback.document, span, report)
    if values is None:
        return
    compiled = {path: a for path, a in artifacts.items() if path.startswith("mcp/")}
    _verify_files(values, compiled, carried, span, report)
    _verify_deployment(values, graph, environment, needs.slowest, span, report)
    _verify_policy(values, graph, environment, needs.ports, span, report)


def _read(content: bytes, reader: Callable[[bytes], Any], span: Place, report: Report) -> HelmValues | None:
    try:
        return HelmValues.model_validate(reader(content))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        report.add(UNREADABLE, span(), f"`{VALUES}` is no YAML: {str(error).splitlines()[0]}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        report.add(UNREADABLE, span(), f"`{VALUES}` does not fit the chart: `{where}`: {first['msg']}")
    return None


_MAPS = re.compile(rb"(?m)^  configMaps:\n((?:    .*\n)*)")


def _values(content: bytes) -> Any:
    """What the file says; the list of ConfigMaps, of which there are many of one shape, is read by itself.

    Its lines are those deeper than its key. They are read by lines where they are plain: all texts there are blocks
    or in quotes, and mean the same in every version of YAML.
    """
    maps = _MAPS.search(content)
    plain = fast_read(b"configMaps:\n" + maps[1], limit=len(content) + 20) if maps is not None else None
    if maps is None or plain is None:
        return readback.document(content)
    rest = readback.document(content[: maps.start()] + b"  configMaps: []\n" + content[maps.end() :])
    if not isinstance(rest, dict) or not isinstance(rest.get("bundle"), dict) or rest["bundle"].get("configMaps") != []:
        return readback.document(content)
    rest["bundle"]["configMaps"] = plain["configMaps"]
    return rest


@record
class _Mounted:
    """A file as a ConfigMap holds it."""

    digest: str
    """Sha256, in hexadecimal digits."""
    size: int
    content: bytes | None
    """None where it is carried as it is."""

    @classmethod
    def of(cls, text: str, carried: Artifacts) -> "_Mounted":
        """What the text says, or the file that it stands for."""
        if (artifact := carried.get(text)) is not None:
            return cls(artifact.digest.removeprefix("sha256:"), artifact.size, None)
        content = text.encode()
        return cls(hashlib.sha256(content).hexdigest(), len(content), content)


def _verify_files(values: HelmValues, compiled: Artifacts, carried: Artifacts, span: Place, report: Report) -> None:
    mounted: dict[str, _Mounted] = {}
    names: set[str] = set()
    for config_map in values.bundle.config_maps:
        data = {file.key: _Mounted.of(file.content, carried) for file in config_map.files}
        if len(data) != len(config_map.files):
            report.add(CLASH, span(), f"ConfigMap `{config_map.name}` has one key for two files")
        for file in config_map.files:
            if file.path in mounted:
                report.add(CLASH, span(), f"`{file.path}` is mounted twice")
            mounted[file.path] = data[file.key]
        if config_map.name in names:
            report.add(CLASH, span(), f"two ConfigMaps are called `{config_map.name}`")
        names.add(config_map.name)
        held = {key: file.digest for key, file in data.items()}
        named = "stoa-bundle-" + hashlib.sha256(bundle.canonical(held)).hexdigest()[:16]
        if config_map.name != named:
            report.add(WRONG_NAME, span(), f"ConfigMap `{config_map.name}` holds what would be called `{named}`")
        size = sum(len(key.encode()) + file.size for key, file in data.items())
        if size + OVERHEAD > BUDGET:
            report.add(
                TOO_LARGE,
                span(),
                f"ConfigMap `{config_map.name}` holds {size} bytes",
                [Note(f"{BUDGET} bytes are planned for one, {CONFIG_MAP_LIMIT} are what Kubernetes takes")],
            )
    _verify_content(_reassembled(mounted), compiled, span, report)
    manifest = compiled.get(bundle.RUNTIME_MANIFEST)
    if manifest is None or values.bundle.digest != bundle.sha256(manifest.content):
        report.add(WRONG_DIGEST, span(), f"the values name bundle `{values.bundle.digest}`, which was not compiled")


def _reassembled(mounted: Mapping[str, _Mounted]) -> dict[str, _Mounted]:
    """The files as the runtime reads them: parts joined in the order of their numbers, from 000 without a gap."""
    whole = {path: file for path, file in mounted.items() if bundle.PART_SUFFIX not in path}
    for first in [path for path in mounted if path.endswith(f"{bundle.PART_SUFFIX}000")]:
        path = first.removesuffix("000")
        count = sum(other.startswith(path) for other in mounted)
        parts = [mounted.get(f"{path}{n:03}") for n in range(count)]
        joined = b"".join((part.content or b"") if part is not None else b"" for part in parts)
        digest = hashlib.sha256(joined).hexdigest()
        whole[path.removesuffix(bundle.PART_SUFFIX)] = _Mounted(digest, len(joined), joined)
    return whole


def _verify_content(mounted: Mapping[str, _Mounted], compiled: Artifacts, span: Place, report: Report) -> None:
    for path in sorted(mounted.keys() | compiled.keys()):
        if path not in mounted:
            report.add(WRONG_FILE, span(), f"`{path}` is compiled, and not mounted")
        elif path not in compiled:
            report.add(WRONG_FILE, span(), f"`{path}` is mounted, and not compiled")
        elif mounted[path].content is None:
            if mounted[path].digest != compiled[path].digest.removeprefix("sha256:"):
                report.add(WRONG_FILE, span(), f"`{path}` is mounted with other bytes than were compiled")
        elif mounted[path].content != compiled[path].content:
            report.add(WRONG_FILE, span(), f"`{path}` is mounted with other bytes than were compiled")
    here = mounted.get(bundle.RUNTIME_MANIFEST)
    try:
        manifest = bundle.RuntimeManifest.model_validate_json((here.content or b"") if here is not None else b"")
    except ValidationError:
        report.add(WRONG_FILE, span(), f"`{bundle.RUNTIME_MANIFEST}` is mounted, and is no manifest")
        return
    for listed_file in manifest.files:
        file = mounted.get(listed_file.path) or _Mounted.of("", {})
        if (f"sha256:{file.digest}", file.size) != (listed_file.sha256, listed_file.bytes):
            report.add(WRONG_FILE, span(), f"`{listed_file.path}` is mounted, and its digest is not the manifest's")


def _slowest(tenant: TenantNode, environment: str) -> int:
    served = (c.backends.get(environment) for c in tenant.contracts if c.declared.spec.status != "draft")
    return max((backend.total_ms for backend in served if backend is not None), default=0)


def _declared_ports(tenant: TenantNode, environment: str) -> Iterator[int]:
    schemes = {"http": 80, "https": 443}
    for contract in tenant.contracts:
        backend = contract.backends.get(environment)
        if contract.declared.spec.status != "draft" and backend is not None:
            server = urlsplit(backend.url)
            yield server.port or schemes[server.scheme]


def _verify_deployment(
    values: HelmValues, graph: Graph, environment: str, slowest: int, span: Place, report: Report
) -> None:
    spec = graph.platform.spec.environments[environment]  # type: ignore[index]
    declared = _deployment(spec)
    grace = values.termination_grace_period_seconds
    compared = {
        "bundle.platform": (values.bundle.platform, graph.name),
        "bundle.environment": (values.bundle.environment, environment),
        "bundle.development": (values.bundle.development, spec.development),
        "image": (values.image, declared.image),
        "imagePullSecrets": (values.image_pull_secrets, []),
        "credentials": (values.credentials, None),
        "replicas.min": (values.replicas.min, declared.replicas.min),
        "replicas.max": (values.replicas.max, declared.replicas.max),
        "resources.cpu": (values.resources.cpu, declared.cpu),
        "resources.memory": (values.resources.memory, declared.memory),
        "gateway.url": (values.gateway.url, spec.gateway),
        "issuer.url": (values.issuer.url, spec.issuer),
        "issuer.tenants": (values.issuer.tenants, _declared_issuers(graph, environment)),
        "terminationGracePeriodSeconds": (grace * 1000 >= slowest or grace == DRAIN_LIMIT, True),
    }
    wrong = [key for key, (rendered, wanted) in compared.items() if rendered != wanted]
    if wrong:
        report.add(WRONG_DEPLOYMENT, span(), f"the values of {listed(wrong)} are not what the platform declares")


def _declared_issuers(graph: Graph, environment: str) -> dict[str, str]:
    """The issuer of each tenant by the rule that its realm is called like the platform's, with its name at the end."""
    if graph.platform.spec.identity.strategy != "realm-per-tenant":
        return {}
    home = graph.platform.spec.environments[environment].issuer.rstrip("/")  # type: ignore[index]
    return {"platform": graph.platform.spec.environments[environment].issuer} | {  # type: ignore[index]
        tenant.name: f"{home}-{tenant.name}" for tenant in graph.facts_in(environment)
    }


def _verify_policy(
    values: HelmValues, graph: Graph, environment: str, backend_ports: set[int], span: Place, report: Report
) -> None:
    """Asks both the rendered policy and the platform about every namespace, and about both sides of every border
    between addresses: between two borders neither can change its mind."""
    policy = values.network_policy
    spec = graph.platform.spec
    ports = {flow.port for flow in spec.flows} | {port for rule in policy.egress for port in rule.ports}
    ports |= backend_ports
    networks = spec.environments[environment].backend_networks  # type: ignore[index]

    def may_leave(port: int) -> Iterator[ZoneName]:
        return (flow.to for flow in spec.flows if flow.from_ == RUNTIME_ZONE and flow.port == port)

    wrong: list[str] = []
    namespaces = {n for zone in spec.zones.values() for n in zone.namespaces}
    namespaces |= set(policy.ingress_namespaces) | {n for rule in policy.egress for n in rule.namespaces}
    for namespace in sorted(namespaces):
        zones = {name for name, zone in spec.zones.items() if namespace in zone.namespaces}
        declared_in = any(flow.to == RUNTIME_ZONE and flow.from_ in zones for flow in spec.flows)
        if declared_in != (namespace in policy.ingress_namespaces):
            wrong.append(f"from namespace {namespace}")
        for port in sorted(ports):
            declared_out = any(zone in zones for zone in may_leave(port))
            rendered = any(port in rule.ports and namespace in rule.namespaces for rule in policy.egress)
            if declared_out != rendered:
                wrong.append(f"to namespace {namespace}, port {port}")

    opened = [(rule.ports, block) for rule in policy.egress for block in rule.blocks]
    ranges = {c for zone in spec.zones.values() for c in zone.cidrs} | {*networks, *PRIVATE}
    ranges |= {c for _, block in opened for c in (block.cidr, *block.except_)}
    for address in _borders(ranges):
        for port in sorted(ports):
            of_zones = [c for name in may_leave(port) if name in spec.zones for c in spec.zones[name].cidrs]
            declared = _covers(of_zones, PRIVATE, address)
            declared = declared or (port in backend_ports and _covers(networks, NEVER, address))
            rendered = any(
                port in open_ports and _holds(block.cidr, address) and not _any_holds(block.except_, address)
                for open_ports, block in opened
            )
            if declared != rendered:
                wrong.append(f"to {address[1]}, port {port}")
    if policy.dns != type(policy.dns)():
        wrong.append("to DNS")
    if wrong:
        places, which = ("one place", "there") if len(wrong) == 1 else (f"{len(wrong)} places", "among them")
        said = f"the network policy and the zones disagree in {places}"
        report.add(WRONG_POLICY, span(), said, [Note(f"{which}: {listed(wrong, 4)}")])


Address = tuple[int, str]
"""A version of IP, and an address as text."""


def _borders(cidrs: set[str]) -> list[Address]:
    """The first and last address of each range, and their neighbours outside it."""
    found: set[tuple[int, int]] = set()
    for network in map(_network, cidrs):
        first, last = int(network.network_address), int(network.broadcast_address)
        found |= {(network.version, n) for n in (first - 1, first, last, last + 1) if 0 <= n < 2**network.max_prefixlen}
    return [(v, str(IPv4Address(n) if v == 4 else IPv6Address(n))) for v, n in sorted(found)]


_network = cache(partial(ip_network, strict=False))


def _holds(cidr: str, address: Address) -> bool:
    return ip_address(address[1]) in _network(cidr)


def _any_holds(cidrs: Sequence[str], address: Address) -> bool:
    return any(_holds(cidr, address) for cidr in cidrs)


def _covers(declared: Sequence[str], kept_closed: Sequence[str], address: Address) -> bool:
    """Whether one of the `declared` ranges means `address`: one wider than a closed range does not open that."""
    length = {c: _network(c).prefixlen for c in (*declared, *kept_closed)}
    return any(
        _holds(cidr, address) and not any(_holds(c, address) and length[cidr] < length[c] for c in kept_closed)
        for cidr in declared
    )


PARTS = Parts(emit_tenant, verify_parts, join, verify_rest)
TARGET = Target(
    name="helm",
    emit=PARTS.emit_whole,
    verify=verify,
    rules=(
        UNREADABLE,
        WRONG_FILE,
        WRONG_DIGEST,
        WRONG_NAME,
        TOO_LARGE,
        CLASH,
        WRONG_POLICY,
        WRONG_DEPLOYMENT,
    ),
    carries=("mcp",),
    parts=PARTS,
)
