"""What runs where, and who reaches whom: Helm values, Kubernetes objects and Argo CD's, compared with each other."""

import hashlib
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from stoa_compiler.diagnostics import listed
from stoa_compiler.targets.kubernetes.reach import Direction, Pod, Policies, Port, Unknown
from stoa_compiler.verify_bundle.catalogs import SECRET_REFERENCE
from stoa_compiler.verify_bundle.findings import BOUND, ISSUER, MISMATCH, PROJECT, REACH, SECRET
from stoa_compiler.verify_bundle.reading import VALUES, Json, Read
from stoa_schemas import bundle

_TENANT = "gostoa.dev/tenant"
_PUBLIC = ("8.8.8.8", "203.0.113.7", "2606:4700::1111")
"""Addresses that are nobody's in a cluster."""
_METADATA = ("169.254.169.254", "127.0.0.1")
"""Addresses where a machine's own credentials and services answer."""


def prove(read: Read) -> None:
    """Adds what is wrong with the objects."""
    _helm(read)
    if read.objects:
        _kubernetes(read)
        _argocd(read)


# Helm


def _helm(read: Read) -> None:
    values = read.values
    if values is None:
        return
    mounted: dict[str, str] = {}
    for number, config_map in enumerate(values.bundle.config_maps):
        at = ("bundle", "configMaps", number)
        data = {f.key: f.content for f in config_map.files}
        digests = {key: hashlib.sha256(text.encode()).hexdigest() for key, text in data.items()}
        digest = hashlib.sha256(bundle.canonical(digests)).hexdigest()[:16]
        if config_map.name != f"stoa-bundle-{digest}":
            read.add(MISMATCH, VALUES, f"ConfigMap `{config_map.name}` is not named by its content", *at, "name")
        for file in config_map.files:
            if file.path in mounted:
                read.add(MISMATCH, VALUES, f"`{file.path}` is mounted twice", *at, "files")
            mounted[file.path] = file.content
    whole: dict[str, bytes] = {}
    for path in sorted(mounted):
        name, _, _ = path.partition(bundle.PART_SUFFIX)
        whole[name] = whole.get(name, b"") + mounted[path].encode()
    served = {p: c for p, c in read.files.items() if p.startswith("mcp/") and not p.endswith(".jsonl")}
    for path in sorted(whole.keys() | served.keys()):
        if whole.get(path) != served.get(path):
            read.add(MISMATCH, VALUES, f"`{path}` is not mounted as it is in the bundle", "bundle", "configMaps")
    manifest = read.files.get(bundle.RUNTIME_MANIFEST, b"")
    if values.bundle.digest != bundle.sha256(manifest):
        read.add(MISMATCH, VALUES, "the digest is not that of the manifest", "bundle", "digest")
    index, written = read.index, read.manifest
    if index is None:
        return
    if (values.bundle.platform, values.bundle.environment) != (index["name"], index["environment"]):
        read.add(MISMATCH, VALUES, "the values are another platform's or another environment's", "bundle")
    if written is not None and values.bundle.development is not written["development"]:
        read.add(MISMATCH, VALUES, "it is a development bundle in one place only", "bundle", "development")
    if values.gateway.url.rstrip("/") + "/mcp" != index["mcpUrl"]:
        read.add(MISMATCH, VALUES, f"the gateway is `{values.gateway.url}`", "gateway", "url")
    if values.issuer.url != index["token"]["issuer"]:
        read.add(ISSUER, VALUES, f"the issuer is `{values.issuer.url}`", "issuer", "url")
    trusted = {i["tenant"]: i["issuer"] for i in index["token"].get("issuers") or ()}
    if values.issuer.tenants != trusted:
        read.add(ISSUER, VALUES, "tenants' issuers are not those that the gateway trusts", "issuer", "tenants")
    for number, rule in enumerate(values.network_policy.egress):
        for place, block in enumerate(rule.blocks):
            odd = [c for c in (block.cidr, *block.except_) if str(ip_network(c, strict=False)) != c]
            if odd:
                said = f"`{odd[0]}` is no range that everybody reads alike"
                read.add(REACH, VALUES, said, "networkPolicy", "egress", number, "blocks", place)
            for address in _METADATA:
                inside = _holds(block.cidr, address) and not any(_holds(c, address) for c in block.except_)
                if inside and index["environment"] != "dev":
                    said = f"the pods reach {address}"
                    read.add(REACH, VALUES, said, "networkPolicy", "egress", number, "blocks", place)


def _holds(cidr: str, address: str) -> bool:
    network = ip_network(cidr, strict=False)
    return network.version == ip_address(address).version and ip_address(address) in network


# Kubernetes


def _kubernetes(read: Read) -> None:
    objects = [(p, n, o) for p, n, o in read.objects if p.startswith("kubernetes/")]
    spaces = {
        o["metadata"]["name"]: (p, n, o) for p, n, o in objects if o.get("kind") == "Namespace"
    }  # The tenants' own; other namespaces are the cluster's.
    tenants = {name: str(o["metadata"].get("labels", {}).get(_TENANT)) for name, (_, _, o) in spaces.items()}
    _catalogs(read, objects, tenants)
    named = {t["name"] for t in read.index["tenants"]} if read.index is not None else set(tenants.values())
    if objects and named != set(tenants.values()):
        odd = listed(sorted(named ^ set(tenants.values())))
        read.add(MISMATCH, "kubernetes/", f"tenants that are served and namespaces differ in {odd}")
    seen: set[tuple[str, str, str]] = set()
    for path, number, found in objects:
        metadata, kind = found["metadata"], str(found.get("kind"))
        key = (kind, str(metadata.get("namespace", "")), metadata["name"])
        if key in seen:
            read.add(MISMATCH, path, f"{kind} `{metadata['name']}` is there twice", number)
        seen.add(key)
        if kind == "Secret":
            read.add(SECRET, path, f"`{metadata['name']}` is a Secret with its content", number)
        owner = metadata.get("labels", {}).get(_TENANT)
        space = metadata.get("namespace", metadata["name"] if kind == "Namespace" else None)
        if owner is not None and tenants.get(space) != owner:
            read.add(MISMATCH, path, f"{kind} `{metadata['name']}` of `{owner}` is in `{space}`", number, "metadata")
        if path.startswith("kubernetes/tenants/"):
            folder = path.split("/")[2]
            if tenants.get(space) != folder:
                said = f"the folder of `{folder}` makes something in `{space}`"
                read.add(REACH, path, said, number, "metadata", "namespace")
            if kind not in ("ConfigMap", "ExternalSecret", "SecretStore"):
                read.add(REACH, path, f"the folder of a tenant makes a {kind}", number, "kind")
        if kind in ("ClusterRole", "ClusterRoleBinding"):
            read.add(BOUND, path, f"{kind} `{metadata['name']}` holds in every namespace", number)
        _secret_references(read, path, number, found, tenants.get(str(space)))
    for name, (path, number, space_object) in sorted(spaces.items()):
        labels = space_object["metadata"].get("labels", {})
        for mode in ("audit", "enforce", "warn"):
            level = labels.get(f"pod-security.kubernetes.io/{mode}")
            if level not in ("baseline", "restricted"):
                read.add(BOUND, path, f"pods of `{name}` may be {level or 'anything'}", number, "metadata", "labels")
        inside = [o for _, _, o in objects if o["metadata"].get("namespace") == name]
        _bounds(read, path, number, name, inside)
    _reach(read, objects, tenants)


_BOUNDS = {"ResourceQuota": 1, "LimitRange": 1, "Role": 1, "RoleBinding": 1}


def _bounds(read: Read, path: str, number: int, name: str, inside: list[Json]) -> None:
    kinds = [o.get("kind") for o in inside]
    for kind, count in _BOUNDS.items():
        if kinds.count(kind) != count:
            read.add(BOUND, path, f"`{name}` has {kinds.count(kind)} of {kind}", number)
    for found in inside:
        match found.get("kind"):
            case "ResourceQuota":
                hard = found.get("spec", {}).get("hard", {})
                wanted = {"pods", "requests.cpu", "requests.memory", "limits.memory", "requests.storage"}
                if set(hard) != wanted | {"services.loadbalancers", "services.nodeports"} or any(
                    hard[k] != "0" for k in ("services.loadbalancers", "services.nodeports")
                ):
                    read.add(BOUND, path, f"the quota of `{name}` leaves something open", number)
            case "ServiceAccount":
                if found.get("automountServiceAccountToken") is not False:
                    read.add(BOUND, path, f"every pod of `{name}` gets a token for the cluster", number)
            case "Role":
                for rule in found.get("rules", []):
                    said = {*rule.get("verbs", []), *rule.get("resources", []), *rule.get("apiGroups", [])}
                    if "*" in said or not set(rule.get("verbs", [])) <= {"get", "list", "watch"}:
                        read.add(BOUND, path, f"the role in `{name}` does more than look", number)
                    if "secrets" in said:
                        read.add(BOUND, path, f"the role in `{name}` reads secrets", number)
            case "RoleBinding":
                subjects = found.get("subjects", [])
                own = all(s.get("kind") == "ServiceAccount" and s.get("namespace") == name for s in subjects)
                if not subjects or not own or found.get("roleRef", {}).get("kind") != "Role":
                    read.add(BOUND, path, f"somebody outside `{name}` has its role", number)


def _secret_references(read: Read, path: str, number: int, found: Json, tenant: str | None) -> None:
    spec = found.get("spec", {})
    if found.get("kind") == "ExternalSecret":
        if "dataFrom" in spec:
            read.add(SECRET, path, "it takes secrets by a search", number, "spec", "dataFrom")
        if spec.get("secretStoreRef", {}).get("kind") != "SecretStore":
            read.add(SECRET, path, "it reads a store of the whole cluster", number, "spec", "secretStoreRef")
        given = {
            f"vault:{d.get('remoteRef', {}).get('key')}#{d.get('remoteRef', {}).get('property')}"
            for d in spec.get("data", [])
        }
        asked = {
            c["backend"]["auth"]["secret"]
            for k in read.catalogs.values()
            if k["tenant"] == tenant
            for c in k["contracts"]
            if c["backend"].get("auth")
        }
        for reference in sorted(given ^ asked):
            said = "is given and not needed" if reference in given else "is needed and not given"
            shown = reference if SECRET_REFERENCE.fullmatch(reference) else "something"
            read.add(SECRET, path, f"`{shown}` {said}", number, "spec", "data")
    if found.get("kind") == "SecretStore":
        login = spec.get("provider", {}).get("vault", {}).get("auth", {})
        if set(login) != {"kubernetes"}:
            read.add(SECRET, path, "the vault is entered otherwise than by the service account", number, "spec")
        elif login["kubernetes"].get("role") != found["metadata"].get("namespace"):
            read.add(SECRET, path, "the vault is entered in another's role", number, "spec", "provider")


def _catalogs(read: Read, objects: list[tuple[str, int, Json]], tenants: Mapping[str, str]) -> None:
    """The catalog that a tenant sees in its namespace is the one that the gateway serves."""
    shown: dict[str, dict[str, str]] = {}
    for path, number, found in objects:
        if found.get("kind") == "ConfigMap":
            tenant = tenants.get(str(found["metadata"].get("namespace")), "")
            parts = shown.setdefault(tenant, {})
            for key, text in found.get("data", {}).items():
                if key in parts:
                    read.add(MISMATCH, path, f"`{key}` is there twice", number, "data", key)
                parts[key] = str(text)
            if found.get("immutable") is not True:
                read.add(MISMATCH, path, f"`{found['metadata']['name']}` can be changed in place", number, "immutable")
    for name in sorted(set(tenants.values())):
        served = read.files.get(f"mcp/tenants/{name}.json")
        text = "".join(t for _, t in sorted(shown.get(name, {}).items()))
        if served is not None and text.encode() != served:
            path = f"kubernetes/tenants/{name}/catalog.yaml"
            read.add(MISMATCH, path, f"`{name}` is shown another catalog than is served")


def _reach(read: Read, objects: list[tuple[str, int, Json]], tenants: Mapping[str, str]) -> None:
    """Asks the policies about every pair of namespaces at every port that any policy names.

    What one side lets out the other lets in; tenants reach no tenant; addresses outside reach the gateways alone.
    """
    policies = [o for _, _, o in objects if o.get("kind") == "NetworkPolicy"]
    places = {
        str(o["metadata"].get("namespace")): (p, n) for p, n, o in reversed(objects) if o.get("kind") == "NetworkPolicy"
    }
    first = min((p for p, _, _ in objects), default="kubernetes/")
    for name in sorted(tenants.keys() - places.keys()):
        read.add(REACH, first, f"`{name}` has no network policy")
    if not policies:
        return
    known = {n: {"kubernetes.io/metadata.name": n} for n in {*places, *tenants, "kube-system", "default", "elsewhere"}}
    for _, _, found in objects:
        if found.get("kind") == "Namespace":
            known[found["metadata"]["name"]] |= found["metadata"].get("labels", {})
    try:
        cluster = Policies(policies, known)
        wrong = list(_ways(read, cluster, set(places), tenants))
    except Unknown as error:
        read.add(REACH, first, f"a network policy cannot be judged: {error}")
        return
    for namespace, said in sorted(set(wrong)):
        path, number = places.get(namespace, (first, 0))
        read.add(REACH, path, said, number, "spec")


def _ways(read: Read, cluster: Policies, managed: set[str], tenants: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for namespace in sorted(managed):
        if not any(_denies(o, namespace) for _, _, o in read.objects):
            yield namespace, f"nothing in `{namespace}` is closed unless a policy opens it"
    for _, _, found in read.objects:
        chart = found.get("kind") == "Application" and any(
            "helm" in s for s in found.get("spec", {}).get("sources", []) if isinstance(s, dict)
        )
        runtime = Pod(str(found.get("spec", {}).get("destination", {}).get("namespace"))) if chart else None
        if runtime is not None and runtime.namespace in managed and read.values is not None:
            let_in = {p.namespace for p in cluster.may("Ingress", runtime, Port(RUNTIME_PORT))}
            for name in sorted(set(read.values.network_policy.ingress_namespaces) - let_in):
                yield (
                    runtime.namespace,
                    f"the gateway's pods take connections from `{name}`, which its namespace closes",
                )
    ports = sorted(cluster.ports(), key=lambda p: (p.number, p.protocol))
    pods = [p for p in cluster.pods if p.namespace in managed]
    gateways = set(read.values.network_policy.ingress_namespaces) if read.values is not None else None
    dns = {("kube-system", 53)}
    into: dict[tuple[Pod, Port], set[Pod]] = {(p, q): cluster.may("Ingress", p, q) for p in pods for q in ports}
    out: dict[tuple[Pod, Port], set[Pod]] = {(p, q): cluster.may("Egress", p, q) for p in pods for q in ports}
    for pod in pods:
        here, tenant = pod.namespace, tenants.get(pod.namespace)
        for port in ports:
            for peer in out[pod, port]:
                there = peer.namespace
                if there not in managed:
                    if (there, port.number) not in dns:
                        yield here, f"`{here}` reaches `{there}` at port {port.number}"
                elif pod not in into[peer, port]:
                    yield here, f"`{here}` is let out to `{there}` at port {port.number}, and not let in there"
                elif tenant is not None and tenants.get(there) not in (None, tenant):
                    yield here, f"`{here}` reaches the tenant `{tenants[there]}` at port {port.number}"
            for peer in into[pod, port]:
                there = peer.namespace
                if there not in managed:
                    yield here, f"`{there}` reaches `{here}` at port {port.number}"
                elif peer not in cluster_out(out, peer, port, pod):
                    yield here, f"`{here}` lets `{there}` in at port {port.number}, which is not let out to it"
            yield from _addresses(cluster, pod, port, tenant, gateways)


RUNTIME_PORT = 8080
"""Where the runtime's pods listen."""


def _denies(found: Json, namespace: str) -> bool:
    """Whether a policy closes every pod of the namespace in both directions, and opens nothing."""
    if found.get("kind") != "NetworkPolicy" or found["metadata"].get("namespace") != namespace:
        return False
    spec = found.get("spec", {})
    closes = set(spec.get("policyTypes", [])) == {"Ingress", "Egress"} and spec.get("podSelector") == {}
    return closes and not spec.get("ingress") and not spec.get("egress")


def cluster_out(out: Mapping[tuple[Pod, Port], set[Pod]], peer: Pod, port: Port, pod: Pod) -> set[Pod]:
    """`peer` where it is let out to `pod` at the port; nobody else."""
    return {peer} if pod in out[peer, port] else set()


def _addresses(
    cluster: Policies, pod: Pod, port: Port, tenant: str | None, gateways: set[str] | None
) -> Iterator[tuple[str, str]]:
    here = pod.namespace
    directions: tuple[Direction, ...] = ("Ingress", "Egress")
    for address in _PUBLIC:
        if gateways is not None and here not in gateways and cluster.may_address("Ingress", pod, port, address):
            yield here, f"anybody outside reaches `{here}` at port {port.number}"
    for address in _METADATA:
        for direction in directions:
            if cluster.may_address(direction, pod, port, address):
                yield here, f"`{here}` and {address} reach each other at port {port.number}"


# Argo CD

_TENANTS_KINDS = frozenset(
    {("", "ConfigMap"), ("external-secrets.io", "ExternalSecret"), ("external-secrets.io", "SecretStore")}
)
"""What a tenant's own folder may make."""
_BOUNDS_KINDS = frozenset(
    {
        ("", "LimitRange"),
        ("", "ResourceQuota"),
        ("", "ServiceAccount"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
    }
)
"""What the platform's folder makes to bound a tenant, besides the namespace."""


def _bounding(name: str, owner: str, objects: list[tuple[str, int, Json]]) -> bool:
    """Whether a project is for the one file of the platform's folder that bounds the tenant, and for nothing else."""
    sources = [
        o.get("spec", {}).get("source", {})
        for _, _, o in objects
        if o.get("kind") == "Application" and o.get("spec", {}).get("project") == name
    ]
    return bool(sources) and all(_bounds_source(s, owner) for s in sources)


def _bounds_source(source: Json, owner: str) -> bool:
    folder = str(source.get("path", ""))
    below = folder == "kubernetes/platform" or folder.endswith("/kubernetes/platform")
    return below and source.get("directory") == {"include": f"tenant-{owner}.yaml"}


def _argocd(read: Read) -> None:
    objects = [(p, n, o) for p, n, o in read.objects if p.startswith("argocd/")]
    if not objects:
        return
    projects = {o["metadata"]["name"]: (p, n, o) for p, n, o in objects if o.get("kind") == "AppProject"}
    spaces = {
        o["metadata"]["name"]: o["metadata"].get("labels", {}).get(_TENANT)
        for _, _, o in read.objects
        if o.get("kind") == "Namespace"
    }
    applied = {o["metadata"].get("labels", {}).get(_TENANT) for _, _, o in objects if o.get("kind") == "Application"}
    for name in sorted(str(t) for t in set(spaces.values()) - applied):
        read.add(PROJECT, "argocd/", f"nothing applies what `{name}` has")
    for path, number, found in objects:
        kind, name, spec = found.get("kind"), found["metadata"]["name"], found.get("spec", {})
        owner = found["metadata"].get("labels", {}).get(_TENANT)
        if kind == "AppProject":
            bounding = owner is not None and _bounding(name, owner, objects)
            _project(read, path, number, name, owner, spec, spaces, bounding)
        elif kind == "Application":
            _application(read, path, number, name, owner, spec, projects)
        else:
            read.add(PROJECT, path, f"`{name}` is a {kind}", number, "kind")


def _project(
    read: Read,
    path: str,
    number: int,
    name: str,
    owner: str | None,
    spec: Json,
    spaces: Mapping[str, Any],
    bounding: bool,
) -> None:
    destinations = [(d.get("namespace"), d.get("server"), d.get("name")) for d in spec.get("destinations", [])]
    cluster = {(k.get("group"), k.get("kind")) for k in spec.get("clusterResourceWhitelist", [{}])}
    kinds = {(k.get("group"), k.get("kind")) for k in spec.get("namespaceResourceWhitelist", [{}])}
    at = (number, "spec")
    for place, (namespace, server, other) in enumerate(destinations):
        if not namespace or not server or other is not None or "*" in f"{namespace}{server}" or "!" in str(namespace):
            read.add(PROJECT, path, f"`{name}` goes to any namespace or cluster", *at, "destinations", place)
    for place, repository in enumerate(spec.get("sourceRepos", ["*"])):
        if "*" in repository:
            read.add(PROJECT, path, f"`{name}` takes what any repository holds", *at, "sourceRepos", place)
    if any("*" in f"{g}{k}" or None in (g, k) for g, k in kinds | cluster):
        read.add(PROJECT, path, f"`{name}` makes objects of any kind", *at)
    if owner is not None:
        homes = {n for n, t in spaces.items() if t == owner}
        if {n for n, _, _ in destinations} != homes:
            read.add(PROJECT, path, f"the project of `{owner}` goes elsewhere than home", *at, "destinations")
        allowed = _BOUNDS_KINDS if bounding else _TENANTS_KINDS
        if not kinds <= allowed:
            odd = sorted(f"{k}" for _, k in kinds - allowed)
            read.add(PROJECT, path, f"the project of `{owner}` makes {listed(odd)}", *at, "namespaceResourceWhitelist")
    if cluster - ({("", "Namespace")} if owner is None or bounding else set()):
        read.add(PROJECT, path, f"`{name}` makes objects of the whole cluster", *at, "clusterResourceWhitelist")
    if set(spec) - {"clusterResourceWhitelist", "destinations", "namespaceResourceWhitelist", "sourceRepos"}:
        odd = sorted(set(spec) - {"clusterResourceWhitelist", "destinations", "namespaceResourceWhitelist"})
        read.add(PROJECT, path, f"`{name}` sets {listed(odd)}", *at)


def _application(
    read: Read,
    path: str,
    number: int,
    name: str,
    owner: str | None,
    spec: Json,
    projects: Mapping[str, tuple[str, int, Json]],
) -> None:
    at = (number, "spec")
    project = projects.get(str(spec.get("project")))
    if project is None or (project[2]["metadata"].get("labels", {}).get(_TENANT) != owner):
        read.add(PROJECT, path, f"`{name}` is in a project that is not its owner's", *at, "project")
        return
    allowed = project[2].get("spec", {})
    where = spec.get("destination", {})
    if where not in allowed.get("destinations", []):
        read.add(PROJECT, path, f"`{name}` goes where its project does not", *at, "destination")
    sources = [s for s in (spec.get("source"), *spec.get("sources", [])) if isinstance(s, dict)]
    for source in sources:
        if source.get("repoURL") not in allowed.get("sourceRepos", []):
            read.add(PROJECT, path, f"`{name}` takes from where its project does not", *at, "source", "repoURL")
        folder = str(source.get("path", ""))
        if owner is not None and not (folder.endswith(f"kubernetes/tenants/{owner}") or _bounds_source(source, owner)):
            read.add(PROJECT, path, f"`{name}` of `{owner}` applies `{folder}`", *at, "source", "path")
        if ".." in folder.split("/"):
            read.add(PROJECT, path, f"`{name}` leaves its folder", *at, "source", "path")
        if folder.startswith("kubernetes/") or "/kubernetes/" in folder:
            below = "kubernetes/" + folder.rpartition("kubernetes/")[2] + "/"
            if not any(p.startswith(below) for p in read.files):
                read.add(PROJECT, path, f"`{name}` applies a folder that is not in the bundle", *at, "source", "path")
    automated = spec.get("syncPolicy", {}).get("automated", {})
    if {"allowEmpty": False, **automated} != {"prune": True, "selfHeal": True, "allowEmpty": False}:
        said = f"`{name}` does not take back what Git no longer holds, or takes all when it is empty"
        read.add(PROJECT, path, said, *at, "syncPolicy")
    if "ignoreDifferences" in spec:
        read.add(PROJECT, path, f"`{name}` lets differences be", *at, "ignoreDifferences")
