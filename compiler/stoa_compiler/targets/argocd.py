"""The target `argocd`: two AppProjects and Applications for each tenant, those of the platform, and their root.

One of a tenant's two is for what bounds it, the other for what is its own: that project takes exactly one repository,
one namespace, the kinds that the target `kubernetes` renders for a tenant, and nothing of the cluster. Applications and
projects are the platform's: no project of a tenant takes them.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from stoa_compiler import blockyaml, readback
from stoa_compiler.diagnostics import Report, Rule, listed
from stoa_compiler.graph import Graph, Origin, TenantNode
from stoa_compiler.seals import sealed
from stoa_compiler.source import Span
from stoa_compiler.target import Artifact, Artifacts, Part, Parts, PartsOf, Target
from stoa_schemas import attestation, calls, names
from stoa_schemas.documents.platform import ArgoCd

Object = dict[str, Any]

OWN_CLUSTER = "https://kubernetes.default.svc"
"""The cluster where Argo CD itself runs, by the name that it has there."""
ZONE_KINDS = (("networking.k8s.io", "NetworkPolicy"),)
BOUNDS_KINDS = (
    ("", "LimitRange"),
    ("", "ResourceQuota"),
    ("", "ServiceAccount"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
)
TENANT_KINDS = (
    ("", "ConfigMap"),
    ("external-secrets.io", "ExternalSecret"),
    ("external-secrets.io", "SecretStore"),
)
CHART_KINDS = (
    ("", "ConfigMap"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("apps", "Deployment"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
)
"""What `charts/stoa-runtime` renders."""

_OURS = "This is a mistake of the compiler. Nothing was written; please report it."
_GROUP = "argoproj.io"
_VALUES = "helm/stoa-runtime.values.yaml"
_EVERY = "*.yaml"
_TENANTS = "kubernetes/tenants/"
_FILES = ("catalog.yaml", "secrets.yaml")
"""What the target `kubernetes` renders in a tenant's own folder."""

UNREADABLE = Rule(
    code="STOA671",
    title="a rendered Argo CD object does not read back",
    why="Argo CD would refuse it, or read something else than was meant.",
    help=_OURS,
)
WRONG_OBJECT = Rule(
    code="STOA672",
    title="a rendered Application or project is not the declared one",
    why="Repository, branch, folder and destination decide what is applied, and where.",
    help=_OURS,
)
WRONG_BORDER = Rule(
    code="STOA673",
    title="a project permits something else than its folder holds",
    why="What a project permits beyond its own is a way out for whoever writes to the folder; what it lacks never "
    "syncs.",
    help=_OURS,
)


def emit_tenant(graph: Graph, environment: str, tenant: TenantNode, carried: Artifacts) -> Part:
    """The tenant's projects and Applications."""
    argocd = _declared(graph, environment)
    own = _Objects(graph, environment, argocd)
    namespace = names.namespace(graph.name, tenant.name, environment)
    bounds, file, folder = own.bounds(namespace), f"tenant-{tenant.name}.yaml", f"{_TENANTS}{tenant.name}"
    # An Application of its own: what waits for somebody's word there, or fails, holds up no other tenant.
    objects = [
        own.project(
            bounds,
            [(argocd.cluster, namespace)],
            kinds=BOUNDS_KINDS,
            cluster_kinds=(("", "Namespace"),),
            tenant=tenant.name,
        ),
        own.application(
            bounds, 0, own.folder("kubernetes/platform", file), argocd.cluster, namespace, tenant=tenant.name
        ),
    ]
    held = [f"{folder}/{name}" for name in _FILES if f"{folder}/{name}" in carried]
    if held:
        objects += [
            own.project(namespace, [(argocd.cluster, namespace)], kinds=TENANT_KINDS, tenant=tenant.name),
            own.application(namespace, 1, own.folder(folder), argocd.cluster, namespace, tenant=tenant.name),
        ]
    origins = (*_origins(graph, environment), tenant.origin)
    made = _artifact(f"argocd/applications/{file}", objects, origins)
    applied = [carried[p] for p in (f"kubernetes/platform/{file}", *held) if p in carried]
    return Part((made,), sealed([made, *applied]))


def join(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts) -> Sequence[Artifact]:
    """Projects and Applications of `environment`, sorted by path: the tenants' and the platform's own."""
    argocd = _declared(graph, environment)
    own = _Objects(graph, environment, argocd)
    root = own.name("root")
    files: dict[str, list[Object]] = {
        "argocd/root.yaml": [
            own.project(
                root, [(OWN_CLUSTER, argocd.namespace)], kinds=((_GROUP, "AppProject"), (_GROUP, "Application"))
            ),
            own.application(root, None, own.folder("argocd/applications"), OWN_CLUSTER, argocd.namespace),
        ],
    }
    zones = sorted(n for zone in graph.platform.spec.zones.values() for n in zone.namespaces)
    platform = own.name("platform")
    if any(path.startswith("kubernetes/platform/zone-") for path in carried):
        files["argocd/applications/platform.yaml"] = [
            own.project(platform, [(argocd.cluster, namespace) for namespace in zones], kinds=ZONE_KINDS),
            # Every object says its own namespace; Argo CD wants the Application's to be one that the project takes.
            own.application(platform, 0, own.folder("kubernetes/platform", "zone-*.yaml"), argocd.cluster, zones[0]),
        ]
    if argocd.runtime is not None and _VALUES in carried:
        chart, runtime = argocd.runtime, own.name("runtime")
        values = {"repoURL": argocd.repository, "targetRevision": argocd.branch, "ref": "bundle"}
        # A leading slash means the root of the repository that the chart is in.
        operators = [f"/{path}" for path in chart.values]
        helm: Object = {"releaseName": "stoa", "valueFiles": [f"$bundle/{own.path}/{_VALUES}", *operators]}
        if chart.signed:
            envelope = f"$bundle/{own.path}/{attestation.ATTESTATIONS}"
            helm["fileParameters"] = [{"name": "signature.envelope", "path": envelope}]
        source = {"repoURL": chart.repository, "targetRevision": chart.revision, "path": chart.path, "helm": helm}
        files["argocd/applications/runtime.yaml"] = [
            own.project(
                runtime, [(argocd.cluster, chart.namespace)], kinds=CHART_KINDS, repositories=(chart.repository,)
            ),
            own.application(runtime, 1, {"sources": [source, values]}, argocd.cluster, chart.namespace),
        ]
    made = [_artifact(path, objects, _origins(graph, environment)) for path, objects in files.items()]
    made += [artifact for part in parts.values() for artifact in part.artifacts]
    return sorted(made, key=lambda a: a.path)


def _artifact(path: str, objects: Sequence[Object], origins: tuple[Origin, ...]) -> Artifact:
    return Artifact(path, "application/yaml", b"---\n".join(map(blockyaml.dump, objects)), origins)


def _origins(graph: Graph, environment: str) -> tuple[Origin, ...]:
    return (Origin(graph.origin.document, ("spec", "environments", environment)),)


def _declared(graph: Graph, environment: str) -> ArgoCd:
    argocd = graph.environment(environment).argocd
    if argocd is None:
        raise ValueError("the target `argocd` is checked to have `argocd` before it is rendered")
    return argocd


class _Objects:
    """Objects of one environment. What Argo CD would fill in is left out: it would show as a difference for ever."""

    def __init__(self, graph: Graph, environment: str, argocd: ArgoCd) -> None:
        self._argocd = argocd
        self._platform = graph.name
        self._environment = environment
        self.path = argocd.path or environment

    def name(self, role: str) -> str:
        """The name of one of the platform's own; tenants' names end in the environment's, so none is the same."""
        return f"{self._platform}-{self._environment}-{role}"

    def bounds(self, namespace: str) -> str:
        """The name of what bounds a tenant."""
        return f"{namespace}-bounds"

    def folder(self, path: str, include: str = _EVERY) -> Object:
        """The source that is a folder of the bundle, or some of its files. Naming files keeps Argo CD from taking the
        folder for a chart or for Kustomize's because of a file in it."""
        argocd = self._argocd
        return {
            "source": {
                "repoURL": argocd.repository,
                "targetRevision": argocd.branch,
                "path": f"{self.path}/{path}",
                "directory": {"include": include},
            }
        }

    def project(
        self,
        name: str,
        destinations: Sequence[tuple[str, str]],
        kinds: Sequence[tuple[str, str]],
        cluster_kinds: Sequence[tuple[str, str]] = (),
        repositories: Sequence[str] = (),
        tenant: str | None = None,
    ) -> Object:
        """An AppProject with exact repositories, destinations and kinds."""
        metadata = self._metadata(name, tenant)
        if name != self.name("root"):
            metadata["annotations"] = {"argocd.argoproj.io/sync-wave": "-1"}
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": metadata,
            "spec": {
                "sourceRepos": sorted({self._argocd.repository, *repositories}),
                "destinations": [{"server": server, "namespace": namespace} for server, namespace in destinations],
                "clusterResourceWhitelist": [{"group": group, "kind": kind} for group, kind in cluster_kinds],
                "namespaceResourceWhitelist": [{"group": group, "kind": kind} for group, kind in kinds],
            },
        }

    def application(
        self,
        name: str,
        wave: int | None,
        source: Object,
        server: str,
        namespace: str,
        tenant: str | None = None,
    ) -> Object:
        """An Application that keeps the cluster as the folder says, and never empties it: that is Argo CD's default."""
        metadata = self._metadata(name, tenant)
        annotations = {} if wave is None else {"argocd.argoproj.io/sync-wave": str(wave)}
        if "source" in source:
            files = source["source"]["directory"]["include"]
            annotations["argocd.argoproj.io/manifest-generate-paths"] = "." if files == _EVERY else files
        metadata["annotations"] = annotations
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": metadata,
            "spec": {
                "project": name,
                **source,
                "destination": {"server": server, "namespace": namespace},
                # `allowEmpty` is false where nobody says otherwise. Argo CD drops it whenever it writes the Application
                # back, so saying it would be a difference for ever.
                # What failed is tried again for ever, with what the branch has by then. Argo CD would else hold on to
                # the commit that failed, give up after five times, and never take a revocation that it missed.
                "syncPolicy": {
                    "automated": {"prune": True, "selfHeal": True},
                    "retry": {"limit": -1, "refresh": True},
                },
            },
        }

    def _metadata(self, name: str, tenant: str | None) -> Object:
        labels = {
            "app.kubernetes.io/managed-by": "stoa",
            "app.kubernetes.io/part-of": self._platform,
            "gostoa.dev/environment": self._environment,
        }
        if tenant is not None:
            labels["gostoa.dev/tenant"] = tenant
        return {"name": name, "namespace": self._argocd.namespace, "labels": labels}


# Reading back


def verify(graph: Graph, environment: str, artifacts: Artifacts, report: Report) -> None:
    """Adds where projects and Applications are not what is declared, and where a project does not fit its folder."""
    owned = _by_tenant([t.name for t in graph.facts_in(environment)], artifacts)
    parts = {
        name: Part(tuple(a for a in files if a.path.startswith("argocd/")), sealed(files))
        for name, files in owned.items()
    }
    verify_parts(graph, environment, parts, artifacts, report)
    verify_rest(graph, environment, parts, artifacts, report)


def verify_parts(graph: Graph, environment: str, parts: PartsOf, carried: Artifacts, report: Report) -> None:
    """The same for the tenants' own: beside the root, as if there were no other tenants.

    Whether another tenant's project or Application takes something of theirs is seen there: all are exactly the
    declared ones, which name one namespace, one file and one folder.
    """
    span = _span(graph, environment)
    tenants = [t.name for t in graph.facts_in(environment)]
    if not tenants:
        return
    own = {n: parts[n].artifacts if n in parts else () for n in tenants}
    applied = _by_tenant(tenants, {p: a for p, a in carried.items() if p.startswith("kubernetes/")})
    for name in tenants:
        for artifact in own[name]:
            if calls.sha256(artifact.content) != artifact.digest:
                report.add(WRONG_OBJECT, span, f"`{artifact.path}` has another digest")
        if name in parts and parts[name].shared != sealed([*own[name], *applied[name]]):
            report.add(WRONG_OBJECT, span, f"the part of `{name}` is sealed as another")
    those = {a.path: a for files in applied.values() for a in files}
    made = {a.path: a for a in join(graph, environment, {n: Part(files) for n, files in own.items()}, those)}
    _judge(graph, environment, tenants, {**those, **made}, (), report)


def verify_rest(graph: Graph, environment: str, parts: PartsOf, artifacts: Artifacts, report: Report) -> None:
    """Adds where tenants' files are not those that were proved, and the same for the platform's own."""
    span = _span(graph, environment)
    tenants = [t.name for t in graph.facts_in(environment)]
    owned = _by_tenant(tenants, artifacts)
    for name in sorted(parts.keys() - owned.keys()):
        report.add(WRONG_OBJECT, span, f"`{name}` has a part, and is not rendered in `{environment}`")
    taken: list[str] = []
    for name in tenants:
        if name not in parts:
            report.add(WRONG_OBJECT, span, f"`{name}` has no part")
        elif any(a.path != f"argocd/applications/tenant-{name}.yaml" for a in parts[name].artifacts):
            report.add(WRONG_OBJECT, span, f"the part of `{name}` holds what is not its own")
        elif parts[name].shared != sealed(owned[name]):
            report.add(WRONG_OBJECT, span, f"the files of `{name}` are not those that were proved")
        namespace = names.namespace(graph.name, name, environment)
        taken += [f"{namespace}-bounds"]
        taken += [namespace] if any(a.path.startswith(_TENANTS) for a in owned[name]) else []
    proved = {a.path for files in owned.values() for a in files}
    rest = {p: a for p, a in artifacts.items() if p not in proved}
    taken += _judge(graph, environment, (), rest, proved, report)
    for name, times in Counter(taken).items():
        if times > 1:
            report.add(UNREADABLE, span, f"AppProject `{name}` is there twice")


def _span(graph: Graph, environment: str) -> Span:
    return graph.origin.document.span(("spec", "environments", environment, "argocd"), "key")


def _by_tenant(tenants: Sequence[str], artifacts: Artifacts) -> dict[str, list[Artifact]]:
    """The files of each of the tenants: what Argo CD is told of it, and what it applies for it."""
    found: dict[str, list[Artifact]] = {name: [] for name in tenants}
    for path in sorted(artifacts):
        folder, _, file = path.rpartition("/")
        if folder in ("argocd/applications", "kubernetes/platform"):
            tenant = file.removeprefix("tenant-").removesuffix(".yaml")
            owner = tenant if file == f"tenant-{tenant}.yaml" else ""
        else:
            owner = folder.removeprefix(_TENANTS) if folder.startswith(_TENANTS) else ""
        if owner in found:
            found[owner].append(artifacts[path])
    return found


def _judge(
    graph: Graph,
    environment: str,
    tenants: Sequence[str],
    artifacts: Artifacts,
    proved: Collection[str],
    report: Report,
) -> list[str]:
    """Adds what is wrong with the files, whose tenants are these; gives the names of projects.

    The files at the paths `proved` are known to be right, and each of a tenant's cluster to be applied.
    """
    span, before = _span(graph, environment), report.errors
    read = {
        path: readback.objects(path, artifacts[path].content, UNREADABLE, span, report)
        for path in sorted(artifacts)
        if path.startswith(("argocd/", "kubernetes/"))
    }
    if report.errors != before:
        return []
    found: dict[tuple[str, str], tuple[str, Object]] = {}
    for path in (p for p in read if p.startswith("argocd/")):
        for one in read[path]:
            metadata = one.get("metadata")
            kind, name = one.get("kind"), metadata.get("name") if isinstance(metadata, dict) else None
            if not isinstance(kind, str) or not isinstance(name, str):
                report.add(UNREADABLE, span, f"`{path}` holds something without a kind and a name")
            elif (kind, name) in found:
                report.add(UNREADABLE, span, f"{kind} `{name}` is there twice")
            else:
                found[kind, name] = (path, one)
    wanted = {(kind, name): (path, one) for path, kind, name, one in _wanted(graph, environment, tenants, artifacts)}
    for kind, name in sorted(wanted.keys() - found.keys()):
        report.add(WRONG_OBJECT, span, f"{kind} `{name}` is missing")
    for kind, name in sorted(found.keys() - wanted.keys()):
        report.add(WRONG_OBJECT, span, f"{kind} `{name}` is declared nowhere")
    for kind, name in sorted(found.keys() & wanted.keys()):
        (path, rendered), (wanted_path, declared) = found[kind, name], wanted[kind, name]
        if path != wanted_path:
            report.add(WRONG_OBJECT, span, f"{kind} `{name}` is in `{path}`, not in `{wanted_path}`")
        differing = sorted(
            f"{part}.{key}"
            for part in ("metadata", "spec")
            for key in _keys(rendered.get(part)) | _keys(declared[part])
            if _text(_of(rendered.get(part), key)) != _text(declared[part].get(key))
        )
        if differing or rendered.keys() != declared.keys() or rendered["apiVersion"] != declared["apiVersion"]:
            what = listed(differing or ["apiVersion"])
            report.add(WRONG_OBJECT, span, f"{kind} `{name}` is not what is declared: {what}")
    projects = {name: one for (kind, name), (_, one) in found.items() if kind == "AppProject"}
    applications = [one for (kind, _), (_, one) in found.items() if kind == "Application"]
    for said in sorted(_border_problems(graph, environment, tenants, projects, applications, read, proved)):
        report.add(WRONG_BORDER, span, said)
    return list(projects)


def _text(value: Any) -> str:
    """`value` as text that tells true from 1."""
    return json.dumps(value, sort_keys=True)


def _keys(value: Any) -> set[str]:
    return set(map(str, value)) if isinstance(value, dict) else {"?"}


def _of(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else value


def _wanted(
    graph: Graph, environment: str, tenants: Sequence[str], artifacts: Artifacts
) -> Iterator[tuple[str, str, str, Object]]:
    """File, kind, name and content of every object that must be there."""
    argocd = _declared(graph, environment)
    base = argocd.path if argocd.path is not None else environment
    ours = {
        "app.kubernetes.io/managed-by": "stoa",
        "app.kubernetes.io/part-of": graph.name,
        "gostoa.dev/environment": environment,
    }
    policies = {"networking.k8s.io": "NetworkPolicy"}
    bounds = {"": "LimitRange ResourceQuota ServiceAccount", "rbac.authorization.k8s.io": "Role RoleBinding"} | policies
    spaces = {names.namespace(graph.name, tenant, environment): tenant for tenant in tenants}
    zones = {n for zone in graph.platform.spec.zones.values() for n in zone.namespaces}
    folders = {p.rpartition("/")[0] for p in artifacts}
    here = "https://kubernetes.default.svc"
    own_kinds = {"argoproj.io": "AppProject Application"}
    rows: list[tuple[str, str, str | None, int | None, str, list[str], Mapping[str, str], str]] = [
        ("root", "root", None, None, "argocd/applications", [argocd.namespace], own_kinds, "*"),
    ]
    shared = "kubernetes/platform"
    if [p for p in artifacts if p.startswith(f"{shared}/zone-")]:
        rows.append(("platform", "applications/platform", None, 0, shared, sorted(zones), policies, "zone-*"))
    for space, tenant in spaces.items():
        one, which = f"applications/tenant-{tenant}", f"tenant-{tenant}"
        rows.append((f"{space}-bounds", one, tenant, 0, shared, [space], bounds, which))
        folder = f"kubernetes/tenants/{tenant}"
        if folder in folders:
            kinds = {"": "ConfigMap", "external-secrets.io": "ExternalSecret SecretStore"}
            rows.append((space, one, tenant, 1, folder, [space], kinds, "*"))
    if argocd.runtime is not None and "helm/stoa-runtime.values.yaml" in artifacts:
        kinds = {"": "ConfigMap Service ServiceAccount", "apps": "Deployment", "policy": "PodDisruptionBudget"}
        kinds |= {"autoscaling": "HorizontalPodAutoscaler"} | policies
        rows.append(("runtime", "applications/runtime", None, 1, "", [argocd.runtime.namespace], kinds, "*"))
    for role, file, owner, wave, folder, into, permitted, which in rows:
        name = role if owner else f"{graph.name}-{environment}-{role}"
        labels = ours | ({"gostoa.dev/tenant": owner} if owner else {})
        server = here if role == "root" else argocd.cluster
        repositories = {argocd.repository}
        source: Object
        if role == "runtime" and argocd.runtime is not None and not owner:
            chart = argocd.runtime
            repositories.add(chart.repository)
            files = ["$bundle/" + base + "/helm/stoa-runtime.values.yaml"] + ["/" + own for own in chart.values]
            reading: Object = {"valueFiles": files, "releaseName": "stoa"}
            if chart.signed:
                envelope = {"path": "$bundle/" + base + "/mcp/bundle.intoto.jsonl", "name": "signature.envelope"}
                reading["fileParameters"] = [envelope]
            of_chart = {"path": chart.path, "repoURL": chart.repository, "targetRevision": chart.revision}
            bundle = {"ref": "bundle", "repoURL": argocd.repository, "targetRevision": argocd.branch}
            source = {"sources": [{**of_chart, "helm": reading}, bundle]}
        else:
            of_folder = {"path": f"{base}/{folder}", "directory": {"include": f"{which}.yaml"}}
            source = {"source": {"repoURL": argocd.repository, "targetRevision": argocd.branch, **of_folder}}
        allowed = [{"group": g, "kind": k} for g, ks in sorted(permitted.items()) for k in ks.split()]
        project = {
            "sourceRepos": sorted(repositories),
            "destinations": [{"namespace": namespace, "server": server} for namespace in into],
            "clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}] if role.endswith("-bounds") else [],
            "namespaceResourceWhitelist": allowed,
        }
        first = {} if role == "root" and not owner else {"annotations": {"argocd.argoproj.io/sync-wave": "-1"}}
        about = {"name": name, "namespace": argocd.namespace, "labels": labels}
        version = {"apiVersion": "argoproj.io/v1alpha1"}
        yield (
            f"argocd/{file}.yaml",
            "AppProject",
            name,
            {**version, "kind": "AppProject", "metadata": {**about, **first}, "spec": project},
        )
        notes = {} if wave is None else {"argocd.argoproj.io/sync-wave": str(wave)}
        if "source" in source:
            notes["argocd.argoproj.io/manifest-generate-paths"] = "." if which == "*" else f"{which}.yaml"
        application = {
            "project": name,
            **source,
            "destination": {"server": server, "namespace": into[0]},
            "syncPolicy": {
                "automated": {"selfHeal": True, "prune": True},
                "retry": {"refresh": True, "limit": -1},
            },
        }
        yield (
            f"argocd/{file}.yaml",
            "Application",
            name,
            {**version, "kind": "Application", "metadata": {**about, "annotations": notes}, "spec": application},
        )


def _border_problems(
    graph: Graph,
    environment: str,
    tenants: Sequence[str],
    projects: Mapping[str, Object],
    applications: Sequence[Object],
    read: Mapping[str, Sequence[Object]],
    proved: Collection[str],
) -> Iterator[str]:
    """Decides as Argo CD does, whatever the objects say: each folder's objects must be permitted by the project of
    its Application, and the projects of tenants must permit nothing of anybody else."""
    argocd = _declared(graph, environment)
    base = f"{argocd.path if argocd.path is not None else environment}/"
    spaces = {names.namespace(graph.name, tenant, environment): tenant for tenant in tenants}
    for name, project in projects.items():
        spec = project.get("spec")
        if not isinstance(spec, dict):
            yield f"`{name}` has no borders"
            continue
        if any(c in _text(spec) for c in "*?!"):
            yield f"`{name}` has a pattern where only exact words may stand"
        if name.removesuffix("-bounds") in spaces:
            into = {(d.get("server"), d.get("namespace")) for d in spec.get("destinations") or ()}
            if into != {(argocd.cluster, name.removesuffix("-bounds"))}:
                yield f"`{name}` permits another destination than its own namespace"
            if spec.get("sourceRepos") != [argocd.repository]:
                yield f"`{name}` permits another repository"
        if name in spaces:
            if spec.get("clusterResourceWhitelist"):
                yield f"`{name}` permits objects of the cluster"
            kinds = spec.get("namespaceResourceWhitelist") or ()
            if any(k.get("group") in ("argoproj.io", "rbac.authorization.k8s.io") for k in kinds):
                yield f"`{name}` permits Applications, or permissions"
    folders: dict[str, list[str]] = {}
    for path in (*read, *proved):
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    applied: Counter[str] = Counter()
    for application in applications:
        spec, name = application.get("spec"), str(application["metadata"].get("name"))
        if not isinstance(spec, dict):
            continue
        permitted = projects.get(str(spec.get("project")), {}).get("spec")
        if not isinstance(permitted, dict):
            yield f"`{name}` has no project"
            continue
        source, server = spec.get("source"), _of(spec.get("destination"), "server")
        places = {(d.get("server"), d.get("namespace")) for d in permitted.get("destinations") or ()}
        if (server, _of(spec.get("destination"), "namespace")) not in places:
            yield f"`{spec.get('project')}` does not permit the destination of `{name}`"
        sources = [source] if isinstance(source, dict) else spec.get("sources") or ()
        if not {s.get("repoURL") for s in sources} <= set(permitted.get("sourceRepos") or ()):
            yield f"`{spec.get('project')}` does not permit a repository of `{name}`"
        if not isinstance(source, dict):
            continue
        path = str(source.get("path"))
        if not path.startswith(base):
            yield f"`{name}` has no folder of the bundle"
            continue
        of_cluster, of_namespace = (
            {(k.get("group"), k.get("kind")) for k in permitted.get(which) or ()}
            for which in ("clusterResourceWhitelist", "namespaceResourceWhitelist")
        )
        folder, which = path.removeprefix(base), str(_of(source.get("directory"), "include"))
        if any(c in which for c in "*?["):
            taken = [p for p in folders.get(folder, ()) if fnmatchcase(p.rpartition("/")[2], which)]
        else:
            taken = [p for p in (f"{folder}/{which}",) if p in read or p in proved]
        applied.update(taken)
        inside = [one for p in taken for one in read.get(p, ())]
        for one in inside:
            group, _, _ = str(one.get("apiVersion")).rpartition("/")
            namespace = _of(one.get("metadata"), "namespace")
            kind = (group, one.get("kind"))
            fits = kind in of_cluster if namespace is None else kind in of_namespace and (server, namespace) in places
            if not fits:
                yield f"`{spec.get('project')}` does not permit {kind[1]} `{_of(one.get('metadata'), 'name')}`"
            if kind == ("", "Namespace") and _of(one.get("metadata"), "name") != _of(
                spec.get("destination"), "namespace"
            ):
                yield f"`{name}` makes another namespace than its own"
        if not inside and not any(p in proved for p in taken):
            yield f"`{path}` holds nothing"
    for path in (*read, *proved):
        # What is proved of a tenant's cluster is applied by the tenant's own.
        times = applied[path] + (path in proved and path.startswith("kubernetes/"))
        if path != "argocd/root.yaml" and times != 1:
            yield f"`{path}` is applied by {times} Applications"


PARTS = Parts(emit_tenant, verify_parts, join, verify_rest)
TARGET = Target(
    name="argocd",
    emit=PARTS.emit_whole,
    verify=verify,
    rules=(UNREADABLE, WRONG_OBJECT, WRONG_BORDER),
    carries=("helm", "kubernetes"),
    parts=PARTS,
)
