"""Verify: reads the manifests back as the cluster would, and compares them with the graph."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from stoa_compiler import readback
from stoa_compiler.diagnostics import Note, Report, listed
from stoa_compiler.graph import Graph, TenantNode
from stoa_compiler.networks import PRIVATE
from stoa_compiler.source import Span
from stoa_compiler.target import Artifacts
from stoa_compiler.targets.kubernetes.reach import Direction, Pod, Policies, Port, Unknown
from stoa_compiler.targets.kubernetes.rules import UNREADABLE, WRONG_CATALOG, WRONG_OBJECT, WRONG_REACH
from stoa_schemas import names
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
    span = graph.origin.document.span(("spec", "environments", environment, "targets"))
    objects: dict[Key, tuple[str, Object]] = {}
    for path in sorted(artifacts):
        if path.startswith("kubernetes/"):
            for found in readback.objects(path, artifacts[path].content, UNREADABLE, span, report):
                key = _key(found)
                if key is None:
                    report.add(UNREADABLE, span, f"`{path}` holds something without a kind and a name")
                elif key in objects:
                    report.add(UNREADABLE, span, f"{_said(key)} is in `{path}` and in `{objects[key][0]}`")
                else:
                    objects[key] = (path, found)
    if report.errors:
        return
    wanted = dict(_declared(graph, environment))
    catalogs = {t.name: names.namespace(graph.name, t.name, environment) for t in graph.tenants_in(environment)}
    maps = {k: found for k, (_, found) in objects.items() if k[0] == "ConfigMap"}
    for key in sorted(wanted.keys() - objects.keys()):
        report.add(WRONG_OBJECT, span, f"{_said(key)} is missing")
    for key in sorted(objects.keys() - wanted.keys()):
        if not (key[0] == "ConfigMap" and key[1] in catalogs.values()):
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
    for tenant, namespace in sorted(catalogs.items()):
        source = artifacts.get(f"mcp/tenants/{tenant}.json")
        of_tenant = {k: found for k, found in maps.items() if k[1] == namespace}
        folder = f"kubernetes/tenants/{tenant}/catalog.yaml"
        if any(objects[k][0] != folder for k in of_tenant):
            report.add(WRONG_CATALOG, span, f"a ConfigMap of `{namespace}` is not in `{folder}`")
        labels = _labels(graph.name, environment, tenant)
        problem = _catalog_problem(of_tenant, source.content if source else None, labels)
        if problem:
            report.add(WRONG_CATALOG, span, f"the catalog in `{namespace}`: {problem}")
    _verify_reach(graph, environment, [found for _, found in objects.values()], span, report)


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


def _declared(graph: Graph, environment: str) -> Iterator[tuple[Key, tuple[str, Object]]]:
    """Every object but the ConfigMaps, with its file; of network policies all but what they open."""
    spec = graph.platform.spec
    cluster = graph.environment(environment).kubernetes
    namespaces = {n for zone in spec.zones.values() for n in zone.namespaces}
    for namespace in namespaces:
        of_zones = {name for name, zone in spec.zones.items() if namespace in zone.namespaces}
        path = f"kubernetes/platform/zone-{namespace}.yaml"
        yield from _policies(graph, environment, namespace, of_zones, None, path)
    for tenant in graph.tenants_in(environment):
        namespace = names.namespace(graph.name, tenant.name, environment)
        path = f"kubernetes/platform/tenant-{tenant.name}.yaml"
        yield from _policies(graph, environment, namespace, {"tenants"}, tenant.name, path)
        labels = _labels(graph.name, environment, tenant.name)

        def of(
            version: str, kind: str, name: str, rest: Object, notes: Object | None = None,
            path: str = path, namespace: str = namespace, labels: dict[str, str] = labels,
        ) -> tuple[Key, tuple[str, Object]]:  # fmt: skip
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
    graph: Graph, environment: str, namespace: str, zones: set[ZoneName], tenant: str | None, path: str
) -> Iterator[tuple[Key, tuple[str, Object]]]:
    """The policies by name: what they open is asked of them all together."""
    spec = graph.platform.spec
    tenants = graph.tenants_in(environment)
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


def _verify_reach(graph: Graph, environment: str, objects: Sequence[Object], span: Span, report: Report) -> None:
    """Asks the policies and the flows about every pair of namespaces, and about both sides of every border between
    addresses, at every port that either names."""
    try:
        wrong = list(_disagreements(graph, environment, objects))
    except Unknown as error:
        report.add(WRONG_REACH, span, f"a network policy cannot be judged: {error}")
        return
    if wrong:
        places = "one place" if len(wrong) == 1 else f"{len(wrong)} places"
        note = Note(f"{'there' if len(wrong) == 1 else 'among them'}: {listed(wrong, 4)}")
        report.add(WRONG_REACH, span, f"the network policies and the flows disagree in {places}", [note])


def _disagreements(graph: Graph, environment: str, objects: Sequence[Object]) -> Iterator[str]:
    spec = graph.platform.spec
    tenants = {names.namespace(graph.name, t.name, environment) for t in graph.tenants_in(environment)}
    zones: dict[str, set[ZoneName]] = {name: {"tenants"} for name in tenants}
    for zone, declared in spec.zones.items():
        for name in declared.namespaces:
            zones.setdefault(name, set()).add(zone)
    policies = cluster_of(objects, zones.keys() | {"kube-system", "default", "elsewhere"})
    pods = policies.pods
    ports = policies.ports() | {Port(flow.port) for flow in spec.flows} | {Port(53), Port(53, "UDP")}

    def opened(sources: set[ZoneName], targets: set[ZoneName], port: Port) -> bool:
        return port.protocol == "TCP" and any(
            f.port == port.number and f.from_ in sources and f.to in targets for f in spec.flows
        )

    def expected(direction: Direction, own: Pod, port: Port) -> set[Pod]:
        here = zones[own.namespace]
        found = set()
        for zone in spec.zones:
            if opened({zone}, here, port) if direction == "Ingress" else opened(here, {zone}, port):
                found |= members[zone] if zone != "tenants" or own.namespace not in tenants else own_pods[own.namespace]
        if direction == "Egress" and port.number == 53 and port.protocol in ("TCP", "UDP"):
            found |= {_RESOLVER}
        return found

    own_pods = {name: {p for p in pods if p.namespace == name} for name in zones}
    members: dict[str, set[Pod]] = {
        zone: {p for p in pods if zone in zones.get(p.namespace, ())} for zone in spec.zones
    }
    asked: dict[tuple[str, str], tuple[str, ...]] = {}
    ranges = {c for zone in spec.zones.values() for c in zone.cidrs} | set(PRIVATE) | policies.blocks()
    borders = sorted(_borders(ranges))
    directions: tuple[Direction, ...] = ("Ingress", "Egress")
    for pod in (p for p in pods if p.namespace in zones):
        for direction in directions:
            for port in sorted(ports, key=lambda p: (p.number, p.protocol)):
                for peer in sorted(policies.may(direction, pod, port) ^ expected(direction, pod, port), key=repr):
                    pair = (peer, pod) if direction == "Ingress" else (pod, peer)
                    yield f"{pair[0].namespace} to {pair[1].namespace}, port {port.number}"
            at = (direction, f"{sorted(zones[pod.namespace])} {policies.key(direction, pod)}")
            if at not in asked:
                asked[at] = tuple(_addresses(graph, policies, direction, pod, zones[pod.namespace], ports, borders))
            yield from asked[at]


def _addresses(
    graph: Graph,
    policies: Policies,
    direction: Direction,
    pod: Pod,
    here: set[ZoneName],
    ports: set[Port],
    borders: Sequence[str],
) -> Iterator[str]:
    spec = graph.platform.spec
    for port in sorted(ports, key=lambda p: (p.number, p.protocol)):
        ends = [
            (f.from_, f.to) if direction == "Ingress" else (f.to, f.from_) for f in spec.flows if f.port == port.number
        ]
        far = {zone for zone, near in ends if near in here and port.protocol == "TCP"}
        cidrs = [c for zone in far if zone in spec.zones for c in spec.zones[zone].cidrs]
        for address in borders:
            if policies.may_address(direction, pod, port, address) != _means(cidrs, address):
                way = f"{address} to {pod.namespace}" if direction == "Ingress" else f"{pod.namespace} to {address}"
                yield f"{way}, port {port.number}"


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
