"""Emit: manifests as structures, dumped; nothing is pasted into text.

`kubernetes/platform/` holds what bounds a tenant: the platform applies it, and no tenant's folder can change it.
`kubernetes/tenants/<tenant>/` holds what is the tenant's own and lives within those bounds.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stoa_compiler import blockyaml
from stoa_compiler.graph import Graph, Origin, TenantNode
from stoa_compiler.networks import PRIVATE, blocks
from stoa_compiler.seals import sealed
from stoa_compiler.target import Artifact, Artifacts, Part, PartsOf
from stoa_schemas import bundle, names
from stoa_schemas.documents.platform import Cluster, TierResources, ZoneName

Object = dict[str, Any]

BUDGET = 900 * 1024
"""Bytes of the catalog in one ConfigMap; Kubernetes takes 1 MiB with names and labels."""
APPLY_LIMIT = 256 * 1024
"""What client-side apply can keep in its annotation: above it, Argo CD is asked for server-side apply."""
OVERHEAD = 2 * 1024
"""Names, labels and annotations of one object, rounded up."""

_MEDIA_TYPE = "application/yaml"
_NAME = "kubernetes.io/metadata.name"
_SYNC = "argocd.argoproj.io/sync-options"
_WAVE = "argocd.argoproj.io/sync-wave"


def emit_tenant(graph: Graph, environment: str, tenant: TenantNode, carried: Artifacts) -> Part:
    """The tenant's own manifests: what bounds it, its catalog and its references to secrets."""
    cluster = graph.environment(environment).kubernetes or Cluster()
    # Of all tenants, its policies see itself only.
    network = _Network(graph, [names.namespace(graph.name, tenant.name, environment)])
    origins = (graph.origin, tenant.origin)
    bounds = _bounds(graph, tenant, environment, cluster, network)
    made = [_artifact(f"kubernetes/platform/tenant-{tenant.name}.yaml", bounds, origins)]
    folder = f"kubernetes/tenants/{tenant.name}"
    shown = carried.get(f"mcp/tenants/{tenant.name}.json")
    if shown is not None:
        catalog = _catalog(graph, tenant, environment, shown.content)
        made.append(_artifact(f"{folder}/catalog.yaml", catalog, shown.origins))
    secrets = _secrets(graph, tenant, environment, cluster)
    if secrets:
        made.append(_artifact(f"{folder}/secrets.yaml", secrets, (*origins, *(c.origin for c in tenant.contracts))))
    return Part(tuple(made), sealed([*made, shown] if shown is not None else made))


def join(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts) -> Sequence[Artifact]:
    """The manifests of `environment`, sorted by path: the tenants', and those of the zones, which name all tenants."""
    tenants = [names.namespace(graph.name, t.name, environment) for t in graph.facts_in(environment)]
    network = _Network(graph, tenants)
    made = [artifact for part in parts.values() for artifact in part.artifacts]
    for name in network.zone_namespaces:
        policies = network.policies(name, _labels(graph, environment))
        made.append(_artifact(f"kubernetes/platform/zone-{name}.yaml", policies, (graph.origin,)))
    return sorted(made, key=lambda a: a.path)


def _artifact(path: str, objects: Sequence[Object], origins: tuple[Origin, ...]) -> Artifact:
    """One file of several documents."""
    return Artifact(path, _MEDIA_TYPE, b"---\n".join(map(blockyaml.dump, objects)), origins)


def _labels(graph: Graph, environment: str, tenant: str | None = None) -> dict[str, str]:
    """Labels of every object. All are ids, so none passes the 63 characters of a label's value."""
    labels = {
        "app.kubernetes.io/managed-by": "stoa",
        "app.kubernetes.io/part-of": graph.name,
        "gostoa.dev/environment": environment,
    }
    return labels | ({"gostoa.dev/tenant": tenant} if tenant else {})


# What bounds a tenant


def _bounds(graph: Graph, tenant: TenantNode, environment: str, cluster: Cluster, network: "_Network") -> list[Object]:
    namespace = names.namespace(graph.name, tenant.name, environment)
    labels = _labels(graph, environment, tenant.name)
    resources = graph.platform.spec.tiers[tenant.declared.spec.tier].resources
    own = {"namespace": namespace, "labels": labels}
    standard = {f"pod-security.kubernetes.io/{mode}": cluster.pod_security for mode in ("enforce", "audit", "warn")}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "labels": labels | standard,
                # With a namespace goes everything in it, volumes too: somebody must say yes.
                "annotations": {_SYNC: "Prune=confirm,Delete=confirm", _WAVE: "-1"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "stoa-quota", **own},
            "spec": {"hard": _quota(resources)},
        },
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "stoa-limits", **own},
            "spec": {"limits": [_container_limits(resources)]},
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, **own},
                "automountServiceAccountToken": False,
            }
            for name in ("default", "stoa-secrets", "stoa-tenant")
        ),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "stoa-tenant", **own},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["configmaps", "events", "pods", "pods/log", "services"],
                    "verbs": ["get", "list", "watch"],
                }
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "stoa-tenant", **own},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "stoa-tenant"},
            "subjects": [{"kind": "ServiceAccount", "name": "stoa-tenant", "namespace": namespace}],
        },
        *network.policies(namespace, labels),
    ]


def _quota(resources: TierResources) -> dict[str, str]:
    """What the namespace may hold together. Nothing there can be reached around the gateway."""
    return {
        "limits.memory": _memory(resources.memory),
        "pods": str(resources.pods),
        "requests.cpu": _cpu(resources.cpu),
        "requests.memory": _memory(resources.memory),
        "requests.storage": _memory(resources.storage),
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }


def _container_limits(resources: TierResources) -> Object:
    # The API server fills in the default limit of what has a maximum: writing it leaves no difference to it.
    return {
        "type": "Container",
        "default": {"cpu": _cpu(resources.cpu), "memory": _memory(resources.container_memory)},
        "defaultRequest": {"cpu": _cpu(resources.container_cpu), "memory": _memory(resources.container_memory)},
        "max": {"cpu": _cpu(resources.cpu), "memory": _memory(resources.memory)},
    }


def _cpu(quantity: str) -> str:
    """The quantity as the API server writes it back, so that nothing ever differs: `2000m` is `2`."""
    if quantity.endswith("m") and int(quantity[:-1]) % 1000 == 0:
        return str(int(quantity[:-1]) // 1000)
    return quantity


def _memory(quantity: str) -> str:
    """Likewise: `1024Mi` is `1Gi`, and `1024Gi` is `1Ti`."""
    number, unit = int(quantity[:-2]), quantity[-2:]
    for larger in {"Mi": ("Gi", "Ti", "Pi"), "Gi": ("Ti", "Pi")}[unit]:
        if number % 1024:
            break
        number, unit = number // 1024, larger
    return f"{number}{unit}"


# The network


class _Network:
    """The policies that open the declared flows and nothing else."""

    def __init__(self, graph: Graph, tenants: Sequence[str]) -> None:
        spec = graph.platform.spec
        self._flows = spec.flows
        self._zones = spec.zones
        self._tenants = tenants
        self.zone_namespaces = sorted({n for zone in spec.zones.values() for n in zone.namespaces})

    def policies(self, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """The policies of one namespace: all of its pods are closed both ways but for what flows open."""
        zones = self._zones_of(namespace)
        # The empty lists say what an absent key says, but Argo CD sees and takes back only what it was told of: without
        # them, a rule that somebody adds to this policy by hand would stay.
        closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []}
        made = [_policy("stoa-default-deny", namespace, labels, closed)]
        # Both selectors in one item: those pods of that namespace, not either.
        resolver = {
            "namespaceSelector": {"matchLabels": {_NAME: "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
        lookups = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
        egress = [{"to": [resolver], "ports": lookups}]
        made.append(
            _policy("stoa-dns", namespace, labels, {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress})
        )
        for zone in sorted(self._zones):
            coming = {flow.port for flow in self._flows if flow.from_ == zone and flow.to in zones}
            going = {flow.port for flow in self._flows if flow.to == zone and flow.from_ in zones}
            peers = self._peers(zone, namespace)
            if coming and peers:
                rule = {"from": peers, "ports": _ports(coming)}
                spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [rule]}
                made.append(_policy(f"stoa-from-{zone}", namespace, labels, spec))
            if going and peers:
                rule = {"to": peers, "ports": _ports(going)}
                spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]}
                made.append(_policy(f"stoa-to-{zone}", namespace, labels, spec))
        return made

    def _zones_of(self, namespace: str) -> set[ZoneName]:
        if namespace in self._tenants:
            return {"tenants"}
        return {name for name, zone in self._zones.items() if namespace in zone.namespaces}

    def _peers(self, zone: ZoneName, namespace: str) -> list[Object]:
        """Whom `zone` means, as seen from `namespace`: a tenant sees of all tenants itself only."""
        if zone == "tenants":
            found = [namespace] if namespace in self._tenants else sorted(self._tenants)
        else:
            found = sorted(set(self._zones[zone].namespaces))
        expression = {"key": _NAME, "operator": "In", "values": found}
        selected = [{"namespaceSelector": {"matchExpressions": [expression]}}] if found else []
        return [*selected, *({"ipBlock": block} for block in blocks(self._zones[zone].cidrs, PRIVATE))]


def _ports(ports: set[int]) -> list[Object]:
    return [{"port": port, "protocol": "TCP"} for port in sorted(ports)]


def _policy(name: str, namespace: str, labels: Mapping[str, str], spec: Object) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": spec,
    }


# What is the tenant's own


def _catalog(graph: Graph, tenant: TenantNode, environment: str, content: bytes) -> list[Object]:
    """The catalog in ConfigMaps that are named by what they hold, and never change."""
    made = []
    for key, part in _parts(content):
        data = {key: part}
        name = f"catalog-{hashlib.sha256(bundle.canonical(data)).hexdigest()[:16]}"
        large = len(bundle.canonical(data)) + OVERHEAD > APPLY_LIMIT
        metadata: Object = {
            "name": name,
            "namespace": names.namespace(graph.name, tenant.name, environment),
            "labels": _labels(graph, environment, tenant.name),
        }
        if large:
            metadata["annotations"] = {_SYNC: "ServerSideApply=true"}
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data})
    return made


def _parts(content: bytes) -> Iterator[tuple[str, str]]:
    """Keys and texts of the catalog, cut between characters where it is too large for one ConfigMap."""
    if len(content) <= BUDGET:
        yield "catalog.json", content.decode()
        return
    start, number = 0, 0
    while start < len(content):
        end = min(start + BUDGET, len(content))
        while end < len(content) and content[end] & 0b1100_0000 == 0b1000_0000:
            end -= 1
        yield f"catalog.json{bundle.PART_SUFFIX}{number:03}", content[start:end].decode()
        start, number = end, number + 1


def _secrets(graph: Graph, tenant: TenantNode, environment: str, cluster: Cluster) -> list[Object]:
    """Where External Secrets finds the backends' credentials. There are names here, never values."""
    references = sorted(
        {
            contract.backends[environment].auth.secret  # type: ignore[union-attr]
            for contract in tenant.contracts
            if contract.exposed and environment in contract.backends and contract.backends[environment].auth
        }
    )
    if cluster.vault is None or not references:
        return []
    namespace = names.namespace(graph.name, tenant.name, environment)
    own = {"namespace": namespace, "labels": _labels(graph, environment, tenant.name)}
    login = {
        "mountPath": cluster.vault.auth_mount,
        "role": namespace,
        "serviceAccountRef": {"name": "stoa-secrets", "audiences": ["vault"]},
    }
    provider = {
        "server": cluster.vault.server,
        "path": cluster.vault.mount,
        "version": "v2",
        "auth": {"kubernetes": login},
    }
    return [
        {
            "apiVersion": "external-secrets.io/v1",
            "kind": "SecretStore",
            "metadata": {"name": "vault", **own},
            "spec": {"provider": {"vault": provider}},
        },
        {
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            # In the wave of its store: the controller waits for that itself; Argo CD would hold up all else.
            "metadata": {"name": "backends", **own},
            "spec": {
                "refreshInterval": "5m0s",
                "secretStoreRef": {"kind": "SecretStore", "name": "vault"},
                "target": {"name": "backends", "creationPolicy": "Owner", "deletionPolicy": "Retain"},
                "data": [_secret(reference) for reference in references],
            },
        },
    ]


def _secret(reference: str) -> Object:
    path, _, key = reference.removeprefix("vault:").partition("#")
    return {
        "secretKey": variable(reference),
        # The last three are the controller's defaults: left out, Argo CD would see a difference for ever.
        "remoteRef": {
            "key": path,
            "property": key,
            "conversionStrategy": "Default",
            "decodingStrategy": "None",
            "metadataPolicy": "None",
        },
    }


def variable(reference: str) -> str:
    """The variable in which the runtime looks for a secret."""
    path, _, key = reference.removeprefix("vault:").partition("#")
    return "STOA_SECRET_" + re.sub(r"[^A-Z0-9]", "_", f"{path}_{key}".upper())
