"""Verify: reads the manifests back as the cluster would, and compares them with the graph."""

import hashlib
import json
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from stoa_compiler import readback
from stoa_compiler.diagnostics import Note, Report, listed
from stoa_compiler.graph import Graph, TenantNode
from stoa_compiler.networks import PRIVATE
from stoa_compiler.seals import sealed
from stoa_compiler.source import Span
from stoa_compiler.target import Artifact, Artifacts, Part, PartsOf
from stoa_compiler.targets.kubernetes.reach import Direction, Pod, Policies, Port, Unknown
from stoa_compiler.targets.kubernetes.rules import UNREADABLE, WRONG_CATALOG, WRONG_OBJECT, WRONG_REACH
from stoa_schemas import calls, names
from stoa_schemas.documents.platform import ZoneName

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace and name. A Namespace's namespace is empty."""

LIMIT = 1024 * 1024
"""Bytes that a ConfigMap may have."""
CLIENT_SIDE = 256 * 1024
"""Bytes of an object that client-side apply can keep in its annotation."""
_RESOLVER = Pod("kube-system", (("k8s-app", "kube-dns"),))


def verify(graph: Graph, environment: str, artifacts: Artifacts, report: Report) -> None:
    """Adds what the manifests say otherwise than the graph."""
    files: dict[str, list[Artifact]] = {t.name: [] for t in graph.facts_in(environment)}
    for path in sorted(artifacts):
        files.get(_owner(path) or "", []).append(artifacts[path])
    parts = {name: Part(tuple(own), sealed([*own, *_catalog_of(name, artifacts)])) for name, own in files.items()}
    verify_parts(graph, environment, parts, artifacts, report)
    verify_rest(graph, environment, parts, artifacts, report)


def verify_parts(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts, report: Report) -> None:
    """Adds what the tenants' own manifests say otherwise than the graph.

    Each tenant is proved alone, and this tells as much of its policies as if every other tenant were there. They are
    asked about the tenant's namespace, those of the zones and of Kubernetes, and one that is nobody's; they may choose
    namespaces by names alone, and of names only those of namespaces that are asked about, nobody's excepted. So
    whatever they say of nobody's namespace they say of every other, another tenant's included. The policies of other
    namespaces add nothing to what these open.
    """
    span = _span(graph, environment)
    reach = _Reach(graph)
    for tenant in graph.tenants_in(environment):
        part, catalog = parts.get(tenant.name, Part()), _catalog_of(tenant.name, carried)
        for artifact in part.artifacts:
            if calls.sha256(artifact.content) != artifact.digest:
                report.add(WRONG_OBJECT, span, f"`{artifact.path}` has another digest")
        if part.shared != sealed([*part.artifacts, *catalog]):
            report.add(WRONG_OBJECT, span, f"the part of `{tenant.name}` is sealed as another")
        objects = _read({a.path: a for a in part.artifacts}, span, report)
        if objects is None:
            continue
        namespace = names.namespace(graph.name, tenant.name, environment)
        maps = {k: found for k, (_, found) in objects.items() if k[0] == "ConfigMap" and k[1] == namespace}
        others = {k: found for k, found in objects.items() if k not in maps}
        _compare(others, dict(_declared_of(graph, environment, tenant)), span, report)
        folder = f"kubernetes/tenants/{tenant.name}/catalog.yaml"
        if any(objects[k][0] != folder for k in maps):
            report.add(WRONG_CATALOG, span, f"a ConfigMap of `{namespace}` is not in `{folder}`")
        labels = _labels(graph.name, environment, tenant.name)
        problem = _catalog_problem(maps, catalog[0].content if catalog else None, labels)
        if problem:
            report.add(WRONG_CATALOG, span, f"the catalog in `{namespace}`: {problem}")
        reach.judge([found for _, found in objects.values()], {namespace}, {namespace}, span, report)


def verify_rest(graph: Graph, environment: str, parts: PartsOf, artifacts: Artifacts, report: Report) -> None:
    """Adds where tenants' files are not those of their parts, and what the other manifests say otherwise.

    The zones' policies, too, may choose namespaces by names alone, and each choice must mean all tenants or none: so
    what they say of one tenant they say of each.
    """
    span = _span(graph, environment)
    known = [t.name for t in graph.facts_in(environment)]
    for name in sorted(parts.keys() - set(known)):
        report.add(WRONG_OBJECT, span, f"`{name}` has a part, and is not rendered in `{environment}`")
    proved: set[str] = set()
    for name in known:
        if name not in parts:
            report.add(WRONG_OBJECT, span, f"`{name}` has no part")
            continue
        part = parts[name]
        own = [a.path for a in part.artifacts]
        if any(_owner(path) != name for path in own):
            report.add(WRONG_OBJECT, span, f"the part of `{name}` holds what is not its own")
        elif part.shared != sealed([*_at(own, artifacts), *_catalog_of(name, artifacts)]):
            report.add(WRONG_OBJECT, span, f"the files of `{name}` are not those that were proved")
        proved.update(own)
    rest = {p: a for p, a in artifacts.items() if p.startswith("kubernetes/") and p not in proved}
    objects = _read(rest, span, report)
    if objects is None:
        return
    zones = {n for zone in graph.platform.spec.zones.values() for n in zone.namespaces}
    tenants = {names.namespace(graph.name, name, environment) for name in known}
    _compare(objects, dict(_declared_of_zones(graph, environment, zones, bool(tenants))), span, report)
    _Reach(graph).judge([found for _, found in objects.values()], tenants, zones, span, report)


def _owner(path: str) -> str | None:
    """The tenant whose file has this path; None where it is no tenant's."""
    match path.split("/"):
        case ["kubernetes", "tenants", tenant, _]:
            return tenant
        case ["kubernetes", "platform", file] if file.startswith("tenant-") and file.endswith(".yaml"):
            return file.removeprefix("tenant-").removesuffix(".yaml")
    return None


def _at(paths: Iterable[str], artifacts: Artifacts) -> list[Artifact]:
    return [artifacts[path] for path in paths if path in artifacts]


def _catalog_of(tenant: str, artifacts: Artifacts) -> list[Artifact]:
    return _at([f"mcp/tenants/{tenant}.json"], artifacts)


def _span(graph: Graph, environment: str) -> Span:
    return graph.origin.document.span(("spec", "environments", environment, "targets"))


def _read(files: Artifacts, span: Span, report: Report) -> dict[Key, tuple[str, Object]] | None:
    """The files' objects, each with the file's path; None where one does not read back."""
    objects: dict[Key, tuple[str, Object]] = {}
    before = report.errors
    for path in sorted(files):
        for found in readback.objects(path, files[path].content, UNREADABLE, span, report):
            key = _key(found)
            if key is None:
                report.add(UNREADABLE, span, f"`{path}` holds something without a kind and a name")
            elif key in objects:
                report.add(UNREADABLE, span, f"{_said(key)} is in `{path}` and in `{objects[key][0]}`")
            else:
                objects[key] = (path, found)
    return None if report.errors != before else objects


def _compare(
    objects: Mapping[Key, tuple[str, Object]], wanted: Mapping[Key, tuple[str, Object]], span: Span, report: Report
) -> None:
    """Adds where objects are not the declared ones; what policies open is not looked at."""
    for key in sorted(wanted.keys() - objects.keys()):
        report.add(WRONG_OBJECT, span, f"{_said(key)} is missing")
    for key in sorted(objects.keys() - wanted.keys()):
        report.add(WRONG_OBJECT, span, f"{_said(key)} is declared nowhere")
    for key in sorted(objects.keys() & wanted.keys()):
        path, rendered = objects[key]
        wanted_path, declared = wanted[key]
        if path != wanted_path:
            report.add(WRONG_OBJECT, span, f"{_said(key)} is in `{path}`, not in `{wanted_path}`")
        if key[0] == "NetworkPolicy" and key[2] != "stoa-default-deny":
            opening = rendered.get("spec")
            closing = (
                {k: v for k, v in opening.items() if k not in ("ingress", "egress")}
                if isinstance(opening, dict)
                else opening
            )
            rendered = {**rendered, "spec": closing}
        if not _same(rendered, declared):
            report.add(
                WRONG_OBJECT, span, f"{_said(key)} is not what is declared: {listed(_differing(rendered, declared))}"
            )


# Reading


def _key(found: Object) -> Key | None:
    metadata = found.get("metadata")
    if not isinstance(metadata, dict):
        return None
    kind, namespace, name = found.get("kind"), metadata.get("namespace", ""), metadata.get("name")
    return (kind, namespace, name) if all(isinstance(v, str) for v in (kind, namespace, name)) else None  # type: ignore[return-value]


def _said(key: Key) -> str:
    return f"{key[0]} `{f'{key[1]}/' if key[1] else ''}{key[2]}`"


def _same(one: Any, other: Any) -> bool:
    """Equality that tells true from 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _differing(one: Any, other: Any, at: str = "") -> list[str]:
    """Paths of the values that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(map(str, one.keys() | other.keys()))
        return [p for key in keys for p in _differing(one.get(key), other.get(key), f"{at}.{key}".lstrip("."))]
    return [] if _same(one, other) else [at]


# What is declared


def _labels(platform: str, environment: str, tenant: str | None) -> dict[str, str]:
    owner = {"app.kubernetes.io/managed-by": "stoa", "app.kubernetes.io/part-of": platform}
    owner["gostoa.dev/environment"] = environment
    if tenant is not None:
        owner["gostoa.dev/tenant"] = tenant
    return owner


def _declared_of_zones(
    graph: Graph, environment: str, namespaces: Iterable[str], tenants: bool
) -> Iterator[tuple[Key, tuple[str, Object]]]:
    """Every object of the zones' namespaces, with its file; of network policies all but what they open."""
    for namespace in namespaces:
        of_zones = {name for name, zone in graph.platform.spec.zones.items() if namespace in zone.namespaces}
        path = f"kubernetes/platform/zone-{namespace}.yaml"
        yield from _policies(graph, environment, namespace, of_zones, None, path, tenants)


def _declared_of(graph: Graph, environment: str, tenant: TenantNode) -> Iterator[tuple[Key, tuple[str, Object]]]:
    """Every object of the tenant but the ConfigMaps; likewise."""
    spec = graph.platform.spec
    cluster = graph.environment(environment).kubernetes
    namespace = names.namespace(graph.name, tenant.name, environment)
    path = f"kubernetes/platform/tenant-{tenant.name}.yaml"
    yield from _policies(graph, environment, namespace, {"tenants"}, tenant.name, path, True)
    labels = _labels(graph.name, environment, tenant.name)

    def of(
        version: str, kind: str, name: str, rest: Object, notes: Object | None = None, path: str = path
    ) -> tuple[Key, tuple[str, Object]]:
        metadata: Object = {"name": name, "namespace": namespace, "labels": labels}
        if notes:
            metadata["annotations"] = notes
        return (kind, namespace, name), (path, {"apiVersion": version, "kind": kind, "metadata": metadata, **rest})

    level = cluster.pod_security if cluster else "restricted"
    secured = {f"pod-security.kubernetes.io/{mode}": level for mode in ("audit", "enforce", "warn")}
    space: Object = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {**labels, **secured},
            "annotations": {
                "argocd.argoproj.io/sync-options": "Prune=confirm,Delete=confirm",
                "argocd.argoproj.io/sync-wave": "-1",
            },
        },
    }
    yield ("Namespace", "", namespace), (path, space)
    resources = spec.tiers[tenant.declared.spec.tier].resources
    together = {
        "pods": str(resources.pods),
        "requests.cpu": _written(resources.cpu),
        "requests.memory": _written(resources.memory),
        "limits.memory": _written(resources.memory),
        "requests.storage": _written(resources.storage),
        "services.nodeports": "0",
        "services.loadbalancers": "0",
    }
    yield of("v1", "ResourceQuota", "stoa-quota", {"spec": {"hard": together}})
    each = {
        "type": "Container",
        "max": {"cpu": _written(resources.cpu), "memory": _written(resources.memory)},
        "default": {"cpu": _written(resources.cpu), "memory": _written(resources.container_memory)},
        "defaultRequest": {
            "cpu": _written(resources.container_cpu),
            "memory": _written(resources.container_memory),
        },
    }
    yield of("v1", "LimitRange", "stoa-limits", {"spec": {"limits": [each]}})
    for account in ("stoa-tenant", "stoa-secrets", "default"):
        yield of("v1", "ServiceAccount", account, {"automountServiceAccountToken": False})
    group = "rbac.authorization.k8s.io"
    seen = ["configmaps", "events", "pods", "pods/log", "services"]
    reading = [{"apiGroups": [""], "resources": seen, "verbs": ["get", "list", "watch"]}]
    yield of(f"{group}/v1", "Role", "stoa-tenant", {"rules": reading})
    subject = {"kind": "ServiceAccount", "name": "stoa-tenant", "namespace": namespace}
    bound = {"roleRef": {"apiGroup": group, "kind": "Role", "name": "stoa-tenant"}, "subjects": [subject]}
    yield of(f"{group}/v1", "RoleBinding", "stoa-tenant", bound)
    references = sorted(set(_references(tenant, environment)))
    if cluster is not None and cluster.vault is not None and references:
        path = f"kubernetes/tenants/{tenant.name}/secrets.yaml"
        who = {"name": "stoa-secrets", "audiences": ["vault"]}
        login = {"mountPath": cluster.vault.auth_mount, "role": namespace, "serviceAccountRef": who}
        vault = {
            "server": cluster.vault.server,
            "path": cluster.vault.mount,
            "version": "v2",
            "auth": {"kubernetes": login},
        }
        store = {"spec": {"provider": {"vault": vault}}}
        yield of("external-secrets.io/v1", "SecretStore", "vault", store, None, path)
        data = []
        for reference in references:
            where, key = reference[len("vault:") :].split("#")
            plain = "".join(c if c.isalnum() and c.isascii() else "_" for c in f"{where}_{key}").upper()
            remote = {"key": where, "property": key, "metadataPolicy": "None"}
            remote |= {"conversionStrategy": "Default", "decodingStrategy": "None"}
            data.append({"secretKey": "STOA_SECRET_" + plain, "remoteRef": remote})
        external = {
            "refreshInterval": "5m0s",
            "secretStoreRef": {"name": "vault", "kind": "SecretStore"},
            "target": {"name": "backends", "creationPolicy": "Owner", "deletionPolicy": "Retain"},
            "data": data,
        }
        yield of("external-secrets.io/v1", "ExternalSecret", "backends", {"spec": external}, None, path)


def _references(tenant: TenantNode, environment: str) -> Iterator[str]:
    for contract in tenant.contracts:
        backend = contract.backends.get(environment)
        if contract.declared.spec.status != "draft" and backend is not None and backend.auth is not None:
            yield backend.auth.secret


def _written(quantity: str) -> str:
    """A quantity as the API server writes it."""
    for unit, size in (("Mi", 1024**2), ("Gi", 1024**3)):
        if quantity.endswith(unit):
            amount = int(quantity.removesuffix(unit)) * size
            power = max(n for n in range(2, 6) if amount % 1024**n == 0)
            return f"{amount // 1024**power}{' KMGTP'[power]}i"
    thousandths = int(quantity[:-1]) if quantity.endswith("m") else int(quantity) * 1000
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def _policies(
    graph: Graph,
    environment: str,
    namespace: str,
    zones: set[ZoneName],
    tenant: str | None,
    path: str,
    tenants: bool,
) -> Iterator[tuple[Key, tuple[str, Object]]]:
    """The policies by name: what they open is asked of them all together."""
    spec = graph.platform.spec
    filled = {z for z, declared in spec.zones.items() if declared.namespaces or declared.cidrs}
    if tenants:
        filled.add("tenants")
    wanted = {"stoa-default-deny", "stoa-dns"}
    wanted |= {f"stoa-from-{f.from_}" for f in spec.flows if f.to in zones and f.from_ in filled & spec.zones.keys()}
    wanted |= {f"stoa-to-{f.to}" for f in spec.flows if f.from_ in zones and f.to in filled & spec.zones.keys()}
    for name in wanted:
        ways = {"stoa-default-deny": ["Ingress", "Egress"], "stoa-dns": ["Egress"]}
        way = ways.get(name, ["Ingress"] if name.startswith("stoa-from-") else ["Egress"])
        metadata = {"name": name, "namespace": namespace, "labels": _labels(graph.name, environment, tenant)}
        policy: Object = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata}
        policy["spec"] = {"podSelector": {}, "policyTypes": way}
        if name == "stoa-default-deny":
            policy["spec"] |= {"ingress": [], "egress": []}
        yield ("NetworkPolicy", namespace, name), (path, policy)


# Catalogs


def _catalog_problem(maps: Mapping[Key, Object], content: bytes | None, labels: Mapping[str, str]) -> str | None:
    """What is wrong with the ConfigMaps of one tenant."""
    parts: dict[str, str] = {}
    for (_, namespace, name), found in maps.items():
        data, metadata = found.get("data"), found["metadata"]
        if found.keys() != {"apiVersion", "kind", "metadata", "immutable", "data"} or found["apiVersion"] != "v1":
            return f"`{name}` has other keys than a ConfigMap"
        if found["immutable"] is not True:
            return f"`{name}` can be changed in place"
        if not isinstance(data, dict) or len(data) != 1 or not all(isinstance(v, str) for v in data.values()):
            return f"`{name}` does not hold one text"
        encoded = json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"
        if name != "catalog-" + hashlib.sha256(encoded.encode()).hexdigest()[:16]:
            return f"`{name}` is not named by its content"
        size = len(encoded.encode())
        if size + 1024 > LIMIT:
            return f"`{name}` is too large for a ConfigMap"
        notes = metadata.get("annotations", {})
        if size > CLIENT_SIDE and notes != {"argocd.argoproj.io/sync-options": "ServerSideApply=true"}:
            return f"`{name}` is too large for client-side apply"
        if notes and (
            size < CLIENT_SIDE - 4096 or notes != {"argocd.argoproj.io/sync-options": "ServerSideApply=true"}
        ):
            return f"`{name}` has annotations that nothing asks for"
        if {k: v for k, v in metadata.items() if k != "annotations"} != {
            "name": name,
            "namespace": namespace,
            "labels": labels,
        } or ("annotations" in metadata and not notes):
            return f"`{name}` has other metadata than declared"
        if parts.keys() & data.keys():
            return "a part is there twice"
        parts |= data
    if content is None:
        return "there is none" if parts else None
    single = list(parts) == ["catalog.json"]
    if not single and sorted(parts) != [f"catalog.json.part{n:03}" for n in range(len(parts))]:
        return "its parts are not numbered"
    if "".join(parts[key] for key in sorted(parts)).encode() != content:
        return "it is not the compiled one"
    return None


# Reach


class _Reach:
    """What the flows mean, asked of policies: about every pair of namespaces, and about both sides of every border
    between addresses, at every port that either names."""

    def __init__(self, graph: Graph) -> None:
        self._spec = graph.platform.spec
        self._zones: dict[str, set[ZoneName]] = {}
        for zone, declared in self._spec.zones.items():
            for name in declared.namespaces:
                self._zones.setdefault(name, set()).add(zone)
        self._nobodys = "elsewhere"
        while self._nobodys in self._zones:
            self._nobodys += "-else"
        self._ranges = {c for zone in self._spec.zones.values() for c in zone.cidrs} | set(PRIVATE)
        self._ports = {Port(flow.port) for flow in self._spec.flows} | {Port(53), Port(53, "UDP")}
        self._asked: dict[Hashable, tuple[tuple[str, int], ...]] = {}

    def judge(
        self, objects: Sequence[Object], tenants: Set[str], judged: Collection[str], span: Span, report: Report
    ) -> None:
        """Adds where the policies of the namespaces `judged` and the flows disagree; `tenants` are those whom the
        policies may know."""
        try:
            wrong = list(self._disagreements(objects, tenants, judged))
        except Unknown as error:
            report.add(WRONG_REACH, span, f"a network policy cannot be judged: {error}")
            return
        if wrong:
            places = "one place" if len(wrong) == 1 else f"{len(wrong)} places"
            note = Note(f"{'there' if len(wrong) == 1 else 'among them'}: {listed(wrong, 4)}")
            report.add(WRONG_REACH, span, f"the network policies and the flows disagree in {places}", [note])

    def _disagreements(self, objects: Sequence[Object], tenants: Set[str], judged: Collection[str]) -> Iterator[str]:
        spec = self._spec
        shown = {min(tenants)} if tenants else set[str]()
        zones: dict[str, set[ZoneName]] = {**self._zones, **{name: {"tenants"} for name in shown}}
        policies = cluster_of(objects, zones.keys() | {"kube-system", "default", self._nobodys})
        known = zones.keys() | {"kube-system", "default"} | tenants
        for named in policies.named():
            yield from (f"`{name}` is named, and nothing is known of it" for name in sorted(named - known))
            if not named.isdisjoint(tenants):
                yield from (f"{name} is left out where tenants are named" for name in sorted(tenants - named))
        pods = policies.pods
        own_pods = {name: {p for p in pods if p.namespace == name} for name in zones}
        members: dict[str, set[Pod]] = {
            zone: {p for p in pods if zone in zones.get(p.namespace, ())} for zone in spec.zones
        }

        def opened(sources: set[ZoneName], targets: set[ZoneName], port: Port) -> bool:
            return port.protocol == "TCP" and any(
                f.port == port.number and f.from_ in sources and f.to in targets for f in spec.flows
            )

        def expected(direction: Direction, own: Pod, port: Port) -> set[Pod]:
            here = zones[own.namespace]
            found = set()
            for zone in spec.zones:
                if opened({zone}, here, port) if direction == "Ingress" else opened(here, {zone}, port):
                    alone = zone == "tenants" and own.namespace in tenants
                    found |= own_pods[own.namespace] if alone else members[zone]
            if direction == "Egress" and port.number == 53 and port.protocol in ("TCP", "UDP"):
                found |= {_RESOLVER}
            return found

        ports = policies.ports() | self._ports
        in_order = sorted(ports, key=lambda p: (p.number, p.protocol))
        directions: tuple[Direction, ...] = ("Ingress", "Egress")
        for pod in (p for p in pods if p.namespace in judged):
            for direction in directions:
                for port in in_order:
                    for peer in sorted(policies.may(direction, pod, port) ^ expected(direction, pod, port), key=repr):
                        pair = (peer, pod) if direction == "Ingress" else (pod, peer)
                        yield f"{pair[0].namespace} to {pair[1].namespace}, port {port.number}"
                for address, number in self._at_borders(policies, direction, pod, zones[pod.namespace], in_order):
                    ends = (address, pod.namespace) if direction == "Ingress" else (pod.namespace, address)
                    yield f"{ends[0]} to {ends[1]}, port {number}"

    def _at_borders(
        self, policies: Policies, direction: Direction, pod: Pod, here: set[ZoneName], ports: Sequence[Port]
    ) -> tuple[tuple[str, int], ...]:
        """Addresses and ports where the pod's policies open something else than the flows; asked once of all that say
        the same of addresses."""
        blocks = policies.blocks()
        at = (direction, frozenset(here), policies.key(direction, pod), tuple(ports), frozenset(blocks))
        if at not in self._asked:
            borders = sorted(_borders(self._ranges | blocks))
            self._asked[at] = tuple(self._addresses(policies, direction, pod, here, ports, borders))
        return self._asked[at]

    def _addresses(
        self,
        policies: Policies,
        direction: Direction,
        pod: Pod,
        here: set[ZoneName],
        ports: Sequence[Port],
        borders: Sequence[str],
    ) -> Iterator[tuple[str, int]]:
        spec = self._spec
        for port in ports:
            ends = [
                (f.from_, f.to) if direction == "Ingress" else (f.to, f.from_)
                for f in spec.flows
                if f.port == port.number
            ]
            far = {zone for zone, near in ends if near in here and port.protocol == "TCP"}
            cidrs = [c for zone in far if zone in spec.zones for c in spec.zones[zone].cidrs]
            for address in borders:
                if policies.may_address(direction, pod, port, address) != _means(cidrs, address):
                    yield address, port.number


def cluster_of(objects: Sequence[Object], others: set[str]) -> Policies:
    """The policies among `objects`, over the namespaces that are among them and `others`."""
    known = {name: {"kubernetes.io/metadata.name": name} for name in others}
    for found in objects:
        if found.get("kind") == "Namespace":
            metadata = found["metadata"]
            labels = metadata.get("labels") if isinstance(metadata.get("labels"), dict) else {}
            known[metadata["name"]] = {**labels, "kubernetes.io/metadata.name": metadata["name"]}
    policies = [found for found in objects if found.get("kind") == "NetworkPolicy"]
    return Policies(policies, known)


_address = cache(ip_address)
_network = cache(partial(ip_network, strict=False))


def _means(cidrs: Sequence[str], address: str) -> bool:
    """Whether one of the declared ranges means the address: one wider than a private range does not open that."""
    asked = _address(address)
    for cidr in cidrs:
        network = _network(cidr)
        if asked in network:
            closed = [_network(c) for c in PRIVATE]
            if not any(asked in c and network.prefixlen < c.prefixlen for c in closed):
                return True
    return False


def _borders(cidrs: set[str]) -> Iterator[str]:
    """The first and the last address of each range, and their neighbours outside it."""
    for network in (ip_network(cidr, strict=False) for cidr in cidrs):
        kind = IPv4Address if network.version == 4 else IPv6Address
        first, last = int(network.network_address), int(network.broadcast_address)
        yield from (str(kind(n)) for n in {first - 1, first, last, last + 1} if 0 <= n < 2**network.max_prefixlen)
